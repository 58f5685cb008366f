//! Who looks after the log beside its use: signs checkpoints and archives files, at intervals.

use std::sync::Arc;

use crate::archive::{ArchivePolicy, Archiver};
use crate::checkpoints::{CheckpointLimits, Checkpoints};
use crate::clock::Clock;
use crate::storage::data_dir::DataDir;
use crate::storage::log::Log;
use crate::tasks::{Spawner, Thread};

#[derive(Debug)]
pub(super) struct Keepers {
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) archiver: Arc<Archiver>,
    checkpointer: Thread,
    archiving: Thread,
}

impl Keepers {
    pub(super) fn start(
        log: &Log,
        dir: &DataDir,
        (signing, archiving): (CheckpointLimits, ArchivePolicy),
        clock: Clock,
        spawner: &Spawner,
    ) -> Self {
        let store_id = dir.store_id();
        let checkpoints = Checkpoints::new(log.clone(), dir.path(), store_id, signing);
        let checkpoints = Arc::new(checkpoints);
        let signer = Arc::clone(&checkpoints);
        let checkpointer = spawner.thread("checkpointer", move || signer.keep_at_intervals());
        let signer = Arc::clone(&checkpoints);
        let archiver = Archiver::new(log.clone(), signer, store_id, archiving, clock);
        let archiver = Arc::new(archiver);
        let moving = Arc::clone(&archiver);
        let archiving = spawner.thread("archiver", move || moving.keep_policy());
        Self { checkpoints, archiver, checkpointer, archiving }
    }

    /// Ends them. It blocks.
    pub(super) fn close(self) {
        self.archiver.close();
        self.archiving.join();
        self.checkpoints.close();
        self.checkpointer.join();
    }
}
