//! The demo's server: the same code as `factum serve`, in this process.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::report::Report;

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
}

impl Local {
    pub(super) async fn start(place: Place, report: &mut Report) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(place.address).await.with_context(|| {
            format!("{} is taken: stop what listens there, or try --once", place.address)
        })?;
        let address = listener.local_addr()?.to_string();
        report.item(format_args!("serving {} at http://{address}", place.directory.display()));
        Ok(Self { place, address })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn directory(&self) -> &Path {
        &self.place.directory
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}
