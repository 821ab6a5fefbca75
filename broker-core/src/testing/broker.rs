//! A broker without logs: it registers, coordinates, believes what the controller tells it, and remembers it.

use crate::coordination::{Coordination, CoordinationEvent, Identity};
use crate::hands::Hands;
use crate::isr_writer::{IsrResult, IsrUpdate};
use crate::metadata_cache::MetadataCache;
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::{RequestChannel, Taken};
use crate::topic_admin::TopicAdmin;
use protocol::api::cluster::{
    LeaderAndIsr, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest,
    StopReplicaResponse, UpdateMetadataResponse,
};
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::Behaviour;
use protocol::config::BrokerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, ClientId, ControllerEpoch, Endpoint, TopicPartition};
use protocol::machine::{Input, Io, Lane, Machine, RequestToken, TimerId};
use protocol::time::{Now, Span};
use std::collections::BTreeMap;

/// A node of a test.
#[derive(Clone, Debug)]
pub(crate) enum TestNode {
    Broker(Box<TestBroker>),
    Client(Box<TestClient>),
}

/// A broker.
#[derive(Clone, Debug)]
pub(crate) struct TestBroker {
    pub(crate) coordination: Coordination,
    requests: RequestChannel,
    pub(crate) cache: MetadataCache,
    pub(crate) events: Vec<CoordinationEvent>,
    /// What LeaderAndIsr said, newest epoch first come.
    pub(crate) told: BTreeMap<TopicPartition, LeaderAndIsr>,
    /// Replicas that StopReplica deleted.
    pub(crate) deleted: Vec<TopicPartition>,
    pub(crate) controller_epoch: ControllerEpoch,
    /// Requests of an earlier controller that were refused.
    pub(crate) refused: usize,
    /// Partitions that LeaderAndIsr named before any UpdateMetadata had.
    pub(crate) unheard_of: usize,
    pub(crate) results: Vec<IsrResult>,
    /// Partitions whose directory fails.
    pub(crate) broken: Vec<TopicPartition>,
}

/// A client that asks one broker.
#[derive(Clone, Debug)]
pub(crate) struct TestClient {
    channel: Option<PeerChannel>,
    pub(crate) answers: Vec<ResponseBody>,
}

/// The node of broker `id` with these settings; it listens at `b<id>`.
pub(crate) fn broker(id: i32, behaviour: Behaviour, config: &BrokerConfig) -> TestNode {
    let identity = Identity {
        broker: BrokerId(id),
        endpoint: Endpoint::new(format!("b{id}"), 9092),
        behaviour,
        keepers: vec![Endpoint::new(super::KEEPER, 2181)],
        seed: u64::try_from(id).unwrap(),
    };
    TestNode::Broker(Box::new(TestBroker {
        coordination: Coordination::new(identity, config),
        requests: RequestChannel::new(behaviour),
        cache: MetadataCache::default(),
        events: Vec::new(),
        told: BTreeMap::new(),
        deleted: Vec::new(),
        controller_epoch: ControllerEpoch(0),
        refused: 0,
        unheard_of: 0,
        results: Vec::new(),
        broken: Vec::new(),
    }))
}

/// A client.
pub(crate) fn client() -> TestNode {
    TestNode::Client(Box::new(TestClient {
        channel: None,
        answers: Vec::new(),
    }))
}

impl TestNode {
    pub(crate) fn broker(&self) -> &TestBroker {
        let Self::Broker(broker) = self else {
            panic!("not a broker")
        };
        broker
    }

    pub(crate) fn broker_mut(&mut self) -> &mut TestBroker {
        let Self::Broker(broker) = self else {
            panic!("not a broker")
        };
        broker
    }

    pub(crate) fn client_mut(&mut self) -> &mut TestClient {
        let Self::Client(client) = self else {
            panic!("not a client")
        };
        client
    }
}

impl TestClient {
    /// Asks a broker; the answer lands in `answers`.
    pub(crate) fn ask(&mut self, now: Now, io: &mut Io<'_>, host: &str, body: RequestBody) {
        let mut channel = PeerChannel::new(
            Endpoint::new(host, 9092),
            ClientId::from("test"),
            TimerId(7),
            Span::secs(60),
        );
        channel.send(now, io, 3, body);
        self.channel = Some(channel);
    }
}

impl TestBroker {
    /// A leader here wants other in-sync replicas.
    pub(crate) fn wish(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        partition: &TopicPartition,
        isr: &[i32],
    ) {
        let told = &self.told[partition];
        let update = IsrUpdate {
            partition: partition.clone(),
            leader_epoch: told.leader_epoch,
            new_isr: isr.iter().copied().map(BrokerId).collect(),
            isr_epochs: Vec::new(),
            current_partition_epoch: told.partition_epoch,
            controller_epoch: self.controller_epoch,
        };
        let mut hands = Hands {
            now,
            io,
            keeper: &mut self.coordination.keeper,
            requests: &mut self.requests,
        };
        assert!(self.coordination.isr.submit(&mut hands, update));
    }

