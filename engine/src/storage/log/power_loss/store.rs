//! The real log, its index and the file of a read model on a simulated disk, and whether they are
//! what they must be.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::history::{Expected, Fact, Facts, Fold, id_of};
use crate::clock::Clock;
use crate::decision::format::record_hash;
use crate::decision::parse;
use crate::document::Index as DocumentIndex;
use crate::names::{StreamId, Tag};
use crate::query::{Query, QueryItem};
use crate::storage::disk::Disk;
use crate::storage::disk::simulated::Simulated;
use crate::storage::log::{Chain, Direction, Log, LogLimits, OpenError, ReadError};
use crate::storage::read_models::{
    Checkpoint, Collection, ReadModelError, ReadModelFile, RowChange, WriteError,
};
use crate::tasks::{Spawner, Thread};

const STORE: &str = "store";
pub(super) const DOCUMENTS: &str = "c";
pub(super) const READ_MODEL: &str = "read_models/c-1.redb";
/// More than there ever are.
const ALL: usize = 1_000_000;

/// A running log with what is made of it.
pub(super) struct Store {
    pub(super) log: Log,
    pub(super) read_model: Option<ReadModelFile>,
    threads: Vec<Thread>,
    spawner: Spawner,
    disk: Simulated,
}

pub(super) fn dir() -> PathBuf {
    Path::new("/").join(STORE)
}

pub(super) fn collections() -> Vec<Collection> {
    let index = DocumentIndex::new("n", &["n".to_owned()], false).expect("valid");
    vec![Collection { name: DOCUMENTS.into(), indexes: vec![index] }]
}

impl Store {
    /// Opens what is on the disk.
    pub(super) fn open(
        disk: &Simulated,
        limits: &LogLimits,
        now_ms: &Arc<AtomicU64>,
    ) -> Result<Self, OpenError> {
        let tells = Arc::clone(now_ms);
        let clock = Clock::new(move || tells.load(Ordering::Relaxed));
        let (on, spawner) = (Disk::simulated(disk), Spawner::default());
        let (log, threads) = Log::open_on(&on, &dir(), STORE, limits.clone(), clock, &spawner)?;
        Ok(Self { log, read_model: None, threads, spawner, disk: disk.clone() })
    }

    /// Opens the read model as it is, or anew where it was never durable.
    pub(super) fn open_read_model(&mut self, records: &[Bytes], kept: u64) {
        let file = match read_model(&self.disk) {
            Err(error) if kept > 0 => panic!("the read model was durable: {error}"),
            Err(_) => {
                Disk::simulated(&self.disk).remove(&dir().join(READ_MODEL)).expect("removes");
                read_model(&self.disk).expect("creates")
            }
            Ok(file) => file,
        };
        let checkpoint = file.checkpoint().expect("reads").unwrap_or(Checkpoint::START);
        assert!(checkpoint.decision >= kept, "{} were durable: {checkpoint:?}", kept);
        let read = usize::try_from(checkpoint.decision).expect("few");
        let newest = records.get(..read).expect("it is ahead of the log").last();
        let hash = newest.map_or(Checkpoint::START.hash, |record| record_hash(record));
        assert_eq!(checkpoint.hash, hash, "it was made of another log");
        expect_documents(&file, &Fold::of(&records[..read]));
        self.read_model = Some(file);
    }

    /// Has the read model read up to a record.
    pub(super) fn project(&self, records: &[Bytes], durable: bool) -> Result<(), WriteError> {
        let file = self.read_model.as_ref().expect("open");
        let Some(newest) = records.last() else { return Ok(()) };
        let head = Chain::from(newest).expect("whole").1.head;
        let before = file.checkpoint().expect("reads").map_or(0, |at| at.decision);
        let fold = Fold::of(records);
        let is_new = |record: &&Bytes| parse(record).expect("whole").header.decision > before;
        let new = Fold::of(&records.iter().filter(is_new).cloned().collect::<Vec<_>>());
        let changes = new.documents.keys().map(|key| RowChange {
            collection: DOCUMENTS,
            key,
            document: Some(&fold.documents[key]),
        });
        let checkpoint =
            Checkpoint { position: head.position, decision: head.decision, hash: head.hash };
        file.apply(changes, &checkpoint, durable)
    }

    /// Every record, in order.
    pub(super) fn records(&self) -> Vec<Bytes> {
        let (mut records, mut next) = (Vec::new(), 1);
        while let Some(group) = self.log.group(next).expect("reads") {
            records.extend((next..=group.last()).filter_map(|number| group.record(number)));
            next = group.last() + 1;
        }
        records
    }

    /// Everything acknowledged is there as it was, in order; what follows is whole, and was under
    /// way. Answers all records.
    pub(super) fn check(&self, expected: &Expected) -> Vec<Bytes> {
        let records = self.records();
        let acknowledged = expected.records.len();
        assert!(records.len() >= acknowledged, "{} of {acknowledged}", records.len());
        for (number, (found, expected)) in (1..).zip(records.iter().zip(&expected.records)) {
            assert!(found == expected, "decision {number} is another one");
        }
        let mut chain = Chain::genesis(STORE);
        let mut in_flight = expected.in_flight.clone();
        for record in &records {
            let (decision, next) = chain.follow(record).expect("follows");
            if next.head.decision > u64::try_from(acknowledged).expect("few") {
                let id = id_of(&decision);
                assert!(in_flight.remove(id), "{id} comes from nowhere, or twice");
            }
            chain = next;
        }
        assert_eq!(self.log.head(), chain.head);
        self.check_index(&Fold::of(&records)).expect("the index reads");
        assert_eq!(self.spawner.dead(), Vec::<String>::new());
        records
    }

