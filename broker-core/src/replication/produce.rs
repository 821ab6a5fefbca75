//! Produce: append, and answer when acks says so (`ReplicaManager.appendRecords`, `DelayedProduce`, `KafkaApis.handleProduceRequest`).
//!
//! acks=1 is answered after the append; acks=all waits until the high watermark has passed the records, the minimum of
//! in-sync replicas being judged before the append and again at the end; acks=0 gets no answer, and an error closes the
//! connection so that the producer looks for the new leader (KAFKA-955). Left out: acks above 1 (0.8), which are refused.

use super::log_upkeep::Waiter;
use super::partition::Slot;
use super::replica_logs::Appended;
use super::transaction_markers::MarkerTicket;
use super::verification::Admission;
use super::{AppendTicket, ReplicaManager, Step};
use crate::log::AppendBy;
use crate::metadata_cache::is_internal;
use protocol::api::data::{Acks, PartitionProduceResponse, ProduceRequest, ProduceResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{ClientId, Offset, TopicPartition};
use protocol::machine::RequestToken;
use protocol::note::ReplicaNote;
use protocol::record::RecordBatch;
use protocol::time::{Mono, Span};

/// Who waits for an append.
#[derive(Clone, Debug)]
pub(super) enum Sink {
    /// A producer.
    Client(RequestToken),
    /// Another part of this broker.
    Internal(AppendTicket),
    /// A transaction coordinator, for one of its markers.
    Marker(MarkerTicket),
}

/// One partition that acks=all still waits for.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Its place among the answers.
    index: usize,
    slot: Slot,
    /// The high watermark that will do.
    required: Offset,
}

/// A produce request that waits for replicas.
#[derive(Clone, Debug)]
pub(super) struct DelayedProduce {
    sink: Sink,
    answers: Vec<PartitionProduceResponse>,
    /// Where each append ended, for those that were made.
    ends: Vec<Option<Offset>>,
    pending: Vec<Pending>,
}

/// What one append did.
pub(super) struct LocalAppend {
    slot: Slot,
    appended: Appended,
    /// The flush it has to wait for.
    flush: Option<u64>,
}

/// A request whose appends are made, and what is left to do when they are flushed.
#[derive(Clone, Debug)]
pub(super) struct Resumed {
    pub(super) operation: DelayedProduce,
    pub(super) acks: Acks,
    pub(super) timeout: Span,
    /// What was appended to.
    touched: Vec<Slot>,
    flushes: Vec<u64>,
}

impl Resumed {
    pub(super) fn new(sink: Sink, acks: Acks, timeout: Span) -> Self {
        Self {
            operation: DelayedProduce {
                sink,
                answers: Vec::new(),
                ends: Vec::new(),
                pending: Vec::new(),
            },
            acks,
            timeout,
            touched: Vec::new(),
            flushes: Vec::new(),
        }
    }

    /// Takes the result of one partition's append and states a refusal. `log_start` is what a refusal tells besides.
    pub(super) fn add_noting(
        &mut self,
        step: &mut Step<'_, '_>,
        (partition, log_start): (TopicPartition, Option<Offset>),
        result: &Result<LocalAppend, ErrorCode>,
    ) {
        match result {
            Err(error) => step.note(&partition, ReplicaNote::AppendRefused { error: *error }),
            Ok(local) => {
                self.touched.push(local.slot);
                self.flushes.extend(local.flush);
            }
        }
        self.operation.add(partition, result, log_start);
    }
}

impl DelayedProduce {
    fn add(
        &mut self,
        partition: TopicPartition,
        result: &Result<LocalAppend, ErrorCode>,
        log_start: Option<Offset>,
    ) {
        let index = self.answers.len();
        let (error, appended) = match result {
            Ok(local) => {
                self.pending.push(Pending {
                    index,
                    slot: local.slot,
                    required: local.appended.next_offset,
                });
                (ErrorCode::None, Some(&local.appended))
            }
            Err(error) => (*error, None),
        };
        self.ends
            .push(appended.map(|appended| appended.next_offset));
        self.answers.push(PartitionProduceResponse {
            partition,
            error,
            base_offset: appended.map(|appended| appended.base_offset),
            log_append_time: appended.and_then(|appended| appended.log_append_time),
            log_start_offset: appended
                .map_or(log_start, |appended| Some(appended.log_start_offset)),
        });
    }

    fn fail(&mut self, index: usize, error: ErrorCode) {
        let answer = &mut self.answers[index];
        answer.error = error;
        answer.base_offset = None;
    }
}

/// Whether the answer tells where the log starts: not when the request itself was at fault (`appendToLocalLog`).
fn tells_log_start(error: ErrorCode) -> bool {
    !matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::CorruptMessage
            | ErrorCode::KafkaStorageError
    )
}

