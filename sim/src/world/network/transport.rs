//! The sending half of TCP: dialling, send buffers, the wire.

use super::super::clock::At;
use super::super::observer::{Observer, Transfer};
use super::super::queue::Event;
use super::super::{Boot, World};
use super::connection::{Connection, Direction, End, Item, Kernel, Packet, retransmission_delay};
use super::rule::{MessageFault, MessageName, UnfaithfulFault, Verdict};
use super::{index, kind_number};
use crate::random::{Draws, Purpose};
use protocol::ids::{Endpoint, NodeId};
use protocol::machine::ConnectionId;
use protocol::message::Message;
use protocol::time::Span;

/// Bytes of a packet without data.
const BARE: u64 = 40;
/// Where control packets stand among the kinds of messages.
const CONTROL: u64 = 255;
/// Linux gives up after so many losses in a row.
const MOST_LOSSES: u32 = 15;

/// What the wire does to one packet.
struct Passage {
    delay: Span,
    losses: u32,
}

impl<B: Boot> World<B> {
    /// Whether packets get from one host to the other.
    pub(super) fn path_is_open(&self, from: u16, to: u16) -> bool {
        from == to
            || (self.network.link(from, to).cuts.is_empty() && self.nodes[usize::from(to)].host_up)
    }

    pub(in crate::world) fn dial(&mut self, node: u16, connection: ConnectionId, to: &Endpoint) {
        let target = self.network.hosts.get(&to.host).copied();
        let life = self.nodes[usize::from(node)].life;
        let acceptor = target.unwrap_or(node);
        let now = self.now();
        let dial = self.network.link_mut(node, acceptor).count_dial();
        let end = |id, node, kernel, held| End {
            id,
            node,
            life,
            kernel,
            held,
        };
        let slot = self.network.insert(Connection {
            ends: [
                end(connection, node, Kernel::Dialling, true),
                end(ConnectionId(u64::MAX), acceptor, Kernel::Absent, false),
            ],
            directions: [Direction::default(), Direction::default()],
            port: to.port,
            dialled: now,
            dial,
            give_up: [0; 2],
        });
        if target.is_some() {
            self.send_control(slot, 0, Item::Syn);
        } else {
            // The name does not resolve.
            self.send_control(slot, 1, Item::Refuse);
        }
    }

    /// The process sends.
    pub(in crate::world) fn send_message<O: Observer>(
        &mut self,
        connection: ConnectionId,
        message: Message,
        observer: &mut O,
    ) {
        let now = self.now();
        let buffer = self.network.config.send_buffer;
        let Some((slot, side)) = self.network.locate(connection) else {
            self.network.vanished += 1;
            return;
        };
        let Some(state) = self.network.connection(slot) else {
            return;
        };
        let direction = &mut state.directions[side];
        if !(state.ends[side].held && state.ends[side].kernel == Kernel::Open) || direction.dropped
        {
            self.network.vanished += 1;
            return;
        }
        let size = message.wire_size();
        let fits = direction.in_flight == 0 || direction.in_flight.saturating_add(size) <= buffer;
        if direction.waiting.is_empty() && fits {
            self.put_on_wire(slot, side, (message, size, now), observer);
        } else {
            direction.waiting.push_back((message, size));
        }
    }

