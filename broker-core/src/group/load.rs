//! Becoming and ceasing to be the coordinator of a partition's groups (`scheduleLoadGroupAndOffsets`,
//! `removeGroupsForPartition`).
//!
//! Both run one after the other on one thread, the lane `GroupLoader`. A load replays the partition from its start into
//! tables of its own and puts the groups into the cache at the end, all at once. Epochs only keep an outdated election or
//! resignation from being taken for a new one; a transactional batch counts when its commit marker is read.

use super::answers::{join_error, sync_error};
use super::offsets::Committed;
use super::state::{Group, GroupState};
use super::storage::{self, Key};
use super::transactions::{EndedTransaction, PendingOffset};
use super::{Registry, Step};
use bytes::Bytes;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{GroupId, LeaderEpoch, Offset, ProducerId, TopicPartition};
use protocol::machine::{Io, Lane};
use protocol::note::GroupNote;
use protocol::record::{ControlType, RecordBatch, batches};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A read of the offsets topic that a load wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadRead {
    /// The partition of the offsets topic.
    pub partition: i32,
    /// From where; the log's start when `None`.
    pub from: Option<Offset>,
    /// `offsets.load.buffer.size`.
    pub max_bytes: i32,
    /// Read one whole batch even if it is larger (KAFKA-7286).
    pub min_one_batch: bool,
}

/// What a [`LoadRead`] gave.
#[derive(Clone, Debug)]
pub enum LoadData {
    /// There is no such log here.
    NoLog,
    /// A run of whole batches up to the log's end, the uncommitted ones included; none at its end.
    Batches {
        /// The batches.
        records: Bytes,
        /// The offset read from.
        from: Offset,
        /// Where the log ends, or `None` when this broker no longer leads the partition.
        log_end_offset: Option<Offset>,
    },
}

/// Work for the loader thread.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Task {
    Load(i32),
    Unload(i32),
    /// Carry out the end of a transaction.
    End(EndedTransaction),
}

type OffsetTable = BTreeMap<(GroupId, TopicPartition), Committed>;

/// What was read so far.
#[derive(Clone, Debug, Default)]
struct Load {
    groups: BTreeMap<GroupId, Group>,
    offsets: OffsetTable,
    /// Offsets of transactions that have no marker yet.
    open: BTreeMap<ProducerId, OffsetTable>,
    /// A record made no sense: Kafka's loader throws, and nothing of the partition gets into the cache.
    broken: bool,
}

/// Which partitions are coordinated here, and which are being loaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    owned: BTreeSet<i32>,
    loading: BTreeMap<i32, Load>,
    epochs: BTreeMap<i32, LeaderEpoch>,
    tasks: VecDeque<Task>,
    reads: Vec<LoadRead>,
    /// A load that goes on for ever without reading anything (KAFKA-9065, KAFKA-7286), and how many tasks came up since.
    stuck: Option<(i32, u32)>,
}

impl Ownership {
    pub(super) fn owns(&self, partition: i32) -> bool {
        self.owned.contains(&partition)
    }

    pub(super) fn is_loading(&self, partition: i32) -> bool {
        self.loading.contains_key(&partition)
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    pub(super) fn take_reads(&mut self) -> Vec<LoadRead> {
        std::mem::take(&mut self.reads)
    }

    pub(super) fn on_elected(&mut self, io: &mut Io<'_>, partition: i32, epoch: LeaderEpoch) {
        // A load that an unload will follow does not count for this election.
        let loading = self.is_loading(partition) && !self.tasks.contains(&Task::Unload(partition));
        if !self.is_news(partition, Some(epoch)) || loading {
            return;
        }
        self.loading.entry(partition).or_default();
        self.tasks.push_back(Task::Load(partition));
        io.queue(Lane::GroupLoader);
    }

    /// Whether nothing waits for the loader thread.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn on_ended(&mut self, io: &mut Io<'_>, ended: EndedTransaction) {
        self.tasks.push_back(Task::End(ended));
        io.queue(Lane::GroupLoader);
    }

