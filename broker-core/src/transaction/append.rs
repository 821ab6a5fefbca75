//! Writing a transition down, and completing it when its record is replicated
//! (`TransactionStateManager.appendTransactionToLog`).

use super::end_transaction::EndCall;
use super::metadata::Transit;
use super::{Caller, Desk, TransactionCoordinator, for_version, record};
use protocol::api::InitProducerIdResponse;
use protocol::api::transaction::{AddOffsetsToTxnResponse, AddPartitionsToTxnResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition, TransactionalId};
use protocol::note::TransactionNote;
use protocol::record::RecordBatch;
use protocol::time::Span;
use std::collections::BTreeMap;

/// Pairs the end of an append with its [`TransactionAppend`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TransactionTicket(pub u64);

/// A batch for the transaction topic, to be written with acks=all.
#[derive(Clone, Debug)]
pub struct TransactionAppend {
    /// Names its end for [`TransactionCoordinator::on_append_finished`].
    pub ticket: TransactionTicket,
    /// The partition of the transaction topic.
    pub partition: i32,
    /// The batch, to be rebased by the leader.
    pub batch: RecordBatch,
    /// How long to wait for replicas.
    pub timeout: Span,
}

/// Appends under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Appends {
    queue: Vec<TransactionAppend>,
    next: u64,
    waiting: BTreeMap<TransactionTicket, Waiting>,
}

#[derive(Clone, Debug)]
enum Waiting {
    Change(Box<Change>),
    Forget(Expired),
}

/// Ids that are forgotten once their tombstones are replicated.
#[derive(Clone, Debug)]
pub(super) struct Expired {
    pub(super) partition: i32,
    pub(super) coordinator_epoch: i32,
    pub(super) ids: Vec<(TransactionalId, Option<ProducerEpoch>)>,
}

/// A transition on its way into the log.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) id: TransactionalId,
    pub(super) coordinator_epoch: i32,
    pub(super) transit: Transit,
    pub(super) then: Then,
}

/// What follows a transition.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// `InitProducerId` is answered.
    Initialized(Caller),
    /// Partitions are added.
    Added(Caller, Vec<TopicPartition>),
    /// The partition of a group's offsets is added.
    OffsetsAdded(Caller),
    /// The end is decided, and markers go out.
    Ended(EndCall),
    /// All markers are written.
    Completed,
}

impl Appends {
    fn push(&mut self, partition: i32, (batch, timeout): (RecordBatch, Span), waiting: Waiting) {
        let ticket = TransactionTicket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, waiting);
        self.queue.push(TransactionAppend {
            ticket,
            partition,
            batch,
            timeout,
        });
    }
}

impl TransactionCoordinator {
    /// The appends asked for since the last call, in order. Every method with a [`Desk`] may ask for some.
    pub fn take_appends(&mut self) -> Vec<TransactionAppend> {
        std::mem::take(&mut self.appends.queue)
    }

    /// An append has ended: replicated, or with an error.
    pub fn on_append_finished(
        &mut self,
        desk: &mut Desk<'_, '_>,
        ticket: TransactionTicket,
        result: Result<Offset, ErrorCode>,
    ) {
        match self.appends.waiting.remove(&ticket) {
            Some(Waiting::Change(change)) => self.on_change_written(desk, *change, result),
            Some(Waiting::Forget(expired)) => self.forget(desk, &expired, result.is_ok()),
            None => {}
        }
    }

    /// Writes a transition, if the id is still coordinated here in the epoch it was prepared in.
    pub(super) fn append(&mut self, desk: &mut Desk<'_, '_>, change: Change) {
        let current = match self.cache.find(&change.id, self.partitions) {
            Err(error) => Err(error),
            Ok(Some((epoch, _))) if epoch == change.coordinator_epoch => Ok(()),
            Ok(_) => Err(ErrorCode::NotCoordinator),
        };
        if let Err(error) = current {
            self.go_on(desk, change, error);
            return;
        }
        let batch = record::batch(&change.id, &change.transit, desk.wall_ms());
        let partition = self.partition_for(&change.id);
        let timeout = change.transit.timeout;
        let waiting = Waiting::Change(Box::new(change));
        self.appends.push(partition, (batch, timeout), waiting);
    }

    /// Writes tombstones.
    pub(super) fn append_tombstones(&mut self, desk: &Desk<'_, '_>, expired: Expired) {
        let ids = expired.ids.iter().map(|(id, _)| id);
        let batch = record::tombstones(ids, desk.wall_ms());
        let (partition, timeout) = (expired.partition, self.settings.request_timeout);
        let waiting = Waiting::Forget(expired);
        self.appends.push(partition, (batch, timeout), waiting);
    }

