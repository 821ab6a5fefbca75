//! The transactional requests' turn in the producer's I/O thread (`maybeSendAndPollTransactionalRequest`), and the calls
//! of the application that wait for them.
//!
//! One of these requests is under way at a time, and while it is, no batch is sent: the thread waits for the answer, for
//! the connection, or sleeps before it tries again. Answers to batches are taken meanwhile.

use super::Producer;
use super::idempotence::{Idempotence, Identity};
use super::sender::Ask;
use super::transactions::{ResultId, TxnRequest};
use crate::network::{Outgoing, Peer};
use protocol::api::ResponseBody;
use protocol::error_code::ErrorCode;
use protocol::machine::Io;
use protocol::note::{ClientNote, Note};
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, OperationId, Outcome, Verb};

/// What the thread is doing about transactional requests.
#[derive(Clone, Debug, Default)]
pub(super) enum Hands {
    /// Nothing.
    #[default]
    Free,
    /// This one waits for its connection, or for the end of its rest.
    Holding {
        /// Which.
        request: Box<TxnRequest>,
        /// Until when it rests, once that has begun.
        rests_until: Option<Mono>,
    },
    /// One is under way.
    Waiting,
}

/// A call of the application that waits for its result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    operation: OperationId,
    result: ResultId,
    until: Mono,
}

/// What comes of a turn.
pub(super) enum Turn {
    /// Nothing to do: batches may be sent.
    Free,
    /// Something was done; look again.
    Again,
    /// The thread is taken, perhaps until a known moment.
    Taken(Option<Mono>),
}

