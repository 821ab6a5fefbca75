//! What a server keeps on disk (`FileTxnSnapLog` and the epoch files of `QuorumPeer`).
//!
//! `<dataLogDir>/version-2/log.<zxid>` are transaction logs, `<dataDir>/version-2/snapshot.<zxid>` snapshots,
//! `acceptedEpoch` and `currentEpoch` the two promises of ZAB, `<dataDir>/myid` the server's number. Nothing is ever purged,
//! as with `autopurge` off. Left out: the 64 MiB preallocation of log files, which changes no history.

mod recovery;
mod snapshot;
mod txn_log;

pub(crate) use snapshot::{decode as decode_snapshot, encode as encode_snapshot};
pub(crate) use txn_log::TxnLog;

use crate::database::Database;
use crate::spec::KeeperSpec;
use crate::txn::Transaction;
use bytes::Bytes;
use protocol::behaviour::{Behaviour, Fix};
use protocol::disk::{Disk, DiskError};
use protocol::ids::Zxid;
use std::fmt::Write;

/// The disk of one server.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) log: TxnLog,
    snapshots: String,
    accepted_epoch: i32,
    current_epoch: i32,
    /// Transactions logged since the last snapshot.
    logged: u64,
    snap_count: u64,
    /// How many transactions make the next snapshot due: a random number in `[snapCount/2, snapCount]`.
    roll_at: u64,
    seed: u64,
    rolls: u64,
    /// Whether an acknowledgement waits for the flush.
    pub(crate) ack_after_flush: bool,
    behaviour: Behaviour,
}

impl Store {
    /// Opens the disk and brings back what the last life left.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(
        spec: &KeeperSpec,
        disk: &mut dyn Disk,
    ) -> Result<(Self, Database), DiskError> {
        let snapshots = directory(&spec.data_dir);
        let log = TxnLog::new(directory(&spec.data_log_dir), spec.config.force_sync.0);
        let myid = format!("{}/myid", spec.data_dir);
        if disk.find(&myid).is_none() {
            disk.replace(&myid, Bytes::from(spec.id.to_string()))?;
        }
        let accepted_epoch = read_epoch(disk, &snapshots, "acceptedEpoch")?;
        let current_epoch = read_epoch(disk, &snapshots, "currentEpoch")?;
        let mut store = Self {
            log,
            snapshots,
            accepted_epoch,
            current_epoch,
            logged: 0,
            snap_count: u64::try_from(spec.config.snap_count).unwrap_or(2),
            roll_at: 0,
            seed: spec.seed,
            rolls: 0,
            behaviour: spec.behaviour,
            ack_after_flush: spec.behaviour.has(Fix::KeeperFlushBeforeAck),
        };
        store.draw_roll();
        let limit = usize::try_from(spec.config.commit_log_count).unwrap_or(1);
        let database = store.recover(limit, disk)?;
        // A life may have ended between the first transactions of an epoch and its promise (`updatingEpoch`).
        if database.last_zxid.epoch() > store.current_epoch {
            store.set_current_epoch(database.last_zxid.epoch(), disk)?;
        }
        if store.current_epoch > store.accepted_epoch {
            store.set_accepted_epoch(store.current_epoch, disk)?;
        }
        Ok((store, database))
    }

    pub(crate) fn accepted_epoch(&self) -> i32 {
        self.accepted_epoch
    }

    pub(crate) fn current_epoch(&self) -> i32 {
        self.current_epoch
    }

    pub(crate) fn set_accepted_epoch(
        &mut self,
        epoch: i32,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        write_epoch(disk, &self.snapshots, "acceptedEpoch", epoch)?;
        self.accepted_epoch = epoch;
        Ok(())
    }

    pub(crate) fn set_current_epoch(
        &mut self,
        epoch: i32,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        write_epoch(disk, &self.snapshots, "currentEpoch", epoch)?;
        self.current_epoch = epoch;
        Ok(())
    }

    /// Appends a transaction; it is durable after the next flush.
    pub(crate) fn append(
        &mut self,
        transaction: &Transaction,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        self.log.append(transaction, disk)?;
        self.logged += 1;
        Ok(())
    }

    /// Whether acknowledgements may name `zxid`.
    pub(crate) fn ackable(&self) -> Zxid {
        if self.ack_after_flush {
            self.log.durable()
        } else {
            self.log.last()
        }
    }

    /// Whether enough was logged since the last snapshot (`SyncRequestProcessor.run`).
    pub(crate) fn snapshot_is_due(&self) -> bool {
        self.logged >= self.roll_at
    }

    /// What a snapshot taken right now would hold instead, before the fix that made multis whole in it.
    pub(crate) fn torn_snapshot(
        &self,
        database: &Database,
        next: &Transaction,
    ) -> Option<Database> {
        if self.behaviour.has(Fix::AtomicMultiInSnapshot) || !self.snapshot_is_due() {
            return None;
        }
        database.with_part_of(next)
    }

    /// Writes a snapshot and starts a new log file.
    pub(crate) fn snapshot(
        &mut self,
        database: &Database,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        self.logged = 0;
        self.draw_roll();
        self.log.roll();
        let content = if self.behaviour.has(Fix::ConsistentSnapshotReplay) {
            encode_snapshot(database)
        } else {
            encode_snapshot(&database.with_earlier_sessions())
        };
        self.write_snapshot(database.last_zxid, content, disk)
    }

    /// The state of a snapshot as this server restores it.
    pub(crate) fn restored(&self, mut database: Database) -> Database {
        if !self.behaviour.has(Fix::SequentialNamesUnique) {
            database.forget_created();
        }
        database
    }

    fn write_snapshot(
        &self,
        zxid: Zxid,
        content: Bytes,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        disk.replace(&file(&self.snapshots, "snapshot.", zxid), content)
    }

    /// Takes over a leader's tree (SNAP): whatever is on disk beyond it goes, so that no later recovery finds it.
    pub(crate) fn install_snapshot(
        &mut self,
        zxid: Zxid,
        content: Bytes,
        disk: &mut dyn Disk,
    ) -> Result<(), DiskError> {
        self.write_snapshot(zxid, content, disk)?;
        self.log.clear(disk)?;
        for newer in numbered(disk, &self.snapshots, "snapshot.") {
            if newer > zxid {
                disk.remove(&file(&self.snapshots, "snapshot.", newer))?;
            }
        }
        self.log.restart_at(zxid, zxid);
        self.logged = 0;
        Ok(())
    }

    fn draw_roll(&mut self) {
        self.rolls += 1;
        let half = (self.snap_count / 2).max(1);
        self.roll_at = half + mix(self.seed ^ self.rolls) % half;
    }
}

