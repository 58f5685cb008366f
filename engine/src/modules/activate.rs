//! Activation: a version begins to answer, or a module ceases to.

use std::sync::Arc;

use super::check::{Check, CheckReport};
use super::{ModuleVersion, Modules};
use crate::commands::{ActiveModule, Meter, Routes};
use crate::decision::{ActivationRecord, Draft, Hash};
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::names::Name;
use crate::projections::{Maker, ProofError};
use crate::runtime::{GuestError, GuestLimits};
use crate::schemas::{SchemaLimits, Schemas};
use crate::storage::log::{AppendError, ReadError};

/// What an activation did.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The record of it; none where nothing changed.
    pub decision: Option<u64>,
    /// The version that is active now.
    pub active: Option<Arc<ModuleVersion>>,
    /// What was looked at first; none where nothing was activated.
    pub checks: Option<CheckReport>,
}

/// Why nothing was activated.
#[derive(Clone, Debug)]
pub enum ActivateError {
    /// No such module was uploaded.
    UnknownModule(String),
    /// No such version of it was uploaded.
    UnknownVersion {
        /// The module.
        name: String,
        /// The version asked for.
        version: String,
        /// The versions there are.
        known: Vec<String>,
    },
    /// Another active module owns what it claims.
    Clash(String),
    /// It cannot be loaded.
    Broken(String),
    /// It is not pure, or its states are not those of the version before.
    Refused(String),
    /// What it must be tried on cannot be read.
    Unreadable(ReadError),
    /// The log did not take the record.
    Log(AppendError),
}

impl std::fmt::Display for ActivateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownModule(name) => write!(f, "no module {name} was uploaded"),
            Self::UnknownVersion { name, version, known } => {
                write!(f, "module {name} has no version {version}; it has {}", known.join(", "))
            }
            Self::Clash(reason) | Self::Broken(reason) => f.write_str(reason),
            Self::Refused(reason) => write!(f, "the version cannot become active: {reason}"),
            Self::Unreadable(error) => {
                write!(f, "the version cannot be tried on what is recorded: {error}")
            }
            Self::Log(AppendError::NotAccepted(refusal)) => refusal.fmt(f),
            Self::Log(_) => f.write_str("whether it was recorded is unknown; ask which is active"),
        }
    }
}

impl std::error::Error for ActivateError {}

