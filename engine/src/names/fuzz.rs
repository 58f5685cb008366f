//! Names under mutations: what is one is written as it was, and keeps to what others rely on.

use super::*;
use crate::fuzz;

fn each(text: &str) {
    let no_control = |text: &str| !text.chars().any(char::is_control);
    macro_rules! hold {
        ($($name:ident),*) => {
            $(if let Ok(name) = fuzz::is_bounded(text.as_bytes(), || $name::parse(text)) {
                assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
                assert!($name::check(text).is_ok() && !text.is_empty() && no_control(text));
                assert_eq!($name::parse(name.as_str()), Ok(name));
            } else {
                assert!($name::check(text).is_err());
            })*
        };
    }
    hold!(Name, Key, StreamId, EventType, Tag, GivenId, SourceName, DocumentKey);
    if let Ok(stream) = StreamId::parse(text) {
        let (category, id) = text.split_once('-').expect("a dash");
        let (name, key) = (Name::parse(category), Key::parse(id));
        let (name, key) = (name.expect("a name"), key.expect("a key"));
        assert_eq!((stream.category(), StreamId::of(&name, &key)), (category, stream.clone()));
    }
    if Key::parse(text).is_ok() {
        // It may stand in a path and in a header as it is.
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/%?#\\\"".contains(&byte)));
        assert!(text != "." && text != "..");
    }
}

#[test]
fn names_are_written_as_they_were_read() {
    let dictionary = ["-", ".", "..", "/", "%2F", "\0", "\u{a0}", "\u{85}", "Ω", "a", "_", "~"];
    fuzz::run("names", &dictionary, 20_000, |bytes| {
        each(&String::from_utf8_lossy(bytes));
    });
}
