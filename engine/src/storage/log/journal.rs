//! Where a group becomes durable: two files written in turn, each group by one write and one sync.
//!
//! A commit of redb writes eight pages where this writes what there is to write. What the journal
//! holds is moved to rows later, a file's worth at a time (`settle`); then the file is written
//! over. Files are laid out ahead, so that a sync has nothing to say about their blocks.
//!
//! ```text
//! 0, and again at 4096: the mark
//!     8  "FACTUMJ1"
//!     8  the mark's number, random: frames that it covers carry it too
//!     4  CRC-32 of these
//! from 8192 on, one frame a group
//!     4  length of the records
//!     8  the mark's number
//!     8  number of the first record
//!     4  CRC-32 of these
//!     …  the records
//! ```
//! Only one group is ever written that was not synced. So a broken group at the end was never
//! acknowledged, and a broken one that others follow is damage. Integers are big-endian.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use redb::StorageBackend;

use super::{Group, OpenError};
use crate::clock::new_seed;
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::storage::disk::{Disk, DiskFile};

const MAGIC: [u8; 8] = *b"FACTUMJ1";
const NUMBER: usize = size_of::<u64>();
const CHECK: usize = size_of::<u32>();
const MARK: usize = MAGIC.len() + NUMBER + CHECK;
const HEAD: usize = size_of::<u32>() + 2 * NUMBER + CHECK;
/// Two marks in pages of their own, so that one bad sector does not hide the frames.
const MARKS: [u64; 2] = [0, 4096];
const FRAMES: u64 = 8192;
/// What is laid out at once before it is written to: as much as there is, from 64 KiB, so that a
/// small log stays small, up to 1 MiB, which takes half a millisecond.
const LAID_OUT: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 20;

/// The files, and where the next group goes.
pub(super) struct Journal {
    dir: PathBuf,
    disk: Disk,
    files: [JournalFile; 2],
    /// Which of them is written to.
    current: usize,
    at: u64,
    /// How long a file may get before the other is taken.
    bytes: u64,
    buffer: Vec<u8>,
}

struct JournalFile {
    file: DiskFile,
    /// None while nobody knows which mark the disk has.
    mark: Option<u64>,
    laid_out: u64,
}

/// A group as it was found.
pub(super) struct Frame {
    /// The number of its first record.
    pub(super) first: u64,
    /// Its records, of which the last may be broken.
    pub(super) records: Vec<u8>,
}

impl Journal {
    /// Makes new files for what comes now. What the old ones held must be in rows.
    pub(super) fn create(dir: &Path, disk: &Disk, bytes: u64) -> io::Result<Self> {
        let files = [JournalFile::create(dir, 0, disk)?, JournalFile::create(dir, 1, disk)?];
        disk.sync_dir(dir)?;
        let (dir, disk) = (dir.to_owned(), disk.clone());
        Ok(Self { dir, disk, files, current: 0, at: FRAMES, bytes, buffer: Vec::new() })
    }

    /// New files where these were.
    pub(super) fn create_again(&mut self) -> io::Result<()> {
        *self = Self::create(&self.dir, &self.disk, self.bytes)?;
        Ok(())
    }

    /// Whether the other file should be taken before the next group.
    pub(super) fn is_full(&self) -> bool {
        self.at >= self.bytes
    }

    /// Goes on in the other file, over what it holds: that must be in rows.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let other = (self.current + 1) % self.files.len();
        let Some(file) = self.files.get_mut(other) else { return Ok(()) };
        if file.mark.is_none() {
            *file = JournalFile::create(&self.dir, other, &self.disk)?;
            self.disk.sync_dir(&self.dir)?;
        } else {
            file.mark()?;
        }
        (self.current, self.at) = (other, FRAMES);
        Ok(())
    }

    /// Writes a group and syncs it. After an error nobody knows what the file holds: make new ones.
    pub(super) fn append(&mut self, groups: &[Arc<Group>]) -> io::Result<()> {
        let (Some(file), Some(first)) = (self.files.get_mut(self.current), groups.first()) else {
            return Ok(());
        };
        let length: usize = groups.iter().map(|group| group.as_bytes().len()).sum();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        let mark = file.mark.ok_or_else(|| io::Error::other("the journal's file has no mark"))?;
        self.buffer.clear();
        self.buffer.extend_from_slice(&head(length, mark, first.first()));
        for group in groups {
            self.buffer.extend_from_slice(group.as_bytes());
        }
        let end = self.at + u64::try_from(self.buffer.len()).map_err(io::Error::other)?;
        file.lay_out(end)?;
        file.file.write(self.at, &self.buffer)?;
        fail_point(Point::Sync);
        if !is_on(Mutant::NoFsync) {
            file.file.sync_data()?;
        }
        self.at = end;
        Ok(())
    }
}

