//! The controller's lines to the brokers, its own included (`ControllerChannelManager`, `RequestSendThread`).
//!
//! Each broker has a queue served in order, one request in flight. A request that fails is sent again after 100 ms, for as
//! long as the broker stays in the controller's view: nothing is skipped and nothing overtakes.

use super::batch::Outgoing;
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use protocol::api::{RequestBody, ResponseBody};
use protocol::ids::{BrokerId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, VecDeque};

/// `RequestSendThread.backoff`.
const BACKOFF: Span = Span::millis(100);

#[derive(Clone, Debug)]
struct Line {
    peer: PeerChannel,
    /// The first one is in flight, or about to be.
    queue: VecDeque<Outgoing>,
    backing_off: bool,
}

/// The lines.
#[derive(Clone, Debug)]
pub struct Channels {
    controller: BrokerId,
    request_timeout: Span,
    lines: BTreeMap<BrokerId, Line>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What was asked of whom.
    pub request: Outgoing,
    /// The answer.
    pub response: ResponseBody,
}

/// Numbers of a line's two timers within [`TimerOwner::ControllerChannel`].
fn timer_numbers(broker: BrokerId) -> (u64, u64) {
    let id = u64::try_from(broker.0).expect("broker ids are not negative");
    (id * 2, id * 2 + 1)
}

impl Channels {
    /// No lines yet; `request_timeout` is `controller.socket.timeout.ms`.
    pub fn new(controller: BrokerId, request_timeout: Span) -> Self {
        Self {
            controller,
            request_timeout,
            lines: BTreeMap::new(),
        }
    }

    /// A broker came.
    pub fn add(&mut self, broker: BrokerId, endpoint: Endpoint) {
        let client_id = internal_client_id(self.controller.0, "controller");
        let timer = TimerOwner::ControllerChannel.timer(timer_numbers(broker).0);
        self.lines.entry(broker).or_insert_with(|| Line {
            peer: PeerChannel::new(endpoint, client_id, timer, self.request_timeout),
            queue: VecDeque::new(),
            backing_off: false,
        });
    }

    /// A broker is gone, and with it everything that waits for it.
    pub fn remove(&mut self, io: &mut Io<'_>, broker: BrokerId) {
        if let Some(mut line) = self.lines.remove(&broker) {
            line.peer.close(io);
            if line.backing_off {
                let timer = timer_numbers(broker).1;
                io.cancel_timer(TimerOwner::ControllerChannel.timer(timer));
            }
        }
    }

    /// The controller resigned.
    pub fn clear(&mut self, io: &mut Io<'_>) {
        for broker in self.lines.keys().copied().collect::<Vec<_>>() {
            self.remove(io, broker);
        }
    }

    /// Queues a request; one for a broker without a line is dropped, as Kafka warns and does.
    pub fn send(&mut self, now: Now, io: &mut Io<'_>, outgoing: Outgoing) {
        if let Some(line) = self.lines.get_mut(&outgoing.broker) {
            line.queue.push_back(outgoing);
            line.pump(now, io);
        }
    }

    /// Whether this end of a connection leads to a broker.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        self.lines.values().any(|line| line.peer.owns(connection))
    }

    /// Takes an input about such a connection.
    pub fn on_connection(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        connection: ConnectionId,
        input: Input,
    ) -> Option<Answered> {
        let mut lines = self.lines.iter_mut();
        let (broker, line) = lines.find(|(_, line)| line.peer.owns(connection))?;
        line.handle(now, io, *broker, input)
    }

    /// Takes a timer of [`TimerOwner::ControllerChannel`].
    pub fn on_timer(&mut self, now: Now, io: &mut Io<'_>, local: u64) -> Option<Answered> {
        let broker = BrokerId(i32::try_from(local / 2).ok()?);
        let line = self.lines.get_mut(&broker)?;
        if local % 2 == 1 {
            line.backing_off = false;
            line.pump(now, io);
            return None;
        }
        let timer = TimerOwner::ControllerChannel.timer(local);
        line.handle(now, io, broker, Input::Timer { timer })
    }
}

impl Line {
    fn pump(&mut self, now: Now, io: &mut Io<'_>) {
        if self.peer.is_busy() || self.backing_off {
            return;
        }
        if let Some(next) = self.queue.front() {
            let body: RequestBody = next.body.clone();
            self.peer.send(now, io, next.api_version, body);
        }
    }

    fn handle(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        broker: BrokerId,
        input: Input,
    ) -> Option<Answered> {
        match self.peer.handle(input, io)? {
            PeerEvent::Response(response) => {
                let request = self.queue.pop_front()?;
                self.pump(now, io);
                Some(Answered { request, response })
            }
            PeerEvent::Failed => {
                self.peer.close(io);
                self.backing_off = true;
                let timer = timer_numbers(broker).1;
                io.set_timer(
                    TimerOwner::ControllerChannel.timer(timer),
                    now.mono + BACKOFF,
                );
                None
            }
        }
    }
}
