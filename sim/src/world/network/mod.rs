//! The network: TCP connections between hosts, and everything that can happen to them.
//!
//! # Fault model
//!
//! **Connections are TCP.** Inside one nothing is lost, doubled or overtaken. Each message draws its latency from the
//! link's distribution, and arrives no earlier than the one before it. A connection costs a round trip; the listener learns
//! of it with the third packet. Nobody listening, or no process: refused after a round trip. A paused process's kernel
//! still accepts connections and bytes.
//!
//! **Bandwidth** belongs to an ordered pair of hosts; the bytes of all its connections share it in the order they are sent.
//! **Send buffers** are bounded: at most so many bytes of one direction may be sent and not yet taken by the receiving
//! process (one message always may); the rest waits in the sender's memory and dies with the process.
//!
//! **Loss** of a packet shows as delay: Linux's retransmission timeout, 200 ms and doubling, 1 s for a handshake. Fast
//! retransmission is left out, so loss is as harsh as on an idle connection.
//!
//! **A cut** from a to b is silent. What would arrive during it does not; TCP sends it again, less and less often, until the
//! cut heals or the sender gives up (`tcp_retries2`: 924 s; a handshake: 127 s) and learns `TimedOut`. What arrives in the
//! other direction arrives, but its acknowledgement does not, so that sender gives up as well. Acceptance of a
//! retransmission takes the next one *after* the healing, so a long cut is felt for a while.
//!
//! **A killed process** leaves a kernel that resets its connections: what is under way still arrives, then the reset. If
//! the reset cannot get through, the peer is half-open until it sends something, which is answered by a reset when
//! that gets through. **A host without power** says nothing at all until it is back; then it answers with resets. A close in
//! good order delivers what was sent, waiting bytes included, then the end; half-closed connections are left out.
//!
//! **Rules** pick single messages to hold, drop or delay. A hold keeps everything behind waiting, without any timeout, as
//! a receiver that does not read would. A drop loses everything behind it and resets both ends when its turn comes.
//! What TCP rules out (a duplicate, a silent loss, an overtaking) needs `unfaithful` in the configuration.
//!
//! Loopback has its own small latency, and no loss, bandwidth or cut.

mod about;
mod arrival;
mod connection;
mod lifecycle;
mod link;
mod rule;
mod transport;

pub use about::About;
use connection::{Connection, Kernel};
pub(super) use lifecycle::SocketsEnd;
pub(super) use link::Link;
pub use link::LinkChange;
pub(super) use rule::{ActiveRule, Verdict};
pub use rule::{MessageFault, MessageName, MessageRule, UnfaithfulFault};

use super::command::FaultId;
use crate::random::Latency;
use protocol::ids::NodeId;
use protocol::machine::ConnectionId;
use protocol::message::MessageKind;
use protocol::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the network behaves where no fault says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// One way, between two hosts.
    pub latency: Latency,
    /// One way, from a host to itself.
    pub loopback: Latency,
    /// How many packets in a million are lost.
    pub loss_per_million: u32,
    /// Bytes per second of each ordered pair of hosts; unlimited when absent.
    pub bandwidth: Option<u64>,
    /// Bytes sent and not yet taken, per direction of a connection.
    pub send_buffer: u64,
    /// When a handshake gives up.
    pub connect_timeout: Span,
    /// When an open connection gives up.
    pub tcp_timeout: Span,
    /// Allow faults that TCP rules out.
    pub unfaithful: bool,
}

impl Default for NetworkConfig {
    /// One data centre.
    fn default() -> Self {
        Self {
            latency: Latency::Exponential {
                min: Span::micros(150),
                mean: Span::micros(100),
            },
            loopback: Latency::Constant(Span::micros(20)),
            loss_per_million: 0,
            bandwidth: None,
            send_buffer: 1 << 20,
            connect_timeout: Span::secs(127),
            tcp_timeout: Span::millis(924_600),
            unfaithful: false,
        }
    }
}

/// Where an id is not in use.
const NOBODY: u32 = u32::MAX;

