//! The producer (`KafkaProducer`, and with [`sender`] its I/O thread).
//!
//! A `send` that finds no metadata or no memory waits here for up to `max.block.ms`, as the calling thread does in Java;
//! the application may go on calling, as other threads do, and sends keep the order of their calls. Outcomes are honest:
//! *fail* only where no attempt can have been appended, *info* where one may have been.
//!
//! Transactional calls block their thread too, for up to `max.block.ms`; a call that comes while a `send` waits is made
//! when that has returned, because in Java it could not come before.
//!
//! Left out: the Scala producer of 0.8, compression (it changes no history), interceptors.

mod accumulator;
mod batch;
mod idempotence;
mod partitioner;
mod sender;
mod transactions;
mod turn;

use crate::alarm::Alarm;
use crate::metadata::{Metadata, count_known};
use crate::network::{LinkConfig, Network, NetworkSetup};
use crate::versions::Versions;
use accumulator::{Accumulator, Rules};
use batch::{NewRecord, Thunk};
use idempotence::Idempotence;
use partitioner::Partitioning;
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::ProducerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{ClientId, Endpoint, TopicPartition};
use protocol::machine::{Input, Io, Machine};
use protocol::record::estimate_batch_size_upper_bound;
use protocol::time::{Mono, Now, Span};
use protocol::verb::{ClientError, Failure, OperationId, Outcome, ProducerRecord, Verb};
use sender::Ask;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use transactions::Transactions;
use turn::{Caller, Hands};

/// A `send` whose thread would be blocked.
#[derive(Clone, Debug)]
struct Waiting {
    thunk: Thunk,
    record: Box<ProducerRecord>,
    until: Mono,
}

/// What became of the attempt to accept a record.
enum Tried {
    Accepted,
    Refused(ClientError),
    NoMetadata,
    NoMemory,
}

/// A close under way.
#[derive(Clone, Copy, Debug)]
struct Closing {
    operation: Option<OperationId>,
    until: Mono,
    /// The process ends with it.
    exits: bool,
}

/// `KafkaProducer`.
#[derive(Clone, Debug)]
pub struct Producer {
    config: Arc<ProducerConfig>,
    behaviour: Behaviour,
    network: Network<Ask>,
    accumulator: Accumulator,
    partitioning: Partitioning,
    idempotence: Option<Idempotence>,
    transactions: Option<Transactions>,
    hands: Hands,
    /// Transactional calls that were not made yet, and those that wait for their results.
    calls: VecDeque<(OperationId, Verb)>,
    callers: Vec<Caller>,
    waiting: VecDeque<Waiting>,
    /// The head of `waiting` wants memory rather than metadata.
    wants_memory: bool,
    /// Numbers of records whose fate is open.
    undecided: BTreeSet<u64>,
    next_ordinal: u64,
    /// Each flush with the number of the first record it does not wait for.
    flushes: VecDeque<(OperationId, u64)>,
    closing: Option<Closing>,
    closed: bool,
    alarm: Alarm,
}

