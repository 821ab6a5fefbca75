//! The receiving half of TCP: what a packet does when it arrives, or does not.

use super::super::clock::At;
use super::super::observer::{Happening, Observer, Transfer};
use super::super::process::Waiting;
use super::super::queue::Event;
use super::super::{Boot, StepKind, World};
use super::connection::{Item, Kernel, Packet};
use super::rule::MessageName;
use super::{index, kind_number};
use protocol::ids::NodeId;
use protocol::machine::{CloseReason, ConnectionId, Input};
use protocol::message::Message;

impl<B: Boot> World<B> {
    /// The head of a direction arrives at the other host.
    pub(in crate::world) fn arrive<O: Observer>(
        &mut self,
        (slot, side, token): (u32, usize, u32),
        observer: &mut O,
    ) -> Option<(u16, StepKind)> {
        let connection = self.network.connection(slot)?;
        if connection.directions[side].token != token {
            return None;
        }
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        if !self.path_is_open(from, to) {
            self.stall(slot, side);
            return None;
        }
        let connection = self.network.connection(slot)?;
        let direction = &mut connection.directions[side];
        let packet = direction.queue.pop_front()?;
        if direction.unacked == 0 {
            connection.give_up[side] = 0;
        }
        self.schedule_head(slot, side);
        let kind = self.take_in(slot, side, packet, observer);
        self.network.settle(slot);
        Some((to, kind))
    }

    fn take_in<O: Observer>(
        &mut self,
        slot: u32,
        side: usize,
        packet: Packet,
        observer: &mut O,
    ) -> StepKind {
        let Some(connection) = self.network.connection(slot) else {
            return StepKind::Network;
        };
        let receiver = &connection.ends[1 - side];
        let (kernel, node) = (receiver.kernel, receiver.node);
        match packet.item {
            Item::Ack if kernel == Kernel::SynReceived => self.accept(slot, observer),
            Item::Message(_) if kernel == Kernel::Open => {
                self.take_message(slot, side, packet, observer)
            }
            Item::Message(_) | Item::Ack => {
                self.answer_with_reset(slot, side, packet);
                StepKind::Network
            }
            Item::Syn => {
                self.answer_dial(slot, node);
                StepKind::Network
            }
            Item::SynAck => self.opened(slot, observer),
            Item::Refuse => self.refused(slot, node, observer),
            Item::Fin => self.closed(slot, 1 - side, CloseReason::Peer, observer),
            Item::Reset(reason) => self.closed(slot, 1 - side, reason, observer),
            Item::Dropped => {
                self.send_control(slot, 1 - side, Item::Reset(CloseReason::Reset));
                self.closed(slot, 1 - side, CloseReason::Reset, observer)
            }
        }
    }

    fn take_message<O: Observer>(
        &mut self,
        slot: u32,
        side: usize,
        packet: Packet,
        observer: &mut O,
    ) -> StepKind {
        let Packet {
            item, size, nth, ..
        } = packet;
        let (Item::Message(message), Some(connection)) = (item, self.network.connection(slot))
        else {
            return StepKind::Network;
        };
        let (from, to) = (&connection.ends[side], &connection.ends[1 - side]);
        let (sender, connection, node) = (from.id, to.id, to.node);
        let name = MessageName {
            from: NodeId(from.node),
            to: NodeId(node),
            kind: message.kind(),
            nth,
        };
        self.count_delivery(&name, size);
        if O::WANTS_MESSAGES {
            observer.delivered(Transfer {
                at: self.now(),
                name,
                from: sender,
                size,
                message: &message,
            });
        }
        self.deliver_message(node, (connection, message, size), observer)
    }

    fn count_delivery(&mut self, name: &MessageName, size: u64) {
        self.delivered += 1;
        let link = (u64::from(name.from.0) << 16) | u64::from(name.to.0);
        let kind = u64::from(kind_number(name.kind));
        self.digest(link | (kind << 32) | (u64::from(name.nth) << 40), size);
    }

    fn deliver_message<O: Observer>(
        &mut self,
        node: u16,
        (connection, message, size): (ConnectionId, Message, u64),
        observer: &mut O,
    ) -> StepKind {
        let input = Input::Received {
            connection,
            message,
        };
        self.deliver(node, Waiting { input, mark: size }, observer)
    }

