use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decision::{ActRecord, CommandRecord, Draft, Header, Outcome, parse, samples};
use crate::event::NewEvent;
use crate::names::{EventType, Name, Tag};
use crate::query::QueryItem;

const TYPES: [&str; 3] = ["Opened", "Deposited", "Closed"];
const TAGS: [&str; 4] = ["red", "green", "blue", "rare"];
const CATEGORIES: [&str; 2] = ["account", "course"];

/// What one generated record holds: a stream, and types and tags of its events.
type Shape = (usize, usize, Vec<(usize, Vec<usize>)>);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let event = (0..TYPES.len(), proptest::collection::vec(0..TAGS.len(), 0..3));
    let record = (0..CATEGORIES.len(), 0..5usize, proptest::collection::vec(event, 0..4));
    proptest::collection::vec(record, 1..80)
}

fn queries() -> impl Strategy<Value = Query> {
    let some = |most: usize, names: usize| proptest::collection::vec(0..names, 0..=most);
    let item = (some(2, TYPES.len()), some(1, CATEGORIES.len()), some(2, TAGS.len()))
        .prop_filter_map("it must leave something out", |(types, categories, tags)| {
            let item = QueryItem {
                types: types
                    .iter()
                    .map(|at| EventType::parse(TYPES[*at]).expect("valid"))
                    .collect(),
                categories: categories
                    .iter()
                    .map(|at| Name::parse(CATEGORIES[*at]).expect("valid"))
                    .collect(),
                tags: tags.iter().map(|at| Tag::parse(TAGS[*at]).expect("valid")).collect(),
            };
            (item != QueryItem::default()).then_some(item)
        });
    proptest::collection::vec(item, 1..3).prop_map(|items| Query { items })
}

/// The records of the shapes, finished, one after the other.
fn records(shapes: &[Shape]) -> Vec<Vec<u8>> {
    let mut versions = std::collections::HashMap::new();
    let (mut head, mut previous_hash) = (0, [0; 32]);
    let mut records = Vec::new();
    for (decision, (category, id, events)) in (1..).zip(shapes) {
        let stream = format!("{}-{id}", CATEGORIES[*category]);
        let version = versions.entry(stream.clone()).or_insert(0u64);
        let events: Vec<_> = events
            .iter()
            .map(|(event_type, tags)| NewEvent {
                tags: tags.iter().map(|at| Tag::parse(TAGS[*at]).expect("valid")).collect(),
                ..samples::event(TYPES[*event_type])
            })
            .collect();
        let id = format!("command-{decision}");
        let committed = Outcome::Committed { next_hash: [0; 32] };
        let id_from_client = decision % 2 == 0;
        let record = samples::command(&stream, *version, &id, committed);
        let record = CommandRecord { id_from_client, ..record };
        let draft = Draft::command(&record, &events);
        let header = Header {
            decision,
            head_before: head,
            recorded_at_ms: decision,
            event_count: draft.event_count(),
            previous_hash,
        };
        let mut bytes = Vec::new();
        previous_hash = draft.finish(&header, &mut bytes);
        head += u64::from(draft.event_count());
        *version += u64::from(draft.event_count());
        records.push(bytes);
    }
    records
}

const GENESIS: Head = Head { position: 0, decision: 0, hash: [0; 32] };

fn open(dir: &Path, limits: IndexLimits) -> (Arc<Index>, std::thread::JoinHandle<()>) {
    let index =
        Arc::new(Index::open(&Disk::default(), dir, GENESIS, limits, |_| true).expect("opens"));
    let flusher = index.flusher();
    #[expect(clippy::disallowed_methods, reason = "a test has no spawner")]
    let thread = std::thread::spawn(move || flusher.run());
    (index, thread)
}

fn apply(index: &Index, records: &[Vec<u8>]) {
    for record in records {
        let decision = parse(record).expect("whole");
        let hash = crate::decision::format::record_hash(record);
        index.apply(std::iter::once((decision, hash)));
    }
}

/// The positions that a query matches, found by looking at every event.
fn scanned(records: &[Vec<u8>], query: &Query, (from, until): (u64, u64)) -> Vec<u64> {
    let decisions = records.iter().map(|record| parse(record).expect("whole"));
    let events: Vec<_> = decisions.flat_map(|decision| decision.events).collect();
    let mut positions: Vec<_> = events
        .iter()
        .filter(|event| query.matches(event))
        .map(|event| event.position)
        .filter(|position| (from.min(until)..=from.max(until)).contains(position))
        .collect();
    if from > until {
        positions.reverse();
    }
    positions
}

