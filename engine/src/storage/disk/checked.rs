//! Files whose pages are compared with their sums when they are read: what a disk changed is an
//! error and never an answer. redb keeps sums of its pages, and looks at them in a repair alone.
//!
//! Pages lie in groups, and before each group a page of their sums. What a sync makes durable it
//! makes durable with its sums. redb never overwrites what its last durable commit leads to, so a
//! crash leaves the sums of all of that as they were, wherever a page of sums is torn. The very
//! first page is redb's header: it is written in place, in parts, and has sums of its own.
//!
//! In the place of the header's sum is a mark. Who notices damage takes it away: such a file is
//! opened by nobody again, and made again from the log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use super::{Bound, Disk, DiskFile};
use crate::faults::{Mutant, is_on};

/// redb's pages, in bytes.
const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;
/// How many pages are in a group: their sums, of four bytes, fill a page.
const GROUP: u64 = 1024;
const GROUP_PAGES: usize = 1024;
/// How long a group is with its sums, in bytes.
const STRIDE: u64 = (GROUP + 1) * PAGE;
/// In the place of the sum of page 0. The last byte counts the versions of this format.
const MARK: [u8; 4] = *b"fcs1";

/// What was found to be damaged of a file that is open.
pub(in crate::storage) type Damage = Arc<OnceLock<String>>;

/// A file that holds pages of redb, and their sums.
#[derive(Debug)]
pub(in crate::storage) struct CheckedFile {
    file: DiskFile,
    name: String,
    groups: Mutex<Groups>,
    damage: Damage,
}

/// The sums of the groups that were looked at: 4 KiB for 4 MiB of the file.
type Groups = BTreeMap<u64, Group>;

#[derive(Debug)]
struct Group {
    sums: Box<[[u8; 4]; GROUP_PAGES]>,
    /// Whether the file has other ones.
    is_changed: bool,
}

impl Disk {
    /// Opens a checked file, creating it where there is none, unless the disk is still.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when it is none, or was found to be damaged.
    pub(in crate::storage) fn checked(&self, path: &Path) -> io::Result<CheckedFile> {
        let file = self.file(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_new = file.len()? == 0;
        let checked = CheckedFile { file, name, groups: Mutex::default(), damage: Arc::default() };
        let mark = checked.change_sum(0, |sum| match is_new {
            true => std::mem::replace(sum, MARK),
            false => *sum,
        })?;
        if !is_new && mark != MARK {
            let reason = format!("{} was damaged before, or is another kind of file", checked.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(checked)
    }
}

/// The database in a checked file, for who changes what the engine wrote.
#[cfg(test)]
pub(crate) fn open_checked(path: &Path) -> redb::Database {
    let file = Disk::default().checked(path).expect("is one");
    redb::Database::builder().create_with_backend(file).expect("opens")
}

impl CheckedFile {
    /// Tells what is found to be damaged, also after redb has the file.
    pub(in crate::storage) fn damage(&self) -> Damage {
        Arc::clone(&self.damage)
    }

    /// Gives the sum of a page to `change`.
    fn change_sum<T>(&self, page: u64, change: impl FnOnce(&mut [u8; 4]) -> T) -> io::Result<T> {
        let mut groups = self.groups.lock();
        let number = page / GROUP;
        let group = match groups.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.load(number)?),
        };
        let slot = usize::try_from(page % GROUP).ok();
        let sum =
            slot.and_then(|slot| group.sums.get_mut(slot)).ok_or(io::ErrorKind::InvalidInput)?;
        let before = *sum;
        let answer = change(sum);
        group.is_changed |= *sum != before;
        Ok(answer)
    }

    /// The sums of a group as the file has them: zeros beyond its end.
    fn load(&self, number: u64) -> io::Result<Group> {
        let mut sums = Box::new([[0; 4]; GROUP_PAGES]);
        let at = number * STRIDE;
        if at + PAGE <= self.file.len()? {
            self.file.read(at, sums.as_flattened_mut())?;
        }
        Ok(Group { sums, is_changed: false })
    }

    fn damaged(&self, offset: u64) -> io::Error {
        let reason = format!("{} is damaged at byte {}", self.name, physical(offset));
        if self.damage.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the disk does not give back what was written");
            let spoilt = self.file.write(0, &[0; 4]).and_then(|()| self.file.sync_data());
            if let Err(error) = spoilt {
                tracing::warn!(%error, file = self.name, "it could not be marked as damaged");
            }
        }
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }
}

/// Where a byte is in the file.
fn physical(offset: u64) -> u64 {
    offset + (offset / (GROUP * PAGE) + 1) * PAGE
}

/// How much of what starts at an offset is in one group, of so many bytes.
fn in_group(offset: u64, bytes: usize) -> usize {
    let left = GROUP * PAGE - offset % (GROUP * PAGE);
    usize::try_from(left).map_or(bytes, |left| left.min(bytes))
}

/// The sum of a page: CRC-32 of its content, begun with its number, so that no page passes for
/// another.
fn sum(page: u64, content: &[u8]) -> [u8; 4] {
    let begin = u32::try_from(page & u64::from(u32::MAX)).unwrap_or_default();
    let mut hasher = crc32fast::Hasher::new_with_initial(begin);
    hasher.update(content);
    hasher.finalize().to_le_bytes()
}

/// The pages that have sums, with their numbers. redb reads and writes whole ones but for the
/// header.
fn pages(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (offset / PAGE..).zip(bytes.chunks(PAGE_BYTES)).filter(|(page, _)| *page > 0)
}

/// Refuses what would cut a page that has a sum.
fn is_whole(offset: u64, bytes: usize) -> io::Result<()> {
    let is_header = offset == 0 && bytes <= PAGE_BYTES;
    let is_whole = offset.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE_BYTES);
    if is_header || is_whole { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        let len = self.file.len()?;
        Ok(len / STRIDE * GROUP * PAGE + (len % STRIDE).saturating_sub(PAGE))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        is_whole(offset, out.len())?;
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut(in_group(at, rest.len()));
            self.file.read(physical(at), part)?;
            for (page, content) in pages(at, part) {
                let kept = self.change_sum(page, |kept| *kept)?;
                if kept != sum(page, content) && !is_on(Mutant::PageSumIgnored) {
                    return Err(self.damaged(page * PAGE));
                }
            }
            at += u64::try_from(part.len()).unwrap_or(PAGE);
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut groups = self.groups.lock();
        groups.retain(|number, _| number * GROUP * PAGE < len);
        self.file.set_len(len + len.div_ceil(GROUP * PAGE) * PAGE)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut groups = self.groups.lock();
        for (number, group) in groups.iter_mut().filter(|(_, group)| group.is_changed) {
            self.file.write(number * STRIDE, group.sums.as_flattened())?;
            group.is_changed = false;
        }
        drop(groups);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        is_whole(offset, data.len())?;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(in_group(at, rest.len()));
            for (page, content) in pages(at, part) {
                self.change_sum(page, |kept| *kept = sum(page, content))?;
            }
            self.file.write(physical(at), part)?;
            at += u64::try_from(part.len()).unwrap_or(PAGE);
            rest = after;
        }
        Ok(())
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
