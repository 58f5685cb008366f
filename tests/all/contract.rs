//! The contract's text is what guests were built against: it changes on purpose or not at all.

use crate::harness::workspace;

/// BLAKE3 of `wit/factum.wit`. Until 0.1.0 is released, update it together with CHANGELOG.md;
/// afterwards, shapes never change and new ones come in a package of their own.
const CONTRACT: &str = "3d180b7491d82ca18edd6090895718e9897b5d2c384412801050386482263d86";

#[test]
fn the_contract_is_the_one_that_was_written_down() {
    let text = std::fs::read(workspace().join("wit").join("factum.wit")).expect("reads");
    assert_eq!(blake3::hash(&text).to_hex().as_str(), CONTRACT);
}
