//! Documents as queries and indexes see them: paths into their JSON, and one order of all values.
//!
//! The order: missing, null, false, true, numbers by value, texts by byte, then arrays and objects,
//! which are all equal. Values are turned into bytes that sort the same way, so that a filter, a
//! sort and an index cannot disagree. Pure: no effects, nothing of storage or HTTP.

mod index;
mod path;
mod value;

pub use index::{Entry, Index, IndexError, Part, entry_key};
pub use path::{Path, PathError};
pub use value::{Kind, TEXT_BYTES, Value, complement, next_after};

#[cfg(test)]
mod tests;
