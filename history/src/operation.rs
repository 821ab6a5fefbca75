//! Operations are words of the protocol; here they are a stream of the history.

pub use protocol::operation::{
    Action, Operation, Polled, ProcessId, Stage, TransactionCall, TransactionNumber, Value,
};
