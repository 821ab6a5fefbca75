//! The producer's I/O thread (`Sender`): what goes when, and what an answer means.
//!
//! An answer that leaves open whether the batch was appended makes the batch *uncertain* for good: whatever comes later,
//! the application is told *ok* or *info*, never *fail*.

use super::Producer;
use super::accumulator::{Drain, Ready};
use super::batch::{BatchId, ProducerBatch};
use super::idempotence::{Identity, Settled};
use super::transactions::TxnRequest;
use super::turn::{Turn, reason};
use crate::network::{Event, Outgoing, Peer};
use protocol::api::data::{Acks, PartitionProduceResponse, ProduceRequest};
use protocol::api::{InitProducerIdRequest, InitProducerIdResponse, ResponseBody};
use protocol::behaviour::Era;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Offset};
use protocol::machine::Io;
use protocol::note::{ClientNote, Note};
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, RecordMetadata};

/// What a request of the producer is for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Produce(Vec<BatchId>),
    InitProducerId,
    Transaction(Box<TxnRequest>),
}

/// What one answer says of one batch.
#[derive(Clone, Copy)]
struct Verdict {
    error: ErrorCode,
    base_offset: Option<Offset>,
    log_append_time: Option<i64>,
    log_start: Option<Offset>,
}

impl Verdict {
    const fn of(error: ErrorCode) -> Self {
        Self {
            error,
            base_offset: None,
            log_append_time: None,
            log_start: None,
        }
    }
}

impl From<&PartitionProduceResponse> for Verdict {
    fn from(answer: &PartitionProduceResponse) -> Self {
        Self {
            error: answer.error,
            base_offset: answer.base_offset,
            log_append_time: answer.log_append_time,
            log_start: answer.log_start_offset,
        }
    }
}

impl Producer {
    /// Runs until nothing more can be done now; says when to look again.
    pub(super) fn run(&mut self, now: Mono, io: &mut Io<'_>) -> Option<Mono> {
        loop {
            while let Some(event) = self.network.next_event() {
                self.event(now, event, io);
            }
            self.expire(now, io);
            self.accept_waiting(now, io);
            self.make_calls(now, io);
            let ask_at = self.settle(now, io);
            let next_check = match self.transact(now, io) {
                Turn::Again => continue,
                Turn::Taken(until) => until,
                Turn::Free => {
                    let (sent, next_check) = self.send_batches(now, io);
                    if sent {
                        continue;
                    }
                    next_check
                }
            };
            self.network.tick(now, io);
            self.answer_flushes(io);
            self.answer_calls(now, io);
            self.maybe_finish_close(now, io);
            if !self.network.has_events() && !self.has_turn() {
                return next_check.into_iter().chain(ask_at).min();
            }
        }
    }

    /// `sendProducerData`: whether something was sent, and when to look again.
    fn send_batches(&mut self, now: Mono, io: &mut Io<'_>) -> (bool, Option<Mono>) {
        let mut ready = self
            .accumulator
            .ready(now, self.is_hurried(), &self.network.metadata);
        for topic in std::mem::take(&mut ready.leaderless) {
            self.network.metadata.want(&topic, now);
            self.network.metadata.request_update();
        }
        let sent = self.send_ready(now, &mut ready, io);
        (sent, ready.next_check)
    }

    fn event(&mut self, now: Mono, event: Event<Ask>, io: &mut Io<'_>) {
        match event {
            Event::Answered { tag, body } => match (tag, body) {
                (Ask::Produce(ids), ResponseBody::Produce(answer)) => {
                    for id in ids {
                        let batch = self.accumulator.batches.get(&id);
                        let part = batch.and_then(|batch| {
                            answer
                                .partitions
                                .iter()
                                .find(|part| part.partition == batch.partition)
                        });
                        let verdict =
                            part.map_or(Verdict::of(ErrorCode::UnknownServerError), Verdict::from);
                        self.landed(now, id, verdict, io);
                    }
                }
                (Ask::Produce(ids), _) => {
                    self.all_landed(now, ids, ErrorCode::UnknownServerError, io);
                }
                (Ask::InitProducerId, ResponseBody::InitProducerId(answer)) => {
                    self.identified(now, &answer, io);
                }
                (Ask::InitProducerId, _) => self.ask_again(now),
                (Ask::Transaction(request), body) => {
                    self.transaction_answered(*request, &body, io);
                }
            },
            Event::Written(Ask::Produce(ids)) => self.all_landed(now, ids, ErrorCode::None, io),
            Event::Lost {
                tag: Ask::Produce(ids),
                ..
            } => self.all_landed(now, ids, ErrorCode::NetworkException, io),
            Event::Lost {
                tag: Ask::InitProducerId,
                ..
            } => self.ask_again(now),
            Event::Lost {
                tag: Ask::Transaction(request),
                sent,
            } => self.transaction_lost(*request, sent),
            Event::Metadata => self.metadata_changed(),
            Event::Written(Ask::InitProducerId | Ask::Transaction(_))
            | Event::Ready
            | Event::Down(_) => {}
        }
    }

