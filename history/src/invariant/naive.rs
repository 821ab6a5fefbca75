//! The incremental invariants against a naive recomputation: after every event of a random run everything is computed anew
//! from all events so far, and both have to say the same.
//!
//! Left out of the comparison: what follows the first breach of an invariant of logs, because from there on the incremental
//! form goes on from what it has said, and the naive one has nothing to go on from.

#![expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "a table of acts; only some events exist here"
)]

use super::Invariants;
use crate::event::Controller;
use crate::event::{Append, ElectionKind, Event, Keeper, LeaderElection, Replica, What};
use crate::expectation::Expectations;
use crate::manifest::{FORMAT_VERSION, Manifest, Node, NodeRole, Stream, Topic};
use crate::operation::{Action, Operation, Polled, ProcessId, Stage};
use proptest::prelude::*;
use protocol::ids::{
    BrokerId, ControllerEpoch, KeeperId, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicName,
    TopicPartition, Zxid,
};
use std::collections::{BTreeMap, BTreeSet};

fn manifest() -> Manifest {
    let broker = |id| Node {
        name: format!("b{id}"),
        role: NodeRole::Broker(BrokerId(id)),
    };
    let keeper = |id| Node {
        name: format!("k{id}"),
        role: NodeRole::Keeper(KeeperId(id)),
    };
    let client = Node {
        name: "c".to_owned(),
        role: NodeRole::Client(0),
    };
    Manifest {
        format: "ktrial-history".to_owned(),
        version: FORMAT_VERSION,
        scenario: "naive".to_owned(),
        path: String::new(),
        variant: None,
        title: String::new(),
        question: String::new(),
        lesson: String::new(),
        seed: 0,
        era: "2.8".to_owned(),
        fixes: BTreeMap::new(),
        streams: vec![Stream::Brokers, Stream::Keepers],
        nodes: vec![
            broker(0),
            broker(1),
            broker(2),
            keeper(0),
            keeper(1),
            client,
        ],
        topics: vec![Topic {
            name: TopicName::from("t"),
            partitions: 1,
            replication_factor: 3,
            min_insync_replicas: 2,
            unclean_leader_election: false,
        }],
        clients: Vec::new(),
        faults: Vec::new(),
        expect: Expectations::default(),
        reaches: Vec::new(),
        progress_within: 0,
    }
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Act {
    Append {
        broker: u16,
        epoch: i32,
        content: u32,
    },
    Truncate {
        broker: u16,
        by: i64,
    },
    Mark {
        broker: u16,
        at: i64,
    },
    Lead {
        broker: u16,
        unclean: bool,
    },
    Follow {
        broker: u16,
    },
    Apply {
        keeper: u16,
        digest: u32,
        skip: bool,
    },
    Write {
        members: u8,
    },
    Read {
        back: i64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u16..3, 0_i32..2, prop::sample::select(vec![7_u32, 7, 7, 7, 7, 8]))
            .prop_map(|(broker, epoch, content)| Act::Append { broker, epoch: epoch / 2, content }),
        1 => (0_u16..3, 1_i64..3).prop_map(|(broker, by)| Act::Truncate { broker, by }),
        6 => (0_u16..3, 0_i64..3).prop_map(|(broker, at)| Act::Mark { broker, at }),
        1 => (0_u16..3, any::<bool>()).prop_map(|(broker, unclean)| Act::Lead { broker, unclean }),
        1 => (0_u16..3).prop_map(|broker| Act::Follow { broker }),
        2 => (0_u8..8).prop_map(|members| Act::Write { members }),
        4 => (-1_i64..3).prop_map(|back| Act::Read { back }),
        2 => (3_u16..5, prop::sample::select(vec![1_u32, 1, 1, 1, 2]), prop::sample::select(vec![false, false, false, true]))
            .prop_map(|(keeper, digest, skip)| Act::Apply { keeper, digest, skip }),
    ]
}

/// What the generator has to know to make events of acts: logs' ends, marks, the epoch, the keepers' last transactions.
#[derive(Default)]
struct Shape {
    ends: [i64; 3],
    epoch: i32,
    zxids: [i64; 2],
    writes: i32,
    leader: i32,
}

