//! Connections to brokers, and the metadata that says which there are (`NetworkClient`, `ConsumerNetworkClient`).
//!
//! The owner asks with [`Network::send`] (when the connection can take it) or [`Network::submit`] (as soon as it can) and
//! gives each request a tag; the tag comes back in an [`Event`]. A request that times out closes its connection, and with
//! it everything in flight there is lost: whether it was done is not known.
//!
//! Left out: throttling, authentication, DNS, and going back to the bootstrap addresses when all brokers are gone
//! (KIP-899, later).

use crate::backoff::{Purpose, draw};
use crate::connection::{InFlight, Link, LinkState, Unsent, What};
pub(crate) use crate::connection::{LinkConfig, Outgoing, Peer};
use crate::metadata::Metadata;
use crate::versions::{Versions, fit};
use protocol::api::{ApiVersionsRequest, RequestBody, ResponseBody};
use protocol::ids::{ClientId, CorrelationId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io};
use protocol::message::{Message, Request, Response};
use protocol::time::{Mono, Span};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the network tells its owner.
#[derive(Clone, Debug)]
pub(crate) enum Event<T> {
    /// An answer.
    Answered {
        /// The request's tag.
        tag: T,
        /// The answer.
        body: ResponseBody,
    },
    /// A request that expects no answer was written.
    Written(T),
    /// No answer will come.
    Lost {
        /// The request's tag.
        tag: T,
        /// Whether the request was sent at all; if so it may have been carried out.
        sent: bool,
    },
    /// A connection can be used now.
    Ready,
    /// A connection is gone.
    Down(Peer),
    /// The metadata were renewed.
    Metadata,
}

/// A request as it is written: the body, and what waits for the answer for how long.
pub(super) struct Packet<T> {
    pub(super) body: RequestBody,
    pub(super) flight: Option<(What<T>, Option<Span>)>,
}

impl<T> Packet<T> {
    fn of(outgoing: Outgoing<T>) -> Self {
        Self {
            body: outgoing.body,
            flight: Some((What::Asked(outgoing.tag), outgoing.timeout)),
        }
    }
}

/// All connections of one client.
#[derive(Clone, Debug)]
pub(crate) struct Network<T> {
    pub(super) config: LinkConfig,
    client_id: ClientId,
    versions: Versions,
    pub(super) seed: u64,
    pub(super) bootstrap: Arc<[Endpoint]>,
    pub(crate) metadata: Metadata,
    /// Create missing topics when asking for them.
    pub(super) auto_create: bool,
    pub(super) links: BTreeMap<Peer, Link<T>>,
    peers: BTreeMap<ConnectionId, Peer>,
    next_correlation: i32,
    pub(super) choices: u64,
    pub(super) metadata_in_flight: bool,
    /// Nobody to ask: no sooner again than this.
    pub(super) metadata_rest: Mono,
    events: VecDeque<Event<T>>,
}

/// How a client starts.
pub(crate) struct NetworkSetup {
    pub(crate) link: LinkConfig,
    pub(crate) client_id: ClientId,
    pub(crate) versions: Versions,
    pub(crate) seed: u64,
    pub(crate) bootstrap: Vec<Endpoint>,
    pub(crate) metadata: Metadata,
    pub(crate) auto_create: bool,
}

impl<T: Clone> Network<T> {
    pub(crate) fn new(setup: NetworkSetup) -> Self {
        Self {
            config: setup.link,
            client_id: setup.client_id,
            versions: setup.versions,
            seed: setup.seed,
            bootstrap: setup.bootstrap.into(),
            metadata: setup.metadata,
            auto_create: setup.auto_create,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_correlation: 0,
            choices: 0,
            metadata_in_flight: false,
            metadata_rest: Mono(0),
            events: VecDeque::new(),
        }
    }

