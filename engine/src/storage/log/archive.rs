//! Which closed files of the log are in an archive, and what is known of each without it.
//!
//! Promises: a file of the log is either in the data directory or named here, so one that is
//! missing is never taken for one that was archived; the chain of records can be gone on with after
//! a file that is out of reach. Archived files are the oldest, without a gap.
//!
//! ```text
//! log-archive.json, written anew as a whole:
//!   format   what this is, and its version
//!   dir      where the files are
//!   files    of each: first and last record, what the chain and the tree are after it, its bytes
//!   acts     records of administrative acts that hold and are in those files
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::segments::name_of;
use super::{Chain, Head, ReadError};
use crate::decision::Hash;
use crate::storage::data_dir::write_durably;

const FILE: &str = "log-archive.json";
const FORMAT: &str = "factum archive 1";
/// Bytes that are copied and hashed at once. 1 MiB.
const PIECE_BYTES: usize = 1 << 20;

/// A file of the log that is in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    /// The number of its first record.
    pub first: u64,
    /// The log up to its last record.
    pub end: Chain,
    /// The Merkle tree over the log up to there: the roots of its whole subtrees, largest first.
    pub tree: Vec<Hash>,
    /// How long the file is.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: Hash,
    /// Length and BLAKE3 of the one that it is about to take the place of.
    pub(super) replaced: Option<(u64, Hash)>,
    /// Whether what refused commands said was taken out of it.
    pub is_erased: bool,
}

/// Records that are archived where they cannot be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach {
    /// The first of the file's records.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The position of the first event in it.
    pub first_position: u64,
    /// The position of the last.
    pub last_position: u64,
    /// The file that has them.
    pub file: PathBuf,
    /// Why it cannot be read.
    pub reason: String,
}

impl std::fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, last, first_position, last_position, file, reason } = self;
        let file = file.display();
        write!(
            f,
            "decisions {first} to {last} (positions {first_position} to {last_position}) are \
             archived in {file}, which cannot be read ({reason}); bring the archive back to that \
             place, or name where it is (factum serve --archive-dir)"
        )
    }
}

/// What a data directory says about its archive.
#[derive(Clone, Debug, Default)]
pub(super) struct Archive {
    /// Where files go and are; none where no place was ever named.
    pub(super) dir: Option<PathBuf>,
    /// What is there, in order.
    pub(super) files: Vec<ArchivedFile>,
    /// Records in those files that are needed all the time, by their numbers.
    pub(super) acts: BTreeMap<u64, Bytes>,
}

