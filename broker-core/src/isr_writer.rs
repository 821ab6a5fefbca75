//! How a leader changes the in-sync replicas of its partitions.
//!
//! Two ways, by `inter.broker.protocol.version`. Before 2.7-IV2 the leader writes `…/state` itself, over the version it
//! knows (`ReplicationUtils.updateLeaderAndIsr`), and leaves a notice for the controller
//! (`ReplicaManager.maybePropagateIsrChanges`: looked at every 2.5 s, sent after 5 s of rest or 60 s at the latest). From
//! 2.7-IV2 on it asks the controller (KIP-497, `DefaultAlterIsrManager`): at most one wish per partition, one request in
//! flight, sent again until somebody who is the controller answers. Results are queued for the replicas
//! ([`IsrWriter::take_results`]).

use crate::hands::Hands;
use crate::keeper_session::{Answer, KeeperOwner, Ticket, error_of, get_data, set_data};
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use crate::znode::json::{Eligible, PartitionState, encode_partitions};
use crate::znode::paths;
use protocol::api::cluster::{AlterIsrPartition, AlterIsrRequest, AlterIsrResponse, LeaderAndIsr};
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, LeaderEpoch, PartitionEpoch, TopicPartition,
};
use protocol::keeper::{CreateMode, KeeperOp, KeeperResult};
use protocol::machine::{Input, Io};
use protocol::time::{Mono, Now, Span};
use std::collections::{BTreeMap, BTreeSet};

/// A leader's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrUpdate {
    /// The partition it leads.
    pub partition: TopicPartition,
    /// In this epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas it wants.
    pub new_isr: Vec<BrokerId>,
    /// In which life each of them fetched last, where it knows that (KIP-903).
    pub isr_epochs: Vec<(BrokerId, BrokerEpoch)>,
    /// The version it knows.
    pub current_partition_epoch: PartitionEpoch,
    /// The controller epoch of its LeaderAndIsr, which it writes back.
    pub controller_epoch: ControllerEpoch,
}

/// What became of a wish. `INVALID_UPDATE_VERSION`: the state has moved on and LeaderAndIsr will tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrResult {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The in-sync replicas that were wished for: by then the leader may wish for others.
    pub wanted: Vec<BrokerId>,
    /// The state as it stands now, or why it does not stand so.
    pub outcome: Result<LeaderAndIsr, ErrorCode>,
}

impl IsrResult {
    /// The wish was not even taken: another one of the partition waits already.
    pub fn not_attempted(update: &IsrUpdate) -> Self {
        Self::of(update, Err(ErrorCode::OperationNotAttempted))
    }

    fn of(update: &IsrUpdate, outcome: Result<LeaderAndIsr, ErrorCode>) -> Self {
        Self {
            partition: update.partition.clone(),
            wanted: update.new_isr.clone(),
            outcome,
        }
    }
}

/// Timer numbers within [`TimerOwner::Isr`].
const REQUEST_TIMER: u64 = 1;
const RETRY_TIMER: u64 = 2;
const NOTIFY_TIMER: u64 = 3;

/// `BrokerToControllerRequestThread` polls again after this when there is no controller to ask.
const CONTROLLER_BACKOFF: Span = Span::millis(100);
/// `DefaultAlterIsrManager` tries again after an error of the whole request.
const ERROR_BACKOFF: Span = Span::millis(50);
/// `IsrChangeNotificationConfig`: looked at this often, …
const NOTIFY_CHECK: Span = Span::millis(2500);
/// … sent once nothing changed for this long, …
const NOTIFY_LINGER: Span = Span::secs(5);
/// … or nothing was sent for this long.
const NOTIFY_MAX_DELAY: Span = Span::secs(60);

#[derive(Clone, Debug)]
enum Writing {
    /// The conditional write is under way.
    Set,
    /// It conflicted: is what is stored what was meant (KAFKA-1382)?
    Compare,
}

