//! Fetch: read, or wait until there is enough to read (`ReplicaManager.fetchMessages`, `DelayedFetch`, `Partition.readRecords`).
//!
//! Consumers see what lies below the high watermark, or below the last stable offset; followers see everything. A follower's
//! fetch also tells the leader how far it has come, which is what moves the high watermark and lets it into the ISR. The
//! answer carries the high watermark from before that, so followers learn of it one fetch later. A fetch that waits is
//! looked at when something it reads from changes; what it has seen of its other partitions is remembered. In a session
//! (KIP-227) a request reads more than it names; [`super::fetch_session`] says what, and what of it is told.

use super::fetch_session::FetchContext;
use super::partition::Slot;
use super::replica_logs::View;
use super::{ReplicaManager, Step};
use crate::request_channel::Taken;
use bytes::Bytes;
use protocol::api::RequestBody;
use protocol::api::data::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, IsolationLevel,
    PartitionFetchResponse,
};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerEpoch, BrokerId, Offset};
use protocol::machine::RequestToken;

/// How much of a log a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Visible {
    /// Everything: a follower.
    All,
    /// Below the high watermark.
    Committed,
    /// Below the last stable offset.
    Stable,
}

impl Visible {
    fn to(replica: Option<BrokerId>, isolation: IsolationLevel) -> Self {
        match (replica, isolation) {
            (Some(_), _) => Self::All,
            (None, IsolationLevel::ReadUncommitted) => Self::Committed,
            (None, IsolationLevel::ReadCommitted) => Self::Stable,
        }
    }

    /// The first offset such a reader may not see.
    pub(super) fn end(self, view: &View) -> Offset {
        match self {
            Self::All => view.end,
            Self::Committed => view.high_watermark,
            Self::Stable => view.stable,
        }
    }
}

/// What a read of one partition gave.
#[derive(Debug)]
struct Read {
    slot: Option<Slot>,
    error: ErrorCode,
    /// The log before the read; absent with an error.
    view: Option<View>,
    diverging: Option<EpochEndOffset>,
    aborted: Vec<AbortedTransaction>,
    records: Bytes,
}

impl Read {
    fn failed(error: ErrorCode) -> Self {
        Self {
            slot: None,
            error,
            view: None,
            diverging: None,
            aborted: Vec::new(),
            records: Bytes::new(),
        }
    }
}

/// One partition of a waiting fetch.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    slot: Slot,
    /// Bytes known to be readable.
    available: u64,
}

/// A fetch that waits.
#[derive(Clone, Debug)]
pub(super) struct DelayedFetch {
    fetch: Fetch,
    /// In the order of the request.
    awaited: Vec<Awaited>,
    available: u64,
}

/// A request on its way to its answer.
#[derive(Clone, Debug)]
struct Fetch {
    token: RequestToken,
    version: i16,
    context: FetchContext,
    /// The request, with all partitions that it reads.
    request: FetchRequest,
    /// Partitions that this broker has never heard of. They are told, and nothing more is done about them.
    unknown: Vec<FetchPartition>,
}

/// Bytes a reader still has room for.
struct Budget {
    left: u64,
    /// The first batch is given whole although it is larger than allowed (KIP-74).
    first_whole: bool,
}

impl ReplicaManager {
    pub(super) fn fetch(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        version: i16,
        mut request: FetchRequest,
    ) {
        self.looked = self.first_looks.remove(&token);
        let context = self.sessions.open(step.now.wall, &mut request);
        let known = |part: &FetchPartition| self.metadata.contains(&part.partition);
        let mut unknown = Vec::new();
        if !request.partitions.iter().all(known) {
            (request.partitions, unknown) = request.partitions.into_iter().partition(known);
        }
        let fetch = Fetch {
            token,
            version,
            context,
            request,
            unknown,
        };
        self.fetch_known(step, fetch);
        self.looked = None;
    }

