//! Generated from `wit/`: the types that cross to guests, and typed calls. No logic lives here.
#![allow(missing_debug_implementations, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "engine",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
    additional_derives: [PartialEq],
});
