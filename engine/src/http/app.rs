//! What every handler gets.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::engine::Engine;

use super::limits::HttpLimits;

/// What every handler gets.
#[derive(Debug)]
pub(super) struct App {
    /// Everything below HTTP.
    pub(super) engine: Arc<Engine>,
    /// What clients may use.
    pub(super) limits: HttpLimits,
    /// Whether only this machine may ask.
    pub(super) local_only: bool,
    /// Whether the route that does nothing is there.
    pub(super) bench_route: bool,
    /// Renders metrics, where a recorder was installed.
    pub(super) metrics: Option<PrometheusHandle>,
    /// Uploads at a time.
    pub(super) uploads: Semaphore,
}

/// The state of the router.
pub(super) type Shared = Arc<App>;
