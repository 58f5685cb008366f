//! Modules: uploaded versions side by side, and which of each is active.
//!
//! Promises: an upload changes nothing that runs; an activation is a record in the log before it
//! takes effect; commands in flight finish on the version they began with; a component that the
//! log names is kept; one that cannot be loaded at start is quarantined and the rest runs.

mod activate;
mod check;
mod limits;
mod store;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::commands::{FuelFigures, Routes, WorkerLimits};
use crate::decision::Hash;
use crate::event_schemas::EventRules;
use crate::manifest::{Manifest, ManifestError};
use crate::projections::Projections;
use crate::runtime::{Component, GuestError, LoadError, Role, Runtime, unspoken};
use crate::schemas::{SchemaLimits, Schemas};
use crate::storage::log::Log;
use crate::tasks::{Spawner, Thread};

pub use activate::{ActivateError, Activation};
pub use check::{CheckLimits, CheckReport, NotFolding};
pub use limits::{LimitsError, ModuleLimits};
pub use store::ComponentStore;

/// A version of a module that can be activated.
#[derive(Clone, Debug)]
pub struct ModuleVersion {
    /// What it says it is.
    pub manifest: Manifest,
    /// BLAKE3 of the component's bytes.
    pub digest: Hash,
    /// Size of the component in bytes.
    pub size_bytes: u64,
    /// When it was uploaded, in milliseconds since 1970.
    pub uploaded_at_ms: u64,
    /// Compiled when it is first needed: a start compiles only what is active.
    component: Arc<Mutex<Option<Component>>>,
}

/// What became of an upload.
#[derive(Clone, Debug)]
pub enum Upload {
    /// It is new.
    New(Arc<ModuleVersion>),
    /// The same bytes were there before.
    Known(Arc<ModuleVersion>),
}

/// Why an upload was refused. Nothing was stored.
#[derive(Clone, Debug)]
pub enum UploadError {
    /// The bytes are no component that fits the contract.
    Load(LoadError),
    /// Its manifest is wrong.
    Manifest(ManifestError),
    /// It failed when it was asked for its manifest.
    Guest(GuestError),
    /// The version exists with other bytes.
    VersionExists {
        /// The module.
        name: String,
        /// The version.
        version: String,
    },
    /// It could not be stored.
    Io(String),
}

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Manifest(error) => error.fmt(f),
            Self::Guest(error) => write!(f, "asked for its manifest, {error}"),
            Self::VersionExists { name, version } => write!(
                f,
                "module {name} {version} was uploaded with other content; give the new content a \
                 new version"
            ),
            Self::Io(reason) => write!(f, "the component could not be stored: {reason}"),
        }
    }
}

impl std::error::Error for UploadError {}

/// A module and its versions.
#[derive(Clone, Debug)]
pub struct ModuleStatus {
    /// Its name.
    pub name: String,
    /// The version that answers, if one does.
    pub active: Option<Arc<ModuleVersion>>,
    /// Each call gets a fresh instance: as was set, or because it was caught with hidden state.
    pub fresh_instances: bool,
    /// It kept hitting its deadline and has one thread.
    pub throttled: bool,
    /// Why it was not started, if it was not.
    pub quarantined: Option<String>,
    /// What its sampled calls cost since the version began to answer.
    pub fuel: FuelFigures,
    /// What it may use.
    pub limits: ModuleLimits,
    /// All versions, by version.
    pub versions: Vec<Arc<ModuleVersion>>,
}

type Versions = BTreeMap<String, BTreeMap<String, Arc<ModuleVersion>>>;

/// Why no module was started, where that was asked for.
const SAFE_MODE: &str = "the server was started with --safe-mode; activate a version to start it";

/// What modules are built on.
#[derive(Clone, Debug)]
pub struct Foundation {
    /// Compiles and links.
    pub runtime: Runtime,
    /// Records activations, and is what commands are decided on.
    pub log: Log,
    /// What events are held to, whoever decides them.
    pub rules: EventRules,
    /// Tells when something was uploaded.
    pub clock: Clock,
    /// What the threads of active modules may use.
    pub workers: WorkerLimits,
    /// What a version must show before it becomes active.
    pub checks: CheckLimits,
    /// What the schemas in its manifest may be.
    pub schemas: SchemaLimits,
    /// Whether to start without modules.
    pub safe_mode: bool,
    /// Starts those threads.
    pub spawner: Spawner,
}

