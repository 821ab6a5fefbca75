//! The znodes (`DataTree`, `DataNode`): what a transaction does to them, and reads.
//!
//! A transaction was decided by the leader, so applying it cannot fail; where ZooKeeper ignores an error of a replay, so
//! does this. Quotas and ACLs are left out: they change no history of a ktrial cluster.

use crate::persistence::mix;
use crate::txn::{Transaction, Txn, TxnHeader};
use bytes::Bytes;
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::{KeeperFailure, KeeperResult, Path, Stat, WatchEvent, WatchKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The answer to an operation.
pub(crate) type Answer = Result<KeeperResult, KeeperFailure>;

/// One znode. `stat.cversion` counts created children only; [`Znode::stat`] shows it as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Bytes,
    pub(crate) stat: Stat,
    pub(crate) children: BTreeSet<Arc<str>>,
}

impl Znode {
    /// `DataNode.copyStat`: every child that is gone was a change as well.
    pub(crate) fn stat(&self) -> Stat {
        let num_children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            cversion: self
                .stat
                .cversion
                .wrapping_mul(2)
                .wrapping_sub(num_children),
            data_length: i32::try_from(self.data.len()).unwrap_or(i32::MAX),
            num_children,
            ..self.stat
        }
    }

    /// What it adds to the digest of its tree (`DigestCalculator`, ZOOKEEPER-3114). Its children count by themselves.
    fn weight(&self, path: &str) -> u64 {
        let bytes = path.bytes().chain([0]).chain(self.data.iter().copied());
        let content = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let stat = &self.stat;
        let numbers = [
            stat.czxid.0,
            stat.mzxid.0,
            stat.pzxid.0,
            stat.ctime,
            stat.mtime,
            i64::from(stat.version),
            i64::from(stat.cversion),
            stat.ephemeral_owner.0,
        ];
        let mixed = |hash: u64, number: i64| mix(hash ^ number.cast_unsigned());
        numbers.into_iter().fold(content, mixed)
    }
}

/// All znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<Path, Znode>,
    ephemerals: BTreeMap<SessionId, BTreeSet<Path>>,
    /// The sum of all znodes' weights.
    digest: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let mut nodes = BTreeMap::new();
        for (path, child) in [
            ("/", Some("zookeeper")),
            ("/zookeeper", Some("quota")),
            ("/zookeeper/quota", None),
        ] {
            let node = Znode {
                children: child.into_iter().map(Arc::from).collect(),
                ..Znode::default()
            };
            nodes.insert(Path::from(path), node);
        }
        let mut tree = Self {
            nodes,
            ephemerals: BTreeMap::new(),
            digest: 0,
        };
        tree.count_anew();
        tree
    }
}

/// Parent path and last name; none for the root and for what is no absolute path.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    let name = &path[slash + 1..];
    (!name.is_empty()).then_some((if slash == 0 { "/" } else { &path[..slash] }, name))
}

fn failed(error: KeeperError) -> KeeperFailure {
    KeeperFailure {
        error,
        multi: Vec::new(),
    }
}

impl Tree {
    /// A tree without any znode, to be filled from a snapshot.
    pub(crate) fn bare() -> Self {
        Self {
            nodes: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            digest: 0,
        }
    }

