//! What a build takes from commands: their rate over HTTP alone, and while a read model is built
//! anew beside them with its default share of a core.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::cores::EVENT;
use crate::bench::http::{
    Pace, Requests, Server, measure as load, open_accounts, wait_until_ready,
};
use crate::bench::median;
use crate::client::Client;
use crate::demo::modules::{activate, upload};

/// Events that are built: more than a build comes to while it is measured.
const EVENTS: u32 = 1_000_000;
/// Events of one append.
const AT_ONCE: u32 = 1_000;
const KEYS: u32 = 100_000;
const PACE: Pace =
    Pace { connections: 64, warm_up: Duration::from_secs(1), measured: Duration::from_secs(4) };
const PROJECTION: &str = "/v1/projections/counts";

/// Commands a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Beside {
    /// Without a build.
    pub(super) alone_per_second: f64,
    /// With one.
    pub(super) beside_per_second: f64,
    /// The second by the first, run by run.
    pub(super) ratio: f64,
}

pub(super) async fn measure(account: Bytes, counts: Bytes, runs: u32) -> anyhow::Result<Beside> {
    let server = Server::start().await?;
    let client = Client::new(server.address());
    wait_until_ready(&client).await?;
    for module in [account, counts] {
        activate(&client, &upload(&client, module).await?).await?;
    }
    open_accounts(&client).await?;
    let mut position = 0;
    for part in 0..EVENTS / AT_ONCE {
        let event = |n: u32| {
            let stream = format!("bench-{}", (part * AT_ONCE + n) % KEYS);
            json!({"type": EVENT, "stream": stream, "data": {}})
        };
        let body = json!({ "events": (0..AT_ONCE).map(event).collect::<Vec<_>>() });
        let answer: Value = client.send(Method::POST, "/v1/events", &body).await?;
        position = answer.get("position").and_then(Value::as_u64).context("no position")?;
    }
    let path = format!("/v1/read-models/counts/1?min_position={position}&wait=30");
    client.get::<Value>(&path).await.context("the documents are not there")?;
    let deposits = Arc::new(Requests::deposits(server.address()));
    let (mut alone, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let without = load(server.address(), &deposits, PACE).await?.rate;
        let begin = format!("{PROJECTION}/rebuild?swap=manual");
        let _begun: Value = client.send(Method::POST, &begin, &json!({})).await?;
        let with = load(server.address(), &deposits, PACE).await?.rate;
        let abort = format!("{PROJECTION}/abort");
        let status: Value = client.get(PROJECTION).await?;
        let state = status.pointer("/build/state").and_then(Value::as_str);
        ensure!(state == Some("building"), "it was not built all the time: {state:?}");
        let _ended: Value = client.send(Method::POST, &abort, &json!({})).await?;
        alone.push(without);
        beside.push(with);
        ratios.push(with / without);
    }
    server.stop().await?;
    Ok(Beside {
        alone_per_second: median(alone),
        beside_per_second: median(beside),
        ratio: median(ratios),
    })
}
