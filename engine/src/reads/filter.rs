//! Which events are asked for.

use crate::event::RecordedEvent;
use crate::names::{EventType, Name, Tag};

/// Which events are asked for. What is empty excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The event's type is one of these.
    pub types: Vec<EventType>,
    /// It has all of these tags.
    pub tags: Vec<Tag>,
    /// Its stream is of one of these categories.
    pub categories: Vec<Name>,
}

impl EventFilter {
    /// Whether an event is asked for.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent<'_>) -> bool {
        let of_type = |wanted: &EventType| wanted.as_str() == event.event_type;
        let tagged = |wanted: &Tag| event.tags.contains(&wanted.as_str());
        let category = event
            .stream
            .map(|stream| stream.split_once('-').map_or(stream, |(category, _)| category));
        let in_category = |wanted: &Name| Some(wanted.as_str()) == category;
        (self.types.is_empty() || self.types.iter().any(of_type))
            && self.tags.iter().all(tagged)
            && (self.categories.is_empty() || self.categories.iter().any(in_category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, JSON};

    fn event(stream: Option<&'static str>) -> RecordedEvent<'static> {
        RecordedEvent {
            position: 1,
            id: EventId::derive(0, &[0; 32], 0),
            stream,
            stream_version: 1,
            event_type: "Opened",
            schema_version: 1,
            content_type: JSON,
            data: b"{}",
            tags: vec!["a", "b"],
            decided_at_ms: 0,
            time_ms: 0,
        }
    }

    #[test]
    fn one_type_and_all_tags_and_one_category() {
        let filter = |types: &[&str], tags: &[&str], categories: &[&str]| EventFilter {
            types: types.iter().map(|text| EventType::parse(text).expect("valid")).collect(),
            tags: tags.iter().map(|text| Tag::parse(text).expect("valid")).collect(),
            categories: categories.iter().map(|text| Name::parse(text).expect("valid")).collect(),
        };
        let event_of_account = event(Some("account-4-2"));
        for (types, tags, categories, matches) in [
            (&[][..], &[][..], &[][..], true),
            (&["Opened", "Closed"], &["b", "a"], &["account", "order"], true),
            (&["Closed"], &[], &[], false),
            (&[], &["a", "c"], &[], false),
            (&[], &[], &["acc"], false),
        ] {
            assert_eq!(filter(types, tags, categories).matches(&event_of_account), matches);
        }
        assert!(!filter(&[], &[], &["account"]).matches(&event(None)));
    }
}
