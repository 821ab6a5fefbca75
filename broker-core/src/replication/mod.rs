//! The replicas on this broker: `ReplicaManager`, `Partition` and the fetcher threads of Kafka 2.8, with the older ways of
//! truncating and of changing in-sync replicas beside the newer ones.
//!
//! Requests come in as they were taken from the request channel and are answered there, at once or out of a purgatory.
//! What other parts of the broker have to do about it leaves as values: ISR changes, leadership changes, finished appends
//! of the group coordinator. Left out: quotas, fetching from followers (KIP-392), moves between log directories.

mod delete_records;
mod epochs;
mod fetch;
mod fetch_session;
mod fetched_records;
mod fetcher;
mod fetcher_thread;
mod high_watermark;
mod in_sync_replicas;
mod internal_append;
mod isr_change;
mod leader_and_isr;
mod list_offsets;
mod log_upkeep;
mod out_of_range;
mod partition;
#[cfg(test)]
mod partition_test;
mod produce;
mod remote_replica;
mod replica_logs;
#[cfg(test)]
mod scenarios;
mod stop_replica;
mod transaction_markers;
mod truncation;
mod verification;

pub use in_sync_replicas::IsrPath;
pub use internal_append::{AppendTicket, InternalAppend};
pub use leader_and_isr::LeadershipChange;
pub use transaction_markers::ReplicatedMarker;
pub use verification::{Verification, Verified};

use crate::isr_writer::IsrUpdate;
use crate::metadata_cache::MetadataCache;
use crate::purgatory::Purgatory;
use crate::request_channel::{RequestChannel, Taken};
use crate::timer::TimerOwner;
use delete_records::DelayedDelete;
use fetch::DelayedFetch;
use fetch_session::FetchSessions;
use fetcher::Fetchers;
use log_upkeep::Flushes;
use partition::{Partition, Rules, Slot};
use produce::DelayedProduce;
use protocol::api::RequestBody;
use protocol::api::data::FetchRequest;
use protocol::behaviour::Behaviour;
use protocol::config::{BrokerConfig, TopicOverrides};
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicName, TopicPartition,
};
use protocol::machine::{Input, Io, RequestToken};
use protocol::note::{Note, ReplicaNote};
use protocol::partition_map::PartitionMap;
use protocol::time::Now;
use replica_logs::ReplicaLogs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use transaction_markers::MarkerRequest;
use verification::Unverified;

/// What a part of the broker needs in one step: the clocks, the hands, and the channel to answer requests on.
pub struct Step<'s, 'io> {
    /// The node's clocks.
    pub now: Now,
    /// The node's hands.
    pub io: &'s mut Io<'io>,
    /// Where requests are answered.
    pub requests: &'s mut RequestChannel,
}

impl Step<'_, '_> {
    fn note(&mut self, partition: &TopicPartition, note: ReplicaNote) {
        self.io.note(Note::Replica(partition.clone(), note));
    }
}

/// What became of a request that was offered to the replicas.
#[derive(Debug)]
pub enum Handled {
    /// It is theirs and taken care of.
    Done,
    /// It was an UpdateMetadata: the metadata cache has changed and no longer has these partitions.
    MetadataUpdated(Vec<TopicPartition>),
    /// It is for another part of the broker.
    NotMine(Box<Taken>),
}

/// A partition that this broker has heard of (`HostedPartition`).
#[derive(Clone, Debug)]
enum Hosted {
    /// Not, or no longer, a replica.
    None,
    /// A replica.
    Online(Box<Partition>),
    /// A replica on a log directory that failed.
    Offline,
}

/// Numbers of this part's own timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    IsrShrink,
    HighWatermarkCheckpoint,
}

impl Clock {
    const fn number(self) -> u64 {
        match self {
            Self::IsrShrink => 0,
            Self::HighWatermarkCheckpoint => 1,
        }
    }
}

const PRODUCE_PURGATORY: u64 = 0;
const FETCH_PURGATORY: u64 = 1;
const DELETE_PURGATORY: u64 = 2;

