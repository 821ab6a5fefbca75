//! Between controller and brokers: LeaderAndIsr, UpdateMetadata, StopReplica, ControlledShutdown, AlterIsr.

use super::{TopicIds, ids_size, partition_size};
use crate::error_code::ErrorCode;
use crate::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, LeaderEpoch, PartitionEpoch, TopicPartition,
};
use crate::message::{size_of, text_size};

/// Who leads a partition and who is in sync, as the keeper holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsr {
    /// The leader; `None` for none (−1).
    pub leader: Option<BrokerId>,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas, in the order the znode has them.
    pub isr: Vec<BrokerId>,
    /// The version of the state znode.
    pub partition_epoch: PartitionEpoch,
}

/// The sender of a control request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerStamp {
    /// The controller.
    pub controller_id: BrokerId,
    /// Its epoch; lower than the highest seen is refused with `STALE_CONTROLLER_EPOCH`.
    pub controller_epoch: ControllerEpoch,
    /// The receiving broker's epoch (2.2 on, KIP-380); `None` before.
    pub broker_epoch: Option<BrokerEpoch>,
}

/// The state of one replica as LeaderAndIsr tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsrPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch of the controller that decided this state.
    pub controller_epoch: ControllerEpoch,
    /// Leader and in-sync replicas.
    pub state: LeaderAndIsr,
    /// The assignment, preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Replicas being added (KIP-455).
    pub adding_replicas: Vec<BrokerId>,
    /// Replicas being removed (KIP-455).
    pub removing_replicas: Vec<BrokerId>,
    /// The replica is new here: no log is expected to exist.
    pub is_new: bool,
}

/// Become leader or follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsrRequest {
    /// Who says so.
    pub controller: ControllerStamp,
    /// The states.
    pub partitions: Vec<LeaderAndIsrPartition>,
    /// The ids of their topics (version 5 on).
    pub topic_ids: TopicIds,
    /// The live leaders with their endpoints for replication.
    pub live_leaders: Vec<LiveBroker>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsrResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
    /// The ids of their topics, as the request had them: from version 5 on they stand for the names.
    pub topic_ids: Option<TopicIds>,
}

/// Stop being a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReplicaRequest {
    /// Who says so.
    pub controller: ControllerStamp,
    /// The partitions.
    pub partitions: Vec<StopReplicaPartition>,
}

/// One partition to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReplicaPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch of the decision (version 3 on); −2 (`EpochDuringDelete`) overrides any, −1 means none given.
    pub leader_epoch: i32,
    /// Delete the log as well.
    pub delete: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReplicaResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// One error per partition.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// One partition in every broker's metadata cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMetadataPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch of the controller that decided this state.
    pub controller_epoch: ControllerEpoch,
    /// Leader and in-sync replicas.
    pub state: LeaderAndIsr,
    /// The topic is being deleted (leader −2, `LeaderDuringDelete`): forget the partition.
    pub deleted: bool,
    /// The assignment.
    pub replicas: Vec<BrokerId>,
    /// Replicas on dead brokers or failed directories.
    pub offline_replicas: Vec<BrokerId>,
}

/// A live broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBroker {
    /// Its id.
    pub id: BrokerId,
    /// Its advertised listener.
    pub endpoint: Endpoint,
}

/// What the cluster looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMetadataRequest {
    /// Who says so.
    pub controller: ControllerStamp,
    /// Partitions that changed; all of them after a controller failover.
    pub partitions: Vec<UpdateMetadataPartition>,
    /// The ids of their topics (version 7 on).
    pub topic_ids: TopicIds,
    /// All live brokers.
    pub live_brokers: Vec<LiveBroker>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMetadataResponse {
    /// The error.
    pub error: ErrorCode,
}

/// A broker wants to stop in good order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlledShutdownRequest {
    /// Which.
    pub broker_id: BrokerId,
    /// Its epoch (2.2 on).
    pub broker_epoch: Option<BrokerEpoch>,
}

/// Whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlledShutdownResponse {
    /// The error.
    pub error: ErrorCode,
    /// Partitions it still leads.
    pub remaining: Vec<TopicPartition>,
}

