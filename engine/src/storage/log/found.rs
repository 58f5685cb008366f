//! Records that the index names: acts, and events that were given their ids elsewhere.

use bytes::Bytes;

use super::{GivenKey, Log, ReadError};

impl Log {
    /// The record of the newest act of a name about a subject, if there was one.
    ///
    /// # Errors
    /// [`ReadError`] when the index or the record cannot be read.
    pub fn newest_act(&self, act: &str, subject: &str) -> Result<Option<Bytes>, ReadError> {
        let decision = self.shared.index.act(act, subject)?;
        decision.map_or(Ok(None), |decision| self.record(decision))
    }

    /// The subject and the record of the newest act of a name about each subject.
    ///
    /// # Errors
    /// [`ReadError`] when the index or a record cannot be read.
    pub fn newest_acts(&self, act: &str) -> Result<Vec<(String, Bytes)>, ReadError> {
        let mut found = Vec::new();
        for (subject, decision) in self.shared.index.acts(act)? {
            let missing = || ReadError::Damaged(format!("decision {decision} is missing"));
            found.push((subject, self.record(decision)?.ok_or_else(missing)?));
        }
        Ok(found)
    }

    /// The record that holds each event which was given its source and id elsewhere.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn find_given(&self, keys: &[GivenKey]) -> Result<Vec<Option<u64>>, ReadError> {
        Ok(self.shared.index.given(keys)?)
    }
}
