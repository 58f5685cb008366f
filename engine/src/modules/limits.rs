//! The limits of one module: what an administrator set, over what the server was started with.
//!
//! What was set is an administrative act in the log, so it survives restarts and is a fold; the
//! newest act holds whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::activate::{ActivateError, blocking};
use super::{Foundation, Modules};
use crate::commands::{Instances, WorkerLimits};
use crate::decision::{ActRecord, Draft, Kind, parse};
use crate::names::Name;
use crate::runtime::{GuestLimits, MOST_MEMORY_BYTES};

/// The name of the act.
pub(super) const ACT: &str = "module_limits";

/// What an administrator may set for a module; what is none is as the server was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleLimits {
    /// See [`GuestLimits::memory_bytes`].
    pub memory_bytes: Option<usize>,
    /// See [`GuestLimits::table_elements`].
    pub table_elements: Option<usize>,
    /// See [`GuestLimits::deadline_ms`].
    pub deadline_ms: Option<u64>,
    /// See [`GuestLimits::output_bytes`].
    pub output_bytes: Option<usize>,
    /// See [`GuestLimits::log_lines`].
    pub log_lines: Option<u32>,
    /// See [`GuestLimits::instance_calls`].
    pub instance_calls: Option<u64>,
    /// See [`GuestLimits::instance_bytes`].
    pub instance_bytes: Option<usize>,
    /// See [`WorkerLimits::events_per_command`].
    pub events_per_command: Option<usize>,
    /// See [`WorkerLimits::event_bytes`].
    pub event_bytes: Option<usize>,
    /// See [`WorkerLimits::event_tags`].
    pub event_tags: Option<usize>,
    /// See [`WorkerLimits::meter_every`].
    pub meter_every: Option<u32>,
    /// See [`WorkerLimits::threads`].
    pub threads: Option<usize>,
    /// See [`WorkerLimits::instances`].
    pub instances: Option<Instances>,
}

impl ModuleLimits {
    /// Reads what a client sent.
    ///
    /// # Errors
    /// For each field that is wrong its name and a sentence.
    pub fn parse(json: &str) -> Result<Self, Vec<(String, String)>> {
        let limits: Self =
            serde_json::from_str(json).map_err(|error| vec![(String::new(), error.to_string())])?;
        let mut faults = Vec::new();
        let mut within = |name: &str, value: Option<u64>, least: u64, most: u64| {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                faults.push((format!("/{name}"), format!("it may be {least} to {most}")));
            }
        };
        let wide = |value: Option<usize>| value.map(|v| u64::try_from(v).unwrap_or(u64::MAX));
        let most_memory = u64::try_from(MOST_MEMORY_BYTES).unwrap_or(u64::MAX);
        within("memory_bytes", wide(limits.memory_bytes), 64 << 10, most_memory);
        within("table_elements", wide(limits.table_elements), 1, 100_000);
        within("deadline_ms", limits.deadline_ms, 1, 60_000);
        within("output_bytes", wide(limits.output_bytes), 1 << 10, 64 << 20);
        within("log_lines", limits.log_lines.map(u64::from), 0, 10_000);
        within("instance_calls", limits.instance_calls, 1, u64::MAX);
        within("instance_bytes", wide(limits.instance_bytes), 0, most_memory);
        within("events_per_command", wide(limits.events_per_command), 1, 10_000);
        within("event_bytes", wide(limits.event_bytes), 1, 8 << 20);
        within("event_tags", wide(limits.event_tags), 0, 10_000);
        within("meter_every", limits.meter_every.map(u64::from), 1, 1_000_000_000);
        within("threads", wide(limits.threads), 1, 64);
        if faults.is_empty() { Ok(limits) } else { Err(faults) }
    }

    /// What was last set for a module.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub(super) fn recorded(base: &Foundation, module: &str) -> Result<Self, String> {
        let record = base.log.newest_act(ACT, module).map_err(|error| error.to_string())?;
        let Some(record) = record else { return Ok(Self::default()) };
        match parse(&record).map_err(|damage| damage.to_string())?.kind {
            Kind::Act(act) => serde_json::from_str(act.value).map_err(|error| error.to_string()),
            _ => Err("the index names a record that sets no limits".into()),
        }
    }

    /// What the module may use, over what the server was started with.
    pub(super) fn over(&self, base: &Foundation) -> (GuestLimits, WorkerLimits) {
        let (mut guests, mut workers) = (*base.runtime.limits(), base.workers.clone());
        set(&mut guests.memory_bytes, self.memory_bytes);
        set(&mut guests.table_elements, self.table_elements);
        set(&mut guests.deadline_ms, self.deadline_ms);
        set(&mut guests.output_bytes, self.output_bytes);
        set(&mut guests.log_lines, self.log_lines);
        set(&mut guests.instance_calls, self.instance_calls);
        set(&mut guests.instance_bytes, self.instance_bytes);
        set(&mut workers.events_per_command, self.events_per_command);
        set(&mut workers.event_bytes, self.event_bytes);
        set(&mut workers.event_tags, self.event_tags);
        set(&mut workers.meter_every, self.meter_every);
        set(&mut workers.threads, self.threads);
        set(&mut workers.instances, self.instances);
        (guests, workers)
    }

    /// What holds, each field given.
    pub(super) fn whole(guests: &GuestLimits, workers: &WorkerLimits) -> Self {
        Self {
            memory_bytes: Some(guests.memory_bytes),
            table_elements: Some(guests.table_elements),
            deadline_ms: Some(guests.deadline_ms),
            output_bytes: Some(guests.output_bytes),
            log_lines: Some(guests.log_lines),
            instance_calls: Some(guests.instance_calls),
            instance_bytes: Some(guests.instance_bytes),
            events_per_command: Some(workers.events_per_command),
            event_bytes: Some(workers.event_bytes),
            event_tags: Some(workers.event_tags),
            meter_every: Some(workers.meter_every),
            threads: Some(workers.threads),
            instances: Some(workers.instances),
        }
    }
}

