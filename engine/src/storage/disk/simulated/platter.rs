//! What a simulated disk holds: what is seen, what was synced, and what happened in between. When
//! the power goes, any part of that may have come to the platter.
//!
//! Of a file: what it held at its last sync, and any of what was written or cut since, in any
//! order, each whole or torn between sectors. Of a directory: the names at its last sync, and any
//! of the names given, changed and taken since.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::pages::Pages;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Something that changes a disk.
#[derive(Clone, Debug)]
pub(in crate::storage) enum Op {
    Create(PathBuf),
    Write {
        file: usize,
        at: usize,
        data: Arc<[u8]>,
    },
    SetLen {
        file: usize,
        len: usize,
    },
    Sync {
        file: usize,
    },
    /// A sync that failed: what was not synced is lost for good, or some of it, while the system
    /// may go on showing it. The number decides.
    Lose {
        file: usize,
        seed: u64,
    },
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct Platter {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// In order, since the sync of their directories.
    renamed: Vec<Renamed>,
    /// Bytes that are written whole or not at all, where that is not a sector.
    tears_at: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Pages,
    synced: Pages,
    /// In order, since the last sync.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Arc<[u8]>),
    Length(usize),
}

/// A name that went, and one that came in the same step with its file.
#[derive(Clone, Debug)]
struct Renamed {
    gone: Option<PathBuf>,
    come: Option<(PathBuf, usize)>,
}

impl Platter {
    /// An empty disk whose writes are torn between so many bytes.
    pub(in crate::storage) fn tearing(bytes: usize) -> Self {
        Self { tears_at: Some(bytes), ..Self::default() }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is in a directory.
    pub(in crate::storage) fn list(&self, dir: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }

    pub(super) fn content(&self, file: usize) -> &Pages {
        &self.files[file].now
    }

    /// The bytes of a file.
    pub(in crate::storage) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let pages = self.content(*self.names.get(path)?);
        let mut bytes = vec![0; pages.len()];
        pages.read(0, &mut bytes).expect("is there");
        Some(bytes)
    }

    /// Writes to a file as a failing disk does: nobody asked for it, and nothing takes it back.
    pub(in crate::storage) fn damage(&mut self, path: &Path, at: usize, bytes: &[u8]) {
        let number = self.names[path];
        let file = &mut self.files[number];
        file.now.write(at, bytes);
        file.synced.write(at, bytes);
    }

    pub(in crate::storage) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path) => {
                self.files.push(File::default());
                self.rename(None, Some((path.clone(), self.files.len() - 1)));
            }
            Op::Write { file, at, data } => {
                let file = &mut self.files[*file];
                file.now.write(*at, data);
                file.changes.push(Change::Write(*at, Arc::clone(data)));
            }
            Op::SetLen { file, len } => {
                let file = &mut self.files[*file];
                file.now.set_len(*len);
                file.changes.push(Change::Length(*len));
            }
            Op::Sync { file } => self.files[*file].sync(),
            Op::Lose { file, seed } => {
                self.files[*file].lose(self.tears_at, &mut Rng::with_seed(*seed));
            }
            Op::Rename(from, to) => {
                let file = self.names[from];
                self.rename(Some(from.clone()), Some((to.clone(), file)));
            }
            Op::Remove(path) => self.rename(Some(path.clone()), None),
            Op::SyncDir(dir) => {
                let is_in = |path: &PathBuf| path.parent() == Some(dir);
                let (synced, rest) = std::mem::take(&mut self.renamed).into_iter().partition(
                    |Renamed { gone, come }| {
                        gone.as_ref().or(come.as_ref().map(|come| &come.0)).is_some_and(is_in)
                    },
                );
                self.renamed = rest;
                let synced: Vec<Renamed> = synced;
                synced.into_iter().for_each(|one| one.apply(&mut self.synced_names));
            }
        }
    }

    fn rename(&mut self, gone: Option<PathBuf>, come: Option<(PathBuf, usize)>) {
        let renamed = Renamed { gone, come };
        renamed.clone().apply(&mut self.names);
        self.renamed.push(renamed);
    }

    /// What a machine may find after its power went.
    pub(in crate::storage) fn survivors(&self, dice: &mut Rng) -> Self {
        let mut names = self.synced_names.clone();
        let temper = Temper::draw(dice);
        for renamed in &self.renamed {
            if temper.keeps(dice) {
                renamed.clone().apply(&mut names);
            }
        }
        let mut files = Vec::with_capacity(names.len());
        let mut numbers = BTreeMap::new();
        let used: BTreeSet<usize> = names.values().copied().collect();
        for old in used {
            numbers.insert(old, files.len());
            let kept = self.files[old].survivors(self.tears_at, dice);
            files.push(File { now: kept.clone(), synced: kept, changes: Vec::new() });
        }
        names.values_mut().for_each(|number| *number = numbers[number]);
        let (synced_names, tears_at) = (names.clone(), self.tears_at);
        Self { files, synced_names, names, renamed: Vec::new(), tears_at }
    }
}

