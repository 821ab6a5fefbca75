//! White-box invariants, checked after every step from the stream of events; the work is in the change, not in the state.
//!
//! They are the invariants of Kafka's replication specification (`LeaderInIsr`, `StrongIsr`, `LogMatching`,
//! `LeaderCompleteness`, `ConsistentRead`) and of ZooKeeper's (`PrefixConsistency`, `TotalOrder`), said about what nodes note.
//! Left out: `WeakIsr` (a leader's cached in-sync replicas are its own belief) and everything that would need the content
//! of requests.
//!
//! Era: before KIP-101 (0.11) followers cut to their own high watermark, so that most invariants of logs are reported there
//! but not claimed; INV-STRONG-ISR needs KIP-320 as well. An unclean election, or lost disks at as many replicas as `min.insync.replicas` asks for, moves the
//! committed log back to what the new leader has: from there on nothing is held against it.

mod commitment;
mod keepers;
mod late;
mod leadership;
#[cfg(test)]
mod naive;
mod quorum;
mod reads;
mod replica;
mod strong_isr;

use crate::event::{Broker, Event, Process, What};
use crate::manifest::{Manifest, Node, NodeRole};
use crate::verdict::{Answer, Finding, Moment, Verdict, WITNESSES};
use commitment::Commitments;
use keepers::Keepers;
use late::NewestStates;
use leadership::Leaderships;
use protocol::ids::{BrokerId, Offset, TopicPartition};
use quorum::Quorums;

/// An invariant in words.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its code, which is also the anomaly code of its findings.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// One paragraph.
    pub definition: &'static str,
}

/// All invariants.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        code: "INV-LEADER",
        title: "One leader per partition and leader epoch",
        definition: "No two brokers ever lead the same partition in the same leader epoch. All eras.",
    },
    Invariant {
        code: "INV-CONTROLLER",
        title: "One controller per controller epoch",
        definition: "No two brokers are controller in the same controller epoch. All eras.",
    },
    Invariant {
        code: "INV-ISR",
        title: "The leader is in sync",
        definition: "Wherever in-sync replicas are written together with a leader, the leader is one of them. While a partition has no leader the set keeps its last member. All eras.",
    },
    Invariant {
        code: "INV-HW",
        title: "The high watermark only grows",
        definition: "While a replica stays in one role and leader epoch its high watermark does not go back, and it is never above the end of the replica's log. A truncation or a restart lowers it lawfully. All eras.",
    },
    Invariant {
        code: "INV-LOG",
        title: "Logs are equal below the high watermark",
        definition: "Two replicas hold the same batches (offsets, epoch, checksum) below the lower of their high watermarks. Claimed from KIP-101 (0.11) on.",
    },
    Invariant {
        code: "INV-COMPLETE",
        title: "A new leader has everything committed",
        definition: "A replica that becomes leader by anything but an unclean election holds every batch that was ever below a leader's high watermark. Claimed from KIP-101 (0.11) on; excused when as many replicas as min.insync.replicas asks for lost their disks.",
    },
    Invariant {
        code: "INV-QUORUM",
        title: "The leader waits for everybody in sync",
        definition: "Every replica that the controller has written as in sync is one that the leader of that epoch waits for before it calls a record committed, also while a wish of the leader is under way (the maximal in-sync set). Claimed from KIP-497 (2.7) on.",
    },
    Invariant {
        code: "INV-VALID-HW",
        title: "Everybody in sync has what is committed",
        definition: "The log of every in-sync replica reaches the high watermark of the leader of that epoch. A replica whose disk lost data while it was in sync is left out until it has caught up, and so is one that a reassignment is taking away. Claimed from KIP-497 (2.7) on.",
    },
    Invariant {
        code: "INV-STRONG-ISR",
        title: "Everybody in sync has the same committed log",
        definition: "Every member of the in-sync replicas that the keeper has holds the batches that the newest leader has below its high watermark. A member whose disk lost data is left out until it has caught up, and so is one that a reassignment is taking away, and what a member kept of an epoch whose leader lost it and led again in that epoch; after an unclean election what its winner lacks is not committed any more. Claimed from KIP-320 (2.1) on.",
    },
    Invariant {
        code: "INV-READ",
        title: "What was read stays",
        definition: "What a consumer has ever read at an offset is in the log of every later leader that is elected by anything but an unclean election, and no leader cuts it from its own log. That two readers see the same record there is AGREE's. Claimed from KIP-101 (0.11) on; excused when as many replicas as min.insync.replicas asks for lost their disks.",
    },
    Invariant {
        code: "INV-READ-HW",
        title: "Nobody reads above the high watermark",
        definition: "No consumer is given a record at or above the highest high watermark that any leader of the partition has had. All eras.",
    },
    Invariant {
        code: "INV-KEEPER",
        title: "Keepers apply the same transactions in the same order",
        definition: "Every keeper server applies transactions in the order of their zxids, leaves none out that another applied, a zxid stands for the same bytes everywhere; what it leaves behind, znodes and sessions, is the same everywhere; a client that goes on at another server finds there whatever it has seen. All eras.",
    },
];

