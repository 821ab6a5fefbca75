//! INV-READ and INV-READ-HW: what consumers were given stays, and was committed when they were given it (`ConsistentRead` of
//! the later replication specification).
//!
//! What was read lies below a high watermark, so the committed log tells what it was, and one offset tells how far reading
//! has come. INV-READ is looked at when a leader takes over or cuts its log, INV-READ-HW with every poll.
//! Left out: the moment of the read itself, which brokers do not note. A poll comes after it, and marks of leaders only grow,
//! so that a read above the mark goes unseen when the mark has caught up with it by the time of the poll.

use super::commitment::{Commitments, Committed};
use super::{Breach, Findings, Seen, broker_name};
use crate::event::Replica;
use crate::operation::{Action, Operation, Stage};
use protocol::ids::BrokerId;

/// How far one partition has been read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Everything below was committed when it was read, or is behind something that was.
    end: i64,
    /// When `end` moved last.
    moved: Option<Seen>,
    /// The highest mark of any leader; none while no leader has told its own.
    highest_mark: Option<i64>,
    /// Brokers that lead, by their own word.
    leading: Vec<BrokerId>,
}

impl Reads {
    pub(super) fn on_role(&mut self, broker: BrokerId, replica: &Replica) {
        match replica {
            Replica::BecameLeader { .. } => {
                if !self.leading.contains(&broker) {
                    self.leading.push(broker);
                }
            }
            Replica::BecameFollower { .. }
            | Replica::Loaded { .. }
            | Replica::Stopped { deleted: true } => {
                self.leading.retain(|known| *known != broker);
            }
            Replica::HighWatermark(mark) => {
                if self.leading.contains(&broker) {
                    self.highest_mark = self.highest_mark.max(Some(mark.0));
                }
            }
            // Who is told to stop and keeps its log stops following only: a leader leads on until it is deleted
            // (`ReplicaManager.stopReplicas`).
            Replica::Stopped { deleted: false }
            | Replica::Appended(_)
            | Replica::Truncated { .. }
            | Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::IsrProposed { .. }
            | Replica::IsrChanged { .. }
            | Replica::IsrRefused { .. }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }

    /// What lies from `offset` on is gone: when it had been read, if it had.
    pub(super) fn take_from(&mut self, offset: i64) -> Option<Seen> {
        if self.end <= offset {
            return None;
        }
        self.end = offset;
        self.moved
    }
}

impl Commitments {
    pub(super) fn on_operation(
        &mut self,
        seen: Seen,
        operation: &Operation,
        findings: &mut Findings,
    ) {
        let (Action::Poll { records, .. }, Stage::Ok) = (&operation.action, operation.stage) else {
            return;
        };
        for polled in records {
            if let Some((last, _)) = polled.records.last() {
                self.partition(&polled.partition)
                    .on_read(seen, last.0, findings);
            }
        }
    }
}

impl Committed {
    fn on_read(&mut self, seen: Seen, last: i64, findings: &mut Findings) {
        let read = (last + 1).min(self.end);
        if read > self.reads.end {
            self.reads.end = read;
            self.reads.moved = Some(seen);
        }
        let Some(mark) = self.reads.highest_mark else {
            return;
        };
        findings.look("INV-READ-HW");
        if last >= mark {
            let text = format!(
                "{} at offset {last} is read above the high watermark",
                self.name
            );
            let expected = format!("offsets below {mark}");
            let mut breach = Breach {
                code: "INV-READ-HW",
                partition: Some(self.name.clone()),
                offset: Some(last),
                summary: text.clone(),
                expected,
                found: last.to_string(),
                story: Vec::new(),
            };
            breach.story.push(seen.moment(text));
            findings.breaches.push(breach);
        }
    }

    /// A replica cut its log: a leader must not cut what was read, a member of the in-sync set not what is committed.
    pub(super) fn on_cut(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        to: i64,
        findings: &mut Findings,
    ) {
        if self.is_newest_leader(broker) && self.reads.leading.contains(&broker) {
            findings.look("INV-READ");
            if let Some(read) = self.reads.take_from(to) {
                findings
                    .breaches
                    .push(self.unread((seen, broker), to, read));
            }
        }
        self.check_in_sync(seen, findings);
    }

    /// What was read at `offset` is not on the leader.
    pub(super) fn unread(
        &self,
        (seen, broker): (Seen, BrokerId),
        offset: i64,
        read: Seen,
    ) -> Breach {
        let text = format!(
            "{}, which leads {}, does not have what was read at offset {offset}",
            broker_name(broker),
            self.name,
        );
        let expected = "everything that was ever read".to_owned();
        let found = format!("nothing of it from offset {offset} on");
        let mut breach = self.breach("INV-READ", offset, (text, expected, found), (seen, broker));
        let told = format!("{} has been read beyond offset {offset}", self.name);
        breach.story.push(read.moment(told));
        breach.story.sort_by_key(|spot| spot.seen.at);
        breach
    }
}
