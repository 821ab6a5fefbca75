//! A broker's ephemeral registration and what it makes sure of before (`KafkaZkClient.registerBroker`, `CheckedEphemeral`).
//!
//! The czxid of the registration is the broker's epoch (KIP-380). What happens when the znode is there already is the story
//! of KAFKA-1387 and KAFKA-7165: 0.8 compares what is stored with what it would store and, when it is its own, sleeps a
//! session time-out and tries again; 0.9 to 2.1 ask whether the present session owns it and refuse otherwise; later ones
//! delete it when their own previous session owns it. Left out: generated broker ids and KIP-584's features.

use crate::hands::Hands;
use crate::keeper_session::{
    Answer, KeeperOwner, Ticket, create, delete, error_of, exists, get_data, set_data,
};
use crate::timer::TimerOwner;
use crate::znode::broker::{encode_broker, same_broker};
use crate::znode::{json, paths};
use bytes::Bytes;
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::KeeperError;
use protocol::ids::{BrokerEpoch, BrokerId, Endpoint, SessionId};
use protocol::keeper::{CreateMode, KeeperOp, KeeperResult, Path, Stat};
use protocol::note::{BrokerNote, Note};
use std::sync::Arc;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// The persistent znodes stand, and this is the cluster's id.
    Prepared {
        /// `/cluster/id`; clusters before 0.10.1 have none.
        cluster_id: Option<String>,
    },
    /// The registration stands.
    Registered(BrokerEpoch),
    /// It does not. At start-up the broker ends; after an expired session it lives on unregistered, as Kafka does.
    Refused(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Creating persistent znodes; so many answers are due.
    Paths(usize),
    ReadingClusterId,
    CreatingClusterId,
    Creating,
    /// Created without a multi; asking for the czxid.
    AskingEpoch,
    /// Something is there already.
    Comparing,
    Deleting,
    /// 0.8 waits until its former session is over.
    Sleeping,
}

/// The registration.
#[derive(Clone, Debug)]
pub struct Registration {
    broker: BrokerId,
    endpoint: Endpoint,
    behaviour: Behaviour,
    /// The id this broker would give the cluster.
    proposed_cluster_id: String,
    phase: Phase,
    /// What this try would store.
    data: Bytes,
    waiting: Option<Ticket>,
    /// Nothing can have been lost since the last registration.
    after_clean_shutdown: bool,
    /// The session that registered last.
    owner: Option<SessionId>,
    epoch: Option<BrokerEpoch>,
    outcome: Option<RegistrationOutcome>,
}

/// Its only timer: 0.8's sleep.
const SLEEP: u64 = 1 << 40;

impl Registration {
    /// The registration of `broker`, listening at `endpoint`. `proposed_cluster_id` is used when the cluster has none.
    pub fn new(
        broker: BrokerId,
        endpoint: Endpoint,
        behaviour: Behaviour,
        proposed_cluster_id: String,
    ) -> Self {
        Self {
            broker,
            endpoint,
            behaviour,
            proposed_cluster_id,
            phase: Phase::Idle,
            data: Bytes::new(),
            waiting: None,
            after_clean_shutdown: false,
            owner: None,
            epoch: None,
            outcome: None,
        }
    }

