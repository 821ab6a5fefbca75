//! A map by topic and partition for what is looked up at every step.
//!
//! It does what a `BTreeMap<TopicPartition, V>` does and goes through its entries in the same order. There are few topics
//! and their partitions are mostly numbered without a gap, so that finding one is a look at a few names and a step into a
//! list, where a tree compares names at every turn.

use crate::ids::{TopicName, TopicPartition};

/// A value for each of some partitions.
#[derive(Clone, Debug)]
pub struct PartitionMap<V> {
    /// Invariants: topics by name, the entries of each by partition, no topic without an entry.
    topics: Vec<(TopicName, Entries<V>)>,
    len: usize,
}

type Entries<V> = Vec<(TopicPartition, V)>;

impl<V> Default for PartitionMap<V> {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            len: 0,
        }
    }
}

/// Where a partition is among the entries of its topic, or where it would be.
fn place<V>(entries: &Entries<V>, key: &TopicPartition) -> Result<usize, usize> {
    let wanted = key.partition;
    let dense = usize::try_from(wanted.0).unwrap_or(usize::MAX);
    if entries
        .get(dense)
        .is_some_and(|(found, _)| found.partition == wanted)
    {
        return Ok(dense);
    }
    entries.binary_search_by_key(&wanted, |(found, _)| found.partition)
}

impl<V> PartitionMap<V> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many partitions have a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn topic(&self, name: &TopicName) -> Option<usize> {
        self.topics.iter().position(|(topic, _)| topic == name)
    }

    /// The value of a partition.
    pub fn get(&self, key: &TopicPartition) -> Option<&V> {
        let (_, entries) = &self.topics[self.topic(&key.topic)?];
        let index = place(entries, key).ok()?;
        Some(&entries[index].1)
    }

    /// The value of a partition, to change it.
    pub fn get_mut(&mut self, key: &TopicPartition) -> Option<&mut V> {
        let topic = self.topic(&key.topic)?;
        let (_, entries) = &mut self.topics[topic];
        let index = place(entries, key).ok()?;
        Some(&mut entries[index].1)
    }

    /// Whether a partition has a value.
    pub fn contains_key(&self, key: &TopicPartition) -> bool {
        self.get(key).is_some()
    }

    /// Gives a partition a value; the one it had before.
    pub fn insert(&mut self, key: TopicPartition, value: V) -> Option<V> {
        let by_name = |(topic, _): &(TopicName, Entries<V>)| topic.cmp(&key.topic);
        let topic = self.topics.binary_search_by(by_name).unwrap_or_else(|at| {
            self.topics.insert(at, (key.topic.clone(), Vec::new()));
            at
        });
        let (_, entries) = &mut self.topics[topic];
        match place(entries, &key) {
            Ok(index) => Some(std::mem::replace(&mut entries[index].1, value)),
            Err(index) => {
                entries.insert(index, (key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Takes a partition out.
    pub fn remove(&mut self, key: &TopicPartition) -> Option<V> {
        let topic = self.topic(&key.topic)?;
        let (_, entries) = &mut self.topics[topic];
        let index = place(entries, key).ok()?;
        let (_, value) = entries.remove(index);
        if entries.is_empty() {
            self.topics.remove(topic);
        }
        self.len -= 1;
        Some(value)
    }

    /// All partitions and their values, by topic and number.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &V)> {
        let entries = self.topics.iter().flat_map(|(_, entries)| entries);
        entries.map(|(key, value)| (key, value))
    }

    /// All partitions and their values, to change these.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut V)> {
        let entries = self.topics.iter_mut().flat_map(|(_, entries)| entries);
        entries.map(|(key, value)| (&*key, value))
    }

    /// All values, in the same order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// All partitions, in the same order.
    pub fn into_keys(self) -> impl Iterator<Item = TopicPartition> {
        let entries = self.topics.into_iter().flat_map(|(_, entries)| entries);
        entries.map(|(key, _)| key)
    }
}

impl<V> FromIterator<(TopicPartition, V)> for PartitionMap<V> {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key() -> impl Strategy<Value = TopicPartition> {
        ("[a-c]", -1..40_i32).prop_map(|(topic, index)| TopicPartition::new(topic, index))
    }

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(changes in prop::collection::vec((key(), any::<bool>()), 0..300)) {
            let (mut map, mut tree) = (PartitionMap::new(), BTreeMap::new());
            for (step, (key, puts_in)) in changes.into_iter().enumerate() {
                if puts_in {
                    prop_assert_eq!(map.insert(key.clone(), step), tree.insert(key.clone(), step));
                } else {
                    prop_assert_eq!(map.remove(&key), tree.remove(&key));
                }
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(map.len(), tree.len());
            }
            prop_assert!(map.iter().eq(tree.iter()));
            prop_assert!(map.values_mut().map(|value| &*value).eq(tree.values()));
            prop_assert!(map.into_keys().eq(tree.into_keys()));
        }
    }
}
