//! The primitives of the record format: variable-length integers and length-prefixed bytes.
//!
//! Reading never trusts a length: it answers [`Damage`] instead of reading past the end.

use std::fmt;

/// Stored bytes that do not have the shape they must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(
    /// What was found.
    pub &'static str,
);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damage {}

/// Appends an integer in LEB128, seven bits a byte, lowest first.
pub(crate) fn put_int(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a count.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_int(out, u64::try_from(len).unwrap_or(u64::MAX));
}

/// Appends a flag byte and, where there is one, the value.
pub(crate) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

/// Reads what the functions above wrote.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Damage("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Damage("cut short"))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Nearly all integers have one byte or two.
    #[inline]
    pub(crate) fn int(&mut self) -> Result<u64, Damage> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_int(),
        }
    }

    fn long_int(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage("an integer beyond 64 bits"))
    }

    #[inline]
    pub(crate) fn int32(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.int()?).map_err(|_| Damage("an integer beyond 32 bits"))
    }

    /// A count of things that each take at least one of the bytes that follow.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<usize, Damage> {
        let count = usize::try_from(self.int()?).map_err(|_| Damage("a count beyond memory"))?;
        if count > self.rest.len() { Err(Damage("a count beyond the record")) } else { Ok(count) }
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let len = self.count()?;
        self.take(len)
    }

    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damage("text that is not UTF-8"))
    }

    #[inline]
    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Damage>,
    ) -> Result<Option<T>, Damage> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Damage("a flag that is neither 0 nor 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(Reader::new(&out).int(), Ok(value));
        }
    }

    #[test]
    fn lengths_are_not_trusted() {
        assert!(Reader::new(&[0xff; 10]).int().is_err());
        assert!(Reader::new(&[5, 1, 2]).bytes().is_err());
        assert!(Reader::new(&[]).byte().is_err());
        assert!(Reader::new(&[1, 0xff]).text().is_err());
    }
}
