//! Every kind of fault has an effect that the same run without it does not have.
//!
//! The effect is looked for in what nodes and clients say, not in the simulator's own record of the fault, so that a fault
//! that does nothing any more is found out, whatever it claims.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod seen;
mod settings;
mod sides;

use history::event::{Broker, Client, Controller, ElectionKind, Keeper, Process, Replica, What};
use protocol::error_code::ErrorCode;
use seen::{ALWAYS, Seen};
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::format::FaultKind;
use sim::scenario::parse::parse;
use sim::scenario::plan::{FaultPlan, Plan};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// A dead broker is counted out after a few seconds.
const SHORT: &str = "'zookeeper.session.timeout.ms' = 6000";
/// Nobody recognises what arrives twice or in the wrong order.
const PLAIN: &str = "acks = 'all', 'enable.idempotence' = false";

static NOTHING_HAPPENS: OnceLock<Seen> = OnceLock::new();

fn run(plan: Plan) -> Seen {
    Seen::new(sim::run::run(&Arc::new(plan), 1).history)
}

fn is_it(fault: &FaultPlan) -> bool {
    fault.name.as_deref() == Some("it")
}

/// The fault under test is called `it`; whatever else it needs is there with and without it.
struct Case {
    it: &'static str,
    others: Vec<&'static str>,
    /// Settings of all brokers.
    brokers: &'static str,
    /// Settings of the topic.
    topic: &'static str,
    seconds: u64,
    effect: fn(&Seen) -> bool,
}

impl Case {
    fn new(it: &'static str, effect: fn(&Seen) -> bool) -> Self {
        Self {
            it,
            others: Vec::new(),
            brokers: "",
            topic: "",
            seconds: ALWAYS.end,
            effect,
        }
    }

    fn besides(mut self, other: &'static str) -> Self {
        self.others.push(other);
        self
    }

    fn brokers(self, brokers: &'static str) -> Self {
        Self { brokers, ..self }
    }

    fn topic(self, topic: &'static str) -> Self {
        Self { topic, ..self }
    }

    fn for_seconds(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// A producer at 50 records a second to a partition on brokers 1, 2 and 3, which broker 1 leads; broker 4 is not there.
    fn plan(&self, without: bool) -> Plan {
        let (brokers, topic, seconds) = (self.brokers, self.topic, self.seconds);
        let others = self.others.iter().map(|other| format!("{{ {other} }}, "));
        let faults = format!(
            "{}{{ name = 'it', {} }}",
            others.collect::<String>(),
            self.it
        );
        let text = format!(
            "title = 't'
             question = 'q'
             duration = '{seconds}s'
             unfaithful = true
             topic = [{{ name = 'orders', replicas = [[1, 2, 3]], config = {{ {topic} }} }}]
             cluster = {{ brokers = 4, absent = [4], config = {{ {SHORT}, {brokers} }} }}
             producer = [{{ name = 'p1', topic = 'orders', rate = 50, config = {{ {PLAIN} }} }}]
             fault = [{faults}]"
        );
        let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}\n{text}"));
        let vocabulary = Vocabulary {
            guarantees: &[],
            ledger: &[],
        };
        let checked = check(&file, "faults.toml", &vocabulary);
        assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
        let mut plan = checked.plans.into_iter().next().unwrap();
        if without {
            plan.faults.retain(|fault| !is_it(fault));
        }
        plan
    }

    /// Without the fault it is the run in which nothing happens.
    fn is_plain(&self) -> bool {
        self.others.is_empty() && self.brokers.is_empty() && self.topic.is_empty()
    }

    fn check(&self) -> Result<(), String> {
        let plan = self.plan(false);
        let index = plan.faults.iter().position(is_it).unwrap();
        let with = run(plan);
        let effect_without = if self.is_plain() {
            (self.effect)(NOTHING_HAPPENS.get_or_init(|| run(self.plan(true))))
        } else {
            (self.effect)(&run(self.plan(true)))
        };
        match ((self.effect)(&with), effect_without) {
            (true, false) if with.is_witnessed(index) => Ok(()),
            (true, false) => Err("the run does not say that the fault had an effect".to_owned()),
            (true, true) => Err("the effect is there without the fault, too".to_owned()),
            (false, _) => Err("the fault has no effect".to_owned()),
        }
    }
}

