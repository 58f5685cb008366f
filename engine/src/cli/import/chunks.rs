//! The input in pieces of whole lines.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr_iter, memrchr};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Bytes of one chunk, and the rest of its last line. 256 KiB: some hundred events.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of one line. 16 MiB: far more than a server takes, which says so itself.
const LINE_BYTES: usize = 16 << 20;

/// Whole lines.
#[derive(Debug)]
pub(super) struct Chunk {
    text: Bytes,
    /// The number of the line before them.
    after: u64,
    /// The number of the last.
    through: u64,
    /// Bytes of the input up to its end.
    end: u64,
}

/// A chunk that may have to be sent again.
#[derive(Debug)]
pub(super) struct Kept {
    text: Bytes,
    after: u64,
    pub(super) through: u64,
    pub(super) end: u64,
    _room: OwnedSemaphorePermit,
}

impl Kept {
    pub(super) fn new(chunk: Chunk, room: OwnedSemaphorePermit) -> Self {
        let Chunk { text, after, through, end } = chunk;
        Self { text, after, through, end, _room: room }
    }

    /// What is left of it.
    pub(super) fn text(&self) -> Bytes {
        self.text.clone()
    }

    /// Drops the lines up to one.
    pub(super) fn forget(&mut self, line: u64) {
        while self.after < line {
            let Some(end) = memchr(b'\n', &self.text) else { return };
            self.text.advance(end + 1);
            self.after += 1;
        }
    }
}

/// Reads the input. It blocks, and ends when nobody takes the chunks any more.
pub(super) fn read(mut input: impl Read, send: &mpsc::Sender<Chunk>) -> io::Result<()> {
    let (mut pending, mut lines, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let most = u64::try_from(CHUNK_BYTES).map_err(io::Error::other)?;
        let is_over = input.by_ref().take(most).read_to_end(&mut pending)? < CHUNK_BYTES;
        let whole =
            if is_over { pending.len() } else { memrchr(b'\n', &pending).map_or(0, |at| at + 1) };
        if whole == 0 && pending.len() > LINE_BYTES {
            let line = lines + 1;
            let reason = format!("line {line} is longer than {LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let rest = pending.split_off(whole);
        let text = std::mem::replace(&mut pending, rest);
        // A server answers events: what has none would wait for its answer for ever.
        if text.len() >= CHUNK_BYTES && text.trim_ascii().is_empty() {
            let line = lines + 1;
            let reason = format!("from line {line} on there are {CHUNK_BYTES} bytes of nothing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if !text.is_empty() {
            let after = lines;
            lines += count(memchr_iter(b'\n', &text).count());
            // The last line may lack its end.
            lines += u64::from(text.last() != Some(&b'\n'));
            bytes += count(text.len());
            let chunk = Chunk { text: text.into(), after, through: lines, end: bytes };
            if send.blocking_send(chunk).is_err() {
                return Ok(());
            }
        }
        if is_over {
            return Ok(());
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn chunks(text: &str) -> (Vec<Chunk>, io::Result<()>) {
        let (send, mut chunks) = mpsc::channel(100);
        let read = read(text.as_bytes(), &send);
        drop(send);
        (std::iter::from_fn(|| chunks.try_recv().ok()).collect(), read)
    }

    #[test]
    fn the_input_is_cut_at_the_ends_of_lines() {
        let line = "x".repeat(CHUNK_BYTES / 3);
        for (lines, end) in [(0, ""), (1, ""), (1, "\n"), (3, "\n"), (10, ""), (10, "\n")] {
            let text = vec![&*line; lines].join("\n") + end;
            let (chunks, read) = chunks(&text);
            assert!(read.is_ok());
            let whole: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.text.to_vec()).collect();
            assert!(whole == text.as_bytes());
            let (mut before, mut bytes) = (0, 0);
            for chunk in &chunks {
                assert_eq!(chunk.after, before);
                bytes += count(chunk.text.len());
                assert_eq!((chunk.text.len() < 2 * CHUNK_BYTES, chunk.end), (true, bytes));
                before = chunk.through;
            }
            assert_eq!(before, count(text.lines().count()));
            let all_but_last = chunks.split_last().map_or(&[][..], |(_, rest)| rest);
            assert!(all_but_last.iter().all(|chunk| chunk.text.ends_with(b"\n")));
        }
        let (_, read) = chunks(&"x".repeat(LINE_BYTES + 2 * CHUNK_BYTES));
        assert!(read.expect_err("too long").to_string().contains("line 1 is longer"));
        let (_, read) = chunks(&("{}\n".to_owned() + &"\n".repeat(3 * CHUNK_BYTES)));
        assert!(read.expect_err("nothing").to_string().contains("bytes of nothing"));
    }

    #[test]
    fn what_is_recorded_of_a_chunk_is_not_sent_again() {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
        let chunk = Chunk { text: "a\n\nb\nc".into(), after: 7, through: 11, end: 0 };
        let mut kept = Kept::new(chunk, room);
        for (line, left) in [(5, "a\n\nb\nc"), (8, "\nb\nc"), (10, "c"), (10, "c"), (11, "c")] {
            kept.forget(line);
            assert_eq!(kept.text(), left);
        }
    }
}
