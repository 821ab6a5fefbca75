//! Offsets that take effect with a transaction (`doTxnCommitOffsets`, `completePendingTxnOffsetCommit`; KIP-98, KIP-447).
//!
//! Their records are in the log like any other, and count once the marker of their transaction is there. Until then they are
//! kept by producer, beside the offsets that readers get. Decided transactions are carried out on the thread that loads.

use super::offsets::{Committed, StoredOffset, commit_error, is_too_long, refused};
use super::state::{Group, GroupState};
use super::{Call, Registry, Step, Waiting, storage};
use protocol::api::transaction::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, GroupId, MemberId, Offset, ProducerId, TopicPartition};
use protocol::machine::RequestToken;
use protocol::note::GroupNote;
use std::collections::BTreeMap;

/// A transaction whose marker is replicated in some partitions of the offsets topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Committed, or else aborted.
    pub committed: bool,
    /// The partitions of the offsets topic.
    pub partitions: Vec<i32>,
}

/// An offset of a transaction that has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PendingOffset {
    /// Where its batch begins; none until that is replicated.
    pub(super) at: Option<Offset>,
    pub(super) stored: StoredOffset,
}

/// A commit on its way into the log.
#[derive(Clone, Debug)]
pub(super) struct TransactionalCommit {
    group: GroupId,
    incarnation: u64,
    token: RequestToken,
    api_version: i16,
    member: MemberId,
    producer_id: ProducerId,
    offsets: Vec<(TopicPartition, StoredOffset)>,
    /// One answer per partition in the order of the request; `None` where the append decides.
    answers: Vec<(TopicPartition, Option<ErrorCode>)>,
}

impl Registry {
    pub(super) fn commit_in_transaction(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: TxnOffsetCommitRequest,
    ) {
        let known = |entry: &protocol::api::group::CommittedOffset| {
            !call.unknown.contains(&entry.partition)
        };
        if !request.offsets.iter().any(known) {
            refuse(step, call, &request, ErrorCode::UnknownTopicOrPartition);
            return;
        }
        if let Err(error) = self.validate_membership(step.office, &request.group_id) {
            refuse(step, call, &request, error);
            return;
        }
        let wall = step.wall_ms();
        let group = self
            .groups
            .entry(request.group_id.clone())
            .or_insert_with_key(|id| step.office.new_group(id.clone(), wall));
        match group.refuses_transaction(step, &request) {
            Some(error) => refuse(step, call, &request, error),
            None => group.store_in_transaction(step, call, request),
        }
    }

    /// The marker of a transaction is replicated (`handleTxnCompletion`).
    pub(super) fn end_transaction(&mut self, step: &mut Step<'_, '_>, ended: &EndedTransaction) {
        let here = |group: &&mut Group| ended.partitions.contains(&group.partition);
        for group in self.groups.values_mut().filter(here) {
            group.end_transaction(step, ended);
        }
    }
}

/// Before version 2 a client did not know that its coordinator may be loading.
fn for_version(error: ErrorCode, api_version: i16) -> ErrorCode {
    if api_version < 2 && error == ErrorCode::CoordinatorLoadInProgress {
        ErrorCode::CoordinatorNotAvailable
    } else {
        error
    }
}

fn refuse(
    step: &mut Step<'_, '_>,
    call: &Call,
    request: &TxnOffsetCommitRequest,
    error: ErrorCode,
) {
    let error = for_version(error, call.api_version);
    let who = (&request.group_id, &request.member_id);
    let partitions = refused(step, &call.unknown, who, (&request.offsets, error));
    step.respond(call.token, TxnOffsetCommitResponse { partitions });
}

impl Group {
    /// Why a commit must not be stored. Before KIP-447 a transaction told the name of the group and nothing else.
    fn refuses_transaction(
        &self,
        step: &Step<'_, '_>,
        request: &TxnOffsetCommitRequest,
    ) -> Option<ErrorCode> {
        if self.state == GroupState::Dead {
            return Some(ErrorCode::CoordinatorNotAvailable);
        }
        if !step.has(Fix::GroupMetadataInCommit) {
            return None;
        }
        let (member, generation) = (&request.member_id, request.generation_id);
        let instance = request.group_instance_id.as_ref();
        let holder = self.static_member(instance);
        if holder.is_some_and(|holder| holder != member) {
            Some(ErrorCode::FencedInstanceId)
        } else if !member.as_str().is_empty() && !self.members.contains_key(member) {
            Some(ErrorCode::UnknownMemberId)
        } else if generation.0 >= 0 && generation != self.generation {
            Some(ErrorCode::IllegalGeneration)
        } else {
            None
        }
    }

