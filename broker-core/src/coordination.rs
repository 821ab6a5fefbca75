//! Everything of a broker that talks to the keeper, wired together: session, registration, controller, in-sync replicas,
//! topics, producer ids, settings.
//!
//! Stands for the part of `KafkaServer` that starts these in their order and hands callbacks around. The broker offers
//! every input ([`Coordination::handle`]), passes on the requests it took, drains [`Coordination::next_event`], and tells
//! of every UpdateMetadata ([`Coordination::on_metadata`]).

use crate::controller::{Controller, ControllerSettings};
use crate::hands::Hands;
use crate::isr_writer::IsrWriter;
use crate::keeper_session::{Keeper, KeeperNews, KeeperOwner};
use crate::metadata_cache::MetadataCache;
use crate::producer_ids::ProducerIds;
use crate::registration::{Registration, RegistrationOutcome};
use crate::request_channel::RequestChannel;
use crate::timer::TimerOwner;
use crate::topic_admin::{AdminSettings, TopicAdmin, TransactionTopic};
use crate::topic_configs::TopicConfigs;
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::BrokerConfig;
use protocol::ids::{BrokerEpoch, BrokerId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io, Lane};
use protocol::note::{BrokerNote, Note};
use protocol::time::Now;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who a broker is to the cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `broker.id`.
    pub broker: BrokerId,
    /// Its advertised listener.
    pub endpoint: Endpoint,
    /// Which Kafka it is.
    pub behaviour: Behaviour,
    /// The client ports of the keeper servers.
    pub keepers: Vec<Endpoint>,
    /// Shuffles the keeper servers, draws placements and topic ids.
    pub seed: u64,
}

/// What the broker must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinationEvent {
    /// The keeper was reached: load the logs, then call [`Coordination::register`].
    Prepared {
        /// `/cluster/id`.
        cluster_id: Option<String>,
    },
    /// The broker is registered, for the first time or again. Controller and producer ids have started.
    Registered(BrokerEpoch),
    /// The registration was refused. Fatal at start-up; later the broker lives on unregistered, as Kafka does.
    Refused(Arc<str>),
    /// The session expired. The controller has resigned or will at once, and a new session opens by itself. Fatal at
    /// start-up, except with zkclient, which tries what was asked again in the next session.
    SessionExpired,
    /// The session was closed as asked.
    Closed,
}

/// The parts.
#[derive(Clone, Debug)]
pub struct Coordination {
    /// The session.
    pub keeper: Keeper,
    /// The registration.
    pub registration: Registration,
    /// The controller.
    pub controller: Controller,
    /// Changes of in-sync replicas by leaders here.
    pub isr: IsrWriter,
    /// Topic administration.
    pub admin: TopicAdmin,
    /// Producer ids.
    pub producer_ids: ProducerIds,
    /// Settings of topics.
    pub configs: TopicConfigs,
    started: bool,
    events: VecDeque<CoordinationEvent>,
}

impl Coordination {
    /// The parts of a broker with these settings; nothing has started.
    pub fn new(identity: Identity, config: &BrokerConfig) -> Self {
        let Identity {
            broker,
            endpoint,
            behaviour,
            keepers,
            seed,
        } = identity;
        let settings = ControllerSettings {
            broker,
            behaviour,
            request_timeout: config.controller_socket_timeout_ms,
            delete_topics: config.delete_topic_enable,
            unclean_election: config.unclean_leader_election_enable,
            min_isr: usize::try_from(config.min_insync_replicas).unwrap_or(1),
            auto_rebalance: config.auto_leader_rebalance_enable,
            rebalance_interval: config.leader_imbalance_check_interval_seconds,
            imbalance_percentage: u64::try_from(config.leader_imbalance_per_broker_percentage)
                .unwrap_or(0),
            seed: seed ^ 2,
        };
        let admin = AdminSettings {
            behaviour,
            partitions: config.num_partitions,
            replication_factor: config.default_replication_factor,
            delete_topics: config.delete_topic_enable,
            offsets_partitions: config.offsets_topic_num_partitions,
            offsets_replication_factor: i32::from(config.offsets_topic_replication_factor),
            offsets_segment_bytes: config.offsets_topic_segment_bytes,
            transaction_topic: TransactionTopic {
                partitions: config.transaction_state_log_num_partitions,
                replication_factor: i32::from(config.transaction_state_log_replication_factor),
                min_isr: config.transaction_state_log_min_isr,
                segment_bytes: config.transaction_state_log_segment_bytes,
            },
            seed,
        };
        let cluster_id = crate::placement::Draws::new(seed ^ 1)
            .topic_id()
            .to_string();
        Self {
            keeper: Keeper::new(keepers, config.zookeeper_session_timeout_ms, seed)
                .reopening(!behaviour.has(Fix::ReadBrokersWhenHandled)),
            registration: Registration::new(broker, endpoint, behaviour, cluster_id),
            controller: Controller::new(settings),
            isr: IsrWriter::new(broker, behaviour, config.controller_socket_timeout_ms),
            admin: TopicAdmin::new(admin),
            producer_ids: ProducerIds::new(broker),
            configs: TopicConfigs::default(),
            started: false,
            events: VecDeque::new(),
        }
    }