/// All modules.
#[derive(Debug)]
pub struct Modules {
    base: Foundation,
    store: ComponentStore,
    versions: RwLock<Versions>,
    storing: Mutex<()>,
    active: RwLock<BTreeMap<String, Arc<ModuleVersion>>>,
    quarantined: RwLock<BTreeMap<String, String>>,
    /// What was set for a module.
    limits: RwLock<BTreeMap<String, ModuleLimits>>,
    routes: Arc<ArcSwap<Routes>>,
    projections: Arc<Projections>,
    /// Threads of versions that are or were active, joined at shutdown.
    threads: Mutex<Vec<Thread>>,
    /// One activation at a time.
    activating: tokio::sync::Mutex<()>,
}

impl Modules {
    /// Finds what was uploaded and starts what the log says is active.
    ///
    /// # Errors
    /// A sentence, when the components' directory cannot be read.
    pub fn open(
        base: Foundation,
        components: std::path::PathBuf,
        routes: Arc<ArcSwap<Routes>>,
        projections: Arc<Projections>,
    ) -> Result<Self, String> {
        let store = ComponentStore::new(components);
        let mut versions = Versions::new();
        for version in store.list()? {
            let name = version.manifest.name.clone();
            let of_name = versions.entry(name).or_default();
            of_name.insert(version.manifest.version.clone(), Arc::new(version));
        }
        let mut limits = BTreeMap::new();
        for name in versions.keys() {
            let recorded = ModuleLimits::recorded(&base, name)
                .map_err(|reason| format!("the limits of module {name}: {reason}"))?;
            limits.insert(name.clone(), recorded);
        }
        let modules = Self {
            base,
            store,
            versions: RwLock::new(versions),
            storing: Mutex::default(),
            active: RwLock::default(),
            quarantined: RwLock::default(),
            limits: RwLock::new(limits),
            routes,
            projections,
            threads: Mutex::default(),
            activating: tokio::sync::Mutex::default(),
        };
        modules.base.runtime.keep_only(&modules.digests());
        modules.resume();
        let projections: HashSet<_> = modules
            .versions
            .read()
            .values()
            .flat_map(BTreeMap::values)
            .flat_map(|version| version.manifest.projections.iter().map(|p| p.name.clone()))
            .collect();
        modules.projections.remove_orphans(|name| projections.contains(name));
        Ok(modules)
    }

    fn digests(&self) -> HashSet<Hash> {
        self.versions.read().values().flat_map(BTreeMap::values).map(|v| v.digest).collect()
    }

    fn resume(&self) {
        for (name, version, digest) in self.base.log.active_modules() {
            let found = self.find(&name, &version).filter(|found| found.digest == digest);
            let started = match &found {
                _ if self.base.safe_mode => Err(SAFE_MODE.into()),
                Some(found) => self.start(found),
                None => Err("its component is missing from the components directory".into()),
            };
            if let Err(reason) = started {
                tracing::error!(module = name, version, reason, "quarantined: it is not started");
                self.quarantine(&name, found.as_deref(), reason);
            }
        }
    }

    fn find(&self, name: &str, version: &str) -> Option<Arc<ModuleVersion>> {
        self.versions.read().get(name)?.get(version).cloned()
    }

    /// All modules with their versions, by name.
    #[must_use]
    pub fn list(&self) -> Vec<ModuleStatus> {
        let (versions, active) = (self.versions.read(), self.active.read());
        let (quarantined, routes) = (self.quarantined.read(), self.routes.load());
        versions
            .iter()
            .map(|(name, versions)| ModuleStatus {
                name: name.clone(),
                active: active.get(name).cloned(),
                fresh_instances: routes.of_module(name).is_some_and(|active| active.is_fresh()),
                throttled: routes.of_module(name).is_some_and(|active| active.is_throttled()),
                fuel: routes.of_module(name).map(|active| active.fuel()).unwrap_or_default(),
                limits: self.whole_limits(name),
                quarantined: quarantined.get(name).cloned(),
                versions: versions.values().cloned().collect(),
            })
            .collect()
    }

