//! Wasm: loading components and calling guests within limits. The only layer that knows wasmtime.
//!
//! Promises: whatever a component is, loading it ends with a typed [`LoadError`] or a
//! [`Component`] within the caps; whatever a guest does, a call ends with an answer or a typed
//! [`GuestError`] within its limits, and an instance that trapped is never called again. It writes
//! nothing but its cache of compiled code.

mod bindings;
mod code_cache;
mod compiler;
mod component;
mod contract;
mod error;
mod frozen;
mod gate;
mod host;
mod instance;
mod live;
mod loader;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use crate::decision::Hash;
use crate::tasks::Spawner;

pub use bindings::exports::factum::domain::projection::Change;
pub use bindings::factum::domain::types::{
    Command, Context, Event, Failure, NewEvent, RecordedEvent, Rejection,
};
pub use code_cache::check_code;
pub use compiler::{CompileArgs, CompileError, CompileLimits, CompilerProgram, compile_from_stdin};
pub use component::{Component, Role};
pub use contract::{Misfit, unspoken};
pub use error::{GuestError, Limit};
pub use gate::{GateError, GateLimits};
pub use host::ReadModelLook;
pub use instance::{Instance, Outcome, State};
pub use live::Live;
pub use loader::LoadError;

use host::Host;
use loader::Loader;

impl<'a> Event<'a> {
    /// What a guest sees of a recorded event; `data` as [`crate::event::guest_data`] makes it.
    #[must_use]
    pub fn of(event: &'a crate::event::RecordedEvent<'a>, data: &'a str) -> Self {
        Self {
            event_type: event.event_type,
            schema_version: event.schema_version,
            content_type: event.content_type,
            data,
            tags: &event.tags,
            stream_id: event.stream,
            stream_version: event.stream_version,
            decided_at_ms: event.decided_at_ms,
        }
    }
}

impl Change {
    /// The collection of its document.
    #[must_use]
    pub fn collection(&self) -> &str {
        let (Self::Put((collection, ..)) | Self::Delete((collection, _))) = self;
        collection
    }

    /// The key of its document.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Self::Put((_, key, _)) | Self::Delete((_, key))) = self;
        key
    }

    /// Its document, JSON; none: there is none from now on.
    #[must_use]
    pub fn document(&self) -> Option<&str> {
        match self {
            Self::Put((.., document)) => Some(document),
            Self::Delete(_) => None,
        }
    }
}

/// What the limit of one module's memory may be raised to, in bytes. 1 GiB: less than the address
/// space that is reserved for it anyway.
pub const MOST_MEMORY_BYTES: usize = 1 << 30;
/// How often running guests are looked at; a deadline is kept to within this.
const TICK: Duration = Duration::from_millis(10);

/// What a guest may use. Each has a default with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// All linear memory of one instance, in bytes. 64 MiB: an interpreter needs 5, and a thousand
    /// instances must fit a small machine.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance. 100,000: an interpreter has some 10,000 functions.
    pub table_elements: usize,
    /// Wall time of one call, in milliseconds. 1,000: a decision takes microseconds, and a batch
    /// of a slow interpreter still fits.
    pub deadline_ms: u64,
    /// Bytes that one call may answer. 8 MiB: the largest group that one commit may cover.
    pub output_bytes: usize,
    /// Lines that one call may log; further ones are counted. 100.
    pub log_lines: u32,
    /// Calls after which an instance is replaced, because memory never shrinks. 100,000.
    pub instance_calls: u64,
    /// Bytes of memory beyond which an instance is replaced after a call. 16 MiB: it is cheap to
    /// make and would keep them for ever.
    pub instance_bytes: usize,
    /// Bytes of a component. 32 MiB: one with a Python interpreter has 19.
    pub component_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            deadline_ms: 1_000,
            output_bytes: 8 << 20,
            log_lines: 100,
            instance_calls: 100_000,
            instance_bytes: 16 << 20,
            component_bytes: 32 << 20,
        }
    }
}

/// What becomes of components that import WASI 0.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wasi {
    /// They get one that stands still: the clock and the randomness of the decision, no files, no
    /// network, no environment.
    #[default]
    Frozen,
    /// They are refused.
    Refused,
}

/// What a runtime is made with.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// What guests may use.
    pub guests: GuestLimits,
    /// What components may consist of.
    pub gate: GateLimits,
    /// Whether they may import WASI.
    pub wasi: Wasi,
    /// What compiling them may cost.
    pub compile: CompileLimits,
    /// Who compiles them.
    pub compiler: CompilerProgram,
    /// The directory that compiled code is kept in; made if it is not there.
    pub cache: PathBuf,
}

