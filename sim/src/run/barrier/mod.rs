//! Conditions waiting to become true.
//!
//! Each note is offered to every waiting condition once; a condition that has become true fires once and is gone. What
//! counts (acknowledgements, processed records) is counted from the beginning of the run.

mod fulfilment;
#[cfg(test)]
mod tests;

use crate::scenario::condition::{CallName, CallStage, Condition};
use protocol::ids::{NodeId, TopicName};
use protocol::note::{ControllerNote, KeeperNote, Note, TransactionNote};
use protocol::operation::{Action, Operation, Stage, TransactionCall};
use std::collections::{BTreeMap, BTreeSet};

/// What happens when a condition becomes true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Inject the fault of this index.
    Inject(usize),
    /// End what the fault of this index began.
    End(usize),
    /// Start the client on this node.
    StartClient(NodeId),
    /// The mark of this name is reached.
    Mark(String),
}

#[derive(Clone, Debug)]
struct Waiting {
    condition: Condition,
    reaction: Reaction,
    /// For `All` and `InOrder`: which parts have been true already.
    met: BTreeSet<usize>,
}

/// What one client did so far.
#[derive(Clone, Debug, Default)]
struct Counts {
    sent: u64,
    acked: u64,
    not_acked: u64,
    polled: u64,
    processed: u64,
    calls: BTreeMap<(CallName, CallStage), u64>,
}

/// The conditions that wait, and what they count.
#[derive(Clone, Debug, Default)]
pub struct Barriers {
    waiting: Vec<Waiting>,
    counts: BTreeMap<NodeId, Counts>,
    sessions_expired: u64,
    sessions_closed: u64,
    topics_deleted: BTreeMap<TopicName, u64>,
    /// How often each transactional id has come into each state.
    transaction_states: BTreeMap<(String, String), u64>,
    /// Clients and brokers by node, to match names.
    clients: BTreeMap<String, Vec<NodeId>>,
    brokers: BTreeMap<NodeId, i32>,
}

/// One note and where it was said.
#[derive(Clone, Copy)]
struct Said<'a> {
    node: NodeId,
    note: &'a Note,
}

impl Barriers {
    /// Nothing waits. `clients` maps a name to its node; the name of a consumer with several members maps to all of them.
    pub fn new(clients: BTreeMap<String, Vec<NodeId>>, brokers: BTreeMap<NodeId, i32>) -> Self {
        Self {
            clients,
            brokers,
            ..Self::default()
        }
    }

    /// Waits for a condition.
    pub fn wait(&mut self, condition: Condition, reaction: Reaction) {
        self.waiting.push(Waiting {
            condition,
            reaction,
            met: BTreeSet::new(),
        });
    }

    /// Stops waiting to inject faults; marks and ends stay.
    pub fn forget_injections(&mut self) {
        self.waiting
            .retain(|waiting| !matches!(waiting.reaction, Reaction::Inject(_)));
    }

    /// Marks not reached.
    pub fn marks_waiting(&self) -> impl Iterator<Item = &str> {
        self.waiting
            .iter()
            .filter_map(|waiting| match &waiting.reaction {
                Reaction::Mark(name) => Some(name.as_str()),
                Reaction::Inject(_) | Reaction::End(_) | Reaction::StartClient(_) => None,
            })
    }

    /// Offers a note to all that wait; gives what fires, in the order it was asked for.
    pub fn on_note(&mut self, node: NodeId, note: &Note) -> Vec<Reaction> {
        self.count(node, note);
        self.fire(|this, condition| this.is_met(condition, Said { node, note }))
    }

    /// A named fault was injected.
    pub fn on_fault(&mut self, name: &str) -> Vec<Reaction> {
        self.fire(
            |_, condition| matches!(condition, Condition::Fault { name: wanted } if wanted == name),
        )
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn fire(&mut self, met: impl Fn(&Self, &Condition) -> bool) -> Vec<Reaction> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut fired = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|entry| {
            let done = match &entry.condition {
                Condition::All(parts) => {
                    entry.met.extend(
                        (0..)
                            .zip(parts)
                            .filter(|(_, part)| met(self, part))
                            .map(|(index, _)| index),
                    );
                    entry.met.len() == parts.len()
                }
                Condition::InOrder(parts) => {
                    let next = entry.met.len();
                    if parts.get(next).is_some_and(|part| met(self, part)) {
                        entry.met.insert(next);
                    }
                    entry.met.len() == parts.len()
                }
                single => met(self, single),
            };
            if done {
                fired.push(entry.reaction.clone());
            }
            !done
        });
        self.waiting = waiting;
        fired
    }

    fn count(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::Operation(operation) => {
                count_operation(self.counts.entry(node).or_default(), operation);
            }
            Note::Keeper(KeeperNote::SessionExpired(_)) => self.sessions_expired += 1,
            Note::Keeper(KeeperNote::SessionClosed(_)) => self.sessions_closed += 1,
            Note::Controller(ControllerNote::TopicDeleted(topic)) => {
                *self.topics_deleted.entry(topic.clone()).or_default() += 1;
            }
            Note::Transaction(id, TransactionNote::State { state, .. }) => {
                let key = (id.as_str().to_owned(), format!("{state:?}"));
                *self.transaction_states.entry(key).or_default() += 1;
            }
            Note::Replica(..)
            | Note::Controller(_)
            | Note::Broker(_)
            | Note::Group(..)
            | Note::Transaction(..)
            | Note::Keeper(_)
            | Note::Client(_) => {}
        }
    }
}

fn count_operation(counts: &mut Counts, operation: &Operation) {
    match (&operation.action, operation.stage) {
        (Action::Send { .. }, Stage::Invoke) => counts.sent += 1,
        (Action::Send { .. }, Stage::Ok) => counts.acked += 1,
        (Action::Send { .. }, Stage::Fail | Stage::Info) => counts.not_acked += 1,
        (Action::Poll { records, .. }, Stage::Ok) => {
            counts.polled += records
                .iter()
                .map(|polled| u64::try_from(polled.records.len()).unwrap_or(0))
                .sum::<u64>();
        }
        (Action::Process { .. }, _) => counts.processed += 1,
        (Action::Transaction { call, .. }, stage) => {
            let key = (call_name(call), call_stage(stage));
            *counts.calls.entry(key).or_default() += 1;
        }
        _ => {}
    }
}

const fn call_name(call: &TransactionCall) -> CallName {
    match call {
        TransactionCall::Init => CallName::Init,
        TransactionCall::Begin => CallName::Begin,
        TransactionCall::SendOffsets { .. } => CallName::SendOffsets,
        TransactionCall::Commit => CallName::Commit,
        TransactionCall::Abort => CallName::Abort,
    }
}

const fn call_stage(stage: Stage) -> CallStage {
    match stage {
        Stage::Invoke => CallStage::Invoke,
        Stage::Ok => CallStage::Ok,
        Stage::Fail => CallStage::Fail,
        Stage::Info => CallStage::Info,
    }
}
