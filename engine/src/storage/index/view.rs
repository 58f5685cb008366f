//! Reading the index's file as it was at one moment.

use redb::{Database, ReadableDatabase};

use super::blocks::{Pair, at_or_after, at_or_before, unpack};
use super::file::{ACTS, Bytes, COMMANDS, GIVEN, POSTINGS, STREAMS, key};
use super::{Direction, IndexError};
use crate::decision::wire::Reader;

/// A stream's records in one block, and the stream's version after them.
pub(super) struct StreamBlock {
    pub(super) version: u64,
    pub(super) records: Vec<Pair>,
}

/// The file at one moment.
pub(super) struct FileView {
    postings: redb::ReadOnlyTable<Bytes, Bytes>,
    streams: redb::ReadOnlyTable<Bytes, Bytes>,
    pub(super) commands: redb::ReadOnlyTable<u128, u64>,
    pub(super) given: redb::ReadOnlyTable<u128, u64>,
    pub(super) acts: redb::ReadOnlyTable<&'static str, u64>,
}

impl FileView {
    pub(super) fn of(database: &Database) -> Result<Self, IndexError> {
        let read = database.begin_read()?;
        Ok(Self {
            postings: read.open_table(POSTINGS)?,
            streams: read.open_table(STREAMS)?,
            commands: read.open_table(COMMANDS)?,
            given: read.open_table(GIVEN)?,
            acts: read.open_table(ACTS)?,
        })
    }

    /// The block of a label that holds a position or lies nearest beyond it.
    pub(super) fn block(
        &self,
        label: &[u8],
        position: u64,
        direction: Direction,
    ) -> Result<Option<Vec<Pair>>, IndexError> {
        let (least, at, most) = (key(label, 0), key(label, position), key(label, u64::MAX));
        // Positions begin at 1: a search from there on has nothing before it.
        let before = match direction {
            Direction::Forward if position <= 1 => None,
            _ => self.postings.range::<&[u8]>(&*least..=&*at)?.next_back().transpose()?,
        };
        if let Some((_, block)) = before {
            let pairs = unpack(block.value())?;
            if direction == Direction::Backward || at_or_after(&pairs, position).is_some() {
                return Ok(Some(pairs));
            }
        }
        if direction == Direction::Backward {
            return Ok(None);
        }
        let after = self.postings.range::<&[u8]>(&*at..=&*most)?.next().transpose()?;
        after.map(|(_, block)| Ok(unpack(block.value())?)).transpose()
    }

    /// A stream's newest version.
    pub(super) fn version(&self, stream: &str) -> Result<Option<u64>, IndexError> {
        let (least, most) = (key(stream.as_bytes(), 0), key(stream.as_bytes(), u64::MAX));
        let row = self.streams.range::<&[u8]>(&*least..=&*most)?.next_back().transpose()?;
        row.map(|(_, value)| Ok(Reader::new(value.value()).int()?)).transpose()
    }

    /// The block of a stream that holds the record with the event after `version`.
    pub(super) fn stream_block(
        &self,
        stream: &str,
        version: u64,
    ) -> Result<Option<StreamBlock>, IndexError> {
        let (least, most) = (key(stream.as_bytes(), 0), key(stream.as_bytes(), version));
        let row = self.streams.range::<&[u8]>(&*least..=&*most)?.next_back().transpose()?;
        row.map(|(_, value)| read_stream_block(value.value())).transpose()
    }

    /// A stream's records from the one with the event after `version` on, block by block.
    pub(super) fn stream_blocks(
        &self,
        stream: &str,
        version: u64,
        mut each: impl FnMut(StreamBlock) -> bool,
    ) -> Result<(), IndexError> {
        if let Some(block) = self.stream_block(stream, version)?
            && !each(block)
        {
            return Ok(());
        }
        let Some(next) = version.checked_add(1) else { return Ok(()) };
        let (from, most) = (key(stream.as_bytes(), next), key(stream.as_bytes(), u64::MAX));
        for row in self.streams.range::<&[u8]>(&*from..=&*most)? {
            let (_, value) = row?;
            if !each(read_stream_block(value.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// The first stream at or after a name, with its newest version.
    pub(super) fn next_stream(&self, from: &[u8]) -> Result<Option<(String, u64)>, IndexError> {
        let Some((found, _)) = self.streams.range::<&[u8]>(from..)?.next().transpose()? else {
            return Ok(None);
        };
        let name = found.value().split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let version = self.version(&name)?.unwrap_or(0);
        Ok(Some((name, version)))
    }
}

pub(super) fn read_stream_block(value: &[u8]) -> Result<StreamBlock, IndexError> {
    let mut reader = Reader::new(value);
    let version = reader.int()?;
    Ok(StreamBlock { version, records: unpack(reader.rest())? })
}

/// A cursor over the events of one label in the file.
pub(super) struct LabelCursor<'a> {
    view: &'a FileView,
    label: &'a [u8],
    block: Vec<Pair>,
}

impl<'a> LabelCursor<'a> {
    pub(super) fn new(view: &'a FileView, label: &'a [u8]) -> Self {
        Self { view, label, block: Vec::new() }
    }

    pub(super) fn nearest(
        &mut self,
        position: u64,
        direction: Direction,
    ) -> Result<Option<Pair>, IndexError> {
        let (first, last) = (self.block.first().copied(), self.block.last().copied());
        let inside =
            first.zip(last).is_some_and(|(first, last)| (first.0..=last.0).contains(&position));
        if !inside {
            self.block = self.view.block(self.label, position, direction)?.unwrap_or_default();
        }
        Ok(match direction {
            Direction::Forward => at_or_after(&self.block, position),
            Direction::Backward => at_or_before(&self.block, position),
        })
    }
}
