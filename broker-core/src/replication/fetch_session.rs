//! Fetch sessions on the leader (KIP-227): `FetchManager`, `FetchSessionCache`, `FetchSession`, `CachedPartition`.
//!
//! A session remembers what a reader reads and what it was told, so that a request names only what has changed and an
//! answer leaves out what is as it was. The number of sessions is limited; who may push out whom is in
//! [`FetchSessions::evict`]. Time is the wall clock, as in Kafka, so that a clock that jumps forward makes every session
//! stale. Two of Kafka's ordered maps of sessions are not kept: they say which session is the least valuable one, which is
//! asked only when the cache is full.

use crate::placement::Draws;
use protocol::api::data::{FetchPartition, FetchRequest, FetchResponse, PartitionFetchResponse};
use protocol::error_code::ErrorCode;
use protocol::fetch_session::{FetchMetadata, FetchSessionEpoch, FetchSessionId};
use protocol::ids::{Offset, TopicPartition};
use protocol::time::Wall;
use std::collections::BTreeMap;

/// `KafkaServer.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`.
const EVICTION_MS: i64 = 120_000;

/// A partition of a session.
#[derive(Clone, Debug)]
struct CachedPartition {
    request: FetchPartition,
    /// What the reader was told last; none as well after an error, so that the partition is told once that is over.
    high_watermark: Option<Offset>,
    log_start_offset: Option<Offset>,
    /// Its turn: who was told something goes behind all others.
    turn: u64,
}

impl CachedPartition {
    /// Notes an answer; says whether the reader has to be told (`maybeUpdateResponseData`).
    fn must_tell(&mut self, answer: &PartitionFetchResponse) -> bool {
        let news = !answer.records.is_empty()
            || answer.error.is_error()
            || answer.diverging_epoch.is_some()
            || self.high_watermark != answer.high_watermark
            || self.log_start_offset != answer.log_start_offset;
        self.high_watermark = answer.high_watermark.filter(|_| !answer.error.is_error());
        self.log_start_offset = answer.log_start_offset;
        news
    }
}

/// One session.
#[derive(Clone, Debug)]
struct FetchSession {
    /// Of a follower.
    privileged: bool,
    created: i64,
    last_used: i64,
    /// The epoch of the next request.
    epoch: FetchSessionEpoch,
    /// In the order in which they are read.
    partitions: Vec<CachedPartition>,
    next_turn: u64,
    /// How many of its requests wait for their answer.
    waiting: u32,
}

/// What a new session is worth against others: a follower's more than a consumer's, then by size (`EvictableKey`).
type Worth = (bool, usize, FetchSessionId);

impl FetchSession {
    fn worth(&self, id: FetchSessionId) -> Worth {
        (self.privileged, self.partitions.len(), id)
    }

    /// Whether a newcomer may be compared with it at all. It was decided when the session was last used.
    fn is_evictable(&self, by_privileged: bool) -> bool {
        let grown_up = self.last_used - self.created > EVICTION_MS;
        grown_up || by_privileged && !self.privileged
    }

    fn find(&mut self, name: &TopicPartition) -> Option<&mut CachedPartition> {
        self.partitions
            .iter_mut()
            .find(|one| one.request.partition == *name)
    }

    /// Takes over what an incremental request names.
    fn update(&mut self, named: &[FetchPartition], forgotten: &[TopicPartition]) {
        for request in named {
            if let Some(cached) = self.find(&request.partition) {
                cached.request.clone_from(request);
            } else {
                self.add(request.clone(), None, None);
            }
        }
        if !forgotten.is_empty() {
            self.partitions
                .retain(|one| !forgotten.contains(&one.request.partition));
        }
    }

    fn add(
        &mut self,
        request: FetchPartition,
        high_watermark: Option<Offset>,
        log_start_offset: Option<Offset>,
    ) {
        self.partitions.push(CachedPartition {
            request,
            high_watermark,
            log_start_offset,
            turn: self.next_turn,
        });
        self.next_turn += 1;
    }

