//! How an event is worked off without blocking: steps, and what is to be done with the keeper's answers.
//!
//! Kafka's controller thread blocks inside an event until its batch of keeper requests is answered. Here an event is a
//! stack of [`Step`]s. A step runs at once and may put further steps on top, as a method calls others; or it asks the
//! keeper and leaves a [`Then`], and nothing else of the controller runs until all answers are in. Every step that a
//! method of `KafkaController`, a state machine or `TopicDeletionManager` has between two keeper requests is a variant, so
//! that a controller can be cloned in the middle of an event.

use super::context::{RegisteredBroker, Replica, ReplicaAssignment};
use super::election::{Elected, Strategy};
use super::eligible::{EligibleStep, Struck};
use super::isr::Answers;
use super::partition_phase::PartitionPhase;
use super::replica_phase::ReplicaPhase;
use crate::keeper_session::{Answer, Ticket};
use crate::znode::json::PartitionState;
use protocol::api::cluster::AlterIsrPartition;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, ControllerEpoch, TopicName, TopicPartition};
use protocol::keeper::Path;
use protocol::machine::RequestToken;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether something is read because a controller takes over, or because a watch fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    Failover,
    Change,
}

/// Why leaders are elected by hand or by clock (`ElectionTrigger`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trigger {
    /// By a client's ElectLeaders.
    AdminClient,
    /// By `/admin/preferred_replica_election`.
    Keeper,
}

/// What is to be taken out of `/admin/reassign_partitions`.
#[derive(Clone, Debug)]
pub(super) enum DropFromZk {
    /// These partitions, whatever is wanted of them.
    All(BTreeSet<TopicPartition>),
    /// This wish, which is fulfilled.
    Done(TopicPartition, Vec<BrokerId>),
}

