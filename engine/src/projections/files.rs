//! The files of generations, by name: `{projection}-{version}.redb` answers,
//! `{projection}-{version}.building` is built to take its place, and `….beside` to do so when
//! someone asks for it. A name changes in one step, so a crash finds either the one or the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::collections;
use crate::decision::Hash;
use crate::decision::format::record_hash;
use crate::manifest::ProjectionManifest;
use crate::storage::log::{Log, ReadError};
use crate::storage::read_models::{Checkpoint, ReadModelFile};

const ANSWERING: &str = "redb";
const BUILDING: &str = "building";
const BESIDE: &str = "beside";
const PAST: &str = "past";

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Queries are answered from it.
    Answers,
    /// It is to take the other's place.
    Builds,
    /// It is to do so when someone asks for it.
    Waits,
}

impl Use {
    /// Whether it is to take the other's place, sooner or later.
    pub(super) fn is_build(self) -> bool {
        matches!(self, Self::Builds | Self::Waits)
    }
}

/// Where the files are, and the log that they must agree with.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    log: Log,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) projection: String,
    pub(super) version: u32,
    pub(super) is_for: Use,
    pub(super) path: PathBuf,
}

impl Files {
    pub(super) fn new(dir: PathBuf, log: Log) -> Self {
        Self { dir, log }
    }

    /// The path of a projection's file.
    pub(super) fn path(&self, projection: &str, version: u32, is_for: Use) -> PathBuf {
        let extension = match is_for {
            Use::Answers => ANSWERING,
            Use::Builds => BUILDING,
            Use::Waits => BESIDE,
        };
        self.dir.join(format!("{projection}-{version}.{extension}"))
    }

    /// The path of what a projection had made up to a position.
    pub(super) fn past(&self, projection: &str, position: u64) -> PathBuf {
        self.dir.join(format!("{projection}-{position}.{PAST}"))
    }

    /// Removes what was made as of positions before the last end.
    pub(super) fn forget_past(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == PAST)
                && let Err(reason) = remove(&path)
            {
                tracing::warn!(reason, "a file that nobody needs stays");
            }
        }
    }

    /// All files, the highest versions first.
    pub(super) fn list(&self) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            found.extend(parse(&path));
        }
        found.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.path.cmp(&b.path)));
        Ok(found)
    }

    /// The files of one projection.
    pub(super) fn of(&self, projection: &str) -> Result<Vec<Found>, String> {
        let mut found = self.list()?;
        found.retain(|file| file.projection == projection);
        Ok(found)
    }

    /// Opens a file that a maker of this digest goes on with; none where it cannot be gone on with
    /// and is gone.
    pub(super) fn resume(
        &self,
        found: &Found,
        spec: &ProjectionManifest,
        maker: &Hash,
    ) -> Result<Option<Arc<ReadModelFile>>, String> {
        let file = ReadModelFile::open(&found.path, collections(spec));
        // What cannot be opened, such as a file of half a copy, is built again like any other.
        if let Ok(file) = file
            && file.checkpoint().is_ok_and(|at| at.is_none_or(|at| self.agrees(&at)))
        {
            file.declare(collections(spec), maker).map_err(|error| error.to_string())?;
            return Ok(Some(Arc::new(file)));
        }
        tracing::warn!(
            projection = spec.name,
            file = %found.path.display(),
            "it is not of this log, or damaged, and is built again"
        );
        remove(&found.path)?;
        Ok(None)
    }

    /// Makes a file with nothing in it.
    pub(super) fn create(
        &self,
        spec: &ProjectionManifest,
        maker: &Hash,
        is_for: Use,
    ) -> Result<Arc<ReadModelFile>, String> {
        let path = self.path(&spec.name, spec.version, is_for);
        remove(&path)?;
        let file = ReadModelFile::open(&path, collections(spec));
        let file = file.map_err(|error| error.to_string())?;
        file.declare(collections(spec), maker).map_err(|error| error.to_string())?;
        Ok(Arc::new(file))
    }

    /// Gives a file the name for another use, in place of whatever had it.
    pub(super) fn name(
        &self,
        spec: &ProjectionManifest,
        file: &ReadModelFile,
        is_for: Use,
    ) -> Result<(), String> {
        let path = self.path(&spec.name, spec.version, is_for);
        file.move_to(&path).map_err(|error| error.to_string())
    }

    /// Whether the log has, at the checkpoint, the record that was read there. What is archived out
    /// of reach cannot be compared, and what was made of it not be made again: it stays.
    fn agrees(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.decision == 0
            || match self.log.record(checkpoint.decision) {
                Ok(record) => record.is_some_and(|r| record_hash(&r) == checkpoint.hash),
                Err(error) => matches!(error, ReadError::Archived(_)),
            }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

fn parse(path: &Path) -> Option<Found> {
    let is_for = match path.extension()?.to_str()? {
        ANSWERING => Use::Answers,
        BUILDING => Use::Builds,
        BESIDE => Use::Waits,
        _ => return None,
    };
    let (projection, version) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    let (projection, version) = (projection.to_owned(), version.parse().ok()?);
    Some(Found { projection, version, is_for, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name() {
        let found = parse(Path::new("/x/orders_by_day-12.building")).expect("is one");
        let expected = ("orders_by_day", 12, Use::Builds);
        assert_eq!((found.projection.as_str(), found.version, found.is_for), expected);
        assert_eq!(parse(Path::new("/x/orders-1.redb")).map(|f| f.is_for), Some(Use::Answers));
        assert_eq!(parse(Path::new("/x/orders-1.beside")).map(|f| f.is_for), Some(Use::Waits));
        for other in ["/x/orders.redb", "/x/orders-1", "/x/orders-one.redb", "/x/orders-1.tmp"] {
            assert_eq!(parse(Path::new(other)), None, "{other}");
        }
    }
}
