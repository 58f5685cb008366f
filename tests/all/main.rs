//! What users see, tried on the real binary over loopback.

mod harness;

mod architecture;
mod bad_input;
mod commands;
mod contract;
mod crash;
mod demo;
mod hostile;
mod projections;
mod swap;
