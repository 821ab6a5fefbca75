//! Transactions, as far as they are bookkeeping (`TransactionManager`): the state, the partitions of the open
//! transaction, the requests that wait, and what the application waits for. [`turn`](super::turn) sends the requests,
//! [`idempotence`](super::idempotence) keeps the sequences.
//!
//! A call that waits longer than `max.block.ms` is answered *info*: its request goes on, and the application has to make
//! the same call again. As since 3.3, another call than that one is refused; 2.8 let some of them through.
//!
//! Left out: authorisation, and the partitions that a broker adds by itself in the protocol of 4.0 (KIP-890): this
//! producer always names them first.

mod answers;
mod request;
mod state;

use super::idempotence::Identity;
use protocol::api::RequestBody;
use protocol::api::group::CoordinatorKind;
use protocol::behaviour::{Behaviour, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, TopicPartition, TransactionalId};
use protocol::time::Span;
use protocol::verb::{ClientError, ConsumerGroupMetadata, Failure, OffsetAndMetadata};
use request::{Kind, Queue, Sender};
pub(super) use request::{ResultId, TxnRequest};
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// While the first partitions are added the coordinator is often still completing the transaction before
/// (`ADD_PARTITIONS_RETRY_BACKOFF_MS`).
const SHORT_REST: Span = Span::millis(20);

/// A call whose end is open, though nobody may be waiting for it any more (`PendingStateTransition`).
#[derive(Clone, Copy, Debug)]
struct Pending {
    result: ResultId,
    target: State,
}

/// What an application may wait for, or why its call is refused at once.
pub(super) type Called = Result<ResultId, ClientError>;

/// The transactional side of a producer.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    id: TransactionalId,
    timeout_ms: i32,
    retry_backoff: Span,
    behaviour: Behaviour,
    state: State,
    last_error: Option<ClientError>,
    /// Written to in this transaction, and the coordinator not asked yet.
    new: BTreeSet<TopicPartition>,
    /// The coordinator is being asked.
    asked: BTreeSet<TopicPartition>,
    /// In the transaction; only to these may records go.
    added: BTreeSet<TopicPartition>,
    /// The coordinator knows of this transaction.
    started: bool,
    /// The producer needs a new epoch before it may go on.
    bump_required: bool,
    queue: Queue,
    coordinator: Option<BrokerId>,
    group_coordinator: Option<BrokerId>,
    next_result: u64,
    results: BTreeMap<ResultId, Result<(), Failure>>,
    pending: Option<Pending>,
}

impl Transactions {
    pub(super) fn new(id: &str, timeout: Span, retry_backoff: Span, behaviour: Behaviour) -> Self {
        Self {
            id: TransactionalId::from(id),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            retry_backoff,
            behaviour,
            state: State::Uninitialized,
            last_error: None,
            new: BTreeSet::new(),
            asked: BTreeSet::new(),
            added: BTreeSet::new(),
            started: false,
            bump_required: false,
            queue: Queue::default(),
            coordinator: None,
            group_coordinator: None,
            next_result: 0,
            results: BTreeMap::new(),
            pending: None,
        }
    }

    pub(super) const fn id(&self) -> &TransactionalId {
        &self.id
    }

    // --- What the application calls ---

    /// `initTransactions`.
    pub(super) fn init(&mut self) -> Called {
        if let Some(result) = self.pending_call(State::Initializing)? {
            return Ok(result);
        }
        self.refuse_after_error()?;
        self.turn_to(State::Initializing)?;
        let result = self.enqueue(Kind::InitProducerId(None));
        Ok(self.begin_pending(result, State::Initializing))
    }

    /// `beginTransaction`.
    pub(super) fn begin(&mut self) -> Result<(), ClientError> {
        self.refuse_while_pending()?;
        self.refuse_after_error()?;
        self.turn_to(State::InTransaction)
    }

