//! The directory that holds a store: who may use it, and what is where.
//!
//! A directory is ours when it holds the marker file; one that holds anything else is left alone.
//! One process at a time owns it, by a lock that ends with the process.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const MARKER: &str = "factum.store";
const FORMAT: &str = "factum store format 1";

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    /// It holds files that are not a store.
    NotOurs(PathBuf),
    /// Another process uses it.
    InUse(PathBuf),
    /// It was written by another version of Factum.
    UnknownFormat(PathBuf, String),
    /// The system refused.
    Io(PathBuf, std::io::Error),
}

impl std::fmt::Display for DataDirError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOurs(dir) => write!(
                f,
                "{} is not empty and not a Factum store; name an empty or new directory",
                dir.display()
            ),
            Self::InUse(dir) => write!(
                f,
                "another Factum server uses {}; stop it or name another directory",
                dir.display()
            ),
            Self::UnknownFormat(dir, found) => write!(
                f,
                "{} says {found:?}, and this version of Factum knows {FORMAT:?}; use the version \
                 that wrote it",
                dir.display()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DataDirError {}

/// An owned data directory. Dropping it lets others in.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    store_id: String,
    _lock: File,
}

impl DataDir {
    /// Takes a directory, creating and marking it where it is new or empty.
    ///
    /// # Errors
    /// [`DataDirError`] when it is not ours, in use, of another format or not writable.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io(path.to_owned(), error);
        if path.exists() && !path.is_dir() {
            return Err(io(ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(path).map_err(io)?;
        let marker = path.join(MARKER);
        let mut entries = fs::read_dir(path).map_err(io)?;
        let is_empty = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock"));
        if !marker.exists() && !is_empty {
            return Err(DataDirError::NotOurs(path.to_owned()));
        }
        let lock = lock(path)?;
        let store_id = match fs::read_to_string(&marker) {
            Ok(text) => read_marker(path, &text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let store_id = crate::clock::new_id().to_string();
                write_durably(&marker, format!("{FORMAT}\n{store_id}\n").as_bytes()).map_err(io)?;
                store_id
            }
            Err(error) => return Err(io(error)),
        };
        for sub in ["components", "read_models"] {
            fs::create_dir_all(path.join(sub)).map_err(io)?;
        }
        Ok(Self { path: path.to_owned(), store_id, _lock: lock })
    }

    /// What tells this store from all others.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// Where the log's file lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where components live, by digest.
    #[must_use]
    pub fn components(&self) -> PathBuf {
        self.path.join("components")
    }

    /// Where compiled code is kept; whoever keeps it makes it.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    /// Where the files of read models live.
    #[must_use]
    pub fn read_models(&self) -> PathBuf {
        self.path.join("read_models")
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join("lock");
    let io = |error| DataDirError::Io(lock_path.clone(), error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn read_marker(path: &Path, text: &str) -> Result<String, DataDirError> {
    let mut lines = text.lines();
    let format = lines.next().unwrap_or_default();
    match lines.next() {
        Some(store_id) if format == FORMAT => Ok(store_id.to_owned()),
        _ => Err(DataDirError::UnknownFormat(path.to_owned(), format.to_owned())),
    }
}

/// Writes a file so that after a crash it is either whole or not there.
///
/// # Errors
/// The system's error; the file's old content then stays.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}
