//! Gathers each transaction from the calls and sends that name it.

use super::log::{TransactionLog, Visible};
use super::polls;
use super::{Ending, Init, TakenOffset, Transaction, Transactions, Unready};
use crate::checker::index::{EventId, Index, NONE, wide};
use crate::event::What;
use crate::operation::{Action, Operation, Stage, TransactionCall};
use protocol::ids::TransactionalId;
use std::collections::BTreeMap;

/// Gathers all that is known of transactions.
pub(super) fn collect(index: &Index<'_>) -> Transactions {
    let mut gathering = Gathering {
        index,
        known: BTreeMap::new(),
        inits: BTreeMap::new(),
        rests_on: BTreeMap::new(),
        found: Transactions::default(),
    };
    if !index.transaction_events.is_empty() {
        gathering.found.of_value = vec![NONE; index.values.sent.len()];
    }
    for event in &index.transaction_events {
        match &index.event(*event).what {
            What::Operation(operation) => gathering.operation(*event, operation),
            What::Transaction(id, _) => {
                let told = &mut gathering.found.coordinated;
                told.entry(id.clone()).or_default().push(*event);
            }
            What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Process(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => {}
        }
    }
    let mut found = gathering.found;
    polls::take_in(index, &mut found.all);
    if index.any_producer(|facts| facts.transactional) {
        found.log = TransactionLog::of(index);
        found.visible = Visible::of(index, &found.log);
    }
    found
}

struct Gathering<'i, 'h> {
    index: &'i Index<'h>,
    /// By life and number.
    known: BTreeMap<(u32, u32), usize>,
    /// The call of `initTransactions` under way, by life.
    inits: BTreeMap<u32, EventId>,
    /// The last one that returned, by life.
    rests_on: BTreeMap<u32, usize>,
    found: Transactions,
}

impl Gathering<'_, '_> {
    fn operation(&mut self, event: EventId, operation: &Operation) {
        let invoked = operation.stage == Stage::Invoke;
        match &operation.action {
            Action::Send {
                value,
                transaction,
                made_from,
                amount,
                ..
            } if invoked => {
                let id = self.index.values.id(*value);
                if !id.is_some() {
                    return;
                }
                if let Some(number) = transaction {
                    let place = self.transaction(event, operation, number.0);
                    self.found.all[place].sends.push(id);
                    self.found.of_value[wide(id.0)] = u32::try_from(place).unwrap_or(NONE);
                }
                let source = made_from.map(|source| self.index.values.id(source));
                if let Some(source) = source.filter(|source| source.is_some()) {
                    self.found.made_from.insert(id, source);
                }
                self.found.amounts.extend(amount.map(|amount| (id, amount)));
            }
            Action::Transaction {
                transactional_id,
                transaction: None,
                call: TransactionCall::Init,
                ..
            } => self.init(event, operation, transactional_id),
            Action::Transaction {
                transactional_id,
                transaction: Some(number),
                call,
                ..
            } => {
                let place = self.transaction(event, operation, number.0);
                let own = &mut self.found.all[place];
                own.id.get_or_insert_with(|| transactional_id.clone());
                on_call(own, event, operation.stage, call);
            }
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Assigned { .. }
            | Action::Revoked { .. }
            | Action::Lost { .. }
            | Action::Position { .. }
            | Action::Process { .. }
            | Action::Transaction { .. }
            | Action::Admin { .. } => {}
        }
    }

    /// The place of a transaction, a new one if need be.
    fn transaction(&mut self, event: EventId, operation: &Operation, number: u32) -> usize {
        let process = operation.process.0;
        let next = self.found.all.len();
        let place = *self.known.entry((process, number)).or_insert(next);
        if place == next {
            self.found.all.push(Transaction {
                client: operation.client,
                process,
                number,
                id: None,
                began: event,
                init: self.rests_on.get(&process).copied(),
                sends: Vec::new(),
                polls: Vec::new(),
                offsets: Vec::new(),
                commit: None,
                abort: None,
            });
        }
        place
    }

    fn init(&mut self, event: EventId, operation: &Operation, id: &TransactionalId) {
        let process = operation.process.0;
        match operation.stage {
            Stage::Invoke => {
                self.inits.insert(process, event);
                let before = self.found.unready.get(&process);
                let unready = Unready {
                    id: id.clone(),
                    client: operation.client,
                    since: before.map_or(event, |before| before.since),
                    invoked: event,
                    returned: false,
                };
                self.found.unready.insert(process, unready);
            }
            Stage::Ok => {
                self.found.unready.remove(&process);
                let invoked = self.inits.remove(&process).unwrap_or(event);
                self.rests_on.insert(process, self.found.inits.len());
                self.found.inits.push(Init {
                    id: id.clone(),
                    client: operation.client,
                    process,
                    invoked,
                    returned: event,
                });
            }
            Stage::Fail => {
                self.inits.remove(&process);
                self.found.unready.remove(&process);
            }
            Stage::Info => {
                self.inits.remove(&process);
                if let Some(unready) = self.found.unready.get_mut(&process) {
                    unready.returned = true;
                }
            }
        }
    }
}

fn on_call(own: &mut Transaction, event: EventId, stage: Stage, call: &TransactionCall) {
    match call {
        TransactionCall::SendOffsets { group, offsets } if stage == Stage::Invoke => {
            let taken = offsets.iter().map(|(partition, offset)| TakenOffset {
                asked: event,
                group: group.clone(),
                partition: partition.clone(),
                offset: *offset,
            });
            own.offsets.extend(taken);
        }
        TransactionCall::Commit => on_end(&mut own.commit, event, stage),
        TransactionCall::Abort => on_end(&mut own.abort, event, stage),
        TransactionCall::Init | TransactionCall::Begin | TransactionCall::SendOffsets { .. } => {}
    }
}

/// A call may be made again after a time-out: what may have happened outweighs what did not.
fn on_end(end: &mut Option<Ending>, event: EventId, stage: Stage) {
    let known = end.get_or_insert(Ending {
        invoked: event,
        returned: EventId::NONE,
        stage: Stage::Invoke,
    });
    match (stage, known.stage) {
        (Stage::Invoke, _) | (_, Stage::Ok) | (Stage::Fail, Stage::Info) => {}
        (Stage::Ok | Stage::Info | Stage::Fail, _) => {
            known.stage = stage;
            known.returned = event;
        }
    }
}
