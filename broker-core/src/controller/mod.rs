//! The controller of ZooKeeper mode, as every broker carries one (`KafkaController`, `ControllerEventManager`).
//!
//! # How a broker drives it
//!
//! 1. [`Controller::new`] at construction; [`Controller::startup`] once the broker is registered.
//! 2. Work is queued by watches ([`Controller::on_watch`]), by requests ([`Controller::alter_isr`],
//!    [`Controller::controlled_shutdown`], [`Controller::elect_leaders`]), by brokers' answers ([`Controller::on_channel`])
//!    and by timers ([`Controller::on_timer`]). Each piece asks for one `Due` on [`Lane::Controller`]; hand it to
//!    [`Controller::on_due`].
//! 3. Answers of [`KeeperOwner::Controller`] go to [`Controller::on_reply`].
//! 4. When the session expired call [`Controller::on_session_expired`]. The controller resigns, opens the new session, and
//!    then asks for a registration ([`Controller::take_registration_wish`]); run it and report it with
//!    [`Controller::on_registered`] or [`Controller::on_registration_refused`].
//!
//! Requests are answered through [`Hands::respond`], now or later. [`crate::coordination`] does all this for the broker.
//!
//! # How it works inside
//!
//! One event at a time. An event in progress waits for its keeper requests while later events queue, as Kafka's thread
//! blocks; see `step`. All writes are multis with a check of `/controller_epoch` (KAFKA-6082): a failed check means that
//! another controller was elected, and this one resigns. Left out: feature versions, broker modifications (endpoints never
//! change).

pub mod batch;
mod brokers;
pub mod channel;
mod claim;
pub mod context;
mod deletion;
mod dispatch;
pub mod election;
mod eligible;
pub mod event;
mod failover;
mod isr;
mod partition_machine;
pub mod partition_phase;
mod reassignment;
mod replica_machine;
pub mod replica_phase;
mod requests;
mod step;
mod topics;

use self::batch::RequestBatch;
use self::channel::{Answered, Channels};
use self::context::ControllerContext;
use self::eligible::EligibleStep;
use self::event::ControllerEvent;
use self::step::{Answering, Step, Then, Waiting};
use crate::hands::Hands;
use crate::keeper_session::{Answer, KeeperOwner, Ticket, get_children};
use crate::placement::Draws;
use crate::timer::TimerOwner;
use crate::znode::paths;
use protocol::api::cluster::{AlterIsrRequest, ControlledShutdownRequest};
use protocol::api::reassignment::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest,
};
use protocol::api::topics::ElectLeadersRequest;
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{BrokerId, ControllerEpoch, TopicName, TopicPartition};
use protocol::keeper::{KeeperOp, KeeperResult, WatchEvent, WatchKind};
use protocol::machine::{ConnectionId, Input, Io, Lane, RequestToken};
use protocol::note::{ControllerNote, Note};
use protocol::time::Span;
use std::collections::{BTreeMap, VecDeque};

/// The settings a controller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// `broker.id`.
    pub broker: BrokerId,
    /// Which Kafka it is.
    pub behaviour: Behaviour,
    /// `controller.socket.timeout.ms`.
    pub request_timeout: Span,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `unclean.leader.election.enable`.
    pub unclean_election: bool,
    /// `min.insync.replicas`, as far as the controller needs it (KIP-966).
    pub min_isr: usize,
    /// `auto.leader.rebalance.enable`.
    pub auto_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub rebalance_interval: Span,
    /// `leader.imbalance.per.broker.percentage`.
    pub imbalance_percentage: u64,
    /// Draws the ids of topics that have none.
    pub seed: u64,
}

/// Its only timer within [`TimerOwner::Controller`].
const REBALANCE_TIMER: u64 = 1;

