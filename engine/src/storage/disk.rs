//! Where the log, its index and read models keep their bytes: ordinary files. Everything that
//! durability rests on goes through here, contents of files and names in directories, so that a
//! simulated disk can take the place of the files and lose what was not synced.
//!
//! Benches and tests may ask for a disk whose syncs take longer; no setting of the server reaches
//! that. Who only looks at a store asks for one on which nothing changes.

pub(crate) mod checked;
mod still;

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

pub(super) use checked::Damage;
use still::{Changed, Changes};

/// A disk to keep a log on.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    kind: Kind,
    /// Where changes are kept that must not reach the files.
    still: Option<Arc<Changes>>,
    sync_delay: Duration,
}

#[derive(Clone, Debug, Default)]
enum Kind {
    /// The files of the system.
    #[default]
    Files,
    #[cfg(test)]
    Simulated(simulated::Simulated),
}

impl Disk {
    /// A disk whose every sync takes this much longer than it would: what a user's disk costs,
    /// measured on a developer's.
    #[must_use]
    pub fn slowed(sync_delay: Duration) -> Self {
        Self { sync_delay, ..Self::default() }
    }

    /// A disk on which nothing changes: what is written is kept in memory and gone with it.
    #[must_use]
    pub fn still() -> Self {
        Self::default().stilled()
    }

    /// This disk as it is for who must not change anything on it.
    pub(super) fn stilled(&self) -> Self {
        Self { still: Some(Arc::default()), ..self.clone() }
    }

    /// A disk in memory.
    #[cfg(test)]
    pub(crate) fn simulated(simulated: &simulated::Simulated) -> Self {
        Self { kind: Kind::Simulated(simulated.clone()), ..Self::default() }
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
        let bytes = match &self.kind {
            Kind::Files => {
                let mut options = File::options();
                let options = options.read(true).write(true).create(true).truncate(false);
                Bytes::File(backend(options.open(path)?)?)
            }
            #[cfg(test)]
            Kind::Simulated(disk) => Bytes::Simulated(disk.file(path)?),
        };
        Ok(DiskFile { bytes, changed: None, sync_delay: self.sync_delay })
    }

    /// Opens a file for reading only.
    pub(super) fn file_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        let bytes = match &self.kind {
            Kind::Files => Bytes::File(backend(File::open(path)?)?),
            #[cfg(test)]
            Kind::Simulated(disk) => Bytes::Simulated(disk.file_to_read(path)?),
        };
        let changed = self.still.as_ref().map(|all| Changed::of(all, path, &bytes)).transpose()?;
        Ok(DiskFile { bytes, changed, sync_delay: self.sync_delay })
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &Path) -> io::Result<bool> {
        match &self.kind {
            Kind::Files => path.try_exists(),
            #[cfg(test)]
            Kind::Simulated(disk) => disk.has(path),
        }
    }

    /// The names of what is in a directory, in no order; those that are no text are left out.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match &self.kind {
            Kind::Files => {
                let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string()));
                let names: io::Result<Vec<_>> = names.collect();
                Ok(names?.into_iter().flatten().collect())
            }
            #[cfg(test)]
            Kind::Simulated(disk) => disk.list(dir),
        }
    }

    /// Gives a file another name, in place of what had it. A crash may undo it until the directory
    /// is synced.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_change()?;
        match &self.kind {
            Kind::Files => fs::rename(from, to),
            #[cfg(test)]
            Kind::Simulated(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file, if it is there. A crash may undo it until the directory is synced.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.may_change()?;
        let removed = match &self.kind {
            Kind::Files => fs::remove_file(path),
            #[cfg(test)]
            Kind::Simulated(disk) => disk.remove(path),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.may_change()?;
        match &self.kind {
            Kind::Files => File::open(dir)?.sync_all(),
            #[cfg(test)]
            Kind::Simulated(disk) => disk.sync_dir(dir),
        }
    }

    /// Free bytes; none where the system does not say.
    ///
    /// # Errors
    /// When there is no such directory.
    pub(super) fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        match &self.kind {
            Kind::Files => match rustix::fs::statvfs(dir) {
                Ok(stat) => Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize))),
                Err(rustix::io::Errno::NOENT) => Err(io::ErrorKind::NotFound.into()),
                Err(_) => Ok(None),
            },
            #[cfg(test)]
            Kind::Simulated(_) => Ok(None),
        }
    }
}

impl Disk {
    fn may_change(&self) -> io::Result<()> {
        if self.is_still() { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

fn backend(file: File) -> io::Result<FileBackend> {
    FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))
}

/// One file of a disk, as redb uses it.
#[derive(Debug)]
pub(super) struct DiskFile {
    bytes: Bytes,
    /// On a still disk.
    changed: Option<Arc<Mutex<Changed>>>,
    sync_delay: Duration,
}

/// Where the bytes of a file are.
#[derive(Debug)]
enum Bytes {
    File(FileBackend),
    #[cfg(test)]
    Simulated(simulated::SimulatedFile),
}

impl Bytes {
    fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.len(),
            #[cfg(test)]
            Self::Simulated(file) => file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read(offset, out),
            #[cfg(test)]
            Self::Simulated(file) => file.read(offset, out),
        }
    }
}

impl DiskFile {
    /// Whoever looks at a still disk holds the directory; these locks want a file that can be
    /// written. A simulated disk has one process.
    fn lock<T>(
        &self,
        granted: T,
        lock: impl FnOnce(&FileBackend) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match (&self.changed, &self.bytes) {
            (None, Bytes::File(file)) => lock(file),
            _ => Ok(granted),
        }
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.changed.as_ref().map_or_else(|| self.bytes.len(), |changed| Ok(changed.lock().len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.changed {
            Some(changed) => changed.lock().read(&self.bytes, offset, out),
            None => self.bytes.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(changed) = &self.changed {
            changed.lock().set_len(len);
            return Ok(());
        }
        match &self.bytes {
            Bytes::File(file) => file.set_len(len),
            #[cfg(test)]
            Bytes::Simulated(file) => file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.changed.is_some() {
            return Ok(());
        }
        match &self.bytes {
            Bytes::File(file) => file.sync_data()?,
            #[cfg(test)]
            Bytes::Simulated(file) => file.sync_data()?,
        }
        if !self.sync_delay.is_zero() {
            std::thread::sleep(self.sync_delay);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(changed) = &self.changed {
            return changed.lock().write(&self.bytes, offset, data);
        }
        match &self.bytes {
            Bytes::File(file) => file.write(offset, data),
            #[cfg(test)]
            Bytes::Simulated(file) => file.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        match &self.bytes {
            Bytes::File(file) => file.close(),
            #[cfg(test)]
            Bytes::Simulated(_) => Ok(()),
        }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(true, |file| file.try_lock_range(start, end))
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.lock(true, |file| file.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((), |file| file.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((), |file| file.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((), |file| file.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(false, |file| file.query_lock_range(start, end))
    }
}

#[cfg(test)]
pub(crate) mod simulated;
