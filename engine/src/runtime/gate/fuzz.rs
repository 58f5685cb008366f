//! The gate under mutations: what passes is valid by the validator alone, keeps to the limits, and
//! can be held to the contract.

use super::*;
use crate::fuzz;
use crate::runtime::Wasi;
use crate::runtime::contract::Contract;

/// Bytes that the validator asks for because a section says how much is in it, before it looks. 32
/// MiB: the gate's limits hold for what is said, and of types the validator takes a million.
const CLAIMED: u64 = 32 << 20;

#[test]
fn what_passes_the_gate_is_valid_and_the_same_again() {
    let features = WasmFeatures::default();
    let limits = GateLimits::default();
    let contract = Contract::read(Wasi::Frozen).expect("is read");
    let memory = 16 << 20;
    let judge = |bytes: &[u8]| {
        let passed = check(bytes, features, &limits, memory)?;
        // Whatever it says, it says it.
        let fits = contract.fits(&passed).map_err(|misfit| misfit.to_string());
        Ok::<_, GateError>((passed.imports.len(), passed.exports.len(), fits))
    };
    let each = |bytes: &[u8]| {
        let judged = fuzz::is_bounded_beyond(CLAIMED, bytes, || judge(bytes));
        assert_eq!(judge(bytes), judged);
        match judged {
            Ok(_) => {
                let mut validator = Validator::new_with_features(features);
                drop(validator.validate_all(bytes).expect("what passes is valid"));
            }
            Err(GateError::Invalid { offset, .. }) => assert!(offset <= bytes.len()),
            Err(GateError::TooMuch { found, allowed, .. }) => assert!(found > allowed),
            Err(GateError::NotAComponent(_)) => {}
        }
    };
    let component = |(_, text): (String, Vec<u8>)| -> Vec<u8> {
        wat::parse_bytes(&text).expect("is one").into_owned()
    };
    let seeds: Vec<_> = fuzz::corpus("gate").into_iter().map(component).collect();
    for seed in &seeds {
        each(seed);
        // Cut at every byte.
        (0..seed.len()).for_each(|end| each(&seed[..end]));
    }
    let dictionary = ["\0asm", "\u{d}\0\u{1}\0", "\u{1}\0\0\0", "factum:domain/manifest@0.1.0"];
    fuzz::run_on("gate", &seeds, &dictionary, 6_000, each);
}
