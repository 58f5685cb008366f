//! JSON text as it is stored: tokens, digits and key order kept, white space dropped, duplicate
//! keys refused (RFC 8259 leaves their meaning open). Numbers are never turned into floats.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;

/// What most values need no more than.
const TYPICAL_DEPTH: usize = 4;
/// Keys of objects within each other that most values have no more than.
const TYPICAL_KEYS: usize = 16;

/// Nesting beyond this is refused, as serde_json does: readers recurse.
pub const MAX_JSON_DEPTH: usize = 128;

/// Why a text is not JSON that can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub reason: String,
    /// The byte where it was noticed, from 0.
    pub offset: usize,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.offset)
    }
}

impl std::error::Error for JsonError {}

/// The text without white space between its tokens.
///
/// # Errors
/// [`JsonError`] where the text is not one JSON value, repeats a key or nests too deep.
pub fn compact(text: &str) -> Result<Cow<'_, str>, JsonError> {
    // serde_json knows the grammar; the scan below relies on the text being right.
    let value: &serde_json::value::RawValue =
        serde_json::from_str(text).map_err(|error| JsonError {
            reason: without_place(&error),
            offset: offset_of(text, error.line(), error.column()),
        })?;
    let mut scan = Scan {
        text: value.get(),
        out: None,
        copied: 0,
        open: Vec::with_capacity(TYPICAL_DEPTH),
        keys: Vec::with_capacity(TYPICAL_KEYS),
        key_next: false,
    };
    scan.run()?;
    Ok(match scan.out {
        None => Cow::Borrowed(value.get()),
        Some(mut out) => {
            out.push_str(value.get().get(scan.copied..).unwrap_or_default());
            Cow::Owned(out)
        }
    })
}

/// serde_json ends its sentences with the line and column, which the offset says already.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

/// What a bracket opened.
enum Open {
    Array,
    /// The first of its keys among all.
    Object(usize),
}

struct Scan<'a> {
    text: &'a str,
    /// The text so far, once white space was found.
    out: Option<String>,
    /// Up to where the text was copied to `out`.
    copied: usize,
    open: Vec<Open>,
    /// The keys of the objects that are open.
    keys: Vec<Cow<'a, str>>,
    /// Whether a string would be a key.
    key_next: bool,
}

impl<'a> Scan<'a> {
    fn run(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let mut next = at + 1;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.drop_byte(at),
                b'"' => {
                    next = string_end(bytes, next);
                    if std::mem::take(&mut self.key_next) {
                        self.key(at, next);
                    }
                }
                b'{' => self.open(Open::Object(self.keys.len()), at)?,
                b'[' => self.open(Open::Array, at)?,
                b'}' | b']' => self.close(at)?,
                b',' => self.key_next = matches!(self.open.last(), Some(Open::Object(_))),
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    fn drop_byte(&mut self, at: usize) {
        let kept = self.text.get(self.copied..at).unwrap_or_default();
        self.out.get_or_insert_with(|| String::with_capacity(self.text.len())).push_str(kept);
        self.copied = at + 1;
    }

    fn key(&mut self, start: usize, end: usize) {
        let quoted = self.text.get(start..end).unwrap_or_default();
        let plain = quoted.trim_matches('"');
        self.keys.push(if plain.contains('\\') {
            Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
        } else {
            Cow::Borrowed(plain)
        });
    }

    fn open(&mut self, open: Open, at: usize) -> Result<(), JsonError> {
        if self.open.len() == MAX_JSON_DEPTH {
            let reason = format!("JSON nested deeper than {MAX_JSON_DEPTH}");
            return Err(JsonError { reason, offset: at });
        }
        self.key_next = matches!(open, Open::Object(_));
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, at: usize) -> Result<(), JsonError> {
        self.key_next = false;
        let Some(Open::Object(first)) = self.open.pop() else { return Ok(()) };
        let keys = self.keys.get_mut(first..).unwrap_or_default();
        keys.sort_unstable();
        if let Some([twice, _]) = keys.array_windows().find(|[a, b]| a == b) {
            let reason = format!("the key {twice:?} appears twice in an object");
            return Err(JsonError { reason, offset: at });
        }
        self.keys.truncate(first);
        Ok(())
    }
}

/// The byte after the closing quote of the string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_digits_and_order_stay() {
        for (given, kept) in [
            (r#"{"b":1,"a":9007199254740993}"#, r#"{"b":1,"a":9007199254740993}"#),
            (" { \"a\" : [ 1.50 , -0 , 1e400 ] }\n", r#"{"a":[1.50,-0,1e400]}"#),
            (r#""a \" b""#, r#""a \" b""#),
            ("\t7", "7"),
            (r#"{"a":{"x":1},"b":{"x":2}}"#, r#"{"a":{"x":1},"b":{"x":2}}"#),
        ] {
            assert_eq!(compact(given).expect(given), kept);
        }
    }

    #[test]
    fn a_key_twice_is_refused_however_it_is_written() {
        for bad in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":1,"c":0,"b":1}}]"#] {
            let error = compact(bad).expect_err(bad);
            assert!(error.reason.contains("twice"), "{error}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        assert_eq!(compact("{\"a\":\n 1,}").expect_err("a comma too many").offset, 9);
        for bad in ["", "{", "nul", "1 2", "{\"a\"}", "\"\u{1}\"", "[01]"] {
            assert!(compact(bad).is_err(), "{bad}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(compact(&deep).is_err());
    }

    proptest! {
        #[test]
        fn compacting_changes_no_value(text in "[ \\t]*(\\{\"k[0-9]\" ?: ?(true|[1-9]{1,20}|\"[a-z \\\\\\\\]*\")\\}|[0-9])[ \n]*") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                let compacted = compact(&text).expect("valid");
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&compacted).expect("valid"), value);
            }
        }
    }
}
