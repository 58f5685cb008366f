//! From backups to a data directory, or to the knowledge that they are whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::archive::{
    self, ArchiveError, CHECKPOINTS, COMPONENTS, Contents, KEYS, LOG, Place, Span,
};
use crate::decision::format::split;
use crate::storage::data_dir::{DataDir, write_durably};
use crate::storage::log::{Chain, LogCopy, OpenError};
use crate::verify::{Kept, Pace, Report, Subject, verify};

/// Why nothing was restored.
#[derive(Debug)]
pub enum RestoreError {
    /// There is something in the place of the new directory.
    Exists(PathBuf),
    /// The file ends before the backup does.
    CutShort(PathBuf),
    /// The file is no backup, or not as it was written.
    Damaged(PathBuf, String),
    /// It does not go on where those before it end.
    Gap {
        /// The file.
        file: PathBuf,
        /// The record that it goes on after.
        after: u64,
        /// The newest record of those before it.
        end: u64,
    },
    /// It leaves out a component, which those before it should have and have not.
    Lacking {
        /// The file.
        file: PathBuf,
        /// The digest of the component.
        component: String,
    },
    /// It is of another store, or of another history of it.
    OtherStore(PathBuf),
    /// The new store does not pass its checks.
    Unsound(Box<Report>),
    /// The system refused.
    Io(PathBuf, String),
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists(path) => write!(
                f,
                "{} exists, and a restore overwrites nothing; name a new directory",
                path.display()
            ),
            Self::CutShort(file) => write!(
                f,
                "{} ends before its manifest: it was cut short and is no backup; take it again",
                file.display()
            ),
            Self::Damaged(file, reason) => write!(f, "{}: {reason}", file.display()),
            Self::Gap { file, after, end } => write!(
                f,
                "{} goes on after decision {after}, and what comes before it ends at decision \
                 {end}; name the backups in their order, from the first one on",
                file.display()
            ),
            Self::Lacking { file, component } => write!(
                f,
                "{} leaves out the component {component}, and none of those before it has it",
                file.display()
            ),
            Self::OtherStore(file) => write!(
                f,
                "{} is of another store, or of another history of this one, than those before it",
                file.display()
            ),
            Self::Unsound(report) => {
                write!(f, "the restored store does not pass its checks, and is removed")?;
                report.faults.iter().take(3).try_for_each(|fault| write!(f, "; {fault}"))
            }
            Self::Io(path, reason) => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for RestoreError {}

fn io(path: &Path, error: impl std::fmt::Display) -> RestoreError {
    RestoreError::Io(path.to_owned(), error.to_string())
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What the backups have, taken together.
    pub span: Span,
    /// What its verification found: nothing wrong.
    pub report: Report,
}

/// Whether a file is a whole backup: every file in it as it was written, every record following the
/// one before, every component what its name says. Answers what it has.
///
/// # Errors
/// [`RestoreError`] when it is not.
pub fn check(file: &Path) -> Result<Contents, RestoreError> {
    Ok(carried(file)?.0)
}

/// As [`check`]; answers also which components are in the file itself.
fn carried(file: &Path) -> Result<(Contents, BTreeSet<String>), RestoreError> {
    let (mut chain, mut carried) = (None, BTreeSet::new());
    let contents = read(file, |span, name, content| {
        let chain = chain.get_or_insert(begin(span)?);
        if name.starts_with(LOG) {
            *chain = each_record(content, *chain, |_, _| Ok(()))?;
        }
        let digest = digest_in(name).filter(|_| name.ends_with(".wasm"));
        if digest.is_some_and(|digest| blake3::hash(content).to_hex().as_str() != digest) {
            return Err(format!("{name} is not what its name says"));
        }
        carried.extend(digest.map(str::to_owned));
        is_known(name).then_some(()).ok_or_else(|| format!("{name} has no place in a backup"))
    })?;
    let place = |Chain { head, .. }| Place::of(head.decision, head.position, &head.hash);
    let span = &contents.span;
    let end = chain.map_or_else(|| span.after.clone(), place);
    let reason = if end != span.through {
        format!("its records end at decision {}, not {}", end.decision, span.through.decision)
    } else if let Some(digest) = carried.difference(&contents.components).next() {
        format!("its manifest does not name the component {digest}, which it has")
    } else {
        return Ok((contents, carried));
    };
    Err(RestoreError::Damaged(file.to_owned(), reason))
}

/// Makes a data directory of backups: a whole one, and any that go on after it, in order.
///
/// # Errors
/// [`RestoreError`]; the directory is then not there.
pub fn restore(files: &[PathBuf], dir: &Path) -> Result<Restored, RestoreError> {
    if fs::symlink_metadata(dir).is_ok() {
        return Err(RestoreError::Exists(dir.to_owned()));
    }
    let span = joined(files)?;
    let beside = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(beside).map_err(|error| io(beside, error))?;
    let making = tempfile::Builder::new().prefix(".factum-restore-").tempdir_in(beside);
    let making = making.map_err(|error| io(beside, error))?;
    fill(files, &span, making.path())?;
    let report = verified(making.path())?;
    let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::NOREPLACE);
    rustix::fs::renameat_with(here, making.path(), here, dir, flags).map_err(|error| {
        let exists = error == rustix::io::Errno::EXIST;
        if exists { RestoreError::Exists(dir.to_owned()) } else { io(dir, error) }
    })?;
    File::open(beside).and_then(|dir| dir.sync_all()).map_err(|error| io(beside, error))?;
    Ok(Restored { span, report })
}

