//! Direct appends and what finds events again: conditions, expected versions, queries, lists.

mod bodies;
mod kills;
mod lists;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, account};

const EVENTS: &str = "/v1/events";

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Server::start(dir.path()), dir)
}

fn append(client: &Client, body: &Value) -> Answer {
    client.post(EVENTS, body)
}

fn append_with(client: &Client, body: &Value, headers: &[(&str, &str)]) -> Answer {
    client.post_with(EVENTS, body, headers)
}

#[test]
fn events_are_appended_to_streams_and_to_none_at_once() {
    let (server, _dir) = server();
    let headers = [("factum-correlation-id", "talk-1"), ("factum-causation-id", "cause-1")];
    let body = json!({"events": [
        {"type": "Opened", "data": {"by": "Ann"}, "stream": "till-1", "tags": ["shop:1", "red"]},
        {"type": "Opened", "stream": "till-2", "schema_version": 3},
        {"type": "DayBegan", "data": [], "time": "2024-02-29T06:00:00Z"},
        {"type": "Counted", "data": 7, "stream": "till-1"},
    ]});
    let answer = append_with(&server.client, &body, &headers).ok();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("factum-position"), Some("4"));
    assert_eq!(
        answer.json,
        json!({"position": 4, "positions": [1, 2, 3, 4], "head": 4, "decision": 1})
    );

    let events = server.client.all_events();
    let of = |field: &str| events.iter().map(|e| e[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("type"), ["Opened", "Opened", "DayBegan", "Counted"]);
    assert_eq!(of("stream"), [json!("till-1"), json!("till-2"), Value::Null, json!("till-1")]);
    assert_eq!(of("stream_version"), [json!(1), json!(1), Value::Null, json!(2)]);
    assert_eq!(of("data"), [json!({"by": "Ann"}), json!({}), json!([]), json!(7)]);
    assert_eq!(of("schema_version"), [1, 3, 1, 1]);
    assert_eq!(events[0]["tags"], json!(["shop:1", "red"]));
    assert_eq!(events[2]["time"], "2024-02-29T06:00:00.000Z");
    assert_ne!(events[2]["recorded_at"], events[2]["time"]);
    for event in &events {
        assert_eq!(
            (&event["correlation_id"], &event["causation_id"]),
            (&json!("talk-1"), &json!("cause-1"))
        );
        assert_eq!((&event["decision"], &event["module"]), (&json!(1), &Value::Null));
    }
    let of_stream = server.client.get("/v1/streams/till-1/events").ok();
    assert_eq!(of_stream.header("etag"), Some("\"2\""));
    assert_eq!(of_stream.json["events"], json!([events[0], events[3]]));
    assert_eq!(server.client.get("/v1/events/3").ok().json, events[2]);
}

#[test]
fn an_append_to_a_stream_keeps_to_its_preconditions() {
    let (server, _dir) = server();
    let path = "/v1/streams/till-1/events";
    let two = json!({"events": [{"type": "A"}, {"type": "B", "stream": "till-1"}]});
    let post = |header, value| server.client.post_with(path, &two, &[(header, value)]);
    let missing = post("if-match", "*");
    assert_eq!((&missing.json["expected"], &missing.json["actual"]), (&json!("exists"), &json!(0)));
    missing.problem(412, "version_conflict");
    post("if-match", "\"1\"").problem(412, "version_conflict");
    let first = post("if-none-match", "*").ok();
    assert_eq!(first.header("etag"), Some("\"2\""));
    assert_eq!(first.json["stream_version"], 2);
    let late = post("if-none-match", "*");
    assert_eq!((&late.json["expected"], &late.json["actual"]), (&json!(0), &json!(2)));
    assert_eq!(late.json["stream"], "till-1");
    late.problem(412, "version_conflict");
    assert_eq!(post("if-match", "\"2\"").ok().json["stream_version"], 4);
    post("if-match", "\"2\"").problem(412, "version_conflict");
    assert_eq!(post("if-match", "*").ok().json["positions"], json!([5, 6]));
    assert_eq!(server.client.post(path, &two).ok().json["stream_version"], 8);
    post("if-match", "8").problem(400, "invalid_precondition");
    let on_the_log = append_with(&server.client, &two, &[("if-match", "\"8\"")]);
    on_the_log.problem(400, "invalid_precondition");
    assert_eq!(server.client.all_events().len(), 8);
}

