//! Tests of aggregates.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::bindings::aggregate::{Event, Failure, NewEvent, Outcome, State};
use crate::dispatch;
use crate::{Aggregate, Context, Events};

/// Begins a test with what has happened before; `[]` if nothing has.
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let past: Vec<A::Event> = events.into_iter().collect();
    let past = write::<A::Event>(&past.into());
    let context = Context {
        stream_id: format!("{}-1", A::NAME),
        stream_version: (0..).zip(&past).last().map_or(0, |(last, _)| last + 1),
        now_ms: 0,
        seed: 0,
        correlation_id: "test".to_owned(),
        causation_id: "test".to_owned(),
        caller: None,
        extra: "{}".to_owned(),
    };
    let state = read(&fold::<A>(None, &past));
    Given { past, context, state }
}

/// A past, waiting for a command.
#[derive(Debug)]
pub struct Given<A> {
    past: Vec<NewEvent>,
    context: Context,
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// Changes the context of the decision: `.with_context(|context| context.now_ms = 5)`.
    #[must_use]
    pub fn with_context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    /// Decides a command.
    #[track_caller]
    pub fn when(self, command: A::Command) -> Decided<A> {
        let Self { past, context, state } = self;
        let folded = fold::<A>(None, &past);
        let answer = dispatch::decide_on(state, command, &context);
        let state = match &answer {
            Ok(outcome) => {
                let folded = fold::<A>(Some(folded), &outcome.events);
                assert!(
                    json(&outcome.next) == json(&folded),
                    "the state after deciding differs from the state folded from what is stored\n\
                     decided:\n  {}\nfolded:\n  {}\nevents:\n{}",
                    json(&outcome.next),
                    json(&folded),
                    lines(&outcome.events),
                );
                read(&folded)
            }
            Err(_) => read(&folded),
        };
        Decided { past, answer, state }
    }

    /// Looks at the state that the past folds to.
    #[track_caller]
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.state);
        self
    }
}

/// A decision, waiting to be looked at.
#[derive(Debug)]
pub struct Decided<A> {
    past: Vec<NewEvent>,
    answer: Result<Outcome, Failure>,
    state: A,
}

impl<A: Aggregate> Decided<A> {
    /// The command was accepted with exactly these events, tags included.
    #[track_caller]
    pub fn then(self, events: impl Into<Events<A::Event>>) -> Self {
        let expected = write(&events.into());
        let met = match &self.answer {
            Ok(outcome) => lines(&outcome.events) == lines(&expected),
            Err(_) => false,
        };
        assert!(met, "expected:\n{}{}", lines(&expected), self.describe());
        self
    }

    /// The command was accepted, and changed nothing.
    #[track_caller]
    pub fn then_nothing(self) -> Self {
        self.then(Events(Vec::new()))
    }

    /// The command was rejected with this code.
    #[track_caller]
    pub fn then_rejected(self, code: &str) -> Self {
        let met =
            matches!(&self.answer, Err(Failure::Rejected(rejection)) if rejection.code == code);
        assert!(met, "expected:\n  rejected `{code}`\n{}", self.describe());
        self
    }

    /// The rejection has exactly these details, such as `json!({"balance": 5})`.
    #[track_caller]
    pub fn then_details(self, details: impl Serialize) -> Self {
        let expected = serde_json::to_value(details).unwrap_or(Value::Null);
        let actual = match &self.answer {
            Err(Failure::Rejected(rejection)) => rejection.details.as_deref(),
            _ => None,
        };
        let actual = actual.and_then(|json| serde_json::from_str(json).ok());
        let met = actual.unwrap_or(Value::Null) == expected;
        assert!(met, "expected:\n  rejected with {expected}\n{}", self.describe());
        self
    }

    /// Looks at the state after the decision.
    #[track_caller]
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.state);
        self
    }

    fn describe(&self) -> String {
        let answer = match &self.answer {
            Ok(outcome) => lines(&outcome.events),
            Err(Failure::Rejected(rejection)) => {
                let details = rejection.details.as_deref().unwrap_or_default();
                format!("  rejected `{}`: {} {details}\n", rejection.code, rejection.message)
            }
            Err(failure) => format!("  {failure:?}\n"),
        };
        format!("actual:\n{answer}given:\n{}", lines(&self.past))
    }
}

#[track_caller]
fn write<E: crate::Event>(events: &Events<E>) -> Vec<NewEvent> {
    let written: Result<_, _> = events.0.iter().map(dispatch::write_event).collect();
    match written {
        Ok(written) => written,
        Err(failure) => panic!("an event of the test cannot be written: {failure:?}"),
    }
}

/// Folds events as the engine hands them back once they are stored.
#[track_caller]
fn fold<A: Aggregate>(current: Option<State>, events: &[NewEvent]) -> State {
    let stored = (1..).zip(events).map(|(stream_version, new)| Event {
        event_type: new.event_type.clone(),
        schema_version: new.schema_version,
        content_type: "application/json".to_owned(),
        data: new.data.clone(),
        tags: new.tags.clone(),
        stream_id: Some(format!("{}-1", A::NAME)),
        stream_version,
        decided_at_ms: 0,
    });
    match dispatch::evolve::<A>(current, &stored.collect::<Vec<_>>()) {
        Ok(state) => state,
        Err(fault) => panic!("the events do not fold: {fault}\n{}", lines(events)),
    }
}

#[track_caller]
fn read<A: Aggregate>(state: &State) -> A {
    match dispatch::fold(Some(state.clone()), &[]) {
        Ok(state) => state,
        Err(fault) => panic!("the state cannot be read again: {fault}"),
    }
}

fn json(state: &State) -> &str {
    match state {
        State::Json(json) => json,
        State::Bytes(_) => "bytes",
    }
}

/// One event a line: type, version, data and tags.
fn lines(events: &[NewEvent]) -> String {
    let mut text = String::new();
    for NewEvent { event_type, schema_version, data, tags } in events {
        let tags = if tags.is_empty() { String::new() } else { format!(" {tags:?}") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {event_type} v{schema_version} {data}{tags}");
    }
    if text.is_empty() { "  no events\n".to_owned() } else { text }
}
