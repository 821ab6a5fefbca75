//! The admin client (`KafkaAdminClient`): each call goes to the node it needs — the controller, a leader, a group's
//! coordinator, anybody — and is tried again until it is answered or `default.api.timeout.ms` is over.
//!
//! A call that changes something and gets no answer is *info*: it may have worked. A try after that may find its own
//! work done (`TOPIC_ALREADY_EXISTS`), which is *info* too. Left out: all calls that no verb asks for.

mod answers;
mod call;

use crate::alarm::Alarm;
use crate::metadata::Metadata;
use crate::network::{Event, LinkConfig, Network, NetworkSetup, Outgoing, Peer};
use crate::versions::Versions;
use call::{Call, Target, Task};
use protocol::behaviour::Behaviour;
use protocol::config::AdminConfig;
use protocol::ids::{ClientId, Endpoint};
use protocol::machine::{Input, Io, Machine};
use protocol::time::{Mono, Now, Span};
use protocol::verb::{ClientError, Failure, OperationId, Outcome, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names a call; a request's tag adds the node's part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CallId(u64);

/// `KafkaAdminClient`.
#[derive(Clone, Debug)]
pub struct Admin {
    config: Arc<AdminConfig>,
    network: Network<CallId>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    /// The close under way, and when it stops waiting.
    closing: Option<(OperationId, Mono)>,
    closed: bool,
    alarm: Alarm,
}

impl Admin {
    /// An admin client that will look for its cluster at `bootstrap`; `seed` decides the jitter of its backoffs and whom
    /// it asks first.
    pub fn new(
        config: Arc<AdminConfig>,
        bootstrap: Vec<Endpoint>,
        behaviour: Behaviour,
        client_id: ClientId,
        seed: u64,
    ) -> Self {
        let network = Network::new(NetworkSetup {
            link: LinkConfig {
                reconnect_backoff: config.reconnect_backoff_ms,
                reconnect_backoff_max: config.reconnect_backoff_max_ms,
                // The admin client of 2.8 has the producer's defaults and nobody changes them.
                setup_timeout: Span::secs(10),
                setup_timeout_max: Span::secs(30),
                max_idle: config.connections_max_idle_ms,
                request_timeout: config.request_timeout_ms,
                max_in_flight: usize::MAX,
            },
            client_id,
            versions: Versions::new(behaviour),
            seed,
            bootstrap,
            metadata: Metadata::new(
                behaviour,
                (config.retry_backoff_ms, config.metadata_max_age_ms),
                None,
            ),
            auto_create: false,
        });
        Self {
            config,
            network,
            calls: BTreeMap::new(),
            next_call: 0,
            closing: None,
            closed: false,
            alarm: Alarm::default(),
        }
    }

    /// Whether no call is under way.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.closing.is_none()
    }

    /// The process ends without a word: its connections close.
    pub fn quit(&mut self, io: &mut Io<'_>) {
        self.network.shut(io);
        self.alarm.cancel(io);
    }

    fn verb(&mut self, now: Mono, operation: OperationId, verb: Verb, io: &mut Io<'_>) {
        if self.closed || self.closing.is_some() {
            let result = if matches!(verb, Verb::Close(_)) {
                Ok(())
            } else {
                Err(Failure::fail(ClientError::Closed))
            };
            io.outcome(operation, Outcome::Done(result));
            return;
        }
        if let Verb::Close(timeout) = verb {
            self.closing = Some((operation, now + timeout));
            return;
        }
        let Some(task) = Task::of(verb) else {
            let error = ClientError::IllegalState("an admin client cannot do this");
            io.outcome(operation, Outcome::Done(Err(Failure::fail(error))));
            return;
        };
        for topic in task.topics_of_interest() {
            self.network.metadata.want(&topic, now);
        }
        let until = now + self.config.default_api_timeout_ms;
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, Call::new(operation, task, until));
    }

    fn run(&mut self, now: Mono, io: &mut Io<'_>) {
        loop {
            while let Some(event) = self.network.next_event() {
                self.event(now, event, io);
            }
            self.time_out(now, io);
            self.dispatch_all(now, io);
            self.network.tick(now, io);
            if !self.network.has_events() {
                break;
            }
        }
        self.maybe_finish_close(now, io);
    }

    fn event(&mut self, now: Mono, event: Event<CallId>, io: &mut Io<'_>) {
        match event {
            Event::Answered { tag, body } => {
                if let Some(call) = self.calls.get_mut(&tag) {
                    call.in_flight -= 1;
                    let next = call.take(body, &mut self.network);
                    self.go_on(now, tag, next, io);
                }
            }
            Event::Lost { tag, sent } => {
                if let Some(call) = self.calls.get_mut(&tag) {
                    call.in_flight -= 1;
                    let next = call.lost(sent, self.config.retries);
                    self.go_on(now, tag, next, io);
                }
            }
            Event::Written(_) | Event::Ready | Event::Down(_) | Event::Metadata => {}
        }
    }

    fn go_on(&mut self, now: Mono, id: CallId, next: call::Next, io: &mut Io<'_>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match next {
            call::Next::Wait => {}
            call::Next::Again => call.ready_at = Some(now + self.config.retry_backoff_ms),
            call::Next::AtOnce => call.ready_at = Some(now),
            call::Next::Done(outcome) => {
                io.outcome(call.operation, outcome);
                self.calls.remove(&id);
            }
        }
    }

    fn time_out(&mut self, now: Mono, io: &mut Io<'_>) {
        let is_late = |call: &Call| call.until <= now;
        if !self.calls.values().any(is_late) {
            return;
        }
        let calls = std::mem::take(&mut self.calls);
        for (id, call) in calls {
            if is_late(&call) {
                let error = ClientError::Timeout("default.api.timeout.ms");
                io.outcome(call.operation, call.give_up(error));
            } else {
                self.calls.insert(id, call);
            }
        }
    }

    fn dispatch_all(&mut self, now: Mono, io: &mut Io<'_>) {
        let ready: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.in_flight == 0 && call.ready_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            self.dispatch(now, id, io);
        }
    }

    fn dispatch(&mut self, now: Mono, id: CallId, io: &mut Io<'_>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let requests = call.requests(now, &self.network.metadata);
        if requests.is_empty() {
            // Nobody is known to send to yet.
            self.network.metadata.request_update();
            return;
        }
        let mut addressed = Vec::with_capacity(requests.len());
        for (target, body) in requests {
            let peer = match target {
                Target::Anybody => self.network.least_loaded(now),
                Target::Controller => self.network.controller(),
                Target::Broker(id) => Some(Peer::Broker(id)),
            };
            let Some(peer) = peer else {
                if target == Target::Controller {
                    self.network.metadata.request_update();
                } else {
                    call.ready_at = Some(self.network.rest_over_at(now));
                }
                return;
            };
            addressed.push((peer, body));
        }
        call.ready_at = None;
        call.in_flight = addressed.len();
        for (peer, body) in addressed {
            self.network.submit(now, peer, Outgoing::new(body, id), io);
        }
    }

    fn maybe_finish_close(&mut self, now: Mono, io: &mut Io<'_>) {
        let Some((operation, until)) = self.closing else {
            return;
        };
        if until <= now {
            for call in std::mem::take(&mut self.calls).into_values() {
                io.outcome(call.operation, call.give_up(ClientError::Closed));
            }
        }
        if self.calls.is_empty() {
            self.closing = None;
            self.closed = true;
            self.network.shut(io);
            io.outcome(operation, Outcome::Done(Ok(())));
        }
    }

    fn set_timer(&mut self, now: Mono, io: &mut Io<'_>) {
        if self.closed {
            self.alarm.cancel(io);
            return;
        }
        let calls = self
            .calls
            .values()
            .flat_map(|call| [Some(call.until), call.ready_at.filter(|at| *at > now)])
            .flatten();
        let next = calls
            .chain(self.network.next_deadline())
            .chain(self.closing.map(|(_, until)| until))
            .min();
        self.alarm.set(next, io);
    }
}

impl Machine for Admin {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Verb { operation, verb } => self.verb(now.mono, operation, verb, io),
            Input::Timer { .. } => self.alarm.rang(),
            Input::Stop => {
                self.network.shut(io);
                self.closed = true;
                io.exit(true);
            }
            Input::Started
            | Input::Opened { .. }
            | Input::Accepted { .. }
            | Input::Refused { .. }
            | Input::Closed { .. }
            | Input::Received { .. }
            | Input::Flushed { .. }
            | Input::Due { .. } => self.network.handle(now.mono, input, io),
        }
        if !self.closed {
            self.run(now.mono, io);
        }
        self.set_timer(now.mono, io);
    }
}
