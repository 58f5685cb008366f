//! Blocks: runs of growing pairs, packed as differences.
//!
//! ```text
//! count, then per pair: key - the key before, value - the value before (LEB128)
//! ```

use crate::decision::wire::{Damage, Reader, put_int, put_len};

/// Most pairs in one block: unpacking one costs a few microseconds.
pub(super) const BLOCK_PAIRS: usize = 512;

/// Two numbers that both never fall from one pair to the next.
pub(super) type Pair = (u64, u64);

pub(super) fn pack(pairs: &[Pair]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + pairs.len() * 3);
    put_len(&mut out, pairs.len());
    let mut before = (0, 0);
    for pair in pairs {
        put_int(&mut out, pair.0 - before.0);
        put_int(&mut out, pair.1 - before.1);
        before = *pair;
    }
    out
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Pair>, Damage> {
    let mut reader = Reader::new(bytes);
    let count = reader.count()?;
    let mut pairs = Vec::with_capacity(count);
    let mut before = (0u64, 0u64);
    for _ in 0..count {
        let beyond = || Damage("a block beyond 64 bits");
        before.0 = before.0.checked_add(reader.int()?).ok_or_else(beyond)?;
        before.1 = before.1.checked_add(reader.int()?).ok_or_else(beyond)?;
        pairs.push(before);
    }
    Ok(pairs)
}

/// The pair at a key, or the nearest one beyond it.
pub(super) fn at_or_after(pairs: &[Pair], key: u64) -> Option<Pair> {
    pairs.get(pairs.partition_point(|pair| pair.0 < key)).copied()
}

/// The pair at a key, or the nearest one before it.
pub(super) fn at_or_before(pairs: &[Pair], key: u64) -> Option<Pair> {
    pairs.get(pairs.partition_point(|pair| pair.0 <= key).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_and_are_found() {
        let pairs: Vec<Pair> = (1..1000).map(|n| (n * 7, n * n)).collect();
        assert_eq!(unpack(&pack(&pairs)), Ok(pairs.clone()));
        assert_eq!(at_or_after(&pairs, 8), Some((14, 4)));
        assert_eq!(at_or_after(&pairs, 14), Some((14, 4)));
        assert_eq!(at_or_before(&pairs, 13), Some((7, 1)));
        assert_eq!(at_or_before(&pairs, 6), None);
        assert_eq!(at_or_after(&pairs, 7000), None);
        assert!(unpack(&[9, 1]).is_err());
    }
}
