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

/// Enough for the recursion that CPython allows itself, which counts the bytes of C's stack in the guest's memory only: with
/// less, `repr` of a deep tuple would end the instance before Python could raise RecursionError.
const WASM_STACK: usize = 48 << 20;

/// The tables of the runtime: CPython's functions, and those that stand for the operating system's.
const TABLES: u32 = 2;

/// What of the configuration changes the compiled code, in words, so that the runtime's hash covers it.
pub(crate) const CODE_SETTINGS: &str = "epochs, with and without fuel";

/// What the compiled code counts while it runs. Counting costs time, so the runtime is compiled once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metering {
    /// Instructions, and looks at the clock.
    Fuel,
    /// Only looks at the clock.
    Clock,
}

/// The configuration of an engine with room for `slots` instances at a time.
fn config(slots: u32, metering: Metering) -> Config {
    let mut config = Config::new();
    // What changes the compiled code; keep in step with CODE_SETTINGS.
    config.consume_fuel(metering == Metering::Fuel);
    config.epoch_interruption(true);
    config.concurrency_support(false);
    config.generate_address_map(false).native_unwind_info(false);
    // What does not.
    config.memory_init_cow(true);
    // No async calls are made, but wasmtime wants their stacks to be as large.
    config
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(WASM_STACK);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_core_instances(slots)
        .total_memories(slots)
        .total_tables(slots * TABLES)
        .max_tables_per_module(TABLES)
        .max_core_instance_size(1 << 20)
        .table_elements(8000)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(4 << 20)
        .table_keep_resident(1 << 20)
        .pagemap_scan(pagemap_scan());
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The scan finds the pages that a program wrote, so that only those are reset. It does not see written pages that were
/// swapped out, and would leave them to the next program: where the machine swaps, all pages are reset the slow way.
fn pagemap_scan() -> Enabled {
    match std::fs::read_to_string("/proc/swaps") {
        // A heading, then a line for each area.
        Ok(swaps) if swaps.lines().count() <= 1 => Enabled::Auto,
        _ => Enabled::No,
    }
}

/// An engine with room for `slots` instances at a time.
pub(crate) fn engine(slots: u32, metering: Metering) -> Result<Engine, Fault> {
    Engine::new(&config(slots, metering)).map_err(|error| Fault::Engine {
        why: format!("{error:#}"),
    })
}

/// A thread that advances the epoch every [`TICK`] until dropped.
#[derive(Debug)]
pub(crate) struct Ticker(Arc<AtomicBool>);

impl Ticker {
    pub(crate) fn start(advance: impl Fn() + Send + 'static) -> Result<Ticker, Fault> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tick = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                advance();
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
