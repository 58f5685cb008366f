//! Finding what was appended: events by query, streams by prefix, records by what they are.

use serde_json::{Value, json};

use super::{append, server};
use crate::harness::{Client, account};

const QUERY: &str = "/v1/events/query";

/// 400 events of four types, with tags and streams that repeat at different intervals.
fn fill(client: &Client) {
    for batch in 0..20 {
        let events: Vec<_> = (batch * 20..batch * 20 + 20)
            .map(|n: u64| {
                let stream = match n % 7 {
                    0 => Value::Null,
                    1 | 2 => json!(format!("course-{}", n % 5)),
                    _ => json!(format!("student-{}", n % 11)),
                };
                let tags = [format!("three:{}", n % 3), format!("nine:{}", n % 9), "all".into()];
                let kind = ["Offered", "Joined", "Left", "Closed"][(n / 3 % 4) as usize];
                json!({"type": kind, "tags": tags, "stream": stream, "data": {"n": n}})
            })
            .collect();
        append(client, &json!({"events": events})).ok();
    }
}

fn matches(query: &Value, event: &Value) -> bool {
    let items = query.as_array().expect("a list");
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_default();
        list.iter().map(|text| text.as_str().expect("text").to_owned()).collect()
    };
    let category = event["stream"].as_str().and_then(|stream| stream.split('-').next());
    items.is_empty()
        || items.iter().any(|item| {
            let (types, categories) = (strings(&item["types"]), strings(&item["categories"]));
            let tags = strings(&event["tags"]);
            (types.is_empty() || types.iter().any(|t| event["type"] == *t))
                && (categories.is_empty() || categories.iter().any(|c| category == Some(c)))
                && strings(&item["tags"]).iter().all(|tag| tags.contains(tag))
        })
}

#[test]
fn a_query_finds_what_a_look_at_every_event_finds() {
    let (server, _dir) = server();
    fill(&server.client);
    let all = server.client.all_events();
    for query in [
        json!([]),
        json!([{}]),
        json!([{"types": ["Joined"]}]),
        json!([{"types": ["Joined", "Left"], "tags": ["three:1"]}]),
        json!([{"tags": ["three:1", "nine:4"]}, {"types": ["Closed"], "tags": ["nine:8", "all"]}]),
        json!([{"categories": ["course"]}, {"types": ["Offered"], "categories": ["student"]}]),
        json!([{"tags": ["three:1", "nine:2"]}]),
        json!([{"types": ["Nothing"]}, {"tags": ["none"]}]),
    ] {
        for direction in ["forward", "backward"] {
            let mut expected: Vec<_> =
                all.iter().filter(|event| matches(&query, event)).cloned().collect();
            if direction == "backward" {
                expected.reverse();
            }
            let (mut found, mut cursor) = (Vec::new(), Value::Null);
            for _ in 0..100 {
                let body = json!({"query": query, "limit": 17, "direction": direction,
                    "cursor": cursor});
                let page = server.client.post(QUERY, &body).ok();
                assert_eq!(page.header("factum-position"), Some(&*page.json["head"].to_string()));
                let events = page.json["events"].as_array().expect("a list");
                assert!(events.len() <= 17);
                found.extend(events.iter().cloned());
                cursor = page.json["next"].clone();
                if cursor.is_null() {
                    break;
                }
            }
            assert_eq!(found, expected, "{direction}: {query}");
        }
    }
}

#[test]
fn bounds_and_heads_of_a_query() {
    let (server, _dir) = server();
    fill(&server.client);
    let page = |body: Value| server.client.post(QUERY, &body).ok().json;
    let positions = |page: &Value| -> Vec<u64> {
        let events = page["events"].as_array().expect("a list");
        events.iter().map(|e| e["position"].as_u64().expect("a number")).collect()
    };
    // Position p holds n = p - 1.
    let query = json!([{"tags": ["nine:0"]}]);
    let found = page(json!({"query": query, "after": 10, "before": 37}));
    assert_eq!(positions(&found), [19, 28]);
    assert_eq!((&found["head"], &found["next"]), (&json!(36), &Value::Null));
    let found = page(json!({"query": query, "after": 10, "limit": 1}));
    assert_eq!((&found["head"], &found["next"]), (&json!(19), &json!("19")));
    let found = page(json!({"query": query, "before": 37, "direction": "backward", "limit": 2}));
    assert_eq!(positions(&found), [28, 19]);
    assert_eq!((&found["head"], &found["next"]), (&json!(36), &json!("19")));
    let found = page(json!({"query": [{"tags": ["none"]}]}));
    assert_eq!((&found["events"], &found["head"]), (&json!([]), &json!(400)));
    let found = page(json!({"query": query, "after": 400}));
    assert_eq!((&found["head"], &found["next"]), (&json!(400), &Value::Null));

    // The parameters of a GET say the same.
    let get = |query: &str| server.client.get(&format!("/v1/events?{query}")).ok();
    let found = get("type=Joined&type=Left&tag=three:1&tag=all&category=course&limit=3");
    let same = page(json!({"query": [{"types": ["Joined", "Left"], "tags": ["three:1", "all"],
        "categories": ["course"]}], "limit": 3}));
    assert_eq!(found.json, same);
    assert_eq!(positions(&same).len(), 3);
    let link = found.header("link").expect("a next page");
    assert!(link.contains("category=course") && link.contains("rel=\"next\""), "{link}");
    for (body, said) in [
        (json!({"query": [{"kinds": []}]}), "`kinds`"),
        (json!({"query": [], "limit": 0}), "/limit"),
        (json!({"query": {}}), "sequence"),
    ] {
        let detail = server.client.post(QUERY, &body).problem(400, "invalid_body");
        assert!(detail.contains(said), "{detail}");
    }
}

