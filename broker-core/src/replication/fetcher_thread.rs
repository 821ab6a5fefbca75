//! The loop of a fetcher: cut where needed, then copy (`AbstractFetcherThread.doWork`, `ReplicaFetcherThread`).
//!
//! One request is under way at a time. A partition with an error is left alone for `replica.fetch.backoff.ms`; a request
//! that fails as a whole lets the thread rest for as long, and each partition once more.

use super::fetcher::{
    Asked, FetchPhase, FetchState, Fetcher, FetcherKey, Identity, InFlight, Work,
};
use super::partition::Slot;
use super::truncation::{self, Cut, LeaderSays};
use super::{ReplicaManager, Step};
use crate::peer_channel::PeerEvent;
use protocol::api::data::{
    EpochAnswer, EpochQuestion, FetchPartition, FetchRequest, IsolationLevel,
    OffsetForLeaderEpochRequest,
};
use protocol::api::{RequestBody, ResponseBody};
use protocol::behaviour::{Era, Fix, InterBrokerProtocol};
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchMetadata;
use protocol::ids::{BrokerId, Endpoint};
use protocol::machine::{ConnectionId, Input};
use protocol::note::TruncationRule;

impl ReplicaManager {
    pub(super) fn on_fetcher_input(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: ConnectionId,
        input: Input,
    ) {
        self.fetchers.on_input(step.io, connection, input);
    }

    /// A new follower: finds the fetcher and where to begin (`initialFetchOffset`).
    pub(super) fn start_fetching(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        (leader, endpoint): (BrokerId, Endpoint),
    ) {
        let (Some(leader_epoch), Some(partition)) = (self.followed(slot), self.online(slot)) else {
            return;
        };
        let name = partition.name.clone();
        let Some(view) = self.logs.view(&name) else {
            return;
        };
        let behaviour = self.rules.behaviour;
        let last_epoch = self.logs.latest_epoch(&name);
        let finds_out_by_fetch = behaviour.truncates_by_fetch() && last_epoch.is_some();
        let cut_already = behaviour.era < Era::V1_0 && !behaviour.truncates_by_epoch();
        let (offset, phase) = if finds_out_by_fetch || cut_already {
            (view.end, FetchPhase::Fetching)
        } else {
            (view.high_watermark, FetchPhase::Truncating)
        };
        let state = FetchState {
            name,
            offset,
            leader_epoch,
            last_epoch: last_epoch.filter(|_| finds_out_by_fetch),
            phase,
            not_before: step.now.mono,
        };
        let key = FetcherKey::of(leader, &state.name, self.config.num_replica_fetchers);
        let identity = Identity {
            local: self.rules.local,
            timeout: self.config.replica_socket_timeout_ms,
        };
        self.fetchers
            .add(step.io, (key, endpoint), identity, (slot, state));
    }

    /// The lane of a source broker is due.
    pub(super) fn fetcher_work(&mut self, step: &mut Step<'_, '_>, source: i32) {
        let source = BrokerId(source);
        let Some((key, work)) = self.fetchers.next_work(source) else {
            return;
        };
        match (key, work) {
            (_, Work::Truncate(key, cuts)) => self.make_late_cuts(step, key, cuts),
            (_, Work::Follow(told, endpoint)) => {
                let slot = self.slot(&told.partition).filter(|slot| {
                    self.online(*slot)
                        .is_some_and(|own| own.leader_epoch < Some(told.state.leader_epoch))
                });
                if let Some(slot) = slot {
                    self.flag_follower(step, slot, &told);
                    self.start_fetching(step, slot, (source, endpoint));
                }
            }
            (Some(key), work) => {
                let Some(mut fetcher) = self.fetchers.take(key) else {
                    return;
                };
                if let Work::Ended(event) = work {
                    self.on_ended(step, key, &mut fetcher, event);
                }
                self.run(step, &mut fetcher);
                self.fetchers.put(key, fetcher);
            }
            (None, Work::Run | Work::Ended(_)) => {}
        }
    }

