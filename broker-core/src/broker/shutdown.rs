//! A stop in good order (`KafkaServer.controlledShutdown`, `KafkaServer.shutdown`).
//!
//! First the controller moves every leadership away, asked up to `controlled.shutdown.max.retries` times more; then the
//! coordinators stop, logs are flushed and marked clean, and the keeper session is closed, so that the registration
//! vanishes at once.

use super::{Broker, Stage};
use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use protocol::api::cluster::{ControlledShutdownRequest, ControlledShutdownResponse};
use protocol::api::{RequestBody, ResponseBody};
use protocol::error_code::ErrorCode;
use protocol::machine::{ConnectionId, Input, Io};
use protocol::note::{BrokerNote, Note};
use protocol::time::Now;

/// Timer numbers within [`TimerOwner::Broker`].
const REQUEST_TIMER: u64 = 1;
const RETRY_TIMER: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asking the controller.
    Asking,
    /// Waiting before the next try.
    BackingOff,
    /// Flushing logs.
    Flushing,
    /// Closing the keeper session.
    Closing,
}

/// A stop under way.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    phase: Phase,
    tries_left: i32,
    channel: Option<PeerChannel>,
}

impl Shutdown {
    pub(super) fn owns_timer(number: u64) -> bool {
        number == REQUEST_TIMER || number == RETRY_TIMER
    }
}

impl Broker {
    pub(super) fn begin_shutdown(&mut self, now: Now, io: &mut Io<'_>) {
        if self.shutdown.is_some() {
            return;
        }
        if self.stage != Stage::Running {
            Self::halt("stopped before it was started", io);
            return;
        }
        io.note(Note::Broker(BrokerNote::ShuttingDown));
        let tries_left = self.spec.config.controlled_shutdown_max_retries + 1;
        self.shutdown = Some(Shutdown {
            phase: Phase::Asking,
            tries_left,
            channel: None,
        });
        if self.spec.config.controlled_shutdown_enable {
            self.ask_controller(now, io);
        } else {
            self.flush_logs(io);
        }
    }

    pub(super) fn is_shutdown_connection(&self, connection: ConnectionId) -> bool {
        let channel = self
            .shutdown
            .as_ref()
            .and_then(|shutdown| shutdown.channel.as_ref());
        channel.is_some_and(|channel| channel.owns(connection))
    }

    fn ask_controller(&mut self, now: Now, io: &mut Io<'_>) {
        let controller = self.coordination.controller.active_controller();
        let endpoint = controller
            .and_then(|id| self.replicas.metadata().endpoint(id))
            .cloned();
        let broker_epoch = self.coordination.registration.epoch();
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        shutdown.tries_left -= 1;
        let Some(endpoint) = endpoint else {
            self.back_off(now, io);
            return;
        };
        shutdown.phase = Phase::Asking;
        let id = self.spec.id;
        let client = internal_client_id(id.0, "controlled-shutdown");
        let timer = TimerOwner::Broker.timer(REQUEST_TIMER);
        let timeout = self.spec.config.controller_socket_timeout_ms;
        let mut channel = PeerChannel::new(endpoint, client, timer, timeout);
        let request = ControlledShutdownRequest {
            broker_id: id,
            broker_epoch,
        };
        channel.send(now, io, 3, RequestBody::ControlledShutdown(request));
        shutdown.channel = Some(channel);
    }

    pub(super) fn on_shutdown_channel(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        let channel = self
            .shutdown
            .as_mut()
            .and_then(|shutdown| shutdown.channel.as_mut());
        match channel.and_then(|channel| channel.handle(input, io)) {
            Some(PeerEvent::Response(ResponseBody::ControlledShutdown(
                ControlledShutdownResponse { error, remaining },
            ))) => {
                if error == ErrorCode::None && remaining.is_empty() {
                    self.flush_logs(io);
                } else {
                    self.back_off(now, io);
                }
            }
            Some(PeerEvent::Response(_) | PeerEvent::Failed) => self.back_off(now, io),
            None => {}
        }
    }

    fn back_off(&mut self, now: Now, io: &mut Io<'_>) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        if let Some(channel) = &mut shutdown.channel {
            channel.close(io);
        }
        shutdown.channel = None;
        if shutdown.tries_left <= 0 {
            // Proceeding to do an unclean shutdown as all the controlled shutdown attempts failed.
            self.flush_logs(io);
        } else {
            shutdown.phase = Phase::BackingOff;
            let at = now.mono + self.spec.config.controlled_shutdown_retry_backoff_ms;
            io.set_timer(TimerOwner::Broker.timer(RETRY_TIMER), at);
        }
    }

    pub(super) fn on_shutdown_timer(&mut self, now: Now, number: u64, io: &mut Io<'_>) {
        if number == RETRY_TIMER {
            self.ask_controller(now, io);
        } else {
            let timer = TimerOwner::Broker.timer(number);
            self.on_shutdown_channel(now, Input::Timer { timer }, io);
        }
    }

    fn flush_logs(&mut self, io: &mut Io<'_>) {
        if let Some(shutdown) = &mut self.shutdown {
            if let Some(channel) = &mut shutdown.channel {
                channel.close(io);
            }
            shutdown.channel = None;
            shutdown.phase = Phase::Flushing;
        }
        self.stage = Stage::Stopping;
        self.groups.shutdown();
        self.transactions.shutdown();
        self.replicas.shutdown(io);
    }

    pub(super) fn continue_shutdown(&mut self, now: Now, io: &mut Io<'_>) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        if shutdown.phase == Phase::Flushing && self.replicas.is_shut_down() {
            shutdown.phase = Phase::Closing;
            self.coordination.keeper.close(now, io);
        }
    }
}