/// What backups have together, each of which must be whole and go on where the one before ends.
fn joined(files: &[PathBuf]) -> Result<Span, RestoreError> {
    let (mut all, mut there) = (None::<Span>, BTreeSet::new());
    for file in files {
        let (Contents { span, components }, carried) = carried(file)?;
        there.extend(carried);
        let end = all.as_ref().map_or(0, |all| all.through.decision);
        if span.after.decision != end {
            let after = span.after.decision;
            return Err(RestoreError::Gap { file: file.clone(), after, end });
        }
        match &mut all {
            Some(all) if all.store != span.store || all.through != span.after => {
                return Err(RestoreError::OtherStore(file.clone()));
            }
            Some(all) => all.through = span.through,
            None => all = Some(span),
        }
        if let Some(component) = components.difference(&there).next().cloned() {
            return Err(RestoreError::Lacking { file: file.clone(), component });
        }
    }
    all.ok_or_else(|| io(Path::new("restore"), "no backup was named"))
}

/// Writes everything that backups have, which were checked before.
fn fill(files: &[PathBuf], span: &Span, dir: &Path) -> Result<(), RestoreError> {
    let made = DataDir::create(dir, &span.store).map_err(|error| io(dir, error))?;
    let mut log = LogCopy::create(dir).map_err(|error| io(dir, error))?;
    for file in files {
        let mut chain = None;
        read(file, |span, name, content| {
            let chain = chain.get_or_insert(begin(span)?);
            if name.starts_with(LOG) {
                let push = |number, record: &[u8]| log.push(number, record);
                *chain = each_record(content, *chain, push)?;
                return Ok(());
            }
            // What a later backup has too takes the place of what was before.
            write_durably(&dir.join(name), content).map_err(|error| error.to_string())
        })?;
    }
    log.finish().map_err(|error| io(dir, error))?;
    drop(made);
    Ok(())
}

fn verified(dir: &Path) -> Result<Report, RestoreError> {
    let data = DataDir::look(dir).map_err(|error| io(dir, error))?;
    let subject = Subject::open(&data).map_err(|error| io(dir, error))?;
    let report = verify(&subject, Kept::new(), Pace::ALONE, |_| true);
    let report = report.map_err(|error| io(dir, error))?;
    if report.sound { Ok(report) } else { Err(RestoreError::Unsound(Box::new(report))) }
}

fn read(
    file: &Path,
    take: impl FnMut(&Span, &str, &[u8]) -> Result<(), String>,
) -> Result<Contents, RestoreError> {
    let open = File::open(file).map_err(|error| io(file, error))?;
    archive::read(BufReader::with_capacity(1 << 20, open), take).map_err(|error| match error {
        ArchiveError::CutShort => RestoreError::CutShort(file.to_owned()),
        ArchiveError::Damaged(reason) | ArchiveError::Taken(reason) => {
            RestoreError::Damaged(file.to_owned(), reason)
        }
    })
}

/// The chain that the records of a backup go on from.
fn begin(span: &Span) -> Result<Chain, String> {
    let mut chain = Chain::genesis(&span.store);
    if span.after.decision > 0 {
        let hash = blake3::Hash::from_hex(&span.after.hash).map_err(|error| error.to_string())?;
        chain.head.hash = *hash.as_bytes();
        (chain.head.decision, chain.head.position) = (span.after.decision, span.after.position);
    }
    Ok(chain)
}

fn each_record(
    records: &[u8],
    mut chain: Chain,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), OpenError>,
) -> Result<Chain, String> {
    let mut rest = records;
    while !rest.is_empty() {
        let next = chain.head.decision + 1;
        let wrong = |error: &dyn std::fmt::Display| format!("decision {next}: {error}");
        let (record, after) = split(rest).map_err(|damage| wrong(&damage))?;
        chain = chain.follow(record).map_err(|damage| wrong(&damage))?.1;
        take(next, record).map_err(|error| wrong(&error))?;
        rest = after;
    }
    Ok(chain)
}

/// The digest that the file of a component is named by.
fn digest_in(name: &str) -> Option<&str> {
    let (digest, extension) = name.strip_prefix(COMPONENTS)?.split_once('.')?;
    let is_digest = blake3::Hash::from_hex(digest).is_ok() && digest.len() == 64;
    (is_digest && matches!(extension, "wasm" | "json")).then_some(digest)
}

/// Whether a file that is no component may be in a backup: names are paths in a new directory.
fn is_known(name: &str) -> bool {
    let number = name.strip_prefix(LOG);
    let is_log = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    is_log || [CHECKPOINTS, KEYS].contains(&name) || digest_in(name).is_some()
}
