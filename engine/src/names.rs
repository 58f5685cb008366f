//! Names and ids: parsed once where they enter, trusted afterwards.
//!
//! Every type here guarantees the alphabet that its documentation states. Nothing below this
//! layer checks a name again, and nothing may build one except by parsing or from the log.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What was to be named, such as "stream id".
    pub what: &'static str,
    /// What such a name looks like.
    pub rule: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid {}: it must be {}", self.what, self.rule)
    }
}

impl std::error::Error for NameError {}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses it.
            ///
            /// # Errors
            /// [`NameError`] when the text leaves the alphabet or the length.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                Self::check(text).map(|()| Self(Arc::from(text)))
            }

            /// Whether it could be parsed.
            ///
            /// # Errors
            /// [`NameError`] when the text leaves the alphabet or the length.
            pub fn check(text: &str) -> Result<(), NameError> {
                if $valid(text) {
                    Ok(())
                } else {
                    Err(NameError { what: $what, rule: $rule })
                }
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type! {
    /// The name of an aggregate (and so a category), command, module, projection or read model.
    Name, "name", "1 to 63 of a-z, 0-9 and _, beginning with a letter", is_name
}
text_type! {
    /// The id of an aggregate instance, a command id or an idempotency key.
    Key, "id", "1 to 255 of A-Z, a-z, 0-9 and . _ ~ : @ + -, and not . or ..", is_key
}
text_type! {
    /// `category-id`: the ordered events of one aggregate instance.
    StreamId, "stream id", "category-id, such as account-42", is_stream_id
}
text_type! {
    /// What kind of fact an event states.
    EventType, "event type", "1 to 256 visible characters without space at the ends", is_label
}
text_type! {
    /// A label on an event that queries and boundaries can match.
    Tag, "tag", "1 to 256 visible characters without space at the ends", is_label
}
text_type! {
    /// The id of an event that was given it elsewhere.
    GivenId, "event id", "1 to 256 visible characters without space at the ends", is_label
}
text_type! {
    /// Who gave an event its id.
    SourceName, "event source", "a URI reference of 1 to 1,024 characters", is_reference
}
text_type! {
    /// The key of a document in a read model.
    DocumentKey, "document key", "1 to 255 bytes without control characters", is_document_key
}

impl StreamId {
    /// The stream of one aggregate instance.
    #[must_use]
    pub fn of(category: &Name, id: &Key) -> Self {
        Self(Arc::from(format!("{category}-{id}")))
    }

    /// The part before the first dash: the aggregate's name.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~:@+-".contains(&b))
}

fn is_stream_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(category, id)| is_name(category) && is_key(id))
}

fn is_label(text: &str) -> bool {
    text.len() <= 1024
        && (1..=256).contains(&text.chars().count())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

fn is_reference(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    // Beyond ASCII, an internationalised reference is written as it is.
    (1..=1024).contains(&text.len())
        && text.chars().all(|c| match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => is_allowed(byte),
            _ => !c.is_control() && !c.is_whitespace(),
        })
}

fn is_document_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["a", "account", "a_1", &"x".repeat(63)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a-b", "a/b", "a\0", "ä", &"x".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_refuse_what_a_path_could_misread() {
        for good in ["42", "UA-1545-20130101-EWR-0515", "a.b~c:d@e+f", "..."] {
            assert!(Key::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a%2f", "a b", "a\0b", &"k".repeat(256)] {
            assert!(Key::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_stream_id_is_a_category_and_an_id() {
        let id = StreamId::parse("flight-UA-1545").expect("valid");
        assert_eq!(id.category(), "flight");
        for bad in ["flight", "-1", "flight-", "Flight-1", "flight-a/b"] {
            assert!(StreamId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_source_is_a_reference() {
        for good in ["/factum/1", "https://a.example/b?c#d", "urn:x:1", "größe"] {
            assert!(SourceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "<a>", "a\nb", "\"", &"x".repeat(1025)] {
            assert!(SourceName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_visible_characters() {
        for good in ["Opened", "course:42", "größer als 3"] {
            assert!(EventType::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " Opened", "Opened ", "a\nb", &"x".repeat(257)] {
            assert!(Tag::parse(bad).is_err(), "{bad:?}");
        }
    }
}
