//! Markers on their way to the leaders (`TransactionMarkerChannelManager`, `TransactionMarkerRequestCompletionHandler`).
//!
//! One thread, the lane `TransactionMarkers`, sends what waits for each broker in one request, one request in flight per
//! broker. What fails is queued again for whoever leads then, for ever; a partition that this broker does not know is taken
//! for deleted. Kafka's thread spins while a leader's broker is not known; here the next UpdateMetadata wakes it. It also
//! repeats a refused marker without a pause; here there is a short one.

use super::append::{Change, Then};
use super::metadata::Transit;
use super::{APPEND_RETRY, Desk, TransactionCoordinator};
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use protocol::api::ResponseBody;
use protocol::api::transaction::{TransactionMarker, WriteTxnMarkersRequest, WrittenMarker};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Endpoint, TopicPartition, TransactionalId};
use protocol::machine::{ConnectionId, Input, Io, Lane};
use protocol::note::TransactionState;
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, VecDeque};

/// The reconnect back-off that Kafka gives this client.
const RECONNECT: Span = Span::millis(50);

/// How long a marker that was refused waits. Kafka's thread repeats it as soon as the answer is there, as fast as the
/// machine can; here machines take no time, so that a partition with too few replicas would cost a run most of its steps.
const REPEAT: Span = Span::millis(5);

/// A decided transaction whose markers are not all written (`PendingCompleteTxn`).
#[derive(Clone, Debug)]
struct Decided {
    /// Tells it from a later one of the same id.
    number: u64,
    coordinator_epoch: i32,
    /// What is written in the end.
    transit: Transit,
}

/// A marker in a queue, and whose it is.
#[derive(Clone, Debug)]
struct Entry {
    id: TransactionalId,
    number: u64,
    marker: TransactionMarker,
}

/// The way to one broker.
#[derive(Clone, Debug)]
struct Line {
    peer: PeerChannel,
    queue: Vec<Entry>,
    in_flight: Vec<Entry>,
    backing_off: bool,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Markers {
    broker: BrokerId,
    request_timeout: Span,
    next: u64,
    /// `transactionsWithPendingMarkers`.
    decided: BTreeMap<TransactionalId, Decided>,
    lines: BTreeMap<BrokerId, Line>,
    /// Markers whose leader's broker is not known.
    homeless: Vec<Entry>,
    /// Last records that could not be written for lack of replicas.
    retries: Vec<Change>,
    /// Ids to look at on the lane, where KAFKA-10080 is off.
    looks: Vec<TransactionalId>,
    /// What such looks found over, to be written on the lane, one after the other.
    found: VecDeque<(TransactionalId, Decided)>,
    /// The lane is asked for already.
    woken: bool,
}

/// Numbers of a line's two timers within [`TimerOwner::TransactionMarkers`].
fn timer_numbers(broker: BrokerId) -> (u64, u64) {
    let id = u64::try_from(broker.0).expect("broker ids are not negative");
    (id * 2, id * 2 + 1)
}

impl Markers {
    pub(super) fn new(broker: BrokerId, request_timeout: Span) -> Self {
        Self {
            broker,
            request_timeout,
            next: 0,
            decided: BTreeMap::new(),
            lines: BTreeMap::new(),
            homeless: Vec::new(),
            retries: Vec::new(),
            looks: Vec::new(),
            found: VecDeque::new(),
            woken: false,
        }
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        if !self.woken {
            self.woken = true;
            io.queue(Lane::TransactionMarkers);
        }
    }

    /// The line to a broker at an address.
    fn line(&mut self, broker: BrokerId, endpoint: &Endpoint) -> &mut Line {
        let new = || {
            let client_id = internal_client_id(self.broker.0, "txn-marker-sender");
            let timer = TimerOwner::TransactionMarkers.timer(timer_numbers(broker).0);
            PeerChannel::new(endpoint.clone(), client_id, timer, self.request_timeout)
        };
        let line = self.lines.entry(broker).or_insert_with(|| Line {
            peer: new(),
            queue: Vec::new(),
            in_flight: Vec::new(),
            backing_off: false,
        });
        if line.peer.endpoint() != endpoint && !line.peer.is_busy() {
            line.peer = new();
        }
        line
    }

