//! A tiny world: one queue of events, connections that are TCP, disks, clocks, crashes and partitions.

use super::client::TestClient;
use super::disk::TestDisk;
use super::random::Random;
use keeper_core::{Keeper, KeeperSpec};
use protocol::disk::FileId;
use protocol::ids::{Endpoint, KeeperId};
use protocol::keeper::KeeperOp;
use protocol::machine::{
    CloseReason, ConnectionId, Effect, FlushId, Input, Io, Machine, Stamped, TimerId,
};
use protocol::message::Message;
use protocol::note::KeeperNote;
use protocol::note::Note;
use protocol::time::{Mono, Now, Wall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub const MILLI: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLI;

#[derive(Clone)]
pub enum Machinery {
    Keeper(Box<Keeper>, Box<KeeperSpec>),
    Client(Box<TestClient>),
}

#[derive(Clone)]
pub struct Node {
    pub host: Arc<str>,
    pub machine: Machinery,
    pub disk: TestDisk,
    pub up: bool,
    life: u32,
    /// Nanoseconds by which its wall clock is ahead.
    pub wall_ahead: i64,
    /// Dies in the middle of its next step; with the power.
    pub doomed: Option<bool>,
}

#[derive(Clone)]
enum Packet {
    Message(Message),
    Close(CloseReason),
}

#[derive(Clone)]
struct End {
    node: usize,
    peer: ConnectionId,
    last_arrival: u64,
    held: VecDeque<Packet>,
}

#[derive(Clone)]
enum Event {
    Arrive(ConnectionId, Packet),
    Release(ConnectionId),
    Dial {
        from: usize,
        life: u32,
        connection: ConnectionId,
        to: Endpoint,
    },
    Refuse(usize, u32, ConnectionId),
    Ring(usize, u32, TimerId, u64),
    Flushed(usize, u32, FlushId, Vec<(FileId, Vec<u8>)>),
    Restart(usize),
}

#[derive(Clone)]
pub struct World {
    pub now: u64,
    pub random: Random,
    pub nodes: Vec<Node>,
    pub partitions: BTreeSet<(usize, usize)>,
    /// What keepers noted: (node, note).
    pub notes: Vec<(usize, KeeperNote)>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    ends: BTreeMap<ConnectionId, End>,
    timers: BTreeMap<(usize, TimerId), u64>,
    next_connection: u64,
    /// Slowest flush, nanoseconds.
    pub slowest_flush: u64,
    pub steps: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            random: Random(seed),
            nodes: Vec::new(),
            partitions: BTreeSet::new(),
            notes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            ends: BTreeMap::new(),
            timers: BTreeMap::new(),
            next_connection: 1,
            slowest_flush: 20 * MILLI,
            steps: 0,
        }
    }

    pub fn add_keeper(&mut self, spec: KeeperSpec) -> usize {
        let KeeperId(id) = spec.id;
        let host = format!("keeper-{id}");
        let keeper = Box::new(Keeper::new(spec.clone()));
        self.add(&host, Machinery::Keeper(keeper, Box::new(spec)))
    }

    pub fn add_client(&mut self, client: TestClient) -> usize {
        let host = format!("client-{}", self.nodes.len());
        self.add(&host, Machinery::Client(Box::new(client)))
    }

    fn add(&mut self, host: &str, machine: Machinery) -> usize {
        let node = Node {
            host: host.into(),
            machine,
            disk: TestDisk::default(),
            up: true,
            life: 0,
            wall_ahead: 0,
            doomed: None,
        };
        self.nodes.push(node);
        let at = self.nodes.len() - 1;
        self.step(at, Input::Started);
        at
    }

    pub fn keeper(&self, node: usize) -> &Keeper {
        match &self.nodes[node].machine {
            Machinery::Keeper(keeper, _) => keeper,
            Machinery::Client(_) => panic!("node {node} is a client"),
        }
    }

    pub fn client(&mut self, node: usize) -> &mut TestClient {
        match &mut self.nodes[node].machine {
            Machinery::Client(client) => client,
            Machinery::Keeper(..) => panic!("node {node} is a keeper"),
        }
    }

    /// How many connections stand between two nodes.
    pub fn connections(&self, one: usize, other: usize) -> usize {
        self.ends
            .values()
            .filter(|end| {
                end.node == one
                    && self
                        .ends
                        .get(&end.peer)
                        .is_some_and(|peer| peer.node == other)
            })
            .count()
    }

    fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn latency(&mut self) -> u64 {
        if self.random.one_in(50) {
            self.random.between(MILLI, 40 * MILLI)
        } else {
            self.random.between(MILLI / 5, 2 * MILLI)
        }
    }

    fn cut(&self, one: usize, other: usize) -> bool {
        self.partitions.contains(&(one.min(other), one.max(other)))
    }

    fn clocks(&self, node: usize) -> Now {
        let wall = 1_600_000_000 * i64::try_from(SECOND).unwrap()
            + i64::try_from(self.now).unwrap()
            + self.nodes[node].wall_ahead;
        Now {
            mono: Mono(self.now),
            wall: Wall(wall),
        }
    }

    /// One input for one node, and its effects.
    pub fn step(&mut self, at: usize, input: Input) {
        if !self.nodes[at].up {
            return;
        }
        self.steps += 1;
        let now = self.clocks(at);
        let mut effects: Vec<Stamped> = Vec::new();
        let node = &mut self.nodes[at];
        let mut io = Io::new(&mut node.disk, &mut effects, &mut self.next_connection);
        match &mut node.machine {
            Machinery::Keeper(keeper, _) => keeper.handle(now, input, &mut io),
            Machinery::Client(client) => client.handle(now, &input, &mut io),
        }
        let doomed = self.nodes[at].doomed.take();
        if doomed.is_some() {
            let kept = self.random.below(u64::try_from(effects.len()).unwrap() + 1);
            effects.truncate(usize::try_from(kept).unwrap());
        }
        for stamped in effects {
            self.carry_out(at, stamped.effect);
        }
        if let Some(power) = doomed {
            let back = self.random.between(10 * MILLI, 4 * SECOND);
            self.kill(at, power, back);
        }
    }

    /// Lets a client make requests now.
    pub fn request(&mut self, at: usize, ops: Vec<KeeperOp>) {
        self.act(at, |client, now, io| {
            for op in ops {
                client.request(now, io, op);
            }
        });
    }

    /// Lets a client close its session.
    pub fn close(&mut self, at: usize) {
        self.act(at, |client, now, io| client.keeper.close(now, io));
    }

    fn act(&mut self, at: usize, act: impl FnOnce(&mut TestClient, Now, &mut Io<'_>)) {
        let now = self.clocks(at);
        let mut effects: Vec<Stamped> = Vec::new();
        let node = &mut self.nodes[at];
        let mut io = Io::new(&mut node.disk, &mut effects, &mut self.next_connection);
        if let Machinery::Client(client) = &mut node.machine {
            act(client, now, &mut io);
        }
        for stamped in effects {
            self.carry_out(at, stamped.effect);
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let life = self.nodes[at].life;
        match effect {
            Effect::Connect { connection, to } => {
                let wait = self.latency();
                let event = Event::Dial {
                    from: at,
                    life,
                    connection,
                    to,
                };
                self.push(self.now + wait, event);
            }
            Effect::Send {
                connection,
                message,
            } => self.post(connection, Packet::Message(message)),
            Effect::Close { connection } => {
                self.post(connection, Packet::Close(CloseReason::Peer));
                self.ends.remove(&connection);
            }
            Effect::SetTimer { timer, at: due } => {
                self.sequence += 1;
                let setting = self.sequence;
                self.timers.insert((at, timer), setting);
                let due = due.0.max(self.now);
                self.push(due, Event::Ring(at, life, timer, setting));
            }
            Effect::CancelTimer { timer } => {
                self.timers.remove(&(at, timer));
            }
            Effect::Flush { flush, files } => {
                let image = self.nodes[at].disk.image(&files);
                let wait = self.random.between(MILLI / 10, self.slowest_flush);
                self.push(self.now + wait, Event::Flushed(at, life, flush, image));
            }
            Effect::Note(Note::Keeper(note)) => self.notes.push((at, note)),
            Effect::Exit { clean } => {
                assert!(clean, "keeper {at} gave up at {}", self.now);
                self.nodes[at].up = false;
            }
            Effect::Note(_) | Effect::Queue { .. } | Effect::Outcome { .. } => {
                panic!("not an effect of a keeper")
            }
        }
    }

    /// Puts a packet on its way to the other end.
    fn post(&mut self, from: ConnectionId, packet: Packet) {
        let wait = self.latency();
        let Some(peer) = self.ends.get(&from).map(|end| end.peer) else {
            return;
        };
        let Some(end) = self.ends.get_mut(&peer) else {
            return;
        };
        let at = (self.now + wait).max(end.last_arrival + 1);
        end.last_arrival = at;
        self.push(at, Event::Arrive(peer, packet));
    }

    /// Stops a node at once and starts it again later.
    pub fn kill(&mut self, at: usize, power: bool, back_in: u64) {
        if !self.nodes[at].up {
            return;
        }
        let own: Vec<_> = self
            .ends
            .iter()
            .filter(|(_, end)| end.node == at)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in own {
            self.post(connection, Packet::Close(CloseReason::Reset));
            self.ends.remove(&connection);
        }
        let node = &mut self.nodes[at];
        node.up = false;
        node.life += 1;
        node.doomed = None;
        if power {
            node.disk.power_loss(&mut self.random);
        }
        self.timers.retain(|(node, _), _| *node != at);
        self.push(self.now + back_in, Event::Restart(at));
    }

    pub fn heal(&mut self) {
        self.partitions.clear();
        let held: Vec<_> = self
            .ends
            .iter()
            .filter(|(_, end)| !end.held.is_empty())
            .map(|(connection, _)| *connection)
            .collect();
        for connection in held {
            let wait = self.latency();
            self.push(self.now + wait, Event::Release(connection));
        }
    }

    /// Runs until `end`.
    pub fn run_until(&mut self, end: u64) {
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > end {
                break;
            }
            let ((at, _), event) = self.queue.pop_first().unwrap();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn is_cut(&self, connection: ConnectionId) -> bool {
        let Some(end) = self.ends.get(&connection) else {
            return false;
        };
        self.ends
            .get(&end.peer)
            .is_some_and(|peer| self.cut(end.node, peer.node))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(connection, packet) => {
                let cut = self.is_cut(connection);
                let Some(end) = self.ends.get_mut(&connection) else {
                    return;
                };
                if cut || !end.held.is_empty() {
                    end.held.push_back(packet);
                } else {
                    self.receive(connection, packet);
                }
            }
            Event::Release(connection) => {
                while !self.is_cut(connection) {
                    let next = self
                        .ends
                        .get_mut(&connection)
                        .and_then(|end| end.held.pop_front());
                    let Some(packet) = next else { break };
                    self.receive(connection, packet);
                }
            }
            Event::Dial {
                from,
                life,
                connection,
                to,
            } => self.dial(from, life, connection, &to),
            Event::Refuse(node, life, connection) => {
                if self.nodes[node].life == life {
                    self.step(node, Input::Refused { connection });
                }
            }
            Event::Ring(node, life, timer, setting) => {
                if self.nodes[node].life == life
                    && self.timers.get(&(node, timer)) == Some(&setting)
                {
                    self.timers.remove(&(node, timer));
                    self.step(node, Input::Timer { timer });
                }
            }
            Event::Flushed(node, life, flush, image) => {
                if self.nodes[node].life == life {
                    self.nodes[node].disk.flushed(image);
                    let result = Ok(());
                    self.step(node, Input::Flushed { flush, result });
                }
            }
            Event::Restart(node) => {
                self.nodes[node].up = true;
                if let Machinery::Keeper(keeper, spec) = &mut self.nodes[node].machine {
                    **keeper = Keeper::new((**spec).clone());
                }
                self.step(node, Input::Started);
            }
        }
    }

    fn receive(&mut self, connection: ConnectionId, packet: Packet) {
        let Some(node) = self.ends.get(&connection).map(|end| end.node) else {
            return;
        };
        let input = match packet {
            Packet::Message(message) => Input::Received {
                connection,
                message,
            },
            Packet::Close(reason) => {
                self.ends.remove(&connection);
                Input::Closed { connection, reason }
            }
        };
        self.step(node, input);
    }

    fn dial(&mut self, from: usize, life: u32, connection: ConnectionId, to: &Endpoint) {
        if self.nodes[from].life != life {
            return;
        }
        let target = self
            .nodes
            .iter()
            .position(|node| node.host == to.host)
            .unwrap();
        if self.cut(from, target) {
            let wait = 2 * SECOND;
            self.push(self.now + wait, Event::Refuse(from, life, connection));
            return;
        }
        if !self.nodes[target].up {
            self.step(from, Input::Refused { connection });
            return;
        }
        let accepted = ConnectionId(self.next_connection);
        self.next_connection += 1;
        for (own, node, peer) in [(connection, from, accepted), (accepted, target, connection)] {
            let end = End {
                node,
                peer,
                last_arrival: self.now,
                held: VecDeque::new(),
            };
            self.ends.insert(own, end);
        }
        let input = Input::Accepted {
            connection: accepted,
            port: to.port,
            from: self.nodes[from].host.clone(),
        };
        self.step(target, input);
        self.step(from, Input::Opened { connection });
    }
}
