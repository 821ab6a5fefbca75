//! A TCP connection: two ends, two directions, and what is under way in each.

use super::super::clock::At;
use super::super::command::FaultId;
use protocol::machine::{CloseReason, ConnectionId};
use protocol::message::Message;
use protocol::time::Span;
use std::collections::VecDeque;

/// What the kernel of an end thinks of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kernel {
    /// The acceptor's before the first packet.
    Absent,
    /// The dialler's until it is answered.
    Dialling,
    /// The acceptor's until the handshake is over.
    SynReceived,
    /// Open.
    Open,
    /// Closed in good order: what was sent before is still delivered and retransmitted.
    Closed,
    /// Gone: nothing is retransmitted, whatever arrives is answered with a reset.
    Gone,
    /// The host is without power, or was when the connection ended.
    Dark,
}

/// One end.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) id: ConnectionId,
    pub(super) node: u16,
    pub(super) life: u32,
    pub(super) kernel: Kernel,
    /// The process still holds the socket.
    pub(super) held: bool,
}

/// What is on the wire.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Message(Message),
    Syn,
    SynAck,
    Ack,
    Refuse,
    Fin,
    Reset(CloseReason),
    /// Here a message was dropped; when its turn comes the connection is reset.
    Dropped,
}

impl Item {
    /// TCP sends it again when it is lost.
    pub(super) fn is_retransmitted(&self) -> bool {
        !matches!(self, Self::Reset(_))
    }

    pub(super) fn is_handshake(&self) -> bool {
        matches!(self, Self::Syn | Self::SynAck | Self::Ack | Self::Refuse)
    }
}

/// An item with its timetable.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) item: Item,
    pub(super) size: u64,
    /// The how-manieth of its kind on the link.
    pub(super) nth: u32,
    pub(super) departs: At,
    pub(super) arrives: At,
    /// Waits for this rule to end.
    pub(super) held: Option<FaultId>,
}

/// One direction. Only the head of the queue has an event.
#[derive(Clone, Debug, Default)]
pub(super) struct Direction {
    pub(super) queue: VecDeque<Packet>,
    /// What does not fit into the send buffer, in the process's memory.
    pub(super) waiting: VecDeque<(Message, u64)>,
    /// A `Fin` is to follow what waits.
    pub(super) fin_waits: bool,
    /// Bytes sent and not yet taken by the receiving process.
    pub(super) in_flight: u64,
    pub(super) last_arrival: At,
    /// Of the head's event.
    pub(super) token: u32,
    /// Since when the head does not get through.
    pub(super) stalled: Option<At>,
    /// Bytes taken by the receiver whose acknowledgement does not get back.
    pub(super) unacked: u64,
    /// A message was dropped: everything behind it is lost.
    pub(super) dropped: bool,
    /// A message that the next one is to overtake.
    pub(super) overtaken: Option<Packet>,
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The dialler's end, then the acceptor's.
    pub(super) ends: [End; 2],
    /// From each end to the other.
    pub(super) directions: [Direction; 2],
    pub(super) port: u16,
    pub(super) dialled: At,
    /// The how-manieth from its dialler to its acceptor: it keys the draws of its control packets, so that a connection
    /// elsewhere moves none of them.
    pub(super) dial: u32,
    /// Token of the event at which each end's TCP gives up; 0 when it is not waiting.
    pub(super) give_up: [u32; 2],
}

impl Connection {
    /// Nothing more can come of it.
    pub(super) fn is_over(&self) -> bool {
        let [dialler, acceptor] = &self.ends;
        let dialler_lives =
            dialler.held || matches!(dialler.kernel, Kernel::Open | Kernel::Dialling);
        // What a dialler sends in the moment in which the connection opens, and its close, are behind its last handshake.
        let acceptor_is_due =
            acceptor.kernel == Kernel::SynReceived && !self.directions[0].queue.is_empty();
        let acceptor_lives = acceptor.held || acceptor.kernel == Kernel::Open || acceptor_is_due;
        !dialler_lives && !acceptor_lives
    }
}

/// Linux: the shortest and the longest retransmission timeout, and the one of a handshake.
const SHORTEST: Span = Span::millis(200);
const LONGEST: Span = Span::secs(120);
const HANDSHAKE: Span = Span::secs(1);

/// When TCP sends again what it sent first at `since`: the first time after `now`.
pub(super) fn next_retransmission(since: At, handshake: bool, now: At) -> At {
    let mut timeout = if handshake { HANDSHAKE } else { SHORTEST };
    let mut at = since + timeout;
    while at <= now {
        timeout = (timeout * 2).min(LONGEST);
        at = at + timeout;
    }
    at
}

/// How long `losses` losses in a row delay a packet.
pub(super) fn retransmission_delay(losses: u32, handshake: bool) -> Span {
    let mut timeout = if handshake { HANDSHAKE } else { SHORTEST };
    let mut delay = Span::ZERO;
    for _ in 0..losses {
        delay += timeout;
        timeout = (timeout * 2).min(LONGEST);
    }
    delay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_back_off_exponentially() {
        let since = At(0);
        let ms = |ms: u64| At(ms * 1_000_000);
        assert_eq!(next_retransmission(since, false, ms(0)), ms(200));
        assert_eq!(next_retransmission(since, false, ms(200)), ms(600));
        assert_eq!(next_retransmission(since, false, ms(3_000)), ms(6_200));
        assert_eq!(next_retransmission(since, true, ms(2_999)), ms(3_000));
        assert_eq!(retransmission_delay(3, false), Span::millis(1_400));
        assert_eq!(retransmission_delay(2, true), Span::secs(3));
    }
}
