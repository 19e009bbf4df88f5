//! Warms up the interpreter of a fused module and takes what its memory holds then for the start of every execution.
//!
//! Instances share the memory image copy-on-write, so what an execution writes costs a page fault and a copy a page. Three
//! things keep those pages few: caches are filled before the image is taken; holes in the heap are filled, so that new
//! objects lie densely at its end; and objects of the image are made immortal, so that using them does not write their
//! reference counts.

use std::collections::HashMap;

use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, OptLevel, Store, TypedFunc};
use wasmtime::{WasmParams, WasmResults};

use super::build::BuildError;
use super::fuse::{Entry, Image, fuse};
use super::link::Linked;
use super::words;
use crate::abi::{self, Abi, Broken, Object};
use crate::instance::{CALL, LOAD, REVERSE_SETS, SCRIPT};
use crate::response::Response;
use crate::test::Limits;
use crate::value::Value;
use crate::wire;

type Result<T> = std::result::Result<T, BuildError>;

/// The functions of CPython and of the C library that the builder calls.
const TOOLS: [&str; 6] = [
    "PyGILState_Ensure",
    "PyImport_ImportModule",
    "PyObject_GetAttrString",
    "PyObject_CallOneArg",
    "malloc",
    "free",
];

/// Where an object's reference count lies, and its type; sizes of CPython on a 32-bit machine.
const TYPE_OFFSET: usize = 4;

/// The count by which CPython knows, on a 32-bit machine, an object that it must never free.
const IMMORTAL: u32 = 5 << 28;

/// A count from which an object is taken for immortal already, or for none at all.
const IMPLAUSIBLE: u32 = 1 << 30;

/// The largest block that a hole in the heap is tried with.
const LARGEST_BLOCK: i32 = 1 << 20;

/// What the interpreter is warmed up with, as a candidate.
const WARM_UP: &str = include_str!("../../guest/warm_up.py");

/// And as a script.
const SCRIPT_WARM_UP: &str = "
import sys
def main():
    n = int(input())
    for _ in range(n):
        a, b = map(int, sys.stdin.readline().split())
        print(a + b)
    print(*sys.stdin.read().split(), sep=' ')
if __name__ == '__main__':
    main()
    sys.exit(0)
";

/// How often. Bytecode is specialised after a few runs, and the counters behind that settle later.
const ROUNDS: usize = 20;

/// The module to compile: `component` fused, warmed up and frozen.
pub(super) fn module(component: &[u8]) -> Result<Vec<u8>> {
    let words = words::module()?;
    let mut linked = Linked::read(component)?;
    let longs = words::Longs::of(&linked)?;
    linked.stand_in(&words)?;
    let exports = [&abi::EXPORTS[..], &[REVERSE_SETS]].concat();
    let cold = fuse(&linked, &[&exports[..], &TOOLS].concat(), None)?;
    let image = warm(&cold, &longs)?;
    Ok(fuse(&linked, &exports, Some(&image))?)
}

/// What the fused module's memory holds once the interpreter is warm.
fn warm(wasm: &[u8], longs: &words::Longs) -> Result<Image> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::None)
        .max_wasm_stack(16 << 20);
    config.async_stack_size(16 << 20);
    let engine = Engine::new(&config)?;
    let mut guest = Guest::start(&engine, wasm)?;
    let app = guest.module("app")?;
    let snapshot = guest.module("snapshot")?;
    let [gather, settle, prepare, addresses] = [
        guest.attribute(snapshot, "gather")?,
        guest.attribute(snapshot, "settle")?,
        guest.attribute(snapshot, "prepare")?,
        guest.attribute(snapshot, "addresses")?,
    ];
    let calls @ [load, call, script] = [
        guest.attribute(app, LOAD)?,
        guest.attribute(app, CALL)?,
        guest.attribute(app, SCRIPT)?,
    ];
    guest.widen(snapshot, longs)?;
    guest.call(prepare, b"")?;
    guest.warm_up(calls)?;
    guest.call(settle, b"")?;
    guest.plug()?;
    guest.call(gather, b"")?;
    guest.call(prepare, b"")?;
    guest.warm_up(calls)?;
    guest.call(settle, b"")?;
    guest.plug()?;
    guest.call(prepare, b"")?;
    let top = guest.plug()?;
    let mut memory = guest.memory.data(&guest.store).to_vec();
    let globals = guest.globals();
    let addresses = addresses_in(&guest.call(addresses, b"")?);
    let entry = |name, first| Entry {
        name,
        callee: "PyObject_CallOneArg",
        first,
    };
    let after = guest.memory.data(&guest.store);
    for address in addresses {
        make_immortal(&mut memory, after, top, address);
    }
    Ok(Image {
        memory,
        globals,
        entries: vec![entry(LOAD, load), entry(CALL, call), entry(SCRIPT, script)],
    })
}

