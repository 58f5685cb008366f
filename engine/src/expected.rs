//! Expected versions: what a stream must be like for something to be appended to it.

use std::fmt;

use crate::names::StreamId;

/// The version that a stream must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any.
    Any,
    /// It has no event yet.
    NoStream,
    /// It has at least one.
    Exists,
    /// Exactly this one.
    Exact(u64),
}

impl ExpectedVersion {
    /// Whether a stream at `actual` is as expected.
    #[must_use]
    pub fn holds(self, actual: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == 0,
            Self::Exists => actual > 0,
            Self::Exact(version) => actual == version,
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("a stream that exists"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// A stream is not at the version that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionConflict {
    /// The stream.
    pub stream: StreamId,
    /// What was expected.
    pub expected: ExpectedVersion,
    /// The stream's version; 0 before its first event.
    pub actual: u64,
}

impl fmt::Display for VersionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, expected, actual } = self;
        match actual {
            0 => write!(f, "expected {expected}, and the stream {stream} does not exist"),
            _ => write!(f, "expected {expected}, and the stream {stream} is at version {actual}"),
        }
    }
}
