//! One interpreter: start it, load a module, call a function. The rest of the crate sees bytes and fuel, and nothing of
//! how the guest is laid out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::{Component, InstancePre, Linker, TypedFunc};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

use crate::engine::TICK;
use crate::fault::Fault;
use crate::outcome::{Outcome, TimeLimit};
use crate::test::{Limits, MEMORY_WANTED};

type Export = TypedFunc<(Vec<u8>,), (Vec<u8>,)>;

/// The guest, linked and ready to be started many times.
#[derive(Clone)]
pub(crate) struct Template {
    engine: Engine,
    pre: InstancePre<State>,
}

/// Tells instances whose answers nobody waits for any more to stop. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops every instance that was started with this, at the next tick of the epoch.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running interpreter. It is lost once a call has died.
pub(crate) struct Instance {
    store: Store<State>,
    load: Export,
    call: Export,
    wall_ticks: u64,
}

/// What a call gave: the guest's bytes or how it died, and the fuel it took.
pub(crate) struct Reply {
    pub(crate) bytes: Result<Vec<u8>, Outcome>,
    pub(crate) fuel: u64,
}

/// What a store counts: its memory, and whether more was wanted; the epochs that the running call has left.
struct State {
    limit: usize,
    refused: bool,
    ticks_left: u64,
    stop: Stop,
}

impl ResourceLimiter for State {
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

    /// Starts a fresh interpreter under `limits`, which also ends once `stop` says so.
    pub(crate) fn start(&self, limits: &Limits, stop: &Stop) -> Result<Instance, Fault> {
        let wall_ticks = ticks(limits.wall);
        let mut store = Store::new(
            &self.engine,
            State {
                limit: limits.memory_bytes,
                refused: false,
                ticks_left: wall_ticks,
                stop: stop.clone(),
            },
        );
        store.limiter(|state| state);
        store.epoch_deadline_callback(tick);
        // A hostile guest may claim a response of any length: beyond honest sizes wasmtime does not copy it.
        store.set_hostcall_fuel(
            limits
                .output_bytes
                .saturating_mul(2)
                .saturating_add(64 << 10),
        );
        store.set_epoch_deadline(1);
        store.set_fuel(u64::MAX).map_err(instance_fault)?;
        let instance = self.pre.instantiate(&mut store).map_err(|error| {
            if store.data().refused {
                return Fault::Limit {
                    limit: "memory",
                    found: format!("{} bytes", limits.memory_bytes),
                    wanted: MEMORY_WANTED,
                };
            }
            instance_fault(error)
        })?;
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
            wall_ticks,
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
        self.store.data_mut().ticks_left = self.wall_ticks;
        self.store.set_epoch_deadline(1);
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

/// Runs at each tick of the epoch while a call does.
fn tick(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.ticks_left = state.ticks_left.saturating_sub(1);
    if state.ticks_left == 0 || state.stop.stopped() {
        return Err(Trap::Interrupt.into());
    }
    Ok(UpdateDeadline::Continue(1))
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
