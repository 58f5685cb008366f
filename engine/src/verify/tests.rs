use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::walk::{Expected, Walk};
use super::*;
use crate::checkpoints::{Checkpoints, Growing, Proof, ProofError, leaf, origin};
use crate::clock::Clock;
use crate::decision::format::{HEADER_BYTES, record_hash, split};
use crate::decision::{AppendRecord, Draft, Header, parse, samples};
use crate::event::{NewEvent, Origin};
use crate::names::{StreamId, Tag};
use crate::storage::disk::checked::open_checked;
use crate::storage::log::{DirectAppend, Log, LogLimits, StoredPart, StoredRow, Submission, Work};
use crate::tasks::{Spawner, Thread};

/// A data directory with a log of several files.
struct Store {
    dir: tempfile::TempDir,
    open: Option<(Log, Vec<Thread>, DataDir)>,
}

impl Store {
    fn new() -> Self {
        let mut store = Self { dir: tempfile::tempdir().expect("a directory"), open: None };
        store.open();
        store
    }

    fn open(&mut self) {
        let dir = DataDir::open(self.dir.path()).expect("takes");
        // Rows leave the journal early and fill a file after some tens of them.
        let limits =
            LogLimits { journal_bytes: 20 << 10, segment_bytes: 64 << 10, ..Default::default() };
        let spawner = Spawner::default();
        let opened = Log::open(dir.path(), dir.store_id(), limits, Clock::system(), &spawner);
        let (log, threads) = opened.expect("opens");
        self.open = Some((log, threads, dir));
    }

    fn close(&mut self) {
        let (log, threads, dir) = self.open.take().expect("open");
        drop(log);
        threads.into_iter().for_each(Thread::join);
        drop(dir);
    }

    fn log(&self) -> &Log {
        &self.open.as_ref().expect("open").0
    }

    fn append(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let (send, answer) = std::sync::mpsc::channel();
            let events = (0..1 + number % 2).map(|part| event(number, part)).collect();
            let work = Work::Append(Box::new(DirectAppend {
                events,
                key: Some((format!("key-{number}"), [7; 32])),
                ..DirectAppend::default()
            }));
            let reply = Box::new(move |answer| send.send(answer).expect("waits"));
            self.log().submit(Submission { work, lineages: Vec::new(), reply });
            answer.recv().expect("answers").expect("appends");
        }
    }

    fn verify(&self) -> Report {
        let dir = DataDir::look(self.dir.path()).expect("looks");
        let subject = Subject::open(&dir).expect("opens");
        verify(&subject, Kept::new(), Pace::ALONE, |_| true).expect("verifies")
    }

    /// Every file with its content.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.dir.path()).expect("lists").flatten();
        let files = entries.filter(|entry| entry.path().is_file()).map(|entry| {
            let name = entry.file_name().into_string().expect("text");
            (name, std::fs::read(entry.path()).expect("reads"))
        });
        files.collect()
    }

    fn log_files(&self) -> Vec<String> {
        let names = self.files().into_keys();
        names.filter(|name| name.starts_with("log-") && name.ends_with(".redb")).collect()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn event(number: u32, part: u32) -> (NewEvent, Option<StreamId>) {
    let text = "x".repeat(usize::try_from(number % 700).expect("fits"));
    let event = NewEvent {
        data: format!("{{\"number\":{number},\"part\":{part},\"text\":\"{text}\"}}").into_bytes(),
        tags: vec![Tag::parse(&format!("of:{}", number % 5)).expect("valid")],
        origin: number.is_multiple_of(10).then(|| Box::new(elsewhere(number, part))),
        ..samples::event(if number.is_multiple_of(2) { "Counted" } else { "Noted" })
    };
    (event, Some(StreamId::parse(&format!("things-{}", number % 7)).expect("valid")))
}

fn elsewhere(number: u32, part: u32) -> Origin<'static> {
    Origin {
        source: "/elsewhere".into(),
        id: format!("{number}-{part}").into(),
        correlation_id: None,
        causation_id: None,
        extensions: "".into(),
    }
}