    fn store_in_transaction(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: TxnOffsetCommitRequest,
    ) {
        let (now, limit) = (step.wall_ms(), step.office.settings.metadata_max);
        let producer = request.producer;
        let mut offsets = Vec::with_capacity(request.offsets.len());
        let mut answers = Vec::with_capacity(request.offsets.len());
        for entry in request.offsets {
            let partition = entry.partition;
            let error = if call.unknown.contains(&partition) {
                Some(ErrorCode::UnknownTopicOrPartition)
            } else {
                is_too_long(&entry.metadata, limit).then_some(ErrorCode::OffsetMetadataTooLarge)
            };
            answers.push((partition.clone(), error));
            if error.is_none() {
                let stored = StoredOffset {
                    offset: entry.offset,
                    leader_epoch: entry.leader_epoch,
                    metadata: entry.metadata,
                    commit_timestamp: now,
                    expire_timestamp: None,
                };
                offsets.push((partition, stored));
            }
        }
        let commit = TransactionalCommit {
            group: self.id.clone(),
            incarnation: self.incarnation,
            token: call.token,
            api_version: call.api_version,
            member: request.member_id,
            producer_id: producer.producer_id,
            offsets,
            answers,
        };
        if commit.offsets.is_empty() {
            commit.answer(step, ErrorCode::OffsetMetadataTooLarge);
            return;
        }
        let pending = self
            .pending_transactions
            .entry(producer.producer_id)
            .or_default();
        for (partition, stored) in &commit.offsets {
            let stored = stored.clone();
            pending.insert(partition.clone(), PendingOffset { at: None, stored });
        }
        let whose = Some((producer.producer_id, producer.producer_epoch));
        let batch = storage::offsets_batch(&self.id, &commit.offsets, whose, step);
        let waiting = Waiting::Transactional(Box::new(commit));
        step.append(self.partition, batch, Some(waiting));
    }

    /// Whether a transaction holds an offset of this partition.
    pub(super) fn has_pending_transaction(&self, partition: &TopicPartition) -> bool {
        let mut pending = self.pending_transactions.values();
        pending.any(|offsets| offsets.contains_key(partition))
    }

    fn end_transaction(&mut self, step: &mut Step<'_, '_>, ended: &EndedTransaction) {
        let (producer_id, committed) = (ended.producer_id, ended.committed);
        let Some(pending) = self.pending_transactions.remove(&producer_id) else {
            return;
        };
        let decided = GroupNote::PendingDecided {
            producer_id,
            committed,
        };
        step.note(&self.id, decided);
        if !committed {
            return;
        }
        let by_log = step.has(Fix::MaterializeByOffset);
        for (partition, PendingOffset { at, stored }) in pending {
            // The marker lies behind the offset in the log, so that the offset is replicated if the marker is.
            let Some(at) = at else { continue };
            let offset = stored.offset;
            if self.take_effect(&partition, Committed { at, stored }, by_log) {
                let note = GroupNote::OffsetCommitted {
                    partition,
                    offset,
                    member: MemberId::from(""),
                    generation: GenerationId(-1),
                };
                step.note(&self.id, note);
            }
        }
    }

    /// The pending offset of a partition, if it still is what was sent.
    fn pending_of(
        &mut self,
        producer: ProducerId,
        (partition, stored): (&TopicPartition, &StoredOffset),
    ) -> Option<&mut PendingOffset> {
        let offsets = self.pending_transactions.get_mut(&producer)?;
        let pending = offsets.get_mut(partition)?;
        (pending.stored == *stored).then_some(pending)
    }

    fn drop_pending(&mut self, producer: ProducerId, partition: &TopicPartition) {
        if let Some(offsets) = self.pending_transactions.get_mut(&producer) {
            offsets.remove(partition);
            if offsets.is_empty() {
                self.pending_transactions.remove(&producer);
            }
        }
    }
}

impl TransactionalCommit {
    /// The record is replicated, or failed.
    pub(super) fn finish(
        self,
        step: &mut Step<'_, '_>,
        groups: &mut BTreeMap<GroupId, Group>,
        result: Result<Offset, ErrorCode>,
    ) {
        let group = groups
            .get_mut(&self.group)
            .filter(|group| group.incarnation == self.incarnation);
        if let Some(group) = group {
            for (partition, stored) in &self.offsets {
                let sent = (partition, stored);
                match (result, group.pending_of(self.producer_id, sent)) {
                    (Ok(at), Some(pending)) => pending.at = Some(at),
                    (Err(_), Some(_)) => group.drop_pending(self.producer_id, partition),
                    (_, None) => {}
                }
            }
        }
        match result {
            Ok(_) => {
                for (partition, stored) in &self.offsets {
                    let note = GroupNote::OffsetPending {
                        partition: partition.clone(),
                        offset: stored.offset,
                        producer_id: self.producer_id,
                    };
                    step.note(&self.group, note);
                }
                self.answer(step, ErrorCode::None);
            }
            Err(error) => self.answer(step, commit_error(error)),
        }
    }

    fn answer(self, step: &mut Step<'_, '_>, error: ErrorCode) {
        let error = for_version(error, self.api_version);
        if error.is_error() {
            let member = self.member;
            step.note(&self.group, GroupNote::CommitRefused { member, error });
        }
        let answers = self.answers.into_iter();
        let partitions = answers
            .map(|(partition, own)| (partition, own.unwrap_or(error)))
            .collect();
        step.respond(self.token, TxnOffsetCommitResponse { partitions });
    }
}
