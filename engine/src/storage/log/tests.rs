use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use super::*;
pub(super) use crate::decision::samples::event;
use crate::decision::{Draft, Kind, Outcome, Rejection, parse, samples};
use crate::event::NewEvent;
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::names::Tag;
use crate::query::{Query, QueryItem};
use crate::storage::disk::simulated::Simulated;

pub(super) struct Store {
    log: Option<(Log, Vec<Thread>)>,
    pub(super) dir: tempfile::TempDir,
    disk: Disk,
    /// In the place of the directory.
    simulated: Option<Simulated>,
    limits: LogLimits,
    clock: Clock,
}

impl Store {
    fn new() -> Self {
        Self::with(LogLimits::default(), Clock::system())
    }

    pub(super) fn with(limits: LogLimits, clock: Clock) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::default();
        let mut store = Self { log: None, dir, disk, simulated: None, limits, clock };
        store.reopen();
        store
    }

    /// One on a disk that fails when told to.
    pub(super) fn simulated(limits: LogLimits) -> Self {
        let mut store = Self::with(limits, Clock::system());
        store.begin_on(Simulated::new());
        store
    }

    pub(super) fn begin_on(&mut self, disk: Simulated) {
        self.close();
        self.disk = Disk::simulated(&disk);
        self.simulated = Some(disk);
        self.reopen();
    }

    pub(super) fn disk(&self) -> &Simulated {
        self.simulated.as_ref().expect("simulated")
    }

    /// Goes on with what the disk has after its power went.
    pub(super) fn lose_power(&mut self) {
        let left = self.disk().platter().survivors(&mut Rng::with_seed(1));
        self.disk().turn_off();
        self.begin_on(Simulated::of(left, false));
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, file: &str) -> bool {
        self.disk.has(&self.dir.path().join(file)).expect("looks")
    }

    pub(super) fn reopen(&mut self) {
        self.try_reopen().expect("opens");
    }

    pub(super) fn try_reopen(&mut self) -> Result<(), OpenError> {
        self.close();
        let (dir, limits, clock) = (self.dir.path(), self.limits.clone(), self.clock.clone());
        let opened = Log::open_on(&self.disk, dir, "store", limits, clock, &Spawner::default())?;
        self.log = Some(opened);
        Ok(())
    }

    /// The files as they are now, when nothing is being moved.
    pub(super) fn copy(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        copy(self.dir.path(), dir.path());
        dir
    }

    pub(super) fn close(&mut self) {
        if let Some((log, threads)) = self.log.take() {
            drop(log);
            threads.into_iter().for_each(Thread::join);
        }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log.as_ref().expect("open").0
    }

    /// Submits everything before it waits for the first answer.
    pub(super) fn append_all(
        &self,
        works: Vec<(Work, Option<Arc<Lineage>>)>,
    ) -> Vec<Result<Appended, AppendError>> {
        let (send, answers) = std::sync::mpsc::channel();
        for (number, (work, lineage)) in works.into_iter().enumerate() {
            let send = send.clone();
            let reply: AppendReply =
                Box::new(move |answer| send.send((number, answer)).expect("waits"));
            self.log().submit(Submission { work, lineages: lineage.into_iter().collect(), reply });
        }
        drop(send);
        let mut answers: Vec<_> = answers.iter().collect();
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    pub(super) fn append(&self, work: Work) -> Result<Appended, AppendError> {
        self.append_all(vec![(work, None)]).remove(0)
    }
}

pub(super) fn deposit(stream: &str, version: u64, id: &str, events: usize) -> Work {
    work(stream, version, id, events, Outcome::Committed { next_hash: [0; 32] })
}

fn work(stream: &str, version: u64, id: &str, events: usize, outcome: Outcome<'_>) -> Work {
    let data = format!("{{\"id\":\"{id}\"}}").into_bytes();
    let event = NewEvent { data, ..event("Deposited") };
    decided(stream, version, id, &vec![event; events], outcome)
}

/// What a module decided on a version of a stream.
pub(super) fn decided(
    stream: &str,
    version: u64,
    id: &str,
    events: &[NewEvent],
    outcome: Outcome<'_>,
) -> Work {
    let record = samples::command(stream, version, id, outcome);
    let stream = StreamId::parse(stream).expect("valid");
    Work::Record {
        draft: Draft::command(&record, events),
        expected: Some(Expectation { stream, version: ExpectedVersion::Exact(version) }),
    }
}

pub(super) fn record(answer: Result<Appended, AppendError>) -> Bytes {
    match answer {
        Ok(Appended::Record(record)) => record,
        other => panic!("not appended: {other:?}"),
    }
}