impl Shape {
    fn events(&mut self, act: &Act) -> Vec<(u16, What)> {
        let partition = TopicPartition::new("t", 0);
        let replica =
            |broker: u16, replica| vec![(broker, What::Replica(partition.clone(), replica))];
        match *act {
            Act::Append {
                broker,
                epoch,
                content,
            } => {
                let end = &mut self.ends[usize::from(broker)];
                let append = Append {
                    base_offset: Offset(*end),
                    last_offset: Offset(*end),
                    leader_epoch: LeaderEpoch(epoch),
                    crc: content,
                    leader: false,
                    producer: None,
                    control: false,
                    transactional: false,
                    committed: None,
                    values: Vec::new(),
                };
                *end += 1;
                replica(broker, Replica::Appended(append))
            }
            Act::Truncate { broker, by } => {
                let end = &mut self.ends[usize::from(broker)];
                let from = *end;
                *end = (*end - by).max(0);
                let to = *end;
                let rule = "leader_epoch".to_owned();
                replica(
                    broker,
                    Replica::Truncated {
                        to: Offset(to),
                        from: Offset(from),
                        rule,
                    },
                )
            }
            // The mark trails the end, stands at it or goes one beyond.
            Act::Mark { broker, at } => {
                let mark = (self.ends[usize::from(broker)] - 1 + at).max(0);
                replica(broker, Replica::HighWatermark(Offset(mark)))
            }
            Act::Lead { broker, unclean } => {
                self.epoch += 1;
                self.leader = i32::from(broker);
                let isr = vec![BrokerId(self.leader)];
                let election = LeaderElection {
                    partition: partition.clone(),
                    leader: Some(isr[0]),
                    leader_epoch: LeaderEpoch(self.epoch),
                    isr: isr.clone(),
                    kind: if unclean {
                        ElectionKind::Unclean
                    } else {
                        ElectionKind::Clean
                    },
                    controller_epoch: ControllerEpoch(1),
                };
                let became = Replica::BecameLeader {
                    leader_epoch: LeaderEpoch(self.epoch),
                    isr,
                    log_end_offset: Offset(self.ends[usize::from(broker)]),
                };
                let mut events = vec![(0, What::Controller(Controller::LeaderElected(election)))];
                events.extend(replica(broker, became));
                events
            }
            Act::Write { members } => {
                self.writes += 1;
                let isr = (0..3)
                    .filter(|id| members & (1 << id) != 0 || *id == self.leader)
                    .map(BrokerId);
                let written = Controller::IsrWritten {
                    partition: partition.clone(),
                    isr: isr.collect(),
                    leader_epoch: LeaderEpoch(self.epoch),
                    partition_epoch: PartitionEpoch(self.writes),
                };
                vec![(0, What::Controller(written))]
            }
            // Around the end of the longest log.
            Act::Read { back } => {
                let longest = self.ends.iter().max().copied().unwrap_or(0);
                let polled = Polled {
                    partition: partition.clone(),
                    records: vec![(Offset((longest - 1 - back).max(0)), None)],
                };
                let action = Action::Poll {
                    records: vec![polled],
                    error: None,
                };
                let operation = Operation {
                    client: 0,
                    process: ProcessId(0),
                    id: 0,
                    stage: Stage::Ok,
                    action,
                };
                vec![(5, What::Operation(operation))]
            }
            Act::Follow { broker } => replica(
                broker,
                Replica::BecameFollower {
                    leader_epoch: LeaderEpoch(self.epoch),
                    leader: None,
                },
            ),
            Act::Apply {
                keeper,
                digest,
                skip,
            } => {
                let last = &mut self.zxids[usize::from(keeper) - 3];
                *last += if skip { 2 } else { 1 };
                let digest = digest + u32::try_from(*last).unwrap_or(0);
                vec![(
                    keeper,
                    What::Keeper(Keeper::Applied {
                        zxid: Zxid(*last),
                        digest,
                        state: None,
                    }),
                )]
            }
        }
    }
}