    /// `updateCacheCallback`.
    fn on_change_written(
        &mut self,
        desk: &mut Desk<'_, '_>,
        change: Change,
        result: Result<Offset, ErrorCode>,
    ) {
        let error = match result {
            Ok(_) => match self.complete(desk, &change) {
                Ok(error) => error,
                // Kafka's callback throws: nobody is answered, and the pending state stays.
                Err(super::metadata::IllegalTransition) => return,
            },
            Err(error) => {
                let error = coordinator_error(error);
                self.give_up(&change, error);
                error
            }
        };
        self.go_on(desk, change, error);
    }

    fn complete(
        &mut self,
        desk: &mut Desk<'_, '_>,
        change: &Change,
    ) -> Result<ErrorCode, super::metadata::IllegalTransition> {
        let forward = !self.has(Fix::TransactionTimeForward);
        let metadata = match self.cache.find(&change.id, self.partitions) {
            Err(error) => return Ok(error),
            Ok(Some((epoch, metadata))) if epoch == change.coordinator_epoch => metadata,
            // The partition left and came back, or the id is gone: the client looks for its coordinator anew.
            Ok(_) => return Ok(ErrorCode::NotCoordinator),
        };
        metadata.complete(change.transit.clone(), forward)?;
        let state = TransactionNote::State {
            state: metadata.state,
            producer_id: metadata.producer_id,
            producer_epoch: metadata.producer_epoch.unwrap_or(ProducerEpoch(-1)),
            partitions: metadata.partitions.iter().cloned().collect(),
        };
        desk.note(&change.id, state);
        Ok(ErrorCode::None)
    }

    /// A record was not written: nothing is pending any more, unless it will be tried again.
    fn give_up(&mut self, change: &Change, error: ErrorCode) {
        let again = match change.then {
            Then::Completed => error == ErrorCode::CoordinatorNotAvailable,
            Then::Initialized(_) | Then::Added(..) | Then::OffsetsAdded(_) | Then::Ended(_) => {
                false
            }
        };
        let (id, epoch) = (&change.id, change.coordinator_epoch);
        if let Some(metadata) = self.cache.find_in(id, self.partitions, epoch)
            && !again
        {
            metadata.pending = None;
        }
    }

    /// What the caller of the append does next.
    fn go_on(&mut self, desk: &mut Desk<'_, '_>, change: Change, error: ErrorCode) {
        match change.then {
            Then::Initialized(caller) => {
                let epoch = change.transit.producer_epoch;
                let given = (change.transit.producer_id, epoch);
                respond_init(desk, caller, error, given);
            }
            Then::Added(caller, partitions) => {
                respond_added(desk, caller, partitions, error);
            }
            Then::OffsetsAdded(caller) => {
                let error = for_version(error, caller, 2);
                desk.respond(caller, AddOffsetsToTxnResponse { error });
            }
            Then::Ended(call) => {
                self.on_end_written(desk, &call, change.coordinator_epoch, error);
            }
            // Everything else than a lack of replicas means that another coordinator completes it.
            Then::Completed if error == ErrorCode::CoordinatorNotAvailable => {
                self.retry_completion(desk, change);
            }
            Then::Completed => {}
        }
    }
}

pub(super) fn respond_init(
    desk: &mut Desk<'_, '_>,
    caller: Caller,
    error: ErrorCode,
    (producer_id, epoch): (ProducerId, Option<ProducerEpoch>),
) {
    let error = for_version(error, caller, 4);
    let response = if error.is_error() {
        InitProducerIdResponse {
            error,
            producer_id: ProducerId(-1),
            producer_epoch: ProducerEpoch(-1),
        }
    } else {
        InitProducerIdResponse {
            error,
            producer_id,
            producer_epoch: epoch.unwrap_or(ProducerEpoch(-1)),
        }
    };
    desk.respond(caller, response);
}

pub(super) fn respond_added(
    desk: &mut Desk<'_, '_>,
    caller: Caller,
    partitions: Vec<TopicPartition>,
    error: ErrorCode,
) {
    let error = for_version(error, caller, 2);
    let partitions = partitions.into_iter().map(|partition| (partition, error));
    let partitions = partitions.collect();
    desk.respond(caller, AddPartitionsToTxnResponse { partitions });
}

/// An error of the log in the words of a coordinator.
fn coordinator_error(error: ErrorCode) -> ErrorCode {
    if matches!(
        error,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::RequestTimedOut
    ) {
        ErrorCode::CoordinatorNotAvailable
    } else if matches!(
        error,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError
    ) {
        ErrorCode::NotCoordinator
    } else if matches!(
        error,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge
    ) {
        ErrorCode::UnknownServerError
    } else {
        error
    }
}
