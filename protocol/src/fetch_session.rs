//! Incremental fetch sessions (KIP-227): how a request names one (`FetchMetadata`), and what the asking side keeps
//! (`FetchSessionHandler`).
//!
//! Reader and leader both remember the partitions of a session, so that a request names only what has changed and an
//! answer only what there is to tell. The asking side is here because followers and consumers both need it, as Kafka's
//! brokers use the class of its clients; the leader's side is in `broker-core`. An answer that names other partitions than
//! it may ends the session, as in Kafka.

use crate::api::data::{FetchPartition, FetchResponse};
use crate::error_code::ErrorCode;
use crate::ids::TopicPartition;
use crate::partition_map::PartitionMap;

/// The number of a fetch session, random on its broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FetchSessionId(pub i32);

impl FetchSessionId {
    /// No session.
    pub const NONE: Self = Self(0);
}

/// The number of a request within its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FetchSessionEpoch(pub i32);

impl FetchSessionEpoch {
    /// A full request that would like to have a session.
    pub const INITIAL: Self = Self(0);
    /// A full request that wants none.
    pub const FINAL: Self = Self(-1);

    /// The epoch of the request after this one: it wraps to 1, and what wants no session goes on wanting none.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0 {
            ..0 => Self::FINAL,
            i32::MAX => Self(1),
            number => Self(number + 1),
        }
    }
}

/// How a request names its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchMetadata {
    /// Which session; a full request ends it.
    pub session: FetchSessionId,
    /// Which request of it.
    pub epoch: FetchSessionEpoch,
}

impl FetchMetadata {
    /// A first request.
    pub const INITIAL: Self = Self {
        session: FetchSessionId::NONE,
        epoch: FetchSessionEpoch::INITIAL,
    };
    /// What a request says whose version has no room for sessions (before 7).
    pub const LEGACY: Self = Self {
        session: FetchSessionId::NONE,
        epoch: FetchSessionEpoch::FINAL,
    };

    /// Whether the request names all its partitions.
    pub fn is_full(self) -> bool {
        self.epoch == FetchSessionEpoch::INITIAL || self.epoch == FetchSessionEpoch::FINAL
    }

    /// A full request that ends this session and asks for another.
    #[must_use]
    pub const fn next_close_existing(self) -> Self {
        Self {
            session: self.session,
            epoch: FetchSessionEpoch::INITIAL,
        }
    }

    /// The first incremental request of a session.
    pub const fn first_incremental(session: FetchSessionId) -> Self {
        Self {
            session,
            epoch: FetchSessionEpoch::INITIAL.next(),
        }
    }

    /// The next one.
    #[must_use]
    pub const fn next_incremental(self) -> Self {
        Self {
            session: self.session,
            epoch: self.epoch.next(),
        }
    }
}

/// What a request says.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchRequestData {
    /// Its session.
    pub metadata: FetchMetadata,
    /// The partitions it names.
    pub to_send: Vec<FetchPartition>,
    /// The partitions the leader shall forget.
    pub to_forget: Vec<TopicPartition>,
}

/// The session of one reader with one leader. One request at a time: build, then exactly one answer or error.
#[derive(Clone, Debug)]
pub struct FetchSessionHandler {
    next: FetchMetadata,
    /// Everything the last request asked for, named by it or not.
    asked: PartitionMap<FetchPartition>,
}

impl Default for FetchSessionHandler {
    fn default() -> Self {
        Self {
            next: FetchMetadata::INITIAL,
            asked: PartitionMap::new(),
        }
    }
}

