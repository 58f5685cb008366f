//! How fast read models are built from the first event: the flights' projections over several
//! copies of the week, with their files gone.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::figures::Projected;
use super::server::Server;
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::demo::flights::Flight;
use crate::demo::load;
use crate::demo::modules::{Uploaded, activate};

/// How long the projections may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A projection, as the server lists it.
#[derive(Deserialize)]
struct Status {
    module: String,
    position: u64,
    lag_events: u64,
}

#[derive(Deserialize)]
struct Projections {
    projections: Vec<Status>,
}

/// Fills the log, removes the read models and measures how long they take to come back.
pub(super) async fn measure(
    server: &Server,
    client: &Client,
    module: &Uploaded,
    week: &[Flight],
    copies: u32,
) -> anyhow::Result<Projected> {
    activate(client, module).await?;
    for copy in 0..copies {
        load::send(client, week, &format!("-copy{copy}")).await?;
    }
    let path = format!("/v1/modules/{}/active", module.name);
    let _deactivated: Value =
        client.send(Method::PUT, &path, &json!({ "version": Value::Null })).await?;
    remove_files(server)?;

    let started = Stopwatch::start();
    activate(client, module).await?;
    loop {
        let statuses = client.get::<Projections>("/v1/projections").await?.projections;
        let ours: Vec<_> = statuses.iter().filter(|one| one.module == module.name).collect();
        let seconds = started.elapsed().as_secs_f64();
        if !ours.is_empty() && ours.iter().all(|one| one.lag_events == 0) {
            let events = ours.iter().map(|one| one.position).max().unwrap_or_default();
            let events_per_second = u32::try_from(events).map_or(0.0, f64::from) / seconds;
            return Ok(Projected { events, projections: ours.len(), seconds, events_per_second });
        }
        if started.elapsed() > PATIENCE {
            bail!("the projections did not catch up in {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The files of read models hold nothing that the log does not: without them, the projections
/// begin again.
fn remove_files(server: &Server) -> anyhow::Result<()> {
    let directory = server.read_models();
    let files = std::fs::read_dir(&directory)
        .with_context(|| format!("{} cannot be read", directory.display()))?;
    for file in files {
        std::fs::remove_file(file?.path())?;
    }
    Ok(())
}