/// The controller.
#[derive(Clone, Debug)]
pub struct Controller {
    settings: ControllerSettings,
    draws: Draws,
    context: ControllerContext,
    channels: Channels,
    batch: RequestBatch,
    /// Who is the controller, as far as this broker knows (`activeControllerId`).
    active: Option<BrokerId>,
    /// The watches of an active controller are its business.
    watching: bool,
    /// How often this process has been elected.
    terms: u32,
    queue: VecDeque<ControllerEvent>,
    /// `Due`s that came while an event was in progress.
    permits: usize,
    /// `Due`s still to come for events that were cleared.
    stale_dues: usize,
    /// The event in progress: the top is last.
    agenda: Vec<Step>,
    waiting: Option<Waiting>,
    answering: Option<Answering>,
    /// What became of the elections of the step before.
    elections: BTreeMap<TopicPartition, ErrorCode>,
    /// The event in progress waits for the broker's registration.
    registering: bool,
    /// Nobody was asked for it yet.
    wants_registration: bool,
}

/// The answer to one keeper request of a batch, with the check of the controller epoch taken off.
type Reply = Result<KeeperResult, KeeperError>;

impl Controller {
    /// A controller that has not looked for anything yet.
    pub fn new(settings: ControllerSettings) -> Self {
        Self {
            channels: Channels::new(settings.broker, settings.request_timeout),
            draws: Draws::new(settings.seed),
            settings,
            context: ControllerContext::default(),
            batch: RequestBatch::default(),
            active: None,
            watching: false,
            terms: 0,
            queue: VecDeque::new(),
            permits: 0,
            stale_dues: 0,
            agenda: Vec::new(),
            waiting: None,
            answering: None,
            elections: BTreeMap::new(),
            registering: false,
            wants_registration: false,
        }
    }

    /// Whether this broker takes itself for the controller.
    pub fn is_active(&self) -> bool {
        self.active == Some(self.settings.broker)
    }

    /// Whom this broker takes for the controller.
    pub fn active_controller(&self) -> Option<BrokerId> {
        self.active
    }

    /// The epoch it was elected in; meaningless while it is not active.
    pub fn epoch(&self) -> ControllerEpoch {
        self.context.epoch
    }

    /// What it knows.
    pub fn context(&self) -> &ControllerContext {
        &self.context
    }

    /// Events that wait, for tests and reports.
    pub fn queued_events(&self) -> usize {
        self.queue.len()
    }

    /// Looks for a controller, or becomes one.
    pub fn startup(&mut self, io: &mut Io<'_>) {
        self.put(io, ControllerEvent::Startup);
    }

    /// A watch fired; those of other parts are ignored.
    pub fn on_watch(&mut self, io: &mut Io<'_>, event: &WatchEvent) {
        let queued = match (&*event.path, event.kind) {
            (paths::CONTROLLER, WatchKind::Deleted) => Some(ControllerEvent::Reelect),
            (paths::CONTROLLER, WatchKind::Created | WatchKind::DataChanged) => {
                Some(ControllerEvent::ControllerChange)
            }
            (_, _) if !self.watching => None,
            (paths::BROKER_IDS, WatchKind::ChildrenChanged) => Some(ControllerEvent::BrokerChange),
            (paths::TOPICS, WatchKind::ChildrenChanged) => Some(ControllerEvent::TopicChange),
            (paths::DELETE_TOPICS, WatchKind::ChildrenChanged) => {
                Some(ControllerEvent::TopicDeletion)
            }
            (paths::ISR_CHANGES, WatchKind::ChildrenChanged) => {
                Some(ControllerEvent::IsrChangeNotification)
            }
            (paths::LOG_DIR_EVENTS, WatchKind::ChildrenChanged) => {
                Some(ControllerEvent::LogDirEventNotification)
            }
            (paths::PREFERRED_ELECTION, WatchKind::Created) => {
                Some(ControllerEvent::PreferredReplicaElection)
            }
            (paths::REASSIGN_PARTITIONS, WatchKind::Created) => {
                Some(ControllerEvent::ZkPartitionReassignment)
            }
            (path, WatchKind::DataChanged) => paths::topic_of(path)
                .map(ControllerEvent::PartitionModifications)
                .or_else(|| {
                    let partition = paths::partition_of_state(path)?;
                    Some(ControllerEvent::PartitionReassignmentIsrChange(partition))
                }),
            (_, _) => None,
        };
        if let Some(queued) = queued {
            self.put(io, queued);
        }
    }

