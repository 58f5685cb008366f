//! A month of real flights, sent as commands, against the answers that another database gave.

use serde_json::{Value, json};

use super::operated::wait_for;
use crate::harness::{Client, Random, Server, flights, workspace};

/// Flights a request.
const FLIGHTS: usize = 500;
const MODELS: [&str; 3] = ["carriers", "airport_days", "routes"];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("tests/data").join(name)).expect("reads")
}

/// The commands of one flight, a line each.
fn commands(row: &str) -> Vec<String> {
    let fields: Vec<_> = row.split(',').collect();
    let [date, carrier, flight, tail, origin, dest, distance, sched_dep, sched_arr, dep, arr, air] =
        fields[..]
    else {
        panic!("{row}");
    };
    let id = format!("{carrier}-{flight}-{}-{origin}-{sched_dep}", date.replace('-', ""));
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let line = |command: &str, data: Value| {
        json!({"aggregate": "flight", "id": id, "command": command, "data": data,
            "command_id": format!("{id}:{command}")})
        .to_string()
    };
    let mut schedule = json!({"carrier": carrier, "flight": number(flight), "date": date,
        "origin": origin, "dest": dest, "distance": number(distance),
        "scheduled_departure": sched_dep, "scheduled_arrival": sched_arr});
    if !tail.is_empty() {
        schedule["tail_number"] = json!(tail);
    }
    let mut lines = vec![line("schedule", schedule)];
    if dep.is_empty() {
        lines.push(line("cancel", json!({})));
        return lines;
    }
    lines.push(line("depart", json!({"delay_minutes": number(dep)})));
    lines.push(match arr {
        "" => line("divert", json!({})),
        _ => line("arrive", json!({"delay_minutes": number(arr), "air_time_minutes": number(air)})),
    });
    lines
}

fn documents(client: &Client, query: &str) -> (Vec<Value>, Value) {
    let mut page = client.get(&format!("/v1/read-models/{query}&explain=true")).ok().json;
    assert_eq!(page["next"], Value::Null, "all on one page");
    let rows = page["rows"].as_array_mut().expect("rows").iter_mut();
    let documents = rows.map(|row| row["document"].take()).collect();
    (documents, page["explain"].take())
}

/// The events that those commands come to.
fn events(row: &str) -> Vec<Value> {
    let mut plan = Value::Null;
    let event = |line: String| {
        let mut line: Value = serde_json::from_str(&line).expect("JSON");
        let mut data = line["data"].take();
        let event_type = match line["command"].as_str().expect("text") {
            "schedule" => "Scheduled",
            "cancel" => "Cancelled",
            "depart" => "Departed",
            "divert" => "Diverted",
            _ => "Arrived",
        };
        if event_type == "Scheduled" {
            plan = data.clone();
        }
        for field in ["carrier", "date", "origin", "dest"] {
            data[field] = plan[field].clone();
        }
        let id = line["id"].as_str().expect("text");
        json!({"type": event_type, "stream": format!("flight-{id}"), "data": data})
    };
    commands(row).into_iter().map(event).collect()
}

fn append(client: &Client, events: &[Value]) {
    for part in events.chunks(1_000) {
        client.post("/v1/events", &json!({ "events": part })).ok();
    }
}

fn month() -> Vec<String> {
    let csv = zstd::decode_all(&*data("january.csv.zst")).expect("is whole");
    let csv = String::from_utf8(csv).expect("is text");
    csv.lines().skip(1).map(str::to_owned).collect()
}

/// Sends the month's commands; answers how many there were and the last position.
fn feed(client: &Client) -> (u64, u64) {
    let rows = month();
    let (mut position, mut events) = (0, 0);
    for part in rows.chunks(FLIGHTS) {
        let body: String =
            part.iter().flat_map(|row| commands(row)).map(|line| line + "\n").collect();
        let headers = [("content-type", "application/x-ndjson")];
        let answers = client.send("POST", "/v1/commands", &headers, body.as_bytes()).ok();
        for line in answers.text.lines() {
            let answer: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(answer["status"], 200, "{answer}");
            position = position.max(answer["position"].as_u64().expect("a position"));
            events += 1;
        }
    }
    (events, position)
}

/// All rows of a read model as they are answered.
fn all_rows(client: &Client, model: &str, query: &str) -> Vec<Value> {
    let first = format!("/v1/read-models/{model}?limit=1000&{query}");
    let (mut rows, mut path) = (Vec::new(), first.clone());
    loop {
        let mut page = client.get(&path).ok().json;
        rows.append(page["rows"].as_array_mut().expect("rows"));
        let Some(next) = page["next"].as_str() else { return rows };
        path = format!("{first}&cursor={next}");
    }
}

