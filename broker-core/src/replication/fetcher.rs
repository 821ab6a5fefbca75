//! The fetchers of this broker, one per source broker and fetcher number (`ReplicaFetcherManager`, `AbstractFetcherThread`'s
//! partition map). What a fetcher does is in `fetcher_thread`.
//!
//! Everything a fetcher thread does runs on its lane: a response that arrived waits there until the thread comes to it.

use super::partition::Slot;
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use protocol::api::cluster::LeaderAndIsrPartition;
use protocol::fetch_session::FetchSessionHandler;
use protocol::ids::{BrokerId, Endpoint, LeaderEpoch, Offset, TopicPartition};
use protocol::java_hash::string_hash;
use protocol::machine::{ConnectionId, Input, Io, Lane, TimerId};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, VecDeque};

use super::truncation::Cut;

/// Which fetcher: the broker it copies from, and its number among those.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FetcherKey {
    pub(super) source: BrokerId,
    number: i32,
}

impl FetcherKey {
    /// `AbstractFetcherManager.getFetcherId`.
    pub(super) fn of(source: BrokerId, partition: &TopicPartition, fetchers: i32) -> Self {
        let hash = string_hash(partition.topic.as_str())
            .wrapping_mul(31)
            .wrapping_add(partition.partition.0);
        let positive = hash.checked_abs().unwrap_or(0);
        Self {
            source,
            number: positive % fetchers.max(1),
        }
    }
}

/// What a fetcher does about a partition (`ReplicaState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FetchPhase {
    /// The log may have to be cut first.
    Truncating,
    /// Records are copied.
    Fetching,
}

/// A partition in a fetcher (`PartitionFetchState`).
#[derive(Clone, Debug)]
pub(super) struct FetchState {
    pub(super) name: TopicPartition,
    pub(super) offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) last_epoch: Option<LeaderEpoch>,
    pub(super) phase: FetchPhase,
    /// Left alone until then, after an error.
    pub(super) not_before: Mono,
}

/// What was asked about one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) slot: Slot,
    pub(super) leader_epoch: LeaderEpoch,
    /// The fetch offset; meaningless in a question about an epoch.
    pub(super) offset: Offset,
}

/// What a fetcher waits for.
#[derive(Clone, Debug)]
pub(super) enum InFlight {
    /// Nothing.
    Nothing,
    /// The ends of epochs.
    Epochs(Vec<Asked>),
    /// Records, of every partition that the session has.
    Records,
    /// The leader's log end, after an offset was out of range.
    LogEnd(Asked),
    /// The leader's first offset, after that.
    LogStart(Asked),
    /// The flush of what it appended.
    Flush,
    /// The cut it decided.
    Cut,
}

/// A cut that is decided and not made yet.
#[derive(Clone, Debug)]
pub(super) struct LateCut {
    pub(super) slot: Slot,
    pub(super) name: TopicPartition,
    pub(super) cut: Cut,
}

/// Work on a lane.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// The loop goes round.
    Run,
    /// A request ended.
    Ended(PeerEvent),
    /// A truncation that was decided a moment ago (before KAFKA-13207 the two were not one step).
    Truncate(FetcherKey, Vec<LateCut>),
    /// A replica that was cut becomes a follower now (before KAFKA-1154).
    Follow(Box<LeaderAndIsrPartition>, Endpoint),
}

/// One fetcher.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// Names its timers; never used twice.
    serial: u64,
    pub(super) channel: PeerChannel,
    pub(super) states: BTreeMap<Slot, FetchState>,
    pub(super) in_flight: InFlight,
    pub(super) session: FetchSessionHandler,
    /// After a failed connection the whole thread rests until then.
    pub(super) resting: Option<Mono>,
    /// Partitions whose offset the leader called out of range.
    pub(super) out_of_range: Vec<Slot>,
    /// The next request begins here, so that all get their share of its size.
    pub(super) turn: Option<Slot>,
    /// A round of the loop is on the lane already.
    queued: bool,
}

impl Fetcher {
    /// The timer for its backoffs.
    pub(super) fn backoff_timer(&self) -> TimerId {
        TimerOwner::Fetcher.timer(self.serial * 2 + 1)
    }