    /// A leader asks for other in-sync replicas.
    pub fn alter_isr(&mut self, io: &mut Io<'_>, token: RequestToken, request: AlterIsrRequest) {
        self.put(io, ControllerEvent::AlterIsr(token, Box::new(request)));
    }

    /// A broker wants to stop in good order.
    pub fn controlled_shutdown(
        &mut self,
        io: &mut Io<'_>,
        token: RequestToken,
        request: ControlledShutdownRequest,
    ) {
        self.put(io, ControllerEvent::ControlledShutdown(token, request));
    }

    /// Somebody wants leaders elected. The answer does not wait until the leaders are in the metadata cache.
    pub fn elect_leaders(
        &mut self,
        io: &mut Io<'_>,
        token: RequestToken,
        request: ElectLeadersRequest,
    ) {
        self.put(io, ControllerEvent::ElectLeaders(token, Box::new(request)));
    }

    /// Somebody wants replicas moved.
    pub fn reassign_partitions(
        &mut self,
        io: &mut Io<'_>,
        token: RequestToken,
        request: AlterPartitionReassignmentsRequest,
    ) {
        self.put(io, ControllerEvent::Reassign(token, Box::new(request)));
    }

    /// Somebody wants to know what is being moved.
    pub fn list_partition_reassignments(
        &mut self,
        io: &mut Io<'_>,
        token: RequestToken,
        request: ListPartitionReassignmentsRequest,
    ) {
        let event = ControllerEvent::ListReassignments(token, Box::new(request));
        self.put(io, event);
    }

    /// A topic's `unclean.leader.election.enable` became true.
    pub fn unclean_election_enabled(&mut self, io: &mut Io<'_>, topic: TopicName) {
        if self.is_active() {
            self.put(io, ControllerEvent::UncleanElectionEnabled(topic));
        }
    }

    /// A notice said that settings of a topic have changed.
    pub fn settings_changed(&mut self, io: &mut Io<'_>, topic: TopicName) {
        if self.is_active() && self.settings.behaviour.keeps_eligible() {
            self.put(io, ControllerEvent::SettingsChanged(topic));
        }
    }

    /// The session is over (`beforeInitializingSession`): whatever waits is dropped, and the controller resigns before a
    /// new session is opened.
    pub fn on_session_expired(&mut self, hands: &mut Hands<'_, '_>) {
        let dropped: Vec<_> = self.queue.drain(..).collect();
        self.stale_dues += dropped.len() - self.permits.min(dropped.len());
        self.permits = self.permits.saturating_sub(dropped.len());
        for event in dropped {
            requests::preempt(hands, &event);
        }
        self.put(hands.io, ControllerEvent::Expire);
    }

    /// The session is over and a new one opens without asking (before KAFKA-5642): what waits in the queue, and what is in
    /// progress, is carried out first, in the new session and in the old office (`SessionExpirationListener`).
    pub fn on_session_reopened(&mut self, io: &mut Io<'_>) {
        self.put(io, ControllerEvent::Reelect);
    }

    /// Whether the event in progress waits for the broker to register again; says so once.
    pub fn take_registration_wish(&mut self) -> bool {
        std::mem::take(&mut self.wants_registration)
    }

    /// The broker is registered again.
    pub fn on_registered(&mut self, hands: &mut Hands<'_, '_>) {
        if std::mem::take(&mut self.registering) {
            self.agenda.push(Step::LookForController { elect: true });
            self.advance(hands);
        }
    }

