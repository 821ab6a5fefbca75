//! Where partitions start: the group's committed offsets, resets by `auto.offset.reset`, and the validation of positions
//! after a change of leader (`Fetcher.resetOffsetsIfNeeded`, `OffsetsForLeaderEpochClient`, KIP-320).

use super::subscription::{End, FetchState, PartitionState, Position};
use super::{Ask, Consumer};
use crate::network::{Outgoing, Peer};
use protocol::api::data::{
    EpochQuestion, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, OffsetSpec,
};
use protocol::api::group::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Offset, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, ResetReason};
use std::collections::BTreeMap;

/// The look-up of committed offsets for partitions that begin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Initialization {
    under_way: bool,
    /// Not again before.
    pub(super) rest_until: Mono,
}

impl Consumer {
    /// Brings every partition to a position (`updateFetchPositions`).
    pub(super) fn update_positions(&mut self, now: Mono, io: &mut Io<'_>) {
        self.notice_leaders();
        self.fetch_committed(now, io);
        self.reset_positions(now, io);
        self.validate_positions(now, io);
    }

    /// Takes the leaders of new metadata over into the positions (`maybeValidatePositionForCurrentLeader`).
    fn notice_leaders(&mut self) {
        let version = self.network.metadata.version();
        if self.positions_seen == Some(version) {
            return;
        }
        self.positions_seen = Some(version);
        let validates = self.validates();
        for (partition, state) in &mut self.subscription.partitions {
            let leader = self.network.metadata.leader_and_epoch(partition);
            if let (Some(position), Some(_)) = (state.position(), leader.leader)
                && position.leader != leader
            {
                state.seek(Position { leader, ..position }, validates);
            }
        }
    }

    fn validates(&self) -> bool {
        self.behaviour.has(Fix::ConsumerEpochValidation)
    }

    /// Asks the coordinator where the group was (`refreshCommittedOffsetsIfNeeded`). Without a group, partitions start by
    /// the reset policy.
    fn fetch_committed(&mut self, now: Mono, io: &mut Io<'_>) {
        self.forget_paused_positions();
        let starting: Vec<TopicPartition> = self
            .subscription
            .partitions
            .iter()
            .filter(|(_, state)| state.fetch == FetchState::Initializing)
            .map(|(partition, _)| partition.clone())
            .collect();
        if starting.is_empty()
            || self.initialization.under_way
            || self.initialization.rest_until > now
        {
            return;
        }
        let Some(group) = self.group.clone() else {
            for partition in starting {
                self.start_by_policy(&partition);
            }
            return;
        };
        let Some(peer) = self.coordinator(now, io) else {
            return;
        };
        self.initialization.under_way = true;
        let body = OffsetFetchRequest {
            group_id: group,
            partitions: Some(starting),
            require_stable: self.requires_stable(),
        };
        let outgoing = Outgoing::new(body, Ask::Initialize);
        self.network.submit(now, peer, outgoing, io);
    }

    /// Without the fix of KAFKA-4547: whenever a partition begins, the paused ones, which are not fetchable, begin anew too.
    fn forget_paused_positions(&mut self) {
        let partitions = &mut self.subscription.partitions;
        let begins = |state: &PartitionState| state.fetch == FetchState::Initializing;
        if self.behaviour.has(Fix::KeepPausedPosition) || !partitions.values().any(begins) {
            return;
        }
        for state in partitions.values_mut().filter(|state| state.paused) {
            state.fetch = FetchState::Initializing;
        }
    }

    pub(super) fn requires_stable(&self) -> bool {
        self.config.isolation_level == protocol::api::data::IsolationLevel::ReadCommitted
            && self.behaviour.has(Fix::GroupMetadataInCommit)
    }

    fn start_by_policy(&mut self, partition: &TopicPartition) {
        let Some(end) = self.reset_policy() else {
            self.fail_poll(ClientError::NoOffset(partition.clone()));
            return;
        };
        if let Some(state) = self.subscription.get_mut(partition) {
            state.reset(end, ResetReason::NoCommit);
        }
    }

    /// The committed offsets of partitions that begin.
    pub(super) fn initialized(&mut self, now: Mono, answer: OffsetFetchResponse, io: &mut Io<'_>) {
        self.initialization.under_way = false;
        if let Some(error) = fetch_error(&answer) {
            self.initialization.rest_until = now + self.config.retry_backoff_ms;
            self.offset_fetch_refused(error);
            return;
        }
        for (partition, result) in answer.partitions {
            let is_waiting = self
                .subscription
                .get(&partition)
                .is_some_and(|state| state.fetch == FetchState::Initializing);
            if !is_waiting {
                continue;
            }
            match result {
                Ok(Some(committed)) => {
                    if let Some(epoch) = committed.leader_epoch {
                        self.network.metadata.saw_epoch(&partition, epoch);
                    }
                    let position = Position {
                        offset: committed.offset,
                        offset_epoch: committed.leader_epoch,
                        leader: self.network.metadata.leader_and_epoch(&partition),
                    };
                    self.start_at(&partition, position, ResetReason::Committed, io);
                }
                // An unknown topic has no offset yet that could be trusted; it is asked for again.
                Err(_) => self.initialization.rest_until = now + self.config.retry_backoff_ms,
                Ok(None) => self.start_by_policy(&partition),
            }
        }
    }

