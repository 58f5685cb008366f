use super::*;
use crate::clock::Clock;
use crate::decision::{ActivationRecord, CommandRecord, Draft, Outcome, Rejection, samples};
use crate::names::Name;
use crate::names::{EventType, StreamId};
use crate::query::{Query, QueryItem};
use crate::storage::log::{IndexLimits, LogLimits, Submission, Work};
use crate::tasks::Spawner;

/// A log with streams `a-1` (versions 1 to 5) and `b-1` (1 to 3), rejections and an activation.
///
/// Positions: a1 a2 | b1 | (rejection) | a3 | b2 b3 | (activation) | a4 a5 | (rejection)
struct Sample {
    log: Log,
    _dir: tempfile::TempDir,
}

impl Sample {
    fn new() -> Self {
        Self::with_steps(100_000)
    }

    /// A sample in which one search takes so many steps at most.
    fn with_steps(search_leaps: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let spawner = Spawner::default();
        let index = IndexLimits { search_leaps, ..IndexLimits::default() };
        let limits = LogLimits { index, ..LogLimits::default() };
        let (log, _writer) =
            Log::open(dir.path(), "store", limits, Clock::system(), &spawner).expect("opens");
        let sample = Self { log, _dir: dir };
        sample.append(command("a-1", 0, 2));
        sample.append(command("b-1", 0, 1));
        sample.append(command("a-1", 2, 0));
        sample.append(command("a-1", 2, 1));
        sample.append(command("b-1", 1, 2));
        let record = ActivationRecord { module: "m", version: None, caller: None };
        sample.append(Draft::activation(&record));
        sample.append(command("a-1", 3, 2));
        sample.append(command("a-1", 5, 0));
        sample
    }

    fn append(&self, draft: Draft) {
        let (send, answer) = std::sync::mpsc::channel();
        self.log.submit(Submission {
            work: Work::Record { draft, expected: None },
            lineages: Vec::new(),
            reply: Box::new(move |answer| send.send(answer).expect("waits")),
        });
        answer.recv().expect("answers").expect("appends");
    }

    fn log_page(&self, filter: &Query, span: Span, limits: PageLimits) -> (Vec<u64>, PageEnd) {
        let mut seen = Vec::new();
        let end = log_page(&self.log, filter, &span, limits, |_, event| seen.push(event.position));
        (seen, end.expect("reads"))
    }

    fn stream_page(&self, span: Span, limits: PageLimits) -> (Vec<u64>, StreamPageEnd) {
        let mut seen = Vec::new();
        let stream = StreamId::parse("a-1").expect("valid");
        let take = |_: &Decision<'_>, event: &RecordedEvent<'_>| seen.push(event.stream_version);
        let end = stream_page(&self.log, &stream, &span, limits, take).expect("reads");
        (seen, end.expect("the stream exists"))
    }
}

fn command(stream: &str, version: u64, events: usize) -> Draft {
    let outcome = match events {
        0 => Outcome::Rejected(Rejection { code: "no", message: "no", details: None }),
        _ => Outcome::Committed { next_hash: [0; 32] },
    };
    let record = samples::command(stream, version, "c", outcome);
    let record = CommandRecord { id_from_client: false, ..record };
    Draft::command(&record, &vec![samples::event("Happened"); events])
}

const ALL: PageLimits = PageLimits { events: 100, bytes: 1 << 20, scan: 1_000 };

fn span(after: u64, before: Option<u64>, direction: Direction) -> Span {
    Span { after, before, direction }
}

/// Reads page by page until there is no next one.
fn follow(direction: Direction, mut page: impl FnMut(Span) -> (Vec<u64>, Option<u64>)) -> Vec<u64> {
    let mut at = span(0, None, direction);
    let mut all = Vec::new();
    for _ in 0..100 {
        let (seen, next) = page(at);
        all.extend(seen);
        match (next, direction) {
            (None, _) => return all,
            (Some(next), Direction::Forward) => at.after = next,
            (Some(next), Direction::Backward) => at.before = Some(next),
        }
    }
    panic!("the pages do not end");
}

