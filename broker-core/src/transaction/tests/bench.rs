//! The coordinator alone: the test holds its log and speaks for the leaders that get its markers.

use super::*;
use crate::group::LoadData;
use crate::metadata_cache::MetadataCache;
use crate::request_channel::RequestChannel;
use crate::transaction::{Caller, Desk, TransactionAppend, TransactionCoordinator};
use protocol::api::TopicIds;
use protocol::api::cluster::{
    ControllerStamp, LeaderAndIsr, LiveBroker, UpdateMetadataPartition, UpdateMetadataRequest,
};
use protocol::api::transaction::{WriteTxnMarkersRequest, WriteTxnMarkersResponse, WrittenMarker};
use protocol::disk::NoDisk;
use protocol::ids::{ControllerEpoch, CorrelationId, LeaderEpoch, PartitionEpoch};
use protocol::machine::{ConnectionId, Effect, Lane, RequestToken};
use protocol::message::{Message, Response};
use protocol::time::{Mono, Wall};
use std::collections::VecDeque;

/// A marker request that a leader has got.
pub(super) struct Asked {
    connection: ConnectionId,
    correlation_id: CorrelationId,
    pub(super) leader: String,
    pub(super) request: WriteTxnMarkersRequest,
}

pub(super) struct Bench {
    coordinator: TransactionCoordinator,
    requests: RequestChannel,
    cache: MetadataCache,
    now: Now,
    connections: u64,
    opened: BTreeMap<ConnectionId, String>,
    /// Inputs that are due.
    due: VecDeque<Input>,
    /// The marker thread stands still.
    pub(super) hold_markers: bool,
    pub(super) markers: VecDeque<Asked>,
    pub(super) appends: VecDeque<TransactionAppend>,
    log: Vec<u8>,
    end: Offset,
    pub(super) notes: Vec<TransactionNote>,
}

/// Who leads: broker 2 has `orders`, broker 3 has `payments`; and who is alive.
fn update(alive: &[i32]) -> UpdateMetadataRequest {
    let led = |partition: TopicPartition, leader: i32| UpdateMetadataPartition {
        partition,
        controller_epoch: ControllerEpoch(1),
        state: LeaderAndIsr {
            leader: Some(BrokerId(leader)),
            leader_epoch: LeaderEpoch(0),
            isr: vec![BrokerId(leader)],
            partition_epoch: PartitionEpoch(0),
        },
        deleted: false,
        replicas: vec![BrokerId(leader)],
        offline_replicas: Vec::new(),
    };
    let live = |id: i32| LiveBroker {
        id: BrokerId(id),
        endpoint: Endpoint::new(host(id), 9092),
    };
    UpdateMetadataRequest {
        controller: ControllerStamp {
            controller_id: BrokerId(1),
            controller_epoch: ControllerEpoch(1),
            broker_epoch: None,
        },
        partitions: vec![led(orders(), 2), led(payments(), 3)],
        topic_ids: TopicIds::new(),
        live_brokers: alive.iter().copied().map(live).collect(),
    }
}

impl Bench {
    /// A coordinator that has just been elected, with an empty log.
    pub(super) fn new(behaviour: Behaviour) -> Self {
        let mut config = BrokerConfig::defaults(behaviour.era);
        config.transaction_state_log_num_partitions = 1;
        let mut bench = Self {
            coordinator: TransactionCoordinator::new(&config, behaviour, BrokerId(1)),
            requests: RequestChannel::new(behaviour),
            cache: MetadataCache::default(),
            now: Now {
                mono: Mono(0),
                wall: Wall::from_millis(1_600_000_000_000),
            },
            connections: 1,
            opened: BTreeMap::new(),
            due: VecDeque::new(),
            hold_markers: false,
            markers: VecDeque::new(),
            appends: VecDeque::new(),
            log: Vec::new(),
            end: Offset::ZERO,
            notes: Vec::new(),
        };
        bench.live(&[1, 2, 3]);
        bench.elect(0);
        bench
    }

    /// These brokers are alive from now on.
    pub(super) fn live(&mut self, alive: &[i32]) {
        self.cache.update(&update(alive));
        self.act(|coordinator, desk| coordinator.on_metadata(desk.io));
    }