/// One batch had events of two streams, and the other stream's had the version that was wanted: a
/// page of the first stream held the other's event in place of its own. Clients that compared
/// what they had read with the whole log (`linearizable`) noticed.
#[test]
fn a_page_of_a_stream_has_its_own_events_alone() {
    let (server, _dir) = server();
    let of = |streams: &[&str]| {
        let event = |stream: &&str| json!({"type": "Said", "stream": stream});
        json!({"events": streams.iter().map(event).collect::<Vec<_>>()})
    };
    append(&server.client, &of(&["a-1"])).ok();
    append(&server.client, &of(&["b-1", "b-1", "a-1"])).ok();
    append(&server.client, &of(&["a-1", "b-1", "b-1"])).ok();
    for (direction, expected) in [("forward", [1, 4, 5]), ("backward", [5, 4, 1])] {
        let path = format!("/v1/streams/a-1/events?direction={direction}");
        let page = server.client.get(&path).ok().json;
        let events = page["events"].as_array().expect("events");
        let positions: Vec<_> = events.iter().map(|event| event["position"].clone()).collect();
        assert_eq!(positions, expected, "{direction}");
    }
}

#[test]
fn one_wrong_expectation_and_nothing_is_appended() {
    let (server, _dir) = server();
    let to_both = |expected: Value| {
        let events = json!([{"type": "A", "stream": "a-1"}, {"type": "B", "stream": "b-1"}]);
        append(&server.client, &json!({"events": events, "expected": expected}))
    };
    let new = |stream: &str| json!({"stream": stream, "version": 0});
    to_both(json!([new("a-1"), new("b-1")])).ok();
    for (expected, stream, wanted, actual) in [
        (json!([{"stream": "a-1", "version": 1}, new("b-1")]), "b-1", json!(0), 1),
        (
            json!([{"stream": "b-1", "version": 1}, {"stream": "a-1", "version": 9}]),
            "a-1",
            json!(9),
            1,
        ),
        // A stream that nothing is appended to may be expected as well.
        (json!([{"stream": "c-1", "version": "exists"}]), "c-1", json!("exists"), 0),
    ] {
        let answer = to_both(expected);
        assert_eq!(answer.json["stream"], stream, "{}", answer.text);
        assert_eq!((&answer.json["expected"], &answer.json["actual"]), (&wanted, &json!(actual)));
        answer.problem(412, "version_conflict");
        assert_eq!(server.client.all_events().len(), 2);
    }
    to_both(json!([{"stream": "a-1", "version": 1}, {"stream": "b-1", "version": "exists"},
        new("c-1")]))
    .ok();
    let versions: Vec<_> =
        server.client.all_events().iter().map(|e| e["stream_version"].clone()).collect();
    assert_eq!(versions, [1, 1, 2, 2]);
}

