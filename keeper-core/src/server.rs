//! One server (`QuorumPeer`, `ZooKeeperServerMain`): its roles, and who of its parts an input concerns.

use crate::election::Election;
use crate::follower::Following;
use crate::leader::Leading;
use crate::mesh::Mesh;
use crate::persistence::Store;
use crate::service::Service;
use crate::spec::{CLIENT_PORT, ELECTION_PORT, KeeperSpec, QUORUM_PORT};
use crate::step::Step;
use crate::timers;
use crate::tree::Znode;
use protocol::disk::DiskError;
use protocol::ids::{KeeperId, SessionId, Zxid};
use protocol::keeper::{KeeperRole, Path, Stat};
use protocol::machine::{ConnectionId, FlushId, Input, Io, Machine, TimerId};
use protocol::message::Message;
use protocol::note::{KeeperNote, Note};
use protocol::time::Now;
use protocol::verb::Verb;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Role {
    Looking,
    Leading(Box<Leading>),
    Following(Box<Following>),
}

#[derive(Clone, Debug)]
struct Running {
    service: Service,
    election: Election,
    mesh: Mesh,
    role: Role,
}

/// A keeper server.
#[derive(Clone, Debug)]
pub struct Keeper {
    spec: Arc<KeeperSpec>,
    /// Nothing before the start and after the end.
    running: Option<Running>,
}

impl Keeper {
    /// A server of the ensemble; it begins with [`Input::Started`].
    pub fn new(spec: KeeperSpec) -> Self {
        Self {
            spec: Arc::new(spec),
            running: None,
        }
    }

    /// Its number.
    pub fn id(&self) -> KeeperId {
        self.spec.id
    }

    /// What it is doing: leading and following count once it serves.
    pub fn role(&self) -> KeeperRole {
        match self.running.as_ref().map(|running| &running.role) {
            Some(Role::Leading(leading)) if leading.established().is_some() => {
                if self.spec.is_standalone() {
                    KeeperRole::Standalone
                } else {
                    KeeperRole::Leading
                }
            }
            Some(Role::Following(following)) if following.is_serving() => KeeperRole::Following,
            Some(Role::Looking | Role::Leading(_) | Role::Following(_)) | None => {
                KeeperRole::Looking
            }
        }
    }

    /// Whether it takes clients.
    pub fn is_serving(&self) -> bool {
        self.role() != KeeperRole::Looking
    }

    /// The last transaction in its tree.
    pub fn last_zxid(&self) -> Zxid {
        self.running
            .as_ref()
            .map_or(Zxid::ZERO, |running| running.service.database.last_zxid)
    }

    /// A znode as this server has it now.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        let running = self.running.as_ref()?;
        running.service.database.tree.node(path).map(Znode::stat)
    }

    /// All znodes of this server, in order of their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.running
            .iter()
            .flat_map(|running| running.service.database.tree.nodes())
            .map(|(path, _)| path)
    }

    /// The sessions this server knows.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.running
            .iter()
            .flat_map(|running| running.service.database.sessions.keys().copied())
    }

    fn start(&mut self, step: &mut Step<'_, '_>) {
        let Ok((store, database)) = Store::open(&self.spec, step.io.disk) else {
            step.io.exit(false);
            return;
        };
        let service = Service::new(self.spec.clone(), database, store);
        let mut running = Running {
            service,
            election: Election::new(self.spec.clone()),
            mesh: Mesh::new(self.spec.clone()),
            role: Role::Looking,
        };
        running.note_looking(step);
        running.service.note_restored(step);
        running.service.store.log.flush(step.io);
        if self.spec.is_standalone() {
            let leading = Leading::start(&mut running.service, step);
            running.role = Role::Leading(Box::new(leading));
        } else {
            running.elect(step);
        }
        self.running = Some(running);
    }
}

impl Machine for Keeper {
    fn handle(&mut self, now: Now, input: Input, io: &mut Io<'_>) {
        let mut step = Step { now, io };
        let Some(running) = &mut self.running else {
            if matches!(input, Input::Started) {
                self.start(&mut step);
            }
            return;
        };
        if matches!(input, Input::Stop) {
            running.service.clients.close_all(&mut step);
            step.io.exit(true);
            self.running = None;
            return;
        }
        running.handle(input, &mut step);
        if running.service.failed {
            step.io.exit(false);
            self.running = None;
            return;
        }
        running.step_down_if_over(&mut step);
    }
}