    fn put_on_wire<O: Observer>(
        &mut self,
        slot: u32,
        side: usize,
        (message, size, not_before): (Message, u64, At),
        observer: &mut O,
    ) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        connection.directions[side].in_flight += size;
        let sender = connection.ends[side].id;
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        let kind = message.kind();
        let number = kind_number(kind);
        let nth = self.network.link_mut(from, to).count(number);
        let name = MessageName {
            from: NodeId(from),
            to: NodeId(to),
            kind,
            nth,
        };
        if O::WANTS_MESSAGES {
            observer.sent(Transfer {
                at: not_before,
                name,
                from: sender,
                size,
                message: &message,
            });
        }
        let passage = self.passage((from, to), u64::from(number), u64::from(nth), &name);
        let mut packet = self.timed(
            slot,
            side,
            (Item::Message(message), size, not_before),
            &passage,
        );
        packet.nth = nth;
        let verdict = if self.network.rules.is_empty() {
            None
        } else {
            self.judge(&name, &packet)
        };
        self.launch(slot, side, packet, verdict);
    }

    /// The first rule in force that takes this message.
    fn judge(&mut self, name: &MessageName, packet: &Packet) -> Option<(super::FaultId, Verdict)> {
        let Item::Message(message) = &packet.item else {
            return None;
        };
        let rule = self
            .network
            .rules
            .iter_mut()
            .find_map(|rule| rule.takes(name, message).then_some((rule.id, rule.verdict)))?;
        self.hit(rule.0, 1);
        Some(rule)
    }

    fn launch(
        &mut self,
        slot: u32,
        side: usize,
        mut packet: Packet,
        verdict: Option<(super::FaultId, Verdict)>,
    ) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let direction = &mut connection.directions[side];
        let mut twice = false;
        match verdict {
            Some((id, Verdict::Faithful(MessageFault::Hold))) => packet.held = Some(id),
            Some((_, Verdict::Faithful(MessageFault::Delay(span)))) => {
                packet.arrives = packet.arrives + span;
            }
            Some((_, Verdict::Faithful(MessageFault::Drop))) => {
                packet.item = Item::Dropped;
                direction.dropped = true;
                direction.waiting.clear();
            }
            Some((_, Verdict::Unfaithful(UnfaithfulFault::Duplicate))) => twice = true,
            Some((_, Verdict::Unfaithful(UnfaithfulFault::DropSilently))) => {
                direction.in_flight = direction.in_flight.saturating_sub(packet.size);
                return;
            }
            Some((_, Verdict::Unfaithful(UnfaithfulFault::Reorder)))
                if direction.overtaken.is_none() =>
            {
                direction.overtaken = Some(packet);
                return;
            }
            None | Some((_, Verdict::Unfaithful(UnfaithfulFault::Reorder))) => {}
        }
        let overtaken = direction.overtaken.take();
        let copy = twice.then(|| Packet {
            size: 0,
            ..packet.clone()
        });
        self.line_up(slot, side, packet);
        for late in overtaken.into_iter().chain(copy) {
            self.line_up(slot, side, late);
        }
    }

    /// Puts a packet behind the others of its direction.
    fn line_up(&mut self, slot: u32, side: usize, mut packet: Packet) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let direction = &mut connection.directions[side];
        packet.arrives = packet.arrives.max(direction.last_arrival);
        direction.last_arrival = packet.arrives;
        direction.queue.push_back(packet);
        if direction.queue.len() == 1 {
            self.schedule_head(slot, side);
        }
    }

    /// Schedules the arrival of a direction's head, unless something keeps it.
    pub(super) fn schedule_head(&mut self, slot: u32, side: usize) {
        let token = self.network.next_token();
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let direction = &mut connection.directions[side];
        direction.token = token;
        if direction.stalled.is_some() {
            return;
        }
        if let Some(head) = direction.queue.front().filter(|head| head.held.is_none()) {
            let side = u8::from(side == 1);
            let arrives = head.arrives;
            self.queue
                .push(arrives, Event::Arrive { slot, side, token });
        }
    }

    /// A packet without data: handshakes, ends, resets.
    pub(super) fn send_control(&mut self, slot: u32, side: usize, item: Item) {
        let now = self.now();
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        let what = match &item {
            Item::Message(_) | Item::Dropped => 0,
            Item::Syn => 1,
            Item::SynAck => 2,
            Item::Ack => 3,
            Item::Refuse => 4,
            Item::Fin => 5,
            Item::Reset(_) => 6,
        };
        let overtaken = connection.directions[side].overtaken.take();
        let of_dialler = u64::from(side == 0);
        let ordinal = (u64::from(connection.dial) << 4) | (of_dialler << 3) | what;
        let passage = self.drawn_passage((from, to), (CONTROL, ordinal), item.is_handshake(), None);
        let packet = self.timed(slot, side, (item, BARE, now), &passage);
        for packet in overtaken.into_iter().chain([packet]) {
            self.line_up(slot, side, packet);
        }
    }

    fn passage(&mut self, link: (u16, u16), kind: u64, nth: u64, name: &MessageName) -> Passage {
        let fixed = self.network.fixed.get(name).copied();
        self.drawn_passage(link, (kind, nth), false, fixed)
    }

    /// The delay that the seed gives to a message where no fault is in force; the same as it gives within a run.
    pub fn drawn_latency(&self, name: &MessageName) -> Span {
        let (from, to) = (name.from.0, name.to.0);
        let latency = self
            .network
            .link(from, to)
            .conditions(&self.network.config)
            .latency;
        let kind = u64::from(kind_number(name.kind));
        latency.sample(&mut self.latency_draws((from, to), kind, u64::from(name.nth)))
    }

    fn latency_draws(&self, (from, to): (u16, u16), kind: u64, ordinal: u64) -> Draws {
        let pair = (u64::from(from) << 16) | u64::from(to);
        Draws::keyed(self.seed, Purpose::LATENCY, pair, kind, ordinal)
    }

    fn drawn_passage(
        &mut self,
        (from, to): (u16, u16),
        (kind, ordinal): (u64, u64),
        handshake: bool,
        fixed: Option<Span>,
    ) -> Passage {
        let config = &self.network.config;
        let mut draws = self.latency_draws((from, to), kind, ordinal);
        if from == to {
            return Passage {
                delay: config.loopback.sample(&mut draws),
                losses: 0,
            };
        }
        let link = self.network.link(from, to);
        let conditions = link.conditions(config);
        let latency = fixed.unwrap_or_else(|| conditions.latency.sample(&mut draws));
        let mut delay = latency + conditions.delay;
        let mut losses = 0;
        if conditions.loss_per_million > 0 {
            let pair = (u64::from(from) << 16) | u64::from(to);
            let mut draws = Draws::keyed(self.seed, Purpose::LOSS, pair, kind, ordinal);
            while losses <= MOST_LOSSES && draws.chance(conditions.loss_per_million) {
                losses += 1;
            }
            delay += retransmission_delay(losses, handshake);
        }
        Passage { delay, losses }
    }

    /// The timetable of a packet: its turn on the wire, then its latency.
    fn timed(
        &mut self,
        slot: u32,
        side: usize,
        (item, size, not_before): (Item, u64, At),
        passage: &Passage,
    ) -> Packet {
        let mut departs = not_before;
        let mut item = item;
        let ends = self
            .network
            .connection(slot)
            .map(|connection| (connection.ends[side].node, connection.ends[1 - side].node));
        if let Some((from, to)) = ends.filter(|(from, to)| from != to) {
            let link = self.network.link(from, to);
            if let Some(rate) = link.conditions(&self.network.config).bandwidth {
                let nanos = u128::from(size) * 1_000_000_000 / u128::from(rate.max(1));
                let span = Span(u64::try_from(nanos).unwrap_or(u64::MAX));
                let link = self.network.link_mut(from, to);
                departs = departs.max(link.busy_until) + span;
                link.busy_until = departs;
            }
            self.count_link_hits(from, to);
        }
        if passage.losses > MOST_LOSSES && matches!(item, Item::Message(_)) {
            // TCP gives up on it: the connection is lost, and everything behind with it.
            item = Item::Dropped;
            if let Some(connection) = self.network.connection(slot) {
                connection.directions[side].dropped = true;
            }
        }
        Packet {
            item,
            size,
            nth: 0,
            departs,
            arrives: departs + passage.delay,
            held: None,
        }
    }

    fn count_link_hits(&mut self, from: u16, to: u16) {
        let count = self.network.link(from, to).changes.len();
        for position in 0..count {
            let id = self.network.link(from, to).changes[position].0;
            self.hit(id, 1);
        }
    }

    /// The receiving process has taken so many bytes: what waited at the sender may go.
    pub(super) fn release_credit<O: Observer>(
        &mut self,
        slot: u32,
        side: usize,
        size: u64,
        observer: &mut O,
    ) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        let direction = &mut connection.directions[side];
        direction.in_flight = direction.in_flight.saturating_sub(size);
        if direction.waiting.is_empty() {
            return;
        }
        let acknowledged = self.now() + self.shortest_latency(to, from);
        let buffer = self.network.config.send_buffer;
        while let Some(connection) = self.network.connection(slot) {
            let direction = &mut connection.directions[side];
            let fits = direction.waiting.front().is_some_and(|(_, size)| {
                direction.in_flight == 0 || direction.in_flight.saturating_add(*size) <= buffer
            });
            let next = if fits {
                direction.waiting.pop_front()
            } else {
                None
            };
            let Some((message, size)) = next else {
                break;
            };
            self.put_on_wire(slot, side, (message, size, acknowledged), observer);
        }
        let finished = self.network.slots[index(slot)]
            .as_ref()
            .is_some_and(|connection| {
                let direction = &connection.directions[side];
                direction.fin_waits && direction.waiting.is_empty()
            });
        if finished {
            if let Some(connection) = self.network.connection(slot) {
                connection.directions[side].fin_waits = false;
            }
            self.send_control(slot, side, Item::Fin);
        }
    }

    pub(super) fn shortest_latency(&self, from: u16, to: u16) -> Span {
        let config = &self.network.config;
        if from == to {
            return config.loopback.floor();
        }
        let conditions = self.network.link(from, to).conditions(config);
        conditions.latency.floor() + conditions.delay
    }

    /// The process closes in good order.
    pub(in crate::world) fn close(&mut self, connection: ConnectionId) {
        let Some((slot, side)) = self.network.locate(connection) else {
            return;
        };
        let Some(state) = self.network.connection(slot) else {
            return;
        };
        let end = &mut state.ends[side];
        end.held = false;
        let was_open = end.kernel == Kernel::Open;
        if matches!(end.kernel, Kernel::Open | Kernel::Dialling) {
            end.kernel = Kernel::Closed;
            state.give_up[side] = 0;
        }
        if was_open {
            let direction = &mut state.directions[side];
            if direction.waiting.is_empty() {
                self.send_control(slot, side, Item::Fin);
            } else {
                direction.fin_waits = true;
            }
        }
        self.network.settle(slot);
    }
}