    /// A number that two trees share when they are alike.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    fn count_anew(&mut self) {
        let weights = self.nodes.iter().map(|(path, node)| node.weight(path));
        self.digest = weights.fold(0, u64::wrapping_add);
    }

    pub(crate) fn node(&self, path: &str) -> Option<&Znode> {
        self.nodes.get(path)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Path, &Znode)> {
        self.nodes.iter()
    }

    /// The ephemeral znodes of a session, in order.
    pub(crate) fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &Path> {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// The sessions that own ephemeral znodes.
    pub(crate) fn owners(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.ephemerals.keys().copied()
    }

    /// Every parent counts only the children it has.
    pub(crate) fn forget_created(&mut self) {
        for node in self.nodes.values_mut() {
            node.stat.cversion = i32::try_from(node.children.len()).unwrap_or(i32::MAX);
        }
        self.count_anew();
    }

    /// Puts a znode of a snapshot in its place; parents come first.
    pub(crate) fn restore(&mut self, path: Path, node: Znode) {
        if let Some((parent, name)) = split(&path)
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            parent.children.insert(Arc::from(name));
        }
        if node.stat.ephemeral_owner != SessionId(0) {
            self.ephemerals
                .entry(node.stat.ephemeral_owner)
                .or_default()
                .insert(path.clone());
        }
        self.digest = self.digest.wrapping_add(node.weight(&path));
        self.nodes.insert(path, node);
    }

    /// Applies a transaction; `fired` gets what watches may wait for, in order.
    pub(crate) fn apply(
        &mut self,
        transaction: &Transaction,
        fired: &mut Vec<WatchEvent>,
    ) -> Answer {
        self.apply_body(&transaction.header, &transaction.body, fired)
    }

    fn apply_body(
        &mut self,
        header: &TxnHeader,
        body: &Txn,
        fired: &mut Vec<WatchEvent>,
    ) -> Answer {
        match body {
            Txn::CreateSession { .. } => Ok(KeeperResult::Done),
            Txn::CloseSession => {
                for path in self.ephemerals.remove(&header.session).unwrap_or_default() {
                    self.delete(&path, header.zxid, fired);
                }
                Ok(KeeperResult::Done)
            }
            Txn::Create { .. } => self.create(header, body, fired),
            Txn::Delete { path } => {
                if self.delete(path, header.zxid, fired) {
                    Ok(KeeperResult::Deleted)
                } else {
                    Err(failed(KeeperError::NoNode))
                }
            }
            Txn::SetData {
                path,
                data,
                version,
            } => {
                let Some(node) = self.nodes.get_mut(path) else {
                    return Err(failed(KeeperError::NoNode));
                };
                let before = node.weight(path);
                node.data = data.clone();
                node.stat.mtime = header.time;
                node.stat.mzxid = header.zxid;
                node.stat.version = *version;
                self.digest = reweighed(self.digest, before, node.weight(path));
                fired.push(event(WatchKind::DataChanged, path));
                Ok(KeeperResult::DataSet(node.stat()))
            }
            Txn::Check { .. } => Ok(KeeperResult::Checked),
            Txn::Multi(parts) => self.multi(header, parts, fired),
            Txn::Error(error) => Err(failed(error.unwrap_or(KeeperError::RuntimeInconsistency))),
        }
    }

    fn multi(&mut self, header: &TxnHeader, parts: &[Txn], fired: &mut Vec<WatchEvent>) -> Answer {
        let first_error = parts.iter().find_map(|part| match part {
            Txn::Error(error) => *error,
            Txn::CreateSession { .. }
            | Txn::CloseSession
            | Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::Check { .. }
            | Txn::Multi(_) => None,
        });
        if let Some(error) = first_error {
            let multi = parts
                .iter()
                .map(|part| match part {
                    Txn::Error(error) => *error,
                    Txn::CreateSession { .. }
                    | Txn::CloseSession
                    | Txn::Create { .. }
                    | Txn::Delete { .. }
                    | Txn::SetData { .. }
                    | Txn::Check { .. }
                    | Txn::Multi(_) => None,
                })
                .collect();
            return Err(KeeperFailure { error, multi });
        }
        let results = parts
            .iter()
            .map(|part| self.apply_body(header, part, fired))
            .collect::<Result<_, _>>()?;
        Ok(KeeperResult::Multi(results))
    }

    fn create(&mut self, header: &TxnHeader, body: &Txn, fired: &mut Vec<WatchEvent>) -> Answer {
        let Txn::Create {
            path,
            data,
            ephemeral,
            parent_cversion,
        } = body
        else {
            return Err(failed(KeeperError::BadArguments));
        };
        let Some((parent_path, name)) = split(path) else {
            return Err(failed(KeeperError::BadArguments));
        };
        let exists = self.nodes.contains_key(path);
        let Some((parent_path, parent)) = entry(&mut self.nodes, parent_path) else {
            return Err(failed(KeeperError::NoNode));
        };
        // Also when the znode exists: a replay finds it so, and the parent may be older (`setCversionPzxid`).
        let before = parent.weight(parent_path);
        parent.stat.cversion = parent.stat.cversion.max(*parent_cversion);
        parent.stat.pzxid = parent.stat.pzxid.max(header.zxid);
        self.digest = reweighed(self.digest, before, parent.weight(parent_path));
        if exists {
            return Err(failed(KeeperError::NodeExists));
        }
        parent.children.insert(Arc::from(name));
        let changed = event(WatchKind::ChildrenChanged, parent_path);
        let owner = if *ephemeral {
            header.session
        } else {
            SessionId(0)
        };
        let stat = Stat {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner,
            ..Stat::default()
        };
        let node = Znode {
            data: data.clone(),
            stat,
            children: BTreeSet::new(),
        };
        self.digest = self.digest.wrapping_add(node.weight(path));
        self.nodes.insert(path.clone(), node);
        if *ephemeral {
            self.ephemerals
                .entry(owner)
                .or_default()
                .insert(path.clone());
        }
        fired.push(event(WatchKind::Created, path));
        fired.push(changed);
        Ok(KeeperResult::Created(path.clone()))
    }

    fn delete(&mut self, path: &Path, zxid: Zxid, fired: &mut Vec<WatchEvent>) -> bool {
        let Some(node) = self.nodes.remove(path) else {
            return false;
        };
        self.digest = self.digest.wrapping_sub(node.weight(path));
        if let Some(paths) = self.ephemerals.get_mut(&node.stat.ephemeral_owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&node.stat.ephemeral_owner);
            }
        }
        fired.push(event(WatchKind::Deleted, path));
        if let Some((parent_path, name)) = split(path)
            && let Some((parent_path, parent)) = entry(&mut self.nodes, parent_path)
        {
            let before = parent.weight(parent_path);
            parent.children.remove(name);
            parent.stat.pzxid = zxid;
            self.digest = reweighed(self.digest, before, parent.weight(parent_path));
            fired.push(event(WatchKind::ChildrenChanged, parent_path));
        }
        true
    }
}