/// The Wasm engine and what every component is linked with; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    loader: Arc<Loader>,
    live: Build,
    metered: Build,
    limits: GuestLimits,
}

/// One form of code, and what is linked to it.
#[derive(Clone)]
struct Build {
    engine: wasmtime::Engine,
    linker: Arc<Linker<Host>>,
}

impl Build {
    fn new(config: &Config) -> Result<Self, String> {
        let engine = wasmtime::Engine::new(config)
            .map_err(|error| format!("the Wasm runtime cannot start: {error:#}"))?;
        let linker = linker(&engine).map_err(|error| format!("{error:#}"))?;
        Ok(Self { engine, linker: Arc::new(linker) })
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes the engine and starts the thread that ends overdue calls.
    ///
    /// # Errors
    /// A sentence, when the machine cannot give what the configuration asks for.
    pub fn new(options: RuntimeOptions, spawner: &Spawner) -> Result<Self, String> {
        let limits = options.guests;
        let (live, metered) = (Build::new(&config(&limits))?, Build::new(&metered_config())?);
        let weak = [live.engine.weak(), metered.engine.weak()];
        // It ends within a tick of the last engine handle, so nobody needs to join it.
        drop(spawner.thread("guest-deadlines", move || {
            loop {
                let engines: Vec<_> =
                    weak.iter().filter_map(wasmtime::EngineWeak::upgrade).collect();
                if engines.is_empty() {
                    return;
                }
                engines.iter().for_each(wasmtime::Engine::increment_epoch);
                drop(engines);
                std::thread::sleep(TICK);
            }
        }));
        let loader = Loader::new(live.engine.clone(), metered.engine.clone(), options)?;
        Ok(Self { loader: Arc::new(loader), live, metered, limits })
    }

    /// What guests may use.
    #[must_use]
    pub fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// Looks at a component as [`Self::load`] does before it compiles: quickly, and running
    /// nothing.
    ///
    /// # Errors
    /// [`LoadError`] when it is no component, exceeds a limit of the gate, or does not fit the
    /// contract.
    pub fn check(&self, bytes: &[u8]) -> Result<(), LoadError> {
        self.loader.check(bytes)
    }

    /// Checks a component, compiles it unless it was compiled before, and links it. Compiling may
    /// take as long as its caps, after waiting for its turn.
    ///
    /// # Errors
    /// [`LoadError`] when it is no component, costs too much, or does not fit the contract.
    pub fn load(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let (digest, compiled) = self.loader.load(bytes)?;
        Component::link(&self.live.linker, self.limits, digest, &compiled)
    }

    /// The same for a form whose calls count their fuel, at a price in time: for a sample.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub fn load_metered(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let (digest, compiled) = self.loader.load_metered(bytes)?;
        Component::link(&self.metered.linker, self.limits, digest, &compiled)
    }

    /// Forgets the code of a component that turned out to be none that is kept.
    pub fn forget(&self, digest: &Hash) {
        self.loader.forget(digest);
    }

    /// Forgets the code of all components but these.
    pub fn keep_only(&self, digests: &HashSet<Hash>) {
        self.loader.keep_only(digests);
    }
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    use bindings::factum::domain::{log, read_models, types};
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    read_models::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    log::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    // Linked whatever is allowed: a component that may not import it never comes here.
    frozen::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Settings for determinism and containment; wasmtime's determinism page is the checklist.
fn config(limits: &GuestLimits) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // An interpreter's component has up to 38 core instances.
    pool.max_core_instances_per_component(64)
        .max_memories_per_component(64)
        .max_tables_per_component(64)
        .max_memory_size(limits.memory_bytes.max(MOST_MEMORY_BYTES))
        .table_elements(limits.table_elements)
        .total_component_instances(1_000)
        .total_core_instances(4_000)
        .total_memories(1_000)
        .total_tables(4_000);
    let mut config = code_settings(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.max_wasm_stack(512 << 10);
    config
}

/// The same code with its fuel counted. A sample of calls needs no pool.
fn metered_config() -> Config {
    let mut config = code_settings(true);
    config.max_wasm_stack(512 << 10);
    config
}

/// What the code of a component depends on: the same in the server and in its compiler.
fn code_settings(metered: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(metered)
        .cranelift_nan_canonicalization(true)
        .wasm_features(
            WasmFeatures::THREADS | WasmFeatures::RELAXED_SIMD | WasmFeatures::MEMORY64,
            false,
        )
        .memory_init_cow(true)
        // The compiler has one processor's time to use.
        .parallel_compilation(false);
    config
}

/// An error of wasmtime's as one line: some of its messages are drawings.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
