//! A disk on which nothing changes: what is written to its files is kept in memory, for whoever
//! opens them on the same disk. So a file that a crash left can be repaired and read, and stays as
//! it is. A repair writes few pages, and no more than that is kept.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Bytes;

/// What is kept at once: a page of redb's.
const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// What was written to each file.
pub(super) type Changes = Mutex<HashMap<PathBuf, Arc<Mutex<Changed>>>>;

/// What was written to one file.
#[derive(Debug)]
pub(super) struct Changed {
    /// How long it now is.
    len: u64,
    /// Bytes of the file itself that still count.
    of_file: u64,
    pages: HashMap<u64, [u8; PAGE_BYTES]>,
}

impl Changed {
    /// What was written to a file before, on the disk with these changes.
    pub(super) fn of(all: &Changes, path: &Path, file: &Bytes) -> io::Result<Arc<Mutex<Self>>> {
        let mut all = all.lock();
        if let Some(known) = all.get(path) {
            return Ok(Arc::clone(known));
        }
        let len = file.len()?;
        let new = Arc::new(Mutex::new(Self { len, of_file: len, pages: HashMap::new() }));
        all.insert(path.to_owned(), Arc::clone(&new));
        Ok(new)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        self.of_file = self.of_file.min(len);
        self.pages.retain(|page, _| page * PAGE < len);
        if let Some(last) = self.pages.get_mut(&(len / PAGE)) {
            let cut = usize::try_from(len % PAGE).unwrap_or(0);
            last.iter_mut().skip(cut).for_each(|byte| *byte = 0);
        }
    }

    pub(super) fn read(&self, file: &Bytes, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.pages.is_empty() && end <= self.of_file {
            return file.read(offset, out);
        }
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let start = usize::try_from(at % PAGE).unwrap_or(0);
            let (part, after) = rest.split_at_mut(rest.len().min(PAGE_BYTES - start));
            match self.pages.get(&(at / PAGE)) {
                Some(page) => {
                    let kept = page.iter().skip(start);
                    part.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
                }
                None => self.read_file(file, at, part)?,
            }
            at += u64::try_from(part.len()).unwrap_or(PAGE);
            rest = after;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, file: &Bytes, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let start = usize::try_from(at % PAGE).unwrap_or(0);
            let (part, after) = rest.split_at(rest.len().min(PAGE_BYTES - start));
            let mut page = match self.pages.get(&(at / PAGE)) {
                Some(page) => *page,
                None => {
                    let mut page = [0; PAGE_BYTES];
                    self.read_file(file, at / PAGE * PAGE, &mut page)?;
                    page
                }
            };
            page.iter_mut().skip(start).zip(part).for_each(|(to, from)| *to = *from);
            self.pages.insert(at / PAGE, page);
            at += u64::try_from(part.len()).unwrap_or(PAGE);
            rest = after;
        }
        self.len = self.len.max(at);
        Ok(())
    }

    /// What the file itself has there; nothing beyond its end.
    fn read_file(&self, file: &Bytes, at: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.of_file.saturating_sub(at)).unwrap_or(usize::MAX);
        let (of_file, beyond) = out.split_at_mut(out.len().min(there));
        beyond.fill(0);
        if of_file.is_empty() { Ok(()) } else { file.read(at, of_file) }
    }
}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::super::Disk;

    #[test]
    fn what_is_written_is_read_back_and_the_file_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let original: Vec<u8> = (0..20_000u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&path, &original).expect("writes");
        let (disk, mut expected) = (Disk::still(), original.clone());
        let file = disk.file(&path).expect("opens");
        for (at, len) in [(0, 3), (4090, 20), (8192, 4096), (19_990, 500), (30_000, 1)] {
            let data = vec![0xee; len];
            file.write(u64::try_from(at).expect("fits"), &data).expect("writes");
            expected.resize(expected.len().max(at + len), 0);
            expected[at..at + len].copy_from_slice(&data);
        }
        file.set_len(9000).expect("cuts");
        file.set_len(12_000).expect("grows");
        expected.truncate(9000);
        expected.resize(12_000, 0);
        let again = disk.file_to_read(&path).expect("opens again");
        assert_eq!(again.len().expect("a length"), 12_000);
        let mut found = vec![1; 12_000];
        again.read(0, &mut found).expect("reads");
        assert_eq!(found, expected);
        assert!(again.read(11_999, &mut [0; 2]).is_err());
        assert_eq!(std::fs::read(&path).expect("reads"), original);
        assert!(Disk::still().file(&dir.path().join("none")).is_err());
    }
}
