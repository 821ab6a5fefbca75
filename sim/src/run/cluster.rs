//! The nodes of a run: brokers, keeper servers, the scenario's clients, the operator and the final reader.

use super::view::Directory;
use crate::application::{
    ConsumerApp, CopierApp, CopierLife, Identity, Life, OldConsumerApp, OperatorApp, ProducerApp,
    Tools, TransactionalApp,
};
use crate::random::{Latency as WorldLatency, mix};
use crate::scenario::format::Latency;
use crate::scenario::plan::{
    BrokerPlan, COMMITTED_READER, ConsumerPlan, FINAL_READER, FaultPlan, KeeperPlan, OPERATOR,
    OldConsumerPlan, Plan, ProducerPlan,
};
use crate::world::{Boot, MessageName, NetworkConfig, NodeSpec};
use broker_core::{Broker, BrokerSpec};
use client_core::{Consumer, OldConsumerSpec, Producer, ZookeeperConsumer};
use history::manifest::{ClientInfo, ClientKind, Node as ManifestNode, NodeRole};
use keeper_core::{CLIENT_PORT, ELECTION_PORT, Keeper, KeeperSpec, QUORUM_PORT};
use protocol::api::data::{Acks, IsolationLevel};
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::{AdminConfig, ConsumerConfig, ProducerConfig};
use protocol::ids::{ClientId, Endpoint, GroupId, KeeperId, NodeId};
use protocol::machine::{Input, Io, Machine};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The port that brokers listen on.
pub const BROKER_PORT: u16 = 9092;

/// The values of each life of a copying application begin at a multiple of this: no run writes so many.
const COPIES_IN_A_LIFE: u64 = 1 << 32;

/// A core of any kind.
#[derive(Clone)]
#[expect(missing_docs, reason = "each variant is the core of that name")]
pub enum Core {
    Broker(Box<Broker>),
    Keeper(Box<Keeper>),
    Producer(Box<ProducerApp>),
    Transactional(Box<TransactionalApp>),
    Consumer(Box<ConsumerApp>),
    OldConsumer(Box<OldConsumerApp>),
    Copier(Box<CopierApp>),
    Operator(Box<OperatorApp>),
    Reader(Box<Consumer>),
}

impl Machine for Core {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match self {
            Self::Broker(core) => core.handle(now, input, io),
            Self::Keeper(core) => core.handle(now, input, io),
            Self::Producer(core) => core.handle(now, input, io),
            Self::Transactional(core) => core.handle(now, input, io),
            Self::Consumer(core) => core.handle(now, input, io),
            Self::OldConsumer(core) => core.handle(now, input, io),
            Self::Copier(core) => core.handle(now, input, io),
            Self::Operator(core) => core.handle(now, input, io),
            Self::Reader(core) => core.handle(now, input, io),
        }
    }
}

/// How to build a core.
#[derive(Clone, Debug)]
pub struct CoreBoot {
    role: Role,
    cluster: Arc<Shared>,
    /// Of this node, derived from the run's.
    seed: u64,
}

#[derive(Clone, Debug)]
enum Role {
    Broker(BrokerPlan),
    Keeper(KeeperPlan),
    Producer(Arc<ProducerPlan>, u16),
    Consumer(Arc<ConsumerPlan>, u16),
    Operator,
    Reader(IsolationLevel),
}

/// What every node knows of the cluster.
#[derive(Debug)]
struct Shared {
    behaviour: Behaviour,
    bootstrap: Vec<Endpoint>,
    keepers: Vec<(KeeperId, Endpoint)>,
}

impl Boot for CoreBoot {
    type Machine = Core;

