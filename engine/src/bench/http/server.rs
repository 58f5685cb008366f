//! The measured server: this executable again, as a process of its own on a temporary directory,
//! so that it shares nothing with the load generator but the machine.
//!
//! It promises to end the process it started, by its handle, however the measurement ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::tasks::blocking;

/// What it prints before its address.
const SCHEME: &str = "http://";
/// How long it may take to stop by itself.
const STOP_TRIES: u32 = 200;
const STOP_PAUSE: Duration = Duration::from_millis(50);

/// A running server and its data.
#[derive(Debug)]
pub(in crate::bench) struct Server {
    child: Child,
    address: String,
    data: TempDir,
    /// Kept open: a server that writes where nobody can read would fail.
    output: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts it on a free port.
    pub(in crate::bench) async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("no temporary directory can be made")?;
        let executable = std::env::current_exe().context("this executable cannot be found")?;
        let mut child = Command::new(executable)
            .args(["serve", "--listen", "127.0.0.1:0", "--bench-route", "--data"])
            .arg(data.path().join("store"))
            .env("FACTUM_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server could not be started")?;
        let stdout = child.stdout.take();
        // From here on, dropping it ends the child.
        let mut server = Self { child, address: String::new(), data, output: None };
        let mut output = BufReader::new(stdout.context("the server has no output")?);
        let said = blocking(move || address(&mut output).map(|address| (address, output)));
        let (address, output) = said.await.context("reading its output panicked")??;
        server.address = address;
        server.output = Some(output);
        Ok(server)
    }

    /// Where it listens.
    pub(in crate::bench) fn address(&self) -> &str {
        &self.address
    }

    /// Where its read models are: files that it builds again when they are gone.
    pub(in crate::bench) fn read_models(&self) -> std::path::PathBuf {
        self.store().join("read_models")
    }

    fn store(&self) -> std::path::PathBuf {
        Path::new(self.data.path()).join("store")
    }

    /// Asks it to stop, and waits for it.
    pub(in crate::bench) async fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("the server could not be told to stop")?;
        for _ in 0..STOP_TRIES {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(anyhow!("the server ended with {status}"))
                };
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        Err(anyhow!("the server did not stop by itself"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a clean stop there is nothing left to end, and both calls say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the first line that has one.
fn address(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut said = String::new();
    for line in output.by_ref().lines() {
        let line = line?;
        if let Some((_, rest)) = line.split_once(SCHEME) {
            let end = rest.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(rest.len());
            return Ok(rest.get(..end).unwrap_or_default().to_owned());
        }
        said.push_str(&line);
    }
    Err(anyhow!("the server ended without saying where it listens: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_the_server_says() {
        let mut said = "starting\nlistening on http://127.0.0.1:41231/ now\n".as_bytes();
        assert_eq!(address(&mut said).expect("an address"), "127.0.0.1:41231");
        assert!(address(&mut "no port\n".as_bytes()).is_err());
    }
}
