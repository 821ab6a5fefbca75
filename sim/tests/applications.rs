//! What applications do around their clients: pauses, second attempts, a worker thread, commits now and then.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each helper picks one kind of operation"
)]

use history::event::What;
use history::operation::{Action, Operation, Stage};
use protocol::time::Span;
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse::parse;

/// The operations of a run, each with its time.
fn operations(workload: &str) -> Vec<(u64, Operation)> {
    let scenario = format!(
        r#"
title = "applications"
question = "What do they do?"
duration = "20s"
cluster = {{ brokers = 1, keepers = 1, config = {{ "offsets.topic.replication.factor" = 1 }} }}
topic = [{{ name = "orders" }}]
{workload}"#
    );
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&parse(&scenario).unwrap(), "applications.toml", &vocabulary);
    assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
    let run = sim::run::run(&checked.plans[0].clone().into(), 1);
    let operation = |event: history::event::Event| match event.what {
        What::Operation(operation) => Some((event.at, operation)),
        _ => None,
    };
    run.history
        .events
        .into_iter()
        .filter_map(operation)
        .collect()
}

const PRODUCER: &str = r#"
[[producer]]
name = "p1"
topic = "orders"
rate = 100
count = 300
config = { acks = "all" }
"#;

fn sends(operations: &[(u64, Operation)]) -> Vec<(u64, u64)> {
    let send = |(at, operation): &(u64, Operation)| match operation.action {
        Action::Send { value, .. } if operation.stage == Stage::Invoke => {
            Some((*at, value.number()))
        }
        _ => None,
    };
    operations.iter().filter_map(send).collect()
}

/// Commits that the coordinator took: how far each reaches.
fn commits(operations: &[(u64, Operation)]) -> Vec<i64> {
    let commit = |(_, operation): &(u64, Operation)| match &operation.action {
        Action::Commit { offsets, .. } if operation.stage == Stage::Ok => {
            Some(offsets.first()?.1.0)
        }
        _ => None,
    };
    operations.iter().filter_map(commit).collect()
}

#[test]
fn an_idle_producer_sends_nothing_for_its_time() {
    let idle = "\n[[producer]]\nname = \"p1\"\ntopic = \"orders\"\nrate = 100\ncount = 10\nidle = { after = 4, for = \"3s\" }\n";
    let sent = sends(&operations(idle));
    assert_eq!(sent.len(), 10);
    let gaps: Vec<Span> = sent
        .windows(2)
        .map(|two| Span(two[1].0 - two[0].0))
        .collect();
    for (index, gap) in gaps.iter().enumerate() {
        let expected = if index == 3 {
            Span::millis(3010)
        } else {
            Span::millis(10)
        };
        assert_eq!(*gap, expected, "after record {index}");
    }
}

#[test]
fn an_application_that_resends_hands_the_same_record_over_again() {
    let failing = r#"
[[producer]]
name = "p1"
topic = "orders"
rate = 1
count = 1
on_failure = "resend"
config = { acks = "all", "request.timeout.ms" = 2000, "delivery.timeout.ms" = 2000, "linger.ms" = 0 }

[[fault]]
kind = "hold"
message = "Produce response"
at = "0s"
"#;
    let again = sends(&operations(failing));
    let numbers: Vec<u64> = again.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [0, 0]);
    let patient = failing.replace(
        "\"delivery.timeout.ms\" = 2000",
        "\"delivery.timeout.ms\" = 9000",
    );
    assert_eq!(sends(&operations(&patient)).len(), 1);
    let gives_up = failing.replace("resend", "give_up");
    assert_eq!(sends(&operations(&gives_up)).len(), 1);
}

#[test]
fn a_worker_falls_behind_what_is_committed_and_the_polling_thread_does_not() {
    for (thread, falls_behind) in [("worker", true), ("poll", false)] {
        let consumer = format!(
            r#"
[[consumer]]
name = "c1"
group = "g"
topics = ["orders"]
commit = "auto"
thread = "{thread}"
processing = "20ms"
config = {{ "auto.offset.reset" = "earliest", "auto.commit.interval.ms" = 500 }}
"#
        );
        let mut processed = 0;
        let mut behind = false;
        for (_, operation) in operations(&format!("{PRODUCER}{consumer}")) {
            match operation.action {
                Action::Process { .. } => processed += 1,
                Action::Commit { offsets, .. } if operation.stage == Stage::Ok => {
                    behind |= offsets.iter().any(|(_, offset)| offset.0 > processed);
                }
                _ => {}
            }
        }
        assert_eq!(processed, 300, "{thread}");
        assert_eq!(behind, falls_behind, "{thread}");
    }
}