    /// Whether this is no outdated message; remembers the epoch.
    fn is_news(&mut self, partition: i32, epoch: Option<LeaderEpoch>) -> bool {
        let Some(epoch) = epoch else {
            return true;
        };
        let known = self.epochs.get(&partition);
        let news = known.is_none_or(|known| epoch >= *known);
        if news {
            self.epochs.insert(partition, epoch);
        }
        news
    }

    fn read(&mut self, step: &Step<'_, '_>, partition: i32, from: Option<Offset>) {
        self.reads.push(LoadRead {
            partition,
            from,
            max_bytes: step.office.settings.load_buffer,
            min_one_batch: step.has(Fix::LargeGroupRecords),
        });
    }
}

impl Registry {
    pub(super) fn on_resigned(
        &mut self,
        step: &mut Step<'_, '_>,
        partition: i32,
        epoch: Option<LeaderEpoch>,
    ) {
        let ours = self.ownership.owns(partition) || self.ownership.is_loading(partition);
        if !self.ownership.is_news(partition, epoch) || !ours {
            return;
        }
        self.ownership.tasks.push_back(Task::Unload(partition));
        step.io.queue(Lane::GroupLoader);
        // The end of a log that is not led is -1, which ends even a load that would go on for ever.
        if let Some((stuck, came_up)) = self.ownership.stuck
            && stuck == partition
        {
            self.ownership.stuck = None;
            self.finish_load(step, partition);
            for _ in 0..came_up {
                step.io.queue(Lane::GroupLoader);
            }
        }
    }

    pub(super) fn on_due(&mut self, step: &mut Step<'_, '_>) {
        if let Some((_, came_up)) = &mut self.ownership.stuck {
            *came_up += 1;
            return;
        }
        match self.ownership.tasks.pop_front() {
            Some(Task::Load(partition)) => {
                self.ownership.loading.insert(partition, Load::default());
                self.ownership.read(step, partition, None);
            }
            Some(Task::Unload(partition)) => self.unload(step, partition),
            Some(Task::End(ended)) => self.end_transaction(step, &ended),
            None => {}
        }
    }

    pub(super) fn on_load_data(&mut self, step: &mut Step<'_, '_>, partition: i32, data: LoadData) {
        let Some(load) = self.ownership.loading.get_mut(&partition) else {
            return;
        };
        let LoadData::Batches {
            records,
            from,
            log_end_offset,
        } = data
        else {
            self.finish_load(step, partition);
            return;
        };
        let next = load.replay(step, records).unwrap_or(from);
        let more = !load.broken && log_end_offset.is_some_and(|end| next < end);
        if more && next > from {
            self.ownership.read(step, partition, Some(next));
        } else if more && !step.has(Fix::ReplayAcrossGaps) {
            self.ownership.stuck = Some((partition, 0));
        } else {
            self.finish_load(step, partition);
        }
    }

    /// Puts what was loaded into the cache and opens for requests. A group that is cached already stays as it is.
    fn finish_load(&mut self, step: &mut Step<'_, '_>, partition: i32) {
        let Some(load) = self.ownership.loading.remove(&partition) else {
            return;
        };
        self.ownership.owned.insert(partition);
        if load.broken {
            return;
        }
        for (id, mut group) in load.into_groups(step) {
            if self.groups.contains_key(&id) {
                continue;
            }
            group.on_loaded(step);
            self.groups.insert(id, group);
        }
    }

    fn unload(&mut self, step: &mut Step<'_, '_>, partition: i32) {
        self.ownership.owned.remove(&partition);
        let forget = step.has(Fix::DropCacheOnUnload);
        self.groups.retain(|_, group| {
            let leaves = group.partition == partition;
            if leaves {
                group.on_unloaded(step, forget);
            }
            !(leaves && forget)
        });
    }
}