#[test]
fn positions_and_versions_have_no_gaps_and_survive_reopening() {
    let mut store = Store::new();
    for n in 0..10 {
        let id = format!("c{n}");
        let decision = record(store.append(deposit("account-1", n * 2, &id, 2)));
        let decision = parse(&decision).expect("whole");
        assert_eq!(decision.header.decision, n + 1);
        assert_eq!(decision.header.head_before, n * 2);
    }
    let head = store.log().head();
    assert_eq!((head.position, head.decision), (20, 10));
    store.reopen();
    assert_eq!(store.log().head(), head);
    let records = store.log().stream_records("account-1", 3, Direction::Forward, 4).expect("reads");
    let versions: Vec<u64> = records
        .iter()
        .flat_map(|record| {
            parse(record)
                .expect("whole")
                .events
                .into_iter()
                .map(|e| e.stream_version)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(versions, [3, 4, 5, 6, 7, 8]);
    for (position, decision) in [(0, 1), (1, 1), (2, 2), (3, 2), (19, 10), (20, 11)] {
        assert_eq!(store.log().decision_after_position(position), Ok(decision), "{position}");
    }
}

#[test]
fn one_of_two_with_the_same_expectation_wins() {
    let store = Store::new();
    let answers = store.append_all(vec![
        (deposit("account-1", 0, "a", 1), None),
        (deposit("account-1", 0, "b", 1), None),
    ]);
    assert!(matches!(answers[0], Ok(Appended::Record(_))));
    let conflict = VersionConflict {
        stream: StreamId::parse("account-1").expect("valid"),
        expected: ExpectedVersion::Exact(0),
        actual: 1,
    };
    assert_eq!(answers[1].as_ref().expect_err("loses"), &AppendError::Conflict(conflict));
}

#[test]
fn of_two_in_one_group_that_exclude_each_other_one_wins() {
    let store = Store::new();
    let seat = |number: u32, condition: bool| {
        let tag = Tag::parse(&format!("seat:{number}")).expect("valid");
        let stream = StreamId::parse(&format!("seat-{number}")).expect("valid");
        let query = QueryItem { tags: vec![tag.clone()], ..QueryItem::default() };
        let query = Query { items: vec![query] };
        let condition =
            condition.then(|| Condition { query, after: 0, checked_to: 0, text: String::new() });
        let expected = Expectation { stream: stream.clone(), version: ExpectedVersion::NoStream };
        let taken = NewEvent { tags: vec![tag], ..event("Taken") };
        Work::Append(Box::new(DirectAppend {
            events: vec![(taken, Some(stream))],
            expected: condition.is_none().then_some(expected).into_iter().collect(),
            condition,
            ..DirectAppend::default()
        }))
    };
    // The first may be a group of its own; while it is synced, all others gather.
    let both = |number| [seat(number, number % 2 == 0), seat(number, number % 2 == 0)];
    let answers = store.append_all((0..40).flat_map(both).map(|work| (work, None)).collect());
    for (position, answers) in (1..).zip(answers.chunks(2)) {
        assert!(answers[0].is_ok(), "{answers:?}");
        let is_right = match &answers[1] {
            Err(AppendError::ConditionFailed { position: found }) => *found == position,
            Err(AppendError::Conflict(conflict)) => conflict.actual == 1,
            _ => false,
        };
        assert!(is_right, "position {position}: {:?}", answers[1]);
    }
}

#[test]
fn a_broken_lineage_takes_all_that_was_built_on_it() {
    let store = Store::new();
    record(store.append(deposit("account-1", 0, "other", 1)));
    let lineage = Some(Arc::new(Lineage::default()));
    // The second would fit the stream's version by accident; it was decided on another history.
    let answers = store.append_all(vec![
        (deposit("account-1", 0, "a", 1), lineage.clone()),
        (deposit("account-1", 1, "b", 1), lineage.clone()),
        (Work::Barrier, lineage),
        (Work::Barrier, None),
    ]);
    assert!(matches!(answers[0], Err(AppendError::Conflict(_))));
    assert!(matches!(answers[1], Err(AppendError::Superseded)));
    assert!(matches!(answers[2], Err(AppendError::Superseded)));
    assert!(matches!(answers[3], Ok(Appended::Barrier)));
    assert_eq!(store.log().head().position, 1);
}

#[test]
fn rejections_are_recorded_and_move_no_version() {
    let store = Store::new();
    let rejection = Rejection { code: "no", message: "No.", details: None };
    let refused = work("account-1", 0, "r", 0, Outcome::Rejected(rejection));
    let bytes = record(store.append(refused));
    assert!(matches!(parse(&bytes).expect("whole").kind, Kind::Command(_)));
    assert_eq!(store.log().head().position, 0);
    assert_eq!(store.log().stream_version(&StreamId::parse("account-1").expect("valid")), Ok(None));
    assert_eq!(store.log().find_command(None, "r"), Ok(Some(1)));
    assert_eq!(store.log().find_command(Some("bob"), "r"), Ok(None));
}

#[test]
fn recorded_time_never_goes_back() {
    let now = Arc::new(AtomicU64::new(5_000));
    let tells = Arc::clone(&now);
    let clock = Clock::new(move || tells.load(Ordering::Relaxed));
    let mut store = Store::with(LogLimits::default(), clock);
    let mut times = Vec::new();
    for (number, at) in (0u64..).zip([5_000, 1_000, 6_000, 2_000]) {
        now.store(at, Ordering::Relaxed);
        store.reopen();
        let bytes = record(store.append(deposit("account-1", number, "t", 1)));
        times.push(parse(&bytes).expect("whole").header.recorded_at_ms);
    }
    assert_eq!(times, [5_000, 5_000, 6_000, 6_000]);
}

#[test]
fn a_nearly_full_disk_refuses_appends_and_still_reads() {
    let mut store = Store::new();
    let first = record(store.append(deposit("account-1", 0, "a", 1)));
    store.limits.min_free_disk_bytes = u64::MAX;
    store.reopen();
    let refused = store.append(deposit("account-1", 1, "b", 1)).expect_err("refused");
    assert!(matches!(refused, AppendError::NotAccepted(Refusal::DiskFull { .. })));
    assert!(store.log().trouble().is_some());
    assert_eq!(store.log().record(1).expect("reads").as_deref(), Some(&*first));
    store.limits.min_free_disk_bytes = 0;
    store.reopen();
    record(store.append(deposit("account-1", 1, "b", 1)));
}

#[test]
fn large_groups_are_cut_into_rows_and_read_back_in_order() {
    let mut store = Store::new();
    let works =
        (0..2_000).map(|n| (deposit(&format!("account-{n}"), 0, &format!("c{n}"), 1), None));
    let answers = store.append_all(works.collect());
    assert_eq!(answers.len(), 2_000);
    store.reopen();
    let (mut decision, mut seen) = (1, 0);
    while let Some(group) = store.log().group(decision).expect("reads") {
        for (number, record) in group.records_from(decision) {
            assert_eq!(parse(record).expect("whole").header.decision, number);
            seen += 1;
        }
        decision = group.last() + 1;
    }
    assert_eq!(seen, 2_000);
}

#[test]
fn a_damaged_log_is_refused_with_the_record_named() {
    let mut store = Store::new();
    record(store.append(deposit("account-1", 0, "needle-in-the-log", 1)));
    store.close();
    std::fs::remove_file(store.dir.path().join("index.redb")).expect("removes");
    let path = store.dir.path().join(segments::name_of(1));
    let mut bytes = std::fs::read(&path).expect("reads");
    let needle = b"needle-in-the-log";
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("is there");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let opened = Log::open(
        store.dir.path(),
        "store",
        LogLimits::default(),
        Clock::system(),
        &Spawner::default(),
    );
    let error = opened.expect_err("damaged").to_string();
    assert!(error.contains("decision 1"), "{error}");
}

/// Four kibibytes a commit, so that files of 256 KiB are soon full.
fn fill_files(store: &Store, from: u64, count: u64) {
    for n in from..from + count {
        let id = format!("c{n}-{}", "x".repeat(1 << 10));
        record(store.append(deposit("account-1", n, &id, 1)));
    }
    store.log().shared.records.unsettled.rest();
    store.log().shared.index.rest();
}

pub(super) fn small_files() -> LogLimits {
    LogLimits { journal_bytes: 32 << 10, segment_bytes: 256 << 10, ..LogLimits::default() }
}

/// The decisions that the files begin with.
fn files(dir: &Path) -> Vec<u64> {
    let names =
        std::fs::read_dir(dir).expect("reads").map(|entry| entry.expect("reads").file_name());
    let names = names.map(|name| name.into_string().expect("a name"));
    let firsts = names.filter_map(|name| {
        name.strip_prefix("log-")?.strip_suffix(".redb").map(|first| first.parse().expect("digits"))
    });
    let mut firsts: Vec<u64> = firsts.collect();
    firsts.sort_unstable();
    firsts
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

pub(super) fn expect_all(store: &Store, count: u64) {
    let head = store.log().head();
    assert_eq!((head.decision, head.position), (count, count));
    for decision in 1..=count {
        let bytes = store.log().record(decision).expect("reads").expect("is there");
        assert_eq!(parse(&bytes).expect("whole").header.decision, decision);
    }
    let limit = usize::try_from(count).expect("few");
    for direction in [Direction::Forward, Direction::Backward] {
        let from = if direction == Direction::Forward { 0 } else { u64::MAX };
        // The second read is from memory.
        for _ in 0..2 {
            let records = store.log().stream_records("account-1", from, direction, limit);
            let mut numbers: Vec<_> = records
                .expect("reads")
                .iter()
                .map(|record| parse(record).expect("whole").header.decision)
                .collect();
            if direction == Direction::Backward {
                numbers.reverse();
            }
            assert!(numbers.into_iter().eq(1..=count));
        }
    }
}

#[test]
fn a_log_of_many_files_reads_as_one_and_survives_reopening_and_a_lost_index() {
    let mut store = Store::with(small_files(), Clock::system());
    fill_files(&store, 0, 1_000);
    let firsts = files(store.dir.path());
    assert!(firsts.len() > 3, "{firsts:?}");
    expect_all(&store, 1_000);
    store.reopen();
    expect_all(&store, 1_000);
    store.close();
    std::fs::remove_file(store.dir.path().join("index.redb")).expect("removes");
    store.reopen();
    expect_all(&store, 1_000);
    fill_files(&store, 1_000, 300);
    expect_all(&store, 1_300);
}

#[test]
fn a_crash_anywhere_in_beginning_a_file_loses_nothing() {
    let mut store = Store::with(small_files(), Clock::system());
    fill_files(&store, 0, 50);
    assert_eq!(files(store.dir.path()), [1]);
    let before = tempfile::tempdir().expect("a directory");
    // Killed while the first file is the newest: what a copy of the open files holds.
    copy(store.dir.path(), before.path());
    fill_files(&store, 50, 350);
    let firsts = files(store.dir.path());
    assert!(firsts.len() > 1, "{firsts:?}");
    let after = tempfile::tempdir().expect("a directory");
    copy(store.dir.path(), after.path());
    store.close();

    // After the first file was closed, while the next had no name yet.
    std::fs::write(before.path().join("log-00000000000000000051.new"), b"unfinished")
        .expect("writes");
    store.dir = before;
    store.reopen();
    expect_all(&store, 50);
    // After the next got its name, and before anything was written to it.
    store.close();
    let limits = LogLimits::default();
    let directory = segments::Directory {
        path: store.dir.path().to_owned(),
        disk: Disk::default(),
        page_cache_bytes: limits.page_cache_bytes,
    };
    drop(directory.create(51).expect("creates"));
    store.reopen();
    assert_eq!(files(store.dir.path()).last(), Some(&51));
    expect_all(&store, 50);
    fill_files(&store, 50, 50);
    expect_all(&store, 100);
    store.close();
    // Killed with several files.
    store.dir = after;
    store.reopen();
    expect_all(&store, 400);
}

#[test]
fn a_file_that_was_not_closed_is_repaired_when_it_is_read() {
    let mut store = Store::with(small_files(), Clock::system());
    fill_files(&store, 0, 50);
    let unsettled = &store.log().shared.records.unsettled;
    unsettled.ask(50);
    unsettled.rest();
    let unclosed = tempfile::tempdir().expect("a directory");
    copy(store.dir.path(), unclosed.path());
    store.close();
    let limits = LogLimits::default();
    let directory = segments::Directory {
        path: store.dir.path().to_owned(),
        disk: Disk::default(),
        page_cache_bytes: limits.page_cache_bytes,
    };
    drop(directory.create(51).expect("creates"));
    let first = unclosed.path().join(segments::name_of(1));
    std::fs::copy(first, store.dir.path().join(segments::name_of(1))).expect("copies");
    store.reopen();
    expect_all(&store, 50);
}

#[test]
fn a_missing_first_file_is_named() {
    let mut store = Store::with(small_files(), Clock::system());
    fill_files(&store, 0, 400);
    store.close();
    std::fs::remove_file(store.dir.path().join(segments::name_of(1))).expect("removes");
    let opened =
        Log::open(store.dir.path(), "store", small_files(), Clock::system(), &Spawner::default());
    let error = opened.expect_err("incomplete").to_string();
    assert!(error.contains("log-00000000000000000001.redb is missing"), "{error}");
}
