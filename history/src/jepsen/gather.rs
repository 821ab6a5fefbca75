//! The operations of a history, as Jepsen would have recorded them.

use super::{Actor, Completed, Function, Micro, Operation, Subject, key};
use crate::checker::index::{EventId, Fate, Fated, Index, NONE, Transaction, ValueId};
use crate::event::What;
use crate::manifest::ClientKind;
use crate::operation::{Action, Operation as Recorded, Stage};
use protocol::ids::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

/// All operations.
pub(super) fn gather(index: &Index<'_>) -> Vec<Operation> {
    let mut gathering = Gathering {
        index,
        taken: BTreeSet::new(),
        owned: BTreeMap::new(),
        read: BTreeSet::new(),
        all: Vec::new(),
    };
    gathering.transactions();
    gathering.sends();
    gathering.consumers();
    gathering.all
}

struct Gathering<'i, 'h> {
    index: &'i Index<'h>,
    /// Polls that belong to transactions.
    taken: BTreeSet<EventId>,
    /// By life of a consumer: its keys.
    owned: BTreeMap<u32, BTreeSet<u32>>,
    /// Which of them it has read since they came or its position was set.
    read: BTreeSet<(u32, u32)>,
    all: Vec<Operation>,
}

impl Gathering<'_, '_> {
    fn transactions(&mut self) {
        for own in &self.index.transactions.all {
            self.taken.extend(&own.polls);
            let counting = own.polls.iter().filter(|event| self.is_counted(**event));
            let polls = counting.filter_map(|event| self.polled(*event));
            let mut micros: Vec<Micro> = polls.collect();
            let reads = !micros.is_empty();
            micros.extend(own.sends.iter().filter_map(|id| self.sent(*id)));
            if micros.is_empty() {
                continue;
            }
            let first = own.polls.first().copied().unwrap_or(own.began);
            let (ended, completed) = end_of(own);
            self.all.push(Operation {
                actor: self.actor(own),
                function: if reads {
                    Function::Transaction
                } else {
                    Function::Send
                },
                subject: Subject::Micros(micros),
                began: first.min(own.began),
                ended,
                completed,
            });
        }
    }

    /// An application that copies is one process with its consumer.
    fn actor(&self, own: &Transaction) -> Actor {
        let poll = own.polls.first().and_then(|event| self.recorded(*event));
        poll.map_or(Actor::InARow(own.client, own.process), |poll| {
            Actor::InARow(poll.client, poll.process.0)
        })
    }

