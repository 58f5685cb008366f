//! Projections so plain that a test, or a bench, knows what they must hold.

#[cfg(not(feature = "bench"))]
pub mod counts;
#[cfg(feature = "bench")]
pub mod deposits;
