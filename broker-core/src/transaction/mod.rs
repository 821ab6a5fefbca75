//! Transactions on `__transaction_state` (`TransactionCoordinator`, `TransactionStateManager`,
//! `TransactionMarkerChannelManager` of 2.8; KIP-98, KIP-360, KIP-890).
//!
//! A transactional id belongs to one partition of the transaction topic, and the leader of that partition coordinates it.
//! Every change is written there and takes effect once its record is replicated. The end of a transaction is decided by
//! such a record; then markers go to the leaders of all its partitions, for as long as it takes, and a last record says that
//! they are written. The coordinator owns no log: it hands [`TransactionAppend`]s to the broker and learns their end by
//! [`TransactionCoordinator::on_append_finished`], and it is fed the partition's records when it is elected.
//!
//! Left out: `DescribeTransactions` and `ListTransactions`; with KIP-890, the partitions that a leader adds by itself when a
//! producer writes to them (producers here go on adding their own), and the new producer id that the end of a transaction
//! brings when epochs are used up (the epoch then stays, and the next `InitProducerId` brings the id). A handler thread of
//! Kafka's is blocked while a block of producer ids is claimed; here the answer is late. A transition that Kafka refuses by
//! an exception in the callback of the append leaves the client without an answer.

mod add_partitions;
mod append;
mod cache;
mod end_transaction;
mod init_producer_id;
mod load;
mod markers;
mod metadata;
mod placement;
mod record;
mod scans;
#[cfg(test)]
mod tests;
mod verifier;

pub use append::{TransactionAppend, TransactionTicket};
pub use placement::{TRANSACTION_TOPIC, partition_for, transaction_partition};
pub use verifier::Verifier;

use crate::metadata_cache::MetadataCache;
use crate::request_channel::RequestChannel;
use crate::timer::TimerOwner;
use append::Appends;
use cache::Cache;
use init_producer_id::InitCall;
use markers::Markers;
use protocol::api::ResponseBody;
use protocol::behaviour::{Behaviour, Fix};
use protocol::config::BrokerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, ProducerEpoch, TransactionalId};
use protocol::machine::{Io, RequestToken};
use protocol::note::{Note, TransactionNote};
use protocol::time::{Now, Span};
use std::collections::VecDeque;

/// What a step of the coordinator works with.
pub struct Desk<'a, 'io> {
    /// The broker's clocks.
    pub now: Now,
    /// Its hands.
    pub io: &'a mut Io<'io>,
    /// Where responses go.
    pub requests: &'a mut RequestChannel,
    /// Who leads what, as far as this broker knows.
    pub cache: &'a MetadataCache,
}

impl Desk<'_, '_> {
    fn respond(&mut self, caller: Caller, body: impl Into<ResponseBody>) {
        self.requests.respond(self.io, caller.token, body);
    }

    fn note(&mut self, id: &TransactionalId, note: TransactionNote) {
        self.io.note(Note::Transaction(id.clone(), note));
    }

    fn wall_ms(&self) -> i64 {
        self.now.wall.millis()
    }
}

/// Whom to answer.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// What to answer to.
    pub token: RequestToken,
    /// The version of the request.
    pub version: i16,
}

/// The settings that matter here.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_timeout: Span,
    expiration: Span,
    load_buffer: i32,
    abort_interval: Span,
    remove_interval: Span,
    request_timeout: Span,
}

/// The coordinator of one broker.
#[derive(Clone, Debug)]
pub struct TransactionCoordinator {
    behaviour: Behaviour,
    settings: Settings,
    /// Partitions of the transaction topic, as they were when the broker started.
    partitions: i32,
    cache: Cache,
    appends: Appends,
    /// Calls that wait for a producer id.
    wanting: VecDeque<InitCall>,
    markers: Markers,
}

/// Numbers of the coordinator's own timers within [`TimerOwner::Transaction`].
const ABORT_SCAN: u64 = 0;
const EXPIRY_SCAN: u64 = 1;
const APPEND_RETRY: u64 = 2;

impl TransactionCoordinator {
    /// A coordinator that coordinates nothing yet.
    pub fn new(config: &BrokerConfig, behaviour: Behaviour, broker: BrokerId) -> Self {
        let settings = Settings {
            max_timeout: config.transaction_max_timeout_ms,
            expiration: config.transactional_id_expiration_ms,
            load_buffer: config.transaction_state_log_load_buffer_size,
            abort_interval: config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
            remove_interval: config.transaction_remove_expired_transaction_cleanup_interval_ms,
            request_timeout: config.request_timeout_ms,
        };
        Self {
            behaviour,
            settings,
            partitions: config.transaction_state_log_num_partitions,
            cache: Cache::default(),
            appends: Appends::default(),
            wanting: VecDeque::new(),
            markers: Markers::new(broker, config.request_timeout_ms),
        }
    }

    /// The broker has started: the regular looks at all ids begin.
    pub fn on_started(&mut self, now: Now, io: &mut Io<'_>) {
        let abort_at = now.mono + self.settings.abort_interval;
        io.set_timer(TimerOwner::Transaction.timer(ABORT_SCAN), abort_at);
        let remove_at = now.mono + self.settings.remove_interval;
        io.set_timer(TimerOwner::Transaction.timer(EXPIRY_SCAN), remove_at);
    }

    /// The broker stops: nothing is coordinated here any more.
    pub fn shutdown(&mut self) {
        self.cache = Cache::default();
    }

    /// A timer of [`TimerOwner::Transaction`] rang.
    pub fn on_timer(&mut self, desk: &mut Desk<'_, '_>, number: u64) {
        match number {
            ABORT_SCAN => {
                let at = desk.now.mono + self.settings.abort_interval;
                desk.io
                    .set_timer(TimerOwner::Transaction.timer(ABORT_SCAN), at);
                self.abort_timed_out(desk);
            }
            EXPIRY_SCAN => {
                let at = desk.now.mono + self.settings.remove_interval;
                desk.io
                    .set_timer(TimerOwner::Transaction.timer(EXPIRY_SCAN), at);
                self.remove_expired(desk);
            }
            _ => self.send_markers(desk),
        }
    }

    fn has(&self, fix: Fix) -> bool {
        self.behaviour.has(fix)
    }

    /// The partition of the transaction topic that holds an id.
    pub fn partition_for(&self, id: &TransactionalId) -> i32 {
        partition_for(id, self.partitions)
    }
}

/// States a refusal by epoch.
fn note_refusal(
    desk: &mut Desk<'_, '_>,
    id: &TransactionalId,
    (error, epoch): (ErrorCode, ProducerEpoch),
) {
    if error == ErrorCode::ProducerFenced {
        let fenced = TransactionNote::Fenced {
            producer_epoch: epoch,
        };
        desk.note(id, fenced);
    }
}

/// Requests of before KIP-588 know another error for a producer that was replaced.
fn for_version(error: ErrorCode, caller: Caller, knows_fenced: i16) -> ErrorCode {
    if error == ErrorCode::ProducerFenced && caller.version < knows_fenced {
        ErrorCode::InvalidProducerEpoch
    } else {
        error
    }
}