    #[expect(clippy::too_many_lines, reason = "one arm a kind, each short")]
    fn boot(&self, life: u32) -> Core {
        let cluster = &self.cluster;
        // Each life draws anew: a restarted process does not repeat its predecessor's jitter.
        let seed = mix(self.seed ^ u64::from(life));
        let bootstrap = cluster.bootstrap.clone();
        match &self.role {
            Role::Broker(plan) => Core::Broker(Box::new(Broker::new(BrokerSpec {
                id: plan.id,
                config: plan.config.clone(),
                behaviour: plan.behaviour,
                listener: Endpoint::new(broker_host(plan.id.0), BROKER_PORT),
                keepers: cluster
                    .keepers
                    .iter()
                    .map(|(_, endpoint)| endpoint.clone())
                    .collect(),
                seed,
            }))),
            Role::Keeper(plan) => Core::Keeper(Box::new(Keeper::new(KeeperSpec {
                id: plan.id,
                servers: cluster
                    .keepers
                    .iter()
                    .map(|(id, endpoint)| (*id, endpoint.host.clone()))
                    .collect(),
                data_dir: Arc::from("data"),
                data_log_dir: Arc::from("datalog"),
                config: (*plan.config).clone(),
                behaviour: cluster.behaviour,
                seed,
            }))),
            Role::Producer(plan, client) => {
                let id = ClientId::from(plan.name.as_str());
                let core =
                    Producer::new(plan.config.clone(), bootstrap, cluster.behaviour, id, seed);
                // Every life numbers its own records, unless it goes on where the one before noted that it was.
                let first = match plan.checkpoint_every {
                    Some(_) => 0,
                    None => u64::from(life - 1) * plan.count,
                };
                let identity = Identity::new(*client, life - 1);
                if let Some(how) = plan.transactions.clone() {
                    let life = Life {
                        identity,
                        seed,
                        first,
                        end: first + plan.count,
                    };
                    let app = TransactionalApp::new(core, plan.clone(), how, life);
                    return Core::Transactional(Box::new(app));
                }
                Core::Producer(Box::new(ProducerApp::new(
                    core,
                    plan.clone(),
                    identity,
                    first,
                    first + plan.count,
                )))
            }
            Role::Consumer(plan, client) => {
                if let Some(old) = &plan.old {
                    return self.old_consumer(plan, old, Identity::new(*client, life - 1), seed);
                }
                let id = ClientId::from(plan.name.as_str());
                let core = Consumer::new(
                    plan.config.clone(),
                    bootstrap.clone(),
                    cluster.behaviour,
                    id.clone(),
                    seed,
                );
                if let Some(into) = &plan.into {
                    let producer = Producer::new(
                        into.config.clone(),
                        bootstrap,
                        cluster.behaviour,
                        id,
                        mix(seed),
                    );
                    let life = CopierLife {
                        reader: Identity::new(*client, life - 1),
                        writer: Identity::new(*client + 1, life - 1),
                        seed,
                        first: u64::from(life - 1) * COPIES_IN_A_LIFE,
                    };
                    let cores = (core, producer);
                    let app = CopierApp::new(cores, plan.clone(), into.clone(), life);
                    return Core::Copier(Box::new(app));
                }
                Core::Consumer(Box::new(ConsumerApp::new(
                    core,
                    plan.clone(),
                    Identity::new(*client, life - 1),
                )))
            }
            Role::Operator => Core::Operator(Box::new(OperatorApp::new(Tools {
                config: Arc::new(AdminConfig::defaults(cluster.behaviour.era)),
                bootstrap,
                behaviour: cluster.behaviour,
                seed,
            }))),
            Role::Reader(isolation) => {
                let id = ClientId::from(FINAL_READER);
                let config = Arc::new(reader_config(cluster.behaviour, *isolation));
                // It is a witness and no party: what is in the log must not depend on a bug of its own.
                let behaviour = cluster.behaviour.with(Fix::EmptyAbortEndsNothing, true);
                Core::Reader(Box::new(Consumer::new(
                    config, bootstrap, behaviour, id, seed,
                )))
            }
        }
    }
}

