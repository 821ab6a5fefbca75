//! Who shall lead: the rules of `Election.scala` and `PartitionLeaderElectionAlgorithms`.
//!
//! Pure functions of the context and of what the keeper holds. The order of the assignment decides among several.

use super::context::ControllerContext;
use protocol::api::cluster::LeaderAndIsr;
use protocol::ids::{BrokerId, TopicPartition};
use protocol::note::ElectionKind;

/// By which rule (`PartitionLeaderElectionStrategy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// The leader is gone.
    Offline {
        /// A replica outside the ISR may lead, whatever the topic says.
        allow_unclean: bool,
    },
    /// The assignment has changed.
    Reassign,
    /// The first replica shall lead.
    Preferred,
    /// The leader's broker is in controlled shutdown.
    ControlledShutdown,
}

/// Whoever was elected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elected {
    /// The state to write: the next leader epoch, over the version that was read.
    pub state: LeaderAndIsr,
    /// Who must hear of it.
    pub recipients: Vec<BrokerId>,
    /// How it came about.
    pub kind: ElectionKind,
}

/// Elects; `None` when nobody can lead. `unclean` counts for [`Strategy::Offline`] only.
pub fn elect(
    context: &ControllerContext,
    partition: &TopicPartition,
    present: &LeaderAndIsr,
    (strategy, unclean): (Strategy, bool),
) -> Option<Elected> {
    let assignment = context.assignment(partition);
    let online = |id: BrokerId| context.is_online(id, partition);
    let in_sync = |id: BrokerId| present.isr.contains(&id);
    match strategy {
        Strategy::Offline { .. } => offline(context, partition, present, unclean),
        Strategy::Reassign => {
            let find = assignment.iter().find(|id| online(**id) && in_sync(**id));
            let state = next(present, *find?, present.isr.clone());
            Some(Elected {
                state,
                recipients: context.online_replicas(partition),
                kind: ElectionKind::Reassignment,
            })
        }
        Strategy::Preferred => {
            let first = assignment
                .first()
                .filter(|id| online(**id) && in_sync(**id));
            let state = next(present, *first?, present.isr.clone());
            Some(Elected {
                state,
                recipients: context.online_replicas(partition),
                kind: ElectionKind::Preferred,
            })
        }
        Strategy::ControlledShutdown => {
            let leaving = |id: &BrokerId| context.shutting_down.contains(id);
            let serving = |id: &BrokerId| context.is_online_or_leaving(*id, partition);
            let fit = |id: &&BrokerId| serving(id) && in_sync(**id) && !leaving(id);
            let leader = *assignment.iter().find(fit)?;
            let staying = present.isr.iter().copied().filter(|id| !leaving(id));
            Some(Elected {
                state: next(present, leader, staying.collect()),
                recipients: assignment
                    .iter()
                    .copied()
                    .filter(|id| serving(id))
                    .collect(),
                kind: ElectionKind::ControlledShutdown,
            })
        }
    }
}

fn offline(
    context: &ControllerContext,
    partition: &TopicPartition,
    present: &LeaderAndIsr,
    unclean: bool,
) -> Option<Elected> {
    let live = context.online_replicas(partition);
    let clean = live.iter().copied().find(|id| present.isr.contains(id));
    let (leader, isr, kind) = match clean {
        Some(leader) => {
            let online = |id: &BrokerId| context.is_online(*id, partition);
            let isr = present.isr.iter().copied().filter(online).collect();
            (leader, isr, ElectionKind::Clean)
        }
        None if unclean => {
            let leader = *live.first()?;
            (leader, vec![leader], ElectionKind::Unclean)
        }
        None => return None,
    };
    Some(Elected {
        state: next(present, leader, isr),
        recipients: live,
        kind,
    })
}

fn next(present: &LeaderAndIsr, leader: BrokerId, isr: Vec<BrokerId>) -> LeaderAndIsr {
    LeaderAndIsr {
        leader: Some(leader),
        leader_epoch: present.leader_epoch.next(),
        isr,
        partition_epoch: present.partition_epoch,
    }
}

