//! Applications: what uses a client, and how.
//!
//! A client core sends and polls; *when* it sends, and whether it commits before or after it processes, is application
//! code, and lives here. Each application is a machine that holds its client core, calls its verbs and looks at its
//! outcomes; to the world the two are one process.

mod consumer;
mod copier;
mod old_consumer;
mod operator;
mod producer;
mod transaction;
mod transactional;
mod two_cores;

pub use consumer::ConsumerApp;
pub use copier::{CopierApp, CopierLife};
pub use old_consumer::OldConsumerApp;
pub use operator::{OperatorApp, Tools};
pub use producer::ProducerApp;
pub use transactional::{Life, TransactionalApp};

use protocol::ids::GroupId;
use protocol::machine::{Effect, Input, Io, Machine, Stamped, TimerId};
use protocol::note::Note;
use protocol::operation::{Action, Operation, ProcessId, Stage};
use protocol::time::Now;
use protocol::verb::{Certainty, ClientError, Failure, OperationId, Outcome, Verb};

/// Timers of applications; client cores count theirs from 0.
const APPLICATION_TIMER: TimerId = TimerId(u64::MAX);
/// The timer of an application's second thread.
const WORKER_TIMER: TimerId = TimerId(u64::MAX - 1);
/// When an application lets a paused partition go on.
const RESUME_TIMER: TimerId = TimerId(u64::MAX - 2);

/// Who an application is in the history.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Its index among the manifest's clients.
    pub client: u16,
    /// Which life of it.
    pub process: ProcessId,
}

impl Identity {
    /// Life `life` of client `client`.
    pub fn new(client: u16, life: u32) -> Self {
        Self {
            client,
            process: ProcessId((u32::from(client) << 16) | (life & 0xffff)),
        }
    }

    fn note(self, io: &mut Io<'_>, id: u64, stage: Stage, action: Action) {
        let operation = Operation {
            client: self.client,
            process: self.process,
            id,
            stage,
            action,
        };
        io.note(Note::Operation(Box::new(operation)));
    }
}

/// Calls into a client core and keeps what it answers for the application to look at.
///
/// The core's other effects pass on to the world unchanged.
fn drive(
    core: &mut impl Machine,
    now: Now,
    input: Input,
    io: &mut Io<'_>,
) -> Vec<(OperationId, Outcome)> {
    let mut effects: Vec<Stamped> = Vec::new();
    core.handle(now, input, &mut io.redirected(&mut effects));
    let mut outcomes = Vec::new();
    for stamped in effects {
        if let Effect::Outcome { operation, outcome } = stamped.effect {
            outcomes.push((operation, outcome));
        } else {
            io.forward(stamped);
        }
    }
    outcomes
}

/// A call of a verb.
fn call(
    core: &mut impl Machine,
    now: Now,
    io: &mut Io<'_>,
    id: u64,
    verb: Verb,
) -> Vec<(OperationId, Outcome)> {
    drive(
        core,
        now,
        Input::Verb {
            operation: OperationId(id),
            verb,
        },
        io,
    )
}

/// What a consumer is told of its partitions and of where it reads them, in the history's words.
fn reading(group: Option<&GroupId>, outcome: &Outcome) -> Option<Action> {
    let group = group.cloned();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these tell of it; the rest passes by"
    )]
    let action = match outcome {
        Outcome::Assigned(partitions) => Action::Assigned {
            group,
            generation: None,
            partitions: partitions.clone(),
        },
        Outcome::Revoked(partitions) => Action::Revoked {
            group,
            partitions: partitions.clone(),
        },
        Outcome::Lost(partitions) => Action::Lost {
            group,
            partitions: partitions.clone(),
        },
        Outcome::PositionReset {
            partition,
            offset,
            reason,
        } => Action::Position {
            partition: partition.clone(),
            offset: *offset,
            reason: *reason,
        },
        _ => return None,
    };
    Some(action)
}

/// How a failed call ends in the history.
fn stage_of(failure: &Failure) -> Stage {
    match failure.certainty {
        Certainty::Fail => Stage::Fail,
        Certainty::Info => Stage::Info,
    }
}

/// How a call ended in the history, and with which error.
fn ending(result: &Result<(), Failure>) -> (Stage, Option<String>) {
    match result {
        Ok(()) => (Stage::Ok, None),
        Err(failure) => (stage_of(failure), Some(error_name(&failure.error))),
    }
}

/// The name an application sees: Kafka's error code, or the Java client's exception.
pub fn error_name(error: &ClientError) -> String {
    match error {
        ClientError::Broker(code) => code.name().to_owned(),
        ClientError::Timeout(what) => format!("TimeoutException({what})"),
        ClientError::Disconnected => "DisconnectException".to_owned(),
        ClientError::CommitFailed => "CommitFailedException".to_owned(),
        ClientError::NoOffset(partition) => format!("NoOffsetForPartitionException({partition})"),
        ClientError::LogTruncation(partition, _) => format!("LogTruncationException({partition})"),
        ClientError::BufferExhausted => "BufferExhaustedException".to_owned(),
        ClientError::IllegalState(what) => format!("IllegalStateException({what})"),
        ClientError::Closed => "closed".to_owned(),
        ClientError::Crashed => "crashed".to_owned(),
        ClientError::TransactionAborted => "TransactionAbortedException".to_owned(),
        ClientError::RebalanceFailed => "ConsumerRebalanceFailedException".to_owned(),
        ClientError::ConsumerTimeout => "ConsumerTimeoutException".to_owned(),
        ClientError::NodeExists => "ZkNodeExistsException".to_owned(),
    }
}
