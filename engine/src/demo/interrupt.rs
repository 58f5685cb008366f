//! The signals that end the outermost commands: Ctrl-C, and what a supervisor sends.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is told to end.
pub(crate) async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        stopped = tokio::signal::ctrl_c() => stopped,
    }
}
