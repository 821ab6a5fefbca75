//! What the coordinator knows of one transactional id, and its state machine (`TransactionMetadata`, `TxnTransitMetadata`).
//!
//! A change is prepared, written to the log, and completed when its record is replicated. In between the metadata has a
//! *pending* state, and whoever else wants a change is told to come again.
//!
//! ```text
//!   Empty ──────► Ongoing ──────► PrepareCommit ──► CompleteCommit ─┐
//!     ▲             │  ▲  │                                         │
//!     │             │  └──┼──────────────────────────────────────── ┤ (and to Empty, Dead)
//!     │             │     └────► PrepareAbort ────► CompleteAbort ──┘
//!     │             └► PrepareEpochFence ─┘  never stored: an epoch raised in order to abort
//! ```

use protocol::ids::{ProducerEpoch, ProducerId, TopicPartition};
use protocol::note::TransactionState;
use protocol::time::Span;
use std::collections::BTreeSet;

/// The last epoch of a producer id that a producer gets: the one above is kept to fence it.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Whether a producer with this epoch needs another id (`isEpochExhausted`).
pub(super) fn is_exhausted(epoch: Option<ProducerEpoch>) -> bool {
    epoch.is_some_and(|epoch| epoch.0 >= LAST_EPOCH)
}

/// What a transactional id is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TransactionMetadata {
    pub(super) producer_id: ProducerId,
    /// The producer id before; not stored.
    pub(super) last_producer_id: Option<ProducerId>,
    /// None until the first producer is initialised.
    pub(super) producer_epoch: Option<ProducerEpoch>,
    /// The epoch that the present producer had before the present one, if it raised it itself; not stored.
    pub(super) last_producer_epoch: Option<ProducerEpoch>,
    /// `transaction.timeout.ms` of the producer.
    pub(super) timeout: Span,
    pub(super) state: TransactionState,
    /// The partitions of the transaction; while it is being completed, those without a marker.
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// When the first partition was added, in wall milliseconds; -1 before the first transaction.
    pub(super) start_timestamp: i64,
    /// Wall milliseconds.
    pub(super) update_timestamp: i64,
    /// The state it is going to.
    pub(super) pending: Option<TransactionState>,
    /// An epoch was raised and could not be written: it is not raised again (KAFKA-9666).
    pub(super) failed_fence: bool,
}

/// What a transactional id is about to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transit {
    pub(super) producer_id: ProducerId,
    pub(super) last_producer_id: Option<ProducerId>,
    pub(super) producer_epoch: Option<ProducerEpoch>,
    pub(super) last_producer_epoch: Option<ProducerEpoch>,
    pub(super) timeout: Span,
    pub(super) state: TransactionState,
    pub(super) partitions: BTreeSet<TopicPartition>,
    pub(super) start_timestamp: i64,
    pub(super) update_timestamp: i64,
}

/// The replicated record does not follow from what is cached: Kafka throws, and the pending state stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IllegalTransition;

/// Whether an id may go from `from` to `to`.
fn may_become(from: TransactionState, to: TransactionState) -> bool {
    use TransactionState as S;
    match to {
        S::Empty | S::Dead => matches!(from, S::Empty | S::CompleteCommit | S::CompleteAbort),
        S::Ongoing => matches!(
            from,
            S::Ongoing | S::Empty | S::CompleteCommit | S::CompleteAbort
        ),
        S::PrepareCommit | S::PrepareEpochFence => from == S::Ongoing,
        S::PrepareAbort => matches!(from, S::Ongoing | S::PrepareEpochFence),
        S::CompleteCommit => from == S::PrepareCommit,
        S::CompleteAbort => from == S::PrepareAbort,
    }
}

impl TransactionMetadata {
    /// An id that is seen for the first time.
    pub(super) fn new(producer_id: ProducerId, timeout: Span, wall_ms: i64) -> Self {
        Self {
            producer_id,
            last_producer_id: None,
            producer_epoch: None,
            last_producer_epoch: None,
            timeout,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp: -1,
            update_timestamp: wall_ms,
            pending: None,
            failed_fence: false,
        }
    }

    /// The epoch above the present one; 0 for a producer that has none.
    pub(super) fn next_epoch(&self) -> Option<ProducerEpoch> {
        let raised = self
            .producer_epoch
            .map_or(Some(0), |it| it.0.checked_add(1));
        raised.map(ProducerEpoch)
    }

    /// The transition that changes nothing but the state.
    fn to_state(&self, state: TransactionState) -> Transit {
        Transit {
            producer_id: self.producer_id,
            last_producer_id: Some(self.producer_id),
            producer_epoch: self.producer_epoch,
            last_producer_epoch: self.last_producer_epoch,
            timeout: self.timeout,
            state,
            partitions: self.partitions.clone(),
            start_timestamp: self.start_timestamp,
            update_timestamp: self.update_timestamp,
        }
    }

