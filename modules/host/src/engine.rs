//! The engine: its settings, its digest, its pool of instances, its clock tick.
//!
//! Every setting that could change a result stands in [`engine_description`],
//! and so in the engine config digest that travels with each result.

use gnomon_schemas::Digest;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmFeatures,
};

use crate::evaluate::{CallState, OUTPUT_WEIGHT_BYTES_MAX};

/// The release of the engine; held to `Cargo.lock` by a test.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// The stack of one guest call.
pub const WASM_STACK_BYTES: usize = 128 * 1024;
/// The most linear memory of any instance, whatever its budget.
pub const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most table elements of any instance.
pub const TABLE_ELEMENTS_MAX: usize = 10_000;
/// How often the wall-clock fence is looked at.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);
/// Compiled modules kept in memory, so that a candidate that is promoted and a
/// module that is rolled back to need no second compilation.
const COMPILED_MODULES_MAX: usize = 16;

/// How many instances a host can hold at a time.
#[derive(Debug, Clone, Copy)]
pub struct HostOptions {
    /// Component instances at a time: one per thread that evaluates or admits.
    pub instances: u32,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions { instances: 8 }
    }
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine could not start: {0}")]
pub struct HostError(String);

/// The engine and what is compiled in it.
pub struct Host {
    engine: Engine,
    linker: Linker<CallState>,
    digest: Digest,
    compiled: Mutex<VecDeque<(Digest, Arc<Component>)>>,
}

impl Host {
    /// Starts an engine.
    ///
    /// # Errors
    /// [`HostError`] when the platform cannot give it memory.
    pub fn new(options: &HostOptions) -> Result<Host, HostError> {
        let engine =
            Engine::new(&config(options)).map_err(|error| HostError(format!("{error:#}")))?;
        tick_epochs_of(engine.weak())
            .map_err(|error| HostError(format!("no thread for the deadlines: {error}")))?;
        Ok(Host {
            linker: Linker::new(&engine),
            digest: digest(),
            compiled: Mutex::default(),
            engine,
        })
    }

    /// The engine config digest: all that could change a result besides module and inputs.
    pub fn engine_digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn linker(&self) -> &Linker<CallState> {
        &self.linker
    }

    /// The compiled form of these bytes, from memory if they were compiled before.
    pub(crate) fn compiled(&self, bytes: &[u8]) -> Result<(Digest, Arc<Component>), String> {
        let digest = Digest::of(bytes);
        if let Some(known) = self.remembered(&digest) {
            return Ok((digest, known));
        }
        let component = Component::from_binary(&self.engine, bytes)
            .map(Arc::new)
            .map_err(|error| format!("{error:#}"))?;
        self.remember(&digest, &component);
        Ok((digest, component))
    }

    pub(crate) fn remembered(&self, digest: &Digest) -> Option<Arc<Component>> {
        let compiled = self.lock_compiled();
        compiled.iter().find(|(known, _)| known == digest).map(|(_, known)| Arc::clone(known))
    }

    pub(crate) fn remember(&self, digest: &Digest, component: &Arc<Component>) {
        let mut compiled = self.lock_compiled();
        // Another thread may have compiled the same meanwhile.
        compiled.retain(|(known, _)| known != digest);
        if compiled.len() == COMPILED_MODULES_MAX {
            compiled.pop_front();
        }
        compiled.push_back((digest.clone(), Arc::clone(component)));
    }

    /// Forgets what was compiled; what is admitted stays usable.
    pub fn forget_compiled(&self) {
        self.lock_compiled().clear();
    }

    /// A panic while the lock is held leaves a list that is still whole.
    fn lock_compiled(&self) -> MutexGuard<'_, VecDeque<(Digest, Arc<Component>)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The WebAssembly features that a guest may use: the floor that every
/// language's toolchain needs, and what the component model is made of.
pub fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::BULK_MEMORY
        // An encoding, not an ability: linkers pad the table index of `call_indirect`.
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::FLOATS
        | WasmFeatures::COMPONENT_MODEL
}

fn config(options: &HostOptions) -> Config {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(features(), true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_backtrace_max_frames(None)
        // Copied, and paid for, at each start: a mapped image is not to be had behind a
        // runner's walls, and the same start must cost the same fuel everywhere.
        .memory_init_cow(false)
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)))
        .memory_reservation(MEMORY_BYTES_MAX as u64)
        .memory_guard_size(64 * 1024);
    config
}

/// Resident memory makes a fresh instance per call cheap: pages that the last
/// instance touched are cleared instead of being returned and faulted in again.
pub fn pool(options: &HostOptions) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.instances)
        .total_core_instances(options.instances * 4)
        .total_memories(options.instances)
        .total_tables(options.instances * 2)
        .max_core_instances_per_component(4)
        .max_memories_per_component(1)
        .max_tables_per_component(2)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(128 * 1024)
        .table_keep_resident(16 * 1024)
        .max_unused_warm_slots(options.instances);
    pool
}

/// The text whose digest is the engine config digest.
pub fn engine_description() -> String {
    format!(
        "wasmtime {WASMTIME_VERSION}; fuel on, default operator costs, instantiation apart; \
         NaN canonicalization on; features {:?}; fresh instance per call, images copied; \
         stack {WASM_STACK_BYTES}; \
         memory max {MEMORY_BYTES_MAX}; table elements max {TABLE_ELEMENTS_MAX}; \
         outputs and state max {OUTPUT_WEIGHT_BYTES_MAX} each",
        features().iter_names().map(|(name, _)| name).collect::<Vec<_>>()
    )
}

/// The engine config digest of every host of this release.
pub fn digest() -> Digest {
    Digest::of(engine_description().as_bytes())
}

/// One thread per process moves the epochs of all engines on; it ends with the last of them.
fn tick_epochs_of(engine: EngineWeak) -> std::io::Result<()> {
    static ENGINES: OnceLock<Mutex<Vec<EngineWeak>>> = OnceLock::new();
    let engines = ENGINES.get_or_init(Mutex::default);
    // Held until the thread runs, so that no other engine counts on one that never will.
    let mut list = engines.lock().unwrap_or_else(PoisonError::into_inner);
    list.push(engine);
    if list.len() > 1 {
        return Ok(());
    }
    let spawned = std::thread::Builder::new().name("gnomon-epochs".into()).spawn(move || {
        loop {
            std::thread::sleep(EPOCH_TICK);
            let mut list = engines.lock().unwrap_or_else(PoisonError::into_inner);
            list.retain(|weak| weak.upgrade().map(|engine| engine.increment_epoch()).is_some());
            if list.is_empty() {
                return;
            }
        }
    });
    if spawned.is_err() {
        list.clear();
    }
    spawned.map(drop)
}