    /// Keeps of the answers those that the reader has to be told, and lets their partitions stand behind the others.
    fn select(
        &mut self,
        answers: impl Iterator<Item = PartitionFetchResponse>,
    ) -> Vec<PartitionFetchResponse> {
        // Answers come in the order of the partitions, so that the next one is looked for where the last one was found.
        let (mut at, count) = (0, self.partitions.len());
        let mut told = Vec::new();
        for answer in answers {
            let same =
                |index: &usize| self.partitions[*index].request.partition == answer.partition;
            let Some(index) = (at..count).chain(0..at).find(same) else {
                continue;
            };
            at = index + 1;
            let cached = &mut self.partitions[index];
            if cached.must_tell(&answer) {
                cached.turn = self.next_turn;
                self.next_turn += 1;
                told.push(answer);
            }
        }
        if !told.is_empty() {
            self.partitions.sort_by_key(|one| one.turn);
        }
        told
    }
}

/// What a request reads, and how it is answered (`FetchContext`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FetchContext {
    /// Its session is unknown or elsewhere: it reads nothing.
    Refused(ErrorCode),
    /// It reads what it names and has no session.
    Sessionless,
    /// It reads what it names, and gets a session if there is room.
    Full {
        /// It is a follower's.
        privileged: bool,
    },
    /// It reads what the session reads.
    Incremental {
        /// The session.
        id: FetchSessionId,
        /// Where the session has to be when the answer is ready.
        expected: FetchSessionEpoch,
    },
}

