//! Transactions as ZooKeeper's log holds them: `TxnHeader` and one record per type (`CreateTxn`, `MultiTxn`, …).
//!
//! A transaction is what the leader made of a request: idempotent, with versions and names already decided. Leader,
//! followers and their logs hold the same bytes. ACLs are written as `world:anyone`, the only one there is. `setACL` is left
//! out because no client of ktrial asks for it.

use crate::codec::{Reader, Writer, adler32};
use bytes::Bytes;
use protocol::error_code::KeeperError;
use protocol::ids::{SessionId, Xid, Zxid};
use protocol::keeper::Path;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const SET_DATA: i32 = 5;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const CREATE_SESSION: i32 = -10;
const CLOSE_SESSION: i32 = -11;
const ERROR: i32 = -1;

/// `Perms.ALL` of `world:anyone`.
const ALL_PERMISSIONS: i32 = 31;

/// `TxnHeader` without the type, which follows from the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TxnHeader {
    pub(crate) session: SessionId,
    pub(crate) cxid: Xid,
    pub(crate) zxid: Zxid,
    /// Wall milliseconds of the leader.
    pub(crate) time: i64,
}

/// What a transaction changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Txn {
    CreateSession {
        timeout_ms: i32,
    },
    CloseSession,
    Create {
        path: Path,
        data: Bytes,
        ephemeral: bool,
        parent_cversion: i32,
    },
    Delete {
        path: Path,
    },
    SetData {
        path: Path,
        data: Bytes,
        version: i32,
    },
    Check {
        path: Path,
        version: i32,
    },
    Multi(Vec<Txn>),
    /// A request that failed uses a zxid too, so that its answer keeps its place. `None` is `OK`, inside a failed multi.
    Error(Option<KeeperError>),
}

/// A transaction together with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transaction {
    pub(crate) header: TxnHeader,
    pub(crate) body: Txn,
    pub(crate) bytes: Bytes,
    /// Adler-32 of the bytes: the log's checksum and the history's digest.
    pub(crate) digest: u32,
}

impl Transaction {
    pub(crate) fn new(header: TxnHeader, body: Txn) -> Self {
        let mut writer = Writer::default();
        writer.long(header.session.0);
        writer.int(header.cxid.0);
        writer.long(header.zxid.0);
        writer.long(header.time);
        writer.int(body.code());
        body.write(&mut writer);
        let bytes = writer.finish();
        let digest = adler32(&bytes);
        Self {
            header,
            body,
            bytes,
            digest,
        }
    }

    /// Reads one back; `None` for bytes that no server wrote.
    pub(crate) fn parse(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader::new(bytes.clone());
        let header = TxnHeader {
            session: SessionId(reader.long()?),
            cxid: Xid(reader.int()?),
            zxid: Zxid(reader.long()?),
            time: reader.long()?,
        };
        let code = reader.int()?;
        let body = Txn::read(code, &mut reader)?;
        let digest = adler32(&bytes);
        (reader.remaining() == 0).then_some(Self {
            header,
            body,
            bytes,
            digest,
        })
    }

    pub(crate) fn zxid(&self) -> Zxid {
        self.header.zxid
    }
}

impl Txn {
    fn code(&self) -> i32 {
        match self {
            Self::CreateSession { .. } => CREATE_SESSION,
            Self::CloseSession => CLOSE_SESSION,
            Self::Create { .. } => CREATE,
            Self::Delete { .. } => DELETE,
            Self::SetData { .. } => SET_DATA,
            Self::Check { .. } => CHECK,
            Self::Multi(_) => MULTI,
            Self::Error(_) => ERROR,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::CreateSession { timeout_ms } => writer.int(*timeout_ms),
            Self::CloseSession => {}
            Self::Create {
                path,
                data,
                ephemeral,
                parent_cversion,
            } => {
                writer.text(path);
                writer.bytes(data);
                writer.int(1);
                writer.int(ALL_PERMISSIONS);
                writer.text("world");
                writer.text("anyone");
                writer.byte(u8::from(*ephemeral));
                writer.int(*parent_cversion);
            }
            Self::Delete { path } => writer.text(path),
            Self::SetData {
                path,
                data,
                version,
            } => {
                writer.text(path);
                writer.bytes(data);
                writer.int(*version);
            }
            Self::Check { path, version } => {
                writer.text(path);
                writer.int(*version);
            }
            Self::Multi(parts) => {
                writer.count(parts.len());
                for part in parts {
                    let mut record = Writer::default();
                    part.write(&mut record);
                    writer.int(part.code());
                    writer.bytes(record.written());
                }
            }
            Self::Error(error) => writer.int(error.map_or(0, KeeperError::code)),
        }
    }

    fn read(code: i32, reader: &mut Reader) -> Option<Self> {
        Some(match code {
            CREATE_SESSION => Self::CreateSession {
                timeout_ms: reader.int()?,
            },
            CLOSE_SESSION => Self::CloseSession,
            CREATE => {
                let path = reader.text()?.into();
                let data = reader.bytes()?;
                for _ in 0..reader.count()? {
                    reader.int()?;
                    reader.bytes()?;
                    reader.bytes()?;
                }
                Self::Create {
                    path,
                    data,
                    ephemeral: reader.byte()? != 0,
                    parent_cversion: reader.int()?,
                }
            }
            DELETE => Self::Delete {
                path: reader.text()?.into(),
            },
            SET_DATA => Self::SetData {
                path: reader.text()?.into(),
                data: reader.bytes()?,
                version: reader.int()?,
            },
            CHECK => Self::Check {
                path: reader.text()?.into(),
                version: reader.int()?,
            },
            MULTI => {
                let count = reader.count()?;
                let mut parts = Vec::new();
                for _ in 0..count {
                    let code = reader.int()?;
                    parts.push(Self::read(code, &mut Reader::new(reader.bytes()?))?);
                }
                Self::Multi(parts)
            }
            ERROR => Self::Error(KeeperError::from_code(reader.int()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back() {
        let header = TxnHeader {
            session: SessionId(9),
            cxid: Xid(3),
            zxid: Zxid::new(1, 2),
            time: 77,
        };
        let parts = vec![
            Txn::Create {
                path: "/a".into(),
                data: Bytes::from_static(b"x"),
                ephemeral: true,
                parent_cversion: 4,
            },
            Txn::Delete { path: "/b".into() },
            Txn::SetData {
                path: "/c".into(),
                data: Bytes::new(),
                version: 2,
            },
            Txn::Check {
                path: "/d".into(),
                version: 1,
            },
            Txn::Error(Some(KeeperError::NoNode)),
            Txn::Error(None),
        ];
        let mut bodies = parts.clone();
        bodies.push(Txn::Multi(parts));
        bodies.push(Txn::CreateSession { timeout_ms: 6000 });
        bodies.push(Txn::CloseSession);
        for body in bodies {
            let transaction = Transaction::new(header, body);
            assert_eq!(
                Transaction::parse(transaction.bytes.clone()),
                Some(transaction)
            );
        }
    }

    #[test]
    fn bytes_cut_short_are_no_transaction() {
        let header = TxnHeader {
            session: SessionId(9),
            cxid: Xid(3),
            zxid: Zxid::new(1, 2),
            time: 77,
        };
        let whole = Transaction::new(header, Txn::Delete { path: "/b".into() }).bytes;
        for len in 0..whole.len() {
            assert_eq!(Transaction::parse(whole.slice(..len)), None);
        }
    }
}
