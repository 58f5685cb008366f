//! What refused commands said is taken out of an archived file; that they were refused stays.
//!
//! Promises: a record keeps its number, its time, its place in the chain and its hash, so that the
//! chain, the tree and signed checkpoints hold as before; no record with events is touched; the
//! file that was there stays until the new one was read back.

use std::fs;
use std::path::Path;

use super::archive::{ArchivedFile, digest_of};
use super::file::LogFile;
use super::moves::{ArchiveError, Copied, io, sync_dir_of};
use super::rows::{GROUPS, write_directory};
use super::{Chain, Log, ReadError, row};
use crate::decision::Hash;
use crate::decision::format::{erased, split};
use crate::faults::{Point, fail_point};

impl Log {
    /// The oldest record whose command id is still known, so that a retry would want it.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn oldest_known_command(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.shared.index.oldest_arrival()?)
    }

    /// Writes an archived file anew, without what refused commands said; `each` gets the hash of
    /// every record, and the answer is how many were erased and the chain after the last. To be
    /// ended by [`Log::replace_archived`].
    ///
    /// # Errors
    /// [`ArchiveError`]; the file is as it was.
    pub fn copy_erased(
        &self,
        file: &ArchivedFile,
        before: Chain,
        each: impl FnMut(&Hash),
    ) -> Result<(Copied, u64, Chain), ArchiveError> {
        let (copied, count) = self.shared.records.file.copy_erased(file)?;
        let end = copied.check(before, each)?;
        Ok((copied, count, end))
    }

    /// Puts what [`Log::copy_erased`] wrote in the place of the file.
    ///
    /// # Errors
    /// [`ArchiveError`]; the file is as it was.
    pub fn replace_archived(&self, copied: &Copied) -> Result<(), ArchiveError> {
        self.shared.records.file.replace_archived(copied)
    }
}

impl LogFile {
    fn copy_erased(&self, file: &ArchivedFile) -> Result<(Copied, u64), ArchiveError> {
        let to = self.archive.read().path(file.first).ok_or(ArchiveError::NoPlace)?;
        if self.path_to_read(file.first)? != to {
            return Err(ArchiveError::Taken(self.directory.file(file.first)));
        }
        let unfinished = to.with_extension("new");
        let failed =
            |error: &dyn std::fmt::Display| ArchiveError::Io(unfinished.clone(), error.to_string());
        let count = self.write_erased(&to, &unfinished).map_err(|error| failed(&error))?;
        fs::File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed(&error))?;
        let (bytes, digest) = digest_of(&unfinished, |_| Ok(())).map_err(|e| failed(&e))?;
        let rows = self.directory.rows_of(&unfinished).map_err(|error| failed(&error))?;
        let rows = rows.ok_or_else(|| failed(&"it has no rows"))?;
        Ok((Copied { first: file.first, unfinished, bytes, digest, rows }, count))
    }

    fn write_erased(&self, from: &Path, to: &Path) -> Result<u64, String> {
        let rows = self.directory.rows_of(from)?.ok_or("it has no rows")?;
        let database = self.directory.new_database(to)?;
        let write = database.begin_write().map_err(text)?;
        let mut count = 0;
        {
            let mut table = write.open_table(GROUPS).map_err(text)?;
            for row in rows.table.range::<u64>(..).map_err(text)? {
                let (first, stored) = row.map_err(text)?;
                let (mut records, mut rest) =
                    (Vec::new(), row::records(stored.value()).map_err(text)?);
                while !rest.is_empty() {
                    let (record, after) = split(rest).map_err(text)?;
                    let stub = erased(record).map_err(text)?;
                    count += u64::from(stub.is_some());
                    records.extend_from_slice(stub.as_deref().unwrap_or(record));
                    rest = after;
                }
                let places = row::table(&records).map_err(text)?;
                records.extend_from_slice(&places);
                table.insert(first.value(), &*records).map_err(text)?;
            }
        }
        write.commit().map_err(text)?;
        write_directory(&database).map_err(text)?;
        database.close().map_err(text)?;
        Ok(count)
    }

    fn replace_archived(&self, copied: &Copied) -> Result<(), ArchiveError> {
        let mut archive = self.archive.read().clone();
        let path = archive.path(copied.first).ok_or(ArchiveError::NoPlace)?;
        let Some(file) = archive.files.iter_mut().find(|file| file.first == copied.first) else {
            return Err(ArchiveError::Taken(path));
        };
        // Either is the file, whatever a crash in between leaves.
        file.replaced = Some((file.bytes, file.digest));
        (file.bytes, file.digest) = (copied.bytes, copied.digest);
        let data = &self.directory.path;
        let failed = |reason| ArchiveError::Io(data.clone(), reason);
        fail_point(Point::Erase);
        archive.write(data).map_err(failed)?;
        fail_point(Point::Erase);
        fs::rename(&copied.unfinished, &path).map_err(|error| io(&path, &error))?;
        sync_dir_of(&path)?;
        fail_point(Point::Erase);
        for file in archive.files.iter_mut().filter(|file| file.first == copied.first) {
            (file.is_erased, file.replaced) = (true, None);
        }
        let written = archive.write(data);
        let mut open = self.closed.lock();
        open.retain(|(first, _)| *first != copied.first);
        *self.archive.write() = archive;
        written.map_err(failed)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
