//! What the log may use, and why it cannot be opened or read.

use std::path::PathBuf;
use std::sync::Arc;

use super::archive::OutOfReach;
use crate::decision::format::Damage;
use crate::storage::index::{FindError, IndexError, IndexLimits};

/// What the log may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct LogLimits {
    /// Records that one fsync may cover. 4,096: more gains nothing and delays the first answer.
    pub group_records: usize,
    /// Bytes that one fsync may cover. 8 MiB: a second's worth on a slow disk.
    pub group_bytes: usize,
    /// Submissions waiting for the writer; a full queue holds its senders. 8,192: two groups.
    pub queue_records: usize,
    /// redb's page cache of the newest file, in bytes; each closed file that is open for reading
    /// has half as much. 32 MiB: half of a file.
    pub page_cache_bytes: usize,
    /// Bytes of one of the journal's two files, after which the other is taken. 8 MiB: what is not
    /// in rows yet is in memory too, and is read after a crash.
    pub journal_bytes: u64,
    /// Bytes of one file, after which another is begun. 64 MiB: after a crash the newest is read
    /// whole, which takes some 50 ms.
    pub segment_bytes: u64,
    /// Bytes of streams that were read lately, kept for who reads them again. 16 MiB.
    pub stream_cache_bytes: u64,
    /// Free bytes on the disk below which appends are refused, so that the newest data always
    /// fits and reads go on. 64 MiB.
    pub min_free_disk_bytes: u64,
    /// Where closed files are moved when they are archived; none: where they were moved before.
    pub archive_dir: Option<PathBuf>,
    /// What the index may use.
    pub index: IndexLimits,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            group_records: 4096,
            group_bytes: 8 << 20,
            queue_records: 8192,
            page_cache_bytes: 32 << 20,
            journal_bytes: 8 << 20,
            segment_bytes: 64 << 20,
            stream_cache_bytes: 16 << 20,
            min_free_disk_bytes: 64 << 20,
            archive_dir: None,
            index: IndexLimits::default(),
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The file could not be read or written.
    File(String),
    /// A record is not what was written.
    Damaged {
        /// The first damaged record, or the one after the last good one.
        decision: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(reason) => write!(f, "the log cannot be opened: {reason}"),
            Self::Damaged { decision, reason } => write!(
                f,
                "the log is damaged at decision {decision}: {reason}. Restore the directory from \
                 a backup; nothing was changed"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a read found nothing to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The stored bytes are damaged; they are not served.
    Damaged(String),
    /// The file is being opened again after a failure, or cannot be read.
    Unavailable(String),
    /// The records are archived, and the archive is out of reach.
    Archived(Arc<OutOfReach>),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(reason) => write!(f, "the log is damaged: {reason}"),
            Self::Unavailable(reason) => write!(f, "the log cannot be read now: {reason}"),
            Self::Archived(away) => away.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Unavailable(_) => Self::Unavailable(error.to_string()),
            IndexError::Damaged(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<FindError> for ReadError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::TooWide => Self::Unavailable("a search took too many steps".into()),
            FindError::Index(error) => error.into(),
        }
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage.to_string())
    }
}