/// Searches on where a search ran out of steps, until it does not.
fn find(index: &Index, query: &Query, (mut from, until): (u64, u64), limit: usize) -> Vec<u64> {
    let mut positions = Vec::new();
    for _ in 0..10_000 {
        let found = index.find(query, (from, until), limit - positions.len()).expect("finds");
        positions.extend(found.hits.iter().map(|hit| hit.0));
        match found.stopped_at {
            None => return positions,
            Some(at) => from = at,
        }
    }
    panic!("a search does not get on");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        shapes in shapes(),
        query in queries(),
        range in (1..200u64, 1..200u64),
        limit in 1..20usize,
        fresh_records in 1..30usize,
        search_leaps in prop_oneof![1..30u64, Just(100_000)],
    ) {
        let records = records(&shapes);
        let dir = tempfile::tempdir().expect("a directory");
        let limits = IndexLimits { fresh_records, search_leaps, ..IndexLimits::default() };
        let (index, thread) = open(dir.path(), limits);
        let (first, second) = records.split_at(records.len() / 2);
        apply(&index, first);
        // Closed and opened in the middle: what was flushed and what is fresh must fit together.
        index.close();
        thread.join().expect("ends");
        drop(index);
        let (index, thread) = open(dir.path(), limits);
        prop_assert_eq!(usize::try_from(index.through().decision), Ok(first.len()));
        apply(&index, second);

        let positions = find(&index, &query, range, limit);
        let mut expected = scanned(&records, &query, range);
        expected.truncate(limit);
        prop_assert_eq!(positions, expected);

        for (decision, record) in (1u64..).zip(&records) {
            let id = format!("command-{decision}");
            let expected = (decision % 2 == 0).then_some(decision);
            prop_assert_eq!(index.command(None, &id).expect("reads"), expected);
            let decision = parse(record).expect("whole");
            let Some(event) = decision.events.last() else { continue };
            let stream = event.stream.expect("a stream");
            let version = event.stream_version;
            for direction in [Direction::Forward, Direction::Backward] {
                let from = if direction == Direction::Forward { version - 1 } else { version + 1 };
                let found = index.records(stream, from, direction, 1).expect("reads");
                prop_assert_eq!(found, [decision.header.decision]);
            }
        }
        let mut streams: Vec<_> = records
            .iter()
            .flat_map(|r| parse(r).expect("whole").events.iter().map(|e| (e.stream.unwrap_or_default().to_owned(), e.stream_version)).collect::<Vec<_>>())
            .collect();
        streams.sort();
        let newest: std::collections::BTreeMap<_, _> = streams.into_iter().collect();
        let newest: Vec<_> = newest.into_iter().collect();
        prop_assert_eq!(&index.streams("", None, 100).expect("reads"), &newest);
        if let Some((first, _)) = newest.first() {
            let rest: Vec<_> = newest.iter().skip(1).take(2).cloned().collect();
            prop_assert_eq!(index.streams("", Some(first), 2).expect("reads"), rest);
        }
        index.close();
        thread.join().expect("ends");
    }
}

#[test]
fn command_ids_are_forgotten_by_number() {
    let shapes: Vec<Shape> = (0..100).map(|n| (0, n % 5, vec![(0, vec![])])).collect();
    let records = records(&shapes);
    let dir = tempfile::tempdir().expect("a directory");
    let limits = IndexLimits { fresh_records: 10, idempotency_ids: 20, ..IndexLimits::default() };
    let (index, thread) = open(dir.path(), limits);
    apply(&index, &records);
    index.close();
    thread.join().expect("ends");
    assert_eq!(index.command(None, "command-100"), Ok(Some(100)));
    assert_eq!(index.command(None, "command-62"), Ok(Some(62)));
    assert_eq!(index.command(None, "command-60"), Ok(None));
}

#[test]
fn the_newest_act_holds_fresh_and_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = IndexLimits { fresh_records: 2, ..IndexLimits::default() };
    let act = |decision: u64, subject: &str| {
        let record = ActRecord { act: "module_limits", subject, value: "{}", caller: None };
        let header = Header {
            decision,
            head_before: 0,
            recorded_at_ms: 0,
            event_count: 0,
            previous_hash: [0; 32],
        };
        let mut bytes = Vec::new();
        Draft::act(&record).finish(&header, &mut bytes);
        bytes
    };
    let (index, thread) = open(dir.path(), limits);
    apply(&index, &[act(1, "a"), act(2, "b"), act(3, "a")]);
    let found = |index: &Index| ["a", "b", "c"].map(|subject| index.act("module_limits", subject));
    let expected = [Ok(Some(3)), Ok(Some(2)), Ok(None)];
    assert_eq!(found(&index), expected);
    index.close();
    thread.join().expect("ends");
    drop(index);
    let (index, thread) = open(dir.path(), limits);
    assert_eq!(found(&index), expected);
    assert_eq!(index.act("other", "a"), Ok(None));
    index.close();
    thread.join().expect("ends");
}
