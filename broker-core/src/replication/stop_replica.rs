//! StopReplica: cease to be a replica, and perhaps delete the log (`ReplicaManager.stopReplicas`, KIP-570).

use super::partition::Slot;
use super::{Hosted, LeadershipChange, ReplicaManager, Step};
use protocol::api::cluster::{StopReplicaPartition, StopReplicaRequest, StopReplicaResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::TopicPartition;
use protocol::machine::RequestToken;
use protocol::note::ReplicaNote;

/// `LeaderAndIsr.EpochDuringDelete`: the topic goes, whatever the epoch.
const EPOCH_DURING_DELETE: i32 = -2;
/// `LeaderAndIsr.NoEpoch`: the request has none.
const NO_EPOCH: i32 = -1;

impl ReplicaManager {
    pub(super) fn stop_replica(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        request: StopReplicaRequest,
    ) {
        if let Err(error) = self.check_stamp(step, &request.controller) {
            let response = StopReplicaResponse {
                error,
                partitions: Vec::new(),
            };
            step.requests.respond(step.io, token, response);
            return;
        }
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for told in request.partitions {
            let error = match self.slot(&told.partition) {
                // A log may be left from an earlier life although nobody has said anything about the partition since.
                None => self.delete_stray(step, &told),
                Some(slot) => self.stop_one(step, slot, &told),
            };
            partitions.push((told.partition, error));
        }
        self.fetchers.close_idle(step.io);
        let response = StopReplicaResponse {
            error: ErrorCode::None,
            partitions,
        };
        step.requests.respond(step.io, token, response);
    }

    fn stop_one(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        told: &StopReplicaPartition,
    ) -> ErrorCode {
        let behaviour = self.rules.behaviour;
        let partition = match self.hosted(slot) {
            Hosted::Offline => return ErrorCode::KafkaStorageError,
            Hosted::None => return self.delete_stray(step, told),
            Hosted::Online(partition) => partition,
        };
        let epoch = told.leader_epoch;
        let stale = partition.leader_epoch.is_some_and(|own| epoch <= own.0);
        if stale
            && behaviour.has(Fix::StopReplicaEpoch)
            && !matches!(epoch, EPOCH_DURING_DELETE | NO_EPOCH)
        {
            return ErrorCode::FencedLeaderEpoch;
        }
        self.fetchers.remove(slot);
        let name = &told.partition;
        let mut error = ErrorCode::None;
        if told.delete {
            self.hosted[slot.index()] = Hosted::None;
            error = self.delete_log(step, name);
            let change = LeadershipChange::Resigned { epoch: None };
            self.leadership_changes.push((name.clone(), change));
        } else if !behaviour.has(Fix::KeepCheckpointOfStopped) {
            // KAFKA-681: a stopped partition vanished from the list, and with it from the next checkpoint.
            self.hosted[slot.index()] = Hosted::None;
        }
        let deleted = told.delete;
        step.note(name, ReplicaNote::Stopped { deleted });
        self.release(step, slot);
        self.wake_all(step, slot);
        error
    }

    fn delete_stray(&mut self, step: &mut Step<'_, '_>, told: &StopReplicaPartition) -> ErrorCode {
        if told.delete && self.logs.view(&told.partition).is_some() {
            let error = self.delete_log(step, &told.partition);
            step.note(&told.partition, ReplicaNote::Stopped { deleted: true });
            return error;
        }
        ErrorCode::None
    }

    fn delete_log(&mut self, step: &mut Step<'_, '_>, name: &TopicPartition) -> ErrorCode {
        let result = self.logs.delete(step.now, step.io, name);
        self.check_disk(step, name, result.err());
        result.err().unwrap_or(ErrorCode::None)
    }
}