/// A leader asks the controller to change in-sync replicas (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterIsrRequest {
    /// The asking broker.
    pub broker_id: BrokerId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
    /// The partitions.
    pub partitions: Vec<AlterIsrPartition>,
}

/// One partition's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterIsrPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The asker's leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The wanted in-sync replicas.
    pub new_isr: Vec<BrokerId>,
    /// In which life each of them fetched last, where the asker knows it (version 3 on, KIP-903).
    pub isr_epochs: Vec<(BrokerId, BrokerEpoch)>,
    /// The version they replace.
    pub current_partition_epoch: PartitionEpoch,
}

/// What became of the wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterIsrResponse {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// One answer per partition: the new state, or why not.
    pub partitions: Vec<(TopicPartition, Result<LeaderAndIsr, ErrorCode>)>,
}

fn brokers(list: &[BrokerId]) -> u64 {
    4 + 4 * size_of(list.len())
}

fn live(list: &[LiveBroker]) -> u64 {
    4 + list
        .iter()
        .map(|broker| 8 + text_size(&broker.endpoint.host))
        .sum::<u64>()
}

fn errors(list: &[(TopicPartition, ErrorCode)]) -> u64 {
    6 + list
        .iter()
        .map(|(partition, _)| partition_size(partition) + 2)
        .sum::<u64>()
}

impl LeaderAndIsrRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let partition = |part: &LeaderAndIsrPartition| {
            let lists = [
                &part.state.isr,
                &part.replicas,
                &part.adding_replicas,
                &part.removing_replicas,
            ];
            partition_size(&part.partition)
                + 17
                + lists.into_iter().map(|list| brokers(list)).sum::<u64>()
        };
        let partitions = self.partitions.iter().map(partition).sum::<u64>();
        24 + partitions + ids_size(&self.topic_ids) + live(&self.live_leaders)
    }
}

impl LeaderAndIsrResponse {
    pub(super) fn wire_size(&self) -> u64 {
        errors(&self.partitions) + self.topic_ids.as_ref().map_or(0, ids_size)
    }
}

impl StopReplicaRequest {
    pub(super) fn wire_size(&self) -> u64 {
        24 + self
            .partitions
            .iter()
            .map(|part| partition_size(&part.partition) + 5)
            .sum::<u64>()
    }
}

impl StopReplicaResponse {
    pub(super) fn wire_size(&self) -> u64 {
        errors(&self.partitions)
    }
}

impl UpdateMetadataRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let partition = |part: &UpdateMetadataPartition| {
            let lists = [&part.state.isr, &part.replicas, &part.offline_replicas];
            partition_size(&part.partition)
                + 16
                + lists.into_iter().map(|list| brokers(list)).sum::<u64>()
        };
        let partitions = self.partitions.iter().map(partition).sum::<u64>();
        24 + partitions + ids_size(&self.topic_ids) + live(&self.live_brokers)
    }
}

impl UpdateMetadataResponse {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    pub(super) fn wire_size(&self) -> u64 {
        2
    }
}

impl ControlledShutdownRequest {
    #[expect(clippy::unused_self, reason = "every body answers the same question")]
    pub(super) fn wire_size(&self) -> u64 {
        12
    }
}

impl ControlledShutdownResponse {
    pub(super) fn wire_size(&self) -> u64 {
        6 + self.remaining.iter().map(partition_size).sum::<u64>()
    }
}

impl AlterIsrRequest {
    pub(super) fn wire_size(&self) -> u64 {
        let partition = |part: &AlterIsrPartition| {
            let epochs = 8 * size_of(part.isr_epochs.len());
            partition_size(&part.partition) + 8 + brokers(&part.new_isr) + epochs
        };
        16 + self.partitions.iter().map(partition).sum::<u64>()
    }
}

impl AlterIsrResponse {
    pub(super) fn wire_size(&self) -> u64 {
        let state = |result: &Result<LeaderAndIsr, ErrorCode>| {
            result.as_ref().map_or(0, |ok| 12 + brokers(&ok.isr))
        };
        6 + self
            .partitions
            .iter()
            .map(|(tp, result)| partition_size(tp) + 2 + state(result))
            .sum::<u64>()
    }
}
