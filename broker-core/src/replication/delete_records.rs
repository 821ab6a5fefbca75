//! DeleteRecords (KIP-107): an operator moves the start of a log (`ReplicaManager.deleteRecords`, `DelayedDeleteRecords`,
//! `Partition.deleteRecordsOnLeader`).
//!
//! The leader moves its log start at once and answers when every live replica has followed, which it learns from their
//! fetches: the *low watermark* is the lowest log start among them. Nothing is cut from files here; segments that lie below
//! the start as a whole go with the next round of retention.

use super::partition::Slot;
use super::{Hosted, ReplicaManager, Step};
use crate::metadata_cache::is_internal;
use protocol::api::data::{
    DeleteRecordsRequest, DeleteRecordsResponse, PartitionDeleteRecordsResponse,
};
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, TopicPartition};
use protocol::machine::RequestToken;

/// One partition whose replicas have not all followed.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Its place among the answers.
    index: usize,
    slot: Slot,
    /// The low watermark that will do.
    required: Offset,
}

/// A deletion that waits for replicas.
#[derive(Clone, Debug)]
pub(super) struct DelayedDelete {
    token: RequestToken,
    answers: Vec<PartitionDeleteRecordsResponse>,
    pending: Vec<Pending>,
}

/// What the leader's part of a deletion did.
struct Deleted {
    slot: Slot,
    required: Offset,
    low_watermark: Option<Offset>,
}

impl ReplicaManager {
    pub(super) fn delete_records(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        request: DeleteRecordsRequest,
    ) {
        let deadline = step.now.mono + request.timeout;
        let mut operation = DelayedDelete {
            token,
            answers: Vec::with_capacity(request.partitions.len()),
            pending: Vec::new(),
        };
        for (partition, before) in request.partitions {
            let result = self.delete_local(step, &partition, before);
            operation.add(partition, &result);
        }
        if operation.pending.is_empty() {
            respond(step, operation);
        } else {
            let keys = operation
                .pending
                .iter()
                .map(|pending| pending.slot.key())
                .collect();
            self.deletes.watch(step.io, operation, keys, deadline);
        }
    }

    fn delete_local(
        &mut self,
        step: &mut Step<'_, '_>,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Deleted, ErrorCode> {
        if !self.metadata.contains(partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if is_internal(&partition.topic) {
            return Err(ErrorCode::InvalidTopicException);
        }
        let slot = self.find(partition)?;
        if self.online(slot).is_none_or(|here| !here.is_leader()) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let log = self
            .logs
            .get_mut(partition)
            .ok_or(ErrorCode::NotLeaderOrFollower)?;
        if !log.config().cleanup_policy.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let required = before.unwrap_or_else(|| log.high_watermark());
        if required < Offset(0) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let result = log.maybe_increment_log_start_offset(step.io, required);
        let lost = result
            .err()
            .filter(|error| *error == ErrorCode::KafkaStorageError);
        self.check_disk(step, partition, lost);
        result?;
        Ok(Deleted {
            slot,
            required,
            low_watermark: self.low_watermark(slot),
        })
    }

    /// `lowWatermarkIfLeader`: the lowest log start of the live replicas; `None` while one of them has not told.
    fn low_watermark(&self, slot: Slot) -> Option<Offset> {
        let partition = self.online(slot)?;
        let leadership = partition.leadership()?;
        let own = self.logs.view(&partition.name)?.start;
        leadership
            .followers
            .iter()
            .filter(|replica| self.metadata.has_alive(replica.id))
            .try_fold(own, |lowest, replica| Some(lowest.min(replica.log_start?)))
    }

    /// The low watermark, if anybody waits for a deletion here.
    pub(super) fn awaited_low_watermark(&self, slot: Slot) -> Option<Offset> {
        if self.deletes.is_empty() {
            return None;
        }
        self.low_watermark(slot)
    }

    /// `DelayedDeleteRecords.tryComplete` for one partition: `None` while nothing is decided.
    fn deletion_reached(
        &self,
        slot: Slot,
        required: Offset,
    ) -> Option<(ErrorCode, Option<Offset>)> {
        let partition = match self.hosted(slot) {
            Hosted::Online(partition) => partition,
            Hosted::Offline => return Some((ErrorCode::KafkaStorageError, None)),
            Hosted::None => return Some((ErrorCode::UnknownTopicOrPartition, None)),
        };
        if !partition.is_leader() {
            return Some((ErrorCode::NotLeaderOrFollower, None));
        }
        let low = self.low_watermark(slot).filter(|low| *low >= required)?;
        Some((ErrorCode::None, Some(low)))
    }

    /// Looks at the deletions that wait for a partition.
    pub(super) fn wake_deletes(&mut self, step: &mut Step<'_, '_>, slot: Slot) {
        let mut index = 0;
        while let Some(id) = self.deletes.watcher(slot.key(), index) {
            let Some(mut operation) = self.deletes.lend(id) else {
                index += 1;
                continue;
            };
            let here = operation.pending.iter().find(|one| one.slot == slot);
            let decided = here.and_then(|one| {
                let reached = self.deletion_reached(slot, one.required)?;
                Some((one.index, reached))
            });
            if let Some((place, (error, low_watermark))) = decided {
                operation.decide(place, error, low_watermark);
            }
            if operation.pending.is_empty() {
                self.deletes.remove(id);
                respond(step, operation);
            } else {
                self.deletes.give_back(id, operation);
                index += 1;
            }
        }
    }

    /// The deletion purgatory's timer rang: who has not followed by now has not followed in time.
    pub(super) fn expire_deletes(&mut self, step: &mut Step<'_, '_>) {
        while let Some(operation) = self.deletes.pop_expired(step.now.mono, step.io) {
            respond(step, operation);
        }
    }
}

impl DelayedDelete {
    /// Notes what the leader did; an answer that has to wait is a time-out until it is decided otherwise.
    fn add(&mut self, partition: TopicPartition, result: &Result<Deleted, ErrorCode>) {
        let (error, low_watermark) = match result {
            Err(error) => (*error, None),
            Ok(done) if done.low_watermark >= Some(done.required) => {
                (ErrorCode::None, done.low_watermark)
            }
            Ok(done) => {
                self.pending.push(Pending {
                    index: self.answers.len(),
                    slot: done.slot,
                    required: done.required,
                });
                (ErrorCode::RequestTimedOut, done.low_watermark)
            }
        };
        self.answers.push(PartitionDeleteRecordsResponse {
            partition,
            error,
            low_watermark,
        });
    }

    fn decide(&mut self, place: usize, error: ErrorCode, low_watermark: Option<Offset>) {
        self.pending.retain(|pending| pending.index != place);
        self.answers[place].error = error;
        self.answers[place].low_watermark = low_watermark;
    }
}

fn respond(step: &mut Step<'_, '_>, operation: DelayedDelete) {
    let response = DeleteRecordsResponse {
        partitions: operation.answers,
    };
    step.requests.respond(step.io, operation.token, response);
}
