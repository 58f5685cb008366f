//! The harness of suite B finds what there is to find: a version of the storage engine that loses
//! commits is caught by it.

use std::process::Command;

use crate::harness::workspace;

/// Seeds within which it must be found: one in six finds it.
const SEEDS: u64 = 100;

#[test]
fn redb_4_1_is_found_to_lose_commits_in_two_crashes() {
    let package = workspace().join("tests/redb-4.1");
    let target = workspace().join("target/redb-4.1");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--config", "net.retry=0", "--target-dir"])
        .arg(&target)
        .current_dir(&package)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        assert!(!said.contains("could not compile"), "{said}");
        eprintln!("SKIPPED: redb 4.1.0 cannot be had, and was not tried: {said}");
        return;
    }
    let first = std::env::var("FACTUM_SEED").unwrap_or_else(|_| "1".into());
    let ran = Command::new(target.join("debug/redb-4-1"))
        .args([first, SEEDS.to_string()])
        .output()
        .expect("it runs");
    let found = String::from_utf8_lossy(&ran.stdout);
    println!("{found}");
    assert!(ran.status.success(), "{found}");
}
