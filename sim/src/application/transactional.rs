//! An application that sends records in transactions at a steady rate, or transfers amounts between accounts.
//!
//! A transfer is two records in one transaction, one that takes from an account and one that gives to another, so that
//! the sum over all accounts is zero wherever transactions are whole.

use super::transaction::{After, Calls, after, is_fence};
use super::{APPLICATION_TIMER, Identity, call, drive, error_name, stage_of};
use crate::random::mix;
use crate::scenario::plan::{ProducerPlan, TransactionsPlan};
use bytes::Bytes;
use client_core::Producer;
use history::record::encode_payload;
use protocol::machine::{Input, Io, Machine};
use protocol::operation::{Action, Stage, TransactionCall, TransactionNumber, Value};
use protocol::time::{Mono, Now, Span};
use protocol::verb::{OperationId, Outcome, ProducerRecord, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the application is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// A call is under way.
    Calling,
    /// No transaction is open.
    Resting,
    /// One is, and takes records.
    Sending,
    /// It has closed its producer and ends.
    Over,
}

/// The application.
#[derive(Clone, Debug)]
pub struct TransactionalApp {
    core: Producer,
    plan: Arc<ProducerPlan>,
    how: TransactionsPlan,
    identity: Identity,
    seed: u64,
    calls: Calls,
    doing: Doing,
    /// The number of the next record, and the first that is not its own.
    next: u64,
    end: u64,
    started: Mono,
    sent: u64,
    /// Transactions so far, begun or not.
    rounds: u32,
    /// Records in the open transaction.
    within: u64,
    /// A record of the open transaction was not taken.
    spoiled: bool,
    /// Since when no transaction is open.
    rests_until: Mono,
    /// What is not answered yet.
    open: BTreeMap<u64, Sent>,
}

/// A record that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Sent {
    value: Value,
    transaction: Option<TransactionNumber>,
    amount: Option<i64>,
}

/// Which life of an application it is, and which records are its own.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Who it is.
    pub identity: Identity,
    /// What its own draws come from.
    pub seed: u64,
    /// The number of its first record.
    pub first: u64,
    /// The first number that is not its own.
    pub end: u64,
}

impl TransactionalApp {
    /// One life of a transactional producer.
    pub fn new(core: Producer, plan: Arc<ProducerPlan>, how: TransactionsPlan, life: Life) -> Self {
        let id = plan.config.transactional_id.clone().unwrap_or_default();
        Self {
            core,
            plan,
            how,
            identity: life.identity,
            seed: life.seed,
            calls: Calls::new(&id, life.identity),
            doing: Doing::Calling,
            next: life.first,
            end: life.end,
            started: Mono(0),
            sent: 0,
            rounds: 0,
            within: 0,
            spoiled: false,
            rests_until: Mono(0),
            open: BTreeMap::new(),
        }
    }

    fn call(&mut self, now: Now, io: &mut Io<'_>, step: TransactionCall) {
        let verb = match &step {
            TransactionCall::Init => Verb::InitTransactions,
            TransactionCall::Begin => Verb::BeginTransaction,
            TransactionCall::Commit => Verb::CommitTransaction,
            TransactionCall::Abort => Verb::AbortTransaction,
            TransactionCall::SendOffsets { .. } => return,
        };
        self.doing = Doing::Calling;
        let id = self.calls.invoke(io, step);
        let outcomes = call(&mut self.core, now, io, id, verb);
        self.conclude(now, io, outcomes);
    }

