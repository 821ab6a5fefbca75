//! Blocking connections to brokers (`BlockingChannel`, `SimpleConsumer`).
//!
//! One request is under way on a channel. It is dialled when it is needed; a request that fails closes it. The simple
//! consumer then dials once more and repeats the request, the others leave that to their callers.

use crate::versions::{BrokerVersions, Versions};
use protocol::api::{RequestBody, ResponseBody};
use protocol::ids::{BrokerId, ClientId, CorrelationId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io};
use protocol::message::{Message, Request};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Whose channel it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Line {
    /// A fetcher thread's, to its broker.
    Fetcher(BrokerId, i32),
    /// The leader finder's, to any broker.
    Metadata,
    /// To any broker, in search of the offset manager.
    Query,
    /// To the offset manager.
    Offsets,
}

/// A request as a thread makes it.
pub(super) struct Call {
    pub(super) to: Endpoint,
    pub(super) body: RequestBody,
    pub(super) timeout: Span,
    /// Whether it is tried once more on a new connection.
    pub(super) again: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Connecting(ConnectionId),
    Open(ConnectionId),
}

#[derive(Clone, Debug)]
struct Waiting {
    body: RequestBody,
    again: bool,
    timeout: Span,
    until: Mono,
    correlation_id: Option<CorrelationId>,
}

#[derive(Clone, Debug)]
struct Channel {
    endpoint: Endpoint,
    state: State,
    waiting: Option<Waiting>,
}

impl Channel {
    const fn connection(&self) -> Option<ConnectionId> {
        match self.state {
            State::Closed => None,
            State::Connecting(connection) | State::Open(connection) => Some(connection),
        }
    }
}

/// All channels of one consumer.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    versions: Versions,
    client_id: ClientId,
    by_line: BTreeMap<Line, Channel>,
    lines: BTreeMap<ConnectionId, Line>,
    next_correlation: i32,
    answers: VecDeque<(Line, Option<ResponseBody>)>,
}

impl Channels {
    pub(super) fn new(versions: Versions, client_id: ClientId) -> Self {
        Self {
            versions,
            client_id,
            by_line: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_correlation: 0,
            answers: VecDeque::new(),
        }
    }

    /// The next answer; `None` in it where no answer came.
    pub(super) fn next_answer(&mut self) -> Option<(Line, Option<ResponseBody>)> {
        self.answers.pop_front()
    }

    /// Sends a request, after dialling if need be. Exactly one answer follows, unless the channel is closed.
    pub(super) fn call(&mut self, now: Mono, line: Line, call: Call, io: &mut Io<'_>) {
        if self
            .by_line
            .get(&line)
            .is_some_and(|channel| channel.endpoint != call.to)
        {
            self.close(line, io);
        }
        let channel = self.by_line.entry(line).or_insert_with(|| Channel {
            endpoint: call.to,
            state: State::Closed,
            waiting: None,
        });
        channel.waiting = Some(Waiting {
            body: call.body,
            again: call.again,
            timeout: call.timeout,
            until: now + call.timeout,
            correlation_id: None,
        });
        self.go_on(now, line, io);
    }

    /// Hangs up; nobody is told.
    pub(super) fn close(&mut self, line: Line, io: &mut Io<'_>) {
        if let Some(connection) = self
            .by_line
            .remove(&line)
            .and_then(|gone| gone.connection())
        {
            self.lines.remove(&connection);
            io.close(connection);
        }
        self.answers.retain(|(of, _)| *of != line);
    }

    pub(super) fn close_all(&mut self, io: &mut Io<'_>) {
        let lines: Vec<Line> = self.by_line.keys().copied().collect();
        for line in lines {
            self.close(line, io);
        }
    }

    /// Dials, or writes what waits.
    fn go_on(&mut self, now: Mono, line: Line, io: &mut Io<'_>) {
        let Some(channel) = self.by_line.get_mut(&line) else {
            return;
        };
        let Some(waiting) = channel.waiting.as_mut() else {
            return;
        };
        match channel.state {
            State::Connecting(_) => {}
            State::Closed => {
                let connection = io.connect(channel.endpoint.clone());
                channel.state = State::Connecting(connection);
                self.lines.insert(connection, line);
            }
            State::Open(connection) => {
                let correlation_id = CorrelationId(self.next_correlation);
                self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(0);
                waiting.correlation_id = Some(correlation_id);
                waiting.until = now + waiting.timeout;
                let body = waiting.body.clone();
                let unasked: BrokerVersions = Arc::new([]);
                let api_version = self.versions.with_broker(body.api_key(), &unasked);
                let client_id = self.client_id.clone();
                let request = Request {
                    api_version,
                    correlation_id,
                    client_id,
                    body,
                };
                io.send(connection, Message::Request(Box::new(request)));
            }
        }
    }

    /// Takes an input about a connection of ours; others pass by.
    pub(super) fn handle(&mut self, now: Mono, input: &Input, io: &mut Io<'_>) {
        match input {
            Input::Opened { connection } => {
                let Some(line) = self.lines.get(connection).copied() else {
                    return;
                };
                if let Some(channel) = self.by_line.get_mut(&line) {
                    channel.state = State::Open(*connection);
                }
                self.go_on(now, line, io);
            }
            Input::Refused { connection } | Input::Closed { connection, .. } => {
                if let Some(line) = self.lines.remove(connection) {
                    self.broken(now, line, io);
                }
            }
            Input::Received {
                connection,
                message: Message::Response(response),
            } => {
                let Some(line) = self.lines.get(connection).copied() else {
                    return;
                };
                let Some(channel) = self.by_line.get_mut(&line) else {
                    return;
                };
                let expected = Some(response.correlation_id);
                let is_ours = |waiting: &mut Waiting| waiting.correlation_id == expected;
                if channel.waiting.take_if(is_ours).is_some() {
                    self.answers.push_back((line, Some(response.body.clone())));
                }
            }
            Input::Received { .. }
            | Input::Started
            | Input::Accepted { .. }
            | Input::Timer { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => {}
        }
    }

    /// The connection of a channel is gone.
    fn broken(&mut self, now: Mono, line: Line, io: &mut Io<'_>) {
        let Some(channel) = self.by_line.get_mut(&line) else {
            return;
        };
        channel.state = State::Closed;
        let Some(waiting) = channel.waiting.as_mut() else {
            return;
        };
        if waiting.again {
            waiting.again = false;
            waiting.until = now + waiting.timeout;
            self.go_on(now, line, io);
        } else {
            channel.waiting = None;
            self.answers.push_back((line, None));
        }
    }

    /// Lets time pass: what is not answered in time breaks its connection.
    pub(super) fn tick(&mut self, now: Mono, io: &mut Io<'_>) {
        let is_late = |channel: &Channel| {
            channel
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.until <= now)
        };
        let late: Vec<Line> = self
            .by_line
            .iter()
            .filter(|(_, channel)| is_late(channel))
            .map(|(line, _)| *line)
            .collect();
        for line in late {
            if let Some(connection) = self.by_line.get(&line).and_then(Channel::connection) {
                self.lines.remove(&connection);
                io.close(connection);
            }
            self.broken(now, line, io);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let waiting = self
            .by_line
            .values()
            .filter_map(|channel| channel.waiting.as_ref());
        waiting.map(|waiting| waiting.until).min()
    }
}