#[test]
fn a_condition_holds_when_nothing_after_it_matches() {
    let (server, _dir) = server();
    for (kind, tag) in [("Offered", "course:1"), ("Joined", "course:1"), ("Joined", "course:2")] {
        append(&server.client, &json!({"events": [{"type": kind, "tags": [tag, "s"]}]})).ok();
    }
    let with = |condition: Value| {
        append(&server.client, &json!({"events": [{"type": "Tried"}], "condition": condition}))
    };
    let item = |kind: &str, tags: &[&str]| json!({"types": [kind], "tags": tags});
    for (condition, position) in [
        (json!({"query": [item("Joined", &["course:1"])]}), 2),
        (json!({"query": [item("Joined", &["course:1"])], "after": 1}), 2),
        (json!({"query": [item("Joined", &[])], "after": 2}), 3),
        (json!({"query": [item("Left", &[]), item("Joined", &["s", "course:2"])]}), 3),
        (json!({"query": [{"types": ["Left", "Offered"]}]}), 1),
        (json!({"query": [{"tags": ["s"]}], "after": 2}), 3),
        // Without items, any event matches.
        (json!({"query": []}), 1),
        (json!({"query": [], "after": 2}), 3),
        (json!({"query": [{}], "after": 1}), 2),
    ] {
        let answer = with(condition.clone());
        assert_eq!(answer.json["position"], position, "{condition}");
        answer.problem(412, "condition_failed");
    }
    assert_eq!(server.client.all_events().len(), 3);
    for condition in [
        json!({"query": [item("Joined", &["course:1"])], "after": 2}),
        json!({"query": [item("Offered", &["course:2"])]}),
        json!({"query": [item("Joined", &["course:1", "course:2"])]}),
        json!({"query": [], "after": 6}),
    ] {
        with(condition).ok();
    }
    let record = server.client.get("/v1/decisions/4").ok();
    assert_eq!(record.json["kind"], "append");
    assert_eq!(
        record.json["append"]["condition"],
        json!({"query": [{"types": ["Joined"], "tags": ["course:1"]}], "after": 2})
    );
}

#[test]
fn of_two_racing_conditional_appends_exactly_one_wins() {
    let (server, _dir) = server();
    let mut after = 0;
    for round in 1..=50_u64 {
        let body = json!({"events": [{"type": "Taken", "tags": ["seat:1"]}],
            "condition": {"query": [{"types": ["Taken"], "tags": ["seat:1"]}], "after": after}});
        let barrier = std::sync::Barrier::new(2);
        let race = |client: Client| {
            barrier.wait();
            append(&client, &body)
        };
        let answers = std::thread::scope(|scope| {
            let racers = [0, 1].map(|_| scope.spawn(|| race(server.client.clone())));
            racers.map(|racer| racer.join().expect("ends"))
        });
        let [winner, loser] = match answers {
            [a, b] if a.status == 200 => [a, b],
            [a, b] => [b, a],
        };
        after = winner.ok().json["position"].as_u64().expect("a position");
        assert_eq!(after, round);
        assert_eq!(loser.json["position"], after);
        loser.problem(412, "condition_failed");
    }
    assert_eq!(server.client.all_events().len(), 50);
}

#[test]
fn an_owned_category_takes_only_events_that_fold_and_commands_see_them() {
    let (server, _dir) = server();
    server.install(account());
    let account = "/v1/aggregates/account/1";
    let command =
        |name: &str, body: &Value| server.client.post(&format!("{account}/commands/{name}"), body);
    command("open", &json!({"owner": "Ann"})).ok();
    let events = "/v1/streams/account-1/events";
    for bad in [
        json!({"type": "Deposited", "data": {"amount": "much"}}),
        json!({"type": "Exploded", "data": {}}),
        json!({"type": "Deposited", "datacontenttype": "text/plain", "data_base64": "aGk="}),
    ] {
        let bad = json!({"events": [bad]});
        for right in [&[][..], &[("if-match", "\"1\"")], &[("if-match", "*")]] {
            let answer = server.client.post_with(events, &bad, right);
            assert_eq!(answer.json["stream"], "account-1");
            answer.problem(422, "not_foldable");
        }
        // What is asked of the stream comes first: it was said that the events do not fold.
        for wrong in [("if-match", "\"2\""), ("if-none-match", "*")] {
            let answer = server.client.post_with(events, &bad, &[wrong]);
            assert_eq!(answer.json["actual"], 1);
            answer.problem(412, "version_conflict");
        }
    }
    // One that does not fold keeps the others out as well.
    let mixed = json!({"events": [{"type": "Noted", "stream": "note-1"},
        {"type": "Exploded", "stream": "account-1"}]});
    append(&server.client, &mixed).problem(422, "not_foldable");
    let expecting = |version: Value| {
        let mut asked = mixed.clone();
        asked["expected"] = json!([{"stream": "note-1", "version": version}]);
        append(&server.client, &asked)
    };
    expecting(json!(0)).problem(422, "not_foldable");
    expecting(json!("exists")).problem(412, "version_conflict");
    assert_eq!(server.client.all_events().len(), 1);

    let deposit = json!({"events": [{"type": "Deposited", "data": {"amount": 30}}]});
    let appended = server.client.post_with(events, &deposit, &[("if-match", "\"1\"")]).ok();
    assert_eq!(appended.json["stream_version"], 2);
    assert_eq!(server.client.get(account).ok().json["state"]["balance"], 30);
    let withdrawn = command("withdraw", &json!({"amount": 25})).ok();
    assert_eq!(withdrawn.json["stream_version"], 3);
    server.client.post(events, &deposit).ok();
    command("withdraw", &json!({"amount": 36})).problem(422, "rejected");
    command("withdraw", &json!({"amount": 35})).ok();
    // A category that nobody owns takes anything.
    append(&server.client, &json!({"events": [{"type": "Exploded", "stream": "note-1"}]})).ok();
}