impl CoreBoot {
    /// A ZooKeeper consumer and its application.
    fn old_consumer(
        &self,
        plan: &Arc<ConsumerPlan>,
        old: &OldConsumerPlan,
        identity: Identity,
        seed: u64,
    ) -> Core {
        let keepers = self.cluster.keepers.iter();
        let core = ZookeeperConsumer::new(OldConsumerSpec {
            config: old.config.clone(),
            keepers: keepers.map(|(_, endpoint)| endpoint.clone()).collect(),
            behaviour: self.cluster.behaviour,
            host: plan.name.clone(),
            seed,
        });
        let app = OldConsumerApp::new(core, plan.clone(), old.streams, identity);
        Core::OldConsumer(Box::new(app))
    }
}

/// A reader without a group that takes everything from the beginning.
fn reader_config(behaviour: Behaviour, isolation: IsolationLevel) -> ConsumerConfig {
    let mut config = ConsumerConfig::defaults(behaviour.era);
    for (key, value) in [
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("max.poll.records", "10000"),
    ] {
        config.set(key, value).expect("a setting of our own");
    }
    config.isolation_level = isolation;
    // Who looks at what there is in the end creates nothing: a topic that was deleted stays so.
    config.allow_auto_create_topics = false;
    config.finish().expect("settings of our own")
}

fn broker_host(id: i32) -> String {
    format!("b{id}")
}

fn keeper_host(id: i32) -> String {
    format!("z{id}")
}

/// The nodes of a run, and who they are.
pub struct Nodes {
    /// By node id.
    pub specs: Vec<NodeSpec<CoreBoot>>,
    /// Who is who.
    pub directory: Directory,
    /// For the manifest.
    pub manifest_nodes: Vec<ManifestNode>,
    /// For the manifest; a value's writer is an index into these.
    pub clients: Vec<ClientInfo>,
    /// Producers.
    pub producers: BTreeSet<NodeId>,
    /// Brokers that are not there at first.
    pub absent: BTreeSet<NodeId>,
    /// The node of each producer and consumer, in the order of the plan.
    pub client_nodes: Vec<NodeId>,
    /// The admin client.
    pub operator: NodeId,
    /// The final reader, and its index among the clients.
    pub reader: (NodeId, u16),
    /// Where there are transactions: who reads everything once more with `read_committed`.
    pub committed_reader: Option<(NodeId, u16)>,
}

/// Builds the nodes of a plan.
pub fn nodes(plan: &Plan, seed: u64) -> Nodes {
    let keepers = plan.keepers.iter().map(|keeper| {
        (
            keeper.id,
            Endpoint::new(keeper_host(keeper.id.0), CLIENT_PORT),
        )
    });
    let shared = Arc::new(Shared {
        behaviour: plan.behaviour,
        bootstrap: plan
            .brokers
            .iter()
            .map(|broker| Endpoint::new(broker_host(broker.id.0), BROKER_PORT))
            .collect(),
        keepers: keepers.collect(),
    });
    let mut builder = Builder {
        shared,
        seed,
        nodes: Nodes::empty(),
    };
    builder.nodes.directory.offsets_partitions = plan
        .brokers
        .first()
        .map_or(50, |broker| broker.config.offsets_topic_num_partitions);
    builder.nodes.directory.transaction_partitions = plan.brokers.first().map_or(50, |broker| {
        broker.config.transaction_state_log_num_partitions
    });
    builder.keepers(plan);
    builder.brokers(plan);
    builder.clients(plan);
    builder.own_clients(plan);
    builder.nodes
}

impl Nodes {
    fn empty() -> Self {
        Self {
            specs: Vec::new(),
            directory: Directory::default(),
            manifest_nodes: Vec::new(),
            clients: Vec::new(),
            producers: BTreeSet::new(),
            absent: BTreeSet::new(),
            client_nodes: Vec::new(),
            operator: NodeId(0),
            reader: (NodeId(0), 0),
            committed_reader: None,
        }
    }
}