    pub(super) fn act(&mut self, act: impl FnOnce(&mut TransactionCoordinator, &mut Desk<'_, '_>)) {
        let (mut effects, mut disk) = (Vec::new(), NoDisk);
        let mut io = Io::new(&mut disk, &mut effects, &mut self.connections);
        let mut desk = Desk {
            now: self.now,
            io: &mut io,
            requests: &mut self.requests,
            cache: &self.cache,
        };
        act(&mut self.coordinator, &mut desk);
        self.appends.extend(self.coordinator.take_appends());
        for stamped in effects {
            self.take(stamped.effect);
        }
        self.run();
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { connection, to } => {
                self.opened.insert(connection, to.host.to_string());
                self.due.push_back(Input::Opened { connection });
            }
            Effect::Send {
                connection,
                message: Message::Request(request),
            } => {
                let RequestBody::WriteTxnMarkers(body) = request.body else {
                    panic!("a coordinator sends markers");
                };
                self.markers.push_back(Asked {
                    connection,
                    correlation_id: request.correlation_id,
                    leader: self.opened[&connection].clone(),
                    request: body,
                });
            }
            Effect::Queue { lane } => self.due.push_back(Input::Due { lane }),
            Effect::Note(Note::Transaction(_, note)) => self.notes.push(note),
            _ => {}
        }
    }

    /// Lets everything happen that is due.
    pub(super) fn run(&mut self) {
        let held = |input: &Input, hold| {
            let markers = matches!(
                input,
                Input::Due {
                    lane: Lane::TransactionMarkers
                }
            );
            markers && hold
        };
        let next = self
            .due
            .iter()
            .position(|input| !held(input, self.hold_markers));
        let Some(input) = next.and_then(|place| self.due.remove(place)) else {
            return;
        };
        match input {
            Input::Due {
                lane: Lane::TransactionMarkers,
            } => self.act(TransactionCoordinator::send_markers),
            Input::Due { .. } => {
                self.coordinator.on_loader_due();
                self.load();
                self.run();
            }
            Input::Opened { connection } | Input::Received { connection, .. } => {
                self.act(|coordinator, desk| coordinator.on_connection(desk, connection, input));
            }
            other => panic!("{other:?}"),
        }
    }

    fn load(&mut self) {
        for read in self.coordinator.take_loads() {
            let data = LoadData::Batches {
                records: Bytes::from(self.log.clone()),
                from: Offset::ZERO,
                log_end_offset: Some(self.end),
            };
            self.act(|coordinator, desk| coordinator.on_load_data(desk, read.partition, data));
        }
    }

    pub(super) fn elect(&mut self, epoch: i32) {
        self.act(|coordinator, desk| coordinator.on_elected(desk.io, 0, LeaderEpoch(epoch)));
    }

    pub(super) fn resign(&mut self) {
        self.act(|coordinator, desk| coordinator.on_resigned(desk, 0));
    }

    /// Writes the oldest append, and tells so.
    pub(super) fn replicate(&mut self) {
        let append = self
            .appends
            .pop_front()
            .expect("something is to be written");
        let base = self.end;
        let batch = append.batch.rebase(base, LeaderEpoch(0));
        self.end = batch.next_offset();
        self.log.extend_from_slice(batch.bytes());
        self.act(|coordinator, desk| {
            coordinator.on_append_finished(desk, append.ticket, Ok(base));
        });
    }

    /// The oldest append is not written.
    pub(super) fn refuse(&mut self, error: ErrorCode) {
        let append = self
            .appends
            .pop_front()
            .expect("something is to be written");
        self.act(|coordinator, desk| {
            coordinator.on_append_finished(desk, append.ticket, Err(error));
        });
    }

    fn caller(version: i16) -> Caller {
        let token = RequestToken {
            connection: ConnectionId(0),
            correlation_id: CorrelationId(0),
        };
        Caller { token, version }
    }

    /// A producer with its transaction begun in these partitions.
    pub(super) fn begin(&mut self, partitions: Vec<TopicPartition>) -> TransactionalProducer {
        let request = InitProducerIdRequest {
            transactional_id: Some(id()),
            transaction_timeout_ms: 10_000,
            current: None,
        };
        self.act(|coordinator, desk| {
            coordinator.init_producer_id(desk, Self::caller(4), (id(), &request));
            coordinator.on_producer_id(desk, Some(ProducerId(7)));
        });
        self.replicate();
        let producer = TransactionalProducer {
            transactional_id: id(),
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(0),
        };
        self.add(&producer, partitions);
        producer
    }

    pub(super) fn add(
        &mut self,
        producer: &TransactionalProducer,
        partitions: Vec<TopicPartition>,
    ) {
        let request = AddPartitionsToTxnRequest {
            producer: producer.clone(),
            partitions,
            verify_only: false,
        };
        self.act(|coordinator, desk| {
            coordinator.add_partitions(desk, Self::caller(3), request);
        });
        self.replicate();
    }

    pub(super) fn commit(&mut self, producer: &TransactionalProducer) {
        self.ask_to_commit(3, producer);
        self.replicate();
    }

    /// The call alone, in a version.
    pub(super) fn ask_to_commit(&mut self, version: i16, producer: &TransactionalProducer) {
        let request = EndTxnRequest {
            producer: producer.clone(),
            committed: true,
        };
        self.act(|coordinator, desk| coordinator.end_txn(desk, Self::caller(version), request));
    }

    /// A leader answers the oldest marker request.
    pub(super) fn answer(&mut self, error: ErrorCode) {
        let asked = self.markers.pop_front().expect("a leader was asked");
        let told = |partition: &TopicPartition| (partition.clone(), error);
        let markers = asked.request.markers.iter().map(|marker| WrittenMarker {
            producer_id: marker.producer_id,
            partitions: marker.partitions.iter().map(told).collect(),
        });
        let body = WriteTxnMarkersResponse {
            markers: markers.collect(),
        };
        let response = Response {
            correlation_id: asked.correlation_id,
            body: body.into(),
        };
        self.due.push_back(Input::Received {
            connection: asked.connection,
            message: Message::Response(Box::new(response)),
        });
        self.run();
    }

    pub(super) fn states(&self) -> Vec<TransactionState> {
        let states = self.notes.iter().filter_map(|note| match note {
            TransactionNote::State { state, .. } => Some(*state),
            _ => None,
        });
        states.collect()
    }
}
