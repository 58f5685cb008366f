//! A component, compiled and linked: which roles it plays.

use std::sync::Arc;

use wasmtime::component::{Component as Compiled, InstancePre, Linker};

use super::bindings::exports::factum::domain::{aggregate, manifest, projection, queries};
use super::contract::PACKAGE;
use super::frozen;
use super::host::Host;
use super::instance::Instance;
use super::{GuestError, GuestLimits, LoadError, one_line};
use crate::decision::Hash;

/// A part that a module can play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides commands and folds events.
    Aggregate,
    /// It makes read models.
    Projection,
    /// It answers queries over them.
    Queries,
}

/// A component that can be instantiated in microseconds; cheap to clone.
#[derive(Clone)]
pub struct Component {
    parts: Arc<Parts>,
    limits: GuestLimits,
}

pub(super) struct Parts {
    pub(super) pre: InstancePre<Host>,
    pub(super) manifest: manifest::GuestIndices,
    pub(super) aggregate: Option<aggregate::GuestIndices>,
    pub(super) projection: Option<projection::GuestIndices>,
    pub(super) queries: Option<queries::GuestIndices>,
    pub(super) imports_wasi: bool,
    digest: Hash,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("digest", &blake3::Hash::from(self.parts.digest))
            .finish_non_exhaustive()
    }
}

impl Component {
    pub(super) fn link(
        linker: &Linker<Host>,
        limits: GuestLimits,
        digest: Hash,
        compiled: &Compiled,
    ) -> Result<Self, LoadError> {
        let misfit = |error: wasmtime::Error| LoadError::Link(one_line(&error));
        let pre = linker.instantiate_pre(compiled).map_err(misfit)?;
        let exports = |interface: &str| exports(compiled, pre.engine(), interface);
        let imports_wasi = imports_wasi(compiled, pre.engine());
        let parts = Parts {
            manifest: manifest::GuestIndices::new(&pre).map_err(misfit)?,
            aggregate: exports("aggregate")
                .then(|| aggregate::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            projection: exports("projection")
                .then(|| projection::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            queries: exports("queries")
                .then(|| queries::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            imports_wasi,
            pre,
            digest,
        };
        let component = Self { parts: Arc::new(parts), limits };
        // wasmtime compares the types of functions again when the first instance is made.
        component.instantiate("check").map_err(LoadError::Start)?;
        Ok(component)
    }

    /// BLAKE3 of the component's bytes.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.parts.digest
    }

    /// Whether it exports a role's interface.
    #[must_use]
    pub fn plays(&self, role: Role) -> bool {
        match role {
            Role::Aggregate => self.parts.aggregate.is_some(),
            Role::Projection => self.parts.projection.is_some(),
            Role::Queries => self.parts.queries.is_some(),
        }
    }

    /// Whether it imports WASI, so that each of its instances serves one call.
    #[must_use]
    pub fn imports_wasi(&self) -> bool {
        self.parts.imports_wasi
    }

    /// The same component, its instances within other limits.
    #[must_use]
    pub fn within(&self, limits: GuestLimits) -> Self {
        Self { parts: Arc::clone(&self.parts), limits }
    }

    /// Makes a fresh instance; `module` names it in the log.
    ///
    /// # Errors
    /// [`GuestError`] when its start code fails or no slot is free.
    pub fn instantiate(&self, module: &str) -> Result<Instance, GuestError> {
        Instance::new(&self.parts, self.limits, Arc::from(module))
    }
}

fn imports_wasi(compiled: &Compiled, engine: &wasmtime::Engine) -> bool {
    let ty = compiled.component_type();
    ty.imports(engine).any(|(name, _)| name.starts_with(frozen::PACKAGES))
}

/// Whether a component exports an interface of the contract, of a version that passed the gate.
fn exports(compiled: &Compiled, engine: &wasmtime::Engine, interface: &str) -> bool {
    let ty = compiled.component_type();
    let mut names = ty.exports(engine).filter_map(|(name, _)| name.strip_prefix(PACKAGE));
    names.any(|name| name.split_once('@').is_some_and(|(found, _)| found == interface))
}
