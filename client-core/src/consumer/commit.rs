//! Committing offsets (`ConsumerCoordinator`: `commitOffsetsSync`, `commitOffsetsAsync`, `maybeAutoCommitOffsetsAsync`).
//!
//! A synchronous commit is tried again until its time is over; an asynchronous one is told its first result. Auto commits
//! happen inside `poll` only, before a rebalance and on close, and commit what the last `poll` handed over. (Before
//! KAFKA-2942 was fixed the timer could also fire while `poll` was about to return, and commit what nobody had seen.)

use super::Consumer;
use super::membership::MemberState;
use super::{Ask, poll::Moment};
use crate::network::Outgoing;
use protocol::api::group::{CommittedOffset, OffsetCommitRequest, OffsetCommitResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{GenerationId, MemberId, TopicPartition};
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{Certainty, ClientError, Failure, OffsetAndMetadata, OperationId, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names a commit within its consumer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct CommitId(u64);

/// How often a commit is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effort {
    /// Until then.
    Sync(Mono),
    /// Once.
    Async,
    /// Once, and another one soon where that fails for a passing reason.
    Auto,
}

/// A commit under way.
#[derive(Clone, Debug)]
struct Commit {
    operation: OperationId,
    offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    effort: Effort,
    /// When it may be sent; none while it is.
    ready_at: Option<Mono>,
    /// An earlier try may have worked.
    uncertain: bool,
    /// The generation it was sent under.
    generation: GenerationId,
}

/// The commits of a consumer, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    open: BTreeMap<CommitId, Commit>,
    next: u64,
}

impl Commits {
    pub(super) fn is_over(&self, id: CommitId) -> bool {
        !self.open.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.open
            .values()
            .flat_map(|commit| {
                let until = match commit.effort {
                    Effort::Sync(until) => Some(until),
                    Effort::Async | Effort::Auto => None,
                };
                [commit.ready_at, until]
            })
            .flatten()
            .min()
    }
}

impl Consumer {
    fn begin_commit(
        &mut self,
        operation: OperationId,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        effort: Effort,
    ) -> CommitId {
        let id = CommitId(self.commits.next);
        self.commits.next += 1;
        let commit = Commit {
            operation,
            offsets,
            effort,
            ready_at: Some(Mono(0)),
            uncertain: false,
            generation: GenerationId(-1),
        };
        self.commits.open.insert(id, commit);
        id
    }

    /// `commitSync` and `commitAsync` of the application.
    pub(super) fn commit(
        &mut self,
        moment: Moment,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        waits: bool,
        io: &mut Io<'_>,
    ) {
        let operation = moment.operation;
        let offsets = if offsets.is_empty() {
            self.subscription.all_consumed()
        } else {
            offsets
        };
        let result = if self.group.is_none() {
            Err(Failure::fail(ClientError::Broker(
                ErrorCode::InvalidGroupId,
            )))
        } else {
            Ok(())
        };
        if result.is_err() || offsets.is_empty() {
            io.outcome(operation, Outcome::Committed { offsets, result });
            return;
        }
        let effort = if waits {
            Effort::Sync(moment.now + self.config.default_api_timeout_ms)
        } else {
            Effort::Async
        };
        self.begin_commit(operation, offsets, effort);
        self.send_commits(moment.now, io);
    }

    /// The commit before partitions are given up or the consumer closes.
    pub(super) fn auto_commit_sync(&mut self, now: Mono, until: Mono) -> Option<CommitId> {
        if !self.config.enable_auto_commit || self.group.is_none() {
            return None;
        }
        self.next_auto_commit = now + self.config.auto_commit_interval_ms;
        let offsets = self.subscription.all_consumed();
        (!offsets.is_empty())
            .then(|| self.begin_commit(self.poll_operation(), offsets, Effort::Sync(until)))
    }

