//! Events: facts before and after they have a position.
//!
//! A recorded event is a view of the bytes of its decision record: reading the log copies nothing.

mod few;

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::names::{EventType, Tag};

pub use few::Few;

/// The content type of event data that is JSON text.
pub const JSON: &str = "application/json";
/// The content type of data whose sender does not say what it is, and of no data.
pub const UNSTATED: &str = "";

/// What an event brings along that was given its id elsewhere. Each pair of `source` and `id` is
/// recorded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Where it is from: a reference to whoever gave the id.
    pub source: Cow<'a, str>,
    /// Its id there.
    pub id: Cow<'a, str>,
    /// The conversation, where it is not that of the whole append.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The direct cause, where it is not that of the whole append.
    pub causation_id: Option<Cow<'a, str>>,
    /// Attributes that nothing here has a place for: a compact JSON object.
    pub extensions: Cow<'a, str>,
}

/// A fact that is about to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What kind of fact it is.
    pub event_type: EventType,
    /// The version of the data's shape, from 1.
    pub schema_version: u32,
    /// The media type of `data`.
    pub content_type: String,
    /// The data, in that content type.
    pub data: Vec<u8>,
    /// Labels that queries and boundaries can match.
    pub tags: Vec<Tag>,
    /// When it happened, as the client says, in milliseconds since 1970.
    pub time_ms: Option<u64>,
    /// What it brings along, if it was given its id elsewhere. Commands make none.
    pub origin: Option<Box<Origin<'static>>>,
}

/// A fact with its place in the log, borrowed from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent<'a> {
    /// Number in the order of all events, from 1.
    pub position: u64,
    /// Unique for all time, together with where it is from.
    pub id: EventId<'a>,
    /// The stream it belongs to.
    pub stream: Option<&'a str>,
    /// Its number in that stream, from 1; 0 without a stream.
    pub stream_version: u64,
    /// What kind of fact it is.
    pub event_type: &'a str,
    /// The version of the data's shape.
    pub schema_version: u32,
    /// The media type of `data`.
    pub content_type: &'a str,
    /// The data, in that content type.
    pub data: &'a [u8],
    /// Labels that queries and boundaries can match.
    pub tags: Few<&'a str>,
    /// The time its decision was given, in milliseconds since 1970.
    pub decided_at_ms: u64,
    /// When it happened: as the client said, else when it was decided.
    pub time_ms: u64,
    /// What it brought along, if it was given its id elsewhere.
    pub origin: Option<Box<Origin<'a>>>,
}

/// Event data as guests get it: JSON as it is, anything else as a JSON string of base64, which is
/// empty where there is no data.
#[must_use]
pub fn guest_data<'a>(content_type: &str, data: &'a [u8]) -> Cow<'a, str> {
    match std::str::from_utf8(data) {
        Ok(text) if content_type == JSON && !text.is_empty() => Cow::Borrowed(text),
        _ => Cow::Owned(format!("\"{}\"", STANDARD.encode(data))),
    }
}

/// The id of an event. One that was not given is a UUID version 7, derived from the record: its
/// time, the hash of the record before it and the place of the event in it. It is not stored, and
/// the same for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventId<'a> {
    /// Derived from its record.
    Derived(uuid::Uuid),
    /// As it came.
    Given(&'a str),
}

impl EventId<'_> {
    /// The id of event number `index` of a record.
    #[must_use]
    pub fn derive(recorded_at_ms: u64, previous_hash: &[u8; 32], index: u32) -> Self {
        // RFC 9562, 5.7: 48 bits of time, 4 of the version, 12, 2 of the variant, 62.
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        let random =
            previous_hash.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes) >> 48);
        // The last four bytes tell the events of one record apart.
        let bits = (u128::from(recorded_at_ms) << 80) | (random ^ u128::from(index));
        let bits = (bits & !(VERSION | VARIANT)) | (7 << 76) | (0b10 << 62);
        Self::Derived(uuid::Uuid::from_u128(bits))
    }

    /// Whether it was derived, and this is its text.
    #[must_use]
    pub fn is_derived_as(self, text: &str) -> bool {
        match self {
            Self::Derived(id) => uuid::Uuid::try_parse(text).is_ok_and(|text| text == id),
            Self::Given(_) => false,
        }
    }

    /// Appends it as text.
    pub fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Derived(id) => {
                let mut text = uuid::Uuid::encode_buffer();
                out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
            }
            Self::Given(id) => out.extend_from_slice(id.as_bytes()),
        }
    }
}

/// The time that a derived id states, in milliseconds since 1970; none if the text is no such id.
#[must_use]
pub fn derived_at_ms(id: &str) -> Option<u64> {
    let id = uuid::Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
    // Its first 48 bits.
    u64::try_from(id.as_u128() >> 80).ok()
}

/// The number of the event that has a derived id, if it is one of this record.
#[must_use]
pub fn derived_index(id: &str, recorded_at_ms: u64, previous_hash: &[u8; 32]) -> Option<u32> {
    let EventId::Derived(first) = EventId::derive(recorded_at_ms, previous_hash, 0) else {
        return None;
    };
    let id = uuid::Uuid::try_parse(id).ok()?;
    u32::try_from(id.as_u128() ^ first.as_u128()).ok()
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Derived(id) => id.fmt(f),
            Self::Given(id) => f.write_str(id),
        }
    }
}

impl fmt::Debug for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_record_differ_and_stay_the_same() {
        let hash = [7; 32];
        let ids: Vec<_> = (0..1000).map(|i| EventId::derive(1, &hash, i)).collect();
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 1000);
        assert_eq!(ids[3], EventId::derive(1, &hash, 3));
        assert_ne!(EventId::derive(1, &[8; 32], 3), ids[3]);
        let random = [7, 7, 7, 7, 7, 7, 7, 7, 7, 7 ^ 3];
        let version_7 = uuid::Builder::from_unix_timestamp_millis(1, &random).into_uuid();
        assert_eq!(ids[3], EventId::Derived(version_7));
        let text = EventId::derive(1_700_000_000_123, &hash, 999).to_string();
        assert_eq!(derived_at_ms(&text), Some(1_700_000_000_123));
        assert_eq!(derived_index(&text, 1_700_000_000_123, &hash), Some(999));
        assert_eq!(derived_index(&text, 1_700_000_000_123, &[8; 32]), None);
        for other in ["", "7", "0190b6a8-1111-4000-8000-000000000000"] {
            assert_eq!(derived_at_ms(other), None);
        }
    }
}