    fn metadata_changed(&mut self) {
        let metadata = &self.network.metadata;
        if let Some(idempotence) = &mut self.idempotence {
            idempotence.forget_topics(|partition| {
                metadata.topic_error(&partition.topic) == Some(ErrorCode::UnknownTopicOrPartition)
            });
        }
    }

    fn ask_again(&mut self, now: Mono) {
        if let Some(idempotence) = &mut self.idempotence {
            idempotence.rest_until(now + self.config.retry_backoff_ms);
        }
    }

    fn identified(&mut self, now: Mono, answer: &InitProducerIdResponse, io: &mut Io<'_>) {
        let Some(idempotence) = &mut self.idempotence else {
            return;
        };
        if answer.error.is_none() {
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            idempotence.identified(Identity { id, epoch }, &mut self.accumulator.batches);
            io.note(Note::Client(ClientNote::ProducerId(id, epoch)));
        } else if answer.error.is_retriable() || answer.error == ErrorCode::ConcurrentTransactions {
            self.ask_again(now);
        } else {
            idempotence.fail(answer.error);
        }
    }

    /// The idempotent side's duties before anything is sent; says when to look again.
    fn settle(&mut self, now: Mono, io: &mut Io<'_>) -> Option<Mono> {
        let idempotence = self.idempotence.as_mut()?;
        let before = idempotence.identity();
        let settled = idempotence.settle(&mut self.accumulator.batches);
        if let Some(transactions) = &mut self.transactions {
            match settled {
                Settled::Fine => {}
                Settled::Lost => transactions.sequence_unresolved(),
                Settled::WantsEpoch => transactions.raise_epoch(before),
            }
        }
        let after = idempotence.identity();
        if let Some(identity) = after.filter(|_| after != before) {
            io.note(Note::Client(ClientNote::ProducerId(
                identity.id,
                identity.epoch,
            )));
        }
        if let Some(error) = idempotence.fatal() {
            self.abort_all(&ClientError::Broker(error), io);
            return None;
        }
        let at = idempotence.ask_at()?;
        if at > now {
            Some(at)
        } else {
            self.ask_for_id(now, io)
        }
    }

