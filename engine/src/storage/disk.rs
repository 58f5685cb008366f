//! Where the log and its index keep their bytes: ordinary files. Benches and tests may ask for a
//! disk whose syncs take longer; no setting of the server reaches that.

use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A disk to keep a log on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    sync_delay: Duration,
}

impl Disk {
    /// A disk whose every sync takes this much longer than it would: what a user's disk costs,
    /// measured on a developer's.
    #[must_use]
    pub fn slowed(sync_delay: Duration) -> Self {
        Self { sync_delay }
    }

    /// Opens a file for reading and writing, creating it where there is none.
    pub(super) fn file(self, path: &Path) -> io::Result<DiskFile> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        self.backend(file)
    }

    /// Opens a file for reading only.
    pub(super) fn file_to_read(self, path: &Path) -> io::Result<DiskFile> {
        self.backend(File::open(path)?)
    }

    fn backend(self, file: File) -> io::Result<DiskFile> {
        let file = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(DiskFile { file, sync_delay: self.sync_delay, unwritten: Mutex::new(0..0) })
    }
}

/// One file of a disk, as redb uses it.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: FileBackend,
    sync_delay: Duration,
    /// The part at the end that was added and never written to.
    unwritten: Mutex<Range<u64>>,
}

/// What is laid out at once before it is written to. 4 MiB: some two milliseconds.
const LAID_OUT: u64 = 4 << 20;

impl DiskFile {
    /// Lays out what a write goes to. A sync after a write to a part of a file that has no blocks
    /// yet also has to write down which blocks it got, which doubles its cost.
    fn lay_out(&self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let mut unwritten = self.unwritten.lock();
        while !unwritten.is_empty() && end > unwritten.start {
            let chunk = LAID_OUT.min(unwritten.end - unwritten.start);
            let zeros = vec![0; usize::try_from(chunk).unwrap_or_default()];
            self.file.write(unwritten.start, &zeros)?;
            unwritten.start += chunk;
        }
        Ok(())
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.file.len()?;
        self.file.set_len(len)?;
        let mut unwritten = self.unwritten.lock();
        let start = if unwritten.is_empty() { before } else { unwritten.start };
        *unwritten = start.min(len)..len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.sync_delay.is_zero() {
            std::thread::sleep(self.sync_delay);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lay_out(offset, data.len())?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