#[test]
fn streams_are_listed_by_prefix_in_order_and_by_pages() {
    let (server, _dir) = server();
    fill(&server.client);
    let all = server.client.all_events();
    for prefix in ["", "course", "student-1", "nobody"] {
        let mut expected: std::collections::BTreeMap<&str, Vec<&Value>> = Default::default();
        for event in &all {
            if let Some(stream) = event["stream"].as_str().filter(|s| s.starts_with(prefix)) {
                expected.entry(stream).or_default().push(event);
            }
        }
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(stream, events)| {
                let (first, last) = (events[0], events[events.len() - 1]);
                json!({"stream": stream, "version": last["stream_version"],
                    "first_at": first["recorded_at"], "last_at": last["recorded_at"]})
            })
            .collect();
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for _ in 0..100 {
            let path = format!("/v1/streams?prefix={prefix}&limit=3{cursor}");
            let page = server.client.get(&path).ok();
            found.extend(page.json["streams"].as_array().expect("a list").iter().cloned());
            let Some(next) = page.json["next"].as_str() else { break };
            assert!(page.header("link").expect("a link").contains(next));
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "{prefix}");
    }
    server.client.get("/v1/streams?limit=0").problem(400, "invalid_parameter");
    server.client.get("/v1/streams?cursor=x").problem(400, "invalid_parameter");
}

#[test]
fn records_are_listed_by_kind_aggregate_and_outcome() {
    let (server, _dir) = server();
    server.install(account());
    let post = |path: &str, body: &Value| server.client.post(path, body);
    post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    post("/v1/aggregates/account/1/commands/withdraw", &json!({"amount": 9}))
        .problem(422, "rejected");
    let deposit = json!({"type": "Deposited", "data": {"amount": 30}, "stream": "account-1"});
    append(&server.client, &json!({"events": [{"type": "Noted"}, deposit]})).ok();
    append(&server.client, &json!({"events": [{"type": "Noted", "stream": "note-1"}]})).ok();
    post("/v1/aggregates/account/1/commands/withdraw", &json!({"amount": 9})).ok();

    let list = |query: &str| {
        let page = server.client.get(&format!("/v1/decisions?{query}")).ok().json;
        let list = page["decisions"].as_array().expect("a list");
        let numbers = list.iter().map(|d| d["decision"].as_u64().expect("a number"));
        (numbers.collect::<Vec<_>>(), page["next"].clone(), page["head"].clone())
    };
    for (query, expected) in [
        ("", &[1, 2, 3, 4, 5, 6][..]),
        ("kind=activation", &[1]),
        ("kind=command", &[2, 3, 6]),
        ("kind=append", &[4, 5]),
        ("outcome=rejected", &[3]),
        ("outcome=committed", &[2, 4, 5, 6]),
        ("outcome=committed&kind=command", &[2, 6]),
        ("aggregate=account", &[2, 3, 4, 6]),
        ("aggregate=note", &[5]),
        ("aggregate=account&kind=command&after=2", &[3, 6]),
        ("kind=activation&outcome=committed", &[]),
    ] {
        assert_eq!(list(query), (expected.to_vec(), Value::Null, json!(6)), "{query}");
    }
    assert_eq!(list("kind=command&limit=2"), (vec![2, 3], json!("3"), json!(3)));
    assert_eq!(list("kind=command&limit=2&cursor=3"), (vec![6], Value::Null, json!(6)));
    assert_eq!(list("after=99").0, Vec::<u64>::new());
    let whole = server.client.get("/v1/decisions?after=2&limit=1").ok().json;
    assert_eq!(whole["decisions"][0], server.client.get("/v1/decisions/3").ok().json);
    for bad in ["kind=reaction", "outcome=maybe", "after=x", "limit=1001", "colour=red"] {
        let answer = server.client.get(&format!("/v1/decisions?{bad}"));
        answer.problem(400, "invalid_parameter");
    }
    server.client.get("/v1/decisions?aggregate=A").problem(400, "invalid_name");
}
