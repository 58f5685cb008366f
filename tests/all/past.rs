//! What an aggregate instance was at a version, a position and a time, and what each event changed.

use serde_json::{Value, json};

use crate::harness::{Server, account};

#[test]
fn a_state_is_answered_as_it_was_and_its_history_says_what_each_event_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(account());
    let send = |id: u32, command: &str, data: Value| {
        client.post(&format!("/v1/aggregates/account/{id}/commands/{command}"), &data).ok().json
    };
    send(1, "open", json!({"owner": "Ann"}));
    send(2, "open", json!({"owner": "Bob"}));
    for amount in [70, 5, 25] {
        send(1, "deposit", json!({ "amount": amount }));
        send(2, "deposit", json!({ "amount": 1 }));
    }
    let get = |query: &str| client.get(&format!("/v1/aggregates/account/1{query}"));
    let now = get("").ok().json;
    assert_eq!(get("?version=4").ok().json, now);
    assert_eq!(get("?at=8").ok().json, now);
    for (query, balance, version, position) in
        [("?version=2", 70, 2, 3), ("?at=3", 70, 2, 3), ("?at=4", 70, 2, 3), ("?at=5", 75, 3, 5)]
    {
        let answer = get(query).ok();
        assert_eq!(answer.json["state"]["balance"], balance, "{query}");
        assert_eq!(answer.header("etag"), Some(&*format!("\"{version}\"")));
        assert_eq!(answer.json["position"], position);
    }
    let third = client.get("/v1/events/5").ok().json;
    let time = third["recorded_at"].as_str().expect("a time");
    let at_time = get(&format!("?at={time}")).ok().json;
    assert!(at_time["stream_version"].as_u64().is_some_and(|version| version >= 3), "{at_time}");
    get("?at=1999-01-01T00:00:00Z").problem(404, "unknown_stream");
    get("?at=0").problem(404, "unknown_stream");
    get("?version=5").problem(404, "unknown_stream");
    get("?at=9").problem(400, "position_beyond_head");
    get("?at=soon").problem(400, "invalid_parameter");
    get("?at=1&version=1").problem(400, "invalid_parameter");

    let history = client.get("/v1/aggregates/account/1/history").ok().json;
    let steps = history["steps"].as_array().expect("a list");
    assert_eq!((steps.len(), &history["next"]), (4, &Value::Null));
    assert_eq!(steps[0]["event"]["type"], "Opened");
    assert_eq!(steps[3]["state"], now["state"]);
    let change = json!([{"pointer": "/balance", "before": 70, "after": 75}]);
    assert_eq!(steps[2]["changes"], change);
    let part = client.get("/v1/aggregates/account/1/history?after=1&limit=2").ok();
    assert_eq!(part.json["steps"].as_array().expect("a list")[..], steps[1..3]);
    assert_eq!(part.json["next"], 3);
    assert!(part.header("link").is_some_and(|link| link.contains("cursor=3")), "{part:?}");
    let last = client.get("/v1/aggregates/account/1/history?limit=2&cursor=3").ok().json;
    assert_eq!(last["steps"].as_array().expect("a list")[..], steps[3..]);
    client.get("/v1/aggregates/account/9/history").problem(404, "unknown_stream");
    client.get("/v1/aggregates/none/1/history").problem(404, "unknown_aggregate");
}

#[test]
fn a_history_of_large_states_comes_in_pages_of_bounded_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(account());
    let send = |command: &str, data: Value| {
        client.post(&format!("/v1/aggregates/account/1/commands/{command}"), &data).ok();
    };
    send("open", json!({"owner": "x".repeat(900_000)}));
    for _ in 0..14 {
        send("deposit", json!({"amount": 1}));
    }
    let (mut after, mut versions, mut pages) = (0, Vec::new(), 0);
    loop {
        let path = format!("/v1/aggregates/account/1/history?after={after}");
        let page = client.get(&path).ok();
        // 8 MiB of states, the one that ends them, and the event that holds the name.
        assert!(page.text.len() < 12 << 20, "{}", page.text.len());
        let steps = page.json["steps"].as_array().expect("a list");
        versions.extend(steps.iter().filter_map(|step| step["event"]["stream_version"].as_u64()));
        pages += 1;
        let Some(next) = page.json["next"].as_u64() else { break };
        assert!(next > after);
        after = next;
    }
    assert_eq!((versions, pages), ((1..=15).collect(), 2));
}
