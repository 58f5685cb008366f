//! A model of the log, a plain list of events, run beside it: the same appends with the same
//! expectations and conditions must be accepted or refused by both, and both must hold the same,
//! also after closing and after crashes at any point between two appends.

use proptest::prelude::*;

use super::*;
use crate::decision::parse;
use crate::event::{JSON, NewEvent};
use crate::expected::ExpectedVersion;
use crate::names::{EventType, Tag};
use crate::query::{Query, QueryItem};

const STREAMS: [&str; 3] = ["account-1", "account-2", "course-1"];
const TAGS: [&str; 3] = ["red", "green", "blue"];

#[derive(Clone, Debug)]
enum Operation {
    /// Streams of the events with their tags, what is expected, and a condition's tag and how far
    /// back from the head it looks.
    Append {
        events: Vec<(Option<usize>, Option<usize>)>,
        expected: Option<(usize, Expected)>,
        condition: Option<(usize, u64)>,
    },
    /// Closed well and opened again.
    Reopen,
    /// Opened again from the bytes as they are on disk.
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    NoStream,
    Exists,
    /// The stream's version, changed by this.
    Off(i8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    stream: Option<usize>,
    version: u64,
    tag: Option<usize>,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let event = (proptest::option::of(0..STREAMS.len()), proptest::option::of(0..TAGS.len()));
    let expected = prop_oneof![
        Just(Expected::NoStream),
        Just(Expected::Exists),
        (-1..=1i8).prop_map(Expected::Off)
    ];
    let append = (
        proptest::collection::vec(event, 1..5),
        proptest::option::of((0..STREAMS.len(), expected)),
        proptest::option::of((0..TAGS.len(), 0..8u64)),
    )
        .prop_map(|(events, expected, condition)| Operation::Append {
            events,
            expected,
            condition,
        });
    let operation =
        prop_oneof![12 => append, 1 => Just(Operation::Reopen), 1 => Just(Operation::Crash)];
    proptest::collection::vec(operation, 1..60)
}

#[derive(Default)]
struct Model {
    facts: Vec<Fact>,
}

impl Model {
    fn head(&self) -> u64 {
        u64::try_from(self.facts.len()).expect("small")
    }

    fn version(&self, stream: usize) -> u64 {
        let of_stream = self.facts.iter().filter(|fact| fact.stream == Some(stream));
        u64::try_from(of_stream.count()).expect("small")
    }

    fn first_match(&self, tag: usize, after: u64) -> Option<u64> {
        let mut positions = (1..).zip(&self.facts);
        positions.find(|(at, fact)| *at > after && fact.tag == Some(tag)).map(|(at, _)| at)
    }

    fn push(&mut self, events: &[(Option<usize>, Option<usize>)]) {
        for (stream, tag) in events {
            let version = stream.map_or(0, |stream| self.version(stream) + 1);
            self.facts.push(Fact { stream: *stream, version, tag: *tag });
        }
    }
}

struct Store {
    dir: tempfile::TempDir,
    open: Option<(Log, Vec<Thread>)>,
    fresh_records: usize,
    journal_bytes: u64,
}

impl Store {
    fn new(fresh_records: usize, journal_bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Self { dir, open: None, fresh_records, journal_bytes };
        store.start();
        store
    }

    fn start(&mut self) {
        let index = IndexLimits { fresh_records: self.fresh_records, ..IndexLimits::default() };
        let limits = LogLimits { index, journal_bytes: self.journal_bytes, ..LogLimits::default() };
        let spawner = Spawner::default();
        let opened = Log::open(self.dir.path(), "store", limits, Clock::system(), &spawner);
        self.open = Some(opened.expect("opens"));
    }

    fn log(&self) -> &Log {
        &self.open.as_ref().expect("open").0
    }

    fn close(&mut self) {
        if let Some((log, threads)) = self.open.take() {
            drop(log);
            threads.into_iter().for_each(Thread::join);
        }
    }

    /// Goes on in a copy of the files as they are now.
    fn crash(&mut self) {
        self.log().shared.records.unsettled.rest();
        self.log().shared.index.rest();
        let copy = tempfile::tempdir().expect("a directory");
        for entry in std::fs::read_dir(self.dir.path()).expect("reads") {
            let path = entry.expect("reads").path();
            let name = path.file_name().expect("a name");
            std::fs::copy(&path, copy.path().join(name)).expect("copies");
        }
        self.close();
        self.dir = copy;
        self.start();
    }

