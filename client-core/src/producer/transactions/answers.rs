//! What the answers of coordinators mean (`TxnRequestHandler.handleResponse`).

use super::super::idempotence::{Idempotence, Identity};
use super::request::{Kind, TxnRequest};
use super::state::State;
use super::{SHORT_REST, Transactions, certainly};
use protocol::api::ResponseBody;
use protocol::api::group::{CoordinatorKind, FindCoordinatorResponse};
use protocol::behaviour::Fix;
use protocol::error_code::ErrorCode;
use protocol::ids::TopicPartition;
use protocol::verb::{ClientError, Failure};

/// What an error of a coordinator asks for.
enum Judgement {
    Fine,
    /// The same request again, after a rest.
    Again,
    /// The coordinator is another one.
    Elsewhere,
    /// Somebody else has this transactional id now, or worse.
    Fatal(ClientError),
    /// The coordinator has forgotten the producer: a new epoch helps, where one can be had.
    AbortIfPossible,
}

fn judge(error: ErrorCode) -> Judgement {
    if error.is_none() {
        Judgement::Fine
    } else if matches!(
        error,
        ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator
    ) {
        Judgement::Elsewhere
    } else if matches!(
        error,
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced
    ) {
        Judgement::Fatal(ClientError::Broker(ErrorCode::ProducerFenced))
    } else if matches!(
        error,
        ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerIdMapping
    ) {
        Judgement::AbortIfPossible
    } else if error == ErrorCode::ConcurrentTransactions || error.is_retriable() {
        Judgement::Again
    } else {
        Judgement::Fatal(ClientError::Broker(error))
    }
}

impl Transactions {
    /// No answer will come to a request; `sent` tells whether it may have arrived.
    pub(in super::super) fn lost(&mut self, mut request: TxnRequest, sent: bool) {
        request.uncertain |= sent;
        self.find_and_retry(request);
    }

    /// An answer came.
    pub(in super::super) fn answered(
        &mut self,
        request: TxnRequest,
        body: &ResponseBody,
        idempotence: &mut Idempotence,
    ) {
        if self.state == State::FatalError {
            return;
        }
        // One kind of answer belongs to each kind of request; anything else is a broken peer.
        if let (Kind::FindCoordinator(kind, _), ResponseBody::FindCoordinator(answer)) =
            (&request.kind, body)
        {
            let kind = *kind;
            self.found(request, kind, answer);
        } else if let (Kind::InitProducerId(_), ResponseBody::InitProducerId(answer)) =
            (&request.kind, body)
        {
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            if answer.error.is_none() {
                idempotence.begin_anew(Identity { id, epoch });
            }
            self.identified(request, answer.error);
        } else if let (Kind::RaiseEpoch(_), ResponseBody::InitProducerId(answer)) =
            (&request.kind, body)
        {
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            if answer.error.is_none() {
                idempotence.go_on(Identity { id, epoch });
            }
            self.epoch_raised(request, answer.error);
        } else if let (Kind::AddPartitions(_), ResponseBody::AddPartitionsToTxn(answer)) =
            (&request.kind, body)
        {
            self.partitions_added(request, &answer.partitions);
        } else if let (Kind::AddOffsets(..), ResponseBody::AddOffsetsToTxn(answer)) =
            (&request.kind, body)
        {
            self.offsets_added(request, answer.error);
        } else if let (Kind::CommitOffsets(..), ResponseBody::TxnOffsetCommit(answer)) =
            (&request.kind, body)
        {
            self.offsets_committed(request, &answer.partitions);
        } else if let (Kind::End(_), ResponseBody::EndTxn(answer)) = (&request.kind, body) {
            let next = answer.next.map(|(id, epoch)| Identity { id, epoch });
            self.ended(request, answer.error, next, idempotence);
        } else {
            self.fatal_error(
                &request,
                &ClientError::Broker(ErrorCode::UnknownServerError),
            );
        }
    }

    fn fatal_error(&mut self, request: &TxnRequest, error: &ClientError) {
        // A coordinator that answers with a fence may have written the decision before.
        let is_definite = matches!(error, ClientError::Broker(code) if code.is_definite());
        let failure = if is_definite && !request.uncertain {
            Failure::fail(error.clone())
        } else {
            Failure::info(error.clone())
        };
        self.decide(request.result, Err(failure));
        self.fail_for_good(error);
    }

    fn abortable_error(&mut self, request: &TxnRequest, error: &ClientError) {
        self.decide(request.result, Err(certainly(error.clone(), request)));
        self.fail_until_abort(error);
    }

    /// Anything but success.
    fn refused(&mut self, mut request: TxnRequest, error: ErrorCode) {
        request.uncertain |= !error.is_definite()
            && !matches!(
                error,
                ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress
            );
        match judge(error) {
            Judgement::Fine => {}
            Judgement::Again => self.retry(request),
            Judgement::Elsewhere => self.find_and_retry(request),
            Judgement::Fatal(error) => self.fatal_error(&request, &error),
            Judgement::AbortIfPossible => {
                let error = ClientError::Broker(error);
                self.decide(request.result, Err(certainly(error.clone(), &request)));
                self.fail_until_abort_if_possible(&error);
            }
        }
    }

