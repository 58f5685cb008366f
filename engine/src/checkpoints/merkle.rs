//! The Merkle tree over the records: RFC 6962, section 2.1, with SHA-256, as the tools of
//! transparency logs compute it. A leaf's data is the BLAKE3 hash of a record, so that what is
//! hashed twice is short.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::decision::Hash;

/// Leaves of a subtree whose root is kept. 256: an eighth of a byte a record, and a proof reads no
/// more than two times as many records.
pub const TILE: u64 = 256;

/// The hash of a leaf.
#[must_use]
pub fn leaf(record_hash: &Hash) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record_hash).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows, of which only the roots of its whole subtrees are kept.
#[derive(Clone, Debug, Default)]
pub struct Growing {
    size: u64,
    /// Roots of whole subtrees, the largest first, and how many leaves each has.
    roots: Vec<(u64, Hash)>,
}

impl Growing {
    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.join(1, leaf);
    }

    /// Adds a whole subtree, no larger than those before it.
    pub fn join(&mut self, leaves: u64, root: Hash) {
        self.size += leaves;
        let (mut leaves, mut root) = (leaves, root);
        while let Some((before, left)) = self.roots.pop_if(|(before, _)| *before == leaves) {
            root = node(&left, &root);
            leaves += before;
        }
        self.roots.push((leaves, root));
    }

    /// The roots of its whole subtrees, the largest first: with its size, all that it is.
    #[must_use]
    pub fn roots(&self) -> Vec<Hash> {
        self.roots.iter().map(|(_, root)| *root).collect()
    }

    /// A tree of so many leaves with these roots; none where their number is another.
    #[must_use]
    pub fn of(size: u64, roots: &[Hash]) -> Option<Self> {
        let sizes = (0..u64::BITS).rev().map(|bit| 1 << bit).filter(|leaves| size & leaves > 0);
        let is_whole = usize::try_from(size.count_ones()) == Ok(roots.len());
        is_whole.then(|| Self { size, roots: sizes.zip(roots.iter().copied()).collect() })
    }

    /// The last of its leaves, that make no whole tile.
    #[must_use]
    pub fn unfinished_tile(&self) -> Self {
        let roots = self.roots.iter().filter(|(leaves, _)| *leaves < TILE);
        Self { size: self.size % TILE, roots: roots.copied().collect() }
    }

    /// Its root hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev().map(|(_, root)| *root);
        let Some(last) = roots.next() else { return Sha256::digest([]).into() };
        roots.fold(last, |right, left| node(&left, &right))
    }
}

/// What is known of a tree: the roots of its tiles, and the leaves of some of them.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) tiles: &'a [Hash],
    /// By the number of their tile.
    pub(super) leaves: HashMap<u64, Vec<Hash>>,
}

impl Known<'_> {
    /// The path from a leaf to the root of the first `size` leaves, the leaf's sibling first.
    pub(super) fn path(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        let (mut low, mut high, mut path) = (0, size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            let (left, right) = ((low, middle), (middle, high));
            let (inside, beside) = if index < middle { (left, right) } else { (right, left) };
            path.push(self.root(beside.0, beside.1)?);
            (low, high) = inside;
        }
        path.reverse();
        Some(path)
    }

    fn root(&self, low: u64, high: u64) -> Option<Hash> {
        let (tile, place) = (low / TILE, usize::try_from(low % TILE).ok()?);
        let whole = place == 0 && high - low == TILE;
        if let Some(root) = self.tiles.get(usize::try_from(tile).ok()?).filter(|_| whole) {
            return Some(*root);
        }
        if high - low == 1 {
            return self.leaves.get(&tile)?.get(place).copied();
        }
        let middle = low + split(high - low);
        Some(node(&self.root(low, middle)?, &self.root(middle, high)?))
    }
}

/// The largest power of two below `size`, which is at least two.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// The root that a path leads to from a leaf; none if the path does not fit the tree's size.
#[must_use]
pub(super) fn root_of_path(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut root) = (index, size - 1, *leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            root = node(beside, &root);
            while at.is_multiple_of(2) && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = node(&root, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let middle = (1..many.len()).rev().find(|n| n.is_power_of_two()).expect("one");
                node(&by_definition(&many[..middle]), &by_definition(&many[middle..]))
            }
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_that_the_definition_gives() {
        let leaves: Vec<Hash> =
            (0..600u32).map(|n| Sha256::digest(n.to_be_bytes()).into()).collect();
        let mut growing = Growing::default();
        for (size, next) in leaves.iter().enumerate() {
            if size < 40 || size % 37 == 0 {
                assert_eq!(growing.root(), by_definition(&leaves[..size]), "{size}");
            }
            growing.push(*next);
        }
    }

    #[test]
    fn a_path_leads_to_the_root_and_no_other_does() {
        let leaves: Vec<Hash> =
            (0..1100u32).map(|n| leaf(&Sha256::digest(n.to_be_bytes()).into())).collect();
        let tiles: Vec<Hash> = leaves.chunks_exact(256).map(by_definition).collect();
        let by_tile = (0..).zip(leaves.chunks(256)).map(|(tile, leaves)| (tile, leaves.to_vec()));
        let known = Known { tiles: &tiles, leaves: by_tile.collect() };
        for size in [1, 2, 3, 7, 8, 255, 256, 257, 512, 700, 1024, 1099, 1100u64] {
            let root = by_definition(&leaves[..usize::try_from(size).expect("fits")]);
            for index in (0..size).filter(|index| size < 9 || index % 61 == 0 || index + 2 > size) {
                let of = &leaves[usize::try_from(index).expect("fits")];
                let path = known.path(index, size).expect("a path");
                assert_eq!(root_of_path(of, index, size, &path), Some(root), "{index} of {size}");
                assert_ne!(root_of_path(of, index + 1, size, &path), Some(root));
                let mut longer = path.clone();
                longer.push(root);
                assert_ne!(root_of_path(of, index, size, &longer), Some(root));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of_path(of, index, size, shorter), Some(root));
                }
            }
        }
        assert_eq!(root_of_path(&leaves[0], 0, 0, &[]), None);
    }

    #[test]
    fn the_empty_tree_and_the_first_leaf_are_those_of_the_standard() {
        let hex = |hash: Hash| blake3::Hash::from(hash).to_hex().to_string();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(Growing::default().root()), empty);
        let empty_leaf: Hash = Sha256::digest([0]).into();
        let known = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex(empty_leaf), known);
    }
}
