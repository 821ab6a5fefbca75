//! One input's clocks and hands, passed together.

use protocol::machine::{Io, TimerId};
use protocol::time::{Now, Span};

/// A step of the server.
pub(crate) struct Step<'a, 'b> {
    pub(crate) now: Now,
    pub(crate) io: &'a mut Io<'b>,
}

impl Step<'_, '_> {
    pub(crate) fn ring_in(&mut self, timer: TimerId, wait: Span) {
        let at = self.now.mono + wait;
        self.io.set_timer(timer, at);
    }
}