struct Builder {
    shared: Arc<Shared>,
    seed: u64,
    nodes: Nodes,
}

impl Builder {
    #[expect(
        clippy::too_many_arguments,
        reason = "what is done, to whom and with which hands: bundling would only hide it"
    )]
    fn add(
        &mut self,
        host: &str,
        ports: Vec<u16>,
        role: Role,
        manifest_role: NodeRole,
        starts: bool,
    ) -> NodeId {
        let id =
            NodeId(u16::try_from(self.nodes.specs.len()).expect("a few hundred nodes at most"));
        let boot = CoreBoot {
            role,
            cluster: self.shared.clone(),
            seed: mix(self.seed ^ (u64::from(id.0) << 32)),
        };
        let mut spec = NodeSpec::new(host, ports, boot);
        if !starts {
            spec.start = None;
        }
        self.nodes.specs.push(spec);
        self.nodes.manifest_nodes.push(ManifestNode {
            name: host.to_owned(),
            role: manifest_role,
        });
        id
    }

    fn keepers(&mut self, plan: &Plan) {
        for keeper in &plan.keepers {
            let ports = vec![CLIENT_PORT, QUORUM_PORT, ELECTION_PORT];
            let role = Role::Keeper(keeper.clone());
            let node = self.add(
                &keeper_host(keeper.id.0),
                ports,
                role,
                NodeRole::Keeper(keeper.id),
                true,
            );
            self.nodes.directory.keepers.insert(keeper.id, node);
        }
    }

    fn brokers(&mut self, plan: &Plan) {
        for broker in &plan.brokers {
            let role = Role::Broker(broker.clone());
            let host = broker_host(broker.id.0);
            let node = self.add(
                &host,
                vec![BROKER_PORT],
                role,
                NodeRole::Broker(broker.id),
                !broker.absent,
            );
            self.nodes.directory.brokers.insert(broker.id, node);
            self.nodes
                .directory
                .log_dirs
                .insert(node, broker.config.log_dirs.clone());
            if broker.absent {
                self.nodes.absent.insert(node);
            }
        }
    }

    fn client(&mut self, name: &str, kind: ClientKind, role: impl FnOnce(u16) -> Role) -> NodeId {
        let index = u16::try_from(self.nodes.clients.len()).expect("a few hundred clients at most");
        let node = self.add(
            name,
            Vec::new(),
            role(index),
            NodeRole::Client(index),
            false,
        );
        self.nodes.clients.push(ClientInfo {
            name: name.to_owned(),
            node,
            kind,
        });
        node
    }

    fn clients(&mut self, plan: &Plan) {
        for producer in &plan.producers {
            let plan = Arc::new(producer.clone());
            let node = self.client(&producer.name, producer_kind(&producer.config), |index| {
                Role::Producer(plan, index)
            });
            self.nodes
                .directory
                .clients
                .insert(producer.name.clone(), node);
            self.nodes.producers.insert(node);
            self.nodes.client_nodes.push(node);
        }
        for consumer in &plan.consumers {
            let plan = Arc::new(consumer.clone());
            let index =
                u16::try_from(self.nodes.clients.len()).expect("a few hundred clients at most");
            let feeds = consumer.into.as_ref().map(|_| index + 1);
            let node = self.client(&consumer.name, consumer_kind(consumer, feeds), |index| {
                Role::Consumer(plan, index)
            });
            if let Some(into) = &consumer.into {
                self.nodes.clients.push(ClientInfo {
                    name: format!("{}.into", consumer.name),
                    node,
                    kind: producer_kind(&into.config),
                });
            }
            self.nodes
                .directory
                .clients
                .insert(consumer.name.clone(), node);
            self.nodes.client_nodes.push(node);
        }
    }

    fn own_clients(&mut self, plan: &Plan) {
        self.nodes.operator = self.client(OPERATOR, ClientKind::Admin, |_| Role::Operator);
        self.nodes.reader = self.reader(
            FINAL_READER,
            ClientKind::FinalReader,
            IsolationLevel::ReadUncommitted,
        );
        if plan.has_transactions() {
            self.nodes.committed_reader = Some(self.reader(
                COMMITTED_READER,
                ClientKind::CommittedReader,
                IsolationLevel::ReadCommitted,
            ));
        }
    }

    fn reader(&mut self, name: &str, kind: ClientKind, isolation: IsolationLevel) -> (NodeId, u16) {
        let index = u16::try_from(self.nodes.clients.len()).expect("a few hundred clients at most");
        let node = self.client(name, kind, |_| Role::Reader(isolation));
        (node, index)
    }
}

