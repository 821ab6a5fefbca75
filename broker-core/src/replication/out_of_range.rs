//! A follower whose offset the leader does not have (`AbstractFetcherThread.fetchOffsetAndTruncate`).
//!
//! The leader is asked for its log end. A leader that is behind was elected uncleanly: the follower cuts to its end
//! (before KAFKA-7414 the broker halted where the topic forbids unclean elections). Otherwise the leader's first offset
//! decides: records that are gone there cannot be copied any more, so the follower begins anew.

use super::fetcher::{Asked, FetchPhase, Fetcher, InFlight};
use super::partition::Slot;
use super::truncation::Cut;
use super::{ReplicaManager, Step};
use protocol::api::RequestBody;
use protocol::api::data::{
    IsolationLevel, ListOffsetsRequest, ListOffsetsResponse, OffsetSpec,
    PartitionListOffsetsResponse,
};
use protocol::behaviour::{Fix, InterBrokerProtocol};
use protocol::error_code::ErrorCode;
use protocol::ids::Offset;
use protocol::note::{BrokerNote, Note, TruncationRule};

impl ReplicaManager {
    /// Asks for the log end of the leader of the first partition that is out of range.
    pub(super) fn ask_log_end(&self, step: &mut Step<'_, '_>, fetcher: &mut Fetcher) -> bool {
        while let Some(slot) = fetcher.out_of_range.pop() {
            if let Some(state) = fetcher.states.get(&slot) {
                let asked = Asked {
                    slot,
                    leader_epoch: state.leader_epoch,
                    offset: state.offset,
                };
                self.ask_offset(step, fetcher, asked, OffsetSpec::Latest);
                fetcher.in_flight = InFlight::LogEnd(asked);
                return true;
            }
        }
        false
    }

    fn ask_offset(
        &self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        asked: Asked,
        spec: OffsetSpec,
    ) {
        let Some(state) = fetcher.states.get(&asked.slot) else {
            return;
        };
        let protocol = self.rules.behaviour.inter_broker_protocol;
        let epoch = protocol.fences_fetches().then_some(asked.leader_epoch);
        let request = ListOffsetsRequest {
            replica_id: Some(self.rules.local),
            isolation_level: IsolationLevel::ReadUncommitted,
            partitions: vec![(state.name.clone(), epoch, spec)],
        };
        let version = if protocol >= InterBrokerProtocol::V2_2Iv1 {
            5
        } else {
            4 * i16::from(protocol.fences_fetches())
        };
        let body = RequestBody::ListOffsets(request);
        fetcher.channel.send(step.now, step.io, version, body);
    }

    /// The offset of an answer, if the partition still waits for it.
    fn listed(
        &self,
        step: &Step<'_, '_>,
        fetcher: &mut Fetcher,
        asked: Asked,
        response: &ListOffsetsResponse,
    ) -> Option<Offset> {
        let state = fetcher.states.get(&asked.slot)?;
        if state.leader_epoch != asked.leader_epoch || state.offset != asked.offset {
            return None;
        }
        match response.partitions.first() {
            Some(PartitionListOffsetsResponse {
                error: ErrorCode::None,
                offset: Some(offset),
                ..
            }) => Some(*offset),
            Some(answer) if answer.error == ErrorCode::FencedLeaderEpoch => {
                self.on_fenced(step, fetcher, asked);
                None
            }
            Some(_) | None => {
                self.back_off(step, fetcher, asked.slot);
                None
            }
        }
    }

    pub(super) fn on_log_end(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        asked: Asked,
        response: &ListOffsetsResponse,
    ) {
        let Some(leader_end) = self.listed(step, fetcher, asked, response) else {
            return;
        };
        let Some(own_end) = self.own_end(fetcher, asked.slot) else {
            return;
        };
        if leader_end >= own_end {
            self.ask_offset(step, fetcher, asked, OffsetSpec::Earliest);
            fetcher.in_flight = InFlight::LogStart(asked);
        } else if self.must_halt(fetcher, asked.slot) {
            let text = "the leader's log is behind, and unclean election is off";
            step.io.note(Note::Broker(BrokerNote::Fatal(text.into())));
            step.io.exit(false);
            fetcher.states.clear();
        } else {
            let cut = Cut {
                to: leader_end,
                complete: true,
                rule: TruncationRule::OutOfRange,
            };
            self.cut(step, fetcher, asked.slot, cut);
        }
    }

    fn own_end(&self, fetcher: &Fetcher, slot: Slot) -> Option<Offset> {
        let state = fetcher.states.get(&slot)?;
        self.logs.view(&state.name).map(|view| view.end)
    }

    fn must_halt(&self, fetcher: &Fetcher, slot: Slot) -> bool {
        let unclean = fetcher
            .states
            .get(&slot)
            .and_then(|state| self.logs.get(&state.name))
            .is_some_and(|log| log.config().unclean_leader_election_enable);
        // Before KAFKA-1028 every election might be unclean, and a follower that was ahead cut its log without a word.
        let could_forbid = self.rules.behaviour.has(Fix::UncleanElectionSetting);
        !unclean && could_forbid && !self.rules.behaviour.has(Fix::OutOfRangeTruncates)
    }

    pub(super) fn on_log_start(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        asked: Asked,
        response: &ListOffsetsResponse,
    ) {
        let Some(leader_start) = self.listed(step, fetcher, asked, response) else {
            return;
        };
        let Some(own_end) = self.own_end(fetcher, asked.slot) else {
            return;
        };
        // KAFKA-2143: before, whatever was here went, although only what lies before the leader's start has to.
        let drop_all =
            leader_start > own_end || !self.rules.behaviour.has(Fix::OutOfRangeNeedsLeader);
        let by_fetch = self.rules.behaviour.truncates_by_fetch();
        let Some(state) = fetcher.states.get_mut(&asked.slot) else {
            return;
        };
        let name = state.name.clone();
        let mut error = None;
        if drop_all {
            let result = self
                .logs
                .truncate_fully(step.now, step.io, &name, leader_start);
            error = result.err();
            state.offset = leader_start;
        } else {
            state.offset = own_end;
        }
        state.phase = FetchPhase::Fetching;
        state.last_epoch = self.logs.latest_epoch(&name).filter(|_| by_fetch);
        self.check_disk(step, &name, error);
        self.schedule_removal(step.io);
    }
}
