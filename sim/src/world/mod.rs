//! The world: nodes, network, disks, clocks and one event queue, as a plain value.
//!
//! Build it from [`NodeSpec`]s, drive it with [`World::step`], watch it with an [`Observer`], disturb it with
//! [`WorldCommand`]s. It reads no clock and no entropy: everything is a function of its seed, its specs and the commands.
//! It is `Clone`, so a run can be forked at any step. It keeps no history, only a running hash and a position; ask for a
//! trace to find the first event in which two runs differ.
//!
//! | file | what |
//! |---|---|
//! | `queue`, `clock`, `timers` | time |
//! | `node`, `process` | cores and their steps |
//! | `network` | TCP and its faults |
//! | `disk` | page cache, durability and their faults |
//! | `command`, `execute` | what can be done from outside |
//! | `observer`, `trace` | what is told to the outside |

mod clock;
mod command;
mod disk;
mod execute;
mod network;
mod node;
mod observer;
mod process;
mod queue;
mod timers;
mod trace;

pub use clock::{At, ClockConfig};
pub use command::{DiskAtRestart, Fault, FaultId, KillKind, LaneRule, WorldCommand};
pub use disk::{Corruption, Damage, DiskConfig, DiskFault, PowerLoss, SimDisk, Unflushed};
pub use network::{
    About, LinkChange, MessageFault, MessageName, MessageRule, NetworkConfig, UnfaithfulFault,
};
pub use node::{Boot, NodeSpec};
pub use observer::{Commands, Happening, Observer, Place, Transfer, Unobserved};
pub use trace::{InputKind, Step, StepKind, TraceEntry, first_difference};

use execute::ActiveFault;
use network::Network;
use node::Node;
use protocol::ids::NodeId;
use protocol::machine::{ConnectionId, Stamped};
use protocol::time::{Now, Span};
use protocol::verb::{OperationId, Verb};
use queue::{Event, Queue};
use std::collections::BTreeMap;
use std::sync::Arc;
use trace::RollingHash;

/// A simulated world. See the module's text.
#[derive(Clone)]
pub struct World<B: Boot> {
    seed: u64,
    queue: Queue,
    nodes: Vec<Node<B>>,
    network: Network,
    next_connection: u64,
    position: u64,
    hash: RollingHash,
    trace: Option<Vec<TraceEntry>>,
    delivered: u64,
    dropped_effects: u64,
    commands: Commands,
    scheduled: Vec<Option<WorldCommand>>,
    free_commands: Vec<u32>,
    faults: BTreeMap<FaultId, ActiveFault>,
    lane_rules: Vec<FaultId>,
    scratch: Vec<Stamped>,
    group: Vec<Stamped>,
}