/// The match has no catch-all: a new kind needs a case.
#[expect(clippy::too_many_lines, reason = "one arm a kind, each short")]
fn case(kind: FaultKind) -> Case {
    match kind {
        FaultKind::Kill => Case::new("kind = 'kill', target = 'broker 1', at = '5s'", |seen| {
            seen.died("b1").is_some_and(|(how, _)| how == "process")
        }),
        FaultKind::PowerFailure => Case::new(
            "kind = 'power_failure', target = 'broker 1', unflushed = 'lost', \
                 at = '5s'",
            |seen| {
                seen.died("b1")
                    .is_some_and(|(how, lost)| how == "power" && lost > 0)
            },
        ),
        FaultKind::Stop => Case::new("kind = 'stop', target = 'broker 1', at = '5s'", |seen| {
            seen.one("b1", ALWAYS, |what| {
                matches!(what, What::Process(Process::Stopped))
            })
        }),
        FaultKind::Start => Case::new("kind = 'start', target = 'broker 4', at = '5s'", |seen| {
            seen.one("b4", ALWAYS, |what| {
                matches!(what, What::Broker(Broker::Registered { .. }))
            })
        }),
        FaultKind::Restart => Case::new(
            "kind = 'restart', target = 'broker 2', restart_after = '7s', at = '5s'",
            |seen| seen.died("b2").is_some() && seen.found("b2").is_some(),
        ),
        FaultKind::Pause => Case::new(
            "kind = 'pause', target = 'broker 2', for = '3s', at = '5s'",
            |seen| {
                let in_pause = seen.appended("b2", 6..8).len();
                in_pause == 0 && seen.appended("b2", 9..11).len() > 50
            },
        ),
        FaultKind::Partition => Case::new(
            "kind = 'partition', target = 'broker 2', for = '10s', at = '5s'",
            |seen| {
                seen.somebody(ALWAYS, |what| {
                    matches!(what, What::Controller(Controller::BrokerDown { broker }) if broker.0 == 2)
                }) && seen.died("b2").is_none()
            },
        ),
        FaultKind::Delay => Case::new(
            "kind = 'delay', from = 'client p1', to = 'broker 1', by = '300ms', \
                 for = '5s', at = '5s'",
            |seen| seen.slowest(6..9) >= 300 && seen.slowest(15..20) < 300,
        ),
        FaultKind::Bandwidth => Case::new(
            "kind = 'bandwidth', from = 'client p1', to = 'broker 1', \
                 bandwidth = 2000, for = '5s', at = '5s'",
            |seen| seen.slowest(6..9) >= 500 && seen.slowest(18..22) < 300,
        ),
        FaultKind::Loss => Case::new(
            "kind = 'loss', from = 'client p1', to = 'broker 1', \
                 per_mille = 300, for = '5s', at = '5s'",
            |seen| seen.slowest(5..9) >= 200 && seen.slowest(15..20) < 200,
        ),
        FaultKind::Hold => Case::new(
            "kind = 'hold', message = 'Produce request', from = 'client p1', \
                 for = '3s', at = '5s'",
            |seen| seen.slowest(5..6) >= 2500 && seen.slowest(10..20) < 300,
        ),
        FaultKind::Drop => Case::new(
            "kind = 'drop', message = 'Produce response', to = 'client p1', \
                 at = '5s'",
            |seen| {
                seen.one("p1", ALWAYS, |what| {
                    matches!(what, What::Client(Client::Retry { .. }))
                })
            },
        ),
        FaultKind::Duplicate => Case::new(
            "kind = 'duplicate', message = 'Produce request', \
                 from = 'client p1', at = '5s'",
            |seen| seen.values("b1").windows(2).any(|pair| pair[0] == pair[1]),
        ),
        FaultKind::Reorder => Case::new(
            "kind = 'reorder', message = 'Produce request', from = 'client p1', \
                 at = '5s'",
            |seen| !seen.values("b1").is_sorted(),
        ),
        FaultKind::LaneDelay => Case::new(
            "kind = 'lane_delay', target = 'broker 1', lane = 'request_handler', \
                 by = '400ms', for = '5s', at = '5s'",
            |seen| seen.slowest(6..9) >= 400 && seen.slowest(15..20) < 400,
        ),
        FaultKind::ExpireSession => Case::new(
            "kind = 'expire_session', target = 'broker 2', at = '5s'",
            |seen| {
                let keepers = seen.somebody(5..6, |what| {
                    matches!(what, What::Keeper(Keeper::SessionExpired(_)))
                });
                let told = seen.one("b2", ALWAYS, |what| {
                    matches!(what, What::Broker(Broker::SessionExpired))
                });
                keepers && told && seen.died("b2").is_none()
            },
        ),
        FaultKind::ClockJump => Case::new(
            "kind = 'clock_jump', target = 'broker 1', by = '3h', at = '5s'",
            |seen| {
                seen.one("b1", 0..45, |what| {
                    matches!(what, What::Replica(_, Replica::LogStart(_)))
                })
            },
        )
        .brokers(
            "'log.retention.check.interval.ms' = 1000, 'log.roll.ms' = 2000, \
             'log.segment.delete.delay.ms' = 1000",
        )
        .topic("'retention.ms' = 3600000")
        // The first check comes half a minute after the start of the broker (`InitialTaskDelayMs`).
        .for_seconds(45),
        FaultKind::ClockDrift => Case::new(
            "kind = 'clock_drift', target = 'client p1', ppm = -500000, \
                 for = '8s', at = '4s'",
            |seen| seen.sent(5..11) < 200 && seen.sent(14..20) > 290,
        ),
        FaultKind::SlowDisk => Case::new(
            "kind = 'slow_disk', target = 'broker 1', factor = 50000, \
                 for = '5s', at = '5s'",
            |seen| seen.slowest(6..9) >= 100 && seen.slowest(18..22) < 100,
        ),
        FaultKind::StuckDisk => Case::new(
            "kind = 'stuck_disk', target = 'broker 1', for = '5s', at = '5s'",
            |seen| {
                let flushed = |seconds| {
                    seen.one("b1", seconds, |what| {
                        matches!(what, What::Replica(_, Replica::Flushed(_)))
                    })
                };
                !flushed(7..9) && flushed(1..4)
            },
        )
        .topic("'flush.messages' = 1"),
        FaultKind::FullDisk => Case::new(
            "kind = 'full_disk', target = 'broker 1', for = '5s', at = '5s'",
            |seen| {
                seen.one("b1", ALWAYS, |what| {
                    matches!(what, What::Broker(Broker::LogDirOffline(_)))
                })
            },
        ),
        FaultKind::BrokenDisk => Case::new(
            "kind = 'broken_disk', target = 'broker 1', for = '5s', at = '5s'",
            |seen| {
                seen.one("b1", ALWAYS, |what| {
                    matches!(what, What::Broker(Broker::LogDirOffline(_)))
                })
            },
        ),
        FaultKind::SnapshotDisk => Case::new(
            "kind = 'snapshot_disk', target = 'broker 2', at = '5s'",
            |seen| seen.found("b2").is_some_and(|end| end > 200),
        )
        .besides(
            "kind = 'restart', target = 'broker 2', at = '10s', \
                 restart_after = '7s', disk = 'older'",
        ),
        FaultKind::Corrupt => Case::new(
            "kind = 'corrupt', target = 'broker 2', file = 'log', \
                 partition = 'orders-0', damage = 'cut', bytes = 1000, at = '11s'",
            |seen| {
                let had = seen.appended("b2", 0..10).last().unwrap().last_offset.0 + 1;
                seen.found("b2").is_some_and(|end| end < had)
            },
        )
        .besides("kind = 'kill', target = 'broker 2', at = '10s', restart_after = '7s'"),
        FaultKind::ElectPreferred => Case::new(
            "kind = 'elect_preferred', partition = 'orders-0', at = '18s'",
            |seen| elected(seen, ElectionKind::Preferred),
        )
        .besides(
            "kind = 'restart', target = 'broker 1', at = '2s', \
                 restart_after = '10s'",
        ),
        FaultKind::ElectUnclean => Case::new(
            "kind = 'elect_unclean', partition = 'orders-0', at = '20s'",
            |seen| elected(seen, ElectionKind::Unclean),
        )
        .besides("kind = 'kill', target = 'broker 2, broker 3', at = '1s'")
        .besides("kind = 'kill', target = 'broker 1', at = '10s'")
        .besides("kind = 'start', target = 'broker 2, broker 3', at = '10s'"),
        FaultKind::AddPartitions => Case::new(
            "kind = 'add_partitions', topic = 'orders', partitions = 2, at = '5s'",
            |seen| {
                seen.somebody(ALWAYS, |what| {
                    matches!(what, What::Replica(partition, Replica::BecameLeader { .. })
                        if partition.to_string() == "orders-1")
                })
            },
        ),
        FaultKind::AlterConfig => Case::new(
            "kind = 'alter_config', topic = 'orders', config = { 'min.insync.replicas' = 3 }, at = '5s'",
            |seen| {
                seen.somebody(0..40, |what| {
                    matches!(what, What::Replica(_, Replica::AppendRefused { error })
                        if *error == ErrorCode::NotEnoughReplicas)
                })
            },
        )
        .besides("kind = 'kill', target = 'broker 3', at = '1s'")
        // What is under way when the broker dies waits for its request's time-out before a new try is refused.
        .for_seconds(40),
        FaultKind::DeleteRecords => Case::new(
            "kind = 'delete_records', partition = 'orders-0', before = 50, at = '5s'",
            |seen| {
                seen.one("b1", ALWAYS, |what| {
                    matches!(what, What::Replica(_, Replica::LogStart(start)) if start.0 == 50)
                })
            },
        ),
        FaultKind::Reassign => Case::new(
            "kind = 'reassign', partition = 'orders-0', replicas = [2, 1], at = '5s'",
            |seen| {
                seen.one("b3", ALWAYS, |what| {
                    matches!(what, What::Replica(_, Replica::Stopped { deleted: true }))
                })
            },
        ),
        FaultKind::CancelReassignment => Case::new(
            "kind = 'cancel_reassignment', partition = 'orders-0', at = '8s'",
            |seen| seen.appended("b4", 20..24).is_empty(),
        )
        .besides("kind = 'start', target = 'broker 4', at = '1s'")
        .besides(
            "kind = 'hold', message = 'Fetch response', to = 'broker 4', count = 1000, \
             at = '3s', for = '8s'",
        )
        .besides("kind = 'reassign', partition = 'orders-0', replicas = [1, 2, 4], at = '5s'"),
        FaultKind::DeleteTopic => Case::new(
            "kind = 'delete_topic', topic = 'orders', at = '5s'",
            |seen| {
                seen.one("b2", ALWAYS, |what| {
                    matches!(what, What::Replica(_, Replica::Stopped { deleted: true }))
                })
            },
        ),
    }
}

