//! The watches clients left with this server (`WatchManager`): one-shot, kept in memory only, gone with the connection.
//!
//! Connections are told in the order of their ids, where ZooKeeper's order is that of a hash set. Persistent and recursive
//! watches (3.6) are left out: no client of this age knows them.

use crate::tree::Tree;
use protocol::ids::Zxid;
use protocol::keeper::{Path, WatchEvent, WatchKind};
use protocol::machine::ConnectionId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Table {
    /// Data and existence.
    Data,
    /// Children.
    Child,
}

/// What `SetWatches` lists.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) relative_zxid: Zxid,
    pub(crate) data: Vec<Path>,
    pub(crate) exist: Vec<Path>,
    pub(crate) child: Vec<Path>,
}

/// All watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    by_path: BTreeMap<(Table, Path), BTreeSet<ConnectionId>>,
    by_connection: BTreeMap<ConnectionId, BTreeSet<(Table, Path)>>,
}

impl Watches {
    pub(crate) fn add(&mut self, table: Table, path: &Path, connection: ConnectionId) {
        let key = (table, path.clone());
        self.by_connection
            .entry(connection)
            .or_default()
            .insert(key.clone());
        self.by_path.entry(key).or_default().insert(connection);
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        for key in self.by_connection.remove(&connection).unwrap_or_default() {
            if let Some(watchers) = self.by_path.get_mut(&key) {
                watchers.remove(&connection);
                if watchers.is_empty() {
                    self.by_path.remove(&key);
                }
            }
        }
    }

    /// Takes the watches that the event ends; each connection once.
    pub(crate) fn take(&mut self, event: &WatchEvent) -> BTreeSet<ConnectionId> {
        if self.by_path.is_empty() {
            return BTreeSet::new();
        }
        match event.kind {
            WatchKind::Created | WatchKind::DataChanged => self.trigger(Table::Data, &event.path),
            WatchKind::ChildrenChanged => self.trigger(Table::Child, &event.path),
            WatchKind::Deleted => {
                let mut told = self.trigger(Table::Data, &event.path);
                told.append(&mut self.trigger(Table::Child, &event.path));
                told
            }
        }
    }

    fn trigger(&mut self, table: Table, path: &Path) -> BTreeSet<ConnectionId> {
        let key = (table, path.clone());
        let told = self.by_path.remove(&key).unwrap_or_default();
        for connection in &told {
            if let Some(keys) = self.by_connection.get_mut(connection) {
                keys.remove(&key);
            }
        }
        told
    }

    /// `DataTree.setWatches`: what changed since fires now, the rest is watched again.
    pub(crate) fn renew(
        &mut self,
        tree: &Tree,
        renewal: &Renewal,
        connection: ConnectionId,
    ) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        let mut fire = |kind, path: &Path| {
            events.push(WatchEvent {
                kind,
                path: path.clone(),
            });
        };
        for path in &renewal.data {
            match tree.node(path) {
                None => fire(WatchKind::Deleted, path),
                Some(node) if node.stat.mzxid > renewal.relative_zxid => {
                    fire(WatchKind::DataChanged, path);
                }
                Some(_) => self.add(Table::Data, path, connection),
            }
        }
        for path in &renewal.exist {
            if tree.node(path).is_some() {
                fire(WatchKind::Created, path);
            } else {
                self.add(Table::Data, path, connection);
            }
        }
        for path in &renewal.child {
            match tree.node(path) {
                None => fire(WatchKind::Deleted, path),
                Some(node) if node.stat.pzxid > renewal.relative_zxid => {
                    fire(WatchKind::ChildrenChanged, path);
                }
                Some(_) => self.add(Table::Child, path, connection),
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: WatchKind, path: &str) -> WatchEvent {
        WatchEvent {
            kind,
            path: path.into(),
        }
    }

    #[test]
    fn a_deletion_tells_a_connection_once_for_both_its_watches() {
        let mut watches = Watches::default();
        let connection = ConnectionId(3);
        watches.add(Table::Data, &"/a".into(), connection);
        watches.add(Table::Child, &"/a".into(), connection);
        let told = watches.take(&event(WatchKind::Deleted, "/a"));
        assert_eq!(told.len(), 1);
        assert!(watches.take(&event(WatchKind::Deleted, "/a")).is_empty());
    }

    #[test]
    fn a_closed_connection_is_not_told() {
        let mut watches = Watches::default();
        watches.add(Table::Child, &"/a".into(), ConnectionId(3));
        watches.add(Table::Child, &"/a".into(), ConnectionId(4));
        watches.forget(ConnectionId(3));
        let told = watches.take(&event(WatchKind::ChildrenChanged, "/a"));
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [ConnectionId(4)]);
    }

    #[test]
    fn what_changed_while_away_fires_on_return() {
        let mut watches = Watches::default();
        let renewal = Renewal {
            relative_zxid: Zxid(1),
            data: vec!["/gone".into()],
            exist: vec!["/zookeeper".into(), "/later".into()],
            child: vec!["/".into()],
        };
        let fired = watches.renew(&Tree::default(), &renewal, ConnectionId(1));
        assert_eq!(
            fired,
            [
                event(WatchKind::Deleted, "/gone"),
                event(WatchKind::Created, "/zookeeper")
            ]
        );
        assert_eq!(watches.take(&event(WatchKind::Created, "/later")).len(), 1);
        assert_eq!(
            watches.take(&event(WatchKind::ChildrenChanged, "/")).len(),
            1
        );
    }
}
