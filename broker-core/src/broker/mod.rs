//! The broker as a whole: owns the parts and hands each input to one of them (`KafkaServer`, `KafkaApis`).
//!
//! Start-up follows Kafka's order: keeper session, persistent znodes, settings of the topics on disk, logs, registration,
//! controller and producer ids, coordinators of groups and transactions. Requests that come before the broker is registered wait. After every
//! input the parts' wishes are carried to each other until nobody wishes anything more ([`wishes`]).

mod requests;
mod shutdown;
mod startup;
mod transactions;
mod wishes;

use crate::coordination::{Coordination, Identity};
use crate::group::{Desk, GroupCoordinator, GroupTicket};
use crate::replication::{AppendTicket, ReplicaManager, Step};
use crate::request_channel::{RequestChannel, Taken};
use crate::timer::TimerOwner;
use crate::transaction::{TransactionCoordinator, TransactionTicket, Verifier};
use protocol::behaviour::Behaviour;
use protocol::config::BrokerConfig;
use protocol::ids::{BrokerId, Endpoint, TopicName};
use protocol::machine::{ConnectionId, FlushId, Input, Io, Lane, Machine, TimerId};
use protocol::time::Now;
use shutdown::Shutdown;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a broker is built from.
#[derive(Clone, Debug)]
pub struct BrokerSpec {
    /// `broker.id`.
    pub id: BrokerId,
    /// Its settings.
    pub config: Arc<BrokerConfig>,
    /// Which Kafka it is.
    pub behaviour: Behaviour,
    /// Its advertised listener.
    pub listener: Endpoint,
    /// The client ports of the keeper servers (`zookeeper.connect`).
    pub keepers: Vec<Endpoint>,
    /// Decides its free choices: placement, jitter, member ids.
    pub seed: u64,
}

/// How far the start has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The keeper has not been reached yet.
    Connecting,
    /// The settings of these topics, whose logs are on disk, are being read.
    ReadingSettings(BTreeSet<TopicName>),
    /// Logs are loaded; the registration is under way.
    Registering,
    /// It serves.
    Running,
    /// It stops in good order.
    Stopping,
}

/// One broker.
#[derive(Clone, Debug)]
pub struct Broker {
    spec: Arc<BrokerSpec>,
    stage: Stage,
    requests: RequestChannel,
    coordination: Coordination,
    replicas: ReplicaManager,
    groups: GroupCoordinator,
    /// Appends of the group coordinator that replicas have not decided.
    group_appends: BTreeMap<AppendTicket, GroupTicket>,
    transactions: TransactionCoordinator,
    /// Appends of the transaction coordinator that replicas have not decided.
    transaction_appends: BTreeMap<AppendTicket, TransactionTicket>,
    verifier: Verifier,
    /// Requests that wait for settings of topics.
    parked: VecDeque<Taken>,
    /// Handler work that came before the broker was registered.
    early: usize,
    shutdown: Option<Shutdown>,
}

impl Broker {
    /// A broker whose process has not started.
    pub fn new(spec: BrokerSpec) -> Self {
        let identity = Identity {
            broker: spec.id,
            endpoint: spec.listener.clone(),
            behaviour: spec.behaviour,
            keepers: spec.keepers.clone(),
            seed: spec.seed,
        };
        Self {
            stage: Stage::Connecting,
            requests: RequestChannel::new(spec.behaviour),
            coordination: Coordination::new(identity, &spec.config),
            replicas: ReplicaManager::new(spec.config.clone(), spec.behaviour, spec.id, spec.seed),
            groups: GroupCoordinator::new(&spec.config, spec.behaviour, spec.id, spec.seed),
            group_appends: BTreeMap::new(),
            transactions: TransactionCoordinator::new(&spec.config, spec.behaviour, spec.id),
            transaction_appends: BTreeMap::new(),
            verifier: Verifier::new(spec.id, spec.config.request_timeout_ms),
            parked: VecDeque::new(),
            early: 0,
            shutdown: None,
            spec: Arc::new(spec),
        }
    }

    /// Its id.
    pub fn id(&self) -> BrokerId {
        self.spec.id
    }

    /// Whether it takes itself for the controller.
    pub fn is_controller(&self) -> bool {
        self.coordination.controller.is_active()
    }

    /// Its replicas.
    pub fn replicas(&self) -> &ReplicaManager {
        &self.replicas
    }