/// The replicas.
#[derive(Clone, Debug)]
pub struct ReplicaManager {
    config: Arc<BrokerConfig>,
    rules: Rules,
    broker_epoch: Option<BrokerEpoch>,
    /// A controller has read a registration of this process: it gave orders to its epoch.
    is_known: bool,
    controller_epoch: Option<ControllerEpoch>,
    slots: PartitionMap<Slot>,
    hosted: Vec<Hosted>,
    logs: ReplicaLogs,
    metadata: MetadataCache,
    produces: Purgatory<DelayedProduce>,
    fetches: Purgatory<DelayedFetch>,
    sessions: FetchSessions,
    deletes: Purgatory<DelayedDelete>,
    fetchers: Fetchers,
    /// Partitions whose ISR is being written to the keeper, and the requests that wait for their lock.
    locked: BTreeSet<Slot>,
    blocked: VecDeque<Taken>,
    /// Since the first LeaderAndIsr request of this life has been carried out, which names all partitions that there are.
    checkpointing: bool,
    /// The high watermarks as they were last written down.
    checkpointed: BTreeMap<TopicPartition, Offset>,
    flushes: Flushes,
    shutting_down: bool,
    isr_updates: Vec<IsrUpdate>,
    leadership_changes: Vec<(TopicPartition, LeadershipChange)>,
    finished_appends: Vec<(AppendTicket, Result<Offset, ErrorCode>)>,
    next_ticket: u64,
    marker_requests: BTreeMap<u64, MarkerRequest>,
    replicated_markers: Vec<ReplicatedMarker>,
    verifications: Vec<Verification>,
    unverified: BTreeMap<u64, Unverified>,
    /// Where transactions begin, as fetches saw it that are still to take the high watermark (KAFKA-9807).
    first_looks: BTreeMap<RequestToken, BTreeMap<TopicPartition, Offset>>,
    /// The same, of the fetch that is being served.
    looked: Option<BTreeMap<TopicPartition, Offset>>,
}

impl ReplicaManager {
    /// The replicas of a broker that has not started yet; `local` is its id, `seed` makes the numbers of fetch sessions.
    pub fn new(
        config: Arc<BrokerConfig>,
        behaviour: Behaviour,
        local: BrokerId,
        seed: u64,
    ) -> Self {
        let rules = Rules {
            behaviour,
            local,
            lag: config.replica_lag_time_max_ms,
            lag_messages: config.replica_lag_max_messages,
        };
        Self {
            rules,
            broker_epoch: None,
            is_known: false,
            controller_epoch: None,
            slots: PartitionMap::new(),
            hosted: Vec::new(),
            logs: ReplicaLogs::new(config.clone(), behaviour),
            metadata: MetadataCache::default(),
            produces: Purgatory::new(TimerOwner::Purgatory.timer(PRODUCE_PURGATORY)),
            fetches: Purgatory::new(TimerOwner::Purgatory.timer(FETCH_PURGATORY)),
            sessions: FetchSessions::new(config.max_incremental_fetch_session_cache_slots, seed),
            deletes: Purgatory::new(TimerOwner::Purgatory.timer(DELETE_PURGATORY)),
            fetchers: Fetchers::default(),
            locked: BTreeSet::new(),
            blocked: VecDeque::new(),
            checkpointing: false,
            checkpointed: BTreeMap::new(),
            flushes: Flushes::default(),
            shutting_down: false,
            isr_updates: Vec::new(),
            leadership_changes: Vec::new(),
            finished_appends: Vec::new(),
            next_ticket: 0,
            marker_requests: BTreeMap::new(),
            replicated_markers: Vec::new(),
            verifications: Vec::new(),
            unverified: BTreeMap::new(),
            first_looks: BTreeMap::new(),
            looked: None,
            config,
        }
    }

    /// Loads the logs and starts the regular work. To be called once, when the settings of topics are known.
    pub fn on_started(&mut self, now: Now, io: &mut Io<'_>) {
        self.logs.load(now, io);
        self.schedule_isr_check(now, io);
        self.schedule_upkeep(now, io);
    }