impl Running {
    fn handle(&mut self, input: Input, step: &mut Step<'_, '_>) {
        match input {
            Input::Accepted {
                connection,
                port,
                from,
            } => self.accepted(connection, port, &from, step),
            Input::Opened { connection } => {
                let intro = self.election.message();
                if !self.mesh.opened(connection, intro, step)
                    && let Role::Following(following) = &mut self.role
                {
                    following.opened(connection, &self.service, step);
                }
            }
            Input::Refused { connection } | Input::Closed { connection, .. } => {
                self.closed(connection, step);
            }
            Input::Received {
                connection,
                message,
            } => self.received(connection, message, step),
            Input::Timer { timer } => self.rang(timer, step),
            Input::Flushed { flush, result } => self.flushed(flush, result, step),
            Input::Verb {
                verb: Verb::ExpireSession(session),
                ..
            } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.terminate(session, &mut self.service, step);
                }
            }
            Input::Started | Input::Due { .. } | Input::Verb { .. } | Input::Stop => {}
        }
    }

    fn is_serving(&self) -> bool {
        match &self.role {
            Role::Leading(leading) => leading.established().is_some(),
            Role::Following(following) => following.is_serving(),
            Role::Looking => false,
        }
    }

    fn accepted(
        &mut self,
        connection: ConnectionId,
        port: u16,
        from: &Arc<str>,
        step: &mut Step<'_, '_>,
    ) {
        let serves_clients = self.serves_clients();
        match (port, &mut self.role) {
            (ELECTION_PORT, _) => self.mesh.accept(connection),
            (QUORUM_PORT, Role::Leading(leading)) => leading.accept(connection, step),
            (CLIENT_PORT, _) if serves_clients => {
                let limit = usize::try_from(self.service.spec.config.max_client_cnxns).unwrap_or(0);
                self.service.clients.accept(connection, from, limit, step);
            }
            // Nobody listens: the caller finds the connection closed.
            (_, _) => step.io.close(connection),
        }
    }

    fn serves_clients(&self) -> bool {
        let leads = matches!(self.role, Role::Leading(_)) && !self.service.spec.is_standalone();
        self.is_serving() && (!leads || self.service.spec.config.leader_serves.0)
    }

    fn closed(&mut self, connection: ConnectionId, step: &mut Step<'_, '_>) {
        if self.service.clients.forget(connection) || self.mesh.closed(connection) {
            return;
        }
        match &mut self.role {
            Role::Leading(leading) => {
                leading.forget(connection);
            }
            Role::Following(following) => {
                following.closed(connection, step);
            }
            Role::Looking => {}
        }
    }

    fn received(&mut self, connection: ConnectionId, message: Message, step: &mut Step<'_, '_>) {
        match message {
            Message::KeeperRequest(request) => {
                if !self.service.clients.owns(connection) {
                    return;
                }
                match &mut self.role {
                    Role::Leading(leading) => {
                        leading.client(connection, *request, &mut self.service, step);
                    }
                    Role::Following(following) => {
                        following.client(connection, *request, &mut self.service, step);
                    }
                    Role::Looking => {}
                }
            }
            Message::Quorum(packet) => match &mut self.role {
                Role::Leading(leading) => {
                    leading.receive(connection, *packet, &mut self.service, step);
                }
                Role::Following(following) => {
                    following.receive(connection, *packet, &mut self.service, step);
                }
                Role::Looking => {}
            },
            Message::Election(message) => {
                if let Some(vote) = self.mesh.received(connection, message, step)
                    && let Some(leader) = self.election.receive(&vote, &mut self.mesh, step)
                {
                    self.elected(leader, step);
                }
            }
            // Not a keeper's: whoever sent it dialled the wrong port.
            Message::Request(_) | Message::Response(_) | Message::KeeperReply(_) => {
                self.service.clients.close(connection, step);
            }
        }
    }

    fn rang(&mut self, timer: TimerId, step: &mut Step<'_, '_>) {
        match (timer, &mut self.role) {
            (timers::ELECTION, Role::Looking) => {
                if let Some(leader) = self.election.ring(&mut self.mesh, step) {
                    self.elected(leader, step);
                }
            }
            (timers::ROLE, Role::Leading(leading)) => leading.tick(&mut self.service, step),
            (timers::ROLE, Role::Following(following)) => following.tick(&self.service, step),
            (timers::SESSIONS, Role::Leading(leading)) => leading.expire(&mut self.service, step),
            (_, _) => {}
        }
    }

    fn flushed(&mut self, flush: FlushId, result: Result<(), DiskError>, step: &mut Step<'_, '_>) {
        if self.service.check(result).is_none() {
            return;
        }
        let before = self.service.store.log.durable();
        if !self.service.store.log.flushed(flush, step.io) {
            return;
        }
        self.service.note_logged(before, step);
        match &mut self.role {
            Role::Leading(leading) => leading.settle(&mut self.service, step),
            Role::Following(following) => following.settle(&mut self.service, step),
            Role::Looking => {}
        }
    }

    fn elected(&mut self, leader: KeeperId, step: &mut Step<'_, '_>) {
        if leader == self.service.id() {
            self.election.leave(KeeperRole::Leading, step);
            let leading = Leading::start(&mut self.service, step);
            self.role = Role::Leading(Box::new(leading));
        } else {
            self.election.leave(KeeperRole::Following, step);
            let following = Following::start(leader, &self.service, step);
            self.role = Role::Following(Box::new(following));
        }
    }

    fn note_looking(&self, step: &mut Step<'_, '_>) {
        step.io.note(Note::Keeper(KeeperNote::Role {
            role: KeeperRole::Looking,
            epoch: self.service.store.current_epoch(),
            leader: None,
        }));
    }

    /// Looks for a leader.
    fn elect(&mut self, step: &mut Step<'_, '_>) {
        self.role = Role::Looking;
        let epoch = self.service.store.current_epoch();
        let has = (epoch, self.service.database.last_zxid);
        self.election.start(has, &mut self.mesh, step);
    }

    fn step_down_if_over(&mut self, step: &mut Step<'_, '_>) {
        let over = match &mut self.role {
            Role::Looking => false,
            Role::Leading(leading) => {
                if let Some(epoch) = leading.established() {
                    self.election.set_epoch(epoch);
                }
                leading.over
            }
            Role::Following(following) => {
                if following.is_serving() {
                    self.election.set_epoch(self.service.store.current_epoch());
                }
                following.over
            }
        };
        if !over {
            return;
        }
        self.service.clients.close_all(step);
        match &mut self.role {
            Role::Looking => {}
            Role::Leading(leading) => leading.shut_down(&mut self.service, step),
            Role::Following(following) => following.shut_down(&mut self.service, step),
        }
        self.note_looking(step);
        self.elect(step);
    }
}
