//! From a request to a transaction (`PrepRequestProcessor`), on the leader.
//!
//! A request is judged against the tree as it will be once everything proposed before is applied: the tree, and on top the
//! changes still outstanding. A request that fails becomes an error transaction with a zxid of its own.

use crate::database::Database;
use crate::tree::split;
use crate::txn::{Txn, TxnHeader};
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::{CreateMode, KeeperOp, Path};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// `ChangeRecord`: a znode as it will be.
#[derive(Clone, Debug)]
struct Record {
    /// `None` once it is deleted.
    stat: Option<RecordStat>,
    children: usize,
}

#[derive(Clone, Copy, Debug)]
struct RecordStat {
    version: i32,
    cversion: i32,
    owner: SessionId,
}

/// The changes proposed but not applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outstanding {
    by_path: BTreeMap<Path, (Zxid, Record)>,
    order: VecDeque<(Zxid, Path)>,
}

/// The changes of one request, kept apart until all of it is judged.
struct Draft<'a> {
    database: &'a Database,
    outstanding: &'a Outstanding,
    changes: Vec<(Path, Record)>,
    header: TxnHeader,
}

impl Outstanding {
    /// The transaction of an operation; `session` is what the session tracker says about the caller.
    pub(crate) fn prepare(
        &mut self,
        database: &Database,
        header: TxnHeader,
        session: Result<(), KeeperError>,
        op: &KeeperOp,
    ) -> Txn {
        let mut draft = Draft {
            database,
            outstanding: self,
            changes: Vec::new(),
            header,
        };
        let body = if let KeeperOp::Multi(ops) = op {
            draft.multi(session, ops)
        } else {
            session
                .and_then(|()| draft.single(op))
                .unwrap_or_else(|error| Txn::Error(Some(error)))
        };
        let changes = draft.changes;
        for (path, record) in changes {
            self.record(header.zxid, path, record);
        }
        body
    }

    /// The end of a session: its ephemeral znodes, those still outstanding included, count as deleted.
    pub(crate) fn close_session(&mut self, database: &Database, header: TxnHeader) {
        let mut gone: Vec<Path> = database
            .tree
            .ephemerals_of(header.session)
            .filter(|path| !self.by_path.contains_key(*path))
            .cloned()
            .collect();
        gone.extend(
            self.by_path
                .iter()
                .filter(|(_, (_, record))| {
                    record.stat.is_some_and(|stat| stat.owner == header.session)
                })
                .map(|(path, _)| path.clone()),
        );
        for path in gone {
            let record = Record {
                stat: None,
                children: 0,
            };
            self.record(header.zxid, path, record);
        }
    }

    /// Everything up to `zxid` is in the tree now.
    pub(crate) fn applied(&mut self, zxid: Zxid) {
        while self
            .order
            .front()
            .is_some_and(|(changed, _)| *changed <= zxid)
        {
            let Some((changed, path)) = self.order.pop_front() else {
                break;
            };
            if self
                .by_path
                .get(&path)
                .is_some_and(|(newest, _)| *newest == changed)
            {
                self.by_path.remove(&path);
            }
        }
    }

    fn record(&mut self, zxid: Zxid, path: Path, record: Record) {
        self.order.push_back((zxid, path.clone()));
        self.by_path.insert(path, (zxid, record));
    }
}