impl Producer {
    /// A producer that will look for its cluster at `bootstrap`. `config` is a finished one; `seed` decides the jitter of
    /// its backoffs and the partitions it chooses freely.
    pub fn new(
        config: Arc<ProducerConfig>,
        bootstrap: Vec<Endpoint>,
        behaviour: Behaviour,
        client_id: ClientId,
        seed: u64,
    ) -> Self {
        let max_in_flight = config.max_in_flight_requests_per_connection;
        // The producer of 0.8.2 waited for an answer as long as its connection stood (KIP-19 came with 0.9).
        let patience = if behaviour.era >= Era::V0_9 {
            config.request_timeout_ms
        } else {
            Span::MAX
        };
        let network = Network::new(NetworkSetup {
            link: LinkConfig {
                reconnect_backoff: config.reconnect_backoff_ms,
                reconnect_backoff_max: config.reconnect_backoff_max_ms,
                setup_timeout: config.socket_connection_setup_timeout_ms,
                setup_timeout_max: config.socket_connection_setup_timeout_max_ms,
                max_idle: config.connections_max_idle_ms,
                request_timeout: patience,
                max_in_flight: usize::try_from(max_in_flight).unwrap_or(1),
            },
            client_id,
            versions: Versions::new(behaviour),
            seed,
            bootstrap,
            metadata: Metadata::new(
                behaviour,
                (config.retry_backoff_ms, config.metadata_max_age_ms),
                Some(config.metadata_max_idle_ms),
            ),
            auto_create: true,
        });
        let rules = Rules {
            batch_size: usize::try_from(config.batch_size).unwrap_or(0),
            linger: config.linger_ms,
            retry_backoff: config.retry_backoff_ms,
            delivery_timeout: config.delivery_timeout_ms,
            request_timeout: patience,
            max_request_size: usize::try_from(config.max_request_size).unwrap_or(0),
            mutes: max_in_flight == 1 && behaviour.has(Fix::MutePartition),
            transactional: config.transactional_id.is_some(),
        };
        let memory = u64::try_from(config.buffer_memory).unwrap_or(0);
        Self {
            accumulator: Accumulator::new(rules, memory),
            partitioning: Partitioning::new(config.partitioner_class, behaviour.era, seed),
            idempotence: config
                .enable_idempotence
                .then(|| Idempotence::new(behaviour, config.transactional_id.is_some())),
            transactions: config.transactional_id.as_deref().map(|id| {
                let timeout = config.transaction_timeout_ms;
                Transactions::new(id, timeout, config.retry_backoff_ms, behaviour)
            }),
            hands: Hands::Free,
            calls: VecDeque::new(),
            callers: Vec::new(),
            config,
            behaviour,
            network,
            waiting: VecDeque::new(),
            wants_memory: false,
            undecided: BTreeSet::new(),
            next_ordinal: 0,
            flushes: VecDeque::new(),
            closing: None,
            closed: false,
            alarm: Alarm::default(),
        }
    }

    fn verb(&mut self, now: Now, operation: OperationId, verb: Verb, io: &mut Io<'_>) {
        let is_over = self.closed || self.closing.is_some();
        match verb {
            Verb::Send(_) if is_over => {
                let error = ClientError::IllegalState("the producer is closed");
                io.outcome(operation, Outcome::Sent(Err(Failure::fail(error))));
            }
            Verb::Send(record) => self.send(now, operation, record, io),
            Verb::Flush => self.flushes.push_back((operation, self.next_ordinal)),
            Verb::Close(_) if is_over => io.outcome(operation, Outcome::Done(Ok(()))),
            Verb::Close(timeout) => self.close(now.mono, Some(operation), timeout, io),
            Verb::InitTransactions
            | Verb::BeginTransaction
            | Verb::SendOffsetsToTransaction(..)
            | Verb::CommitTransaction
            | Verb::AbortTransaction
                if is_over =>
            {
                let error = ClientError::IllegalState("the producer is closed");
                io.outcome(operation, Outcome::Done(Err(Failure::fail(error))));
            }
            Verb::InitTransactions
            | Verb::BeginTransaction
            | Verb::SendOffsetsToTransaction(..)
            | Verb::CommitTransaction
            | Verb::AbortTransaction => self.calls.push_back((operation, verb)),
            Verb::Subscribe(_)
            | Verb::SubscribePattern(_)
            | Verb::Assign(_)
            | Verb::Unsubscribe
            | Verb::Seek(..)
            | Verb::SeekToBeginning(_)
            | Verb::SeekToEnd(_)
            | Verb::Pause(_)
            | Verb::Resume(_)
            | Verb::Poll(_)
            | Verb::ListenerReturned
            | Verb::CommitSync(_)
            | Verb::CommitAsync(_)
            | Verb::Committed(_)
            | Verb::EndOffsets(_)
            | Verb::BeginningOffsets(_)
            | Verb::CreateTopics(_)
            | Verb::DeleteTopics(_)
            | Verb::CreatePartitions(..)
            | Verb::AlterConfigs(..)
            | Verb::DeleteRecords(_)
            | Verb::Reassign(_)
            | Verb::ListReassignments
            | Verb::ElectLeaders { .. }
            | Verb::DescribeTopics(_)
            | Verb::GroupMetadata
            | Verb::Position(_)
            | Verb::DescribeGroup(_)
            | Verb::CreateStreams(_)
            | Verb::CreateStreamsByFilter(..)
            | Verb::NextMessage(_)
            | Verb::ExpireSession(_) => {
                let error = ClientError::IllegalState("a producer cannot do this");
                io.outcome(operation, Outcome::Done(Err(Failure::fail(error))));
            }
        }
    }

