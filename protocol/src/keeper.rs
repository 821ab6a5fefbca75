//! ZooKeeper's words: client requests and replies, watch events, votes and quorum packets.
//!
//! Shapes follow ZooKeeper 3.4's jute records and `QuorumPacket`, typed instead of serialised. Transactions travel between
//! servers as the bytes their log holds, because leader and follower write the same bytes. ACLs are left out: every node of
//! a ktrial cluster is `world:anyone`, so they change no history.

use crate::error_code::KeeperError;
use crate::ids::{KeeperId, SessionId, Xid, Zxid};
use crate::message::{size_of, text_size};
use crate::time::Span;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An absolute path, `/brokers/ids/1`.
pub type Path = Arc<str>;

/// `Stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// The transaction that created the znode.
    pub czxid: Zxid,
    /// The last one that changed its data.
    pub mzxid: Zxid,
    /// The last one that changed its children.
    pub pzxid: Zxid,
    /// When it was created, wall milliseconds of the leader.
    pub ctime: i64,
    /// When its data was last changed.
    pub mtime: i64,
    /// Changes of its data.
    pub version: i32,
    /// Changes of its children.
    pub cversion: i32,
    /// Changes of its ACL, always 0 here.
    pub aversion: i32,
    /// The owning session of an ephemeral znode, else 0.
    pub ephemeral_owner: SessionId,
    /// Bytes of its data.
    pub data_length: i32,
    /// How many children.
    pub num_children: i32,
}

/// How a znode is created.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent,
    /// Goes with its session.
    Ephemeral,
    /// Persistent, with a ten-digit number appended.
    PersistentSequential,
    /// Ephemeral, with a ten-digit number appended.
    EphemeralSequential,
}

/// What a client asks of the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperOp {
    /// Create a znode.
    Create {
        /// Its path (the prefix, for sequential modes).
        path: Path,
        /// Its data.
        data: Bytes,
        /// How.
        mode: CreateMode,
    },
    /// Delete a znode without children.
    Delete {
        /// Its path.
        path: Path,
        /// The version it must have; −1 for any.
        version: i32,
    },
    /// Replace the data.
    SetData {
        /// Its path.
        path: Path,
        /// The new data.
        data: Bytes,
        /// The version it must have; −1 for any.
        version: i32,
    },
    /// Only inside [`KeeperOp::Multi`]: the version must match.
    Check {
        /// Its path.
        path: Path,
        /// The version it must have.
        version: i32,
    },
    /// All or nothing, under one zxid.
    Multi(Vec<KeeperOp>),
    /// Whether it exists.
    Exists {
        /// Its path.
        path: Path,
        /// Leave a one-shot data watch, also on a missing znode.
        watch: bool,
    },
    /// Its data and stat.
    GetData {
        /// Its path.
        path: Path,
        /// Leave a one-shot data watch.
        watch: bool,
    },
    /// Its children's names.
    GetChildren {
        /// Its path.
        path: Path,
        /// Leave a one-shot child watch.
        watch: bool,
    },
    /// Flush the channel between this server and the leader.
    Sync {
        /// A path, echoed.
        path: Path,
    },
}

/// A client's packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperRequest {
    /// The first packet of a connection.
    Connect {
        /// The newest transaction the client has seen; a server behind it refuses by closing.
        last_zxid_seen: Zxid,
        /// The session time-out wanted.
        timeout: Span,
        /// The session to take up again; 0 for a new one.
        session: SessionId,
        /// Its password.
        password: u64,
    },
    /// An operation.
    Op {
        /// Its number on this connection, from 1.
        xid: Xid,
        /// What.
        op: KeeperOp,
    },
    /// I am alive (xid −2).
    Ping,
    /// The watches to set again after a reconnect (xid −8): those that changed since fire at once.
    SetWatches {
        /// The newest transaction the client had seen.
        relative_zxid: Zxid,
        /// Data watches on znodes that existed.
        data: Vec<Path>,
        /// Exists watches on znodes that did not exist.
        exist: Vec<Path>,
        /// Child watches.
        child: Vec<Path>,
    },
    /// Close the session and delete its ephemeral znodes.
    CloseSession {
        /// Its number.
        xid: Xid,
    },
}

/// The result of one operation that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperResult {
    /// The path that was created, with its number if sequential.
    Created(Path),
    /// Deleted.
    Deleted,
    /// Data replaced; the new stat.
    DataSet(Stat),
    /// The version matched.
    Checked,
    /// The results of a multi, in order.
    Multi(Vec<KeeperResult>),
    /// The stat.
    Stat(Stat),
    /// Data and stat.
    Data(Bytes, Stat),
    /// Children in order of their bytes, and the parent's stat.
    Children(Vec<Arc<str>>, Stat),
    /// The server has caught up.
    Synced,
    /// Watches set, session closed.
    Done,
}