    pub(super) fn initialize_lost(&mut self, now: Mono) {
        self.initialization.under_way = false;
        self.initialization.rest_until = now + self.config.retry_backoff_ms;
        self.coordinator_unknown();
    }

    fn offset_fetch_refused(&mut self, error: ErrorCode) {
        if matches!(
            error,
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
        ) {
            self.coordinator_unknown();
        } else if !error.is_retriable() {
            self.fail_poll(ClientError::Broker(error));
        }
    }

    fn start_at(
        &mut self,
        partition: &TopicPartition,
        position: Position,
        reason: ResetReason,
        io: &mut Io<'_>,
    ) {
        let validates = self.validates();
        let Some(state) = self.subscription.get_mut(partition) else {
            return;
        };
        state.seek(position, validates);
        let outcome = Outcome::PositionReset {
            partition: partition.clone(),
            offset: position.offset,
            reason,
        };
        io.outcome(self.poll_operation(), outcome);
    }

    /// Looks up the ends of partitions that are to be reset.
    fn reset_positions(&mut self, now: Mono, io: &mut Io<'_>) {
        let mut by_leader: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
        let metadata = &mut self.network.metadata;
        for (partition, state) in &mut self.subscription.partitions {
            let FetchState::AwaitReset { end, .. } = state.fetch else {
                continue;
            };
            if state.asked || state.awaits_retry_until > now {
                continue;
            }
            let known = metadata.leader_and_epoch(partition);
            let Some(leader) = known.leader else {
                metadata.request_update();
                continue;
            };
            state.asked = true;
            by_leader
                .entry(leader)
                .or_default()
                .push((partition.clone(), known.epoch, spec(end)));
        }
        for (leader, partitions) in by_leader {
            let asked = partitions
                .iter()
                .map(|(partition, ..)| partition.clone())
                .collect();
            let body = ListOffsetsRequest {
                replica_id: None,
                isolation_level: self.config.isolation_level,
                partitions,
            };
            let outgoing = Outgoing::new(body, Ask::Reset(asked));
            self.network.submit(now, Peer::Broker(leader), outgoing, io);
        }
    }

    /// The ends of partitions that are to be reset.
    pub(super) fn reset_found(&mut self, now: Mono, answer: &ListOffsetsResponse, io: &mut Io<'_>) {
        for part in &answer.partitions {
            let Some(state) = self.subscription.get_mut(&part.partition) else {
                continue;
            };
            let FetchState::AwaitReset { reason, .. } = state.fetch else {
                continue;
            };
            state.asked = false;
            if part.error.is_error() {
                state.awaits_retry_until = now + self.config.retry_backoff_ms;
                if part.error.is_retriable() {
                    self.network.metadata.request_update();
                } else {
                    self.fail_poll(ClientError::Broker(part.error));
                }
                continue;
            }
            if let Some(epoch) = part.leader_epoch {
                self.network.metadata.saw_epoch(&part.partition, epoch);
            }
            let position = Position {
                offset: part.offset.unwrap_or(Offset::ZERO),
                offset_epoch: None,
                leader: self.network.metadata.leader_and_epoch(&part.partition),
            };
            self.start_at(&part.partition.clone(), position, reason, io);
        }
    }

    /// Looked up or validated without an answer.
    pub(super) fn positions_lost(&mut self, now: Mono, partitions: &[TopicPartition]) {
        let rest = now + self.config.retry_backoff_ms;
        for partition in partitions {
            if let Some(state) = self.subscription.get_mut(partition) {
                state.asked = false;
                state.awaits_retry_until = rest;
            }
        }
        self.network.metadata.request_update();
    }