impl<B: Boot> World<B> {
    /// A world at time zero. The i-th spec becomes `NodeId(i)`.
    ///
    /// # Panics
    /// When two nodes have the same host name, or there are more than 65 535.
    pub fn new(seed: u64, specs: Vec<NodeSpec<B>>, network: NetworkConfig) -> Self {
        let mut hosts = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            let node = u16::try_from(index).expect("at most 65 535 nodes");
            let other = hosts.insert(Arc::clone(&spec.host), node);
            assert!(other.is_none(), "two nodes are called {}", spec.host);
        }
        let mut queue = Queue::default();
        for (node, spec) in (0_u16..).zip(&specs) {
            if let Some(at) = spec.start {
                queue.push(at, Event::Start { node, life: 0 });
            }
        }
        Self {
            seed,
            queue,
            nodes: specs.into_iter().map(Node::new).collect(),
            network: Network::new(network, hosts),
            next_connection: 0,
            position: 0,
            hash: RollingHash::new(seed),
            trace: None,
            delivered: 0,
            dropped_effects: 0,
            commands: Vec::new(),
            scheduled: Vec::new(),
            free_commands: Vec::new(),
            faults: BTreeMap::new(),
            lane_rules: Vec::new(),
            scratch: Vec::new(),
            group: Vec::new(),
        }
    }

    /// Handles exactly one event; `None` when nothing is left to happen.
    pub fn step<O: Observer>(&mut self, observer: &mut O) -> Option<Step> {
        self.step_until(At::MAX, observer)
    }

    /// Handles the next event if it is due by `limit`.
    pub fn step_until<O: Observer>(&mut self, limit: At, observer: &mut O) -> Option<Step> {
        loop {
            let event = self.queue.pop(limit)?;
            let Some((node, kind)) = self.dispatch(event, observer) else {
                // Nothing came of it, but commands may have been given on the way.
                self.run_commands(observer);
                continue;
            };
            let step = self.finish_step(node, kind);
            observer.after_step(&step, &mut self.commands);
            self.run_commands(observer);
            return Some(step);
        }
    }

    /// Handles everything that is due by `limit`, and moves the clock there. Gives the number of steps.
    pub fn run_until<O: Observer>(&mut self, limit: At, observer: &mut O) -> u64 {
        let before = self.position;
        while self.step_until(limit, observer).is_some() {}
        self.advance_clock(limit);
        self.position - before
    }

    /// Moves the clock forward; nothing must be due before.
    pub(crate) fn advance_clock(&mut self, to: At) {
        self.queue.advance(to);
    }

    fn dispatch<O: Observer>(
        &mut self,
        event: Event,
        observer: &mut O,
    ) -> Option<(Option<u16>, StepKind)> {
        let on = |node: u16| move |kind: StepKind| (Some(node), kind);
        let placed = |(node, kind): (u16, StepKind)| (Some(node), kind);
        match event {
            Event::Arrive { slot, side, token } => self
                .arrive((slot, usize::from(side), token), observer)
                .map(placed),
            Event::GiveUp { slot, side, token } => self
                .give_up((slot, usize::from(side), token), observer)
                .map(placed),
            Event::Ready { node, life } => self.ready(node, life, observer).map(on(node)),
            Event::Timer { node, slot, token } => {
                self.timer(node, (slot, token), observer).map(on(node))
            }
            Event::Lane { node, life, lane } => {
                self.lane_due((node, life), lane, observer).map(on(node))
            }
            Event::Flushed { node, ticket } => self.flushed(node, ticket, observer).map(on(node)),
            Event::Start { node, life } => self.start(node, life, observer).map(on(node)),
            Event::Resume { node, token } => self.resume(node, Some(token), observer).map(on(node)),
            Event::Command { slot } => self.scheduled_command(slot, observer),
        }
    }

    fn finish_step(&mut self, node: Option<u16>, kind: StepKind) -> Step {
        self.position += 1;
        let step = Step {
            position: self.position,
            at: self.now(),
            node: node.map(NodeId),
            kind,
        };
        let place = node.map_or(0, |node| u64::from(node) + 1);
        self.digest(step.at.0, (place << 16) | u64::from(kind.number()));
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEntry {
                step,
                hash: self.hash.value(),
            });
        }
        step
    }

    /// Mixes two words into the running hash.
    fn digest(&mut self, a: u64, b: u64) {
        self.hash.add(a);
        self.hash.add(b);
    }

    /// Carries a command out now.
    pub fn command<O: Observer>(&mut self, command: WorldCommand, observer: &mut O) {
        self.commands.push(command);
        self.run_commands(observer);
    }

    /// Carries a command out at this time, as a step of its own.
    pub fn schedule_command(&mut self, at: At, command: WorldCommand) {
        let slot = if let Some(slot) = self.free_commands.pop() {
            slot
        } else {
            self.scheduled.push(None);
            u32::try_from(self.scheduled.len() - 1).unwrap_or(u32::MAX)
        };
        if let Some(place) = usize::try_from(slot)
            .ok()
            .and_then(|index| self.scheduled.get_mut(index))
        {
            *place = Some(command);
        }
        self.queue.push(at, Event::Command { slot });
    }

    /// The application on a node calls its client, now.
    pub fn submit(&mut self, node: NodeId, operation: OperationId, verb: Verb) {
        let command = WorldCommand::Submit {
            node,
            operation,
            verb,
        };
        self.schedule_command(self.now(), command);
    }

    /// Fixes the latency of single messages, whatever the seed draws. What faults add to it, and loss, stay.
    pub fn fix_latencies(&mut self, fixed: BTreeMap<MessageName, Span>) {
        self.network.fixed = Arc::new(fixed);
    }

    /// Keeps the hash after every step from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The steps since [`World::keep_trace`].
    pub fn trace(&self) -> &[TraceEntry] {
        self.trace.as_deref().unwrap_or(&[])
    }

    /// True time.
    pub fn now(&self) -> At {
        self.queue.now()
    }

    /// When the next event is due.
    pub fn next_event(&self) -> Option<At> {
        self.queue.peek()
    }

    /// How many steps there have been.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The hash over all steps so far.
    pub fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many messages have been delivered.
    pub fn messages_delivered(&self) -> u64 {
        self.delivered
    }

    /// How many messages were written into sockets that were gone already.
    pub fn messages_vanished(&self) -> u64 {
        self.network.vanished
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u16 {
        u16::try_from(self.nodes.len()).unwrap_or(u16::MAX)
    }

    /// The node of that host name.
    pub fn find(&self, host: &str) -> Option<NodeId> {
        self.nodes
            .iter()
            .position(|node| &*node.spec.host == host)
            .and_then(|index| u16::try_from(index).ok())
            .map(NodeId)
    }

    fn node(&self, node: NodeId) -> &Node<B> {
        &self.nodes[usize::from(node.0)]
    }

    /// A node's host name.
    pub fn host(&self, node: NodeId) -> &str {
        &self.node(node).spec.host
    }

    /// The core of a node, while its process lives.
    pub fn machine(&self, node: NodeId) -> Option<&B::Machine> {
        self.node(node).machine.as_ref()
    }

    /// Whether a node's process stands still.
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.node(node).paused
    }

    /// How often a node's process has been started.
    pub fn lives(&self, node: NodeId) -> u32 {
        self.node(node).starts
    }

    /// The disk of a node's host.
    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.node(node).disk
    }

    /// What a node's clocks show now.
    pub fn clocks(&self, node: NodeId) -> Now {
        self.node(node).clock.now(self.now())
    }

    /// The other end of a connection.
    pub fn peer(&self, connection: ConnectionId) -> Option<NodeId> {
        self.network.peer(connection)
    }

    /// Connections that both ends think open.
    pub fn connections(&self) -> Vec<(NodeId, NodeId)> {
        self.network.established()
    }
}
