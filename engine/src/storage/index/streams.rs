//! Streams in the index: versions, records, names by prefix.

use super::blocks::Pair;
use super::view::StreamBlock;
use super::{Direction, Index, IndexError};

impl Index {
    /// A stream's newest version; none if it never had an event.
    pub(in crate::storage) fn stream_version(
        &self,
        stream: &str,
    ) -> Result<Option<u64>, IndexError> {
        let in_memory = |index: &Self| {
            let layers = index.layers.read();
            let version = layers.memory().find_map(|fresh| fresh.streams.get(stream));
            (version.map(|stream| stream.version), layers.base)
        };
        loop {
            let (version, base) = in_memory(self);
            if version.is_some() {
                return Ok(version);
            }
            let version = self.file.view()?.version(stream)?;
            // A flush in between may have moved it from memory to the file.
            if self.layers.read().base == base {
                return Ok(version);
            }
        }
    }

    /// The records of up to `limit` events of a stream after (or, backward, before) a version, in
    /// the order of reading.
    pub(in crate::storage) fn records(
        &self,
        stream: &str,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<u64>, IndexError> {
        let Some(newest) = self.stream_version(stream)? else { return Ok(Vec::new()) };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        // Events `first` to `last` are wanted; a record holds those after its own number.
        let (first, last) = match direction {
            Direction::Forward => (from.saturating_add(1), from.saturating_add(limit).min(newest)),
            Direction::Backward => {
                let last = from.saturating_sub(1).min(newest);
                ((last + 1).saturating_sub(limit).max(1), last)
            }
        };
        if first > last {
            return Ok(Vec::new());
        }
        let mut records = self.fresh_records(stream, first, last);
        if records.first().is_none_or(|(before, _)| *before >= first) {
            let below = records.first().map_or(u64::MAX, |(_, decision)| *decision);
            let mut older = self.flushed_records(stream, first, last)?;
            older.retain(|(_, decision)| *decision < below);
            older.append(&mut records);
            records = older;
        }
        let numbers = records.iter().map(|(_, decision)| *decision);
        Ok(match direction {
            Direction::Forward => numbers.collect(),
            Direction::Backward => numbers.rev().collect(),
        })
    }

    fn fresh_records(&self, stream: &str, first: u64, last: u64) -> Vec<Pair> {
        let layers = self.layers.read();
        let oldest_first = layers.flushing.as_deref().into_iter().chain([&layers.fresh]);
        let all: Vec<_> = oldest_first
            .filter_map(|fresh| fresh.streams.get(stream))
            .flat_map(|stream| stream.records.iter().copied())
            .collect();
        within(&all, first, last).to_vec()
    }

    fn flushed_records(
        &self,
        stream: &str,
        first: u64,
        last: u64,
    ) -> Result<Vec<Pair>, IndexError> {
        let mut all = Vec::new();
        self.file.view()?.stream_blocks(stream, first - 1, |StreamBlock { records, .. }| {
            let goes_on = records.last().is_some_and(|(before, _)| *before < last);
            all.extend(records);
            goes_on
        })?;
        Ok(within(&all, first, last).to_vec())
    }

    /// Streams whose names begin with `prefix`, after a name, in order, with their versions.
    pub(in crate::storage) fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, IndexError> {
        let is_wanted = |name: &str| name.starts_with(prefix) && after.is_none_or(|a| name > a);
        let mut found = std::collections::BTreeMap::new();
        {
            let layers = self.layers.read();
            let oldest_first = layers.flushing.as_deref().into_iter().chain([&layers.fresh]);
            for fresh in oldest_first {
                for (name, stream) in fresh.streams.iter().filter(|(name, _)| is_wanted(name)) {
                    found.insert(name.to_string(), stream.version);
                }
            }
        }
        let view = self.file.view()?;
        let mut from = after
            .filter(|after| *after >= prefix)
            .map_or_else(|| prefix.as_bytes().to_vec(), |after| [after.as_bytes(), &[1]].concat());
        for _ in 0..limit {
            let Some((name, version)) = view.next_stream(&from)? else { break };
            if !name.starts_with(prefix) {
                break;
            }
            from = [name.as_bytes(), &[1]].concat();
            let newest = found.entry(name).or_insert(version);
            *newest = version.max(*newest);
        }
        Ok(found.into_iter().take(limit).collect())
    }
}

/// The records that hold events `first` to `last`.
fn within(records: &[Pair], first: u64, last: u64) -> &[Pair] {
    let begin = records.partition_point(|(before, _)| *before < first).saturating_sub(1);
    let end = records.partition_point(|(before, _)| *before < last);
    records.get(begin..end).unwrap_or_default()
}