    /// What the index answers is the fold of the log, or that it cannot be read.
    pub(super) fn check_index(&self, fold: &Fold) -> Result<(), ReadError> {
        let streams = self.log.streams("", None, ALL)?;
        let versions = fold.streams.iter().map(|(name, records)| (name.clone(), records.len()));
        let found = streams
            .iter()
            .map(|(name, version)| (name.clone(), usize::try_from(*version).expect("few")));
        assert!(found.eq(versions), "{streams:?}");
        for (stream, records) in &fold.streams {
            let found = self.log.stream_records(stream, 0, Direction::Forward, ALL)?;
            let mut expected = records.clone();
            expected.dedup();
            let number = |record: &Bytes| parse(record).expect("whole").header.decision;
            assert!(found.iter().map(number).eq(expected), "{stream}");
            let name = StreamId::parse(stream).expect("valid");
            let version = self.log.stream_version(&name)?.unwrap_or(0);
            assert_eq!(usize::try_from(version).expect("few"), records.len());
        }
        for (tag, positions) in &fold.tags {
            let tags = vec![Tag::parse(tag).expect("valid")];
            let query = Query { items: vec![QueryItem { tags, ..QueryItem::default() }] };
            let found = self.log.find(&query, (1, u64::MAX), ALL)?;
            assert!(found.hits.iter().map(|hit| hit.0).eq(positions.iter().copied()), "{tag}");
        }
        for (id, decision) in &fold.commands {
            let found = self.log.find_command(None, id)?;
            assert_eq!(found, Some(*decision), "{id}: it would be done again");
        }
        let acts = self.log.newest_acts("setting")?.into_iter();
        let acts =
            acts.map(|(subject, record)| (subject, parse(&record).expect("whole").header.decision));
        assert!(acts.eq(fold.acts.clone()), "acts");
        let active = self.log.active_modules().into_iter();
        let active = active.map(|(name, version, digest)| (name, (version, digest)));
        assert!(active.eq(fold.active.clone()), "active modules");
        Ok(())
    }

    /// Tells the tester what a log that was just opened shows.
    pub(super) fn tell(&self, facts: &Facts, expected: &Expected, records: &[Bytes]) {
        for record in records.iter().skip(expected.records.len()) {
            facts.add(&self.disk, Fact::Acknowledged(record.clone()));
        }
        facts.add(&self.disk, Fact::Opened);
    }

    pub(super) fn rests(&self) -> (bool, bool) {
        (self.log.shared.records.unsettled.rests(), self.log.shared.index.rests())
    }

    /// Ends everything, one thread after the other.
    pub(super) fn close(self) {
        drop(self.read_model);
        drop(self.log);
        for (thread, name) in self.threads.into_iter().zip(["log-writer", SETTLER, FLUSHER]) {
            self.disk.release(name);
            thread.join();
        }
        assert_eq!(self.spawner.dead(), Vec::<String>::new());
    }

    /// Switches the machine off and forgets it.
    pub(super) fn lose_power(self) {
        self.disk.turn_off();
        drop(self.read_model);
        drop(self.log);
        self.threads.into_iter().for_each(Thread::join);
    }
}

pub(super) const SETTLER: &str = "log-settler";
pub(super) const FLUSHER: &str = "index-flusher";

/// What a read model has, by key.
pub(super) fn documents(file: &ReadModelFile) -> Result<Vec<(String, String)>, ReadModelError> {
    let mut documents = Vec::new();
    let each = |key: &str, document: &str| {
        documents.push((key.to_owned(), document.to_owned()));
        true
    };
    file.view()?.scan(DOCUMENTS, Bound::Unbounded, each)?;
    Ok(documents)
}

fn expect_documents(file: &ReadModelFile, fold: &Fold) {
    let found = documents(file).expect("reads");
    assert!(found.into_iter().eq(fold.documents.clone()), "documents");
    let view = file.view().expect("reads");
    let index = view.indexes_of(DOCUMENTS).find(|index| index.is_whole()).expect("an index");
    let mut keys = Vec::new();
    let each = |key: &str| {
        keys.push(key.to_owned());
        true
    };
    index.scan(Bound::Unbounded, None, false, each).expect("reads");
    let number = |key: &&String| fold.streams[*key].len();
    let mut expected: Vec<_> = fold.documents.keys().collect();
    expected.sort_by_key(|key| (number(key), (*key).clone()));
    assert!(keys.iter().eq(expected), "the index of documents");
}

/// The file of the read model, as it is.
pub(super) fn read_model(disk: &Simulated) -> Result<ReadModelFile, ReadModelError> {
    let path = dir().join(READ_MODEL);
    ReadModelFile::open_on(&Disk::simulated(disk), &path, collections())
}
