//! Two client cores in one process: each has its own connections and timers, and the process ends when both have.

use protocol::machine::{ConnectionId, Effect, Input, Io, Machine, Stamped, TimerId};
use protocol::time::Now;
use protocol::verb::{OperationId, Outcome, Verb};
use std::collections::BTreeSet;

/// The timers of the second core are numbered from here on.
const SECOND: u64 = 1 << 32;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

type Outcomes = Vec<(OperationId, Outcome)>;

/// Two cores.
#[derive(Clone, Debug)]
pub(super) struct TwoCores<A, B> {
    pub(super) first: A,
    second: B,
    /// The connections of the second core; all others are the first one's.
    of_second: BTreeSet<ConnectionId>,
    /// Which of them have ended.
    ended: (bool, bool),
}

impl<A: Machine, B: Machine> TwoCores<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self {
            first,
            second,
            of_second: BTreeSet::new(),
            ended: (false, false),
        }
    }

    /// A call of a verb of one of them.
    pub(super) fn call(
        &mut self,
        side: Side,
        now: Now,
        io: &mut Io<'_>,
        (id, verb): (u64, Verb),
    ) -> Outcomes {
        let operation = OperationId(id);
        self.drive(side, now, Input::Verb { operation, verb }, io)
    }

    /// Gives an input to whom it concerns: what the first tells of it, and the second.
    pub(super) fn input(
        &mut self,
        now: Now,
        input: Input,
        io: &mut Io<'_>,
    ) -> (Outcomes, Outcomes) {
        let (input, side) = match input {
            Input::Timer { timer } if timer.0 >= SECOND => {
                let timer = TimerId(timer.0 - SECOND);
                (Input::Timer { timer }, Some(Side::Second))
            }
            Input::Timer { .. } | Input::Verb { .. } => (input, Some(Side::First)),
            Input::Opened { connection }
            | Input::Refused { connection }
            | Input::Closed { connection, .. }
            | Input::Received { connection, .. } => {
                let is_second = self.of_second.contains(&connection);
                let side = if is_second { Side::Second } else { Side::First };
                (input, Some(side))
            }
            Input::Started
            | Input::Accepted { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Stop => (input, None),
        };
        match side {
            Some(Side::First) => (self.drive(Side::First, now, input, io), Vec::new()),
            Some(Side::Second) => (Vec::new(), self.drive(Side::Second, now, input, io)),
            None => {
                let first = self.drive(Side::First, now, input.clone(), io);
                (first, self.drive(Side::Second, now, input, io))
            }
        }
    }

    fn drive(&mut self, side: Side, now: Now, input: Input, io: &mut Io<'_>) -> Outcomes {
        if let Input::Closed { connection, .. } | Input::Refused { connection } = &input
            && side == Side::Second
        {
            self.of_second.remove(connection);
        }
        let mut effects: Vec<Stamped> = Vec::new();
        match side {
            Side::First => self
                .first
                .handle(now, input, &mut io.redirected(&mut effects)),
            Side::Second => self
                .second
                .handle(now, input, &mut io.redirected(&mut effects)),
        }
        let mut outcomes = Vec::new();
        for mut stamped in effects {
            if let Effect::Outcome { operation, outcome } = stamped.effect {
                outcomes.push((operation, outcome));
                continue;
            }
            if let Effect::Exit { .. } = &stamped.effect {
                self.ended.0 |= side == Side::First;
                self.ended.1 |= side == Side::Second;
                if self.ended != (true, true) {
                    continue;
                }
            }
            if side == Side::Second {
                match &mut stamped.effect {
                    Effect::SetTimer { timer, .. } | Effect::CancelTimer { timer } => {
                        timer.0 += SECOND;
                    }
                    Effect::Connect { connection, .. } => {
                        self.of_second.insert(*connection);
                    }
                    Effect::Close { connection } => {
                        self.of_second.remove(connection);
                    }
                    Effect::Send { .. }
                    | Effect::Flush { .. }
                    | Effect::Queue { .. }
                    | Effect::Note(_)
                    | Effect::Outcome { .. }
                    | Effect::Exit { .. } => {}
                }
            }
            io.forward(stamped);
        }
        outcomes
    }
}