    fn request_timer(serial: u64) -> TimerId {
        TimerOwner::Fetcher.timer(serial * 2)
    }

    /// Nothing is fetched until what was appended is durable.
    pub(super) fn wait_for_flush(&mut self) {
        self.in_flight = InFlight::Flush;
    }

    /// The next request begins behind a partition that had records.
    pub(super) fn turn_after(&mut self, slot: Slot) {
        self.turn = Some(slot.next());
    }

    /// Leaves a partition alone for a while.
    pub(super) fn delay(&mut self, slot: Slot, until: Mono, now: Mono) {
        if let Some(state) = self.states.get_mut(&slot)
            && state.not_before <= now
        {
            state.not_before = until;
        }
    }
}

/// All fetchers.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetchers {
    next_serial: u64,
    by_key: BTreeMap<FetcherKey, Fetcher>,
    lanes: BTreeMap<BrokerId, VecDeque<(Option<u64>, Work)>>,
}

/// What a new fetcher needs to know about this broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) local: BrokerId,
    pub(super) timeout: Span,
}

impl Fetchers {
    /// The fetcher whose connection this is.
    pub(super) fn owner(&self, connection: ConnectionId) -> Option<FetcherKey> {
        self.by_key
            .iter()
            .find(|(_, fetcher)| fetcher.channel.owns(connection))
            .map(|(key, _)| *key)
    }

    /// Takes a fetcher out to work with it.
    pub(super) fn take(&mut self, key: FetcherKey) -> Option<Fetcher> {
        self.by_key.remove(&key)
    }

    /// Puts it back.
    pub(super) fn put(&mut self, key: FetcherKey, fetcher: Fetcher) {
        self.by_key.insert(key, fetcher);
    }

    /// Adds a partition (`addFetcherForPartitions`); one that is there in the same epoch stays as it is.
    pub(super) fn add(
        &mut self,
        io: &mut Io<'_>,
        (key, endpoint): (FetcherKey, Endpoint),
        identity: Identity,
        (slot, state): (Slot, FetchState),
    ) {
        let stale = self
            .by_key
            .get(&key)
            .is_some_and(|fetcher| *fetcher.channel.endpoint() != endpoint);
        let mut kept = BTreeMap::new();
        if stale && let Some(mut old) = self.by_key.remove(&key) {
            old.channel.close(io);
            kept = old.states;
        }
        let next_serial = &mut self.next_serial;
        let fetcher = self.by_key.entry(key).or_insert_with(|| {
            let serial = *next_serial;
            *next_serial += 1;
            let role = format!("fetcher-{}", key.number);
            Fetcher {
                serial,
                channel: PeerChannel::new(
                    endpoint,
                    internal_client_id(identity.local.0, &role),
                    Fetcher::request_timer(serial),
                    identity.timeout,
                ),
                states: kept,
                in_flight: InFlight::Nothing,
                session: FetchSessionHandler::default(),
                resting: None,
                out_of_range: Vec::new(),
                turn: None,
                queued: false,
            }
        });
        let known = fetcher.states.get(&slot);
        if known.is_none_or(|known| known.leader_epoch != state.leader_epoch) {
            fetcher.states.insert(slot, state);
        }
        // A new partition wakes a thread that rests after an error.
        fetcher.resting = None;
        self.run_soon(io, key);
    }

    /// Takes a partition away from whoever fetches it.
    pub(super) fn remove(&mut self, slot: Slot) {
        for fetcher in self.by_key.values_mut() {
            fetcher.states.remove(&slot);
        }
    }

    /// Ends fetchers that have no partition left (`shutdownIdleFetcherThreads`).
    pub(super) fn close_idle(&mut self, io: &mut Io<'_>) {
        self.by_key.retain(|_, fetcher| {
            if fetcher.states.is_empty() {
                fetcher.channel.close(io);
                io.cancel_timer(fetcher.backoff_timer());
            }
            !fetcher.states.is_empty()
        });
    }

