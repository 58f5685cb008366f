//! What a generation that is built has otherwise than the one that answers, row by row.

use std::cmp::Ordering;

use super::running::Running;
use crate::storage::read_models::{ReadModelError, View};

/// Rows of each kind that are shown. 10: enough to see what it is about.
const SAMPLES: usize = 10;

/// A comparison. The two may have been read at different positions while events come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The position of what answers.
    pub position: u64,
    /// The position of what is built.
    pub build_position: u64,
    /// Whether all rows were looked at.
    pub is_whole: bool,
    /// By read model.
    pub collections: Vec<CollectionDiff>,
}

/// What one read model has otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionDiff {
    /// Its name.
    pub name: String,
    /// Rows that are the same.
    pub same: usize,
    /// Rows that only the build has.
    pub added: usize,
    /// Rows that only what answers has.
    pub removed: usize,
    /// Rows that both have, and not alike.
    pub changed: usize,
    /// Some of those, in the order of their keys.
    pub samples: Vec<DiffRow>,
}

/// A row that is not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffRow {
    /// Its key.
    pub key: String,
    /// The document that is answered; none where it is added.
    pub before: Option<String>,
    /// The document that was built; none where it is removed.
    pub after: Option<String>,
}

/// Compares two generations, up to so many rows.
pub(super) fn compare(
    before: &Running,
    after: &Running,
    rows: usize,
) -> Result<Diff, ReadModelError> {
    let (old, new) = (before.file.view()?, after.file.view()?);
    let position = |view: &View| view.checkpoint().map_or(0, |at| at.position);
    let mut names: Vec<&str> =
        after.spec.collections.iter().map(|collection| collection.name.as_str()).collect();
    for collection in &before.spec.collections {
        if !names.contains(&collection.name.as_str()) {
            names.push(&collection.name);
        }
    }
    let (mut left, mut collections) = (rows, Vec::new());
    for name in names {
        collections.push(collection(&old, &new, name, &mut left)?);
    }
    let (position, build_position) = (position(&old), position(&new));
    Ok(Diff { position, build_position, is_whole: left > 0, collections })
}

fn collection(
    old: &View,
    new: &View,
    name: &str,
    left: &mut usize,
) -> Result<CollectionDiff, ReadModelError> {
    let mut diff = CollectionDiff { name: name.to_owned(), ..CollectionDiff::default() };
    let mut old = old.rows(name)?.peekable();
    let mut new = new.rows(name)?.peekable();
    while *left > 0 {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(Ok((a, _))), Some(Ok((b, _)))) => a.cmp(b),
            (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            (None, Some(_)) | (_, Some(Err(_))) => Ordering::Greater,
        };
        let before = if order.is_le() { old.next().transpose()? } else { None };
        let after = if order.is_ge() { new.next().transpose()? } else { None };
        *left -= 1;
        diff.count(before, after);
    }
    Ok(diff)
}

impl CollectionDiff {
    fn count(&mut self, before: Option<(String, String)>, after: Option<(String, String)>) {
        let counter = match (&before, &after) {
            (Some((_, before)), Some((_, after))) if before == after => {
                self.same += 1;
                return;
            }
            (Some(_), Some(_)) => &mut self.changed,
            (Some(_), None) => &mut self.removed,
            (None, _) => &mut self.added,
        };
        *counter += 1;
        let is_shown = *counter <= SAMPLES;
        let Some((key, _)) = after.as_ref().or(before.as_ref()) else { return };
        if is_shown {
            let key = key.clone();
            let [before, after] = [before, after].map(|row| row.map(|(_, document)| document));
            self.samples.push(DiffRow { key, before, after });
        }
    }
}