    /// Does what is due, until something has to be waited for.
    fn go_on(&mut self, now: Now, io: &mut Io<'_>) {
        loop {
            let has_more = self.next < self.end;
            let due = self.due(self.sent).max(self.rests_until);
            match self.doing {
                Doing::Calling | Doing::Over => return,
                Doing::Resting if !has_more => return,
                Doing::Resting if due <= now.mono => self.begin(now, io),
                Doing::Sending if self.spoiled => self.call(now, io, TransactionCall::Abort),
                Doing::Sending if self.within >= self.how.records || !has_more => {
                    let end = if self.wants_abort() {
                        TransactionCall::Abort
                    } else {
                        TransactionCall::Commit
                    };
                    self.call(now, io, end);
                }
                Doing::Sending if due <= now.mono => self.send(now, io),
                Doing::Resting | Doing::Sending => {
                    io.set_timer(APPLICATION_TIMER, due);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, now: Now, io: &mut Io<'_>) {
        self.within = 0;
        self.spoiled = false;
        let number = self.rounds;
        self.rounds += 1;
        if self.how.not_begun.contains(&number) {
            self.calls.forget();
            self.doing = Doing::Sending;
        } else {
            self.call(now, io, TransactionCall::Begin);
        }
    }

    /// Whether the application aborts the open transaction of its own will.
    fn wants_abort(&self) -> bool {
        let number = self.rounds.checked_sub(1);
        number.is_some_and(|number| self.how.aborts.contains(&number))
            || self.calls.wants_abort(self.seed, self.how.abort_per_mille)
    }

    /// When record number `sent` of this life is due; from the start, so that no rounding adds up.
    fn due(&self, sent: u64) -> Mono {
        self.started + Span(sent.saturating_mul(1_000_000_000) / u64::from(self.plan.rate))
    }

    /// The key and the amount of the next record.
    fn content(&self, number: u64) -> (Option<u64>, Option<i64>) {
        let Some(keys) = self.plan.keys.map(|keys| u64::from(keys.max(1))) else {
            return (None, None);
        };
        if !self.how.transfers {
            return (Some(number % keys), None);
        }
        let transaction = self.calls.current().map_or(0, |number| number.0);
        let drawn = mix(self.seed ^ (u64::from(transaction) << 20) ^ (self.within / 2) ^ (1 << 60));
        let (from, step) = (drawn % keys, 1 + (drawn >> 16) % (keys - 1).max(1));
        let amount = i64::try_from(1 + (drawn >> 32) % 100).unwrap_or(1);
        if self.within.is_multiple_of(2) {
            (Some(from), Some(-amount))
        } else {
            (Some((from + step) % keys), Some(amount))
        }
    }

    fn send(&mut self, now: Now, io: &mut Io<'_>) {
        let number = self.next;
        let (key, amount) = self.content(number);
        let key = key.map(|key| format!("k{key}"));
        self.next += 1;
        self.sent += 1;
        self.within += 1;
        let sent = Sent {
            value: Value::new(self.identity.client, number),
            transaction: self.calls.current(),
            amount,
        };
        self.open.insert(number, sent);
        let action = self.action(sent, (self.plan.partition, None), key.clone(), None);
        self.identity.note(io, number, Stage::Invoke, action);
        let size = usize::try_from(self.plan.size).unwrap_or(usize::MAX);
        let record = ProducerRecord {
            topic: self.plan.topic.clone(),
            partition: self.plan.partition,
            key: key.map(Bytes::from),
            value: Some(encode_payload(sent.value, size)),
            timestamp: None,
        };
        let verb = Verb::Send(Box::new(record));
        let outcomes = call(&mut self.core, now, io, number, verb);
        self.conclude(now, io, outcomes);
    }

    fn action(
        &self,
        sent: Sent,
        (partition, offset): (Option<i32>, Option<protocol::ids::Offset>),
        key: Option<String>,
        error: Option<String>,
    ) -> Action {
        Action::Send {
            topic: self.plan.topic.clone(),
            partition,
            key,
            value: sent.value,
            transaction: sent.transaction,
            made_from: None,
            amount: sent.amount,
            offset,
            error,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a producer tells nothing else"
    )]
    fn conclude(&mut self, now: Now, io: &mut Io<'_>, outcomes: Vec<(OperationId, Outcome)>) {
        for (OperationId(id), outcome) in outcomes {
            match outcome {
                Outcome::Sent(result) => {
                    let Some(sent) = self.open.remove(&id) else {
                        continue;
                    };
                    let (stage, place, error) = match &result {
                        Ok(metadata) => {
                            let partition = Some(metadata.partition.partition.0);
                            (Stage::Ok, (partition, metadata.offset), None)
                        }
                        Err(failure) => {
                            let name = error_name(&failure.error);
                            (stage_of(failure), (self.plan.partition, None), Some(name))
                        }
                    };
                    let action = self.action(sent, place, None, error);
                    self.identity.note(io, id, stage, action);
                    if let Err(failure) = result {
                        // Who forgets to begin forgets to look, too.
                        self.spoiled |=
                            sent.transaction == self.calls.current() && !self.calls.has_forgotten();
                        if is_fence(&failure.error) && self.doing == Doing::Sending {
                            self.end(now, io);
                        }
                    }
                }
                Outcome::Done(result) => {
                    if let Some(made) = self.calls.returned(io, id, &result) {
                        let next = if self.calls.has_forgotten() {
                            After::GoOn
                        } else {
                            after(&made, &result)
                        };
                        self.returned(now, io, made, next);
                    }
                }
                _ => {}
            }
        }
    }

    fn returned(&mut self, now: Now, io: &mut Io<'_>, made: TransactionCall, next: After) {
        match next {
            After::GoOn if made == TransactionCall::Begin => self.doing = Doing::Sending,
            After::GoOn => {
                self.doing = Doing::Resting;
                self.rests_until = now.mono + self.how.pause;
            }
            After::Again => self.call(now, io, made),
            After::Abort => self.call(now, io, TransactionCall::Abort),
            After::End => self.end(now, io),
        }
    }

    /// Closes the producer; somebody else has its name, or there is no way on.
    fn end(&mut self, now: Now, io: &mut Io<'_>) {
        if self.doing != Doing::Over {
            self.doing = Doing::Over;
            let outcomes = drive(&mut self.core, now, Input::Stop, io);
            self.conclude(now, io, outcomes);
        }
    }
}

impl Machine for TransactionalApp {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started => {
                self.started = now.mono;
                let outcomes = drive(&mut self.core, now, input, io);
                self.conclude(now, io, outcomes);
                self.call(now, io, TransactionCall::Init);
            }
            Input::Timer {
                timer: APPLICATION_TIMER,
            } => {}
            Input::Stop => self.end(now, io),
            input => {
                let outcomes = drive(&mut self.core, now, input, io);
                self.conclude(now, io, outcomes);
            }
        }
        self.go_on(now, io);
    }
}
