//! INV-QUORUM and INV-VALID-HW against a naive recomputation: after every event of a random run all events so far are gone
//! through anew, and every member of the set is looked at after each of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some events exist here"
)]

use super::*;
use crate::event::{Append, ElectionKind, LeaderElection};
use proptest::prelude::*;
use protocol::ids::{ControllerEpoch, Offset, PartitionEpoch};
use std::collections::BTreeSet;

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

const NOW: Seen = Seen {
    at: 0,
    step: 0,
    node: 0,
};

#[derive(Clone, Debug)]
enum Said {
    Replica(i32, Replica),
    Controller(Controller),
}

fn appended(base: i64) -> Replica {
    Replica::Appended(Append {
        base_offset: Offset(base),
        last_offset: Offset(base),
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        leader: false,
        producer: None,
        control: false,
        transactional: false,
        committed: None,
        values: Vec::new(),
    })
}

fn elected(leader: i32, epoch: i32, isr: &[i32]) -> [Said; 2] {
    let election = LeaderElection {
        partition: orders(),
        leader: Some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        isr: ids(isr),
        kind: ElectionKind::Clean,
        controller_epoch: ControllerEpoch(1),
    };
    let leads = Replica::BecameLeader {
        leader_epoch: LeaderEpoch(epoch),
        isr: ids(isr),
        log_end_offset: Offset(0),
    };
    [
        Said::Controller(Controller::LeaderElected(election)),
        Said::Replica(leader, leads),
    ]
}

fn written(epoch: i32, isr: &[i32]) -> Said {
    Said::Controller(Controller::IsrWritten {
        partition: orders(),
        isr: ids(isr),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(1),
    })
}

fn mark(broker: i32, at: i64) -> Said {
    Said::Replica(broker, Replica::HighWatermark(Offset(at)))
}

fn proposed(broker: i32, isr: &[i32], waits_for: &[i32]) -> Said {
    let (isr, waits_for) = (ids(isr), ids(waits_for));
    Said::Replica(broker, Replica::IsrProposed { isr, waits_for })
}

fn breaches(quorums: &mut Quorums, said: &Said) -> Vec<&'static str> {
    let mut findings = Findings::default();
    match said {
        Said::Replica(broker, replica) => {
            quorums.on_replica((NOW, BrokerId(*broker)), &orders(), replica, &mut findings);
        }
        Said::Controller(controller) => quorums.on_controller(NOW, controller, &mut findings),
    }
    findings.breaches.iter().map(|breach| breach.code).collect()
}

fn all(story: impl IntoIterator<Item = Said>) -> Vec<&'static str> {
    let mut quorums = Quorums::default();
    let per_event = story.into_iter().map(|said| breaches(&mut quorums, &said));
    per_event.collect::<Vec<_>>().concat()
}

/// Broker 1 leads with 2; 3 is let in while two records are committed without it.
fn admission(waits_for: &[i32]) -> Vec<Said> {
    let mut story = Vec::from(elected(1, 1, &[1, 2]));
    for broker in [1, 2, 3] {
        story.push(Said::Replica(broker, appended(0)));
    }
    story.push(mark(1, 1));
    story.push(proposed(1, &[1, 2, 3], waits_for));
    for broker in [1, 2] {
        story.push(Said::Replica(broker, appended(1)));
    }
    story
}

#[test]
fn a_leader_that_does_not_wait_for_whom_it_lets_in_is_convicted_twice() {
    let mut story = admission(&[1, 2]);
    story.push(mark(1, 2));
    story.push(written(1, &[1, 2, 3]));
    assert_eq!(all(story), ["INV-QUORUM", "INV-VALID-HW"]);
}

#[test]
fn whom_a_reassignment_takes_away_may_lack_what_is_committed() {
    let moves = |removing: &[i32]| {
        Said::Controller(Controller::ReassignmentStarted {
            partition: orders(),
            replicas: ids(&[1, 2, 3]),
            adding: Vec::new(),
            removing: ids(removing),
        })
    };
    for (removing, expected) in [(3, Vec::new()), (2, vec!["INV-VALID-HW"])] {
        let mut story = vec![moves(&[removing])];
        story.extend(admission(&[1, 2, 3]));
        story.push(written(1, &[1, 2, 3]));
        story.push(mark(1, 2));
        assert_eq!(all(story), expected);
    }
}

#[test]
fn a_leader_that_waits_is_acquitted() {
    let mut story = admission(&[1, 2, 3]);
    story.push(written(1, &[1, 2, 3]));
    story.push(Said::Replica(3, appended(1)));
    story.push(mark(1, 2));
    assert!(all(story).is_empty());
}