    fn send(
        &mut self,
        now: Now,
        operation: OperationId,
        record: Box<ProducerRecord>,
        io: &mut Io<'_>,
    ) {
        let thunk = Thunk {
            operation,
            ordinal: self.next_ordinal,
            timestamp: record.timestamp.unwrap_or(now.wall.millis()),
        };
        self.next_ordinal += 1;
        self.undecided.insert(thunk.ordinal);
        self.waiting.push_back(Waiting {
            thunk,
            record,
            until: now.mono + self.config.max_block_ms,
        });
        if self.waiting.len() == 1 {
            self.accept_waiting(now.mono, io);
        }
    }

    /// Accepts the sends that wait, in order, until one has to go on waiting.
    fn accept_waiting(&mut self, now: Mono, io: &mut Io<'_>) {
        while let Some(head) = self.waiting.pop_front() {
            self.wants_memory = false;
            let tried = self.try_accept(now, &head);
            let error = match tried {
                Tried::Accepted => continue,
                Tried::Refused(error) => error,
                Tried::NoMetadata if head.until <= now => ClientError::Timeout("max.block.ms"),
                Tried::NoMemory if head.until <= now => ClientError::BufferExhausted,
                Tried::NoMetadata | Tried::NoMemory => {
                    self.wants_memory = matches!(tried, Tried::NoMemory);
                    self.waiting.push_front(head);
                    return;
                }
            };
            self.decide(&head.thunk, Err(Failure::fail(error)), io);
        }
    }

    /// `doSend`: metadata, partition, size, batch.
    fn try_accept(&mut self, now: Mono, waiting: &Waiting) -> Tried {
        let record = &*waiting.record;
        self.network.metadata.want(&record.topic, now);
        let leaders = self.network.metadata.partitions(&record.topic);
        let count = i32::try_from(count_known(leaders)).unwrap_or(i32::MAX);
        if record.partition.is_some_and(|index| index < 0) {
            return Tried::Refused(ClientError::IllegalState("a partition is never negative"));
        }
        if count == 0 || record.partition.is_some_and(|index| index >= count) {
            let error = self.network.metadata.topic_error(&record.topic);
            if let Some(error) = error.filter(|error| {
                matches!(
                    error,
                    ErrorCode::InvalidTopicException | ErrorCode::TopicAuthorizationFailed
                )
            }) {
                return Tried::Refused(ClientError::Broker(error));
            }
            self.network.metadata.request_update();
            return Tried::NoMetadata;
        }
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let size = estimate_batch_size_upper_bound(key, value, &[]);
        let limit = usize::try_from(self.config.max_request_size).unwrap_or(0);
        let memory = usize::try_from(self.config.buffer_memory).unwrap_or(0);
        if size > limit.min(memory) {
            return Tried::Refused(ClientError::Broker(ErrorCode::MessageTooLarge));
        }
        if let Some(transactions) = &self.transactions
            && let Err(error) = transactions.may_send(self.identity().is_some())
        {
            return Tried::Refused(error);
        }
        let index = record
            .partition
            .unwrap_or_else(|| self.partitioning.place(&record.topic, key, leaders));
        let new = NewRecord {
            thunk: waiting.thunk,
            key: record.key.as_ref(),
            value: record.value.as_ref(),
        };
        let mut partition = TopicPartition::new(record.topic.clone(), index);
        if self.accumulator.append(&partition, &new) {
            self.enters_transaction(&partition);
            return Tried::Accepted;
        }
        let room = self.accumulator.room_for(size);
        if !self.accumulator.has_memory(room) {
            return Tried::NoMemory;
        }
        if let Some(transactions) = &mut self.transactions
            && !self.behaviour.has(Fix::BatchInItsTransaction)
        {
            transactions.writes_to(&partition);
        }
        // Any record that begins a batch moves the sticky partition on, and may move with it (KIP-480).
        self.partitioning
            .on_new_batch(&record.topic, index, leaders);
        if record.partition.is_none() && self.partitioning.is_sticky(key) {
            let index = self.partitioning.place(&record.topic, key, leaders);
            partition = TopicPartition::new(record.topic.clone(), index);
            if self.accumulator.append(&partition, &new) {
                self.enters_transaction_late(&partition);
                return Tried::Accepted;
            }
        }
        self.enters_transaction_late(&partition);
        self.accumulator.begin(partition, room, &new, now);
        Tried::Accepted
    }

