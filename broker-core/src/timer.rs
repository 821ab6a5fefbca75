//! Names of a broker's timers: which part set it, and that part's own number.
//!
//! A [`TimerId`] is one number for the driver; the top byte says which part of the broker it belongs to.

use protocol::machine::TimerId;

/// The part of a broker that set a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum TimerOwner {
    /// The keeper client and the session with the ensemble.
    Keeper = 1,
    /// Requests waiting in purgatory.
    Purgatory = 2,
    /// Partitions: ISR shrink checks, high watermark checkpoints.
    Replication = 3,
    /// Fetcher threads.
    Fetcher = 4,
    /// The controller.
    Controller = 5,
    /// Channels from the controller to brokers.
    ControllerChannel = 6,
    /// The group coordinator.
    Group = 7,
    /// Logs: retention, flushes, checkpoints.
    Log = 8,
    /// The broker as a whole: start-up, shutdown, registration.
    Broker = 9,
    /// The writer of in-sync replicas.
    Isr = 10,
    /// Topic administration.
    Admin = 11,
    /// The transaction coordinator.
    Transaction = 12,
    /// Channels from the transaction coordinator to leaders.
    TransactionMarkers = 13,
    /// Channels to transaction coordinators that verify.
    Verification = 14,
}

impl TimerOwner {
    const ALL: [Self; 14] = [
        Self::Keeper,
        Self::Purgatory,
        Self::Replication,
        Self::Fetcher,
        Self::Controller,
        Self::ControllerChannel,
        Self::Group,
        Self::Log,
        Self::Broker,
        Self::Isr,
        Self::Admin,
        Self::Transaction,
        Self::TransactionMarkers,
        Self::Verification,
    ];

    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a fieldless enum"
    )]
    const fn byte(self) -> u64 {
        self as u64
    }

    /// The timer number `local` of this part; only the low 56 bits count.
    pub const fn timer(self, local: u64) -> TimerId {
        TimerId((self.byte() << 56) | (local & 0x00ff_ffff_ffff_ffff))
    }

    /// Whose timer it is, and its number there.
    ///
    /// # Panics
    /// When no part of a broker named the timer.
    pub fn of(timer: TimerId) -> (Self, u64) {
        let owner = Self::ALL
            .into_iter()
            .find(|owner| owner.byte() == timer.0 >> 56);
        (
            owner.expect("a broker's timer has an owner"),
            timer.0 & 0x00ff_ffff_ffff_ffff,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_tells_whose_it_is() {
        for owner in TimerOwner::ALL {
            assert_eq!(TimerOwner::of(owner.timer(77)), (owner, 77));
        }
    }
}
