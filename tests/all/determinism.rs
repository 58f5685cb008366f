//! The same history, executed again in another process, on cold and on warm instances: the same
//! bytes and, metered, the same fuel.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use factum::clock::Clock;
use factum::decision::{CommandRecord, Decision, Kind, Outcome, parse};
use factum::event::guest_data;
use factum::runtime::{
    Command, CompileLimits, CompilerProgram, Component, Context, Event, Failure, GateLimits,
    GuestLimits, Instance, Runtime, RuntimeOptions, State,
};
use factum::storage::data_dir::DataDir;
use factum::storage::log::{Log, LogLimits};
use factum::tasks::Spawner;
use serde_json::{Value, json};

use crate::harness::{Client, Server, account, flights};
use crate::projections::fly;

/// A component in both its forms.
struct Both {
    live: Component,
    metered: Component,
}

fn load(runtime: &Runtime, bytes: &[u8]) -> Both {
    let live = runtime.load(bytes).expect("loads");
    Both { live, metered: runtime.load_metered(bytes).expect("loads") }
}

/// Runs commands of both examples, rejections included, each of them metered.
fn make_history(server: &Server) {
    for bytes in [account(), flights()] {
        server.install(bytes);
    }
    for module in ["account", "flights"] {
        let body = json!({"meter_every": 1}).to_string();
        let headers = [("content-type", "application/json")];
        let path = format!("/v1/modules/{module}/limits");
        server.client.send("PUT", &path, &headers, body.as_bytes()).ok();
    }
    let client = &server.client;
    let tell = |id: u64, command: &str, data: Value| {
        let path = format!("/v1/aggregates/account/{id}/commands/{command}");
        client.post(&path, &data).status
    };
    for id in 0..20 {
        assert_eq!(tell(id, "open", json!({"owner": format!("Ann {id}")})), 200);
    }
    for n in 0..200 {
        tell(n % 20, "deposit", json!({"amount": n}));
        tell(n % 7, "withdraw", json!({"amount": n * 3}));
    }
    fly(client, 0, 60);
    wait_for_fuel(client);
    // The first calls came before the metered forms were compiled; these are metered.
    for n in 0..50 {
        tell(n % 20, "deposit", json!({"amount": n}));
        tell(n % 3, "withdraw", json!({"amount": 1_000_000}));
    }
    fly(client, 60, 20);
}

fn wait_for_fuel(client: &Client) {
    for n in 0..600 {
        // A flight that is known would be answered without being decided.
        fly(client, 1_000 + n, 1);
        client.post("/v1/aggregates/account/0/commands/deposit", &json!({"amount": 1})).ok();
        let modules = client.get("/v1/modules").ok().json;
        let modules = modules["modules"].as_array().expect("modules").clone();
        if modules.iter().all(|m| m["fuel"]["commands"].as_object().is_some_and(|c| !c.is_empty()))
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no call was ever metered");
}

#[test]
fn every_example_decides_and_folds_the_same_again_cold_warm_and_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    make_history(&server);
    let fuel = server.client.get("/v1/modules/account").ok().json["fuel"].clone();
    for (kind, name) in [("commands", "deposit"), ("commands", "withdraw"), ("events", "Deposited")]
    {
        let figure = &fuel[kind][name];
        assert!(figure["count"].as_u64() > Some(0), "{fuel}");
        assert!(figure["mean"].as_u64() > Some(1_000), "{fuel}");
    }
    let metrics = server.client.get("/metrics").ok().text;
    let series = "factum_guest_fuel_total{module=\"account\",kind=\"command\",name=\"deposit\"}";
    assert!(metrics.contains(series), "{metrics}");
    server.stop();

    let spawner = Spawner::default();
    let cache = tempfile::tempdir().expect("a directory");
    let options = RuntimeOptions {
        guests: GuestLimits::default(),
        gate: GateLimits::default(),
        compile: CompileLimits::default(),
        compiler: CompilerProgram::InProcess,
        cache: cache.path().to_owned(),
    };
    let runtime = Runtime::new(options, &spawner).expect("starts");
    let components: HashMap<_, _> = [("account", account()), ("flights", flights())]
        .map(|(name, bytes)| (name, load(&runtime, bytes)))
        .into();
    let records = records(dir.path());
    let mut warm: HashMap<&str, Instance> = HashMap::new();
    let (mut states, mut metered): (HashMap<String, State>, usize) = Default::default();
    let mut streams: BTreeMap<String, Vec<&Decision<'_>>> = BTreeMap::new();
    let decisions: Vec<_> = records.iter().map(|record| parse(record).expect("whole")).collect();
    for decision in &decisions {
        let Kind::Command(record) = &decision.kind else { continue };
        let both = &components[record.module.name];
        let before = states.get(record.context.stream);
        assert_eq!(record.saw.state_hash, before.map(State::hash));
        let mut cold = both.live.instantiate("cold").expect("starts");
        let warm = warm
            .entry(record.module.name)
            .or_insert_with(|| both.live.instantiate("warm").expect("starts"));
        let mut counted = both.metered.instantiate("metered").expect("starts");
        let answers =
            [&mut cold, warm, &mut counted].map(|instance| decide(instance, record, before));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let next = as_recorded(decision, record, answers.into_iter().next().expect("one"));
        if let Some(fuel) = record.fuel {
            assert_eq!(counted.fuel(), Some(fuel), "decision {}", decision.header.decision);
            metered += 1;
        }
        if let Some(next) = next {
            states.insert(record.context.stream.to_owned(), next);
            streams.entry(record.context.stream.to_owned()).or_default().push(decision);
        }
    }
    assert!(metered > 100 && streams.len() > 90, "{metered} metered, {} streams", streams.len());
    for (stream, decisions) in &streams {
        let name = if stream.starts_with("account") { "account" } else { "flights" };
        let folded = [1, 3, 1_000].map(|batch| {
            let mut cold = components[name].live.instantiate("cold").expect("starts");
            fold(&mut cold, stream, decisions, batch)
        });
        assert!(folded.iter().all(|state| *state == states[stream]), "{stream}: {folded:?}");
    }
}