impl ReplicaManager {
    pub(super) fn produce(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        client: &ClientId,
        request: ProduceRequest,
    ) {
        if !self.verify_first(token, client, &request) {
            self.append_all(step, (token, client), request, &Admission::default());
        }
    }

    /// Appends what a producer sent, as far as it is admitted.
    pub(super) fn append_all(
        &mut self,
        step: &mut Step<'_, '_>,
        (token, client): (RequestToken, &ClientId),
        request: ProduceRequest,
        admission: &Admission,
    ) {
        let mut resumed = Resumed::new(Sink::Client(token), request.acks, request.timeout);
        for (partition, batch) in request.partitions {
            let result = self
                .admit(&partition, client, request.acks)
                .and_then(|slot| {
                    self.is_verified(admission, &partition, &batch)?;
                    Ok(slot)
                })
                .and_then(|slot| self.append_local(step, slot, (batch, false), request.acks));
            // Since KAFKA-5793 a producer can tell by it whether its records are lost or deleted.
            let start = match &result {
                Err(error) if tells_log_start(*error) => {
                    self.logs.view(&partition).map(|view| view.start)
                }
                Ok(_) | Err(_) => None,
            };
            resumed.add_noting(step, (partition, start), &result);
        }
        self.after_append(step, resumed);
    }

    /// The appends of a request are made: goes on at once, or when they are flushed.
    pub(super) fn after_append(&mut self, step: &mut Step<'_, '_>, mut resumed: Resumed) {
        let flushes = std::mem::take(&mut resumed.flushes);
        if flushes.is_empty() {
            self.resume(step, resumed);
        } else {
            self.flushes.wait(flushes, Waiter::Append(resumed));
        }
    }

    /// Moves high watermarks, answers or waits, and wakes who waits for records.
    pub(super) fn resume(&mut self, step: &mut Step<'_, '_>, resumed: Resumed) {
        let Resumed {
            operation,
            acks,
            timeout,
            touched,
            ..
        } = resumed;
        let moved: Vec<bool> = touched
            .iter()
            .map(|slot| self.advance_high_watermark(step, *slot))
            .collect();
        match (acks, &operation.sink) {
            (Acks::None, Sink::Client(token)) => {
                let token = *token;
                self.end_unacknowledged(step, token, &operation);
            }
            (Acks::All, _) => self.wait_for_replicas(step, operation, step.now.mono + timeout),
            (Acks::None | Acks::Leader | Acks::Other(_), _) => self.acknowledge(step, operation),
        }
        for (slot, mark_moved) in touched.into_iter().zip(moved) {
            if mark_moved {
                self.wake_produces(step, slot);
            }
            self.wake_fetches(step, slot);
        }
    }

