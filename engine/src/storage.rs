//! Everything on disk. The only layer that knows redb; it knows nothing of Wasm.

pub mod data_dir;
pub mod disk;
mod index;
pub mod log;
pub mod read_models;
pub mod row_per_event;

/// Does what the storage engine may panic at: it asserts what damaged bytes break, and those must
/// be an error and not the end of a thread. None when it did.
fn unpanicked<T>(act: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).ok()
}