    /// Connects to the keeper; [`CoordinationEvent::Prepared`] follows.
    pub fn start(&mut self, now: Now, io: &mut Io<'_>, requests: &mut RequestChannel) {
        self.keeper.start(now, io);
        let (registration, mut hands) = self.split(now, io, requests);
        registration.prepare(&mut hands);
    }

    /// Registers the broker; [`CoordinationEvent::Registered`] or `Refused` follows.
    pub fn register(&mut self, now: Now, io: &mut Io<'_>, requests: &mut RequestChannel) {
        let (registration, mut hands) = self.split(now, io, requests);
        registration.register(&mut hands);
    }

    fn split<'a, 'b>(
        &'a mut self,
        now: Now,
        io: &'a mut Io<'b>,
        requests: &'a mut RequestChannel,
    ) -> (&'a mut Registration, Hands<'a, 'b>) {
        let hands = Hands {
            now,
            io,
            keeper: &mut self.keeper,
            requests,
        };
        (&mut self.registration, hands)
    }

    /// The next thing the broker must know.
    pub fn next_event(&mut self) -> Option<CoordinationEvent> {
        self.events.pop_front()
    }

    /// Takes an input that is about one of the parts; gives any other back.
    pub fn handle(
        &mut self,
        now: Now,
        input: Input,
        io: &mut Io<'_>,
        (requests, cache): (&mut RequestChannel, &MetadataCache),
    ) -> Option<Input> {
        if self.keeper.handle(now, &input, io) {
            return None;
        }
        match input {
            Input::Due {
                lane: Lane::KeeperCallback,
            } => self.call_back(now, io, (requests, cache)),
            Input::Due {
                lane: Lane::Controller,
            } => {
                let keeper = &mut self.keeper;
                let mut hands = Hands {
                    now,
                    io,
                    keeper,
                    requests,
                };
                self.controller.on_due(&mut hands);
                self.follow_up(now, io, requests);
            }
            Input::Timer { timer } => {
                let (owner, local) = TimerOwner::of(timer);
                if !self.ring((owner, local), now, io, (requests, cache)) {
                    return Some(input);
                }
            }
            Input::Opened { connection }
            | Input::Refused { connection }
            | Input::Closed { connection, .. }
            | Input::Received { connection, .. } => {
                let keeper = &mut self.keeper;
                let mut hands = Hands {
                    now,
                    io,
                    keeper,
                    requests,
                };
                return Self::on_connection(
                    (&mut self.controller, &mut self.isr),
                    &mut hands,
                    connection,
                    input,
                );
            }
            Input::Started
            | Input::Accepted { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => return Some(input),
        }
        None
    }

    fn on_connection(
        (controller, isr): (&mut Controller, &mut IsrWriter),
        hands: &mut Hands<'_, '_>,
        connection: ConnectionId,
        input: Input,
    ) -> Option<Input> {
        if controller.owns(connection) {
            controller.on_channel(hands, connection, input);
        } else if isr.owns(connection) {
            isr.on_channel(hands, input);
        } else {
            return Some(input);
        }
        None
    }

    fn ring(
        &mut self,
        (owner, local): (TimerOwner, u64),
        now: Now,
        io: &mut Io<'_>,
        (requests, cache): (&mut RequestChannel, &MetadataCache),
    ) -> bool {
        let keeper = &mut self.keeper;
        let hands = &mut Hands {
            now,
            io,
            keeper,
            requests,
        };
        match owner {
            TimerOwner::Controller => self.controller.on_timer(hands, local),
            TimerOwner::ControllerChannel => self.controller.on_channel_timer(hands, local),
            TimerOwner::Isr => self.isr.on_timer(hands, local),
            TimerOwner::Admin => self.admin.on_timer(hands, cache, local),
            TimerOwner::Broker if Registration::owns_timer(local) => {
                self.registration.on_timer(hands, local);
            }
            TimerOwner::Broker
            | TimerOwner::Keeper
            | TimerOwner::Purgatory
            | TimerOwner::Replication
            | TimerOwner::Fetcher
            | TimerOwner::Group
            | TimerOwner::Log
            | TimerOwner::Transaction
            | TimerOwner::TransactionMarkers
            | TimerOwner::Verification => return false,
        }
        true
    }

    fn call_back(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        (requests, cache): (&mut RequestChannel, &MetadataCache),
    ) {
        let Some(news) = self.keeper.next_news() else {
            return;
        };
        let keeper = &mut self.keeper;
        let hands = &mut Hands {
            now,
            io,
            keeper,
            requests,
        };
        match news {
            KeeperNews::Reply {
                owner,
                ticket,
                answer,
            } => match owner {
                KeeperOwner::Controller => self.controller.on_reply(hands, ticket, answer),
                KeeperOwner::Registration => self.registration.on_reply(hands, ticket, &answer),
                KeeperOwner::Isr => self.isr.on_reply(hands, ticket, &answer),
                KeeperOwner::Admin => self.admin.on_reply(hands, cache, ticket, answer),
                KeeperOwner::ProducerIds => self.producer_ids.on_reply(hands, ticket, &answer),
                KeeperOwner::Configs => self.configs.on_reply(hands, ticket, &answer),
            },
            KeeperNews::Watch(event) => {
                self.controller.on_watch(hands.io, &event);
                self.configs.on_watch(hands, &event);
            }
            KeeperNews::Connected { .. } | KeeperNews::Disconnected => {}
            KeeperNews::Expired => {
                hands.io.note(Note::Broker(BrokerNote::SessionExpired));
                self.events.push_back(CoordinationEvent::SessionExpired);
                if !self.started {
                    // Nobody listens to the session's state yet: a session that ends now is the start-up's affair.
                } else if hands.keeper.reopens() {
                    // `KafkaHealthcheck` and the controller are told on their own, and neither waits for the other.
                    self.registration.register(hands);
                    self.controller.on_session_reopened(hands.io);
                } else {
                    self.controller.on_session_expired(hands);
                }
            }
            KeeperNews::Closed => self.events.push_back(CoordinationEvent::Closed),
        }
        self.follow_up(now, io, requests);
    }

    /// What one part's step means for another.
    fn follow_up(&mut self, now: Now, io: &mut Io<'_>, requests: &mut RequestChannel) {
        let keeper = &mut self.keeper;
        let hands = &mut Hands {
            now,
            io,
            keeper,
            requests,
        };
        if self.controller.take_registration_wish() {
            self.registration.register(hands);
        }
        match self.registration.take_outcome() {
            None => {}
            Some(RegistrationOutcome::Prepared { cluster_id }) => {
                self.events
                    .push_back(CoordinationEvent::Prepared { cluster_id });
            }
            Some(RegistrationOutcome::Registered(epoch)) => {
                self.isr.set_broker_epoch(epoch);
                self.configs.start(hands);
                if !self.started {
                    self.started = true;
                    self.controller.startup(hands.io);
                    self.producer_ids.start(hands);
                }
                self.controller.on_registered(hands);
                self.events.push_back(CoordinationEvent::Registered(epoch));
            }
            Some(RegistrationOutcome::Refused(why)) => {
                self.controller.on_registration_refused(hands);
                self.events.push_back(CoordinationEvent::Refused(why));
            }
        }
    }

    /// The metadata cache has taken an UpdateMetadata over.
    pub fn on_metadata(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        (requests, cache): (&mut RequestChannel, &MetadataCache),
    ) {
        let keeper = &mut self.keeper;
        let hands = &mut Hands {
            now,
            io,
            keeper,
            requests,
        };
        let controller = cache.controller().and_then(|id| cache.endpoint(id));
        self.isr.set_controller(hands, controller.cloned());
        self.admin.on_metadata(hands, cache);
    }
}
