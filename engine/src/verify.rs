//! Whether a store is as it was written: every record, every derived file against the log, every
//! component that the log names, and signed checkpoints.
//!
//! Promises: nothing is changed; memory is bounded by no length of the log; damage is named with
//! its place, and what comes after it is still read.

mod archived;
mod pace;
mod report;
mod walk;

use std::path::{Path, PathBuf};

use crate::checkpoints::{self, Checkpoint, PublicKey};
use crate::clock::Stopwatch;
use crate::decision::Hash;
use crate::modules::ComponentStore;
use crate::runtime::check_code;
use crate::storage::data_dir::DataDir;
use crate::storage::log::{Chain, Head, OpenError, Stored};
use crate::storage::read_models::{self, checkpoint_of};

pub use pace::{Aside, Pace};
pub use report::{Compared, Fault, Place, Report};
use walk::{Expected, Mark, Walk};

/// What is to be verified.
#[derive(Debug)]
pub struct Subject {
    /// The log.
    pub stored: Stored,
    /// The store's id.
    pub store_id: String,
    /// The data directory.
    pub dir: PathBuf,
    /// How far the files of read models are, by their names.
    pub read_models: Vec<ReadModelAt>,
}

/// How far the file of a read model is, or why that cannot be read.
pub type ReadModelAt = (String, Result<Option<read_models::Checkpoint>, String>);

impl Subject {
    /// The store in a directory that no server uses.
    ///
    /// # Errors
    /// [`OpenError`] when there is no log that could be looked at.
    pub fn open(dir: &DataDir) -> Result<Self, OpenError> {
        let mut read_models = Vec::new();
        for entry in std::fs::read_dir(dir.read_models()).into_iter().flatten().flatten() {
            let path = entry.path();
            // Those as of a position are removed by the next start.
            let is_kept = |extension| ["redb", "building", "beside"].contains(&extension);
            if path.extension().and_then(|extension| extension.to_str()).is_some_and(is_kept) {
                let name = entry.file_name().to_string_lossy().into_owned();
                read_models.push((name, checkpoint_of(&path).map_err(|error| error.to_string())));
            }
        }
        Ok(Self {
            stored: Stored::open(dir.path(), dir.store_id())?,
            store_id: dir.store_id().to_owned(),
            dir: dir.path().to_owned(),
            read_models,
        })
    }
}

/// Checkpoints that somebody kept, each with where it is from.
pub type Kept = Vec<(String, Checkpoint)>;

/// Reads the checkpoints in a text, which one of the keys must have signed.
///
/// # Errors
/// A sentence, when it holds none or one that none of the keys has signed.
pub fn read_kept(from: &str, text: &str, keys: &[PublicKey]) -> Result<Kept, String> {
    let notes = Checkpoint::notes(text);
    if notes.is_empty() {
        return Err(format!("{from} holds no checkpoint"));
    }
    let open = |note: &String| {
        let point = Checkpoint::open(keys, note).ok_or_else(|| {
            format!("{from} holds a checkpoint that none of the keys given has signed")
        })?;
        Ok((from.to_owned(), point))
    };
    notes.iter().map(open).collect()
}

/// How far a verification is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The newest record that was read.
    pub decision: u64,
    /// Events that were read.
    pub events: u64,
    /// The record to which it goes, where that is known.
    pub of: Option<u64>,
    /// Events a second.
    pub events_per_second: f64,
}

/// Verifies all of it. `progress` is told now and then, and answers whether to go on.
///
/// # Errors
/// A sentence, when something cannot be looked at, or it was told not to go on.
pub fn verify(
    subject: &Subject,
    against: Kept,
    pace: Pace,
    mut progress: impl FnMut(&Progress) -> bool,
) -> Result<Report, String> {
    let since = Stopwatch::start();
    let mut faults = Vec::new();
    let (expected, index) = expected(subject, against, &mut faults)?;
    let through = subject.stored.head();
    let mut steps = pace.begin(through);
    let mut walk = Walk::new(Chain::genesis(&subject.store_id), expected);
    let mut from = Some(1);
    while let Some(next) = from.filter(|next| through.is_none_or(|head| *next <= head.decision)) {
        from = walk.step(&subject.stored, next);
        let (decision, events) = (walk.chain.head.decision, walk.report.events);
        let of = subject.stored.end();
        let events_per_second = rate(events, since);
        let progressed = Progress { decision, events, of, events_per_second };
        if !steps.aside(|| progress(&progressed)) {
            return Err("nobody waits for it any more".into());
        }
        steps.done(subject.stored.head());
    }
    let end = walk.chain.head.decision;
    if let Some(head) = through.filter(|head| head.decision > end) {
        let detail = format!("the log ends before decision {}", head.decision);
        walk.damaged(Fault::of("log", detail));
    }
    if let Some(error) = subject.stored.journal_fault() {
        let fault = Fault::of("journal", error.to_string());
        walk.damaged(fault.in_file(&subject.dir.join("log-journal")));
    }
    walk.end();
    let Walk { mut report, expected, digests, chain, .. } = walk;
    if let Some((content, (through, tally))) = index.zip(expected.index) {
        let differences = content.differences(tally);
        compare_index(&mut report, through, differences);
    }
    components(&mut report, &subject.dir, digests.into_iter().collect());
    code(&mut report, &subject.dir.join("compiled"));
    faults.into_iter().for_each(|fault| report.fault(fault));
    report.store.clone_from(&subject.store_id);
    report.head = Some(Place::from(&chain));
    report.sound = report.fault_count == 0;
    report.events_per_second = rate(report.events, since);
    report.seconds = since.elapsed().as_secs_f64();
    Ok(report)
}

