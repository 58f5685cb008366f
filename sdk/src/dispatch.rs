//! From the contract's values to the author's types and back: what each export does once the role
//! is found.
//!
//! Everything here is a function of its arguments, but for the rows a projection reads.

use crate::bindings::aggregate::{Command, Context, Event, Failure, NewEvent, Outcome, State};
use crate::bindings::projection::{Change, RecordedEvent};
use crate::bindings::types;
use crate::projection::wants;
use crate::rows::Stored;
use crate::{
    Aggregate, Command as _, DecodeError, Documents, Fault, Prefetch, Projection, Query, Recorded,
    Rejection, Rows,
};

pub(crate) fn decide<A: Aggregate>(
    current: Option<State>,
    tail: &[Event],
    command: &Command,
    context: Context,
) -> Result<Outcome, Failure> {
    let command = read_command::<A>(command)?;
    let state = fold::<A>(current, tail).map_err(Failure::Fault)?;
    decide_on(state, command, &context.into())
}

/// The decision itself, and the state after it.
pub(crate) fn decide_on<A: Aggregate>(
    mut state: A,
    command: A::Command,
    context: &crate::Context,
) -> Result<Outcome, Failure> {
    let accepted = state.decide(command, context).map_err(Failure::from)?;
    let mut events = Vec::with_capacity(accepted.0.len());
    for new in accepted.0 {
        events.push(write_event(&new)?);
        state.evolve(new.event);
    }
    Ok(Outcome { events, next: write_state(&state).map_err(Failure::Fault)? })
}

pub(crate) fn evolve<A: Aggregate>(
    current: Option<State>,
    events: &[Event],
) -> Result<State, String> {
    write_state(&fold::<A>(current, events)?)
}

/// States are JSON already.
pub(crate) fn inspect(current: State) -> Result<String, String> {
    json_of(current)
}

pub(crate) fn fold<A: Aggregate>(current: Option<State>, events: &[Event]) -> Result<A, String> {
    let mut state = match current {
        Some(current) => serde_json::from_str(&json_of(current)?)
            .map_err(|error| format!("the state of `{}` does not fit: {error}", A::NAME))?,
        None => A::default(),
    };
    for event in events {
        let place = || format!("version {} of its stream", event.stream_version);
        state.evolve(read_event(event, place)?);
    }
    Ok(state)
}

pub(crate) fn project<P: Projection>(batch: Vec<RecordedEvent>) -> Result<Vec<Change>, String> {
    project_onto::<P>(batch, Stored::Engine).map_err(|fault| fault.to_string())
}

/// Projects one batch over what is stored.
pub(crate) fn project_onto<P: Projection>(
    batch: Vec<RecordedEvent>,
    stored: Stored,
) -> Result<Vec<Change>, Fault> {
    let wanted = batch.into_iter().filter(|one| wants::<P>(&one.event.event_type));
    let events = wanted.map(read_recorded::<P>).collect::<Result<Vec<_>, _>>()?;
    let (mut rows, mut documents) = (Rows::new(P::COLLECTIONS, stored), Prefetch::default());
    events.iter().for_each(|event| P::prefetch(event, &mut documents));
    rows.prefetch(documents)?;
    for event in &events {
        P::project(event, &mut rows)
            .map_err(|fault| Fault::new(format!("at position {}: {fault}", event.position)))?;
    }
    rows.into_changes()
}

pub(crate) fn answer<Q: Query>(parameters: &str) -> Result<String, String> {
    let query: Q = serde_json::from_str(parameters)
        .map_err(|error| format!("the parameters of `{}` do not fit: {error}", Q::NAME))?;
    let documents = Documents::new(Stored::Engine);
    let answer = query.answer(&documents).map_err(|fault| fault.to_string())?;
    serde_json::to_string(&answer).map_err(|error| format!("the answer of `{}`: {error}", Q::NAME))
}

fn read_command<A: Aggregate>(command: &Command) -> Result<A::Command, Failure> {
    A::Command::decode(&command.name, &command.data).map_err(|error| match error {
        DecodeError::Unknown => {
            let (name, known) = (&command.name, A::Command::NAMES.join(", "));
            Failure::Unknown(format!("`{}` has no command `{name}`; it has: {known}", A::NAME))
        }
        DecodeError::Invalid(error) => {
            Failure::Invalid(format!("the data of `{}` does not fit: {error}", command.name))
        }
    })
}

fn read_event<E: crate::Event>(event: &Event, place: impl Fn() -> String) -> Result<E, String> {
    E::decode(&event.event_type, event.schema_version, &event.data).map_err(|error| {
        let Event { event_type, schema_version, .. } = event;
        format!("event `{event_type}`, schema version {schema_version}, at {}, {error}", place())
    })
}

fn read_recorded<P: Projection>(recorded: RecordedEvent) -> Result<Recorded<P::Event>, Fault> {
    let place = || format!("position {}", recorded.position);
    Ok(Recorded {
        event: read_event(&recorded.event, place)?,
        event_id: recorded.event_id,
        position: recorded.position,
        part: recorded.part,
        stream_id: recorded.event.stream_id,
        stream_version: recorded.event.stream_version,
        decided_at_ms: recorded.event.decided_at_ms,
        tags: recorded.event.tags,
        meta: recorded.meta,
    })
}

pub(crate) fn write_event<E: crate::Event>(new: &crate::NewEvent<E>) -> Result<NewEvent, Failure> {
    let event_type = new.event.event_type();
    Ok(NewEvent {
        event_type: event_type.name.to_owned(),
        schema_version: event_type.schema_version,
        data: new.event.encode().map_err(|fault| Failure::Fault(fault.to_string()))?,
        tags: new.tags.clone(),
    })
}

fn write_state<A: Aggregate>(state: &A) -> Result<State, String> {
    let json = serde_json::to_string(state);
    json.map(State::Json).map_err(|error| format!("the state of `{}`: {error}", A::NAME))
}

fn json_of(state: State) -> Result<String, String> {
    match state {
        State::Json(json) => Ok(json),
        State::Bytes(_) => Err("the state is not JSON: another kind of module wrote it".to_owned()),
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let details = &rejection.details;
        Self::Rejected(types::Rejection {
            details: (!details.is_empty())
                .then(|| serde_json::to_string(details).unwrap_or_default()),
            code: rejection.code,
            message: rejection.message,
        })
    }
}
