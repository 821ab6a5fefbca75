//! An application that sends records at a steady rate and looks at every answer.
//!
//! It may note on its disk, now and then, how far everything is acknowledged, and go on from there in its next life: what was
//! acknowledged since the last note is sent again then. Without that, every life has records of its own.
//!
//! It may be idle for a time in the middle, and it may hand a record that was not acknowledged to the client again: a new
//! `send` of the same value, because the application knows its record and the client does not.

use super::{APPLICATION_TIMER, Identity, call, drive, error_name, stage_of};
use crate::scenario::format::OnFailure;
use crate::scenario::plan::ProducerPlan;
use bytes::Bytes;
use client_core::Producer;
use history::record::encode_payload;
use protocol::machine::{Input, Io, Machine};
use protocol::operation::{Action, Stage, Value};
use protocol::time::{Mono, Now, Span};
use protocol::verb::{OperationId, Outcome, ProducerRecord, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Calls that hand a record over again are numbered from here on, far above the numbers of records.
const AGAIN: u64 = 1 << 48;

/// Where the application notes how far it is.
const CHECKPOINT: &str = "checkpoint";

/// The application.
#[derive(Clone, Debug)]
pub struct ProducerApp {
    core: Producer,
    plan: Arc<ProducerPlan>,
    identity: Identity,
    /// The number of the next record.
    next: u64,
    /// The first number that is not its own.
    end: u64,
    started: Mono,
    sent: u64,
    /// How many records it sent again.
    resent: u64,
    /// What is not answered yet.
    open: BTreeMap<u64, Value>,
    /// How far the note on the disk says that it is.
    checkpoint: u64,
}

impl ProducerApp {
    /// One life of a producer: it sends records `first` to `end` (excluded).
    pub fn new(
        core: Producer,
        plan: Arc<ProducerPlan>,
        identity: Identity,
        first: u64,
        end: u64,
    ) -> Self {
        Self {
            core,
            plan,
            identity,
            next: first,
            end,
            started: Mono(0),
            sent: 0,
            resent: 0,
            open: BTreeMap::new(),
            checkpoint: first,
        }
    }

    /// Goes on where the last life noted that it was.
    fn recover(&mut self, io: &mut Io<'_>) {
        let noted = io.disk.find(CHECKPOINT).and_then(|file| {
            let bytes = io.disk.read(file, 0, 8).ok()?;
            Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?))
        });
        if let Some(noted) = noted {
            self.next = noted;
            self.checkpoint = noted;
        }
    }

    /// Notes how far it is, once so many more are acknowledged. A note that cannot be written is left for the next time.
    fn maybe_checkpoint(&mut self, io: &mut Io<'_>) {
        let Some(every) = self.plan.checkpoint_every else {
            return;
        };
        let open = self.open.values().map(|value| value.number());
        let done = open.min().unwrap_or(self.next);
        if done >= self.checkpoint + every {
            let note = Bytes::copy_from_slice(&done.to_be_bytes());
            if io.disk.replace(CHECKPOINT, note).is_ok() {
                self.checkpoint = done;
            }
        }
    }

    fn send_due(&mut self, now: Now, io: &mut Io<'_>) {
        while self.next < self.end && self.due(self.sent) <= now.mono {
            let outcomes = self.send_next(now, io);
            self.conclude(now, io, outcomes);
        }
        if self.next < self.end {
            io.set_timer(APPLICATION_TIMER, self.due(self.sent));
        }
    }

    /// When record number `sent` of this life is due; from the start, so that no rounding adds up.
    fn due(&self, sent: u64) -> Mono {
        let idle = self.plan.idle.filter(|(after, _)| sent >= *after);
        let idle = idle.map_or(Span::ZERO, |(_, lasting)| lasting);
        self.started + Span(sent.saturating_mul(1_000_000_000) / u64::from(self.plan.rate)) + idle
    }

    fn send_next(&mut self, now: Now, io: &mut Io<'_>) -> Vec<(OperationId, Outcome)> {
        let number = self.next;
        self.next += 1;
        self.sent += 1;
        self.send(now, io, number, Value::new(self.identity.client, number))
    }

    fn send_again(&mut self, now: Now, io: &mut Io<'_>, value: Value) {
        let id = AGAIN + self.resent;
        self.resent += 1;
        let outcomes = self.send(now, io, id, value);
        self.conclude(now, io, outcomes);
    }

    fn send(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        id: u64,
        value: Value,
    ) -> Vec<(OperationId, Outcome)> {
        let key = self
            .plan
            .keys
            .map(|keys| format!("k{}", value.number() % u64::from(keys.max(1))));
        self.open.insert(id, value);
        let action = Action::Send {
            topic: self.plan.topic.clone(),
            partition: self.plan.partition,
            key: key.clone(),
            value,
            transaction: None,
            made_from: None,
            amount: None,
            offset: None,
            error: None,
        };
        self.identity.note(io, id, Stage::Invoke, action);
        let size = usize::try_from(self.plan.size).unwrap_or(usize::MAX);
        let record = ProducerRecord {
            topic: self.plan.topic.clone(),
            partition: self.plan.partition,
            key: key.map(Bytes::from),
            value: Some(encode_payload(value, size)),
            timestamp: None,
        };
        call(&mut self.core, now, io, id, Verb::Send(Box::new(record)))
    }

    fn conclude(&mut self, now: Now, io: &mut Io<'_>, outcomes: Vec<(OperationId, Outcome)>) {
        for (OperationId(id), outcome) in outcomes {
            let Outcome::Sent(result) = outcome else {
                continue;
            };
            let Some(value) = self.open.remove(&id) else {
                continue;
            };
            let topic = self.plan.topic.clone();
            let (stage, partition, offset, error) = match result {
                Ok(metadata) => (
                    Stage::Ok,
                    Some(metadata.partition.partition.0),
                    metadata.offset,
                    None,
                ),
                Err(failure) => (
                    stage_of(&failure),
                    self.plan.partition,
                    None,
                    Some(error_name(&failure.error)),
                ),
            };
            self.identity.note(
                io,
                id,
                stage,
                Action::Send {
                    topic,
                    partition,
                    key: None,
                    value,
                    transaction: None,
                    made_from: None,
                    amount: None,
                    offset,
                    error,
                },
            );
            if stage != Stage::Ok && self.plan.on_failure == OnFailure::Resend {
                self.send_again(now, io, value);
            }
        }
        self.maybe_checkpoint(io);
    }
}

impl Machine for ProducerApp {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started => {
                self.started = now.mono;
                if self.plan.checkpoint_every.is_some() {
                    self.recover(io);
                }
                let outcomes = drive(&mut self.core, now, input, io);
                self.conclude(now, io, outcomes);
                self.send_due(now, io);
            }
            Input::Timer {
                timer: APPLICATION_TIMER,
            } => self.send_due(now, io),
            Input::Stop => {
                // Who closes its producer hands over nothing more, however long the close takes.
                self.end = self.next;
                let outcomes = drive(&mut self.core, now, input, io);
                self.conclude(now, io, outcomes);
            }
            input => {
                let outcomes = drive(&mut self.core, now, input, io);
                self.conclude(now, io, outcomes);
            }
        }
    }
}