/// What a watch tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum WatchKind {
    /// The znode came into being.
    Created,
    /// It is gone.
    Deleted,
    /// Its data changed.
    DataChanged,
    /// Its list of children changed.
    ChildrenChanged,
}

/// A one-shot watch firing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchKind,
    /// Where.
    pub path: Path,
}

/// A server's packet to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperReply {
    /// The answer to `Connect`. A negotiated time-out of zero says that the session is expired.
    Connected {
        /// The time-out granted.
        timeout: Span,
        /// The session.
        session: SessionId,
        /// Its password.
        password: u64,
    },
    /// The answer to an operation.
    Reply {
        /// Which.
        xid: Xid,
        /// The last transaction this server had applied.
        zxid: Zxid,
        /// The result; for a failed multi the per-operation errors.
        result: Result<KeeperResult, KeeperFailure>,
    },
    /// The answer to a ping.
    Pong {
        /// The last transaction this server had applied.
        zxid: Zxid,
    },
    /// A watch fired.
    Event(WatchEvent),
}

/// Why an operation failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeeperFailure {
    /// The error.
    pub error: KeeperError,
    /// For a multi: the error of each operation; those rolled back carry `RuntimeInconsistency`, those before the first
    /// failure `Ok` (`None`).
    pub multi: Vec<Option<KeeperError>>,
}

/// What a keeper server is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeeperRole {
    /// Looking for a leader.
    Looking,
    /// Following one.
    Following,
    /// Leading.
    Leading,
    /// The only server.
    Standalone,
}

/// A vote of fast leader election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionMessage {
    /// Who sends it; the first message on an election connection only introduces the sender.
    pub from: KeeperId,
    /// Whom it votes for.
    pub leader: KeeperId,
    /// That server's last transaction.
    pub zxid: Zxid,
    /// The sender's logical clock.
    pub election_epoch: i64,
    /// The proposed leader's current epoch.
    pub peer_epoch: i32,
    /// What the sender is doing.
    pub state: KeeperRole,
}

/// A packet between leader and follower; named and ordered as ZooKeeper's `Leader` class has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumPacket {
    /// Follower → leader: who I am and the epoch I accepted last.
    FollowerInfo {
        /// The follower.
        id: KeeperId,
        /// Its accepted epoch.
        accepted_epoch: i32,
    },
    /// Leader → follower: the new epoch.
    LeaderInfo {
        /// The epoch.
        epoch: i32,
    },
    /// Follower → leader: the epoch is accepted; what I have.
    AckEpoch {
        /// The follower's current epoch.
        current_epoch: i32,
        /// The last transaction it logged.
        last_zxid: Zxid,
    },
    /// Leader → follower: keep your log, proposals follow.
    Diff {
        /// The leader's last committed transaction.
        zxid: Zxid,
    },
    /// Leader → follower: cut your log after this transaction.
    Trunc {
        /// The last one to keep.
        zxid: Zxid,
    },
    /// Leader → follower: replace your tree by this one.
    Snap {
        /// The last transaction in it.
        zxid: Zxid,
        /// The tree and the sessions, as a snapshot file holds them.
        snapshot: Bytes,
    },
    /// Leader → follower: this history, then my epoch.
    NewLeader {
        /// `epoch << 32`.
        zxid: Zxid,
    },
    /// Leader → follower: serve clients now.
    UpToDate,
    /// Leader → follower: log this.
    Proposal {
        /// Its id.
        zxid: Zxid,
        /// The transaction, as the log holds it.
        txn: Bytes,
    },
    /// Follower → leader: it is durable here.
    Ack {
        /// Which.
        zxid: Zxid,
    },
    /// Leader → follower: apply it.
    Commit {
        /// Which.
        zxid: Zxid,
    },
    /// Both ways: alive; the follower adds the sessions it heard of, with their time-outs.
    Ping {
        /// Touched sessions.
        sessions: Vec<(SessionId, Span)>,
    },
    /// Follower → leader: a client's write.
    Request {
        /// The client's session.
        session: SessionId,
        /// Its number there.
        xid: Xid,
        /// What.
        request: ForwardedRequest,
    },
    /// Follower → leader: does this session still live? Leader → follower: the answer.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Its time-out.
        timeout: Span,
        /// The answer; `None` in the question.
        valid: Option<bool>,
    },
    /// Both ways: a client's `sync`; the answer follows all commits before it.
    Sync {
        /// The client's session.
        session: SessionId,
        /// Its number there.
        xid: Xid,
    },
}

