//! Committed offsets: taking them, keeping them, giving them out (`doCommitOffsets`, `storeOffsets`, `getOffsets`).
//!
//! An offset gets into the cache when its record is committed, never earlier; until then readers see the one before, or
//! are told to wait where they ask for stable offsets. A commit whose metadata is too long leaves no trace here (Kafka
//! keeps it as pending for ever).

use super::state::{Group, GroupState};
use super::sync::{coordinator_error, is_too_large};
use super::{Call, Registry, Step, Waiting, storage};
use protocol::api::group::{
    CommittedOffset, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, GroupId, LeaderEpoch, MemberId, Offset, TopicPartition};
use protocol::machine::RequestToken;
use protocol::note::GroupNote;
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An offset as it is stored (`OffsetAndMetadata`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StoredOffset {
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) metadata: Arc<str>,
    /// Wall milliseconds.
    pub(super) commit_timestamp: i64,
    /// Set by clients before KIP-211, and by brokers before it.
    pub(super) expire_timestamp: Option<i64>,
}

/// An offset and where its batch begins in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Committed {
    pub(super) at: Offset,
    pub(super) stored: StoredOffset,
}

/// A commit on its way into the log.
#[derive(Clone, Debug)]
pub(super) struct StoredCommit {
    group: GroupId,
    incarnation: u64,
    token: RequestToken,
    member: MemberId,
    generation: GenerationId,
    offsets: Vec<(TopicPartition, StoredOffset)>,
    /// One answer per partition in the order of the request; `None` where the append decides.
    answers: Vec<(TopicPartition, Option<ErrorCode>)>,
}