impl Draft<'_> {
    fn find(&self, path: &str) -> Result<(Record, RecordStat), KeeperError> {
        let record = self
            .changes
            .iter()
            .rev()
            .find(|(changed, _)| &**changed == path)
            .map(|(_, record)| record.clone())
            .or_else(|| {
                let (_, record) = self.outstanding.by_path.get(path)?;
                Some(record.clone())
            })
            .or_else(|| {
                let node = self.database.tree.node(path)?;
                Some(Record {
                    stat: Some(RecordStat {
                        version: node.stat.version,
                        cversion: node.stat.cversion,
                        owner: node.stat.ephemeral_owner,
                    }),
                    children: node.children.len(),
                })
            })
            .ok_or(KeeperError::NoNode)?;
        let stat = record.stat.ok_or(KeeperError::NoNode)?;
        Ok((record, stat))
    }

    fn multi(&mut self, session: Result<(), KeeperError>, ops: &[KeeperOp]) -> Txn {
        let mut failed = false;
        let mut parts = Vec::with_capacity(ops.len());
        for op in ops {
            if failed {
                parts.push(Txn::Error(Some(KeeperError::RuntimeInconsistency)));
                continue;
            }
            match session.and_then(|()| self.single(op)) {
                Ok(part) => parts.push(part),
                Err(error) => {
                    failed = true;
                    self.changes.clear();
                    parts.push(Txn::Error(Some(error)));
                }
            }
        }
        if failed {
            // The operations before the one that failed are not done either; their answer is OK.
            for part in &mut parts {
                if !matches!(part, Txn::Error(_)) {
                    *part = Txn::Error(None);
                }
            }
        }
        Txn::Multi(parts)
    }

    fn single(&mut self, op: &KeeperOp) -> Result<Txn, KeeperError> {
        match op {
            KeeperOp::Create { path, data, mode } => {
                let (path, ephemeral, parent_cversion) = self.create(path, *mode)?;
                Ok(Txn::Create {
                    path,
                    data: data.clone(),
                    ephemeral,
                    parent_cversion,
                })
            }
            KeeperOp::Delete { path, version } => self.delete(path, *version),
            KeeperOp::SetData {
                path,
                data,
                version,
            } => {
                validate(path)?;
                let (mut record, stat) = self.find(path)?;
                let next = next_version(stat.version, *version)?;
                record.stat = Some(RecordStat {
                    version: next,
                    ..stat
                });
                self.changes.push((path.clone(), record));
                Ok(Txn::SetData {
                    path: path.clone(),
                    data: data.clone(),
                    version: next,
                })
            }
            KeeperOp::Check { path, version } => {
                validate(path)?;
                let (_, stat) = self.find(path)?;
                Ok(Txn::Check {
                    path: path.clone(),
                    version: next_version(stat.version, *version)?,
                })
            }
            KeeperOp::Multi(_)
            | KeeperOp::Exists { .. }
            | KeeperOp::GetData { .. }
            | KeeperOp::GetChildren { .. }
            | KeeperOp::Sync { .. } => Err(KeeperError::BadArguments),
        }
    }

    fn create(&mut self, path: &Path, mode: CreateMode) -> Result<(Path, bool, i32), KeeperError> {
        let slash = path.rfind('/').ok_or(KeeperError::BadArguments)?;
        let parent_path = if slash == 0 { "/" } else { &path[..slash] };
        let (mut parent, stat) = self.find(parent_path)?;
        let (ephemeral, sequential) = match mode {
            CreateMode::Persistent => (false, false),
            CreateMode::Ephemeral => (true, false),
            CreateMode::PersistentSequential => (false, true),
            CreateMode::EphemeralSequential => (true, true),
        };
        let full: Path = if sequential {
            Arc::from(format!("{path}{:010}", stat.cversion))
        } else {
            path.clone()
        };
        validate(&full)?;
        if self.find(&full).is_ok() {
            return Err(KeeperError::NodeExists);
        }
        if stat.owner != SessionId(0) {
            return Err(KeeperError::NoChildrenForEphemerals);
        }
        let cversion = stat.cversion + 1;
        parent.children += 1;
        parent.stat = Some(RecordStat { cversion, ..stat });
        self.changes.push((Path::from(parent_path), parent));
        let owner = if ephemeral {
            self.header.session
        } else {
            SessionId(0)
        };
        let record = Record {
            stat: Some(RecordStat {
                version: 0,
                cversion: 0,
                owner,
            }),
            children: 0,
        };
        self.changes.push((full.clone(), record));
        Ok((full, ephemeral, cversion))
    }

    fn delete(&mut self, path: &Path, version: i32) -> Result<Txn, KeeperError> {
        if matches!(&**path, "/" | "/zookeeper" | "/zookeeper/quota") {
            return Err(KeeperError::BadArguments);
        }
        let (parent_path, _) = split(path).ok_or(KeeperError::BadArguments)?;
        let (mut parent, _) = self.find(parent_path)?;
        let (record, stat) = self.find(path)?;
        next_version(stat.version, version)?;
        if record.children > 0 {
            return Err(KeeperError::NotEmpty);
        }
        parent.children = parent.children.saturating_sub(1);
        self.changes.push((Path::from(parent_path), parent));
        let gone = Record {
            stat: None,
            children: 0,
        };
        self.changes.push((path.clone(), gone));
        Ok(Txn::Delete { path: path.clone() })
    }
}

fn next_version(current: i32, expected: i32) -> Result<i32, KeeperError> {
    if expected == -1 || expected == current {
        Ok(current.wrapping_add(1))
    } else {
        Err(KeeperError::BadVersion)
    }
}