    /// What happened since the last call.
    pub(crate) fn next_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes an input that concerns connections.
    pub(crate) fn handle(&mut self, now: Mono, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Opened { connection } => self.opened(now, connection, io),
            Input::Refused { connection } | Input::Closed { connection, .. } => {
                if let Some(peer) = self.peers.get(&connection).copied() {
                    self.disconnect(now, peer);
                }
            }
            Input::Received {
                connection,
                message: Message::Response(response),
            } => self.received(now, connection, *response, io),
            // A broker asks nothing of a client, and other inputs are not the network's.
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

    fn opened(&mut self, now: Mono, connection: ConnectionId, io: &mut Io<'_>) {
        let Some(peer) = self.peers.get(&connection).copied() else {
            return;
        };
        let asks = self.versions.asks_brokers();
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if asks {
            link.state = LinkState::CheckingVersions { connection };
            let packet = Packet {
                body: ApiVersionsRequest.into(),
                flight: Some((What::ApiVersions, None)),
            };
            self.write(now, peer, packet, io);
        } else {
            link.ready(connection);
            self.events.push_back(Event::Ready);
            self.send_waiting(now, peer, io);
        }
    }

    fn received(
        &mut self,
        now: Mono,
        connection: ConnectionId,
        response: Response,
        io: &mut Io<'_>,
    ) {
        let Some(peer) = self.peers.get(&connection).copied() else {
            return;
        };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.last_used = now;
        let expected = link.in_flight.front().map(|flight| flight.correlation_id);
        if expected != Some(response.correlation_id) {
            // The stream is out of step (`InFlightRequests`: correlation id does not match); nothing on it can be
            // trusted any more.
            io.close(connection);
            self.disconnect(now, peer);
            return;
        }
        let Some(flight) = link.in_flight.pop_front() else {
            return;
        };
        match (flight.what, response.body) {
            (What::ApiVersions, ResponseBody::ApiVersions(answer)) => {
                link.versions = answer.versions.into();
                link.ready(connection);
                self.events.push_back(Event::Ready);
            }
            (What::Metadata, ResponseBody::Metadata(answer)) => {
                self.metadata_in_flight = false;
                self.metadata.update(now, &answer);
                self.events.push_back(Event::Metadata);
            }
            (What::Asked(tag), body) => self.events.push_back(Event::Answered { tag, body }),
            (What::ApiVersions | What::Metadata, _) => {
                io.close(connection);
                self.disconnect(now, peer);
                return;
            }
        }
        self.send_waiting(now, peer, io);
    }

    /// The connection of `peer` is gone (`processDisconnection`).
    fn disconnect(&mut self, now: Mono, peer: Peer) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(connection) = link.connection() {
            self.peers.remove(&connection);
        }
        link.disconnected(now, self.seed, peer, &self.config);
        for flight in std::mem::take(&mut link.in_flight) {
            match flight.what {
                What::ApiVersions => {}
                What::Metadata => {
                    self.metadata_in_flight = false;
                    self.metadata.failed_update(now);
                }
                What::Asked(tag) => self.events.push_back(Event::Lost { tag, sent: true }),
            }
        }
        for unsent in std::mem::take(&mut link.unsent) {
            let tag = unsent.outgoing.tag;
            self.events.push_back(Event::Lost { tag, sent: false });
        }
        self.metadata.request_update();
        self.events.push_back(Event::Down(peer));
    }

    /// Closes the connection of `peer`, if there is one; what is in flight is lost.
    pub(crate) fn close(&mut self, now: Mono, peer: Peer, io: &mut Io<'_>) {
        if let Some(connection) = self.links.get(&peer).and_then(Link::connection) {
            io.close(connection);
            self.disconnect(now, peer);
        }
    }

    /// Closes everything and forgets what was in flight.
    pub(crate) fn shut(&mut self, io: &mut Io<'_>) {
        for link in std::mem::take(&mut self.links).into_values() {
            if let Some(connection) = link.connection() {
                io.close(connection);
            }
        }
        self.peers.clear();
        self.events.clear();
        self.metadata_in_flight = false;
    }

