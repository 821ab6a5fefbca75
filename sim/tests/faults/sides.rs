//! What the keys of a kind choose between, where the kinds' own cases show one side only.

use crate::Case;
use crate::seen::{ALWAYS, Seen};
use history::event::{Client, Controller, Process, Replica, What};
use std::ops::Range;

type Sides = Vec<(&'static str, Case)>;

pub(crate) fn all() -> Sides {
    let parts = [
        links(),
        crashes(),
        disks(),
        clocks_and_threads(),
        messages(),
        orders(),
        times(),
    ];
    parts.into_iter().flatten().collect()
}

fn links() -> Sides {
    vec![
        (
            "a partition may lose what the target sends",
            Case::new(
                "kind = 'partition', target = 'client p1', direction = 'from', \
                 for = '3s', at = '5s'",
                |seen| seen.appended("b1", 6..8).is_empty() && seen.acknowledged(6..8) == 0,
            ),
        ),
        (
            "a partition may lose what is sent to the target",
            Case::new(
                "kind = 'partition', target = 'client p1', direction = 'to', \
                 for = '3s', at = '5s'",
                |seen| {
                    let arrived = seen.appended("b1", 5..8).len() > seen.acknowledged(5..8);
                    arrived && seen.acknowledged(6..8) == 0
                },
            ),
        ),
        (
            "a partition may be from one node alone",
            Case::new(
                "kind = 'partition', target = 'broker 2', from = 'broker 1', \
                 for = '18s', at = '5s'",
                |seen| {
                    let copies = |broker| !seen.appended(broker, 14..20).is_empty();
                    let counted_out = seen.somebody(ALWAYS, |what| {
                        matches!(what, What::Controller(Controller::BrokerDown { .. }))
                    });
                    !copies("b2") && copies("b3") && !counted_out
                },
            )
            .brokers("'replica.lag.time.max.ms' = 3000"),
        ),
        (
            "a partition may lose what is sent either way",
            Case::new(
                "kind = 'partition', target = 'client p1', for = '3s', at = '5s'",
                |seen| seen.appended("b1", 6..8).is_empty() && seen.acknowledged(5..8) == 0,
            )
            // Answers are on their way when the cut comes, and what was sent before it has arrived.
            .besides(
                "kind = 'delay', from = 'broker 1', to = 'client p1', by = '500ms', at = '1s'",
            ),
        ),
        (
            "a link is slow one way",
            Case::new(
                "kind = 'delay', from = 'broker 1', to = 'client p1', by = '1s', at = '5s'",
                |seen| seen.acknowledged(5..6) < 10 && seen.appended("b1", 5..6).len() >= 4,
            ),
        ),
    ]
}

/// What a loss of power leaves.
fn crashes() -> Sides {
    vec![
        (
            "a power failure may keep unflushed bytes",
            Case::new(
                "kind = 'power_failure', target = 'broker 2', unflushed = 'kept', \
                 restart_after = '7s', at = '5s'",
                |seen| {
                    seen.died("b2") == Some(("power".to_owned(), 0))
                        && seen.found("b2").is_some_and(|end| end > 200)
                },
            ),
        ),
        (
            "a power failure may tear the last write",
            Case::new(
                "kind = 'power_failure', target = 'broker 2', unflushed = 'torn', \
                 restart_after = '7s', at = '5s'",
                |seen| {
                    seen.one("b2", ALWAYS, |what| matches!(what, What::Replica(_, Replica::Truncated { rule, .. }) if rule == "recovery"))
                },
            ),
        ),
        (
            "a power failure draws what it keeps of each file",
            Case::new(
                "kind = 'power_failure', target = 'broker 3', restart_after = '7s', at = '5s'",
                |seen| {
                    seen.died("b3").is_some_and(|(_, lost)| lost > 0)
                        && seen.found("b3").is_some_and(|end| (1..200).contains(&end))
                },
            ),
        ),
    ]
}

/// What else a node may find on its disk.
fn disks() -> Sides {
    vec![
        (
            "a node may come back with an empty disk",
            Case::new(
                "kind = 'restart', target = 'broker 2', restart_after = '7s', \
                 disk = 'empty', at = '5s'",
                |seen| seen.started("b2", ALWAYS) && seen.found("b2").is_none_or(|end| end == 0),
            ),
        ),
        (
            "a node that is healed keeps the disk its fault chose",
            Case::new(
                "kind = 'kill', target = 'broker 2', disk = 'older', at = '15s'",
                |seen| seen.found("b2").is_some_and(|end| (50..200).contains(&end)),
            )
            .besides("kind = 'snapshot_disk', target = 'broker 2', at = '2s'"),
        ),
        (
            "who was stopped may come back early, and with an empty disk",
            Case::new(
                "kind = 'stop', target = 'broker 2', restart_after = '7s', disk = 'empty', \
                 at = '5s'",
                |seen| seen.started("b2", 10..24) && seen.found("b2").is_none_or(|end| end == 0),
            ),
        ),
        (
            "who is started may have an empty disk",
            Case::new(
                "kind = 'start', target = 'broker 2', disk = 'empty', at = '10s'",
                |seen| seen.started("b2", 10..24) && seen.found("b2").is_none_or(|end| end == 0),
            )
            .besides("kind = 'kill', target = 'broker 2', at = '5s'"),
        ),
        (
            "what cuts a file leaves its beginning",
            Case::new(
                "kind = 'corrupt', target = 'broker 2', file = 'log', \
                 partition = 'orders-0', damage = 'cut', bytes = 1000, at = '11s'",
                |seen| {
                    let had = seen.appended("b2", 0..10).last().unwrap().last_offset.0 + 1;
                    seen.found("b2")
                        .is_some_and(|end| (had - 10..had).contains(&end))
                },
            )
            .besides("kind = 'kill', target = 'broker 2', at = '10s', restart_after = '7s'"),
        ),
    ]
}

fn clocks_and_threads() -> Sides {
    vec![
        (
            "a thread may stand still until the fault ends",
            Case::new(
                "kind = 'lane_delay', target = 'broker 1', lane = 'request_handler', \
                 for = '3s', at = '5s'",
                |seen| {
                    seen.appended("b1", 6..8).is_empty() && seen.appended("b1", 9..12).len() > 100
                },
            ),
        ),
        (
            "a clock may run fast",
            Case::new(
                "kind = 'clock_drift', target = 'client p1', ppm = 500000, for = '8s', at = '4s'",
                |seen| seen.sent(5..11) > 400 && seen.sent(14..20) < 310,
            ),
        ),
    ]
}

/// What an operator asks for.
fn orders() -> Sides {
    vec![
        (
            "the first of the replicas is the preferred leader",
            Case::new(
                "kind = 'reassign', partition = 'orders-0', replicas = [2, 1, 3], at = '5s'",
                |seen| {
                    seen.one("b2", 15..20, |what| {
                        matches!(what, What::Replica(_, Replica::BecameLeader { .. }))
                    })
                },
            )
            .besides("kind = 'elect_preferred', partition = 'orders-0', at = '15s'"),
        ),
        (
            "records may be deleted up to the high watermark",
            Case::new(
                "kind = 'delete_records', partition = 'orders-0', before = 'high watermark', \
                 at = '5s'",
                |seen| {
                    seen.one("b1", 5..6, |what| {
                        matches!(what, What::Replica(_, Replica::LogStart(start)) if start.0 > 200)
                    })
                },
            ),
        ),
    ]
}

fn messages() -> Sides {
    vec![
        (
            "a message is picked by its partition",
            Case::new(
                "kind = 'hold', message = 'Fetch request', from = 'broker 2', \
                 partition = 'orders-0', count = 1000, at = '5s'",
                |seen| seen.appended("b2", 8..20).is_empty(),
            ),
        ),
        (
            "a message is picked by its znode",
            Case::new(
                "kind = 'hold', message = 'keeper request', \
                 path = '/brokers/topics/orders', count = 1000, at = '1s'",
                |seen| {
                    !seen.somebody(2..20, |what| {
                        matches!(what, What::Replica(partition, Replica::BecameLeader { .. })
                            if partition.topic.as_str() == "orders")
                    })
                },
            )
            .besides("kind = 'kill', target = 'broker 1', at = '2s'"),
        ),
        (
            "the first messages may pass",
            Case::new(
                "kind = 'drop', message = 'Produce request', from = 'client p1', \
                 skip = 100, at = '1s'",
                |seen| {
                    let retried = |seconds| {
                        seen.one("p1", seconds, |what| {
                            matches!(what, What::Client(Client::Retry { .. }))
                        })
                    };
                    !retried(0..2) && retried(2..5)
                },
            ),
        ),
        (
            "so many messages are hit and no more",
            Case::new(
                "kind = 'drop', message = 'Produce response', to = 'client p1', count = 3, \
                 at = '5s'",
                |seen| {
                    let values = seen.values("b1");
                    let copies = |value| values.iter().filter(|other| *other == value).count();
                    // The record whose answer is dropped each time is written once more each time.
                    values.iter().map(copies).max() == Some(4)
                },
            ),
        ),
    ]
}

fn dies(seen: &Seen, node: &str, seconds: Range<u64>) -> bool {
    seen.one(node, seconds, |what| {
        matches!(what, What::Process(Process::Died { .. }))
    })
}

/// When a fault comes, how often, and how it ends.
fn times() -> Sides {
    vec![
        (
            "a fault may last until a condition is true",
            Case::new(
                "kind = 'pause', target = 'broker 2', at = '5s', \
                 until = { sent = { producer = 'p1', count = 400 } }",
                |seen| {
                    seen.appended("b2", 6..7).is_empty() && seen.appended("b2", 9..12).len() > 100
                },
            ),
        ),
        (
            "a fault may come again, so many times",
            Case::new(
                "kind = 'restart', target = 'client p1', every = '4s', times = 3, at = '2s'",
                |seen| {
                    [2..3, 6..7, 10..11].map(|then| dies(seen, "p1", then)) == [true; 3]
                        && !dies(seen, "p1", 11..24)
                },
            ),
        ),
        (
            "a fault may come again for ever",
            Case::new(
                "kind = 'restart', target = 'client p1', every = '6s', at = '2s'",
                |seen| [2..3, 8..9, 14..15, 20..21].map(|then| dies(seen, "p1", then)) == [true; 4],
            ),
        ),
        (
            "a fault may come some time after a condition",
            Case::new(
                "kind = 'kill', target = 'broker 2', after = '3s', \
                 when = { log_end = { partition = 'orders-0', broker = 1, at_least = 100 } }",
                |seen| !dies(seen, "b2", 0..4) && dies(seen, "b2", 4..7),
            ),
        ),
        (
            "a fault may come at a time that is drawn",
            Case::new(
                "kind = 'kill', target = 'broker 2', between = ['4s', '20s']",
                |seen| !dies(seen, "b2", 0..5) && dies(seen, "b2", 5..19),
            ),
        ),
        (
            "what is permanent does not heal",
            Case::new(
                "kind = 'kill', target = 'broker 2', permanent = true, at = '5s'",
                |seen| dies(seen, "b2", 5..6) && !seen.started("b2", 5..1000),
            ),
        ),
        (
            "what is not permanent heals",
            Case::new("kind = 'kill', target = 'broker 2', at = '5s'", |seen| {
                !seen.started("b2", 5..24) && seen.started("b2", 24..1000)
            }),
        ),
        (
            "what lasts is healed",
            Case::new(
                "kind = 'hold', message = 'Fetch request', from = 'broker 2', \
                 count = 1000, at = '15s'",
                |seen| {
                    seen.appended("b2", 16..24).is_empty()
                        && seen.one("b2", 24..100, |what| {
                            matches!(what, What::Replica(_, Replica::Appended(_)))
                        })
                },
            ),
        ),
    ]
}
