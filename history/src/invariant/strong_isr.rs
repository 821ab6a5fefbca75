//! INV-STRONG-ISR: the in-sync replicas that the keeper has all hold what is committed (`StrongIsr` of Kafka's replication
//! specification, for the newest leader).
//!
//! Looked at when one of its three sides changes: the leader's high watermark moves, the set is written, a member cuts its
//! log. A member is compared from where it was compared last, so that each batch is looked at once per replica.
//! Left out: the moment between a keeper write of a leader and its answer, because only the answer is noted; the leader does
//! nothing in between.

use super::commitment::Committed;
use super::{Breach, Findings, Seen, broker_name};
use crate::event::LeaderElection;
use protocol::ids::{BrokerId, LeaderEpoch, PartitionEpoch};

/// The in-sync replicas as the keeper has them.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredIsr {
    members: Vec<BrokerId>,
    version: Option<PartitionEpoch>,
    /// Whom the controller elected last.
    leader: Option<BrokerId>,
    /// In which epoch.
    epoch: Option<LeaderEpoch>,
    /// The last epoch for which a controller said what it wrote.
    written: Option<LeaderEpoch>,
    /// An unclean election whose winner has not begun to lead: until then nobody knows what it gives up.
    unclean: Option<LeaderEpoch>,
    /// Whom a reassignment is taking away: the leader does not wait for them any more, and they cannot be elected.
    pub(super) leaving: Vec<BrokerId>,
    /// Who was found to lack something, from which offset on, so that it is said once.
    lacking: Vec<(BrokerId, i64)>,
}

impl StoredIsr {
    pub(super) fn has(&self, broker: BrokerId) -> bool {
        self.members.contains(&broker)
    }

    pub(super) fn on_elected(&mut self, election: &LeaderElection) {
        self.members.clone_from(&election.isr);
        self.version = None;
        self.leader = election.leader;
        self.epoch = Some(election.leader_epoch);
        self.written = self.epoch.max(self.written);
        if election.kind.is_unclean() {
            self.unclean = Some(election.leader_epoch);
        }
    }

    /// By the controller.
    pub(super) fn on_told(
        &mut self,
        epoch: LeaderEpoch,
        isr: &[BrokerId],
        version: PartitionEpoch,
    ) {
        self.written = Some(epoch).max(self.written);
        self.on_written(isr, version);
    }

    fn on_written(&mut self, isr: &[BrokerId], version: PartitionEpoch) {
        if self.version.is_none_or(|known| known < version) {
            self.members = isr.to_vec();
            self.version = Some(version);
        }
    }

    /// By a leader, which says so when it knows that it was written.
    pub(super) fn on_changed(&mut self, by: BrokerId, isr: &[BrokerId], version: PartitionEpoch) {
        if self.leader == Some(by) {
            self.on_written(isr, version);
        }
    }

    /// A leader of whose election nobody told: the keeper did what a controller asked, and its answer never came. Then the
    /// leader was given what the keeper has by the next one. A leader that hears late of what a controller told knows nothing
    /// newer than that.
    pub(super) fn on_untold(&mut self, leader: BrokerId, epoch: LeaderEpoch, isr: &[BrokerId]) {
        if self.epoch.is_some_and(|told| told < epoch) {
            self.leader = Some(leader);
            self.epoch = Some(epoch);
            if self.written < self.epoch {
                self.members = isr.to_vec();
                self.version = None;
            }
        } else if self.leader == Some(leader) && self.epoch == Some(epoch) {
            // It begins again in its own epoch: whoever it is not given may have been taken out without a word.
            self.members.retain(|member| isr.contains(member));
        }
    }

    /// A leader has taken over, and with it what it lacks is given up.
    pub(super) fn on_leader(&mut self, epoch: LeaderEpoch) {
        if self.unclean.is_some_and(|unclean| unclean <= epoch) {
            self.unclean = None;
        }
    }
}

impl Committed {
    /// Compares every member with what is committed, as far as that has not been done.
    pub(super) fn check_in_sync(&mut self, seen: Seen, findings: &mut Findings) {
        if self.stored.unclean.is_some() {
            return;
        }
        for place in 0..self.stored.members.len() {
            let member = self.stored.members[place];
            if self.lossy.contains_key(&member) || self.stored.leaving.contains(&member) {
                continue;
            }
            let Some(mut state) = self.replicas.remove(&member) else {
                continue;
            };
            if state.known {
                findings.look("INV-STRONG-ISR");
                let lacking = self.first_lacking(&mut state);
                // A lost disk made it differ, and neither epoch nor offset tells anybody.
                let lacking = lacking.filter(|offset| !state.doubtful.contains(offset));
                self.say((seen, member), lacking, findings);
            }
            self.replicas.insert(member, state);
        }
    }

    fn say(
        &mut self,
        (seen, member): (Seen, BrokerId),
        lacking: Option<i64>,
        findings: &mut Findings,
    ) {
        let known = self
            .stored
            .lacking
            .iter()
            .position(|(who, _)| *who == member);
        match (lacking, known) {
            (None, Some(place)) => {
                self.stored.lacking.remove(place);
            }
            (Some(offset), None) => {
                self.stored.lacking.push((member, offset));
                findings.breaches.push(self.lacks((seen, member), offset));
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn lacks(&self, (seen, member): (Seen, BrokerId), offset: i64) -> Breach {
        let text = format!(
            "{} is in sync for {} without the committed record at offset {offset}",
            broker_name(member),
            self.name,
        );
        let expected = format!(
            "what the leader has, up to offset {}",
            self.end.saturating_sub(1)
        );
        let found = format!("another batch or none at offset {offset}");
        self.breach(
            "INV-STRONG-ISR",
            offset,
            (text, expected, found),
            (seen, member),
        )
    }
}