    /// What `KafkaApis` and `ReplicaManager` check before they look at the log.
    pub(super) fn admit(
        &self,
        partition: &TopicPartition,
        client: &ClientId,
        acks: Acks,
    ) -> Result<Slot, ErrorCode> {
        if !self.metadata.contains(partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if matches!(acks, Acks::Other(_)) {
            return Err(ErrorCode::InvalidRequiredAcks);
        }
        if is_internal(&partition.topic) && client.as_str() != "__admin_client" {
            return Err(ErrorCode::InvalidTopicException);
        }
        self.find(partition)
    }

    /// `Partition.appendRecordsToLeader`; the flag tells a coordinator's batch from a producer's.
    pub(super) fn append_local(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        (batch, internal): (RecordBatch, bool),
        acks: Acks,
    ) -> Result<LocalAppend, ErrorCode> {
        let partition = self.online(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let (Some(leadership), Some(epoch)) = (partition.leadership(), partition.leader_epoch)
        else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        if acks == Acks::All
            && leadership.isr.committed().len() < self.logs.min_isr(&partition.name)
        {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        let name = partition.name.clone();
        let by = if internal {
            AppendBy::coordinator(epoch)
        } else {
            AppendBy::client(epoch)
        };
        let appended = self
            .logs
            .append_as_leader(step.now, step.io, &name, (batch, by));
        self.check_disk(step, &name, appended.as_ref().err().copied());
        let appended = appended?;
        let flush = self.flush_after_append(step.io, &name);
        Ok(LocalAppend {
            slot,
            appended,
            flush,
        })
    }

    /// acks=0: silence, or a closed connection.
    fn end_unacknowledged(
        &self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        operation: &DelayedProduce,
    ) {
        let failed = operation
            .answers
            .iter()
            .any(|answer| answer.error.is_error());
        if failed && self.rules.behaviour.has(Fix::CloseOnAcksZeroError) {
            step.requests.close(step.io, token.connection);
        } else {
            step.requests.finish_silently(step.io, token);
        }
    }

    /// acks=all: answers now, or waits (`delayedProduceRequestRequired`, `tryCompleteElseWatch`).
    pub(super) fn wait_for_replicas(
        &mut self,
        step: &mut Step<'_, '_>,
        mut operation: DelayedProduce,
        deadline: Mono,
    ) {
        self.try_produce(&mut operation);
        if operation.pending.is_empty() {
            self.acknowledge(step, operation);
            return;
        }
        let keys = operation
            .pending
            .iter()
            .map(|pending| pending.slot.key())
            .collect();
        self.produces.watch(step.io, operation, keys, deadline);
    }

    /// `DelayedProduce.tryComplete`: decides what can be decided.
    fn try_produce(&self, operation: &mut DelayedProduce) {
        let mut index = 0;
        while let Some(pending) = operation.pending.get(index).copied() {
            let name = &operation.answers[pending.index].partition;
            match self.reached(name, pending) {
                None => index += 1,
                Some(error) => {
                    operation.pending.remove(index);
                    if error.is_error() {
                        operation.fail(pending.index, error);
                    }
                }
            }
        }
    }

    /// `checkEnoughReplicasReachOffset`: `None` while nothing is decided.
    fn reached(&self, name: &TopicPartition, pending: Pending) -> Option<ErrorCode> {
        let slot = match self.find(name) {
            Ok(slot) => slot,
            Err(error) => return Some(error),
        };
        let leadership = self
            .online(slot)
            .and_then(|partition| partition.leadership());
        let Some(leadership) = leadership else {
            return Some(ErrorCode::NotLeaderOrFollower);
        };
        let view = self.logs.view(name)?;
        if view.high_watermark < pending.required {
            return None;
        }
        let enough = leadership.isr.maximal_size(&self.rules.behaviour) >= self.logs.min_isr(name);
        Some(if enough {
            ErrorCode::None
        } else {
            ErrorCode::NotEnoughReplicasAfterAppend
        })
    }

    /// Sends the answers of a request that is decided.
    pub(super) fn acknowledge(&mut self, step: &mut Step<'_, '_>, operation: DelayedProduce) {
        for (answer, end) in operation.answers.iter().zip(&operation.ends) {
            if let (ErrorCode::None, Some(up_to)) = (answer.error, *end) {
                step.note(&answer.partition, ReplicaNote::Acknowledged { up_to });
            }
        }
        match operation.sink {
            Sink::Client(token) => {
                let response = ProduceResponse {
                    partitions: operation.answers,
                };
                step.requests.respond(step.io, token, response);
            }
            Sink::Marker(ticket) => self.on_marker_decided(step, ticket, operation.answers),
            Sink::Internal(ticket) => {
                for answer in operation.answers {
                    let result = match (answer.error, answer.base_offset) {
                        (ErrorCode::None, Some(base)) => Ok(base),
                        (ErrorCode::None, None) => Err(ErrorCode::UnknownServerError),
                        (error, _) => Err(error),
                    };
                    self.finished_appends.push((ticket, result));
                }
            }
        }
    }

    /// Looks at the produce requests that wait for a partition.
    pub(super) fn wake_produces(&mut self, step: &mut Step<'_, '_>, slot: Slot) {
        let mut index = 0;
        while let Some(id) = self.produces.watcher(slot.key(), index) {
            let Some(operation) = self.produces.get(id) else {
                index += 1;
                continue;
            };
            // Only what waits for this partition can have changed by this event; most often it waits for nothing else.
            let mut decided = Vec::new();
            for pending in operation.pending.iter().filter(|one| one.slot == slot) {
                let name = &operation.answers[pending.index].partition;
                if let Some(error) = self.reached(name, *pending) {
                    decided.push((pending.index, error));
                }
            }
            let Some(operation) = self.produces.get_mut(id) else {
                continue;
            };
            for (place, error) in decided {
                operation.pending.retain(|pending| pending.index != place);
                if error.is_error() {
                    operation.fail(place, error);
                }
            }
            if operation.pending.is_empty() {
                if let Some(operation) = self.produces.remove(id) {
                    self.acknowledge(step, operation);
                }
            } else {
                index += 1;
            }
        }
    }

    /// The produce purgatory's timer rang: whatever is still undecided has timed out.
    pub(super) fn expire_produces(&mut self, step: &mut Step<'_, '_>) {
        while let Some(mut operation) = self.produces.pop_expired(step.now.mono, step.io) {
            for pending in std::mem::take(&mut operation.pending) {
                operation.fail(pending.index, ErrorCode::RequestTimedOut);
            }
            self.acknowledge(step, operation);
        }
    }
}