    fn append(&self, append: DirectAppend) -> Result<Appended, AppendError> {
        let (send, answer) = std::sync::mpsc::channel();
        self.log().submit(Submission {
            work: Work::Append(Box::new(append)),
            lineages: Vec::new(),
            reply: Box::new(move |answer| send.send(answer).expect("waits")),
        });
        answer.recv().expect("answers")
    }

    fn facts(&self) -> Vec<Fact> {
        let (mut facts, mut decision) = (Vec::new(), 1);
        while let Some(group) = self.log().group(decision).expect("reads") {
            for (_, record) in group.records_from(decision) {
                for event in parse(record).expect("whole").events {
                    let stream = event.stream.map(|name| place(&STREAMS, name));
                    let tag = event.tags.first().map(|tag| place(&TAGS, tag));
                    facts.push(Fact { stream, version: event.stream_version, tag });
                }
            }
            decision = group.last() + 1;
        }
        facts
    }
}

fn place(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).expect("known")
}

fn stream(at: usize) -> StreamId {
    StreamId::parse(STREAMS[at]).expect("valid")
}

fn tagged(at: usize) -> Query {
    let tags = vec![Tag::parse(TAGS[at]).expect("valid")];
    Query { items: vec![QueryItem { tags, ..QueryItem::default() }] }
}

/// The append as the log takes it, and whether the model would.
fn ask(
    model: &Model,
    events: &[(Option<usize>, Option<usize>)],
    expected: Option<(usize, Expected)>,
    condition: Option<(usize, u64)>,
) -> (DirectAppend, bool) {
    let mut is_right = true;
    let expected = expected.map(|(at, expected)| {
        let actual = model.version(at);
        let version = match expected {
            Expected::NoStream => ExpectedVersion::NoStream,
            Expected::Exists => ExpectedVersion::Exists,
            Expected::Off(by) => ExpectedVersion::Exact(actual.saturating_add_signed(by.into())),
        };
        is_right &= version.holds(actual);
        Expectation { stream: stream(at), version }
    });
    let condition = condition.map(|(tag, back)| {
        let after = model.head().saturating_sub(back);
        is_right &= model.first_match(tag, after).is_none();
        // As if nobody had looked yet: the writer has to.
        Condition { query: tagged(tag), after, checked_to: after, text: "[]".into() }
    });
    let event = |tag: &Option<usize>| NewEvent {
        event_type: EventType::parse("Happened").expect("valid"),
        schema_version: 1,
        content_type: JSON.into(),
        data: b"{}".to_vec(),
        tags: tag.iter().map(|at| Tag::parse(TAGS[*at]).expect("valid")).collect(),
        time_ms: None,
        origin: None,
    };
    let events = events.iter().map(|(at, tag)| (event(tag), at.map(stream))).collect();
    let append = DirectAppend {
        events,
        expected: expected.into_iter().collect(),
        condition,
        ..DirectAppend::default()
    };
    (append, is_right)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_log_does_what_the_model_does(
        operations in operations(),
        fresh_records in 1..20usize,
        // From a turn at every append to none.
        journal_bytes in 8192..16384u64,
    ) {
        let mut store = Store::new(fresh_records, journal_bytes);
        let mut model = Model::default();
        for operation in operations {
            match operation {
                Operation::Reopen => {
                    store.close();
                    store.start();
                }
                Operation::Crash => store.crash(),
                Operation::Append { events, expected, condition } => {
                    let (append, is_right) = ask(&model, &events, expected, condition);
                    let answer = store.append(append);
                    prop_assert_eq!(answer.is_ok(), is_right, "{:?}", answer);
                    if is_right {
                        model.push(&events);
                    }
                }
            }
            prop_assert_eq!(store.log().head().position, model.head());
        }
        prop_assert_eq!(store.facts(), model.facts.clone());
        for (at, name) in STREAMS.iter().enumerate() {
            let version = store.log().stream_version(&stream(at)).expect("reads");
            prop_assert_eq!(version.unwrap_or(0), model.version(at), "{}", name);
        }
        for tag in 0..TAGS.len() {
            let (first, _) = store.log().first_match(&tagged(tag), 0).expect("finds");
            prop_assert_eq!(first, model.first_match(tag, 0));
        }
        store.close();
    }
}
