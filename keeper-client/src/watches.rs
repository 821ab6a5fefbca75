//! The watches a client believes to have (`ZKWatchManager` and the `WatchRegistration`s of `ZooKeeper`).
//!
//! A watch counts once the reply of the read that left it has arrived, and again until an event took it. The list is what
//! a reconnect sends as `SetWatches`. Watcher objects are left out: the owner is the only watcher, told by events.

use protocol::error_code::KeeperError;
use protocol::ids::Zxid;
use protocol::keeper::{
    KeeperFailure, KeeperOp, KeeperRequest, KeeperResult, Path, WatchEvent, WatchKind,
};
use std::collections::BTreeSet;

/// A watch asked for, by the read that asks.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// By `getData`.
    Data(Path),
    /// By `exists`.
    Exists(Path),
    /// By `getChildren`.
    Children(Path),
}

impl Wish {
    /// The watch the operation leaves, if it asks for one.
    pub(crate) fn of(op: &KeeperOp) -> Option<Self> {
        match op {
            KeeperOp::Exists { path, watch: true } => Some(Self::Exists(path.clone())),
            KeeperOp::GetData { path, watch: true } => Some(Self::Data(path.clone())),
            KeeperOp::GetChildren { path, watch: true } => Some(Self::Children(path.clone())),
            KeeperOp::Exists { watch: false, .. }
            | KeeperOp::GetData { watch: false, .. }
            | KeeperOp::GetChildren { watch: false, .. }
            | KeeperOp::Create { .. }
            | KeeperOp::Delete { .. }
            | KeeperOp::SetData { .. }
            | KeeperOp::Check { .. }
            | KeeperOp::Multi(_)
            | KeeperOp::Sync { .. } => None,
        }
    }
}

/// The watches left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    data: BTreeSet<Path>,
    exist: BTreeSet<Path>,
    child: BTreeSet<Path>,
}

impl Watches {
    /// The reply to the read came: does it leave the watch?
    pub(crate) fn register(&mut self, wish: Wish, result: &Result<KeeperResult, KeeperFailure>) {
        match (wish, result) {
            (Wish::Data(path) | Wish::Exists(path), Ok(_)) => {
                self.data.insert(path);
            }
            (Wish::Exists(path), Err(failure)) if failure.error == KeeperError::NoNode => {
                self.exist.insert(path);
            }
            (Wish::Children(path), Ok(_)) => {
                self.child.insert(path);
            }
            (Wish::Data(_) | Wish::Exists(_) | Wish::Children(_), Err(_)) => {}
        }
    }

    /// An event came; whether anybody here waited for it.
    pub(crate) fn fire(&mut self, event: &WatchEvent) -> bool {
        let path = &event.path;
        match event.kind {
            WatchKind::Created | WatchKind::DataChanged => {
                self.data.remove(path) | self.exist.remove(path)
            }
            WatchKind::ChildrenChanged => self.child.remove(path),
            WatchKind::Deleted => {
                self.data.remove(path) | self.exist.remove(path) | self.child.remove(path)
            }
        }
    }

    /// The packet that sets them again after a reconnect; none when there are none.
    pub(crate) fn renewal(&self, relative_zxid: Zxid) -> Option<KeeperRequest> {
        if self.data.is_empty() && self.exist.is_empty() && self.child.is_empty() {
            return None;
        }
        let list = |set: &BTreeSet<Path>| set.iter().cloned().collect();
        Some(KeeperRequest::SetWatches {
            relative_zxid,
            data: list(&self.data),
            exist: list(&self.exist),
            child: list(&self.child),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::keeper::Stat;

    fn missing() -> Result<KeeperResult, KeeperFailure> {
        Err(KeeperFailure {
            error: KeeperError::NoNode,
            multi: Vec::new(),
        })
    }

    #[test]
    fn only_exists_watches_what_is_missing() {
        let mut watches = Watches::default();
        watches.register(Wish::Data("/a".into()), &missing());
        watches.register(Wish::Children("/a".into()), &missing());
        assert_eq!(watches.renewal(Zxid(1)), None);
        watches.register(Wish::Exists("/a".into()), &missing());
        let Some(KeeperRequest::SetWatches { exist, data, .. }) = watches.renewal(Zxid(1)) else {
            panic!("a watch is left");
        };
        assert_eq!((exist, data), (vec!["/a".into()], vec![]));
    }

    #[test]
    fn a_watch_fires_once() {
        let mut watches = Watches::default();
        watches.register(
            Wish::Data("/a".into()),
            &Ok(KeeperResult::Stat(Stat::default())),
        );
        let event = WatchEvent {
            kind: WatchKind::DataChanged,
            path: "/a".into(),
        };
        assert!(watches.fire(&event));
        assert!(!watches.fire(&event));
    }
}
