//! One interpreter: start it, load a module, call a function. The rest of the crate sees bytes and fuel, and nothing of
//! how the guest is laid out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{
    Engine, Func, Instance as Exports, InstancePre, Linker, Module, ModuleExport, ResourceLimiter,
    Store, StoreContextMut, Trap, TypedFunc, UpdateDeadline, WasmParams, WasmResults,
};

use crate::abi::{self, Abi, Broken, Object};
use crate::cause::{Causes, LastWords};
use crate::engine::{self, Metering, TICK};
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::runtime;
use crate::test::{Limits, MEMORY_WANTED, SetOrder};

/// The functions by which the host calls a candidate: each takes a `bytes` object and returns one.
pub(crate) const LOAD: &str = "load";
pub(crate) const CALL: &str = "call";
pub(crate) const SCRIPT: &str = "script";

/// The function by which the host turns the order of sets around.
pub(crate) const REVERSE_SETS: &str = "reverse_sets";

/// The guest, ready to be started many times. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Template {
    inner: Arc<Inner>,
}

struct Inner {
    fuel: Machine,
    /// Opened when first needed.
    clock: OnceLock<Machine>,
    dir: std::path::PathBuf,
    slots: u32,
}

/// The guest as one engine runs it.
struct Machine {
    engine: Engine,
    pre: InstancePre<State>,
    memory: ModuleExport,
    load: ModuleExport,
    call: ModuleExport,
    script: ModuleExport,
    reverse_sets: ModuleExport,
    /// In the order of [`abi::EXPORTS`].
    abi: [ModuleExport; 4],
    causes: Arc<Causes>,
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
    exports: Exports,
    causes: Arc<Causes>,
    abi: Abi,
    load: TypedFunc<Object, Object>,
    call: TypedFunc<Object, Object>,
    script: TypedFunc<Object, Object>,
    /// What earlier calls left for the host to give back.
    held: Vec<Object>,
    wall_ticks: u64,
    metering: Metering,
    /// An honest response is not longer.
    cap: usize,
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
    /// Opens the runtime in `dir` for `slots` interpreters at a time.
    pub(crate) fn open(dir: &Path, slots: u32) -> Result<Template, Fault> {
        Ok(Template {
            inner: Arc::new(Inner {
                fuel: Machine::open(dir, slots, Metering::Fuel)?,
                clock: OnceLock::new(),
                dir: dir.to_owned(),
                slots,
            }),
        })
    }

    /// Advances the epoch by which the wall clock stops interpreters.
    pub(crate) fn tick(&self) {
        self.inner.fuel.engine.increment_epoch();
        if let Some(machine) = self.inner.clock.get() {
            machine.engine.increment_epoch();
        }
    }

    /// Starts a fresh interpreter under `limits`, which also ends once `stop` says so.
    pub(crate) fn start(&self, limits: &Limits, stop: &Stop) -> Result<Instance, Fault> {
        match limits.fuel {
            Some(_) => self.inner.fuel.start(limits, Metering::Fuel, stop),
            None => self.clock()?.start(limits, Metering::Clock, stop),
        }
    }

    fn clock(&self) -> Result<&Machine, Fault> {
        if let Some(machine) = self.inner.clock.get() {
            return Ok(machine);
        }
        // Two threads may both open it; one of the two is dropped.
        let machine = Machine::open(&self.inner.dir, self.inner.slots, Metering::Clock)?;
        Ok(self.inner.clock.get_or_init(|| machine))
    }
}

impl Machine {
    fn open(dir: &Path, slots: u32, metering: Metering) -> Result<Machine, Fault> {
        let engine = engine::engine(slots, metering)?;
        let module = runtime::load(&engine, dir, metering)?;
        Machine::new(engine, &module)
    }

    /// Links `module`, which must need nothing from the host.
    fn new(engine: Engine, module: &Module) -> Result<Machine, Fault> {
        let export = |name: &str| {
            module
                .get_export_index(name)
                .ok_or_else(|| Fault::Instance {
                    why: format!("the runtime exports no {name}"),
                })
        };
        let [allocate, data, size, release] = abi::EXPORTS;
        Ok(Machine {
            pre: Linker::new(&engine)
                .instantiate_pre(module)
                .map_err(instance_fault)?,
            memory: export("memory")?,
            load: export(LOAD)?,
            call: export(CALL)?,
            script: export(SCRIPT)?,
            reverse_sets: export(REVERSE_SETS)?,
            abi: [
                export(allocate)?,
                export(data)?,
                export(size)?,
                export(release)?,
            ],
            causes: Arc::new(Causes::of(module)?),
            engine,
        })
    }

