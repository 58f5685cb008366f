//! What a backup costs those who send commands: both in turns, in the same run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::figures::Beside;
use super::load::{self, Pace};
use super::requests::Requests;
use super::{HttpArgs, WARM_UP};
use crate::bench::median;
use crate::client::Client;
use crate::report::Report;

/// Connections at once.
const CONNECTIONS: u32 = 64;

/// Measures commands alone and beside one backup after the other.
pub(super) async fn measure(
    args: &HttpArgs,
    address: &str,
    client: &Client,
    progress: &mut Report,
) -> anyhow::Result<Beside> {
    let deposits = Arc::new(Requests::deposits(address));
    let measured = Duration::from_secs(args.seconds);
    let pace = Pace { connections: CONNECTIONS, warm_up: WARM_UP, measured };
    let (mut alone, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let bytes = AtomicU64::new(0);
    for number in 1..=args.runs {
        progress.item(format_args!("a backup beside commands, run {number} of {}", args.runs));
        let without = load::measure(address, &deposits, pace).await?.rate;
        let with = tokio::select! {
            measured = load::measure(address, &deposits, pace) => measured?.rate,
            failed = backups(client, &bytes) => failed?,
        };
        alone.push(without);
        beside.push(with);
        ratios.push(with / without);
    }
    let seconds = (WARM_UP + measured).as_secs_f64() * f64::from(args.runs);
    let megabytes = u32::try_from(bytes.load(Ordering::Relaxed) >> 20)?;
    Ok(Beside {
        alone_per_second: median(alone),
        commands_per_second: median(beside),
        ratio: median(ratios),
        backup_bytes_per_second: f64::from(megabytes) * f64::from(1 << 20) / seconds,
    })
}

/// Takes one backup after the other; ends only where that fails.
async fn backups(client: &Client, bytes: &AtomicU64) -> anyhow::Result<f64> {
    loop {
        let mut pieces = client.download("/v1/backup").await?;
        while let Some(piece) = pieces.next().await? {
            bytes.fetch_add(u64::try_from(piece.len())?, Ordering::Relaxed);
        }
    }
}
