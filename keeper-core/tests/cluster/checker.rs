//! What must hold of a run: one history of transactions for all servers, nothing acknowledged lost, sessions that never go
//! back, ephemeral znodes that go with their session.

use super::client::{REGISTERS, Record, TWINS};
use super::world::World;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::{CreateMode, KeeperOp, KeeperResult, KeeperRole};
use protocol::note::KeeperNote;
use std::collections::{BTreeMap, BTreeSet};

/// Checks the notes of all servers against one another (PrefixConsistency, Integrity, Agreement of the zk-3.7
/// specification).
#[derive(Default)]
pub struct WhiteBox {
    known: BTreeMap<Zxid, u32>,
    /// Zxids that a restored tree holds, although no server applied them one by one.
    restored: Vec<(Zxid, Zxid)>,
    last: BTreeMap<usize, Zxid>,
    serving: BTreeMap<usize, bool>,
    pub violations: Vec<String>,
}

impl WhiteBox {
    pub fn see(&mut self, server: usize, note: &KeeperNote) {
        match note {
            KeeperNote::Role { role, .. } => {
                self.serving.insert(server, *role != KeeperRole::Looking);
                if *role == KeeperRole::Leading {
                    self.last.insert(server, Zxid(-1));
                } else if self.last.get(&server) == Some(&Zxid(-1)) {
                    // It died before it had said what it leads with, and leads no more.
                    self.last.remove(&server);
                }
            }
            KeeperNote::Restored { zxid, .. } => self.see_restored(server, *zxid),
            KeeperNote::Applied { zxid, digest, .. } => self.see_applied(server, *zxid, *digest),
            KeeperNote::Logged(_)
            | KeeperNote::Truncated(_)
            | KeeperNote::SessionCreated(..)
            | KeeperNote::SessionExpired(_)
            | KeeperNote::SessionResumed { .. }
            | KeeperNote::SessionClosed(_) => {}
        }
    }

    fn see_restored(&mut self, server: usize, zxid: Zxid) {
        if self.serving.get(&server) != Some(&true) {
            return;
        }
        let newest = self.known.last_key_value().map_or(Zxid::ZERO, |(z, _)| *z);
        if self.last.get(&server) == Some(&Zxid(-1)) {
            if zxid < newest {
                self.violations.push(format!(
                    "leader {server} starts at {:x} without the committed {:x}",
                    zxid.0, newest.0
                ));
            }
            self.restored.push((newest, zxid));
        }
        self.last.insert(server, zxid);
    }

    fn see_applied(&mut self, server: usize, zxid: Zxid, digest: u32) {
        let newest = self.known.last_key_value().map_or(Zxid::ZERO, |(z, _)| *z);
        let last = self.last.get(&server).copied().unwrap_or(Zxid::ZERO);
        match self.known.get(&zxid) {
            Some(other) if *other == digest => {}
            Some(_) => self
                .violations
                .push(format!("server {server} applied another {:x}", zxid.0)),
            None => {
                let open = self
                    .restored
                    .iter()
                    .any(|(after, to)| zxid > *after && zxid <= *to);
                if zxid < newest && !open {
                    self.violations.push(format!(
                        "server {server} applied {:x}, which others passed over",
                        zxid.0
                    ));
                }
            }
        }
        let next = zxid == last.next() || (zxid.epoch() > last.epoch() && zxid.counter() == 1);
        let skipped = self.known.range(last.next()..zxid).next();
        if !next || skipped.is_some() {
            self.violations.push(format!(
                "server {server} applied {:x} after {:x}",
                zxid.0, last.0
            ));
        }
        self.known.insert(zxid, digest);
        self.last.insert(server, zxid);
    }
}

/// Judges a run that has come to rest. `servers` are the keepers, `clients` the clients.
pub fn judge(
    world: &mut World,
    servers: std::ops::Range<usize>,
    clients: std::ops::Range<usize>,
) -> Vec<String> {
    let mut white = WhiteBox::default();
    for (server, note) in &world.notes {
        white.see(*server, note);
    }
    let mut found = white.violations;
    let histories: Vec<Vec<Record>> = clients
        .clone()
        .map(|client| world.client(client).history.clone())
        .collect();
    for client in clients {
        found.extend(world.client(client).violations.clone());
    }
    for history in &histories {
        sessions_never_go_back(history, &mut found);
    }
    for server in servers.clone() {
        if world.keeper(server).is_serving() {
            nothing_acknowledged_is_lost(world, server, &histories, &mut found);
        } else {
            found.push(format!(
                "server {server} does not serve after all is healed"
            ));
        }
    }
    sequential_names_are_unique(&histories, &mut found);
    syncs_are_fresh(&histories, &mut found);
    let first = world.keeper(servers.start);
    let paths: Vec<_> = first.paths().cloned().collect();
    for server in servers {
        let other = world.keeper(server);
        if !paths.iter().eq(other.paths()) {
            found.push(format!("server {server} has other znodes"));
        }
        if let Some(path) = paths
            .iter()
            .find(|path| first.stat(path) != other.stat(path))
        {
            found.push(format!("server {server} has another {path}"));
        }
    }
    found
}

