//! Where partitions start: the group's committed offsets, resets by `auto.offset.reset`, and the validation of positions
//! after a change of leader (`Fetcher.resetOffsetsIfNeeded`, `OffsetsForLeaderEpochClient`, KIP-320); and the look-ups an
//! application asks for itself.

use super::subscription::{End, FetchState, Position};
use super::{Ask, Consumer, poll::Moment};
use crate::metadata::LeaderAndEpoch;
use crate::network::{Outgoing, Peer};
use protocol::api::data::{
    EpochQuestion, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, OffsetSpec,
};
use protocol::api::group::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Offset, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, ResetReason};
use std::collections::BTreeMap;

/// Names a look-up of the application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LookupId(u64);

/// What the application looks up.
#[derive(Clone, Debug)]
enum Question {
    Committed,
    Offsets(OffsetSpec),
}

/// A look-up of the application.
#[derive(Clone, Debug)]
struct Lookup {
    operation: OperationId,
    question: Question,
    open: Vec<TopicPartition>,
    found: BTreeMap<TopicPartition, Option<Offset>>,
    until: Mono,
    ready_at: Mono,
    in_flight: usize,
}

/// The look-ups under way, and the one for partitions that begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups {
    open: BTreeMap<LookupId, Lookup>,
    next: u64,
    /// The committed offsets of partitions that begin are being fetched.
    initializing: bool,
    /// Not again before.
    rest_until: Mono,
}

impl Lookups {
    pub(super) fn topics(&self) -> Vec<TopicName> {
        self.open
            .values()
            .flat_map(|lookup| &lookup.open)
            .map(|partition| partition.topic.clone())
            .collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.open
            .values()
            .map(|lookup| {
                if lookup.in_flight == 0 {
                    lookup.ready_at.min(lookup.until)
                } else {
                    lookup.until
                }
            })
            .chain(self.open.values().map(|lookup| lookup.until))
            .min()
    }