    fn on_connection(&mut self, now: Now, connection: ConnectionId, input: Input, io: &mut Io<'_>) {
        if self.requests.owns(connection) {
            if let Input::Received { message, .. } = input {
                self.requests.on_message(io, connection, message);
            } else if let Input::Closed { reason, .. } = input {
                self.requests.on_closed(connection, reason);
            }
        } else if self.replicas.owns(connection) {
            let mut step = Step {
                now,
                io,
                requests: &mut self.requests,
            };
            self.replicas.on_connection(&mut step, connection, input);
        } else if self.transactions.owns(connection) {
            self.on_marker_connection(now, (connection, input), io);
        } else if self.verifier.owns(connection) {
            self.verifier.on_connection(now, io, (connection, input));
        } else if !self.is_shutdown_connection(connection) {
            self.coordinate(now, input, io);
        } else {
            self.on_shutdown_channel(now, input, io);
        }
    }

    fn on_timer(&mut self, now: Now, timer: TimerId, io: &mut Io<'_>) {
        let (owner, number) = TimerOwner::of(timer);
        match owner {
            TimerOwner::Purgatory
            | TimerOwner::Replication
            | TimerOwner::Fetcher
            | TimerOwner::Log => {
                let mut step = Step {
                    now,
                    io,
                    requests: &mut self.requests,
                };
                self.replicas.on_timer(&mut step, owner, number);
            }
            TimerOwner::Group => self.groups.on_timer(Desk {
                now,
                io,
                requests: &mut self.requests,
            }),
            TimerOwner::Transaction => self.transact(now, io, |transactions, desk| {
                transactions.on_timer(desk, number);
            }),
            TimerOwner::Verification => self.verifier.on_timer(now, io, number),
            TimerOwner::TransactionMarkers => self.transact(now, io, |transactions, desk| {
                transactions.on_marker_timer(desk, number);
            }),
            TimerOwner::Broker if Shutdown::owns_timer(number) => {
                self.on_shutdown_timer(now, number, io);
            }
            TimerOwner::Keeper
            | TimerOwner::Controller
            | TimerOwner::ControllerChannel
            | TimerOwner::Isr
            | TimerOwner::Admin
            | TimerOwner::Broker => self.coordinate(now, Input::Timer { timer }, io),
        }
    }

    fn on_due(&mut self, now: Now, lane: Lane, io: &mut Io<'_>) {
        match lane {
            Lane::RequestHandler if self.stage == Stage::Running => self.serve_next(now, io),
            Lane::RequestHandler => self.early += 1,
            Lane::Fetcher(source) => {
                let mut step = Step {
                    now,
                    io,
                    requests: &mut self.requests,
                };
                self.replicas.on_fetcher_due(&mut step, source);
            }
            Lane::GroupLoader => self.groups.on_due(Desk {
                now,
                io,
                requests: &mut self.requests,
            }),
            Lane::TransactionLoader => self.transactions.on_loader_due(),
            Lane::TransactionMarkers => self.transact(now, io, |transactions, desk| {
                transactions.send_markers(desk);
            }),
            Lane::Controller | Lane::KeeperCallback | Lane::Background => {
                self.coordinate(now, Input::Due { lane }, io);
            }
        }
    }

    fn on_flushed(
        &mut self,
        now: Now,
        flush: FlushId,
        result: Result<(), protocol::disk::DiskError>,
        io: &mut Io<'_>,
    ) {
        let (_, number) = TimerOwner::of(TimerId(flush.0));
        let mut step = Step {
            now,
            io,
            requests: &mut self.requests,
        };
        self.replicas.on_flushed(&mut step, number, result);
    }

    fn coordinate(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        let around = (&mut self.requests, self.replicas.metadata());
        // What nobody claims is about a connection that its owner has given up already.
        let _ = self.coordination.handle(now, input, io, around);
    }
}

impl Machine for Broker {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started => self.coordination.start(now, io, &mut self.requests),
            Input::Accepted {
                connection, from, ..
            } => self.requests.on_accepted(connection, from),
            Input::Opened { connection }
            | Input::Refused { connection }
            | Input::Closed { connection, .. }
            | Input::Received { connection, .. } => self.on_connection(now, connection, input, io),
            Input::Timer { timer } => self.on_timer(now, timer, io),
            Input::Flushed { flush, result } => self.on_flushed(now, flush, result, io),
            Input::Due { lane } => self.on_due(now, lane, io),
            Input::Stop => self.begin_shutdown(now, io),
            // A broker is no client.
            Input::Verb { .. } => {}
        }
        self.settle(now, io);
    }
}
