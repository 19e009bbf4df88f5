//! What one execution leaves in a slot, the next must not find.

use super::*;
use crate::engine::{HOST_STACK, Ticker};
use crate::value::Value;
use crate::wire;

/// Programs that write as much of the memory as they can, and end in every way there is.
const HOSTILE: [(&str, &str); 12] = [
    ("an honest one", "print(sum(range(1000)))"),
    ("many objects", "x = [[i] for i in range(300_000)]"),
    (
        "all the memory it gets",
        "x = []\nwhile True: x.append(bytes(1 << 20))",
    ),
    (
        "pages far apart",
        "x = bytearray(100 << 20)\nfor i in range(0, len(x), 4096 * 3): x[i] = 255",
    ),
    (
        "a trap below a deep stack",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
    ),
    (
        "a deep stack of C",
        "x = []\nfor _ in range(10 ** 6): x = [x]\nprint(repr(x))",
    ),
    (
        "an endless loop",
        "x = 0\nwhile True: x += 1; y = [x] * 100",
    ),
    (
        "every object touched",
        "import gc\ngc.unfreeze()\nx = [gc.get_objects() for _ in range(3)]\nfor o in x[0]:\n try: o.mark = 1\n except Exception: pass",
    ),
    (
        "every dict changed",
        "import gc\ngc.unfreeze()\nfor o in gc.get_objects():\n if type(o) is dict and len(o) < 50:\n  try: o['\\0mark'] = 1\n  except BaseException: pass",
    ),
    (
        "every module emptied",
        "import sys\nfor m in list(sys.modules.values()):\n try: m.__dict__.clear()\n except BaseException: pass",
    ),
    ("a system call", "import posix, time, os\nos.abort()"),
    (
        "everything collected",
        "import gc\ngc.unfreeze()\ngc.collect()\nraise SystemExit(3)",
    ),
];

fn memory(template: &Template, limits: &Limits) -> Vec<u8> {
    let instance = template.start(limits, &Stop::default()).unwrap();
    instance.abi.memory.data(&instance.store).to_vec()
}

fn memory_is_reset(limits: &Limits) {
    let open = || Template::open(&runtime::dir(), 1).expect("these tests need the sandbox runtime");
    // Another engine's slots, which nothing has been through.
    let pristine = memory(&open(), limits);
    let template = open();
    let ticking = template.clone();
    let _ticker = Ticker::start(move || ticking.tick()).unwrap();
    for (name, code) in HOSTILE {
        let mut request = Vec::new();
        let cap = Value::from(1 << 16);
        let parts = [code.into(), "".into(), cap, Value::None, Value::None];
        assert!(wire::write_tuple(&parts, &mut request));
        let reply = template
            .start(limits, &Stop::default())
            .unwrap()
            .load(request, limits.fuel.unwrap_or(u64::MAX))
            .unwrap();
        let found = memory(&template, limits);
        let at = found.iter().zip(&pristine).position(|(a, b)| a != b);
        assert_eq!(
            (found.len(), at),
            (pristine.len(), None),
            "after {name}: {:?}",
            reply.bytes
        );
    }
}

#[test]
fn a_slot_holds_the_pristine_image_after_anything() {
    let limits = [
        Limits {
            fuel: Some(400_000_000),
            ..Limits::default()
        },
        Limits {
            fuel: None,
            wall: Duration::from_millis(200),
            ..Limits::default()
        },
    ];
    let run = move || limits.iter().for_each(memory_is_reset);
    let thread = std::thread::Builder::new()
        .stack_size(HOST_STACK)
        .spawn(run);
    thread.unwrap().join().unwrap();
}
