//! What a backup is: a tar file, so that every system can look into it.
//!
//! ```text
//! backup.json              which store, after which record and up to which one
//! components/<digest>.wasm the components that no backup before it has, each with its card (.json)
//! log/<first>              records one after the other, as they are stored, some 4 MiB each, named
//!                          by the number of the first
//! checkpoints              signed checkpoints, the last of the newest record in the backup
//! checkpoint-keys          the public keys that check them
//! manifest.json            what backup.json says, every component of the store, and the length and
//!                          BLAKE3 of each file before it
//! ```
//! The manifest comes last: a stream that was cut has none.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tar::{Builder, Header};

use crate::decision::Hash;
use crate::faults::{Mutant, is_on};

pub(super) const BEGIN: &str = "backup.json";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const COMPONENTS: &str = "components/";
pub(super) const LOG: &str = "log/";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const KEYS: &str = "checkpoint-keys";
/// What is read and written; a later one gets another number.
pub(super) const FORMAT: &str = "factum backup 1";
/// Bytes of one file in memory. 64 MiB: twice the largest component.
const MOST_BYTES: u64 = 64 << 20;

/// The record that a backup begins after or goes up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number; 0 before the first.
    pub decision: u64,
    /// The newest position up to it.
    pub position: u64,
    /// BLAKE3 of it, in hexadecimal; before the first record, of the store's id.
    pub hash: String,
}

impl Place {
    pub(super) fn of(decision: u64, position: u64, hash: &Hash) -> Self {
        Self { decision, position, hash: blake3::Hash::from(*hash).to_hex().to_string() }
    }
}

/// Which part of which store a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How it is written.
    pub format: String,
    /// The store's id.
    pub store: String,
    /// The newest record before it: the last of the backup that it goes on from.
    pub after: Place,
    /// The newest record in it.
    pub through: Place,
}

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Which part of which store.
    pub span: Span,
    /// The digests of all components that the store had, in hexadecimal; those that are not in it
    /// are in one that it goes on from.
    pub components: BTreeSet<String>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// What comes last.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "backup")]
    pub(super) span: Span,
    pub(super) components: BTreeSet<String>,
    pub(super) files: Vec<Listed>,
}

/// Writes the files of a backup.
pub(super) struct ArchiveWriter<W: Write> {
    tar: Builder<W>,
    files: Vec<Listed>,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { tar: Builder::new(out), files: Vec::new() }
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.append(name, content)?;
        self.files.push(listed(name, content));
        Ok(())
    }

    /// Ends it: without this it is not whole.
    pub(super) fn finish(mut self, contents: Contents) -> io::Result<()> {
        let Contents { span, components } = contents;
        let manifest = Manifest { span, components, files: std::mem::take(&mut self.files) };
        self.append(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        self.tar.into_inner()?.flush()
    }

    fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
        header.set_mode(0o600);
        self.tar.append_data(&mut header, name, content)
    }
}

fn listed(name: &str, content: &[u8]) -> Listed {
    Listed {
        name: name.to_owned(),
        bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
        blake3: blake3::hash(content).to_hex().to_string(),
    }
}

/// Why an archive cannot be used.
#[derive(Debug)]
pub(super) enum ArchiveError<E> {
    /// It ends before its end.
    CutShort,
    /// It is not a backup, or not as it was written.
    Damaged(String),
    /// What was given a file could not take it.
    Taken(E),
}

/// Gives every file of a whole backup to `take`, in order; answers what the backup has.
pub(super) fn read<E>(
    from: impl Read,
    mut take: impl FnMut(&Span, &str, &[u8]) -> Result<(), E>,
) -> Result<Contents, ArchiveError<E>> {
    let damaged = |reason: String| ArchiveError::Damaged(reason);
    let ended = Rc::new(Cell::new(false));
    let cut = |error: io::Error| match ended.get() {
        true => ArchiveError::CutShort,
        false => ArchiveError::Damaged(error.to_string()),
    };
    let mut archive = tar::Archive::new(Watched { from, ended: Rc::clone(&ended) });
    let (mut span, mut files) = (None::<Span>, Vec::new());
    for entry in archive.entries().map_err(cut)? {
        let mut entry = entry.map_err(cut)?;
        let name = entry.path().map_err(cut)?.to_string_lossy().into_owned();
        if entry.size() > MOST_BYTES {
            return Err(damaged(format!("{name} has more than {MOST_BYTES} bytes")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(cut)?;
        if u64::try_from(content.len()) != Ok(entry.size()) {
            return Err(ArchiveError::CutShort);
        }
        match &span {
            None if name == BEGIN => {
                let begin: Span = parsed(&name, &content).map_err(damaged)?;
                if begin.format != FORMAT {
                    let text = format!("it is {:?}, and this is {FORMAT:?}", begin.format);
                    return Err(damaged(text));
                }
                span = Some(begin);
            }
            None => return Err(damaged(format!("it does not begin with {BEGIN}"))),
            Some(span) if name == MANIFEST => {
                let manifest: Manifest = parsed(&name, &content).map_err(damaged)?;
                if manifest.files != files || manifest.span != *span {
                    return Err(damaged(differing(&manifest.files, &files)));
                }
                return Ok(Contents { span: manifest.span, components: manifest.components });
            }
            Some(span) => take(span, &name, &content).map_err(ArchiveError::Taken)?,
        }
        files.push(listed(&name, &content));
    }
    match span {
        Some(span) if is_on(Mutant::CutBackupTaken) => {
            Ok(Contents { span, components: BTreeSet::new() })
        }
        _ => Err(ArchiveError::CutShort),
    }
}

/// Remembers whether there was no more to read: what fails then was cut short.
struct Watched<R> {
    from: R,
    ended: Rc<Cell<bool>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.ended.set(read == 0 && !into.is_empty());
        Ok(read)
    }
}

fn parsed<'c, T: Deserialize<'c>>(name: &str, content: &'c [u8]) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|error| format!("{name}: {error}"))
}

fn differing(manifest: &[Listed], files: &[Listed]) -> String {
    let differs = files.iter().zip(manifest).find(|(one, other)| one != other);
    match differs {
        Some((file, _)) => format!("{} is not as its manifest says", file.name),
        None => "its files are not those that its manifest names".to_owned(),
    }
}
