//! What guests' calls cost in fuel, which unlike time is the same on every machine. Live calls run
//! without counting it; a sample of them runs in a second, metered form of the component.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use metrics::Counter;
use parking_lot::Mutex;

use crate::event::NewEvent;
use crate::manifest::Manifest;
use crate::runtime::Component;
use crate::tasks::Spawner;

type Compile = Box<dyn FnOnce() -> Result<Component, String> + Send>;

/// The metered form of a component: compiled when it is first wanted, beside those who want it.
pub struct Meter {
    compile: Mutex<Option<Compile>>,
    compiled: Arc<OnceLock<Component>>,
    spawner: Spawner,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("compiled", &self.compiled.get()).finish_non_exhaustive()
    }
}

impl Meter {
    /// One that compiles by `compile`, once.
    pub fn new(
        spawner: &Spawner,
        compile: impl FnOnce() -> Result<Component, String> + Send + 'static,
    ) -> Self {
        Self {
            compile: Mutex::new(Some(Box::new(compile))),
            compiled: Arc::default(),
            spawner: spawner.clone(),
        }
    }

    /// The metered form, if it is there; whoever asks first starts its compilation.
    pub(super) fn component(&self) -> Option<&Component> {
        let compiled = self.compiled.get();
        if compiled.is_none()
            && let Some(compile) = self.compile.lock().take()
        {
            let slot = Arc::clone(&self.compiled);
            // It ends by itself, and nobody waits for it.
            drop(self.spawner.thread("meter", move || match compile() {
                Ok(component) => drop(slot.set(component)),
                Err(reason) => tracing::warn!(reason, "no fuel is counted"),
            }));
        }
        compiled
    }
}

/// What the sampled calls of one kind cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FuelFigure {
    /// Decisions, or events folded.
    pub count: u64,
    /// Fuel of all of them.
    pub total: u64,
}

/// What commands cost to decide and events to fold, since the version began to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuelFigures {
    /// By command.
    pub commands: BTreeMap<String, FuelFigure>,
    /// By event type.
    pub events: BTreeMap<String, FuelFigure>,
}

/// Sums the figures. Only names of the manifest are counted: no client can invent one.
#[derive(Debug)]
pub(super) struct Fuel {
    figures: Mutex<FuelFigures>,
    module: String,
}

impl Fuel {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let mut figures = FuelFigures::default();
        for aggregate in &manifest.aggregates {
            for command in &aggregate.commands {
                figures.commands.insert(command.name.clone(), FuelFigure::default());
            }
            for event in &aggregate.events {
                figures.events.insert(event.event_type.clone(), FuelFigure::default());
            }
        }
        Self { figures: Mutex::new(figures), module: manifest.name.clone() }
    }

    /// What was counted; names with nothing are left out.
    pub(super) fn figures(&self) -> FuelFigures {
        let mut figures = self.figures.lock().clone();
        figures.commands.retain(|_, figure| figure.count > 0);
        figures.events.retain(|_, figure| figure.count > 0);
        figures
    }

    pub(super) fn decided(&self, command: &str, fuel: u64) {
        if let Some(figure) = self.figures.lock().commands.get_mut(command) {
            figure.add(1, fuel);
            self.counters("command", command).into_iter().zip([1, fuel]).for_each(increment);
        }
    }

    /// Events of one type that were folded in one call: of several, nobody knows whose the fuel is.
    pub(super) fn folded(&self, events: &[NewEvent], fuel: u64) {
        let Some(first) = events.first().map(|event| event.event_type.as_str()) else { return };
        if events.iter().any(|event| event.event_type.as_str() != first) {
            return;
        }
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        if let Some(figure) = self.figures.lock().events.get_mut(first) {
            figure.add(count, fuel);
            self.counters("event", first).into_iter().zip([count, fuel]).for_each(increment);
        }
    }

    /// Looked up for each sample: there are few.
    fn counters(&self, kind: &'static str, name: &str) -> [Counter; 2] {
        let labels =
            [("module", self.module.clone()), ("kind", kind.to_owned()), ("name", name.to_owned())];
        [
            metrics::counter!("factum_guest_metered_total", &labels),
            metrics::counter!("factum_guest_fuel_total", &labels),
        ]
    }
}

impl FuelFigure {
    fn add(&mut self, count: u64, fuel: u64) {
        self.count = self.count.saturating_add(count);
        self.total = self.total.saturating_add(fuel);
    }
}

fn increment((counter, by): (Counter, u64)) {
    counter.increment(by);
}
