//! `InitProducerId` for a transactional id (`TransactionCoordinator.handleInitProducerId`; KIP-98, KIP-360).
//!
//! A new life of the producer gets the next epoch, so that its former lives are refused. What a former life left open is
//! aborted first, by an epoch that nobody holds, and the caller is told to come again.

use super::append::{Change, Then, respond_init};
use super::end_transaction::{EndCall, EndedBy};
use super::metadata::{TransactionMetadata, Transit, is_exhausted};
use super::{Caller, Desk, TransactionCoordinator, note_refusal};
use protocol::api::InitProducerIdRequest;
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{ProducerEpoch, ProducerId, TransactionalId};
use protocol::note::TransactionState;
use protocol::time::Span;

/// A call.
#[derive(Clone, Debug)]
pub(super) struct InitCall {
    caller: Caller,
    id: TransactionalId,
    timeout: Span,
    /// What the producer has already and wants to go on with (KIP-360).
    current: Option<(ProducerId, ProducerEpoch)>,
}

/// What a call comes to.
enum Prepared {
    /// It needs a producer id first.
    WantsId,
    /// This is to be written.
    Transit(i32, Transit),
    /// An open transaction is to be aborted by this id and epoch.
    Abort(ProducerId, Option<ProducerEpoch>),
}

impl TransactionCoordinator {
    /// Serves a call for a transactional id.
    pub fn init_producer_id(
        &mut self,
        desk: &mut Desk<'_, '_>,
        caller: Caller,
        (id, request): (TransactionalId, &InitProducerIdRequest),
    ) {
        let timeout = u64::try_from(request.transaction_timeout_ms).map(Span::millis);
        let valid = timeout
            .ok()
            .filter(|timeout| timeout.0 > 0 && *timeout <= self.settings.max_timeout);
        let nothing = (ProducerId(-1), None);
        let Some(timeout) = valid.filter(|_| !id.as_str().is_empty()) else {
            let error = if id.as_str().is_empty() {
                ErrorCode::InvalidRequest
            } else {
                ErrorCode::InvalidTransactionTimeout
            };
            respond_init(desk, caller, error, nothing);
            return;
        };
        let call = InitCall {
            caller,
            id,
            timeout,
            current: request.current,
        };
        self.initialize(desk, call, None);
    }

    /// Whether a call waits for a producer id.
    pub fn wants_producer_id(&self) -> bool {
        !self.wanting.is_empty()
    }

    /// A producer id for the call that waits longest, or no hope of one.
    pub fn on_producer_id(&mut self, desk: &mut Desk<'_, '_>, id: Option<ProducerId>) {
        let Some(call) = self.wanting.pop_front() else {
            return;
        };
        if id.is_some() {
            self.initialize(desk, call, id);
        } else {
            let error = ErrorCode::UnknownServerError;
            respond_init(desk, call.caller, error, (ProducerId(-1), None));
        }
    }

    fn initialize(&mut self, desk: &mut Desk<'_, '_>, call: InitCall, fresh: Option<ProducerId>) {
        match self.prepare_init(desk.wall_ms(), &call, fresh) {
            Ok(Prepared::WantsId) => self.wanting.push_back(call),
            Ok(Prepared::Transit(coordinator_epoch, transit)) => {
                let change = Change {
                    id: call.id,
                    coordinator_epoch,
                    transit,
                    then: Then::Initialized(call.caller),
                };
                self.append(desk, change);
            }
            Ok(Prepared::Abort(producer_id, epoch)) => {
                let end = EndCall {
                    id: call.id,
                    producer_id,
                    producer_epoch: epoch.unwrap_or(ProducerEpoch(-1)),
                    committed: false,
                    by: EndedBy::Successor(call.caller),
                    fences: self.has(Fix::FenceOnInit),
                };
                self.end_transaction(desk, end);
            }
            Err(error) => {
                let epoch = call.current.map_or(ProducerEpoch(-1), |(_, epoch)| epoch);
                note_refusal(desk, &call.id, (error, epoch));
                respond_init(desk, call.caller, error, (ProducerId(-1), None));
            }
        }
    }