fn producer_kind(config: &ProducerConfig) -> ClientKind {
    ClientKind::Producer {
        acks: match config.acks {
            Acks::None => "0".to_owned(),
            Acks::Leader => "1".to_owned(),
            Acks::All => "all".to_owned(),
            Acks::Other(number) => number.to_string(),
        },
        retries: u64::try_from(config.retries).unwrap_or(0),
        in_flight: u32::try_from(config.max_in_flight_requests_per_connection).unwrap_or(u32::MAX),
        idempotence: config.enable_idempotence,
        transactional_id: config.transactional_id.clone(),
        transaction_timeout_ms: config
            .transactional_id
            .as_ref()
            .map(|_| config.transaction_timeout_ms.as_millis()),
    }
}

fn consumer_kind(plan: &ConsumerPlan, feeds: Option<u16>) -> ClientKind {
    ClientKind::Consumer {
        group: plan
            .config
            .group_id
            .as_ref()
            .map(|group| GroupId::from(group.as_str())),
        commit: plan.commit,
        read_committed: plan.config.isolation_level == IsolationLevel::ReadCommitted,
        feeds,
        topics: plan.topics.clone(),
        old: plan.old.as_ref().map(|old| old.config.offsets_storage),
    }
}

/// The network of a plan, without its faults.
pub fn network(plan: &Plan) -> NetworkConfig {
    NetworkConfig {
        latency: latency(plan.network.latency),
        loss_per_million: u32::from(plan.network.loss_per_mille) * 1000,
        bandwidth: plan.network.bandwidth,
        unfaithful: plan.faults.iter().any(FaultPlan::is_unfaithful),
        ..NetworkConfig::default()
    }
}

/// The messages of a plan whose delay is fixed.
pub fn fixed_latencies(plan: &Plan, nodes: &Nodes) -> BTreeMap<MessageName, Span> {
    let node = |name: &str| {
        let place = nodes
            .manifest_nodes
            .iter()
            .position(|node| node.name == name)?;
        u16::try_from(place).ok().map(NodeId)
    };
    let fixed = plan.network.messages.iter().filter_map(|message| {
        let name = MessageName {
            from: node(&message.from)?,
            to: node(&message.to)?,
            kind: message.kind,
            nth: message.nth,
        };
        Some((name, message.latency))
    });
    fixed.collect()
}

/// A scenario's delay as the world draws it.
pub fn latency(latency: Latency) -> WorldLatency {
    match latency {
        Latency::Constant(time) => WorldLatency::Constant(time.0),
        Latency::Uniform([min, max]) => WorldLatency::Uniform {
            min: min.0,
            max: max.0,
        },
    }
}

/// Names to nodes as conditions use them: a group of members answers to their common name too.
pub fn condition_names(plan: &Plan, directory: &Directory) -> BTreeMap<String, Vec<NodeId>> {
    let mut names: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for (name, node) in &directory.clients {
        names.entry(name.clone()).or_default().push(*node);
    }
    for consumer in &plan.consumers {
        if let Some((stem, number)) = consumer.name.rsplit_once('-')
            && number.parse::<u16>().is_ok()
            && let Some(node) = directory.clients.get(&consumer.name)
        {
            names.entry(stem.to_owned()).or_default().push(*node);
        }
    }
    names
}
