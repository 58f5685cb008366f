//! Where the log and its index keep their bytes: ordinary files. Benches and tests may ask for a
//! disk whose syncs take longer; no setting of the server reaches that. Who only looks at a store
//! asks for one on which nothing changes.

mod still;

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use still::{Changed, Changes};

/// A disk to keep a log on.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    sync_delay: Duration,
    /// Where changes are kept that must not reach the files.
    still: Option<Arc<Changes>>,
    #[cfg(test)]
    pub(super) faults: Arc<faults::Faults>,
}

impl Disk {
    /// A disk whose every sync takes this much longer than it would: what a user's disk costs,
    /// measured on a developer's.
    #[must_use]
    pub fn slowed(sync_delay: Duration) -> Self {
        Self { sync_delay, ..Self::default() }
    }

    /// Lets the next sync of files whose names begin so fail.
    #[cfg(test)]
    pub(crate) fn fail_next_sync(&self, file: &str) {
        self.faults.fail(file, faults::Call::Sync, 1);
    }

    /// A disk on which nothing changes: what is written is kept in memory and gone with it.
    #[must_use]
    pub fn still() -> Self {
        Self { still: Some(Arc::default()), ..Self::default() }
    }

    /// Whether nothing changes on it.
    pub(super) fn is_still(&self) -> bool {
        self.still.is_some()
    }

    /// Opens a file for reading and writing, creating it where there is none, unless the disk is
    /// still.
    pub(super) fn file(&self, path: &Path) -> io::Result<DiskFile> {
        if self.is_still() {
            return self.file_to_read(path);
        }
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        self.backend(file, path)
    }

    /// Opens a file for reading only.
    pub(super) fn file_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        self.backend(File::open(path)?, path)
    }

    fn backend(&self, file: File, path: &Path) -> io::Result<DiskFile> {
        let file = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        let changed = self.still.as_ref().map(|all| Changed::of(all, path, &file)).transpose()?;
        Ok(DiskFile {
            file,
            changed,
            sync_delay: self.sync_delay,
            #[cfg(test)]
            faults: faults::OfFile::new(&self.faults, path),
        })
    }
}

/// One file of a disk, as redb uses it.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: FileBackend,
    /// On a still disk.
    changed: Option<Arc<Mutex<Changed>>>,
    sync_delay: Duration,
    #[cfg(test)]
    faults: faults::OfFile,
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.changed.as_ref().map_or_else(|| self.file.len(), |changed| Ok(changed.lock().len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.changed {
            Some(changed) => changed.lock().read(&self.file, offset, out),
            None => self.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(changed) = &self.changed {
            changed.lock().set_len(len);
            return Ok(());
        }
        #[cfg(test)]
        self.faults.before_set_len(&self.file, len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.changed.is_some() {
            return Ok(());
        }
        #[cfg(test)]
        self.faults.before_sync(&self.file)?;
        self.file.sync_data()?;
        if !self.sync_delay.is_zero() {
            std::thread::sleep(self.sync_delay);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(changed) = &self.changed {
            return changed.lock().write(&self.file, offset, data);
        }
        #[cfg(test)]
        self.faults.before_write(&self.file, offset, data.len())?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        // Whoever looks holds the directory; these locks want a file that can be written.
        if self.changed.is_some() { Ok(true) } else { self.file.try_lock_range(start, end) }
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        if self.changed.is_some() { Ok(true) } else { self.file.try_lock_shared_range(start, end) }
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.changed.is_some() { Ok(()) } else { self.file.lock_range(start, end) }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.changed.is_some() { Ok(()) } else { self.file.lock_shared_range(start, end) }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.changed.is_some() { Ok(()) } else { self.file.unlock_range(start, end) }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.changed.is_some() { Ok(false) } else { self.file.query_lock_range(start, end) }
    }
}

#[cfg(test)]
pub(super) mod faults;
