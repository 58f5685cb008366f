//! A list that mostly holds one thing, without an allocation for it. Unlike the vectors of the
//! crates that do this, it is covariant, so that it may hold what borrows from a record.

use std::ops::Deref;

/// A list; of up to one thing it is no more than that.
#[derive(Clone, Debug)]
pub struct Few<T>(Items<T>);

#[derive(Clone, Debug)]
enum Items<T> {
    One([T; 1]),
    Others(Vec<T>),
}

impl<T> Few<T> {
    /// Adds one at the end.
    #[inline]
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Items::Others(others) if others.is_empty() => self.0 = Items::One([item]),
            Items::Others(others) => others.push(item),
            Items::One(_) => self.push_second(item),
        }
    }

    fn push_second(&mut self, item: T) {
        if let Items::One([first]) = std::mem::replace(&mut self.0, Items::Others(Vec::new())) {
            self.0 = Items::Others(vec![first, item]);
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Items::Others(Vec::new()))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Items::One(one) => one,
            Items::Others(others) => others,
        }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::default();
        items.into_iter().for_each(|item| few.push(item));
        few
    }
}

impl<'f, T> IntoIterator for &'f Few<T> {
    type Item = &'f T;
    type IntoIter = std::slice::Iter<'f, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_vector_would() {
        for count in 0..5 {
            let few: Few<_> = (0..count).collect();
            assert_eq!(*few, *(0..count).collect::<Vec<_>>());
            assert_eq!(few, (&few).into_iter().copied().collect());
        }
    }
}
