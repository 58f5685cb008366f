//! Commands as they travel: a name, and the variant's fields as a JSON object.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DecodeError, Fault, variant};

/// The commands of an aggregate: an enum with `#[derive(Command, Deserialize)]`.
///
/// Data with unknown fields is accepted, unless the enum says `#[serde(deny_unknown_fields)]`.
pub trait Command: DeserializeOwned {
    /// The commands' names, in the order of the variants.
    const NAMES: &'static [&'static str];

    /// The name of this command.
    fn name(&self) -> &'static str;

    /// Reads the command called `name`. No data and `null` are as good as `{}`.
    fn decode(name: &str, data: &str) -> Result<Self, DecodeError> {
        let index = Self::NAMES.iter().position(|known| *known == name);
        variant::decode(index.ok_or(DecodeError::Unknown)?, data).map_err(DecodeError::Invalid)
    }

    /// The command's data as JSON.
    fn encode(&self) -> Result<String, Fault>
    where
        Self: Serialize,
    {
        variant::encode(self)
            .map_err(|error| Fault::new(format!("command `{}`: {error}", self.name())))
    }
}
