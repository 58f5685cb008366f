//! What clients may use.

use std::time::Duration;

/// What clients may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Bytes of a JSON body. 1 MiB: a command is data, not a file.
    pub body_bytes: usize,
    /// Bytes of one line of a body of many lines. 1 MiB: what one body may have.
    pub line_bytes: usize,
    /// Bytes of an uploaded component. 32 MiB, as the engine's own limit; the server sets it to
    /// that.
    pub component_bytes: usize,
    /// Uploads at a time; further ones wait. 2: compiling takes all of a core.
    pub uploads: usize,
    /// Backups and verifications at a time; further ones are refused. 1: each reads the whole log.
    pub upkeep: usize,
    /// Rows or events of one page. 1,000: an answer in milliseconds.
    pub page_rows: usize,
    /// Rows or events of a page where the client does not say. 100.
    pub page_rows_default: usize,
    /// Bytes of event data after which a page ends. 8 MiB: what a thousand clients may hold of a
    /// server's memory at once.
    pub page_bytes: usize,
    /// Records that one page of decisions looks at to find those asked for. 100,000: some 100 ms
    /// of one core.
    pub scan_decisions: u64,
    /// Events of one append. 1,000: they are one record, which readers take whole.
    pub append_events: usize,
    /// Bytes of the lines of an import after which an append is made of them. 512 KiB: as much as
    /// the events of one append usually have.
    pub import_bytes: usize,
    /// Appends of one import that are under way at once, and as many read ahead. 8: a disk whose
    /// syncs take 10 ms is kept busy, and one import takes some megabytes.
    pub import_appends: usize,
    /// Tags of one event. 100: each is an entry of the index.
    pub event_tags: usize,
    /// Attributes of one CloudEvent beyond those that events have here. 32: each event carries
    /// them, and nothing looks at them.
    pub event_extensions: usize,
    /// Items, types, tags and categories of one query, taken together. 256: each may be looked
    /// for at every step of a search.
    pub query_parts: usize,
    /// Lines of one body that are decided at once. 256: enough to fill a commit.
    pub bulk_concurrency: usize,
    /// Connections at a time; further ones wait. 10,000: at some 10 KB each, 100 MB.
    pub connections: usize,
    /// Connections at a time from one address; further ones are closed. 4,000: one address cannot
    /// take all of them.
    pub connections_per_address: usize,
    /// Bytes that a connection buffers. A head that does not fit is refused, at the latest when it
    /// has twice as many. 64 KiB: ten times what browsers send.
    pub header_bytes: usize,
    /// How long a request's head may take, and how long a connection may stand idle. 15 s: it is
    /// one packet on any network.
    pub header_read_timeout: Duration,
    /// How long a body may take. 30 s: 1 MiB at 300 kbit/s.
    pub body_timeout: Duration,
    /// How long a body of many lines may pause. 60 s.
    pub line_timeout: Duration,
    /// The longest wait for a read model that a client may ask for. 30 s: shorter than what
    /// proxies cut off.
    pub wait: Duration,
    /// How long a client may take none of what is written to it. 30 s: its network is gone, or it
    /// does not read.
    pub write_timeout: Duration,
    /// How long a follower of the log hears nothing before it is told that all is well. 15 s:
    /// less than what proxies take for the end.
    pub heartbeat: Duration,
    /// Lines in the server's log about problems of one code, in a second. 10: whoever reads them
    /// has seen what is wrong.
    pub problem_log_lines: u32,
    /// Bytes of what such a line says about the problem, before control characters are escaped.
    /// 512: the sentences of this server fit.
    pub problem_log_bytes: usize,
    /// How long requests may go on after the server was told to stop. 10 s.
    pub grace: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            line_bytes: 1 << 20,
            component_bytes: 32 << 20,
            uploads: 2,
            upkeep: 1,
            page_rows: 1000,
            page_rows_default: 100,
            page_bytes: 8 << 20,
            scan_decisions: 100_000,
            append_events: 1000,
            import_bytes: 512 << 10,
            import_appends: 8,
            event_tags: 100,
            event_extensions: 32,
            query_parts: 256,
            bulk_concurrency: 256,
            connections: 10_000,
            connections_per_address: 4_000,
            header_bytes: 64 << 10,
            header_read_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            line_timeout: Duration::from_secs(60),
            wait: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            problem_log_lines: 10,
            problem_log_bytes: 512,
            grace: Duration::from_secs(10),
        }
    }
}