    /// Checks a component and keeps it. It blocks for as long as compiling takes.
    ///
    /// # Errors
    /// [`UploadError`]; nothing was stored.
    pub fn upload(&self, bytes: &Bytes) -> Result<Upload, UploadError> {
        let digest = *blake3::hash(bytes).as_bytes();
        let uploaded = self.check_and_keep(bytes, digest);
        if uploaded.is_err() {
            // What is not kept leaves nothing on the disk, however often it is tried.
            self.base.runtime.forget(&digest);
        }
        uploaded
    }

    fn check_and_keep(&self, bytes: &Bytes, digest: Hash) -> Result<Upload, UploadError> {
        let known = |versions: &Versions| {
            versions.values().flat_map(BTreeMap::values).find(|v| v.digest == digest).cloned()
        };
        if let Some(version) = known(&self.versions.read()) {
            return Ok(Upload::Known(version));
        }
        let component = self.base.runtime.load(bytes).map_err(UploadError::Load)?;
        let manifest = manifest_of(&component, &self.base.schemas)?;
        let version = Arc::new(ModuleVersion {
            digest,
            size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            uploaded_at_ms: self.base.clock.now_ms(),
            component: Arc::new(Mutex::new(Some(component))),
            manifest,
        });
        // One upload at a time is stored, and readers of the list do not wait for the disk.
        let _storing = self.storing.lock();
        if let Some(version) = known(&self.versions.read()) {
            return Ok(Upload::Known(version));
        }
        let (name, number) = (version.manifest.name.clone(), version.manifest.version.clone());
        if self.find(&name, &number).is_some() {
            return Err(UploadError::VersionExists { name, version: number });
        }
        self.store.put(&version, bytes).map_err(UploadError::Io)?;
        self.versions.write().entry(name).or_default().insert(number, Arc::clone(&version));
        Ok(Upload::New(version))
    }

    /// Ends the threads of all modules. Nothing is decided afterwards.
    pub fn close(&self) {
        self.routes.store(Arc::default());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            thread.join();
        }
    }

    /// The compiled form of a version.
    fn component(&self, version: &ModuleVersion) -> Result<Component, String> {
        let mut slot = version.component.lock();
        if let Some(component) = &*slot {
            return Ok(component.clone());
        }
        let bytes = self.store.bytes(&version.digest)?;
        let component = self.base.runtime.load(&bytes).map_err(|error| error.to_string())?;
        Ok(slot.insert(component).clone())
    }
}

/// Asks a component what it is, and checks that it exports what it claims to be.
fn manifest_of(component: &Component, schemas: &SchemaLimits) -> Result<Manifest, UploadError> {
    let mut instance = component.instantiate("upload").map_err(UploadError::Guest)?;
    let json = instance.describe().map_err(UploadError::Guest)?;
    let manifest = Manifest::parse(&json).map_err(UploadError::Manifest)?;
    let mut faults = Schemas::compile(&manifest, schemas).err().unwrap_or_default();
    if let Some(spoken) = unspoken(&manifest.contract) {
        let found = &manifest.contract;
        faults.push(format!(
            "its contract is {found:?}, and this server speaks {spoken}x; build it with an SDK of \
             that contract"
        ));
    }
    let has_queries = manifest.projections.iter().any(|p| !p.queries.is_empty());
    for (claims, role, names, interface) in [
        (!manifest.aggregates.is_empty(), Role::Aggregate, "aggregates", "aggregate"),
        (!manifest.projections.is_empty(), Role::Projection, "projections", "projection"),
        (has_queries, Role::Queries, "queries", "queries"),
    ] {
        if claims && !component.plays(role) {
            let export = format!("factum:domain/{interface}");
            faults.push(format!("it names {names} and does not export {export}"));
        }
    }
    if manifest.aggregates.is_empty() && manifest.projections.is_empty() {
        faults.push("it names neither aggregates nor projections".into());
    }
    if faults.is_empty() { Ok(manifest) } else { Err(UploadError::Manifest(ManifestError(faults))) }
}
