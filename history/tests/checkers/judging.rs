//! From a history to an outcome, and files that are not histories.

use crate::builder::{Builder, orders};
use crate::v;
use history::event::{ElectionKind, FaultStage, Process, What};
use history::expectation::Quantifier;
use history::jsonl::{self, ReadError};
use history::judge::{Outcome, judge};
use history::ledger::{LEDGER_KEYS, Ledger};
use history::manifest::{CommitPolicy, Stream};
use history::operation::Stage;
use history::verdict::{Answer, Finding};
use history::{History, checker};
use protocol::verb::ResetReason;

/// One acknowledged record, read in the end or not.
fn run(found: bool, prepare: impl FnOnce(&mut Builder)) -> History {
    let mut b = Builder::new("judging");
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    if !found {
        b.kill(1);
        b.truncate(2, 0, 1, "high_watermark");
        b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    }
    prepare(&mut b);
    if found {
        b.finish(&[(0, v(0))])
    } else {
        b.finish(&[])
    }
}

fn codes(outcome: &Outcome) -> Vec<&str> {
    match outcome {
        Outcome::AsExpected => Vec::new(),
        Outcome::NotAsExpected(reasons) | Outcome::Unknown(reasons) => {
            reasons.iter().map(|reason| reason.code.as_str()).collect()
        }
    }
}

#[test]
fn a_run_in_which_every_claimed_guarantee_holds_is_as_expected() {
    let outcome = judge(&run(true, |_| {})).outcome;
    assert_eq!(outcome, Outcome::AsExpected);
    assert_eq!(outcome.exit_code(), 0);
}

#[test]
fn an_unexpected_violation_is_not_as_expected() {
    let outcome = judge(&run(false, |_| {})).outcome;
    assert!(matches!(outcome, Outcome::NotAsExpected(_)), "{outcome:?}");
    assert!(codes(&outcome).contains(&"PA"));
    assert!(codes(&outcome).contains(&"INV-COMPLETE"));
    assert_eq!(outcome.exit_code(), 1);
}

#[test]
fn an_expected_violation_takes_the_invariants_beneath_it_along() {
    let expect = |b: &mut Builder, quantifier| {
        let expect = &mut b.history.manifest.expect;
        expect.violated.insert("PA".to_owned(), quantifier);
        expect.harm.insert("lost".to_owned(), Quantifier::Always);
    };
    for quantifier in [Quantifier::Always, Quantifier::Sometimes] {
        let outcome = judge(&run(false, |b| expect(b, quantifier))).outcome;
        assert_eq!(outcome, Outcome::AsExpected);
    }
    let outcome = judge(&run(false, |b| expect(b, Quantifier::Never))).outcome;
    assert!(codes(&outcome).contains(&"PA"));
    let outcome = judge(&run(true, |b| expect(b, Quantifier::Always))).outcome;
    assert_eq!(codes(&outcome), ["PA", "lost"]);
}

#[test]
fn a_fault_without_effect_and_a_mark_not_reached_are_unknown() {
    let prepare = |b: &mut Builder| {
        b.planned("kill", false);
        b.history
            .manifest
            .reaches
            .push("follower truncated".to_owned());
        b.fault(0, FaultStage::Injected);
    };
    let judgement = judge(&run(true, prepare));
    assert_eq!(codes(&judgement.outcome), ["FAULT", "MARK"]);
    assert_eq!(judgement.outcome.exit_code(), 3);
    assert_eq!(judgement.faults[0].injected, 1);
    let seen = |b: &mut Builder| {
        prepare(b);
        b.fault(0, FaultStage::Effective("broker 1 was killed".to_owned()));
        b.at(None, What::Mark("follower truncated".to_owned()));
    };
    let judgement = judge(&run(true, seen));
    assert_eq!(judgement.outcome, Outcome::AsExpected);
    assert!(judgement.marks[0].reached);
}

#[test]
fn a_fault_of_the_nemesis_is_not_bound_by_one_run() {
    let outcome = judge(&run(true, |b| {
        b.planned("kill", false);
        b.history.manifest.faults[0].random = true;
    }))
    .outcome;
    assert_eq!(outcome, Outcome::AsExpected);
}

