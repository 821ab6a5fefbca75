//! Finding the coordinator, joining the group, taking and giving up partitions (`AbstractCoordinator`,
//! `ConsumerCoordinator`).
//!
//! Answers are taken whenever they come, as the heartbeat thread does; but a rebalance is begun, and its result taken,
//! only inside `poll`. Before partitions are given up their positions are committed (with auto commit) and the listener
//! is called; the rebalance goes on when the application says that it returned.

use super::assignor::{Group, divide};
use super::membership::{Generation, Join, Lookup, MemberState};
use super::subscription::Mode;
use super::{After, Ask, Consumer, sticky};
use crate::consumer_protocol::{Assignment, Subscription};
use crate::network::{Outgoing, Peer};
use protocol::api::group::{
    CoordinatorKind, FindCoordinatorRequest, FindCoordinatorResponse, JoinGroupRequest,
    LeaveGroupRequest, SyncGroupRequest,
};
use protocol::behaviour::{Era, Fix};
use protocol::config::Assignor;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, MemberId, TopicName, TopicPartition};
use protocol::machine::Io;
use protocol::time::{Mono, Span};
use protocol::verb::{ClientError, ConsumerGroupMetadata, Failure, OperationId, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A join may take as long as the rebalance, and a little (`JOIN_GROUP_TIMEOUT_LAPSE`).
const JOIN_LAPSE: Span = Span::secs(5);

impl Consumer {
    /// The coordinator's connection, if the coordinator is known; else the search goes on.
    pub(super) fn coordinator(&mut self, now: Mono, io: &mut Io<'_>) -> Option<Peer> {
        if let Some(id) = self.membership.coordinator {
            return Some(Peer::Coordinator(id));
        }
        self.find_coordinator(now, io);
        None
    }

    fn find_coordinator(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(group) = self.group.clone() else {
            return;
        };
        match self.membership.lookup {
            Lookup::UnderWay => return,
            Lookup::RestUntil(at) if at > now => return,
            Lookup::RestUntil(_) | Lookup::Idle => {}
        }
        let Some(peer) = self.network.least_loaded(now) else {
            self.membership.lookup = Lookup::RestUntil(self.network.rest_over_at(now));
            return;
        };
        self.membership.lookup = Lookup::UnderWay;
        let body = FindCoordinatorRequest {
            key: group.0,
            kind: CoordinatorKind::Group,
        };
        let outgoing = Outgoing::new(body, Ask::FindCoordinator);
        self.network.submit(now, peer, outgoing, io);
    }

    pub(super) fn coordinator_found(&mut self, now: Mono, answer: FindCoordinatorResponse) {
        if let (ErrorCode::None, Some((id, endpoint))) = (answer.error, answer.coordinator) {
            self.membership.lookup = Lookup::Idle;
            self.membership.coordinator = Some(id);
            self.network.learn(Peer::Coordinator(id), endpoint);
            self.membership.heartbeat.answered = now;
            return;
        }
        self.coordinator_not_found(now);
        if answer.error.is_error() && !answer.error.is_retriable() {
            self.fail_poll(ClientError::Broker(answer.error));
        }
    }

    pub(super) fn coordinator_not_found(&mut self, now: Mono) {
        self.membership.lookup = Lookup::RestUntil(now + self.config.retry_backoff_ms);
        self.fail_waiting_async_commits();
    }

    /// The broker is not the coordinator, or cannot be reached (`markCoordinatorUnknown`).
    pub(super) fn coordinator_unknown(&mut self) {
        self.membership.coordinator = None;
    }

    pub(super) fn is_coordinator(&self, peer: Peer) -> bool {
        self.membership.coordinator.map(Peer::Coordinator) == Some(peer)
    }

    /// The group's part of a poll (`ConsumerCoordinator.poll`).
    pub(super) fn poll_group(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.subscription.is_by_group() {
            if self.coordinator(now, io).is_none() {
                return;
            }
            self.notice_changes();
            if self.awaits_matches(now) {
                return;
            }
            self.advance_join(now, io);
        }
        if self.behaviour.has(Fix::QuickPoll) {
            self.maybe_auto_commit(now, io);
        }
    }

    /// What makes a rebalance necessary (`rejoinNeededOrPending`).
    fn notice_changes(&mut self) {
        let Mode::Topics(topics) = &self.subscription.mode else {
            return;
        };
        let member = &self.membership;
        let subscribes = member
            .joined_topics
            .as_ref()
            .is_some_and(|joined| joined != topics);
        let metadata = &self.network.metadata;
        let has_changed =
            |(topic, count): (&TopicName, &Option<i32>)| metadata.partition_count(topic) != *count;
        // Compared anew each time: an answer that came between the division and its acceptance counts as well.
        let counts = member
            .divided_by
            .as_ref()
            .is_some_and(|divided| divided.iter().any(has_changed));
        if subscribes || counts {
            self.membership.rejoin_needed = true;
        }
    }

    /// `joinGroupIfNeeded`, one step after the other as far as it goes now.
    fn advance_join(&mut self, now: Mono, io: &mut Io<'_>) {
        loop {
            match &self.membership.join {
                Join::Idle if self.membership.rejoin_needed => self.prepare_join(now, io),
                Join::Committing(id) if self.commits.is_over(*id) => self.revoke(now, io),
                Join::Ready { at } if *at <= now && self.lost_its_place() => {
                    self.prepare_join(now, io);
                }
                Join::Ready { at } if *at <= now => self.send_join(now, io),
                Join::Complete(_) => self.take_assignment(now, io),
                Join::Idle
                | Join::Committing(_)
                | Join::Revoking
                | Join::Ready { .. }
                | Join::Joining
                | Join::Dividing(_)
                | Join::Syncing
                | Join::Handing(_) => return,
            }
        }
    }

    /// Thrown out while it was joining: it has to prepare for the next join too, so that the application hears that its
    /// partitions are gone. Before KAFKA-12983 it joined anew with all of them.
    fn lost_its_place(&self) -> bool {
        self.behaviour.has(Fix::PrepareEveryJoin)
            && self.membership.generation == Generation::none()
            && !self.subscription.assigned().is_empty()
    }

    /// `onJoinPrepare`: commits first, if positions are committed automatically.
    fn prepare_join(&mut self, now: Mono, io: &mut Io<'_>) {
        let until = now + self.config.max_poll_interval_ms;
        let commit = (self.membership.state == MemberState::Stable)
            .then(|| self.auto_commit_sync(now, until))
            .flatten();
        match commit {
            Some(id) => {
                self.membership.join = Join::Committing(id);
                self.send_commits(now, io);
            }
            None => self.revoke(now, io),
        }
    }

    /// Partitions are given up: all of them, or with a cooperative assignor those of topics no longer subscribed.
    fn revoke(&mut self, now: Mono, io: &mut Io<'_>) {
        let owned = self.subscription.assigned();
        let lost = self.membership.generation == Generation::none();
        let leaving: Vec<TopicPartition> = if self.is_cooperative() && !lost {
            let topics = self.subscription.topics();
            owned
                .into_iter()
                .filter(|partition| topics.is_none_or(|topics| !topics.contains(&partition.topic)))
                .collect()
        } else {
            owned
        };
        if leaving.is_empty() {
            self.membership.join = Join::Ready { at: now };
            return;
        }
        if lost {
            io.outcome(self.poll_operation(), Outcome::Lost(leaving.clone()));
            self.give_up(&leaving);
            self.membership.join = Join::Ready { at: now };
            return;
        }
        self.membership.join = Join::Revoking;
        self.listen(After::JoinPrepare(leaving.clone()));
        io.outcome(self.poll_operation(), Outcome::Revoked(leaving));
    }

    /// Takes partitions out of the assignment.
    pub(super) fn give_up(&mut self, leaving: &[TopicPartition]) {
        let kept: Vec<TopicPartition> = self
            .subscription
            .assigned()
            .into_iter()
            .filter(|partition| !leaving.contains(partition))
            .collect();
        self.assign(kept);
    }

    /// All configured assignors can hand over one by one; the group uses what all can.
    pub(super) fn is_cooperative(&self) -> bool {
        self.config
            .partition_assignment_strategy
            .iter()
            .all(|assignor| *assignor == Assignor::CooperativeSticky)
    }

    fn send_join(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(peer) = self.coordinator(now, io) else {
            return;
        };
        let (Some(group), Mode::Topics(topics)) = (self.group.clone(), &self.subscription.mode)
        else {
            return;
        };
        let topics = topics.clone();
        let protocols = self
            .config
            .partition_assignment_strategy
            .iter()
            .map(|assignor| {
                (
                    Arc::from(assignor.word()),
                    self.subscription_bytes(*assignor, &topics),
                )
            })
            .collect();
        let body = JoinGroupRequest {
            group_id: group,
            session_timeout: self.config.session_timeout_ms,
            rebalance_timeout: self.config.max_poll_interval_ms,
            member_id: self.membership.generation.member.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: Arc::from("consumer"),
            protocols,
        };
        let timeout = self
            .config
            .request_timeout_ms
            .max(self.config.max_poll_interval_ms + JOIN_LAPSE);
        self.membership.attempt += 1;
        let outgoing = Outgoing {
            timeout: Some(timeout),
            ..Outgoing::new(body, Ask::Join(self.membership.attempt))
        };
        self.membership.state = MemberState::PreparingRebalance;
        self.membership.heartbeat.enabled = false;
        self.membership.join = Join::Joining;
        self.membership.joined_topics = Some(topics);
        self.network.submit(now, peer, outgoing, io);
    }

    fn subscription_bytes(&self, assignor: Assignor, topics: &BTreeSet<TopicName>) -> bytes::Bytes {
        let is_sticky = matches!(assignor, Assignor::Sticky | Assignor::CooperativeSticky);
        let owned = if self.is_cooperative() {
            self.subscription.assigned()
        } else if is_sticky {
            self.last_assignment.clone()
        } else {
            Vec::new()
        };
        let subscription = Subscription {
            topics: topics.iter().cloned().collect(),
            owned,
            user_data: is_sticky.then(|| sticky::user_data(self.last_generation)),
        };
        let version = i16::from(self.behaviour.era >= Era::V2_8 || is_sticky);
        subscription.encode(version)
    }

    /// `groupMetadata()`: in whose name a transaction commits offsets (KIP-447).
    pub(super) fn group_metadata(&self, operation: OperationId, io: &mut Io<'_>) {
        let outcome = if let Some(group_id) = self.group.clone() {
            let Generation { id, member } = self.membership.assigned_in.clone();
            Outcome::GroupMetadata(ConsumerGroupMetadata {
                group_id,
                generation_id: id,
                member_id: member,
                group_instance_id: self.instance_id(),
            })
        } else {
            let error = ClientError::Broker(ErrorCode::InvalidGroupId);
            Outcome::Done(Err(Failure::fail(error)))
        };
        io.outcome(operation, outcome);
    }

    pub(super) fn instance_id(&self) -> Option<Arc<str>> {
        self.config.group_instance_id.as_deref().map(Arc::from)
    }

    /// As leader: divides as soon as there are metadata of all topics (`performAssignment`).
    pub(super) fn maybe_divide(&mut self, now: Mono, io: &mut Io<'_>) {
        let Join::Dividing(joined) = &self.membership.join else {
            return;
        };
        let subscriptions: BTreeMap<MemberId, Subscription> = joined
            .members
            .iter()
            .filter_map(|(id, _, bytes)| Some((id.clone(), Subscription::decode(bytes.clone())?)))
            .collect();
        let topics: BTreeSet<&TopicName> = subscriptions
            .values()
            .flat_map(|member| &member.topics)
            .collect();
        let heard = |topic: &&TopicName| self.network.metadata.topic_error(topic).is_some();
        if !topics.iter().all(heard) {
            return;
        }
        let divided: BTreeMap<TopicName, Option<i32>> = topics
            .iter()
            .map(|topic| {
                (
                    (*topic).clone(),
                    self.network.metadata.partition_count(topic),
                )
            })
            .collect();
        let counts = divided
            .iter()
            .filter_map(|(topic, count)| Some((topic.clone(), (*count)?)))
            .collect();
        let instances = joined
            .members
            .iter()
            .filter_map(|(id, instance, _)| Some((id.clone(), instance.as_ref()?.to_string())))
            .collect();
        let group = Group {
            members: &subscriptions,
            instances: &instances,
            counts: &counts,
        };
        let assignor = self.membership.assignor.unwrap_or(Assignor::Range);
        let assignments = divide(assignor, &group, self.behaviour)
            .into_iter()
            .map(|(member, partitions)| {
                let assignment = Assignment {
                    partitions,
                    user_data: None,
                };
                (member, assignment.encode())
            })
            .collect();
        self.membership.divided_by = Some(divided);
        self.send_sync(now, assignments, io);
    }

    /// The topics whose metadata are needed: its own, and as leader those of the group.
    pub(super) fn want_topics(&mut self, now: Mono) {
        let mut topics: BTreeSet<TopicName> = match &self.subscription.mode {
            Mode::Topics(topics) => topics.clone(),
            Mode::Partitions | Mode::None => BTreeSet::new(),
        };
        topics.extend(
            self.subscription
                .partitions
                .keys()
                .map(|partition| partition.topic.clone()),
        );
        topics.extend(self.lookups.topics());
        if let Join::Dividing(joined) = &self.membership.join {
            for (_, _, bytes) in &joined.members {
                topics.extend(
                    Subscription::decode(bytes.clone())
                        .unwrap_or_default()
                        .topics,
                );
            }
        }
        if let Some(divided) = &self.membership.divided_by {
            topics.extend(divided.keys().cloned());
        }
        self.network.metadata.want_only(topics.into_iter(), now);
    }

    pub(super) fn send_sync(
        &mut self,
        now: Mono,
        assignments: Vec<(MemberId, bytes::Bytes)>,
        io: &mut Io<'_>,
    ) {
        let Some(group) = self.group.clone() else {
            return;
        };
        let Some(peer) = self.coordinator(now, io) else {
            self.join_lost(now, self.membership.attempt);
            return;
        };
        let body = SyncGroupRequest {
            group_id: group,
            generation_id: self.membership.generation.id,
            member_id: self.membership.generation.member.clone(),
            group_instance_id: self.instance_id(),
            assignments,
        };
        self.membership.join = Join::Syncing;
        let outgoing = Outgoing::new(body, Ask::Sync(self.membership.attempt));
        self.network.submit(now, peer, outgoing, io);
    }

    /// `onJoinComplete`.
    fn take_assignment(&mut self, now: Mono, io: &mut Io<'_>) {
        let Join::Complete(assigned) = std::mem::take(&mut self.membership.join) else {
            return;
        };
        if self.membership.state != MemberState::Stable {
            // Thrown out between the answer and this poll; what was assigned is not ours.
            return;
        }
        self.membership.assigned_in = self.membership.generation.clone();
        let leaving: Vec<TopicPartition> = self
            .subscription
            .assigned()
            .into_iter()
            .filter(|partition| !assigned.contains(partition))
            .collect();
        if self.is_cooperative() && !leaving.is_empty() {
            self.membership.rejoin_needed = true;
            self.membership.join = Join::Handing(assigned);
            self.listen(After::JoinComplete);
            io.outcome(self.poll_operation(), Outcome::Revoked(leaving));
            return;
        }
        self.own(now, assigned, io);
    }

    /// The partitions are ours now.
    fn own(&mut self, now: Mono, assigned: Vec<TopicPartition>, io: &mut Io<'_>) {
        let before = self.subscription.assigned();
        let added: Vec<TopicPartition> = assigned
            .iter()
            .filter(|partition| !before.contains(partition))
            .cloned()
            .collect();
        self.last_assignment.clone_from(&assigned);
        self.last_generation = self.membership.generation.id;
        self.next_auto_commit = now + self.config.auto_commit_interval_ms;
        self.assign(assigned);
        self.want_topics(now);
        io.outcome(self.poll_operation(), Outcome::Assigned(added));
    }

    /// The listener returned; the rebalance goes on.
    pub(super) fn listened(&mut self, now: Mono, after: After, io: &mut Io<'_>) {
        match after {
            After::JoinPrepare(leaving) => {
                self.give_up(&leaving);
                if matches!(self.membership.join, Join::Revoking) {
                    self.membership.join = Join::Ready { at: now };
                }
            }
            After::JoinComplete => {
                if let Join::Handing(assigned) = std::mem::take(&mut self.membership.join) {
                    self.own(now, assigned, io);
                }
            }
            After::Leave(operation) => {
                self.leave_group(now, io);
                self.forget_subscription(now);
                io.outcome(operation, Outcome::Done(Ok(())));
            }
            After::Close => self.closing_goes_on(now, io),
        }
    }

    /// `maybeLeaveGroup`: tells the coordinator, unless the member is static, and forgets the generation.
    pub(super) fn leave_group(&mut self, now: Mono, io: &mut Io<'_>) {
        let member = &self.membership;
        let tells = self.config.group_instance_id.is_none()
            && member.state != MemberState::Unjoined
            && member.generation.has_member_id();
        if let (true, Some(id), Some(group)) = (tells, member.coordinator, self.group.clone()) {
            let body = LeaveGroupRequest {
                group_id: group,
                members: vec![(member.generation.member.clone(), None)],
            };
            let outgoing = Outgoing::new(body, Ask::Leave);
            self.network
                .submit(now, Peer::Coordinator(id), outgoing, io);
        }
        self.membership.attempt += 1;
        self.membership.reset_generation();
        self.membership.join = Join::Idle;
    }

    /// The assignment changes: what was fetched for others is dropped.
    pub(super) fn assign(&mut self, partitions: Vec<TopicPartition>) {
        self.subscription.assign(partitions);
        if self.behaviour.has(Fix::DropQueueOnRevoke) {
            let subscription = &self.subscription;
            self.fetcher
                .retain(|partition| subscription.get(partition).is_some());
        }
    }

    pub(super) fn coordinator_peer(id: BrokerId) -> Peer {
        Peer::Coordinator(id)
    }
}