#[test]
fn a_sound_store_is_found_to_be_and_stays_as_it_is() {
    let mut store = Store::new();
    store.append(0..900);
    store.close();
    assert!(store.log_files().len() > 3, "{:?}", store.log_files());
    let before = store.files();
    let report = store.verify();
    assert!(report.sound, "{report:?}");
    assert_eq!((report.records, report.events), (900, 1350));
    assert!(report.compared.iter().any(|c| c.what.starts_with("index") && c.outcome == "agrees"));
    assert!(before == store.files(), "something was changed");
}

#[test]
fn what_a_crash_left_in_the_journal_is_read_and_left_there() {
    let mut store = Store::new();
    store.append(0..100);
    // The files as they are while a server runs: the newest are in the journal alone.
    let files = store.files();
    store.close();
    for (name, bytes) in &files {
        std::fs::write(store.path(name), bytes).expect("writes");
    }
    let report = store.verify();
    assert!(report.sound, "{report:?}");
    assert_eq!(report.records, 100);
    assert!(files == store.files(), "something was changed");
}

#[test]
fn a_running_store_is_verified_beside_its_writer() {
    let mut store = Store::new();
    store.append(0..300);
    let log = store.log().clone();
    let subject = Subject {
        stored: log.stored(),
        store_id: store.open.as_ref().expect("open").2.store_id().to_owned(),
        dir: store.dir.path().to_owned(),
        read_models: Vec::new(),
    };
    drop(log);
    let mut next = 300;
    let report = verify(&subject, Kept::new(), Pace::default(), |_| {
        store.append(next..next + 5);
        next += 5;
        true
    });
    let report = report.expect("verifies");
    assert!(report.sound, "{report:?}");
    assert!(report.records >= 300 && next > 300);
    drop(subject);
    store.close();
    assert_eq!(store.verify().records, u64::from(next));
}

#[test]
fn files_that_are_swapped_missing_or_foreign_are_found() {
    let mut store = Store::new();
    store.append(0..900);
    store.close();
    let names = store.log_files();
    let kept = store.files();
    let restore =
        || kept.iter().for_each(|(n, b)| std::fs::write(store.path(n), b).expect("writes"));
    let swap = |one: &str, other: &str| {
        std::fs::write(store.path(one), &kept[other]).expect("writes");
        std::fs::write(store.path(other), &kept[one]).expect("writes");
    };
    swap(&names[1], &names[2]);
    let report = store.verify();
    let first = report.first_damage.clone().expect("damaged");
    assert_eq!(first.file.as_deref(), Some(&*names[1]));
    let begins: u64 = names[1][4..24].parse().expect("a number");
    assert_eq!(first.decision, Some(begins));
    assert_eq!(report.reads_before.expect("some").decision, begins - 1);
    assert!(report.reads_after > 0);
    restore();
    assert!(store.verify().sound);
    std::fs::remove_file(store.path(&names[1])).expect("removes");
    let report = store.verify();
    assert_eq!(report.first_damage.expect("damaged").decision, Some(begins));
    assert!(report.reads_after > 0);
}

const GROUPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("groups");

/// Changes the stored bytes of a row.
fn change_row(path: &Path, at: usize, change: impl FnOnce(&mut Vec<u8>)) -> u64 {
    let database = Database::open(path).expect("opens");
    let read = database.begin_read().expect("begins").open_table(GROUPS).expect("a table");
    let (first, mut row) = {
        let (first, row) = read.iter().expect("reads").nth(at).expect("a row").expect("reads");
        (first.value(), row.value().to_vec())
    };
    drop(read);
    change(&mut row);
    let write = database.begin_write().expect("begins");
    write.open_table(GROUPS).expect("a table").insert(first, &*row).expect("inserts");
    write.commit().expect("commits");
    first
}