    /// The entry's transaction is given up here. Until KAFKA-16352 whatever was pending under the same id went.
    fn give_up(&mut self, entry: &Entry, by_identity: bool) {
        let same = |decided: &Decided| !by_identity || decided.number == entry.number;
        if self.decided.get(&entry.id).is_some_and(same) {
            self.decided.remove(&entry.id);
        }
    }
}

impl Line {
    /// Nothing is sent for a while.
    fn back_off(&mut self, desk: &mut Desk<'_, '_>, broker: BrokerId, pause: Span) {
        self.backing_off = true;
        let timer = TimerOwner::TransactionMarkers.timer(timer_numbers(broker).1);
        desk.io.set_timer(timer, desk.now.mono + pause);
    }

    /// Sends what waits, in one request.
    fn pump(&mut self, now: Now, io: &mut Io<'_>) {
        if self.queue.is_empty() || self.peer.is_busy() || self.backing_off {
            return;
        }
        self.in_flight = std::mem::take(&mut self.queue);
        let markers = self.in_flight.iter();
        let markers = markers.map(|entry| entry.marker.clone()).collect();
        let body = WriteTxnMarkersRequest { markers };
        self.peer.send(now, io, 0, body.into());
    }
}

impl TransactionCoordinator {
    /// Whether this end of a connection is one of the marker channel's.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        let mut lines = self.markers.lines.values();
        lines.any(|line| line.peer.owns(connection))
    }

    /// Something happened on such a connection.
    pub fn on_connection(
        &mut self,
        desk: &mut Desk<'_, '_>,
        connection: ConnectionId,
        input: Input,
    ) {
        let mut lines = self.markers.lines.iter();
        let owner = lines.find(|(_, line)| line.peer.owns(connection));
        if let Some(broker) = owner.map(|(broker, _)| *broker) {
            self.on_line(desk, broker, input);
        }
    }

    /// A timer of [`TimerOwner::TransactionMarkers`] rang.
    pub fn on_marker_timer(&mut self, desk: &mut Desk<'_, '_>, number: u64) {
        let Some(broker) = i32::try_from(number / 2).ok().map(BrokerId) else {
            return;
        };
        if number.is_multiple_of(2) {
            let timer = TimerOwner::TransactionMarkers.timer(number);
            self.on_line(desk, broker, Input::Timer { timer });
        } else if let Some(line) = self.markers.lines.get_mut(&broker) {
            line.backing_off = false;
            self.markers.wake(desk.io);
        }
    }

    /// The metadata cache has changed: markers without a home may have one now.
    pub fn on_metadata(&mut self, io: &mut Io<'_>) {
        if !self.markers.homeless.is_empty() {
            self.markers.wake(io);
        }
    }

    /// The lane may run: everything that waits is sent (`generateRequests`).
    pub fn send_markers(&mut self, desk: &mut Desk<'_, '_>) {
        self.markers.woken = false;
        for change in std::mem::take(&mut self.markers.retries) {
            self.append(desk, change);
        }
        for entry in std::mem::take(&mut self.markers.homeless) {
            self.enqueue(desk, &entry);
        }
        for line in self.markers.lines.values_mut() {
            line.pump(desk.now, desk.io);
        }
        self.complete_by_looks(desk);
    }

    /// Until KAFKA-10080 each answer looked whether anything was left, and what had nothing left was written, however often
    /// that was seen. Each look is a thread of its own and may come to writing late.
    fn complete_by_looks(&mut self, desk: &mut Desk<'_, '_>) {
        for id in std::mem::take(&mut self.markers.looks) {
            let over = self.over(&id);
            self.markers.found.extend(over);
        }
        if let Some((id, decided)) = self.markers.found.pop_front() {
            self.markers.decided.remove(&id);
            self.write_completion(desk, (id, decided));
        }
        if !self.markers.found.is_empty() {
            self.markers.wake(desk.io);
        }
    }