    /// The broker could not register: the event ends there, and the broker lives on unregistered (KAFKA-7165).
    pub fn on_registration_refused(&mut self, hands: &mut Hands<'_, '_>) {
        if std::mem::take(&mut self.registering) {
            self.advance(hands);
        }
    }

    /// The lane released one event.
    pub fn on_due(&mut self, hands: &mut Hands<'_, '_>) {
        if self.stale_dues > 0 {
            self.stale_dues -= 1;
        } else {
            self.permits += 1;
            self.advance(hands);
        }
    }

    /// Takes a timer of [`TimerOwner::Controller`].
    pub fn on_timer(&mut self, hands: &mut Hands<'_, '_>, local: u64) {
        if local == REBALANCE_TIMER {
            self.put(hands.io, ControllerEvent::AutoPreferredReplicaElection);
        }
    }

    /// Whether this end of a connection is one of the controller's lines to the brokers.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        self.channels.owns(connection)
    }

    /// Takes an input about such a connection.
    pub fn on_channel(
        &mut self,
        hands: &mut Hands<'_, '_>,
        connection: ConnectionId,
        input: Input,
    ) {
        let answered = self
            .channels
            .on_connection(hands.now, hands.io, connection, input);
        self.answered(hands.io, answered);
    }

    /// Takes a timer of [`TimerOwner::ControllerChannel`].
    pub fn on_channel_timer(&mut self, hands: &mut Hands<'_, '_>, local: u64) {
        let answered = self.channels.on_timer(hands.now, hands.io, local);
        self.answered(hands.io, answered);
    }

    fn answered(&mut self, io: &mut Io<'_>, answered: Option<Answered>) {
        if let Some(answered) = answered {
            self.put(io, ControllerEvent::Response(Box::new(answered)));
        }
    }

    fn put(&mut self, io: &mut Io<'_>, event: ControllerEvent) {
        self.queue.push_back(event);
        io.queue(Lane::Controller);
    }

    /// Takes the answer to an operation of [`KeeperOwner::Controller`].
    pub fn on_reply(&mut self, hands: &mut Hands<'_, '_>, ticket: Ticket, answer: Answer) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let Some(at) = waiting.tickets.iter().position(|own| *own == ticket) else {
            return;
        };
        if waiting.answers[at].replace(answer).is_none() {
            waiting.missing -= 1;
        }
        if waiting.missing == 0 {
            if let Some(waiting) = self.waiting.take() {
                let answers = waiting.answers.into_iter().flatten().collect();
                self.resume(hands, waiting.then, answers);
            }
            self.advance(hands);
        }
    }

    /// Runs until something has to be waited for.
    fn advance(&mut self, hands: &mut Hands<'_, '_>) {
        while self.waiting.is_none() && !self.registering {
            if let Some(step) = self.agenda.pop() {
                self.take(hands, step);
                continue;
            }
            if self.permits == 0 {
                return;
            }
            let Some(event) = self.queue.pop_front() else {
                return;
            };
            self.permits -= 1;
            self.begin(hands, event);
        }
    }

    /// Puts steps on the stack so that they run in this order, before what is there.
    fn then(&mut self, steps: impl IntoIterator<Item = Step, IntoIter: DoubleEndedIterator>) {
        self.agenda.extend(steps.into_iter().rev());
    }

    /// Lists what a watch has told of. The read leaves the next watch; without that order it is set when the event is over,
    /// and what changes in between rings for nobody.
    fn relist(&mut self, path: &'static str) -> KeeperOp {
        let at_once = self.settings.behaviour.has(Fix::RereadOnWatch);
        if !at_once {
            self.agenda.push(Step::Watch(path));
        }
        get_children(path, at_once)
    }

    /// Sends a batch of keeper requests; the event waits for all answers.
    fn ask(&mut self, hands: &mut Hands<'_, '_>, ops: Vec<KeeperOp>, then: Then) {
        if ops.is_empty() {
            self.resume(hands, then, Vec::new());
            return;
        }
        let submit = |op| {
            hands
                .keeper
                .submit(hands.now, hands.io, KeeperOwner::Controller, op)
        };
        let tickets: Vec<Ticket> = ops.into_iter().map(submit).collect();
        self.waiting = Some(Waiting {
            then,
            answers: vec![None; tickets.len()],
            missing: tickets.len(),
            tickets,
        });
    }

    /// A write that happens only while this controller's epoch stands.
    fn checked(&self, op: KeeperOp) -> KeeperOp {
        if self.settings.behaviour.has(Fix::ControllerMultiCheck) {
            let check = KeeperOp::Check {
                path: paths::CONTROLLER_EPOCH.into(),
                version: self.context.epoch_version,
            };
            KeeperOp::Multi(vec![check, op])
        } else {
            op
        }
    }

    fn resume(&mut self, hands: &mut Hands<'_, '_>, then: Then, answers: Vec<Answer>) {
        let claims = matches!(then, Then::Claimed { .. });
        let mut replies = Vec::with_capacity(answers.len());
        for answer in answers {
            let reply = match answer {
                Ok(KeeperResult::Multi(mut results)) if !claims => {
                    Ok(results.pop().unwrap_or(KeeperResult::Done))
                }
                Ok(result) => Ok(result),
                Err(failure) if failure.error == KeeperError::SessionExpired => {
                    self.fail(hands, ErrorCode::UnknownServerError);
                    return;
                }
                Err(failure) if claims => Err(failure
                    .multi
                    .into_iter()
                    .flatten()
                    .next()
                    .unwrap_or(failure.error)),
                Err(failure) => match failure.multi[..] {
                    [Some(KeeperError::BadVersion), ..] => {
                        self.moved(hands);
                        return;
                    }
                    [None, Some(error), ..] => Err(error),
                    _ => Err(failure.error),
                },
            };
            replies.push(reply);
        }
        self.go_on(hands, then, &replies);
    }

    /// The event in progress fails; whoever waits for its answer gets this error.
    fn fail(&mut self, hands: &mut Hands<'_, '_>, error: ErrorCode) {
        self.agenda.clear();
        self.batch = RequestBatch::default();
        if let Some(answering) = self.answering.take() {
            requests::refuse(hands, answering, error);
        }
    }

    /// Another controller was elected meanwhile (`ControllerMovedException`).
    fn moved(&mut self, hands: &mut Hands<'_, '_>) {
        let error = match self.answering {
            Some(Answering::ControlledShutdown(_)) => ErrorCode::StaleControllerEpoch,
            Some(Answering::ElectLeaders { .. } | Answering::Reassign(_)) => {
                ErrorCode::NotController
            }
            Some(Answering::AlterIsr(_)) | None => ErrorCode::UnknownServerError,
        };
        self.fail(hands, error);
        self.agenda.push(Step::LookForController { elect: false });
    }

    /// `onControllerResignation`.
    fn resign(&mut self, hands: &mut Hands<'_, '_>) {
        if std::mem::take(&mut self.watching) {
            let epoch = self.context.epoch;
            note(hands.io, ControllerNote::Resigned { epoch });
        }
        self.channels.clear(hands.io);
        self.context = ControllerContext::default();
        self.batch = RequestBatch::default();
        hands
            .io
            .cancel_timer(TimerOwner::Controller.timer(REBALANCE_TIMER));
    }

    fn begin(&mut self, hands: &mut Hands<'_, '_>, event: ControllerEvent) {
        match event {
            ControllerEvent::Startup | ControllerEvent::Reelect => {
                self.agenda.push(Step::LookForController { elect: true });
            }
            ControllerEvent::ControllerChange => {
                self.agenda.push(Step::LookForController { elect: false });
            }
            ControllerEvent::Expire => {
                self.active = None;
                self.resign(hands);
                hands.keeper.restart_session(hands.now, hands.io);
                self.put(hands.io, ControllerEvent::RegisterBrokerAndReelect);
            }
            ControllerEvent::RegisterBrokerAndReelect => self.agenda.push(Step::AskForRegistration),
            ControllerEvent::AlterIsr(token, request) => {
                self.begin_alter_isr(hands, token, &request);
            }
            ControllerEvent::ControlledShutdown(token, request) => {
                self.begin_controlled_shutdown(hands, token, &request);
            }
            ControllerEvent::ElectLeaders(token, request) => {
                self.begin_elect_leaders(hands, token, &request);
            }
            ControllerEvent::Reassign(token, request) => {
                self.begin_reassign(hands, token, *request);
            }
            ControllerEvent::ListReassignments(token, request) => {
                self.list_reassignments(hands, token, *request);
            }
            other if self.is_active() => self.begin_active(hands, other),
            ControllerEvent::BrokerChange
            | ControllerEvent::TopicChange
            | ControllerEvent::PartitionModifications(_)
            | ControllerEvent::TopicDeletion
            | ControllerEvent::IsrChangeNotification
            | ControllerEvent::LogDirEventNotification
            | ControllerEvent::PreferredReplicaElection
            | ControllerEvent::ZkPartitionReassignment
            | ControllerEvent::PartitionReassignmentIsrChange(_)
            | ControllerEvent::AutoPreferredReplicaElection
            | ControllerEvent::UncleanElectionEnabled(_)
            | ControllerEvent::SettingsChanged(_)
            | ControllerEvent::Response(_) => {}
        }
    }

    /// Events that only an active controller minds.
    fn begin_active(&mut self, hands: &mut Hands<'_, '_>, event: ControllerEvent) {
        match event {
            ControllerEvent::BrokerChange => self.list_brokers(hands, step::Reading::Change),
            ControllerEvent::TopicChange => self.list_topics(hands, step::Reading::Change),
            ControllerEvent::PartitionModifications(topic) => self.read_partitions(hands, topic),
            ControllerEvent::TopicDeletion => self.list_deletions(hands, step::Reading::Change),
            ControllerEvent::IsrChangeNotification => self.list_isr_notices(hands),
            ControllerEvent::LogDirEventNotification => self.list_log_dir_notices(hands),
            ControllerEvent::PreferredReplicaElection => {
                self.agenda.push(Step::ReadPreferredElection);
            }
            ControllerEvent::ZkPartitionReassignment => {
                self.read_zk_reassignment(hands, false);
            }
            ControllerEvent::PartitionReassignmentIsrChange(partition) => {
                self.check_reassignment(hands, partition, false);
            }
            ControllerEvent::AutoPreferredReplicaElection => self.rebalance(),
            ControllerEvent::UncleanElectionEnabled(topic) => {
                self.agenda.push(Step::TriggerOnline(Some(topic)));
            }
            ControllerEvent::SettingsChanged(topic) => {
                let learn = EligibleStep::LearnMinIsr(vec![topic]);
                self.agenda.push(Step::Eligible(learn));
            }
            ControllerEvent::Response(answered) => self.response(*answered),
            ControllerEvent::Startup
            | ControllerEvent::ControllerChange
            | ControllerEvent::Reelect
            | ControllerEvent::Expire
            | ControllerEvent::RegisterBrokerAndReelect
            | ControllerEvent::AlterIsr(..)
            | ControllerEvent::ControlledShutdown(..)
            | ControllerEvent::ElectLeaders(..)
            | ControllerEvent::Reassign(..)
            | ControllerEvent::ListReassignments(..) => {}
        }
    }
}

fn note(io: &mut Io<'_>, note: ControllerNote) {
    io.note(Note::Controller(note));
}
