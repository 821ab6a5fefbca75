//! What a server has in memory (`ZKDatabase`): the tree, the sessions and the last transactions, which bring followers up
//! to date without the disk.

use crate::persistence::mix;
use crate::tree::{Answer, Tree};
use crate::txn::{Transaction, Txn, TxnHeader};
use bytes::Bytes;
use protocol::ids::{SessionId, Xid, Zxid};
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
    /// What the last transaction did to a session: its time-out before.
    last_change: Option<(SessionId, Option<Span>)>,
    /// Before ZOOKEEPER-2355: a session that ended while this server was away leaves its znodes here.
    pub(crate) keep_ephemerals: bool,
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
            last_change: None,
            keep_ephemerals: false,
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
        self.last_change = None;
        match &transaction.body {
            Txn::CreateSession { timeout_ms } => {
                let timeout = Span::millis(u64::try_from(*timeout_ms).unwrap_or(0));
                let before = self.sessions.insert(session, timeout);
                self.last_change = Some((session, before));
            }
            Txn::CloseSession => {
                let before = self.sessions.remove(&session);
                self.last_change = Some((session, before));
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
        let kept = self.keep_ephemerals && transaction.body == Txn::CloseSession;
        if kept || matches!(transaction.body, Txn::Error(_) | Txn::Check { .. }) {
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

    /// The same with the sessions as they were before the last transaction (before ZOOKEEPER-3144 a snapshot could be so).
    pub(crate) fn with_earlier_sessions(&self) -> Self {
        let mut earlier = self.clone();
        match self.last_change {
            Some((session, Some(timeout))) => {
                earlier.sessions.insert(session, timeout);
            }
            Some((session, None)) => {
                earlier.sessions.remove(&session);
            }
            None => {}
        }
        earlier
    }

    /// What a snapshot had of a multi before ZOOKEEPER-3127: its number, but only the first of its changes.
    pub(crate) fn with_part_of(&self, transaction: &Transaction) -> Option<Self> {
        let Txn::Multi(parts) = &transaction.body else {
            return None;
        };
        let first = parts
            .first()
            .filter(|part| !matches!(part, Txn::Error(_)))?;
        let mut partial = self.clone();
        partial.replay(&Transaction::new(transaction.header, first.clone()));
        Some(partial)
    }

    /// `ZooKeeperServer.loadData`: a server that begins to lead removes the znodes of sessions it does not know.
    pub(crate) fn drop_orphans(&mut self) {
        let orphans: Vec<_> = self
            .tree
            .owners()
            .filter(|owner| !self.sessions.contains_key(owner))
            .collect();
        for session in orphans {
            let header = TxnHeader {
                session,
                cxid: Xid(0),
                zxid: self.last_zxid,
                time: 0,
            };
            let close = Transaction::new(header, Txn::CloseSession);
            // The end of a session has no answer.
            let _ = Arc::make_mut(&mut self.tree).apply(&close, &mut Vec::new());
        }
    }

    /// Before ZOOKEEPER-1046 a parent restored from a snapshot counted only the children it still had.
    pub(crate) fn forget_created(&mut self) {
        Arc::make_mut(&mut self.tree).forget_created();
    }

    /// A number that two servers share when their znodes and their sessions are alike.
    pub(crate) fn digest(&self) -> u32 {
        let one = |(session, timeout): (&SessionId, &Span)| {
            mix(session.0.cast_unsigned() ^ mix(timeout.0))
        };
        let sessions = self.sessions.iter().map(one);
        let all = sessions.fold(self.tree.digest(), u64::wrapping_add);
        let folded = (all ^ (all >> 32)) & u64::from(u32::MAX);
        u32::try_from(folded).unwrap_or_default()
    }

    /// The transactions kept, oldest first.
    pub(crate) fn committed(&self) -> &VecDeque<(Zxid, Bytes)> {
        &self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn transaction(counter: u32, body: Txn) -> Transaction {
        let header = TxnHeader {
            session: SESSION,
            cxid: Xid(1),
            zxid: Zxid::new(1, counter),
            time: 0,
        };
        Transaction::new(header, body)
    }

    fn create(path: &str, ephemeral: bool) -> Txn {
        Txn::Create {
            path: path.into(),
            data: Bytes::new(),
            ephemeral,
            parent_cversion: 1,
        }
    }

    #[test]
    fn only_the_last_transactions_are_kept() {
        let mut database = Database::new(2);
        for counter in 1..=3 {
            database.replay(&transaction(counter, Txn::Error(None)));
        }
        let kept: Vec<_> = database.committed().iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(kept, [Zxid::new(1, 2), Zxid::new(1, 3)]);
    }

    #[test]
    fn a_clone_shares_the_tree_until_one_of_them_changes_it() {
        let mut database = Database::new(2);
        database.replay(&transaction(1, create("/a", false)));
        let before = database.clone();
        database.replay(&transaction(2, Txn::Error(None)));
        assert!(Arc::ptr_eq(&before.tree, &database.tree));
        database.replay(&transaction(3, create("/b", false)));
        assert!(before.tree.node("/b").is_none() && database.tree.node("/b").is_some());
    }

    #[test]
    fn a_leader_that_does_not_know_the_session_drops_its_znodes() {
        let mut database = Database::new(9);
        database.replay(&transaction(1, Txn::CreateSession { timeout_ms: 6000 }));
        // ZOOKEEPER-3144: the snapshot has the number of the transaction, but not the session.
        let mut restored = database.with_earlier_sessions();
        let ephemeral = transaction(2, create("/e", true));
        for server in [&mut database, &mut restored] {
            server.replay(&ephemeral);
            server.drop_orphans();
        }
        assert!(database.tree.node("/e").is_some());
        assert!(restored.tree.node("/e").is_none());
    }

    #[test]
    fn a_torn_snapshot_holds_the_first_part_of_a_multi() {
        let database = Database::new(9);
        let parts = vec![create("/a", false), create("/b", false)];
        let multi = transaction(1, Txn::Multi(parts));
        let torn = database.with_part_of(&multi).unwrap();
        assert_eq!(torn.last_zxid, multi.zxid());
        assert!(torn.tree.node("/a").is_some() && torn.tree.node("/b").is_none());
    }
}