fn rate(events: u64, since: Stopwatch) -> f64 {
    let events = u32::try_from(events).map_or(f64::from(u32::MAX), f64::from);
    events / since.elapsed().as_secs_f64().max(1e-9)
}

type Index = Option<crate::storage::log::IndexContent>;

/// Everything that the records are to be compared with.
fn expected(
    subject: &Subject,
    against: Kept,
    faults: &mut Vec<Fault>,
) -> Result<(Expected, Index), String> {
    let mut expected = Expected::default();
    let index = subject.stored.index().unwrap_or_else(|reason| {
        faults.push(Fault::of("index", format!("{reason}; it is built again when it is deleted")));
        None
    });
    let mut marks = Vec::new();
    if let Some(content) = &index {
        let at = content.through();
        expected.index = Some((at.decision, content.tally()?));
        marks.push(Mark { part: "index", what: "the index".into(), at });
    }
    for (name, checkpoint) in &subject.read_models {
        match checkpoint {
            Ok(Some(at)) if at.decision > 0 => {
                let at = Head { position: at.position, decision: at.decision, hash: at.hash };
                marks.push(Mark { part: "read_model", what: format!("read model {name}"), at });
            }
            Ok(_) => {}
            Err(reason) => faults.push(Fault::of("read_model", format!("{name}: {reason}"))),
        }
    }
    expected.archived = subject.stored.archived().into();
    marks.sort_by_key(|mark| mark.at.decision);
    expected.marks = marks.into();
    let cannot = |error: &dyn std::fmt::Display| error.to_string();
    let tiles = checkpoints::entries(&checkpoints::tree_file(&subject.dir));
    expected.tiles = tiles.map_err(|error| cannot(&error))?.into();
    let keys = checkpoints::keys(&subject.dir).map_err(|error| cannot(&error))?;
    let mut points = against;
    for note in checkpoints::kept(&subject.dir).map_err(|error| cannot(&error))? {
        match Checkpoint::open(&keys, &note) {
            Some(point) => points.push(("kept in the data directory".into(), point)),
            None => faults.push(Fault::of(
                "checkpoint",
                "the data directory keeps one that none of its keys has signed",
            )),
        }
    }
    let origin = checkpoints::origin(&subject.store_id);
    for (from, point) in points.extract_if(.., |(_, point)| point.origin != origin) {
        let detail = format!("{from} is of {}, and this is {origin}", point.origin);
        faults.push(Fault::of("checkpoint", detail));
    }
    points.sort_by_key(|(_, point)| point.size);
    expected.points = points.into();
    Ok((expected, index))
}

fn compare_index(report: &mut Report, through: u64, found: Result<Vec<String>, String>) {
    let what = format!("index up to decision {through}");
    if report.first_damage.is_some() {
        return report.compared(what, "not compared: the log is damaged");
    }
    let differences = found.unwrap_or_else(|reason| vec![reason]);
    let agrees = differences.is_empty();
    report.compared(what, if agrees { "agrees" } else { "differs" });
    for difference in differences {
        report.fault(Fault::of("index", difference));
    }
}

fn components(report: &mut Report, dir: &Path, named: Vec<Hash>) {
    let store = ComponentStore::new(dir.join("components"));
    let mut all = named;
    match store.digests() {
        Ok(kept) => all.extend(kept),
        Err(reason) => report.fault(Fault::of("component", reason)),
    }
    all.sort_unstable();
    all.dedup();
    let before = report.fault_count;
    for digest in &all {
        if let Err(reason) = store.bytes(digest).and_then(|_| store.card(digest)) {
            report.fault(Fault::of("component", reason));
        }
    }
    let outcome = if report.fault_count == before { "all there" } else { "damaged or missing" };
    report.compared(format!("{} components", all.len()), outcome);
}

fn code(report: &mut Report, dir: &Path) {
    match check_code(dir) {
        Ok((count, wrong)) => {
            let outcome = if wrong.is_empty() { "authentic" } else { "damaged" };
            report.compared(format!("{count} pieces of compiled code"), outcome);
            for name in wrong {
                let detail = format!("{name} is damaged or another store's; it is compiled again");
                report.fault(Fault::of("code", detail));
            }
        }
        Err(error) => report.fault(Fault::of("code", error.to_string())),
    }
}

#[cfg(test)]
mod tests;