    /// Whether nothing can have been lost since the registration that a controller has read last: it has read one of this very
    /// process, or the process before stopped in good order.
    pub fn after_clean_shutdown(&self) -> bool {
        let manager = self.logs.manager();
        self.is_known || manager.is_some_and(crate::log::LogManager::after_clean_shutdown)
    }

    fn schedule_isr_check(&self, now: Now, io: &mut Io<'_>) {
        let half = protocol::time::Span(self.rules.lag.0 / 2);
        io.set_timer(
            TimerOwner::Replication.timer(Clock::IsrShrink.number()),
            now.mono + half,
        );
    }

    /// The registration stands: requests for an earlier life of this broker are refused from now on (KIP-380).
    pub fn set_broker_epoch(&mut self, epoch: BrokerEpoch) {
        self.broker_epoch = Some(epoch);
    }

    /// The settings of a topic, as the keeper has them; to be told before its first LeaderAndIsr and on every change.
    pub fn set_topic_config(&mut self, topic: TopicName, overrides: TopicOverrides) {
        self.logs.set_topic_config(topic, overrides);
    }

    /// What this broker believes about the cluster.
    pub fn metadata(&self) -> &MetadataCache {
        &self.metadata
    }

    /// The highest controller epoch this broker has heard of.
    pub fn controller_epoch(&self) -> Option<ControllerEpoch> {
        self.controller_epoch
    }

    /// Whether this broker leads the partition, and in which epoch.
    pub fn leads(&self, partition: &TopicPartition) -> Option<LeaderEpoch> {
        let partition = self.online(self.slot(partition)?)?;
        partition
            .is_leader()
            .then_some(partition.leader_epoch)
            .flatten()
    }

    /// First offset, high watermark and end of a partition's log.
    pub fn log_bounds(&self, partition: &TopicPartition) -> Option<(Offset, Offset, Offset)> {
        let view = self.logs.view(partition)?;
        Some((view.start, view.high_watermark, view.end))
    }

    /// Handles a request, if it is one for the replicas.
    pub fn handle(&mut self, step: &mut Step<'_, '_>, taken: Taken) -> Handled {
        if self.is_blocked(&taken.request.body) {
            self.blocked.push_back(taken);
            return Handled::Done;
        }
        if self.looks_first(&taken) {
            step.requests.put_back(step.io, taken);
            return Handled::Done;
        }
        let Taken {
            token,
            from,
            request,
        } = taken;
        let version = request.api_version;
        match request.body {
            RequestBody::Produce(body) => {
                self.produce(step, token, &request.client_id, body);
            }
            RequestBody::Fetch(body) => self.fetch(step, token, version, body),
            RequestBody::ListOffsets(body) => self.list_offsets(step, token, version, body),
            RequestBody::OffsetForLeaderEpoch(body) => self.epoch_ends(step, token, body),
            RequestBody::DeleteRecords(body) => self.delete_records(step, token, body),
            RequestBody::LeaderAndIsr(body) => self.leader_and_isr(step, token, (version, body)),
            RequestBody::StopReplica(body) => self.stop_replica(step, token, body),
            RequestBody::WriteTxnMarkers(body) => self.write_txn_markers(step, token, body),
            RequestBody::UpdateMetadata(body) => {
                return self.update_metadata(step, token, &body);
            }
            RequestBody::Metadata(_)
            | RequestBody::ControlledShutdown(_)
            | RequestBody::OffsetCommit(_)
            | RequestBody::OffsetFetch(_)
            | RequestBody::FindCoordinator(_)
            | RequestBody::JoinGroup(_)
            | RequestBody::Heartbeat(_)
            | RequestBody::LeaveGroup(_)
            | RequestBody::SyncGroup(_)
            | RequestBody::DescribeGroups(_)
            | RequestBody::ApiVersions(_)
            | RequestBody::CreateTopics(_)
            | RequestBody::DeleteTopics(_)
            | RequestBody::InitProducerId(_)
            | RequestBody::CreatePartitions(_)
            | RequestBody::IncrementalAlterConfigs(_)
            | RequestBody::ElectLeaders(_)
            | RequestBody::AlterPartitionReassignments(_)
            | RequestBody::ListPartitionReassignments(_)
            | RequestBody::AddPartitionsToTxn(_)
            | RequestBody::AddOffsetsToTxn(_)
            | RequestBody::EndTxn(_)
            | RequestBody::TxnOffsetCommit(_)
            | RequestBody::AlterIsr(_) => {
                return Handled::NotMine(Box::new(Taken {
                    token,
                    from,
                    request,
                }));
            }
        }
        Handled::Done
    }

