//! The files of the log: one for each bounded span, named by the decision it begins with.
//!
//! Only the newest is written to; the others are closed for good. So only the newest can ever need
//! repair, and opening a log does not take longer the longer it is. A file gets its name when it is
//! whole, so a crash in between leaves nothing but a file that is removed.

use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, StorageBackend};

use super::rows::{GROUPS, Rows, read_directory};
use crate::storage::disk::Disk;

/// What the only file of a log was called before there were several.
const UNDIVIDED: &str = "log.redb";

/// Where the files are and how they are opened.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) disk: Disk,
    pub(super) page_cache_bytes: usize,
}

/// The page cache of a closed file is this part of the newest's. Rows are pages of 16 KiB.
const CLOSED_CACHE_PART: usize = 2;

impl Directory {
    /// The decisions that the files here begin with, in order. Removes what a crash left behind,
    /// unless the disk is still.
    pub(super) fn list(&self) -> Result<Vec<u64>, String> {
        let (undivided, is_still) = (self.path.join(UNDIVIDED), self.disk.is_still());
        let mut firsts = Vec::new();
        let is_undivided = self.disk.has(&undivided).map_err(text)?;
        if is_undivided && is_still {
            firsts.push(1);
        } else if is_undivided {
            self.disk.rename(&undivided, &self.file(1)).map_err(text)?;
        }
        for entry in self.disk.list(&self.path).map_err(text)? {
            let Some(name) = entry.strip_prefix("log-") else { continue };
            if name.ends_with(".new") && is_still {
                continue;
            } else if name.ends_with(".new") {
                self.disk.remove(&self.path.join(&entry)).map_err(text)?;
            } else if let Some(first) = name.strip_suffix(".redb") {
                firsts.push(first.parse().map_err(text)?);
            }
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Opens the newest file, repairing it where the last commit was cut off.
    pub(super) fn open_newest(&self, first: u64) -> Result<(Database, u64), String> {
        self.open_to_write(&self.file(first))
    }

    fn open_to_write(&self, path: &Path) -> Result<(Database, u64), String> {
        let file = self.disk.file(path).map_err(text)?;
        let bytes = file.len().map_err(text)?;
        let database = self.builder(1).create_with_backend(file).map_err(text)?;
        Ok((database, bytes))
    }

    /// Makes an empty file of a name that is none of the log's.
    pub(super) fn new_database(&self, path: &Path) -> Result<Database, String> {
        self.disk.remove(path).map_err(text)?;
        let file = self.disk.file(path).map_err(text)?;
        self.builder(1).create_with_backend(file).map_err(text)
    }

    /// Makes a file for what comes after everything before `first`.
    pub(super) fn create(&self, first: u64) -> Result<Database, String> {
        let path = self.file(first);
        let unfinished = path.with_extension("new");
        let database = self.new_database(&unfinished)?;
        let write = database.begin_write().map_err(text)?;
        write.open_table(GROUPS).map_err(text)?;
        write.commit().map_err(text)?;
        self.disk.rename(&unfinished, &path).map_err(text)?;
        self.disk.sync_dir(&self.path).map_err(text)?;
        Ok(database)
    }

    /// The rows of a file that is closed for good; none where nothing was ever written.
    pub(super) fn rows_of(&self, path: &Path) -> Result<Option<Rows>, String> {
        let database = self.open_closed(path)?;
        let directory = read_directory(&database).map_err(text)?;
        Rows::of(&database, directory).map_err(text)
    }

    fn open_closed(&self, path: &Path) -> Result<ReadOnlyDatabase, String> {
        match self.open_to_read(path) {
            // Its last close, or a commit, did not come to its end. What was acknowledged is in it.
            // It is repaired in memory alone: after a sync that failed, what the system shows of a
            // file may not be what the disk has, and a repair would be made on top of that.
            Err(DatabaseError::RepairAborted) => {
                let (dir, disk) = (self.path.clone(), self.disk.stilled());
                let still = Self { path: dir, disk, page_cache_bytes: self.page_cache_bytes };
                drop(still.open_to_write(path)?);
                still.open_to_read(path).map_err(text)
            }
            opened => opened.map_err(text),
        }
    }

    fn open_to_read(&self, path: &Path) -> Result<ReadOnlyDatabase, DatabaseError> {
        let file = self.disk.file_to_read(path)?;
        self.builder(CLOSED_CACHE_PART).open_read_only_with_backend(file)
    }

    pub(super) fn file(&self, first: u64) -> PathBuf {
        let undivided = self.path.join(UNDIVIDED);
        if first == 1 && self.disk.is_still() && self.disk.has(&undivided).unwrap_or(false) {
            return undivided;
        }
        self.path.join(name_of(first))
    }

    fn builder(&self, part: usize) -> Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.page_cache_bytes / part);
        builder
    }
}

/// What the file that begins with a record is called. Twenty digits hold any number, so that names
/// sort as numbers do.
pub(super) fn name_of(first: u64) -> String {
    format!("log-{first:020}.redb")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
