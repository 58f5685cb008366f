//! The official SDK for Python, from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::workspace;

/// The version that was tried.
const PACKAGE: &str = "cloudevents==2.2.0";

/// A Python with the SDK. None, and loudly so, where it cannot be had.
fn python() -> Option<PathBuf> {
    let place = workspace().join("target").join("python-cloudevents");
    let python = place.join("bin").join("python");
    let has_it = |python: &Path| {
        let asked = Command::new(python).args(["-c", "import cloudevents.core.v1.event"]).output();
        asked.is_ok_and(|asked| asked.status.success())
    };
    if !has_it(&python) {
        let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place).output();
        let fetched = venv.and_then(|_| {
            Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]).output()
        });
        if !has_it(&python) {
            eprintln!("SKIPPED: no {PACKAGE}, so the round trip was not tried: {fetched:?}");
            return None;
        }
    }
    Some(python)
}

#[test]
fn the_official_sdk_reads_what_it_wrote() {
    let Some(python) = python() else { return };
    let (server, _dir) = super::server();
    let script = workspace().join("tests/all/cloud_events/round_trip.py");
    let done = Command::new(python).arg(script).arg(&server.client.base).output().expect("runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "14 events came back as they were\n");
}
