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
}

/// A fact with its place in the log, borrowed from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent<'a> {
    /// Number in the order of all events, from 1.
    pub position: u64,
    /// Unique over all stores and for all time.
    pub id: EventId,
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
}

/// Event data as guests get it: JSON as it is, anything else as a JSON string of base64.
#[must_use]
pub fn guest_data<'a>(content_type: &str, data: &'a [u8]) -> Cow<'a, str> {
    match std::str::from_utf8(data) {
        Ok(text) if content_type == JSON => Cow::Borrowed(text),
        _ => Cow::Owned(format!("\"{}\"", STANDARD.encode(data))),
    }
}

/// A UUID version 7, derived from the record: its time, the hash of the record before it and the
/// place of the event in it. It is not stored, and the same for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(uuid::Uuid);

impl EventId {
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
        Self(uuid::Uuid::from_u128((bits & !(VERSION | VARIANT)) | (7 << 76) | (0b10 << 62)))
    }

    /// Appends it as text.
    pub fn put(self, out: &mut Vec<u8>) {
        let mut text = uuid::Uuid::encode_buffer();
        out.extend_from_slice(self.0.hyphenated().encode_lower(&mut text).as_bytes());
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        assert_eq!(ids[3], EventId(version_7));
    }
}
