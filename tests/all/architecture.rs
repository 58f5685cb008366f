//! The rules of ARCHITECTURE.md that a reader relies on, held over the engine's sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::workspace;

const MOST_LINES: usize = 400;
const MOST_COLUMNS: usize = 100;

/// Which of our own top-level modules a module may name. What is not here is an outermost command.
const IMPORTS: [(&str, &str); 29] = [
    ("names", ""),
    ("json", ""),
    ("event", "names"),
    ("expected", "names"),
    ("query", "event names"),
    ("decision", "event names"),
    ("document", ""),
    ("manifest", "document names"),
    ("schemas", "event manifest"),
    ("clock", "faults"),
    ("tasks", ""),
    // Switches that whoever may fail asks; their proof runs processes.
    ("faults", "clock tasks"),
    ("runtime", "clock decision event tasks"),
    ("storage", "clock decision document event expected faults names query tasks"),
    ("event_schemas", "decision event names query reads schemas storage tasks"),
    (
        "commands",
        "clock decision event event_schemas expected faults json manifest names runtime schemas \
         storage tasks",
    ),
    ("appends", "commands decision event event_schemas expected names query reads storage tasks"),
    (
        "projections",
        "clock decision document event faults manifest names query runtime storage subscriptions \
         tasks",
    ),
    (
        "modules",
        "clock commands decision event event_schemas faults manifest names projections query \
         runtime schemas storage tasks",
    ),
    ("reads", "decision event faults names query storage"),
    ("subscriptions", "decision event names query storage tasks"),
    ("checkpoints", "clock decision storage"),
    ("archive", "checkpoints clock decision reads storage tasks"),
    ("verify", "checkpoints clock decision modules runtime storage"),
    ("backup", "checkpoints clock decision faults modules storage verify"),
    (
        "engine",
        "appends archive backup checkpoints clock commands decision event_schemas modules names \
         projections runtime schemas storage subscriptions tasks verify",
    ),
    ("metrics", "engine projections"),
    ("guest_build", ""),
    ("client", ""),
];

/// One heavy dependency, one folder; the contract is made into bytes where guests are built and
/// where they are held to it.
const ONLY_IN: [(&str, &str); 11] = [
    ("redb", "storage"),
    ("wasmtime", "runtime"),
    ("wasmtime_wasi", "runtime"),
    ("jsonschema", "schemas"),
    ("ed25519_dalek", "checkpoints"),
    ("sha2", "checkpoints"),
    ("tar", "backup"),
    ("axum", "http"),
    ("wasmparser", "runtime"),
    ("wit_parser", "runtime"),
    ("wit_component", "guest_build runtime"),
];

struct Source {
    /// The first part of its path: `storage` for `storage.rs` and everything in `storage/`.
    module: String,
    path: PathBuf,
    /// Without what follows `#[cfg(test)]`.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = workspace().join("engine").join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("reads") {
            let path = entry.expect("reads").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs" && name != "fuzz.rs") {
                let whole = std::fs::read_to_string(&path).expect("reads");
                let text = whole.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                let relative = path.strip_prefix(&root).expect("inside");
                let first = relative.components().next().expect("a part").as_os_str();
                let module = Path::new(first).file_stem().expect("a name");
                found.push(Source { module: module.to_string_lossy().into(), path, text });
            }
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut faults = Vec::new();
    let known: BTreeSet<_> = sources().iter().map(|source| source.module.clone()).collect();
    for source in sources() {
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == source.module) else {
            continue;
        };
        for name in &known {
            let allowed = allowed.split(' ').any(|allowed| allowed == name);
            let foreign = *name != source.module && !allowed;
            if foreign && names(&source.text, name) {
                faults.push(format!("{} names crate::{name}", source.path.display()));
            }
        }
    }
    report(&faults);
}

fn names(text: &str, module: &str) -> bool {
    let needle = format!("crate::{module}");
    text.match_indices(&needle).any(|(at, _)| {
        let after = text[at + needle.len()..].chars().next();
        after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn a_heavy_dependency_lives_in_one_folder() {
    let mut faults = Vec::new();
    for source in sources() {
        for (dependency, home) in ONLY_IN {
            let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let mut uses = code.filter(|line| line.contains(&format!("{dependency}::")));
            if !home.split(' ').any(|home| source.module == home) && uses.next().is_some() {
                faults.push(format!("{} uses {dependency}", source.path.display()));
            }
        }
    }
    report(&faults);
}

#[test]
fn status_codes_live_in_one_file() {
    let mut faults = Vec::new();
    for source in sources() {
        let home = source.path.ends_with("http/error.rs");
        if !home && source.text.contains("StatusCode::") {
            faults.push(format!("{} names a status code", source.path.display()));
        }
    }
    report(&faults);
}

#[test]
fn files_open_with_their_purpose_and_stay_readable() {
    let mut faults = Vec::new();
    for source in sources() {
        let path = source.path.display();
        let opens = source.text.starts_with("//!") || source.text.starts_with("#![doc");
        if !opens {
            faults.push(format!("{path} does not say what it is for"));
        }
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            faults.push(format!("{path} has {lines} lines, and {MOST_LINES} are enough"));
        }
        for (at, line) in source.text.lines().enumerate() {
            if line.chars().count() > MOST_COLUMNS {
                faults.push(format!("{path}:{} is wider than {MOST_COLUMNS} columns", at + 1));
            }
        }
    }
    report(&faults);
}

/// Unmaintained, unsound or replaced by something better.
const KEPT_OUT: [&str; 11] = [
    "figment",
    "lru",
    "bincode",
    "sled",
    "backoff",
    "serde_yaml",
    "rustls-pemfile",
    "fxhash",
    "instant",
    "derivative",
    "async-std",
];

#[test]
fn dependencies_that_are_kept_out_stay_out() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).expect("reads");
    let faults: Vec<_> = KEPT_OUT
        .iter()
        .filter(|name| lock.contains(&format!("name = \"{name}\"\n")))
        .map(|name| format!("{name} is in Cargo.lock"))
        .collect();
    report(&faults);
}
