//! The regular looks at all ids: transactions that take too long are aborted, ids that nobody uses are forgotten
//! (`abortTimedOutTransactions`, `enableTransactionalIdExpiration`).

use super::append::Expired;
use super::end_transaction::{EndCall, EndedBy};
use super::metadata::TransactionMetadata;
use super::{Desk, TransactionCoordinator};
use protocol::behaviour::Fix;
use protocol::ids::{ProducerEpoch, TransactionalId};
use protocol::note::{TransactionNote, TransactionState};
use protocol::time::Span;

fn millis(span: Span) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl TransactionMetadata {
    fn is_late(&self, wall_ms: i64) -> bool {
        let end = self.start_timestamp.saturating_add(millis(self.timeout));
        self.pending.is_none() && self.state == TransactionState::Ongoing && end < wall_ms
    }

    fn is_unused(&self, wall_ms: i64, expiration: Span) -> bool {
        let idle = matches!(
            self.state,
            TransactionState::Empty
                | TransactionState::CompleteCommit
                | TransactionState::CompleteAbort
        );
        let since = wall_ms.saturating_sub(millis(expiration));
        self.pending.is_none() && idle && self.update_timestamp <= since
    }
}

impl TransactionCoordinator {
    pub(super) fn abort_timed_out(&mut self, desk: &mut Desk<'_, '_>) {
        let raises = self.has(Fix::EpochOnTimeout);
        let wall_ms = desk.wall_ms();
        let mut calls = Vec::new();
        let loading = &self.cache.loading;
        let owned = self.cache.owned.iter_mut();
        for (_, owned) in owned.filter(|(index, _)| !loading.contains_key(*index)) {
            for (id, metadata) in &mut owned.ids {
                if !metadata.is_late(wall_ms) {
                    continue;
                }
                // Until KAFKA-6119 the producer kept its epoch, and went on as if nothing had happened.
                let epoch = if raises {
                    metadata
                        .prepare_fence()
                        .and_then(|transit| transit.producer_epoch)
                } else {
                    metadata.producer_epoch
                };
                let Some(epoch) = epoch else { continue };
                calls.push(EndCall {
                    id: id.clone(),
                    producer_id: metadata.producer_id,
                    producer_epoch: epoch,
                    committed: false,
                    by: EndedBy::Timeout,
                    fences: raises,
                });
            }
        }
        for call in calls {
            desk.note(&call.id, TransactionNote::TimedOut);
            self.end_transaction(desk, call);
        }
    }

    pub(super) fn remove_expired(&mut self, desk: &Desk<'_, '_>) {
        let (wall_ms, expiration) = (desk.wall_ms(), self.settings.expiration);
        let mut all = Vec::new();
        for (partition, owned) in &mut self.cache.owned {
            if self.cache.loading.contains_key(partition) {
                continue;
            }
            let mut ids: Vec<(TransactionalId, Option<ProducerEpoch>)> = Vec::new();
            for (id, metadata) in &mut owned.ids {
                if metadata.is_unused(wall_ms, expiration) {
                    metadata.prepare_dead();
                    ids.push((id.clone(), metadata.producer_epoch));
                }
            }
            if !ids.is_empty() {
                all.push(Expired {
                    partition: *partition,
                    coordinator_epoch: owned.epoch,
                    ids,
                });
            }
        }
        for expired in all {
            self.append_tombstones(desk, expired);
        }
    }

    /// The tombstones are replicated, or were not written.
    pub(super) fn forget(&mut self, desk: &mut Desk<'_, '_>, expired: &Expired, written: bool) {
        for (id, epoch) in &expired.ids {
            let in_epoch = expired.coordinator_epoch;
            let found = self.cache.find_in(id, self.partitions, in_epoch);
            let Some(metadata) = found else { continue };
            if written
                && metadata.pending == Some(TransactionState::Dead)
                && metadata.producer_epoch == *epoch
            {
                let state = TransactionNote::State {
                    state: TransactionState::Dead,
                    producer_id: metadata.producer_id,
                    producer_epoch: epoch.unwrap_or(ProducerEpoch(-1)),
                    partitions: Vec::new(),
                };
                desk.note(id, state);
                if let Some(owned) = self.cache.owned.get_mut(&expired.partition) {
                    owned.ids.remove(id);
                }
            } else {
                metadata.pending = None;
            }
        }
    }
}