    pub(super) const fn rest_until(&self) -> Mono {
        self.rest_until
    }
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
            if let (Some(position), Some(_)) = (state.position(), leader.leader) {
                if position.leader != leader {
                    state.seek(Position { leader, ..position }, validates);
                }
            }
        }
    }

    fn validates(&self) -> bool {
        self.behaviour.has(Fix::ConsumerEpochValidation)
    }

    /// Asks the coordinator where the group was (`refreshCommittedOffsetsIfNeeded`). Without a group, partitions start by
    /// the reset policy.
    fn fetch_committed(&mut self, now: Mono, io: &mut Io<'_>) {
        let starting: Vec<TopicPartition> = self
            .subscription
            .partitions
            .iter()
            .filter(|(_, state)| state.fetch == FetchState::Initializing)
            .map(|(partition, _)| partition.clone())
            .collect();
        if starting.is_empty() || self.lookups.initializing || self.lookups.rest_until > now {
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
        self.lookups.initializing = true;
        let body = OffsetFetchRequest {
            group_id: group,
            partitions: Some(starting),
            require_stable: self.requires_stable(),
        };
        let outgoing = Outgoing::new(body, Ask::Initialize);
        self.network.submit(now, peer, outgoing, io);
    }

    fn requires_stable(&self) -> bool {
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
        self.lookups.initializing = false;
        if let Some(error) = fetch_error(&answer) {
            self.lookups.rest_until = now + self.config.retry_backoff_ms;
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
                Err(_) => self.lookups.rest_until = now + self.config.retry_backoff_ms,
                Ok(None) => self.start_by_policy(&partition),
            }
        }
    }

    pub(super) fn initialize_lost(&mut self, now: Mono) {
        self.lookups.initializing = false;
        self.lookups.rest_until = now + self.config.retry_backoff_ms;
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
            match self.subscription.get_mut(&partition) {
                Some(state) => state.reset(end, ResetReason::Seek),
                None => {
                    let error = ClientError::IllegalState("the partition is not assigned");
                    result = Err(Failure::fail(error));
                }
            }
            self.fetcher.retain(|other| *other != partition);
        }
        io.outcome(operation, Outcome::Done(result));
    }

    /// `committed`, `endOffsets`, `beginningOffsets`.
    pub(super) fn look_up(
        &mut self,
        moment: Moment,
        spec: Option<OffsetSpec>,
        partitions: Vec<TopicPartition>,
        io: &mut Io<'_>,
    ) {
        if spec.is_none() && self.group.is_none() {
            let error = ClientError::IllegalState("committed offsets need a group.id");
            io.outcome(
                moment.operation,
                Outcome::Offsets(Err(Failure::fail(error))),
            );
            return;
        }
        let id = LookupId(self.lookups.next);
        self.lookups.next += 1;
        let lookup = Lookup {
            operation: moment.operation,
            question: spec.map_or(Question::Committed, Question::Offsets),
            open: partitions,
            found: BTreeMap::new(),
            until: moment.now + self.config.default_api_timeout_ms,
            ready_at: moment.now,
            in_flight: 0,
        };
        self.lookups.open.insert(id, lookup);
        self.want_topics(moment.now);
    }

    /// Sends the application's look-ups that may go.
    pub(super) fn send_lookups(&mut self, now: Mono, io: &mut Io<'_>) {
        let ids: Vec<LookupId> = self.lookups.open.keys().copied().collect();
        for id in ids {
            let Some(lookup) = self.lookups.open.get(&id) else {
                continue;
            };
            if lookup.until <= now {
                self.end_lookup(id, Err(ClientError::Timeout("default.api.timeout.ms")), io);
            } else if lookup.open.is_empty() && lookup.in_flight == 0 {
                self.end_lookup(id, Ok(()), io);
            } else if lookup.in_flight == 0 && lookup.ready_at <= now {
                match lookup.question {
                    Question::Committed => self.send_committed(now, id, io),
                    Question::Offsets(spec) => self.send_list(now, id, spec, io),
                }
            }
        }
    }

    fn send_committed(&mut self, now: Mono, id: LookupId, io: &mut Io<'_>) {
        let (Some(peer), Some(group)) = (self.coordinator(now, io), self.group.clone()) else {
            return;
        };
        let require_stable = self.requires_stable();
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight = 1;
        let body = OffsetFetchRequest {
            group_id: group,
            partitions: Some(lookup.open.clone()),
            require_stable,
        };
        let outgoing = Outgoing::new(body, Ask::Lookup(id));
        self.network.submit(now, peer, outgoing, io);
    }

    fn send_list(&mut self, now: Mono, id: LookupId, spec: OffsetSpec, io: &mut Io<'_>) {
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        let mut by_leader: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
        for partition in &lookup.open {
            let LeaderAndEpoch { leader, epoch } =
                self.network.metadata.leader_and_epoch(partition);
            let Some(leader) = leader else {
                self.network.metadata.request_update();
                return;
            };
            by_leader
                .entry(leader)
                .or_default()
                .push((partition.clone(), epoch, spec));
        }
        lookup.in_flight = by_leader.len();
        for (leader, partitions) in by_leader {
            let body = ListOffsetsRequest {
                replica_id: None,
                isolation_level: self.config.isolation_level,
                partitions,
            };
            let outgoing = Outgoing::new(body, Ask::Lookup(id));
            self.network.submit(now, Peer::Broker(leader), outgoing, io);
        }
    }

    /// An answer to a look-up of end offsets.
    pub(super) fn lookup_listed(&mut self, now: Mono, id: LookupId, answer: &ListOffsetsResponse) {
        let rest = now + self.config.retry_backoff_ms;
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight -= 1;
        for part in &answer.partitions {
            if part.error.is_none() {
                lookup.open.retain(|partition| *partition != part.partition);
                lookup.found.insert(part.partition.clone(), part.offset);
            } else {
                self.network.metadata.request_update();
                lookup.ready_at = rest;
            }
        }
    }

    /// An answer to a look-up of committed offsets.
    pub(super) fn lookup_committed(
        &mut self,
        now: Mono,
        id: LookupId,
        answer: OffsetFetchResponse,
    ) {
        let rest = now + self.config.retry_backoff_ms;
        let error = fetch_error(&answer);
        let Some(lookup) = self.lookups.open.get_mut(&id) else {
            return;
        };
        lookup.in_flight = 0;
        if let Some(error) = error {
            lookup.ready_at = rest;
            if matches!(
                error,
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
            ) {
                self.coordinator_unknown();
            }
            return;
        }
        for (partition, result) in answer.partitions {
            lookup.open.retain(|open| *open != partition);
            let offset = result.ok().flatten().map(|committed| committed.offset);
            lookup.found.insert(partition, offset);
        }
    }

    pub(super) fn lookup_lost(&mut self, now: Mono, id: LookupId) {
        let rest = now + self.config.retry_backoff_ms;
        if let Some(lookup) = self.lookups.open.get_mut(&id) {
            lookup.in_flight = lookup.in_flight.saturating_sub(1);
            lookup.ready_at = rest;
        }
    }

    fn end_lookup(&mut self, id: LookupId, result: Result<(), ClientError>, io: &mut Io<'_>) {
        if let Some(lookup) = self.lookups.open.remove(&id) {
            let result = result.map(|()| lookup.found).map_err(Failure::fail);
            io.outcome(lookup.operation, Outcome::Offsets(result));
        }
    }

    /// Gives up every look-up: the consumer closes.
    pub(super) fn drop_lookups(&mut self, io: &mut Io<'_>) {
        let ids: Vec<LookupId> = self.lookups.open.keys().copied().collect();
        for id in ids {
            self.end_lookup(id, Err(ClientError::Closed), io);
        }
    }
}

const fn spec(end: End) -> OffsetSpec {
    match end {
        End::Beginning => OffsetSpec::Earliest,
        End::End => OffsetSpec::Latest,
    }
}

/// The error of an offset fetch that concerns all of it.
fn fetch_error(answer: &OffsetFetchResponse) -> Option<ErrorCode> {
    let of_one = answer
        .partitions
        .iter()
        .filter_map(|(_, result)| result.as_ref().err())
        .copied();
    std::iter::once(answer.error)
        .chain(of_one)
        .find(|error| error.is_error() && *error != ErrorCode::UnknownTopicOrPartition)
}
