//! Committed offsets that lie where every member may write them: in ZooKeeper.
//!
//! A group that moves from there to Kafka has two places for a while, and is judged by what its members were told: wherever
//! a commit went, whoever comes next is to find it (`dual.commit.enabled`).
//!
//! No coordinator tells in which order commits took effect. Each took effect at some moment between its beginning and its
//! end, and one whose end nobody told may do so at any time later. From that follows which offsets a reader may find: a
//! commit counts unless another began after its end and ended before the reader asked.

use super::index::{EventId, Index};
use crate::operation::{Action, Operation, Stage};
use protocol::config::OffsetStorage;
use std::collections::BTreeMap;

/// One commit of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) offset: i64,
    pub(super) began: EventId,
    /// None while nobody has told that it is over.
    pub(super) ended: Option<EventId>,
}

/// All commits so far, by group and partition.
#[derive(Default)]
pub(super) struct Written {
    writes: BTreeMap<(usize, u32), Vec<Write>>,
    /// By life of a client and operation: which commits it has begun.
    open: BTreeMap<(u32, u64), EventId>,
}

/// Whether a group's offsets are kept so, at least those of some members.
pub(super) fn is_kept_here(index: &Index<'_>, group: usize) -> bool {
    index.groups[group].old == Some(OffsetStorage::Zookeeper)
}

impl Written {
    /// Takes the beginning or the end of a commit.
    pub(super) fn on_commit(
        &mut self,
        index: &Index<'_>,
        event: EventId,
        (group, operation): (usize, &Operation),
    ) {
        let Action::Commit { offsets, .. } = &operation.action else {
            return;
        };
        let call = (operation.process.0, operation.id);
        match operation.stage {
            Stage::Invoke => {
                self.open.insert(call, event);
                for (partition, offset) in offsets {
                    let write = Write {
                        offset: offset.0,
                        began: event,
                        ended: None,
                    };
                    let key = (group, index.part(partition));
                    self.writes.entry(key).or_default().push(write);
                }
            }
            Stage::Ok => {
                let began = self.open.remove(&call);
                let mine = self.writes.iter_mut().filter(|((of, _), _)| *of == group);
                for write in mine.flat_map(|(_, writes)| writes) {
                    if Some(write.began) == began {
                        write.ended = Some(event);
                    }
                }
            }
            // It certainly did not happen, or may still.
            Stage::Fail | Stage::Info => {}
        }
    }

    /// When the commit began that this operation ends.
    pub(super) fn began(&self, operation: &Operation) -> Option<EventId> {
        let call = (operation.process.0, operation.id);
        self.open.get(&call).copied()
    }

    /// The commits that somebody may find who asks between `from` and now.
    pub(super) fn visible(&self, key: (usize, u32), from: EventId) -> Vec<Write> {
        let all = self.writes.get(&key).map_or(&[][..], Vec::as_slice);
        let hides = |later: &Write, earlier: &Write| {
            earlier.ended.is_some_and(|end| end < later.began)
                && later.ended.is_some_and(|end| end < from)
        };
        let is_hidden = |write: &Write| all.iter().any(|later| hides(later, write));
        all.iter()
            .copied()
            .filter(|write| !is_hidden(write))
            .collect()
    }

    /// The newest commit that was over before `from`.
    pub(super) fn settled(&self, key: (usize, u32), from: EventId) -> Option<Write> {
        let visible = self.visible(key, from).into_iter();
        let settled = visible.filter(|write| write.ended.is_some_and(|end| end < from));
        settled.max_by_key(|write| write.ended)
    }
}