    /// `sendOffsetsToTransaction`.
    pub(super) fn send_offsets(
        &mut self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: ConsumerGroupMetadata,
    ) -> Called {
        if group.generation_id.0 > 0 && group.member_id.as_str().is_empty() {
            return Err(ClientError::IllegalState(
                "a member of a generation needs a member.id",
            ));
        }
        self.refuse_while_pending()?;
        self.refuse_after_error()?;
        if self.state != State::InTransaction {
            return Err(ClientError::IllegalState(
                "sendOffsetsToTransaction needs an open transaction",
            ));
        }
        Ok(self.enqueue(Kind::AddOffsets(offsets, group)))
    }

    /// `commitTransaction`.
    pub(super) fn commit(&mut self, identity: Option<Identity>) -> Called {
        if let Some(result) = self.pending_call(State::Committing)? {
            return Ok(result);
        }
        self.refuse_after_error()?;
        self.turn_to(State::Committing)?;
        let result = self.begin_completing(true, identity);
        Ok(self.begin_pending(result, State::Committing))
    }

    /// `abortTransaction`: also the way out of an abortable error.
    pub(super) fn abort(&mut self, identity: Option<Identity>) -> Called {
        if let Some(result) = self.pending_call(State::Aborting)? {
            return Ok(result);
        }
        if self.state != State::AbortableError {
            self.refuse_after_error()?;
        }
        self.turn_to(State::Aborting)?;
        self.new.clear();
        let result = self.begin_completing(false, identity);
        Ok(self.begin_pending(result, State::Aborting))
    }

    fn begin_completing(&mut self, committed: bool, identity: Option<Identity>) -> ResultId {
        self.enqueue_new_partitions();
        // A coordinator that does not know the producer id would not take an end either.
        let is_stranger =
            self.last_error == Some(ClientError::Broker(ErrorCode::InvalidProducerIdMapping));
        if is_stranger {
            return self.enqueue(Kind::InitProducerId(identity));
        }
        let end = self.enqueue(Kind::End(committed));
        if self.bump_required {
            self.enqueue(Kind::InitProducerId(identity))
        } else {
            end
        }
    }

    /// A send is allowed now (`failIfNotReadyForSend`).
    pub(super) fn may_send(&self, has_identity: bool) -> Result<(), ClientError> {
        if let Some(error) = self.error() {
            return Err(error.clone());
        }
        if !has_identity {
            let why = "send needs initTransactions first";
            return Err(ClientError::IllegalState(why));
        }
        if self.state != State::InTransaction {
            return Err(ClientError::IllegalState("send needs an open transaction"));
        }
        Ok(())
    }

    /// A record goes to this partition (`maybeAddPartition`).
    pub(super) fn writes_to(&mut self, partition: &TopicPartition) {
        if !self.added.contains(partition) && !self.asked.contains(partition) {
            self.new.insert(partition.clone());
        }
    }

    /// The application closes: an open transaction is aborted, unless it is ending already.
    pub(super) fn close(&mut self, identity: Option<Identity>) {
        let is_open = matches!(self.state, State::InTransaction | State::AbortableError);
        if is_open && self.queue.is_empty() && self.abort(identity).is_err() {
            self.fail_for_good(&ClientError::Closed);
        }
    }

    /// Whether a close has to wait.
    pub(super) fn has_business(&self) -> bool {
        self.state != State::FatalError
            && (!self.queue.is_empty()
                || matches!(self.state, State::InTransaction | State::AbortableError)
                || self.is_completing())
    }

    // --- Calls that outlive their caller's patience ---

    fn pending_call(&mut self, target: State) -> Result<Option<ResultId>, ClientError> {
        match self.pending {
            Some(pending) if pending.target == target => Ok(Some(pending.result)),
            Some(_) => Err(ClientError::IllegalState(
                "the call before timed out and must be made again",
            )),
            None => Ok(None),
        }
    }

    fn refuse_while_pending(&self) -> Result<(), ClientError> {
        match self.pending {
            Some(_) => Err(ClientError::IllegalState(
                "the call before timed out and must be made again",
            )),
            None => Ok(()),
        }
    }

    fn begin_pending(&mut self, result: ResultId, target: State) -> ResultId {
        self.pending = Some(Pending { result, target });
        result
    }