/// The writer.
#[derive(Clone, Debug)]
pub struct IsrWriter {
    broker: BrokerId,
    behaviour: Behaviour,
    broker_epoch: Option<BrokerEpoch>,
    request_timeout: Span,
    results: Vec<IsrResult>,
    // By conditional writes.
    writes: BTreeMap<Ticket, (Writing, IsrUpdate)>,
    changed: BTreeSet<TopicPartition>,
    last_change: Mono,
    last_notice: Mono,
    notify_due: bool,
    // By AlterIsr.
    controller: Option<Endpoint>,
    channel: Option<PeerChannel>,
    unsent: BTreeMap<TopicPartition, IsrUpdate>,
    in_flight: Vec<IsrUpdate>,
    backing_off: bool,
}

impl IsrWriter {
    /// A writer for `broker`; `request_timeout` is `controller.socket.timeout.ms`.
    pub fn new(broker: BrokerId, behaviour: Behaviour, request_timeout: Span) -> Self {
        Self {
            broker,
            behaviour,
            broker_epoch: None,
            request_timeout,
            results: Vec::new(),
            writes: BTreeMap::new(),
            changed: BTreeSet::new(),
            last_change: Mono(0),
            last_notice: Mono(0),
            notify_due: false,
            controller: None,
            channel: None,
            unsent: BTreeMap::new(),
            in_flight: Vec::new(),
            backing_off: false,
        }
    }

    /// The broker's epoch, after every registration.
    pub fn set_broker_epoch(&mut self, epoch: BrokerEpoch) {
        self.broker_epoch = Some(epoch);
    }

    /// Whom the metadata cache takes for the controller, after every UpdateMetadata.
    pub fn set_controller(&mut self, hands: &mut Hands<'_, '_>, controller: Option<Endpoint>) {
        if controller.is_some() && controller != self.controller {
            self.controller = controller;
            if let Some(channel) = &self.channel
                && !channel.is_busy()
            {
                self.drop_channel(hands.io);
            }
            self.ask_controller(hands.now, hands.io);
        }
    }

    /// Takes a wish. `false`: one for this partition waits already (`OPERATION_NOT_ATTEMPTED`).
    pub fn submit(&mut self, hands: &mut Hands<'_, '_>, update: IsrUpdate) -> bool {
        if self.behaviour.inter_broker_protocol.uses_alter_isr() {
            if self.unsent.contains_key(&update.partition) {
                return false;
            }
            self.unsent.insert(update.partition.clone(), update);
            self.ask_controller(hands.now, hands.io);
        } else {
            self.write(hands, update);
        }
        true
    }

    /// A new LeaderAndIsr overtook the wish (`clearPending`).
    pub fn clear_pending(&mut self, partition: &TopicPartition) {
        self.unsent.remove(partition);
    }

    /// What became of wishes since the last call.
    pub fn take_results(&mut self) -> Vec<IsrResult> {
        std::mem::take(&mut self.results)
    }

    fn write(&mut self, hands: &mut Hands<'_, '_>, update: IsrUpdate) {
        let version = if self.behaviour.has(Fix::ConditionalIsrWrite) {
            update.current_partition_epoch.0
        } else {
            -1
        };
        let data = self.wanted(&update).encode();
        let op = set_data(paths::partition_state(&update.partition), data, version);
        let ticket = hands
            .keeper
            .submit(hands.now, hands.io, KeeperOwner::Isr, op);
        self.writes.insert(ticket, (Writing::Set, update));
    }

    fn wanted(&self, update: &IsrUpdate) -> PartitionState {
        PartitionState {
            state: LeaderAndIsr {
                leader: Some(self.broker),
                leader_epoch: update.leader_epoch,
                isr: update.new_isr.clone(),
                partition_epoch: update.current_partition_epoch,
            },
            controller_epoch: update.controller_epoch,
            eligible: Eligible::default(),
        }
    }

