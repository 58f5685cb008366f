//! The example modules, built from source once a run.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use factum::guest_build::{BuildError, BuildRequest, build};

macro_rules! guest {
    ($(#[$doc:meta])* $name:ident, $dir:literal, $features:expr) => {
        $(#[$doc])*
        pub fn $name() -> &'static [u8] {
            static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
            BUILT.get_or_init(|| built($dir, &$features))
        }
    };
}

guest! {
    /// Hello world, version 1.0.0.
    account, "guest-examples/account", []
}
guest! {
    /// Hello world, version 1.1.0, which allows an overdraft of 100.
    account_with_overdraft, "guest-examples/account", ["overdraft"]
}
guest! {
    /// Real flights.
    flights, "guest-examples/flights", []
}
guest! {
    /// Plain projections, version 1.0.0.
    counting, "tests/guests/counting", []
}
guest! {
    /// Plain projections, version 1.1.0, with one more index.
    counting_indexed, "tests/guests/counting", ["indexed"]
}
guest! {
    /// Plain projections, version 1.2.0, which take what the others cannot.
    counting_mended, "tests/guests/counting", ["mended"]
}
guest! {
    /// Plain projections, version 1.3.0, which count otherwise without saying so.
    counting_otherwise, "tests/guests/counting", ["otherwise"]
}
guest! {
    /// Plain projections, version 3.0.0, which count twice as version 2 of the projection.
    counting_twice, "tests/guests/counting", ["twice"]
}
guest! {
    /// Ten projections that count deposits.
    counting_deposits, "tests/guests/counting", ["bench"]
}
guest! {
    /// Everything a guest must not do.
    hostile, "tests/guests/hostile", []
}

guest! {
    /// Version 1.1.0 of it, which counts its calls in every answer.
    hostile_counter, "tests/guests/hostile", ["counter"]
}
guest! {
    /// Version 1.2.0 of it, whose states are written otherwise under the same state version.
    hostile_reshaped, "tests/guests/hostile", ["reshaped"]
}
guest! {
    /// Version 2.0.0 of it: the same under a higher state version.
    hostile_state_v2, "tests/guests/hostile", ["reshaped", "state_v2"]
}

guest! {
    /// Looks at the world through WASI.
    looking, "tests/guests/wasi", []
}

guest! {
    /// Its manifest says what its data looks like; version 1.0.0.
    parcels, "tests/guests/parcels", []
}
guest! {
    /// Version 1.1.0 of it, whose projection of the same version makes other documents.
    parcels_relabelled, "tests/guests/parcels", ["relabelled"]
}
guest! {
    /// Version 1.2.0 of it: the same under a higher version of the projection.
    parcels_projection_v2, "tests/guests/parcels", ["relabelled", "projection_v2"]
}
guest! {
    /// Version 1.3.0 of it, with hidden state that only an example shows.
    parcels_moody, "tests/guests/parcels", ["moody"]
}

/// The directory that holds the workspace.
pub fn workspace() -> PathBuf {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    engine.parent().expect("the workspace").to_owned()
}

fn built(dir: &str, features: &[&str]) -> Vec<u8> {
    try_build(dir, features).unwrap_or_else(|error| panic!("{error}"))
}

fn try_build(dir: &str, features: &[&str]) -> Result<Vec<u8>, BuildError> {
    let request = BuildRequest {
        crate_dir: workspace().join(dir),
        features: features.iter().map(ToString::to_string).collect(),
        target_dir: workspace().join("target").join("guests"),
        install: true,
    };
    build(&request, &mut |line| eprintln!("{line}"))
}

/// A guest in another language than Rust. None, and loudly so, where its tools cannot be had.
pub fn scripted(guest: &str) -> Option<Vec<u8>> {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    match try_build(guest, &[]) {
        Ok(component) => Some(component),
        Err(error @ BuildError::NoToolchain { .. }) => {
            let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("SKIPPED ({count} so far): {guest} was not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The same with the imports of WASI left in, from what the build before left.
pub fn account_typescript_with_wasi() -> Vec<u8> {
    let made = workspace().join("target/guests/typescript");
    let place = made.join("account-typescript");
    let output = place.join("with-wasi.wasm");
    let status = std::process::Command::new(made.join("tools/node_modules/.bin/componentize-qjs"))
        .arg("--wit")
        .arg(place.join("factum.wit"))
        .arg("--js")
        .arg(place.join("module.js"))
        .args(["--world", "module", "--sync", "--output"])
        .arg(&output)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.expect("runs").success());
    std::fs::read(output).expect("reads")
}