impl Registry {
    pub(super) fn commit(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: OffsetCommitRequest,
    ) {
        let known = |entry: &CommittedOffset| !call.unknown.contains(&entry.partition);
        if request.group_instance_id.is_some() && step.office.refuses_instances() {
            refuse(step, call, &request, ErrorCode::UnsupportedVersion);
            return;
        }
        if request.offsets.is_empty() {
            let partitions = Vec::new();
            step.respond(call.token, OffsetCommitResponse { partitions });
            return;
        }
        if !request.offsets.iter().any(known) {
            refuse(step, call, &request, ErrorCode::UnknownTopicOrPartition);
            return;
        }
        if let Err(error) = self.validate(step.office, &request.group_id) {
            refuse(step, call, &request, error);
            return;
        }
        let unmanaged = request.generation_id.0 < 0;
        if !self.groups.contains_key(&request.group_id) {
            if !unmanaged && step.has(Fix::GenerationCheck) {
                refuse(step, call, &request, ErrorCode::IllegalGeneration);
                return;
            }
            let wall = step.wall_ms();
            let group = step.office.new_group(request.group_id.clone(), wall);
            self.groups.insert(request.group_id.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&request.group_id) else {
            return;
        };
        match group.refuses_commit(step, &request) {
            Some(error) => refuse(step, call, &request, error),
            None => group.store_offsets(step, call, request),
        }
    }

    pub(super) fn fetch(&self, step: &mut Step<'_, '_>, call: &Call, request: OffsetFetchRequest) {
        let response = match self.validate(step.office, &request.group_id) {
            // Before version 2 there is no error of the whole.
            Err(error) if call.api_version < 2 => OffsetFetchResponse {
                error: ErrorCode::None,
                partitions: request
                    .partitions
                    .into_iter()
                    .flatten()
                    .map(|partition| (partition, Err(error)))
                    .collect(),
            },
            Err(error) => OffsetFetchResponse {
                error,
                partitions: Vec::new(),
            },
            Ok(()) => OffsetFetchResponse {
                error: ErrorCode::None,
                partitions: fetched(step, self.groups.get(&request.group_id), request),
            },
        };
        step.respond(call.token, response);
    }
}

fn fetched(
    step: &Step<'_, '_>,
    group: Option<&Group>,
    request: OffsetFetchRequest,
) -> Vec<(TopicPartition, Result<Option<CommittedOffset>, ErrorCode>)> {
    let Some(group) = group else {
        let asked = request.partitions.into_iter().flatten();
        return asked.map(|partition| (partition, Ok(None))).collect();
    };
    // Brokers before KIP-447 know no such wish.
    let require_stable = request.require_stable && step.has(Fix::GroupMetadataInCommit);
    let asked = request
        .partitions
        .unwrap_or_else(|| group.offsets.keys().cloned().collect());
    asked
        .into_iter()
        .map(|partition| {
            let answer = group.committed(&partition, require_stable);
            (partition, answer)
        })
        .collect()
}

/// Refuses a commit: one error for all partitions, those apart that nobody knows.
pub(super) fn refused(
    step: &mut Step<'_, '_>,
    unknown: &BTreeSet<TopicPartition>,
    (group, member): (&GroupId, &MemberId),
    (offsets, error): (&[CommittedOffset], ErrorCode),
) -> Vec<(TopicPartition, ErrorCode)> {
    let note = GroupNote::CommitRefused {
        member: member.clone(),
        error,
    };
    step.note(group, note);
    let answer = |entry: &CommittedOffset| {
        let is_unknown = unknown.contains(&entry.partition);
        let error = if is_unknown && error != ErrorCode::UnsupportedVersion {
            ErrorCode::UnknownTopicOrPartition
        } else {
            error
        };
        (entry.partition.clone(), error)
    };
    offsets.iter().map(answer).collect()
}

fn refuse(step: &mut Step<'_, '_>, call: &Call, request: &OffsetCommitRequest, error: ErrorCode) {
    let who = (&request.group_id, &request.member_id);
    let partitions = refused(step, &call.unknown, who, (&request.offsets, error));
    step.respond(call.token, OffsetCommitResponse { partitions });
}

impl Group {
    /// Why a commit must not be stored. A member's commit also counts as a sign of life.
    fn refuses_commit(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &OffsetCommitRequest,
    ) -> Option<ErrorCode> {
        let instance = request.group_instance_id.as_ref();
        let member = &request.member_id;
        if let Some(error) = self.refuses_member(step, member, instance) {
            return Some(error);
        }
        if request.generation_id.0 < 0 && self.state == GroupState::Empty {
            return None;
        }
        if !step.has(Fix::GenerationCheck) {
            self.reset_session(step, member);
            return None;
        }
        if !self.members.contains_key(member) {
            return Some(ErrorCode::UnknownMemberId);
        }
        if request.generation_id != self.generation {
            return Some(ErrorCode::IllegalGeneration);
        }
        match self.state {
            // The heartbeat tells the member of the rebalance; what it has done until then may be committed.
            GroupState::Stable | GroupState::PreparingRebalance => {
                self.reset_session(step, member);
                None
            }
            GroupState::CompletingRebalance => Some(ErrorCode::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead => Some(ErrorCode::UnknownMemberId),
        }
    }

    fn store_offsets(
        &mut self,
        step: &mut Step<'_, '_>,
        call: &Call,
        request: OffsetCommitRequest,
    ) {
        let (now, limit) = (step.wall_ms(), step.office.settings.metadata_max);
        let expire_timestamp = expire_timestamp(step, request.retention);
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
                    expire_timestamp,
                };
                self.pending_offsets
                    .insert(partition.clone(), stored.clone());
                offsets.push((partition, stored));
            }
        }
        let commit = StoredCommit {
            group: self.id.clone(),
            incarnation: self.incarnation,
            token: call.token,
            member: request.member_id,
            generation: request.generation_id,
            offsets,
            answers,
        };
        if commit.offsets.is_empty() {
            commit.answer(step, ErrorCode::OffsetMetadataTooLarge);
            return;
        }
        let batch = storage::offsets_batch(&self.id, &commit.offsets, None, step);
        let waiting = Waiting::Offsets(Box::new(commit));
        step.append(self.partition, batch, Some(waiting));
    }

    fn committed(
        &self,
        partition: &TopicPartition,
        require_stable: bool,
    ) -> Result<Option<CommittedOffset>, ErrorCode> {
        let unsettled = || {
            self.pending_offsets.contains_key(partition) || self.has_pending_transaction(partition)
        };
        if require_stable && unsettled() {
            return Err(ErrorCode::UnstableOffsetCommit);
        }
        Ok(self.offsets.get(partition).map(|committed| {
            let stored = &committed.stored;
            CommittedOffset {
                partition: partition.clone(),
                offset: stored.offset,
                leader_epoch: stored.leader_epoch,
                metadata: stored.metadata.clone(),
            }
        }))
    }

    /// A commit's record is committed: it becomes the offset, unless a later record has overtaken it (KAFKA-5247).
    fn materialize(&mut self, partition: &TopicPartition, committed: Committed, by_log: bool) {
        let Some(pending) = self.pending_offsets.get(partition) else {
            return;
        };
        if *pending == committed.stored {
            self.pending_offsets.remove(partition);
        }
        self.take_effect(partition, committed, by_log);
    }

    /// An offset takes effect, unless a later record has; whether it did.
    pub(super) fn take_effect(
        &mut self,
        partition: &TopicPartition,
        committed: Committed,
        by_log: bool,
    ) -> bool {
        let older = |present: &Committed| present.at < committed.at;
        let takes = !by_log || self.offsets.get(partition).is_none_or(older);
        if takes {
            self.offsets.insert(partition.clone(), committed);
        }
        takes
    }
}

