//! Ending a transaction (`TransactionCoordinator.endTransaction`): the decision, its record, and the markers.
//!
//! The caller is answered when the decision is replicated; from then on it cannot be undone, whoever coordinates.

use super::append::{Change, Then, respond_init};
use super::metadata::{TransactionMetadata, Transit, is_exhausted};
use super::{Caller, Desk, TransactionCoordinator, for_version, note_refusal};
use protocol::api::transaction::{EndTxnRequest, EndTxnResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{ProducerEpoch, ProducerId, TransactionalId};
use protocol::note::TransactionState;

/// The version of `EndTxn` whose answer brings the epoch of the next transaction (KIP-890).
const BUMPING: i16 = 5;

/// Who ends a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum EndedBy {
    /// Its producer.
    Client(Caller),
    /// A later life of its producer, which is told to come again.
    Successor(Caller),
    /// Nobody: it took too long.
    Timeout,
}

/// The end of a transaction.
#[derive(Clone, Debug)]
pub(super) struct EndCall {
    pub(super) id: TransactionalId,
    pub(super) producer_id: ProducerId,
    pub(super) producer_epoch: ProducerEpoch,
    pub(super) committed: bool,
    pub(super) by: EndedBy,
    /// The epoch was raised for this, and nobody holds it.
    pub(super) fences: bool,
}

/// What a decision is written as.
struct Decided {
    coordinator_epoch: i32,
    transit: Transit,
}

impl TransactionCoordinator {
    /// `EndTxn`.
    pub fn end_txn(&mut self, desk: &mut Desk<'_, '_>, caller: Caller, request: EndTxnRequest) {
        let producer = request.producer;
        let call = EndCall {
            id: producer.transactional_id,
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            committed: request.committed,
            by: EndedBy::Client(caller),
            fences: false,
        };
        self.end_transaction(desk, call);
    }

    pub(super) fn end_transaction(&mut self, desk: &mut Desk<'_, '_>, call: EndCall) {
        match self.decide(desk.wall_ms(), &call) {
            Err(error) => {
                if matches!(call.by, EndedBy::Client(_)) {
                    note_refusal(desk, &call.id, (error, call.producer_epoch));
                }
                self.answer_end(desk, &call, error);
            }
            Ok(Decided {
                coordinator_epoch,
                transit,
            }) => {
                let change = Change {
                    id: call.id.clone(),
                    coordinator_epoch,
                    transit,
                    then: Then::Ended(call),
                };
                self.append(desk, change);
            }
        }
    }

    /// Whether each transaction of this caller has an epoch of its own.
    fn bumps(&self, by: EndedBy) -> bool {
        match by {
            EndedBy::Client(caller) => {
                caller.version >= BUMPING && self.has(Fix::EpochPerTransaction)
            }
            EndedBy::Successor(_) | EndedBy::Timeout => false,
        }
    }