fn reweighed(digest: u64, before: u64, after: u64) -> u64 {
    digest.wrapping_sub(before).wrapping_add(after)
}

/// A znode together with its shared path.
fn entry<'a>(
    nodes: &'a mut BTreeMap<Path, Znode>,
    path: &str,
) -> Option<(&'a Path, &'a mut Znode)> {
    nodes
        .range_mut::<str, _>((Bound::Included(path), Bound::Included(path)))
        .next()
}

fn event(kind: WatchKind, path: &Path) -> WatchEvent {
    WatchEvent {
        kind,
        path: path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::Xid;

    fn apply(tree: &mut Tree, zxid: i64, body: Txn) -> (Answer, Vec<WatchEvent>) {
        let header = TxnHeader {
            session: SessionId(7),
            cxid: Xid(1),
            zxid: Zxid(zxid),
            time: 1000 + zxid,
        };
        let mut fired = Vec::new();
        let answer = tree.apply(&Transaction::new(header, body), &mut fired);
        (answer, fired)
    }

    fn create(path: &str, ephemeral: bool, parent_cversion: i32) -> Txn {
        Txn::Create {
            path: path.into(),
            data: Bytes::from_static(b"d"),
            ephemeral,
            parent_cversion,
        }
    }

    #[test]
    fn a_create_fires_for_the_node_and_its_parent() {
        let mut tree = Tree::default();
        let (answer, fired) = apply(&mut tree, 5, create("/a", false, 1));
        assert_eq!(answer, Ok(KeeperResult::Created("/a".into())));
        let told: Vec<_> = fired.iter().map(|e| (e.kind, &*e.path)).collect();
        assert_eq!(
            told,
            [
                (WatchKind::Created, "/a"),
                (WatchKind::ChildrenChanged, "/")
            ]
        );
        let root = tree.node("/").unwrap().stat();
        assert_eq!((root.pzxid, root.num_children), (Zxid(5), 2));
    }

    #[test]
    fn the_visible_cversion_counts_creates_and_deletes() {
        let mut tree = Tree::default();
        assert_eq!(tree.node("/").unwrap().stat().cversion, -1);
        apply(&mut tree, 1, create("/a", false, 1)).0.unwrap();
        assert_eq!(tree.node("/").unwrap().stat().cversion, 0);
        apply(&mut tree, 2, Txn::Delete { path: "/a".into() })
            .0
            .unwrap();
        assert_eq!(tree.node("/").unwrap().stat().cversion, 1);
    }

    #[test]
    fn the_end_of_a_session_takes_its_ephemerals_under_one_zxid() {
        let mut tree = Tree::default();
        apply(&mut tree, 1, create("/a", true, 1)).0.unwrap();
        apply(&mut tree, 2, create("/b", true, 2)).0.unwrap();
        apply(&mut tree, 3, create("/c", false, 3)).0.unwrap();
        let (_, fired) = apply(&mut tree, 4, Txn::CloseSession);
        assert_eq!(
            fired
                .iter()
                .filter(|e| e.kind == WatchKind::Deleted)
                .count(),
            2
        );
        assert!(tree.node("/a").is_none() && tree.node("/c").is_some());
        assert_eq!(tree.node("/").unwrap().stat().pzxid, Zxid(4));
        assert_eq!(tree.ephemerals_of(SessionId(7)).count(), 0);
    }

    #[test]
    fn a_failed_multi_changes_nothing_and_tells_each_error() {
        let mut tree = Tree::default();
        let before = tree.clone();
        let parts = vec![
            create("/a", false, 1),
            Txn::Error(Some(KeeperError::BadVersion)),
            Txn::Error(Some(KeeperError::RuntimeInconsistency)),
        ];
        let (answer, fired) = apply(&mut tree, 1, Txn::Multi(parts));
        assert_eq!(
            answer,
            Err(KeeperFailure {
                error: KeeperError::BadVersion,
                multi: vec![
                    None,
                    Some(KeeperError::BadVersion),
                    Some(KeeperError::RuntimeInconsistency)
                ],
            })
        );
        assert!(fired.is_empty());
        assert_eq!(tree, before);
    }
}
