//! The first thing a user runs.

use crate::harness::command;

#[test]
fn the_demo_answers_a_week_of_real_flights_as_the_raw_rows_say() {
    let run = command().args(["demo", "--once"]).output().expect("runs");
    let (said, errors) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{errors}");
    for expected in ["6,099", "18,262", "rejected", "1.1.0"] {
        assert!(said.contains(expected), "{expected:?} is missing:\n{said}");
    }
}