    /// Until KAFKA-9807 a reader of committed data looked first whether a transaction begins below the high watermark, and
    /// then took the high watermark. Whether this is the first of these two looks.
    pub(super) fn looks_first(&mut self, taken: &Taken) -> bool {
        let RequestBody::Fetch(request) = &taken.request.body else {
            return false;
        };
        let stable = Visible::to(request.replica_id, request.isolation_level) == Visible::Stable;
        let token = taken.token;
        if !stable
            || self.rules.behaviour.has(Fix::StableOffsetOnce)
            || self.first_looks.contains_key(&token)
        {
            return false;
        }
        let names = self.slots.iter().map(|(name, _)| name);
        let bounded = names.filter_map(|name| {
            let view = self.logs.view(name)?;
            (view.stable < view.high_watermark).then(|| (name.clone(), view.stable))
        });
        let bounds = bounded.collect();
        self.first_looks.insert(token, bounds);
        true
    }

    /// `ReplicaManager.fetchMessages`.
    fn fetch_known(&mut self, step: &mut Step<'_, '_>, fetch: Fetch) {
        let request = &fetch.request;
        let reads = self.read_all(step, request, fetch.version);
        let life = request.replica_epoch;
        let bytes: u64 = reads.iter().map(|read| size(&read.records)).sum();
        let decided = reads
            .iter()
            .any(|read| read.error.is_error() || read.diverging.is_some());
        if let Some(follower) = request.replica_id {
            for (part, read) in request.partitions.iter().zip(&reads) {
                self.note_follower(step, (follower, life), part, read);
            }
        }
        let limits = self.limits(request);
        if request.max_wait.0 == 0 || request.partitions.is_empty() || decided || bytes >= limits.0
        {
            self.answer(step, fetch, reads);
            return;
        }
        let awaited: Vec<Awaited> = reads
            .iter()
            .filter_map(|read| read.slot)
            .map(|slot| Awaited { slot, available: 0 })
            .collect();
        let keys = awaited.iter().map(|one| one.slot.key()).collect();
        let deadline = step.now.mono + request.max_wait;
        let mut fetch = fetch;
        if !self.rules.behaviour.has(Fix::IsolationInPurgatory) {
            // Until KAFKA-5355 a fetch that waited was answered like any other.
            fetch.request.isolation_level = IsolationLevel::ReadUncommitted;
        }
        let mut operation = DelayedFetch {
            fetch,
            awaited,
            available: 0,
        };
        // A read stops at the end of a segment, so that a look at what is available can find more than was read. Nothing was
        // read at all where one byte would have been enough.
        if limits.0 > 1 && self.is_enough_anywhere(step, &mut operation) {
            self.complete_fetch(step, operation);
        } else {
            self.fetches.watch(step.io, operation, keys, deadline);
        }
    }

    /// Bytes that are enough, and bytes that are too many.
    fn limits(&self, request: &FetchRequest) -> (u64, u64) {
        let max = request.max_bytes.min(self.config.fetch_max_bytes);
        let min = request.min_bytes.min(max);
        (positive(min), positive(max))
    }

    fn read_all(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &FetchRequest,
        version: i16,
    ) -> Vec<Read> {
        let visible = Visible::to(request.replica_id, request.isolation_level);
        let mut budget = Budget {
            left: self.limits(request).1,
            first_whole: version > 2,
        };
        request
            .partitions
            .iter()
            .map(|part| match self.read(step, part, visible, &budget) {
                Ok(read) => {
                    let size = size(&read.records);
                    budget.first_whole &= size == 0;
                    budget.left = budget.left.saturating_sub(size);
                    read
                }
                Err(error) => Read::failed(error),
            })
            .collect()
    }