impl Archive {
    /// What a data directory says, with another place for the files where one is named.
    pub(super) fn read(data: &Path, dir: Option<&Path>) -> Result<Self, String> {
        let path = data.join(FILE);
        let mut archive = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(text) => {
                let damaged = |reason: String| format!("{} is damaged: {reason}", path.display());
                let text: Text =
                    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
                Self::of(text).map_err(damaged)?
            }
        };
        if let Some(dir) = dir {
            archive.dir = Some(dir.to_owned());
        }
        Ok(archive)
    }

    pub(super) fn write(&self, data: &Path) -> Result<(), String> {
        let path = data.join(FILE);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = serde_json::to_vec_pretty(&self.text()).map_err(|error| failed(&error))?;
        write_durably(&path, &text).map_err(|error| failed(&error))
    }

    /// The last archived record; 0 where there is none.
    pub(super) fn through(&self) -> u64 {
        self.files.last().map_or(0, |file| file.end.head.decision)
    }

    /// The file that begins with a record.
    pub(super) fn file(&self, first: u64) -> Option<&ArchivedFile> {
        let at = self.files.binary_search_by_key(&first, |file| file.first).ok()?;
        self.files.get(at)
    }

    /// Where the file that begins with a record is or would be; none without a place.
    pub(super) fn path(&self, first: u64) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(name_of(first)))
    }

    /// Why an archived file cannot be read.
    pub(super) fn out_of_reach(&self, file: &ArchivedFile, reason: &io::Error) -> ReadError {
        let at = self.files.partition_point(|other| other.first < file.first);
        let before = at.checked_sub(1).and_then(|at| self.files.get(at));
        ReadError::Archived(Arc::new(OutOfReach {
            first: file.first,
            last: file.end.head.decision,
            first_position: before.map_or(0, |before| before.end.head.position) + 1,
            last_position: file.end.head.position,
            file: self.path(file.first).unwrap_or_default(),
            reason: reason.to_string(),
        }))
    }

    fn of(text: Text) -> Result<Self, String> {
        if text.format != FORMAT {
            return Err(format!("it is {:?}, and this version knows {FORMAT:?}", text.format));
        }
        let (mut files, mut next) = (Vec::with_capacity(text.files.len()), 1);
        for file in text.files {
            if file.first != next || file.last < file.first {
                return Err(format!("it does not name the file that begins with decision {next}"));
            }
            next = file.last + 1;
            files.push(file.archived().map_err(|error| error.to_string())?);
        }
        let act = |ActText { decision, record }: ActText| {
            Ok((decision, BASE64.decode(record).map_err(|error| error.to_string())?.into()))
        };
        let acts = text.acts.into_iter().map(act).collect::<Result<_, String>>()?;
        Ok(Self { dir: text.dir, files, acts })
    }

    fn text(&self) -> Text {
        let act = |(decision, record): (&u64, &Bytes)| ActText {
            decision: *decision,
            record: BASE64.encode(record),
        };
        Text {
            format: FORMAT.to_owned(),
            dir: self.dir.clone(),
            files: self.files.iter().map(FileText::of).collect(),
            acts: self.acts.iter().map(act).collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Text {
    format: String,
    dir: Option<PathBuf>,
    files: Vec<FileText>,
    acts: Vec<ActText>,
}

#[derive(Serialize, Deserialize)]
struct FileText {
    first: u64,
    last: u64,
    /// The newest position up to its end.
    position: u64,
    recorded_at_ms: u64,
    /// Of its last record.
    hash: String,
    tree: Vec<String>,
    bytes: u64,
    blake3: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<(u64, String)>,
    #[serde(default)]
    erased: bool,
}

#[derive(Serialize, Deserialize)]
struct ActText {
    decision: u64,
    record: String,
}

impl FileText {
    fn of(file: &ArchivedFile) -> Self {
        let Chain { head, recorded_at_ms } = file.end;
        Self {
            first: file.first,
            last: head.decision,
            position: head.position,
            recorded_at_ms,
            hash: hex(&head.hash),
            tree: file.tree.iter().map(hex).collect(),
            bytes: file.bytes,
            blake3: hex(&file.digest),
            replaced: file.replaced.map(|(bytes, digest)| (bytes, hex(&digest))),
            erased: file.is_erased,
        }
    }

    fn archived(self) -> Result<ArchivedFile, blake3::HexError> {
        let hash = |text: &String| Ok(*blake3::Hash::from_hex(text)?.as_bytes());
        let head = Head { position: self.position, decision: self.last, hash: hash(&self.hash)? };
        Ok(ArchivedFile {
            first: self.first,
            end: Chain { head, recorded_at_ms: self.recorded_at_ms },
            tree: self.tree.iter().map(hash).collect::<Result<_, blake3::HexError>>()?,
            bytes: self.bytes,
            digest: hash(&self.blake3)?,
            replaced: match &self.replaced {
                Some((bytes, digest)) => Some((*bytes, hash(digest)?)),
                None => None,
            },
            is_erased: self.erased,
        })
    }
}

fn hex(hash: &Hash) -> String {
    blake3::Hash::from(*hash).to_hex().to_string()
}

/// Length and BLAKE3 of a file, each piece of which is given to `each`.
pub(super) fn digest_of(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Hash)> {
    let (mut file, mut hasher, mut bytes) = (File::open(path)?, blake3::Hasher::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        let read = piece.get(..read).unwrap_or_default();
        if read.is_empty() {
            return Ok((bytes, *hasher.finalize().as_bytes()));
        }
        hasher.update(read);
        bytes += u64::try_from(read.len()).unwrap_or(0);
        each(read)?;
    }
}

impl ArchivedFile {
    /// The file's name, wherever it is.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(self.first)
    }

    /// Whether a file is the one that was archived.
    pub(super) fn is(&self, path: &Path) -> bool {
        digest_of(path, |_| Ok(())).is_ok_and(|found| self.is_of(found))
    }

    /// The same, by its length and its BLAKE3.
    pub(super) fn is_of(&self, found: (u64, Hash)) -> bool {
        found == (self.bytes, self.digest) || Some(found) == self.replaced
    }
}