fn acknowledged(histories: &[Vec<Record>]) -> impl Iterator<Item = (&Record, &KeeperResult)> {
    histories
        .iter()
        .flatten()
        .filter_map(|record| Some((record, record.result.as_ref().ok()?)))
}

fn nothing_acknowledged_is_lost(
    world: &World,
    server: usize,
    histories: &[Vec<Record>],
    found: &mut Vec<String>,
) {
    let keeper = world.keeper(server);
    for (record, result) in acknowledged(histories) {
        match (&record.op, result) {
            (
                KeeperOp::Create {
                    mode: CreateMode::Persistent | CreateMode::PersistentSequential,
                    ..
                },
                KeeperResult::Created(path),
            ) if keeper.stat(path).is_none() => {
                found.push(format!("server {server} lost the acknowledged {path}"));
            }
            (KeeperOp::SetData { path, .. }, KeeperResult::DataSet(stat)) => {
                let version = keeper.stat(path).map_or(-1, |stat| stat.version);
                if version < stat.version {
                    found.push(format!(
                        "server {server} has {path} at {version}, acknowledged was {}",
                        stat.version
                    ));
                }
            }
            _ => {}
        }
    }
    let twins = TWINS.map(|path| keeper.stat(path).map(|stat| (stat.version, stat.mzxid)));
    if twins[0] != twins[1] {
        found.push(format!("server {server} has half a multi: {twins:?}"));
    }
    if let Some(path) = keeper.paths().find(|path| path.starts_with("/e-")) {
        found.push(format!("server {server} still has {path}"));
    }
    if keeper.sessions().count() > 0 {
        found.push(format!("server {server} still knows sessions"));
    }
}

fn sessions_never_go_back(history: &[Record], found: &mut Vec<String>) {
    let mut seen: BTreeMap<(SessionId, &str), (i32, Zxid)> = BTreeMap::new();
    let mut zxids: BTreeMap<SessionId, Zxid> = BTreeMap::new();
    for record in history {
        if record.zxid == Zxid::ZERO {
            continue;
        }
        let newest = zxids.entry(record.session).or_default();
        if record.zxid < *newest {
            found.push(format!(
                "{:?}: answers go back from {:x} to {:x}",
                record.session, newest.0, record.zxid.0
            ));
        }
        *newest = record.zxid;
        let Ok(KeeperResult::Data(_, stat) | KeeperResult::DataSet(stat)) = &record.result else {
            continue;
        };
        let path = record.op.path();
        let before = seen
            .insert((record.session, path), (stat.version, stat.mzxid))
            .unwrap_or((-1, Zxid::ZERO));
        if before > (stat.version, stat.mzxid) {
            found.push(format!(
                "{:?} saw {path} at {before:?}, then at {}",
                record.session, stat.version
            ));
        }
    }
}

fn sequential_names_are_unique(histories: &[Vec<Record>], found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for (_, result) in acknowledged(histories) {
        if let KeeperResult::Created(path) = result
            && !names.insert(path.clone())
        {
            found.push(format!("{path} was given twice"));
        }
    }
}

/// A read after a sync sees every write acknowledged before the sync was asked for.
fn syncs_are_fresh(histories: &[Vec<Record>], found: &mut Vec<String>) {
    let writes: Vec<_> = acknowledged(histories)
        .filter_map(|(record, result)| match result {
            KeeperResult::DataSet(stat) => Some((record.done, record.op.path(), stat.version)),
            _ => None,
        })
        .collect();
    for history in histories {
        for pair in history.windows(2) {
            let (KeeperOp::Sync { path }, Ok(_)) = (&pair[0].op, &pair[0].result) else {
                continue;
            };
            let (KeeperOp::GetData { .. }, Ok(KeeperResult::Data(_, stat))) =
                (&pair[1].op, &pair[1].result)
            else {
                continue;
            };
            if pair[1].op.path() != &**path || !REGISTERS.contains(&&**path) {
                continue;
            }
            let stale = writes.iter().find(|(done, written, version)| {
                *done < pair[0].invoked && *written == &**path && *version > stat.version
            });
            if let Some((_, _, version)) = stale {
                found.push(format!(
                    "a read after sync saw {path} at {}, {version} was acknowledged before",
                    stat.version
                ));
            }
        }
    }
}