/// When an offset expires whatever its group does. Before KIP-211 every offset had such a time.
fn expire_timestamp(step: &Step<'_, '_>, retention: Option<Span>) -> Option<i64> {
    let retention = match retention {
        None if step.has(Fix::ExpireOnlyWhenEmpty) => return None,
        None => step.office.settings.retention,
        Some(retention) => retention,
    };
    let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    Some(step.wall_ms().saturating_add(millis))
}

/// Kafka counts UTF-16 units, of which there are no more than bytes.
pub(super) fn is_too_long(metadata: &str, limit: usize) -> bool {
    metadata.len() > limit && metadata.encode_utf16().count() > limit
}

impl StoredCommit {
    /// The record is committed, or failed.
    pub(super) fn finish(
        self,
        step: &mut Step<'_, '_>,
        groups: &mut BTreeMap<GroupId, Group>,
        result: Result<Offset, ErrorCode>,
    ) {
        let group = groups
            .get_mut(&self.group)
            .filter(|group| group.incarnation == self.incarnation);
        let by_log = step.has(Fix::MaterializeByOffset);
        match (result, group) {
            (Ok(at), Some(group)) => {
                for (partition, stored) in &self.offsets {
                    let stored = stored.clone();
                    group.materialize(partition, Committed { at, stored }, by_log);
                }
            }
            (Err(_), Some(group)) => {
                for (partition, stored) in &self.offsets {
                    if group.pending_offsets.get(partition) == Some(stored) {
                        group.pending_offsets.remove(partition);
                    }
                }
            }
            (_, None) => {}
        }
        match result {
            Ok(_) => {
                self.note_stored(step);
                self.answer(step, ErrorCode::None);
            }
            Err(error) => self.answer(step, commit_error(error)),
        }
    }

    fn note_stored(&self, step: &mut Step<'_, '_>) {
        for (partition, stored) in &self.offsets {
            let note = GroupNote::OffsetCommitted {
                partition: partition.clone(),
                offset: stored.offset,
                member: self.member.clone(),
                generation: self.generation,
            };
            step.note(&self.group, note);
        }
    }

    fn answer(self, step: &mut Step<'_, '_>, error: ErrorCode) {
        if error.is_error() {
            let member = self.member;
            step.note(&self.group, GroupNote::CommitRefused { member, error });
        }
        let answers = self.answers.into_iter();
        let partitions = answers
            .map(|(partition, own)| (partition, own.unwrap_or(error)))
            .collect();
        step.respond(self.token, OffsetCommitResponse { partitions });
    }
}

/// What a committer is told when the append failed (`GroupMetadataManager.storeOffsets`).
pub(super) fn commit_error(error: ErrorCode) -> ErrorCode {
    if is_too_large(error) {
        ErrorCode::InvalidCommitOffsetSize
    } else {
        coordinator_error(error)
    }
}