/// `PathUtils.validatePath`.
pub(crate) fn validate(path: &str) -> Result<(), KeeperError> {
    let plain = path == "/"
        || path.strip_prefix('/').is_some_and(|names| {
            names
                .split('/')
                .all(|name| !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control))
        });
    if plain {
        Ok(())
    } else {
        Err(KeeperError::BadArguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Transaction;
    use bytes::Bytes;
    use protocol::ids::Xid;

    struct Bench {
        outstanding: Outstanding,
        database: Database,
        zxid: Zxid,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                outstanding: Outstanding::default(),
                database: Database::new(10),
                zxid: Zxid::ZERO,
            }
        }

        fn prepare(&mut self, op: &KeeperOp) -> Transaction {
            self.zxid = self.zxid.next();
            let header = TxnHeader {
                session: SessionId(7),
                cxid: Xid(1),
                zxid: self.zxid,
                time: 0,
            };
            let body = self.outstanding.prepare(&self.database, header, Ok(()), op);
            Transaction::new(header, body)
        }

        fn apply(&mut self, transaction: &Transaction) {
            self.database.replay(transaction);
            self.outstanding.applied(transaction.zxid());
        }
    }

    fn create(path: &str, mode: CreateMode) -> KeeperOp {
        KeeperOp::Create {
            path: path.into(),
            data: Bytes::new(),
            mode,
        }
    }

    #[test]
    fn a_request_sees_what_is_proposed_but_not_applied() {
        let mut bench = Bench::new();
        let first = bench.prepare(&create("/a", CreateMode::Persistent));
        let again = bench.prepare(&create("/a", CreateMode::Persistent));
        assert_eq!(again.body, Txn::Error(Some(KeeperError::NodeExists)));
        let child = bench.prepare(&create("/a/b", CreateMode::Persistent));
        assert!(matches!(child.body, Txn::Create { .. }));
        let delete = bench.prepare(&KeeperOp::Delete {
            path: "/a".into(),
            version: -1,
        });
        assert_eq!(delete.body, Txn::Error(Some(KeeperError::NotEmpty)));
        for transaction in [first, again, child, delete] {
            bench.apply(&transaction);
        }
        assert!(bench.outstanding.by_path.is_empty() && bench.outstanding.order.is_empty());
        assert!(bench.database.tree.node("/a/b").is_some());
    }

    #[test]
    fn sequential_names_never_repeat_even_after_a_delete() {
        let mut bench = Bench::new();
        let op = create("/s-", CreateMode::PersistentSequential);
        let first = bench.prepare(&op);
        bench.apply(&first);
        let delete = bench.prepare(&KeeperOp::Delete {
            path: "/s-0000000000".into(),
            version: -1,
        });
        bench.apply(&delete);
        let second = bench.prepare(&op);
        let Txn::Create { path, .. } = &second.body else {
            panic!("created");
        };
        assert_eq!(&**path, "/s-0000000001");
    }

    #[test]
    fn an_ephemeral_has_no_children() {
        let mut bench = Bench::new();
        bench.prepare(&create("/e", CreateMode::Ephemeral));
        let child = bench.prepare(&create("/e/c", CreateMode::Persistent));
        assert_eq!(
            child.body,
            Txn::Error(Some(KeeperError::NoChildrenForEphemerals))
        );
    }

    #[test]
    fn a_multi_that_fails_leaves_no_outstanding_change() {
        let mut bench = Bench::new();
        let multi = bench.prepare(&KeeperOp::Multi(vec![
            create("/a", CreateMode::Persistent),
            KeeperOp::Check {
                path: "/".into(),
                version: 9,
            },
            create("/b", CreateMode::Persistent),
        ]));
        assert_eq!(
            multi.body,
            Txn::Multi(vec![
                Txn::Error(None),
                Txn::Error(Some(KeeperError::BadVersion)),
                Txn::Error(Some(KeeperError::RuntimeInconsistency)),
            ])
        );
        assert!(bench.outstanding.by_path.is_empty());
    }

    #[test]
    fn the_operations_of_a_multi_see_each_other() {
        let mut bench = Bench::new();
        let multi = bench.prepare(&KeeperOp::Multi(vec![
            create("/a", CreateMode::Persistent),
            KeeperOp::SetData {
                path: "/a".into(),
                data: Bytes::new(),
                version: 0,
            },
            create("/a/b", CreateMode::Persistent),
        ]));
        let Txn::Multi(parts) = &multi.body else {
            panic!("a multi");
        };
        assert!(parts.iter().all(|part| !matches!(part, Txn::Error(_))));
    }

    #[test]
    fn a_closing_session_takes_outstanding_ephemerals_along() {
        let mut bench = Bench::new();
        bench.prepare(&create("/e", CreateMode::Ephemeral));
        bench.zxid = bench.zxid.next();
        let header = TxnHeader {
            session: SessionId(7),
            cxid: Xid(0),
            zxid: bench.zxid,
            time: 0,
        };
        bench.outstanding.close_session(&bench.database, header);
        let again = bench.prepare(&create("/e", CreateMode::Persistent));
        assert!(matches!(again.body, Txn::Create { .. }));
    }

    #[test]
    fn paths_are_judged_as_zookeeper_does() {
        for good in ["/", "/a", "/a/b.c", "/a b"] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "/a/", "//a", "/a/../b", "/a\0"] {
            assert_eq!(validate(bad), Err(KeeperError::BadArguments), "{bad}");
        }
    }
}
