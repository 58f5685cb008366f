#![doc = include_str!("../ARCHITECTURE.md")]

// The vocabulary: imports nothing of the rest.
pub mod decision;
pub mod document;
pub mod event;
pub mod expected;
pub mod json;
pub mod manifest;
pub mod names;
pub mod query;
pub mod schemas;

// The edges of the machine.
pub mod clock;
pub mod tasks;

// Mistakes and deaths on purpose: of tests alone.
pub mod faults;

// Bytes on disk; Wasm. Neither knows the other.
pub mod runtime;
pub mod storage;

#[cfg(test)]
mod fuzz;

// What uses both.
pub mod appends;
pub mod backup;
pub mod checkpoints;
pub mod commands;
pub mod engine;
pub mod event_schemas;
pub mod modules;
pub mod projections;
pub mod reads;
pub mod subscriptions;
pub mod verify;

// What clients speak, and what operators see and type.
pub mod cli;
pub mod http;
pub mod metrics;

// What the outermost commands use: clients of the server, and what they say.
pub mod bench;
pub mod client;
pub mod demo;
pub mod guest_build;
pub mod report;
