//! A transaction in words, and its short story.

use super::{Decided, Ending, Transaction, TransactionIndex};
use crate::checker::index::{EventId, Index, NONE, ValueId};
use crate::event::{self, Replica, What};
use crate::operation::{Action, Stage};
use crate::verdict::Moment;

/// How many of its sends a story tells.
const SENDS: usize = 4;
/// How many words of the coordinator it tells.
const STATES: usize = 8;

impl Index<'_> {
    /// `transaction 3 of p1`.
    pub fn transaction_name(&self, transaction: TransactionIndex) -> String {
        let own = self.transactions.get(transaction);
        format!(
            "transaction {} of {}",
            own.number,
            self.client_name(own.client)
        )
    }

    /// What happened in a transaction, step by step.
    pub fn transaction_story(&self, transaction: TransactionIndex) -> Vec<Moment> {
        let own = self.transactions.get(transaction);
        let client = self.client_name(own.client);
        let name = self.transaction_name(transaction);
        let id = own
            .id
            .as_ref()
            .map_or_else(String::new, |id| format!(" as {id}"));
        let mut story = vec![self.moment(own.began, format!("{client} begins {name}{id}"))];
        for value in own.sends.iter().take(SENDS) {
            self.tell_send(*value, &mut story);
        }
        if let Some(more) = own.sends.len().checked_sub(SENDS).filter(|more| *more > 0)
            && let Some(last) = own.sends.last()
        {
            let sent = self.values.get(*last);
            let text = format!("{client} has sent {more} more records in it");
            story.push(self.moment(sent.invoked, text));
        }
        for taken in &own.offsets {
            let text = format!(
                "{client} sends offset {} of {} for group {} with it",
                taken.offset, taken.partition, taken.group
            );
            story.push(self.moment(taken.asked, text));
        }
        self.tell_end(client, "commitTransaction", own.commit, &mut story);
        self.tell_end(client, "abortTransaction", own.abort, &mut story);
        self.tell_coordinator(own, &mut story);
        self.tell_markers(own, &mut story);
        story
    }

    fn tell_send(&self, value: ValueId, story: &mut Vec<Moment>) {
        let sent = self.values.get(value);
        let client = self.client_name(sent.client);
        let place = if sent.part == NONE {
            String::new()
        } else {
            format!(" to {}", self.place(sent.part, -1))
        };
        let text = format!("{client} sends {}{place}", self.values.value(value));
        story.push(self.moment(sent.invoked, text));
    }

    fn tell_end(&self, client: &str, call: &str, end: Option<Ending>, story: &mut Vec<Moment>) {
        let Some(end) = end else { return };
        story.push(self.moment(end.invoked, format!("{client} calls {call}")));
        let how = match end.stage {
            Stage::Invoke => return,
            Stage::Ok => "returns".to_owned(),
            Stage::Fail => format!("fails{}", self.error_of(end.returned)),
            Stage::Info => format!("ends without an answer{}", self.error_of(end.returned)),
        };
        story.push(self.moment(end.returned, format!("{call} of {client} {how}")));
    }

    fn error_of(&self, event: EventId) -> String {
        if let What::Operation(operation) = &self.event(event).what
            && let Action::Transaction {
                error: Some(error), ..
            } = &operation.action
        {
            format!(" ({error})")
        } else {
            String::new()
        }
    }

    /// What the coordinator said from its beginning until the next one of the same id is there.
    fn tell_coordinator(&self, own: &Transaction, story: &mut Vec<Moment>) {
        let told = own
            .id
            .as_ref()
            .and_then(|id| self.transactions.coordinated.get(id));
        let Some(told) = told else { return };
        let after = self.transactions.all.iter().filter(|other| {
            other.id == own.id && other.process == own.process && other.number > own.number
        });
        let until = after
            .map(|other| other.began)
            .min()
            .unwrap_or(EventId::NONE);
        let from = told.partition_point(|event| *event < own.began);
        let within = told[from..].iter().take_while(|event| **event < until);
        for event in within.take(STATES) {
            let What::Transaction(id, what) = &self.event(*event).what else {
                continue;
            };
            story.push(self.moment(*event, coordinator_says(id.as_str(), what)));
        }
    }

    /// The first marker in each partition.
    fn tell_markers(&self, own: &Transaction, story: &mut Vec<Moment>) {
        let mut told = Vec::new();
        for value in &own.sends {
            let sent = self.values.get(*value);
            let offset = sent.found_at.max(sent.offset);
            if sent.part == NONE || offset < 0 || told.contains(&sent.part) {
                continue;
            }
            let batch = self.transactions.log.batch(sent.part, offset);
            let (event, word) = match batch.map(|batch| batch.decided) {
                Some(Decided::Committed(event)) => (event, "commit"),
                Some(Decided::Aborted(event)) => (event, "abort"),
                Some(Decided::Plain | Decided::Open) | None => continue,
            };
            told.push(sent.part);
            if let What::Replica(name, Replica::Appended(append)) = &self.event(event).what {
                let text = format!(
                    "the leader of {name} writes the {word} marker at offset {}",
                    append.base_offset
                );
                story.push(self.moment(event, text));
            }
        }
    }
}

fn coordinator_says(id: &str, what: &event::Transaction) -> String {
    match what {
        event::Transaction::State {
            state,
            producer_id,
            producer_epoch,
            partitions,
        } => {
            let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            let of = if names.is_empty() {
                String::new()
            } else {
                format!(", partitions {}", names.join(", "))
            };
            format!(
                "the coordinator of {id} is in {state:?}: producer id {producer_id}, epoch {producer_epoch}{of}"
            )
        }
        event::Transaction::TimedOut => {
            format!("the coordinator of {id} aborts it: it took longer than its time-out")
        }
        event::Transaction::Fenced { producer_epoch } => {
            format!("the coordinator of {id} refuses a call of epoch {producer_epoch}")
        }
        event::Transaction::Loaded(state) => {
            format!("a new coordinator of {id} has read it: {state:?}")
        }
        event::Transaction::Unloaded => format!("the coordinator of {id} resigns"),
    }
}
