//! The fault build: each wrong build is caught by the test that claims it, and what users build has
//! none of it; and the page that says so is true.

use std::path::Path;
use std::process::Command;

use factum::faults::{CLAIMS, Suite, uncaught};
use serde_json::Value;

use crate::harness::workspace;

#[test]
fn each_mutant_of_the_server_is_caught() {
    let uncaught = uncaught(Suite::BlackBox);
    assert!(uncaught.is_empty(), "\n{}", uncaught.join("\n"));
}

#[test]
fn no_feature_but_that_of_tests_brings_faults_into_a_build() {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let engine = packages.iter().find(|package| package["name"] == "factum").expect("is there");
    let features = engine["features"].as_object().expect("features");
    let brings = |feature: &Value| feature.as_str().is_some_and(|name| name.contains("faults"));
    for (name, brought) in features {
        assert!(!brought.as_array().expect("a list").iter().any(brings), "{name} brings it");
    }
    assert!(features.contains_key("faults"));
    for package in packages {
        for on in package["dependencies"].as_array().expect("a list") {
            let asks = on["features"].as_array().expect("a list").iter().any(brings);
            let of_tests = on["name"] == "factum" && on["kind"] == "dev";
            assert!(!asks || of_tests, "{} asks for it: {on}", package["name"]);
        }
    }
}

#[test]
fn the_page_names_every_mutant_and_only_tests_that_exist() {
    let engine = workspace().join("engine");
    let page = std::fs::read_to_string(engine.join("ASSURANCE.md")).expect("reads");
    for claim in CLAIMS {
        let row = format!("| {} | {} | `{}` |", claim.mutant.name(), claim.promise, claim.test);
        assert!(page.contains(&row), "the page has no row\n{row}");
    }
    let this = std::env::current_exe().expect("is known");
    let listed = Command::new(this).arg("--list").output().expect("lists").stdout;
    let listed = String::from_utf8(listed).expect("text");
    let mut sources = String::new();
    add_sources(&engine.join("src"), &mut sources);
    let spans = page.split('`').skip(1).step_by(2).filter(|span| span.contains("::"));
    for span in spans {
        let is_here = listed
            .lines()
            .any(|line| line.strip_prefix(span).is_some_and(|rest| rest.starts_with(':')));
        let name = span.rsplit("::").next().expect("a name");
        assert!(is_here || sources.contains(&format!("fn {name}(")), "there is no test {span}");
    }
}

fn add_sources(dir: &Path, to: &mut String) {
    for entry in std::fs::read_dir(dir).expect("reads") {
        let path = entry.expect("reads").path();
        match path.is_dir() {
            true => add_sources(&path, to),
            false => *to += &std::fs::read_to_string(path).expect("reads"),
        }
    }
}