/// The state after a replica was put out of the ISR (`doRemoveReplicasFromIsr`): the last member stays, a leader that goes
/// leaves no leader behind, and the leader epoch grows so that brokers take notice. `None` when it is not in the ISR.
/// Before KAFKA-708 the last member did not stay, and before KAFKA-5083 not where unclean election is on.
pub fn without(present: &LeaderAndIsr, gone: BrokerId, last_stays: bool) -> Option<LeaderAndIsr> {
    if !present.isr.contains(&gone) {
        return None;
    }
    let isr = if present.isr.len() == 1 && last_stays {
        present.isr.clone()
    } else {
        present
            .isr
            .iter()
            .copied()
            .filter(|id| *id != gone)
            .collect()
    };
    Some(LeaderAndIsr {
        leader: present.leader.filter(|leader| *leader != gone),
        leader_epoch: present.leader_epoch.next(),
        isr,
        partition_epoch: present.partition_epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::super::context::RegisteredBroker;
    use super::*;
    use protocol::ids::{BrokerEpoch, Endpoint, LeaderEpoch, PartitionEpoch};

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    fn orders() -> TopicPartition {
        TopicPartition::new("orders", 0)
    }

    /// orders-0 on 1, 2, 3; these brokers live.
    fn cluster(live: &[i32]) -> ControllerContext {
        let mut context = ControllerContext::default();
        for id in live {
            let broker = RegisteredBroker {
                endpoint: Endpoint::new("b", 9092),
                epoch: BrokerEpoch(1),
            };
            context.brokers.insert(BrokerId(*id), broker);
        }
        context.assignments.insert(orders(), ids(&[1, 2, 3]));
        context
    }

    fn led_by(leader: i32, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr {
            leader: Some(BrokerId(leader)),
            leader_epoch: LeaderEpoch(7),
            isr: ids(isr),
            partition_epoch: PartitionEpoch(4),
        }
    }

    const CLEAN: (Strategy, bool) = (
        Strategy::Offline {
            allow_unclean: false,
        },
        false,
    );
    const UNCLEAN: (Strategy, bool) = (
        Strategy::Offline {
            allow_unclean: true,
        },
        true,
    );

    #[test]
    fn the_first_live_in_sync_replica_of_the_assignment_takes_over() {
        let elected = elect(&cluster(&[2, 3]), &orders(), &led_by(1, &[3, 1, 2]), CLEAN).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.state.isr, ids(&[3, 2]));
        assert_eq!(elected.state.leader_epoch, LeaderEpoch(8));
        assert_eq!(elected.state.partition_epoch, PartitionEpoch(4));
        assert_eq!(elected.kind, ElectionKind::Clean);
        assert_eq!(elected.recipients, ids(&[2, 3]));
    }

    #[test]
    fn a_replica_outside_the_isr_leads_only_where_that_is_allowed() {
        let context = cluster(&[3]);
        let present = led_by(1, &[1, 2]);
        assert_eq!(elect(&context, &orders(), &present, CLEAN), None);
        let elected = elect(&context, &orders(), &present, UNCLEAN).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(3)));
        assert_eq!(elected.state.isr, ids(&[3]));
        assert_eq!(elected.kind, ElectionKind::Unclean);
    }

    #[test]
    fn unclean_election_still_prefers_a_live_in_sync_replica() {
        let elected = elect(&cluster(&[2, 3]), &orders(), &led_by(1, &[1, 3]), UNCLEAN).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(3)));
        assert_eq!(elected.kind, ElectionKind::Clean);
    }

    #[test]
    fn nobody_leads_when_no_replica_lives() {
        assert_eq!(
            elect(&cluster(&[9]), &orders(), &led_by(1, &[1]), UNCLEAN),
            None
        );
    }

    #[test]
    fn a_replica_on_a_failed_directory_is_not_elected() {
        let mut context = cluster(&[1, 2]);
        context
            .offline_dirs
            .entry(BrokerId(1))
            .or_default()
            .insert(orders());
        let elected = elect(&context, &orders(), &led_by(1, &[1, 2]), CLEAN).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.state.isr, ids(&[2]));
    }

    #[test]
    fn the_preferred_replica_leads_only_from_within_the_isr() {
        let preferred = (Strategy::Preferred, false);
        let context = cluster(&[1, 2, 3]);
        let elected = elect(&context, &orders(), &led_by(2, &[2, 1]), preferred).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(1)));
        assert_eq!(elected.state.isr, ids(&[2, 1]));
        assert_eq!(
            elect(&context, &orders(), &led_by(2, &[2, 3]), preferred),
            None
        );
        assert_eq!(
            elect(&cluster(&[2]), &orders(), &led_by(2, &[2, 1]), preferred),
            None
        );
    }

    #[test]
    fn controlled_shutdown_moves_leadership_and_leaves_the_isr_without_the_leaving() {
        let mut context = cluster(&[1, 2, 3]);
        context.shutting_down.insert(BrokerId(1));
        let shutdown = (Strategy::ControlledShutdown, false);
        let elected = elect(&context, &orders(), &led_by(1, &[1, 2, 3]), shutdown).unwrap();
        assert_eq!(elected.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.state.isr, ids(&[2, 3]));
        assert_eq!(elected.recipients, ids(&[1, 2, 3]));
        assert_eq!(elect(&context, &orders(), &led_by(1, &[1]), shutdown), None);
    }

    #[test]
    fn a_dead_replica_leaves_the_isr_but_never_as_its_last_member() {
        let state = without(&led_by(1, &[1, 2]), BrokerId(2), true).unwrap();
        assert_eq!((state.leader, state.isr), (Some(BrokerId(1)), ids(&[1])));
        let state = without(&led_by(1, &[1]), BrokerId(1), true).unwrap();
        assert_eq!((state.leader, state.isr), (None, ids(&[1])));
        assert_eq!(state.leader_epoch, LeaderEpoch(8));
        assert_eq!(without(&led_by(1, &[1, 2]), BrokerId(3), true), None);
        let before_kafka_708 = without(&led_by(1, &[1]), BrokerId(1), false).unwrap();
        assert_eq!(before_kafka_708.isr, []);
    }
}
