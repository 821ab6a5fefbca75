//! What a follower does with a fetch response (`AbstractFetcherThread.processFetchRequest`,
//! `ReplicaFetcherThread.processPartitionData`).

use super::fetcher::{Asked, FetchPhase, Fetcher, FetcherKey, InFlight, LateCut};
use super::log_upkeep::Waiter;
use super::partition::Slot;
use super::truncation::LeaderSays;
use super::{ReplicaManager, Step};
use protocol::api::data::{EpochEndOffset, PartitionFetchResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::note::TruncationRule;

/// What a response leaves to be done when all its partitions are through.
#[derive(Default)]
struct Rest {
    /// Flushes to wait for before the next fetch.
    flushes: Vec<u64>,
    /// Truncations that come later, where KAFKA-13207 is off.
    cuts: Vec<LateCut>,
}

impl ReplicaManager {
    pub(super) fn on_records(
        &mut self,
        step: &mut Step<'_, '_>,
        key: FetcherKey,
        fetcher: &mut Fetcher,
        answers: Vec<PartitionFetchResponse>,
    ) {
        let mut rest = Rest::default();
        for answer in answers {
            let Some(asked) = self.asked(fetcher, &answer) else {
                continue;
            };
            // Taken away and given back, or cut, since the question was asked: then the answer is for somebody else.
            let awaited = fetcher.states.get(&asked.slot).is_some_and(|state| {
                state.offset == asked.offset
                    && state.phase == FetchPhase::Fetching
                    && state.not_before <= step.now.mono
            });
            if !awaited {
                continue;
            }
            if answer.error.is_none() {
                self.on_partition(step, fetcher, (asked.slot, answer), &mut rest);
            } else if answer.error == ErrorCode::OffsetOutOfRange {
                fetcher.out_of_range.push(asked.slot);
            } else if answer.error == ErrorCode::FencedLeaderEpoch {
                self.on_fenced(step, fetcher, asked);
            } else {
                self.back_off(step, fetcher, asked.slot);
            }
        }
        if !rest.flushes.is_empty() {
            fetcher.wait_for_flush();
            self.flushes.wait(rest.flushes, Waiter::Fetcher(key));
        }
        // A cut that comes later comes before the next fetch in any case.
        if !rest.cuts.is_empty() {
            fetcher.in_flight = InFlight::Cut;
            self.fetchers.truncate_later(step.io, key, rest.cuts);
        }
    }

    /// What the fetch asked of the partition that an answer is about, if the fetcher still has it.
    fn asked(&self, fetcher: &Fetcher, answer: &PartitionFetchResponse) -> Option<Asked> {
        let slot = self.slot(&answer.partition)?;
        let state = fetcher.states.get(&slot)?;
        let asked = fetcher.session.asked(&answer.partition)?;
        Some(Asked {
            slot,
            leader_epoch: asked.current_leader_epoch.unwrap_or(state.leader_epoch),
            offset: asked.fetch_offset,
        })
    }

    fn on_partition(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        (slot, answer): (Slot, PartitionFetchResponse),
        rest: &mut Rest,
    ) {
        let Some(diverging) = answer.diverging_epoch else {
            self.take_records(step, fetcher, (slot, answer), rest);
            return;
        };
        // KAFKA-14704: before, the high watermark was taken over while the tail that is to be cut was still there.
        if !self.rules.behaviour.has(Fix::DivergenceBeforeHighWatermark) {
            self.take_records(step, fetcher, (slot, answer), rest);
        }
        self.cut_diverging(step, fetcher, (slot, diverging), rest);
    }

    fn cut_diverging(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        (slot, diverging): (Slot, EpochEndOffset),
        rest: &mut Rest,
    ) {
        let Some(state) = fetcher.states.get(&slot) else {
            return;
        };
        let says = LeaderSays::EpochEnd(diverging);
        let cut = self.decide(state, says, TruncationRule::DivergingEpoch);
        if self.rules.behaviour.has(Fix::TruncateRequiresOwnership) {
            self.cut(step, fetcher, slot, cut);
        } else {
            // The thread lets go of its lock between the decision and the cut; by then the partition may be led here.
            rest.cuts.push(LateCut {
                slot,
                name: state.name.clone(),
                cut,
            });
        }
    }

    /// Makes the cuts that were decided a moment ago, without asking whose the partitions are now.
    pub(super) fn make_late_cuts(
        &mut self,
        step: &mut Step<'_, '_>,
        key: FetcherKey,
        cuts: Vec<LateCut>,
    ) {
        let mut fetcher = self.fetchers.take(key);
        for LateCut { slot, name, cut } in cuts {
            let fetching = fetcher
                .as_mut()
                .filter(|fetcher| fetcher.states.contains_key(&slot));
            if let Some(fetcher) = fetching {
                self.cut(step, fetcher, slot, cut);
            } else {
                let to = (cut.to, cut.rule);
                let result = self.logs.truncate(step.now, step.io, &name, to);
                self.check_disk(step, &name, result.err());
            }
        }
        if let Some(mut fetcher) = fetcher {
            fetcher.in_flight = InFlight::Nothing;
            self.fetchers.put(key, fetcher);
            self.fetchers.run_soon(step.io, key);
        }
    }

    /// Appends, and takes the leader's high watermark and log start over.
    fn take_records(
        &mut self,
        step: &mut Step<'_, '_>,
        fetcher: &mut Fetcher,
        (slot, answer): (Slot, PartitionFetchResponse),
        rest: &mut Rest,
    ) {
        let name = answer.partition;
        if !answer.records.is_empty() {
            let result = self
                .logs
                .append_as_follower(step.now, step.io, &name, answer.records);
            match result {
                Ok(info) => {
                    rest.flushes.extend(self.flush_after_append(step.io, &name));
                    let by_fetch = self.rules.behaviour.truncates_by_fetch();
                    let last = self.logs.latest_epoch(&name).filter(|_| by_fetch);
                    if let Some(state) = fetcher.states.get_mut(&slot)
                        && info.batches > 0
                    {
                        state.offset = info.to;
                        state.last_epoch = last;
                        fetcher.turn_after(slot);
                    }
                }
                Err(ErrorCode::CorruptMessage) => {
                    self.back_off(step, fetcher, slot);
                    return;
                }
                Err(error) => {
                    // `markPartitionFailed`: this partition waits for the controller, the others go on.
                    fetcher.states.remove(&slot);
                    self.check_disk(step, &name, Some(error));
                    return;
                }
            }
        }
        let Some(log) = self.logs.get_mut(&name) else {
            return;
        };
        if let Some(mark) = answer.high_watermark {
            log.update_high_watermark(step.io, mark);
            let caught_up = log.log_end_offset() >= mark;
            if let Some(partition) = self.online_mut(slot).filter(|_| caught_up) {
                partition.came_back_empty = false;
            }
        }
        if let Some(start) = answer.log_start_offset
            && let Some(log) = self.logs.get_mut(&name)
        {
            let moved = log.maybe_increment_log_start_offset(step.io, start);
            if moved == Err(ErrorCode::KafkaStorageError) {
                self.check_disk(step, &name, moved.err());
            }
        }
    }
}