    /// The commit whenever the interval has passed.
    pub(super) fn maybe_auto_commit(&mut self, now: Mono, io: &mut Io<'_>) {
        if !self.config.enable_auto_commit || self.group.is_none() || now < self.next_auto_commit {
            return;
        }
        self.next_auto_commit = now + self.config.auto_commit_interval_ms;
        let offsets = self.subscription.all_consumed();
        if !offsets.is_empty() {
            self.begin_commit(self.poll_operation(), offsets, Effort::Auto);
            self.send_commits(now, io);
        }
    }

    /// Without the fix of KAFKA-2942 the timer is looked at only while `poll` waits, or after it has taken the records out
    /// and before it hands them over.
    pub(super) fn auto_commit_late(&mut self, now: Mono, io: &mut Io<'_>) {
        if !self.behaviour.has(Fix::QuickPoll) {
            self.maybe_auto_commit(now, io);
        }
    }

    /// Sends what waits and may go.
    pub(super) fn send_commits(&mut self, now: Mono, io: &mut Io<'_>) {
        self.time_out_commits(now, io);
        let ready: Vec<CommitId> = self
            .commits
            .open
            .iter()
            .filter(|(_, commit)| commit.ready_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            let Some(peer) = self.coordinator(now, io) else {
                return;
            };
            let identity = match self.commit_identity() {
                Ok(identity) => identity,
                Err(error) => {
                    self.end_commit(id, Some(Failure::fail(error)), io);
                    continue;
                }
            };
            let Some(commit) = self.commits.open.get_mut(&id) else {
                continue;
            };
            let Some(group) = self.group.clone() else {
                continue;
            };
            commit.ready_at = None;
            commit.generation = identity.0;
            let offsets = commit
                .offsets
                .iter()
                .map(|(partition, offset)| CommittedOffset {
                    partition: partition.clone(),
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: Arc::from(offset.metadata.as_str()),
                });
            let body = OffsetCommitRequest {
                group_id: group,
                generation_id: identity.0,
                member_id: identity.1,
                group_instance_id: self.config.group_instance_id.as_deref().map(Arc::from),
                retention: None,
                offsets: offsets.collect(),
            };
            let outgoing = Outgoing::new(body, Ask::Commit(id));
            self.network.submit(now, peer, outgoing, io);
        }
    }

    /// Under which generation and member id is committed; none while the group has not admitted this member.
    fn commit_identity(&self) -> Result<(GenerationId, MemberId), ClientError> {
        if !self.subscription.is_by_group() {
            return Ok((GenerationId(-1), MemberId::from("")));
        }
        match self.membership.state {
            MemberState::Stable => {
                let generation = &self.membership.generation;
                Ok((generation.id, generation.member.clone()))
            }
            MemberState::PreparingRebalance | MemberState::CompletingRebalance => {
                Err(ClientError::Broker(ErrorCode::RebalanceInProgress))
            }
            MemberState::Unjoined => Err(ClientError::CommitFailed),
        }
    }

    fn time_out_commits(&mut self, now: Mono, io: &mut Io<'_>) {
        let late: Vec<(CommitId, bool)> = self
            .commits
            .open
            .iter()
            .filter(|(_, commit)| matches!(commit.effort, Effort::Sync(until) if until <= now))
            .map(|(id, commit)| (*id, commit.ready_at.is_none()))
            .collect();
        for (id, in_flight) in late {
            let certainty = if in_flight {
                Certainty::Info
            } else {
                Certainty::Fail
            };
            let error = ClientError::Timeout("default.api.timeout.ms");
            self.end_commit(id, Some(Failure { certainty, error }), io);
        }
    }

    /// There is no coordinator to be found: asynchronous commits do not wait for one.
    pub(super) fn fail_waiting_async_commits(&mut self) {
        self.failed_commits = true;
    }