    /// A decided transaction gets its markers (`addTxnMarkersToSend`).
    pub(super) fn add_markers(
        &mut self,
        desk: &mut Desk<'_, '_>,
        (id, coordinator_epoch): (&TransactionalId, i32),
        transit: Transit,
    ) {
        let found = self.cache.find_in(id, self.partitions, coordinator_epoch);
        let Some(partitions) = found.map(|it| it.partitions.iter().cloned().collect()) else {
            return;
        };
        let number = self.markers.next;
        self.markers.next += 1;
        let marker = TransactionMarker {
            producer_id: transit.producer_id,
            producer_epoch: transit.producer_epoch.unwrap_or_default(),
            committed: transit.state == TransactionState::CompleteCommit,
            coordinator_epoch,
            partitions,
        };
        let decided = Decided {
            number,
            coordinator_epoch,
            transit,
        };
        self.markers.decided.insert(id.clone(), decided);
        let entry = Entry {
            id: id.clone(),
            number,
            marker,
        };
        self.enqueue(desk, &entry);
        self.look(desk, id);
    }

    /// Sorts the partitions of a marker by who leads them (`addTxnMarkersToBrokerQueue`).
    fn enqueue(&mut self, desk: &mut Desk<'_, '_>, entry: &Entry) {
        let mut homes: BTreeMap<Option<BrokerId>, Vec<TopicPartition>> = BTreeMap::new();
        let mut deleted = Vec::new();
        for partition in &entry.marker.partitions {
            match desk.cache.partition(partition) {
                None => deleted.push(partition.clone()),
                Some(known) => {
                    let alive = |leader: &BrokerId| desk.cache.endpoint(*leader).is_some();
                    let home = homes.entry(known.leader.filter(alive)).or_default();
                    home.push(partition.clone());
                }
            }
        }
        if !deleted.is_empty() {
            self.skip_deleted(desk, entry, &deleted);
        }
        for (home, partitions) in homes {
            let mut part = entry.clone();
            part.marker.partitions = partitions;
            match home.and_then(|home| Some((home, desk.cache.endpoint(home)?))) {
                Some((home, endpoint)) => {
                    self.markers.line(home, endpoint).queue.push(part);
                    self.markers.wake(desk.io);
                }
                None => self.markers.homeless.push(part),
            }
        }
    }

    fn skip_deleted(&mut self, desk: &mut Desk<'_, '_>, entry: &Entry, deleted: &[TopicPartition]) {
        let epoch = entry.marker.coordinator_epoch;
        if self.strike_off(&entry.id, epoch, deleted) {
            self.look(desk, &entry.id);
        } else {
            let by_identity = self.has(Fix::MarkerIdentity);
            self.markers.give_up(entry, by_identity);
        }
    }

    /// Partitions that need no marker any more; `false` when the id is not coordinated here any more.
    fn strike_off(&mut self, id: &TransactionalId, epoch: i32, done: &[TopicPartition]) -> bool {
        let Some(metadata) = self.cache.find_in(id, self.partitions, epoch) else {
            return false;
        };
        metadata.partitions.retain(|one| !done.contains(one));
        true
    }

    fn on_line(&mut self, desk: &mut Desk<'_, '_>, broker: BrokerId, input: Input) {
        let Some(line) = self.markers.lines.get_mut(&broker) else {
            return;
        };
        let Some(event) = line.peer.handle(input, desk.io) else {
            return;
        };
        let entries = std::mem::take(&mut line.in_flight);
        match event {
            PeerEvent::Response(ResponseBody::WriteTxnMarkers(response)) => {
                if response.markers.iter().any(is_repeated) {
                    line.back_off(desk, broker, REPEAT);
                }
                for (entry, written) in entries.into_iter().zip(response.markers) {
                    self.on_written(desk, entry, written);
                }
            }
            PeerEvent::Response(_) | PeerEvent::Failed => {
                line.back_off(desk, broker, RECONNECT);
                // Also what waited for the connection looks for its leaders anew.
                let waiting = std::mem::take(&mut line.queue);
                for entry in entries.into_iter().chain(waiting) {
                    self.requeue(desk, &entry);
                }
            }
        }
        self.markers.wake(desk.io);
    }

    /// A request failed as a whole.
    fn requeue(&mut self, desk: &mut Desk<'_, '_>, entry: &Entry) {
        let epoch = entry.marker.coordinator_epoch;
        if self.strike_off(&entry.id, epoch, &[]) {
            self.enqueue(desk, entry);
        } else {
            let by_identity = self.has(Fix::MarkerIdentity);
            self.markers.give_up(entry, by_identity);
        }
    }

