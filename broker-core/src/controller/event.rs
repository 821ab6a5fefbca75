//! What the controller's single thread works off, one after the other (`ControllerEvent`).

use super::channel::Answered;
use protocol::api::cluster::{AlterIsrRequest, ControlledShutdownRequest};
use protocol::api::reassignment::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest,
};
use protocol::api::topics::ElectLeadersRequest;
use protocol::ids::{TopicName, TopicPartition};
use protocol::machine::RequestToken;

/// An event.
#[derive(Clone, Debug)]
pub enum ControllerEvent {
    /// The broker is registered: who is the controller?
    Startup,
    /// `/controller` was created or changed.
    ControllerChange,
    /// `/controller` was deleted.
    Reelect,
    /// The session is over; a new one opens when this is done.
    Expire,
    /// Register in the new session, then see who is the controller.
    RegisterBrokerAndReelect,
    /// Brokers came or went.
    BrokerChange,
    /// Topics came or went.
    TopicChange,
    /// A topic's assignment changed.
    PartitionModifications(TopicName),
    /// Somebody wants topics deleted.
    TopicDeletion,
    /// Leaders changed in-sync replicas themselves.
    IsrChangeNotification,
    /// A log directory failed somewhere.
    LogDirEventNotification,
    /// `/admin/preferred_replica_election` was created.
    PreferredReplicaElection,
    /// `/admin/reassign_partitions` was created, or may have been.
    ZkPartitionReassignment,
    /// The state of a partition that is being moved changed.
    PartitionReassignmentIsrChange(TopicPartition),
    /// Time to look for leaders that are not the preferred ones.
    AutoPreferredReplicaElection,
    /// A topic now allows unclean election.
    UncleanElectionEnabled(TopicName),
    /// Settings of a topic have changed, perhaps `min.insync.replicas` among them (KIP-966).
    SettingsChanged(TopicName),
    /// A broker answered.
    Response(Box<Answered>),
    /// A leader asks for other in-sync replicas.
    AlterIsr(RequestToken, Box<AlterIsrRequest>),
    /// A broker wants to stop in good order.
    ControlledShutdown(RequestToken, ControlledShutdownRequest),
    /// Somebody wants leaders elected.
    ElectLeaders(RequestToken, Box<ElectLeadersRequest>),
    /// Somebody wants replicas moved.
    Reassign(RequestToken, Box<AlterPartitionReassignmentsRequest>),
    /// Somebody wants to know what is being moved.
    ListReassignments(RequestToken, Box<ListPartitionReassignmentsRequest>),
}
