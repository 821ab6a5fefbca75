//! What a consumer knows of its group: the coordinator, its generation, how far a rebalance is, and when it last showed
//! that it lives (the fields of `AbstractCoordinator` and `Heartbeat`).

use protocol::api::group::JoinGroupResponse;
use protocol::config::Assignor;
use protocol::ids::{BrokerId, GenerationId, MemberId, TopicName, TopicPartition};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, BTreeSet};

use super::commit::CommitId;

/// `MemberState`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum MemberState {
    /// In no group.
    #[default]
    Unjoined,
    /// The join request is under way.
    PreparingRebalance,
    /// Joined; the assignment is awaited.
    CompletingRebalance,
    /// Joined, with an assignment.
    Stable,
}

/// `Generation`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Generation {
    pub(super) id: GenerationId,
    pub(super) member: MemberId,
}

impl Generation {
    /// `NO_GENERATION`.
    pub(super) fn none() -> Self {
        Self {
            id: GenerationId(-1),
            member: MemberId::from(""),
        }
    }

    pub(super) fn has_member_id(&self) -> bool {
        !self.member.as_str().is_empty()
    }
}

/// How far a rebalance is, in the order of its steps. Everything but waiting for an answer happens inside `poll`.
#[derive(Clone, Debug, Default)]
pub(super) enum Join {
    /// None is under way.
    #[default]
    Idle,
    /// Positions are being committed before the partitions are given up.
    Committing(CommitId),
    /// The application's listener gives partitions up.
    Revoking,
    /// The join request may be sent.
    Ready { at: Mono },
    /// Sent.
    Joining,
    /// This member leads and waits for the metadata it divides by.
    Dividing(Box<JoinGroupResponse>),
    /// The assignment is awaited.
    Syncing,
    /// It is there and is taken at the next poll.
    Complete(Vec<TopicPartition>),
    /// The application's listener gives up what moves elsewhere (KIP-429).
    Handing(Vec<TopicPartition>),
}

/// The look for the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Lookup {
    #[default]
    Idle,
    UnderWay,
    RestUntil(Mono),
}

/// The group side of a consumer.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) coordinator: Option<BrokerId>,
    pub(super) lookup: Lookup,
    pub(super) state: MemberState,
    pub(super) generation: Generation,
    /// The generation whose assignment it took last: what `groupMetadata` tells, also when it has been thrown out since.
    pub(super) assigned_in: Generation,
    pub(super) rejoin_needed: bool,
    pub(super) join: Join,
    /// Counts joins, so that the answer to an abandoned one is told apart.
    pub(super) attempt: u64,
    /// What was subscribed when it last joined.
    pub(super) joined_topics: Option<BTreeSet<TopicName>>,
    /// As leader: the partition counts it divided by, none for a topic without metadata.
    pub(super) divided_by: Option<BTreeMap<TopicName, Option<i32>>>,
    /// The assignor the group agreed on.
    pub(super) assignor: Option<Assignor>,
    pub(super) heartbeat: Heartbeat,
}

impl Membership {
    pub(super) fn new() -> Self {
        Self {
            coordinator: None,
            lookup: Lookup::Idle,
            state: MemberState::Unjoined,
            generation: Generation::none(),
            assigned_in: Generation::none(),
            rejoin_needed: true,
            join: Join::Idle,
            attempt: 0,
            joined_topics: None,
            divided_by: None,
            assignor: None,
            heartbeat: Heartbeat::default(),
        }
    }

    /// The coordinator threw this member out, or it left (`resetGenerationOnResponseError`).
    pub(super) fn reset_generation(&mut self) {
        self.generation = Generation::none();
        self.become_unjoined();
    }

    /// The group has moved on but still knows this member id (`resetStateAndRejoin` from 2.8 on ILLEGAL_GENERATION keeps
    /// nothing either; kept apart for MEMBER_ID_REQUIRED, where the id is new).
    pub(super) fn become_unjoined(&mut self) {
        self.state = MemberState::Unjoined;
        self.rejoin_needed = true;
        self.heartbeat.enabled = false;
    }
}

/// `Heartbeat`: when one is due, and what silence means.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heartbeat {
    /// Between joining and leaving.
    pub(super) enabled: bool,
    pub(super) in_flight: bool,
    /// When the next is due.
    pub(super) due: Mono,
    /// When the coordinator last answered.
    pub(super) answered: Mono,
    /// When the application last polled.
    pub(super) polled: Mono,
}

impl Heartbeat {
    /// A session begins anew.
    pub(super) fn restart(&mut self, now: Mono, interval: Span) {
        self.answered = now;
        self.polled = now;
        self.in_flight = false;
        self.due = now + interval;
    }
}
