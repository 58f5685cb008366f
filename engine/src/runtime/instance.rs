//! One live copy of a guest and the typed calls into it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

use super::bindings::exports::factum::domain::{aggregate, manifest, projection, queries};
use super::bindings::factum::domain::types::{StateParam, StateResult};
use super::component::Parts;
use super::error::{GuestError, classify};
use super::frozen::Moment;
use super::host::{Host, ReadModelLook};
use super::{Change, Command, Context, Event, Failure, GuestLimits, NewEvent, RecordedEvent, TICK};
use crate::decision::Hash;

/// Ticks before a call is first looked at: one may be about to end when it begins.
const FIRST_TICKS: u64 = 2;

/// Fuel is counted, not limited: a deadline ends the call long before.
const ENDLESS_FUEL: u64 = u64::MAX;

/// A guest's state, opaque to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// JSON text.
    Json(String),
    /// The guest's own bytes.
    Bytes(Vec<u8>),
}

impl State {
    /// BLAKE3 of its bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        *blake3::hash(self.as_bytes()).as_bytes()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn as_param(&self) -> StateParam<'_> {
        match self {
            Self::Json(text) => StateParam::Json(text),
            Self::Bytes(bytes) => StateParam::Bytes(bytes),
        }
    }
}

impl From<StateResult> for State {
    fn from(state: StateResult) -> Self {
        match state {
            StateResult::Json(text) => Self::Json(text),
            StateResult::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

/// What a guest decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The new events.
    pub events: Vec<NewEvent>,
    /// The state after them, as the guest says.
    pub next: State,
}

/// One live copy of a guest. After an error it must be dropped: every further call fails.
pub struct Instance {
    store: Store<Host>,
    manifest: manifest::Guest,
    aggregate: Option<aggregate::Guest>,
    projection: Option<projection::Guest>,
    queries: Option<queries::Guest>,
    deadline_ticks: u64,
    /// What the last call cost, where it is counted.
    fuel: Option<u64>,
    calls_left: u64,
    /// Bytes of memory beyond which it is replaced.
    instance_bytes: usize,
    dead: bool,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("calls_left", &self.calls_left).finish_non_exhaustive()
    }
}

impl Instance {
    pub(super) fn new(
        parts: &Parts,
        limits: GuestLimits,
        module: Arc<str>,
    ) -> Result<Self, GuestError> {
        let mut store = Store::new(parts.pre.engine(), Host::new(module, limits));
        store.limiter(|host| host);
        store.set_hostcall_fuel(limits.output_bytes);
        let deadline_ticks = ticks(Duration::from_millis(limits.deadline_ms));
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().tick()));
        store.data_mut().begin_call(deadline_ticks.saturating_sub(1));
        store.set_epoch_deadline(FIRST_TICKS);
        let fuel = store.set_fuel(ENDLESS_FUEL).is_ok().then_some(0);
        let failed = |error: wasmtime::Error, store: &Store<Host>| match classify(
            &error,
            store.data().refused,
            store.data().last_words.clone(),
        ) {
            GuestError::Trap(reason) => GuestError::Instantiate(reason),
            limit => limit,
        };
        let instance = parts.pre.instantiate(&mut store);
        store.data_mut().end_call();
        let instance = instance.map_err(|error| failed(error, &store))?;
        let load = |error: wasmtime::Error| GuestError::Instantiate(format!("{error:#}"));
        Ok(Self {
            manifest: parts.manifest.load(&mut store, &instance).map_err(load)?,
            aggregate: parts
                .aggregate
                .as_ref()
                .map(|indices| indices.load(&mut store, &instance).map_err(load))
                .transpose()?,
            projection: parts
                .projection
                .as_ref()
                .map(|indices| indices.load(&mut store, &instance).map_err(load))
                .transpose()?,
            queries: parts
                .queries
                .as_ref()
                .map(|indices| indices.load(&mut store, &instance).map_err(load))
                .transpose()?,
            store,
            deadline_ticks,
            fuel,
            // What toolchains put beside WASI carries state from call to call.
            calls_left: if parts.imports_wasi { 1 } else { limits.instance_calls },
            instance_bytes: limits.instance_bytes,
            dead: false,
        })
    }

    /// Whether it should be replaced: it failed, made as many calls as it may, or has grown.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.dead || self.calls_left == 0 || self.store.data().memory_bytes > self.instance_bytes
    }

    /// The fuel that the last call cost; none where it is not counted.
    #[must_use]
    pub fn fuel(&self) -> Option<u64> {
        self.fuel
    }

    /// The manifest, as the guest states it.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer.
    pub fn describe(&mut self) -> Result<String, GuestError> {
        self.call(|guest, store| guest.manifest.call_describe(store))
    }

    /// Decides one command.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer; the inner error is the guest's own.
    pub fn decide(
        &mut self,
        aggregate: &str,
        current: Option<&State>,
        tail: &[Event<'_>],
        command: Command<'_>,
        context: Context<'_>,
    ) -> Result<Result<Outcome, Failure>, GuestError> {
        let current = current.map(State::as_param);
        let host = self.store.data_mut();
        host.about(context.stream_id, command.id);
        host.moment = Moment::new(context.now_ms, context.seed);
        let answer = self.call(|guest, store| {
            guest.aggregate()?.call_decide(store, aggregate, current, tail, command, context)
        })?;
        Ok(answer.map(|outcome| Outcome { events: outcome.events, next: outcome.next.into() }))
    }

    /// Folds events into a state.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer; the inner error is the guest's own.
    pub fn evolve(
        &mut self,
        aggregate: &str,
        current: Option<&State>,
        events: &[Event<'_>],
    ) -> Result<Result<State, String>, GuestError> {
        let current = current.map(State::as_param);
        let stream = events.first().and_then(|event| event.stream_id).unwrap_or_default();
        let host = self.store.data_mut();
        host.about(stream, "");
        host.moment = Moment::new(events.last().map_or(0, |event| event.decided_at_ms), 0);
        let answer = self.call(|guest, store| {
            guest.aggregate()?.call_evolve(store, aggregate, current, events)
        })?;
        Ok(answer.map(State::from))
    }

    /// A state as JSON.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer; the inner error is the guest's own.
    pub fn inspect(
        &mut self,
        aggregate: &str,
        current: &State,
    ) -> Result<Result<String, String>, GuestError> {
        let current = current.as_param();
        self.store.data_mut().about("", "");
        self.call(|guest, store| guest.aggregate()?.call_inspect(store, aggregate, current))
    }

    /// Turns a batch of events into changes of documents. `look` is what the guest may read.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer; the inner error is the guest's own.
    pub fn project(
        &mut self,
        projection: &str,
        batch: &[RecordedEvent<'_>],
        look: Arc<dyn ReadModelLook>,
    ) -> Result<Result<Vec<Change>, String>, GuestError> {
        let host = self.store.data_mut();
        host.about("", "");
        host.moment = Moment::new(batch.last().map_or(0, |last| last.event.decided_at_ms), 0);
        host.look = Some(look);
        let answer =
            self.call(|guest, store| guest.projection()?.call_project(store, projection, batch));
        self.store.data_mut().look = None;
        answer
    }

    /// Answers a query with JSON. `look` is what the guest may read.
    ///
    /// # Errors
    /// [`GuestError`] when there is no answer; the inner error is the guest's own.
    pub fn query(
        &mut self,
        projection: &str,
        name: &str,
        parameters: &str,
        look: Arc<dyn ReadModelLook>,
    ) -> Result<Result<String, String>, GuestError> {
        self.store.data_mut().look = Some(look);
        let answer = self
            .call(|guest, store| guest.queries()?.call_query(store, projection, name, parameters));
        self.store.data_mut().look = None;
        answer
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&Guests<'_>, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, GuestError> {
        if self.dead {
            return Err(GuestError::Trap("the instance failed in an earlier call".into()));
        }
        self.calls_left = self.calls_left.saturating_sub(1);
        self.store.set_epoch_deadline(FIRST_TICKS);
        self.store.data_mut().begin_call(self.deadline_ticks.saturating_sub(1));
        let guests = Guests {
            manifest: &self.manifest,
            aggregate: self.aggregate.as_ref(),
            projection: self.projection.as_ref(),
            queries: self.queries.as_ref(),
        };
        if self.fuel.is_some() {
            // It can only fail where fuel is not counted.
            let _ = self.store.set_fuel(ENDLESS_FUEL);
        }
        let answer = call(&guests, &mut self.store);
        self.store.data_mut().end_call();
        if let Some(fuel) = &mut self.fuel {
            *fuel = ENDLESS_FUEL - self.store.get_fuel().unwrap_or(ENDLESS_FUEL);
        }
        answer.map_err(|error| {
            self.dead = true;
            let host = self.store.data_mut();
            classify(&error, host.refused, host.last_words.take())
        })
    }
}

/// The roles of an instance, apart from its store.
struct Guests<'a> {
    manifest: &'a manifest::Guest,
    aggregate: Option<&'a aggregate::Guest>,
    projection: Option<&'a projection::Guest>,
    queries: Option<&'a queries::Guest>,
}

impl<'a> Guests<'a> {
    fn aggregate(&self) -> wasmtime::Result<&'a aggregate::Guest> {
        self.aggregate.ok_or_else(|| wasmtime::Error::msg("the component exports no aggregate"))
    }

    fn projection(&self) -> wasmtime::Result<&'a projection::Guest> {
        self.projection.ok_or_else(|| wasmtime::Error::msg("the component exports no projection"))
    }

    fn queries(&self) -> wasmtime::Result<&'a queries::Guest> {
        self.queries.ok_or_else(|| wasmtime::Error::msg("the component exports no queries"))
    }
}

/// Ticks that are at least this long.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX).saturating_add(1)
}
