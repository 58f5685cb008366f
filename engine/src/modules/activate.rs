//! Activation: a version begins to answer, or a module ceases to.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{ModuleVersion, Modules};
use crate::commands::{ActiveModule, Routes};
use crate::decision::{ActivationRecord, Draft, parse};
use crate::names::Name;
use crate::storage::log::{AppendError, Appended, Submission, Work};

/// What an activation did.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The record of it; none where nothing changed.
    pub decision: Option<u64>,
    /// The version that is active now.
    pub active: Option<Arc<ModuleVersion>>,
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
            Self::Log(AppendError::NotAccepted(refusal)) => refusal.fmt(f),
            Self::Log(_) => f.write_str("whether it was recorded is unknown; ask which is active"),
        }
    }
}

impl std::error::Error for ActivateError {}

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
        if current.as_ref().map(|v| v.digest) == wanted.as_ref().map(|v| v.digest) {
            return Ok(Activation { decision: None, active: current });
        }
        if let Some(wanted) = wanted.clone() {
            self.refuse_clash(&wanted)?;
            // Compiled before it is recorded, so that what is recorded can be run.
            let modules = Arc::clone(self);
            blocking(move || modules.component(&wanted).map(drop)).await?;
        }
        let record = ActivationRecord {
            module: name.as_str(),
            version: wanted.as_ref().map(|v| (v.manifest.version.as_str(), v.digest)),
            caller,
        };
        let decision = self.record(&record).await.map_err(ActivateError::Log)?;
        let (modules, name, started) = (Arc::clone(self), name.clone(), wanted.clone());
        blocking(move || match &started {
            Some(version) => modules.start(version),
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
        Ok(Activation { decision: Some(decision), active: wanted })
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
        for other in self.active.read().values().map(|version| &version.manifest) {
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

    async fn record(&self, record: &ActivationRecord<'_>) -> Result<u64, AppendError> {
        let (send, answer) = oneshot::channel();
        self.base.log.submit(Submission {
            work: Work::Record { draft: Draft::activation(record), expected: None },
            lineages: Vec::new(),
            reply: Box::new(move |answer| drop(send.send(answer))),
        });
        let lost = || AppendError::Unknown("the writer ended".into());
        match answer.await.map_err(|_| lost())?? {
            Appended::Record(bytes) => {
                parse(&bytes).map(|decision| decision.header.decision).map_err(|_| lost())
            }
            Appended::Barrier => Err(lost()),
        }
    }

    /// Starts a version's threads and sends commands and events its way.
    pub(super) fn start(&self, version: &Arc<ModuleVersion>) -> Result<(), String> {
        let component = self.component(version)?;
        let manifest = &version.manifest;
        let base = &self.base;
        if !manifest.aggregates.is_empty() {
            let (active, threads) = ActiveModule::start(
                manifest,
                component.clone(),
                &base.log,
                &base.workers,
                &base.clock,
                &base.spawner,
            );
            let mut all = self.threads.lock();
            all.retain(|thread| !thread.is_finished());
            all.extend(threads);
            drop(all);
            let active = Arc::new(active);
            self.reroute(&manifest.name, |routes| {
                for aggregate in &manifest.aggregates {
                    routes.insert(aggregate.name.clone(), Arc::clone(&active));
                }
            });
        } else {
            self.reroute(&manifest.name, |_| {});
        }
        self.projections.install(manifest, &component)?;
        self.quarantined.write().remove(&manifest.name);
        self.active.write().insert(manifest.name.clone(), Arc::clone(version));
        Ok(())
    }

    fn stop(&self, name: &str) {
        self.reroute(name, |_| {});
        self.projections.remove(name);
        self.active.write().remove(name);
    }

    /// Replaces all routes of one module at once, so that no command finds it half changed.
    fn reroute(&self, module: &str, add: impl Fn(&mut Routes)) {
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.retain(|_, active| active.name() != module);
            add(&mut routes);
            routes
        });
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), ActivateError> {
    match crate::tasks::blocking(work).await {
        Some(Ok(())) => Ok(()),
        Some(Err(reason)) => Err(ActivateError::Broken(reason)),
        None => Err(ActivateError::Broken("it panicked".into())),
    }
}
