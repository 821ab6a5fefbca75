//! Offsets that nobody needs any more (`cleanupGroupMetadata`, `removeExpiredOffsets`; KIP-211).
//!
//! Ages are measured on the wall clock, so a clock that jumps ahead expires offsets early. 0.9 forgot a group with its last
//! member; here, as from 0.10 on, it stays until its offsets are gone.

use super::deadlines::Deadline;
use super::state::{Group, GroupState};
use super::subscription::CONSUMER;
use super::{Registry, Step, storage};
use protocol::behaviour::Fix;
use protocol::ids::{TopicName, TopicPartition};
use protocol::note::GroupNote;
use std::collections::BTreeSet;

/// From when the retention of an offset counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Base {
    /// Since it was committed.
    Commit,
    /// Since the group became empty, where that is known.
    EmptySince,
}

impl Registry {
    /// Looks at all groups: expired offsets and groups without any get tombstones.
    pub(super) fn clean_up(&mut self, step: &mut Step<'_, '_>) {
        let at = step.now.mono + step.office.settings.retention_check;
        let deadlines = &mut step.office.deadlines;
        deadlines.set(&mut self.cleanup, at, || Deadline::Cleanup);
        if self.ownership.is_stuck() {
            // One thread loads and cleans up.
            return;
        }
        let wall = step.wall_ms();
        self.groups.retain(|_, group| {
            let expired = group.remove_expired(step);
            for partition in &expired {
                step.note(&group.id, GroupNote::OffsetExpired(partition.clone()));
            }
            if group.state == GroupState::Empty && !group.has_offsets() {
                group.transition(step, GroupState::Dead);
            }
            let dead = group.state == GroupState::Dead;
            // A group of generation 0 only keeps offsets and was never written down.
            let bury = dead && group.generation.0 > 0;
            if let Some(batch) = storage::tombstones(&group.id, &expired, bury, wall) {
                // If this is lost, the next look writes it again.
                step.append(group.partition, batch, None);
            }
            !dead
        });
    }
}

impl Group {
    fn remove_expired(&mut self, step: &Step<'_, '_>) -> Vec<TopicPartition> {
        let nothing = BTreeSet::new();
        let by_group = step.has(Fix::ExpireOnlyWhenEmpty);
        let settled = self.state == GroupState::Stable || !step.has(Fix::ExpireNotInRebalance);
        let (base, spared) = match (self.protocol_type.as_deref(), &self.subscribed) {
            _ if !by_group => (Base::Commit, &nothing),
            (Some(_), _) if self.state == GroupState::Empty => (Base::EmptySince, &nothing),
            (Some(CONSUMER), Some(subscribed)) if settled => (Base::Commit, subscribed),
            (None, _) => (Base::Commit, &nothing),
            (Some(_), _) => return Vec::new(),
        };
        let expired = self.expired(step, base, spared);
        for partition in &expired {
            self.offsets.remove(partition);
        }
        expired
    }

    fn expired(
        &self,
        step: &Step<'_, '_>,
        base: Base,
        spared: &BTreeSet<TopicName>,
    ) -> Vec<TopicPartition> {
        let now = step.wall_ms();
        let retention = step.office.settings.retention.as_millis();
        let retention = i64::try_from(retention).unwrap_or(i64::MAX);
        let candidates = self.offsets.iter().filter(|(partition, _)| {
            !spared.contains(&partition.topic) && !self.pending_offsets.contains_key(partition)
        });
        let expired = candidates.filter(|(_, committed)| {
            let stored = &committed.stored;
            let since = match base {
                Base::Commit => stored.commit_timestamp,
                Base::EmptySince => self.state_since.unwrap_or(stored.commit_timestamp),
            };
            let end = stored.expire_timestamp;
            now >= end.unwrap_or_else(|| since.saturating_add(retention))
        });
        expired.map(|(partition, _)| partition.clone()).collect()
    }
}