#[test]
fn commands_and_direct_appends_race_on_one_stream_without_a_gap() {
    let (server, _dir) = server();
    server.install(account());
    let deposit = "/v1/aggregates/account/1/commands/deposit";
    let open = "/v1/aggregates/account/1/commands/open";
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    let one = json!({"events": [{"type": "Deposited", "data": {"amount": 1}}]});
    std::thread::scope(|scope| {
        for at in 0..4 {
            let (server, one) = (&server, &one);
            scope.spawn(move || {
                for _ in 0..25 {
                    match at % 2 {
                        0 => server.client.post(deposit, &json!({"amount": 1})).ok(),
                        _ => server.client.post("/v1/streams/account-1/events", one).ok(),
                    };
                }
            });
        }
    });
    // An append now and then: whoever lost against it decides again, on what is there.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                (0..50).for_each(|_| drop(server.client.post(deposit, &json!({"amount": 1})).ok()));
            });
        }
        for _ in 0..20 {
            server.client.post("/v1/streams/account-1/events", &one).ok();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(
        (&state.json["state"]["balance"], &state.json["stream_version"]),
        (&json!(270), &json!(271))
    );
}

#[test]
fn a_retry_has_one_effect_and_the_same_answer_across_a_restart_too() {
    let (server, dir) = server();
    let key = [("idempotency-key", "import-1")];
    let body = json!({"events": [{"type": "A", "stream": "a-1"}, {"type": "B"}],
        "expected": [{"stream": "a-1", "version": 0}]});
    let first = append_with(&server.client, &body, &key).ok();
    assert_eq!(first.header("idempotency-replayed"), None);
    let check = |client: &Client| {
        // The precondition no longer holds; a retry is not a new request.
        let again = append_with(client, &body, &key).ok();
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.json, first.json);
        let other = json!({"events": [{"type": "A", "stream": "a-1"}]});
        append_with(client, &other, &key).problem(422, "idempotency_key_reused");
        let elsewhere = client.post_with("/v1/streams/a-1/events", &other, &key);
        elsewhere.problem(422, "idempotency_key_reused");
        assert_eq!(client.all_events().len(), 2);
    };
    check(&server.client);
    server.kill();
    let server = Server::start(dir.path());
    check(&server.client);
    assert_eq!(server.client.all_events()[0]["command_id"], "import-1");
    // What was refused leaves no trace: the key is free for the next try.
    let key = [("idempotency-key", "import-2")];
    append_with(&server.client, &body, &key).problem(412, "version_conflict");
    append_with(&server.client, &json!({"events": [{"type": "C"}]}), &key).ok();
}
