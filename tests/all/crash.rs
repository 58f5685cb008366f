//! Processes that end when it suits least: at any moment, at named points, told to, stopped for a
//! while. What was acknowledged is there, exactly, and what readers saw was so.

mod any_moment;
pub mod bank;
mod points;
pub mod signals;
