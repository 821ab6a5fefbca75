//! Transactions from outside: whole brokers, and a producer that sends its requests by hand.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test asks for one kind of answer and fails on any other"
)]

mod bench;
mod fencing;
mod isolation;
mod markers;
mod path;
mod verification;

use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::testing::World;
use crate::timer::TimerOwner;
use crate::{Broker, BrokerSpec};
use bytes::Bytes;
use protocol::api::data::{
    Acks, FetchPartition, FetchRequest, IsolationLevel, PartitionFetchResponse, ProduceRequest,
};
use protocol::api::group::{
    CommittedOffset, CoordinatorKind, FindCoordinatorRequest, OffsetFetchRequest,
};
use protocol::api::topics::CreateTopicsRequest;
use protocol::api::transaction::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, EndTxnResponse,
    TransactionalProducer, TxnOffsetCommitRequest,
};
use protocol::api::{InitProducerIdRequest, RequestBody, ResponseBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::BrokerConfig;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchMetadata;
use protocol::ids::{
    BrokerId, ClientId, Endpoint, GenerationId, GroupId, MemberId, Offset, ProducerEpoch,
    ProducerId, Sequence, TopicPartition, TransactionalId,
};
use protocol::machine::{Input, Io, Machine};
use protocol::note::{Note, TransactionNote, TransactionState};
use protocol::record::{BatchBuilder, batches};
use protocol::time::{Now, Span};
use protocol::verb::NewTopic;
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENT: &str = "c";
const TRANSACTIONAL_ID: &str = "tx";
const GROUP: &str = "g";

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn payments() -> TopicPartition {
    TopicPartition::new("payments", 0)
}

#[derive(Clone)]
enum Node {
    Broker(Box<Broker>),
    /// A client: its channels, and the answers with the channel each came on.
    Client(BTreeMap<String, PeerChannel>, Vec<(String, ResponseBody)>),
}

impl Machine for Node {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match self {
            Self::Broker(broker) => broker.handle(now, input, io),
            Self::Client(channels, answers) => {
                let connection = match &input {
                    Input::Opened { connection }
                    | Input::Refused { connection }
                    | Input::Closed { connection, .. }
                    | Input::Received { connection, .. } => *connection,
                    _ => return,
                };
                let mut owners = channels.iter_mut();
                let owner = owners.find(|(_, channel)| channel.owns(connection));
                let Some((name, channel)) = owner else { return };
                if let Some(PeerEvent::Response(body)) = channel.handle(input, io) {
                    answers.push((name.clone(), body));
                }
            }
        }
    }
}

/// Three brokers with the topics `orders` and `payments`, and a client.
struct Cluster {
    world: World<Node>,
    behaviour: Behaviour,
    config: BrokerConfig,
    /// What the next batches of the producer count from, per partition.
    sequences: BTreeMap<TopicPartition, i32>,
    timers: u64,
}

fn host(id: i32) -> String {
    format!("b{id}")
}

fn id() -> TransactionalId {
    TransactionalId::from(TRANSACTIONAL_ID)
}

impl Cluster {
    fn of(era: Era) -> Self {
        Self::with(Behaviour::of(era), |_| {})
    }

    fn with(behaviour: Behaviour, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::defaults(behaviour.era);
        config.log_dirs = vec!["data".to_owned()];
        config.offsets_topic_num_partitions = 1;
        config.transaction_state_log_num_partitions = 1;
        change(&mut config);
        let mut cluster = Self {
            world: World::new(),
            behaviour,
            config,
            sequences: BTreeMap::new(),
            timers: 0,
        };
        for id in 1..=3 {
            cluster.start(id);
        }
        let client = Node::Client(BTreeMap::new(), Vec::new());
        cluster.world.start(CLIENT, client);
        cluster.world.pass(Span::secs(1));
        for topic in ["orders", "payments"] {
            cluster.create(topic);
        }
        cluster
    }

    fn start(&mut self, id: i32) {
        let spec = BrokerSpec {
            id: BrokerId(id),
            config: Arc::new(self.config.clone()),
            behaviour: self.behaviour,
            listener: Endpoint::new(host(id), 9092),
            keepers: vec![Endpoint::new(crate::testing::KEEPER, 2181)],
            seed: 7,
        };
        let broker = Node::Broker(Box::new(Broker::new(spec)));
        self.world.start(&host(id), broker);
    }