impl Renamed {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match (self.gone, self.come) {
            (Some(gone), Some((come, file))) => {
                // It may have another file by now, if not all of what came before survived.
                if names.get(&gone) == Some(&file) {
                    names.remove(&gone);
                }
                names.insert(come, file);
            }
            (None, Some((come, file))) => drop(names.insert(come, file)),
            (Some(gone), None) => drop(names.remove(&gone)),
            (None, None) => {}
        }
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Write(at, data) => self.synced.write(at, &data),
                Change::Length(len) => self.synced.set_len(len),
            }
        }
    }

    fn lose(&mut self, tears_at: Option<usize>, dice: &mut Rng) {
        self.synced = self.survivors(tears_at, dice);
        self.changes.clear();
        if dice.bool() {
            self.now = self.synced.clone();
        }
    }

    fn survivors(&self, tears_at: Option<usize>, dice: &mut Rng) -> Pages {
        let mut pages = self.synced.clone();
        if self.changes.is_empty() {
            return pages;
        }
        let temper = Temper::draw(dice);
        let mut order: Vec<_> = self.changes.iter().collect();
        if dice.bool() {
            dice.shuffle(&mut order);
        }
        let tears = dice.bool();
        for change in order {
            if !temper.keeps(dice) {
                continue;
            }
            match change {
                Change::Length(len) => pages.set_len(*len),
                Change::Write(at, data) if tears && dice.bool() => {
                    tear(&mut pages, *at, data, tears_at.unwrap_or(SECTOR), dice);
                }
                Change::Write(at, data) => pages.write(*at, data),
            }
        }
        pages
    }
}

/// Writes the sectors before one of them, those from it on, or some.
fn tear(pages: &mut Pages, at: usize, data: &[u8], size: usize, dice: &mut Rng) {
    let sectors = (at + data.len()).div_ceil(size) - at / size;
    let (middle, way) = (dice.usize(0..=sectors), dice.u8(0..3));
    let mut start = 0;
    for sector in 0..sectors {
        let end = ((at / size + sector + 1) * size - at).min(data.len());
        let survives = match way {
            0 => sector < middle,
            1 => sector >= middle,
            _ => dice.bool(),
        };
        if survives {
            pages.write(at + start, &data[start..end]);
        }
        start = end;
    }
}

/// How much survives of what was not synced.
#[derive(Clone, Copy)]
enum Temper {
    Nothing,
    All,
    /// One in so many is lost.
    Most(u8),
    /// One in so many is kept.
    Few(u8),
}

impl Temper {
    fn draw(dice: &mut Rng) -> Self {
        match dice.u8(0..6) {
            0 => Self::Nothing,
            1 => Self::All,
            2 => Self::Most(8),
            3 => Self::Few(8),
            _ => Self::Few(2),
        }
    }

    fn keeps(self, dice: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Most(lost_in) => dice.u8(0..lost_in) > 0,
            Self::Few(kept_in) => dice.u8(0..kept_in) == 0,
        }
    }
}