    fn recorded(&self, event: EventId) -> Option<&Recorded> {
        match &self.index.event(event).what {
            What::Operation(operation) => Some(operation),
            What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Process(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => None,
        }
    }

    /// Sends outside of transactions.
    fn sends(&mut self) {
        for (id, sent) in self.index.values.all() {
            if self.index.transactions.of_value(id).is_some() {
                continue;
            }
            let Some(micro) = self.sent(id) else { continue };
            let (ended, completed) = match sent.fate {
                Fate::Ok => (sent.ended, Completed::Ok),
                Fate::Fail => (sent.ended, Completed::Fail),
                Fate::Info | Fate::Open | Fate::Unsent => (sent.ended, Completed::Info),
            };
            self.all.push(Operation {
                actor: Actor::Pipelining(sent.client, sent.process),
                function: Function::Send,
                subject: Subject::Micros(vec![micro]),
                began: sent.invoked,
                ended,
                completed,
            });
        }
    }

    fn sent(&self, id: ValueId) -> Option<Micro> {
        let sent = self.index.values.get(id);
        let known = sent.part != NONE && self.index.partition(sent.part).topic.is_some();
        let offset = (sent.fate == Fate::Ok && sent.offset >= 0).then_some(sent.offset);
        known.then(|| Micro::Send(sent.part, offset, self.index.values.value(id)))
    }

    fn polled(&self, event: EventId) -> Option<Micro> {
        let Action::Poll { records, .. } = &self.recorded(event)?.action else {
            return None;
        };
        let keys = records.iter().filter_map(|polled| {
            let own = key(self.index, &polled.partition)?;
            let valued = polled.records.iter();
            let records = valued.filter_map(|(offset, value)| Some((offset.0, (*value)?)));
            let records: Vec<_> = records.collect();
            (!records.is_empty()).then_some((own, records))
        });
        let keys: Vec<_> = keys.collect();
        (!keys.is_empty()).then_some(Micro::Poll(keys))
    }

    fn is_counted(&self, event: EventId) -> bool {
        self.recorded(event)
            .is_some_and(|recorded| self.counts(recorded.client))
    }

    /// Whose polls Jepsen is to judge.
    fn counts(&self, client: u16) -> bool {
        let transactional = self.index.any_producer(|facts| facts.transactional);
        !transactional || self.index.reads_committed(client)
    }

    fn consumers(&mut self) {
        let index = self.index;
        let mut events: Vec<EventId> = index.polls.clone();
        events.extend(&index.group_events);
        events.extend(&index.final_polls);
        events.sort_unstable();
        events.dedup();
        for event in events {
            let Some(recorded) = self.recorded(event).cloned() else {
                continue;
            };
            if self.counts(recorded.client) {
                let closing = index.closes_the_run(recorded.client);
                self.consumer(event, &recorded, closing);
            }
        }
    }

    fn consumer(&mut self, event: EventId, recorded: &Recorded, closing: bool) {
        let process = recorded.process.0;
        match &recorded.action {
            Action::Poll { .. } if !self.taken.contains(&event) => {
                let Some(micro) = self.polled(event) else {
                    return;
                };
                if closing && !self.owned.contains_key(&process) {
                    let all: BTreeSet<u32> = self.index.workload().map(|(key, _)| key).collect();
                    self.owned.insert(process, all);
                    self.assign(event, recorded, true);
                }
                if let Micro::Poll(keys) = &micro {
                    self.read
                        .extend(keys.iter().map(|(key, _)| (process, *key)));
                }
                self.push(
                    event,
                    recorded,
                    Function::Poll,
                    Subject::Micros(vec![micro]),
                );
            }
            Action::Assigned { partitions, .. } => {
                self.rebalance(event, recorded, partitions, true);
            }
            Action::Revoked { partitions, .. } | Action::Lost { partitions, .. } => {
                self.rebalance(event, recorded, partitions, false);
            }
            Action::Position { partition, .. } => self.position(event, recorded, partition),
            Action::Send { .. }
            | Action::Poll { .. }
            | Action::Commit { .. }
            | Action::Process { .. }
            | Action::Transaction { .. }
            | Action::Admin { .. } => {}
        }
    }

    fn rebalance(
        &mut self,
        event: EventId,
        recorded: &Recorded,
        partitions: &[TopicPartition],
        came: bool,
    ) {
        let process = recorded.process.0;
        let keys = partitions.iter().filter_map(|own| key(self.index, own));
        let keys: Vec<u32> = keys.collect();
        let owned = self.owned.entry(process).or_default();
        for key in keys {
            self.read.remove(&(process, key));
            if came {
                owned.insert(key);
            } else {
                owned.remove(&key);
            }
        }
        self.assign(event, recorded, false);
    }

    /// A consumer that goes on elsewhere gives the partition back and takes it again. One whose transaction was aborted goes
    /// back without a word, as Jepsen expects it.
    fn position(&mut self, event: EventId, recorded: &Recorded, partition: &TopicPartition) {
        let process = recorded.process.0;
        let Some(key) = key(self.index, partition) else {
            return;
        };
        if !self.read.remove(&(process, key)) || self.copies(recorded.client) {
            return;
        }
        let owned = self.owned.entry(process).or_default();
        let had = owned.remove(&key);
        self.assign(event, recorded, false);
        if had {
            self.owned.entry(process).or_default().insert(key);
            self.assign(event, recorded, false);
        }
    }

    fn copies(&self, client: u16) -> bool {
        let client = self.index.history.manifest.clients.get(usize::from(client));
        client.is_some_and(|client| {
            matches!(client.kind, ClientKind::Consumer { feeds: Some(_), .. })
        })
    }

    fn assign(&mut self, event: EventId, recorded: &Recorded, from_the_beginning: bool) {
        let grouped = self.index.group_of_client(recorded.client).is_some();
        let function = if grouped {
            Function::Subscribe
        } else {
            Function::Assign
        };
        let keys = self.owned.get(&recorded.process.0);
        let keys: Vec<u32> = keys.into_iter().flatten().copied().collect();
        let subject = Subject::Keys(keys, from_the_beginning);
        self.push(event, recorded, function, subject);
    }

    fn push(&mut self, event: EventId, recorded: &Recorded, function: Function, subject: Subject) {
        let completed = match recorded.stage {
            Stage::Invoke | Stage::Ok => Completed::Ok,
            Stage::Fail => Completed::Fail,
            Stage::Info => Completed::Info,
        };
        self.all.push(Operation {
            actor: Actor::InARow(recorded.client, recorded.process.0),
            function,
            subject,
            began: event,
            ended: event,
            completed,
        });
    }
}

/// When a transaction ended, and how Jepsen would say so.
fn end_of(own: &Transaction) -> (EventId, Completed) {
    let asked = own.commit.or(own.abort);
    let returned = own.ended().unwrap_or(EventId::NONE);
    match own.fated() {
        Fated::Committed(_) => (returned, Completed::Ok),
        // Nobody asked for its end: its process died, or the run ended.
        Fated::Unmade(_) if asked.is_none() => (EventId::NONE, Completed::Info),
        Fated::Unmade(_) => (returned, Completed::Fail),
        Fated::Unknown => (returned, Completed::Info),
    }
}
