//! Faults of a disk, for tests: calls on a file that fail, and syncs that lie.
//!
//! What was written and not synced is remembered with what was there before. A sync that fails
//! drops it, as systems do, and then says nothing more of it: later syncs succeed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;
use redb::backends::FileBackend;

/// What is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Call {
    Write,
    Sync,
}

/// Which calls fail next, on which files; shared by all files of a disk.
#[derive(Debug, Default)]
pub(in crate::storage) struct Faults {
    failing: Mutex<Vec<(String, Call, u32)>>,
    /// Whether what is written is remembered until it is synced, which costs a read each.
    remembers: AtomicBool,
}

impl Faults {
    /// The next `times` calls of a kind on files whose names begin so fail.
    pub(in crate::storage) fn fail(&self, file: &str, call: Call, times: u32) {
        self.remembers.store(true, Ordering::Relaxed);
        self.failing.lock().push((file.into(), call, times));
    }

    /// Ends all faults.
    pub(in crate::storage) fn mend(&self) {
        self.failing.lock().clear();
    }

    fn take(&self, name: &str, call: Call) -> io::Result<()> {
        let mut faults = self.failing.lock();
        let fits = |(file, kind, times): &&mut (String, Call, u32)| {
            name.starts_with(&**file) && *kind == call && *times > 0
        };
        match faults.iter_mut().find(fits) {
            Some((_, _, times)) => {
                *times -= 1;
                Err(io::Error::other("an injected fault"))
            }
            None => Ok(()),
        }
    }
}

/// The faults of one file, and what was written to it since its last sync.
#[derive(Debug)]
pub(super) struct OfFile {
    faults: Arc<Faults>,
    name: String,
    unsynced: Mutex<Vec<Undo>>,
}

/// What takes a change back.
#[derive(Debug)]
enum Undo {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl OfFile {
    pub(super) fn new(faults: &Arc<Faults>, path: &Path) -> Self {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        Self { faults: Arc::clone(faults), name, unsynced: Mutex::default() }
    }

    pub(super) fn before_write(&self, file: &FileBackend, at: u64, len: usize) -> io::Result<()> {
        self.faults.take(&self.name, Call::Write)?;
        if !self.faults.remembers.load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = file.len()?;
        let there = usize::try_from(end.saturating_sub(at)).expect("fits").min(len);
        let mut before = vec![0; there];
        file.read(at, &mut before)?;
        let mut unsynced = self.unsynced.lock();
        unsynced.push(Undo::Length(end));
        unsynced.push(Undo::Write(at, before));
        Ok(())
    }

    pub(super) fn before_set_len(&self, file: &FileBackend, len: u64) -> io::Result<()> {
        if !self.faults.remembers.load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = file.len()?;
        let mut lost = vec![0; usize::try_from(end.saturating_sub(len)).expect("fits")];
        file.read(len.min(end), &mut lost)?;
        let mut unsynced = self.unsynced.lock();
        unsynced.push(Undo::Write(len.min(end), lost));
        unsynced.push(Undo::Length(end));
        Ok(())
    }

    pub(super) fn before_sync(&self, file: &FileBackend) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        let failed = self.faults.take(&self.name, Call::Sync);
        if failed.is_err() {
            for undo in unsynced.into_iter().rev() {
                match undo {
                    Undo::Write(at, before) => file.write(at, &before)?,
                    Undo::Length(end) => file.set_len(end)?,
                }
            }
        }
        failed
    }
}
