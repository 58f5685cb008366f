//! Values as bytes that sort like the values. No encoding begins with another one, so that several
//! can be joined and still sort one after the other.
//!
//! ```text
//! 01 missing   02 null   03 false   04 true
//! 05 number: 01 negative, 02 zero, 03 positive; then, unless zero, 4 bytes for the power of ten,
//!    the digits two by two as 2 to 101, and 00 (01 where digits were left out); all of what
//!    follows the sign turned over where it is negative
//! 06 text: its bytes, 00 as 00 ff; then 00 01 (00 02 where bytes were left out)
//! 07 array or object
//! ```
//!
//! Numbers are never turned into floats: 9007199254740993 comes after 9007199254740992, and 1.0 is
//! 1. Powers of ten beyond some two thousand million count as that.

use std::borrow::Cow;

/// Bytes of a text, and digits of a number, that count when values are compared. 1,024: longer ones
/// are prose, and every index entry has a bound.
pub const TEXT_BYTES: usize = 1024;

const MISSING: u8 = 1;
const NULL: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NUMBER: u8 = 5;
const TEXT: u8 = 6;
const OTHER: u8 = 7;

const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;

/// A value as bytes that sort like it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(Vec<u8>);

/// What kind of value it is: only values of one kind are less or greater to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is nothing.
    Missing,
    /// null.
    Null,
    /// false or true.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array or an object.
    Other,
}

impl Value {
    /// The value of a JSON text, or of nothing.
    #[must_use]
    pub fn of(json: Option<&str>) -> Self {
        let mut out = Vec::with_capacity(16);
        put(&mut out, json);
        Self(out)
    }

    /// The value of a text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 3);
        put_text(&mut out, text);
        Self(out)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.0.first() {
            Some(&NULL) => Kind::Null,
            Some(&(FALSE | TRUE)) => Kind::Bool,
            Some(&NUMBER) => Kind::Number,
            Some(&TEXT) => Kind::Text,
            Some(&OTHER) => Kind::Other,
            _ => Kind::Missing,
        }
    }

    /// What all texts that begin with `prefix` begin with.
    #[must_use]
    pub fn prefix(prefix: &str) -> Vec<u8> {
        let mut out = vec![TEXT];
        put_escaped(&mut out, prefix.as_bytes());
        out
    }
}

impl Kind {
    /// The bytes that values of this kind lie between: from the first on, before the second.
    #[must_use]
    pub fn span(self) -> (Vec<u8>, Vec<u8>) {
        let (first, last) = match self {
            Self::Missing => (MISSING, MISSING),
            Self::Null => (NULL, NULL),
            Self::Bool => (FALSE, TRUE),
            Self::Number => (NUMBER, NUMBER),
            Self::Text => (TEXT, TEXT),
            Self::Other => (OTHER, OTHER),
        };
        (vec![first], vec![last + 1])
    }
}

/// The bytes turned over: what was greater is less.
#[must_use]
pub fn complement(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

/// The least bytes that come after all those that begin with these; none where nothing does.
#[must_use]
pub fn next_after(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    while let Some(last) = next.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Some(next);
        }
        next.pop();
    }
    None
}

fn put(out: &mut Vec<u8>, json: Option<&str>) {
    match json.map(str::as_bytes).and_then(|json| json.first()) {
        None => out.push(MISSING),
        Some(b'n') => out.push(NULL),
        Some(b'f') => out.push(FALSE),
        Some(b't') => out.push(TRUE),
        Some(b'"') => match unquoted(json.unwrap_or_default()) {
            Some(text) => put_text(out, &text),
            // Half a surrogate pair: JSON, and no text.
            None => out.push(OTHER),
        },
        Some(b'-' | b'0'..=b'9') => put_number(out, json.unwrap_or_default()),
        Some(_) => out.push(OTHER),
    }
}

fn unquoted(json: &str) -> Option<Cow<'_, str>> {
    let plain = json.get(1..json.len().checked_sub(1)?)?;
    if plain.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(TEXT);
    let counted = text.as_bytes().get(..TEXT_BYTES);
    put_escaped(out, counted.unwrap_or(text.as_bytes()));
    let is_cut = text.len() > TEXT_BYTES;
    out.extend_from_slice(&[0, if is_cut { 2 } else { 1 }]);
}

fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(u8::MAX);
        }
    }
}

fn put_number(out: &mut Vec<u8>, json: &str) {
    let number = Decimal::of(json);
    out.push(NUMBER);
    if number.digits.is_empty() {
        out.push(ZERO);
        return;
    }
    out.push(if number.negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    // Turned into unsigned, so that it sorts.
    let power = number.power.cast_unsigned() ^ (1 << 31);
    out.extend_from_slice(&power.to_be_bytes());
    let is_cut = number.digits.len() > TEXT_BYTES;
    let counted = number.digits.get(..TEXT_BYTES).unwrap_or(&number.digits);
    for pair in counted.chunks(2) {
        let [tens, ones] = [pair.first(), pair.get(1)].map(|digit| digit.copied().unwrap_or(0));
        out.push(tens * 10 + ones + 2);
    }
    out.push(u8::from(is_cut));
    if number.negative {
        for byte in out.iter_mut().skip(start) {
            *byte = !*byte;
        }
    }
}

/// 0.d1d2d3… times a power of ten, without zeros at either end of the digits.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    power: i32,
}

impl Decimal {
    /// Of a number as JSON writes it.
    fn of(json: &str) -> Self {
        let (negative, json) = match json.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, json),
        };
        let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0'));
        let mut digits: Vec<u8> = digits.collect();
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
        let exponent = exponent.parse::<i64>().unwrap_or_else(|_| {
            // Only more digits than fit can fail.
            if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 }
        });
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
        let power = exponent.saturating_add(length(whole.len()) - length(leading));
        let most = i64::from(i32::MAX);
        let power = i32::try_from(power.clamp(-most, most)).unwrap_or_default();
        Self { negative, digits, power }
    }
}
