//! How far the consumer is in a partition it owns (`PartitionTopicInfo`).
//!
//! Each rebalance makes new ones, so that a chunk of the time before cannot move a position of the time after.

use protocol::ids::{Offset, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// One ownership of one partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InfoId(u64);

/// `PartitionTopicInfo`.
#[derive(Clone, Debug)]
pub(super) struct PartitionInfo {
    pub(super) partition: TopicPartition,
    /// The stream whose queue takes what is fetched.
    pub(super) stream: u32,
    /// What a commit would write; none before the first position is known.
    pub(super) consumed: Option<Offset>,
    /// Where the next fetch starts.
    pub(super) fetched: Option<Offset>,
}

/// The partitions owned now (`topicRegistry`), and those of before that chunks still name.
#[derive(Clone, Default, Debug)]
pub(super) struct Registry {
    infos: BTreeMap<InfoId, PartitionInfo>,
    owned: BTreeMap<TopicPartition, InfoId>,
    next: u64,
}

impl Registry {
    pub(super) fn get(&self, id: InfoId) -> Option<&PartitionInfo> {
        self.infos.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: InfoId) -> Option<&mut PartitionInfo> {
        self.infos.get_mut(&id)
    }

    /// The partitions owned.
    pub(super) fn owned(&self) -> Vec<TopicPartition> {
        self.owned.keys().cloned().collect()
    }

    /// Each with its present info.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&TopicPartition, InfoId)> {
        self.owned.iter().map(|(partition, id)| (partition, *id))
    }

    /// What a commit would write (`commitOffsets`).
    pub(super) fn consumed(&self) -> BTreeMap<TopicPartition, Offset> {
        let of = |(partition, id): (&TopicPartition, InfoId)| {
            Some((partition.clone(), self.get(id)?.consumed?))
        };
        self.entries().filter_map(of).collect()
    }

    /// Nothing is owned any more; infos stay for the chunks that are still read.
    pub(super) fn release(&mut self) {
        self.owned.clear();
    }

    /// These are owned from now on, and all infos of before forgotten except those in use.
    pub(super) fn take(&mut self, infos: Vec<PartitionInfo>, in_use: &BTreeSet<InfoId>) {
        self.infos.retain(|id, _| in_use.contains(id));
        self.owned.clear();
        for info in infos {
            let id = InfoId(self.next);
            self.next += 1;
            self.owned.insert(info.partition.clone(), id);
            self.infos.insert(id, info);
        }
    }
}