    fn serve(&mut self, now: Now, io: &mut Io<'_>, taken: Taken) {
        let token = taken.token;
        match taken.request.body {
            RequestBody::LeaderAndIsr(request) => {
                let response = self.lead_or_follow(request);
                self.requests.respond(io, token, response);
            }
            RequestBody::StopReplica(request) => {
                let response = self.stop(request);
                self.requests.respond(io, token, response);
            }
            RequestBody::UpdateMetadata(request) => {
                let error = self.fence(request.controller.controller_epoch);
                if error == ErrorCode::None {
                    self.cache.update(&request);
                    let parts = (&mut self.requests, &self.cache);
                    self.coordination.on_metadata(now, io, parts);
                }
                self.requests
                    .respond(io, token, UpdateMetadataResponse { error });
            }
            RequestBody::AlterIsr(request) => {
                self.coordination.controller.alter_isr(io, token, request);
            }
            RequestBody::ControlledShutdown(request) => {
                let controller = &mut self.coordination.controller;
                controller.controlled_shutdown(io, token, request);
            }
            RequestBody::ElectLeaders(request) => {
                self.coordination
                    .controller
                    .elect_leaders(io, token, request);
            }
            RequestBody::AlterPartitionReassignments(request) => {
                let controller = &mut self.coordination.controller;
                controller.reassign_partitions(io, token, request);
            }
            RequestBody::ListPartitionReassignments(request) => {
                let controller = &mut self.coordination.controller;
                controller.list_partition_reassignments(io, token, request);
            }
            other => self.administer(now, io, token, other),
        }
    }

    fn administer(&mut self, now: Now, io: &mut Io<'_>, token: RequestToken, body: RequestBody) {
        let active = self.coordination.controller.is_active();
        let hands = &mut Hands {
            now,
            io,
            keeper: &mut self.coordination.keeper,
            requests: &mut self.requests,
        };
        let admin = &mut self.coordination.admin;
        match body {
            RequestBody::CreateTopics(request) if active => {
                admin.create_topics(hands, &self.cache, token, &request);
            }
            RequestBody::CreateTopics(request) => TopicAdmin::refuse_create(hands, token, &request),
            RequestBody::DeleteTopics(request) => {
                admin.delete_topics(hands, &self.cache, (token, 3), &request);
            }
            RequestBody::IncrementalAlterConfigs(request) => {
                admin.alter_configs(hands, &self.cache, token, &request);
            }
            RequestBody::CreatePartitions(request) => {
                admin.create_partitions(hands, &self.cache, token, &request);
            }
            RequestBody::InitProducerId(_) => {
                self.coordination
                    .producer_ids
                    .init_producer_id(hands, token);
            }
            other => panic!("nobody sends {other:?} here"),
        }
    }

    fn fence(&mut self, epoch: ControllerEpoch) -> ErrorCode {
        if epoch < self.controller_epoch {
            self.refused += 1;
            return ErrorCode::StaleControllerEpoch;
        }
        self.controller_epoch = epoch;
        ErrorCode::None
    }

    fn lead_or_follow(&mut self, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        let error = self.fence(request.controller.controller_epoch);
        let mut partitions = Vec::new();
        if error == ErrorCode::None {
            for told in request.partitions {
                self.unheard_of += usize::from(!self.cache.contains(&told.partition));
                let known = self.told.get(&told.partition);
                let error = if self.broken.contains(&told.partition) {
                    ErrorCode::KafkaStorageError
                } else {
                    ErrorCode::None
                };
                partitions.push((told.partition.clone(), error));
                if known.is_none_or(|known| known.leader_epoch < told.state.leader_epoch) {
                    self.told.insert(told.partition, told.state);
                }
            }
        }
        LeaderAndIsrResponse {
            error,
            partitions,
            topic_ids: Some(request.topic_ids).filter(|ids| !ids.is_empty()),
        }
    }

    fn stop(&mut self, request: StopReplicaRequest) -> StopReplicaResponse {
        let error = self.fence(request.controller.controller_epoch);
        let mut partitions = Vec::new();
        for told in request.partitions {
            if told.delete {
                self.told.remove(&told.partition);
                self.deleted.push(told.partition.clone());
            }
            partitions.push((told.partition, ErrorCode::None));
        }
        StopReplicaResponse { error, partitions }
    }

    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        if let Input::Started = input {
            self.coordination.start(now, io, &mut self.requests);
            return;
        }
        let parts = (&mut self.requests, &self.cache);
        if let Some(input) = self.coordination.handle(now, input, io, parts) {
            self.own(now, input, io);
        }
        self.results.extend(self.coordination.isr.take_results());
        while let Some(event) = self.coordination.next_event() {
            if let CoordinationEvent::Prepared { .. } = event {
                self.coordination.register(now, io, &mut self.requests);
            }
            self.events.push(event);
        }
    }

    fn own(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Accepted {
                connection, from, ..
            } => self.requests.on_accepted(connection, from),
            Input::Received {
                connection,
                message,
            } => self.requests.on_message(io, connection, message),
            Input::Closed { connection, reason } => self.requests.on_closed(connection, reason),
            Input::Due {
                lane: Lane::RequestHandler,
            } => {
                if let Some(taken) = self.requests.take() {
                    self.serve(now, io, taken);
                }
            }
            _ => {}
        }
    }
}

impl Machine for TestNode {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match self {
            Self::Broker(broker) => broker.handle(now, input, io),
            Self::Client(client) => {
                let Some(channel) = &mut client.channel else {
                    return;
                };
                if let Some(PeerEvent::Response(body)) = channel.handle(input, io) {
                    client.answers.push(body);
                }
            }
        }
    }
}