    /// The result, if it is there; whoever asks has been told with it.
    pub(super) fn take_result(&mut self, id: ResultId) -> Option<Result<(), Failure>> {
        let result = self.results.remove(&id)?;
        if self.pending.is_some_and(|pending| pending.result == id) {
            self.pending = None;
        }
        Some(result)
    }

    /// Forgets the results that nobody waits for.
    pub(super) fn keep_results(&mut self, is_awaited: impl Fn(ResultId) -> bool) {
        let pending = self.pending.map(|pending| pending.result);
        self.results
            .retain(|id, _| Some(*id) == pending || is_awaited(*id));
    }

    fn decide(&mut self, id: ResultId, result: Result<(), Failure>) {
        self.results.entry(id).or_insert(result);
    }

    // --- State ---

    fn turn_to(&mut self, target: State) -> Result<(), ClientError> {
        if !self.state.may_become(target) {
            return Err(ClientError::IllegalState(State::misuse(target)));
        }
        self.state = target;
        if !matches!(target, State::AbortableError | State::FatalError) && target != State::Aborting
        {
            self.last_error = None;
        }
        Ok(())
    }

    /// The error that the producer is in.
    fn error(&self) -> Option<&ClientError> {
        let is_failed = matches!(self.state, State::AbortableError | State::FatalError);
        self.last_error.as_ref().filter(|_| is_failed)
    }

