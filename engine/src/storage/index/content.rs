//! Whether the index's file has what the log says: every entry of every table, in bounded memory.
//!
//! Both sides are summed up: each entry is mixed to a number, and the numbers of a span of records
//! are added, so that the order in which the sides come does not matter. What is missing, extra or
//! changed makes the sums differ. The mixing is no cryptography: the index proves nothing, it can
//! be built again.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::blocks::Pair;
use super::file::{ACTS, ARRIVALS, COMMANDS, GIVEN, POSTINGS, STREAMS, open_database, start};
use super::fresh::{Active, Fresh};
use super::view::read_stream_block;
use super::{ActiveModules, Head, Index, IndexError, blocks};
use crate::decision::{Decision, Hash};
use crate::storage::disk::Disk;
use crate::storage::unpanicked;

/// Records whose entries are summed up together. 65,536: a log of a billion has 15,000 sums.
const SPAN: u64 = 1 << 16;
/// Records that are gathered before they are summed up. 8,192: some megabytes.
const GATHERED: usize = 8_192;

/// The sum of some entries, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    entries: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, entry: u128) {
        self.entries += 1;
        self.sum = self.sum.wrapping_add(entry);
    }
}

/// Sums by spans of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans(Vec<Sum>);

impl Spans {
    fn add(&mut self, decision: u64, entry: u128) {
        let at = usize::try_from(decision / SPAN).unwrap_or(usize::MAX - 1);
        if self.0.len() <= at {
            self.0.resize(at + 1, Sum::default());
        }
        if let Some(sum) = self.0.get_mut(at) {
            sum.add(entry);
        }
    }

    /// The first span in which two differ, in words.
    fn difference(&self, other: &Self, what: &str) -> Option<String> {
        let count = self.0.len().max(other.0.len());
        let of = |spans: &Self, at| spans.0.get(at).copied().unwrap_or_default();
        let at = (0..count).find(|at| of(self, *at) != of(other, *at))?;
        let first = u64::try_from(at).ok()? * SPAN;
        let (log, file) = (of(self, at).entries, of(other, at).entries);
        let last = first + SPAN - 1;
        Some(format!(
            "{what} of decisions {first} to {last} differ: {log} by the log, {file} in the index"
        ))
    }
}

/// What the index must have, by the records of the log.
#[derive(Debug)]
pub struct IndexTally {
    gathered: Fresh,
    /// The first record whose command id is still kept.
    arrivals_from: u64,
    labels: Spans,
    streams: Spans,
    /// The newest version of each stream: what a record adds, the next one takes away.
    versions: u128,
    arrivals: Spans,
    given: Spans,
    active: BTreeMap<String, Active>,
    acts: BTreeMap<String, u64>,
}

impl IndexTally {
    /// Takes in the next record; none after the one that the index goes up to.
    pub fn add(&mut self, decision: &Decision<'_>, hash: Hash) {
        self.gathered.apply(decision, hash);
        if self.gathered.records >= GATHERED {
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        let through = self.gathered.through;
        let Fresh { labels, streams, arrivals, given, active, acts, .. } =
            std::mem::replace(&mut self.gathered, Fresh::after(through));
        for (label, pairs) in &labels {
            let seed = seed(label);
            pairs.iter().for_each(|pair| self.labels.add(pair.1, mix(seed, *pair)));
        }
        for (name, stream) in &streams {
            let seed = seed(name.as_bytes());
            stream.records.iter().for_each(|pair| self.streams.add(pair.1, mix(seed, *pair)));
            let before = stream.records.first().map_or(0, |pair| pair.0);
            self.versions = self.versions.wrapping_add(version(seed, stream.version));
            self.versions = self.versions.wrapping_sub(version(seed, before));
        }
        for (decision, key, recorded_at_ms) in &arrivals {
            if *decision >= self.arrivals_from {
                self.arrivals.add(*decision, mix(*key, (*decision, *recorded_at_ms)));
            }
        }
        given.iter().for_each(|(key, at)| self.given.add(*at, mix(key.0, (*at, 0))));
        self.active.extend(active);
        self.acts.extend(acts);
    }
}

/// The index's file at one moment.
pub struct IndexContent {
    read: ReadTransaction,
    /// Of a directory that no server uses. It goes after those who read it.
    _database: Option<Database>,
    through: Head,
    active: ActiveModules,
}

impl std::fmt::Debug for IndexContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexContent").field("through", &self.through).finish_non_exhaustive()
    }
}

