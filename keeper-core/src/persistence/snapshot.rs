//! Snapshot files (`FileSnap`, `SerializeUtils.serializeSnapshot`): header `ZKSN`, sessions, ACLs, znodes, checksum.
//!
//! A snapshot is taken between two transactions, so it is exact, where ZooKeeper's are fuzzy and rely on replay being
//! idempotent. The bugs of fuzzy snapshots (ZOOKEEPER-3127, ZOOKEEPER-3144) therefore cannot happen here.

use crate::codec::{Reader, Writer, adler32};
use crate::database::Database;
use crate::tree::{Tree, Znode};
use bytes::Bytes;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::{Path, Stat};
use protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};

const MAGIC: i32 = i32::from_be_bytes(*b"ZKSN");
const VERSION: i32 = 2;

/// The bytes of a snapshot file.
pub(crate) fn encode(database: &Database) -> Bytes {
    let mut writer = Writer::default();
    writer.int(MAGIC);
    writer.int(VERSION);
    writer.long(-1);
    writer.count(database.sessions.len());
    for (session, timeout) in &database.sessions {
        writer.long(session.0);
        writer.int(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    }
    // The ACL table: every znode is open to the world (id −1), so it is empty.
    writer.int(0);
    for (path, node) in database.tree.nodes() {
        // The root is the empty name, because "/" ends the list.
        writer.text(if &**path == "/" { "" } else { path });
        writer.bytes(&node.data);
        writer.long(-1);
        write_stat(&mut writer, &node.stat);
    }
    writer.text("/");
    let checksum = adler32(writer.written());
    writer.long(i64::from(checksum));
    writer.text("/");
    writer.finish()
}

/// Reads a snapshot back; `None` when it is damaged.
pub(crate) fn decode(zxid: Zxid, bytes: &Bytes, limit: usize) -> Option<Database> {
    const TAIL: usize = 8 + 5;
    let body = bytes.len().checked_sub(TAIL)?;
    let mut tail = Reader::new(bytes.slice(body..));
    if tail.long()? != i64::from(adler32(&bytes[..body])) {
        return None;
    }
    let mut reader = Reader::new(bytes.slice(..body));
    if reader.int()? != MAGIC || reader.int()? != VERSION {
        return None;
    }
    reader.long()?;
    let mut sessions = BTreeMap::new();
    for _ in 0..reader.count()? {
        let session = SessionId(reader.long()?);
        let timeout = u64::try_from(reader.int()?).ok()?;
        sessions.insert(session, Span::millis(timeout));
    }
    reader.int()?;
    let mut tree = Tree::bare();
    loop {
        let path = reader.text()?;
        if path == "/" {
            break;
        }
        let path = Path::from(if path.is_empty() { "/" } else { &*path });
        let data = reader.bytes()?;
        reader.long()?;
        let stat = read_stat(&mut reader)?;
        tree.restore(
            path,
            Znode {
                data,
                stat,
                children: BTreeSet::new(),
            },
        );
    }
    Some(Database::at(zxid, tree, sessions, limit))
}

/// `StatPersisted`.
fn write_stat(writer: &mut Writer, stat: &Stat) {
    writer.long(stat.czxid.0);
    writer.long(stat.mzxid.0);
    writer.long(stat.ctime);
    writer.long(stat.mtime);
    writer.int(stat.version);
    writer.int(stat.cversion);
    writer.int(stat.aversion);
    writer.long(stat.ephemeral_owner.0);
    writer.long(stat.pzxid.0);
}

fn read_stat(reader: &mut Reader) -> Option<Stat> {
    Some(Stat {
        czxid: Zxid(reader.long()?),
        mzxid: Zxid(reader.long()?),
        ctime: reader.long()?,
        mtime: reader.long()?,
        version: reader.int()?,
        cversion: reader.int()?,
        aversion: reader.int()?,
        ephemeral_owner: SessionId(reader.long()?),
        pzxid: Zxid(reader.long()?),
        ..Stat::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{Transaction, Txn, TxnHeader};
    use protocol::ids::Xid;

    fn filled() -> Database {
        let mut database = Database::new(10);
        let bodies = [
            Txn::CreateSession { timeout_ms: 6000 },
            Txn::Create {
                path: "/a".into(),
                data: Bytes::from_static(b"1"),
                ephemeral: false,
                parent_cversion: 1,
            },
            Txn::Create {
                path: "/a/b".into(),
                data: Bytes::new(),
                ephemeral: true,
                parent_cversion: 1,
            },
        ];
        for (at, body) in (1..).zip(bodies) {
            let header = TxnHeader {
                session: SessionId(5),
                cxid: Xid(1),
                zxid: Zxid::new(1, at),
                time: 3,
            };
            database.replay(&Transaction::new(header, body));
        }
        database
    }

    #[test]
    fn a_snapshot_is_read_back_whole() {
        let database = filled();
        let back = decode(database.last_zxid, &encode(&database), 10).unwrap();
        assert_eq!(back.tree, database.tree);
        assert_eq!(back.sessions, database.sessions);
        assert_eq!(back.last_zxid, database.last_zxid);
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let whole = encode(&filled());
        let mut bytes = whole.to_vec();
        bytes[30] ^= 1;
        assert!(decode(Zxid(1), &Bytes::from(bytes), 10).is_none());
        assert!(decode(Zxid(1), &whole.slice(..whole.len() - 1), 10).is_none());
    }

    proptest::proptest! {
        #[test]
        fn damage_that_the_checksum_does_not_show_is_refused_or_read_and_never_a_panic(
            at in 0_usize..1000,
            byte in proptest::prelude::any::<u8>(),
        ) {
            const TAIL: usize = 8 + 5;
            let zxid = Zxid::new(1, 3);
            let mut bytes = encode(&filled()).to_vec();
            let body = bytes.len() - TAIL;
            let place = body * at / 1000;
            bytes[place] = byte;
            let checksum = i64::from(adler32(&bytes[..body]));
            bytes[body..body + 8].copy_from_slice(&checksum.to_be_bytes());
            let _ = decode(zxid, &Bytes::from(bytes), 10);
        }
    }
}
