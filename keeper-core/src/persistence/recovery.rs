//! Loading the database (`ZKDatabase.loadDataBase`): the newest snapshot that is whole, then the log after it.
//!
//! The log counts as far as it is whole and without a gap; a tail after a tear was never acknowledged, and is cut. ZooKeeper
//! refuses to start on a checksum that does not fit; here the history ends before it, as a preallocated zero would end it.

use super::txn_log::follows;
use super::{Store, decode_snapshot, file, numbered};
use crate::database::Database;
use protocol::behaviour::Fix;
use protocol::disk::{Disk, DiskError};
use protocol::ids::Zxid;

impl Store {
    /// Rebuilds the database from disk and sets the log up to go on after it.
    pub(crate) fn recover(
        &mut self,
        limit: usize,
        disk: &mut dyn Disk,
    ) -> Result<Database, DiskError> {
        let mut database = self.newest_snapshot(limit, disk)?;
        let snapshot = database.last_zxid;
        self.logged = 0;
        for first in self.log.files_after(snapshot, disk) {
            let content = self.log.read(first, disk)?;
            self.log.mark_dirty(first, disk);
            let mut end_of_history = None;
            for (transaction, _) in &content.entries {
                let next = transaction.zxid();
                if next <= snapshot {
                    continue;
                }
                if !follows(database.last_zxid, next) {
                    end_of_history = Some(content.end_of(|zxid| zxid < next));
                    break;
                }
                database.replay(transaction);
                self.logged += 1;
            }
            if content.torn {
                end_of_history = end_of_history.or(Some(content.end_of(|_| true)));
            }
            if let Some(end) = end_of_history {
                self.log.cut(first, end, disk)?;
                break;
            }
        }
        self.log.restart_at(snapshot, database.last_zxid);
        Ok(database)
    }

    fn newest_snapshot(&self, limit: usize, disk: &mut dyn Disk) -> Result<Database, DiskError> {
        for zxid in numbered(disk, &self.snapshots, "snapshot.")
            .into_iter()
            .rev()
        {
            let Some(id) = disk.find(&file(&self.snapshots, "snapshot.", zxid)) else {
                continue;
            };
            let len = disk.len(id);
            let bytes = disk.read(id, 0, len)?;
            if let Some(database) = decode_snapshot(zxid, &bytes, limit) {
                return Ok(self.restored(database));
            }
        }
        Ok(Database::new(limit))
    }

    /// Cuts the log after `zxid` and loads again (`ZKDatabase.truncateLog`). `None`, with the disk untouched, when the disk
    /// cannot show the state after exactly that transaction.
    pub(crate) fn truncate(
        &mut self,
        zxid: Zxid,
        limit: usize,
        disk: &mut dyn Disk,
    ) -> Result<Option<Database>, DiskError> {
        let snapshot = self.newest_snapshot(limit, disk)?.last_zxid;
        let reachable =
            snapshot == zxid || (snapshot < zxid && self.log_holds(snapshot, zxid, disk)?);
        if !reachable {
            return Ok(None);
        }
        let exactly = self.behaviour.has(Fix::TruncateExactly);
        self.log.truncate(zxid, exactly, disk)?;
        self.recover(limit, disk).map(Some)
    }

