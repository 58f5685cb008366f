//! Given, when, then: tests of aggregates and projections as ordinary Rust.
//!
//! They take the same way through the SDK as calls of the engine do. Beyond what a test states,
//! they check what the engine relies on: that deciding and folding agree on the state, and that
//! rows do not depend on where batches end. Every failure is a panic that shows what happened.

mod aggregate;
mod projection;

pub use aggregate::{Decided, Given, given};
#[cfg(test)]
pub(crate) use projection::recorded;
pub use projection::{Projected, project};
