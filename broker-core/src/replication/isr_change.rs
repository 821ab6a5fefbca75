//! Changing in-sync replicas: the wishes that leave, the answers that come back, and the check for lagging followers.

use super::in_sync_replicas::IsrPath;
use super::partition::Slot;
use super::{ReplicaManager, Step};
use crate::isr_writer::{IsrResult, IsrUpdate};
use protocol::api::cluster::LeaderAndIsr;
use protocol::behaviour::Fix;
use protocol::note::ReplicaNote;

impl ReplicaManager {
    /// Sends a wish on its way; in the days of keeper writes the partition is locked from here on.
    pub(super) fn propose(
        &mut self,
        step: &mut Step<'_, '_>,
        slot: Slot,
        update: Option<IsrUpdate>,
    ) {
        let Some(update) = update else { return };
        let waits_for = self
            .online(slot)
            .map(|partition| partition.waits_for(&self.rules))
            .unwrap_or_default();
        let isr = update.new_isr.clone();
        step.note(
            &update.partition,
            ReplicaNote::IsrProposed { isr, waits_for },
        );
        if self
            .online(slot)
            .is_some_and(|partition| partition.is_locked(&self.rules))
        {
            self.locked.insert(slot);
        }
        self.isr_updates.push(update);
    }

    /// `ReplicaManager.maybeShrinkIsr`, twice per `replica.lag.time.max.ms`.
    pub(super) fn shrink_lagging(&mut self, step: &mut Step<'_, '_>) {
        let rules = self.rules;
        for index in 0..self.hosted.len() {
            let slot = Slot::numbered(index);
            let Some(partition) = self.online(slot).filter(|partition| partition.is_leader())
            else {
                continue;
            };
            let Some(view) = self.logs.view(&partition.name) else {
                continue;
            };
            let update = self
                .online_mut(slot)
                .and_then(|partition| partition.shrink(step.now.mono, view.end, &rules));
            if update.is_some() {
                self.propose(step, slot, update);
                // A follower that lags is no longer near, so the mark may be able to pass it even before the answer.
                if self.advance_high_watermark(step, slot) {
                    self.wake_all(step, slot);
                }
            }
        }
    }

    /// The answer to a wish; `OPERATION_NOT_ATTEMPTED` when it was not even taken. While the answer to a keeper write is
    /// missing the partition stays locked.
    pub fn on_isr_result(&mut self, step: &mut Step<'_, '_>, answer: IsrResult) {
        let name = answer.partition;
        let Some(slot) = self.slot(&name) else {
            return;
        };
        let rules = self.rules;
        let pending = self
            .online_mut(slot)
            .is_some_and(|partition| partition.answers_pending(&answer.wanted));
        if pending {
            match answer.outcome {
                Ok(state) => self.on_isr_granted(step, slot, state),
                Err(error) => {
                    step.note(&name, ReplicaNote::IsrRefused { error });
                    let again = self
                        .online_mut(slot)
                        .and_then(|partition| partition.on_refused(error, &rules));
                    self.propose(step, slot, again);
                }
            }
        }
        self.release(step, slot);
    }

    fn on_isr_granted(&mut self, step: &mut Step<'_, '_>, slot: Slot, state: LeaderAndIsr) {
        let Some(partition) = self.online_mut(slot) else {
            return;
        };
        if partition.on_granted(state) {
            let isr = partition
                .leadership()
                .map(|leadership| leadership.isr.committed().to_vec())
                .unwrap_or_default();
            let partition_epoch = partition.partition_epoch;
            let name = partition.name.clone();
            let note = ReplicaNote::IsrChanged {
                isr,
                partition_epoch,
            };
            step.note(&name, note);
        }
        // The keeper path looked at the mark right after its write; AlterIsr forgot to until KAFKA-13091.
        let behaviour = self.rules.behaviour;
        let look = IsrPath::of(&behaviour) == IsrPath::KeeperWrite
            || behaviour.has(Fix::HighWatermarkAfterShrink);
        if look && self.advance_high_watermark(step, slot) {
            self.wake_all(step, slot);
        }
    }

    /// The lock of a keeper write is free again, unless another write followed.
    pub(super) fn release(&mut self, step: &mut Step<'_, '_>, slot: Slot) {
        let locked = self
            .online(slot)
            .is_some_and(|partition| partition.is_locked(&self.rules));
        if !locked && self.locked.remove(&slot) {
            self.wake_all(step, slot);
            self.unblock(step);
        }
    }
}
