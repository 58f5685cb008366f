//! Streams that were read lately, for who reads them again: their records as they were found.
//!
//! What was found holds as long as the stream has the version that it then had, so nothing is ever
//! thrown out for being old. Memory is bounded by bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::Direction;

/// Where reading began, which way it went, and its limit.
type Span = (u64, Direction, usize);

pub(super) struct RecentStreams {
    reads: moka::sync::Cache<Arc<str>, Arc<Read>>,
}

/// What one read found.
struct Read {
    span: Span,
    /// The stream's version before it was read.
    version: u64,
    records: Arc<[Bytes]>,
}

impl RecentStreams {
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |stream: &Arc<str>, read: &Arc<Read>| {
            let records = read.records.iter().map(|record| record.len() + size_of::<Bytes>());
            let bytes = size_of::<Read>() + 64 + stream.len() + records.sum::<usize>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let reads = moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh);
        Self { reads: reads.build() }
    }

    /// What the same read found, if the stream has not grown since.
    pub(super) fn get(&self, stream: &str, span: Span, version: u64) -> Option<Arc<[Bytes]>> {
        let read = self.reads.get(stream)?;
        (read.span == span && read.version == version).then(|| Arc::clone(&read.records))
    }

    /// Remembers what was found. The records share a piece of memory that holds nothing else.
    pub(super) fn put(&self, stream: &str, span: Span, version: u64, records: &Arc<[Bytes]>) {
        let read = Read { span, version, records: Arc::clone(records) };
        self.reads.insert(stream.into(), Arc::new(read));
    }
}