    /// The broker's epoch: the czxid of its last registration.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch
    }

    /// First at start-up: creates the persistent znodes and reads or creates the cluster's id (since 0.10.1).
    pub fn prepare(&mut self, hands: &mut Hands<'_, '_>) {
        let cluster = self.clusters_have_ids().then_some(paths::CLUSTER);
        let all: Vec<_> = paths::persistent(self.behaviour.era)
            .chain(cluster)
            .collect();
        self.phase = Phase::Paths(all.len());
        for path in all {
            self.ask(hands, create(path, Bytes::new()));
        }
    }

    fn clusters_have_ids(&self) -> bool {
        self.behaviour.era >= Era::V1_0
    }

    /// Whether the next registration says that nothing can have been lost since the one before: the process before stopped in good
    /// order, or a controller has read a registration of this one.
    pub fn after_clean_shutdown(&mut self, clean: bool) {
        self.after_clean_shutdown = clean;
    }

    /// Registers, at start-up and after an expired session.
    pub fn register(&mut self, hands: &mut Hands<'_, '_>) {
        self.data = encode_broker(
            &self.behaviour,
            &self.endpoint,
            self.after_clean_shutdown,
            hands.now.wall,
        );
        self.create(hands);
    }

    /// What came of the last call, once it is known.
    pub fn take_outcome(&mut self) -> Option<RegistrationOutcome> {
        self.outcome.take()
    }

    /// 0.8 has slept a session time-out.
    pub fn on_timer(&mut self, hands: &mut Hands<'_, '_>, local: u64) {
        if local == SLEEP && self.phase == Phase::Sleeping {
            self.create(hands);
        }
    }

    /// Whether a timer of [`TimerOwner::Broker`] is this one's.
    pub fn owns_timer(local: u64) -> bool {
        local == SLEEP
    }

    /// Takes the answer to an operation of [`KeeperOwner::Registration`].
    pub fn on_reply(&mut self, hands: &mut Hands<'_, '_>, ticket: Ticket, answer: &Answer) {
        let preparing = matches!(
            self.phase,
            Phase::Paths(_) | Phase::ReadingClusterId | Phase::CreatingClusterId
        );
        if preparing && error_of(answer) == Some(KeeperError::SessionExpired) {
            // Start-up fails with the session it began in.
            self.refuse(Arc::from(KeeperError::SessionExpired.name()));
            return;
        }
        if let Phase::Paths(due) = self.phase {
            self.path_created(hands, due);
            return;
        }
        if self.waiting != Some(ticket) {
            return;
        }
        self.waiting = None;
        match self.phase {
            Phase::Idle | Phase::Paths(_) | Phase::Sleeping => {}
            Phase::ReadingClusterId => self.cluster_id_read(hands, answer),
            Phase::CreatingClusterId => {
                self.phase = Phase::ReadingClusterId;
                self.ask(hands, get_data(paths::CLUSTER_ID, false));
            }
            Phase::Creating => self.created(hands, answer),
            Phase::AskingEpoch => match answer {
                Ok(KeeperResult::Stat(stat)) => self.stands(hands, *stat),
                Ok(_) | Err(_) => self.create(hands),
            },
            Phase::Comparing => self.compare(hands, answer),
            Phase::Deleting => self.create(hands),
        }
    }

    fn ask(&mut self, hands: &mut Hands<'_, '_>, op: KeeperOp) {
        let ticket = hands
            .keeper
            .submit(hands.now, hands.io, KeeperOwner::Registration, op);
        self.waiting = Some(ticket);
    }

    fn path(&self) -> Path {
        paths::broker(self.broker)
    }

    fn path_created(&mut self, hands: &mut Hands<'_, '_>, due: usize) {
        self.phase = Phase::Paths(due - 1);
        if due > 1 {
            return;
        }
        if self.clusters_have_ids() {
            self.phase = Phase::ReadingClusterId;
            self.ask(hands, get_data(paths::CLUSTER_ID, false));
        } else {
            self.phase = Phase::Idle;
            self.outcome = Some(RegistrationOutcome::Prepared { cluster_id: None });
        }
    }

    fn cluster_id_read(&mut self, hands: &mut Hands<'_, '_>, answer: &Answer) {
        if let Ok(KeeperResult::Data(data, _)) = answer {
            let cluster_id = json::decode_cluster_id(data).unwrap_or_default();
            self.phase = Phase::Idle;
            self.outcome = Some(RegistrationOutcome::Prepared {
                cluster_id: Some(cluster_id),
            });
        } else {
            self.phase = Phase::CreatingClusterId;
            let data = json::encode_cluster_id(&self.proposed_cluster_id);
            self.ask(hands, create(paths::CLUSTER_ID, data));
        }
    }

    fn create(&mut self, hands: &mut Hands<'_, '_>) {
        self.phase = Phase::Creating;
        let with = |data| KeeperOp::Create {
            path: self.path(),
            data,
            mode: CreateMode::Ephemeral,
        };
        let op = if self.behaviour.has(Fix::BrokerEpoch) {
            // The reply to a setData has the stat that a create's has not.
            let write = set_data(self.path(), self.data.clone(), 0);
            KeeperOp::Multi(vec![with(Bytes::new()), write])
        } else {
            with(self.data.clone())
        };
        self.ask(hands, op);
    }

    fn created(&mut self, hands: &mut Hands<'_, '_>, answer: &Answer) {
        match answer {
            Ok(KeeperResult::Multi(results)) => {
                if let Some(KeeperResult::DataSet(stat)) = results.get(1) {
                    self.stands(hands, *stat);
                }
            }
            Ok(_) => {
                self.phase = Phase::AskingEpoch;
                self.ask(hands, exists(self.path(), false));
            }
            Err(failure) if node_exists(failure) => {
                self.phase = Phase::Comparing;
                self.ask(hands, get_data(self.path(), false));
            }
            Err(failure) => self.refuse(Arc::from(failure.error.name())),
        }
    }

    fn stands(&mut self, hands: &mut Hands<'_, '_>, stat: Stat) {
        let epoch = BrokerEpoch(stat.czxid.0);
        self.phase = Phase::Idle;
        self.owner = hands.keeper.session();
        self.epoch = Some(epoch);
        hands
            .io
            .note(Note::Broker(BrokerNote::Registered { epoch }));
        self.outcome = Some(RegistrationOutcome::Registered(epoch));
    }

    fn refuse(&mut self, why: Arc<str>) {
        self.phase = Phase::Idle;
        self.outcome = Some(RegistrationOutcome::Refused(why));
    }

    /// `CheckedEphemeral.getAfterNodeExists`, or what the releases before had.
    fn compare(&mut self, hands: &mut Hands<'_, '_>, answer: &Answer) {
        let (data, stat) = match answer {
            Ok(KeeperResult::Data(data, stat)) => (data, *stat),
            Err(failure) if failure.error == KeeperError::NoNode => {
                self.create(hands);
                return;
            }
            Ok(_) | Err(_) => {
                let error = error_of(answer).unwrap_or(KeeperError::SystemError);
                self.refuse(Arc::from(error.name()));
                return;
            }
        };
        let session = hands.keeper.session();
        if !self.behaviour.has(Fix::EphemeralConflictCheck) {
            self.compare_data(hands, data, stat);
        } else if session == Some(stat.ephemeral_owner) {
            self.stands(hands, stat);
        } else if self.behaviour.has(Fix::EphemeralOwnerCheck)
            && self.owner == Some(stat.ephemeral_owner)
        {
            self.phase = Phase::Deleting;
            self.ask(hands, delete(self.path()));
        } else {
            self.refuse(self.already_registered());
        }
    }

    /// `ZkUtils.createEphemeralPathExpectConflictHandleZKBug` of 0.8.
    fn compare_data(&mut self, hands: &mut Hands<'_, '_>, data: &Bytes, stat: Stat) {
        if *data == self.data {
            self.stands(hands, stat);
        } else if same_broker(data, &self.data) {
            self.phase = Phase::Sleeping;
            let wake = hands.now.mono + hands.keeper.session_timeout();
            hands.io.set_timer(TimerOwner::Broker.timer(SLEEP), wake);
        } else {
            self.refuse(self.already_registered());
        }
    }

    fn already_registered(&self) -> Arc<str> {
        Arc::from(format!(
            "A broker is already registered on the path {}. This probably indicates that you either have configured a \
             brokerid that is already in use, or else you have shutdown this broker and restarted it faster than the \
             zookeeper timeout so it appears to be re-registering.",
            self.path()
        ))
    }
}

/// `NODEEXISTS` of a plain create, or of the create in a multi.
fn node_exists(failure: &protocol::keeper::KeeperFailure) -> bool {
    failure.error == KeeperError::NodeExists
        || failure.multi.first() == Some(&Some(KeeperError::NodeExists))
}