#[test]
fn the_month_as_of_any_position_is_what_a_fresh_server_fed_up_to_there_has() {
    let random = Random::from_time();
    let (dir, other) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, other) = (dir.expect("a directory"), other.expect("a directory"));
    let server = Server::start(dir.path());
    server.install(flights());
    let events: Vec<_> = month().iter().flat_map(|row| events(row)).collect();
    append(&server.client, &events);
    let fresh = Server::start(other.path());
    fresh.install(flights());
    let mut positions: Vec<_> = (0..20).map(|_| 1 + random.below(events.len() as u64)).collect();
    positions.sort_unstable();
    let mut fed = 0;
    for (turn, at) in positions.into_iter().enumerate() {
        let up_to = usize::try_from(at).expect("small");
        append(&fresh.client, &events[fed..up_to]);
        fed = up_to;
        let model = MODELS[turn % MODELS.len()];
        let then = all_rows(&server.client, model, &format!("at={at}&wait=30"));
        let now = all_rows(&fresh.client, model, &format!("min_position={at}&wait=30"));
        assert!(then == now && !now.is_empty(), "{model} as of {at}");
    }
}

#[test]
fn a_month_of_real_flights_answers_what_another_database_says() {
    let expected: Value = serde_json::from_slice(&data("january.json")).expect("JSON");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let client = &server.client;
    server.install(flights());
    let (events, position) = feed(client);
    assert_eq!((events, position), (80_491, 80_491));
    assert_eq!(expected["events"], position);
    for model in MODELS {
        let wait = format!("/v1/read-models/{model}?limit=1&min_position={position}&wait=30");
        client.get(&wait).ok();
    }

    // Built anew, the events of each carrier or route by one of several instances.
    for model in ["carriers", "routes"] {
        let projection = format!("/v1/projections/{model}");
        let rebuild = format!("{projection}/rebuild?swap=manual");
        client.send("POST", &rebuild, &[], b"").ok();
        wait_for(client, model, |status| status["build"]["state"] == "live");
        let diff = client.get(&format!("{projection}/diff")).ok().json["read_models"][0].clone();
        let rows = all_rows(client, model, "").len();
        let same = json!({"name": model, "same": rows, "added": 0, "removed": 0, "changed": 0,
            "samples": []});
        assert_eq!(diff, same);
        client.send("POST", &format!("{projection}/swap"), &[], b"").ok();
    }

    let (carriers, _) = documents(client, "carriers?");
    assert_eq!(Value::from(carriers.clone()), expected["by_carrier"]);
    let (latest, explain) = documents(client, "carriers?order=-arrival_delay_minutes,carrier");
    assert_eq!(explain["index"], "by_arrival_delay");
    let mut sorted = carriers.clone();
    sorted.sort_by_key(|row| std::cmp::Reverse(row["arrival_delay_minutes"].as_i64()));
    assert_eq!(latest, sorted);
    for total in ["cancelled", "diverted"] {
        let sum: i64 = carriers.iter().filter_map(|row| row[total].as_i64()).sum();
        assert_eq!(expected[total], sum, "{total}");
    }

    let (days, explain) = documents(client, "airport_days?order=origin,date");
    assert_eq!(explain["index"], "by_origin_and_date");
    assert_eq!(Value::from(days), expected["by_origin_and_date"]);
    for day in expected["by_origin_and_date"].as_array().expect("a list") {
        let (origin, date) =
            (day["origin"].as_str().expect("text"), day["date"].as_str().expect("text"));
        let query = format!("airport_days?where=origin:eq:{origin}&where=date:eq:{date}");
        let (found, explain) = documents(client, &query);
        assert_eq!((found, &explain["rows_looked_at"]), (vec![day.clone()], &json!(1)));
    }

    let january = json!({"from": "2013-01-01", "to": "2013-01-31"});
    let asked = client.post("/v1/projections/airport_days/queries/cancellations", &january).ok();
    let cancelled = asked.json.as_object().expect("airports").values();
    let cancelled: i64 = cancelled.filter_map(|airport| airport["cancelled"].as_i64()).sum();
    assert_eq!(expected["cancelled"], cancelled);

    let worst = "routes?where=arrivals:ge:20&order=-mean_arrival_delay,origin,dest&limit=10";
    let page = client.get(&format!("/v1/read-models/{worst}&explain=true&count=1000")).ok().json;
    assert_eq!(
        (&page["explain"]["index"], &page["explain"]["sorted"]),
        (&json!("worst"), &json!(false))
    );
    let routes = page["rows"].as_array().expect("rows").iter().map(|row| {
        let row = &row["document"];
        json!({"origin": row["origin"], "dest": row["dest"], "arrived": row["arrivals"],
            "arrival_delay_minutes": row["arrival_delay_minutes"]})
    });
    assert_eq!(routes.collect::<Value>(), expected["worst_routes_by_mean_arrival_delay"]);
}