#[test]
fn a_damaged_record_is_named_with_its_place_and_the_rest_is_read() {
    let mut store = Store::new();
    store.append(0..900);
    store.close();
    let name = store.log_files()[1].clone();
    let mut offset = 0;
    let first = change_row(&store.path(&name), 1, |row| {
        // The third record of the row.
        offset = (0..2).fold(0, |at, _| at + split(&row[at..]).expect("a record").0.len());
        row[offset + HEADER_BYTES + 9] ^= 4;
    });
    let report = store.verify();
    let damage = report.first_damage.expect("damaged");
    assert_eq!(damage.decision, Some(first + 2));
    assert_eq!((damage.row, damage.offset), (Some(first), u64::try_from(offset).ok()));
    assert_eq!(damage.file, Some(name));
    assert!(damage.detail.contains("checksum"), "{}", damage.detail);
    assert_eq!(report.reads_before.expect("some").decision, first + 1);
    assert_eq!(report.reads_after, 900 - (first + 2));
    assert_eq!(report.fault_count, 1);
}

#[test]
fn an_index_that_lacks_or_has_more_than_the_log_says_is_found() {
    let mut store = Store::new();
    store.append(0..200);
    store.close();
    let kept = store.files();
    let tables = ["postings", "streams"];
    for (table, is_removed) in tables.iter().flat_map(|table| [(table, true), (table, false)]) {
        std::fs::write(store.path("index.redb"), &kept["index.redb"]).expect("writes");
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
        let database = open_checked(&store.path("index.redb"));
        let write = database.begin_write().expect("begins");
        {
            let mut table = write.open_table(definition).expect("a table");
            let (key, value) = table
                .pop_first()
                .expect("pops")
                .map(|(k, v)| (k.value().to_vec(), v.value().to_vec()))
                .expect("an entry");
            if !is_removed {
                table.insert(&*key, &*value).expect("inserts");
                let other = [b"zother\0".as_slice(), &key[key.len() - 8..]].concat();
                table.insert(&*other, &*value).expect("inserts");
            }
        }
        write.commit().expect("commits");
        drop(database);
        let report = store.verify();
        assert!(report.first_damage.is_none());
        assert!(report.faults.iter().all(|f| f.part == "index") && !report.sound, "{report:?}");
    }
}

#[test]
fn an_index_that_forgot_an_id_that_was_given_elsewhere_is_found() {
    let mut store = Store::new();
    store.append(0..200);
    store.close();
    let definition: TableDefinition<'_, u128, u64> = TableDefinition::new("given");
    let database = open_checked(&store.path("index.redb"));
    let write = database.begin_write().expect("begins");
    let popped =
        write.open_table(definition).expect("a table").pop_first().expect("pops").is_some();
    assert!(popped, "it has none");
    write.commit().expect("commits");
    drop(database);
    let report = store.verify();
    let details: Vec<_> = report.faults.iter().map(|fault| &*fault.detail).collect();
    assert!(matches!(details[..], [detail] if detail.contains("given elsewhere")), "{details:?}");
}

#[test]
fn a_read_model_that_cannot_be_read_is_found_whatever_it_is_for() {
    let mut store = Store::new();
    store.append(0..20);
    store.close();
    let kept = ["sums-1.redb", "sums-2.building", "sums-3.beside"];
    let dir = store.path("read_models");
    std::fs::create_dir_all(&dir).expect("creates");
    for name in kept.into_iter().chain(["sums-1-7.past"]) {
        std::fs::write(dir.join(name), b"no database").expect("writes");
    }
    let report = store.verify();
    let mut found: Vec<_> =
        report.faults.iter().map(|fault| (&*fault.part, &*fault.detail)).collect();
    found.sort_unstable();
    assert_eq!(found.len(), kept.len(), "{found:?}");
    for ((part, detail), name) in found.into_iter().zip(kept) {
        assert!(part == "read_model" && detail.starts_with(name), "{detail}");
    }
}

/// The records of a small store, in memory, and the checkpoint of all of them.
struct Sample {
    records: Vec<Vec<u8>>,
    checkpoint: Checkpoint,
}

const STORE: &str = "sample";
/// Records of the sample.
const COUNT: usize = 24;