    /// Takes the answer to an operation of [`KeeperOwner::Isr`].
    pub fn on_reply(&mut self, hands: &mut Hands<'_, '_>, ticket: Ticket, answer: &Answer) {
        let Some((writing, update)) = self.writes.remove(&ticket) else {
            return;
        };
        match (writing, answer) {
            (Writing::Set, Ok(KeeperResult::DataSet(stat))) => {
                self.written(hands, &update, stat.version);
            }
            (Writing::Set, Err(failure))
                if failure.error == KeeperError::BadVersion
                    && self.behaviour.has(Fix::RefreshIsrVersion) =>
            {
                let read = get_data(paths::partition_state(&update.partition), false);
                let ticket = hands
                    .keeper
                    .submit(hands.now, hands.io, KeeperOwner::Isr, read);
                self.writes.insert(ticket, (Writing::Compare, update));
            }
            (Writing::Compare, Ok(KeeperResult::Data(data, stat))) => {
                let mut wanted = self.wanted(&update);
                wanted.state.partition_epoch = PartitionEpoch(stat.version);
                if PartitionState::decode(data, stat.version) == Some(wanted) {
                    self.written(hands, &update, stat.version);
                } else {
                    self.report(&update, Err(ErrorCode::InvalidUpdateVersion));
                }
            }
            (Writing::Set | Writing::Compare, _) => {
                let error = match error_of(answer) {
                    Some(KeeperError::BadVersion | KeeperError::NoNode) => {
                        ErrorCode::InvalidUpdateVersion
                    }
                    Some(_) | None => ErrorCode::UnknownServerError,
                };
                self.report(&update, Err(error));
            }
        }
    }

    fn report(&mut self, update: &IsrUpdate, outcome: Result<LeaderAndIsr, ErrorCode>) {
        self.results.push(IsrResult::of(update, outcome));
    }

    fn written(&mut self, hands: &mut Hands<'_, '_>, update: &IsrUpdate, version: i32) {
        let mut state = self.wanted(update).state;
        state.partition_epoch = PartitionEpoch(version);
        self.report(update, Ok(state));
        if self.behaviour.inter_broker_protocol.notifies_isr_changes() {
            self.changed.insert(update.partition.clone());
            self.last_change = hands.now.mono;
            self.schedule_notice(hands.now, hands.io);
        }
    }

    /// The check runs every 2.5 s of the broker's life; between changes there is nothing to look at and no timer.
    fn schedule_notice(&mut self, now: Now, io: &mut Io<'_>) {
        if !self.notify_due {
            self.notify_due = true;
            let periods = now.mono.0 / NOTIFY_CHECK.0 + 1;
            io.set_timer(
                TimerOwner::Isr.timer(NOTIFY_TIMER),
                Mono(periods * NOTIFY_CHECK.0),
            );
        }
    }

    fn notify(&mut self, hands: &mut Hands<'_, '_>) {
        self.notify_due = false;
        if self.changed.is_empty() {
            return;
        }
        let now = hands.now.mono;
        let rested = now.since(self.last_change) > NOTIFY_LINGER;
        if rested || now.since(self.last_notice) > NOTIFY_MAX_DELAY {
            let op = KeeperOp::Create {
                path: paths::ISR_CHANGE_PREFIX.into(),
                data: encode_partitions(&self.changed),
                mode: CreateMode::PersistentSequential,
            };
            hands
                .keeper
                .submit(hands.now, hands.io, KeeperOwner::Isr, op);
            self.changed.clear();
            self.last_notice = now;
        } else {
            self.schedule_notice(hands.now, hands.io);
        }
    }

    /// Takes a timer of [`TimerOwner::Isr`].
    pub fn on_timer(&mut self, hands: &mut Hands<'_, '_>, local: u64) {
        match local {
            NOTIFY_TIMER => self.notify(hands),
            RETRY_TIMER => {
                self.backing_off = false;
                self.ask_controller(hands.now, hands.io);
            }
            _ => {
                let timer = TimerOwner::Isr.timer(local);
                self.on_channel(hands, Input::Timer { timer });
            }
        }
    }

