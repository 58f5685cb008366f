//! One command after the other: decided, refused, retried, raced for.

use serde_json::json;

use crate::harness::{Server, account};

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    server.install(account());
    (server, dir)
}

const OPEN: &str = "/v1/aggregates/account/1/commands/open";
const DEPOSIT: &str = "/v1/aggregates/account/1/commands/deposit";
const WITHDRAW: &str = "/v1/aggregates/account/1/commands/withdraw";

#[test]
fn a_command_is_decided_by_the_module_and_its_events_are_there() {
    let (server, _dir) = server();
    let opened = server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    assert_eq!(opened.header("etag"), Some("\"1\""));
    assert_eq!(opened.header("factum-position"), Some("1"));
    assert_eq!(opened.json["outcome"], "committed");
    assert_eq!(opened.json["module"]["name"], "account");
    let event = &opened.json["events"][0];
    assert_eq!(
        (event["type"].as_str(), event["stream"].as_str()),
        (Some("Opened"), Some("account-1"))
    );

    server.client.post(DEPOSIT, &json!({"amount": 70})).ok();
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], 70);
    assert_eq!(state.header("etag"), Some("\"2\""));

    let history = server.client.get("/v1/streams/account-1/events").ok();
    let types: Vec<_> = history.json["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(types, ["Opened", "Deposited"]);
    assert_eq!(history.json["events"][1]["data"], json!({"amount": 70}));
    assert_eq!(server.client.all_events().len(), 2);
}

#[test]
fn a_rejection_is_an_answer_and_is_recorded() {
    let (server, _dir) = server();
    server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    let refused = server.client.post(WITHDRAW, &json!({"amount": 5}));
    let decision = refused.json["decision"].as_u64().expect("a decision");
    assert_eq!(refused.json["rejection"]["code"], "insufficient_funds");
    assert_eq!(refused.json["rejection"]["details"]["balance"], 0);
    assert_eq!(
        (&refused.json["module"], &refused.json["version"]),
        (&json!("account"), &json!("1.0.0"))
    );
    refused.problem(422, "rejected");
    let record = server.client.get(&format!("/v1/decisions/{decision}")).ok();
    assert!(record.text.contains("insufficient_funds"), "{}", record.text);
    assert_eq!(server.client.all_events().len(), 1);
}

#[test]
fn a_retry_replays_the_answer_across_a_restart_and_rejections_too() {
    let (server, dir) = server();
    let key = [("idempotency-key", "key-1")];
    let no = [("idempotency-key", "key-2")];
    server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    let first = server.client.post_with(DEPOSIT, &json!({"amount": 7}), &key).ok();
    assert_eq!(first.header("idempotency-replayed"), None);
    let refused = server.client.post_with(WITHDRAW, &json!({"amount": 100}), &no);
    assert_eq!(refused.status, 422);
    server.stop();

    let server = Server::start(dir.path());
    // The white space is not part of the request, and the precondition is not looked at again.
    let headers = [key[0], ("content-type", "application/json"), ("if-match", "\"1\"")];
    let again = server.client.send("POST", DEPOSIT, &headers, b" { \"amount\" : 7 } ").ok();
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json, first.json);
    let refused_again = server.client.post_with(WITHDRAW, &json!({"amount": 100}), &no);
    assert_eq!(refused_again.header("idempotency-replayed"), Some("true"));
    assert_eq!(refused_again.json["rejection"], refused.json["rejection"]);
    server
        .client
        .post_with(DEPOSIT, &json!({"amount": 8}), &key)
        .problem(422, "idempotency_key_reused");
    assert_eq!(server.client.get("/v1/aggregates/account/1").ok().json["state"]["balance"], 7);
}

