//! Programs that take their interpreter apart, imitate its protocol, or leave it.

use super::Attack;

pub(super) const ATTACKS: &[Attack] = &[
    (
        "sys.exit(0)",
        "Raised SystemExit",
        "import sys\ndef f(): sys.exit(0)",
    ),
    ("exit at load time", "Raised SystemExit", "exit(0)"),
    (
        "KeyboardInterrupt at load time",
        "Raised KeyboardInterrupt",
        "raise KeyboardInterrupt",
    ),
    (
        "GeneratorExit",
        "Raised GeneratorExit",
        "def f(): raise GeneratorExit",
    ),
    (
        "an interrupt of the main thread",
        "Raised KeyboardInterrupt",
        "import _thread\ndef f():\n _thread.interrupt_main()\n while True: pass",
    ),
    (
        "type and len replaced",
        "1",
        "import builtins\nbuiltins.type = builtins.len = lambda *a: 0\ndef f(): return 1",
    ),
    (
        "str and tuple replaced",
        "1",
        "import builtins\nbuiltins.str = builtins.tuple = None\ndef f(): return 1",
    ),
    (
        "all builtins removed",
        "Malformed",
        "import builtins\nvars(builtins).clear()\ndef f(): return 1",
    ),
    (
        "encoders and modules removed",
        "1",
        "import json, marshal, sys\nmarshal.dumps = json.dumps = None\nsys.modules.clear()\ndef f(): return 1",
    ),
    (
        "streams removed",
        "1",
        "import sys\nsys.stdout = sys.stderr = None\ndel sys.__stdout__, sys.__stderr__\ndef f(): return 1",
    ),
    (
        "a warning with nowhere to go",
        "1",
        "import sys\ndel sys.stderr, sys.__stderr__\nclass A:\n def __del__(s): 1 / 0\ndef f():\n A()\n return 1",
    ),
    (
        "the collector disturbed",
        "1",
        "import gc\ngc.disable()\ngc.set_threshold(1)\ndef f(): return 1",
    ),
    (
        "a recursion limit of 30",
        "1",
        "import sys\nsys.setrecursionlimit(30)\ndef f(): return 1",
    ),
    (
        "the dict of object emptied",
        "1",
        "import gc\ngc.get_referents(object.__dict__)[0].clear()\ndef f(): return 1",
    ),
    (
        "addition removed from int",
        "2",
        "import gc\ngc.get_referents(int.__dict__)[0]['__add__'] = None\ndef f(): return 1 + 1",
    ),
    (
        "an audit hook that raises",
        "Malformed",
        "import sys\ndef f(): sys.addaudithook(lambda *a: 1 / 0)",
    ),
    (
        "a profiler that raises",
        "Raised ZeroDivisionError",
        "import sys\ndef f():\n sys.setprofile(lambda *a: 1 / 0)\n return 1",
    ),
    (
        "bytecode that is none",
        "Crashed a fatal error of CPython",
        "def f(): exec(f.__code__.replace(co_code=b'\\xff' * 100))",
    ),
    (
        "bytecode that leaves its stack",
        "Crashed*|Raised*|Malformed",
        "def f(): exec((lambda: 0).__code__.replace(co_code=bytes([82, 255] * 50), co_stacksize=0))",
    ),
    (
        "constants that are not there",
        "Crashed*|Raised*",
        "def f(): exec((lambda: 0).__code__.replace(co_consts=(), co_code=(lambda: 12345678).__code__.co_code))",
    ),
    (
        "random bytecode",
        "Crashed*|Malformed|Timeout|StackOverflow|OutOfMemory",
        "import random\ndef f():\n while True:\n  try: exec((lambda: 0).__code__.replace(co_code=random.randbytes(40)))\n  except Exception: pass",
    ),
    (
        "marshalled rubbish",
        "Raised ValueError",
        "import marshal\ndef f(): marshal.loads(b'\\xe3' + bytes(50))",
    ),
    (
        "an answer of no bytes",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b''",
    ),
    (
        "an answer that says Passed",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b'Passed'",
    ),
    (
        "an answer that is cut short",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b'(\\x03\\0\\0\\0'",
    ),
    (
        "an answer that promises billions",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b'(\\xff\\xff\\xff\\x7f'",
    ),
    (
        "an answer of many values",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: b'N' * 1000",
    ),
    (
        "an answer that is not even copied",
        "OutputTooLarge",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: bytes(100 << 20)",
    ),
    (
        "an answer of text",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: 'text'",
    ),
    (
        "no answer",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: 1 / 0",
    ),
    (
        "an answer with a status of its own",
        "Malformed",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: __import__('marshal').dumps(('Passed', b'', None), 2)",
    ),
    (
        "a well-formed answer, worth what any return value is worth",
        "42",
        "import sys\ndef f(): sys._getframe(1).f_globals['_seal'] = lambda *a: __import__('marshal').dumps(('value', b'', 42), 2)",
    ),
];
