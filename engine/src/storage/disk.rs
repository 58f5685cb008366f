//! Where the log and its index keep their bytes: ordinary files. Benches and tests may ask for a
//! disk whose syncs take longer; no setting of the server reaches that.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
#[cfg(test)]
use std::sync::Arc;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A disk to keep a log on.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    sync_delay: Duration,
    #[cfg(test)]
    pub(super) faults: Arc<faults::Faults>,
}

impl Disk {
    /// A disk whose every sync takes this much longer than it would: what a user's disk costs,
    /// measured on a developer's.
    #[must_use]
    pub fn slowed(sync_delay: Duration) -> Self {
        Self {
            sync_delay,
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    /// Opens a file for reading and writing, creating it where there is none.
    pub(super) fn file(&self, path: &Path) -> io::Result<DiskFile> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        self.backend(file, path)
    }

    /// Opens a file for reading only.
    pub(super) fn file_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        self.backend(File::open(path)?, path)
    }

    #[cfg_attr(not(test), expect(unused_variables, reason = "faults are told by name"))]
    fn backend(&self, file: File, path: &Path) -> io::Result<DiskFile> {
        let file = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(DiskFile {
            file,
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
    sync_delay: Duration,
    #[cfg(test)]
    faults: faults::OfFile,
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_set_len(&self.file, len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync(&self.file)?;
        self.file.sync_data()?;
        if !self.sync_delay.is_zero() {
            std::thread::sleep(self.sync_delay);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_write(&self.file, offset, data.len())?;
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

#[cfg(test)]
pub(super) mod faults;
