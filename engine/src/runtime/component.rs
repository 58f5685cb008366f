//! A component, compiled and linked: what it may import, which roles it plays.

use std::sync::Arc;

use wasmtime::component::{Component as Compiled, InstancePre, Linker, types::ComponentItem};

use super::bindings::exports::factum::domain::{aggregate, manifest, projection, queries};
use super::host::Host;
use super::instance::Instance;
use super::{GuestError, GuestLimits};
use crate::decision::Hash;

const PACKAGE: &str = "factum:domain/";
const CONTRACT: &str = "0.1";

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
    /// The bytes are no WebAssembly component.
    NotAComponent(String),
    /// It imports something that no guest may have.
    ForbiddenImport(String),
    /// It was made for a contract that this version does not speak.
    WrongContract(String),
    /// It lacks an interface, or one has another shape than the contract says.
    Export(String),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => {
                write!(f, "the component has {bytes} bytes and component_bytes allows {limit}")
            }
            Self::NotAComponent(reason) => write!(
                f,
                "these bytes are not a WebAssembly component: {reason}; build one with `factum \
                 build`"
            ),
            Self::ForbiddenImport(name) => write!(
                f,
                "the component imports {name}, and guests may import only \
                 {PACKAGE}read-models@{CONTRACT} and {PACKAGE}log@{CONTRACT}"
            ),
            Self::WrongContract(name) => write!(
                f,
                "the component uses {name}, and this server speaks {PACKAGE}*@{CONTRACT}; build \
                 it with an SDK of that contract"
            ),
            Self::Export(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for LoadError {}

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
}

pub(super) struct Parts {
    pub(super) pre: InstancePre<Host>,
    pub(super) manifest: manifest::GuestIndices,
    pub(super) aggregate: Option<aggregate::GuestIndices>,
    pub(super) projection: Option<projection::GuestIndices>,
    pub(super) queries: Option<queries::GuestIndices>,
    pub(super) limits: GuestLimits,
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
    pub(super) fn load(
        engine: &wasmtime::Engine,
        linker: &Linker<Host>,
        limits: GuestLimits,
        bytes: &[u8],
    ) -> Result<Self, LoadError> {
        let (size, limit) = (bytes.len(), limits.component_bytes);
        if size > limit {
            return Err(LoadError::TooLarge { bytes: size, limit });
        }
        let reason = match bytes.get(..8) {
            Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => Some("they are a core module"),
            Some([b'\0', b'a', b's', b'm', ..]) => None,
            _ => Some("they do not begin as WebAssembly does"),
        };
        if let Some(reason) = reason {
            return Err(LoadError::NotAComponent(reason.to_owned()));
        }
        let compiled = Compiled::from_binary(engine, bytes)
            .map_err(|error| LoadError::NotAComponent(one_line(&error)))?;
        check_imports(engine, &compiled)?;
        let exports = Exports::find(engine, &compiled)?;
        let pre = linker.instantiate_pre(&compiled).map_err(|error| {
            LoadError::Export(format!("an import does not fit: {}", one_line(&error)))
        })?;
        let misfit = |error: wasmtime::Error| {
            LoadError::Export(format!("an export does not fit the contract: {}", one_line(&error)))
        };
        let parts = Parts {
            manifest: manifest::GuestIndices::new(&pre).map_err(|_| {
                LoadError::Export(format!("the component does not export {PACKAGE}manifest"))
            })?,
            aggregate: exports
                .aggregate
                .then(|| aggregate::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            projection: exports
                .projection
                .then(|| projection::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            queries: exports
                .queries
                .then(|| queries::GuestIndices::new(&pre).map_err(misfit))
                .transpose()?,
            pre,
            limits,
            digest: *blake3::hash(bytes).as_bytes(),
        };
        let component = Self { parts: Arc::new(parts) };
        // Function types are compared when the first instance is made.
        match component.instantiate("check") {
            Ok(_) => Ok(component),
            Err(error) => Err(LoadError::Export(error.to_string())),
        }
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

    /// Makes a fresh instance; `module` names it in the log.
    ///
    /// # Errors
    /// [`GuestError`] when its start code fails or no slot is free.
    pub fn instantiate(&self, module: &str) -> Result<Instance, GuestError> {
        Instance::new(&self.parts, Arc::from(module))
    }
}

/// An error of wasmtime's as one line: some of its messages are drawings.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The interfaces of our package that a component exports.
#[derive(Default)]
struct Exports {
    aggregate: bool,
    projection: bool,
    queries: bool,
}

impl Exports {
    fn find(engine: &wasmtime::Engine, compiled: &Compiled) -> Result<Self, LoadError> {
        let mut found = Self::default();
        for (name, _) in compiled.component_type().exports(engine) {
            let Some(interface) = of_contract(name)? else { continue };
            match interface {
                "aggregate" => found.aggregate = true,
                "projection" => found.projection = true,
                "queries" => found.queries = true,
                _ => {}
            }
        }
        Ok(found)
    }
}

fn check_imports(engine: &wasmtime::Engine, compiled: &Compiled) -> Result<(), LoadError> {
    for (name, item) in compiled.component_type().imports(engine) {
        let known = matches!(of_contract(name)?, Some("read-models" | "log" | "types"));
        if !known || !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            return Err(LoadError::ForbiddenImport(name.to_owned()));
        }
    }
    Ok(())
}

/// The interface that a name of our package names; none for other packages' names.
fn of_contract(name: &str) -> Result<Option<&str>, LoadError> {
    let Some(rest) = name.strip_prefix(PACKAGE) else { return Ok(None) };
    match rest.split_once('@') {
        Some((interface, version)) if version.starts_with("0.1.") => Ok(Some(interface)),
        _ => Err(LoadError::WrongContract(name.to_owned())),
    }
}