impl FetchContext {
    /// Whether the answer may begin a session.
    pub(super) fn may_begin(self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// All sessions of this broker.
#[derive(Clone, Debug)]
pub(super) struct FetchSessions {
    /// `max.incremental.fetch.session.cache.slots`.
    slots: usize,
    draws: Draws,
    sessions: BTreeMap<FetchSessionId, FetchSession>,
    /// Sessions that were ended while a request of theirs waited: no request finds them, and the answer still belongs to them.
    ended: BTreeMap<FetchSessionId, FetchSession>,
}

impl FetchSessions {
    /// `seed` makes the numbers of sessions.
    pub(super) fn new(slots: i32, seed: u64) -> Self {
        Self {
            slots: usize::try_from(slots).unwrap_or(0),
            draws: Draws::new(seed),
            sessions: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// The partitions that a session reads besides those that its request names.
    pub(super) fn partitions(
        &self,
        metadata: FetchMetadata,
    ) -> impl Iterator<Item = &TopicPartition> {
        let session = self.sessions.get(&metadata.session);
        let cached = session
            .filter(|_| !metadata.is_full())
            .map(|session| &session.partitions);
        cached
            .into_iter()
            .flatten()
            .map(|one| &one.request.partition)
    }

    /// A request comes in (`FetchManager.newContext`). What it reads takes the place of what it names; every context is to be
    /// given back to [`Self::answer`] once.
    pub(super) fn open(&mut self, now: Wall, request: &mut FetchRequest) -> FetchContext {
        let FetchMetadata { session: id, epoch } = request.metadata;
        if request.metadata.is_full() {
            self.end(id);
            return if epoch == FetchSessionEpoch::FINAL {
                FetchContext::Sessionless
            } else {
                let privileged = request.replica_id.is_some();
                FetchContext::Full { privileged }
            };
        }
        let refused = |request: &mut FetchRequest, error| {
            request.partitions.clear();
            FetchContext::Refused(error)
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return refused(request, ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != epoch {
            return refused(request, ErrorCode::InvalidFetchSessionEpoch);
        }
        session.update(&request.partitions, &request.forgotten);
        if session.partitions.is_empty() {
            self.end(id);
            return FetchContext::Sessionless;
        }
        session.last_used = now.millis();
        session.epoch = epoch.next();
        session.waiting += 1;
        let expected = session.epoch;
        let cached = session.partitions.iter();
        request.partitions.clear();
        request
            .partitions
            .extend(cached.map(|one| one.request.clone()));
        FetchContext::Incremental { id, expected }
    }

    /// A request is answered (`updateAndGenerateResponseData`); `asked` and `answers` go together. Only a new session has to
    /// know what was asked.
    pub(super) fn answer(
        &mut self,
        now: Wall,
        context: FetchContext,
        (asked, answers): (
            Option<Vec<FetchPartition>>,
            impl Iterator<Item = PartitionFetchResponse>,
        ),
    ) -> FetchResponse {
        let (error, session, partitions) = match context {
            FetchContext::Refused(error) => (error, FetchSessionId::NONE, Vec::new()),
            FetchContext::Sessionless => {
                let answers = answers.collect();
                (ErrorCode::None, FetchSessionId::NONE, answers)
            }
            FetchContext::Full { privileged } => {
                let answers: Vec<PartitionFetchResponse> = answers.collect();
                let asked = asked.unwrap_or_default();
                let id = self.create(now, privileged, (asked, &answers));
                (ErrorCode::None, id, answers)
            }
            FetchContext::Incremental { id, expected } => {
                let (error, partitions) = self.answer_in(id, expected, answers);
                (error, id, partitions)
            }
        };
        FetchResponse {
            error,
            session,
            partitions,
        }
    }

    fn answer_in(
        &mut self,
        id: FetchSessionId,
        expected: FetchSessionEpoch,
        answers: impl Iterator<Item = PartitionFetchResponse>,
    ) -> (ErrorCode, Vec<PartitionFetchResponse>) {
        let running = self.sessions.get_mut(&id);
        let Some(session) = running.or_else(|| self.ended.get_mut(&id)) else {
            return (ErrorCode::FetchSessionIdNotFound, Vec::new());
        };
        session.waiting -= 1;
        // Another request of the session came meanwhile, so that this one was not the reader's last.
        let result = if session.epoch == expected {
            (ErrorCode::None, session.select(answers))
        } else {
            (ErrorCode::InvalidFetchSessionEpoch, Vec::new())
        };
        if session.waiting == 0 {
            self.ended.remove(&id);
        }
        result
    }

    /// A new session, if there is room (`maybeCreateSession`).
    fn create(
        &mut self,
        now: Wall,
        privileged: bool,
        (asked, answers): (Vec<FetchPartition>, &[PartitionFetchResponse]),
    ) -> FetchSessionId {
        let now = now.millis();
        let newcomer = (privileged, asked.len(), FetchSessionId::NONE);
        if self.sessions.len() >= self.slots && !self.evict(now, newcomer) {
            return FetchSessionId::NONE;
        }
        let mut session = FetchSession {
            privileged,
            created: now,
            last_used: now,
            epoch: FetchSessionEpoch::INITIAL.next(),
            partitions: Vec::with_capacity(asked.len()),
            next_turn: 0,
            waiting: 0,
        };
        for (request, answer) in asked.into_iter().zip(answers) {
            session.add(request, answer.high_watermark, answer.log_start_offset);
        }
        let id = self.new_id();
        self.sessions.insert(id, session);
        id
    }

    fn new_id(&mut self) -> FetchSessionId {
        loop {
            let number = self
                .draws
                .below(usize::try_from(i32::MAX).unwrap_or(usize::MAX));
            let id = FetchSessionId(i32::try_from(number).unwrap_or(0));
            let taken = self.sessions.contains_key(&id) || self.ended.contains_key(&id);
            if id != FetchSessionId::NONE && !taken {
                return id;
            }
        }
    }

    /// Makes room for a newcomer (`tryEvict`): by the session that was not used for two minutes or longer; else by the least
    /// valuable one, which must not be worth more. A consumer's session makes room for a follower's at any time, and for
    /// another consumer's only when it was still used two minutes after it began.
    fn evict(&mut self, now: i64, newcomer: Worth) -> bool {
        let oldest = self
            .sessions
            .iter()
            .map(|(id, session)| (session.last_used, *id))
            .min();
        let stale = oldest.filter(|(used, _)| now - used > EVICTION_MS);
        let least = || {
            self.sessions
                .iter()
                .filter(|(_, session)| session.is_evictable(newcomer.0))
                .map(|(id, session)| session.worth(*id))
                .min()
                .filter(|worth| newcomer >= *worth)
                .map(|(.., id)| id)
        };
        let victim = stale.map(|(_, id)| id).or_else(least);
        if let Some(id) = victim {
            self.end(id);
        }
        victim.is_some()
    }

    fn end(&mut self, id: FetchSessionId) {
        if let Some(session) = self.sessions.remove(&id)
            && session.waiting > 0
        {
            self.ended.insert(id, session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::api::data::IsolationLevel;
    use protocol::ids::BrokerId;
    use protocol::time::Span;

    const FOLLOWER: Option<BrokerId> = Some(BrokerId(2));
    const CONSUMER: Option<BrokerId> = None;

    fn at(second: i64) -> Wall {
        Wall::from_millis(second * 1000)
    }

    fn name(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    fn part(index: i32) -> FetchPartition {
        FetchPartition {
            partition: name(index),
            current_leader_epoch: None,
            fetch_offset: Offset(0),
            last_fetched_epoch: None,
            log_start_offset: None,
            max_bytes: 1,
        }
    }

    fn request(
        replica_id: Option<BrokerId>,
        metadata: FetchMetadata,
        named: &[i32],
        forgotten: &[i32],
    ) -> FetchRequest {
        FetchRequest {
            replica_id,
            replica_epoch: None,
            max_wait: Span::ZERO,
            min_bytes: 1,
            max_bytes: 1,
            isolation_level: IsolationLevel::ReadUncommitted,
            metadata,
            partitions: named.iter().copied().map(part).collect(),
            forgotten: forgotten.iter().copied().map(name).collect(),
        }
    }

    /// An answer without records; the high watermark tells whether there is news.
    fn quiet(partition: &TopicPartition, high_watermark: i64) -> PartitionFetchResponse {
        PartitionFetchResponse {
            partition: partition.clone(),
            error: ErrorCode::None,
            high_watermark: Some(Offset(high_watermark)),
            last_stable_offset: None,
            log_start_offset: Some(Offset(0)),
            diverging_epoch: None,
            aborted_transactions: Vec::new(),
            records: Bytes::new(),
        }
    }

    /// Opens a request and answers it at once, with these high watermarks.
    fn ask(
        sessions: &mut FetchSessions,
        now: Wall,
        mut request: FetchRequest,
        marks: impl Fn(i32) -> i64,
    ) -> FetchResponse {
        let context = sessions.open(now, &mut request);
        let asked = request.partitions;
        let answer = |one: &FetchPartition| quiet(&one.partition, marks(one.partition.partition.0));
        let answers: Vec<PartitionFetchResponse> = asked.iter().map(answer).collect();
        sessions.answer(now, context, (Some(asked), answers.into_iter()))
    }

    /// A new session of so many partitions.
    fn begin(
        sessions: &mut FetchSessions,
        now: Wall,
        replica: Option<BrokerId>,
        partitions: i32,
    ) -> FetchSessionId {
        let named: Vec<i32> = (0..partitions).collect();
        let full = request(replica, FetchMetadata::INITIAL, &named, &[]);
        ask(sessions, now, full, |_| 0).session
    }

    /// Goes on with it: the error of the answer.
    fn go_on(
        sessions: &mut FetchSessions,
        now: Wall,
        (session, epoch): (FetchSessionId, i32),
    ) -> ErrorCode {
        let epoch = FetchSessionEpoch(epoch);
        let metadata = FetchMetadata { session, epoch };
        ask(sessions, now, request(CONSUMER, metadata, &[], &[]), |_| 0).error
    }

    fn named(response: &FetchResponse) -> Vec<i32> {
        let parts = response.partitions.iter();
        parts.map(|one| one.partition.partition.0).collect()
    }

    #[test]
    fn a_session_reads_everything_and_tells_what_is_new() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = begin(&mut sessions, at(0), FOLLOWER, 3);
        assert_ne!(id, FetchSessionId::NONE);
        let first = FetchMetadata::first_incremental(id);
        let told = ask(
            &mut sessions,
            at(1),
            request(FOLLOWER, first, &[], &[]),
            |index| i64::from(index == 1),
        );
        assert_eq!((told.session, named(&told)), (id, vec![1]));
        let again = request(FOLLOWER, first.next_incremental(), &[], &[]);
        let told = ask(&mut sessions, at(2), again, |index| i64::from(index == 1));
        assert_eq!(named(&told), [0; 0]);
    }

    #[test]
    fn what_was_told_is_read_after_all_others() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = begin(&mut sessions, at(0), FOLLOWER, 3);
        let first = FetchMetadata::first_incremental(id);
        let news = request(FOLLOWER, first, &[], &[]);
        ask(&mut sessions, at(1), news, |index| i64::from(index == 0));
        let order: Vec<i32> = sessions
            .partitions(first)
            .map(|one| one.partition.0)
            .collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn records_errors_and_divergence_are_always_told_and_so_is_the_end_of_an_error() {
        let mut cached = CachedPartition {
            request: part(0),
            high_watermark: Some(Offset(5)),
            log_start_offset: Some(Offset(0)),
            turn: 0,
        };
        let calm = quiet(&name(0), 5);
        assert!(!cached.must_tell(&calm));
        let with_records = PartitionFetchResponse {
            records: Bytes::from_static(b"r"),
            ..calm.clone()
        };
        assert!(cached.must_tell(&with_records) && !cached.must_tell(&calm));
        let diverging = PartitionFetchResponse {
            diverging_epoch: Some(protocol::api::data::EpochEndOffset {
                epoch: protocol::ids::LeaderEpoch(0),
                end_offset: Offset(1),
            }),
            ..calm.clone()
        };
        assert!(cached.must_tell(&diverging) && !cached.must_tell(&calm));
        let emptied = PartitionFetchResponse {
            log_start_offset: Some(Offset(3)),
            ..calm.clone()
        };
        assert!(cached.must_tell(&emptied) && !cached.must_tell(&emptied));
        let failed = PartitionFetchResponse {
            error: ErrorCode::NotLeaderOrFollower,
            ..emptied.clone()
        };
        assert!(cached.must_tell(&failed) && cached.must_tell(&failed));
        assert!(cached.must_tell(&emptied) && !cached.must_tell(&emptied));
    }

    #[test]
    fn partitions_are_added_altered_and_forgotten() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = begin(&mut sessions, at(0), CONSUMER, 2);
        let first = FetchMetadata::first_incremental(id);
        let mut change = request(CONSUMER, first, &[1, 2], &[0]);
        change.partitions[0].fetch_offset = Offset(9);
        let context = sessions.open(at(1), &mut change);
        assert!(matches!(context, FetchContext::Incremental { .. }));
        let read = change.partitions.iter();
        let read: Vec<(i32, i64)> = read
            .map(|one| (one.partition.partition.0, one.fetch_offset.0))
            .collect();
        assert_eq!(read, [(1, 9), (2, 0)]);
    }

    #[test]
    fn a_session_ends_with_its_last_partition_and_with_a_full_request() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = begin(&mut sessions, at(0), CONSUMER, 1);
        let first = FetchMetadata::first_incremental(id);
        let last = ask(
            &mut sessions,
            at(1),
            request(CONSUMER, first, &[], &[0]),
            |_| 0,
        );
        assert_eq!(
            (last.error, last.session),
            (ErrorCode::None, FetchSessionId::NONE)
        );
        let id = begin(&mut sessions, at(1), CONSUMER, 1);
        let close = FetchMetadata::first_incremental(id).next_close_existing();
        let anew = ask(
            &mut sessions,
            at(2),
            request(CONSUMER, close, &[0], &[]),
            |_| 0,
        );
        assert_ne!(anew.session, id);
        let gone = go_on(&mut sessions, at(2), (id, 1));
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
    }

    #[test]
    fn a_request_out_of_turn_is_refused_and_so_is_the_answer_it_overtook() {
        let mut sessions = FetchSessions::new(10, 1);
        let id = begin(&mut sessions, at(0), CONSUMER, 1);
        let early = go_on(&mut sessions, at(1), (id, 2));
        assert_eq!(early, ErrorCode::InvalidFetchSessionEpoch);
        let first = FetchMetadata::first_incremental(id);
        let mut waiting = request(CONSUMER, first, &[], &[]);
        let context = sessions.open(at(1), &mut waiting);
        assert_eq!(go_on(&mut sessions, at(1), (id, 2)), ErrorCode::None);
        let overtaken = sessions.answer(at(2), context, (None, std::iter::empty()));
        assert_eq!(overtaken.error, ErrorCode::InvalidFetchSessionEpoch);
    }

    #[test]
    fn a_session_pushed_out_while_it_waits_still_gets_its_answer() {
        let mut sessions = FetchSessions::new(1, 1);
        let id = begin(&mut sessions, at(0), CONSUMER, 1);
        let mut waiting = request(CONSUMER, FetchMetadata::first_incremental(id), &[], &[]);
        let context = sessions.open(at(1), &mut waiting);
        assert_ne!(
            begin(&mut sessions, at(1), FOLLOWER, 1),
            FetchSessionId::NONE
        );
        let answers = [quiet(&name(0), 7)];
        let told = sessions.answer(at(2), context, (None, answers.into_iter()));
        assert_eq!(
            (told.error, told.session, named(&told)),
            (ErrorCode::None, id, vec![0])
        );
        let next = go_on(&mut sessions, at(2), (id, 2));
        assert_eq!(next, ErrorCode::FetchSessionIdNotFound);
        assert!(sessions.ended.is_empty());
    }

    #[test]
    fn without_slots_every_request_is_a_full_one() {
        let mut sessions = FetchSessions::new(0, 1);
        assert_eq!(
            begin(&mut sessions, at(0), FOLLOWER, 1),
            FetchSessionId::NONE
        );
    }

    #[test]
    fn a_reader_of_an_old_version_gets_no_session() {
        let mut sessions = FetchSessions::new(10, 1);
        let old = request(CONSUMER, FetchMetadata::LEGACY, &[0], &[]);
        let told = ask(&mut sessions, at(0), old, |_| 0);
        assert_eq!(
            (told.session, named(&told)),
            (FetchSessionId::NONE, vec![0])
        );
        assert!(sessions.sessions.is_empty());
    }

    #[test]
    fn a_follower_pushes_out_a_consumer_and_a_consumer_nobody_young() {
        let mut sessions = FetchSessions::new(1, 1);
        let consumer = begin(&mut sessions, at(0), CONSUMER, 9);
        let larger = begin(&mut sessions, at(1), CONSUMER, 99);
        assert_eq!(larger, FetchSessionId::NONE);
        let follower = begin(&mut sessions, at(1), FOLLOWER, 1);
        assert_ne!(follower, FetchSessionId::NONE);
        let gone = go_on(&mut sessions, at(1), (consumer, 1));
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
        let other = begin(&mut sessions, at(1), FOLLOWER, 99);
        assert_eq!(other, FetchSessionId::NONE);
    }

    #[test]
    fn a_session_that_has_lived_for_two_minutes_yields_to_a_larger_one() {
        let mut sessions = FetchSessions::new(1, 1);
        let id = begin(&mut sessions, at(0), CONSUMER, 3);
        assert_eq!(go_on(&mut sessions, at(121), (id, 1)), ErrorCode::None);
        let smaller = begin(&mut sessions, at(122), CONSUMER, 3);
        assert_eq!(smaller, FetchSessionId::NONE);
        let larger = begin(&mut sessions, at(122), CONSUMER, 4);
        assert_ne!(larger, FetchSessionId::NONE);
    }

    #[test]
    fn a_session_not_used_for_two_minutes_yields_to_anybody() {
        let mut sessions = FetchSessions::new(1, 1);
        begin(&mut sessions, at(0), FOLLOWER, 9);
        let young = begin(&mut sessions, at(120), CONSUMER, 1);
        assert_eq!(young, FetchSessionId::NONE);
        let later = begin(&mut sessions, at(121), CONSUMER, 1);
        assert_ne!(later, FetchSessionId::NONE);
    }
}
