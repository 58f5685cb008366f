//! The five pains of read models, one test each: on a server that takes commands all the time and
//! is killed in the middle.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::exact::{fold_of, rows};
use super::operated::wait_for;
use super::{append, count_to};
use crate::harness::{Client, Server, account, counting};

/// Deposits that never cease, each made once whatever happens to the server.
struct Deposits {
    /// The server that runs, and how many ran before.
    current: Arc<Mutex<(u32, Client)>>,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
}

impl Deposits {
    fn begin(server: &Server) -> Self {
        server.install(account());
        let open = "/v1/aggregates/account/1/commands/open";
        server.client.post(open, &json!({"owner": "Ann"})).ok();
        let current = Arc::new(Mutex::new((0, server.client.clone())));
        let stop = Arc::new(AtomicBool::new(false));
        let (clients, stopped) = (Arc::clone(&current), Arc::clone(&stop));
        let writer = std::thread::spawn(move || {
            let (mut made, mut is_open) = (0u64, false);
            // One without an answer may have been made: it is asked for until there is one.
            while is_open || !stopped.load(Ordering::Relaxed) {
                let (_, client) = clients.lock().expect("whole").clone();
                let key = made.to_string();
                let path = "/v1/aggregates/account/1/commands/deposit";
                let answer =
                    client.try_post(path, &json!({"amount": 1}), &[("idempotency-key", &key)]);
                is_open = answer.is_err();
                match answer {
                    Ok(answer) => {
                        answer.ok();
                        made += 1;
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            made
        });
        Self { current, stop, writer }
    }

    /// Kills the server and starts it again; they go on there.
    fn through_a_kill(&self, dir: &Path, server: Server) -> Server {
        std::thread::sleep(Duration::from_millis(50));
        server.kill();
        let server = Server::start(dir);
        let mut current = self.current.lock().expect("whole");
        *current = (current.0 + 1, server.client.clone());
        drop(current);
        server
    }

    /// Each was made once.
    fn end(self, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        let made = self.writer.join().expect("every command was taken");
        let state = client.get("/v1/aggregates/account/1").ok().json;
        assert_eq!(state["state"]["balance"], made);
        assert!(made > 10, "only {made} commands: the test proves little");
    }
}

fn operate(client: &Client, act: &str) -> Value {
    client.send("POST", &format!("/v1/projections/counts/{act}"), &[], b"").ok().json
}

/// The counts, once they have everything, and what they must be.
fn assert_exact(client: &Client) {
    let events: Vec<_> =
        client.all_events().into_iter().filter(|event| event["type"] == "Counted").collect();
    let is_poison = |event: &Value| event["data"]["poison"] == true;
    let expected: BTreeMap<_, _> =
        fold_of(&events.iter().filter(|event| !is_poison(event)).cloned().collect::<Vec<_>>());
    let last = events.last().expect("some")["position"].clone();
    assert_eq!(rows(client, &format!("min_position={last}&wait=30")), expected);
}

fn counted(client: &Client) -> u64 {
    append(client, &[("Counted", "000", json!({}))])
}

fn poison(client: &Client) -> u64 {
    append(client, &[("Counted", "000", json!({"poison": true}))])
}

#[test]
fn pain_1_a_rebuild_that_takes_long_goes_on_by_itself_and_says_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path());
    server.install(counting());
    let deposits = Deposits::begin(&server);
    for _ in 0..10 {
        count_to(&server.client, &[50; 40]);
    }
    operate(&server.client, "rebuild?swap=manual");
    for _ in 0..4 {
        server = deposits.through_a_kill(dir.path(), server);
        let status = server.client.get("/v1/projections/counts").ok().json;
        let build = status["build"].as_object().expect("it is still being built");
        for field in ["position", "lag_events", "events_per_second", "remaining_seconds"] {
            assert!(build.contains_key(field), "{field}: {status}");
        }
    }
    wait_for(&server.client, "counts", |status| status["build"]["state"] == "live");
    operate(&server.client, "swap");
    server = deposits.through_a_kill(dir.path(), server);
    wait_for(&server.client, "counts", |status| status["build"].is_null());
    assert_exact(&server.client);
    deposits.end(&server.client);
}

#[test]
fn pain_2_a_rebuild_does_not_take_reads_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(counting());
    let position = count_to(&server.client, &[50; 40]);
    server.client.get(&format!("/v1/read-models/counts/007?min_position={position}")).ok();
    // An end that is no kill makes it durable at once.
    server.stop();
    let server = Server::start(dir.path());
    let deposits = Deposits::begin(&server);
    let stop = AtomicBool::new(false);
    let server = std::thread::scope(|scope| {
        let mut server = server;
        let reader = scope.spawn(|| {
            let (mut newest, mut of, mut reads) = (0, 0, 0u64);
            while !stop.load(Ordering::Relaxed) {
                let (server, client) = deposits.current.lock().expect("whole").clone();
                // A server that was killed answers nothing; one that answers has the document.
                let Ok(answer) = client.try_get("/v1/read-models/counts/007") else { continue };
                let answer = answer.ok();
                let position = answer.header("factum-position").expect("is there").parse();
                let position: u64 = position.expect("a number");
                assert!(position >= newest || of != server, "{position} after {newest}");
                (newest, of, reads) = (position, server, reads + 1);
                std::thread::sleep(Duration::from_millis(1));
            }
            reads
        });
        for _ in 0..3 {
            operate(&server.client, "rebuild");
            counted(&server.client);
            server = deposits.through_a_kill(dir.path(), server);
            wait_for(&server.client, "counts", |status| status["build"].is_null());
            operate(&server.client, "rebuild");
            wait_for(&server.client, "counts", |status| status["build"].is_null());
        }
        stop.store(true, Ordering::Relaxed);
        let reads = reader.join().expect("no read failed or went back");
        assert!(reads > 50, "only {reads} reads: the test proves little");
        server
    });
    assert_exact(&server.client);
    deposits.end(&server.client);
}

