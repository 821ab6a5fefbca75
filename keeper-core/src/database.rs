//! What a server has in memory (`ZKDatabase`): the tree, the sessions and the last transactions, which bring followers up
//! to date without the disk.

use crate::tree::{Answer, Tree};
use crate::txn::{Transaction, Txn};
use bytes::Bytes;
use protocol::ids::{SessionId, Zxid};
use protocol::keeper::WatchEvent;
use protocol::time::Span;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The state after `last_zxid`. `Clone` shares the tree.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) tree: Arc<Tree>,
    pub(crate) sessions: BTreeMap<SessionId, Span>,
    pub(crate) last_zxid: Zxid,
    committed: VecDeque<(Zxid, Bytes)>,
    limit: usize,
}

impl Database {
    /// The empty state; `limit` transactions are kept (`commitLogCount`).
    pub(crate) fn new(limit: usize) -> Self {
        Self::at(Zxid::ZERO, Tree::default(), BTreeMap::new(), limit)
    }

    /// The state of a snapshot.
    pub(crate) fn at(
        last_zxid: Zxid,
        tree: Tree,
        sessions: BTreeMap<SessionId, Span>,
        limit: usize,
    ) -> Self {
        Self {
            tree: Arc::new(tree),
            sessions,
            last_zxid,
            committed: VecDeque::new(),
            limit,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Applies the next transaction.
    pub(crate) fn apply(
        &mut self,
        transaction: &Transaction,
        fired: &mut Vec<WatchEvent>,
    ) -> Answer {
        let session = transaction.header.session;
        match &transaction.body {
            Txn::CreateSession { timeout_ms } => {
                let timeout = Span::millis(u64::try_from(*timeout_ms).unwrap_or(0));
                self.sessions.insert(session, timeout);
            }
            Txn::CloseSession => {
                self.sessions.remove(&session);
            }
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::SetData { .. }
            | Txn::Check { .. }
            | Txn::Multi(_)
            | Txn::Error(_) => {}
        }
        self.last_zxid = transaction.zxid();
        if self.committed.len() >= self.limit {
            self.committed.pop_front();
        }
        self.committed
            .push_back((transaction.zxid(), transaction.bytes.clone()));
        if matches!(transaction.body, Txn::Error(_) | Txn::Check { .. }) {
            // Nothing changes: leave a shared tree shared.
            return Tree::bare().apply(transaction, fired);
        }
        Arc::make_mut(&mut self.tree).apply(transaction, fired)
    }

    /// Applies a transaction of the log that nobody waits for.
    pub(crate) fn replay(&mut self, transaction: &Transaction) {
        let mut fired = Vec::new();
        // ZooKeeper ignores the errors of a replay as well.
        let _ = self.apply(transaction, &mut fired);
    }

    /// The transactions kept, oldest first.
    pub(crate) fn committed(&self) -> &VecDeque<(Zxid, Bytes)> {
        &self.committed
    }
}
