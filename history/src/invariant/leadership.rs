//! INV-LEADER, INV-CONTROLLER and INV-ISR: who leads, who controls, and whether the leader is in sync.

use super::{Breach, Findings, Seen, Spot, broker_name};
use crate::event::{Controller, Replica};
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicPartition};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
struct Roles {
    /// Who led in which epoch.
    leaders: BTreeMap<LeaderEpoch, (BrokerId, Seen)>,
    /// Whom the controller elected last, and in which epoch.
    elected: Option<(BrokerId, LeaderEpoch)>,
}

/// Who leads and who controls.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaderships {
    partitions: BTreeMap<TopicPartition, Roles>,
    controllers: BTreeMap<ControllerEpoch, Seen>,
}

impl Leaderships {
    pub(super) fn on_replica(
        &mut self,
        (seen, broker): (Seen, BrokerId),
        partition: &TopicPartition,
        replica: &Replica,
        findings: &mut Findings,
    ) {
        match replica {
            Replica::BecameLeader {
                leader_epoch, isr, ..
            } => {
                findings.look("INV-LEADER");
                let roles = self.partitions.entry(partition.clone()).or_default();
                let (other, first) = *roles.leaders.entry(*leader_epoch).or_insert((broker, seen));
                if other != broker {
                    findings.breaches.push(Breach {
                        code: "INV-LEADER",
                        partition: Some(partition.clone()),
                        offset: None,
                        summary: format!(
                            "{partition} has two leaders in leader epoch {leader_epoch}"
                        ),
                        expected: format!("one leader, {}", broker_name(other)),
                        found: format!("{} leads too", broker_name(broker)),
                        story: vec![
                            first.moment(format!("leads {partition} in epoch {leader_epoch}")),
                            seen.moment(format!("leads {partition} in epoch {leader_epoch} too")),
                        ],
                    });
                }
                in_sync((seen, broker), partition, isr, findings);
            }
            Replica::IsrChanged { isr, .. } => in_sync((seen, broker), partition, isr, findings),
            Replica::Stopped { deleted: true } => {
                // A topic of the same name starts again at leader epoch 0.
                self.partitions.remove(partition);
            }
            Replica::Appended(_)
            | Replica::Truncated { .. }
            | Replica::Loaded { .. }
            | Replica::HighWatermark(_)
            | Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::BecameFollower { .. }
            | Replica::IsrProposed { .. }
            | Replica::IsrRefused { .. }
            | Replica::Stopped { deleted: false }
            | Replica::DuplicateBatch { .. }
            | Replica::AppendRefused { .. }
            | Replica::Acknowledged { .. } => {}
        }
    }

    pub(super) fn on_controller(
        &mut self,
        seen: Seen,
        controller: &Controller,
        findings: &mut Findings,
    ) {
        match controller {
            Controller::Elected { epoch } => self.on_controller_elected(seen, *epoch, findings),
            Controller::LeaderElected(election) => {
                let roles = self
                    .partitions
                    .entry(election.partition.clone())
                    .or_default();
                roles.elected = election
                    .leader
                    .map(|leader| (leader, election.leader_epoch));
                if let Some(leader) = election.leader {
                    in_sync((seen, leader), &election.partition, &election.isr, findings);
                }
            }
            Controller::IsrWritten {
                partition,
                isr,
                leader_epoch,
                ..
            } => {
                let elected = self
                    .partitions
                    .get(partition)
                    .and_then(|roles| roles.elected);
                if let Some((leader, epoch)) = elected
                    && epoch == *leader_epoch
                {
                    in_sync((seen, leader), partition, isr, findings);
                }
            }
            Controller::TopicDeleted(topic) => {
                self.partitions
                    .retain(|partition, _| partition.topic != *topic);
            }
            Controller::Resigned { .. }
            | Controller::ReassignmentStarted { .. }
            | Controller::Reassigned { .. }
            | Controller::BrokerUp { .. }
            | Controller::BrokerDown { .. }
            | Controller::TopicCreated(..) => {}
        }
    }

    fn on_controller_elected(
        &mut self,
        seen: Seen,
        epoch: ControllerEpoch,
        findings: &mut Findings,
    ) {
        findings.look("INV-CONTROLLER");
        let first = *self.controllers.entry(epoch).or_insert(seen);
        if first.node != seen.node {
            findings.breaches.push(Breach {
                code: "INV-CONTROLLER",
                partition: None,
                offset: None,
                summary: format!("two brokers are controller in controller epoch {epoch}"),
                expected: "one controller".to_owned(),
                found: "two".to_owned(),
                story: vec![
                    first.moment(format!("is controller in epoch {epoch}")),
                    seen.moment(format!("is controller in epoch {epoch} too")),
                ],
            });
        }
    }
}

fn in_sync(
    (seen, leader): (Seen, BrokerId),
    partition: &TopicPartition,
    isr: &[BrokerId],
    findings: &mut Findings,
) {
    findings.look("INV-ISR");
    if isr.contains(&leader) {
        return;
    }
    let story: Vec<Spot> =
        vec![seen.moment(format!("in-sync replicas of {partition} are {isr:?}"))];
    findings.breaches.push(Breach {
        code: "INV-ISR",
        partition: Some(partition.clone()),
        offset: None,
        summary: format!(
            "the leader of {partition}, {}, is not in sync",
            broker_name(leader)
        ),
        expected: format!("{} among the in-sync replicas", broker_name(leader)),
        found: format!("in-sync replicas {isr:?}"),
        story,
    });
}
