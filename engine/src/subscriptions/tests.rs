use super::*;
use crate::clock::Clock;
use crate::decision::samples;
use crate::event::NewEvent;
use crate::names::{EventType, Tag};
use crate::query::QueryItem;
use crate::storage::log::{DirectAppend, LogLimits, Submission, Work};
use crate::tasks::Spawner;

const STREAMS: [Option<&str>; 3] = [Some("a-1"), Some("b-1"), None];

/// A log whose event at position `p` is of the stream `p % 3`, and of type `Rare` where 7 divides
/// `p`.
struct Sample {
    subscriptions: Subscriptions,
    _dir: tempfile::TempDir,
}

impl Sample {
    fn new(limits: SubscriptionLimits) -> Self {
        Self::over(limits, LogLimits::default())
    }

    fn over(limits: SubscriptionLimits, log: LogLimits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let spawner = Spawner::default();
        let (log, _threads) =
            Log::open(dir.path(), "store", log, Clock::system(), &spawner).expect("opens");
        let sample = Self { subscriptions: Subscriptions::new(log, limits), _dir: dir };
        [1, 5, 2, 9, 1, 1, 12, 3].into_iter().for_each(|events| sample.append(events));
        sample
    }

    /// One record.
    fn append(&self, events: u64) {
        let head = self.subscriptions.log.head().position;
        let event = |position: u64| {
            let rare = position.is_multiple_of(7);
            let tags = vec![Tag::parse("all").expect("valid")];
            let event = NewEvent { tags, ..samples::event(if rare { "Rare" } else { "Common" }) };
            (event, stream_of(position).map(|text| StreamId::parse(text).expect("valid")))
        };
        let events = (head + 1..=head + events).map(event).collect();
        let (send, answer) = std::sync::mpsc::channel();
        self.subscriptions.log.submit(Submission {
            work: Work::Append(Box::new(DirectAppend { events, ..DirectAppend::default() })),
            lineages: Vec::new(),
            reply: Box::new(move |answer| send.send(answer).expect("waits")),
        });
        answer.recv().expect("answers").expect("appends");
    }

    fn follow(&self, source: Source, after: u64, live: bool) -> Subscription {
        self.subscriptions.follow(Wanted { source, after, live, most: None })
    }
}

fn stream_of(position: u64) -> Option<&'static str> {
    usize::try_from(position % 3).ok().and_then(|at| STREAMS[at])
}

fn of_type(name: &str) -> Source {
    let types = vec![EventType::parse(name).expect("valid")];
    Source::Log(Query { items: vec![QueryItem { types, ..QueryItem::default() }] })
}

fn of_stream(version: u64) -> Source {
    Source::Stream { stream: StreamId::parse("a-1").expect("valid"), version }
}

fn positions(into: &mut Vec<u64>, _: &Decision<'_>, event: &RecordedEvent<'_>) {
    into.push(event.position);
}

/// Everything up to the head, and into how many batches it fell.
async fn drain(mut subscription: Subscription) -> (Subscription, Vec<u64>, usize) {
    let (mut all, mut batches) = (Vec::new(), 0);
    while !subscription.is_caught_up() {
        (subscription, all) = subscription.read(all, positions).await.expect("reads");
        batches += 1;
        assert!(batches < 1_000, "it does not come to an end");
    }
    (subscription, all, batches)
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_however_small_the_batches() {
    let one = SubscriptionLimits { batch_events: 1, ..SubscriptionLimits::default() };
    let few =
        SubscriptionLimits { scan_events: 3, near_records: 0, ..SubscriptionLimits::default() };
    let small = SubscriptionLimits { batch_bytes: 5, ..SubscriptionLimits::default() };
    for limits in [SubscriptionLimits::default(), one, few, small] {
        let sample = Sample::new(limits);
        for after in 0..=34 {
            let wanted = |is_wanted: fn(&u64) -> bool| (after + 1..=34).filter(is_wanted);
            let everything = Source::Log(Query::default());
            let (_, all, _) = drain(sample.follow(everything, after, true)).await;
            assert!(all.into_iter().eq(wanted(|_| true)), "after {after}: {limits:?}");
            let (_, rare, _) = drain(sample.follow(of_type("Rare"), after, false)).await;
            assert!(rare.into_iter().eq(wanted(|p| p % 7 == 0)), "after {after}: {limits:?}");
            // Its version 3 is at position 9.
            let (_, stream, _) = drain(sample.follow(of_stream(3), after, true)).await;
            let of_it = wanted(|p| *p > 9 && p % 3 == 0);
            assert!(stream.into_iter().eq(of_it), "after {after}: {limits:?}");
        }
    }
    let (_, _, batches) =
        drain(Sample::new(one).follow(Source::Log(Query::default()), 0, true)).await;
    assert_eq!(batches, 34);
}

#[tokio::test]
async fn what_comes_later_is_for_those_who_follow_live() {
    let sample = Sample::new(SubscriptionLimits::default());
    let (live, ended) =
        (sample.follow(of_type("Rare"), 0, true), sample.follow(of_stream(0), 0, false));
    sample.append(8);
    let (live, rare, _) = drain(live).await;
    assert_eq!(rare, [7, 14, 21, 28, 35, 42]);
    assert_eq!((live.position(), live.is_over()), (42, false));
    let (ended, stream, _) = drain(ended).await;
    assert_eq!((stream.last(), ended.is_over()), (Some(&33), true));
    let wanted = Wanted { source: of_type("Rare"), after: 8, live: true, most: Some(2) };
    let (limited, two) =
        sample.subscriptions.follow(wanted).read(Vec::new(), positions).await.expect("reads");
    assert_eq!((two, limited.is_over()), (vec![14, 21], true));
}

#[tokio::test]
async fn the_relay_wakes_those_who_wait_and_closing_ends_them() {
    let sample = Sample::new(SubscriptionLimits::default());
    let (mut subscription, _, _) = drain(sample.follow(of_type("Rare"), 0, true)).await;
    assert_eq!(sample.subscriptions.followers(), 1);
    let woken = async {
        subscription.changed().await;
        let (mut subscription, rare) =
            subscription.read(Vec::new(), positions).await.expect("reads");
        assert_eq!((rare, subscription.position()), (vec![35], 35));
        sample.subscriptions.close();
        subscription.changed().await;
        assert!(subscription.is_closed());
    };
    let append = async {
        sample.append(1);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = woken => {}
        () = append => {}
        () = sample.subscriptions.relay() => {}
    }
    assert_eq!(sample.subscriptions.followers(), 0);
}

#[tokio::test]
async fn a_search_that_runs_out_of_steps_goes_on_where_it_stopped() {
    for search_leaps in 0..9 {
        let mut log = LogLimits::default();
        log.index.search_leaps = search_leaps;
        let sample = Sample::over(SubscriptionLimits::default(), log);
        let names = |name| vec![EventType::parse(name).expect("valid")];
        let tags = vec![Tag::parse("all").expect("valid")];
        let item = QueryItem { types: names("Rare"), tags, ..QueryItem::default() };
        let never = QueryItem { types: names("Never"), ..QueryItem::default() };
        let source = Source::Log(Query { items: vec![item, never] });
        let (_, rare, _) = drain(sample.follow(source, 0, true)).await;
        assert_eq!(rare, [7, 14, 21, 28], "{search_leaps} leaps");
    }
}
