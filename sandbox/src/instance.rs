//! One interpreter: start it, load a module, call a function. The rest of the crate sees bytes and fuel, and nothing of
//! how the guest is laid out.

use std::time::Duration;

use wasmtime::component::{Component, InstancePre, Linker, TypedFunc};
use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use crate::engine::TICK;
use crate::fault::Fault;
use crate::outcome::{Outcome, TimeLimit};
use crate::test::Limits;

type Export = TypedFunc<(Vec<u8>,), (Vec<u8>,)>;

/// The guest, linked and ready to be started many times.
#[derive(Clone)]
pub(crate) struct Template {
    engine: Engine,
    pre: InstancePre<Memory>,
}

/// A running interpreter. It is lost once a call has died.
pub(crate) struct Instance {
    store: Store<Memory>,
    load: Export,
    call: Export,
    deadline: u64,
}

/// What a call gave: the guest's bytes or how it died, and the fuel it took.
pub(crate) struct Reply {
    pub(crate) bytes: Result<Vec<u8>, Outcome>,
    pub(crate) fuel: u64,
}

/// Counts a store's memory, and remembers that more was wanted.
struct Memory {
    limit: usize,
    refused: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.limit;
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= maximum.unwrap_or(desired))
    }
}

impl Template {
    /// Links `component`, which must need nothing from the host.
    pub(crate) fn new(engine: &Engine, component: &Component) -> Result<Template, Fault> {
        let pre = Linker::new(engine)
            .instantiate_pre(component)
            .map_err(instance_fault)?;
        Ok(Template {
            engine: engine.clone(),
            pre,
        })
    }

    /// Starts a fresh interpreter under `limits`.
    pub(crate) fn start(&self, limits: &Limits) -> Result<Instance, Fault> {
        let mut store = Store::new(
            &self.engine,
            Memory {
                limit: limits.memory_bytes,
                refused: false,
            },
        );
        store.limiter(|memory| memory);
        store.epoch_deadline_trap();
        // A hostile guest may claim a response of any length: beyond honest sizes wasmtime does not copy it.
        store.set_hostcall_fuel(
            limits
                .output_bytes
                .saturating_mul(2)
                .saturating_add(64 << 10),
        );
        let deadline = ticks(limits.wall);
        store.set_epoch_deadline(deadline);
        store.set_fuel(u64::MAX).map_err(instance_fault)?;
        let instance = self.pre.instantiate(&mut store).map_err(instance_fault)?;
        let load = instance
            .get_typed_func(&mut store, "load")
            .map_err(instance_fault)?;
        let call = instance
            .get_typed_func(&mut store, "call")
            .map_err(instance_fault)?;
        Ok(Instance {
            store,
            load,
            call,
            deadline,
        })
    }
}

impl Instance {
    /// Sends `request` to the guest's `load`.
    pub(crate) fn load(&mut self, request: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.run(self.load, request, fuel)
    }

    /// Sends `args` to the guest's `call`.
    pub(crate) fn call(&mut self, args: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.run(self.call, args, fuel)
    }

    fn run(&mut self, export: Export, bytes: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.store.set_fuel(fuel).map_err(instance_fault)?;
        self.store.set_epoch_deadline(self.deadline);
        let result = export.call(&mut self.store, (bytes,));
        let left = self.store.get_fuel().map_err(instance_fault)?;
        let bytes = match result {
            Ok((bytes,)) => Ok(bytes),
            Err(error) => Err(death(
                error.downcast_ref::<Trap>(),
                self.store.data().refused,
            )),
        };
        Ok(Reply {
            bytes,
            fuel: fuel - left,
        })
    }
}

/// What the way an instance died says about the code it ran.
fn death(trap: Option<&Trap>, memory_refused: bool) -> Outcome {
    match trap {
        Some(Trap::OutOfFuel) => Outcome::Timeout {
            limit: TimeLimit::Fuel,
        },
        Some(Trap::Interrupt) => Outcome::Timeout {
            limit: TimeLimit::Wall,
        },
        Some(Trap::StackOverflow) => Outcome::StackOverflow,
        // CPython gives up where it cannot even raise MemoryError.
        Some(_) if memory_refused => Outcome::OutOfMemory,
        Some(Trap::UnreachableCodeReached) => Outcome::Forbidden {
            what: "a system call".into(),
        },
        // A response that breaks the canonical ABI, or memory errors that native code would die of.
        Some(_) | None => Outcome::Malformed,
    }
}

fn ticks(wall: Duration) -> u64 {
    // One more, since the first tick may come at once.
    u64::try_from(wall.as_nanos().div_ceil(TICK.as_nanos()))
        .unwrap_or(u64::MAX / 2)
        .min(u64::MAX / 2)
        + 1
}

fn instance_fault(error: wasmtime::Error) -> Fault {
    Fault::Instance {
        why: format!("{error:#}"),
    }
}