/// Compared with a naive form of their own, in `quorum_test`.
const ELSEWHERE: [&str; 2] = ["INV-QUORUM", "INV-VALID-HW"];

type Entry = (i32, u32);

/// Everything, from the beginning.
#[derive(Default)]
struct Naive {
    logs: BTreeMap<i32, Vec<Entry>>,
    /// Whose end is known: who ever appended.
    known: BTreeSet<i32>,
    marks: BTreeMap<i32, Option<i64>>,
    committed: Vec<Entry>,
    leader: Option<i32>,
    kinds: BTreeMap<i32, ElectionKind>,
    applied: BTreeMap<u16, Vec<(i64, u32)>>,
    /// The in-sync replicas that the keeper has; unknown while an unclean winner has not begun to lead.
    stored: Option<BTreeSet<i32>>,
    leaving: BTreeSet<i32>,
    /// Members that were found to lack something.
    lacking: BTreeSet<i32>,
    leading: BTreeSet<i32>,
    highest_mark: Option<i64>,
    read: usize,
}

impl Naive {
    /// What is broken after these events, by the last of them.
    fn of(events: &[(u16, What)]) -> BTreeSet<&'static str> {
        let mut all = Self::default();
        let mut broken = BTreeSet::new();
        for (node, what) in events {
            broken = all.step(*node, what);
        }
        broken
    }

    fn step(&mut self, node: u16, what: &What) -> BTreeSet<&'static str> {
        let broker = i32::from(node);
        let mut broken = BTreeSet::new();
        match what {
            What::Controller(Controller::LeaderElected(election)) => {
                self.kinds.insert(election.leader_epoch.0, election.kind);
                self.stored = (!election.kind.is_unclean())
                    .then(|| election.isr.iter().map(|id| id.0).collect());
                self.in_sync(&mut broken);
            }
            What::Controller(Controller::IsrWritten { isr, .. }) => {
                self.stored = Some(isr.iter().map(|id| id.0).collect());
                self.in_sync(&mut broken);
            }
            What::Controller(Controller::ReassignmentStarted { removing, .. }) => {
                self.leaving = removing.iter().map(|id| id.0).collect();
            }
            What::Controller(Controller::Reassigned { .. }) => self.leaving.clear(),
            What::Operation(operation) => self.polled(operation, &mut broken),
            What::Replica(_, replica) => {
                self.replica(broker, replica, &mut broken);
                let leads = self.leader == Some(broker);
                match replica {
                    Replica::HighWatermark(_) if !leads => {}
                    Replica::HighWatermark(_) | Replica::Truncated { .. } => {
                        self.in_sync(&mut broken);
                    }
                    Replica::BecameLeader { .. } => {
                        self.stored.get_or_insert(BTreeSet::from([broker]));
                        self.in_sync(&mut broken);
                    }
                    _ => {}
                }
            }
            What::Keeper(Keeper::Applied { zxid, digest, .. }) => {
                self.applied
                    .entry(node)
                    .or_default()
                    .push((zxid.0, *digest));
                if self.keepers_differ(node) {
                    broken.insert("INV-KEEPER");
                }
            }
            _ => {}
        }
        broken
    }

    fn replica(&mut self, broker: i32, replica: &Replica, broken: &mut BTreeSet<&'static str>) {
        let log = self.logs.entry(broker).or_default();
        let mark = self.marks.entry(broker).or_default();
        match replica {
            Replica::Appended(append) => {
                self.known.insert(broker);
                log.push((append.leader_epoch.0, append.crc));
            }
            Replica::Truncated { to, .. } => {
                let keep = usize::try_from(to.0).unwrap();
                log.truncate(keep);
                *mark = mark.map(|mark| mark.min(to.0));
                let leads = self.leader == Some(broker) && self.leading.contains(&broker);
                if leads && keep < self.read {
                    broken.insert("INV-READ");
                    self.read = keep;
                }
            }
            Replica::HighWatermark(Offset(now)) => {
                let end = i64::try_from(log.len()).unwrap();
                let known = self.known.contains(&broker);
                if mark.replace(*now).is_some_and(|before| *now < before) || (known && *now > end) {
                    broken.insert("INV-HW");
                }
                if self.leading.contains(&broker) {
                    self.highest_mark = self.highest_mark.max(Some(*now));
                }
                let below = usize::try_from((*now).min(end)).unwrap();
                if self.leader == Some(broker) && below > self.committed.len() {
                    let grown = log[self.committed.len()..below].to_vec();
                    self.committed.extend(grown);
                }
                let both = below.min(self.committed.len());
                if log[..both] != self.committed[..both] {
                    broken.insert("INV-LOG");
                }
            }
            Replica::BecameLeader { leader_epoch, .. } => {
                *mark = None;
                self.leader = Some(broker);
                self.leading.insert(broker);
                let same = log
                    .iter()
                    .zip(&self.committed)
                    .take_while(|(a, b)| a == b)
                    .count();
                if same < self.committed.len() {
                    if !self.kinds[&leader_epoch.0].is_unclean() {
                        broken.insert("INV-COMPLETE");
                        if same < self.read {
                            broken.insert("INV-READ");
                        }
                    }
                    self.read = self.read.min(same);
                    self.committed.truncate(same);
                }
            }
            Replica::BecameFollower { .. } => {
                *mark = None;
                self.leading.remove(&broker);
            }
            _ => {}
        }
    }

    /// Looks at every member from the first record on.
    fn in_sync(&mut self, broken: &mut BTreeSet<&'static str>) {
        for member in self.stored.iter().flatten() {
            if !self.known.contains(member) || self.leaving.contains(member) {
                continue;
            }
            let log = &self.logs[member];
            let has = log.len() >= self.committed.len()
                && log[..self.committed.len()] == self.committed[..];
            if has {
                self.lacking.remove(member);
            } else if self.lacking.insert(*member) {
                broken.insert("INV-STRONG-ISR");
            }
        }
    }

    fn polled(&mut self, operation: &Operation, broken: &mut BTreeSet<&'static str>) {
        let Action::Poll { records, .. } = &operation.action else {
            return;
        };
        let last = records[0].records[0].0.0;
        let end = usize::try_from(last + 1).unwrap();
        self.read = self.read.max(end.min(self.committed.len()));
        if self.highest_mark.is_some_and(|mark| last >= mark) {
            broken.insert("INV-READ-HW");
        }
    }

    /// Whether the newest application of one keeper is not that of another, or leaves one out.
    fn keepers_differ(&self, node: u16) -> bool {
        let own = &self.applied[&node];
        let (last, digest) = own[own.len() - 1];
        let before = own.len().checked_sub(2).map_or(0, |at| own[at].0);
        let others = self.applied.iter().filter(|(other, _)| **other != node);
        others.into_iter().any(|(_, theirs)| {
            let differs = theirs
                .iter()
                .any(|(zxid, other)| *zxid == last && *other != digest);
            let skips = theirs
                .iter()
                .any(|(zxid, _)| before < *zxid && *zxid < last);
            differs || skips
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn the_incremental_form_says_what_the_naive_one_says(acts in prop::collection::vec(act(), 1..60)) {
        let mut invariants = Invariants::new(&manifest());
        let mut shape = Shape::default();
        let mut events: Vec<(u16, What)> = Vec::new();
        let mut step = 0;
        for act in &acts {
            for (node, what) in shape.events(act) {
                step += 1;
                let event = Event { at: step, step, node: Some(NodeId(node)), what: what.clone() };
                events.push((node, what));
                let before: Vec<u64> = invariants.tallies.iter().map(|tally| tally.violations).collect();
                let first = invariants.on_event(&event);
                let after = invariants.tallies.iter().zip(before);
                let said: BTreeSet<&str> = after
                    .filter(|(tally, before)| tally.violations > *before)
                    .map(|(tally, _)| tally.code)
                    .filter(|code| !ELSEWHERE.contains(code))
                    .collect();
                let naive = Naive::of(&events);
                prop_assert_eq!(&said, &naive, "after {:?}", events);
                prop_assert!(first.is_some() || said.is_empty());
                if said.iter().any(|code| !["INV-HW", "INV-READ-HW"].contains(code)) {
                    return Ok(());
                }
            }
        }
    }
}