    /// Asks the new leader where the epoch of the last record ends in its log.
    fn validate_positions(&mut self, now: Mono, io: &mut Io<'_>) {
        let mut by_leader: BTreeMap<BrokerId, Vec<EpochQuestion>> = BTreeMap::new();
        for (partition, state) in &mut self.subscription.partitions {
            let FetchState::AwaitValidation(position) = state.fetch else {
                continue;
            };
            let (Some(epoch), Some(leader)) = (position.offset_epoch, position.leader.leader)
            else {
                self.network.metadata.request_update();
                continue;
            };
            if state.asked || state.awaits_retry_until > now {
                continue;
            }
            state.asked = true;
            by_leader.entry(leader).or_default().push(EpochQuestion {
                partition: partition.clone(),
                current_leader_epoch: position.leader.epoch,
                leader_epoch: epoch,
            });
        }
        for (leader, partitions) in by_leader {
            let asked = partitions
                .iter()
                .map(|question| question.partition.clone())
                .collect();
            let body = OffsetForLeaderEpochRequest {
                replica_id: None,
                partitions,
            };
            let outgoing = Outgoing::new(body, Ask::Validate(asked));
            self.network.submit(now, Peer::Broker(leader), outgoing, io);
        }
    }

    /// Where epochs end (`maybeCompleteValidation`).
    pub(super) fn validated(
        &mut self,
        now: Mono,
        answer: &OffsetForLeaderEpochResponse,
        io: &mut Io<'_>,
    ) {
        let policy = self.reset_policy();
        for part in &answer.partitions {
            let Some(state) = self.subscription.get_mut(&part.partition) else {
                continue;
            };
            let FetchState::AwaitValidation(position) = state.fetch else {
                continue;
            };
            state.asked = false;
            if part.error.is_error() {
                state.awaits_retry_until = now + self.config.retry_backoff_ms;
                if part.error.is_retriable() {
                    self.network.metadata.request_update();
                } else {
                    self.fail_poll(ClientError::Broker(part.error));
                }
                continue;
            }
            match (part.end, policy) {
                (Some(end), _) if end.end_offset >= position.offset => {
                    state.fetch = FetchState::Fetching(position);
                }
                (Some(end), Some(_)) => {
                    let position = Position {
                        offset: end.end_offset,
                        offset_epoch: Some(end.epoch),
                        ..position
                    };
                    state.fetch = FetchState::Fetching(position);
                    let outcome = Outcome::PositionReset {
                        partition: part.partition.clone(),
                        offset: position.offset,
                        reason: ResetReason::Truncated,
                    };
                    io.outcome(self.poll_operation(), outcome);
                }
                (None, Some(policy)) => state.reset(policy, ResetReason::Truncated),
                (end, None) => {
                    let safe = end.map(|end| end.end_offset);
                    self.fail_poll(ClientError::LogTruncation(part.partition.clone(), safe));
                }
            }
        }
    }

    /// `seek`: no epoch is known of what lies before.
    pub(super) fn seek(
        &mut self,
        partition: TopicPartition,
        offset: Offset,
        operation: OperationId,
        io: &mut Io<'_>,
    ) {
        let leader = self.network.metadata.leader_and_epoch(&partition);
        let Some(state) = self.subscription.get_mut(&partition) else {
            let error = ClientError::IllegalState("the partition is not assigned");
            io.outcome(operation, Outcome::Done(Err(Failure::fail(error))));
            return;
        };
        let position = Position {
            offset,
            offset_epoch: None,
            leader,
        };
        state.seek(position, false);
        self.fetcher.retain(|other| *other != partition);
        let reason = ResetReason::Seek;
        io.outcome(
            operation,
            Outcome::PositionReset {
                partition,
                offset,
                reason,
            },
        );
        io.outcome(operation, Outcome::Done(Ok(())));
    }

    /// `seekToBeginning`, `seekToEnd`: looked up at the next poll.
    pub(super) fn seek_to(
        &mut self,
        partitions: Vec<TopicPartition>,
        end: End,
        operation: OperationId,
        io: &mut Io<'_>,
    ) {
        let partitions = if partitions.is_empty() {
            self.subscription.assigned()
        } else {
            partitions
        };
        let mut result = Ok(());
        for partition in partitions {
            if let Some(state) = self.subscription.get_mut(&partition) {
                state.reset(end, ResetReason::Seek);
            } else {
                let error = ClientError::IllegalState("the partition is not assigned");
                result = Err(Failure::fail(error));
            }
            self.fetcher.retain(|other| *other != partition);
        }
        io.outcome(operation, Outcome::Done(result));
    }
}

const fn spec(end: End) -> OffsetSpec {
    match end {
        End::Beginning => OffsetSpec::Earliest,
        End::End => OffsetSpec::Latest,
    }
}

/// The error of an offset fetch that concerns all of it.
pub(super) fn fetch_error(answer: &OffsetFetchResponse) -> Option<ErrorCode> {
    let of_one = answer
        .partitions
        .iter()
        .filter_map(|(_, result)| result.as_ref().err())
        .copied();
    std::iter::once(answer.error)
        .chain(of_one)
        .find(|error| error.is_error() && *error != ErrorCode::UnknownTopicOrPartition)
}
