//! Leaders that lost the tail of their log with their power and led again in their own epoch, because nobody had noticed that
//! they were gone.
//!
//! What they write then has the offsets and the epoch of what they lost. Followers and consumers compare epochs to find out
//! that a log was cut (KIP-101, KIP-320), and epochs are the same here: a follower keeps its other records of that epoch, or
//! finds no batch that begins where its log ends; a group goes on behind what it read of the log that is lost. Without Raft
//! nothing in Kafka raises the epoch of a leader that comes back before its session ends, or with no controller to see it.

use super::index::{CutKind, EventId, Index};
use super::loss::lost_power;
use protocol::ids::{BrokerId, LeaderEpoch};
use std::fmt;

/// One such return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relapse {
    /// When it led again.
    pub(super) event: EventId,
    broker: BrokerId,
    epoch: LeaderEpoch,
    /// The first offset that it lost.
    pub(super) to: i64,
}

/// All of a partition, in the order of time.
pub(super) fn relapses(index: &Index<'_>, part: u32) -> Vec<Relapse> {
    let partition = index.partition(part);
    let leaders = &partition.leaders;
    let returns = leaders.iter().zip(leaders.iter().skip(1));
    let returns = returns
        .filter(|(before, again)| (before.broker, before.epoch) == (again.broker, again.epoch));
    let relapses = returns.filter_map(|(before, again)| {
        let cuts = partition.replicas.get(&again.broker)?.cuts();
        let lost = cuts.filter(|cut| {
            cut.kind == CutKind::DiskLoss
                && before.event < cut.event
                && cut.event < again.event
                && lost_power(index, again.broker, (before.event, cut.event)).is_some()
        });
        Some(Relapse {
            event: again.event,
            broker: again.broker,
            epoch: again.epoch,
            to: lost.map(|cut| cut.to).min()?,
        })
    });
    relapses.collect()
}

/// Why nobody can follow the leader of a partition for good: others have kept what it lost, and find no batch that begins where
/// their logs end.
pub(super) fn deadlock(index: &Index<'_>, part: u32) -> Option<String> {
    let kept = |relapse: &Relapse| relapse.keepers(index, part).next().is_some();
    let relapse = relapses(index, part).into_iter().find(kept)?;
    Some(format!("{relapse}, and others have kept them"))
}

impl Relapse {
    /// The appends of others that brought what the leader lost first and that they still had when it led again.
    pub(super) fn keepers<'i>(
        &self,
        index: &'i Index<'_>,
        part: u32,
    ) -> impl Iterator<Item = EventId> + 'i {
        let Self {
            event, broker, to, ..
        } = *self;
        let others = index.partition(part).replicas.iter();
        others
            .filter(move |(other, _)| **other != broker)
            .filter_map(move |(_, log)| log.holds(to, event))
    }
}

impl fmt::Display for Relapse {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "unflushed data from offset {} on lost by broker {}, which led again in its own epoch {}",
            self.to, self.broker, self.epoch
        )
    }
}
