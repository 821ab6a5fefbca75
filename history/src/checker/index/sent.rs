//! Every value of the workload and what became of its send. A value names its writer and its number, so it is found by
//! arithmetic; a foreign history with wild numbers falls back to a search.

use super::{EventId, NONE, wide};
use crate::History;
use crate::event::{Event, What};
use crate::operation::{Action, Operation, Stage, Value};
use std::collections::BTreeMap;

/// A value that was sent, as a dense number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ValueId(pub u32);

impl ValueId {
    /// No value, or none that anybody sent.
    pub const NONE: Self = Self(NONE);

    /// Whether it is one.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The history has no send of it.
    Unsent,
    /// It never ended.
    Open,
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
    /// It was acknowledged.
    Ok,
}

/// One value and its send.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Who sent it.
    pub client: u16,
    /// In which life.
    pub process: u32,
    /// How often the application sent it.
    pub sends: u16,
    /// How it ended.
    pub fate: Fate,
    /// Where it began.
    pub invoked: EventId,
    /// Where it ended.
    pub ended: EventId,
    /// The partition, once known.
    pub part: u32,
    /// The offset acknowledged, or −1.
    pub offset: i64,
    /// The lowest offset at which the final read found it, or −1.
    pub found_at: i64,
    /// How often the final read found it.
    pub copies: u16,
}

#[derive(Clone, Debug)]
enum Numbers {
    Dense(u64),
    Sparse(Vec<u64>),
}

/// All values.
#[derive(Clone, Debug)]
pub struct Values {
    /// By writer: the first dense number and how numbers map to those after it.
    writers: Vec<(u32, Numbers)>,
    /// By dense number.
    pub sent: Vec<Sent>,
    names: Vec<Value>,
}

fn operation(event: &Event) -> Option<&Operation> {
    match &event.what {
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

impl Values {
    /// Finds all values that were sent.
    pub fn collect(history: &History) -> Self {
        let mut counts: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        let mut sends = Vec::new();
        for event in &history.events {
            if let Some(Operation {
                action: Action::Send { value, .. },
                stage: Stage::Invoke,
                ..
            }) = operation(event)
            {
                let entry = counts.entry(value.writer()).or_default();
                entry.0 += 1;
                entry.1 = entry.1.max(value.number() + 1);
                sends.push(*value);
            }
        }
        let writers = counts.last_key_value().map_or(0, |(last, _)| last + 1);
        let mut all = Self {
            writers: Vec::new(),
            sent: Vec::new(),
            names: Vec::new(),
        };
        for writer in 0..writers {
            let (count, end) = counts.get(&writer).copied().unwrap_or_default();
            let base = u32::try_from(all.names.len()).unwrap_or(NONE);
            let numbers = if end <= count * 4 + 1024 {
                all.names
                    .extend((0..end).map(|number| Value::new(writer, number)));
                Numbers::Dense(end)
            } else {
                let own = sends.iter().filter(|value| value.writer() == writer);
                let mut numbers: Vec<u64> = own.map(|value| value.number()).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let own = numbers.iter().map(|number| Value::new(writer, *number));
                all.names.extend(own);
                Numbers::Sparse(numbers)
            };
            all.writers.push((base, numbers));
        }
        let unsent = Sent {
            client: 0,
            process: 0,
            sends: 0,
            fate: Fate::Unsent,
            invoked: EventId::NONE,
            ended: EventId::NONE,
            part: NONE,
            offset: -1,
            found_at: -1,
            copies: 0,
        };
        all.sent = vec![unsent; all.names.len()];
        all
    }

    /// The dense number of a value; [`ValueId::NONE`] if nobody sent it.
    pub fn id(&self, value: Value) -> ValueId {
        let Some((base, numbers)) = self.writers.get(usize::from(value.writer())) else {
            return ValueId::NONE;
        };
        let place = match numbers {
            Numbers::Dense(end) if value.number() < *end => u32::try_from(value.number()).ok(),
            Numbers::Dense(_) => None,
            Numbers::Sparse(numbers) => {
                let place = numbers.binary_search(&value.number()).ok();
                place.and_then(|place| u32::try_from(place).ok())
            }
        };
        let id = place.map_or(ValueId::NONE, |place| ValueId(base + place));
        if id.is_some() && self.get(id).fate == Fate::Unsent {
            return ValueId::NONE;
        }
        id
    }

    /// What became of a value.
    pub fn get(&self, id: ValueId) -> &Sent {
        &self.sent[wide(id.0)]
    }

    /// The value itself.
    pub fn value(&self, id: ValueId) -> Value {
        self.names[wide(id.0)]
    }

    /// All values that were sent, by writer and number.
    pub fn all(&self) -> impl Iterator<Item = (ValueId, &Sent)> {
        let ids = (0..).map(ValueId);
        ids.zip(&self.sent)
            .filter(|(_, sent)| sent.fate != Fate::Unsent)
    }

    /// Takes in the beginning or the end of a send.
    pub fn on_send(
        &mut self,
        event: EventId,
        operation: &Operation,
        value: Value,
        (part, offset): (u32, i64),
    ) {
        let Some((base, numbers)) = self.writers.get(usize::from(value.writer())) else {
            return;
        };
        let place = match numbers {
            Numbers::Dense(end) if value.number() < *end => u32::try_from(value.number()).ok(),
            Numbers::Dense(_) => None,
            Numbers::Sparse(numbers) => {
                let place = numbers.binary_search(&value.number()).ok();
                place.and_then(|place| u32::try_from(place).ok())
            }
        };
        let Some(place) = place else { return };
        let sent = &mut self.sent[wide(base + place)];
        if part != NONE && (sent.part == NONE || operation.stage == Stage::Ok) {
            sent.part = part;
        }
        match operation.stage {
            Stage::Invoke => {
                if sent.sends == 0 {
                    sent.invoked = event;
                    sent.client = operation.client;
                    sent.process = operation.process.0;
                    sent.fate = Fate::Open;
                }
                sent.sends = sent.sends.saturating_add(1);
            }
            Stage::Ok => {
                sent.fate = Fate::Ok;
                sent.ended = event;
                sent.offset = offset;
            }
            // A value sent twice: what may have happened outweighs what did not.
            Stage::Info if sent.fate != Fate::Ok => {
                sent.fate = Fate::Info;
                sent.ended = event;
            }
            Stage::Fail if matches!(sent.fate, Fate::Open | Fate::Unsent) => {
                sent.fate = Fate::Fail;
                sent.ended = event;
            }
            Stage::Info | Stage::Fail => {}
        }
    }

    /// The final read found a value. Hands back whether it is one more copy.
    pub fn on_found(&mut self, id: ValueId, part: u32, offset: i64) {
        let sent = &mut self.sent[wide(id.0)];
        sent.copies = sent.copies.saturating_add(1);
        if sent.found_at < 0 || (sent.part == part && offset < sent.found_at) {
            sent.found_at = offset;
        }
        if sent.part == NONE {
            sent.part = part;
        }
    }
}
