//! What deaths, returns, healing and released messages do to connections.

use super::super::clock::At;
use super::super::command::{FaultId, KillKind};
use super::super::observer::Observer;
use super::super::{Boot, World};
use super::connection::{Item, Kernel, next_retransmission};
use super::index;
use protocol::machine::CloseReason;

/// How the sockets of a process end with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::world) enum SocketsEnd {
    /// Closed by a process that ends in good order.
    Close,
    /// As after this kill.
    Kill(KillKind),
}

impl<B: Boot> World<B> {
    fn slots(&self) -> u32 {
        u32::try_from(self.network.slots.len()).unwrap_or(u32::MAX)
    }

    /// The process on a node is gone, and its sockets with it.
    pub(in crate::world) fn sockets_end(&mut self, node: u16, how: SocketsEnd) {
        for slot in 0..self.slots() {
            for side in 0..2 {
                let Some(connection) = self.network.slots[index(slot)].as_deref() else {
                    break;
                };
                let end = &connection.ends[side];
                if end.node != node {
                    continue;
                }
                let id = end.id;
                match how {
                    SocketsEnd::Close if end.held => self.close(id),
                    // The listening socket is gone before it could hand the connection over.
                    SocketsEnd::Close if end.kernel == Kernel::SynReceived => {
                        self.reset_socket(slot, side);
                    }
                    SocketsEnd::Close => {}
                    SocketsEnd::Kill(KillKind::Process) => self.reset_socket(slot, side),
                    SocketsEnd::Kill(KillKind::Power(_)) => self.darken_socket(slot, side),
                }
            }
            if self.network.slots[index(slot)].is_some() {
                self.network.settle(slot);
            }
        }
    }

    /// The kernel of a killed process resets the connection.
    fn reset_socket(&mut self, slot: u32, side: usize) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (own, peer) = (connection.ends[side].node, connection.ends[1 - side].node);
        let end = &mut connection.ends[side];
        end.held = false;
        let kernel = end.kernel;
        if matches!(
            kernel,
            Kernel::Absent | Kernel::Closed | Kernel::Gone | Kernel::Dark
        ) {
            return;
        }
        end.kernel = Kernel::Gone;
        connection.give_up[side] = 0;
        connection.directions[side].waiting.clear();
        connection.directions[side].fin_waits = false;
        if self.path_is_open(own, peer) {
            if kernel == Kernel::Open {
                self.send_control(slot, side, Item::Reset(CloseReason::Reset));
            }
        } else if let Some(connection) = self.network.connection(slot) {
            connection.directions[side].queue.clear();
        }
    }

    /// A host without power sends nothing more; what has left it is on its way.
    fn darken_socket(&mut self, slot: u32, side: usize) {
        let now = self.now();
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let end = &mut connection.ends[side];
        end.held = false;
        if end.kernel != Kernel::Absent {
            end.kernel = Kernel::Dark;
        }
        connection.give_up[side] = 0;
        let direction = &mut connection.directions[side];
        direction.waiting.clear();
        direction.fin_waits = false;
        direction.overtaken = None;
        if direction.stalled.take().is_some() {
            direction.queue.clear();
        }
        direction.queue.retain(|packet| packet.departs <= now);
        self.schedule_head(slot, side);
    }

    /// Packets may get from one host to the other again: what stalled is sent again at the next retransmission.
    pub(in crate::world) fn path_opened<O: Observer>(&mut self, a: u16, b: u16, observer: &mut O) {
        for slot in 0..self.slots() {
            for side in 0..2 {
                let Some(connection) = self.network.slots[index(slot)].as_deref() else {
                    break;
                };
                let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
                if (from, to) != (a, b) && (to, from) != (a, b) {
                    continue;
                }
                if self.path_is_open(from, to) {
                    self.retransmit(slot, side);
                    if self.path_is_open(to, from) {
                        self.acknowledge(slot, side, observer);
                    }
                }
            }
        }
    }

    fn retransmit(&mut self, slot: u32, side: usize) {
        let now = self.now();
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
        let dialled = connection.dialled;
        let direction = &mut connection.directions[side];
        let (Some(since), Some(head)) = (direction.stalled.take(), direction.queue.front()) else {
            return;
        };
        let handshake = head.item.is_handshake();
        let since = if handshake { dialled } else { since };
        connection.give_up[side] = 0;
        let again = next_retransmission(since, handshake, now);
        let arrives = again + self.shortest_latency(from, to);
        self.arrive_from(slot, side, arrives);
    }

    /// The head of a direction arrives no earlier than this, and the others no earlier than those before them.
    fn arrive_from(&mut self, slot: u32, side: usize, at: At) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let direction = &mut connection.directions[side];
        let mut earliest = at;
        for packet in &mut direction.queue {
            packet.arrives = packet.arrives.max(earliest);
            earliest = packet.arrives;
        }
        direction.last_arrival = direction.last_arrival.max(earliest);
        self.schedule_head(slot, side);
    }

    /// Acknowledgements get back again.
    fn acknowledge<O: Observer>(&mut self, slot: u32, side: usize, observer: &mut O) {
        let Some(connection) = self.network.connection(slot) else {
            return;
        };
        let unacked = std::mem::take(&mut connection.directions[side].unacked);
        if unacked > 0 {
            connection.give_up[side] = 0;
            self.release_credit(slot, side, unacked, observer);
        }
    }

    /// Held messages go on.
    pub(in crate::world) fn release_held(&mut self, id: FaultId) {
        let now = self.now();
        for slot in 0..self.slots() {
            for side in 0..2 {
                let Some(connection) = self.network.connection(slot) else {
                    break;
                };
                let (from, to) = (connection.ends[side].node, connection.ends[1 - side].node);
                let direction = &mut connection.directions[side];
                let mut released = false;
                for packet in &mut direction.queue {
                    if packet.held == Some(id) {
                        packet.held = None;
                        released = true;
                    }
                }
                if released {
                    let arrives = now + self.shortest_latency(from, to);
                    self.arrive_from(slot, side, arrives);
                }
            }
        }
    }
}