#[test]
fn pain_3_one_poisoned_event_stops_nothing_but_its_projection_until_it_is_skipped_for_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path());
    server.install(counting());
    let deposits = Deposits::begin(&server);
    count_to(&server.client, &[3; 10]);
    let position = poison(&server.client);
    let failed = |status: &Value| status["error"]["position"] == position;
    wait_for(&server.client, "counts", failed);
    server = deposits.through_a_kill(dir.path(), server);
    wait_for(&server.client, "counts", failed);
    let named = append(&server.client, &[("Named", "n", json!({"name": "x"}))]);
    server.client.get(&format!("/v1/read-models/names/n?min_position={named}")).ok();
    let skip = json!({"position": position, "reason": "a test made it"});
    server.client.post("/v1/projections/counts/skip", &skip).ok();
    counted(&server.client);
    server = deposits.through_a_kill(dir.path(), server);
    assert_exact(&server.client);
    operate(&server.client, "rebuild");
    server = deposits.through_a_kill(dir.path(), server);
    let status = wait_for(&server.client, "counts", |status| status["build"].is_null());
    assert_eq!(status["left_out"][0]["reason"], "a test made it");
    assert_exact(&server.client);
    deposits.end(&server.client);
}

#[test]
fn pain_4_a_projection_that_does_not_move_says_so_wherever_one_looks() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path());
    server.install(counting());
    let deposits = Deposits::begin(&server);
    counted(&server.client);
    poison(&server.client);
    for _ in 0..2 {
        let client = &server.client;
        let status = wait_for(client, "counts", |status| status["stalled"] == true);
        assert_eq!(status["state"], "failed");
        assert!(status["lag_events"].as_u64().is_some_and(|lag| lag > 0), "{status}");
        let ready = client.get("/readyz?verbose").ok().json;
        assert_eq!(ready["projections"][0]["projection"], "counts");
        let series = "{projection=\"counts\",module=\"counting\",generation=\"answers\"} 1";
        let metrics = client.get("/metrics").ok().text;
        assert!(metrics.contains(&format!("factum_projection_stalled{series}")), "{metrics}");
        server = deposits.through_a_kill(dir.path(), server);
    }
    deposits.end(&server.client);
}

#[test]
fn pain_5_a_stale_answer_says_how_old_it_is_and_is_refused_where_that_is_too_old() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path());
    server.install(counting());
    let deposits = Deposits::begin(&server);
    let before = counted(&server.client);
    server.client.get(&format!("/v1/read-models/counts/000?min_position={before}")).ok();
    operate(&server.client, "pause");
    wait_for(&server.client, "counts", |status| status["state"] == "paused");
    let after = counted(&server.client);
    server = deposits.through_a_kill(dir.path(), server);
    let client = &server.client;
    let paused = wait_for(client, "counts", |status| status["state"] == "paused");
    assert!(paused["lag_seconds"].as_f64().is_some_and(|lag| lag > 0.0), "{paused}");
    let stale = client.get("/v1/read-models/counts/000").ok();
    let position: u64 = stale.header("factum-position").expect("is there").parse().expect("one");
    assert!((before..after).contains(&position), "{position}");
    let refused = client.get(&format!("/v1/read-models/counts/000?min_position={after}&wait=0"));
    assert_eq!(refused.json["required"], after);
    refused.problem(503, "read_model_behind");
    operate(client, "resume");
    assert_exact(client);
    deposits.end(client);
}
