//! A client that reads an answer that goes on, straight from its socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::harness::Client;

pub const SSE: &str = "text/event-stream";
pub const LINES: &str = "application/x-ndjson";

/// What a follower gets.
#[derive(Debug)]
pub enum Event {
    Recorded { id: u64, data: Value },
    CaughtUp { id: u64, data: Value },
    Heartbeat,
}

/// An open answer.
pub struct Follower {
    body: BufReader<Chunks>,
}

/// A body in chunks.
struct Chunks {
    socket: BufReader<TcpStream>,
    left: usize,
    is_first: bool,
    ended_well: bool,
}

impl Follower {
    /// Asks, and reads the head of the answer.
    pub fn start(client: &Client, path: &str, accept: &str, headers: &[(&str, String)]) -> Self {
        Self::try_start(client, path, accept, headers).expect("answers")
    }

    /// Asks a server that may not be there.
    pub fn try_start(
        client: &Client,
        path: &str,
        accept: &str,
        headers: &[(&str, String)],
    ) -> Option<Self> {
        let address = client.base.strip_prefix("http://").expect("an address");
        let mut socket = TcpStream::connect(address).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("is set");
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        socket.write_all(request.as_bytes()).ok()?;
        let mut socket = BufReader::with_capacity(1024, socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            socket.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(head.contains(&format!("content-type: {accept}\r\n")), "{head}");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let chunks = Chunks { socket, left: 0, is_first: true, ended_well: false };
        Some(Self { body: BufReader::with_capacity(1024, chunks) })
    }

    /// The next server-sent event; none when the answer ends, well or not.
    pub fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data, mut comment) = (String::new(), None, None, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            match line.split_once(": ").expect("a field") {
                ("", _) => comment = true,
                ("event", text) => name = text.to_owned(),
                ("id", text) => id = Some(text.parse().expect("a position")),
                ("data", text) => data = Some(serde_json::from_str(text).expect("JSON")),
                _ => panic!("an unknown field: {line}"),
            }
        }
        Some(match (name.as_str(), id, data) {
            ("", Some(id), Some(data)) => Event::Recorded { id, data },
            ("caught-up", Some(id), Some(data)) => Event::CaughtUp { id, data },
            ("", None, None) if comment => Event::Heartbeat,
            other => panic!("not an event: {other:?}"),
        })
    }

    /// The next line of JSON; none when the answer ends, well or not.
    pub fn next_line(&mut self) -> Option<Value> {
        self.line().map(|line| serde_json::from_str(&line).expect("JSON"))
    }

    /// Reads on to the end, and tells whether the server said that it was one.
    pub fn ended_well(&mut self) -> bool {
        while self.line().is_some() {}
        self.body.get_ref().ended_well
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.body.read_line(&mut line).expect("arrives in time");
        line.strip_suffix('\n').map(ToOwned::to_owned)
    }
}

impl Chunks {
    /// Leaves nothing at the end, well or not.
    fn next_chunk(&mut self) -> Option<()> {
        let mut size = String::new();
        if !std::mem::take(&mut self.is_first) {
            self.socket.read_line(&mut size).ok()?;
            size.clear();
        }
        self.socket.read_line(&mut size).ok()?;
        self.left = usize::from_str_radix(size.strip_suffix("\r\n")?, 16).expect("a size");
        self.ended_well = self.left == 0;
        Some(())
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !self.ended_well {
            self.next_chunk();
        }
        if self.left == 0 {
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let read = match self.socket.read(&mut buffer[..most]) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        self.left -= read;
        if read == 0 {
            self.left = 0;
        }
        Ok(read)
    }
}
