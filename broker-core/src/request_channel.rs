//! Connections that others opened to this broker, and the requests they carry.
//!
//! Stands for `SocketServer`, `RequestChannel` and `KafkaRequestHandlerPool`. A connection is *muted* while a request of its
//! is being served: the next one is handled only after the response to the one before was sent, long polls and acks=all
//! waits included. Requests that may be handled wait on the `RequestHandler` lane. Left out: several processors and
//! `queued.max.requests`; a handler takes no simulated time, so the queue never fills by itself.

use protocol::api::ResponseBody;
use protocol::ids::ClientId;
use protocol::machine::{ConnectionId, Io, Lane, RequestToken};
use protocol::message::{Message, Request, Response};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A request that a handler thread took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What to answer to.
    pub token: RequestToken,
    /// The dialling node's host name.
    pub from: Arc<str>,
    /// The request.
    pub request: Request,
}

#[derive(Clone, Debug)]
struct Connection {
    from: Arc<str>,
    /// A request of this connection is queued or being served.
    muted: bool,
    /// Requests received while muted (they sit in the socket's buffer in real life).
    backlog: VecDeque<Request>,
}

/// The channel.
#[derive(Clone, Debug, Default)]
pub struct RequestChannel {
    connections: BTreeMap<ConnectionId, Connection>,
    /// Requests waiting for a handler, in the order of the lane.
    queue: VecDeque<(ConnectionId, Request)>,
}

impl RequestChannel {
    /// Somebody connected.
    pub fn on_accepted(&mut self, connection: ConnectionId, from: Arc<str>) {
        self.connections.insert(
            connection,
            Connection {
                from,
                muted: false,
                backlog: VecDeque::new(),
            },
        );
    }

    /// Whether this end of a connection is one of ours.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// The connection is gone. Requests of it that are queued or parked are still handled, as Kafka does: their responses
    /// vanish.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// A message came in.
    pub fn on_message(&mut self, io: &mut Io<'_>, connection: ConnectionId, message: Message) {
        let Message::Request(request) = message else {
            self.close(io, connection);
            return;
        };
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        if state.muted {
            state.backlog.push_back(*request);
        } else {
            state.muted = true;
            self.queue.push_back((connection, *request));
            io.queue(Lane::RequestHandler);
        }
    }

    /// A handler thread is free: the next request, if any is left.
    pub fn take(&mut self) -> Option<Taken> {
        let (connection, request) = self.queue.pop_front()?;
        let from = self
            .connections
            .get(&connection)
            .map_or_else(|| Arc::from(""), |state| state.from.clone());
        let token = RequestToken {
            connection,
            correlation_id: request.correlation_id,
        };
        Some(Taken {
            token,
            from,
            request,
        })
    }

    /// Answers a request and lets the connection's next one in.
    pub fn respond(&mut self, io: &mut Io<'_>, token: RequestToken, body: impl Into<ResponseBody>) {
        if self.connections.contains_key(&token.connection) {
            let response = Response {
                correlation_id: token.correlation_id,
                body: body.into(),
            };
            io.send(token.connection, Message::Response(Box::new(response)));
            self.unmute(io, token.connection);
        }
    }

    /// Ends a request that gets no response (acks=0).
    pub fn finish_silently(&mut self, io: &mut Io<'_>, token: RequestToken) {
        self.unmute(io, token.connection);
    }

    /// Closes a connection, as Kafka does on a failed acks=0 request and on anything it cannot parse.
    pub fn close(&mut self, io: &mut Io<'_>, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            io.close(connection);
        }
    }

    fn unmute(&mut self, io: &mut Io<'_>, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        if let Some(request) = state.backlog.pop_front() {
            self.queue.push_back((connection, request));
            io.queue(Lane::RequestHandler);
        } else {
            state.muted = false;
        }
    }
}

/// The client id of brokers' own requests, `broker-1-fetcher-0` and the like.
pub fn internal_client_id(broker: i32, role: &str) -> ClientId {
    ClientId::from(format!("broker-{broker}-{role}"))
}