/// What the index of a directory has, looked at on a disk that stays as it is.
pub(in crate::storage) fn content_of(
    disk: &Disk,
    dir: &Path,
) -> Result<Option<IndexContent>, IndexError> {
    let path = dir.join("index.redb");
    // One that is suspect is deleted by the next start.
    if !disk.has(&path)? || disk.has(&super::file::suspect(&path))? {
        return Ok(None);
    }
    let (database, _) = open_database(disk, &path)?;
    let content = IndexContent::of(&database)?;
    Ok(content.map(|content| IndexContent { _database: Some(database), ..content }))
}

impl Index {
    /// What its file has now.
    pub(in crate::storage) fn content(&self) -> Result<Option<IndexContent>, IndexError> {
        self.file.with_database(IndexContent::of)
    }
}

impl IndexContent {
    fn of(database: &Database) -> Result<Option<Self>, IndexError> {
        let Some((through, active)) = start(database)? else { return Ok(None) };
        let read = database.begin_read()?;
        // A flush in between would move the checkpoint.
        let same = start(database)?.is_some_and(|(again, _)| again == through);
        if same {
            Ok(Some(Self { read, _database: None, through, active }))
        } else {
            Self::of(database)
        }
    }

    /// The newest record in it.
    #[must_use]
    pub fn through(&self) -> Head {
        self.through
    }

    /// What it must have, to be filled with the records up to [`IndexContent::through`].
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub fn tally(&self) -> Result<IndexTally, String> {
        let first = || -> Result<_, IndexError> {
            let arrivals = self.read.open_table(ARRIVALS)?;
            Ok(arrivals.first()?.map_or(u64::MAX, |(decision, _)| decision.value()))
        };
        let nothing = Head { position: 0, decision: 0, hash: [0; 32] };
        Ok(IndexTally {
            gathered: Fresh::after(nothing),
            arrivals_from: first().map_err(|error| error.to_string())?,
            labels: Spans::default(),
            streams: Spans::default(),
            versions: 0,
            arrivals: Spans::default(),
            given: Spans::default(),
            active: BTreeMap::new(),
            acts: BTreeMap::new(),
        })
    }