    /// The change to write, or what to answer at once.
    fn decide(&mut self, wall_ms: i64, call: &EndCall) -> Result<Decided, ErrorCode> {
        if call.id.as_str().is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let bumps = self.bumps(call.by);
        let exact = self.has(Fix::EndTransactionEpoch) && matches!(call.by, EndedBy::Client(_));
        let found = self.cache.find(&call.id, self.partitions)?;
        let (coordinator_epoch, metadata) = found.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if metadata.producer_id != call.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        let again = bumps && metadata.has_ended_in(call.producer_epoch);
        if !again && metadata.is_fenced(call.producer_epoch, exact) {
            return Err(ErrorCode::ProducerFenced);
        }
        let pending = metadata.pending;
        if pending.is_some_and(|state| state != TransactionState::PrepareEpochFence) {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if metadata.state != TransactionState::Ongoing {
            return Err(metadata.answer_again(call.committed));
        }
        if again {
            // The epoch above is that of a transaction that has begun since.
            return Err(ErrorCode::ProducerFenced);
        }
        if pending.is_some() && !call.committed {
            // Clears the way, and takes over the epoch that was raised for it.
            metadata.pending = None;
            metadata.producer_epoch = Some(call.producer_epoch);
            metadata.last_producer_epoch = None;
        }
        let exhausted = is_exhausted(metadata.next_epoch());
        let next = metadata.next_epoch().filter(|_| bumps && !exhausted);
        let transit = metadata.prepare_end(call.committed, next, wall_ms);
        Ok(Decided {
            coordinator_epoch,
            transit,
        })
    }

    /// The record of the decision is replicated, or was not written (`sendTxnMarkersCallback`).
    pub(super) fn on_end_written(
        &mut self,
        desk: &mut Desk<'_, '_>,
        call: &EndCall,
        coordinator_epoch: i32,
        error: ErrorCode,
    ) {
        if error.is_error() {
            let (id, partitions) = (&call.id, self.partitions);
            if let Some(metadata) = self.cache.find_in(id, partitions, coordinator_epoch)
                && call.fences
            {
                metadata.failed_fence = true;
            }
            self.answer_end(desk, call, error);
            return;
        }
        match self.prepare_markers(desk.wall_ms(), call, coordinator_epoch) {
            Err(error) => self.answer_end(desk, call, error),
            Ok(transit) => {
                self.answer_end(desk, call, ErrorCode::None);
                self.add_markers(desk, (&call.id, coordinator_epoch), transit);
            }
        }
    }

    fn prepare_markers(
        &mut self,
        wall_ms: i64,
        call: &EndCall,
        coordinator_epoch: i32,
    ) -> Result<Transit, ErrorCode> {
        let bumped = self.bumps(call.by);
        let (epoch, metadata) = self
            .cache
            .find(&call.id, self.partitions)?
            .expect("an id with a pending state is not forgotten");
        if epoch != coordinator_epoch {
            return Err(ErrorCode::NotCoordinator);
        }
        let own = metadata.producer_epoch;
        let same = own == Some(call.producer_epoch)
            || (bumped && metadata.has_ended_in(call.producer_epoch));
        if metadata.producer_id != call.producer_id {
            Err(ErrorCode::InvalidProducerIdMapping)
        } else if !same {
            Err(ErrorCode::ProducerFenced)
        } else if metadata.pending.is_some() {
            Err(ErrorCode::ConcurrentTransactions)
        } else {
            let prepared = if call.committed {
                TransactionState::PrepareCommit
            } else {
                TransactionState::PrepareAbort
            };
            if metadata.state == prepared {
                Ok(metadata.prepare_complete(wall_ms))
            } else {
                Err(ErrorCode::InvalidTxnState)
            }
        }
    }

    fn answer_end(&mut self, desk: &mut Desk<'_, '_>, call: &EndCall, error: ErrorCode) {
        match call.by {
            EndedBy::Client(caller) => {
                let told = error.is_none() && self.bumps(call.by);
                let found = self.cache.find(&call.id, self.partitions);
                let metadata = found.ok().flatten().map(|(_, metadata)| metadata);
                let next = metadata
                    .filter(|_| told)
                    .and_then(|it| Some((it.producer_id, it.producer_epoch?)));
                let error = for_version(error, caller, 2);
                desk.respond(caller, EndTxnResponse { error, next });
            }
            EndedBy::Successor(caller) => {
                let error = if error.is_none() {
                    ErrorCode::ConcurrentTransactions
                } else {
                    error
                };
                respond_init(desk, caller, error, (ProducerId(-1), None));
            }
            EndedBy::Timeout => {}
        }
    }
}

impl TransactionMetadata {
    /// Whether a caller of this epoch may not end the transaction. Who only fences comes with a higher one; until
    /// KAFKA-9600 a producer with a higher one was believed as well.
    fn is_fenced(&self, epoch: ProducerEpoch, exact: bool) -> bool {
        let own = self.producer_epoch;
        (exact && own != Some(epoch)) || Some(epoch) < own
    }

    /// Whether the end of a transaction of this epoch has raised the epoch, so that its end is asked for once more.
    /// An epoch that is being raised to fence somebody tells nothing of the kind.
    fn has_ended_in(&self, epoch: ProducerEpoch) -> bool {
        self.pending != Some(TransactionState::PrepareEpochFence)
            && self.producer_epoch == Some(ProducerEpoch(epoch.0.saturating_add(1)))
    }

    /// The answer to who ends what has ended, or has not begun.
    fn answer_again(&self, committed: bool) -> ErrorCode {
        match (self.state, committed) {
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
                ErrorCode::None
            }
            (TransactionState::PrepareCommit, true) | (TransactionState::PrepareAbort, false) => {
                ErrorCode::ConcurrentTransactions
            }
            (
                TransactionState::Empty
                | TransactionState::Ongoing
                | TransactionState::PrepareCommit
                | TransactionState::PrepareAbort
                | TransactionState::CompleteCommit
                | TransactionState::CompleteAbort
                | TransactionState::Dead
                | TransactionState::PrepareEpochFence,
                _,
            ) => ErrorCode::InvalidTxnState,
        }
    }
}
