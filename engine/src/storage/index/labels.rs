//! Labels: what an event can be found by. A kind byte, then the text.

use crate::event::RecordedEvent;
use crate::faults::{Mutant, is_on};

/// A kind byte and a text; the text has no control characters.
pub(super) type Label = Vec<u8>;

const TYPE: u8 = b't';
const TAG: u8 = b'g';
const CATEGORY: u8 = b'c';

pub(super) fn of_type(text: &str) -> Label {
    label(TYPE, text)
}

pub(super) fn of_tag(text: &str) -> Label {
    label(TAG, text)
}

pub(super) fn of_category(text: &str) -> Label {
    label(CATEGORY, text)
}

fn label(kind: u8, text: &str) -> Label {
    let mut label = Vec::with_capacity(1 + text.len());
    label.push(kind);
    label.extend_from_slice(text.as_bytes());
    label
}

/// Gives every label of an event once. `scratch` saves an allocation a label.
pub(super) fn for_each_label(
    event: &RecordedEvent<'_>,
    scratch: &mut Label,
    mut each: impl FnMut(&[u8]),
) {
    let mut give = |kind, text: &str| {
        scratch.clear();
        scratch.push(kind);
        scratch.extend_from_slice(text.as_bytes());
        each(scratch);
    };
    give(TYPE, event.event_type);
    if let Some((category, _)) = event.stream.and_then(|stream| stream.split_once('-')) {
        give(CATEGORY, category);
    }
    for (at, tag) in event.tags.iter().enumerate() {
        // A tag given twice is one label.
        let is_lacking = is_on(Mutant::IndexLacksTag) && at + 1 == event.tags.len();
        if !is_lacking && !event.tags.iter().take(at).any(|before| before == tag) {
            give(TAG, tag);
        }
    }
}