impl Sample {
    fn new() -> Self {
        let mut chain = Chain::genesis(STORE);
        let mut records = Vec::new();
        for number in 0..u32::try_from(COUNT).expect("fits") {
            let events = [event(number, 0)];
            let placed = events.iter().map(|(e, s)| (e, s.as_ref().map(|s| (s.as_str(), 1))));
            let draft = Draft::append(&AppendRecord::default(), placed);
            let mut record = Vec::new();
            draft.finish(&header_after(&chain, u64::from(number) * 10), &mut record);
            chain = chain.follow(&record).expect("follows").1;
            records.push(record);
        }
        let checkpoint = checkpoint_of(&records);
        Self { records, checkpoint }
    }
}

fn header_after(chain: &Chain, at_ms: u64) -> Header {
    Header {
        decision: chain.head.decision + 1,
        head_before: chain.head.position,
        recorded_at_ms: at_ms.max(chain.recorded_at_ms),
        event_count: 0,
        previous_hash: chain.head.hash,
    }
}

fn checkpoint_of(records: &[Vec<u8>]) -> Checkpoint {
    let (mut tree, mut chain) = (Growing::default(), Chain::genesis(STORE));
    for record in records {
        tree.push(leaf(&record_hash(record)));
        chain = Chain::from(record).expect("is one").1;
    }
    Checkpoint {
        origin: origin(STORE),
        size: tree.size(),
        root: tree.root(),
        position: chain.head.position,
        record: chain.head.hash,
        recorded_at_ms: chain.recorded_at_ms,
    }
}

/// Verifies records in rows of eight, as `verify` does, against a checkpoint or none.
fn check(records: &[Vec<u8>], against: Option<&Checkpoint>) -> Report {
    let points = against.map(|point| ("the auditor".to_owned(), point.clone()));
    let expected = Expected { points: points.into_iter().collect(), ..Expected::default() };
    let mut walk = Walk::new(Chain::genesis(STORE), expected);
    let mut first = 1;
    let rows = records.chunks(8).map(|row| {
        let numbered = StoredRow::of(first, &row.concat());
        first += u64::try_from(row.len()).expect("fits");
        numbered
    });
    let rows = rows.collect();
    walk.rows(&StoredPart { path: "log".into(), rows, is_listed: true, next: 0 });
    walk.end();
    walk.report
}

/// Numbers, chains and seals records anew, so that they are a whole log by themselves.
fn reseal(records: &mut [Vec<u8>]) {
    let (mut hash, mut position, mut newest) = (Chain::genesis(STORE).head.hash, 0u64, 0u64);
    for (number, record) in (1u64..).zip(records) {
        let events = u32::from_be_bytes(record[32..36].try_into().expect("four"));
        newest = newest.max(u64::from_be_bytes(record[24..32].try_into().expect("eight")));
        record[8..16].copy_from_slice(&number.to_be_bytes());
        record[16..24].copy_from_slice(&position.to_be_bytes());
        record[24..32].copy_from_slice(&newest.to_be_bytes());
        record[36..68].copy_from_slice(&hash);
        let end = record.len() - 4;
        let seal = crc32fast::hash(&record[..end]).to_be_bytes();
        record[end..].copy_from_slice(&seal);
        hash = record_hash(record);
        position += u64::from(events);
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).expect("fits"))
            .expect("fits")
    }
}

/// Classes of forgery. Each is sealed again with right numbers, hashes and checksums, so that the
/// log is whole by itself, but for the last.
const CLASSES: [&str; 7] = ["byte", "delete", "swap", "cut", "insert", "reverse", "raw byte"];

