//! Why a file of documents failed, or took nothing.

/// Why a file of documents failed. It can always be deleted and built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadModelError(
    /// What the storage said.
    pub String,
);

impl std::fmt::Display for ReadModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the read model's file: {}", self.0)
    }
}

impl std::error::Error for ReadModelError {}

pub(super) fn failed(error: impl std::fmt::Display) -> ReadModelError {
    ReadModelError(error.to_string())
}

pub(super) fn damaged<T>() -> Result<T, ReadModelError> {
    Err(failed("its pages do not hang together"))
}

/// Two documents that a unique index cannot both hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The read model.
    pub collection: String,
    /// The index.
    pub index: String,
    /// The keys of both documents.
    pub keys: [String; 2],
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { collection, index, keys: [one, other] } = self;
        write!(
            f,
            "the documents {one:?} and {other:?} of {collection} have the same values in its \
             unique index {index}"
        )
    }
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The documents cannot be.
    Conflict(Conflict),
    /// The file failed.
    File(ReadModelError),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<ReadModelError> for WriteError {
    fn from(error: ReadModelError) -> Self {
        Self::File(error)
    }
}
