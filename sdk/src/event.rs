//! Events as they travel: a type with a schema version, and the variant's fields as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DecodeError, Fault, NewEvent, variant};

/// The events of an aggregate, or those a projection reads: an enum with
/// `#[derive(Event, Serialize, Deserialize)]`.
pub trait Event: Serialize + DeserializeOwned {
    /// The events' types, in the order of the variants.
    const TYPES: &'static [EventType];

    /// The type of this event.
    fn event_type(&self) -> EventType;

    /// Reads the event of this type and schema version.
    fn decode(name: &str, schema_version: u32, data: &str) -> Result<Self, DecodeError> {
        let known =
            |known: &EventType| known.name == name && known.schema_version == schema_version;
        let index = Self::TYPES.iter().position(known).ok_or(DecodeError::Unknown)?;
        variant::decode(index, data).map_err(DecodeError::Invalid)
    }

    /// The event's data as JSON.
    fn encode(&self) -> Result<String, Fault> {
        variant::encode(self)
            .map_err(|error| Fault::new(format!("event `{}`: {error}", self.event_type().name)))
    }

    /// Puts tags on a new event, for boundaries and searches: `event.tagged(["course:7"])`.
    fn tagged<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> NewEvent<Self> {
        NewEvent { event: self, tags: tags.into_iter().map(Into::into).collect() }
    }
}

/// Under which name and schema version an event is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The name, such as `Opened`.
    pub name: &'static str,
    /// The version of the data's shape, from 1.
    pub schema_version: u32,
}

/// An event as it was recorded.
#[derive(Clone, Debug)]
pub struct Recorded<E> {
    /// What happened.
    pub event: E,
    /// The event's own id.
    pub event_id: String,
    /// Its number among all events, from 1.
    pub position: u64,
    /// Which of the events that an upcaster made of the recorded one, from 0.
    pub part: u32,
    /// Its stream, such as `account-42`; none if it belongs to no stream.
    pub stream_id: Option<String>,
    /// Its number in its stream, from 1.
    pub stream_version: u64,
    /// When it was decided, in milliseconds since 1970.
    pub decided_at_ms: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// What else was recorded with it, as JSON text.
    pub meta: String,
}

impl<E> Recorded<E> {
    /// The stream's id without its category: `42` of `account-42`.
    pub fn id(&self) -> Option<&str> {
        let (_category, id) = self.stream_id.as_deref()?.split_once('-')?;
        Some(id)
    }
}
