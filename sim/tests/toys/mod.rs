//! Toy cores for the world's tests: a pinger, an echo, a replicated appender, and one driven by a script.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary uses some of them"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "toys ignore what they do not know, and panic when they are misused"
)]

use bytes::Bytes;
use protocol::api::{ApiVersionsRequest, RequestBody};
use protocol::disk::{DiskError, FileId};
use protocol::ids::{ClientId, CorrelationId, Endpoint, NodeId, Offset, TopicPartition};
use protocol::machine::{CloseReason, ConnectionId, FlushId, Input, Io, Lane, Machine, TimerId};
use protocol::message::{Message, Request};
use protocol::note::{BrokerNote, Note, ReplicaNote};
use protocol::time::{Now, Span};
use protocol::verb::{OperationId, Outcome, Verb};
use sim::world::{At, Boot, Commands, NodeSpec, Observer, Place, WorldCommand};
use std::sync::Arc;

/// The port toys listen on.
pub const PORT: u16 = 9092;

/// What a toy is.
#[derive(Clone, Debug, Default)]
pub enum Role {
    /// Sends back what it gets.
    Echo,
    /// Keeps this many requests under way to a peer, for ever.
    Pinger {
        peer: Arc<str>,
        window: i32,
        pad: usize,
    },
    /// Appends what it gets, flushes, and acknowledges when it is durable; passes it on to a follower first.
    Appender { follower: Option<Arc<str>> },
    /// Sends a numbered record every interval, and counts acknowledgements; reconnects when it loses its connection.
    Writer { peer: Arc<str>, interval: Span },
    /// Does what the verbs tell it, and remembers what happened.
    #[default]
    Script,
}

impl Boot for Role {
    type Machine = Toy;
    fn boot(&self, _life: u32) -> Toy {
        Toy {
            role: self.clone(),
            ..Toy::default()
        }
    }
}

/// What a scripted toy saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Started,
    Opened,
    Accepted,
    Refused,
    Closed(CloseReason),
    Got(i32),
    Rang(u64),
    Flushed(u64, Result<(), DiskError>),
    Due(Lane),
    Stop,
}

#[derive(Clone, Debug, Default)]
pub struct Toy {
    pub role: Role,
    pub sent: i32,
    pub received: Vec<i32>,
    pub count: u64,
    pub last: i32,
    pub connection: Option<ConnectionId>,
    pub accepted: Vec<ConnectionId>,
    pub log: Option<FileId>,
    pub waiting: Vec<(FlushId, ConnectionId, i32)>,
    pub flushes: u64,
    pub seen: Vec<(Now, Seen)>,
}

/// A message with a number, and as many bytes of padding.
pub fn numbered(number: i32, pad: usize) -> Message {
    Message::Request(Box::new(Request {
        api_version: 0,
        correlation_id: CorrelationId(number),
        client_id: padding(pad),
        body: RequestBody::ApiVersions(ApiVersionsRequest),
    }))
}

fn padding(len: usize) -> ClientId {
    if len == 0 {
        return ClientId(Arc::default());
    }
    ClientId(Arc::from("x".repeat(len)))
}

pub fn number_of(message: &Message) -> i32 {
    match message {
        Message::Request(request) => request.correlation_id.0,
        other => panic!("{other:?}"),
    }
}