    fn start(&self, limits: &Limits, metering: Metering, stop: &Stop) -> Result<Instance, Fault> {
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
        store.set_epoch_deadline(1);
        let exports = self.pre.instantiate(&mut store).map_err(|error| {
            if store.data().refused {
                return Fault::Limit {
                    limit: "memory",
                    found: format!("{} bytes", limits.memory_bytes),
                    wanted: MEMORY_WANTED,
                };
            }
            instance_fault(error)
        })?;
        let [allocate, data, size, release] = &self.abi;
        let memory = exports
            .get_module_export(&mut store, &self.memory)
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(|| Fault::Instance {
                why: "the runtime's memory is none".into(),
            })?;
        let abi = Abi {
            memory,
            allocate: function(&exports, &mut store, allocate)?,
            data: function(&exports, &mut store, data)?,
            size: function(&exports, &mut store, size)?,
            release: function(&exports, &mut store, release)?,
        };
        if limits.set_order == SetOrder::Reversed {
            let reverse: TypedFunc<i32, ()> = function(&exports, &mut store, &self.reverse_sets)?;
            if metering == Metering::Fuel {
                store.set_fuel(u64::MAX).map_err(instance_fault)?;
            }
            reverse.call(&mut store, 1).map_err(instance_fault)?;
        }
        Ok(Instance {
            load: function(&exports, &mut store, &self.load)?,
            call: function(&exports, &mut store, &self.call)?,
            script: function(&exports, &mut store, &self.script)?,
            causes: Arc::clone(&self.causes),
            exports,
            abi,
            store,
            held: Vec::new(),
            wall_ticks,
            metering,
            cap: limits
                .output_bytes
                .saturating_mul(2)
                .saturating_add(64 << 10),
        })
    }
}

fn function<P: WasmParams, R: WasmResults>(
    exports: &Exports,
    store: &mut Store<State>,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>, Fault> {
    exports
        .get_module_export(&mut *store, export)
        .and_then(wasmtime::Extern::into_func)
        .ok_or_else(|| wasmtime::Error::msg("an export is not a function"))
        .and_then(|function: Func| function.typed(&*store))
        .map_err(instance_fault)
}

impl Instance {
    /// Sends `request` to the guest's `load`.
    pub(crate) fn load(&mut self, request: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.run(self.load.clone(), request, fuel)
    }

    /// Sends `args` to the guest's `call`.
    pub(crate) fn call(&mut self, args: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.run(self.call.clone(), args, fuel)
    }

    /// Sends `request` to the guest's `script`.
    pub(crate) fn script(&mut self, request: Vec<u8>, fuel: u64) -> Result<Reply, Fault> {
        self.run(self.script.clone(), request, fuel)
    }

    fn run(
        &mut self,
        function: TypedFunc<Object, Object>,
        bytes: Vec<u8>,
        fuel: u64,
    ) -> Result<Reply, Fault> {
        self.store.data_mut().ticks_left = self.wall_ticks;
        self.store.data_mut().refused = false;
        self.store.set_epoch_deadline(1);
        if self.metering == Metering::Fuel {
            self.store.set_fuel(fuel).map_err(instance_fault)?;
        }
        let result = self.exchange(&function, &bytes);
        let spent = match self.metering {
            Metering::Fuel => fuel - self.store.get_fuel().map_err(instance_fault)?,
            Metering::Clock => 0,
        };
        let refused = self.store.data().refused;
        let bytes = match result {
            Ok(bytes) => Ok(bytes),
            Err(Broken::Died(error)) => match error.downcast_ref::<Trap>() {
                Some(&trap) => Err(self.death(trap)),
                None => return Err(instance_fault(error)),
            },
            Err(Broken::Raised) if refused => Err(Outcome::OutOfMemory),
            Err(Broken::Raised | Broken::Malformed) => Err(Outcome::Malformed),
            Err(Broken::TooLarge) => Err(Outcome::OutputTooLarge),
        };
        Ok(Reply { bytes, fuel: spent })
    }

    /// What came of the code that `trap` ended.
    fn death(&mut self, trap: Trap) -> Outcome {
        let mut global = |export| {
            let value = self.exports.get_module_export(&mut self.store, export)?;
            value.into_global()?.get(&mut self.store).i32()
        };
        let last = LastWords {
            noted: global(&self.causes.noted).unwrap_or_default(),
            stack_pointer: global(&self.causes.stack_pointer).unwrap_or_default(),
            refused: self.store.data().refused,
        };
        self.causes.outcome(trap, last)
    }

    fn exchange(
        &mut self,
        function: &TypedFunc<Object, Object>,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Broken> {
        for object in self.held.drain(..) {
            self.abi.release.call(&mut self.store, object)?;
        }
        let argument = self.abi.enter(&mut self.store, bytes)?;
        let result = function.call(&mut self.store, argument)?;
        self.held = vec![argument, result];
        self.abi.leave(&mut self.store, result, self.cap)
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

#[cfg(test)]
mod tests;
