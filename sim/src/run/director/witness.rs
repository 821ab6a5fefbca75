//! What faults were seen to do: every declared fault has to have had an effect, and what happens is put down to the latest
//! fault that was meant to make it happen.

use super::super::fault;
use super::Director;
use crate::scenario::format::Disk;
use crate::scenario::plan::{FaultAction, Restart};
use crate::world::{DiskAtRestart, FaultId, KillKind, Place, PowerLoss, Unflushed};
use history::event::{FaultStage, Process};
use protocol::ids::{NodeId, SessionId};
use std::collections::BTreeSet;

impl Director {
    /// Says for every fault whether it was seen to have an effect.
    pub fn witness(&mut self, hits: impl Fn(FaultId) -> u64) {
        let plan = self.plan.clone();
        // One that lasts is asked, because its end, which would tell, does not come.
        for active in self.active.clone() {
            let hits = active.ids.iter().map(|id| hits(*id)).sum();
            if hits > 0 {
                let action = &plan.faults[active.fault].action;
                let what = fault::effect_in_words(action, hits);
                self.effective(active.fault, active.target, what);
            }
        }
        for (index, fault) in plan.faults.iter().enumerate() {
            let state = std::mem::take(&mut self.states[index]);
            if state.occurrences == 0 {
                let why = "its time or condition never came".to_owned();
                self.recorder
                    .fault(index, fault.kind, String::new(), FaultStage::Inert(why));
            } else if state.effects.is_empty() {
                let why = "nothing was seen to be different".to_owned();
                self.recorder
                    .fault(index, fault.kind, String::new(), FaultStage::Inert(why));
            }
        }
    }

    pub(super) fn effective(&mut self, index: usize, target: String, what: String) {
        let kind = self.plan.faults[index].kind;
        let first = self.states[index].effects.is_empty();
        self.states[index].effects.push(what.clone());
        if first {
            self.recorder
                .fault(index, kind, target, FaultStage::Effective(what));
        }
    }

    /// Of the faults of a kind that were injected at this node's cost, the latest.
    fn blame(&self, node: NodeId, matches: impl Fn(&FaultAction) -> bool) -> Option<usize> {
        let injected = |index: &usize| {
            self.states[*index].hit.contains(&node) && matches(&self.plan.faults[*index].action)
        };
        let all = (0..self.plan.faults.len()).filter(injected);
        all.max_by_key(|index| self.states[*index].last)
    }

    pub(super) fn on_exited(&mut self, place: Place, clean: bool) {
        let node = place.node;
        self.alive.remove(&node);
        self.stopping.remove(&node);
        let process = if clean {
            Process::Stopped
        } else {
            Process::Died {
                how: "exit".to_owned(),
                bytes_lost: 0,
            }
        };
        self.recorder.process(node, process);
        self.supervise(place, clean);
        if clean {
            self.seen(node, "ended in good order", |action| {
                matches!(action, FaultAction::Stop { .. }) && !orders_another_disk(action)
            });
        }
    }

    /// Something that a fault of a kind was meant to do to this node was seen.
    pub(super) fn seen(
        &mut self,
        node: NodeId,
        what: &str,
        matches: impl Fn(&FaultAction) -> bool,
    ) {
        if let Some(index) = self.blame(node, matches) {
            let name = self.names(&BTreeSet::from([node]));
            self.effective(index, name.clone(), format!("{name} {what}"));
        }
    }

    /// A dead node found another disk than it left: the witness of whoever ordered that, and of the moment it came from.
    pub(super) fn on_disk_replaced(&mut self, node: NodeId, before: u64, after: u64) {
        if before == after {
            return;
        }
        let wanted = self.disks.get(&node).copied();
        let what = format!("found {after} bytes on its disk instead of {before}");
        self.seen(node, &what, orders_another_disk);
        if wanted != Some(DiskAtRestart::Empty) {
            let what = "got back the disk of that moment";
            self.seen(node, what, |action| {
                matches!(action, FaultAction::SnapshotDisk { .. })
            });
        }
    }

    pub(super) fn on_killed(&mut self, node: NodeId, kind: KillKind, loss: PowerLoss) {
        let power = matches!(kind, KillKind::Power(_));
        let bytes_lost = loss.bytes_lost;
        let how = if power { "power" } else { "process" };
        self.recorder.process(
            node,
            Process::Died {
                how: how.to_owned(),
                bytes_lost,
            },
        );
        let torn = kind == KillKind::Power(Unflushed::Torn);
        let what = if torn {
            format!("lost power with {} bytes of garbage", loss.bytes_torn)
        } else if power {
            format!("lost power and {bytes_lost} unflushed bytes")
        } else {
            "was killed".to_owned()
        };
        if !torn || loss.bytes_torn > 0 {
            self.seen(node, &what, |action| {
                let kills = matches!(action, FaultAction::Kill { power: with, .. } if with.is_some() == power);
                kills && !orders_another_disk(action)
            });
        }
    }

    /// A broker that was asked to stop has begun to: the fault has had its effect, whatever ends the process then.
    pub(super) fn on_shutting_down(&mut self, node: NodeId) {
        self.seen(node, "began to shut down", |action| {
            matches!(action, FaultAction::Stop { .. }) && !orders_another_disk(action)
        });
    }

    pub(super) fn on_session_expired(&mut self, session: SessionId) {
        if let Some(node) = self.view.owner(session) {
            self.seen(node, "lost its keeper session", |action| {
                matches!(action, FaultAction::ExpireSession { .. })
            });
        }
    }
}

/// The fault lets a node come back with another disk than it left.
pub(super) fn orders_another_disk(action: &FaultAction) -> bool {
    matches!(
        action,
        FaultAction::Kill {
            restart: Restart {
                disk: Disk::Empty | Disk::Older,
                ..
            },
            ..
        } | FaultAction::Stop {
            restart: Restart {
                disk: Disk::Empty | Disk::Older,
                ..
            },
            ..
        } | FaultAction::Start {
            disk: Disk::Empty | Disk::Older,
            ..
        }
    )
}
