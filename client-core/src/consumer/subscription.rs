//! What the consumer reads and how far it is (`SubscriptionState`).
//!
//! A partition begins without position, gets one from the group's committed offset or by a reset, and has it validated
//! when the leader changes (KIP-320). A position is the next offset to hand to the application, with the epoch of the
//! last record handed over.

use super::pattern::TopicPattern;
use crate::metadata::LeaderAndEpoch;
use protocol::ids::{LeaderEpoch, Offset, TopicName, TopicPartition};
use protocol::time::Mono;
use protocol::verb::{OffsetAndMetadata, ResetReason};
use std::collections::{BTreeMap, BTreeSet};

/// Who decides the partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Mode {
    /// Nobody yet.
    #[default]
    None,
    /// The group, of these topics.
    Topics(BTreeSet<TopicName>),
    /// The application.
    Partitions,
}

/// `FetchPosition`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    pub(super) offset: Offset,
    /// Of the record before it.
    pub(super) offset_epoch: Option<LeaderEpoch>,
    pub(super) leader: LeaderAndEpoch,
}

/// From which end a position is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Beginning,
    End,
}

/// `SubscriptionState.FetchStates`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FetchState {
    /// No position: the committed offset is asked for.
    Initializing,
    /// Can be fetched.
    Fetching(Position),
    /// The position is being looked up.
    AwaitReset { end: End, reason: ResetReason },
    /// The position may be of a log that was cut since.
    AwaitValidation(Position),
}

/// One partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionState {
    pub(super) fetch: FetchState,
    pub(super) paused: bool,
    /// Where it starts has to be told.
    pub(super) awaits_retry_until: Mono,
    /// A look-up or validation is under way.
    pub(super) asked: bool,
}

impl PartitionState {
    const fn new() -> Self {
        Self {
            fetch: FetchState::Initializing,
            paused: false,
            awaits_retry_until: Mono(0),
            asked: false,
        }
    }

    /// `validPosition`.
    pub(super) const fn position(&self) -> Option<Position> {
        match self.fetch {
            FetchState::Fetching(position) | FetchState::AwaitValidation(position) => {
                Some(position)
            }
            FetchState::Initializing | FetchState::AwaitReset { .. } => None,
        }
    }

    pub(super) const fn is_fetchable(&self) -> bool {
        !self.paused && matches!(self.fetch, FetchState::Fetching(_))
    }

    /// Takes a position that may have to be validated first (`seekUnvalidated`, `maybeValidatePosition`).
    pub(super) fn seek(&mut self, position: Position, validates: bool) {
        self.asked = false;
        self.awaits_retry_until = Mono(0);
        self.fetch =
            if validates && position.offset_epoch.is_some() && position.leader.epoch.is_some() {
                FetchState::AwaitValidation(position)
            } else {
                FetchState::Fetching(position)
            };
    }

    pub(super) fn reset(&mut self, end: End, reason: ResetReason) {
        self.asked = false;
        self.awaits_retry_until = Mono(0);
        self.fetch = FetchState::AwaitReset { end, reason };
    }
}

/// `SubscriptionState`.
#[derive(Clone, Debug, Default)]
pub(super) struct SubscriptionState {
    pub(super) mode: Mode,
    /// What decides the topics of the mode, where they are not named one by one.
    pub(super) pattern: Option<TopicPattern>,
    /// The assigned partitions.
    pub(super) partitions: BTreeMap<TopicPartition, PartitionState>,
    /// The order in which they are fetched; one that was served goes to the end.
    order: Vec<TopicPartition>,
}

impl SubscriptionState {
    pub(super) fn is_by_group(&self) -> bool {
        matches!(self.mode, Mode::Topics(_))
    }

    pub(super) fn topics(&self) -> Option<&BTreeSet<TopicName>> {
        match &self.mode {
            Mode::Topics(topics) => Some(topics),
            Mode::None | Mode::Partitions => None,
        }
    }

    /// Replaces the assignment; a partition that stays keeps its state.
    pub(super) fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let mut old = std::mem::take(&mut self.partitions);
        for partition in partitions {
            let state = old.remove(&partition).unwrap_or_else(PartitionState::new);
            self.partitions.insert(partition, state);
        }
        let assigned = &self.partitions;
        self.order
            .retain(|partition| assigned.contains_key(partition));
        for partition in self.partitions.keys() {
            if !self.order.contains(partition) {
                self.order.push(partition.clone());
            }
        }
    }

    pub(super) fn assigned(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&PartitionState> {
        self.partitions.get(partition)
    }

    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionState> {
        self.partitions.get_mut(partition)
    }

    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.get(partition).and_then(PartitionState::position)
    }

    /// The partitions in the order of fetching.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&TopicPartition, &PartitionState)> {
        self.order
            .iter()
            .filter_map(|partition| self.partitions.get_key_value(partition))
    }

    pub(super) fn move_to_end(&mut self, partition: &TopicPartition) {
        if let Some(index) = self.order.iter().position(|other| other == partition) {
            let partition = self.order.remove(index);
            self.order.push(partition);
        }
    }

    /// The positions of everything that has one (`allConsumed`).
    pub(super) fn all_consumed(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        self.partitions
            .iter()
            .filter_map(|(partition, state)| {
                let position = state.position()?;
                let offset = OffsetAndMetadata {
                    offset: position.offset,
                    leader_epoch: position.offset_epoch,
                    metadata: String::new(),
                };
                Some((partition.clone(), offset))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: i64, epoch: Option<i32>) -> Position {
        Position {
            offset: Offset(offset),
            offset_epoch: epoch.map(LeaderEpoch),
            leader: LeaderAndEpoch {
                leader: None,
                epoch: Some(LeaderEpoch(3)),
            },
        }
    }

    #[test]
    fn a_position_with_an_epoch_is_validated_before_it_is_fetched_from() {
        let mut state = PartitionState::new();
        state.seek(position(5, Some(2)), true);
        assert!(!state.is_fetchable());
        assert_eq!(state.position().map(|at| at.offset), Some(Offset(5)));
        state.seek(position(5, None), true);
        assert!(state.is_fetchable());
        state.seek(position(5, Some(2)), false);
        assert!(state.is_fetchable());
    }

    #[test]
    fn what_stays_assigned_keeps_its_position_and_what_comes_has_none() {
        let mut subscription = SubscriptionState::default();
        let (a, b, c) = (
            TopicPartition::new("t", 0),
            TopicPartition::new("t", 1),
            TopicPartition::new("t", 2),
        );
        subscription.assign([a.clone(), b.clone()]);
        for partition in [&a, &b] {
            let state = subscription.get_mut(partition).unwrap();
            state.seek(position(9, None), true);
        }
        subscription.assign([b.clone(), c.clone()]);
        assert_eq!(
            subscription.position(&b).map(|at| at.offset),
            Some(Offset(9))
        );
        assert_eq!(subscription.position(&c), None);
        assert_eq!(subscription.all_consumed().len(), 1);
        subscription.move_to_end(&b);
        let order: Vec<_> = subscription
            .in_order()
            .map(|(partition, _)| partition)
            .collect();
        assert_eq!(order, [&c, &b]);
    }
}