    /// A timer of [`TimerOwner::Replication`], [`TimerOwner::Purgatory`], [`TimerOwner::Fetcher`] or [`TimerOwner::Log`]
    /// rang.
    pub fn on_timer(&mut self, step: &mut Step<'_, '_>, owner: TimerOwner, number: u64) {
        match owner {
            TimerOwner::Purgatory if number == PRODUCE_PURGATORY => self.expire_produces(step),
            TimerOwner::Purgatory if number == FETCH_PURGATORY => self.expire_fetches(step),
            TimerOwner::Purgatory => self.expire_deletes(step),
            TimerOwner::Replication if number == Clock::IsrShrink.number() => {
                self.schedule_isr_check(step.now, step.io);
                self.shrink_lagging(step);
            }
            TimerOwner::Replication => self.checkpoint_high_watermarks(step),
            TimerOwner::Fetcher => self.fetchers.on_timer(step.io, number),
            TimerOwner::Log => self.on_upkeep(step, number),
            TimerOwner::Keeper
            | TimerOwner::Controller
            | TimerOwner::ControllerChannel
            | TimerOwner::Group
            | TimerOwner::Broker
            | TimerOwner::Isr
            | TimerOwner::Admin
            | TimerOwner::Transaction
            | TimerOwner::TransactionMarkers
            | TimerOwner::Verification => {}
        }
    }

    /// Whether a connection is one of a fetcher's.
    pub fn owns(&self, connection: protocol::machine::ConnectionId) -> bool {
        self.fetchers.owner(connection).is_some()
    }

    /// Something happened on a fetcher's connection.
    pub fn on_connection(
        &mut self,
        step: &mut Step<'_, '_>,
        connection: protocol::machine::ConnectionId,
        input: Input,
    ) {
        self.on_fetcher_input(step, connection, input);
    }

    /// The next piece of work of the fetchers of `source` may run.
    pub fn on_fetcher_due(&mut self, step: &mut Step<'_, '_>, source: i32) {
        self.fetcher_work(step, source);
    }

    /// Wishes to change in-sync replicas, for the writer to carry to the keeper or the controller; each is to be answered by
    /// [`Self::on_isr_result`].
    pub fn take_isr_updates(&mut self) -> Vec<IsrUpdate> {
        std::mem::take(&mut self.isr_updates)
    }

    /// Partitions this broker has begun or ceased to lead.
    pub fn take_leadership_changes(&mut self) -> Vec<(TopicPartition, LeadershipChange)> {
        std::mem::take(&mut self.leadership_changes)
    }

    /// Appends of other parts of the broker that are decided: the offset of their first record, or why not.
    pub fn take_finished_appends(&mut self) -> Vec<(AppendTicket, Result<Offset, ErrorCode>)> {
        std::mem::take(&mut self.finished_appends)
    }

    // Finding partitions.

    fn slot(&self, partition: &TopicPartition) -> Option<Slot> {
        self.slots.get(partition).copied()
    }

    fn hosted(&self, slot: Slot) -> &Hosted {
        &self.hosted[slot.index()]
    }

    fn online(&self, slot: Slot) -> Option<&Partition> {
        match self.hosted(slot) {
            Hosted::Online(partition) => Some(partition),
            Hosted::None | Hosted::Offline => None,
        }
    }

    fn online_mut(&mut self, slot: Slot) -> Option<&mut Partition> {
        match &mut self.hosted[slot.index()] {
            Hosted::Online(partition) => Some(partition),
            Hosted::None | Hosted::Offline => None,
        }
    }