impl From<GuestError> for ActivateError {
    fn from(error: GuestError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<ReadError> for ActivateError {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

impl From<ProofError> for ActivateError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Refused(reason) => Self::Refused(reason),
            ProofError::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

impl Modules {
    /// Activates a version, or deactivates the module where none is given. Commands go on: those
    /// under way finish on the version they began with.
    ///
    /// # Errors
    /// [`ActivateError`]; what was active stays.
    pub async fn activate(
        self: &Arc<Self>,
        name: &Name,
        version: Option<&str>,
        caller: Option<&str>,
    ) -> Result<Activation, ActivateError> {
        let _one_at_a_time = self.activating.lock().await;
        let wanted = self.wanted(name.as_str(), version)?;
        let current = self.active.read().get(name.as_str()).cloned();
        let is_quarantined = self.quarantined.read().contains_key(name.as_str());
        if !is_quarantined
            && current.as_ref().map(|v| v.digest) == wanted.as_ref().map(|v| v.digest)
        {
            return Ok(Activation { decision: None, active: current, checks: None });
        }
        let mut checks = None;
        if let Some(wanted) = wanted.clone() {
            self.refuse_clash(&wanted)?;
            // Compiled before it is recorded, so that what is recorded can be run.
            let modules = Arc::clone(self);
            checks = Some(blocking(move || modules.check(&wanted, current.as_deref())).await?);
        }
        let record = ActivationRecord {
            module: name.as_str(),
            version: wanted.as_ref().map(|v| (v.manifest.version.as_str(), v.digest)),
            caller,
        };
        let draft = Draft::activation(&record);
        fail_point(Point::Activate);
        let header = self.base.log.append_alone(draft).await.map_err(ActivateError::Log)?;
        fail_point(Point::Activate);
        let decision = header.decision;
        let (modules, name, started) = (Arc::clone(self), name.clone(), wanted.clone());
        blocking(move || match &started {
            Some(version) => modules.start(version).map_err(ActivateError::Broken),
            None => {
                modules.stop(name.as_str());
                Ok(())
            }
        })
        .await?;
        tracing::info!(
            module = record.module,
            version = record.version.map(|(version, _)| version),
            decision,
            "activated"
        );
        Ok(Activation { decision: Some(decision), active: wanted, checks })
    }

    fn wanted(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<ModuleVersion>>, ActivateError> {
        let versions = self.versions.read();
        let of_name =
            versions.get(name).ok_or_else(|| ActivateError::UnknownModule(name.to_owned()))?;
        let Some(version) = version else { return Ok(None) };
        match of_name.get(version) {
            Some(found) => Ok(Some(Arc::clone(found))),
            None => Err(ActivateError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
                known: of_name.keys().cloned().collect(),
            }),
        }
    }

    /// Two active modules never own one aggregate, projection or read model.
    fn refuse_clash(&self, wanted: &ModuleVersion) -> Result<(), ActivateError> {
        let ours = &wanted.manifest;
        // Those that are quarantined count too: they own what is theirs.
        for (name, version, _) in self.base.log.active_modules() {
            let Some(other) = self.find(&name, &version) else { continue };
            let other = &other.manifest;
            if other.name == ours.name {
                continue;
            }
            let aggregate = ours.aggregates.iter().map(|a| ("aggregate", a.name.as_str()));
            let projection = ours.projections.iter().map(|p| ("projection", p.name.as_str()));
            let collection = ours.collections().map(|name| ("read model", name));
            let mut owned = aggregate.chain(projection).chain(collection);
            let clash = owned.find(|(what, name)| match *what {
                "aggregate" => other.aggregates.iter().any(|a| a.name == *name),
                "projection" => other.projections.iter().any(|p| p.name == *name),
                _ => other.collections().any(|collection| collection == *name),
            });
            if let Some((what, name)) = clash {
                let owner = &other.name;
                return Err(ActivateError::Clash(format!(
                    "the {what} {name} belongs to the active module {owner}; deactivate that first"
                )));
            }
        }
        Ok(())
    }

    /// Compiles a version and lets it show that it may become active.
    fn check(
        &self,
        version: &ModuleVersion,
        before: Option<&ModuleVersion>,
    ) -> Result<CheckReport, ActivateError> {
        let (guests, _) = self.limits_of(&version.manifest.name);
        let load = |version: &ModuleVersion| {
            self.component(version).map(|component| component.within(guests))
        };
        let component = load(version).map_err(ActivateError::Broken)?;
        let before = before.and_then(|before| Some((before, load(before).ok()?)));
        let before = before.as_ref().map(|(before, component)| (*before, component));
        let log = &self.base.log;
        let check = Check::new((version, &component), before, log, self.base.checks);
        let mut report = check.run()?;
        let (manifest, digest) = (version.manifest.clone(), version.digest);
        let maker = Maker { manifest, component: component.clone(), digest };
        report.projections = self.projections.prove(&maker, &|digest| self.maker(digest))?;
        let module = &version.manifest.name;
        for found in &report.not_folding {
            let (stream, reason) = (&found.stream, &found.reason);
            tracing::warn!(module, stream, reason, "recorded events do not fold");
        }
        Ok(report)
    }

    /// Starts a version's threads and sends commands and events its way.
    pub(super) fn start(&self, version: &Arc<ModuleVersion>) -> Result<(), String> {
        let manifest = &version.manifest;
        let (guests, workers) = self.limits_of(&manifest.name);
        let component = self.component(version)?.within(guests);
        let base = &self.base;
        if !manifest.aggregates.is_empty() {
            let schemas = Schemas::compile(manifest, &SchemaLimits::TAKEN);
            let schemas = schemas.map_err(|faults| faults.join("; "))?;
            let before = self.routes.load().of_module(&manifest.name).cloned();
            let (active, threads) = ActiveModule::start(
                (manifest, schemas),
                (component.clone(), self.meter(version.digest, guests)),
                before.as_deref(),
                (&base.log, &base.rules),
                &workers,
                &base.clock,
                &base.spawner,
            );
            let mut all = self.threads.lock();
            all.retain(|thread| !thread.is_finished());
            all.extend(threads);
            drop(all);
            let mut active = Arc::new(active);
            if is_on(Mutant::SwapKeepsOldVersion) {
                active = before.clone().unwrap_or(active);
            }
            self.reroute(&manifest.name, |routes| {
                for aggregate in &manifest.aggregates {
                    routes.active.insert(aggregate.name.clone(), Arc::clone(&active));
                }
            });
            if let Some(before) = before {
                before.leave_to(&active);
            }
        } else {
            self.reroute(&manifest.name, |_| {});
        }
        let maker = Maker { manifest: manifest.clone(), component, digest: version.digest };
        self.projections.install(&maker, &|digest| self.maker(digest))?;
        self.quarantined.write().remove(&manifest.name);
        self.active.write().insert(manifest.name.clone(), Arc::clone(version));
        Ok(())
    }

    /// The version of a digest, for the documents that it made.
    fn maker(&self, digest: &Hash) -> Option<Maker> {
        let versions = self.versions.read();
        let found = versions.values().flat_map(|of| of.values()).find(|v| v.digest == *digest);
        let found = found.cloned()?;
        drop(versions);
        let (guests, _) = self.limits_of(&found.manifest.name);
        let component = self.component(&found).ok()?.within(guests);
        Some(Maker { manifest: found.manifest.clone(), component, digest: found.digest })
    }

    /// What compiles the metered form of a component when it is first wanted.
    fn meter(&self, digest: Hash, limits: GuestLimits) -> Meter {
        let (runtime, store) = (self.base.runtime.clone(), self.store.clone());
        Meter::new(&self.base.spawner, move || {
            let bytes = store.bytes(&digest)?;
            let metered = runtime.load_metered(&bytes).map_err(|error| error.to_string())?;
            Ok(metered.within(limits))
        })
    }

    fn stop(&self, name: &str) {
        self.reroute(name, |_| {});
        self.projections.remove(name);
        self.quarantined.write().remove(name);
        self.active.write().remove(name);
    }

    /// Says why a module that should be active is not.
    pub(super) fn quarantine(&self, name: &str, found: Option<&ModuleVersion>, reason: String) {
        self.reroute(name, |routes| {
            for aggregate in found.iter().flat_map(|found| &found.manifest.aggregates) {
                let reason = (name.to_owned(), reason.clone());
                routes.quarantined.insert(aggregate.name.clone(), reason);
            }
        });
        self.quarantined.write().insert(name.to_owned(), reason);
    }

    /// Replaces all routes of one module at once, so that no command finds it half changed.
    fn reroute(&self, module: &str, add: impl Fn(&mut Routes)) {
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.remove_module(module);
            add(&mut routes);
            routes
        });
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ActivateError> + Send + 'static,
) -> Result<T, ActivateError> {
    let panicked = || Err(ActivateError::Broken("it panicked".into()));
    crate::tasks::blocking(work).await.unwrap_or_else(panicked)
}