    fn log_holds(
        &self,
        snapshot: Zxid,
        zxid: Zxid,
        disk: &mut dyn Disk,
    ) -> Result<bool, DiskError> {
        for first in self.log.files_after(snapshot, disk) {
            let content = self.log.read(first, disk)?;
            if content
                .entries
                .iter()
                .any(|(transaction, _)| transaction.zxid() == zxid)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use crate::database::Database;
    use crate::persistence::Store;
    use crate::spec::KeeperSpec;
    use crate::testing::{MemoryDisk, spec};
    use crate::txn::{Transaction, Txn, TxnHeader};
    use bytes::Bytes;
    use protocol::disk::Disk;
    use protocol::ids::{SessionId, Xid, Zxid};

    fn transaction(zxid: Zxid) -> Transaction {
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(1),
            zxid,
            time: 0,
        };
        let body = Txn::Create {
            path: format!("/{:x}", zxid.0).into(),
            data: Bytes::new(),
            ephemeral: false,
            parent_cversion: 1,
        };
        Transaction::new(header, body)
    }

    /// A disk with the transactions 1.1 to 1.`last`, snapshots as `spec` asks for them.
    fn written(spec: &KeeperSpec, last: u32) -> MemoryDisk {
        let mut disk = MemoryDisk::default();
        let (mut store, mut database) = Store::open(spec, &mut disk).unwrap();
        for counter in 1..=last {
            let transaction = transaction(Zxid::new(1, counter));
            store.append(&transaction, &mut disk).unwrap();
            database.replay(&transaction);
            if store.snapshot_is_due() {
                store.snapshot(&database, &mut disk).unwrap();
            }
        }
        disk
    }

    fn open(spec: &KeeperSpec, disk: &mut MemoryDisk) -> (Store, Database) {
        Store::open(spec, disk).unwrap()
    }

    #[test]
    fn a_server_comes_back_with_what_it_logged() {
        let spec = spec(1, 1);
        let mut disk = written(&spec, 7);
        let (store, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(1, 7));
        assert_eq!(store.log.last(), Zxid::new(1, 7));
        assert_eq!((store.current_epoch(), store.accepted_epoch()), (1, 1));
        assert!(!store.log.is_clean(), "nobody knows what was flushed");
    }

    #[test]
    fn a_torn_tail_is_cut_and_written_over() {
        let spec = spec(1, 1);
        let mut disk = written(&spec, 3);
        let log = disk.find("datalog/version-2/log.100000001").unwrap();
        let len = disk.len(log);
        disk.truncate(log, len - 1).unwrap();
        let (mut store, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(1, 2));
        store
            .append(&transaction(Zxid::new(2, 1)), &mut disk)
            .unwrap();
        let (_, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(2, 1));
        assert!(database.tree.node("/100000003").is_none());
    }

    #[test]
    fn a_damaged_snapshot_is_passed_over_for_an_older_one() {
        let mut spec = spec(1, 1);
        spec.config.snap_count = 4;
        let mut disk = written(&spec, 20);
        let snapshots: Vec<_> = disk
            .list("data/version-2")
            .into_iter()
            .filter(|name| name.starts_with("snapshot."))
            .collect();
        assert!(snapshots.len() > 2);
        let newest = format!("data/version-2/{}", snapshots.last().unwrap());
        disk.replace(&newest, Bytes::from_static(b"rubbish"))
            .unwrap();
        let (_, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(1, 20));
        assert!(database.tree.node("/100000014").is_some());
    }

    #[test]
    fn a_truncated_server_has_exactly_what_the_leader_has() {
        let spec = spec(1, 3);
        let mut disk = written(&spec, 9);
        let (mut store, _) = open(&spec, &mut disk);
        let cut = store.truncate(Zxid::new(1, 6), 500, &mut disk).unwrap();
        assert_eq!(cut.unwrap().last_zxid, Zxid::new(1, 6));
        let (_, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(1, 6));
    }

    #[test]
    fn a_cut_below_the_snapshot_is_refused_and_leaves_the_disk_alone() {
        let mut spec = spec(1, 3);
        spec.config.snap_count = 4;
        let mut disk = written(&spec, 20);
        let (mut store, _) = open(&spec, &mut disk);
        let cut = store.truncate(Zxid::new(1, 2), 500, &mut disk).unwrap();
        assert!(cut.is_none());
        let (_, database) = open(&spec, &mut disk);
        assert_eq!(database.last_zxid, Zxid::new(1, 20));
    }

    #[test]
    fn a_leaders_tree_replaces_everything() {
        let spec = spec(1, 3);
        let mut ahead = written(&spec, 9);
        let mut other = written(&spec, 4);
        let (_, leader) = open(&spec, &mut other);
        let (mut store, _) = open(&spec, &mut ahead);
        let content = crate::persistence::encode_snapshot(&leader);
        store
            .install_snapshot(leader.last_zxid, content, &mut ahead)
            .unwrap();
        let (_, database) = open(&spec, &mut ahead);
        assert_eq!(database.last_zxid, Zxid::new(1, 4));
        assert_eq!(database.tree, leader.tree);
    }
}