fn records(dir: &Path) -> Vec<bytes::Bytes> {
    let data = DataDir::open(dir).expect("is free");
    let spawner = Spawner::default();
    let (log, threads) =
        Log::open(data.path(), data.store_id(), LogLimits::default(), Clock::system(), &spawner)
            .expect("opens");
    let newest = log.head().decision;
    let records = (1..=newest).map(|n| log.record(n).expect("reads").expect("is there")).collect();
    drop(log);
    threads.into_iter().for_each(factum::tasks::Thread::join);
    records
}

fn decide(
    instance: &mut Instance,
    record: &CommandRecord<'_>,
    state: Option<&State>,
) -> Result<factum::runtime::Outcome, Failure> {
    let recorded = &record.context;
    let context = Context {
        stream_id: recorded.stream,
        stream_version: recorded.stream_version,
        now_ms: recorded.now_ms,
        seed: recorded.seed,
        correlation_id: recorded.correlation_id,
        causation_id: recorded.causation_id,
        caller: record.caller,
        extra: recorded.extra,
    };
    let command = Command { id: record.command_id, name: record.command, data: record.data };
    let aggregate = recorded.stream.split('-').next().expect("a category");
    instance.decide(aggregate, state, &[], command, context).expect("answers")
}

/// Compares an answer with what was recorded; answers the state after it.
fn as_recorded(
    decision: &Decision<'_>,
    record: &CommandRecord<'_>,
    answer: Result<factum::runtime::Outcome, Failure>,
) -> Option<State> {
    match (&record.outcome, answer) {
        (Outcome::Committed { next_hash }, Ok(outcome)) => {
            assert_eq!(outcome.next.hash(), *next_hash);
            assert_eq!(outcome.events.len(), decision.events.len());
            for (new, stored) in outcome.events.iter().zip(&decision.events) {
                assert_eq!(new.event_type, stored.event_type);
                assert_eq!(new.data.as_bytes(), stored.data);
                assert_eq!(
                    (&new.tags[..], new.schema_version),
                    (&owned(&stored.tags)[..], stored.schema_version)
                );
            }
            Some(outcome.next)
        }
        (Outcome::Rejected(recorded), Err(Failure::Rejected(rejection))) => {
            assert_eq!((&*rejection.code, &*rejection.message), (recorded.code, recorded.message));
            assert_eq!(rejection.details.as_deref(), recorded.details);
            None
        }
        (recorded, answer) => panic!("{recorded:?}, and again {answer:?}"),
    }
}

fn owned(tags: &[&str]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}

/// Folds the events of some decisions of one stream, so many at a time.
fn fold(instance: &mut Instance, stream: &str, decisions: &[&Decision<'_>], batch: usize) -> State {
    let texts: Vec<_> = decisions
        .iter()
        .flat_map(|decision| &decision.events)
        .map(|event| (event, guest_data(event.content_type, event.data)))
        .collect();
    let events: Vec<_> = texts.iter().map(|(event, data)| Event::of(event, data)).collect();
    let aggregate = stream.split('-').next().expect("a category");
    let mut state = None;
    for events in events.chunks(batch) {
        let folded = instance.evolve(aggregate, state.as_ref(), events).expect("answers");
        state = Some(folded.expect("folds"));
    }
    state.expect("there were events")
}

#[test]
fn read_models_of_every_example_come_out_the_same_in_another_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(flights());
    let mut position = 0;
    // Many small batches, as they come.
    for n in 0..40 {
        position = fly(&server.client, n, 1);
    }
    let before = rows(&server.client, position);
    assert!(before.values().all(|rows| !rows.is_empty()), "{before:?}");
    server.stop();
    std::fs::remove_dir_all(dir.path().join("read_models")).expect("removes");
    // And at once, from the log.
    let server = Server::start(dir.path());
    assert_eq!(rows(&server.client, position), before);
}

/// The text of all rows of all read models.
fn rows(client: &Client, position: u64) -> BTreeMap<String, String> {
    let list = client.get("/v1/read-models").ok().json;
    let models = list["read_models"].as_array().expect("a list").iter();
    models
        .map(|model| {
            let name = model["name"].as_str().or(model.as_str()).expect("a name").to_owned();
            let path = format!("/v1/read-models/{name}?limit=1000&min_position={position}&wait=30");
            let rows = client.get(&path).ok();
            (name, rows.json["rows"].to_string())
        })
        .collect()
}