#[test]
fn one_key_from_all_sides_has_one_effect_and_one_answer() {
    let (server, _dir) = server();
    server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    for round in 0..20 {
        let key = format!("key-{round}");
        let barrier = std::sync::Barrier::new(8);
        let ask = |client: crate::harness::Client| {
            barrier.wait();
            client.post_with(DEPOSIT, &json!({"amount": 1}), &[("idempotency-key", &key)])
        };
        let answers = std::thread::scope(|scope| {
            let askers = [0; 8].map(|_| scope.spawn(|| ask(server.client.clone())));
            askers.map(|asker| asker.join().expect("ends"))
        });
        let (made, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert!(made.iter().all(|answer| answer.json == made[0].json), "{made:?}");
        refused.into_iter().for_each(|answer| drop(answer.problem(409, "still_running")));
        assert_eq!(made[0].json["stream_version"], round + 2);
    }
    assert_eq!(server.client.all_events().len(), 21);
}

#[test]
fn of_two_clients_with_the_same_expected_version_one_wins() {
    let (server, _dir) = server();
    server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    for round in 1..=100_u64 {
        let expected = format!("\"{round}\"");
        let barrier = std::sync::Barrier::new(2);
        let race = |client: crate::harness::Client| {
            barrier.wait();
            client.post_with(DEPOSIT, &json!({"amount": 1}), &[("if-match", &expected)])
        };
        let answers = std::thread::scope(|scope| {
            let racers = [0, 1].map(|_| scope.spawn(|| race(server.client.clone())));
            racers.map(|racer| racer.join().expect("ends"))
        });
        let [winner, loser] = match answers {
            [a, b] if a.status == 200 => [a, b],
            [a, b] => [b, a],
        };
        assert_eq!(winner.ok().json["stream_version"], round + 1);
        assert_eq!(loser.json["expected"], round);
        assert_eq!(loser.json["actual"], round + 1);
        loser.problem(412, "version_conflict");
    }
    assert_eq!(server.client.all_events().len(), 101);
}

#[test]
fn preconditions_speak_of_the_stream() {
    let (server, _dir) = server();
    let (amount, owner) = (json!({"amount": 1}), json!({"owner": "Ann"}));
    let post = |path, body, header, value| server.client.post_with(path, body, &[(header, value)]);
    post(DEPOSIT, &amount, "if-match", "*").problem(412, "version_conflict");
    post(OPEN, &owner, "if-match", "\"3\"").problem(412, "version_conflict");
    post(OPEN, &owner, "if-none-match", "*").ok();
    post(OPEN, &owner, "if-none-match", "*").problem(412, "version_conflict");
    post(DEPOSIT, &amount, "if-match", "*").ok();
    post(DEPOSIT, &amount, "if-match", "seven").problem(400, "invalid_precondition");
}

#[test]
fn a_hot_stream_takes_commands_from_all_sides_without_a_gap() {
    let (server, _dir) = server();
    server.client.post(OPEN, &json!({"owner": "Ann"})).ok();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    server.client.post(DEPOSIT, &json!({"amount": 1})).ok();
                }
            });
        }
    });
    assert_eq!(server.client.get("/v1/aggregates/account/1").ok().json["state"]["balance"], 400);
    let versions: Vec<_> =
        server.client.all_events().iter().map(|e| e["stream_version"].as_u64()).collect();
    assert_eq!(versions, (1..=401).map(Some).collect::<Vec<_>>());
}

#[test]
fn many_commands_in_one_request_answer_in_order_and_a_bad_line_ends_nothing() {
    let (server, _dir) = server();
    let mut lines = String::new();
    for n in 0..300 {
        let line = json!({"aggregate": "account", "id": n.to_string(), "command": "open",
            "data": {"owner": "Ann"}, "command_id": format!("bulk-{n}")});
        lines += &format!("{line}\n");
        if n == 150 {
            lines += "{\"aggregate\": nonsense\n";
            lines += "{\"aggregate\":\"account\",\"id\":\"0\",\"command\":\"withdraw\",\"data\":{\"amount\":1}}\n";
        }
    }
    let headers = [("content-type", "application/x-ndjson")];
    let send = || server.client.send("POST", "/v1/commands", &headers, lines.as_bytes()).ok();
    let answers: Vec<serde_json::Value> =
        send().text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 302);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], at + 1, "{answer}");
        let expected = match at {
            151 => 400,
            152 => 422,
            _ => 200,
        };
        assert_eq!(answer["status"], expected, "{answer}");
    }
    send();
    assert_eq!(server.client.all_events().len(), 300, "the second time, all replayed");
}