#[test]
fn a_member_whose_disk_lost_data_is_left_out_until_it_is_let_in_anew() {
    let lost = |to| {
        let (to, from) = (Offset(to), Offset(1));
        let rule = "recovery".to_owned();
        Said::Replica(2, Replica::Truncated { to, from, rule })
    };
    let mut story = Vec::from(elected(1, 1, &[1, 2]));
    for broker in [1, 2] {
        story.push(Said::Replica(broker, appended(0)));
    }
    story.extend([mark(1, 1), lost(0)]);
    assert!(all(story.clone()).is_empty());
    story.extend([written(1, &[1]), written(1, &[1, 2])]);
    assert_eq!(all(story), ["INV-VALID-HW"]);
}

#[test]
fn an_epoch_that_began_without_an_election_counts_like_any_other() {
    let mut story = Vec::from(elected(1, 0, &[1, 2, 3]));
    story.extend([1, 2].map(|broker| Said::Replica(broker, appended(0))));
    story.push(written(1, &[1, 2]));
    story.push(elected(1, 1, &[1, 2])[1].clone());
    story.push(mark(1, 1));
    let cut = Replica::Loaded {
        log_start_offset: Offset(0),
        log_end_offset: Offset(0),
        high_watermark: Offset(0),
        clean: true,
    };
    story.push(Said::Replica(3, cut));
    story.push(proposed(1, &[1, 2, 3], &[1, 2, 3]));
    story.push(written(1, &[1, 2, 3]));
    assert_eq!(all(story), ["INV-VALID-HW"]);
}

/// The controller writes that 3 and 2 are in sync, and later that 2 is not; nobody hears of the second. Whether another one
/// has come by the time that the leader begins anew and lets 1 in.
fn a_write_that_nobody_told(another: bool) -> Vec<Said> {
    let mut story = Vec::from(elected(3, 0, &[1, 2, 3]));
    story.push(written(1, &[3, 2]));
    story.push(elected(3, 1, &[3, 2])[1].clone());
    if another {
        story.push(Said::Controller(Controller::Elected {
            epoch: ControllerEpoch(2),
        }));
    }
    story.push(elected(3, 1, &[3])[1].clone());
    story.push(proposed(3, &[3, 1], &[3, 1]));
    story
}

#[test]
fn a_leader_tells_what_a_former_controller_did_not_live_to_tell() {
    assert!(all(a_write_that_nobody_told(true)).is_empty());
    assert_eq!(all(a_write_that_nobody_told(false)), ["INV-QUORUM"]);
}

#[test]
fn what_a_deposed_leader_believes_does_not_count() {
    let mut story = admission(&[1, 2]);
    story.extend(elected(2, 2, &[2, 3]));
    story.push(mark(1, 2));
    assert!(all(story).is_empty());
}

/// Everything, from the beginning.
#[derive(Default)]
struct Naive {
    ends: BTreeMap<i32, i64>,
    lossy: BTreeSet<i32>,
    elected: i32,
    written: i32,
    leader: i32,
    waits_for: BTreeSet<i32>,
    mark: Option<i64>,
    leads: i32,
    isr: BTreeSet<i32>,
    by_controller: bool,
    said: BTreeSet<(&'static str, i32)>,
}

fn set(list: &[BrokerId]) -> BTreeSet<i32> {
    list.iter().map(|id| id.0).collect()
}

impl Naive {
    fn of(story: &[Said]) -> BTreeSet<&'static str> {
        let mut naive = Self::default();
        let mut last = BTreeSet::new();
        for said in story {
            naive.take(said);
            last = naive.look();
        }
        last
    }

    fn write(&mut self, isr: BTreeSet<i32>, by_controller: bool, same_epoch: bool) {
        if same_epoch {
            let old = self.isr.clone();
            self.lossy
                .retain(|id| old.contains(id) || !isr.contains(id));
        }
        self.isr = isr;
        self.by_controller = by_controller;
        self.said.clear();
    }

    fn take(&mut self, said: &Said) {
        match said {
            Said::Controller(Controller::LeaderElected(election)) => {
                self.elected = election.leader_epoch.0;
                self.written = self.elected;
                self.write(set(&election.isr), false, false);
            }
            Said::Controller(Controller::IsrWritten {
                isr, leader_epoch, ..
            }) => {
                let same_epoch = leader_epoch.0 == self.written;
                self.elected = self.elected.max(leader_epoch.0);
                self.written = leader_epoch.0;
                self.write(set(isr), true, same_epoch);
            }
            Said::Controller(_) => {}
            Said::Replica(broker, replica) => self.replica(*broker, replica),
        }
    }

