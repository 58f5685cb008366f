//! From bytes to code: the gate, the contract, the compiler, in that order, or the cache.

use std::collections::HashSet;
use std::hash::{Hash as _, Hasher};

use wasmtime::component::Component as Compiled;

use super::code_cache::{CodeCache, Settings};
use super::compiler::{CompileError, Compiler};
use super::contract::{Contract, Misfit, WIT};
use super::gate::{self, GateError, GateLimits};
use super::{GuestError, GuestLimits, RuntimeOptions, Wasi, one_line};
use crate::clock::Stopwatch;
use crate::decision::Hash;

/// Why bytes are not a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// More bytes than `component_bytes` allows.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// They are no component, or one that exceeds a limit of the gate.
    Gate(GateError),
    /// It does not fit the contract.
    Misfit(Misfit),
    /// It was not compiled.
    Compile(CompileError),
    /// It cannot be linked, though its types fit.
    Link(String),
    /// It does not start.
    Start(GuestError),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(f, "the component has {bytes} bytes and component_bytes allows {limit}")
            }
            Self::Gate(error) => error.fmt(f),
            Self::Misfit(error) => error.fmt(f),
            Self::Compile(error) => error.fmt(f),
            Self::Link(reason) => write!(f, "the component cannot be linked: {reason}"),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

#[derive(Debug)]
pub(super) struct Loader {
    live: Form,
    metered: Form,
    gate: GateLimits,
    contract: Contract,
    guests: GuestLimits,
    compiler: Compiler,
    cache: CodeCache,
}

/// One form of code: as it answers, or with its fuel counted.
#[derive(Debug)]
struct Form {
    engine: wasmtime::Engine,
    metered: bool,
    settings: Settings,
}

impl Loader {
    pub(super) fn new(
        live: wasmtime::Engine,
        metered: wasmtime::Engine,
        options: RuntimeOptions,
    ) -> Result<Self, String> {
        let cache = CodeCache::open(options.cache.clone(), options.compile.code_bytes)?;
        let directory = cache.dir().to_owned();
        let form = |engine: wasmtime::Engine, metered| Form {
            settings: settings(&engine, &options),
            engine,
            metered,
        };
        Ok(Self {
            live: form(live, false),
            metered: form(metered, true),
            gate: options.gate,
            contract: Contract::read(options.wasi)?,
            guests: options.guests,
            compiler: Compiler::new(options.compiler, options.compile, directory),
            cache,
        })
    }

    /// The digest of a component and its code, made now or before.
    pub(super) fn load(&self, bytes: &[u8]) -> Result<(Hash, Compiled), LoadError> {
        self.load_as(&self.live, bytes)
    }

    /// The same for the form that counts fuel.
    pub(super) fn load_metered(&self, bytes: &[u8]) -> Result<(Hash, Compiled), LoadError> {
        self.load_as(&self.metered, bytes)
    }

    fn load_as(&self, form: &Form, bytes: &[u8]) -> Result<(Hash, Compiled), LoadError> {
        let digest = *blake3::hash(bytes).as_bytes();
        if let Some(compiled) = self.cached(form, &digest) {
            return Ok((digest, compiled));
        }
        // Before its turn to compile: what is refused here costs next to nothing.
        self.check(bytes)?;
        let place = self.compiler.place();
        // Whoever had the turn before may have compiled the same.
        if let Some(compiled) = self.cached(form, &digest) {
            return Ok((digest, compiled));
        }
        let since = Stopwatch::start();
        let code = self
            .compiler
            .compile(&place, (&form.engine, form.metered), bytes)
            .map_err(LoadError::Compile)?;
        let compiled = linkable(form, &code).map_err(|error| {
            let reason = format!("its code is not this server's: {error}");
            LoadError::Compile(CompileError::Unavailable(reason))
        })?;
        if let Err(error) = self.cache.put(&digest, &form.settings, &code) {
            tracing::warn!(%error, "compiled code cannot be kept; the next start compiles again");
        }
        let took = since.elapsed();
        tracing::info!(bytes = bytes.len(), code_bytes = code.len(), ?took, "compiled a component");
        Ok((digest, compiled))
    }

    /// Everything that is looked at before a compiler sees the bytes.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), LoadError> {
        let (size, limit) = (bytes.len(), self.guests.component_bytes);
        if size > limit {
            return Err(LoadError::TooLarge { bytes: size, limit });
        }
        let features = self.live.engine.get_wasm_features();
        let memory = self.guests.memory_bytes;
        let passed = gate::check(bytes, features, &self.gate, memory).map_err(LoadError::Gate)?;
        self.contract.fits(&passed).map_err(LoadError::Misfit)
    }

    fn cached(&self, form: &Form, digest: &Hash) -> Option<Compiled> {
        let code = self.cache.get(digest, &form.settings)?;
        match linkable(form, &code) {
            Ok(compiled) => Some(compiled),
            Err(reason) => {
                tracing::warn!(reason, "compiled code cannot be used; compiling again");
                None
            }
        }
    }

    pub(super) fn forget(&self, digest: &Hash) {
        for form in [&self.live, &self.metered] {
            self.cache.forget(digest, &form.settings);
        }
    }

    pub(super) fn keep_only(&self, digests: &HashSet<Hash>) {
        self.cache.keep_only(digests, &[&self.live.settings, &self.metered.settings]);
    }
}

#[expect(unsafe_code, reason = "code runs as it is; this is the one place that takes it")]
fn linkable(form: &Form, code: &[u8]) -> Result<Compiled, String> {
    // SAFETY: the bytes are what our compiler answered just now, or what the cache holds under
    // this store's key and put there for the same reason; no file is mapped that may change.
    unsafe { Compiled::deserialize(&form.engine, code) }.map_err(|error| one_line(&error))
}

/// A digest of everything besides the component that its code depends on, or that it had to pass.
fn settings(engine: &wasmtime::Engine, options: &RuntimeOptions) -> Settings {
    struct Digest(blake3::Hasher);
    impl Hasher for Digest {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut digest = Digest(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    let refuses_wasi = options.wasi == Wasi::Refused;
    let memory_bytes = options.guests.memory_bytes;
    (env!("CARGO_PKG_VERSION"), WIT, &options.gate, memory_bytes, refuses_wasi).hash(&mut digest);
    Settings(digest.0.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
