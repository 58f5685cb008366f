//! Queries over events: by type, tag and category. Pure, and what boundaries and append conditions
//! are made of.

use crate::event::RecordedEvent;
use crate::names::{EventType, Name, Tag};

/// An event matches when it matches any item; without items, every event does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The items.
    pub items: Vec<QueryItem>,
}

/// An event matches when its type is one of `types`, its category one of `categories` (of each:
/// none given, any), and it has all the `tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryItem {
    /// Any of these types.
    pub types: Vec<EventType>,
    /// Any of these categories.
    pub categories: Vec<Name>,
    /// All of these tags.
    pub tags: Vec<Tag>,
}

impl Query {
    /// Whether every event matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.items.is_empty() || self.items.contains(&QueryItem::default())
    }

    /// Whether an event matches.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent<'_>) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.matches(event))
    }
}

impl QueryItem {
    fn matches(&self, event: &RecordedEvent<'_>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|name| name.as_str() == event.event_type))
            && (self.categories.is_empty() || self.of_category(event))
            && self.tags.iter().all(|tag| event.tags.contains(&tag.as_str()))
    }

    fn of_category(&self, event: &RecordedEvent<'_>) -> bool {
        let category = event.stream.and_then(|stream| stream.split_once('-'));
        category.is_some_and(|(name, _)| self.categories.iter().any(|c| c.as_str() == name))
    }
}