    /// The slot of a partition, a new one if it has none yet.
    fn slot_for(&mut self, partition: &TopicPartition) -> Slot {
        if let Some(slot) = self.slot(partition) {
            return slot;
        }
        let slot = Slot::numbered(self.hosted.len());
        self.slots.insert(partition.clone(), slot);
        self.hosted.push(Hosted::None);
        slot
    }

    /// `getPartitionOrError`: a partition that exists but is not here tells clients to look for it elsewhere.
    fn find(&self, partition: &TopicPartition) -> Result<Slot, ErrorCode> {
        let missing = || {
            if self.metadata.contains(partition) {
                ErrorCode::NotLeaderOrFollower
            } else {
                ErrorCode::UnknownTopicOrPartition
            }
        };
        let slot = self.slot(partition).ok_or_else(missing)?;
        match self.hosted(slot) {
            Hosted::Online(_) => Ok(slot),
            Hosted::Offline => Err(ErrorCode::KafkaStorageError),
            Hosted::None => Err(missing()),
        }
    }

    /// Moves a leader's high watermark as far as its replicas allow; true when it moved (`maybeIncrementLeaderHW`).
    fn advance_high_watermark(&mut self, step: &mut Step<'_, '_>, slot: Slot) -> bool {
        let Hosted::Online(partition) = &self.hosted[slot.index()] else {
            return false;
        };
        let Some(view) = self.logs.view(&partition.name) else {
            return false;
        };
        if !partition.is_leader() || view.high_watermark >= view.end {
            return false;
        }
        let min_isr = self.logs.min_isr(&partition.name);
        let mark = partition.high_watermark(step.now.mono, view.end, min_isr, &self.rules);
        let Some(mark) = mark.filter(|mark| *mark > view.high_watermark) else {
            return false;
        };
        self.logs.get_mut(&partition.name).is_some_and(|log| {
            let moved = log.maybe_increment_high_watermark(step.io, mark);
            log.note_last_stable_offset(step.io);
            moved
        })
    }

    /// The high watermark moved, or leadership did: everything that waits for the partition is looked at
    /// (`tryCompleteDelayedRequests`).
    fn wake_all(&mut self, step: &mut Step<'_, '_>, slot: Slot) {
        self.wake_fetches(step, slot);
        self.wake_produces(step, slot);
        self.wake_deletes(step, slot);
    }

    // The lock a keeper write holds.

    fn is_blocked(&self, body: &RequestBody) -> bool {
        if self.locked.is_empty() {
            return false;
        }
        let is_locked = |partition: &TopicPartition| {
            self.slot(partition)
                .is_some_and(|slot| self.locked.contains(&slot))
        };
        let reads_locked =
            |request: &FetchRequest| self.sessions.partitions(request.metadata).any(is_locked);
        partitions_of(body).into_iter().any(is_locked)
            || matches!(body, RequestBody::Fetch(request) if reads_locked(request))
    }

    /// A lock was released: requests that waited are handled in the order they came.
    fn unblock(&mut self, step: &mut Step<'_, '_>) {
        for taken in std::mem::take(&mut self.blocked) {
            self.handle(step, taken);
        }
    }
}

/// The partitions whose lock a request needs.
fn partitions_of(body: &RequestBody) -> Vec<&TopicPartition> {
    if let RequestBody::Produce(body) = body {
        body.partitions.iter().map(|(name, _)| name).collect()
    } else if let RequestBody::Fetch(body) = body {
        body.partitions.iter().map(|one| &one.partition).collect()
    } else if let RequestBody::ListOffsets(body) = body {
        body.partitions.iter().map(|(name, ..)| name).collect()
    } else if let RequestBody::OffsetForLeaderEpoch(body) = body {
        body.partitions.iter().map(|one| &one.partition).collect()
    } else if let RequestBody::DeleteRecords(body) = body {
        body.partitions.iter().map(|(name, _)| name).collect()
    } else if let RequestBody::LeaderAndIsr(body) = body {
        body.partitions.iter().map(|one| &one.partition).collect()
    } else if let RequestBody::StopReplica(body) = body {
        body.partitions.iter().map(|one| &one.partition).collect()
    } else {
        Vec::new()
    }
}