    /// Marks the way to a state as taken.
    fn prepare(&mut self, transit: Transit) -> Transit {
        assert!(self.pending.is_none(), "callers look at the pending state");
        assert!(
            may_become(self.state, transit.state),
            "callers look at the state"
        );
        self.pending = Some(transit.state);
        transit
    }

    /// An epoch that nobody holds, to abort what an earlier holder left open. `None` when there is no higher one.
    pub(super) fn prepare_fence(&mut self) -> Option<Transit> {
        let raised = if self.failed_fence {
            self.producer_epoch
        } else {
            Some(self.next_epoch()?)
        };
        let transit = Transit {
            producer_epoch: raised,
            last_producer_epoch: None,
            ..self.to_state(TransactionState::PrepareEpochFence)
        };
        Some(self.prepare(transit))
    }

    /// A new life of the producer with this epoch; the other is what a retry of the same call would name.
    pub(super) fn prepare_empty(
        &mut self,
        (epoch, last): (Option<ProducerEpoch>, Option<ProducerEpoch>),
        timeout: Span,
        wall_ms: i64,
    ) -> Transit {
        let transit = Transit {
            producer_epoch: epoch,
            last_producer_epoch: last,
            timeout,
            partitions: BTreeSet::new(),
            start_timestamp: -1,
            update_timestamp: wall_ms,
            ..self.to_state(TransactionState::Empty)
        };
        self.prepare(transit)
    }

    /// A new producer id, because the epochs of the present one are used up.
    pub(super) fn prepare_rotation(
        &mut self,
        producer_id: ProducerId,
        last: Option<ProducerEpoch>,
        (timeout, wall_ms): (Span, i64),
    ) -> Transit {
        let transit = Transit {
            producer_id,
            producer_epoch: Some(ProducerEpoch(0)),
            last_producer_epoch: last,
            timeout,
            partitions: BTreeSet::new(),
            start_timestamp: -1,
            update_timestamp: wall_ms,
            ..self.to_state(TransactionState::Empty)
        };
        self.prepare(transit)
    }

    pub(super) fn prepare_add(
        &mut self,
        added: impl IntoIterator<Item = TopicPartition>,
        wall_ms: i64,
    ) -> Transit {
        let ongoing = self.state == TransactionState::Ongoing;
        let mut partitions = self.partitions.clone();
        partitions.extend(added);
        let transit = Transit {
            partitions,
            start_timestamp: if ongoing {
                self.start_timestamp
            } else {
                wall_ms
            },
            update_timestamp: wall_ms,
            ..self.to_state(TransactionState::Ongoing)
        };
        self.prepare(transit)
    }

    /// The decision. Where each transaction has an epoch of its own (KIP-890) it raises the epoch to `next`.
    pub(super) fn prepare_end(
        &mut self,
        committed: bool,
        next: Option<ProducerEpoch>,
        wall_ms: i64,
    ) -> Transit {
        let state = if committed {
            TransactionState::PrepareCommit
        } else {
            TransactionState::PrepareAbort
        };
        let mut transit = Transit {
            update_timestamp: wall_ms,
            ..self.to_state(state)
        };
        if let Some(epoch) = next {
            transit.last_producer_epoch = self.producer_epoch;
            transit.producer_epoch = Some(epoch);
        }
        self.prepare(transit)
    }

    pub(super) fn prepare_complete(&mut self, wall_ms: i64) -> Transit {
        let state = if self.state == TransactionState::PrepareCommit {
            TransactionState::CompleteCommit
        } else {
            TransactionState::CompleteAbort
        };
        self.failed_fence = false;
        let transit = Transit {
            partitions: BTreeSet::new(),
            update_timestamp: wall_ms,
            ..self.to_state(state)
        };
        self.prepare(transit)
    }

    pub(super) fn prepare_dead(&mut self) {
        let transit = self.to_state(TransactionState::Dead);
        self.prepare(transit);
    }

    /// The record of a transition is replicated. `forward` demands that the start of a transaction is not before that of
    /// the one before, as it was until KAFKA-8803.
    pub(super) fn complete(
        &mut self,
        transit: Transit,
        forward: bool,
    ) -> Result<(), IllegalTransition> {
        let backward = transit.state == TransactionState::Ongoing
            && self.start_timestamp > transit.start_timestamp;
        if self.pending != Some(transit.state) || (forward && backward) {
            return Err(IllegalTransition);
        }
        self.producer_id = transit.producer_id;
        self.last_producer_id = transit.last_producer_id;
        self.producer_epoch = transit.producer_epoch;
        self.last_producer_epoch = transit.last_producer_epoch;
        self.timeout = transit.timeout;
        self.partitions = transit.partitions;
        self.start_timestamp = transit.start_timestamp;
        self.update_timestamp = transit.update_timestamp;
        self.state = transit.state;
        self.pending = None;
        Ok(())
    }
}