/// All links and connections.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) config: Arc<NetworkConfig>,
    hosts: Arc<BTreeMap<Arc<str>, u16>>,
    nodes: usize,
    links: Vec<Link>,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    /// Connection id to 2·slot + side.
    ends: Vec<u32>,
    token: u32,
    pub(super) rules: Vec<ActiveRule>,
    /// Fixed latencies of single messages: a schedule that survives a change of the seed.
    pub(super) fixed: Arc<BTreeMap<MessageName, Span>>,
    /// Messages written into sockets that were gone already.
    pub(super) vanished: u64,
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A number for each kind of message.
pub(super) fn kind_number(kind: MessageKind) -> u16 {
    let api = |key: protocol::api::ApiKey| u16::try_from(key.number()).unwrap_or(0);
    match kind {
        MessageKind::Request(key) => api(key),
        MessageKind::Response(key) => 64 + api(key),
        MessageKind::KeeperRequest => 128,
        MessageKind::KeeperReply => 129,
        MessageKind::Election => 130,
        MessageKind::Quorum => 131,
    }
}

impl Network {
    pub(super) fn new(config: NetworkConfig, hosts: BTreeMap<Arc<str>, u16>) -> Self {
        let nodes = hosts.len();
        Self {
            config: Arc::new(config),
            hosts: Arc::new(hosts),
            nodes,
            links: vec![Link::default(); nodes * nodes],
            slots: Vec::new(),
            free: Vec::new(),
            ends: Vec::new(),
            token: 0,
            rules: Vec::new(),
            fixed: Arc::default(),
            vanished: 0,
        }
    }

    fn link_index(&self, from: u16, to: u16) -> usize {
        usize::from(from) * self.nodes + usize::from(to)
    }

    pub(super) fn link(&self, from: u16, to: u16) -> &Link {
        &self.links[self.link_index(from, to)]
    }

    pub(super) fn link_mut(&mut self, from: u16, to: u16) -> &mut Link {
        let index = self.link_index(from, to);
        &mut self.links[index]
    }

    fn next_token(&mut self) -> u32 {
        self.token = self.token.wrapping_add(1).max(1);
        self.token
    }

    /// The slot and side of an end that is in use.
    fn locate(&self, id: ConnectionId) -> Option<(u32, usize)> {
        let index = usize::try_from(id.0).ok()?;
        let code = *self.ends.get(index)?;
        (code != NOBODY).then_some((code / 2, usize::from(code % 2 == 1)))
    }

    fn name_end(&mut self, id: ConnectionId, slot: u32, side: u32) {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        if self.ends.len() <= index {
            self.ends.resize(index + 1, NOBODY);
        }
        self.ends[index] = slot * 2 + side;
    }

    fn connection(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots
            .get_mut(index(slot))
            .and_then(|slot| slot.as_deref_mut())
    }

    fn insert(&mut self, connection: Connection) -> u32 {
        let id = connection.ends[0].id;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[index(slot)] = Some(Box::new(connection));
            slot
        } else {
            self.slots.push(Some(Box::new(connection)));
            u32::try_from(self.slots.len() - 1).unwrap_or(NOBODY)
        };
        self.name_end(id, slot, 0);
        slot
    }

    /// Frees a connection of which nothing more can come.
    fn settle(&mut self, slot: u32) {
        let over = self
            .connection(slot)
            .is_some_and(|connection| connection.is_over());
        if !over {
            return;
        }
        if let Some(connection) = self.slots[index(slot)].take() {
            for end in &connection.ends {
                if let Some(code) = usize::try_from(end.id.0)
                    .ok()
                    .and_then(|index| self.ends.get_mut(index))
                {
                    *code = NOBODY;
                }
            }
            self.free.push(slot);
        }
    }

    /// The node that hosts this end's peer.
    pub(super) fn peer(&self, id: ConnectionId) -> Option<NodeId> {
        let (slot, side) = self.locate(id)?;
        let connection = self.slots[index(slot)].as_ref()?;
        Some(NodeId(connection.ends[1 - side].node))
    }

    /// Connections open on both ends, as (node, node).
    pub(super) fn established(&self) -> Vec<(NodeId, NodeId)> {
        self.slots
            .iter()
            .flatten()
            .filter(|connection| connection.ends.iter().all(|end| end.kernel == Kernel::Open))
            .map(|connection| {
                (
                    NodeId(connection.ends[0].node),
                    NodeId(connection.ends[1].node),
                )
            })
            .collect()
    }
}