#[test]
fn a_consumer_that_is_stopped_finishes_what_it_polled_and_a_worker_does_not() {
    for (thread, finishes) in [("poll", true), ("worker", false)] {
        let consumer = format!(
            r#"
[[consumer]]
name = "c1"
group = "g"
topics = ["orders"]
commit = "auto"
thread = "{thread}"
processing = "20ms"
config = {{ "auto.offset.reset" = "earliest" }}

[[fault]]
kind = "stop"
target = "client c1"
when = {{ processed = {{ consumer = "c1", count = 100 }} }}
restart_after = "1s"
"#
        );
        let operations = operations(&format!("{PRODUCER}{consumer}"));
        let processed = operations
            .iter()
            .filter(|(_, operation)| matches!(operation.action, Action::Process { .. }));
        let processed = processed.count();
        assert_eq!(processed == 300, finishes, "{thread}: {processed}");
    }
}

#[test]
fn commits_come_only_after_so_many_records() {
    let consumer = |every: u64| {
        format!(
            r#"
[[consumer]]
name = "c1"
group = "g"
topics = ["orders"]
commit = "after"
commit_every = {every}
config = {{ "auto.offset.reset" = "earliest", "max.poll.records" = 10 }}
"#
        )
    };
    let seldom = commits(&operations(&format!("{PRODUCER}{}", consumer(100))));
    let steps = seldom.windows(2).map(|two| two[1] - two[0]);
    assert!(steps.into_iter().all(|step| step >= 100), "{seldom:?}");
    assert_eq!(seldom.len(), 3, "{seldom:?}");
    let always = commits(&operations(&format!("{PRODUCER}{}", consumer(1))));
    assert!(always.len() > 20, "{always:?}");
}

#[test]
fn a_partition_that_is_paused_gives_nothing_for_that_time_and_then_the_rest() {
    let consumer = r#"
[[consumer]]
name = "c1"
group = "g"
topics = ["orders"]
commit = "after"
pause = { partition = "orders-0", after = 20, for = "6s" }
config = { "auto.offset.reset" = "earliest", "max.poll.records" = 10 }
"#;
    let done: Vec<u64> = operations(&format!("{PRODUCER}{consumer}"))
        .iter()
        .filter(|(_, operation)| matches!(operation.action, Action::Process { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(done.len(), 300);
    let gaps: Vec<Span> = done.windows(2).map(|two| Span(two[1] - two[0])).collect();
    let longest = gaps.iter().max().unwrap();
    assert!(*longest >= Span::millis(5900), "{longest:?}");
    assert_eq!(gaps.iter().position(|gap| gap == longest), Some(19));
}

#[test]
fn a_producer_that_notes_how_far_it_is_goes_on_there_in_its_next_life() {
    let producer = |checkpoint: &str| {
        format!(
            r#"
[[producer]]
name = "p1"
topic = "orders"
rate = 100
count = 300
{checkpoint}
config = {{ acks = "all" }}

[[fault]]
kind = "kill"
target = "client p1"
when = {{ acked = {{ producer = "p1", count = 130 }} }}
restart_after = "1s"
"#
        )
    };
    let numbers = |workload: &str| -> Vec<u64> {
        let sent = sends(&operations(workload));
        sent.into_iter().map(|(_, number)| number).collect()
    };
    let notes = numbers(&producer("checkpoint_every = 50"));
    let back = notes.windows(2).position(|two| two[1] <= two[0]).unwrap();
    assert!((100..=130).contains(&notes[back + 1]), "{notes:?}");
    assert_eq!(notes.last(), Some(&299));
    let forgets = numbers(&producer(""));
    assert!(forgets.windows(2).all(|two| two[0] < two[1]));
    assert_eq!(forgets.last(), Some(&599), "a life of its own records");
}

#[test]
fn a_static_member_whose_name_another_process_takes_ends_and_does_not_come_back() {
    let consumer = |name: &str, start: &str| {
        format!(
            r#"
[[consumer]]
name = "{name}"
group = "g"
topics = ["orders"]
commit = "after"
start = "{start}"
config = {{ "auto.offset.reset" = "earliest", "group.instance.id" = "one" }}
"#
        )
    };
    let workload = format!(
        "{PRODUCER}{}{}",
        consumer("first", "0s"),
        consumer("second", "10s")
    );
    let fenced = operations(&workload)
        .into_iter()
        .filter_map(|(_, operation)| match operation.action {
            Action::Poll { error, .. } => error,
            _ => None,
        })
        .filter(|error| error == "FENCED_INSTANCE_ID")
        .count();
    assert_eq!(fenced, 1, "the first ends, and the second keeps the name");
}
