//! What an event store on redb costs when it is written the simple way: a row for each event and
//! a row in an index by stream and version, all in one transaction. `factum bench log` measures
//! the log beside it; nothing else uses it.

use std::path::Path;

use redb::{Database, TableDefinition};

use super::disk::Disk;

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const STREAMS: TableDefinition<'_, (u64, u64), u64> = TableDefinition::new("streams");

/// redb's page cache, in bytes: as much as the log and its index have together.
const PAGE_CACHE_BYTES: usize = 96 << 20;

/// Events in rows of their own.
#[derive(Debug)]
pub struct RowPerEvent {
    database: Database,
    position: u64,
}

impl RowPerEvent {
    /// Opens the file in `dir`, creating it where there is none.
    ///
    /// # Errors
    /// What the storage engine says.
    pub fn open(disk: &Disk, dir: &Path) -> Result<Self, String> {
        let file = disk.file(&dir.join("rows.redb")).map_err(|error| error.to_string())?;
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(PAGE_CACHE_BYTES)
            .create_with_backend(file)
            .map_err(|error| error.to_string())?;
        Ok(Self { database, position: 0 })
    }

    /// Appends events, each with its stream's number and its version there, in one durable
    /// transaction.
    ///
    /// # Errors
    /// What the storage engine says.
    pub fn append<'e>(
        &mut self,
        events: impl Iterator<Item = ((u64, u64), &'e [u8])>,
    ) -> Result<(), String> {
        self.try_append(events).map_err(|error| error.to_string())
    }

    fn try_append<'e>(
        &mut self,
        events: impl Iterator<Item = ((u64, u64), &'e [u8])>,
    ) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(EVENTS)?;
            let mut streams = write.open_table(STREAMS)?;
            for (place, bytes) in events {
                self.position += 1;
                rows.insert(self.position, bytes)?;
                streams.insert(place, self.position)?;
            }
        }
        Ok(write.commit()?)
    }
}