fn elected(seen: &Seen, kind: ElectionKind) -> bool {
    seen.somebody(ALWAYS, |what| {
        matches!(what, What::Controller(Controller::LeaderElected(election)) if election.kind == kind)
    })
}

/// Works the cases off on all cores; fails with all that failed.
fn check_all(cases: &[(String, Case)]) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = case.check() {
                        failed.lock().unwrap().push(format!("{name}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_kind_of_fault_has_an_effect_of_its_own() {
    let cases: Vec<(String, Case)> = FaultKind::ALL
        .into_iter()
        .map(|kind| (kind.word().to_owned(), case(kind)))
        .collect();
    check_all(&cases);
}

#[test]
fn every_side_of_a_fault_has_an_effect_of_its_own() {
    let cases: Vec<(String, Case)> = sides::all()
        .into_iter()
        .map(|(name, case)| (name.to_owned(), case))
        .collect();
    check_all(&cases);
}

/// A run that claims an effect of everything would never be unknown.
#[test]
fn what_changes_nothing_is_not_said_to_have_had_an_effect() {
    let mut case = Case::new(
        "kind = 'hold', message = 'Fetch response', to = 'client p1', at = '5s'",
        |_| false,
    );
    // Broker 4 is not there, and nobody sends markers of transactions.
    case.others = vec![
        "kind = 'kill', target = 'broker 4', at = '5s'",
        "kind = 'pause', target = 'broker 4', for = '1s', at = '5s'",
        "kind = 'slow_disk', target = 'broker 4', factor = 9, at = '5s'",
        "kind = 'partition', target = 'broker 4', from = 'client p1', at = '5s'",
        "kind = 'delay', from = 'broker 4', to = 'client p1', by = '1s', at = '5s'",
        "kind = 'lane_delay', target = 'broker 1', lane = 'transaction_markers', at = '5s'",
        "kind = 'corrupt', target = 'broker 4', file = 'clean_shutdown', at = '5s'",
        "kind = 'expire_session', target = 'broker 4', at = '5s'",
        "kind = 'cancel_reassignment', partition = 'orders-0', at = '5s'",
        "kind = 'kill', target = 'broker 1', \
         when = { log_end = { partition = 'orders-0', at_least = 1000000 } }",
    ];
    let plan = case.plan(false);
    let count = plan.faults.len();
    let seen = run(plan);
    for index in 0..count {
        assert!(!seen.is_witnessed(index), "fault {index}");
    }
}