impl Producer {
    /// The producer id and epoch it has.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.idempotence.as_ref().and_then(Idempotence::identity)
    }

    /// Makes the transactional calls that wait, unless a `send` before them still blocks its thread.
    pub(super) fn make_calls(&mut self, now: Mono, io: &mut Io<'_>) {
        while self.waiting.is_empty() {
            let Some((operation, verb)) = self.calls.pop_front() else {
                return;
            };
            match self.make_call(verb) {
                Ok(Some(result)) => self.callers.push(Caller {
                    operation,
                    result,
                    until: now + self.config.max_block_ms,
                }),
                Ok(None) => io.outcome(operation, Outcome::Done(Ok(()))),
                Err(error) => {
                    io.outcome(operation, Outcome::Done(Err(Failure::fail(error))));
                }
            }
        }
    }

    fn make_call(&mut self, verb: Verb) -> Result<Option<ResultId>, ClientError> {
        let identity = self.identity();
        let Some(transactions) = &mut self.transactions else {
            return Err(ClientError::IllegalState("this needs a transactional.id"));
        };
        if let Verb::SendOffsetsToTransaction(offsets, group) = verb {
            if offsets.is_empty() {
                return Ok(None);
            }
            transactions.send_offsets(offsets, group).map(Some)
        } else if verb == Verb::BeginTransaction {
            transactions.begin().map(|()| None)
        } else if verb == Verb::CommitTransaction {
            transactions.commit(identity).map(Some)
        } else if verb == Verb::AbortTransaction {
            transactions.abort(identity).map(Some)
        } else {
            transactions.init().map(Some)
        }
    }

    /// Tells the calls whose result is there, or whose patience is at its end.
    pub(super) fn answer_calls(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        let mut decided = std::collections::BTreeMap::new();
        self.callers.retain(|caller| {
            if let Some(result) = transactions.take_result(caller.result) {
                decided.insert(caller.result, result);
            }
            let result = match decided.get(&caller.result) {
                Some(result) => result.clone(),
                None if caller.until <= now => {
                    Err(Failure::info(ClientError::Timeout("max.block.ms")))
                }
                None => return true,
            };
            io.outcome(caller.operation, Outcome::Done(result));
            false
        });
        let callers = &self.callers;
        transactions.keep_results(|id| callers.iter().any(|caller| caller.result == id));
    }

    /// Ends all calls: the producer is closed under them.
    pub(super) fn drop_calls(&mut self, io: &mut Io<'_>) {
        let waiting = std::mem::take(&mut self.calls);
        for (operation, _) in waiting {
            io.outcome(
                operation,
                Outcome::Done(Err(Failure::fail(ClientError::Closed))),
            );
        }
        for caller in std::mem::take(&mut self.callers) {
            io.outcome(
                caller.operation,
                Outcome::Done(Err(Failure::info(ClientError::Closed))),
            );
        }
    }

    /// Whether a transactional request can go at once, because something has happened since the last turn.
    pub(super) fn has_turn(&self) -> bool {
        let transactions = self.transactions.as_ref();
        matches!(self.hands, Hands::Free)
            && transactions.is_some_and(|transactions| {
                transactions.fatal().is_none()
                    && transactions.has_requests(self.accumulator.has_incomplete())
            })
    }

    pub(super) fn next_call_deadline(&self) -> Option<Mono> {
        self.callers.iter().map(|caller| caller.until).min()
    }

    /// Whether a transactional request is at hand or waits.
    pub(super) fn has_transactional_business(&self) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|transactions| {
            transactions.has_business()
                || transactions.fatal().is_none() && !matches!(self.hands, Hands::Free)
        })
    }

    /// Closing: what is open is aborted.
    pub(super) fn close_transaction(&mut self) {
        let identity = self.identity();
        if let Some(transactions) = &mut self.transactions {
            transactions.close(identity);
        }
    }

    /// The turn of the transactional requests.
    pub(super) fn transact(&mut self, now: Mono, io: &mut Io<'_>) -> Turn {
        let Some(transactions) = &mut self.transactions else {
            return Turn::Free;
        };
        if let Some(error) = transactions.fatal().cloned() {
            self.abort_all(&error, io);
            return Turn::Taken(None);
        }
        match std::mem::take(&mut self.hands) {
            Hands::Waiting => {
                self.hands = Hands::Waiting;
                Turn::Taken(None)
            }
            Hands::Holding {
                request,
                rests_until,
            } => self.advance(now, request, rests_until, io),
            Hands::Free => {
                if let Some(error) = transactions.drops_unsent() {
                    for mut batch in self.accumulator.take_unsent() {
                        self.fail(&mut batch, &error, io);
                    }
                }
                let has_incomplete = self.accumulator.has_incomplete();
                let Some(transactions) = &mut self.transactions else {
                    return Turn::Free;
                };
                match transactions.next_request(has_incomplete) {
                    Some(request) => self.advance(now, Box::new(request), None, io),
                    None => Turn::Free,
                }
            }
        }
    }

    /// Sends a request, or does what has to come first.
    fn advance(
        &mut self,
        now: Mono,
        request: Box<TxnRequest>,
        rests_until: Option<Mono>,
        io: &mut Io<'_>,
    ) -> Turn {
        let Some(transactions) = &mut self.transactions else {
            return Turn::Free;
        };
        let peer = match request.coordinator() {
            Some(kind) => {
                let Some(broker) = transactions.coordinator(kind) else {
                    transactions.find_and_retry(*request);
                    return Turn::Again;
                };
                Peer::Broker(broker)
            }
            None => match self.network.least_loaded(now) {
                Some(peer) => peer,
                None => {
                    return self.hold(request, rests_until, Some(self.network.rest_over_at(now)));
                }
            },
        };
        if !self.network.is_ready(now, peer, io) {
            let refused = self.network.may_connect_at(peer);
            if refused.is_some() && request.coordinator().is_some() {
                if let Some(transactions) = &mut self.transactions {
                    transactions.find_and_retry(*request);
                }
                return Turn::Again;
            }
            return self.hold(request, rests_until, refused);
        }
        let rests_until = rests_until.or_else(|| request.rest_before().map(|rest| now + rest));
        if rests_until.is_some_and(|until| until > now) {
            return self.hold(request, rests_until, rests_until);
        }
        let identity = self.identity();
        if let Some(transactions) = &self.transactions {
            let body = transactions.body(&request, identity);
            let outgoing = Outgoing::new(body, Ask::Transaction(request));
            self.hands = Hands::Waiting;
            self.network.send(now, peer, outgoing, io);
        }
        Turn::Taken(None)
    }

    fn hold(
        &mut self,
        request: Box<TxnRequest>,
        rests_until: Option<Mono>,
        wake: Option<Mono>,
    ) -> Turn {
        self.hands = Hands::Holding {
            request,
            rests_until,
        };
        Turn::Taken(wake)
    }

    /// The answer to a transactional request.
    pub(super) fn transaction_answered(
        &mut self,
        request: TxnRequest,
        body: &ResponseBody,
        io: &mut Io<'_>,
    ) {
        self.hands = Hands::Free;
        if let ResponseBody::FindCoordinator(answer) = body
            && let Some((broker, endpoint)) = answer.coordinator.clone()
        {
            self.network.learn(Peer::Broker(broker), endpoint);
        }
        let (Some(transactions), Some(idempotence)) =
            (&mut self.transactions, &mut self.idempotence)
        else {
            return;
        };
        let before = idempotence.identity();
        transactions.answered(request, body, idempotence);
        let after = idempotence.identity();
        if let Some(identity) = after.filter(|_| after != before) {
            idempotence.renumber(identity, &mut self.accumulator.batches);
            io.note(Note::Client(ClientNote::ProducerId(
                identity.id,
                identity.epoch,
            )));
        }
    }

    pub(super) fn transaction_lost(&mut self, request: TxnRequest, sent: bool) {
        self.hands = Hands::Free;
        if let Some(transactions) = &mut self.transactions {
            transactions.lost(request, sent);
        }
    }

    /// A batch was given up: the transaction it was in cannot be committed any more.
    pub(super) fn spoils_transaction(&mut self, error: &ClientError) -> bool {
        self.transactions.as_mut().is_some_and(|transactions| {
            transactions.batch_failed(error);
            transactions.fatal().is_some()
        })
    }
}

/// The error of a batch as an application sees it.
pub(super) fn reason(error: ErrorCode) -> ClientError {
    if error == ErrorCode::NetworkException {
        ClientError::Disconnected
    } else {
        ClientError::Broker(error)
    }
}
