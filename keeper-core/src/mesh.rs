//! The connections that carry votes (`QuorumCnxManager`).
//!
//! Of two servers the one with the larger id dials; a smaller one that wants a connection dials too, says its name and is
//! hung up on, which asks the larger one to dial. Per peer only the newest vote waits, and a new connection begins with
//! the last vote sent, which may have been lost with the old one.

use crate::spec::{ELECTION_PORT, KeeperSpec};
use crate::step::Step;
use protocol::ids::{Endpoint, KeeperId};
use protocol::keeper::ElectionMessage;
use protocol::machine::ConnectionId;
use protocol::message::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Down,
    Dialling(ConnectionId),
    Up(ConnectionId),
}

#[derive(Clone, Debug)]
struct Peer {
    link: Link,
    waiting: Option<ElectionMessage>,
    last: Option<ElectionMessage>,
}

/// All election connections of one server.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    spec: Arc<KeeperSpec>,
    peers: BTreeMap<KeeperId, Peer>,
    /// Accepted, but not introduced yet.
    strangers: BTreeSet<ConnectionId>,
}

impl Mesh {
    pub(crate) fn new(spec: Arc<KeeperSpec>) -> Self {
        let peer = Peer {
            link: Link::Down,
            waiting: None,
            last: None,
        };
        let peers = spec.peers().map(|id| (id, peer.clone())).collect();
        Self {
            spec,
            peers,
            strangers: BTreeSet::new(),
        }
    }

    /// Sends a vote, or lets it wait for a connection.
    pub(crate) fn send(&mut self, to: KeeperId, message: ElectionMessage, step: &mut Step<'_, '_>) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        if let Link::Up(connection) = peer.link {
            peer.last = Some(message);
            step.io.send(connection, Message::Election(message));
        } else {
            peer.waiting = Some(message);
            self.dial(to, step);
        }
    }

    /// Whether at least one vote got onto a connection (`haveDelivered`).
    pub(crate) fn has_delivered(&self) -> bool {
        self.peers.values().any(|peer| peer.waiting.is_none())
    }

    /// Dials everybody there is no connection to.
    pub(crate) fn dial_all(&mut self, step: &mut Step<'_, '_>) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            self.dial(id, step);
        }
    }

    fn dial(&mut self, to: KeeperId, step: &mut Step<'_, '_>) {
        let Some(host) = self.spec.host(to).cloned() else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.link == Link::Down
        {
            let connection = step.io.connect(Endpoint::new(host, ELECTION_PORT));
            peer.link = Link::Dialling(connection);
        }
    }

    pub(crate) fn accept(&mut self, connection: ConnectionId) {
        self.strangers.insert(connection);
    }

    fn find(&self, connection: ConnectionId) -> Option<KeeperId> {
        self.peers
            .iter()
            .find(|(_, peer)| {
                peer.link == Link::Up(connection) || peer.link == Link::Dialling(connection)
            })
            .map(|(id, _)| *id)
    }

    /// A dialled connection stands; whether it was one of these. `intro` carries this server's name.
    pub(crate) fn opened(
        &mut self,
        connection: ConnectionId,
        intro: ElectionMessage,
        step: &mut Step<'_, '_>,
    ) -> bool {
        let Some(id) = self.find(connection) else {
            return false;
        };
        step.io.send(connection, Message::Election(intro));
        if self.spec.id > id {
            self.up(id, connection, step);
        } else {
            // The larger server dials back.
            step.io.close(connection);
            self.set_link(id, Link::Down);
        }
        true
    }

    fn set_link(&mut self, id: KeeperId, link: Link) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.link = link;
        }
    }

    fn up(&mut self, id: KeeperId, connection: ConnectionId, step: &mut Step<'_, '_>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            step.io.close(connection);
            return;
        };
        if let Link::Up(older) | Link::Dialling(older) = peer.link
            && older != connection
        {
            step.io.close(older);
        }
        peer.link = Link::Up(connection);
        if let Some(message) = peer.waiting.take().or(peer.last) {
            peer.last = Some(message);
            step.io.send(connection, Message::Election(message));
        }
    }

    /// A connection is gone or could not be made; whether it was one of these.
    pub(crate) fn closed(&mut self, connection: ConnectionId) -> bool {
        if self.strangers.remove(&connection) {
            return true;
        }
        let Some(id) = self.find(connection) else {
            return false;
        };
        self.set_link(id, Link::Down);
        true
    }

    /// A vote came in; handed back unless it only introduced its sender.
    pub(crate) fn received(
        &mut self,
        connection: ConnectionId,
        message: ElectionMessage,
        step: &mut Step<'_, '_>,
    ) -> Option<ElectionMessage> {
        if !self.strangers.remove(&connection) {
            return self.find(connection).map(|_| message);
        }
        if message.from > self.spec.id {
            self.up(message.from, connection, step);
            return None;
        }
        // A smaller server asks to be dialled; whatever stood between us is dead for it.
        step.io.close(connection);
        if let Some(peer) = self.peers.get_mut(&message.from)
            && let Link::Up(older) = peer.link
        {
            step.io.close(older);
            peer.link = Link::Down;
        }
        self.dial(message.from, step);
        None
    }
}
