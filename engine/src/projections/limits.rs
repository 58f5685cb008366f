//! What projections may use.

use std::time::Duration;

use crate::subscriptions::FeedLimits;

/// What projections may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct ProjectionLimits {
    /// How long a batch waits for more events once one has come. 1 ms: nobody sees it, and a busy
    /// log fills a batch meanwhile.
    pub linger: Duration,
    /// How the log is read for all projections: a part is a batch.
    pub feed: FeedLimits,
    /// Bytes of documents that a projection keeps in memory: half of them changes that one that is
    /// behind gathers before it writes them. 64 MiB: some 150,000 changed documents, which cost a
    /// fifth of what they cost a thousand at a time.
    pub overlay_bytes: usize,
    /// How long it gathers them. 1 s: whoever waits for it sees it move.
    pub overlay_for: Duration,
    /// How long one gathers them that is built while another answers. 10 s: nobody waits for it,
    /// and a crash costs that much of its work.
    pub build_overlay_for: Duration,
    /// The part of one core that a build may use while commands come in, in percent. 20: a tenth of
    /// a machine with two.
    pub build_percent: u32,
    /// Instances that project a batch side by side, each on a core, where a projection says which
    /// events belong together and no commands come in. As many as there are cores, 16 at most: one
    /// thread takes in what they make.
    pub build_workers: usize,
    /// Events of a batch from which on that is done. 256: they take a millisecond, a thread some
    /// hundredths.
    pub divided_events: usize,
    /// Read models as of positions that are kept, or being built. 4: each takes the memory of a
    /// projection that is behind while it is built.
    pub past_models: usize,
    /// Bytes of the file of one. 1 GiB.
    pub past_bytes: u64,
    /// How long a projection that is behind may stay where it is before it counts as stalled. 30 s:
    /// longer than any batch, shorter than anyone's patience.
    pub stalled_after: Duration,
    /// First events that a module version must project like the one that made the documents, to go
    /// on with them. 1,000: some 10 ms.
    pub sample_events: usize,
    /// Documents of a read model that a comparison looks at. 1,000,000: some seconds.
    pub diff_rows: usize,
    /// How long what was written may stay without an fsync: a crash projects it again. 1 s.
    pub durable_every: Duration,
    /// Bytes of changes that may be written without an fsync. 32 MiB: a file reuses no space in
    /// between.
    pub durable_bytes: usize,
    /// Documents that an index that is being built takes in between two batches. 5,000: some 20 ms.
    pub build_rows: usize,
    /// Documents that one query may look at. 100,000: some 100 ms.
    pub scan_rows: usize,
    /// Queries of one projection that its module answers at a time; others wait. 8: each has an
    /// instance and a thread, and a deadline.
    pub guest_queries: usize,
    /// Bytes of documents after which a page ends. 8 MiB: what a thousand clients may hold of a
    /// server's memory at once.
    pub page_bytes: usize,
}

impl Default for ProjectionLimits {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(1),
            feed: FeedLimits::default(),
            overlay_bytes: 64 << 20,
            overlay_for: Duration::from_secs(1),
            build_overlay_for: Duration::from_secs(10),
            build_percent: 20,
            build_workers: std::thread::available_parallelism().map_or(1, usize::from).min(16),
            divided_events: 256,
            past_models: 4,
            past_bytes: 1 << 30,
            stalled_after: Duration::from_secs(30),
            sample_events: 1_000,
            diff_rows: 1_000_000,
            durable_every: Duration::from_secs(1),
            durable_bytes: 32 << 20,
            build_rows: 5_000,
            scan_rows: 100_000,
            guest_queries: 8,
            page_bytes: 8 << 20,
        }
    }
}

impl ProjectionLimits {
    /// How long a build rests after it worked for so long beside commands.
    pub(super) fn rest_of_build(&self, took: Duration) -> Duration {
        let percent = self.build_percent.clamp(1, 100);
        took.saturating_mul(100 - percent) / percent
    }
}