    /// Lets time pass: closes what ran out of it, asks for metadata when due.
    pub(crate) fn tick(&mut self, now: Mono, io: &mut Io<'_>) {
        let late: Vec<Peer> = self
            .links
            .iter()
            .filter(|(_, link)| {
                link.next_deadline(self.config.max_idle)
                    .is_some_and(|at| at <= now)
            })
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.expire(now, peer, io);
        }
        self.maybe_update_metadata(now, io);
    }

    fn expire(&mut self, now: Mono, peer: Peer, io: &mut Io<'_>) {
        let max_idle = self.config.max_idle;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        while let Some(index) = link.unsent.iter().position(|unsent| unsent.until <= now) {
            if let Some(unsent) = link.unsent.remove(index) {
                let tag = unsent.outgoing.tag;
                self.events.push_back(Event::Lost { tag, sent: false });
            }
        }
        if link.next_deadline(max_idle).is_some_and(|at| at <= now) {
            self.close(now, peer, io);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let links = self
            .links
            .values()
            .filter_map(|link| link.next_deadline(self.config.max_idle));
        let metadata = (!self.metadata_in_flight && !self.is_connecting())
            .then(|| self.metadata.next_update().max(self.metadata_rest));
        links.chain(metadata).min()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.links.values().any(Link::is_preparing)
    }

    pub(super) fn link(&self, peer: Peer) -> Option<&Link<T>> {
        self.links.get(&peer)
    }

    /// Says where `peer` listens, for one that metadata do not tell of.
    pub(crate) fn learn(&mut self, peer: Peer, endpoint: Endpoint) {
        match self.links.get_mut(&peer) {
            Some(link) => link.endpoint = endpoint,
            None => {
                self.links.insert(peer, Link::new(endpoint));
            }
        }
    }

    fn endpoint(&self, peer: Peer) -> Option<Endpoint> {
        let known = match peer {
            Peer::Bootstrap(index) => self.bootstrap.get(usize::from(index)),
            Peer::Broker(id) => self.metadata.brokers().get(&id),
            Peer::Coordinator(_) => None,
        };
        known
            .or_else(|| self.link(peer).map(|link| &link.endpoint))
            .cloned()
    }

    /// Dials, unless it is too early or done already.
    pub(super) fn connect(&mut self, now: Mono, peer: Peer, io: &mut Io<'_>) {
        let Some(endpoint) = self.endpoint(peer) else {
            return;
        };
        let config = self.config;
        let chance = draw(self.seed, Purpose::Setup, peer.subject(), now.0);
        let link = self
            .links
            .entry(peer)
            .or_insert_with(|| Link::new(endpoint.clone()));
        if !link.can_connect(now) {
            return;
        }
        link.endpoint = endpoint.clone();
        let connection = io.connect(endpoint);
        link.connecting(now, connection, &config, chance);
        self.peers.insert(connection, peer);
    }

    /// Whether `peer` can take a request now; if not, a connection is on its way (`KafkaClient.ready`).
    pub(crate) fn is_ready(&mut self, now: Mono, peer: Peer, io: &mut Io<'_>) -> bool {
        let max = self.config.max_in_flight;
        if self.link(peer).is_some_and(|link| link.can_send(max)) {
            return true;
        }
        self.connect(now, peer, io);
        false
    }

    /// The connection failed and is being rested (`isUnavailable`).
    pub(crate) fn is_backing_off(&self, now: Mono, peer: Peer) -> bool {
        self.link(peer).is_some_and(|link| link.is_backing_off(now))
    }

    /// From when on `peer` may be dialled again; none when a connection stands or is on its way.
    pub(crate) fn may_connect_at(&self, peer: Peer) -> Option<Mono> {
        match self.link(peer) {
            Some(link) if link.state == LinkState::Disconnected => Some(link.retry_at),
            Some(_) => None,
            None => Some(Mono(0)),
        }
    }

    /// Sends to a peer that is ready. Where no answer is expected the request counts as written at once.
    pub(crate) fn send(&mut self, now: Mono, peer: Peer, outgoing: Outgoing<T>, io: &mut Io<'_>) {
        if outgoing.answered {
            self.write(now, peer, Packet::of(outgoing), io);
        } else {
            let body = outgoing.body;
            self.write(now, peer, Packet { body, flight: None }, io);
            self.events.push_back(Event::Written(outgoing.tag));
        }
    }

    /// Sends as soon as the connection can take it; lost when it cannot be made, or not within the time-out, or not
    /// answered within the time-out after it was sent (`ConsumerNetworkClient.send`).
    pub(crate) fn submit(&mut self, now: Mono, peer: Peer, outgoing: Outgoing<T>, io: &mut Io<'_>) {
        if self.is_ready(now, peer, io) {
            self.write(now, peer, Packet::of(outgoing), io);
            return;
        }
        let until = now + outgoing.timeout.unwrap_or(self.config.request_timeout);
        match self.links.get_mut(&peer) {
            Some(link) if link.state != LinkState::Disconnected => {
                link.unsent.push_back(Unsent { outgoing, until });
            }
            Some(_) | None => {
                let tag = outgoing.tag;
                self.events.push_back(Event::Lost { tag, sent: false });
            }
        }
    }

    fn send_waiting(&mut self, now: Mono, peer: Peer, io: &mut Io<'_>) {
        let max = self.config.max_in_flight;
        loop {
            let Some(link) = self.links.get_mut(&peer).filter(|link| link.can_send(max)) else {
                return;
            };
            let Some(next) = link.unsent.pop_front() else {
                return;
            };
            self.write(now, peer, Packet::of(next.outgoing), io);
        }
    }

    pub(super) fn write(&mut self, now: Mono, peer: Peer, packet: Packet<T>, io: &mut Io<'_>) {
        let Packet { mut body, flight } = packet;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let Some(connection) = link.connection() else {
            return;
        };
        link.last_used = now;
        let api_version = self.versions.with_broker(body.api_key(), &link.versions);
        fit(&mut body, api_version);
        let correlation_id = CorrelationId(self.next_correlation);
        self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(0);
        if let Some((what, timeout)) = flight {
            let until = now + timeout.unwrap_or(self.config.request_timeout);
            link.in_flight.push_back(InFlight {
                correlation_id,
                until,
                what,
            });
        }
        let request = Request {
            api_version,
            correlation_id,
            client_id: self.client_id.clone(),
            body,
        };
        io.send(connection, Message::Request(Box::new(request)));
    }

    /// Whether nothing is in flight or waiting on `peer`'s connection.
    pub(crate) fn is_quiet(&self, peer: Peer) -> bool {
        self.link(peer)
            .is_none_or(|link| link.in_flight.is_empty() && link.unsent.is_empty())
    }

    /// The controller of the metadata as a peer.
    pub(crate) fn controller(&self) -> Option<Peer> {
        let id = self.metadata.controller()?;
        self.metadata
            .brokers()
            .contains_key(&id)
            .then_some(Peer::Broker(id))
    }
}