    /// The process dies, and the keeper notices.
    fn kill(&mut self, host: &str) {
        let connections = self.world.sessions_of(host);
        self.world.kill(host);
        for session in connections {
            self.world.expire(session);
        }
        self.world.pass(Span::secs(1));
    }

    /// Forgets the connection to a broker, and what was asked on it.
    fn hang_up(&mut self, host: &str) {
        self.world.with(CLIENT, |node, _, io| {
            if let Node::Client(channels, _) = node
                && let Some(mut channel) = channels.remove(host)
            {
                channel.close(io);
            }
        });
    }

    fn brokers(&self) -> impl Iterator<Item = (&String, &Broker)> {
        self.world
            .nodes
            .iter()
            .filter_map(|(host, node)| match node {
                Node::Broker(broker) => Some((host, broker.as_ref())),
                Node::Client(..) => None,
            })
    }

    fn leader(&self, partition: &TopicPartition) -> String {
        let mut brokers = self.brokers();
        let found = brokers.find(|(_, broker)| broker.replicas().leads(partition).is_some());
        found.expect("somebody leads").0.clone()
    }

    fn coordinator(&self) -> String {
        self.leader(&super::transaction_partition(0))
    }

    /// Sends a request and lets time pass until it is answered.
    fn ask(&mut self, host: &str, version: i16, body: impl Into<RequestBody>) -> ResponseBody {
        self.send(host, version, body);
        for _ in 0..100 {
            if let Some(answer) = self.answer_of(host) {
                return answer;
            }
            self.world.pass(Span::millis(100));
        }
        panic!("no answer");
    }

    fn send(&mut self, host: &str, version: i16, body: impl Into<RequestBody>) {
        let body = body.into();
        self.timers += 1;
        let number = self.timers;
        self.world.with(CLIENT, |node, now, io| {
            let Node::Client(channels, _) = node else {
                panic!("the client");
            };
            let channel = channels.entry(host.to_owned()).or_insert_with(|| {
                let timer = TimerOwner::Fetcher.timer(number);
                let endpoint = Endpoint::new(host, 9092);
                PeerChannel::new(endpoint, ClientId::from(CLIENT), timer, Span::secs(600))
            });
            channel.send(now, io, version, body);
        });
    }

    /// The answer that came on a channel.
    fn answer_of(&mut self, name: &str) -> Option<ResponseBody> {
        match self.world.nodes.get_mut(CLIENT) {
            Some(Node::Client(_, answers)) => {
                let place = answers.iter().position(|(from, _)| from == name)?;
                Some(answers.remove(place).1)
            }
            _ => None,
        }
    }

    /// Lets the channel to a broker wait for its answer under another name, and uses a new one from now on.
    fn set_aside(&mut self, host: &str) -> String {
        let aside = format!("{host} aside");
        if let Some(Node::Client(channels, _)) = self.world.nodes.get_mut(CLIENT)
            && let Some(channel) = channels.remove(host)
        {
            channels.insert(aside.clone(), channel);
        }
        aside
    }

    fn create(&mut self, topic: &str) {
        let request = CreateTopicsRequest {
            topics: vec![NewTopic {
                name: topic.into(),
                partitions: 1,
                replication_factor: 3,
                assignment: BTreeMap::new(),
                config: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
            }],
            timeout: Span::secs(10),
            validate_only: false,
        };
        let mut brokers = self.brokers();
        let (controller, _) = brokers.find(|(_, broker)| broker.is_controller()).unwrap();
        let controller = controller.clone();
        drop(brokers);
        self.ask(&controller, 5, request);
        self.world.pass(Span::secs(1));
    }

    /// Asks for the coordinator until there is one.
    fn find_coordinator(&mut self, kind: CoordinatorKind, key: &str) {
        for _ in 0..50 {
            let request = FindCoordinatorRequest {
                key: key.into(),
                kind,
            };
            let ResponseBody::FindCoordinator(found) = self.ask("b1", 3, request) else {
                panic!("the coordinator");
            };
            if found.error.is_none() {
                self.world.pass(Span::millis(100));
                return;
            }
            self.world.pass(Span::millis(100));
        }
        panic!("no coordinator");
    }