    fn enters_transaction(&mut self, partition: &TopicPartition) {
        if let Some(transactions) = &mut self.transactions {
            transactions.writes_to(partition);
        }
    }

    /// KAFKA-13782: only now is it certain which partition the record goes to.
    fn enters_transaction_late(&mut self, partition: &TopicPartition) {
        if self.behaviour.has(Fix::BatchInItsTransaction) {
            self.enters_transaction(partition);
        }
    }

    /// Tells the application the fate of one record.
    fn decide(
        &mut self,
        thunk: &Thunk,
        fate: Result<protocol::verb::RecordMetadata, Failure>,
        io: &mut Io<'_>,
    ) {
        self.undecided.remove(&thunk.ordinal);
        io.outcome(thunk.operation, Outcome::Sent(fate));
    }

    fn close(&mut self, now: Mono, operation: Option<OperationId>, timeout: Span, io: &mut Io<'_>) {
        let drains = self.behaviour.has(Fix::DrainOnClose);
        let until = if drains { now + timeout } else { now };
        self.closing = Some(Closing {
            operation,
            until,
            exits: operation.is_none(),
        });
        for waiting in std::mem::take(&mut self.waiting) {
            self.decide(&waiting.thunk, Err(Failure::fail(ClientError::Closed)), io);
        }
        if until <= now {
            // `Sender.forceClose`: the sender ends without another round.
            self.abort_all(&ClientError::Closed, io);
        }
    }

    fn maybe_finish_close(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(closing) = self.closing else {
            return;
        };
        if closing.until <= now {
            self.abort_all(&ClientError::Closed, io);
        } else {
            self.close_transaction();
            if self.has_transactional_business() {
                return;
            }
        }
        if !self.accumulator.batches.is_empty() {
            return;
        }
        self.closing = None;
        self.closed = true;
        self.network.shut(io);
        self.answer_flushes(io);
        self.answer_calls(now, io);
        self.drop_calls(io);
        if let Some(operation) = closing.operation {
            io.outcome(operation, Outcome::Done(Ok(())));
        }
        if closing.exits {
            io.exit(true);
        }
    }

    fn answer_flushes(&mut self, io: &mut Io<'_>) {
        let first_open = self.undecided.first().copied().unwrap_or(u64::MAX);
        while let Some((operation, end)) = self.flushes.front().copied() {
            if first_open < end {
                return;
            }
            self.flushes.pop_front();
            io.outcome(operation, Outcome::Done(Ok(())));
        }
    }

    /// Everything that waits goes at once.
    fn is_hurried(&self) -> bool {
        let transactions = self.transactions.as_ref();
        self.wants_memory
            || !self.flushes.is_empty()
            || self.closing.is_some()
            || transactions.is_some_and(Transactions::is_completing)
    }

    fn set_timer(&mut self, next_check: Option<Mono>, io: &mut Io<'_>) {
        if self.closed {
            self.alarm.cancel(io);
            return;
        }
        let next = [
            self.network.next_deadline(),
            next_check,
            self.accumulator.next_expiry(),
            self.waiting.front().map(|waiting| waiting.until),
            self.closing.map(|closing| closing.until),
            self.next_call_deadline(),
        ];
        let next = next.into_iter().flatten().min();
        self.alarm.set(next, io);
    }
}

impl Machine for Producer {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Verb { operation, verb } => self.verb(now, operation, verb, io),
            Input::Timer { .. } => self.alarm.rang(),
            Input::Stop if self.closed => io.exit(true),
            Input::Stop => match &mut self.closing {
                Some(closing) => closing.exits = true,
                None => self.close(now.mono, None, Span::MAX, io),
            },
            Input::Started
            | Input::Opened { .. }
            | Input::Accepted { .. }
            | Input::Refused { .. }
            | Input::Closed { .. }
            | Input::Received { .. }
            | Input::Flushed { .. }
            | Input::Due { .. } => self.network.handle(now.mono, input, io),
        }
        let next_check = if self.closed {
            None
        } else {
            self.run(now.mono, io)
        };
        self.set_timer(next_check, io);
    }
}
