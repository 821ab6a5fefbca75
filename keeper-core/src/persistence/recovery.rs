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