/// Why no limits were set.
#[derive(Clone, Debug)]
pub enum LimitsError {
    /// They are wrong: where, as a JSON pointer, and how.
    Invalid(Vec<(String, String)>),
    /// No such module, it cannot be started again, or the log did not take the record.
    Activate(ActivateError),
}

impl Modules {
    /// Sets what a module may use, in place of what was set before. It goes on with new instances;
    /// commands under way finish within the limits they began with. Answers the record of it.
    ///
    /// # Errors
    /// [`LimitsError`]; what was set before holds.
    pub async fn set_limits(
        self: &Arc<Self>,
        name: &Name,
        json: &str,
        caller: Option<&str>,
    ) -> Result<u64, LimitsError> {
        let limits = ModuleLimits::parse(json).map_err(LimitsError::Invalid)?;
        let _one_at_a_time = self.activating.lock().await;
        if !self.versions.read().contains_key(name.as_str()) {
            let unknown = ActivateError::UnknownModule(name.to_string());
            return Err(LimitsError::Activate(unknown));
        }
        let record = ActRecord { act: ACT, subject: name.as_str(), value: json, caller };
        let recorded = self.base.log.append_alone(Draft::act(&record)).await;
        let header = recorded.map_err(|error| LimitsError::Activate(ActivateError::Log(error)))?;
        let decision = header.decision;
        self.limits.write().insert(name.to_string(), limits);
        let active = self.active.read().get(name.as_str()).cloned();
        if let Some(active) = active {
            let modules = Arc::clone(self);
            blocking(move || modules.start(&active).map_err(ActivateError::Broken))
                .await
                .map_err(LimitsError::Activate)?;
        }
        tracing::info!(module = name.as_str(), limits = json, decision, "limits were set");
        Ok(decision)
    }

    /// What a module may use.
    pub(super) fn limits_of(&self, name: &str) -> (GuestLimits, WorkerLimits) {
        let limits = self.limits.read().get(name).cloned().unwrap_or_default();
        limits.over(&self.base)
    }

    /// The same, to be shown.
    pub(super) fn whole_limits(&self, name: &str) -> ModuleLimits {
        let (guests, workers) = self.limits_of(name);
        ModuleLimits::whole(&guests, &workers)
    }
}

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(value) = from {
        *to = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let json = r#"{"memory_bytes":1,"threads":0,"deadline_ms":50,"instances":"fresh"}"#;
        let faults = ModuleLimits::parse(json).expect_err("wrong");
        let named: Vec<_> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(named, ["/memory_bytes", "/threads"]);
        assert!(ModuleLimits::parse(r#"{"fuel":1}"#).is_err());
        assert_eq!(ModuleLimits::parse("{}"), Ok(ModuleLimits::default()));
    }
}
