//! What users see, tried on the real binary over loopback.
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test may panic, count and start threads"
)]

mod harness;

mod appends;
mod architecture;
mod archive;
mod backup;
mod bad_input;
mod cloud_events;
mod commands;
mod contract;
mod crash;
mod demo;
mod determinism;
mod event_schemas;
mod exchange;
mod faults;
mod fixtures;
mod guest_log;
mod hostile;
mod isolation;
mod languages;
mod linearizable;
mod live;
mod mutants;
mod older_redb;
mod past;
mod projections;
mod read_models;
mod schemas;
mod swap;
mod uploads;
mod verify;
mod wasi;