/// A write that a follower passes on to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForwardedRequest {
    /// A tree operation.
    Op(KeeperOp),
    /// Open a session with this time-out and password.
    CreateSession {
        /// The time-out granted.
        timeout: Span,
        /// The password.
        password: u64,
    },
    /// Close the session.
    CloseSession,
}

impl KeeperOp {
    /// Whether it changes the tree and so must go through the leader.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Delete { .. }
            | Self::SetData { .. }
            | Self::Check { .. }
            | Self::Multi(_) => true,
            Self::Exists { .. }
            | Self::GetData { .. }
            | Self::GetChildren { .. }
            | Self::Sync { .. } => false,
        }
    }

    /// The path it is about; of a multi, its first.
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::Check { path, .. }
            | Self::Exists { path, .. }
            | Self::GetData { path, .. }
            | Self::GetChildren { path, .. }
            | Self::Sync { path } => path,
            Self::Multi(ops) => ops.first().map_or("", |op| op.path()),
        }
    }

    fn wire_size(&self) -> u64 {
        match self {
            Self::Create { path, data, .. } => text_size(path) + size_of(data.len()) + 31,
            Self::SetData { path, data, .. } => text_size(path) + size_of(data.len()) + 10,
            Self::Delete { path, .. } | Self::Check { path, .. } => text_size(path) + 6,
            Self::Exists { path, .. }
            | Self::GetData { path, .. }
            | Self::GetChildren { path, .. }
            | Self::Sync { path } => text_size(path) + 3,
            Self::Multi(ops) => ops.iter().map(|op| 9 + op.wire_size()).sum::<u64>() + 9,
        }
    }
}

impl KeeperRequest {
    /// Bytes of the packet, without the length prefix.
    pub fn wire_size(&self) -> u64 {
        match self {
            Self::Connect { .. } => 45,
            Self::Op { op, .. } => 8 + op.wire_size(),
            Self::Ping | Self::CloseSession { .. } => 8,
            Self::SetWatches {
                data, exist, child, ..
            } => {
                28 + [data, exist, child]
                    .into_iter()
                    .flatten()
                    .map(|path| text_size(path) + 2)
                    .sum::<u64>()
            }
        }
    }
}

impl KeeperResult {
    fn wire_size(&self) -> u64 {
        match self {
            Self::Created(path) => text_size(path) + 2,
            Self::Deleted | Self::Checked | Self::Synced | Self::Done => 4,
            Self::DataSet(_) | Self::Stat(_) => 68,
            Self::Multi(results) => {
                results
                    .iter()
                    .map(|result| 9 + result.wire_size())
                    .sum::<u64>()
                    + 9
            }
            Self::Data(data, _) => 72 + size_of(data.len()),
            Self::Children(names, _) => {
                72 + names.iter().map(|name| text_size(name) + 2).sum::<u64>()
            }
        }
    }
}

impl KeeperReply {
    /// Bytes of the packet, without the length prefix.
    pub fn wire_size(&self) -> u64 {
        match self {
            Self::Connected { .. } => 37,
            Self::Reply {
                result: Ok(result), ..
            } => 16 + result.wire_size(),
            Self::Reply {
                result: Err(failure),
                ..
            } => 16 + 13 * size_of(failure.multi.len()),
            Self::Pong { .. } => 16,
            Self::Event(event) => 26 + text_size(&event.path),
        }
    }
}

impl QuorumPacket {
    /// Bytes of the packet, without the length prefix.
    pub fn wire_size(&self) -> u64 {
        match self {
            Self::Snap { snapshot, .. } => 20 + size_of(snapshot.len()),
            Self::Proposal { txn, .. } => 20 + size_of(txn.len()),
            Self::Ping { sessions } => 20 + 12 * size_of(sessions.len()),
            Self::Request {
                request: ForwardedRequest::Op(op),
                ..
            } => 36 + op.wire_size(),
            Self::Request { .. } | Self::Revalidate { .. } | Self::Sync { .. } => 40,
            Self::FollowerInfo { .. }
            | Self::LeaderInfo { .. }
            | Self::AckEpoch { .. }
            | Self::Diff { .. }
            | Self::Trunc { .. }
            | Self::NewLeader { .. }
            | Self::UpToDate
            | Self::Ack { .. }
            | Self::Commit { .. } => 24,
        }
    }
}
