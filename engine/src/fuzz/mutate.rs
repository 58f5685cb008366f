//! Changing inputs by chance: bytes and bits, lengths, parts of other inputs, words of a grammar,
//! values and members of JSON.

use std::ops::Range;

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
/// Values at which readers of JSON go wrong.
const VALUES: [&str; 24] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1e400",
    "-1E-400",
    "1.0",
    "9007199254740993",
    "18446744073709551616",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\uD83D\\uDE00\"",
    "\"\u{7f}\u{85}\u{2028}\"",
    "\"a-1\"",
    "\"1.0\"",
    "\"2024-01-01T00:00:00+14:00\"",
    "[]",
    "{}",
    "{\"a\":1,\"a\":2}",
    "{\"\":{\"\":[]}}",
    "[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]",
];
/// Inputs get no longer than this: what a mistake costs shows in short ones.
const MOST_BYTES: usize = 16 << 10;

/// A small generator, the same for the same seed (splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below another; 0 below 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("fits").max(1);
        usize::try_from(self.draw() % end).expect("fits")
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> Option<&'a T> {
        all.get(self.below(all.len())).copied()
    }
}

pub(super) struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    dictionary: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    pub(super) fn new(seed: u64, seeds: &'a [Vec<u8>], dictionary: &'a [&'a str]) -> Self {
        Self { random: Random::new(seed), seeds, dictionary }
    }

    /// The next input.
    pub(super) fn input(&mut self) -> Vec<u8> {
        let mut input = self.other();
        for _ in 0..=self.random.below(4) {
            self.change(&mut input);
        }
        input.truncate(MOST_BYTES);
        input
    }

    fn other(&mut self) -> Vec<u8> {
        self.seeds.get(self.random.below(self.seeds.len())).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.random.below(12) {
            0 => self.flip(input),
            1 => self.overwrite(input),
            2 => drop(input.drain(self.range(input.len()))),
            3 => input.truncate(self.random.below(input.len() + 1)),
            4 => {
                let (part, at) = (self.range(input.len()), self.random.below(input.len() + 1));
                let part = input[part].to_vec();
                drop(input.splice(at..at, part));
            }
            5 => {
                let other = self.other();
                let (part, place) = (self.range(other.len()), self.range(input.len()));
                drop(input.splice(place, other[part].to_vec()));
            }
            6 | 7 => self.number(input),
            8 | 9 => self.word(input),
            _ => self.json(input),
        }
    }

    /// A part; mostly a short one.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.random.below(length + 1);
        let most = if self.random.below(4) == 0 { length } else { length.min(start + 16) };
        start..start + self.random.below(most.saturating_sub(start) + 1)
    }

    fn flip(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
    }

    fn overwrite(&mut self, input: &mut [u8]) {
        let range = self.range(input.len());
        for byte in &mut input[range] {
            *byte = self.random.draw().to_le_bytes()[0];
        }
    }

    /// Puts a number where a length might be: fixed, big-endian or little, or LEB128.
    fn number(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len() + 1);
        let chosen = NUMBERS[self.random.below(NUMBERS.len())];
        let more = u64::try_from(self.random.below(5)).expect("fits");
        let near = chosen.saturating_sub(2).wrapping_add(more);
        let width = 1 << self.random.below(4);
        let bytes = match self.random.below(3) {
            0 => near.to_be_bytes()[8 - width..].to_vec(),
            1 => near.to_le_bytes()[..width].to_vec(),
            _ => leb(near),
        };
        let replaced = if self.random.below(4) == 0 { 0 } else { bytes.len() };
        let end = (at + replaced).min(input.len());
        drop(input.splice(at..end, bytes));
    }

    /// Puts a word of the grammar somewhere, or in the place of something.
    fn word(&mut self, input: &mut Vec<u8>) {
        let Some(word) = self.random.one_of(self.dictionary) else { return };
        let place = if self.random.below(2) == 0 {
            self.range(input.len())
        } else {
            let at = self.random.below(input.len() + 1);
            at..at
        };
        drop(input.splice(place, word.bytes()));
    }

    /// Changes a value of JSON, or a member with its key and comma.
    fn json(&mut self, input: &mut Vec<u8>) {
        let values = json_values(input);
        let Some(place) = values.get(self.random.below(values.len())).cloned() else {
            return self.word(input);
        };
        let value = match self.random.below(6) {
            // A member twice, or an element.
            0 => {
                let again = input[place.clone()].to_vec();
                return drop(input.splice(place.end..place.end, [&b","[..], &again].concat()));
            }
            1 => {
                let other = self.other();
                let values = json_values(&other);
                let at = self.random.below(values.len());
                values.get(at).map(|place| other[place.clone()].to_vec()).unwrap_or_default()
            }
            2 => format!("[{}", "[".repeat(self.random.below(300))).into_bytes(),
            3 => {
                let inner = input[place.clone()].to_vec();
                [&b"{\"data\":"[..], &inner, b"}"].concat()
            }
            _ => VALUES[self.random.below(VALUES.len())].into(),
        };
        drop(input.splice(place, value));
    }
}

fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// Where the values of a text of JSON are, and its keys, and members with both; of a text that is
/// not JSON, whatever looks so.
fn json_values(text: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut open, mut at) = (Vec::new(), Vec::new(), 0);
    let mut key = None;
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                while text.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(text.len());
                if text.get(at) == Some(&b':') {
                    key = Some(start);
                }
            }
            b'{' | b'[' => {
                open.push(start);
                continue;
            }
            b'}' | b']' => match open.pop() {
                Some(start) => {
                    found.push(start..at);
                    continue;
                }
                None => continue,
            },
            b',' | b':' | b' ' | b'\n' => continue,
            _ => {
                let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-".contains(byte);
                while text.get(at).is_some_and(is_plain) {
                    at += 1;
                }
                if let Some(key) = key.take() {
                    found.push(key..at);
                }
            }
        }
        found.push(start..at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_json_are_found() {
        let text = br#"{"a":[1,"x\"y"],"b":true}"#;
        let found: Vec<_> = json_values(text).into_iter().map(|place| &text[place]).collect();
        for value in [&br#""a""#[..], b"1", br#""x\"y""#, br#"[1,"x\"y"]"#, br#""b":true"#, text] {
            assert!(found.contains(&value), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_they_differ() {
        let seeds = [br#"{"a":1}"#.to_vec(), b"\0\0\0\x07other".to_vec()];
        let inputs = || {
            let mut mutator = Mutator::new(7, &seeds, &["word"]);
            (0..1_000).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        let (one, other) = (inputs(), inputs());
        assert!(one == other);
        let distinct: std::collections::HashSet<_> = one.into_iter().collect();
        assert!(distinct.len() > 800, "{}", distinct.len());
    }
}
