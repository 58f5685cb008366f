//! HTTP: what clients speak. Parses requests into the engine's types and writes its answers.
//!
//! Promises: every answer of 400 and above is a problem of RFC 9457; everything a client may use
//! has a limit; a request that panics hurts no other. Status codes are in `http/error.rs` alone,
//! and nothing below this module knows one.

mod accept;
mod answer;
mod app;
mod append_body;
mod appends;
mod archive;
mod backup;
mod body;
mod bulk;
mod checkpoints;
mod cloud_events;
mod command;
mod counters;
mod decisions;
mod error;
mod events;
mod follow;
mod guest_queries;
mod health;
mod history;
mod hosts;
mod import;
mod limits;
mod lines;
mod modules;
mod panics;
mod params;
mod parked;
mod preconditions;
mod problem_log;
mod problems;
mod projections;
mod projections_past;
mod queries;
mod read_models;
mod routes;
mod schemas;
mod segments;
mod server;
mod shape;
mod states;
mod streams;
mod taken;
mod upkeep;
mod verify;
mod views;
mod waiting;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::metrics::Metrics;

pub use limits::HttpLimits;
pub(crate) use params::encode;

/// How a server is to answer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients may use.
    pub limits: HttpLimits,
    /// Whether only requests addressed to this machine are answered: the rule of an open server
    /// on a loopback address.
    pub local_only: bool,
    /// Whether there is a route that does nothing, for measuring.
    pub bench_route: bool,
    /// What `/metrics` answers, if anything.
    pub metrics: Option<Metrics>,
}

impl Default for Settings {
    /// An open server for this machine.
    fn default() -> Self {
        Self { limits: HttpLimits::default(), local_only: true, bench_route: false, metrics: None }
    }
}

/// Answers requests until `stop` is ready; then finishes those under way, for a while.
pub async fn serve(
    engine: Arc<Engine>,
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) {
    let subscriptions = Arc::clone(engine.subscriptions());
    let Settings { limits, local_only, bench_route, metrics } = settings;
    problem_log::limit(&limits);
    let app = app::App {
        engine,
        uploads: Semaphore::new(limits.uploads),
        upkeep: Arc::new(Semaphore::new(limits.upkeep)),
        moves: Arc::new(Semaphore::new(1)),
        limits: limits.clone(),
        bench_route,
        metrics: metrics.clone(),
    };
    let site = server::Site::new(routes::router(app), local_only);
    let served = server::run(listener, site, &limits, async {
        stop.await;
        // Their answers would never end.
        subscriptions.close();
    });
    let upkeep = async {
        match metrics {
            Some(metrics) => metrics.upkeep().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = served => {}
        () = upkeep => {}
        () = subscriptions.relay() => {}
    }
}