    fn ask_for_id(&mut self, now: Mono, io: &mut Io<'_>) -> Option<Mono> {
        let Some(peer) = self.network.least_loaded(now) else {
            return Some(self.network.rest_over_at(now));
        };
        if !self.network.is_ready(now, peer, io) {
            return None;
        }
        if let Some(idempotence) = &mut self.idempotence {
            idempotence.asked();
        }
        let body = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            current: None,
        };
        let outgoing = Outgoing::new(body, Ask::InitProducerId);
        self.network.send(now, peer, outgoing, io);
        None
    }

    /// Gives up the batches whose time is over.
    fn expire(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.accumulator.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        let (waiting, in_flight) = self.accumulator.expired(now);
        for mut batch in waiting {
            self.time_out(&mut batch, io);
        }
        for id in in_flight {
            if let Some(mut batch) = self.accumulator.batches.remove(&id) {
                batch.uncertain = true;
                self.time_out(&mut batch, io);
                // The answer may still come, and settles the sequence if not the outcome.
                self.accumulator.batches.insert(id, batch);
            }
        }
    }

    fn time_out(&mut self, batch: &mut ProducerBatch, io: &mut Io<'_>) {
        if let Some(idempotence) = &mut self.idempotence {
            idempotence.remove(batch);
            if batch.attempts > 0 {
                idempotence.left_open(batch);
            }
        }
        let error = ClientError::Timeout("delivery.timeout.ms");
        self.spoils_transaction(&error);
        self.fail(batch, &error, io);
    }

    fn send_ready(&mut self, now: Mono, ready: &mut Ready, io: &mut Io<'_>) -> bool {
        let mut sent = false;
        for node in std::mem::take(&mut ready.nodes) {
            let peer = Peer::Broker(node);
            if !self.network.is_ready(now, peer, io) {
                if let Some(at) = self.network.may_connect_at(peer) {
                    ready.next_check = Some(ready.next_check.map_or(at, |check| check.min(at)));
                }
                continue;
            }
            sent |= self.send_to(now, node, io);
        }
        sent
    }

    fn send_to(&mut self, now: Mono, node: BrokerId, io: &mut Io<'_>) -> bool {
        let by = Drain {
            metadata: &self.network.metadata,
            idempotence: self.idempotence.as_mut(),
            transactions: self.transactions.as_ref(),
        };
        let batches = self.accumulator.drain(now, node, by);
        if batches.is_empty() {
            return false;
        }
        let mut ids = Vec::with_capacity(batches.len());
        let mut partitions = Vec::with_capacity(batches.len());
        for (id, bytes) in batches {
            if let Some(batch) = self.accumulator.batches.get(&id) {
                ids.push(id);
                partitions.push((batch.partition.clone(), bytes));
            }
        }
        let transactions = self.transactions.as_ref();
        let body = ProduceRequest {
            transactional_id: transactions.map(|transactions| transactions.id().clone()),
            acks: self.config.acks,
            timeout: self.config.request_timeout_ms,
            partitions,
        };
        let answered = self.config.acks != Acks::None;
        let outgoing = Outgoing {
            answered,
            ..Outgoing::new(body, Ask::Produce(ids))
        };
        self.network.send(now, Peer::Broker(node), outgoing, io);
        true
    }

    fn all_landed(&mut self, now: Mono, ids: Vec<BatchId>, error: ErrorCode, io: &mut Io<'_>) {
        for id in ids {
            self.landed(now, id, Verdict::of(error), io);
        }
    }

    /// A request with this batch is over (`completeBatch`).
    fn landed(&mut self, now: Mono, id: BatchId, verdict: Verdict, io: &mut Io<'_>) {
        let Some(mut batch) = self.accumulator.landed(id) else {
            return;
        };
        let partition = batch.partition.clone();
        let error = verdict.error;
        if error.is_error() && !self.is_definite(error) {
            batch.uncertain = true;
        }
        let splits = self.behaviour.era >= Era::V1_0 && batch.record_count() > 1 && !batch.decided;
        if error == ErrorCode::MessageTooLarge && splits {
            if let Some(idempotence) = &mut self.idempotence {
                idempotence.remove(&batch);
            }
            self.accumulator.put_parts(batch, self.idempotence.as_mut());
        } else if matches!(error, ErrorCode::None | ErrorCode::DuplicateSequenceNumber) {
            self.complete(&mut batch, verdict, io);
        } else if self.can_retry(now, &batch, verdict) {
            io.note(Note::Client(ClientNote::Retry {
                partition: partition.clone(),
                error,
                attempts: batch.attempts + 1,
            }));
            self.accumulator.put_back(id, batch, now);
        } else {
            let adjust = self.retries_left(&batch);
            let reason = reason(error);
            let is_over = !batch.decided && self.spoils_transaction(&reason);
            if let Some(idempotence) = &mut self.idempotence {
                if is_over {
                    idempotence.remove(&batch);
                } else {
                    idempotence.failed(&batch, error, adjust, &mut self.accumulator.batches);
                }
            }
            self.fail(&mut batch, &reason, io);
        }
        if error.invalidates_metadata() {
            self.network.metadata.request_update();
        }
        self.accumulator.unmute(&partition);
    }

    /// Whether a produce answered so was certainly not appended. A leader that does not wait for replicas says that it
    /// is none before it appends.
    fn is_definite(&self, error: ErrorCode) -> bool {
        error.is_definite()
            || self.config.acks != Acks::All
                && matches!(
                    error,
                    ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition
                )
    }

    fn retries_left(&self, batch: &ProducerBatch) -> bool {
        u32::try_from(self.config.retries).is_ok_and(|retries| batch.attempts < retries)
    }

    fn can_retry(&mut self, now: Mono, batch: &ProducerBatch, verdict: Verdict) -> bool {
        if batch.decided
            || now.since(batch.created) >= self.config.delivery_timeout_ms
            || !self.retries_left(batch)
        {
            return false;
        }
        match &mut self.idempotence {
            Some(idempotence) => idempotence.can_retry(batch, verdict.error, verdict.log_start),
            None => verdict.error.is_retriable(),
        }
    }

    fn complete(&mut self, batch: &mut ProducerBatch, verdict: Verdict, io: &mut Io<'_>) {
        if let Some(idempotence) = &mut self.idempotence {
            idempotence.completed(batch, verdict.base_offset);
        }
        self.accumulator.release(batch);
        if std::mem::replace(&mut batch.decided, true) {
            return;
        }
        for (place, thunk) in (0..).zip(&batch.thunks) {
            let metadata = RecordMetadata {
                partition: batch.partition.clone(),
                offset: verdict.base_offset.map(|base| base.plus(place)),
                timestamp: verdict.log_append_time.unwrap_or(thunk.timestamp),
            };
            self.decide(thunk, Ok(metadata), io);
        }
    }

    pub(super) fn fail(&mut self, batch: &mut ProducerBatch, error: &ClientError, io: &mut Io<'_>) {
        self.accumulator.release(batch);
        if std::mem::replace(&mut batch.decided, true) {
            return;
        }
        for thunk in &batch.thunks {
            let failure = if batch.uncertain {
                Failure::info(error.clone())
            } else {
                Failure::fail(error.clone())
            };
            self.decide(thunk, Err(failure), io);
        }
    }

    /// Gives everything up at once (`forceClose`, `maybeAbortBatches`).
    pub(super) fn abort_all(&mut self, error: &ClientError, io: &mut Io<'_>) {
        for mut batch in self.accumulator.take_all() {
            batch.uncertain |= batch.in_flight;
            self.fail(&mut batch, error, io);
        }
    }
}
