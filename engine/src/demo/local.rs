//! The demo's server: the same code as `factum serve`, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Error};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::engine::{Engine, Options};
use crate::http::{self, Settings};
use crate::metrics::Metrics;
use crate::runtime::CompilerProgram;
use crate::tasks::blocking;

/// Where the demo keeps its store when it is to stay.
const DIRECTORY: &str = "factum-demo";
const ADDRESS: &str = "127.0.0.1:7070";

/// Where the server keeps its data and listens.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    address: &'static str,
    /// Removed with everything in it when it is dropped.
    _temporary: Option<TempDir>,
}

impl Place {
    /// Beside the user, to stay.
    pub(super) fn here() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current directory cannot be read")?;
        Ok(Self { directory: here.join(DIRECTORY), address: ADDRESS, _temporary: None })
    }

    /// For one run.
    pub(super) fn temporary() -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir().context("no temporary directory can be made")?;
        let directory = temporary.path().join(DIRECTORY);
        Ok(Self { directory, address: "127.0.0.1:0", _temporary: Some(temporary) })
    }

    /// Whether an earlier run left something.
    pub(super) fn exists(&self) -> bool {
        self.directory.exists()
    }
}

/// The running server.
#[derive(Debug)]
pub(super) struct Local {
    place: Place,
    address: String,
    engine: Arc<Engine>,
    /// Dropping it tells the server to stop.
    running: oneshot::Sender<()>,
    serving: JoinSet<()>,
}

impl Local {
    pub(super) async fn start(place: Place) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(place.address).await.with_context(|| {
            format!("{} is taken: stop what listens there, or try --once", place.address)
        })?;
        let address = listener.local_addr()?.to_string();
        // The recorder comes first: counters made before it count nothing.
        let metrics = Metrics::install().map_err(Error::msg)?;
        let compiler = CompilerProgram::this_factum().context("finding this program")?;
        let options = Options::new(place.directory.clone(), compiler);
        let mut settings = Settings { metrics: Some(metrics), ..Settings::default() };
        settings.limits.component_bytes = options.guests.component_bytes;
        let opened = blocking(|| Engine::open(options)).await;
        let engine = Arc::new(opened.context("opening the engine panicked")??);

        let (running, stopped) = oneshot::channel::<()>();
        let stop = async {
            // An error says that the other end was dropped, which is the signal.
            let _ = stopped.await;
        };
        let mut serving = JoinSet::new();
        serving.spawn(http::serve(Arc::clone(&engine), listener, settings, stop));
        Ok(Self { place, address, engine, running, serving })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Where its data is.
    pub(super) fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// Finishes what is under way, and ends.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self { place, engine, running, mut serving, .. } = self;
        drop(running);
        while let Some(ended) = serving.join_next().await {
            ended.context("the server panicked")?;
        }
        // A read that outlived its request keeps it: everything acknowledged is durable anyway.
        if let Ok(engine) = Arc::try_unwrap(engine) {
            blocking(|| engine.close()).await.context("closing the engine panicked")?;
        }
        drop(place);
        Ok(())
    }
}