    fn prepare_init(
        &mut self,
        wall_ms: i64,
        call: &InitCall,
        fresh: Option<ProducerId>,
    ) -> Result<Prepared, ErrorCode> {
        let fences = self.has(Fix::FenceOnInit);
        let known = self.cache.find(&call.id, self.partitions)?.is_some();
        if !known && fresh.is_none() {
            return Ok(Prepared::WantsId);
        }
        let create =
            || TransactionMetadata::new(fresh.unwrap_or(ProducerId(-1)), call.timeout, wall_ms);
        let (epoch, metadata) = self.cache.find_or_put(&call.id, self.partitions, create)?;
        if metadata.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if call
            .current
            .is_some_and(|current| !metadata.may_go_on(current))
        {
            return Err(ErrorCode::ProducerFenced);
        }
        match metadata.state {
            TransactionState::PrepareAbort | TransactionState::PrepareCommit => {
                Err(ErrorCode::ConcurrentTransactions)
            }
            TransactionState::CompleteAbort
            | TransactionState::CompleteCommit
            | TransactionState::Empty => {
                let next = metadata.prepare_next(call, fresh.filter(|_| known), wall_ms)?;
                Ok(next.map_or(Prepared::WantsId, |transit| {
                    Prepared::Transit(epoch, transit)
                }))
            }
            TransactionState::Ongoing if fences => {
                // The epoch is never given out: the next call raises it once more.
                let fence = metadata.prepare_fence();
                let transit = fence.ok_or(ErrorCode::UnknownServerError)?;
                Ok(Prepared::Abort(transit.producer_id, transit.producer_epoch))
            }
            // Before KAFKA-5231 the predecessor's own epoch aborted its transaction, and it could begin another.
            TransactionState::Ongoing => Ok(Prepared::Abort(
                metadata.producer_id,
                metadata.producer_epoch,
            )),
            TransactionState::Dead | TransactionState::PrepareEpochFence => {
                unreachable!("an id is never kept in a state that is only pending")
            }
        }
    }
}

impl TransactionMetadata {
    /// Whether a producer that names an id and epoch is the present one (`isValidProducerId`); its epoch is looked at when
    /// it is raised.
    fn may_go_on(&self, (id, epoch): (ProducerId, ProducerEpoch)) -> bool {
        self.producer_epoch.is_none()
            || id == self.producer_id
            // The answer that brought a new id may have been lost.
            || (Some(id) == self.last_producer_id && is_exhausted(Some(epoch)))
    }

    /// The next life: another epoch, or another id where epochs are used up (`None` while there is none at hand).
    fn prepare_next(
        &mut self,
        call: &InitCall,
        fresh: Option<ProducerId>,
        wall_ms: i64,
    ) -> Result<Option<Transit>, ErrorCode> {
        let expected = call.current.map(|(_, epoch)| epoch);
        let own = self.producer_epoch;
        if is_exhausted(own) && expected.is_none_or(|expected| Some(expected) == own) {
            let last = own.filter(|_| expected.is_some());
            let times = (call.timeout, wall_ms);
            return Ok(fresh.map(|id| self.prepare_rotation(id, last, times)));
        }
        let raised = self.next_epoch();
        let epochs = match expected {
            None => (raised, None),
            Some(expected) if own.is_none_or(|own| own == expected) => (raised, own),
            // A retry of a call that has been done: the same answer.
            Some(expected) if Some(expected) == self.last_producer_epoch => {
                (own, self.last_producer_epoch)
            }
            Some(_) => return Err(ErrorCode::ProducerFenced),
        };
        Ok(Some(self.prepare_empty(epochs, call.timeout, wall_ms)))
    }
}
