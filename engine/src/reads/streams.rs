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
    /// When its first event was recorded, in milliseconds since 1970; none where that is archived
    /// out of reach.
    pub first_at_ms: Option<u64>,
    /// When its newest event was recorded; none likewise.
    pub last_at_ms: Option<u64>,
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
        let at = |from, direction| match log.stream_records(&stream, from, direction, 1) {
            Err(ReadError::Archived(_)) => Ok(None),
            found => recorded_at(&stream, &found?).map(Some),
        };
        Ok(StreamSummary {
            first_at_ms: at(0, Direction::Forward)?,
            last_at_ms: at(version + 1, Direction::Backward)?,
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
