//! Brokers' replicas driven by hand: the test is the controller, the keeper and the clients, and carries the messages.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test asks for one kind of answer, note or effect and fails on any other"
)]

mod acknowledging;
mod carrying;
mod control;
mod deleting;
mod fetching;
mod in_sync;
mod sessions;
mod truncating;

use super::{Handled, ReplicaManager, Step};
use crate::isr_writer::{IsrResult, IsrUpdate};
use crate::log::memory_disk::MemoryDisk;
use crate::request_channel::RequestChannel;
use crate::timer::TimerOwner;
use bytes::Bytes;
use protocol::api::cluster::{
    ControllerStamp, LeaderAndIsr, LeaderAndIsrPartition, LeaderAndIsrRequest, LiveBroker,
    UpdateMetadataPartition, UpdateMetadataRequest,
};
use protocol::api::data::{
    Acks, FetchPartition, FetchRequest, IsolationLevel, PartitionFetchResponse,
    PartitionProduceResponse, ProduceRequest,
};
use protocol::api::{RequestBody, ResponseBody, TopicIds};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::{BrokerConfig, TopicOverrides};
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchMetadata;
use protocol::ids::{
    BrokerId, ControllerEpoch, CorrelationId, Endpoint, LeaderEpoch, Offset, PartitionEpoch,
    TopicPartition,
};
use protocol::machine::{
    CloseReason, ConnectionId, Effect, FlushId, Input, Io, Lane, Stamped, TimerId,
};
use protocol::message::{Message, Request};
use protocol::note::{Note, ReplicaNote};
use protocol::record::{BatchBuilder, RecordBatch, batches};
use protocol::time::{Mono, Now, Span, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The one partition of most tests.
fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn brokers(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

/// The time at which every cluster starts, in milliseconds.
const BEGIN: i64 = 1_600_000_000_000;

/// One record with this value, too young for retention.
fn batch(value: &str) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    builder.append(BEGIN, None, Some(value.as_bytes()), &[]);
    builder.build()
}

/// The values of all records in a fetched or read run of batches.
fn values(bytes: &Bytes) -> Vec<String> {
    batches(bytes.clone())
        .flat_map(|batch| batch.unwrap().records().collect::<Vec<_>>())
        .map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}

#[derive(Clone)]
struct Node {
    manager: ReplicaManager,
    requests: RequestChannel,
    disk: MemoryDisk,
    timers: BTreeMap<TimerId, Mono>,
    up: bool,
}

/// The brokers, and everything between them.
#[derive(Clone)]
struct Cluster {
    now: Now,
    behaviour: Behaviour,
    config: BrokerConfig,
    nodes: BTreeMap<i32, Node>,
    queue: VecDeque<(i32, Input)>,
    /// Each end of a connection between brokers: whose it is, and the other end.
    links: BTreeMap<ConnectionId, (i32, ConnectionId)>,
    next_connection: u64,
    next_correlation: i32,
    answers: BTreeMap<CorrelationId, ResponseBody>,
    closed: Vec<ConnectionId>,
    /// What fetchers have asked.
    fetches: Vec<FetchRequest>,
    notes: Vec<(i32, ReplicaNote)>,
    exits: Vec<i32>,
    /// How many inputs were handled.
    inputs: usize,
    /// Inputs to these brokers wait: responses only, or everything.
    holding: Vec<i32>,
    held: Vec<(i32, Input)>,
    /// The fetchers of this broker do so many more rounds and then stand still.
    hold_lane_after: Option<(i32, u32)>,
    held_lanes: Vec<(i32, Input)>,
    /// Flushes wait until they are let go.
    hold_flushes: bool,
    flushes: Vec<(i32, FlushId)>,
}

impl Cluster {
    fn new(behaviour: Behaviour, ids: &[i32]) -> Self {
        Self::with(behaviour, ids, |_| {})
    }

    fn of(era: Era) -> Self {
        Self::new(Behaviour::of(era), &[1, 2, 3])
    }

    fn with(behaviour: Behaviour, ids: &[i32], change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::defaults(behaviour.era);
        config.log_dirs = vec!["data".to_owned()];
        change(&mut config);
        let mut cluster = Self {
            now: Now {
                mono: Mono(0),
                wall: Wall::from_millis(BEGIN),
            },
            behaviour,
            config,
            nodes: BTreeMap::new(),
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            next_connection: 1,
            next_correlation: 0,
            answers: BTreeMap::new(),
            closed: Vec::new(),
            fetches: Vec::new(),
            notes: Vec::new(),
            exits: Vec::new(),
            inputs: 0,
            holding: Vec::new(),
            held: Vec::new(),
            hold_lane_after: None,
            held_lanes: Vec::new(),
            hold_flushes: false,
            flushes: Vec::new(),
        };
        for id in ids {
            cluster.start(*id, MemoryDisk::default());
        }
        cluster
    }

    // The controller.

    fn stamp(epoch: i32) -> ControllerStamp {
        ControllerStamp {
            controller_id: BrokerId(1),
            controller_epoch: ControllerEpoch(epoch),
            broker_epoch: None,
        }
    }

    fn state(&self, leader: i32, epoch: i32, isr: &[i32]) -> LeaderAndIsrPartition {
        LeaderAndIsrPartition {
            partition: orders(),
            controller_epoch: ControllerEpoch(1),
            state: LeaderAndIsr {
                leader: Some(BrokerId(leader)),
                leader_epoch: LeaderEpoch(epoch),
                isr: brokers(isr),
                partition_epoch: PartitionEpoch(epoch * 10),
            },
            replicas: self.nodes.keys().copied().map(BrokerId).collect(),
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
            is_new: epoch == 0,
        }
    }

    /// Tells one broker who leads; the answer's error for the partition.
    fn tell(&mut self, id: i32, told: &LeaderAndIsrPartition) -> ErrorCode {
        let live: Vec<LiveBroker> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.up)
            .map(|(id, _)| LiveBroker {
                id: BrokerId(*id),
                endpoint: Endpoint::new(id.to_string(), 9092),
            })
            .collect();
        let update = UpdateMetadataRequest {
            controller: Self::stamp(1),
            partitions: vec![UpdateMetadataPartition {
                partition: told.partition.clone(),
                controller_epoch: told.controller_epoch,
                state: told.state.clone(),
                deleted: false,
                replicas: told.replicas.clone(),
                offline_replicas: Vec::new(),
            }],
            topic_ids: TopicIds::new(),
            live_brokers: live.clone(),
        };
        self.ask(id, 6, update);
        let request = LeaderAndIsrRequest {
            controller: Self::stamp(1),
            partitions: vec![told.clone()],
            topic_ids: TopicIds::new(),
            live_leaders: live,
        };
        let asked = self.ask(id, 4, request);
        match &self.answers[&asked] {
            ResponseBody::LeaderAndIsr(answer) => {
                assert_eq!(answer.error, ErrorCode::None);
                answer.partitions[0].1
            }
            other => panic!("{other:?}"),
        }
    }

    /// Tells every live broker, the leader first.
    fn elect(&mut self, leader: i32, epoch: i32, isr: &[i32]) {
        let told = self.state(leader, epoch, isr);
        self.tell(leader, &told);
        let others: Vec<i32> = self
            .nodes
            .iter()
            .filter(|(id, node)| node.up && **id != leader)
            .map(|(id, _)| *id)
            .collect();
        for id in others {
            self.tell(id, &told);
        }
    }

    /// The one wish of a broker that waits to be carried.
    fn wish(&mut self, id: i32) -> IsrUpdate {
        let mut wishes = self.nodes.get_mut(&id).unwrap().manager.take_isr_updates();
        assert_eq!(wishes.len(), 1, "{wishes:?}");
        wishes.remove(0)
    }

    fn has_wish(&mut self, id: i32) -> bool {
        !self
            .nodes
            .get_mut(&id)
            .unwrap()
            .manager
            .take_isr_updates()
            .is_empty()
    }

    /// The keeper or the controller says yes.
    fn grant(&mut self, id: i32, wish: &IsrUpdate) {
        let state = LeaderAndIsr {
            leader: Some(BrokerId(id)),
            leader_epoch: wish.leader_epoch,
            isr: wish.new_isr.clone(),
            partition_epoch: wish.current_partition_epoch.next(),
        };
        self.settle(id, wish, Ok(state));
    }

    fn settle(&mut self, id: i32, wish: &IsrUpdate, outcome: Result<LeaderAndIsr, ErrorCode>) {
        self.call(id, |manager, step| {
            let answer = IsrResult {
                partition: orders(),
                wanted: wish.new_isr.clone(),
                outcome,
            };
            manager.on_isr_result(step, answer);
        });
        self.run();
    }

    // Clients.

    fn produce(&mut self, id: i32, acks: Acks, value: &str) -> CorrelationId {
        let request = ProduceRequest {
            transactional_id: None,
            acks,
            timeout: Span::secs(5),
            partitions: vec![(orders(), batch(value))],
        };
        self.ask(id, 8, request)
    }

    fn produced(&self, asked: CorrelationId) -> Option<&PartitionProduceResponse> {
        match self.answers.get(&asked)? {
            ResponseBody::Produce(answer) => Some(&answer.partitions[0]),
            other => panic!("{other:?}"),
        }
    }

    /// Produces and expects an answer at once: its error.
    fn produce_now(&mut self, id: i32, acks: Acks, value: &str) -> ErrorCode {
        let asked = self.produce(id, acks, value);
        self.produced(asked).expect("answered at once").error
    }

    fn consume(offset: i64, wait: Span) -> FetchRequest {
        FetchRequest {
            replica_epoch: None,
            replica_id: None,
            max_wait: wait,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation_level: IsolationLevel::ReadUncommitted,
            metadata: FetchMetadata::LEGACY,
            forgotten: Vec::new(),
            partitions: vec![FetchPartition {
                partition: orders(),
                current_leader_epoch: None,
                fetch_offset: Offset(offset),
                last_fetched_epoch: None,
                log_start_offset: None,
                max_bytes: 1 << 20,
            }],
        }
    }

    fn fetched(&self, asked: CorrelationId) -> Option<&PartitionFetchResponse> {
        match self.answers.get(&asked)? {
            ResponseBody::Fetch(answer) => Some(&answer.partitions[0]),
            other => panic!("{other:?}"),
        }
    }

    /// Fetches without waiting.
    fn fetch_now(&mut self, id: i32, request: FetchRequest) -> PartitionFetchResponse {
        let asked = self.ask(id, 12, request);
        self.fetched(asked).expect("answered at once").clone()
    }

    // What is where.

    /// First offset, high watermark and end.
    fn bounds(&self, id: i32) -> (i64, i64, i64) {
        let bounds = self.nodes[&id].manager.log_bounds(&orders());
        let (start, mark, end) = bounds.unwrap();
        (start.0, mark.0, end.0)
    }

    fn log(&mut self, id: i32) -> Vec<String> {
        let bytes = self.call(id, |manager, step| {
            manager.read_local(step, &orders(), Offset(0), (1 << 20, true))
        });
        values(&bytes.unwrap())
    }

    fn saw(&self, id: i32, wanted: impl Fn(&ReplicaNote) -> bool) -> bool {
        self.notes
            .iter()
            .any(|(node, note)| *node == id && wanted(note))
    }

    fn set_min_isr(&mut self, minimum: &str) {
        let ids: Vec<i32> = self.nodes.keys().copied().collect();
        for id in ids {
            let mut overrides = TopicOverrides::default();
            overrides.set("min.insync.replicas", minimum).unwrap();
            let manager = &mut self.nodes.get_mut(&id).unwrap().manager;
            manager.set_topic_config("orders".into(), overrides);
        }
    }
}
