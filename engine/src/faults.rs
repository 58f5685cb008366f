//! Mistakes and deaths on purpose: the switches of the *fault build*, which tests alone are built
//! with (the feature `faults`, turned on by a dev-dependency and by nothing else).
//!
//! A mutant is a wrong build: one named mistake, made where it would be made. A fail point is a
//! place at which the process can be told to die as by SIGKILL. The machine's clock can be wrong.
//! Without the feature these functions are empty and constant, so that nothing of this is in a
//! binary that anybody runs.

#[cfg(feature = "faults")]
mod claims;
#[cfg(feature = "faults")]
mod switched;

#[cfg(feature = "faults")]
pub use claims::{CLAIMS, Claim, Suite, uncaught};
#[cfg(feature = "faults")]
pub(crate) use switched::{clock_off_ms, fail_point, is_on};

/// Whether the process makes this mistake.
#[cfg(not(feature = "faults"))]
pub(crate) const fn is_on(_: Mutant) -> bool {
    false
}

/// Dies here, if the process was told to.
#[cfg(not(feature = "faults"))]
pub(crate) const fn fail_point(_: Point) {}

/// By how many milliseconds the machine's clock is off.
#[cfg(not(feature = "faults"))]
pub(crate) const fn clock_off_ms() -> i64 {
    0
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What it is called from outside.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

named! {
    /// A wrong build: a mistake that some test must catch.
    Mutant {
        /// Answers leave before the group is written.
        AcknowledgeBeforeCommit = "acknowledge-before-commit",
        /// A group is written and not synced.
        NoFsync = "no-fsync",
        /// Readers see a group, and the head moves, before it is written.
        ShowBeforeCommit = "show-before-commit",
        /// The index has a group that the log may never have.
        IndexAheadOfLog = "index-ahead-of-log",
        /// What a failed decision takes with it is appended all the same.
        LineageNeverBreaks = "lineage-never-breaks",
        /// An expected version is compared with the stream as it was before the group.
        VersionIgnoresGroup = "version-ignores-group",
        /// A condition does not see the events of its own group.
        ConditionIgnoresGroup = "condition-ignores-group",
        /// The journal's other file is written over before what it holds is in rows.
        JournalReusedEarly = "journal-reused-early",
        /// A start takes a record of the journal of which only the beginning was written.
        TornRecordTaken = "torn-record-taken",
        /// The recorded time follows the machine's clock backwards.
        TimeGoesBack = "time-goes-back",
        /// The machine's clock is believed whatever it shows.
        JumpsBelieved = "jumps-believed",
        /// A record is read without a look at its checksum.
        ChecksumIgnored = "checksum-ignored",
        /// A page of the index or of a read model is read without a look at its sum.
        PageSumIgnored = "page-sum-ignored",
        /// The index finds no rejection by its command id.
        ReplayForgetsRejections = "replay-forgets-rejections",
        /// The index forgets command ids when it is written behind.
        FlushForgetsCommandIds = "flush-forgets-command-ids",
        /// The index takes any time without command ids for time that passed.
        GapsForget = "gaps-forget",
        /// The index lacks the last tag of each event.
        IndexLacksTag = "index-lacks-tag",
        /// A page of a stream takes events of other streams from records of several.
        PageOfOthers = "page-of-others",
        /// An answer about a state leaves before the state is durable.
        SpeculationLeaks = "speculation-leaks",
        /// A state is kept although the decision it stands on failed.
        HotStateKept = "hot-state-kept",
        /// Two requests with one command id are decided side by side.
        CommandIdNotHeld = "command-id-not-held",
        /// A guest may answer as many and as large events as it likes.
        EventLimitsIgnored = "event-limits-ignored",
        /// A guest's state is never compared with what its events fold to.
        HiddenStateTrusted = "hidden-state-trusted",
        /// An activation is recorded and answered, and commands go where they went.
        SwapKeepsOldVersion = "swap-keeps-old-version",
        /// Documents are made durable in a transaction of their own, before their checkpoint.
        CheckpointApart = "checkpoint-apart",
        /// A cursor is behind all rows of equal values.
        CursorWithoutKey = "cursor-without-key",
        /// That an event is skipped is not recorded.
        SkipNotRecorded = "skip-not-recorded",
        /// It is not written down which files went to the archive.
        ArchiveUnnamed = "archive-unnamed",
        /// A backup that was cut short is taken for whole.
        CutBackupTaken = "cut-backup-taken",
    }
}

named! {
    /// A place at which a process can be told to die.
    Point {
        /// A module has decided; the writer does not know yet.
        Decide = "decide",
        /// A group is about to be written.
        Append = "append",
        /// A group is written and not synced.
        Sync = "sync",
        /// A group is durable and nobody knows.
        Commit = "commit",
        /// The group is shown, and some of those who wait have their answers.
        Acknowledge = "acknowledge",
        /// One of the two marks of a journal's file is written.
        Mark = "mark",
        /// Rows are written and not committed, or are committed and the journal still has them.
        Settle = "settle",
        /// A record is read again into the index, at start.
        Replay = "replay",
        /// The index is written behind and not committed, or is and memory still has it.
        Index = "index",
        /// A batch was projected.
        Project = "project",
        /// Documents are written and not committed, or are and readers do not see them yet.
        Write = "write",
        /// A generation is about to get the name of the one that answers, or has just got it.
        Swap = "swap",
        /// A worker leaves its states to the next version.
        Snapshot = "snapshot",
        /// An activation is about to be recorded, or is and has not taken effect.
        Activate = "activate",
        /// A component is kept and its card is not, or both are.
        Upload = "upload",
        /// A file of a backup was written.
        Backup = "backup",
        /// A file of the log is copied to the archive, or named as archived, or has its name there,
        /// or is gone here.
        Archive = "archive",
        /// A file is copied back, or has its name here, or is gone from the archive, or is no more
        /// named as archived.
        Unarchive = "unarchive",
        /// What takes the place of an archived file is written, or named, or has the file's name.
        Erase = "erase",
        /// A start has ended one of the moves that a crash broke off.
        Tidy = "tidy",
        /// A small file is written and does not have its name, or has it.
        Keep = "keep",
    }
}
