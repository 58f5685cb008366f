//! One document over HTTP, beside a route that does nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::http::{Pace, Requests, Server, measure as load, wait_until_ready};
use crate::bench::median;
use crate::client::Client;
use crate::demo::modules::{activate, upload};

const DOCUMENTS: u32 = 10_000;
/// Events of one append.
const AT_ONCE: u32 = 1_000;
const CONNECTIONS: u32 = 64;
const PACE: Pace = Pace {
    connections: CONNECTIONS,
    warm_up: Duration::from_secs(1),
    measured: Duration::from_secs(3),
};

/// Answers a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Points {
    /// The route that does nothing.
    pub(super) nothing_per_second: f64,
    /// Documents by key.
    pub(super) documents_per_second: f64,
    /// The second by the first, run by run.
    pub(super) ratio: f64,
}

pub(super) async fn measure(guest: Bytes, runs: u32) -> anyhow::Result<Points> {
    let server = Server::start().await?;
    let client = Client::new(server.address());
    wait_until_ready(&client).await?;
    activate(&client, &upload(&client, guest).await?).await?;
    let mut position = 0;
    for part in 0..DOCUMENTS / AT_ONCE {
        let event = |n: u32| {
            let stream = format!("bench-{}", part * AT_ONCE + n);
            json!({"type": "Deposited", "stream": stream, "data": {"amount": n}})
        };
        let body = json!({ "events": (0..AT_ONCE).map(event).collect::<Vec<_>>() });
        let answer: Value = client.send(hyper::Method::POST, "/v1/events", &body).await?;
        position = answer.get("position").and_then(Value::as_u64).context("no position")?;
    }
    let path = format!("/v1/read-models/deposits_0/1?min_position={position}&wait=30");
    client.get::<Value>(&path).await.context("the documents are not there")?;
    let nothing = Arc::new(Requests::nothing(server.address()));
    let paths = (0..DOCUMENTS).map(|n| format!("/v1/read-models/deposits_0/{n}"));
    let documents = Arc::new(Requests::gets(server.address(), paths));
    let (mut idle, mut found, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let nothing = load(server.address(), &nothing, PACE).await?.rate;
        let documents = load(server.address(), &documents, PACE).await?.rate;
        idle.push(nothing);
        found.push(documents);
        ratios.push(documents / nothing);
    }
    server.stop().await?;
    Ok(Points {
        nothing_per_second: median(idle),
        documents_per_second: median(found),
        ratio: median(ratios),
    })
}