    /// Tells those commits.
    pub(super) fn tell_failed_commits(&mut self, io: &mut Io<'_>) {
        if !std::mem::take(&mut self.failed_commits) {
            return;
        }
        let waiting: Vec<CommitId> = self
            .commits
            .open
            .iter()
            .filter(|(_, commit)| {
                !matches!(commit.effort, Effort::Sync(_)) && commit.ready_at.is_some()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let error = ClientError::Broker(ErrorCode::CoordinatorNotAvailable);
            self.end_commit(id, Some(Failure::fail(error)), io);
        }
    }

    /// Ends a commit and tells the application; without a failure it succeeded.
    fn end_commit(&mut self, id: CommitId, failure: Option<Failure>, io: &mut Io<'_>) {
        let Some(commit) = self.commits.open.remove(&id) else {
            return;
        };
        let result = match failure {
            None => Ok(()),
            Some(failure) if commit.uncertain => Err(Failure::info(failure.error)),
            Some(failure) => Err(failure),
        };
        let offsets = commit.offsets;
        io.outcome(commit.operation, Outcome::Committed { offsets, result });
    }

    /// The answer to a commit (`OffsetCommitResponseHandler`).
    pub(super) fn committed(
        &mut self,
        now: Mono,
        id: CommitId,
        answer: &OffsetCommitResponse,
        io: &mut Io<'_>,
    ) {
        let Some(of) = self.commits.open.get(&id).map(|commit| commit.generation) else {
            return;
        };
        let error = answer
            .partitions
            .iter()
            .map(|(_, error)| *error)
            .find(|error| error.is_error());
        let Some(error) = error else {
            self.end_commit(id, None, io);
            return;
        };
        let certainty = if error.is_definite() {
            Certainty::Fail
        } else {
            Certainty::Info
        };
        let is_current = self.membership.generation.id == of;
        let failure = |error| Failure { certainty, error };
        if matches!(
            error,
            ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::RequestTimedOut
        ) {
            self.coordinator_unknown();
            self.retry_commit(now, id, failure(ClientError::Broker(error)), io);
        } else if matches!(
            error,
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::UnknownTopicOrPartition
        ) {
            self.retry_commit(now, id, failure(ClientError::Broker(error)), io);
        } else if matches!(
            error,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration
        ) {
            if is_current && self.subscription.is_by_group() {
                self.membership.reset_generation();
            }
            self.end_commit(id, Some(failure(ClientError::CommitFailed)), io);
        } else {
            if error == ErrorCode::RebalanceInProgress && is_current {
                self.membership.rejoin_needed = true;
            }
            self.end_commit(id, Some(failure(ClientError::Broker(error))), io);
        }
    }

    /// A commit got no answer.
    pub(super) fn commit_lost(&mut self, now: Mono, id: CommitId, sent: bool, io: &mut Io<'_>) {
        self.coordinator_unknown();
        let error = ClientError::Disconnected;
        let failure = if sent {
            Failure::info(error)
        } else {
            Failure::fail(error)
        };
        self.retry_commit(now, id, failure, io);
    }

    fn retry_commit(&mut self, now: Mono, id: CommitId, failure: Failure, io: &mut Io<'_>) {
        let rest = self.config.retry_backoff_ms;
        let Some(commit) = self.commits.open.get_mut(&id) else {
            return;
        };
        commit.uncertain |= failure.certainty == Certainty::Info;
        match commit.effort {
            Effort::Sync(_) => commit.ready_at = Some(now + rest),
            Effort::Auto => {
                self.next_auto_commit = self.next_auto_commit.min(now + rest);
                self.end_commit(id, Some(failure), io);
            }
            Effort::Async => self.end_commit(id, Some(failure), io),
        }
    }

    /// Gives up every commit: the consumer closes.
    pub(super) fn drop_commits(&mut self, io: &mut Io<'_>) {
        let all: Vec<(CommitId, bool)> = self
            .commits
            .open
            .iter()
            .map(|(id, commit)| (*id, commit.ready_at.is_none()))
            .collect();
        for (id, in_flight) in all {
            let certainty = if in_flight {
                Certainty::Info
            } else {
                Certainty::Fail
            };
            let error = ClientError::Closed;
            self.end_commit(id, Some(Failure { certainty, error }), io);
        }
    }
}