    /// `Partition.readRecords`.
    fn read(
        &mut self,
        step: &mut Step<'_, '_>,
        part: &FetchPartition,
        visible: Visible,
        budget: &Budget,
    ) -> Result<Read, ErrorCode> {
        let slot = self.find(&part.partition)?;
        let view = self.access(slot, part)?;
        let mut read = Read {
            slot: Some(slot),
            error: ErrorCode::None,
            view: Some(view),
            diverging: None,
            aborted: Vec::new(),
            records: Bytes::new(),
        };
        if let Some(diverging) = self.divergence(part, &view)? {
            read.diverging = Some(diverging);
            return Ok(read);
        }
        if part.fetch_offset < view.start || part.fetch_offset > view.end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let end = visible.end(&view);
        let room = budget.left.min(positive(part.max_bytes));
        if part.fetch_offset < end && (room > 0 || budget.first_whole) {
            let range = part.fetch_offset..end;
            let limit = (room, budget.first_whole);
            let data = self.logs.read(step.io, &part.partition, range, limit)?;
            if visible == Visible::Stable {
                read.aborted = self.logs.aborted(&part.partition, &data);
            }
            read.records = data.records;
        }
        Ok(read)
    }

    /// `localLogWithEpochOrException`: only the leader serves, and only who believes in its epoch.
    fn access(&self, slot: Slot, part: &FetchPartition) -> Result<View, ErrorCode> {
        let partition = self.online(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
        partition.check_access(part.current_leader_epoch, &self.rules)?;
        let view = self.logs.view(&part.partition);
        let mut view = view.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if let Some(looked) = &self.looked {
            let bound = looked.get(&part.partition).copied();
            view.stable = bound.unwrap_or(view.high_watermark);
        }
        Ok(view)
    }

    /// Where the reader's log leaves this one, if it does (KIP-595).
    fn divergence(
        &self,
        part: &FetchPartition,
        view: &View,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        let Some(asked) = part.last_fetched_epoch else {
            return Ok(None);
        };
        let own = self
            .logs
            .end_of_epoch(&part.partition, asked)
            .ok_or(ErrorCode::OffsetOutOfRange)?;
        if part.fetch_offset < view.start {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let parts = own.epoch < asked || own.end_offset < part.fetch_offset;
        Ok(parts.then_some(own))
    }

    /// `updateFollowerFetchState`: how far the follower is, whether it may join, whether the high watermark moves.
    fn note_follower(
        &mut self,
        step: &mut Step<'_, '_>,
        (follower, life): (BrokerId, Option<BrokerEpoch>),
        part: &FetchPartition,
        read: &Read,
    ) {
        let (Some(slot), Some(view)) = (read.slot, read.view) else {
            return;
        };
        let behaviour = self.rules.behaviour;
        if read.diverging.is_some() && behaviour.has(Fix::IgnoreDivergingFetchOffset) {
            return;
        }
        let alive = !behaviour.has(Fix::RejectIneligibleIsr) || self.metadata.has_alive(follower);
        let rules = self.rules;
        let low_before = self.awaited_low_watermark(slot);
        let Some(partition) = self.online_mut(slot) else {
            return;
        };
        partition.on_follower_start(follower, part.log_start_offset);
        if !partition.accepts_life(follower, life, &rules) {
            return;
        }
        let moved =
            partition.on_follower_fetch(step.now.mono, follower, part.fetch_offset, view.end);
        let Some(moved) = moved else { return };
        let deleted = self.awaited_low_watermark(slot) > low_before;
        let Some(partition) = self.online_mut(slot) else {
            return;
        };
        let current = !behaviour.has(Fix::FetchInCurrentEpoch)
            || part.current_leader_epoch.is_none()
            || part.current_leader_epoch == partition.leader_epoch;
        if alive && current && partition.may_expand(follower, view.high_watermark, &rules) {
            let update = partition.expand(follower);
            self.propose(step, slot, update);
        }
        let committed = moved && self.advance_high_watermark(step, slot);
        if committed || deleted {
            self.wake_all(step, slot);
        }
    }

    /// Looks at the fetches that wait for a partition.
    pub(super) fn wake_fetches(&mut self, step: &mut Step<'_, '_>, slot: Slot) {
        let mut index = 0;
        while let Some(id) = self.fetches.watcher(slot.key(), index) {
            // Out and in again costs a few words; looking needs the operation and the logs at once.
            let Some(mut operation) = self.fetches.lend(id) else {
                index += 1;
                continue;
            };
            if self.is_enough(step, &mut operation, slot) {
                self.fetches.remove(id);
                self.complete_fetch(step, operation);
            } else {
                self.fetches.give_back(id, operation);
                index += 1;
            }
        }
    }

    /// `DelayedFetch.tryComplete`, for the one partition that something happened to.
    fn is_enough(
        &mut self,
        step: &mut Step<'_, '_>,
        operation: &mut DelayedFetch,
        slot: Slot,
    ) -> bool {
        let places = operation
            .awaited
            .iter_mut()
            .zip(&operation.fetch.request.partitions);
        let Some((awaited, part)) = places.into_iter().find(|(one, _)| one.slot == slot) else {
            return false;
        };
        let request = &operation.fetch.request;
        let visible = Visible::to(request.replica_id, request.isolation_level);
        if self.find(&part.partition).is_err() {
            return true;
        }
        let Ok(view) = self.access(slot, part) else {
            return true;
        };
        let end = visible.end(&view);
        let mut available = 0;
        if part.fetch_offset < end {
            let min = self.limits(request).0;
            let (enough, bytes) = self.logs.available(
                step.io,
                &part.partition,
                part.fetch_offset..end,
                min.min(positive(part.max_bytes)),
            );
            if enough {
                return true;
            }
            available = bytes;
        }
        operation.available = operation.available - awaited.available + available;
        awaited.available = available;
        match self.divergence(part, &view) {
            Ok(None) => operation.available >= self.limits(request).0,
            Ok(Some(_)) | Err(_) => true,
        }
    }

    fn is_enough_anywhere(
        &mut self,
        step: &mut Step<'_, '_>,
        operation: &mut DelayedFetch,
    ) -> bool {
        let slots: Vec<Slot> = operation.awaited.iter().map(|one| one.slot).collect();
        slots
            .into_iter()
            .any(|slot| self.is_enough(step, operation, slot))
    }

    fn complete_fetch(&mut self, step: &mut Step<'_, '_>, operation: DelayedFetch) {
        let fetch = operation.fetch;
        let reads = self.read_all(step, &fetch.request, fetch.version);
        self.answer(step, fetch, reads);
    }

    fn answer(&mut self, step: &mut Step<'_, '_>, fetch: Fetch, reads: Vec<Read>) {
        let stable = fetch.request.isolation_level == IsolationLevel::ReadCommitted;
        let mut asked = fetch.request.partitions;
        let mut reads = reads;
        for part in fetch.unknown {
            asked.push(part);
            reads.push(Read::failed(ErrorCode::UnknownTopicOrPartition));
        }
        let named = fetch.context.may_begin().then(|| asked.clone());
        let answer = |(part, read): (FetchPartition, Read)| PartitionFetchResponse {
            partition: part.partition,
            error: read.error,
            high_watermark: read.view.map(|view| view.high_watermark),
            last_stable_offset: read.view.filter(|_| stable).map(|view| view.stable),
            log_start_offset: read.view.map(|view| view.start),
            diverging_epoch: read.diverging,
            aborted_transactions: read.aborted,
            records: read.records,
        };
        let answers = asked.into_iter().zip(reads).map(answer);
        let response = self
            .sessions
            .answer(step.now.wall, fetch.context, (named, answers));
        step.requests.respond(step.io, fetch.token, response);
    }

    /// The fetch purgatory's timer rang: whoever waited long enough gets what there is.
    pub(super) fn expire_fetches(&mut self, step: &mut Step<'_, '_>) {
        while let Some(operation) = self.fetches.pop_expired(step.now.mono, step.io) {
            self.complete_fetch(step, operation);
        }
    }
}

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn positive(bytes: i32) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}
