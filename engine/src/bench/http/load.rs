//! Many connections for a fixed time, each with one request under way: how many answers a second,
//! and how long each took.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::requests::Requests;
use crate::clock::Stopwatch;

/// How a point is measured.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Pace {
    /// Connections at once.
    pub(in crate::bench) connections: u32,
    /// Before this, answers are not counted.
    pub(in crate::bench) warm_up: Duration,
    /// The time that is measured.
    pub(in crate::bench) measured: Duration,
}

/// What one point showed.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Point {
    /// Answers a second.
    pub(in crate::bench) rate: f64,
    /// Half of the answers took no longer, in microseconds.
    pub(in crate::bench) p50_us: f64,
    /// 99 of 100 answers took no longer, in microseconds.
    pub(in crate::bench) p99_us: f64,
}

/// Measures one point. The first answer that is not a 200 ends it.
pub(in crate::bench) async fn measure(
    address: &str,
    requests: &Arc<Requests>,
    pace: Pace,
) -> anyhow::Result<Point> {
    let mut connections = Vec::new();
    for _ in 0..pace.connections {
        connections.push(Connection::open(address).await?);
    }
    let started = Stopwatch::start();
    let mut running = JoinSet::new();
    for (seed, connection) in (1..).zip(connections) {
        let requests = Arc::clone(requests);
        running.spawn(async move { drive(connection, &requests, pace, started, seed).await });
    }
    let mut latencies = Vec::new();
    while let Some(finished) = running.join_next().await {
        latencies.extend(finished.context("a connection's task panicked")??);
    }
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len())?;
    Ok(Point {
        rate: f64::from(count) / pace.measured.as_secs_f64(),
        p50_us: percentile(&latencies, 50),
        p99_us: percentile(&latencies, 99),
    })
}

/// The time that each counted answer took, in microseconds.
async fn drive(
    mut connection: Connection,
    requests: &Requests,
    pace: Pace,
    started: Stopwatch,
    seed: u64,
) -> anyhow::Result<Vec<u32>> {
    let mut choice = Choice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut latencies = Vec::new();
    let end = pace.warm_up + pace.measured;
    let mut before = started.elapsed();
    while before < end {
        connection.exchange(requests.pick(choice.next())).await?;
        let after = started.elapsed();
        if before >= pace.warm_up && after <= end {
            let took = after.saturating_sub(before).as_micros();
            latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        before = after;
    }
    Ok(latencies)
}

/// Picks requests evenly and the same way in every run (xorshift).
struct Choice(u64);

impl Choice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let sorted: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (51.0, 100.0));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (7.0, 0.0));
    }
}
