//! Moving closed files of the log to the archive and back, one at a time.
//!
//! Promises: at every moment one of the two places has the whole file; a reader finds it in the one
//! or the other; what a crash leaves is a file that the next start removes. A file goes only when a
//! copy of it was read back, record by record.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::archive::{Archive, ArchivedFile, digest_of};
use super::file::LogFile;
use super::rows::Rows;
use super::segments::Directory;
use super::{Chain, Log, ReadError, row};
use crate::decision::Hash;
use crate::decision::format::split;
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::storage::data_dir::make;

/// The newest records that always stay: the tile of the Merkle tree that is not whole yet is among
/// them, so checkpoints go on without the archive.
const KEPT_RECORDS: u64 = 256;

/// Why a file was not moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// Nobody said where the archive is.
    NoPlace,
    /// The archive has another file of that name.
    Taken(PathBuf),
    /// The file, or its copy, is not what it must be.
    Damaged(PathBuf, String),
    /// The system refused.
    Io(PathBuf, String),
    /// The log cannot be read.
    Log(ReadError),
    /// The act that allows it was not recorded.
    NotRecorded(String),
}

impl std::fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPlace => {
                f.write_str("there is no archive directory; name one with --archive-dir")
            }
            Self::Taken(path) => write!(
                f,
                "{} is there already and is another file, as of another copy of this store; name \
                 another archive directory, or move that file away",
                path.display()
            ),
            Self::Damaged(path, reason) => {
                write!(f, "{}: {reason}; nothing was moved", path.display())
            }
            Self::Io(path, reason) => write!(f, "{}: {reason}", path.display()),
            Self::Log(error) => error.fmt(f),
            Self::NotRecorded(reason) => write!(f, "the act was not recorded: {reason}"),
        }
    }
}

impl std::error::Error for ArchiveError {}

impl From<ReadError> for ArchiveError {
    fn from(error: ReadError) -> Self {
        Self::Log(error)
    }
}

/// A closed file that was copied to the archive, under a name that is none yet.
pub struct Copied {
    pub(super) first: u64,
    pub(super) unfinished: PathBuf,
    pub(super) bytes: u64,
    pub(super) digest: Hash,
    pub(super) rows: Rows,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copied").field("file", &self.unfinished).finish_non_exhaustive()
    }
}

impl Copied {
    /// Reads the copy: every record must follow the one before, from `before` on. Gives the hash of
    /// each to `each`, and answers the chain after the last.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`], naming the record.
    pub fn check(&self, before: Chain, mut each: impl FnMut(&Hash)) -> Result<Chain, ArchiveError> {
        let mut chain = before;
        let wrong = |chain: &Chain, reason: &dyn std::fmt::Display| {
            let reason = format!("decision {}: {reason}", chain.head.decision + 1);
            ArchiveError::Damaged(self.unfinished.clone(), reason)
        };
        let rows = self.rows.table.range::<u64>(..).map_err(|error| wrong(&chain, &error))?;
        for row in rows {
            let (_, stored) = row.map_err(|error| wrong(&chain, &error))?;
            let mut rest = row::records(stored.value()).map_err(|damage| wrong(&chain, &damage))?;
            while !rest.is_empty() {
                let (record, after) = split(rest).map_err(|damage| wrong(&chain, &damage))?;
                chain = chain.follow(record).map_err(|damage| wrong(&chain, &damage))?.1;
                each(&chain.head.hash);
                rest = after;
            }
        }
        Ok(chain)
    }
}

impl Log {
    /// The archived files, in order.
    #[must_use]
    pub fn archived(&self) -> Vec<ArchivedFile> {
        self.shared.records.file.archived()
    }

    /// Where closed files are moved, if that is known.
    #[must_use]
    pub fn archive_dir(&self) -> Option<PathBuf> {
        self.shared.records.file.archive.read().dir.clone()
    }

    /// Whether an archived file can be read now.
    #[must_use]
    pub fn is_within_reach(&self, file: &ArchivedFile) -> bool {
        self.shared.records.file.path_to_read(file.first).is_ok()
    }

    /// Copies the oldest closed file to the archive that has no record after `through`; none if
    /// there is no such file. It blocks.
    ///
    /// # Errors
    /// [`ArchiveError`]; the log is as it was.
    pub fn copy_to_archive(&self, through: u64) -> Result<Option<Copied>, ArchiveError> {
        let file = &self.shared.records.file;
        let most = through.min(self.head().decision.saturating_sub(KEPT_RECORDS));
        let Some((first, last)) = file.oldest_here().filter(|(_, last)| *last <= most) else {
            return Ok(None);
        };
        // What the index lacks it takes from the log at the next start, which must not want the
        // archive for that.
        self.shared.index.flush_through(last).map_err(ReadError::from)?;
        file.copy_to_archive(first).map(Some)
    }

