//! Read models: what was projected can be read, exactly, also after a kill.

use serde_json::{Value, json};

use crate::harness::{Client, Server, flights};

/// Schedules, departs and lands flights of one carrier; answers the last position.
pub fn fly(client: &Client, from: u64, count: u64) -> u64 {
    let mut lines = String::new();
    for n in from..from + count {
        let id = format!("UA-{n}-20130101-EWR-0515");
        let command = |name: &str, data: Value| {
            json!({"aggregate": "flight", "id": id, "command": name, "data": data,
                "command_id": format!("{id}-{name}")})
            .to_string()
                + "\n"
        };
        lines += &command("schedule", schedule(n));
        lines += &command("depart", json!({"delay_minutes": 2}));
        lines += &command("arrive", json!({"delay_minutes": 10, "air_time_minutes": 100}));
    }
    let headers = [("content-type", "application/x-ndjson")];
    let answers = client.send("POST", "/v1/commands", &headers, lines.as_bytes()).ok();
    let mut position = 0;
    for line in answers.text.lines() {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(answer["status"], 200, "{answer}");
        position = position.max(answer["position"].as_u64().expect("a position"));
    }
    position
}

fn schedule(number: u64) -> Value {
    json!({"carrier": "UA", "flight": number, "date": "2013-01-01", "origin": "EWR", "dest": "IAH",
        "scheduled_departure": "0515", "scheduled_arrival": "0819", "distance": 1400})
}

fn carrier(client: &Client, position: u64) -> Value {
    client.get(&format!("/v1/read-models/carriers/UA?min_position={position}&wait=30")).ok().json
}

#[test]
fn a_read_model_holds_what_was_acknowledged_before_and_survives_kills() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path());
    server.install(flights());
    let mut flown = 0;
    for round in 1..=5 {
        let position = fly(&server.client, flown, 20 * round);
        flown += 20 * round;
        let row = carrier(&server.client, position);
        assert_eq!(row["arrived"], flown);
        assert_eq!(row["arrival_delay_minutes"], 10 * flown);
        // Killed at once: what was applied and not yet durable is projected again, once.
        server.kill();
        server = Server::start(dir.path());
    }
    assert_eq!(carrier(&server.client, flown * 3)["arrived"], flown);
}

#[test]
fn a_read_model_is_built_from_the_log_when_its_file_is_gone_or_of_another_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(flights());
    let position = fly(&server.client, 0, 30);
    let row = carrier(&server.client, position);
    server.stop();
    let other = tempfile::tempdir().expect("a directory");
    let stranger = Server::start(other.path());
    stranger.install(flights());
    let elsewhere = fly(&stranger.client, 0, 10);
    carrier(&stranger.client, elsewhere);
    stranger.stop();
    for file in std::fs::read_dir(other.path().join("read_models")).expect("reads") {
        let file = file.expect("reads");
        std::fs::copy(file.path(), dir.path().join("read_models").join(file.file_name()))
            .expect("copies");
    }
    let server = Server::start(dir.path());
    assert_eq!(carrier(&server.client, position), row);
    server.stop();
    std::fs::remove_dir_all(dir.path().join("read_models")).expect("removes");
    let server = Server::start(dir.path());
    assert_eq!(carrier(&server.client, position), row);
}

#[test]
fn reading_your_writes_waits_or_says_that_it_cannot() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(flights());
    let path = "/v1/aggregates/flight/UA-1-20130101-EWR-0515/commands/schedule?wait_for=carriers";
    let answer = server.client.post(path, &schedule(1)).ok();
    assert_eq!(answer.json["read_model"]["reached"], true);
    let row = server.client.get("/v1/read-models/carriers/UA").ok();
    assert_eq!(row.json["scheduled"], 1);
    assert_eq!(row.header("factum-position"), Some("1"));
    server
        .client
        .get("/v1/read-models/carriers/UA?min_position=99")
        .problem(400, "position_beyond_head");
    server.client.get("/v1/read-models/carriers/XX").problem(404, "unknown_document");
    server.client.get("/v1/read-models/nothing").problem(404, "unknown_read_model");
    let metrics = server.client.get("/metrics").ok().text;
    for name in [
        "factum_commands_total",
        "factum_projection_lag_events",
        "factum_projection_lag_seconds",
        "factum_append_duration_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is not among the metrics");
    }
}

#[test]
fn rows_come_in_the_order_asked_for_page_by_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(flights());
    let mut lines = String::new();
    for (n, dest) in (0..26).zip('A'..='Z') {
        let mut data = schedule(n);
        data["dest"] = json!(format!("{dest}{dest}{dest}"));
        let id = format!("UA-{n}-20130101-EWR-0515");
        let command = |name: &str, data: Value| {
            json!({"aggregate": "flight", "id": id, "command": name, "data": data}).to_string()
                + "\n"
        };
        lines += &command("schedule", data);
        lines += &command("depart", json!({"delay_minutes": 0}));
        lines += &command("arrive", json!({"delay_minutes": n % 5, "air_time_minutes": 100}));
    }
    let headers = [("content-type", "application/x-ndjson")];
    server.client.send("POST", "/v1/commands", &headers, lines.as_bytes()).ok();
    let head = server.client.get("/v1/events?limit=1").ok();
    assert_eq!(head.json["events"].as_array().map(Vec::len), Some(1));
    carrier(&server.client, 78);
    let list = "/v1/read-models/routes?min_position=78&order=-mean_arrival_delay,dest&limit=7";
    let mut seen = Vec::new();
    let mut path = list.to_owned();
    loop {
        let page = server.client.get(&path).ok().json;
        for row in page["rows"].as_array().expect("rows") {
            let row = &row["document"];
            let delay = row["mean_arrival_delay"].as_f64().expect("a number");
            seen.push((delay, row["dest"].as_str().expect("a text").to_owned()));
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{list}&cursor={next}");
    }
    assert_eq!(seen.len(), 26);
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    assert_eq!(seen, sorted);
    server.client.get("/v1/read-models/routes?limit=1001").problem(400, "invalid_parameter");
    server.client.get("/v1/read-models/routes?cursor=nonsense").problem(400, "invalid_parameter");
}