/// `splitmix64`'s finaliser.
pub(crate) const fn mix(seed: u64) -> u64 {
    let x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn directory(parent: &str) -> String {
    format!("{parent}/version-2")
}

pub(crate) fn file(directory: &str, prefix: &str, zxid: Zxid) -> String {
    let mut path = String::with_capacity(directory.len() + prefix.len() + 17);
    path.push_str(directory);
    path.push('/');
    path.push_str(prefix);
    // Writing to a string does not fail.
    let _ = write!(path, "{:x}", zxid.0);
    path
}

/// The zxids in the names of the files with this prefix, smallest first.
pub(crate) fn numbered(disk: &dyn Disk, directory: &str, prefix: &str) -> Vec<Zxid> {
    let mut zxids: Vec<_> = disk
        .list(directory)
        .iter()
        .filter_map(|name| i64::from_str_radix(name.strip_prefix(prefix)?, 16).ok())
        .map(Zxid)
        .collect();
    zxids.sort_unstable();
    zxids
}

fn read_epoch(disk: &mut dyn Disk, directory: &str, name: &str) -> Result<i32, DiskError> {
    let Some(file) = disk.find(&format!("{directory}/{name}")) else {
        return Ok(0);
    };
    let len = disk.len(file);
    let bytes = disk.read(file, 0, len)?;
    Ok(std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0))
}

fn write_epoch(
    disk: &mut dyn Disk,
    directory: &str,
    name: &str,
    epoch: i32,
) -> Result<(), DiskError> {
    disk.replace(
        &format!("{directory}/{name}"),
        Bytes::from(epoch.to_string()),
    )
}
