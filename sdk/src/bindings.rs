//! What `wit-bindgen` makes of the contract, one module for each world.
//!
//! Nothing here is written by hand, and nothing of it is for authors of modules; only hostile test
//! guests, which must break the rules, use it directly. Exports are macros that
//! [`module!`](crate::module) calls for the roles a module plays, so that a component never exports
//! a role it does not have.

#![allow(
    missing_debug_implementations,
    unsafe_code,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::redundant_clone,
    clippy::semicolon_if_nothing_returned,
    clippy::too_many_lines,
    clippy::undocumented_unsafe_blocks,
    reason = "generated code"
)]

pub mod guest {
    wit_bindgen::generate!({
        path: "../wit",
        world: "guest",
        pub_export_macro: true,
        default_bindings_module: "factum_sdk::bindings::guest",
    });
}

pub mod aggregate_role {
    wit_bindgen::generate!({
        path: "../wit",
        world: "aggregate-role",
        pub_export_macro: true,
        default_bindings_module: "factum_sdk::bindings::aggregate_role",
    });
}

pub mod projection_role {
    wit_bindgen::generate!({
        path: "../wit",
        world: "projection-role",
        pub_export_macro: true,
        default_bindings_module: "factum_sdk::bindings::projection_role",
        with: { "factum:domain/types@0.1.0": crate::bindings::types },
    });
}

pub mod queries_role {
    wit_bindgen::generate!({
        path: "../wit",
        world: "queries-role",
        pub_export_macro: true,
        default_bindings_module: "factum_sdk::bindings::queries_role",
    });
}

pub use aggregate_role::exports::factum::domain::aggregate;
pub use aggregate_role::factum::domain::types;
pub use guest::exports::factum::domain::manifest;
pub use guest::factum::domain::{log, read_models};
pub use projection_role::exports::factum::domain::projection;
pub use queries_role::exports::factum::domain::queries;