    /// A leader has answered for one marker.
    fn on_written(&mut self, desk: &mut Desk<'_, '_>, mut entry: Entry, written: WrittenMarker) {
        let mut done = Vec::new();
        let mut again = Vec::new();
        let mut fenced = false;
        for (partition, error) in written.partitions {
            match verdict(error) {
                Verdict::Done => done.push(partition),
                Verdict::Again => again.push(partition),
                Verdict::Fenced => fenced = true,
            }
        }
        let ours = self.strike_off(&entry.id, entry.marker.coordinator_epoch, &done);
        if !ours || fenced {
            let by_identity = self.has(Fix::MarkerIdentity);
            self.markers.give_up(&entry, by_identity);
        } else if again.is_empty() {
            self.look(desk, &entry.id);
        } else {
            entry.marker.partitions = again;
            self.enqueue(desk, &entry);
        }
    }

    /// Writes the last record of a transaction if nothing is left to do (`maybeWriteTxnCompletion`).
    fn look(&mut self, desk: &mut Desk<'_, '_>, id: &TransactionalId) {
        if !self.has(Fix::SingleCompletion) {
            // Whether something is left was asked apart from writing the record, so that two could find nothing.
            self.markers.looks.push(id.clone());
            self.markers.wake(desk.io);
            return;
        }
        if let Some(over) = self.over(id)
            && self.markers.decided.remove(id).is_some()
        {
            self.write_completion(desk, over);
        }
    }

    /// The transaction, if all its markers are written.
    fn over(&mut self, id: &TransactionalId) -> Option<(TransactionalId, Decided)> {
        let decided = self.markers.decided.get(id)?;
        let epoch = decided.coordinator_epoch;
        let metadata = self.cache.find_in(id, self.partitions, epoch)?;
        let over = metadata.partitions.is_empty();
        over.then(|| (id.clone(), decided.clone()))
    }

    fn write_completion(
        &mut self,
        desk: &mut Desk<'_, '_>,
        (id, decided): (TransactionalId, Decided),
    ) {
        let change = Change {
            id,
            coordinator_epoch: decided.coordinator_epoch,
            transit: decided.transit,
            then: Then::Completed,
        };
        self.append(desk, change);
    }

    /// The last record lacks replicas: it is written again when the thread comes round, at the latest after its poll.
    pub(super) fn retry_completion(&mut self, desk: &mut Desk<'_, '_>, change: Change) {
        self.markers.retries.push(change);
        let at = desk.now.mono + self.settings.request_timeout;
        let timer = TimerOwner::Transaction.timer(APPEND_RETRY);
        desk.io.set_timer(timer, at);
    }

    /// A partition of the transaction topic comes or goes: its markers are another coordinator's, or made anew
    /// (`removeMarkersForTxnTopicPartition`).
    pub(super) fn remove_markers(&mut self, partition: i32) {
        let topic_partitions = self.partitions;
        let leaves = |entry: &Entry| super::partition_for(&entry.id, topic_partitions) == partition;
        let mut removed = Vec::new();
        let lines = self.markers.lines.values_mut();
        let queues = lines.map(|line| &mut line.queue);
        for queue in queues.chain([&mut self.markers.homeless]) {
            removed.extend(queue.extract_if(.., |entry| leaves(entry)));
        }
        let by_identity = self.has(Fix::MarkerIdentity);
        for entry in &removed {
            self.markers.give_up(entry, by_identity);
        }
    }
}

/// What a leader's answer means for a partition.
enum Verdict {
    Done,
    Again,
    /// Another coordinator or another epoch of the producer was faster: this marker is nobody's business any more.
    Fenced,
}

/// Whether a leader wants to be asked again for some partition.
fn is_repeated(written: &WrittenMarker) -> bool {
    let mut errors = written.partitions.iter().map(|(_, error)| *error);
    errors.any(|error| matches!(verdict(error), Verdict::Again))
}

fn verdict(error: ErrorCode) -> Verdict {
    if matches!(
        error,
        ErrorCode::None
            // Nothing transactional can be in a partition that does not know transactions.
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::UnsupportedVersion
    ) {
        Verdict::Done
    } else if matches!(
        error,
        ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced
    ) {
        Verdict::Fenced
    } else {
        Verdict::Again
    }
}
