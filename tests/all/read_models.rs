//! Read models: queries and their indexes over HTTP, and that what they hold is exact.

mod divided;
pub mod exact;
mod month;
mod operated;
mod pains;
mod rebuilt;

use serde_json::{Value, json};

use crate::harness::{Client, Server, counting, counting_indexed};

/// Appends events, each a type, a stream of the category `n` and data; answers the last position.
fn append(client: &Client, events: &[(&str, &str, Value)]) -> u64 {
    let mut position = 0;
    for part in events.chunks(1_000) {
        let event = |(event_type, id, data): &(&str, &str, Value)| json!({"type": event_type, "stream": format!("n-{id}"), "data": data});
        let body = json!({ "events": part.iter().map(event).collect::<Vec<_>>() });
        let answer = client.post("/v1/events", &body).ok();
        position = answer.json["position"].as_u64().expect("a position");
    }
    position
}

/// Appends so many events to each of the streams `000`, `001`, …
fn count_to(client: &Client, counts: &[usize]) -> u64 {
    let ids: Vec<_> = (0..counts.len()).map(|n| format!("{n:03}")).collect();
    let events = ids.iter().zip(counts).flat_map(|(id, count)| (0..*count).map(move |_| id));
    append(client, &events.map(|id| ("Counted", id.as_str(), json!({}))).collect::<Vec<_>>())
}

fn keys(page: &Value) -> Vec<String> {
    let rows = page["rows"].as_array().expect("rows");
    rows.iter().map(|row| row["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn an_index_that_is_added_is_built_beside_and_then_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let counts: Vec<_> = (0..300).map(|n| 1 + n * 7 % 50).collect();
    let position = count_to(client, &counts);
    let mut expected: Vec<_> = (0..300).collect();
    expected.sort_by_key(|n| std::cmp::Reverse((counts[*n], *n)));
    let expected: Vec<_> = expected.into_iter().take(50).map(|n| format!("{n:03}")).collect();
    let path = format!(
        "/v1/read-models/counts?order=-count&limit=50&explain=true&min_position={position}"
    );
    let before = client.get(&path).ok().json;
    assert_eq!(keys(&before), expected);
    assert_eq!(
        (&before["explain"]["index"], &before["explain"]["sorted"]),
        (&Value::Null, &json!(true))
    );
    server.install(counting_indexed());
    let mut looks = 0;
    loop {
        let page = client.get(&path).ok().json;
        assert_eq!(keys(&page), expected);
        if page["explain"]["index"] == "by_count" {
            assert_eq!(page["explain"]["rows_looked_at"], 51);
            break;
        }
        looks += 1;
        assert!(looks < 1_000, "the index is never used: {page}");
    }
    let position = append(client, &vec![("Counted", "000", json!({})); 100]);
    let first = format!(
        "/v1/read-models/counts?where=count:gt:49&order=-count&fields=count&count=10&explain=true\
         &min_position={position}"
    );
    let page = client.get(&first).ok().json;
    assert_eq!(page["rows"][0], json!({"key": "000", "document": {"count": 101}}));
    assert_eq!(page["count"], json!({"rows": 7, "exact": true}));
    assert_eq!(page["explain"]["narrowed_by"], json!(["count"]));
    // It goes with the version that declares it.
    client.activate("counting", "1.0.0").ok();
    let page = client.get(&path).ok().json;
    assert_eq!(page["explain"]["index"], Value::Null);
}

#[test]
fn what_a_unique_index_cannot_hold_stops_the_projection_before_that_event() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let named = |id, name: &str| ("Named", id, json!({ "name": name }));
    // Within one batch: names move on before others take them.
    let fine =
        append(client, &[named("a", "x"), named("a", "y"), named("b", "x"), named("c", "z")]);
    assert_eq!(fine, 4);
    let taken = append(client, &[named("d", "w"), named("e", "y")]);
    client
        .get(&format!("/v1/read-models/names/a?min_position={taken}&wait=1"))
        .problem(503, "read_model_behind");
    let projections = client.get("/v1/projections").ok().json;
    let names = projections["projections"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["projection"] == "names"))
        .expect("is there");
    let error = names["error"]["detail"].as_str().expect("an error");
    assert_eq!(names["error"]["event"], "/v1/events/5");
    assert_eq!(names["state"], "failed");
    for said in ["positions 5 to 6", "by_name", "\"a\"", "\"e\""] {
        assert!(error.contains(said), "{said}: {error}");
    }
    let rows =
        client.get("/v1/read-models/names?where=name:in:[%22x%22,%22y%22,%22w%22]").ok().json;
    assert_eq!(keys(&rows), ["a", "b"], "as it was before that record");
    // Others do not feel it.
    let position = append(client, &[("Counted", "a", json!({}))]);
    client.get(&format!("/v1/read-models/counts/a?min_position={position}")).ok();
}

#[test]
fn a_query_that_looks_at_too_much_is_refused_with_the_index_it_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--scan-rows", "20"]);
    let client = &server.client;
    server.install(counting());
    let position = count_to(client, &[1; 30]);
    let path = format!("/v1/read-models/counts?order=-count&limit=5&min_position={position}");
    let refused = client.get(&path);
    assert_eq!(refused.json["limit"], "scan_rows");
    let index = json!({"name": "by_count", "paths": ["-count"]});
    assert_eq!(refused.json["index"], index);
    assert!(refused.problem(422, "index_needed").contains(&index.to_string()));
    // By key, and a count that says how far it got, take no index.
    let page = client.get("/v1/read-models/counts?limit=5&count=20&where=count:ge:1").ok().json;
    assert_eq!((keys(&page).len(), &page["count"]), (5, &json!({"rows": 20, "exact": false})));
    // The index that was named is the one that helps.
    server.install(counting_indexed());
    let mut looks = 0;
    while client.get(&path).status != 200 {
        looks += 1;
        assert!(looks < 1_000, "the index does not help");
    }
}

#[test]
fn a_query_that_makes_no_sense_gets_a_problem_that_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(counting());
    let position = count_to(client, &[1; 30]);
    let ask = |query: &str| client.get(&format!("/v1/read-models/counts?{query}"));
    let next = ask(&format!("order=count&limit=3&min_position={position}")).ok().json;
    let next = next["next"].as_str().expect("there is more").to_owned();
    for (query, said) in [
        ("where=count", "path:op:value"),
        ("where=count:eq", "path:op:value"),
        ("where=:eq:1", "no path"),
        ("where=a..b:eq:1", "no path"),
        ("where=count:like:1", "op is one of"),
        ("where=count:in:1", "JSON array"),
        ("where=count:eq:[1]", "arrays and objects"),
        ("where=count:exists:perhaps", "true or false"),
        ("order=", "no path"),
        ("order=count,,x", "no path"),
        ("order=count&order=x", "once"),
        ("fields=a..b", "no path"),
        ("count=0", "1 to 100000"),
        ("count=all", "count"),
        ("explain=yes", "explain"),
        ("limit=0", "1 to 1000"),
        ("cursor=nonsense", "cursor"),
        ("filter=count:eq:1", "does not know"),
        ("wait=1", "min_position"),
        (&format!("order=-count&cursor={next}"), "cursor"),
        (&format!("where=count:ge:1&order=count&cursor={next}"), "cursor"),
    ] {
        let detail = ask(query).problem(400, "invalid_parameter");
        assert!(detail.contains(said), "{query}: {detail}");
    }
    assert_eq!(
        keys(&ask(&format!("order=count&limit=3&cursor={next}")).ok().json),
        ["003", "004", "005"]
    );
}