#[test]
fn expected_harm_that_a_run_did_not_get_to_is_unknown() {
    let outcome = judge(&run(true, |b| {
        b.history
            .manifest
            .expect
            .harm
            .insert("lost".to_owned(), Quantifier::Always);
        b.planned("kill", false);
    }))
    .outcome;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[test]
fn a_panic_is_a_bug_of_this_program() {
    let outcome = judge(&run(true, |b| {
        b.at(
            Some(1),
            What::Process(Process::Panicked("index out of bounds".to_owned())),
        );
    }))
    .outcome;
    assert_eq!(codes(&outcome), ["PANIC"]);
    assert_eq!(outcome.exit_code(), 101);
}

#[test]
fn a_history_without_a_stream_answers_unknown_where_it_is_claimed() {
    let judgement = judge(&run(true, |b| {
        b.history.manifest.streams = vec![Stream::Operations];
    }));
    let answer = |code| judgement.verdict(code).unwrap().answer.clone();
    assert_eq!(
        answer("PA"),
        Answer::Unknown("the history has no stream `final_read`".to_owned())
    );
    assert!(matches!(answer("P1"), Answer::NotClaimed(_)));
    assert!(matches!(answer("INV-LOG"), Answer::Unknown(_)));
    assert_eq!(answer("V0"), Answer::Holds);
    assert_eq!(judgement.ledger.get("lost"), None);
    assert!(matches!(judgement.outcome, Outcome::Unknown(_)));
}

#[test]
fn a_black_box_history_with_a_loss_cannot_name_its_cause() {
    let history = run(false, |b| {
        b.history.manifest.streams = vec![Stream::Operations, Stream::FinalRead, Stream::Faults];
        b.history
            .events
            .retain(|event| !matches!(event.what, What::Replica(..) | What::Controller(_)));
    });
    let judgement = judge(&history);
    let verdict = judgement.verdict("PA").unwrap();
    assert!(
        matches!(&verdict.answer, Answer::Unknown(why) if why.starts_with("1 acknowledged")),
        "{verdict:?}"
    );
    assert_eq!(judgement.ledger.get("lost"), Some(1));
}

#[test]
fn what_a_permanent_fault_took_offline_is_excused() {
    let mut b = Builder::new("judging");
    let p = b.producer("all", 5, false);
    b.planned("lost machine", true);
    b.born();
    b.fault(0, FaultStage::Effective("broker 1 is gone".to_owned()));
    b.written(p, 0, 0);
    b.offline(1);
    let judgement = judge(&b.finish(&[]));
    let verdict = judgement.verdict("PA").unwrap();
    assert_eq!(
        (verdict.violations, verdict.excused_total),
        (0, 1),
        "{verdict:?}"
    );
    assert!(
        verdict.excused[0]
            .cause
            .as_deref()
            .unwrap()
            .contains("lost machine of broker 1")
    );
}

#[test]
fn a_final_read_that_was_cut_short_proves_no_loss() {
    let mut b = Builder::new("judging");
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    let judgement = judge(&b.finish(&[(0, v(0))]));
    let answer = &judgement.verdict("PA").unwrap().answer;
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
    let progress = judgement.verdict("PROGRESS").unwrap();
    assert_eq!(progress.findings[0].anomaly, "final-read-incomplete");
    assert!(matches!(judgement.outcome, Outcome::NotAsExpected(_)));
}

#[test]
fn a_final_read_is_complete_where_a_marker_has_taken_the_place_of_a_record_that_was_cut() {
    let mut b = Builder::new("judging");
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1], 0, 0, v(0));
    b.truncate(1, 0, 1, "leader_epoch");
    b.elect(1, 1, ElectionKind::Clean, &[1, 2, 3], 0);
    b.marker(p, (&orders(), 0), false);
    let judgement = judge(&b.finish(&[]));
    let progress = judgement.verdict("PROGRESS").unwrap();
    let cut_short = |finding: &Finding| finding.anomaly == "final-read-incomplete";
    assert!(!progress.findings.iter().any(cut_short), "{progress:#?}");
}