    /// Whether this end of a connection leads to the controller.
    pub fn owns(&self, connection: protocol::machine::ConnectionId) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.owns(connection))
    }

    /// Takes an input about the connection to the controller ([`Self::owns`]).
    pub fn on_channel(&mut self, hands: &mut Hands<'_, '_>, input: Input) {
        let Some(channel) = &mut self.channel else {
            return;
        };
        match channel.handle(input, hands.io) {
            None => {}
            Some(PeerEvent::Response(ResponseBody::AlterIsr(response))) => {
                self.answered(hands, response);
            }
            Some(PeerEvent::Response(_) | PeerEvent::Failed) => {
                self.again(hands, CONTROLLER_BACKOFF);
            }
        }
    }

    fn drop_channel(&mut self, io: &mut Io<'_>) {
        if let Some(mut channel) = self.channel.take() {
            channel.close(io);
        }
    }

    /// What was in flight is still in `unsent`, where a newer LeaderAndIsr may have removed it.
    fn again(&mut self, hands: &mut Hands<'_, '_>, backoff: Span) {
        self.in_flight.clear();
        self.drop_channel(hands.io);
        self.wait(hands.now, hands.io, backoff);
    }

    fn wait(&mut self, now: Now, io: &mut Io<'_>, backoff: Span) {
        if !self.backing_off {
            self.backing_off = true;
            io.set_timer(TimerOwner::Isr.timer(RETRY_TIMER), now.mono + backoff);
        }
    }

    fn ask_controller(&mut self, now: Now, io: &mut Io<'_>) {
        if self.unsent.is_empty() || !self.in_flight.is_empty() || self.backing_off {
            return;
        }
        // Without a controller the channel of 2.8 polls; here the next UpdateMetadata wakes it.
        let (Some(endpoint), Some(broker_epoch)) = (&self.controller, self.broker_epoch) else {
            return;
        };
        let stale = self.channel.as_ref().map(PeerChannel::endpoint) != Some(endpoint);
        if stale {
            let endpoint = endpoint.clone();
            self.drop_channel(io);
            self.channel = Some(PeerChannel::new(
                endpoint,
                internal_client_id(self.broker.0, "to-controller"),
                TimerOwner::Isr.timer(REQUEST_TIMER),
                self.request_timeout,
            ));
        }
        self.in_flight = self.unsent.values().cloned().collect();
        let wish = |update: &IsrUpdate| AlterIsrPartition {
            partition: update.partition.clone(),
            leader_epoch: update.leader_epoch,
            new_isr: update.new_isr.clone(),
            isr_epochs: update.isr_epochs.clone(),
            current_partition_epoch: update.current_partition_epoch,
        };
        let body = RequestBody::AlterIsr(AlterIsrRequest {
            broker_id: self.broker,
            broker_epoch,
            partitions: self.in_flight.iter().map(wish).collect(),
        });
        if let Some(channel) = &mut self.channel {
            channel.send(now, io, 0, body);
        }
    }

    fn answered(&mut self, hands: &mut Hands<'_, '_>, response: AlterIsrResponse) {
        if response.error == ErrorCode::NotController {
            self.again(hands, CONTROLLER_BACKOFF);
            return;
        }
        if response.error != ErrorCode::None {
            self.in_flight.clear();
            self.wait(hands.now, hands.io, ERROR_BACKOFF);
            return;
        }
        let mut answers: BTreeMap<_, _> = response.partitions.into_iter().collect();
        for sent in std::mem::take(&mut self.in_flight) {
            // What the controller left out stays and goes out again.
            if let Some(result) = answers.remove(&sent.partition) {
                // A wish that changed meanwhile is another one and goes out next.
                if self.unsent.get(&sent.partition) == Some(&sent) {
                    self.unsent.remove(&sent.partition);
                }
                self.report(&sent, result);
            }
        }
        self.ask_controller(hands.now, hands.io);
    }
}
