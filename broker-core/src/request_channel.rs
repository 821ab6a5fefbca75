//! Connections that others opened to this broker, and the requests they carry.
//!
//! Stands for `SocketServer`, `RequestChannel` and `KafkaRequestHandlerPool`. A connection is *muted* while a request of its
//! is being served: the next one is handled only after the response to the one before was sent, long polls and acks=all
//! waits included. Requests that may be handled wait on the `RequestHandler` lane. What a peer had sent before it closed in
//! good order is still handled since KAFKA-3703, one request after the other, until one needs an answer. Left out: several processors and
//! `queued.max.requests`; a handler takes no simulated time, so the queue never fills by itself.

use protocol::api::ResponseBody;
use protocol::behaviour::{Behaviour, Fix};
use protocol::ids::ClientId;
use protocol::machine::{CloseReason, ConnectionId, Io, Lane, RequestToken};
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
    /// The peer has closed it, and what it had sent before is still to be handled.
    closing: bool,
}

/// The channel.
#[derive(Clone, Debug)]
pub struct RequestChannel {
    behaviour: Behaviour,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Requests waiting for a handler, in the order of the lane.
    queue: VecDeque<(ConnectionId, Request)>,
}

impl RequestChannel {
    /// A channel without connections.
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            connections: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// Somebody connected.
    pub fn on_accepted(&mut self, connection: ConnectionId, from: Arc<str>) {
        self.connections.insert(
            connection,
            Connection {
                from,
                muted: false,
                backlog: VecDeque::new(),
                closing: false,
            },
        );
    }

    /// Whether this end of a connection is one of ours.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// The connection is gone. The request of it that a handler has, or will have, is handled in any case, and its response
    /// vanishes. Those behind it are handled since KAFKA-3703 where the peer closed in good order (`closingChannels` of
    /// `Selector`); a reset takes them along.
    pub fn on_closed(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        let drains = reason == CloseReason::Peer && self.behaviour.has(Fix::DrainBeforeClose);
        if drains && !state.backlog.is_empty() {
            state.closing = true;
        } else {
            self.connections.remove(&connection);
        }
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

    /// A handler thread stands still in the middle of a request: others are handled before it goes on.
    pub fn put_back(&mut self, io: &mut Io<'_>, taken: Taken) {
        let connection = taken.token.connection;
        self.queue.push_back((connection, taken.request));
        io.queue(Lane::RequestHandler);
    }

    /// Answers a request and lets the connection's next one in.
    pub fn respond(&mut self, io: &mut Io<'_>, token: RequestToken, body: impl Into<ResponseBody>) {
        let closing = |state: &Connection| state.closing;
        if self.connections.get(&token.connection).is_some_and(closing) {
            // The send fails, and the channel is closed at last (`failedSends`).
            self.connections.remove(&token.connection);
        } else if self.connections.contains_key(&token.connection) {
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
        let known = self.connections.remove(&connection);
        if known.is_some_and(|state| !state.closing) {
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
        } else if state.closing {
            self.connections.remove(&connection);
        } else {
            state.muted = false;
        }
    }
}

/// The client id of brokers' own requests, `broker-1-fetcher-0` and the like.
pub fn internal_client_id(broker: i32, role: &str) -> ClientId {
    ClientId::from(format!("broker-{broker}-{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory_disk::Bench;
    use protocol::api::RequestBody;
    use protocol::api::data::{Acks, ProduceRequest};
    use protocol::behaviour::Era;
    use protocol::ids::CorrelationId;
    use protocol::time::Span;

    const CLIENT: ConnectionId = ConnectionId(7);

    fn produce(number: i32) -> Message {
        let body = RequestBody::Produce(ProduceRequest {
            transactional_id: None,
            acks: Acks::None,
            timeout: Span::ZERO,
            partitions: Vec::new(),
        });
        Message::Request(Box::new(Request {
            api_version: 3,
            correlation_id: CorrelationId(number),
            client_id: ClientId::from("p1"),
            body,
        }))
    }

    /// How many of three requests with acks=0 are handled when the client closes behind them.
    fn handled(fixed: bool, reason: CloseReason) -> usize {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::DrainBeforeClose, fixed);
        let (mut channel, mut bench) = (RequestChannel::new(behaviour), Bench::default());
        channel.on_accepted(CLIENT, Arc::from("p1"));
        for number in 0..3 {
            channel.on_message(&mut bench.io(), CLIENT, produce(number));
        }
        channel.on_closed(CLIENT, reason);
        let mut count = 0;
        while let Some(taken) = channel.take() {
            count += 1;
            channel.finish_silently(&mut bench.io(), taken.token);
        }
        assert!(!channel.owns(CLIENT), "the connection is gone in the end");
        count
    }

    #[test]
    fn what_was_sent_before_a_close_in_good_order_is_handled_since_kafka_3703() {
        assert_eq!(handled(true, CloseReason::Peer), 3);
        assert_eq!(
            handled(false, CloseReason::Peer),
            1,
            "only the one that a handler had already"
        );
    }

    #[test]
    fn a_reset_takes_along_what_no_handler_has() {
        assert_eq!(handled(true, CloseReason::Reset), 1);
    }

    #[test]
    fn the_first_answer_that_cannot_be_sent_ends_the_draining() {
        let (mut channel, mut bench) = (
            RequestChannel::new(Behaviour::of(Era::V2_8)),
            Bench::default(),
        );
        channel.on_accepted(CLIENT, Arc::from("p1"));
        for number in 0..2 {
            channel.on_message(&mut bench.io(), CLIENT, produce(number));
        }
        channel.on_closed(CLIENT, CloseReason::Peer);
        let taken = channel.take().unwrap();
        let answer = protocol::api::data::ProduceResponse {
            partitions: Vec::new(),
        };
        channel.respond(&mut bench.io(), taken.token, answer);
        assert!(channel.take().is_none() && !channel.owns(CLIENT));
    }
}