    /// Ends all of them.
    pub(super) fn close_all(&mut self, io: &mut Io<'_>) {
        for fetcher in self.by_key.values_mut() {
            fetcher.states.clear();
        }
        self.close_idle(io);
    }

    /// Puts a round of a fetcher's loop on its lane, unless one is there.
    pub(super) fn run_soon(&mut self, io: &mut Io<'_>, key: FetcherKey) {
        if let Some(fetcher) = self.by_key.get_mut(&key)
            && !fetcher.queued
        {
            fetcher.queued = true;
            let serial = fetcher.serial;
            self.push(io, key.source, Some(serial), Work::Run);
        }
    }

    /// What a fetcher appended is durable.
    pub(super) fn flushed(&mut self, io: &mut Io<'_>, key: FetcherKey) {
        if let Some(fetcher) = self.by_key.get_mut(&key)
            && matches!(fetcher.in_flight, InFlight::Flush)
        {
            fetcher.in_flight = InFlight::Nothing;
            self.run_soon(io, key);
        }
    }

    fn push(&mut self, io: &mut Io<'_>, source: BrokerId, serial: Option<u64>, work: Work) {
        self.lanes
            .entry(source)
            .or_default()
            .push_back((serial, work));
        io.queue(Lane::Fetcher(source.0));
    }

    /// Puts a truncation on the lane, whoever owns the partition by then.
    pub(super) fn truncate_later(&mut self, io: &mut Io<'_>, key: FetcherKey, cuts: Vec<LateCut>) {
        self.push(io, key.source, None, Work::Truncate(key, cuts));
    }

    /// Puts the end of a transition to follower on the lane.
    pub(super) fn follow_later(
        &mut self,
        io: &mut Io<'_>,
        (source, endpoint): (BrokerId, Endpoint),
        told: LeaderAndIsrPartition,
    ) {
        self.push(io, source, None, Work::Follow(Box::new(told), endpoint));
    }

    /// The next work of a lane, and whose it is. Work of a fetcher that has ended is skipped.
    pub(super) fn next_work(&mut self, source: BrokerId) -> Option<(Option<FetcherKey>, Work)> {
        let (serial, work) = self.lanes.get_mut(&source)?.pop_front()?;
        let Some(serial) = serial else {
            return Some((None, work));
        };
        let (key, fetcher) = self
            .by_key
            .iter_mut()
            .find(|(_, fetcher)| fetcher.serial == serial)?;
        if matches!(work, Work::Run) {
            fetcher.queued = false;
        }
        Some((Some(*key), work))
    }

    /// Something happened on a connection: when it ends a request, its end goes to the lane.
    pub(super) fn on_input(&mut self, io: &mut Io<'_>, connection: ConnectionId, input: Input) {
        if let Some(key) = self.owner(connection) {
            self.channel_input(io, key, input);
        }
    }

    /// A timer rang: a request timed out, or a backoff is over.
    pub(super) fn on_timer(&mut self, io: &mut Io<'_>, number: u64) {
        let found = self
            .by_key
            .iter()
            .find(|(_, fetcher)| fetcher.serial == number / 2)
            .map(|(key, _)| *key);
        let Some(key) = found else { return };
        if number.is_multiple_of(2) {
            let timer = Fetcher::request_timer(number / 2);
            self.channel_input(io, key, Input::Timer { timer });
        } else {
            self.run_soon(io, key);
        }
    }

    fn channel_input(&mut self, io: &mut Io<'_>, key: FetcherKey, input: Input) {
        let Some(fetcher) = self.by_key.get_mut(&key) else {
            return;
        };
        if let Some(event) = fetcher.channel.handle(input, io) {
            let serial = fetcher.serial;
            self.push(io, key.source, Some(serial), Work::Ended(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_spread_over_fetchers_as_java_hashes_them() {
        let key = |partition: i32, fetchers: i32| {
            FetcherKey::of(BrokerId(1), &TopicPartition::new("a", partition), fetchers).number
        };
        // "a".hashCode() is 97, times 31 is 3007.
        assert_eq!(key(0, 4), 3);
        assert_eq!(key(1, 4), 0);
        assert_eq!(key(5, 1), 0);
    }
}
