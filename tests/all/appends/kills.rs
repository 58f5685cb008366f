//! SIGKILL while batches are appended: each is there whole or not at all, and once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{EVENTS, append_with};
use crate::harness::{Client, Random, Server, rounds, under_kills};

const WRITERS: u64 = 4;

/// One client with a stream and a tag of its own.
struct Writer {
    number: u64,
    /// Its next batch.
    batch: Batch,
    /// The version of its stream.
    version: u64,
    /// The position of its newest event.
    position: u64,
    /// Position of the last event, by key, of what was acknowledged.
    acknowledged: BTreeMap<String, Value>,
    /// Keys of what was refused.
    refused: Vec<String>,
}

struct Batch {
    number: u64,
    body: Value,
    /// Events that go to the writer's own stream.
    to_stream: u64,
    /// Whether its precondition is wrong on purpose.
    is_wrong: bool,
}

impl Writer {
    fn new(number: u64, random: &Random) -> Self {
        let batch = Batch { number: 0, body: Value::Null, to_stream: 0, is_wrong: false };
        let (acknowledged, refused) = (BTreeMap::new(), Vec::new());
        let mut new = Self { number, batch, version: 0, position: 0, acknowledged, refused };
        new.prepare(random);
        new
    }

    fn key(&self) -> String {
        format!("{}-{}", self.number, self.batch.number)
    }

    fn tag(&self) -> String {
        format!("writer:{}", self.number)
    }

    /// Makes up the next batch: of random size, over its own stream, one of all, and none, under
    /// one precondition or another.
    fn prepare(&mut self, random: &Random) {
        let size = 1 + random.below(20);
        let own = format!("load-{}", self.number);
        let number = self.batch.number + 1;
        let mut to_stream = 0;
        let events: Vec<_> = (0..size)
            .map(|index| {
                let stream = match random.below(4) {
                    0 => json!("load-shared"),
                    1 => Value::Null,
                    _ => {
                        to_stream += 1;
                        json!(own)
                    }
                };
                let data = json!({"index": index, "of": size});
                json!({"type": "Loaded", "data": data, "stream": stream, "tags": [self.tag()]})
            })
            .collect();
        let is_wrong = self.position > 0 && random.below(5) == 0;
        let off = u64::from(is_wrong);
        let expected = json!([{"stream": own, "version": self.version + off}]);
        let query = json!([{"types": ["Loaded"], "tags": [self.tag()]}]);
        let condition = json!({"query": query, "after": self.position - off});
        let body = match random.below(4) {
            0 => json!({"events": events, "expected": expected}),
            1 => json!({"events": events, "condition": condition}),
            2 => json!({"events": events, "expected": expected, "condition": condition}),
            _ if is_wrong => json!({"events": events, "expected": expected}),
            _ => json!({"events": events}),
        };
        self.batch = Batch { number, body, to_stream, is_wrong };
    }

    /// Appends the batch; false when the server is gone.
    fn send(&mut self, client: &Client, random: &Random) -> bool {
        let key = self.key();
        let headers = [("idempotency-key", key.as_str())];
        let Ok(answer) = client.try_post(EVENTS, &self.batch.body, &headers) else { return false };
        if self.batch.is_wrong {
            assert_eq!(answer.status, 412, "{answer:?} to {}", self.batch.body);
            self.refused.push(key);
        } else {
            let answer = answer.ok().json;
            self.position = answer["position"].as_u64().expect("a position");
            self.version += self.batch.to_stream;
            self.acknowledged.insert(key, answer);
        }
        self.prepare(random);
        true
    }
}

#[test]
fn batches_are_whole_and_once_through_thirty_kills() {
    let random = Random::from_time();
    let dir = tempfile::tempdir().expect("a directory");
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, &random)).collect();
    let server = Server::start(dir.path());
    let server = under_kills(
        (dir.path(), server),
        (rounds(30, 1_000), &random),
        &mut writers,
        |client, writer, stop| {
            while !stop.load(Ordering::Relaxed) && writer.send(client, &random) {}
        },
        |client, writers| {
            check(client, writers);
            // A batch without an answer was appended or not; its key settles it.
            for writer in writers {
                assert!(writer.send(client, &random), "no answer");
            }
        },
    );
    check(&server.client, &writers);
    for writer in &writers {
        let key = format!("{}-1", writer.number);
        // A retry of long ago still replays.
        let body = json!({"events": [{"type": "Another"}]});
        append_with(&server.client, &body, &[("idempotency-key", &key)])
            .problem(422, "idempotency_key_reused");
    }
    let count: usize = writers.iter().map(|writer| writer.acknowledged.len()).sum();
    let refused: usize = writers.iter().map(|writer| writer.refused.len()).sum();
    eprintln!("{count} acknowledged, {refused} refused");
    assert!(count > 100, "only {count} were acknowledged: the test proves little");
}

fn check(client: &Client, writers: &[Writer]) {
    let events = client.all_events();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let mut batches: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (position, event) in (1..).zip(&events) {
        assert_eq!(event["position"], json!(position), "a gap in the log");
        if let Some(stream) = event["stream"].as_str() {
            let version = versions.entry(stream.to_owned()).or_default();
            *version += 1;
            assert_eq!(event["stream_version"], *version, "{event}");
        }
        let key = event["command_id"].as_str().expect("a key").to_owned();
        batches.entry(key).or_default().push(event);
    }
    for (key, batch) in &batches {
        for (index, event) in batch.iter().enumerate() {
            assert_eq!(event["data"], json!({"index": index, "of": batch.len()}), "{key}");
            assert_eq!(event["decision"], batch[0]["decision"], "{key} is not one record");
        }
    }
    for writer in writers {
        for (key, answer) in &writer.acknowledged {
            let batch = batches.get(key).unwrap_or_else(|| panic!("{key} is missing"));
            let positions: Vec<_> = batch.iter().map(|event| event["position"].clone()).collect();
            assert_eq!(answer["positions"], json!(positions), "{key} moved");
        }
        for key in &writer.refused {
            assert!(!batches.contains_key(key), "{key} was refused and is there");
        }
        let of_writer = |key: &&String| key.starts_with(&format!("{}-", writer.number));
        let there = batches.keys().filter(of_writer).count();
        let known = writer.acknowledged.len();
        assert!((known..=known + 1).contains(&there), "{there} batches, {known} acknowledged");
    }
}
