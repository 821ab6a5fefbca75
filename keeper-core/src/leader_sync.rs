//! How a leader brings a follower up to date (`LearnerHandler.syncFollower` of ZooKeeper 3.5).
//!
//! By the last transaction the follower logged: nothing, a cut of its tail, the transactions it lacks (from memory, else
//! from the log), or the whole tree. A cut never crosses an epoch: then the tree is sent.

use crate::database::Database;
use crate::persistence::{Store, encode_snapshot};
use bytes::Bytes;
use protocol::disk::{Disk, DiskError};
use protocol::ids::Zxid;
use protocol::keeper::QuorumPacket;
use std::collections::VecDeque;

/// What to send: an opening packet, then committed transactions.
pub(crate) struct Plan {
    pub(crate) opening: QuorumPacket,
    pub(crate) committed: Vec<(Zxid, Bytes)>,
}

/// The plan for a follower whose log ends with `peer`.
pub(crate) fn catch_up(
    peer: Zxid,
    database: &Database,
    store: &Store,
    disk: &mut dyn Disk,
) -> Result<Plan, DiskError> {
    let last = database.last_zxid;
    let opening = |opening| Plan {
        opening,
        committed: Vec::new(),
    };
    if peer == last {
        return Ok(opening(QuorumPacket::Diff { zxid: last }));
    }
    if peer > last {
        return Ok(if last.epoch() == peer.epoch() {
            opening(QuorumPacket::Trunc { zxid: last })
        } else {
            whole_tree(database)
        });
    }
    if let Some(plan) = from_memory(peer, database) {
        return Ok(plan);
    }
    let in_log = store.log.after(peer, disk)?;
    let tree = whole_tree(database);
    Ok(match in_log {
        // `snapshotSizeFactor`: a log much longer than the tree is not worth replaying.
        Some(missing)
            if fits(&missing, &tree) && missing.last().map(|(zxid, _)| *zxid) >= Some(last) =>
        {
            Plan {
                opening: QuorumPacket::Diff { zxid: last },
                committed: missing
                    .into_iter()
                    .filter(|(zxid, _)| *zxid <= last)
                    .collect(),
            }
        }
        Some(_) | None => tree,
    })
}

fn from_memory(peer: Zxid, database: &Database) -> Option<Plan> {
    let committed: &VecDeque<_> = database.committed();
    let (first, _) = committed.front()?;
    if peer < *first {
        return None;
    }
    let missing = committed.partition_point(|(zxid, _)| *zxid <= peer);
    let (shared, _) = committed.get(missing.checked_sub(1)?)?;
    let opening = if *shared == peer {
        QuorumPacket::Diff {
            zxid: database.last_zxid,
        }
    } else if shared.epoch() == peer.epoch() {
        QuorumPacket::Trunc { zxid: *shared }
    } else {
        return Some(whole_tree(database));
    };
    let committed = committed.iter().skip(missing).cloned().collect();
    Some(Plan { opening, committed })
}

fn whole_tree(database: &Database) -> Plan {
    Plan {
        opening: QuorumPacket::Snap {
            zxid: database.last_zxid,
            snapshot: encode_snapshot(database),
        },
        committed: Vec::new(),
    }
}

fn fits(missing: &[(Zxid, Bytes)], tree: &Plan) -> bool {
    let QuorumPacket::Snap { snapshot, .. } = &tree.opening else {
        return false;
    };
    missing.iter().map(|(_, txn)| txn.len()).sum::<usize>() <= snapshot.len() / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryDisk, spec};
    use crate::txn::{Transaction, Txn, TxnHeader};
    use protocol::ids::{SessionId, Xid};

    struct Bench {
        database: Database,
        store: Store,
        disk: MemoryDisk,
    }

    fn bench(zxids: &[Zxid], kept: i32) -> Bench {
        let mut spec = spec(1, 3);
        spec.config.commit_log_count = kept;
        let mut disk = MemoryDisk::default();
        let (mut store, mut database) = Store::open(&spec, &mut disk).unwrap();
        for zxid in zxids {
            let header = TxnHeader {
                session: SessionId(1),
                cxid: Xid(1),
                zxid: *zxid,
                time: 0,
            };
            let transaction = Transaction::new(header, Txn::Error(None));
            store.append(&transaction, &mut disk).unwrap();
            database.replay(&transaction);
        }
        Bench {
            database,
            store,
            disk,
        }
    }

    fn history() -> Vec<Zxid> {
        let first = (1..=5).map(|n| Zxid::new(1, n));
        first.chain((1..=3).map(|n| Zxid::new(2, n))).collect()
    }

    fn plan(bench: &mut Bench, peer: Zxid) -> (String, usize) {
        let plan = catch_up(peer, &bench.database, &bench.store, &mut bench.disk).unwrap();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other packet is a failure"
        )]
        let name = match plan.opening {
            QuorumPacket::Diff { .. } => "DIFF".to_owned(),
            QuorumPacket::Trunc { zxid } => format!("TRUNC {}.{}", zxid.epoch(), zxid.counter()),
            QuorumPacket::Snap { .. } => "SNAP".to_owned(),
            packet => panic!("{packet:?}"),
        };
        (name, plan.committed.len())
    }

    #[test]
    fn each_follower_gets_what_it_lacks() {
        let mut bench = bench(&history(), 500);
        let cases = [
            (Zxid::new(2, 3), "DIFF", 0),
            (Zxid::new(2, 1), "DIFF", 2),
            (Zxid::new(1, 4), "DIFF", 4),
            // Proposed by the leader of epoch 1, never committed.
            (Zxid::new(1, 6), "TRUNC 1.5", 3),
            (Zxid::new(2, 4), "TRUNC 2.3", 0),
            // A lone leader of epoch 3: a cut may not cross an epoch.
            (Zxid::new(3, 1), "SNAP", 0),
        ];
        for (peer, opening, committed) in cases {
            assert_eq!(plan(&mut bench, peer), (opening.to_owned(), committed));
        }
    }

    #[test]
    fn an_old_follower_is_served_from_the_log_or_by_the_tree() {
        let mut bench = bench(&history(), 2);
        // 36 bytes per transaction; a third of the empty tree is about a hundred.
        assert_eq!(plan(&mut bench, Zxid::new(2, 1)), ("DIFF".to_owned(), 2));
        assert_eq!(plan(&mut bench, Zxid::ZERO), ("SNAP".to_owned(), 0));
    }

    #[test]
    fn an_old_follower_with_a_tail_of_its_own_gets_the_tree() {
        let mut bench = bench(&history(), 2);
        assert_eq!(plan(&mut bench, Zxid::new(1, 9)), ("SNAP".to_owned(), 0));
    }
}