impl FetchSessionHandler {
    /// The next request, for exactly these partitions.
    pub fn build(&mut self, wanted: Vec<FetchPartition>) -> FetchRequestData {
        let metadata = self.next;
        if metadata.is_full() {
            let named = wanted
                .iter()
                .map(|one| (one.partition.clone(), one.clone()));
            self.asked = named.collect();
            return FetchRequestData {
                metadata,
                to_send: wanted,
                to_forget: Vec::new(),
            };
        }
        let count = wanted.len();
        let to_forget = self.forget(&wanted);
        let (mut added, mut altered) = (Vec::new(), Vec::new());
        for one in wanted {
            match self.asked.get_mut(&one.partition) {
                Some(before) if *before == one => {}
                Some(before) => {
                    before.clone_from(&one);
                    altered.push(one);
                }
                None => added.push(one),
            }
        }
        for one in &added {
            self.asked.insert(one.partition.clone(), one.clone());
        }
        debug_assert_eq!(self.asked.len(), count, "a partition is wanted once");
        // What is new comes first, as Kafka's builder has it.
        added.append(&mut altered);
        FetchRequestData {
            metadata,
            to_send: added,
            to_forget,
        }
    }

    /// Takes out what is not wanted any more.
    fn forget(&mut self, wanted: &[FetchPartition]) -> Vec<TopicPartition> {
        let known = |one: &&FetchPartition| self.asked.contains_key(&one.partition);
        if wanted.iter().filter(known).count() == self.asked.len() {
            return Vec::new();
        }
        let mut left = std::mem::take(&mut self.asked);
        for one in wanted {
            if let Some(before) = left.remove(&one.partition) {
                self.asked.insert(one.partition.clone(), before);
            }
        }
        left.into_keys().collect()
    }

    /// What the last request asked of a partition, whether or not it named it.
    pub fn asked(&self, partition: &TopicPartition) -> Option<&FetchPartition> {
        self.asked.get(partition)
    }

    /// Whether the last request asked for nothing at all.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// An answer came; says whether there is something in it to work with.
    pub fn handle_response(&mut self, response: &FetchResponse) -> bool {
        if response.error.is_error() {
            self.next = if response.error == ErrorCode::FetchSessionIdNotFound {
                FetchMetadata::INITIAL
            } else {
                self.next.next_close_existing()
            };
            return false;
        }
        let parts = &response.partitions;
        let no_extra = parts
            .iter()
            .all(|part| self.asked.contains_key(&part.partition));
        let full = self.next.is_full();
        let session = response.session;
        let valid = no_extra && (!full || parts.len() == self.asked.len());
        self.next = match (full, valid) {
            (true, false) => FetchMetadata::INITIAL,
            (false, false) => self.next.next_close_existing(),
            // The leader has no room for a session, or has ended this one.
            (_, true) if session == FetchSessionId::NONE => FetchMetadata::INITIAL,
            (true, true) => FetchMetadata::first_incremental(session),
            (false, true) => self.next.next_incremental(),
        };
        valid
    }

