//! What goes wrong in a guest: never the domain saying no, which is a [`crate::Rejection`].

use std::error::Error;
use std::fmt;

/// Something a guest cannot handle, such as a stored document it cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// A fault that operators will read.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Fault {}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self(message)
    }
}

/// Why a command or an event cannot be read.
#[derive(Debug)]
pub enum DecodeError {
    /// There is no variant of this name, or none of this schema version.
    Unknown,
    /// The data does not fit the variant.
    Invalid(serde_json::Error),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("is not known"),
            Self::Invalid(error) => write!(f, "does not fit: {error}"),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unknown => None,
            Self::Invalid(error) => Some(error),
        }
    }
}