fn record(number: i32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn appended(to: i64) -> Note {
    Note::Replica(
        TopicPartition::new("t", 0),
        ReplicaNote::HighWatermark(Offset(to)),
    )
}

impl Toy {
    fn dial(&mut self, peer: &str, io: &mut Io<'_>) {
        self.connection = Some(io.connect(Endpoint::new(peer, PORT)));
    }

    fn append(&mut self, number: i32, io: &mut Io<'_>) -> FileId {
        let file = match self.log {
            Some(file) => file,
            None => io.disk.open("data/log").unwrap(),
        };
        self.log = Some(file);
        io.disk.append(file, record(number)).unwrap();
        file
    }

    fn echo(&mut self, input: Input, io: &mut Io<'_>) {
        if let Input::Received {
            connection,
            message,
        } = input
        {
            self.count += 1;
            io.send(connection, message);
        }
    }

    fn ping(&mut self, peer: &str, (window, pad): (i32, usize), input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started | Input::Closed { .. } | Input::Refused { .. } => self.dial(peer, io),
            Input::Opened { connection } => {
                for _ in 0..window {
                    self.sent += 1;
                    io.send(connection, numbered(self.sent, pad));
                }
            }
            Input::Received {
                connection,
                message,
            } => {
                self.count += 1;
                self.last = number_of(&message);
                self.sent += 1;
                io.send(connection, numbered(self.sent, pad));
            }
            _ => {}
        }
    }

    fn appender(&mut self, follower: Option<&str>, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Started => {
                if let Some(peer) = follower {
                    self.dial(peer, io);
                }
            }
            Input::Closed { connection, .. } | Input::Refused { connection }
                if self.connection == Some(connection) =>
            {
                self.dial(follower.unwrap(), io);
            }
            Input::Received {
                connection,
                message,
            } => {
                let number = number_of(&message);
                if self.connection == Some(connection) {
                    // The follower has it.
                    self.count += 1;
                    return;
                }
                let file = self.append(number, io);
                self.received.push(number);
                io.note(appended(i64::from(number)));
                if let Some(to) = self.connection {
                    io.send(to, message);
                }
                self.flushes += 1;
                let flush = FlushId(self.flushes);
                io.flush(flush, vec![file]);
                self.waiting.push((flush, connection, number));
            }
            Input::Flushed { flush, .. } => {
                if let Some(at) = self.waiting.iter().position(|(id, ..)| *id == flush) {
                    let (_, connection, number) = self.waiting.remove(at);
                    io.send(connection, numbered(number, 0));
                }
            }
            _ => {}
        }
    }

    fn writer(&mut self, peer: &str, interval: Span, (now, input): (Now, Input), io: &mut Io<'_>) {
        match input {
            Input::Started => {
                self.dial(peer, io);
                io.set_timer(TimerId(1), now.mono + interval);
            }
            Input::Closed { .. } | Input::Refused { .. } => self.dial(peer, io),
            Input::Timer { .. } => {
                self.sent += 1;
                if let Some(connection) = self.connection {
                    io.send(connection, numbered(self.sent, 10));
                }
                io.set_timer(TimerId(1), now.mono + interval);
            }
            Input::Received { message, .. } => {
                self.count += 1;
                self.last = number_of(&message);
                io.outcome(
                    OperationId(u64::try_from(self.last).unwrap()),
                    Outcome::Done(Ok(())),
                );
            }
            _ => {}
        }
    }

    fn script(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        let seen = match input {
            Input::Started => Seen::Started,
            Input::Opened { connection } => {
                self.connection = Some(connection);
                Seen::Opened
            }
            Input::Accepted { connection, .. } => {
                self.connection = Some(connection);
                self.accepted.push(connection);
                Seen::Accepted
            }
            Input::Refused { .. } => Seen::Refused,
            Input::Closed { reason, .. } => Seen::Closed(reason),
            Input::Received { message, .. } => {
                self.received.push(number_of(&message));
                Seen::Got(number_of(&message))
            }
            Input::Timer { timer } => Seen::Rang(timer.0),
            Input::Flushed { flush, result } => Seen::Flushed(flush.0, result),
            Input::Due { lane } => Seen::Due(lane),
            Input::Stop => {
                io.exit(true);
                Seen::Stop
            }
            Input::Verb { operation, verb } => {
                self.obey(now, operation, &verb, io);
                return;
            }
        };
        self.seen.push((now, seen));
    }

    /// The script's words are client verbs with other meanings.
    fn obey(&mut self, now: Now, operation: OperationId, verb: &Verb, io: &mut Io<'_>) {
        let number = i32::try_from(operation.0).unwrap();
        match verb {
            // Dial a host.
            Verb::DescribeGroup(host) => {
                io.connect(Endpoint::new(host.as_str(), PORT));
            }
            // Send a message of that number.
            Verb::Poll(pad) => {
                let pad = usize::try_from(pad.0).unwrap();
                io.send(self.connection.unwrap(), numbered(number, pad));
            }
            Verb::Unsubscribe => io.close(self.connection.unwrap()),
            // Two appends with a note and a message after each.
            Verb::Flush => {
                self.append(number, io);
                io.note(appended(i64::from(number)));
                io.send(self.connection.unwrap(), numbered(number, 0));
                self.append(number + 1, io);
                io.note(appended(i64::from(number + 1)));
                io.send(self.connection.unwrap(), numbered(number + 1, 0));
            }
            // Append; then flush.
            Verb::ListenerReturned => {
                self.append(number, io);
            }
            Verb::CommitSync(_) => {
                let file = self.log.unwrap();
                io.flush(FlushId(operation.0), vec![file]);
            }
            Verb::Close(span) => io.set_timer(TimerId(operation.0), now.mono + *span),
            Verb::CreateTopics(_) => io.cancel_timer(TimerId(operation.0)),
            Verb::Pause(_) => io.queue(Lane::Controller),
            Verb::Resume(_) => io.note(Note::Broker(BrokerNote::SessionExpired)),
            other => panic!("{other:?}"),
        }
    }

    /// What it saw, without the times.
    pub fn story(&self) -> Vec<Seen> {
        self.seen.iter().map(|(_, seen)| seen.clone()).collect()
    }
}

impl Machine for Toy {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match self.role.clone() {
            Role::Echo => self.echo(input, io),
            Role::Pinger { peer, window, pad } => self.ping(&peer, (window, pad), input, io),
            Role::Appender { follower } => self.appender(follower.as_deref(), input, io),
            Role::Writer { peer, interval } => self.writer(&peer, interval, (now, input), io),
            Role::Script => self.script(now, input, io),
        }
    }
}

pub fn node(host: &str, role: Role) -> NodeSpec<Role> {
    NodeSpec::new(host, vec![PORT], role)
}

pub const A: NodeId = NodeId(0);
pub const B: NodeId = NodeId(1);
pub const C: NodeId = NodeId(2);

pub fn ms(count: u64) -> At {
    At(count * 1_000_000)
}

pub fn dial(node: NodeId, host: &str) -> WorldCommand {
    word(node, 0, Verb::DescribeGroup(host.into()))
}

pub fn send(node: NodeId, number: u64) -> WorldCommand {
    word(node, number, Verb::Poll(Span(0)))
}

pub fn word(node: NodeId, number: u64, verb: Verb) -> WorldCommand {
    WorldCommand::Submit {
        node,
        operation: OperationId(number),
        verb,
    }
}

/// Counts notes, and does something at the first that matches.
#[derive(Default)]
pub struct Barrier {
    pub notes: Vec<(Place, Note)>,
    pub at: Option<(Note, Vec<WorldCommand>)>,
}

impl Observer for Barrier {
    fn note(&mut self, place: Place, note: &Note, commands: &mut Commands) {
        self.notes.push((place, note.clone()));
        if self.at.as_ref().is_some_and(|(awaited, _)| awaited == note)
            && let Some((_, actions)) = self.at.take()
        {
            commands.extend(actions);
        }
    }
}

pub fn high_watermark(to: i64) -> Note {
    appended(to)
}
