//! Reads and writes one variant of an enum as bare JSON, the variant's name being known already.
//!
//! The enum's own serde derives do the work; this stands in for the format. Variants are addressed
//! by their place, so serde's renames change nothing, and no intermediate value is built: this is
//! on the path of every command and event.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Result;

mod reader;
mod writer;

const NOT_AN_ENUM: &str = "commands and events are enums in serde's default form";

/// Reads the variant at `index`. No data stands for an empty object.
pub(crate) fn decode<T: DeserializeOwned>(index: usize, data: &str) -> Result<T> {
    T::deserialize(reader::Reader::new(index, if data.is_empty() { "{}" } else { data }))
}

/// Writes the data of the variant `value` is; a variant without data is an empty object.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<String> {
    writer::write(value)
}

#[cfg(test)]
mod tests;