    fn found(
        &mut self,
        request: TxnRequest,
        kind: CoordinatorKind,
        answer: &FindCoordinatorResponse,
    ) {
        if let Some((broker, _)) = answer
            .coordinator
            .as_ref()
            .filter(|_| answer.error.is_none())
        {
            match kind {
                CoordinatorKind::Transaction => self.coordinator = Some(*broker),
                CoordinatorKind::Group => self.group_coordinator = Some(*broker),
            }
        } else if answer.error.is_retriable() || answer.error.is_none() {
            self.retry(request);
        } else {
            self.fatal_error(&request, &ClientError::Broker(answer.error));
        }
    }

    fn identified(&mut self, request: TxnRequest, error: ErrorCode) {
        if error.is_none() {
            self.state = State::Ready;
            self.last_error = None;
            self.decide(request.result, Ok(()));
        } else if matches!(judge(error), Judgement::AbortIfPossible) {
            self.fatal_error(&request, &ClientError::Broker(error));
        } else {
            self.refused(request, error);
        }
    }

    /// The state is the one of before, and so are the partitions: the producer believes itself in the same transaction.
    fn epoch_raised(&mut self, request: TxnRequest, error: ErrorCode) {
        if error.is_none() {
            self.decide(request.result, Ok(()));
        } else if matches!(judge(error), Judgement::AbortIfPossible) {
            self.fatal_error(&request, &ClientError::Broker(error));
        } else {
            self.refused(request, error);
        }
    }

    fn partitions_added(
        &mut self,
        mut request: TxnRequest,
        partitions: &[(TopicPartition, ErrorCode)],
    ) {
        request.rest = self.retry_backoff;
        let errors = || partitions.iter().map(|(_, error)| *error);
        let goes_again = errors().find(|error| {
            matches!(judge(*error), Judgement::Again | Judgement::Elsewhere)
                || *error == ErrorCode::UnknownTopicOrPartition
        });
        let is_worse = |error: &ErrorCode| {
            matches!(judge(*error), Judgement::AbortIfPossible)
                || matches!(
                    error,
                    ErrorCode::InvalidProducerEpoch
                        | ErrorCode::ProducerFenced
                        | ErrorCode::InvalidTxnState
                        | ErrorCode::TransactionalIdAuthorizationFailed
                )
        };
        if let Some(error) = errors().find(is_worse).or(goes_again) {
            if error == ErrorCode::ConcurrentTransactions && self.added.is_empty() {
                request.rest = request.rest.min(SHORT_REST);
            }
            self.refused(request, error);
            return;
        }
        for (partition, _) in partitions {
            self.asked.remove(partition);
        }
        let refused = errors()
            .filter(|error| error.is_error())
            .max_by_key(|error| *error != ErrorCode::OperationNotAttempted);
        if let Some(error) = refused {
            self.abortable_error(&request, &ClientError::Broker(error));
        } else {
            let added = partitions.iter().map(|(partition, _)| partition.clone());
            self.added.extend(added);
            self.started = true;
            self.decide(request.result, Ok(()));
        }
    }

    fn offsets_added(&mut self, mut request: TxnRequest, error: ErrorCode) {
        if error.is_error() {
            self.refused(request, error);
            return;
        }
        self.started = true;
        // The caller waits for the offsets themselves.
        if let Kind::AddOffsets(offsets, group) = request.kind {
            request.kind = Kind::CommitOffsets(offsets, group);
            request.is_retry = false;
            self.queue.push(request);
        }
    }

    fn offsets_committed(
        &mut self,
        mut request: TxnRequest,
        partitions: &[(TopicPartition, ErrorCode)],
    ) {
        let Kind::CommitOffsets(open, _) = &mut request.kind else {
            return;
        };
        open.retain(|partition, _| {
            !partitions
                .iter()
                .any(|(other, error)| other == partition && error.is_none())
        });
        let is_done = open.is_empty();
        for (_, error) in partitions {
            if matches!(
                error,
                ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration
            ) {
                return self.abortable_error(&request, &ClientError::CommitFailed);
            } else if matches!(
                error,
                ErrorCode::FencedInstanceId | ErrorCode::GroupAuthorizationFailed
            ) {
                return self.abortable_error(&request, &ClientError::Broker(*error));
            } else if let Judgement::Fatal(error) = judge(*error) {
                return self.fatal_error(&request, &error);
            } else if matches!(judge(*error), Judgement::AbortIfPossible) {
                return self.fatal_error(&request, &ClientError::Broker(*error));
            }
        }
        let elsewhere = |error: ErrorCode| {
            matches!(judge(error), Judgement::Elsewhere) || error == ErrorCode::RequestTimedOut
        };
        if is_done {
            self.decide(request.result, Ok(()));
        } else if partitions.iter().any(|(_, error)| elsewhere(*error)) {
            self.find_and_retry(request);
        } else {
            self.retry(request);
        }
    }

    fn ended(
        &mut self,
        request: TxnRequest,
        error: ErrorCode,
        next: Option<Identity>,
        idempotence: &mut Idempotence,
    ) {
        if error.is_error() {
            self.refused(request, error);
            return;
        }
        if let Some(identity) = next.filter(|_| self.behaviour.has(Fix::EpochPerTransaction)) {
            idempotence.begin_anew(identity);
        }
        self.complete();
        self.decide(request.result, Ok(()));
    }
}
