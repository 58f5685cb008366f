//! Runs programs, free of what an outer cargo leaves in the environment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use super::BuildError;

/// The variables of cargo that a user sets and that hold for every build; cargo itself sets or
/// passes on the others, and they belong to the outer build.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];
const DROPPED: [&str; 7] = [
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "MAKEFLAGS",
];

/// `program`, in the guest's directory, so that a toolchain the guest asks for is used.
pub(super) fn command(program: impl AsRef<OsStr>, crate_dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate_dir);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_outer_build) {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_outer_build(name: &str) -> bool {
    let kept = KEPT.iter().any(|kept| name.starts_with(kept));
    DROPPED.contains(&name) || name.starts_with("CARGO_") && !kept
}

/// Runs it to its end, whatever that is.
pub(super) fn output(command: &mut Command) -> Result<Output, BuildError> {
    command.output().map_err(|error| BuildError::NotStarted { command: describe(command), error })
}

/// What it printed, or the last line of its complaint.
pub(super) fn stdout(command: &mut Command) -> Result<String, String> {
    let output = output(command).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("`{}` failed: {last}", describe(command)))
}

/// The command as one would type it.
pub(super) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect();
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{command, describe, is_of_outer_build};

    #[test]
    fn what_an_outer_cargo_leaves_behind_does_not_reach_the_guest() {
        for dropped in
            ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PKG_NAME", "RUSTFLAGS"]
        {
            assert!(is_of_outer_build(dropped), "{dropped}");
        }
        for kept in ["CARGO_HOME", "CARGO_REGISTRIES_MINE_INDEX", "CARGO_NET_OFFLINE", "PATH"] {
            assert!(!is_of_outer_build(kept), "{kept}");
        }
    }

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let mut cargo = command("/opt/bin/cargo", Path::new("."));
        cargo.args(["build", "--config", "profile.guest.lto=\"fat\""]);
        assert_eq!(describe(&cargo), "cargo build --config 'profile.guest.lto=\"fat\"'");
    }
}