    /// One round of the loop, up to its next request.
    fn run(&mut self, step: &mut Step<'_, '_>, fetcher: &mut Fetcher) {
        let now = step.now.mono;
        if !matches!(fetcher.in_flight, InFlight::Nothing) {
            return;
        }
        if let Some(until) = fetcher.resting.filter(|until| *until > now) {
            step.io.set_timer(fetcher.backoff_timer(), until);
            return;
        }
        fetcher.resting = None;
        let sent = self.ask_log_end(step, fetcher)
            || self.ask_epochs(step, fetcher)
            || self.ask_records(step, fetcher);
        if !sent {
            let next = fetcher.states.values().map(|state| state.not_before).min();
            if let Some(at) = next.filter(|at| *at > now) {
                step.io.set_timer(fetcher.backoff_timer(), at);
            }
        }
    }

    /// `maybeTruncate`: partitions without epochs are cut to their high watermark now, about others the leader is asked.
    fn ask_epochs(&mut self, step: &mut Step<'_, '_>, fetcher: &mut Fetcher) -> bool {
        let behaviour = self.rules.behaviour;
        let (mut asked, mut questions, mut unasked) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, state) in &fetcher.states {
            if state.phase != FetchPhase::Truncating || state.not_before > step.now.mono {
                continue;
            }
            let epoch = self.logs.latest_epoch(&state.name);
            match epoch.filter(|_| behaviour.truncates_by_epoch()) {
                None => unasked.push((*slot, Cut::to_high_watermark(state.offset))),
                Some(leader_epoch) => {
                    asked.push(Asked {
                        slot: *slot,
                        leader_epoch: state.leader_epoch,
                        offset: state.offset,
                    });
                    questions.push(EpochQuestion {
                        partition: state.name.clone(),
                        current_leader_epoch: behaviour
                            .inter_broker_protocol
                            .fences_fetches()
                            .then_some(state.leader_epoch),
                        leader_epoch,
                    });
                }
            }
        }
        for (slot, cut) in unasked {
            self.cut(step, fetcher, slot, cut);
        }
        if asked.is_empty() {
            return false;
        }
        let request = OffsetForLeaderEpochRequest {
            replica_id: Some(self.rules.local),
            partitions: questions,
        };
        fetcher.in_flight = InFlight::Epochs(asked);
        let version = i16::from(behaviour.inter_broker_protocol.answers_with_epoch())
            + 2 * i16::from(behaviour.inter_broker_protocol.fences_fetches());
        let body = RequestBody::OffsetForLeaderEpoch(request);
        fetcher.channel.send(step.now, step.io, version, body);
        true
    }

    /// `buildFetch`. Partitions that rest are taken out of the session until they are ready again.
    fn ask_records(&self, step: &mut Step<'_, '_>, fetcher: &mut Fetcher) -> bool {
        let protocol = self.rules.behaviour.inter_broker_protocol;
        let version = fetch_version(protocol);
        let data = fetcher.session.build(self.wanted(step, fetcher));
        if fetcher.session.is_empty() && data.to_forget.is_empty() {
            return false;
        }
        let has_sessions = version >= 7;
        let request = FetchRequest {
            replica_id: Some(self.rules.local),
            replica_epoch: self
                .broker_epoch
                .filter(|_| self.rules.behaviour.has(Fix::BrokerEpochInFetch)),
            max_wait: self.config.replica_fetch_wait_max_ms,
            min_bytes: self.config.replica_fetch_min_bytes,
            max_bytes: self.config.replica_fetch_response_max_bytes,
            isolation_level: IsolationLevel::ReadUncommitted,
            metadata: if has_sessions {
                data.metadata
            } else {
                FetchMetadata::LEGACY
            },
            partitions: data.to_send,
            forgotten: data.to_forget,
        };
        fetcher.in_flight = InFlight::Records;
        let body = RequestBody::Fetch(request);
        fetcher.channel.send(step.now, step.io, version, body);
        true
    }

    /// All partitions that are ready to be fetched, those first whose turn it is.
    fn wanted(&self, step: &Step<'_, '_>, fetcher: &Fetcher) -> Vec<FetchPartition> {
        let protocol = self.rules.behaviour.inter_broker_protocol;
        let tells_start = fetch_version(protocol) >= 5;
        let turn = fetcher.turn.unwrap_or(Slot::numbered(0));
        let first = fetcher.states.range(turn..);
        let states = first.chain(fetcher.states.range(..turn));
        states
            .map(|(_, state)| state)
            .filter(|state| {
                state.phase == FetchPhase::Fetching && state.not_before <= step.now.mono
            })
            .map(|state| FetchPartition {
                partition: state.name.clone(),
                current_leader_epoch: protocol.fences_fetches().then_some(state.leader_epoch),
                fetch_offset: state.offset,
                last_fetched_epoch: state.last_epoch,
                log_start_offset: self
                    .logs
                    .view(&state.name)
                    .map(|view| view.start)
                    .filter(|_| tells_start),
                max_bytes: self.config.replica_fetch_max_bytes,
            })
            .collect()
    }

    fn on_ended(
        &mut self,
        step: &mut Step<'_, '_>,
        key: FetcherKey,
        fetcher: &mut Fetcher,
        event: PeerEvent,
    ) {
        let in_flight = std::mem::replace(&mut fetcher.in_flight, InFlight::Nothing);
        match (in_flight, event) {
            (
                InFlight::Epochs(asked),
                PeerEvent::Response(ResponseBody::OffsetForLeaderEpoch(response)),
            ) => {
                for (asked, answer) in asked.into_iter().zip(response.partitions) {
                    self.on_epoch_answer(step, fetcher, asked, &answer);
                }
            }
            (InFlight::Records, PeerEvent::Response(ResponseBody::Fetch(response))) => {
                if fetcher.session.handle_response(&response) {
                    self.on_records(step, key, fetcher, response.partitions);
                }
            }
            (InFlight::LogEnd(asked), PeerEvent::Response(ResponseBody::ListOffsets(response))) => {
                self.on_log_end(step, fetcher, asked, &response);
            }
            (
                InFlight::LogStart(asked),
                PeerEvent::Response(ResponseBody::ListOffsets(response)),
            ) => self.on_log_start(step, fetcher, asked, &response),
            (InFlight::Records, _) => {
                fetcher.session.handle_error();
                self.rest(step, fetcher);
            }
            (InFlight::Epochs(asked), _) => {
                for one in asked {
                    self.back_off(step, fetcher, one.slot);
                }
            }
            (InFlight::LogEnd(asked) | InFlight::LogStart(asked), _) => {
                self.back_off(step, fetcher, asked.slot);
            }
            (InFlight::Flush, _) => fetcher.in_flight = InFlight::Flush,
            (InFlight::Cut, _) => fetcher.in_flight = InFlight::Cut,
            (InFlight::Nothing, _) => {}
        }
    }

    /// A fetch failed as a whole: the thread rests, and after that every partition does (Kafka's doubled delay).
    fn rest(&self, step: &Step<'_, '_>, fetcher: &mut Fetcher) {
        let pause = self.config.replica_fetch_backoff_ms;
        let until = step.now.mono + pause;
        fetcher.resting = Some(until);
        for state in fetcher.states.values_mut() {
            if state.not_before <= step.now.mono {
                state.not_before = until + pause;
            }
        }
    }

    pub(super) fn back_off(&self, step: &Step<'_, '_>, fetcher: &mut Fetcher, slot: Slot) {
        let until = step.now.mono + self.config.replica_fetch_backoff_ms;
        fetcher.delay(slot, until, step.now.mono);
    }

    /// The leader says that the epoch is over. If the partition is still in that epoch here, only the controller can help
    /// (`onPartitionFenced`); otherwise the question was an old one.
    pub(super) fn on_fenced(&self, step: &Step<'_, '_>, fetcher: &mut Fetcher, asked: Asked) {
        let current = fetcher
            .states
            .get(&asked.slot)
            .is_some_and(|state| state.leader_epoch == asked.leader_epoch);
        if current {
            fetcher.states.remove(&asked.slot);
        } else {
            self.back_off(step, fetcher, asked.slot);
        }
    }

    fn on_epoch_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        asked: Asked,
        answer: &EpochAnswer,
    ) {
        let behaviour = self.rules.behaviour;
        let Some(state) = fetcher.states.get(&asked.slot) else {
            return;
        };
        // KAFKA-7786: an answer to a question of an earlier epoch says nothing about this one. Before, it was acted on, and
        // a fenced question took the partition away although this fetcher knew the newer epoch by then.
        if behaviour.has(Fix::ValidateInflightEpoch) && state.leader_epoch != asked.leader_epoch {
            return;
        }
        if answer.error == ErrorCode::FencedLeaderEpoch {
            fetcher.states.remove(&asked.slot);
            return;
        }
        if answer.error.is_error() {
            return self.back_off(step, fetcher, asked.slot);
        }
        let tells_epoch = behaviour.inter_broker_protocol.answers_with_epoch()
            && behaviour.has(Fix::LargestCommonEpoch);
        let says = match answer.end {
            None => LeaderSays::Nothing,
            Some(end) if tells_epoch => LeaderSays::EpochEnd(end),
            Some(end) => LeaderSays::End(end.end_offset),
        };
        let cut = self.decide(state, says, TruncationRule::LeaderEpoch);
        self.cut(step, fetcher, asked.slot, cut);
    }

    pub(super) fn decide(&self, state: &FetchState, says: LeaderSays, rule: TruncationRule) -> Cut {
        let end = self
            .logs
            .view(&state.name)
            .map_or(state.offset, |view| view.end);
        truncation::decide(says, state.offset, end, rule, |epoch| {
            self.logs.end_of_epoch(&state.name, epoch)
        })
    }

    /// Cuts the log and goes on from there.
    pub(super) fn cut(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        slot: Slot,
        cut: Cut,
    ) {
        let Some(state) = fetcher.states.get_mut(&slot) else {
            return;
        };
        let name = state.name.clone();
        let result = self
            .logs
            .truncate(step.now, step.io, &name, (cut.to, cut.rule));
        if let Err(error) = result {
            fetcher.states.remove(&slot);
            self.check_disk(step, &name, Some(error));
            return;
        }
        self.schedule_removal(step.io);
        let by_fetch = self.rules.behaviour.truncates_by_fetch();
        state.offset = self.logs.view(&name).map_or(cut.to, |view| view.end);
        state.last_epoch = self.logs.latest_epoch(&name).filter(|_| by_fetch);
        if cut.complete || by_fetch {
            state.phase = FetchPhase::Fetching;
        }
    }
}

/// The version of Fetch a follower sends (`ReplicaFetcherThread.fetchRequestVersion`).
fn fetch_version(protocol: InterBrokerProtocol) -> i16 {
    use InterBrokerProtocol as P;
    [
        (P::V2_7Iv1, 12),
        (P::V2_3Iv1, 11),
        (P::V2_1Iv2, 10),
        (P::V2_1Iv1, 9),
        (P::V2_0Iv1, 8),
        (P::V1_1Iv0, 7),
        (P::V0_11_0Iv1, 5),
        (P::V0_11_0Iv0, 4),
        (P::V0_10_1Iv1, 3),
        (P::V0_10_0Iv0, 2),
        (P::V0_9_0, 1),
    ]
    .into_iter()
    .find(|(since, _)| protocol >= *since)
    .map_or(0, |(_, version)| version)
}
