//! Malformed components by the thousand: through the gate and the type check as library calls, a
//! sample of them through the real route.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use factum::runtime::{
    CompileLimits, CompilerProgram, GateLimits, GuestLimits, Runtime, RuntimeOptions,
};
use factum::tasks::Spawner;

use super::bytes::saying;
use crate::harness::{Random, Server, account};

/// `FACTUM_SUITE=full` makes ten times as many.
fn many(count: usize) -> usize {
    if std::env::var("FACTUM_SUITE").is_ok_and(|suite| suite == "full") {
        count * 10
    } else {
        count
    }
}

fn runtime(dir: &std::path::Path) -> Runtime {
    let options = RuntimeOptions {
        guests: GuestLimits::default(),
        gate: GateLimits::default(),
        compile: CompileLimits::default(),
        // Nothing may get so far.
        compiler: CompilerProgram::Child("/nobody/compiles/here".into()),
        cache: dir.to_owned(),
    };
    Runtime::new(options, &Spawner::default()).expect("starts")
}

fn below(random: &Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).expect("is below")
}

/// The bytes with up to eight bits turned over.
fn flipped(bytes: &[u8], random: &Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(8) {
        let at = below(random, bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

fn smith(random: &Random) -> Vec<u8> {
    loop {
        let seed: Vec<u8> = (0..512).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
        if let Ok(component) = wasm_smith::Component::arbitrary(&mut Unstructured::new(&seed)) {
            return component.to_bytes();
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (runtime, whole) = (runtime(dir.path()), account());
    runtime.check(whole).expect("fits");
    // Cut where a section ends, it is one with fewer roles, or does not say who made it.
    let payloads = wasmparser::Parser::new(0).parse_all(whole);
    let sections = payloads.filter_map(|payload| payload.expect("is sound").as_section());
    let ends: BTreeSet<_> = sections.map(|(_, range)| range.end).collect();
    let (random, count) = (Random::from_time(), many(5_000));
    for at in 0..count {
        // The first and the last bytes each, the others by chance; a later cut costs more time.
        let length = match at {
            0..1_000 => at,
            1_000..1_200 => whole.len() - (at - 999),
            _ => below(&random, below(&random, whole.len()) + 1),
        };
        let passes = runtime.check(&whole[..length]).is_ok();
        assert!(!passes || ends.contains(&length), "{length} bytes pass");
    }
}

#[test]
fn flipped_bits_are_refused_or_harmless() {
    let dir = tempfile::tempdir().expect("a directory");
    let (runtime, random) = (runtime(dir.path()), Random::from_time());
    // In a large component most bits are code; in a small one, what holds it together.
    let small = saying(r#"{"name":"small","version":"1.0.0","contract":"0.1.0"}"#);
    for (whole, count) in [(account(), many(4_000)), (&small, many(16_000))] {
        runtime.check(whole).expect("fits");
        let refused = (0..count).filter(|_| runtime.check(&flipped(whole, &random)).is_err());
        let refused = refused.count();
        // A bit of a constant or of a text does no harm.
        assert!(refused > count / 4 && refused < count, "{refused} of {count} refused");
    }
}

#[test]
fn components_of_a_smith_do_not_fit_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    let (runtime, random) = (runtime(dir.path()), Random::from_time());
    for _ in 0..many(20_000) {
        let bytes = smith(&random);
        assert!(runtime.check(&bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_sample_of_them_through_the_route_leaves_the_server_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &["--compile-cpu-seconds", "5"]);
    let (whole, random) = (account(), Random::from_time());
    for at in 0..many(300) {
        let bytes = match at % 3 {
            0 => whole[..below(&random, whole.len())].to_vec(),
            1 => flipped(whole, &random),
            _ => smith(&random),
        };
        let answer = server.client.upload(&bytes);
        let known = ["invalid_module", "module_too_costly", "version_exists"];
        let refused = answer.json["code"].as_str().is_some_and(|code| known.contains(&code));
        assert!(answer.status < 300 || refused, "{answer:?}");
    }
    server.client.get("/readyz").ok();
    server.stop();
}