#[test]
fn pages_of_any_size_follow_each_other_without_gap_or_repetition() {
    let sample = Sample::new();
    let everything = Query::default();
    for events in 1..=9 {
        for direction in [Direction::Forward, Direction::Backward] {
            let limits = PageLimits { events, ..ALL };
            let mut of_log = follow(direction, |span| {
                let (seen, end) = sample.log_page(&everything, span, limits);
                (seen, end.next)
            });
            let mut of_stream = follow(direction, |span| {
                let (seen, end) = sample.stream_page(span, limits);
                (seen, end.next)
            });
            if direction == Direction::Backward {
                of_log.reverse();
                of_stream.reverse();
            }
            assert_eq!(of_log, [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(of_stream, [1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn bounds_are_exclusive() {
    let sample = Sample::new();
    let everything = Query::default();
    for (after, before, expected) in [
        (2, Some(5), &[3, 4][..]),
        (7, None, &[8]),
        (8, None, &[]),
        (u64::MAX, None, &[]),
        (0, Some(0), &[]),
        (0, Some(1), &[]),
        (5, Some(4), &[]),
        (6, Some(u64::MAX), &[7, 8]),
    ] {
        let forward = sample.log_page(&everything, span(after, before, Direction::Forward), ALL);
        let backward = sample.log_page(&everything, span(after, before, Direction::Backward), ALL);
        assert_eq!(forward.0, expected);
        assert!(backward.0.iter().rev().eq(expected), "{backward:?}");
    }
    let (seen, end) = sample.stream_page(span(1, Some(5), Direction::Backward), ALL);
    assert_eq!((seen, end.version, end.next), (vec![4, 3, 2], 5, None));
    assert_eq!(sample.stream_page(span(9, None, Direction::Forward), ALL).0, [0; 0]);
}

/// Events of category `b`; each takes two steps to find.
fn of_b() -> Query {
    let item = QueryItem {
        types: vec![EventType::parse("Happened").expect("valid")],
        categories: vec![Name::parse("b").expect("valid")],
        ..QueryItem::default()
    };
    Query { items: vec![item] }
}

#[test]
fn a_search_that_runs_out_of_steps_goes_on_where_it_stopped() {
    let sample = Sample::with_steps(2);
    let (seen, end) = sample.log_page(&of_b(), span(0, None, Direction::Forward), ALL);
    assert_eq!((seen, end), (vec![], PageEnd { head: 2, next: Some(2) }));
    let (seen, end) = sample.log_page(&of_b(), span(0, None, Direction::Backward), ALL);
    assert_eq!((seen, end), (vec![], PageEnd { head: 8, next: Some(7) }));
}

#[test]
fn what_the_index_names_comes_page_by_page_however_few_steps_there_are() {
    // The second item finds the same events: none may come twice, wherever a page stops.
    let mut query = of_b();
    let categories = vec![Name::parse("b").expect("valid")];
    query.items.push(QueryItem { categories, ..QueryItem::default() });
    for steps in 3..12 {
        let sample = Sample::with_steps(steps);
        for events in 1..4 {
            let limits = PageLimits { events, ..ALL };
            for direction in [Direction::Forward, Direction::Backward] {
                let mut found = follow(direction, |span| {
                    let (seen, end) = sample.log_page(&query, span, limits);
                    (seen, end.next)
                });
                if direction == Direction::Backward {
                    found.reverse();
                }
                assert_eq!(found, [3, 5, 6], "{steps} steps, {events} events");
            }
        }
    }
}

#[test]
fn records_are_found_by_what_they_are_about() {
    let sample = Sample::new();
    let find = |filter: DecisionFilter| {
        let mut seen = Vec::new();
        let take = |_: &Bytes, decision: &Decision<'_>| seen.push(decision.header.decision);
        let end = decision_page(&sample.log, &filter, 0, ALL, take).expect("reads");
        assert_eq!((end.head, end.next), (8, None));
        seen
    };
    let all = DecisionFilter::default;
    let of = |kind| DecisionFilter { kind: Some(kind), ..all() };
    let with = |outcome| DecisionFilter { outcome: Some(outcome), ..all() };
    assert_eq!(find(all()), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(find(of(DecisionKind::Activation)), [6]);
    assert_eq!(find(of(DecisionKind::Append)), [0; 0]);
    assert_eq!(find(with(DecisionOutcome::Rejected)), [3, 8]);
    assert_eq!(find(with(DecisionOutcome::Committed)), [1, 2, 4, 5, 7]);
    let aggregate = Some(Name::parse("b").expect("valid"));
    assert_eq!(find(DecisionFilter { aggregate, ..all() }), [2, 5]);

    let nothing = of(DecisionKind::Append);
    let limits = PageLimits { scan: 3, ..ALL };
    let end = decision_page(&sample.log, &nothing, 2, limits, |_, _| ()).expect("reads");
    assert_eq!((end.head, end.next), (5, Some(5)));
}

#[test]
fn streams_are_listed_with_their_times() {
    let sample = Sample::new();
    let after = StreamId::parse("a-1").expect("valid");
    let list = |prefix, after, limit| streams(&sample.log, prefix, after, limit).expect("reads");
    let names = |list: &[StreamSummary]| {
        list.iter().map(|s| (s.stream.clone(), s.version)).collect::<Vec<_>>()
    };
    let (all, more) = list("", None, 10);
    assert_eq!((names(&all), more), (vec![("a-1".into(), 5), ("b-1".into(), 3)], false));
    assert!(all.iter().all(|s| Some(0) < s.first_at_ms && s.first_at_ms <= s.last_at_ms));
    assert_eq!((list("", None, 1).1, list("a", None, 1).1), (true, false));
    assert_eq!(names(&list("", Some(&after), 10).0), [("b-1".into(), 3)]);
}

#[test]
fn the_head_is_the_newest_position_considered() {
    let sample = Sample::new();
    let everything = Query::default();
    let head = |after, before, direction, events| {
        let limits = PageLimits { events, ..ALL };
        sample.log_page(&everything, span(after, before, direction), limits).1.head
    };
    assert_eq!(head(0, None, Direction::Forward, 3), 3);
    assert_eq!(head(0, None, Direction::Forward, 100), 8);
    assert_eq!(head(8, None, Direction::Forward, 100), 8);
    assert_eq!(head(0, Some(6), Direction::Backward, 1), 5);
    assert_eq!(head(0, None, Direction::Backward, 1), 8);
}

#[test]
fn a_page_ends_with_its_bytes() {
    let sample = Sample::new();
    let limits = PageLimits { bytes: 3, ..ALL };
    let (seen, end) = sample.stream_page(span(0, None, Direction::Forward), limits);
    assert_eq!((seen, end.next, end.head), (vec![1, 2], Some(2), 2));
}

#[test]
fn the_record_of_a_position_holds_it() {
    let sample = Sample::new();
    for position in 1..=8 {
        let record = record_at(&sample.log, position).expect("reads").expect("is there");
        let decision = parse(&record).expect("sound");
        assert!(decision.events.iter().any(|event| event.position == position));
    }
    for position in [0, 9, u64::MAX] {
        assert_eq!(record_at(&sample.log, position), Ok(None));
    }
}