    /// A first packet reaches a host: somebody listens, or not.
    fn answer_dial(&mut self, slot: u32, node: u16) {
        let host = &self.nodes[usize::from(node)];
        let life = host.life;
        let alive = host.machine.is_some();
        let Some(connection) = self.network.slots[index(slot)].as_deref_mut() else {
            return;
        };
        let listens = alive && host.spec.ports.contains(&connection.port);
        let answer = if listens {
            connection.ends[1].kernel = Kernel::SynReceived;
            connection.ends[1].life = life;
            Item::SynAck
        } else {
            Item::Refuse
        };
        self.send_control(slot, 1, answer);
    }

    fn opened<O: Observer>(&mut self, slot: u32, observer: &mut O) -> StepKind {
        let Some(connection) = self.network.connection(slot) else {
            return StepKind::Network;
        };
        if connection.ends[0].kernel != Kernel::Dialling {
            connection.ends[1].kernel = Kernel::Gone;
            return StepKind::Network;
        }
        connection.ends[0].kernel = Kernel::Open;
        connection.give_up = [0; 2];
        let (node, connection) = (connection.ends[0].node, connection.ends[0].id);
        self.send_control(slot, 0, Item::Ack);
        self.deliver(node, Waiting::plain(Input::Opened { connection }), observer)
    }

    fn refused<O: Observer>(&mut self, slot: u32, node: u16, observer: &mut O) -> StepKind {
        let Some(connection) = self.network.connection(slot) else {
            return StepKind::Network;
        };
        if connection.ends[0].kernel != Kernel::Dialling {
            return StepKind::Network;
        }
        connection.ends[0].kernel = Kernel::Gone;
        connection.give_up = [0; 2];
        let connection = connection.ends[0].id;
        self.deliver(
            node,
            Waiting::plain(Input::Refused { connection }),
            observer,
        )
    }

    /// The handshake is over; the listening process gets the connection.
    fn accept<O: Observer>(&mut self, slot: u32, observer: &mut O) -> StepKind {
        let id = ConnectionId(self.next_connection);
        let Some(connection) = self.network.connection(slot) else {
            return StepKind::Network;
        };
        self.next_connection += 1;
        let end = &mut connection.ends[1];
        end.id = id;
        end.kernel = Kernel::Open;
        end.held = true;
        let (node, port, dialler) = (end.node, connection.port, connection.ends[0].node);
        self.network.name_end(id, slot, 1);
        let happening = Happening::Accepted {
            from: NodeId(dialler),
            port,
        };
        self.happened(node, &happening, observer);
        let input = Input::Accepted {
            connection: id,
            port,
            from: self.nodes[usize::from(dialler)].spec.host.clone(),
        };
        self.deliver(node, Waiting::plain(input), observer)
    }

    /// An end learns that the connection is over.
    fn closed<O: Observer>(
        &mut self,
        slot: u32,
        side: usize,
        reason: CloseReason,
        observer: &mut O,
    ) -> StepKind {
        let Some(connection) = self.network.connection(slot) else {
            return StepKind::Network;
        };
        let end = &mut connection.ends[side];
        if end.kernel != Kernel::Open {
            return StepKind::Network;
        }
        end.kernel = Kernel::Gone;
        let (node, id, held) = (end.node, end.id, end.held);
        connection.give_up[side] = 0;
        connection.directions[side].waiting.clear();
        if !held {
            return StepKind::Network;
        }
        if reason != CloseReason::Peer {
            self.happened(node, &Happening::Broken { reason }, observer);
        }
        let input = Input::Closed {
            connection: id,
            reason,
        };
        self.deliver(node, Waiting::plain(input), observer)
    }