/// What is known about one invariant in one history.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub code: &'static str,
    /// How often it was looked at.
    pub judged: u64,
    /// How often it broke.
    pub violations: u64,
    /// The first witnesses.
    pub findings: Vec<Finding>,
}

/// Where and when something was noted.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: u64,
    step: u64,
    node: usize,
}

impl Seen {
    fn moment(&self, text: String) -> Spot {
        Spot { seen: *self, text }
    }
}

/// A moment whose node has no name yet.
#[derive(Clone, Debug)]
struct Spot {
    seen: Seen,
    text: String,
}

/// An invariant that broke.
#[derive(Clone, Debug)]
struct Breach {
    code: &'static str,
    partition: Option<TopicPartition>,
    offset: Option<i64>,
    summary: String,
    expected: String,
    found: String,
    story: Vec<Spot>,
}

/// What one event amounted to: how many looks at which invariant, and what broke.
#[derive(Clone, Debug, Default)]
struct Findings {
    looks: [u64; INVARIANTS.len()],
    breaches: Vec<Breach>,
}

impl Findings {
    fn look(&mut self, code: &'static str) {
        if let Some(place) = INVARIANTS.iter().position(|known| known.code == code) {
            self.looks[place] += 1;
        }
    }
}

/// All invariants over one run, fed with its events in order.
#[derive(Clone, Debug)]
pub struct Invariants {
    nodes: Vec<Node>,
    leaderships: Leaderships,
    commitments: Commitments,
    quorums: Quorums,
    keepers: Keepers,
    newest: NewestStates,
    tallies: Vec<Broken>,
    findings: Findings,
}

impl Invariants {
    /// Nothing seen yet.
    pub fn new(manifest: &Manifest) -> Self {
        let tally = |invariant: &Invariant| Broken {
            code: invariant.code,
            judged: 0,
            violations: 0,
            findings: Vec::new(),
        };
        Self {
            nodes: manifest.nodes.clone(),
            leaderships: Leaderships::default(),
            commitments: Commitments::new(manifest),
            quorums: Quorums::default(),
            keepers: Keepers::default(),
            newest: NewestStates::default(),
            tallies: INVARIANTS.iter().map(tally).collect(),
            findings: Findings::default(),
        }
    }

    /// Takes in an event; hands back the first invariant that it broke.
    pub fn on_event(&mut self, event: &Event) -> Option<Finding> {
        let node = usize::from(event.node?.0);
        let seen = Seen {
            at: event.at,
            step: event.step,
            node,
        };
        match &event.what {
            What::Replica(partition, replica) => {
                let NodeRole::Broker(broker) = self.nodes.get(node)?.role else {
                    return None;
                };
                let who = (seen, broker);
                let findings = &mut self.findings;
                self.leaderships
                    .on_replica(who, partition, replica, findings);
                self.commitments
                    .on_replica(who, partition, replica, findings);
                self.quorums.on_replica(who, partition, replica, findings);
            }
            What::Controller(controller) if self.newest.is_late(controller) => {
                self.commitments.on_late(controller);
            }
            What::Controller(controller) => {
                self.leaderships
                    .on_controller(seen, controller, &mut self.findings);
                self.commitments
                    .on_controller(seen, controller, &mut self.findings);
                self.quorums
                    .on_controller(seen, controller, &mut self.findings);
            }
            What::Keeper(keeper) => self.keepers.on_keeper(seen, keeper, &mut self.findings),
            What::Operation(operation) => {
                self.commitments
                    .on_operation(seen, operation, &mut self.findings);
            }
            What::Process(Process::Died { how, .. }) if how == "power" => {
                if let NodeRole::Broker(broker) = self.nodes.get(node)?.role {
                    self.commitments.on_power_loss(broker);
                }
                return None;
            }
            What::Broker(Broker::Registered { .. }) => {
                if let NodeRole::Broker(broker) = self.nodes.get(node)?.role {
                    self.commitments.on_registered(broker);
                }
                return None;
            }
            What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Client(_)
            | What::Process(_)
            | What::Fault(_)
            | What::Mark(_)
            | What::Phase(_) => return None,
        }
        if self.findings.breaches.is_empty() {
            return None;
        }
        self.tally()
    }