    /// Ends what [`Log::copy_to_archive`] began: from here on the file is read in the archive.
    ///
    /// # Errors
    /// [`ArchiveError`]; the file is where it was.
    pub fn archive(
        &self,
        copied: Copied,
        end: Chain,
        tree: Vec<Hash>,
    ) -> Result<ArchivedFile, ArchiveError> {
        let Copied { first, bytes, digest, unfinished, .. } = copied;
        let (replaced, is_erased) = (None, false);
        let file = ArchivedFile { first, end, tree, bytes, digest, replaced, is_erased };
        let mut acts = Vec::new();
        for decision in self.shared.index.newest_acts().map_err(ReadError::from)? {
            if decision <= end.head.decision
                && let Some(record) = self.record(decision)?
            {
                acts.push((decision, record));
            }
        }
        self.shared.records.file.archive_copied(&unfinished, &file, acts)?;
        Ok(file)
    }

    /// Brings the newest archived file back, if it has what `is_wanted` asks for; none if not.
    ///
    /// # Errors
    /// [`ArchiveError`]; the file stays in the archive.
    pub fn bring_back(
        &self,
        is_wanted: impl FnOnce(&ArchivedFile) -> bool,
    ) -> Result<Option<ArchivedFile>, ArchiveError> {
        let Some(file) = self.archived().pop().filter(is_wanted) else { return Ok(None) };
        self.shared.records.file.bring_back(&file)?;
        Ok(Some(file))
    }

    /// The part of the log that archived files bound: the chain after the last of those that are
    /// wholly before something, and the last record of the next. Neither reads a file.
    pub fn around(&self, is_before: impl Fn(&Chain) -> bool) -> (Option<Chain>, Option<u64>) {
        self.shared.records.file.around(is_before)
    }

    /// Whether everything after a position can be read.
    ///
    /// # Errors
    /// [`ReadError::Archived`], naming the first file that cannot.
    pub fn reach_after(&self, position: u64) -> Result<(), ReadError> {
        self.shared.records.file.reach(|file| file.end.head.position > position)
    }
}

impl LogFile {
    pub(super) fn archived(&self) -> Vec<ArchivedFile> {
        self.archive.read().files.clone()
    }

    /// The oldest file that is closed for good and not archived: its first record and its last.
    pub(super) fn oldest_here(&self) -> Option<(u64, u64)> {
        let next = self.archive.read().through() + 1;
        Some((next, self.file_of(next).1? - 1))
    }

    /// The chain after a record, where there is one; that of the last of an archived file is known
    /// without the file.
    pub(super) fn chain_at(&self, decision: u64) -> Result<Option<Chain>, ReadError> {
        let (known, _) = self.around(|end| end.head.decision <= decision);
        if let Some(end) = known.filter(|end| end.head.decision == decision) {
            return Ok(Some(end));
        }
        let record = self.records(&[decision])?.pop();
        Ok(record.map(|record| Chain::from(&record).map(|(_, chain)| chain)).transpose()?)
    }

    /// A record that is kept here though its file is archived.
    pub(super) fn kept(&self, decision: u64) -> Option<Bytes> {
        self.archive.read().acts.get(&decision).cloned()
    }

    /// See [`Log::around`].
    pub(super) fn around(
        &self,
        is_before: impl Fn(&Chain) -> bool,
    ) -> (Option<Chain>, Option<u64>) {
        let archive = self.archive.read();
        let at = archive.files.partition_point(|file| is_before(&file.end));
        let before = at.checked_sub(1).and_then(|at| archive.files.get(at));
        let next = archive.files.get(at);
        (before.map(|file| file.end), next.map(|file| file.end.head.decision))
    }

    /// Whether every archived file that is needed can be read.
    pub(super) fn reach(&self, is_needed: impl Fn(&ArchivedFile) -> bool) -> Result<(), ReadError> {
        let files = self.archived();
        let mut needed = files.iter().filter(|file| is_needed(file));
        needed.try_for_each(|file| self.path_to_read(file.first).map(drop))
    }

    fn copy_to_archive(&self, first: u64) -> Result<Copied, ArchiveError> {
        let (from, archive) = (self.directory.file(first), self.archive.read().clone());
        let (dir, to) =
            archive.dir.clone().zip(archive.path(first)).ok_or(ArchiveError::NoPlace)?;
        make(&dir).map_err(|error| io(&dir, &error))?;
        let unfinished = to.with_extension("new");
        let (bytes, digest) = copy(&from, &unfinished)?;
        fail_point(Point::Archive);
        let damaged = |reason| ArchiveError::Damaged(unfinished.clone(), reason);
        let rows = self.directory.rows_of(&unfinished).map_err(damaged)?;
        let rows = rows.ok_or_else(|| damaged("it has no rows".into()))?;
        Ok(Copied { first, unfinished, bytes, digest, rows })
    }

