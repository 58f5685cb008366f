//! What `decide` answers: new events, or a rejection.

use serde::Serialize;
use serde_json::{Map, Value};

/// The answer to a command.
pub type Decision<E> = Result<Events<E>, Rejection>;

/// Accepts a command: one event or several, with or without tags.
pub fn emit<E>(events: impl Into<Events<E>>) -> Decision<E> {
    Ok(events.into())
}

/// Accepts a command that changes nothing.
pub fn nothing<E>() -> Decision<E> {
    Ok(Events(Vec::new()))
}

/// Refuses a command. The code is for programs, the message for people; [`Rejection::with`] adds
/// details.
pub fn reject<E>(code: &str, message: impl Into<String>) -> Decision<E> {
    Err(Rejection::new(code, message))
}

/// The events that follow from a command.
#[derive(Debug)]
pub struct Events<E>(pub(crate) Vec<NewEvent<E>>);

impl<E> From<E> for Events<E> {
    fn from(event: E) -> Self {
        Self(vec![event.into()])
    }
}

impl<E> From<NewEvent<E>> for Events<E> {
    fn from(event: NewEvent<E>) -> Self {
        Self(vec![event])
    }
}

impl<E> From<Vec<E>> for Events<E> {
    fn from(events: Vec<E>) -> Self {
        Self(events.into_iter().map(NewEvent::from).collect())
    }
}

impl<E> From<Vec<NewEvent<E>>> for Events<E> {
    fn from(events: Vec<NewEvent<E>>) -> Self {
        Self(events)
    }
}

impl<E, const N: usize> From<[E; N]> for Events<E> {
    fn from(events: [E; N]) -> Self {
        Self(events.into_iter().map(NewEvent::from).collect())
    }
}

impl<E, const N: usize> From<[NewEvent<E>; N]> for Events<E> {
    fn from(events: [NewEvent<E>; N]) -> Self {
        Self(Vec::from(events))
    }
}

/// An event before it has a position.
#[derive(Clone, Debug)]
pub struct NewEvent<E> {
    /// What happened.
    pub event: E,
    /// What boundaries and searches find it by.
    pub tags: Vec<String>,
}

impl<E> From<E> for NewEvent<E> {
    fn from(event: E) -> Self {
        Self { event, tags: Vec::new() }
    }
}

/// The refusal of a command. It is an answer, not an error, and is recorded like any other.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// For programs: short, `snake_case`, stable.
    pub code: String,
    /// For people.
    pub message: String,
    /// For programs that want to know more.
    pub details: Map<String, Value>,
}

impl Rejection {
    /// A rejection without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: Map::new() }
    }

    /// Adds a detail. A value that JSON cannot express becomes null.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.details.insert(name.to_owned(), value);
        self
    }
}