    fn replica(&mut self, broker: i32, replica: &Replica) {
        let leads = self.leader == broker;
        match replica {
            Replica::Appended(append) => {
                self.ends.insert(broker, append.last_offset.0 + 1);
                let caught_up = self
                    .mark
                    .is_some_and(|mark| append.last_offset.0 + 1 >= mark);
                if caught_up {
                    self.lossy.remove(&broker);
                }
            }
            Replica::Truncated { to, rule, .. } => {
                let before = self.ends.insert(broker, to.0);
                if rule == "recovery" && before.is_some_and(|before| to.0 < before) {
                    self.lossy.insert(broker);
                }
            }
            Replica::BecameLeader {
                leader_epoch, isr, ..
            } => {
                self.leader = broker;
                self.leads = leader_epoch.0;
                self.waits_for = set(isr);
                self.mark = None;
            }
            Replica::HighWatermark(mark) if leads => self.mark = Some(mark.0),
            Replica::IsrProposed { waits_for, .. } if leads => self.waits_for = set(waits_for),
            Replica::IsrChanged { isr, .. } if leads => {
                self.waits_for = set(isr);
                if self.isr != set(isr) && self.written <= self.leads {
                    self.write(set(isr), false, true);
                }
            }
            _ => {}
        }
    }

    fn look(&mut self) -> BTreeSet<&'static str> {
        let mut news = BTreeSet::new();
        if self.leads != self.elected {
            return news;
        }
        if self.by_controller
            && !self.isr.is_subset(&self.waits_for)
            && self.said.insert(("INV-QUORUM", 0))
        {
            news.insert("INV-QUORUM");
        }
        let Some(mark) = self.mark else { return news };
        for member in self.isr.iter().filter(|id| **id != self.leader) {
            let short = self.ends.get(member).is_some_and(|end| *end < mark);
            if short && !self.lossy.contains(member) && self.said.insert(("INV-VALID-HW", *member))
            {
                news.insert("INV-VALID-HW");
            }
        }
        news
    }
}

#[derive(Clone, Debug)]
enum Act {
    Append(i32),
    Cut { broker: i32, lost: bool },
    Lead(i32, Vec<i32>),
    Mark { broker: i32, below: i64 },
    Propose(i32, Vec<i32>),
    Write { isr: Vec<i32>, ahead: i32 },
    Change(i32, Vec<i32>),
}

fn act() -> impl Strategy<Value = Act> {
    let broker = || 1_i32..4;
    let isr = || prop::sample::subsequence(vec![1, 2, 3], 1..4);
    prop_oneof![
        6 => broker().prop_map(Act::Append),
        1 => (broker(), any::<bool>()).prop_map(|(broker, lost)| Act::Cut { broker, lost }),
        1 => (broker(), isr()).prop_map(|(broker, isr)| Act::Lead(broker, isr)),
        5 => (broker(), 0_i64..3).prop_map(|(broker, below)| Act::Mark { broker, below }),
        2 => (broker(), isr()).prop_map(|(broker, isr)| Act::Propose(broker, isr)),
        2 => (isr(), prop::sample::select(vec![0, 0, 0, 1])).prop_map(|(isr, ahead)| Act::Write { isr, ahead }),
        1 => (broker(), isr()).prop_map(|(broker, isr)| Act::Change(broker, isr)),
    ]
}

fn tell(act: &Act, ends: &mut [i64; 4], epoch: &mut i32) -> Vec<Said> {
    let place = |broker: i32| usize::try_from(broker).unwrap();
    match act {
        Act::Append(broker) => {
            let end = &mut ends[place(*broker)];
            *end += 1;
            vec![Said::Replica(*broker, appended(*end - 1))]
        }
        Act::Cut { broker, lost } => {
            let end = &mut ends[place(*broker)];
            let from = Offset(*end);
            *end = (*end - 1).max(0);
            let (to, rule) = (
                Offset(*end),
                if *lost { "recovery" } else { "leader_epoch" },
            );
            let rule = rule.to_owned();
            vec![Said::Replica(
                *broker,
                Replica::Truncated { to, from, rule },
            )]
        }
        Act::Lead(broker, isr) => {
            *epoch += 1;
            Vec::from(elected(*broker, *epoch, isr))
        }
        Act::Mark { broker, below } => {
            vec![mark(*broker, (ends[place(*broker)] - below).max(0))]
        }
        Act::Propose(broker, isr) => vec![proposed(*broker, isr, isr)],
        Act::Write { isr, ahead } => {
            *epoch += ahead;
            vec![written(*epoch, isr)]
        }
        Act::Change(broker, isr) => {
            let (isr, partition_epoch) = (ids(isr), PartitionEpoch(2));
            vec![Said::Replica(
                *broker,
                Replica::IsrChanged {
                    isr,
                    partition_epoch,
                },
            )]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn the_incremental_form_says_what_the_naive_one_says(acts in prop::collection::vec(act(), 1..60)) {
        let mut quorums = Quorums::default();
        let (mut ends, mut epoch) = ([0; 4], 0);
        let mut story: Vec<Said> = Vec::new();
        for said in Vec::from(elected(1, 0, &[1, 2])) {
            prop_assert!(breaches(&mut quorums, &said).is_empty());
            story.push(said);
        }
        for act in &acts {
            for said in tell(act, &mut ends, &mut epoch) {
                let now: BTreeSet<_> = breaches(&mut quorums, &said).into_iter().collect();
                story.push(said);
                prop_assert_eq!(now, Naive::of(&story), "after {:?}", story);
            }
        }
    }
}