    fn tally(&mut self) -> Option<Finding> {
        let mut first = None;
        for breach in std::mem::take(&mut self.findings.breaches) {
            let place = self
                .tallies
                .iter()
                .position(|tally| tally.code == breach.code)?;
            let finding = self.finding(breach);
            let tally = &mut self.tallies[place];
            tally.violations += 1;
            if tally.findings.len() < WITNESSES {
                tally.findings.push(finding.clone());
            }
            first = first.or(Some(finding));
        }
        first
    }

    fn finding(&self, breach: Breach) -> Finding {
        let moment = |spot: Spot| Moment {
            at: spot.seen.at,
            step: spot.seen.step,
            node: self
                .nodes
                .get(spot.seen.node)
                .map_or_else(String::new, |node| node.name.clone()),
            text: spot.text,
        };
        Finding {
            anomaly: breach.code.to_owned(),
            summary: breach.summary,
            partition: breach.partition,
            offset: breach.offset.map(Offset),
            value: None,
            expected: breach.expected,
            seen: breach.found,
            story: breach.story.into_iter().map(moment).collect(),
            cause: None,
        }
    }

    /// What is known about each invariant, in the order of [`INVARIANTS`].
    pub fn into_broken(mut self) -> Vec<Broken> {
        for (tally, looks) in self.tallies.iter_mut().zip(self.findings.looks) {
            tally.judged = looks;
        }
        self.tallies
    }
}

/// Why the protocol of an era does not promise an invariant.
fn not_promised(code: &str, era: &str) -> Option<&'static str> {
    match (code, era) {
        ("INV-LOG" | "INV-COMPLETE" | "INV-STRONG-ISR" | "INV-READ", "0.8" | "0.9") => {
            Some("followers cut to their own high watermark before KIP-101")
        }
        ("INV-STRONG-ISR", "1.0") => {
            Some("a leader served followers that were ahead of it in epochs before KIP-320")
        }
        ("INV-QUORUM" | "INV-VALID-HW", "0.8" | "0.9" | "1.0") => {
            Some("leaders waited for the in-sync set they knew before KIP-497")
        }
        _ => None,
    }
}

/// The verdicts about the invariants.
pub fn verdicts(manifest: &Manifest, broken: &[Broken]) -> Vec<Verdict> {
    use crate::manifest::Stream;
    let judge = |invariant: &Invariant| {
        let keeper = invariant.code == "INV-KEEPER";
        let (stream, name) = if keeper {
            (Stream::Keepers, "keepers")
        } else {
            (Stream::Brokers, "brokers")
        };
        let Some(known) = broken.iter().find(|known| known.code == invariant.code) else {
            return Verdict::unknown(
                invariant.code,
                format!("the history has no stream `{name}`"),
            );
        };
        if !manifest.has(stream) {
            return Verdict::unknown(
                invariant.code,
                format!("the history has no stream `{name}`"),
            );
        }
        let mut verdict = Verdict::new(invariant.code);
        verdict.judged = known.judged;
        if let Some(why) = not_promised(invariant.code, manifest.era.as_str()) {
            verdict.answer = Answer::NotClaimed(why.to_owned());
            verdict.excused_total = known.violations;
            verdict.excused.clone_from(&known.findings);
            for finding in &mut verdict.excused {
                finding.cause = Some(why.to_owned());
            }
        } else if known.violations > 0 {
            verdict.answer = Answer::Violated;
            verdict.violations = known.violations;
            verdict.findings.clone_from(&known.findings);
        }
        verdict
    };
    INVARIANTS.iter().map(judge).collect()
}

/// `broker 2`.
fn broker_name(broker: BrokerId) -> String {
    format!("broker {broker}")
}
