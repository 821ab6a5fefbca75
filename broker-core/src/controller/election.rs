//! Who shall lead: the rules of `Election.scala` and `PartitionLeaderElectionAlgorithms`.
//!
//! Pure functions of the context and of what the keeper holds. The order of the assignment decides among several.

use super::context::ControllerContext;
use super::eligible::eligible_after;
use crate::znode::json::{Eligible, PartitionState};
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

/// By which rules a leader is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Why.
    pub strategy: Strategy,
    /// A replica outside the ISR may lead; counts for [`Strategy::Offline`] only.
    pub unclean: bool,
    /// Where the eligible are kept (KIP-966), how many replicas have to be in sync.
    pub min_isr: Option<usize>,
}

/// Whoever was elected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elected {
    /// The state to write: the next leader epoch, over the version that was read.
    pub known: PartitionState,
    /// Who must hear of it.
    pub recipients: Vec<BrokerId>,
    /// How it came about.
    pub kind: ElectionKind,
}

/// Elects; `None` when nobody can lead.
pub fn elect(
    context: &ControllerContext,
    partition: &TopicPartition,
    known: &PartitionState,
    rule: Rule,
) -> Option<Elected> {
    let assignment = context.assignment(partition);
    let online = |id: BrokerId| context.is_online(id, partition);
    let present = &known.state;
    let in_sync = |id: BrokerId| present.isr.contains(&id);
    let (leader, isr, kind) = match rule.strategy {
        Strategy::Offline { .. } => offline(context, partition, known, rule)?,
        Strategy::Reassign => {
            let find = assignment.iter().find(|id| online(**id) && in_sync(**id));
            (*find?, present.isr.clone(), ElectionKind::Reassignment)
        }
        Strategy::Preferred => {
            let first = assignment
                .first()
                .filter(|id| online(**id) && in_sync(**id));
            (*first?, present.isr.clone(), ElectionKind::Preferred)
        }
        Strategy::ControlledShutdown => {
            let leaving = |id: &BrokerId| context.shutting_down.contains(id);
            let serving = |id: &BrokerId| context.is_online_or_leaving(*id, partition);
            let fit = |id: &&BrokerId| serving(id) && in_sync(**id) && !leaving(id);
            if let Some(leader) = assignment.iter().find(fit) {
                let staying = present.isr.iter().copied().filter(|id| !leaving(id));
                (*leader, staying.collect(), ElectionKind::ControlledShutdown)
            } else {
                let live = context.online_replicas(partition);
                let leader = eligible(known, &live, rule.min_isr?)?;
                (leader, vec![leader], ElectionKind::Eligible)
            }
        }
    };
    let serving = |id: &BrokerId| context.is_online_or_leaving(*id, partition);
    let recipients = match rule.strategy {
        Strategy::ControlledShutdown => assignment.iter().copied().filter(serving).collect(),
        Strategy::Offline { .. } | Strategy::Reassign | Strategy::Preferred => {
            context.online_replicas(partition)
        }
    };
    let state = next(present, leader, isr);
    Some(Elected {
        known: PartitionState {
            eligible: after(known, &state, kind, rule),
            state,
            controller_epoch: context.epoch,
        },
        recipients,
        kind,
    })
}

/// Who leads where the leader is gone, who is in sync then, and how that came about.
fn offline(
    context: &ControllerContext,
    partition: &TopicPartition,
    known: &PartitionState,
    rule: Rule,
) -> Option<(BrokerId, Vec<BrokerId>, ElectionKind)> {
    let live = context.online_replicas(partition);
    let present = &known.state;
    if let Some(leader) = live.iter().copied().find(|id| present.isr.contains(id)) {
        let online = |id: &BrokerId| context.is_online(*id, partition);
        let isr = present.isr.iter().copied().filter(online).collect();
        return Some((leader, isr, ElectionKind::Clean));
    }
    let eligible = rule.min_isr.and_then(|min| eligible(known, &live, min));
    let last = rule.min_isr.and_then(|_| last_known_leader(known, &live));
    let unclean = live.first().copied().filter(|_| rule.unclean);
    let (leader, kind) = eligible
        .map(|leader| (leader, ElectionKind::Eligible))
        .or_else(|| last.map(|leader| (leader, ElectionKind::LastKnownLeader)))
        .or_else(|| unclean.map(|leader| (leader, ElectionKind::Unclean)))?;
    Some((leader, vec![leader], kind))
}

