//! A map from offset to something small, in pages: as quick as an array where offsets are dense, and no larger than its
//! content where a recorded log starts at a billion or has holes.

/// Entries of one page.
const PAGE: i64 = 256;

/// A map from offset to `T`; an offset never set holds the empty value.
#[derive(Clone, Debug)]
pub struct OffsetMap<T> {
    empty: T,
    /// Page number and its entries, ordered by number.
    pages: Vec<(i64, Vec<T>)>,
}

impl<T: Copy + PartialEq> OffsetMap<T> {
    /// An empty map.
    pub fn new(empty: T) -> Self {
        Self {
            empty,
            pages: Vec::new(),
        }
    }

    /// What is at an offset.
    pub fn get(&self, offset: i64) -> T {
        let Ok(page) = self.page(offset.div_euclid(PAGE)) else {
            return self.empty;
        };
        self.pages[page].1[Self::slot(offset)]
    }

    /// Puts something at an offset and hands back what was there.
    pub fn set(&mut self, offset: i64, value: T) -> T {
        let number = offset.div_euclid(PAGE);
        let page = match self.page(number) {
            Ok(page) => page,
            Err(place) => {
                let entries = vec![self.empty; Self::slot(PAGE - 1) + 1];
                self.pages.insert(place, (number, entries));
                place
            }
        };
        std::mem::replace(&mut self.pages[page].1[Self::slot(offset)], value)
    }

    /// All offsets that hold something, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, T)> + '_ {
        self.pages.iter().flat_map(move |(number, entries)| {
            let offsets = number * PAGE..;
            let held = offsets.zip(entries.iter().copied());
            held.filter(move |(_, entry)| *entry != self.empty)
        })
    }

    /// The first and the last offset that hold something.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let first = self.iter().next()?.0;
        let (number, entries) = self.pages.last()?;
        let last = (0..)
            .zip(entries)
            .filter(|(_, entry)| **entry != self.empty)
            .last()
            .map(|(at, _): (i64, _)| number * PAGE + at);
        Some((first, last.unwrap_or(first)))
    }

    fn slot(offset: i64) -> usize {
        usize::try_from(offset.rem_euclid(PAGE)).unwrap_or(0)
    }

    fn page(&self, number: i64) -> Result<usize, usize> {
        let Some((first, _)) = self.pages.first() else {
            return Err(0);
        };
        let guess = usize::try_from(number - first).unwrap_or(usize::MAX);
        if self.pages.get(guess).is_some_and(|page| page.0 == number) {
            return Ok(guess);
        }
        self.pages.binary_search_by_key(&number, |page| page.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn pages_answer_as_a_tree_does(entries in prop::collection::vec((-2000_i64..2000, 1_u32..9), 0..200)) {
            let mut map = OffsetMap::new(0);
            let mut tree = BTreeMap::new();
            for (offset, value) in entries {
                let offset = if value > 6 { offset * 1_000_003 } else { offset };
                prop_assert_eq!(map.set(offset, value), tree.insert(offset, value).unwrap_or(0));
            }
            let expected: Vec<(i64, u32)> = tree.clone().into_iter().collect();
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), expected);
            for offset in -3000..3000 {
                prop_assert_eq!(map.get(offset), tree.get(&offset).copied().unwrap_or(0));
            }
            let bounds = tree.first_key_value().zip(tree.last_key_value());
            prop_assert_eq!(map.bounds(), bounds.map(|(first, last)| (*first.0, *last.0)));
        }
    }
}
