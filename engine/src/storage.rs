//! Everything on disk. The only layer that knows redb; it knows nothing of Wasm.

pub mod data_dir;
mod index;
pub mod log;
pub mod read_models;
