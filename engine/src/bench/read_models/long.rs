//! Ten million events from zero: whether the last are taken as fast as the first, and in the same
//! memory.

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;

use super::ground::Ground;
use super::rebuild::{KEYS, PROJECTION};
use crate::bench::log::{Events, Order, fill};
use crate::clock::Stopwatch;

const MILLIONS: u32 = 10;
const MILLION: usize = 1_000_000;
/// Events between two looks at the memory.
const LOOK_EVERY: usize = 50_000;

/// What a long build showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Long {
    /// Events a second, million by million.
    pub(super) per_second: Vec<f64>,
    /// The last by the first.
    pub(super) ratio: f64,
    /// The most memory of the process while it built, in bytes; 0 where the system does not say.
    pub(super) peak_bytes: u64,
    /// How much of that came after the first million.
    pub(super) growth_bytes: u64,
}

pub(super) fn measure(guest: &Bytes) -> anyhow::Result<Long> {
    let mut ground = Ground::of(guest, PROJECTION)?;
    let events = u64::from(MILLIONS) * u64::try_from(MILLION)?;
    fill(&ground.log, &Events::over(KEYS)?, Order::Random, events)?;
    let (mut done, mut looked, mut since) = (0, 0, Stopwatch::start());
    let (mut seconds, mut peak, mut peak_of_first) = (Vec::new(), 0, 0);
    ground.by_guest("long", |events| {
        if done >= looked {
            looked += LOOK_EVERY;
            peak = resident_bytes().unwrap_or_default().max(peak);
        }
        if done >= MILLION * (seconds.len() + 1) {
            if seconds.is_empty() {
                peak_of_first = peak;
            }
            seconds.push(since.elapsed().as_secs_f64());
            since = Stopwatch::start();
        }
        done += events;
    })?;
    seconds.push(since.elapsed().as_secs_f64());
    ground.close();
    let per_second: Vec<f64> = seconds.iter().map(|seconds| 1e6 / seconds).collect();
    let (first, last) = (per_second.first().context("none")?, per_second.last().context("none")?);
    Ok(Long {
        ratio: last / first,
        peak_bytes: peak,
        growth_bytes: peak.saturating_sub(peak_of_first),
        per_second,
    })
}

/// What this process has in memory, where the system says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
