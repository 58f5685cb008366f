//! What an engine gives to who verifies or copies its store, and what is done with a directory that
//! was copied by others.

use std::path::Path;

use super::{Engine, StartError};
use crate::backup::{BackupError, Source};
use crate::storage::data_dir::DataDir;
use crate::verify::{Kept, Pace, Subject, verify};

impl Engine {
    /// The store as it is now, to be verified while it is used.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let read_models = self.projections.checkpoints().into_iter();
        let read_models = read_models.map(|(name, at)| (name, at.map_err(|e| e.to_string())));
        Subject {
            read_models: read_models.collect(),
            stored: self.log.stored(),
            store_id: self.data_dir.store_id().to_owned(),
            dir: self.data_dir.path().to_owned(),
        }
    }

    /// What a backup up to the newest record is made of.
    ///
    /// # Errors
    /// [`BackupError`], when no checkpoint can be signed.
    pub fn backup_source(&self) -> Result<Source, BackupError> {
        let through = self.log.head();
        Ok(Source {
            stored: self.log.stored(),
            store_id: self.data_dir.store_id().to_owned(),
            dir: self.data_dir.path().to_owned(),
            through,
            checkpoint: Some(self.checkpoints.at(Some(through.decision))?),
        })
    }
}

/// Takes a data directory to use it.
pub(super) fn take(path: &Path) -> Result<DataDir, StartError> {
    let dir = DataDir::open(path).map_err(StartError::DataDir)?;
    if dir.is_live_copy().map_err(StartError::DataDir)? {
        mend_copy(&dir).map_err(|reason| StartError::TornCopy(path.to_owned(), reason))?;
    }
    dir.begin_use().map_err(StartError::DataDir)?;
    Ok(dir)
}

/// Makes a store of a directory that was copied while it was used: what can be made of the log is
/// removed, and the log is checked from its first record on. What was written to it while it was
/// copied may be missing at its end.
fn mend_copy(dir: &DataDir) -> Result<(), String> {
    tracing::warn!(
        dir = %dir.path().display(),
        "it was copied while a server used it: its log is checked, and everything made of that is \
         made again; what was written meanwhile may be missing"
    );
    dir.remove_derived().map_err(|error| error.to_string())?;
    let subject = Subject::open(dir).map_err(|error| error.to_string())?;
    let report = verify(&subject, Kept::new(), Pace::ALONE, |_| true)?;
    // Compiled code that is damaged is made again by itself.
    let fault = report.faults.iter().find(|fault| fault.part != "code");
    fault.map_or(Ok(()), |fault| Err(fault.to_string()))
}
