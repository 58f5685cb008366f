//! What is durable, wherever it is: in rows, or so far only in the journal and in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::file::LogFile;
use super::settle::Unsettled;
use super::{Group, LogLimits, ReadError};

pub(super) struct Records {
    pub(super) file: LogFile,
    pub(super) unsettled: Unsettled,
    /// Rows that were read, by their first record.
    groups: moka::sync::Cache<u64, Arc<Group>>,
}

impl Records {
    pub(super) fn new(file: LogFile, limits: &LogLimits) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(limits.cache_bytes)
            .weigher(|_, group: &Arc<Group>| u32::try_from(group.bytes()).unwrap_or(u32::MAX));
        Self { file, unsettled: Unsettled::default(), groups: cache.build() }
    }

    /// The group that holds a record: from memory where possible.
    pub(super) fn group(&self, decision: u64) -> Result<Option<Arc<Group>>, ReadError> {
        // Not compared with the head: the index may name a record a moment before the head moves.
        if let Some(group) = self.unsettled.find(decision) {
            return Ok(Some(group));
        }
        // Who reads in order comes to each row by its first record.
        if let Some(group) = self.groups.get(&decision) {
            return Ok(Some(group));
        }
        let Some(group) = self.file.group_of(decision)?.map(Arc::new) else { return Ok(None) };
        self.groups.insert(group.first(), Arc::clone(&group));
        Ok((group.first()..=group.last()).contains(&decision).then_some(group))
    }

    /// The bytes of records, in the order asked, in memory that holds nothing else; it ends before
    /// the first that there is not.
    pub(super) fn records(&self, decisions: &[u64]) -> Result<Vec<Bytes>, ReadError> {
        let mut records = Vec::with_capacity(decisions.len());
        while let Some(next) = decisions.get(records.len()) {
            if let Some(record) = self.unsettled.find(*next).and_then(|group| group.record(*next)) {
                records.push(Bytes::copy_from_slice(&record));
                continue;
            }
            let rest = decisions.get(records.len()..).unwrap_or_default();
            let settled = rest.iter().take_while(|d| self.unsettled.find(**d).is_none()).count();
            // What was settled since it was looked for is found in rows.
            let found = self.file.records(rest.get(..settled.max(1)).unwrap_or_default())?;
            if found.is_empty() {
                break;
            }
            records.extend(found);
        }
        Ok(records)
    }

    /// The bytes of one record.
    pub(super) fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        Ok(self.records(&[decision])?.pop())
    }
}
