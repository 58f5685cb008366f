//! A log that is made of records that there already are: what a restore writes.

use std::path::Path;

use super::file::LogFile;
use super::settle::RowBuilder;
use super::{LogLimits, OpenError};
use crate::storage::disk::Disk;

/// Bytes of records that are written at once. 8 MiB: what a server moves to rows at once.
const BATCH_BYTES: usize = 8 << 20;

/// A log that is being written.
pub struct LogCopy {
    file: LogFile,
    rows: RowBuilder,
    bytes: usize,
}

impl std::fmt::Debug for LogCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogCopy")
    }
}

impl LogCopy {
    /// Begins one in a directory that has none.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be written.
    pub fn create(dir: &Path) -> Result<Self, OpenError> {
        let file = LogFile::open(dir, &LogLimits::default(), Disk::default())?;
        Ok(Self { file, rows: RowBuilder::default(), bytes: 0 })
    }

    /// Adds the next record; the caller has made sure that it is.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be written.
    pub fn push(&mut self, decision: u64, record: &[u8]) -> Result<(), OpenError> {
        self.rows.push(decision, record);
        self.bytes += record.len();
        if self.bytes < BATCH_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        self.file.append(&rows.rows()).map_err(OpenError::File)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be written.
    pub fn finish(self) -> Result<(), OpenError> {
        self.file.append(&self.rows.rows()).map_err(OpenError::File)
    }
}