    fn archive_copied(
        &self,
        unfinished: &Path,
        file: &ArchivedFile,
        acts: Vec<(u64, Bytes)>,
    ) -> Result<(), ArchiveError> {
        let mut archive = self.archive.read().clone();
        let path = archive.path(file.first).ok_or(ArchiveError::NoPlace)?;
        if path.exists() && !file.is(&path) {
            return Err(ArchiveError::Taken(path));
        }
        archive.files.push(file.clone());
        archive.acts = acts.into_iter().collect();
        let data = &self.directory.path;
        // Named first: a crash from here on leaves the file in both places, or its copy unnamed.
        if !is_on(Mutant::ArchiveUnnamed) {
            archive.write(data).map_err(|reason| ArchiveError::Io(data.clone(), reason))?;
        }
        fail_point(Point::Archive);
        fs::rename(unfinished, &path).map_err(|error| io(&path, &error))?;
        sync_dir_of(&path)?;
        fail_point(Point::Archive);
        let local = self.directory.file(file.first);
        // No reader opens it meanwhile; those who have it open go on reading it.
        let mut open = self.closed.lock();
        *self.archive.write() = archive;
        open.retain(|(first, _)| *first != file.first);
        fs::remove_file(&local).map_err(|error| io(&local, &error))?;
        fail_point(Point::Archive);
        sync_dir_of(&local)
    }

    fn bring_back(&self, file: &ArchivedFile) -> Result<(), ArchiveError> {
        let from = self.path_to_read(file.first)?;
        let local = self.directory.file(file.first);
        if from != local {
            let unfinished = local.with_extension("new");
            if !file.is_of(copy(&from, &unfinished)?) {
                let reason = "it is not the file that was archived; `factum verify` says more";
                return Err(ArchiveError::Damaged(from, reason.into()));
            }
            fail_point(Point::Unarchive);
            fs::rename(&unfinished, &local).map_err(|error| io(&local, &error))?;
            sync_dir_of(&local)?;
            fail_point(Point::Unarchive);
        }
        let mut archive = self.archive.read().clone();
        archive.files.pop();
        archive.acts.retain(|decision, _| *decision < file.first);
        let mut open = self.closed.lock();
        open.retain(|(first, _)| *first != file.first);
        if from != local {
            fs::remove_file(&from).map_err(|error| io(&from, &error))?;
            fail_point(Point::Unarchive);
        }
        let data = &self.directory.path;
        archive.write(data).map_err(|reason| ArchiveError::Io(data.clone(), reason))?;
        fail_point(Point::Unarchive);
        *self.archive.write() = archive;
        Ok(())
    }
}

/// Ends what a crash broke off: of a file that is in both places one goes, and copies that were not
/// finished do.
pub(super) fn tidy(
    archive: &mut Archive,
    data: &Directory,
    here: &mut Vec<u64>,
) -> Result<(), String> {
    let ended = end_moves(archive, data, here).map_err(|error| error.to_string());
    // Where another place is named, that is remembered.
    let is_used = !archive.files.is_empty();
    ended.and_then(|()| if is_used { archive.write(&data.path) } else { Ok(()) })
}

fn end_moves(archive: &mut Archive, data: &Directory, here: &mut Vec<u64>) -> io::Result<()> {
    let entries = archive.dir.as_ref().map(fs::read_dir);
    for entry in entries.into_iter().flatten().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|n| n.starts_with("log-") && n.ends_with(".new"));
        if is_ours {
            fs::remove_file(entry.path())?;
            fail_point(Point::Tidy);
        }
    }
    let both: Vec<_> = archive.files.iter().filter(|file| here.contains(&file.first)).collect();
    for file in both.into_iter().cloned().collect::<Vec<_>>() {
        let is_last = archive.files.last() == Some(&file);
        if archive.path(file.first).is_some_and(|path| file.is(&path)) {
            fs::remove_file(data.file(file.first))?;
            fail_point(Point::Tidy);
            here.retain(|first| *first != file.first);
        } else if is_last {
            // The copy never got its name, or went when the file came back.
            archive.files.pop();
            archive.acts.retain(|decision, _| *decision < file.first);
            archive.write(&data.path).map_err(io::Error::other)?;
            fail_point(Point::Tidy);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(u64, Hash), ArchiveError> {
    let mut out = File::create(to).map_err(|error| io(to, &error))?;
    let copied = digest_of(from, |piece| out.write_all(piece)).map_err(|error| io(to, &error))?;
    out.sync_all().map_err(|error| io(to, &error))?;
    Ok(copied)
}

pub(super) fn sync_dir_of(path: &Path) -> Result<(), ArchiveError> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io(dir, &error))
}

pub(super) fn io(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::Io(path.to_owned(), error.to_string())
}