impl Load {
    /// Replays a run of batches; the offset after the last one.
    fn replay(&mut self, step: &mut Step<'_, '_>, records: Bytes) -> Option<Offset> {
        let mut next = None;
        for batch in batches(records) {
            let Ok(batch) = batch else {
                self.broken = true;
                break;
            };
            next = Some(batch.next_offset());
            let done = if batch.is_control() {
                self.end_transaction(&batch)
            } else {
                self.replay_batch(step, &batch)
            };
            if done.is_none() {
                self.broken = true;
                break;
            }
        }
        next
    }

    fn end_transaction(&mut self, batch: &RecordBatch) -> Option<()> {
        let open = self.open.remove(&batch.producer_id()?).unwrap_or_default();
        let marker = batch.control_marker().ok()??;
        if marker.kind == ControlType::Commit {
            for (key, committed) in open {
                let present = self.offsets.get(&key);
                if present.is_none_or(|present| present.at < committed.at) {
                    self.offsets.insert(key, committed);
                }
            }
        }
        Some(())
    }

    fn replay_batch(&mut self, step: &mut Step<'_, '_>, batch: &RecordBatch) -> Option<()> {
        let mut at = None;
        for record in batch.records() {
            let record = record.ok()?;
            let at = *at.get_or_insert(record.offset);
            match (storage::read_key(&record.key?)?, record.value) {
                (Key::Offset(group, partition), value) => {
                    let table = match batch.producer_id() {
                        Some(id) if batch.is_transactional() => self.open.entry(id).or_default(),
                        Some(_) | None => &mut self.offsets,
                    };
                    match value {
                        Some(value) => {
                            let stored = storage::read_offset(&value, step)?;
                            table.insert((group, partition), Committed { at, stored });
                        }
                        None => {
                            table.remove(&(group, partition));
                        }
                    }
                }
                (Key::Group(id), Some(value)) => {
                    let group = storage::read_group(id.clone(), &value, step)?;
                    self.groups.insert(id, group);
                }
                (Key::Group(id), None) => {
                    self.groups.remove(&id);
                }
            }
        }
        Some(())
    }

    /// The groups with their offsets; one that has offsets and no record of its own only stores offsets.
    fn into_groups(self, step: &mut Step<'_, '_>) -> BTreeMap<GroupId, Group> {
        let wall = step.wall_ms();
        let mut groups = self.groups;
        for ((id, partition), committed) in self.offsets {
            let group = groups
                .entry(id)
                .or_insert_with_key(|id| step.office.new_group(id.clone(), wall));
            group.offsets.insert(partition, committed);
        }
        for (producer, offsets) in self.open {
            for ((id, partition), Committed { at, stored }) in offsets {
                let group = groups
                    .entry(id)
                    .or_insert_with_key(|id| step.office.new_group(id.clone(), wall));
                let pending = group.pending_transactions.entry(producer).or_default();
                let at = Some(at);
                pending.insert(partition, PendingOffset { at, stored });
            }
        }
        groups
    }
}

impl Group {
    fn on_loaded(&mut self, step: &mut Step<'_, '_>) {
        let note = GroupNote::Loaded {
            generation: self.generation,
            offsets: u32::try_from(self.offsets.len()).unwrap_or(u32::MAX),
        };
        step.note(&self.id, note);
        if self.members.len() > step.office.settings.max_size {
            self.prepare_rebalance(step);
        }
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            self.reset_session(step, &id);
        }
    }

    /// Answers whoever waits. Before KAFKA-5600 the group itself stayed in the cache.
    fn on_unloaded(&mut self, step: &mut Step<'_, '_>, forget: bool) {
        if forget {
            self.state = GroupState::Dead;
        }
        step.note(&self.id, GroupNote::Unloaded);
        for (id, member) in &mut self.members {
            if let Some(token) = member.awaiting_join.take() {
                step.respond(token, join_error(id.clone(), ErrorCode::NotCoordinator));
            }
            if let Some(token) = member.awaiting_sync.take() {
                step.respond(token, sync_error(ErrorCode::NotCoordinator));
            }
        }
    }
}