fn forge(records: &mut Vec<Vec<u8>>, class: &str, random: &mut Random) {
    let at = random.below(records.len());
    match class {
        "byte" | "raw byte" => {
            let place = match class {
                // Within the data of the event, whose digits and letters stay JSON.
                "byte" => {
                    records[at].windows(8).position(|w| w == b"\"number\"").expect("data") + 9
                }
                _ => random.below(records[at].len()),
            };
            records[at][place] ^= 1 << random.below(if class == "byte" { 2 } else { 8 });
        }
        "delete" => drop(records.remove(at)),
        "swap" => {
            let other = (at + 1 + random.below(records.len() - 1)) % records.len();
            records.swap(at, other);
        }
        "cut" => records.truncate(at),
        "insert" => {
            // The same record again would be the log that grew.
            let other = (at + 1 + random.below(records.len() - 1)) % records.len();
            records.insert(at, records[other].clone());
        }
        "reverse" => records[at.min(COUNT - 2)..].reverse(),
        other => unreachable!("{other}"),
    }
    if class != "raw byte" {
        reseal(records);
    }
}

#[test]
fn ten_thousand_forgeries_are_all_found_against_a_checkpoint() {
    let sample = Sample::new();
    assert!(check(&sample.records, Some(&sample.checkpoint)).fault_count == 0);
    let mut random = Random(7);
    let mut whole_by_themselves = BTreeMap::new();
    for number in 0..10_000 {
        let class = CLASSES[number % CLASSES.len()];
        let mut records = sample.records.clone();
        forge(&mut records, class, &mut random);
        assert!(records != sample.records, "{class} {number} changed nothing");
        let report = check(&records, Some(&sample.checkpoint));
        assert!(report.fault_count > 0, "{class} {number} was not found");
        if number < 700 && check(&records, None).fault_count == 0 {
            *whole_by_themselves.entry(class).or_insert(0) += 1;
        }
    }
    // Without the checkpoint all but damage goes unseen: it is the checkpoint that finds them.
    let unseen: Vec<_> = whole_by_themselves.into_iter().collect();
    let all = |class| (class, 100);
    assert_eq!(unseen, ["byte", "cut", "delete", "insert", "reverse", "swap"].map(all));
}

#[test]
fn a_proof_holds_for_its_record_and_its_checkpoint_alone() {
    let mut store = Store::new();
    store.append(0..700);
    let (log, _, dir) = store.open.as_ref().expect("open");
    let checkpoints = Checkpoints::new(log.clone(), dir.path(), dir.store_id(), Default::default());
    let keys = [checkpoints.key().expect("a key")];
    for (decision, size) in [(1, 1), (1, 700), (256, 256), (257, 700), (513, 600), (700, 700)] {
        let text = checkpoints.proof(decision, Some(size)).expect("a proof").to_string();
        let proof = Proof::parse(&text).expect("reads");
        let checkpoint = proof.check(&keys).expect("holds");
        assert_eq!(checkpoint.size, size);
        assert_eq!(parse(&proof.record).expect("is one").header.decision, decision);
        let mut other = proof.clone();
        other.record[HEADER_BYTES] ^= 1;
        assert_eq!(other.check(&keys), Err(ProofError::NotInLog));
        let mut other = proof.clone();
        other.index += 1;
        assert_eq!(other.check(&keys), Err(ProofError::NotInLog));
        assert_eq!(proof.check(&[]), Err(ProofError::NotSigned));
    }
    let by_all = checkpoints.at(None).expect("signs");
    assert_eq!(by_all, checkpoints.at(Some(700)).expect("signs"), "it never changes");
    assert!(checkpoints.at(Some(701)).is_err() && checkpoints.proof(701, None).is_err());
    let notes = format!("{}\n{by_all}", checkpoints.at(Some(300)).expect("signs"));
    let kept = read_kept("the auditor", &notes, &keys).expect("are signed");
    assert_eq!(kept.len(), 2);
    drop(checkpoints);
    store.close();
    let dir = DataDir::look(store.dir.path()).expect("looks");
    let subject = Subject::open(&dir).expect("opens");
    let report = verify(&subject, kept, Pace::ALONE, |_| true).expect("verifies");
    assert!(report.sound, "{report:?}");
    assert_eq!(report.compared.iter().filter(|c| c.what.starts_with("checkpoint")).count(), 2);
}
