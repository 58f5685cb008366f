//! Backups whose client takes its time.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::Place;
use crate::harness::Server;

/// A backup of which only the beginning was read.
struct Slow {
    _socket: TcpStream,
}

impl Slow {
    fn begin(server: &Server) -> Self {
        let address = server.client.base.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).expect("connects");
        // The body of such an answer has no parts of its own.
        let ask = format!("GET /v1/backup HTTP/1.0\r\nHost: {address}\r\n\r\n");
        socket.write_all(ask.as_bytes()).expect("is asked");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("is answered");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
        Self { _socket: socket }
    }
}

/// More than a connection keeps of what nobody reads.
fn fill(server: &Server) {
    for number in 0..60 {
        let event = json!({"type": "Padded", "data": {"text": "x".repeat(200_000)}});
        server
            .client
            .post(&format!("/v1/streams/big-{number}/events"), &json!({"events": [event]}))
            .ok();
    }
}

/// All of it went to the server's memory, as fast as it could be read from the disk: the library
/// below HTTP takes without end what it is to send in one flush with the next answer.
#[test]
fn a_backup_that_nobody_reads_stays_on_the_disk() {
    let place = Place::new();
    let server = place.start();
    fill(&server);
    let _slow = Slow::begin(&server);
    // Each waits for a place; there would be one when all was taken.
    for _ in 0..5 {
        server.client.get("/v1/backup").problem(409, "upkeep_running");
    }
}
