//! Streams by the beginning of their names, from the index.

use bytes::Bytes;

use crate::decision::format::parse_header;
use crate::names::StreamId;
use crate::storage::log::{Direction, Log, ReadError};

/// A stream in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub stream: String,
    /// Its newest version.
    pub version: u64,
    /// When its first event was recorded, in milliseconds since 1970.
    pub first_at_ms: u64,
    /// When its newest event was recorded.
    pub last_at_ms: u64,
}

/// Up to `limit` streams whose names begin with `prefix`, in order, those after a name; and
/// whether there are more.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the log or its index cannot be read.
pub fn streams(
    log: &Log,
    prefix: &str,
    after: Option<&StreamId>,
    limit: usize,
) -> Result<(Vec<StreamSummary>, bool), ReadError> {
    let after = after.map(StreamId::as_str);
    let mut found = log.streams(prefix, after, limit.saturating_add(1))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let summary = |(stream, version): (String, u64)| {
        let first = log.stream_records(&stream, 0, Direction::Forward, 1)?;
        let newest = log.stream_records(&stream, version + 1, Direction::Backward, 1)?;
        Ok(StreamSummary {
            first_at_ms: recorded_at(&stream, &first)?,
            last_at_ms: recorded_at(&stream, &newest)?,
            stream,
            version,
        })
    };
    Ok((found.into_iter().map(summary).collect::<Result<_, ReadError>>()?, more))
}

fn recorded_at(stream: &str, records: &[Bytes]) -> Result<u64, ReadError> {
    let missing = || ReadError::Damaged(format!("stream {stream} is indexed and has no record"));
    Ok(parse_header(records.first().ok_or_else(missing)?)?.recorded_at_ms)
}
