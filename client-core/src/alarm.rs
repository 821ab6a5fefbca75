//! The one timer of a client.
//!
//! It is moved only to an earlier time: a later deadline is found out when the timer rings. Requests push the nearest
//! deadline away with every answer, and moving the timer each time would cost more than a ring too many now and then.

use protocol::machine::{Io, TimerId};
use protocol::time::Mono;

const TIMER: TimerId = TimerId(0);

/// The timer, and when it rings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Mono>,
}

impl Alarm {
    /// It rang.
    pub(crate) fn rang(&mut self) {
        self.at = None;
    }

    /// Rings at the latest then.
    pub(crate) fn set(&mut self, next: Option<Mono>, io: &mut Io<'_>) {
        let Some(next) = next else {
            return;
        };
        if self.at.is_none_or(|at| next < at) {
            self.at = Some(next);
            io.set_timer(TIMER, next);
        }
    }

    /// Never rings again.
    pub(crate) fn cancel(&mut self, io: &mut Io<'_>) {
        if self.at.take().is_some() {
            io.cancel_timer(TIMER);
        }
    }
}
