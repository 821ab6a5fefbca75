//! Becoming and ceasing to be the coordinator of a partition's ids (`loadTransactionsForTxnTopicPartition`,
//! `removeTransactionsForTxnTopicPartition`).
//!
//! A load runs on the lane `TransactionLoader` and replays the partition from its start; requests are put off meanwhile.
//! Decided transactions are then carried to their end. Leaving takes effect at once.

use super::cache::Owned;
use super::metadata::{TransactionMetadata, Transit};
use super::{Desk, TransactionCoordinator, record};
use crate::group::{LoadData, LoadRead};
use bytes::Bytes;
use protocol::behaviour::Fix;
use protocol::ids::{LeaderEpoch, Offset, TransactionalId};
use protocol::machine::{Io, Lane};
use protocol::note::{TransactionNote, TransactionState};
use protocol::record::batches;
use std::collections::BTreeMap;

/// A load under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    epoch: i32,
    ids: BTreeMap<TransactionalId, TransactionMetadata>,
    /// A record made no sense: Kafka's loader logs that and ends with what it has.
    broken: bool,
}

impl TransactionCoordinator {
    /// This broker leads a partition of the transaction topic now. One that led it already goes on in its earlier epoch.
    pub fn on_elected(&mut self, io: &mut Io<'_>, partition: i32, epoch: LeaderEpoch) {
        let cache = &self.cache;
        if cache.owned.contains_key(&partition) || cache.loading.contains_key(&partition) {
            return;
        }
        self.remove_markers(partition);
        let load = Load {
            epoch: epoch.0,
            ..Load::default()
        };
        self.cache.loading.insert(partition, load);
        self.cache.tasks.push_back((partition, epoch.0));
        io.queue(Lane::TransactionLoader);
    }

    /// This broker no longer leads the partition.
    pub fn on_resigned(&mut self, desk: &mut Desk<'_, '_>, partition: i32) {
        self.cache.loading.remove(&partition);
        let owned = self.cache.owned.remove(&partition).unwrap_or_default();
        for id in owned.ids.keys() {
            desk.note(id, TransactionNote::Unloaded);
        }
        self.remove_markers(partition);
    }

    /// The loader may run. Afterwards [`take_loads`](Self::take_loads) may have reads.
    pub fn on_loader_due(&mut self) {
        let Some((partition, epoch)) = self.cache.tasks.pop_front() else {
            return;
        };
        if self
            .cache
            .loading
            .get(&partition)
            .is_some_and(|load| load.epoch == epoch)
        {
            self.read(partition, None);
        }
    }

    /// Reads that a load wants now. Each is answered by [`on_load_data`](Self::on_load_data), which may want another.
    pub fn take_loads(&mut self) -> Vec<LoadRead> {
        std::mem::take(&mut self.cache.reads)
    }

    fn read(&mut self, partition: i32, from: Option<Offset>) {
        self.cache.reads.push(LoadRead {
            partition,
            from,
            max_bytes: self.settings.load_buffer,
            min_one_batch: true,
        });
    }

    /// What a read gave.
    pub fn on_load_data(&mut self, desk: &mut Desk<'_, '_>, partition: i32, data: LoadData) {
        let Some(load) = self.cache.loading.get_mut(&partition) else {
            return;
        };
        let LoadData::Batches {
            records,
            from,
            log_end_offset,
        } = data
        else {
            self.finish_load(desk, partition);
            return;
        };
        let next = load.replay(records).unwrap_or(from);
        let more = !load.broken && log_end_offset.is_some_and(|end| next < end);
        if more && next > from {
            self.read(partition, Some(next));
        } else {
            self.finish_load(desk, partition);
        }
    }

    fn finish_load(&mut self, desk: &mut Desk<'_, '_>, partition: i32) {
        let Some(load) = self.cache.loading.remove(&partition) else {
            return;
        };
        let (epoch, mut ids) = (load.epoch, load.ids);
        let resumes = self.has(Fix::ResumePrepared);
        let mut prepared: Vec<(TransactionalId, Transit)> = Vec::new();
        for (id, metadata) in &mut ids {
            desk.note(id, TransactionNote::Loaded(metadata.state));
            let decided = matches!(
                metadata.state,
                TransactionState::PrepareCommit | TransactionState::PrepareAbort
            );
            // Until KAFKA-5131 a decision that nobody carried out remained one.
            if decided && resumes {
                let transit = metadata.prepare_complete(desk.wall_ms());
                prepared.push((id.clone(), transit));
            }
        }
        self.cache.owned.insert(partition, Owned { epoch, ids });
        for (id, transit) in prepared {
            self.add_markers(desk, (&id, epoch), transit);
        }
    }
}

impl Load {
    /// Replays a run of batches; the offset after the last one.
    fn replay(&mut self, records: Bytes) -> Option<Offset> {
        let mut next = None;
        for batch in batches(records) {
            let Ok(batch) = batch else {
                self.broken = true;
                break;
            };
            next = Some(batch.next_offset());
            for record in batch.records() {
                let read = record.ok().and_then(|record| {
                    let id = record::read_key(&record.key?)?;
                    let value = record.value.as_ref().map(record::read_value);
                    Some((id, value))
                });
                match read {
                    Some((id, Some(Some(metadata)))) => {
                        self.ids.insert(id, metadata);
                    }
                    Some((id, None)) => {
                        self.ids.remove(&id);
                    }
                    Some((_, Some(None))) | None => {
                        self.broken = true;
                        return next;
                    }
                }
            }
        }
        next
    }
}