impl JournalFile {
    /// A file gets its name when its mark is durable: there is never one without.
    fn create(dir: &Path, number: usize, disk: &Disk) -> io::Result<Self> {
        let path = path(dir, number);
        let unfinished = path.with_extension("new");
        disk.remove(&unfinished)?;
        let mut created = Self { file: disk.file(&unfinished)?, mark: None, laid_out: 0 };
        created.lay_out(FRAMES)?;
        created.mark()?;
        disk.rename(&unfinished, &path)?;
        Ok(created)
    }

    /// Begins anew: frames of before do not count any more.
    fn mark(&mut self) -> io::Result<()> {
        self.mark = None;
        let mark = new_seed();
        let mut bytes = [MAGIC, mark.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        for offset in MARKS {
            self.file.write(offset, &bytes)?;
            fail_point(Point::Mark);
        }
        self.file.sync_data()?;
        self.mark = Some(mark);
        Ok(())
    }

    fn lay_out(&mut self, end: u64) -> io::Result<()> {
        while self.laid_out < end {
            let more = self.laid_out.clamp(*LAID_OUT.start(), *LAID_OUT.end());
            let zeros = vec![0; usize::try_from(more).map_err(io::Error::other)?];
            self.file.write(self.laid_out, &zeros)?;
            self.laid_out += more;
        }
        Ok(())
    }
}

/// What the files hold, oldest first; a group that is known only by its head has no records.
pub(super) fn read(dir: &Path, disk: &Disk) -> Result<Vec<Frame>, OpenError> {
    let mut frames = Vec::new();
    for number in 0..2 {
        let path = path(dir, number);
        let failed = |error: io::Error| OpenError::File(format!("{}: {error}", path.display()));
        if !disk.has(&path).map_err(failed)? {
            continue;
        }
        let file = disk.file_to_read(&path).map_err(failed)?;
        let length = usize::try_from(file.len().map_err(failed)?);
        let mut bytes = vec![0; length.map_err(|error| failed(io::Error::other(error)))?];
        file.read(0, &mut bytes).map_err(failed)?;
        let mark = MARKS.into_iter().find_map(|at| mark_at(&bytes, at)).ok_or_else(|| {
            failed(io::Error::other("both marks of the journal's file are damaged"))
        })?;
        frames.extend(frames_of(&bytes, mark));
    }
    frames.sort_by_key(|frame| frame.first);
    Ok(frames)
}

fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("log-journal-{number}"))
}

fn head(length: u32, mark: u64, first: u64) -> Vec<u8> {
    let mut head = length.to_be_bytes().to_vec();
    head.extend_from_slice(&mark.to_be_bytes());
    head.extend_from_slice(&first.to_be_bytes());
    head.extend_from_slice(&crc32fast::hash(&head).to_be_bytes());
    head
}

fn mark_at(bytes: &[u8], at: u64) -> Option<u64> {
    let mark = bytes.get(usize::try_from(at).ok()?..)?.get(..MARK)?;
    let (checked, check) = mark.split_last_chunk::<CHECK>()?;
    let (magic, number) = checked.split_first_chunk::<{ MAGIC.len() }>()?;
    let is_whole = *magic == MAGIC && crc32fast::hash(checked).to_be_bytes() == *check;
    is_whole.then(|| number.try_into().ok().map(u64::from_be_bytes)).flatten()
}

/// The head at the beginning of `bytes`: length of the records and number of the first.
fn head_at(bytes: &[u8], mark: u64) -> Option<(usize, u64)> {
    let (checked, check) = bytes.get(..HEAD)?.split_last_chunk::<CHECK>()?;
    let (length, numbers) = checked.split_first_chunk::<{ size_of::<u32>() }>()?;
    let (number, first) = numbers.split_first_chunk::<NUMBER>()?;
    let is_whole =
        u64::from_be_bytes(*number) == mark && crc32fast::hash(checked).to_be_bytes() == *check;
    let first = first.try_into().ok().map(u64::from_be_bytes)?;
    is_whole.then(|| usize::try_from(u32::from_be_bytes(*length)).ok().map(|len| (len, first)))?
}

fn frames_of(bytes: &[u8], mark: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = usize::try_from(FRAMES).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    while let Some((length, first)) = head_at(rest, mark) {
        let whole = rest.len().min(HEAD + length);
        frames.push(Frame { first, records: rest.get(HEAD..whole).unwrap_or_default().to_vec() });
        rest = rest.get(whole..).unwrap_or_default();
    }
    // Heads beyond the end of the chain tell that it was longer. The mark is random, so that no
    // client's data can look like one.
    let number = mark.to_be_bytes();
    let places = memmem::find_iter(rest, &number);
    let places = places.filter_map(|at| rest.get(at.checked_sub(size_of::<u32>())?..));
    let lost = places.filter_map(|place| head_at(place, mark));
    frames.extend(lost.map(|(_, first)| Frame { first, records: Vec::new() }));
    frames
}
