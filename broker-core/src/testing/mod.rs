//! For tests only: a small world of machines with disks in memory, one scripted keeper, and brokers that do nothing but
//! coordinate.
//!
//! Messages take no time and keep their order; timers ring when a test lets time pass.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what a test does not expect fails it"
)]

pub(crate) mod broker;
pub(crate) mod keeper;

use self::keeper::ScriptedKeeper;
use crate::log::memory_disk::MemoryDisk;
use protocol::ids::{Endpoint, SessionId};
use protocol::keeper::{KeeperOp, KeeperReply};
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Machine, Stamped, TimerId};
use protocol::message::Message;
use protocol::note::Note;
use protocol::time::{Mono, Now, Span, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Where the keeper listens.
pub(crate) const KEEPER: &str = "k1";

#[derive(Clone, Debug)]
enum End {
    Node(String, ConnectionId),
    /// The host of the client.
    Keeper(String),
}

/// Machines, their connections, timers and the keeper.
pub(crate) struct World<M> {
    pub(crate) now: Now,
    pub(crate) keeper: ScriptedKeeper,
    pub(crate) nodes: BTreeMap<String, M>,
    pub(crate) notes: Vec<(String, Note)>,
    pub(crate) exits: Vec<String>,
    /// Each host's disk, which outlives its processes.
    disks: BTreeMap<String, MemoryDisk>,
    queue: VecDeque<(String, Input)>,
    timers: BTreeMap<(String, TimerId), Mono>,
    /// For each end of a connection, the other one.
    peers: BTreeMap<ConnectionId, End>,
    /// Nodes that handle nothing until they are let go.
    paused: BTreeMap<String, VecDeque<Input>>,
    next_connection: u64,
}

impl<M: Machine> World<M> {
    pub(crate) fn new() -> Self {
        Self {
            now: Now {
                mono: Mono(0),
                wall: Wall::from_millis(1_600_000_000_000),
            },
            keeper: ScriptedKeeper::default(),
            nodes: BTreeMap::new(),
            notes: Vec::new(),
            exits: Vec::new(),
            disks: BTreeMap::new(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            peers: BTreeMap::new(),
            paused: BTreeMap::new(),
            next_connection: 1,
        }
    }

    pub(crate) fn start(&mut self, host: &str, machine: M) {
        self.nodes.insert(host.to_owned(), machine);
        self.queue.push_back((host.to_owned(), Input::Started));
        self.run();
    }

    /// The process is gone; the keeper session lives until [`Self::expire`].
    pub(crate) fn kill(&mut self, host: &str) {
        self.nodes.remove(host);
        self.timers.retain(|(owner, _), _| owner != host);
        let ends: Vec<ConnectionId> = self
            .peers
            .iter()
            .filter(|(_, end)| matches!(end, End::Node(node, _) if node == host))
            .map(|(id, _)| *id)
            .collect();
        for id in ends {
            self.break_from(id);
        }
        self.run();
    }

    /// `id` is an end whose other end lives on the node that is gone.
    fn break_from(&mut self, id: ConnectionId) {
        let Some(End::Node(_, dead)) = self.peers.remove(&id) else {
            return;
        };
        if let Some(End::Node(owner, own)) = self.peers.remove(&dead) {
            debug_assert_eq!(own, id);
            let reason = CloseReason::Reset;
            let input = Input::Closed {
                connection: id,
                reason,
            };
            self.queue.push_back((owner, input));
        }
    }

    pub(crate) fn pause(&mut self, host: &str) {
        self.paused.insert(host.to_owned(), VecDeque::new());
    }

    pub(crate) fn resume(&mut self, host: &str) {
        for input in self.paused.remove(host).unwrap_or_default() {
            self.queue.push_back((host.to_owned(), input));
        }
        self.run();
    }

    /// The keeper sessions of a host.
    pub(crate) fn sessions_of(&self, host: &str) -> Vec<SessionId> {
        let ends = self.peers.iter();
        let ours = ends.filter(|(_, end)| matches!(end, End::Keeper(owner) if owner == host));
        ours.filter_map(|(connection, _)| self.keeper.connections.get(connection).copied())
            .collect()
    }

    /// Ends a keeper session and cuts its connection.
    pub(crate) fn expire(&mut self, session: SessionId) {
        let connection = self.keeper.connection_of(session);
        let out = self.keeper.expire(session);
        self.keeper_says(out);
        if let Some(connection) = connection {
            self.keeper_cuts(connection);
        }
        self.run();
    }

    /// The session is over and its connection cut, but its ephemeral znodes stay (ZOOKEEPER-2985).
    pub(crate) fn expire_but_keep_nodes(&mut self, session: SessionId) {
        let connection = self.keeper.connection_of(session);
        self.keeper.forget(session);
        if let Some(connection) = connection {
            self.keeper_cuts(connection);
        }
        self.run();
    }

    /// The session is over, and its client hears nothing of it yet.
    pub(crate) fn expire_silently(&mut self, session: SessionId) {
        let out = self.keeper.expire(session);
        self.keeper_says(out);
        self.run();
    }

    pub(crate) fn write(&mut self, op: &KeeperOp) {
        let out = self.keeper.write(op);
        self.keeper_says(out);
        self.run();
    }

    /// Calls into a machine outside of its inputs.
    pub(crate) fn with<R>(
        &mut self,
        host: &str,
        call: impl FnOnce(&mut M, Now, &mut Io<'_>) -> R,
    ) -> R {
        let mut machine = self.nodes.remove(host).expect("the node runs");
        let mut effects = Vec::new();
        let disk = self.disks.entry(host.to_owned()).or_default();
        let mut io = Io::new(disk, &mut effects, &mut self.next_connection);
        let result = call(&mut machine, self.now, &mut io);
        self.nodes.insert(host.to_owned(), machine);
        self.carry_out(host, effects);
        self.run();
        result
    }

    /// Lets time pass, ringing timers in order.
    pub(crate) fn pass(&mut self, span: Span) {
        let end = self.now.mono + span;
        loop {
            let due = self
                .timers
                .iter()
                .map(|(key, at)| (*at, key.clone()))
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, key)) = due else { break };
            self.timers.remove(&key);
            self.move_to(at);
            self.queue.push_back((key.0, Input::Timer { timer: key.1 }));
            self.run();
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Mono) {
        let passed = at.since(self.now.mono);
        self.now.mono += passed;
        self.now.wall.0 += i64::try_from(passed.0).unwrap();
    }

    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while let Some((host, input)) = self.queue.pop_front() {
            steps += 1;
            assert!(steps < 200_000, "the world does not come to rest");
            if let Some(kept) = self.paused.get_mut(&host) {
                kept.push_back(input);
                continue;
            }
            let Some(machine) = self.nodes.get_mut(&host) else {
                continue;
            };
            let mut effects = Vec::new();
            let disk = self.disks.entry(host.clone()).or_default();
            let mut io = Io::new(disk, &mut effects, &mut self.next_connection);
            machine.handle(self.now, input, &mut io);
            self.carry_out(&host, effects);
        }
    }

    fn carry_out(&mut self, host: &str, effects: Vec<Stamped>) {
        for stamped in effects {
            match stamped.effect {
                Effect::Connect { connection, to } => self.connect(host, connection, &to),
                Effect::Send {
                    connection,
                    message,
                } => self.deliver(connection, message),
                Effect::Close { connection } => self.close(connection),
                Effect::SetTimer { timer, at } => {
                    self.timers.insert((host.to_owned(), timer), at);
                }
                Effect::CancelTimer { timer } => {
                    self.timers.remove(&(host.to_owned(), timer));
                }
                Effect::Queue { lane } => {
                    self.queue.push_back((host.to_owned(), Input::Due { lane }));
                }
                Effect::Note(note) => self.notes.push((host.to_owned(), note)),
                Effect::Exit { .. } => self.exits.push(host.to_owned()),
                Effect::Flush { .. } | Effect::Outcome { .. } => {}
            }
        }
    }

    fn connect(&mut self, host: &str, connection: ConnectionId, to: &Endpoint) {
        let opened = Input::Opened { connection };
        if &*to.host == KEEPER {
            self.peers.insert(connection, End::Keeper(host.to_owned()));
            self.queue.push_back((host.to_owned(), opened));
        } else if self.nodes.contains_key(&*to.host) || *to.host == *host {
            let other = ConnectionId(self.next_connection);
            self.next_connection += 1;
            let listener = to.host.to_string();
            self.peers
                .insert(connection, End::Node(listener.clone(), other));
            self.peers
                .insert(other, End::Node(host.to_owned(), connection));
            let accepted = Input::Accepted {
                connection: other,
                port: to.port,
                from: Arc::from(host),
            };
            self.queue.push_back((listener, accepted));
            self.queue.push_back((host.to_owned(), opened));
        } else {
            self.queue
                .push_back((host.to_owned(), Input::Refused { connection }));
        }
    }

    fn deliver(&mut self, connection: ConnectionId, message: Message) {
        match self.peers.get(&connection).cloned() {
            Some(End::Node(host, other)) => {
                let input = Input::Received {
                    connection: other,
                    message,
                };
                self.queue.push_back((host, input));
            }
            Some(End::Keeper(_)) => {
                let Message::KeeperRequest(request) = message else {
                    panic!("a keeper speaks its own protocol");
                };
                let (out, cut) = self.keeper.handle(connection, *request);
                self.keeper_says(out);
                if cut {
                    self.keeper_cuts(connection);
                }
            }
            None => {}
        }
    }

    fn keeper_says(&mut self, out: Vec<(ConnectionId, KeeperReply)>) {
        for (connection, reply) in out {
            if let Some(End::Keeper(host)) = self.peers.get(&connection) {
                let message = Message::KeeperReply(Box::new(reply));
                let input = Input::Received {
                    connection,
                    message,
                };
                self.queue.push_back((host.clone(), input));
            }
        }
    }

    pub(crate) fn keeper_cuts(&mut self, connection: ConnectionId) {
        self.keeper.connections.remove(&connection);
        if let Some(End::Keeper(host)) = self.peers.remove(&connection) {
            let reason = CloseReason::Reset;
            let input = Input::Closed { connection, reason };
            self.queue.push_back((host, input));
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        match self.peers.remove(&connection) {
            Some(End::Node(host, other)) => {
                self.peers.remove(&other);
                let input = Input::Closed {
                    connection: other,
                    reason: CloseReason::Peer,
                };
                self.queue.push_back((host, input));
            }
            Some(End::Keeper(_)) => {
                self.keeper.connections.remove(&connection);
            }
            None => {}
        }
    }
}
