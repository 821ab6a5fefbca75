//! One connection to one broker: its state, its waiting times and what is in flight on it (`ClusterConnectionStates`,
//! `InFlightRequests`).
//!
//! A broker answers the requests of a connection in order, so that the oldest in flight is the one answered next.

use crate::backoff::{Purpose, draw, exponential};
use crate::versions::BrokerVersions;
use protocol::api::RequestBody;
use protocol::ids::{BrokerId, CorrelationId, Endpoint};
use protocol::machine::ConnectionId;
use protocol::time::{Mono, Span};
use std::collections::VecDeque;

/// Whom a connection is for. A coordinator has a connection of its own, so that its answers do not queue behind fetches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Peer {
    /// An address of `bootstrap.servers`.
    Bootstrap(u16),
    /// A broker of the metadata.
    Broker(BrokerId),
    /// A broker as coordinator (`Integer.MAX_VALUE - id` in Java).
    Coordinator(BrokerId),
}

impl Peer {
    pub(super) fn subject(self) -> u64 {
        match self {
            Self::Bootstrap(index) => u64::from(index),
            Self::Broker(id) => (1 << 32) | u64::from(id.0.unsigned_abs()),
            Self::Coordinator(id) => (2 << 32) | u64::from(id.0.unsigned_abs()),
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkState {
    /// There is none.
    Disconnected,
    /// Being opened.
    Connecting {
        connection: ConnectionId,
        until: Mono,
    },
    /// Open; the broker has not said yet what it speaks.
    CheckingVersions { connection: ConnectionId },
    /// In use.
    Ready { connection: ConnectionId },
}

/// What a request in flight is for.
#[derive(Clone, Debug)]
pub(super) enum What<T> {
    ApiVersions,
    Metadata,
    Asked(T),
}

/// A request in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight<T> {
    pub(super) correlation_id: CorrelationId,
    pub(super) until: Mono,
    pub(super) what: What<T>,
}

/// A request as its owner makes it.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<T> {
    pub(crate) body: RequestBody,
    pub(crate) tag: T,
    /// Instead of `request.timeout.ms`.
    pub(crate) timeout: Option<Span>,
    /// An answer will come.
    pub(crate) answered: bool,
}

impl<T> Outgoing<T> {
    pub(crate) fn new(body: impl Into<RequestBody>, tag: T) -> Self {
        Self {
            body: body.into(),
            tag,
            timeout: None,
            answered: true,
        }
    }
}

/// A request that waits for the connection.
#[derive(Clone, Debug)]
pub(super) struct Unsent<T> {
    pub(super) outgoing: Outgoing<T>,
    pub(super) until: Mono,
}

/// The settings of all connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkConfig {
    pub(crate) reconnect_backoff: Span,
    pub(crate) reconnect_backoff_max: Span,
    pub(crate) setup_timeout: Span,
    pub(crate) setup_timeout_max: Span,
    pub(crate) max_idle: Span,
    pub(crate) request_timeout: Span,
    pub(crate) max_in_flight: usize,
}

/// A connection, or the memory of one.
#[derive(Clone, Debug)]
pub(super) struct Link<T> {
    pub(super) endpoint: Endpoint,
    pub(super) state: LinkState,
    /// No new attempt before.
    pub(super) retry_at: Mono,
    pub(super) last_attempt: Mono,
    /// Disconnects since it last was ready.
    failures: u32,
    /// Attempts that never opened.
    failed_setups: u32,
    /// Attempts ever, which number the draws.
    attempts: u64,
    pub(super) last_used: Mono,
    pub(super) in_flight: VecDeque<InFlight<T>>,
    pub(super) unsent: VecDeque<Unsent<T>>,
    pub(super) versions: BrokerVersions,
}

impl<T> Link<T> {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            state: LinkState::Disconnected,
            retry_at: Mono(0),
            last_attempt: Mono(0),
            failures: 0,
            failed_setups: 0,
            attempts: 0,
            last_used: Mono(0),
            in_flight: VecDeque::new(),
            unsent: VecDeque::new(),
            versions: std::sync::Arc::new([]),
        }
    }

    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        match self.state {
            LinkState::Disconnected => None,
            LinkState::Connecting { connection, .. }
            | LinkState::CheckingVersions { connection }
            | LinkState::Ready { connection } => Some(connection),
        }
    }

    pub(super) fn is_preparing(&self) -> bool {
        matches!(
            self.state,
            LinkState::Connecting { .. } | LinkState::CheckingVersions { .. }
        )
    }

    pub(super) fn can_send(&self, max_in_flight: usize) -> bool {
        matches!(self.state, LinkState::Ready { .. }) && self.in_flight.len() < max_in_flight
    }

    pub(super) fn can_connect(&self, now: Mono) -> bool {
        self.state == LinkState::Disconnected && now >= self.retry_at
    }

    /// It failed and is not to be tried again yet (`isBlackedOut`).
    pub(super) fn is_backing_off(&self, now: Mono) -> bool {
        self.state == LinkState::Disconnected && now < self.retry_at
    }

    pub(super) fn connecting(
        &mut self,
        now: Mono,
        id: ConnectionId,
        config: &LinkConfig,
        chance: u64,
    ) {
        let until = now
            + exponential(
                config.setup_timeout,
                config.setup_timeout_max,
                self.failed_setups,
                chance,
            );
        self.last_attempt = now;
        self.last_used = now;
        self.state = LinkState::Connecting {
            connection: id,
            until,
        };
    }

    pub(super) fn ready(&mut self, connection: ConnectionId) {
        self.failures = 0;
        self.failed_setups = 0;
        self.state = LinkState::Ready { connection };
    }

    /// The connection is gone; what was in flight is for the caller to fail.
    pub(super) fn disconnected(&mut self, now: Mono, seed: u64, peer: Peer, config: &LinkConfig) {
        if matches!(self.state, LinkState::Connecting { .. }) {
            self.failed_setups += 1;
        }
        self.attempts += 1;
        let chance = draw(seed, Purpose::Reconnect, peer.subject(), self.attempts);
        self.retry_at = now
            + exponential(
                config.reconnect_backoff,
                config.reconnect_backoff_max,
                self.failures,
                chance,
            );
        self.failures += 1;
        self.last_attempt = now;
        self.state = LinkState::Disconnected;
    }

    /// When something here runs out of time.
    pub(super) fn next_deadline(&self, max_idle: Span) -> Option<Mono> {
        let idle = match self.state {
            LinkState::Connecting { until, .. } => Some(until),
            LinkState::Ready { .. } if self.in_flight.is_empty() => Some(self.last_used + max_idle),
            LinkState::Disconnected
            | LinkState::CheckingVersions { .. }
            | LinkState::Ready { .. } => None,
        };
        // Most connections rest most of the time, and this is asked of all of them after every input.
        if self.in_flight.is_empty() && self.unsent.is_empty() {
            return idle;
        }
        let flights = self.in_flight.iter().map(|flight| flight.until);
        let waits = self.unsent.iter().map(|unsent| unsent.until);
        idle.into_iter().chain(flights).chain(waits).min()
    }
}