/// The first of these replicas that may lead when nobody is in sync any more (KIP-966).
fn eligible(known: &PartitionState, live: &[BrokerId], min_isr: usize) -> Option<BrokerId> {
    let nobody = LeaderAndIsr {
        isr: Vec::new(),
        ..known.state.clone()
    };
    let fit = eligible_after(known, &nobody, min_isr, None).replicas;
    live.iter().copied().find(|id| fit.contains(id))
}

/// Nobody is in sync and nobody is eligible: who led last, if it is there (`canElectLastKnownLeader`, KAFKA-19522).
fn last_known_leader(known: &PartitionState, live: &[BrokerId]) -> Option<BrokerId> {
    let nobody_else = known.state.isr.is_empty() && known.eligible.replicas.is_empty();
    match known.eligible.last_known[..] {
        [leader] if nobody_else && live.contains(&leader) => Some(leader),
        _ => None,
    }
}

/// Who is eligible after an election; nobody after one whose winner need not have what is committed.
fn after(known: &PartitionState, state: &LeaderAndIsr, kind: ElectionKind, rule: Rule) -> Eligible {
    match (kind, rule.min_isr) {
        (ElectionKind::Unclean | ElectionKind::LastKnownLeader, _) | (_, None) => {
            Eligible::default()
        }
        (_, Some(min_isr)) => eligible_after(known, state, min_isr, None),
    }
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
    use protocol::ids::{BrokerEpoch, ControllerEpoch, Endpoint, LeaderEpoch, PartitionEpoch};

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
                after_clean_shutdown: true,
            };
            context.brokers.insert(BrokerId(*id), broker);
        }
        context.assignments.insert(orders(), ids(&[1, 2, 3]));
        context
    }

    fn state(leader: Option<i32>, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr {
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(7),
            isr: ids(isr),
            partition_epoch: PartitionEpoch(4),
        }
    }

    fn led_by(leader: i32, isr: &[i32]) -> PartitionState {
        PartitionState {
            state: state(Some(leader), isr),
            controller_epoch: ControllerEpoch(1),
            eligible: Eligible::default(),
        }
    }

    /// Nobody leads and nobody is in sync.
    fn empty(eligible: &[i32], last_known: &[i32]) -> PartitionState {
        PartitionState {
            state: state(None, &[]),
            controller_epoch: ControllerEpoch(1),
            eligible: Eligible {
                replicas: ids(eligible),
                last_known: ids(last_known),
            },
        }
    }

    const fn by(strategy: Strategy, unclean: bool) -> Rule {
        Rule {
            strategy,
            unclean,
            min_isr: None,
        }
    }

    const CLEAN: Rule = by(
        Strategy::Offline {
            allow_unclean: false,
        },
        false,
    );
    const UNCLEAN: Rule = by(
        Strategy::Offline {
            allow_unclean: true,
        },
        true,
    );
    /// With KIP-966, two replicas have to be in sync.
    const OF_TWO: Rule = Rule {
        min_isr: Some(2),
        ..CLEAN
    };

    #[test]
    fn the_first_live_in_sync_replica_of_the_assignment_takes_over() {
        let elected = elect(&cluster(&[2, 3]), &orders(), &led_by(1, &[3, 1, 2]), CLEAN).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.known.state.isr, ids(&[3, 2]));
        assert_eq!(elected.known.state.leader_epoch, LeaderEpoch(8));
        assert_eq!(elected.known.state.partition_epoch, PartitionEpoch(4));
        assert_eq!(elected.kind, ElectionKind::Clean);
        assert_eq!(elected.recipients, ids(&[2, 3]));
    }

    #[test]
    fn a_replica_outside_the_isr_leads_only_where_that_is_allowed() {
        let context = cluster(&[3]);
        let present = led_by(1, &[1, 2]);
        assert_eq!(elect(&context, &orders(), &present, CLEAN), None);
        let elected = elect(&context, &orders(), &present, UNCLEAN).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(3)));
        assert_eq!(elected.known.state.isr, ids(&[3]));
        assert_eq!(elected.kind, ElectionKind::Unclean);
    }

    #[test]
    fn unclean_election_still_prefers_a_live_in_sync_replica() {
        let elected = elect(&cluster(&[2, 3]), &orders(), &led_by(1, &[1, 3]), UNCLEAN).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(3)));
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
        assert_eq!(elected.known.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.known.state.isr, ids(&[2]));
    }

    #[test]
    fn the_preferred_replica_leads_only_from_within_the_isr() {
        let preferred = by(Strategy::Preferred, false);
        let context = cluster(&[1, 2, 3]);
        let elected = elect(&context, &orders(), &led_by(2, &[2, 1]), preferred).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(1)));
        assert_eq!(elected.known.state.isr, ids(&[2, 1]));
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
        let shutdown = by(Strategy::ControlledShutdown, false);
        let elected = elect(&context, &orders(), &led_by(1, &[1, 2, 3]), shutdown).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.known.state.isr, ids(&[2, 3]));
        assert_eq!(elected.recipients, ids(&[1, 2, 3]));
        assert_eq!(elect(&context, &orders(), &led_by(1, &[1]), shutdown), None);
    }

    #[test]
    fn a_dead_replica_leaves_the_isr_but_never_as_its_last_member() {
        let state = without(&led_by(1, &[1, 2]).state, BrokerId(2), true).unwrap();
        assert_eq!((state.leader, state.isr), (Some(BrokerId(1)), ids(&[1])));
        let state = without(&led_by(1, &[1]).state, BrokerId(1), true).unwrap();
        assert_eq!((state.leader, state.isr), (None, ids(&[1])));
        assert_eq!(state.leader_epoch, LeaderEpoch(8));
        assert_eq!(without(&led_by(1, &[1, 2]).state, BrokerId(3), true), None);
        let before_kafka_708 = without(&led_by(1, &[1]).state, BrokerId(1), false).unwrap();
        assert_eq!(before_kafka_708.isr, []);
    }

    #[test]
    fn where_nobody_in_sync_lives_an_eligible_replica_leads_with_kip_966() {
        let before = PartitionState {
            eligible: empty(&[2], &[]).eligible,
            ..led_by(3, &[3])
        };
        assert_eq!(elect(&cluster(&[1, 2]), &orders(), &before, CLEAN), None);
        let elected = elect(&cluster(&[1, 2]), &orders(), &before, OF_TWO).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(2)));
        assert_eq!(elected.known.state.isr, ids(&[2]));
        assert_eq!(elected.kind, ElectionKind::Eligible);
        assert_eq!(elected.known.eligible.replicas, ids(&[3]));
        let in_sync = elect(&cluster(&[2, 3]), &orders(), &before, OF_TWO).unwrap();
        assert_eq!(in_sync.known.state.leader, Some(BrokerId(3)));
    }

    #[test]
    fn who_led_last_leads_again_only_where_nobody_is_in_sync_and_nobody_is_eligible() {
        let all = cluster(&[1, 2, 3]);
        let elected = elect(&all, &orders(), &empty(&[], &[3]), OF_TWO).unwrap();
        assert_eq!(elected.known.state.leader, Some(BrokerId(3)));
        assert_eq!(elected.kind, ElectionKind::LastKnownLeader);
        assert_eq!(elected.known.eligible, Eligible::default());
        let waits = elect(&cluster(&[1, 3]), &orders(), &empty(&[2], &[3]), OF_TWO);
        assert_eq!(waits, None, "an eligible replica may come back");
        let absent = elect(&cluster(&[1, 2]), &orders(), &empty(&[], &[3]), OF_TWO);
        assert_eq!(absent, None);
    }

    #[test]
    fn the_only_one_in_sync_may_stop_in_good_order_where_another_is_eligible() {
        let mut context = cluster(&[1, 2, 3]);
        context.shutting_down.insert(BrokerId(3));
        let before = PartitionState {
            eligible: empty(&[2], &[]).eligible,
            ..led_by(3, &[3])
        };
        let rule = Rule {
            strategy: Strategy::ControlledShutdown,
            ..OF_TWO
        };
        let elected = elect(&context, &orders(), &before, rule).unwrap();
        assert_eq!(elected.known.state.isr, ids(&[2]));
        assert_eq!(elected.known.eligible.replicas, ids(&[3]));
    }
}