    /// No answer will come: whether the leader took the request in is not known, so the session is given up.
    pub fn handle_error(&mut self) {
        self.next = self.next.next_close_existing();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::data::PartitionFetchResponse;
    use crate::ids::Offset;
    use bytes::Bytes;

    const SESSION: FetchSessionId = FetchSessionId(7);

    fn name(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    fn at(index: i32, offset: i64) -> FetchPartition {
        FetchPartition {
            partition: name(index),
            current_leader_epoch: None,
            fetch_offset: Offset(offset),
            last_fetched_epoch: None,
            log_start_offset: None,
            max_bytes: 1,
        }
    }

    fn answer(error: ErrorCode, session: FetchSessionId, named: &[i32]) -> FetchResponse {
        let part = |index: &i32| PartitionFetchResponse {
            partition: name(*index),
            error: ErrorCode::None,
            high_watermark: None,
            last_stable_offset: None,
            log_start_offset: None,
            diverging_epoch: None,
            aborted_transactions: Vec::new(),
            records: Bytes::new(),
        };
        FetchResponse {
            error,
            session,
            partitions: named.iter().map(part).collect(),
        }
    }

    fn epoch(number: i32) -> FetchMetadata {
        FetchMetadata {
            session: SESSION,
            epoch: FetchSessionEpoch(number),
        }
    }

    /// A handler that has partitions 0 and 1 in a session.
    fn in_session() -> FetchSessionHandler {
        let mut handler = FetchSessionHandler::default();
        let first = handler.build(vec![at(0, 0), at(1, 0)]);
        assert_eq!(
            (first.metadata, first.to_send.len()),
            (FetchMetadata::INITIAL, 2)
        );
        assert!(handler.handle_response(&answer(ErrorCode::None, SESSION, &[0, 1])));
        handler
    }

    #[test]
    fn in_a_session_only_what_changed_is_named() {
        let mut handler = in_session();
        let same = handler.build(vec![at(0, 0), at(1, 0)]);
        assert_eq!(same.metadata, epoch(1));
        assert!(same.to_send.is_empty() && same.to_forget.is_empty());
        assert!(handler.handle_response(&answer(ErrorCode::None, SESSION, &[])));
        let changed = handler.build(vec![at(1, 5), at(2, 0)]);
        assert_eq!(changed.metadata, epoch(2));
        assert_eq!(changed.to_send, [at(2, 0), at(1, 5)]);
        assert_eq!(changed.to_forget, [name(0)]);
        assert_eq!(handler.asked(&name(1)), Some(&at(1, 5)));
        assert_eq!(handler.asked(&name(0)), None);
    }

    #[test]
    fn a_session_the_leader_has_forgotten_begins_anew() {
        let mut handler = in_session();
        handler.build(vec![at(0, 0)]);
        let refused = answer(ErrorCode::FetchSessionIdNotFound, FetchSessionId::NONE, &[]);
        assert!(!handler.handle_response(&refused));
        let next = handler.build(vec![at(0, 0)]);
        assert_eq!(next.metadata, FetchMetadata::INITIAL);
        assert_eq!(next.to_send, [at(0, 0)]);
    }

    #[test]
    fn after_a_wrong_epoch_or_a_lost_answer_the_session_is_ended() {
        for lost in [true, false] {
            let mut handler = in_session();
            handler.build(vec![at(0, 0)]);
            if lost {
                handler.handle_error();
            } else {
                let refused = answer(ErrorCode::InvalidFetchSessionEpoch, SESSION, &[]);
                assert!(!handler.handle_response(&refused));
            }
            let next = handler.build(vec![at(0, 0)]);
            assert_eq!(next.metadata, epoch(0));
            assert_eq!(next.to_send, [at(0, 0)]);
        }
    }

    #[test]
    fn a_leader_without_room_is_asked_in_full_each_time() {
        let mut handler = FetchSessionHandler::default();
        for _ in 0..2 {
            let data = handler.build(vec![at(0, 0)]);
            assert_eq!(
                (data.metadata, data.to_send),
                (FetchMetadata::INITIAL, vec![at(0, 0)])
            );
            let without = answer(ErrorCode::None, FetchSessionId::NONE, &[0]);
            assert!(handler.handle_response(&without));
        }
    }

    #[test]
    fn a_full_answer_must_name_exactly_what_was_asked() {
        for named in [&[0][..], &[0, 2], &[0, 1, 2]] {
            let mut handler = FetchSessionHandler::default();
            handler.build(vec![at(0, 0), at(1, 0)]);
            assert!(!handler.handle_response(&answer(ErrorCode::None, SESSION, named)));
            assert_eq!(handler.build(Vec::new()).metadata, FetchMetadata::INITIAL);
        }
    }

    #[test]
    fn an_incremental_answer_must_not_name_what_is_not_in_the_session() {
        let mut handler = in_session();
        handler.build(vec![at(0, 0), at(1, 0)]);
        assert!(!handler.handle_response(&answer(ErrorCode::None, SESSION, &[2])));
        assert_eq!(handler.build(Vec::new()).metadata, epoch(0));
    }

    #[test]
    fn epochs_begin_again_at_one() {
        assert_eq!(FetchSessionEpoch(i32::MAX).next(), FetchSessionEpoch(1));
        assert_eq!(FetchSessionEpoch::FINAL.next(), FetchSessionEpoch::FINAL);
        assert!(FetchMetadata::LEGACY.is_full());
    }
}
