//! A read model's file with what is not written to it yet.
//!
//! Promises: what is written is always a state between two records, with its checkpoint; what is
//! gathered before is bounded in bytes and in time; what is written is durable within limits of
//! bytes and time.

use std::sync::Arc;

use parking_lot::RwLock;

use super::ProjectionLimits;
use super::batch::Look;
use super::overlay::{Overlay, Unique};
use crate::clock::Stopwatch;
use crate::manifest::ProjectionManifest;
use crate::runtime::Change;
use crate::storage::read_models::{Checkpoint, ReadModelError, ReadModelFile, WriteError};

pub(super) struct Generation {
    file: Arc<ReadModelFile>,
    overlay: Arc<RwLock<Overlay>>,
    unique: Vec<Unique>,
    limits: ProjectionLimits,
    /// Whether someone may be waiting for it.
    is_read: bool,
    /// What was taken in; what the file has may be older.
    at: Checkpoint,
    /// Since when something that was taken in is not in the file.
    gathered: Option<Stopwatch>,
    /// Since when something that was taken in is not durable, and how many bytes of it are written.
    unsynced: Option<(Stopwatch, usize)>,
}

impl Generation {
    pub(super) fn new(
        file: Arc<ReadModelFile>,
        spec: &ProjectionManifest,
        at: Checkpoint,
        limits: ProjectionLimits,
        is_read: bool,
    ) -> Self {
        let collections = super::collections(spec).into_iter();
        let unique = collections.flat_map(|collection| {
            let unique = collection.indexes.into_iter().filter(|index| index.unique);
            let name = collection.name;
            unique.map(move |index| Unique { collection: name.clone(), index }).collect::<Vec<_>>()
        });
        Self {
            file,
            overlay: Arc::default(),
            unique: unique.collect(),
            limits,
            is_read,
            at,
            gathered: None,
            unsynced: None,
        }
    }

    /// What was taken in.
    pub(super) fn at(&self) -> Checkpoint {
        self.at
    }

    /// Whether changes must come record by record: what is unique is so after each.
    pub(super) fn is_unique(&self) -> bool {
        !self.unique.is_empty()
    }

    /// The documents as they are now.
    pub(super) fn look(&self, spec: &Arc<ProjectionManifest>) -> Result<Look, ReadModelError> {
        let (view, overlay) = (self.file.view()?, Arc::clone(&self.overlay));
        Ok(Look { view, overlay, spec: Arc::clone(spec) })
    }

    /// Takes changes in, of one record where something is unique.
    pub(super) fn take(
        &mut self,
        changes: Vec<Change>,
        after: Checkpoint,
    ) -> Result<(), WriteError> {
        if self.is_unique() {
            let view = self.file.view()?;
            self.overlay.write().take_unique(changes, &self.unique, &view)?;
        } else {
            self.overlay.write().take(&changes);
        }
        self.at = after;
        self.gathered.get_or_insert_with(Stopwatch::start);
        self.unsynced.get_or_insert_with(|| (Stopwatch::start(), 0));
        Ok(())
    }

    /// Whether so much is gathered that it should be written, though there is more to come.
    pub(super) fn is_full(&self) -> bool {
        let overlay = self.overlay.read();
        let longest =
            if self.is_read { self.limits.overlay_for } else { self.limits.build_overlay_for };
        // As much again may be kept of what is written.
        overlay.changed_bytes() >= self.limits.overlay_bytes / 2
            || overlay.was_scanned()
            || self.gathered.is_some_and(|since| since.elapsed() >= longest)
    }

    /// Writes what is gathered; durably when that is due.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        self.gathered = None;
        // Whoever read it met damage.
        self.file.damage().map_or(Ok(()), Err)?;
        let is_durable = self.is_sync_due();
        let mut overlay = self.overlay.write();
        if overlay.is_written() && !is_durable {
            return Ok(());
        }
        let bytes = overlay.changed_bytes();
        self.file.apply(overlay.changes(), &self.at, is_durable)?;
        overlay.written(self.limits.overlay_bytes);
        match &mut self.unsynced {
            Some(_) if is_durable => self.unsynced = None,
            Some((_, written)) => *written += bytes,
            None => {}
        }
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        self.unsynced.is_some_and(|(since, written)| {
            since.elapsed() >= self.limits.durable_every || written >= self.limits.durable_bytes
        })
    }

    /// Writes everything durably.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        if self.unsynced.take().is_none() {
            return Ok(());
        }
        self.gathered = None;
        let mut overlay = self.overlay.write();
        self.file.apply(overlay.changes(), &self.at, true)?;
        overlay.written(self.limits.overlay_bytes);
        Ok(())
    }

    /// From now on someone may be waiting for it.
    pub(super) fn is_read_now(&mut self) {
        self.is_read = true;
    }

    /// Forgets what is gathered and opens the file again.
    pub(super) fn reopen(&mut self) -> Result<(), ReadModelError> {
        self.file.reopen()?;
        self.at = self.file.checkpoint()?.unwrap_or(Checkpoint::START);
        self.overlay.write().clear();
        (self.gathered, self.unsynced) = (None, None);
        Ok(())
    }

    /// Goes on with an index that is being built. False: none is.
    pub(super) fn build(&self) -> Result<bool, WriteError> {
        self.file.build(self.limits.build_rows)
    }
}
