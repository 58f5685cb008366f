//! Everything on disk. The only layer that knows redb; it knows nothing of Wasm.

pub mod data_dir;
pub mod disk;
mod index;
pub mod log;
pub mod read_models;
pub mod row_per_event;
