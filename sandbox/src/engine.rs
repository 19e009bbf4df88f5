//! The wasmtime engine: one configuration for compiling the runtime ahead of time and for running it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::fault::Fault;

/// The version of wasmtime that Cargo.toml pins; part of the runtime's hash.
pub(crate) const WASMTIME: &str = "48.0.8";

/// How often the epoch advances: the grain of wall-clock limits.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The stack of a worker thread. The guest may use [`WASM_STACK`] of it.
pub(crate) const HOST_STACK: usize = 64 << 20;

const WASM_STACK: usize = 16 << 20;

/// What of the configuration changes the compiled code, in words, so that the runtime's hash covers it.
pub(crate) const CODE_SETTINGS: &str = "fuel, epochs, no concurrency";

/// The configuration of an engine with room for `slots` instances at a time.
fn config(slots: u32) -> Config {
    let mut config = Config::new();
    // What changes the compiled code; keep in step with CODE_SETTINGS.
    config.consume_fuel(true).epoch_interruption(true);
    config.concurrency_support(false);
    // What does not.
    config.memory_init_cow(true);
    // No async calls are made, but wasmtime wants their stacks to be as large.
    config
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WASM_STACK);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots * 60)
        .total_memories(slots)
        .total_tables(slots * 4)
        .max_core_instances_per_component(60)
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(8000)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(1 << 20)
        .pagemap_scan(Enabled::Auto);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// An engine with room for `slots` instances at a time.
pub(crate) fn engine(slots: u32) -> Result<Engine, Fault> {
    Engine::new(&config(slots)).map_err(|error| Fault::Engine {
        why: format!("{error:#}"),
    })
}

/// A thread that advances the engine's epoch every [`TICK`] until dropped.
#[derive(Debug)]
pub(crate) struct Ticker(Arc<AtomicBool>);

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Result<Ticker, Fault> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, engine) = (Arc::clone(&stop), engine.clone());
        let tick = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        };
        let spawned = std::thread::Builder::new()
            .name("sandbox-ticker".into())
            .spawn(tick);
        spawned
            .map(|_| Ticker(stop))
            .map_err(|error| Fault::Engine {
                why: format!("ticker thread: {error}"),
            })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_the_runtimes_hash_is_the_one_that_is_linked() {
        let pin = format!("wasmtime = {{ version = \"={WASMTIME}\"");
        assert!(include_str!("../Cargo.toml").contains(&pin), "{pin}");
    }
}
