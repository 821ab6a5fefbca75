//! A connection to another broker with one request in flight, as `NetworkClientUtils.sendAndReceive` blocks on it.
//!
//! Fetcher threads, the controller's send threads and the broker-to-controller channel each own one. It connects on the
//! first request, keeps the connection, and reports every request's end exactly once: a response, or a failure (refused,
//! closed, or no answer within the time-out, which also closes the connection because its answer may still come).

use protocol::api::{RequestBody, ResponseBody};
use protocol::ids::{ClientId, CorrelationId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io, TimerId};
use protocol::message::{Message, Request};
use protocol::time::{Now, Span};

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// It was answered.
    Response(ResponseBody),
    /// It was not, and nobody knows whether the peer handled it.
    Failed,
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    Connecting(ConnectionId),
    Open(ConnectionId),
}

/// The channel.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    endpoint: Endpoint,
    client_id: ClientId,
    timer: TimerId,
    request_timeout: Span,
    state: State,
    next_correlation: i32,
    /// The request to send once connected.
    waiting: Option<Message>,
    /// The request on the wire.
    in_flight: Option<CorrelationId>,
}

impl PeerChannel {
    /// A channel to `endpoint`; `timer` is its own time-out timer.
    pub fn new(
        endpoint: Endpoint,
        client_id: ClientId,
        timer: TimerId,
        request_timeout: Span,
    ) -> Self {
        Self {
            endpoint,
            client_id,
            timer,
            request_timeout,
            state: State::Closed,
            next_correlation: 0,
            waiting: None,
            in_flight: None,
        }
    }

    /// Whom it talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A request is under way.
    pub fn is_busy(&self) -> bool {
        self.waiting.is_some() || self.in_flight.is_some()
    }

    /// Whether this end of a connection is this channel's.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        match self.state {
            State::Closed => false,
            State::Connecting(own) | State::Open(own) => own == connection,
        }
    }

    /// Sends a request, connecting first when needed.
    ///
    /// # Panics
    /// When a request is under way already: callers have one thread.
    pub fn send(&mut self, now: Now, io: &mut Io<'_>, api_version: i16, body: RequestBody) {
        assert!(!self.is_busy(), "one request at a time");
        let correlation_id = CorrelationId(self.next_correlation);
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let request = Request {
            api_version,
            correlation_id,
            client_id: self.client_id.clone(),
            body,
        };
        let message = Message::Request(Box::new(request));
        io.set_timer(self.timer, now.mono + self.request_timeout);
        match self.state {
            State::Open(connection) => {
                self.in_flight = Some(correlation_id);
                io.send(connection, message);
            }
            State::Connecting(_) => self.waiting = Some(message),
            State::Closed => {
                self.waiting = Some(message);
                self.state = State::Connecting(io.connect(self.endpoint.clone()));
            }
        }
    }

    /// Drops the connection and forgets the request under way without reporting it.
    pub fn close(&mut self, io: &mut Io<'_>) {
        if let State::Connecting(connection) | State::Open(connection) = self.state {
            io.close(connection);
        }
        self.state = State::Closed;
        if self.is_busy() {
            io.cancel_timer(self.timer);
        }
        self.waiting = None;
        self.in_flight = None;
    }

    /// Takes an input about this channel's connection ([`Self::owns`]) or timer; tells when a request ended.
    pub fn handle(&mut self, input: Input, io: &mut Io<'_>) -> Option<PeerEvent> {
        match input {
            Input::Opened { connection } => {
                self.state = State::Open(connection);
                if let Some(message) = self.waiting.take() {
                    if let Message::Request(request) = &message {
                        self.in_flight = Some(request.correlation_id);
                    }
                    io.send(connection, message);
                }
                None
            }
            Input::Received {
                message: Message::Response(response),
                ..
            } => {
                if self.in_flight != Some(response.correlation_id) {
                    return None;
                }
                self.in_flight = None;
                io.cancel_timer(self.timer);
                Some(PeerEvent::Response(response.body))
            }
            Input::Refused { .. } | Input::Closed { .. } => {
                self.state = State::Closed;
                self.fail(io)
            }
            Input::Timer { .. } => {
                if let State::Connecting(connection) | State::Open(connection) = self.state {
                    io.close(connection);
                }
                self.state = State::Closed;
                self.fail(io)
            }
            Input::Started
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => None,
        }
    }

    fn fail(&mut self, io: &mut Io<'_>) -> Option<PeerEvent> {
        let busy = self.is_busy();
        self.waiting = None;
        self.in_flight = None;
        if busy {
            io.cancel_timer(self.timer);
        }
        busy.then_some(PeerEvent::Failed)
    }
}
