//! Manifests under mutations: what is one is written and read again the same, and its names are.

use super::*;
use crate::fuzz;

fn each(text: &str) {
    let Ok(manifest) = fuzz::is_bounded(text.as_bytes(), || Manifest::parse(text)) else { return };
    let written = serde_json::to_string(&manifest).expect("is written");
    let again = Manifest::parse(&written).expect("what is written is read");
    assert_eq!(serde_json::to_string(&again).expect("is written"), written);
    assert!(Name::check(&manifest.name).is_ok());
    assert!(semver::Version::parse(&manifest.version).is_ok());
    assert!(manifest.collections().all(|name| Name::check(name).is_ok()));
    for projection in &manifest.projections {
        let indexes = projection.collections.iter().flat_map(|collection| &collection.indexes);
        indexes.for_each(|index| drop(index.parse().expect("an index")));
    }
}

#[test]
fn manifests_are_written_as_they_were_read() {
    let dictionary = [
        "\"name\":",
        "\"version\":",
        "\"aggregates\":[",
        "\"commands\":[]",
        "\"collections\":",
        "\"indexes\":",
        "\"paths\":[\"-a.b\"]",
        "\"partition\":\"stream\"",
        "\"unique\":true",
        "4294967296",
    ];
    fuzz::run("manifest", &dictionary, 6_000, |bytes| each(&String::from_utf8_lossy(bytes)));
}