    /// Bytes reach an end that is gone: its kernel says so, if that gets back.
    fn answer_with_reset(&mut self, slot: u32, side: usize, packet: Packet) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        if connection.ends[side].kernel != Kernel::Open {
            connection.directions[side].queue.clear();
            return;
        }
        if self.path_is_open(to, from) {
            if let Some(connection) = self.network.connection(slot) {
                connection.directions[side].queue.clear();
            }
            self.send_control(slot, 1 - side, Item::Reset(CloseReason::Reset));
        } else if let Some(connection) = self.network.connection(slot) {
            // The sender hears nothing and keeps trying.
            connection.directions[side].queue.push_front(packet);
            self.stall(slot, side);
        }
    }

    /// The head does not get through.
    fn stall(&mut self, slot: u32, side: usize) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        let direction = &mut connection.directions[side];
        let Some(head) = direction.queue.front() else {
            return;
        };
        let since = head.departs;
        let silent = matches!(connection.ends[side].kernel, Kernel::Gone | Kernel::Dark)
            || !head.item.is_retransmitted();
        let lost = if silent { direction.queue.len() } else { 1 };
        if silent {
            direction.queue.clear();
        } else {
            direction.stalled = Some(since);
        }
        let (dialling, dialled) = (
            connection.ends[0].kernel == Kernel::Dialling,
            connection.dialled,
        );
        let config = &self.network.config;
        if dialling {
            self.arm_give_up(slot, 0, dialled + config.connect_timeout);
        } else if !silent {
            self.arm_give_up(slot, side, since + config.tcp_timeout);
        }
        self.count_cut_hits(from, to, u64::try_from(lost).unwrap_or(u64::MAX));
        self.network.settle(slot);
    }

    pub(super) fn count_cut_hits(&mut self, from: u16, to: u16, hits: u64) {
        let count = self.network.link(from, to).cuts.len();
        for position in 0..count {
            let id = self.network.link(from, to).cuts[position];
            self.hit(id, hits);
        }
    }

    /// From now on the end waits for an acknowledgement, until `at` at most.
    pub(super) fn arm_give_up(&mut self, slot: u32, side: usize, at: At) {
        let token = self.network.next_token();
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        if connection.give_up[side] != 0 {
            return;
        }
        connection.give_up[side] = token;
        let side = u8::from(side == 1);
        self.queue.push(at, Event::GiveUp { slot, side, token });
    }

    /// TCP of one end gives up.
    pub(in crate::world) fn give_up<O: Observer>(
        &mut self,
        (slot, side, token): (u32, usize, u32),
        observer: &mut O,
    ) -> Option<(u16, StepKind)> {
        let connection = self.network.connection(slot)?;
        if connection.give_up[side] != token {
            return None;
        }
        connection.give_up[side] = 0;
        let end = &connection.ends[side];
        let (node, kernel) = (end.node, end.kernel);
        let direction = &mut connection.directions[side];
        direction.queue.clear();
        direction.stalled = None;
        direction.unacked = 0;
        let kind = match kernel {
            Kernel::Dialling => self.refused(slot, node, observer),
            Kernel::Open => self.closed(slot, side, CloseReason::TimedOut, observer),
            Kernel::Absent | Kernel::SynReceived | Kernel::Closed | Kernel::Gone | Kernel::Dark => {
                StepKind::Network
            }
        };
        self.network.settle(slot);
        Some((node, kind))
    }

    /// Whether an input that has its turn still concerns the process; gives back the credit of a message.
    pub(in crate::world) fn admit<O: Observer>(
        &mut self,
        connection: ConnectionId,
        waiting: &Waiting,
        observer: &mut O,
    ) -> bool {
        let Some((slot, side)) = self.network.locate(connection) else {
            return false;
        };
        let now = self.now();
        let Some(state) = self.network.connection(slot) else {
            return false;
        };
        let held = state.ends[side].held;
        match &waiting.input {
            Input::Received { .. } => {
                let (own, peer) = (state.ends[side].node, state.ends[1 - side].node);
                if self.path_is_open(own, peer) {
                    self.release_credit(slot, 1 - side, waiting.mark, observer);
                } else {
                    let timeout = self.network.config.tcp_timeout;
                    if let Some(state) = self.network.connection(slot) {
                        state.directions[1 - side].unacked += waiting.mark;
                    }
                    self.count_cut_hits(own, peer, 1);
                    self.arm_give_up(slot, 1 - side, now + timeout);
                }
            }
            Input::Closed { .. } | Input::Refused { .. } => {
                state.ends[side].held = false;
                self.network.settle(slot);
            }
            Input::Started
            | Input::Opened { .. }
            | Input::Accepted { .. }
            | Input::Timer { .. }
            | Input::Flushed { .. }
            | Input::Due { .. }
            | Input::Verb { .. }
            | Input::Stop => {}
        }
        held
    }
}
