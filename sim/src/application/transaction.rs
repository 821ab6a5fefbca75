//! What applications with a transactional producer have in common: how a call is told, and what comes after a failure.
//!
//! The rules are those of `KafkaProducer`'s documentation: whoever is fenced closes, a call that timed out is made again,
//! and after any other error the transaction is aborted. When even that fails the application ends.

use super::{Identity, ending};
use crate::random::mix;
use protocol::error_code::ErrorCode;
use protocol::ids::TransactionalId;
use protocol::machine::Io;
use protocol::operation::{Action, Stage, TransactionCall, TransactionNumber};
use protocol::verb::{ClientError, Failure};

/// Calls are numbered from here on, far above the numbers of records.
const CALLS: u64 = 1 << 49;

/// What an application does after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Goes on.
    GoOn,
    /// Makes the same call again.
    Again,
    /// Aborts the transaction.
    Abort,
    /// Ends.
    End,
}

/// What to do after a transactional call that ended like this.
pub(super) fn after(call: &TransactionCall, result: &Result<(), Failure>) -> After {
    let Err(failure) = result else {
        return After::GoOn;
    };
    let can_abort = match call {
        TransactionCall::SendOffsets { .. } | TransactionCall::Commit => true,
        TransactionCall::Init | TransactionCall::Begin | TransactionCall::Abort => false,
    };
    if matches!(failure.error, ClientError::Timeout("max.block.ms")) {
        match call {
            // The offsets may still be under way; the transaction tells.
            TransactionCall::SendOffsets { .. } => After::Abort,
            TransactionCall::Init
            | TransactionCall::Begin
            | TransactionCall::Commit
            | TransactionCall::Abort => After::Again,
        }
    } else if is_fence(&failure.error) || !can_abort {
        After::End
    } else {
        After::Abort
    }
}

/// Somebody else has the transactional id, or the transaction took too long.
pub(super) fn is_fence(error: &ClientError) -> bool {
    *error == ClientError::Broker(ErrorCode::ProducerFenced)
}

/// The calls of one life: at most one is under way.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    id: TransactionalId,
    identity: Identity,
    made: u64,
    under_way: Option<(u64, TransactionCall)>,
    /// How many transactions were begun.
    begun: u32,
    /// The application has forgotten to begin the one that it is in.
    forgotten: bool,
}

impl Calls {
    pub(super) fn new(id: &str, identity: Identity) -> Self {
        Self {
            id: TransactionalId::from(id),
            identity,
            made: 0,
            under_way: None,
            begun: 0,
            forgotten: false,
        }
    }

    /// The transaction that was begun last; none where one was forgotten.
    pub(super) fn current(&self) -> Option<TransactionNumber> {
        let last = self.begun.checked_sub(1).filter(|_| !self.forgotten);
        last.map(TransactionNumber)
    }

    /// The application goes on as if it had begun another one.
    pub(super) fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Whether it has forgotten the one that it is in.
    pub(super) const fn has_forgotten(&self) -> bool {
        self.forgotten
    }

    /// Begins a call; gives its number.
    pub(super) fn invoke(&mut self, io: &mut Io<'_>, call: TransactionCall) -> u64 {
        if call == TransactionCall::Begin {
            self.begun += 1;
            self.forgotten = false;
        }
        let id = CALLS + self.made;
        self.made += 1;
        self.note(io, (id, &call), Stage::Invoke, None);
        self.under_way = Some((id, call));
        id
    }

    /// Ends the call of this number, if it is the one under way.
    pub(super) fn returned(
        &mut self,
        io: &mut Io<'_>,
        id: u64,
        result: &Result<(), Failure>,
    ) -> Option<TransactionCall> {
        let (_, call) = self.under_way.take_if(|(own, _)| *own == id)?;
        let (stage, error) = ending(result);
        self.note(io, (id, &call), stage, error);
        Some(call)
    }

    fn note(
        &self,
        io: &mut Io<'_>,
        (id, call): (u64, &TransactionCall),
        stage: Stage,
        error: Option<String>,
    ) {
        let transaction = self.current().filter(|_| *call != TransactionCall::Init);
        let action = Action::Transaction {
            transactional_id: self.id.clone(),
            transaction,
            call: call.clone(),
            error,
        };
        self.identity.note(io, id, stage, action);
    }

    /// Whether the application aborts this transaction of its own will.
    pub(super) fn wants_abort(&self, seed: u64, per_mille: u16) -> bool {
        mix(seed ^ u64::from(self.begun)) % 1000 < u64::from(per_mille)
    }
}