    fn refuse_after_error(&self) -> Result<(), ClientError> {
        self.error().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// No way on but to close.
    pub(super) fn fatal(&self) -> Option<&ClientError> {
        self.error().filter(|_| self.state == State::FatalError)
    }

    /// Why batches that were not sent are to be dropped now, if they are.
    pub(super) fn drops_unsent(&self) -> Option<ClientError> {
        matches!(self.state, State::AbortableError | State::Aborting).then(|| {
            let last = self.last_error.clone();
            last.unwrap_or(ClientError::TransactionAborted)
        })
    }

    pub(super) const fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    fn fail_for_good(&mut self, error: &ClientError) {
        self.state = State::FatalError;
        self.last_error = Some(error.clone());
        if let Some(pending) = self.pending {
            self.decide(pending.result, Err(Failure::info(error.clone())));
        }
    }

    fn fail_until_abort(&mut self, error: &ClientError) {
        if self.state != State::Aborting && self.turn_to(State::AbortableError).is_ok() {
            self.last_error = Some(error.clone());
        }
    }

    /// Whether the producer may ask for a new epoch of its own id (KIP-360, 2.5).
    fn can_bump(&self) -> bool {
        self.behaviour.has(Fix::ProducerStateByExpiry)
    }

    /// Where each transaction has its own epoch the end of this one brings it (KIP-890).
    fn asks_for_bump(&self) -> bool {
        self.can_bump() && !self.behaviour.has(Fix::EpochPerTransaction)
    }

    /// `abortableErrorIfPossible`.
    fn fail_until_abort_if_possible(&mut self, error: &ClientError) {
        if self.can_bump() {
            self.bump_required = self.asks_for_bump();
            self.fail_until_abort(error);
        } else {
            self.fail_for_good(error);
        }
    }

    /// A batch was given up (`maybeTransitionToErrorState`).
    pub(super) fn batch_failed(&mut self, error: &ClientError) {
        let is_fatal = matches!(
            error,
            ClientError::Broker(
                ErrorCode::ClusterAuthorizationFailed
                    | ErrorCode::TransactionalIdAuthorizationFailed
                    | ErrorCode::ProducerFenced
                    | ErrorCode::UnsupportedVersion
            )
        );
        if is_fatal {
            self.fail_for_good(error);
        } else if self.state != State::FatalError {
            if self.asks_for_bump() && !self.is_completing() {
                self.bump_required = true;
            }
            self.fail_until_abort(error);
        }
    }

    /// Batches were given up and nobody knows whether they were appended (`maybeResolveSequences`).
    pub(super) fn sequence_unresolved(&mut self) {
        self.fail_until_abort_if_possible(&ClientError::Timeout("delivery.timeout.ms"));
    }

    /// librdkafka before 1.8.2: a sequence does not fit, and the coordinator is asked for a new epoch while the transaction is
    /// open. It takes that for the question of a successor and aborts the transaction, which nobody tells the application.
    pub(super) fn raise_epoch(&mut self, identity: Option<Identity>) {
        let current = identity.filter(|_| self.can_bump());
        self.enqueue(Kind::RaiseEpoch(current));
    }

    // --- Requests ---

    fn enqueue(&mut self, kind: Kind) -> ResultId {
        self.next_result += 1;
        let result = ResultId(self.next_result);
        self.queue.push(TxnRequest {
            kind,
            result,
            is_retry: false,
            rest: self.retry_backoff,
            uncertain: false,
        });
        result
    }

    fn enqueue_new_partitions(&mut self) {
        if !self.new.is_empty() {
            self.asked.append(&mut self.new);
            self.enqueue(Kind::AddPartitions(self.asked.clone()));
        }
    }

    pub(super) fn retry(&mut self, mut request: TxnRequest) {
        request.is_retry = true;
        self.queue.push(request);
    }

    /// The coordinator that a request needs has to be looked for; then the request goes again.
    pub(super) fn find_and_retry(&mut self, request: TxnRequest) {
        self.look_up(&request);
        self.retry(request);
    }

    fn look_up(&mut self, request: &TxnRequest) {
        let Some(kind) = request.coordinator() else {
            return;
        };
        let key = match kind {
            CoordinatorKind::Transaction => {
                self.coordinator = None;
                Arc::from(self.id.as_str())
            }
            CoordinatorKind::Group => {
                self.group_coordinator = None;
                Arc::from(request.group().map_or("", |group| group.as_str()))
            }
        };
        self.enqueue(Kind::FindCoordinator(kind, key));
    }

    /// The broker that the request goes to, where it is not any.
    pub(super) fn coordinator(&self, kind: CoordinatorKind) -> Option<BrokerId> {
        match kind {
            CoordinatorKind::Transaction => self.coordinator,
            CoordinatorKind::Group => self.group_coordinator,
        }
    }

    pub(super) fn body(&self, request: &TxnRequest, identity: Option<Identity>) -> RequestBody {
        request.body(&Sender {
            id: &self.id,
            timeout_ms: self.timeout_ms,
            identity,
        })
    }

    /// The next request, if one may go now. The end waits until every batch is decided (`nextRequest`).
    pub(super) fn next_request(&mut self, has_incomplete: bool) -> Option<TxnRequest> {
        self.enqueue_new_partitions();
        if self.queue.first()?.is_end() && has_incomplete {
            return None;
        }
        let request = self.queue.pop()?;
        if let Some(error) = self.error() {
            let is_harmless = self.state == State::AbortableError
                && matches!(request.kind, Kind::FindCoordinator(..));
            if !is_harmless {
                let failure = certainly(error.clone(), &request);
                self.decide(request.result, Err(failure));
                return None;
            }
        }
        if request.is_end() && !self.started {
            // Nothing was added to it: the coordinator does not know of it.
            self.decide(request.result, Ok(()));
            self.complete();
            return self.queue.pop();
        }
        Some(request)
    }

    /// Whether [`next_request`](Self::next_request) has something to give.
    pub(super) fn has_requests(&self, has_incomplete: bool) -> bool {
        let first = self.queue.first();
        !self.new.is_empty() || first.is_some_and(|first| !(first.is_end() && has_incomplete))
    }

    /// The transaction is over.
    fn complete(&mut self) {
        self.state = if self.bump_required {
            State::Initializing
        } else {
            State::Ready
        };
        self.last_error = None;
        self.bump_required = false;
        self.started = false;
        self.new.clear();
        self.asked.clear();
        self.added.clear();
    }

    /// Records may go to this partition (`isSendToPartitionAllowed`).
    pub(super) fn allows(&self, partition: &TopicPartition) -> bool {
        self.state != State::FatalError && self.added.contains(partition)
    }
}

/// Whether the call behind a request has certainly failed when its producer gives up.
fn certainly(error: ClientError, request: &TxnRequest) -> Failure {
    if request.uncertain {
        Failure::info(error)
    } else {
        Failure::fail(error)
    }
}