    fn init_with(
        &mut self,
        version: i16,
        current: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<TransactionalProducer, ErrorCode> {
        let request = InitProducerIdRequest {
            transactional_id: Some(id()),
            transaction_timeout_ms: 10_000,
            current,
        };
        let coordinator = self.coordinator();
        let ResponseBody::InitProducerId(answer) = self.ask(&coordinator, version, request) else {
            panic!("an id");
        };
        if answer.error.is_error() {
            return Err(answer.error);
        }
        self.sequences.clear();
        Ok(TransactionalProducer {
            transactional_id: id(),
            producer_id: answer.producer_id,
            producer_epoch: answer.producer_epoch,
        })
    }

    /// `initTransactions`: tries again while an earlier transaction is being ended.
    fn init(&mut self) -> TransactionalProducer {
        self.find_coordinator(CoordinatorKind::Transaction, TRANSACTIONAL_ID);
        for _ in 0..20 {
            match self.init_with(4, None) {
                Ok(producer) => return producer,
                Err(ErrorCode::ConcurrentTransactions) => self.world.pass(Span::millis(100)),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no id");
    }

    fn add(&mut self, producer: &TransactionalProducer, partition: TopicPartition) -> ErrorCode {
        let request = AddPartitionsToTxnRequest {
            producer: producer.clone(),
            partitions: vec![partition],
            verify_only: false,
        };
        let coordinator = self.coordinator();
        match self.ask(&coordinator, 3, request) {
            ResponseBody::AddPartitionsToTxn(answer) => answer.partitions[0].1,
            other => panic!("{other:?}"),
        }
    }

    fn batch(
        &mut self,
        producer: &TransactionalProducer,
        partition: &TopicPartition,
        value: &str,
    ) -> ProduceRequest {
        let sequence = self.sequences.entry(partition.clone()).or_default();
        let (id, epoch) = (producer.producer_id, producer.producer_epoch);
        let mut batch = BatchBuilder::new()
            .producer(id, epoch, Sequence(*sequence))
            .transactional();
        *sequence += 1;
        let now = self.world.now.wall.millis();
        batch.append(now, None, Some(value.as_bytes()), &[]);
        ProduceRequest {
            transactional_id: Some(producer.transactional_id.clone()),
            acks: Acks::All,
            timeout: Span::secs(30),
            partitions: vec![(partition.clone(), batch.build())],
        }
    }

    fn produce(
        &mut self,
        producer: &TransactionalProducer,
        partition: &TopicPartition,
        value: &str,
    ) -> ErrorCode {
        let request = self.batch(producer, partition, value);
        let leader = self.leader(partition);
        match self.ask(&leader, 9, request) {
            ResponseBody::Produce(answer) => answer.partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    /// Adds a partition and writes to it.
    fn write(&mut self, producer: &TransactionalProducer, partition: &TopicPartition, value: &str) {
        assert_eq!(self.add(producer, partition.clone()), ErrorCode::None);
        assert_eq!(self.produce(producer, partition, value), ErrorCode::None);
    }

    fn end_with(
        &mut self,
        version: i16,
        producer: &TransactionalProducer,
        committed: bool,
    ) -> EndTxnResponse {
        let request = EndTxnRequest {
            producer: producer.clone(),
            committed,
        };
        let coordinator = self.coordinator();
        match self.ask(&coordinator, version, request) {
            ResponseBody::EndTxn(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, producer: &TransactionalProducer, committed: bool) -> ErrorCode {
        let answer = self.end_with(3, producer, committed);
        self.world.pass(Span::millis(100));
        answer.error
    }

    fn fetch(
        &mut self,
        partition: &TopicPartition,
        isolation_level: IsolationLevel,
    ) -> PartitionFetchResponse {
        let request = FetchRequest {
            replica_id: None,
            replica_epoch: None,
            max_wait: Span::ZERO,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation_level,
            metadata: FetchMetadata::LEGACY,
            forgotten: Vec::new(),
            partitions: vec![FetchPartition {
                partition: partition.clone(),
                fetch_offset: Offset::ZERO,
                current_leader_epoch: None,
                last_fetched_epoch: None,
                log_start_offset: None,
                max_bytes: 1 << 20,
            }],
        };
        let leader = self.leader(partition);
        match self.ask(&leader, 11, request) {
            ResponseBody::Fetch(answer) => answer.partitions[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// What a reader of committed data delivers: values below the last stable offset, without those of aborted transactions.
    fn committed(&mut self, partition: &TopicPartition) -> Vec<String> {
        let answer = self.fetch(partition, IsolationLevel::ReadCommitted);
        let mut aborted: Vec<(ProducerId, Offset)> = answer
            .aborted_transactions
            .iter()
            .map(|span| (span.producer_id, span.first_offset))
            .collect();
        let mut skipping = Vec::new();
        let mut values = Vec::new();
        for batch in batches(answer.records).map(Result::unwrap) {
            let producer = batch.producer_id().unwrap();
            aborted.retain(|(id, first)| {
                let begins = *first <= batch.base_offset();
                if begins {
                    skipping.push(*id);
                }
                !begins
            });
            if batch.is_control() {
                skipping.retain(|id| *id != producer);
            } else if !skipping.contains(&producer) {
                values.extend(values_of(batch.bytes()));
            }
        }
        values
    }

    fn stable(&mut self, partition: &TopicPartition) -> (i64, i64) {
        let answer = self.fetch(partition, IsolationLevel::ReadCommitted);
        let number = |offset: Option<Offset>| offset.unwrap().0;
        (
            number(answer.last_stable_offset),
            number(answer.high_watermark),
        )
    }

    /// The states that the id has gone through.
    fn states(&self) -> Vec<TransactionState> {
        let notes = self.transaction_notes();
        let states = notes.into_iter().filter_map(|note| match note {
            TransactionNote::State { state, .. } => Some(*state),
            _ => None,
        });
        states.collect()
    }

    fn transaction_notes(&self) -> Vec<&TransactionNote> {
        let notes = self.world.notes.iter().filter_map(|(_, note)| match note {
            Note::Transaction(_, note) => Some(note),
            _ => None,
        });
        notes.collect()
    }

    fn add_offsets(&mut self, producer: &TransactionalProducer) -> ErrorCode {
        let request = AddOffsetsToTxnRequest {
            producer: producer.clone(),
            group_id: GroupId::from(GROUP),
        };
        let coordinator = self.coordinator();
        match self.ask(&coordinator, 3, request) {
            ResponseBody::AddOffsetsToTxn(answer) => answer.error,
            other => panic!("{other:?}"),
        }
    }

    fn commit_offset(&mut self, producer: &TransactionalProducer, offset: i64) -> ErrorCode {
        let request = TxnOffsetCommitRequest {
            producer: producer.clone(),
            group_id: GroupId::from(GROUP),
            generation_id: GenerationId(-1),
            member_id: MemberId::from(""),
            group_instance_id: None,
            offsets: vec![CommittedOffset {
                partition: orders(),
                offset: Offset(offset),
                leader_epoch: None,
                metadata: "".into(),
            }],
        };
        let coordinator = self.leader(&crate::group::offsets_partition(0));
        match self.ask(&coordinator, 3, request) {
            ResponseBody::TxnOffsetCommit(answer) => answer.partitions[0].1,
            other => panic!("{other:?}"),
        }
    }

    fn fetch_offset(&mut self, require_stable: bool) -> Result<Option<i64>, ErrorCode> {
        let request = OffsetFetchRequest {
            group_id: GroupId::from(GROUP),
            partitions: Some(vec![orders()]),
            require_stable,
        };
        let coordinator = self.leader(&crate::group::offsets_partition(0));
        match self.ask(&coordinator, 7, request) {
            ResponseBody::OffsetFetch(answer) => answer.partitions[0]
                .1
                .clone()
                .map(|found| found.map(|found| found.offset.0)),
            other => panic!("{other:?}"),
        }
    }
}

fn values_of(bytes: &Bytes) -> Vec<String> {
    batches(bytes.clone())
        .flat_map(|batch| batch.unwrap().records().collect::<Vec<_>>())
        .map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}
