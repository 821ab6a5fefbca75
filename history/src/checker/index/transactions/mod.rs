//! Transactions as their applications told of them: what belongs to each, how it ended, and what of it everybody sees.
//!
//! A transaction is named by the life of its producer and its number there. What a `read_committed` reader sees in the end
//! is in [`Visible`], and what brokers made of each batch in [`TransactionLog`]; both are empty where no producer has a
//! transactional id.

mod collect;
mod log;
mod polls;
mod words;

pub use log::{Decided, LoggedBatch, TransactionLog, Visible};

use super::{EventId, Index, NONE, ValueId, wide};
use crate::operation::Stage;
use protocol::ids::{GroupId, Offset, TopicPartition, TransactionalId};
use std::collections::BTreeMap;

/// A transaction, as a dense number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TransactionIndex(pub u32);

/// A call that ends a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// When it was called first.
    pub invoked: EventId,
    /// When it returned last.
    pub returned: EventId,
    /// How; *invoke* when it never returned.
    pub stage: Stage,
}

/// How the application knows that a transaction must not have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmade {
    /// `abortTransaction` returned.
    Aborted(EventId),
    /// `commitTransaction` failed for certain.
    CommitFailed(EventId),
    /// `commitTransaction` was never called.
    NeverAsked,
}

/// What must have become of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fated {
    /// `commitTransaction` returned: all of it is there.
    Committed(EventId),
    /// None of it is.
    Unmade(Unmade),
    /// All of it or nothing.
    Unknown,
}

/// An offset that a transaction takes with it.
#[derive(Clone, Debug)]
pub struct TakenOffset {
    /// When the application asked for it.
    pub asked: EventId,
    /// The group.
    pub group: GroupId,
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: Offset,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The producer client.
    pub client: u16,
    /// Which life of it.
    pub process: u32,
    /// Its number in that life.
    pub number: u32,
    /// `transactional.id`, where the history tells.
    pub id: Option<TransactionalId>,
    /// Its first event.
    pub began: EventId,
    /// The call of `initTransactions` that it rests on, as a place in [`Transactions::inits`].
    pub init: Option<usize>,
    /// The records sent in it.
    pub sends: Vec<ValueId>,
    /// What the application that copies with it polled for it: everything since it had ended the one before.
    pub polls: Vec<EventId>,
    /// The offsets sent with it.
    pub offsets: Vec<TakenOffset>,
    /// `commitTransaction`.
    pub commit: Option<Ending>,
    /// `abortTransaction`.
    pub abort: Option<Ending>,
}

impl Transaction {
    /// What must have become of it, by what its application was told.
    pub fn fated(&self) -> Fated {
        let Some(commit) = self.commit else {
            let aborted = self.abort.filter(|abort| abort.stage == Stage::Ok);
            return Fated::Unmade(
                aborted.map_or(Unmade::NeverAsked, |abort| Unmade::Aborted(abort.returned)),
            );
        };
        match (commit.stage, self.abort) {
            (Stage::Ok, _) => Fated::Committed(commit.returned),
            (_, Some(abort)) if abort.stage == Stage::Ok => {
                Fated::Unmade(Unmade::Aborted(abort.returned))
            }
            (Stage::Fail, _) => Fated::Unmade(Unmade::CommitFailed(commit.returned)),
            (Stage::Invoke | Stage::Info, _) => Fated::Unknown,
        }
    }

    /// When its application had done with it: its end returned. Nothing where nobody was told of one.
    pub fn ended(&self) -> Option<EventId> {
        let ends = [self.commit, self.abort];
        let returned = ends.into_iter().flatten().map(|end| end.returned);
        returned.filter(|event| event.is_some()).max()
    }
}

/// One call of `initTransactions` that returned.
#[derive(Clone, Debug)]
pub struct Init {
    /// `transactional.id`.
    pub id: TransactionalId,
    /// Whose.
    pub client: u16,
    /// In which life.
    pub process: u32,
    /// When it was called.
    pub invoked: EventId,
    /// When it returned.
    pub returned: EventId,
}

/// The last call of `initTransactions` of a life that was told nothing.
#[derive(Clone, Debug)]
pub struct Unready {
    /// `transactional.id`.
    pub id: TransactionalId,
    /// Whose.
    pub client: u16,
    /// When the first of the calls in vain began.
    pub since: EventId,
    /// When it was called.
    pub invoked: EventId,
    /// It has returned, without an answer.
    pub returned: bool,
}

/// All that is known of transactions.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    /// Each, in the order in which they began.
    pub all: Vec<Transaction>,
    /// By value: the transaction that it was sent in last; empty when there are no transactions.
    of_value: Vec<u32>,
    /// Calls of `initTransactions` that returned, in that order.
    pub inits: Vec<Init>,
    /// By life: who was told nothing and has not got through since.
    pub unready: BTreeMap<u32, Unready>,
    /// What each record was made from, by value.
    pub made_from: BTreeMap<ValueId, ValueId>,
    /// What each record adds to an account.
    pub amounts: Vec<(ValueId, i64)>,
    /// What coordinators said, in order: by transactional id.
    pub coordinated: BTreeMap<TransactionalId, Vec<EventId>>,
    /// What brokers made of each batch.
    pub log: TransactionLog,
    /// What a `read_committed` reader sees in the end; nothing where the history does not tell.
    pub visible: Option<Visible>,
}

impl Transactions {
    /// Collects them; the rest of the index is complete.
    pub(super) fn of(index: &Index<'_>) -> Self {
        collect::collect(index)
    }

    /// The transaction that a value was sent in.
    pub fn of_value(&self, value: ValueId) -> Option<TransactionIndex> {
        let number = self.of_value.get(wide(value.0)).copied().unwrap_or(NONE);
        (number != NONE).then_some(TransactionIndex(number))
    }

    /// A transaction.
    pub fn get(&self, transaction: TransactionIndex) -> &Transaction {
        &self.all[wide(transaction.0)]
    }

    /// All of them with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TransactionIndex, &Transaction)> {
        (0..).map(TransactionIndex).zip(&self.all)
    }

    /// Whether a record must not be there for anybody who reads committed records, by the word of its own application.
    pub fn is_unmade(&self, value: ValueId) -> bool {
        self.of_value(value)
            .is_some_and(|of| matches!(self.get(of).fated(), Fated::Unmade(_)))
    }

    /// Whether a reader of committed records sees a record in the end. Where the history does not tell, whoever wrote it has
    /// the word.
    pub fn is_seen(&self, value: ValueId) -> bool {
        match &self.visible {
            Some(visible) => visible.copies(value) > 0,
            None => !self.is_unmade(value),
        }
    }
}