    /// How it differs from what it must have; empty when it does not.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub fn differences(&self, mut tally: IndexTally) -> Result<Vec<String>, String> {
        tally.sum_up();
        let compared = unpanicked(|| self.compare(&tally));
        let compared = compared.ok_or("its pages do not hang together")?;
        compared.map_err(|error| error.to_string())
    }

    fn compare(&self, tally: &IndexTally) -> Result<Vec<String>, IndexError> {
        let (streams, versions) = self.streams()?;
        let (arrivals, has_commands) = self.commands()?;
        let mut found: Vec<String> = [
            tally.labels.difference(&self.labels()?, "entries of types, tags and categories"),
            tally.streams.difference(&streams, "entries of streams"),
            tally.arrivals.difference(&arrivals, "entries of command ids"),
            tally.given.difference(&self.given()?, "entries of ids given elsewhere"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if versions != tally.versions {
            found.push("the newest versions of streams differ".into());
        }
        if !has_commands {
            found.push("the command ids do not lead to the records that they belong to".into());
        }
        let by_log = tally.active.clone().into_iter();
        let by_log: ActiveModules = by_log.filter_map(|(name, at)| Some((name, at?))).collect();
        if by_log != self.active {
            found.push("the active modules differ".into());
        }
        let mut acts = BTreeMap::new();
        for row in self.read.open_table(ACTS)?.iter()? {
            let (act, decision) = row?;
            acts.insert(act.value().to_owned(), decision.value());
        }
        if acts != tally.acts {
            found.push("the newest administrative acts differ".into());
        }
        Ok(found)
    }

    fn labels(&self) -> Result<Spans, IndexError> {
        let (mut spans, mut known) = (Spans::default(), Known::default());
        for row in self.read.open_table(POSTINGS)?.iter()? {
            let (key, block) = row?;
            let seed = known.seed(key.value());
            let pairs = blocks::unpack(block.value())?;
            pairs.iter().for_each(|pair| spans.add(pair.1, mix(seed, *pair)));
        }
        Ok(spans)
    }

    fn streams(&self) -> Result<(Spans, u128), IndexError> {
        let (mut spans, mut known) = (Spans::default(), Known::default());
        let (mut versions, mut newest) = (0u128, 0u128);
        for row in self.read.open_table(STREAMS)?.iter()? {
            let (key, block) = row?;
            let before = known.seed;
            let seed = known.seed(key.value());
            if seed != before {
                versions = versions.wrapping_add(newest);
            }
            let block = read_stream_block(block.value())?;
            newest = version(seed, block.version);
            block.records.iter().for_each(|pair| spans.add(pair.1, mix(seed, *pair)));
        }
        Ok((spans, versions.wrapping_add(newest)))
    }

    fn given(&self) -> Result<Spans, IndexError> {
        let mut spans = Spans::default();
        for row in self.read.open_table(GIVEN)?.iter()? {
            let (key, decision) = row?;
            spans.add(decision.value(), mix(key.value(), (decision.value(), 0)));
        }
        Ok(spans)
    }

    /// The order of forgetting, and whether each id leads to its newest record.
    fn commands(&self) -> Result<(Spans, bool), IndexError> {
        let commands = self.read.open_table(COMMANDS)?;
        let (mut spans, mut newest, mut all_lead) = (Spans::default(), 0, true);
        for row in self.read.open_table(ARRIVALS)?.iter()? {
            let (decision, arrival) = row?;
            let (decision, (key, recorded_at_ms)) = (decision.value(), arrival.value());
            spans.add(decision, mix(key, (decision, recorded_at_ms)));
            let leads_to = commands.get(key)?.map(|row| row.value());
            all_lead &= leads_to.is_some_and(|to| to >= decision);
            newest += u64::from(leads_to == Some(decision));
        }
        Ok((spans, all_lead && newest == commands.len()?))
    }
}

/// The seed of the name that was seen last: entries of a name lie together.
#[derive(Default)]
struct Known {
    name: Vec<u8>,
    seed: u128,
}

impl Known {
    /// The seed of the name that a key begins with, before a 0 and a number.
    fn seed(&mut self, key: &[u8]) -> u128 {
        let name = key.get(..key.len().saturating_sub(1 + size_of::<u64>())).unwrap_or_default();
        if name != self.name || self.seed == 0 {
            self.seed = seed(name);
            self.name = name.to_vec();
        }
        self.seed
    }
}

fn seed(name: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.iter_mut().zip(blake3::hash(name).as_bytes()).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(half)
}

/// What a stream's newest version counts; nothing before its first event.
fn version(seed: u128, version: u64) -> u128 {
    if version == 0 { 0 } else { mix(!seed, (version, 0)) }
}

fn mix(seed: u128, (one, other): Pair) -> u128 {
    // SplitMix64's mixer, twice, over both halves of the seed.
    let scramble = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let [high, low] = [seed >> 64, seed & u128::from(u64::MAX)];
    let half = |half: u128| u64::try_from(half).unwrap_or(0);
    let first = scramble(half(high) ^ scramble(one.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    let second = scramble(half(low) ^ scramble(first ^ other));
    (u128::from(scramble(first ^ second.rotate_left(32))) << 64) | u128::from(second)
}
