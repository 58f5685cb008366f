//! The directory that holds a store: who may use it, and what is where.
//!
//! A directory is ours when it holds the marker file; one that holds anything else is left alone.
//! One process at a time owns it, by a lock that ends with the process. While it is used, the
//! lock's file says which file it is: in a copy that was made meanwhile it is another.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::faults::{Point, fail_point};

const MARKER: &str = "factum.store";
const FORMAT: &str = "factum store format 1";
/// What the names of files begin with that are being written.
const UNFINISHED: &str = ".unfinished-";

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    /// It holds files that are not a store.
    NotOurs(PathBuf),
    /// There is none.
    NoStore(PathBuf),
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
            Self::NoStore(dir) => {
                write!(f, "{} is not the data directory of a Factum server", dir.display())
            }
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
    lock: Option<File>,
    is_used: AtomicBool,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Where this fails, a copy is taken for one of a used directory, and checked.
        if let Some(lock) = self.lock.as_ref().filter(|_| self.is_used.load(Ordering::Relaxed)) {
            let _ = lock.set_len(0);
        }
    }
}

/// Which file it is, on this machine.
fn identity(lock: &File) -> std::io::Result<String> {
    let metadata = lock.metadata()?;
    Ok(format!("{} {}", metadata.dev(), metadata.ino()))
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
        make(path).map_err(io)?;
        let marker = path.join(MARKER);
        let mut entries = fs::read_dir(path).map_err(io)?;
        let is_empty = entries.all(|entry| {
            entry.is_ok_and(|entry| entry.file_name() == "lock" || is_unfinished(&entry))
        });
        if !marker.exists() && !is_empty {
            return Err(DataDirError::NotOurs(path.to_owned()));
        }
        let lock = lock(path)?;
        remove_unfinished(path).map_err(io)?;
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
            make(&path.join(sub)).map_err(io)?;
        }
        remove_unfinished(&path.join("components")).map_err(io)?;
        let (path, lock) = (path.to_owned(), Some(lock));
        Ok(Self { path, store_id, lock, is_used: AtomicBool::default() })
    }

    /// Takes an empty directory for a store that there was before.
    ///
    /// # Errors
    /// [`DataDirError`] when it is not empty, in use or not writable.
    pub fn create(path: &Path, store_id: &str) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io(path.to_owned(), error);
        if fs::read_dir(path).map_err(io)?.next().is_some() {
            return Err(DataDirError::NotOurs(path.to_owned()));
        }
        write_durably(&path.join(MARKER), format!("{FORMAT}\n{store_id}\n").as_bytes())
            .map_err(io)?;
        Self::open(path)
    }

    /// Takes a directory that is a store, to look at it: nothing in it is changed.
    ///
    /// # Errors
    /// [`DataDirError`] when it is none, in use, of another format or not readable.
    pub fn look(path: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io(path.to_owned(), error);
        let text = match fs::read_to_string(path.join(MARKER)) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(DataDirError::NoStore(path.to_owned()));
            }
            read => read.map_err(io)?,
        };
        let lock = match File::open(path.join("lock")) {
            // Whoever serves a directory makes it first.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            opened => Some(taken(opened.map_err(io)?, path)?),
        };
        let (path, store_id) = (path.to_owned(), read_marker(path, &text)?);
        Ok(Self { path, store_id, lock, is_used: AtomicBool::default() })
    }

    /// Whether it was copied while a server used it: its files are then of different moments.
    ///
    /// # Errors
    /// [`DataDirError`] when the lock's file cannot be read.
    pub fn is_live_copy(&self) -> Result<bool, DataDirError> {
        let Some(lock) = &self.lock else { return Ok(false) };
        let path = self.path.join("lock");
        let said = fs::read_to_string(&path).and_then(|said| Ok((said, identity(lock)?)));
        let (said, own) = said.map_err(|error| DataDirError::Io(path, error))?;
        Ok(!said.is_empty() && said != own)
    }

    /// Says that it is used from here on, until it is dropped.
    ///
    /// # Errors
    /// [`DataDirError`] when the lock's file cannot be written.
    pub fn begin_use(&self) -> Result<(), DataDirError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let begin = || {
            lock.set_len(0)?;
            lock.write_all_at(identity(lock)?.as_bytes(), 0)?;
            lock.sync_all()
        };
        begin().map_err(|error| DataDirError::Io(self.path.join("lock"), error))?;
        self.is_used.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What tells this store from all others.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// Removes everything that can be made of the log.
    ///
    /// # Errors
    /// [`DataDirError`] when something cannot be removed.
    pub fn remove_derived(&self) -> Result<(), DataDirError> {
        let entries = fs::read_dir(self.read_models()).into_iter().flatten().flatten();
        let files = ["index.redb", "index.suspect", "log-tree"].map(|name| self.path.join(name));
        for path in entries.map(|entry| entry.path()).chain(files) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(DataDirError::Io(path, error));
                }
                _ => {}
            }
        }
        Ok(())
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

/// Makes a directory and those above it, so that a crash does not take any of them back.
pub(super) fn make(path: &Path) -> std::io::Result<()> {
    let above = |dir: &Path| match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").to_owned(),
        parent => parent.unwrap_or(dir).to_owned(),
    };
    let new = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    let parents: Vec<_> = new.map(above).collect();
    fs::create_dir_all(path)?;
    parents.iter().try_for_each(|dir| File::open(dir)?.sync_all())
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join("lock");
    let io = |error| DataDirError::Io(lock_path.clone(), error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
    taken(file, path)
}

fn taken(lock: File, path: &Path) -> Result<File, DataDirError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(DataDirError::Io(path.join("lock"), error)),
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

/// Whether it is what [`write_durably`] left when a crash came before its name.
fn is_unfinished(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED))
}

fn remove_unfinished(dir: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(dir)?.filter_map(Result::ok);
    entries.filter(is_unfinished).try_for_each(|entry| fs::remove_file(entry.path()))
}

/// Writes a file so that after a crash it is either whole or not there.
///
/// # Errors
/// The system's error; the file's old content then stays.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    fail_point(Point::Keep);
    file.persist(path).map_err(|error| error.error)?;
    fail_point(Point::Keep);
    File::open(dir)?.sync_all()
}
