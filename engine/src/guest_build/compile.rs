//! Runs cargo on the guest and finds the module it made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::run::{command, describe, output, stdout};
use super::toolchain::Toolchain;
use super::{BuildError, BuildRequest, TARGET};

/// The profile a workspace may define for its guests, and what it is where none is defined.
const PROFILE: &str = "guest";
const DEFAULT_PROFILE: [&str; 6] = [
    "profile.guest.inherits=\"release\"",
    "profile.guest.opt-level=3",
    "profile.guest.lto=\"fat\"",
    "profile.guest.codegen-units=1",
    "profile.guest.panic=\"abort\"",
    "profile.guest.strip=\"debuginfo\"",
];

/// The core module of the guest.
pub(super) fn compile(
    request: &BuildRequest,
    toolchain: &Toolchain,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let crate_dir = &request.crate_dir;
    let manifest = in_full(&crate_dir.join("Cargo.toml"))?;
    let mut cargo = cargo(crate_dir);
    cargo.args(["build", "--lib", "--target", TARGET, "--profile", PROFILE]);
    for feature in &request.features {
        cargo.args(["--features", feature]);
    }
    toolchain.configure(&mut cargo);
    report(&format!("{} in {}", describe(&cargo), crate_dir.display()));

    let workspace = workspace(crate_dir).unwrap_or_else(|| manifest.clone());
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.arg("--target-dir").arg(in_full(&request.target_dir)?);
    if !defines_profile(&workspace) {
        cargo.args(DEFAULT_PROFILE.iter().flat_map(|setting| ["--config", setting]));
    }
    cargo.args(["--config", &anonymous_paths(&workspace)]);

    let output = output(&mut cargo)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Compile { crate_dir: crate_dir.clone(), stderr });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let module = module_of(&messages, &manifest);
    let path = module.ok_or_else(|| BuildError::NoModule { crate_dir: crate_dir.clone() })?;
    fs::read(&path).map_err(|error| BuildError::File { path, error })
}

/// The cargo that runs us, if one does: it may not be on the PATH.
fn cargo(crate_dir: &Path) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), crate_dir)
}

fn in_full(path: &Path) -> Result<PathBuf, BuildError> {
    fs::canonicalize(path).map_err(|error| BuildError::File { path: path.to_owned(), error })
}

/// The manifest of the workspace that the guest belongs to, which may be its own.
fn workspace(crate_dir: &Path) -> Option<PathBuf> {
    let mut locate = cargo(crate_dir);
    locate.args(["locate-project", "--workspace", "--message-format", "plain"]);
    stdout(&mut locate).ok().map(PathBuf::from)
}

fn defines_profile(workspace: &Path) -> bool {
    let header = format!("[profile.{PROFILE}]");
    let manifest = fs::read_to_string(workspace).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == header)
}

/// Keeps the places of this machine out of panic messages, so that the same source gives the same
/// component everywhere. Given as configuration, it adds to the user's flags instead of replacing
/// them.
fn anonymous_paths(workspace: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home =
        std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let root = workspace.parent().unwrap_or(workspace);
    let flags = [(root, "/guest"), (&cargo_home, "/cargo")]
        .map(|(from, to)| format!("{:?}", format!("--remap-path-prefix={}={to}", from.display())));
    format!("target.{TARGET}.rustflags=[{}]", flags.join(","))
}

/// One line of what cargo says to programs; only the fields looked at.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

fn module_of(messages: &str, manifest: &Path) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| {
            message.reason == "compiler-artifact" && message.manifest_path == manifest
        })
        .flat_map(|message| message.filenames)
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::module_of;

    #[test]
    fn the_module_is_the_one_of_the_guest_and_not_of_a_dependency() {
        let artifact = |manifest: &str, files: &str| {
            let reason = "compiler-artifact";
            format!(r#"{{"reason":"{reason}","manifest_path":"{manifest}","filenames":[{files}]}}"#)
        };
        let messages = [
            "warning: not a message".to_owned(),
            artifact("/d/Cargo.toml", r#""/t/d.wasm""#),
            artifact("/g/Cargo.toml", r#""/t/g.rlib","/t/g.wasm""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let found = module_of(&messages, Path::new("/g/Cargo.toml"));
        assert_eq!(found, Some(PathBuf::from("/t/g.wasm")));
        assert_eq!(module_of(&messages, Path::new("/other/Cargo.toml")), None);
    }
}