/// Makes the object at `address` immortal, if one was there when `memory` was copied.
fn make_immortal(memory: &mut [u8], after: &[u8], top: usize, address: usize) {
    let word = |memory: &[u8], at: usize| -> Option<u32> {
        let bytes = memory.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let kind = word(memory, address + TYPE_OFFSET);
    let same = kind.is_some() && kind == word(after, address + TYPE_OFFSET);
    let Some(count) = word(memory, address) else {
        return;
    };
    if same && address < top && count > 0 && count < IMPLAUSIBLE {
        memory[address..address + 4].copy_from_slice(&IMMORTAL.to_le_bytes());
    }
}

/// The interpreter of a fused module, before its snapshot.
struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    abi: Abi,
    names: Vec<String>,
}

impl Guest {
    fn start(engine: &Engine, wasm: &[u8]) -> Result<Guest> {
        let module = Module::new(engine, wasm)?;
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate(&mut store, &module)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| failed("the module exports no memory"))?;
        let [allocate, data, size, release] = abi::EXPORTS;
        let abi = Abi {
            memory,
            allocate: instance.get_typed_func(&mut store, allocate)?,
            data: instance.get_typed_func(&mut store, data)?,
            size: instance.get_typed_func(&mut store, size)?,
            release: instance.get_typed_func(&mut store, release)?,
        };
        let names = module.exports().map(|export| export.name().to_owned());
        let mut guest = Guest {
            names: names.collect(),
            store,
            instance,
            memory,
            abi,
        };
        // Never released: the snapshot holds the interpreter's lock, so that the host need not take it for each call.
        let lock: TypedFunc<(), i32> = guest.function("PyGILState_Ensure")?;
        lock.call(&mut guest.store, ())?;
        Ok(guest)
    }

    fn function<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> Result<TypedFunc<P, R>> {
        Ok(self.instance.get_typed_func(&mut self.store, name)?)
    }

    /// A zero-terminated string in the guest.
    fn string(&mut self, text: &str) -> Result<i32> {
        let object = self
            .abi
            .enter(&mut self.store, text.as_bytes())
            .map_err(broken)?;
        Ok(self.abi.data.call(&mut self.store, object)?)
    }

    fn module(&mut self, name: &str) -> Result<Object> {
        let text = self.string(name)?;
        let import: TypedFunc<i32, Object> = self.function("PyImport_ImportModule")?;
        match import.call(&mut self.store, text)? {
            0 => Err(failed(&format!("the guest has no module {name}"))),
            module => Ok(module),
        }
    }

    fn attribute(&mut self, of: Object, name: &str) -> Result<Object> {
        let text = self.string(name)?;
        let get: TypedFunc<(Object, i32), Object> = self.function("PyObject_GetAttrString")?;
        match get.call(&mut self.store, (of, text))? {
            0 => Err(failed(&format!("the guest has no function {name}"))),
            object => Ok(object),
        }
    }

    /// Makes the interpreter, which has begun with words of 32 bits, one of 64: what it holds of hashes, and C's `long`.
    fn widen(&mut self, snapshot: Object, longs: &words::Longs) -> Result<()> {
        longs.widen(self.memory.data_mut(&mut self.store))?;
        let [remembered, frozen, rehash] = [
            self.attribute(snapshot, "remembered")?,
            self.attribute(snapshot, "frozen")?,
            self.attribute(snapshot, "rehash")?,
        ];
        for place in addresses_in(&self.call(remembered, b"")?) {
            self.write_word(place, -1)?;
        }
        // What cannot be changed can, while it seems to be a set.
        let frozen = addresses_in(&self.call(frozen, b"")?);
        let [frozenset, set, frozen @ ..] = frozen.as_slice() else {
            return Err(failed("the guest has no types"));
        };
        for place in frozen {
            self.write_word(place + TYPE_OFFSET, *set as i32)?;
        }
        let complaint = self.call(rehash, b"")?;
        for place in frozen {
            self.write_word(place + TYPE_OFFSET, *frozenset as i32)?;
        }
        if !complaint.is_empty() {
            return Err(failed(&String::from_utf8_lossy(&complaint)));
        }
        Ok(())
    }

    fn write_word(&mut self, place: usize, word: i32) -> Result<()> {
        let written = self
            .memory
            .write(&mut self.store, place, &word.to_le_bytes());
        written.map_err(|error| failed(&format!("the word at {place}: {error}")))
    }

    /// Runs what most candidates run, as they are run.
    fn warm_up(&mut self, [load, call, script]: [Object; 3]) -> Result<()> {
        let list = |items: &[i64]| Value::List(items.iter().map(|&item| item.into()).collect());
        let programs: [(&str, &str, Vec<Vec<Value>>); 4] = [
            (
                WARM_UP,
                "solve",
                vec![
                    vec![list(&[3, 1, 2]), "the cat saw the act".into()],
                    vec![],
                    vec![list(&[]), "a".into()],
                    vec![1.into()],
                ],
            ),
            (WARM_UP, "", vec![vec![]]),
            ("print(sum(range(10)))", "", vec![vec![]]),
            ("def f(:", "f", vec![]),
        ];
        for _ in 0..ROUNDS {
            for (code, entry_point, inputs) in &programs {
                let source = Value::from(*code);
                let request = |name, code| {
                    encoded(&[
                        source.clone(),
                        name,
                        Value::from(1 << 16),
                        Value::None,
                        code,
                    ])
                };
                let answer = self.call(load, &request(Value::None, Value::None))?;
                let compiled = Response::read(&answer).ok().map(Response::into_code);
                let mut ways = vec![Value::None];
                ways.extend(compiled.and_then(|code| code.ok()).map(Value::Bytes));
                for way in ways {
                    let answer = self.call(load, &request((*entry_point).into(), way))?;
                    expect(
                        &answer,
                        if inputs.is_empty() {
                            "syntax"
                        } else {
                            "loaded"
                        },
                    )?;
                    // The first ends well, the others also raise.
                    for (at, input) in inputs.iter().enumerate() {
                        let answer = self.call(call, &encoded(input))?;
                        if at == 0 {
                            expect(&answer, "value")?;
                        }
                    }
                }
            }
            let source = Value::from(SCRIPT_WARM_UP);
            let (args, stdin) = (
                Value::List(vec![]),
                Value::Bytes(b"2\n1 2\n3 4\n5\n".to_vec()),
            );
            let cap = Value::from(1 << 16);
            let request = encoded(&[source, args, cap, Value::None, Value::None, stdin]);
            expect(&self.call(script, &request)?, "script")?;
        }
        Ok(())
    }

    /// Calls a Python function that takes and returns bytes.
    fn call(&mut self, function: Object, bytes: &[u8]) -> Result<Vec<u8>> {
        let call: TypedFunc<(Object, Object), Object> = self.function("PyObject_CallOneArg")?;
        let argument = self.abi.enter(&mut self.store, bytes).map_err(broken)?;
        let result = call.call(&mut self.store, (function, argument))?;
        let bytes = self
            .abi
            .leave(&mut self.store, result, usize::MAX)
            .map_err(broken)?;
        self.abi.release.call(&mut self.store, result)?;
        self.abi.release.call(&mut self.store, argument)?;
        Ok(bytes)
    }

    /// Allocates every free block of the heap below its end; gives the address from which on all is free.
    fn plug(&mut self) -> Result<usize> {
        let malloc: TypedFunc<i32, i32> = self.function("malloc")?;
        let free: TypedFunc<i32, ()> = self.function("free")?;
        // Larger than any hole, so this block comes from the end of the heap, and goes back to it.
        let probe = malloc.call(&mut self.store, 4 << 20)?;
        free.call(&mut self.store, probe)?;
        let top = probe as u32;
        let mut size = LARGEST_BLOCK;
        while size > 0 {
            loop {
                let block = malloc.call(&mut self.store, size)?;
                if block as u32 >= top {
                    free.call(&mut self.store, block)?;
                    break;
                }
            }
            // Blocks are multiples of 16 bytes, of which the allocator takes 4.
            size = match size {
                0x1_0001.. => size - 8192,
                0x1001.. => size - 256,
                _ => (size - 13).div_euclid(16) * 16 + 12,
            };
        }
        Ok(top as usize)
    }

    fn globals(&mut self) -> HashMap<String, i32> {
        let mut globals = HashMap::new();
        for name in &self.names {
            if let Some(global) = self.instance.get_global(&mut self.store, name)
                && let Some(value) = global.get(&mut self.store).i32()
            {
                globals.insert(name.clone(), value);
            }
        }
        globals
    }
}

/// What runs only to fail warms up nothing.
fn expect(answer: &[u8], status: &str) -> Result<()> {
    match Response::read(answer) {
        Ok(response) if response.status() == status => Ok(()),
        Ok(response) => {
            let (found, what) = (
                response.status().to_owned(),
                response.outcome(&Limits::default()),
            );
            Err(failed(&format!(
                "a program that warms it up ends with {found}, {what:?}"
            )))
        }
        Err(outcome) => Err(failed(&format!(
            "a program that warms it up ends with {outcome}"
        ))),
    }
}

/// The 32-bit numbers that `bytes` are.
fn addresses_in(bytes: &[u8]) -> Vec<usize> {
    let words = bytes.as_chunks().0.iter();
    words
        .map(|word| u32::from_le_bytes(*word) as usize)
        .collect()
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write_tuple(values, &mut bytes);
    bytes
}

fn failed(why: &str) -> BuildError {
    BuildError::Compile { why: why.into() }
}

fn broken(broken: Broken) -> BuildError {
    match broken {
        Broken::Died(error) => error.into(),
        Broken::Raised => failed("the guest raised an exception while it was warmed up"),
        Broken::Malformed | Broken::TooLarge => {
            failed("the guest returned something else than bytes")
        }
    }
}
