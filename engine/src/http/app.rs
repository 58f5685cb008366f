//! What every handler gets.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::metrics::Metrics;

use super::limits::HttpLimits;

/// What every handler gets.
#[derive(Debug)]
pub(super) struct App {
    /// Everything below HTTP.
    pub(super) engine: Arc<Engine>,
    /// What clients may use.
    pub(super) limits: HttpLimits,
    /// Whether the route that does nothing is there.
    pub(super) bench_route: bool,
    /// Renders metrics, where a recorder was installed.
    pub(super) metrics: Option<Metrics>,
    /// Uploads at a time.
    pub(super) uploads: Semaphore,
    /// Answers at a time that take reading the whole log.
    pub(super) upkeep: Arc<Semaphore>,
    /// Answers at a time that move files: one.
    pub(super) moves: Arc<Semaphore>,
}

/// The state of the router.
pub(super) type Shared = Arc<App>;