#[test]
fn the_ledger_counts_what_happened() {
    let mut b = Builder::new("judging");
    let p = b.producer("all", 5, false);
    let q = b.producer("0", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.send(p, 2);
    b.ended(p, 2, Stage::Fail);
    b.send(p, 3);
    b.ended(p, 3, Stage::Info);
    b.send(q, 0);
    b.ended(q, 0, Stage::Ok);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 1, v(1));
    b.processed(c, 1, v(1));
    b.truncate(3, 1, 2, "leader_epoch");
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 2);
    let ledger = judge(&b.finish(&[(0, v(0)), (1, v(1)), (2, v(1))])).ledger;
    let expected = [
        ("sent", 5),
        ("acknowledged", 2),
        ("failed", 1),
        ("unknown", 2),
        ("in_log", 2),
        ("lost", 0),
        ("lost_unacknowledged", 2),
        ("duplicated", 1),
        ("polled", 2),
        ("processed", 2),
        ("processed_twice", 1),
        ("never_processed", 1),
        ("truncated", 1),
        ("elections", 1),
        ("isr_shrinks", 1),
        ("rebalances", 1),
        ("refused.NOT_ENOUGH_REPLICAS", 0),
    ];
    for (name, count) in expected {
        assert_eq!(ledger.get(name), Some(count), "{name} in {ledger:?}");
    }
    assert_eq!(ledger.get("no such entry"), None);
    assert_eq!(ledger.topics.values().next().unwrap()["duplicated"], 1);
}

#[test]
fn every_entry_of_the_ledger_is_always_there() {
    let ledger = judge(&run(true, |_| {})).ledger;
    for (name, _) in LEDGER_KEYS.iter().filter(|(name, _)| !name.ends_with('.')) {
        assert!(ledger.get(name).is_some(), "{name}");
    }
    assert_eq!(Ledger::keys().len(), LEDGER_KEYS.len());
    assert!(checker::codes().contains(&"PA") && checker::codes().contains(&"INV-LOG"));
}

fn lines() -> Vec<String> {
    let mut bytes = Vec::new();
    jsonl::write(&run(true, |_| {}), &mut bytes).unwrap();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn read(lines: &[String]) -> Result<History, ReadError> {
    jsonl::read(lines.join("\n").as_bytes())
}

#[test]
fn a_history_is_read_back_as_it_was_written() {
    assert_eq!(read(&lines()).unwrap(), run(true, |_| {}));
}

#[test]
fn a_cut_history_is_refused_with_its_last_line() {
    let mut lines = lines();
    lines.pop();
    let last = lines.len();
    assert!(matches!(read(&lines), Err(ReadError::Cut { line }) if line == last));
    assert!(matches!(read(&[]), Err(ReadError::Empty)));
}

#[test]
fn a_history_that_lost_a_line_in_the_middle_is_refused() {
    let mut lines = lines();
    lines.remove(3);
    let found = lines.len() - 2;
    assert!(
        matches!(read(&lines), Err(ReadError::Count { declared, found: seen, .. }) if declared == found + 1 && seen == found)
    );
}

#[test]
fn a_file_of_another_program_or_version_is_refused() {
    let mut other = lines();
    other[0] = other[0].replace("ktrial-history", "jepsen");
    assert!(matches!(read(&other), Err(ReadError::Foreign(name)) if name == "jepsen"));
    let mut newer = lines();
    newer[0] = newer[0].replace("\"version\":1", "\"version\":99");
    assert!(matches!(
        read(&newer),
        Err(ReadError::Version { found: 99 })
    ));
}

#[test]
fn a_bad_line_is_named_with_its_number_and_an_unknown_node_with_its_name() {
    let mut bad = lines();
    bad[2] = bad[2].replace("\"at\":", "\"at\":x");
    assert!(matches!(read(&bad), Err(ReadError::Line { line: 3, .. })));
    let mut stranger = lines();
    stranger[1] = stranger[1].replace("\"node\":\"b1\"", "\"node\":\"b9\"");
    assert!(matches!(read(&stranger), Err(ReadError::Node { line: 2, node }) if node == "b9"));
}