impl DropFromZk {
    /// Whether it means a wish.
    pub(super) fn names(&self, partition: &TopicPartition, target: &[BrokerId]) -> bool {
        match self {
            Self::All(all) => all.contains(partition),
            Self::Done(of, replicas) => of == partition && replicas == target,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    // Who is the controller.
    LookForController {
        elect: bool,
    },
    ReadEpoch,
    Claim {
        present: ControllerEpoch,
        version: i32,
    },
    AskForRegistration,
    // Taking over.
    DropNotices,
    LoadBrokers,
    LoadTopics,
    LoadStates,
    LoadDeletions,
    AnnounceBrokers,
    StartReplicaMachine,
    StartPartitionMachine,
    ReadPreferredElection,
    ScheduleRebalance(protocol::time::Span),
    // State machines.
    Partitions {
        partitions: Vec<TopicPartition>,
        target: PartitionPhase,
        strategy: Option<Strategy>,
    },
    CreateStates(Vec<TopicPartition>),
    Elect {
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
    },
    TriggerOnline(Option<TopicName>),
    Replicas {
        replicas: Vec<Replica>,
        target: ReplicaPhase,
    },
    TakeOut {
        broker: BrokerId,
        partitions: Vec<TopicPartition>,
    },
    SendBatch,
    SendMetadata {
        brokers: Vec<BrokerId>,
        partitions: Vec<TopicPartition>,
    },
    // Brokers.
    AddBrokers(BTreeMap<BrokerId, RegisteredBroker>),
    RemoveBrokers(Vec<BrokerId>),
    BrokersCame(Vec<BrokerId>),
    BrokersGone(Vec<BrokerId>),
    ReplicasOffline(Vec<Replica>),
    // Eligible leader replicas.
    Eligible(EligibleStep),
    // Topics.
    NewPartitions(Vec<TopicPartition>),
    ResumeDeletions,
    BeginDeletion(Vec<TopicName>),
    MarkStarted(Vec<TopicName>),
    DeleteReplicas(Vec<TopicName>),
    MarkIneligible(Vec<TopicName>),
    DeletionFailed(Vec<Replica>),
    RemoveTopic(TopicName),
    DeleteTree(TopicName),
    // Moves.
    ReadZkReassignment {
        failover: bool,
    },
    ResumeReassignments(Vec<BrokerId>),
    DropFromZk(DropFromZk),
    Reassign(TopicPartition, ReplicaAssignment),
    WriteAssignment(TopicPartition, ReplicaAssignment),
    SetAssignment(TopicPartition, ReplicaAssignment),
    CheckReassignment {
        partition: TopicPartition,
        begin: bool,
    },
    MoveLeader(TopicPartition),
    BumpEpoch(TopicPartition),
    FinishReassignment(TopicPartition),
    AnswerReassign(Vec<(TopicPartition, ErrorCode)>),
    // In-sync replicas.
    RefreshLeadership(Vec<TopicPartition>),
    Delete(Vec<Path>),
    Watch(&'static str),
    AnswerAlterIsr {
        answers: Answers,
        conflicts: Vec<AlterIsrPartition>,
    },
    // Requests.
    StopFollowed {
        broker: BrokerId,
        partitions: Vec<TopicPartition>,
    },
    AnswerShutdown(BrokerId),
    ElectByRequest {
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
        trigger: Trigger,
    },
    AnswerElection(BTreeMap<TopicPartition, ErrorCode>),
}

/// What to do with the answers.
#[derive(Clone, Debug)]
pub(super) enum Then {
    // Who is the controller.
    ControllerRead {
        elect: bool,
    },
    EpochRead,
    EpochCreated,
    Claimed {
        present: ControllerEpoch,
    },
    ClaimChecked {
        present: ControllerEpoch,
    },
    PlainCreated,
    PlainOwnerRead,
    PlainEpochRead,
    PlainEpochWritten {
        epoch: ControllerEpoch,
    },
    // Reads.
    NoticesListed,
    BrokersListed(Reading),
    BrokersRead(Reading, Vec<BrokerId>),
    TopicsListed(Reading),
    TopicsRead(Reading, Vec<TopicName>),
    PartitionsRead(TopicName),
    LeadershipRead(Vec<TopicPartition>),
    DeletionsListed(Reading),
    PreferredRead,
    IsrNoticesListed,
    IsrNoticesRead(Vec<Arc<str>>),
    LogDirNoticesListed,
    LogDirNoticesRead(Vec<Arc<str>>),
    // State machines.
    StatesCreated(Vec<(TopicPartition, PartitionState)>),
    ElectionRead {
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
    },
    SettingsRead {
        present: Vec<(TopicPartition, PartitionState)>,
        topics: Vec<TopicName>,
        strategy: Strategy,
    },
    ElectionWritten {
        elected: Vec<(TopicPartition, Elected)>,
        strategy: Strategy,
    },
    IsrRead {
        broker: BrokerId,
        partitions: Vec<TopicPartition>,
    },
    IsrWritten {
        broker: BrokerId,
        changes: Vec<(TopicPartition, PartitionState)>,
    },
    MinIsrRead(Vec<TopicName>),
    Forgotten(TopicPartition, PartitionState),
    StruckRead(Struck, Vec<TopicPartition>),
    StruckWritten(Struck, Vec<(TopicPartition, PartitionState)>),
    // Requests.
    AlterIsrWritten {
        wishes: Vec<(AlterIsrPartition, PartitionState)>,
        answered: Answers,
    },
    TreeListed(TopicName),
    // Moves.
    ReassignmentAsked(Vec<TopicPartition>),
    ZkReassignmentRead {
        failover: bool,
    },
    ZkReassignmentsToDrop(DropFromZk),
    ReassignmentChecked(TopicPartition, bool),
    EpochToBump(TopicPartition),
    EpochBumped(TopicPartition, PartitionState),
    /// Nothing but going on.
    Done,
}

/// The batch of keeper requests that the event in progress waits for.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) then: Then,
    pub(super) tickets: Vec<Ticket>,
    pub(super) answers: Vec<Option<Answer>>,
    pub(super) missing: usize,
}

/// The request that the event in progress must answer, also when it fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answering {
    AlterIsr(RequestToken),
    ControlledShutdown(RequestToken),
    ElectLeaders { token: RequestToken, all: bool },
    Reassign(RequestToken),
}
