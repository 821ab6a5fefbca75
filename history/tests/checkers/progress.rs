//! Progress once everything is healed.

use crate::builder::Builder;
use crate::kept::{acquits, convicts, judged};
use crate::v;
use history::History;
use history::event::Phase;
use history::manifest::CommitPolicy;
use history::operation::Stage;
use protocol::verb::ResetReason;

/// A send begins after healing and ends like this; another one failed before.
fn healing(name: &str, ends: Stage) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.ended(p, 0, Stage::Info);
    b.phase(Phase::Heal);
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, 0, v(1));
    b.high_watermark(&[1, 2, 3], 1);
    if ends == Stage::Ok {
        b.acked(p, 1, 0);
    } else {
        b.ended(p, 1, ends);
    }
    b.finish(&[(0, v(1))])
}

#[test]
fn progress_convicts_a_send_that_fails_after_healing() {
    convicts(
        &healing("progress-bad", Stage::Info),
        "PROGRESS",
        "send-fails-after-healing",
    );
}

#[test]
fn progress_acquits_a_send_that_failed_before_healing() {
    acquits(&healing("progress-near", Stage::Ok), "PROGRESS", 0);
}

/// A send after healing that fails, perhaps together with one from before.
fn aged(name: &str, together: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.phase(Phase::Heal);
    b.send(p, 1);
    b.ended(p, 0, Stage::Fail);
    b.ended(p, 1, Stage::Fail);
    if together {
        b.in_one_step();
    }
    b.finish(&[])
}

#[test]
fn progress_acquits_a_send_that_joined_a_batch_from_before_healing() {
    acquits(&aged("progress-aged-near", true), "PROGRESS", 0);
    let alone = aged("progress-aged-bad", false);
    convicts(&alone, "PROGRESS", "send-fails-after-healing");
}

/// A send whose process may die, and another one after healing.
fn left_open(name: &str, dies: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    if dies {
        b.client_dies(p);
    }
    b.phase(Phase::Heal);
    b.finish(&[])
}

#[test]
fn progress_convicts_a_send_that_never_ends_while_its_process_lives() {
    let convicted = left_open("progress-open-bad", false);
    convicts(&convicted, "PROGRESS", "send-never-ends");
    acquits(&left_open("progress-open-near", true), "PROGRESS", 0);
}

#[test]
fn progress_does_not_wait_for_a_send_that_begins_while_the_partitions_are_read() {
    let begun = |name: &str, phase: Phase| {
        let mut b = Builder::new(name);
        let p = b.producer("all", 5, false);
        b.born();
        b.phase(phase);
        b.send(p, 0);
        b.finish(&[])
    };
    let late = begun("progress-cut-short-near", Phase::FinalRead);
    acquits(&late, "PROGRESS", 0);
    let in_time = begun("progress-cut-short-bad", Phase::Heal);
    convicts(&in_time, "PROGRESS", "send-never-ends");
}

#[test]
fn progress_convicts_silent_sends_of_which_none_arrives() {
    for (name, arrives) in [("progress-void-bad", false), ("progress-void-near", true)] {
        let mut b = Builder::new(name);
        let p = b.producer("0", 5, false);
        b.born();
        b.phase(Phase::Heal);
        for number in 0..2 {
            b.send(p, number);
            b.ended(p, number, Stage::Ok);
        }
        if arrives {
            b.append(&[1, 2, 3], 0, 0, v(1));
            b.high_watermark(&[1, 2, 3], 1);
            acquits(&b.finish(&[(0, v(1))]), "PROGRESS", 0);
        } else {
            convicts(&b.finish(&[]), "PROGRESS", "sends-reach-nobody");
        }
    }
}

/// A member reads the first of two records; the second is sent before, or after, the run begins to be closed.
fn catching_up(name: &str, closing: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0))]);
    b.processed(c, 0, v(0));
    if closing {
        b.phase(Phase::FinalRead);
    }
    b.written(p, 1, 1);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn progress_convicts_a_group_that_does_not_catch_up_with_what_was_sent_in_time() {
    let convicted = catching_up("progress-lag-bad", false);
    convicts(&convicted, "PROGRESS", "group-lags");
    acquits(&catching_up("progress-lag-near", true), "PROGRESS", 0);
}

/// A group with a member that lives is to read the topic, and gets no partition, or begins behind the last record.
fn joining(name: &str, begins: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.subscriber(true);
    b.born();
    b.written(p, 0, 0);
    if begins {
        b.assigned(c, 1);
        b.position(c, 1, ResetReason::NoCommit);
    }
    b.finish(&[(0, v(0))])
}

#[test]
fn progress_convicts_a_group_that_never_begins_a_partition_of_its_topic() {
    let judgement = judged(&joining("progress-never-bad", false));
    let verdict = judgement.verdict("PROGRESS").unwrap();
    assert_eq!(verdict.findings[0].anomaly, "never-read");
}

#[test]
fn progress_acquits_a_group_that_began_behind_the_last_record_or_was_never_there() {
    acquits(&joining("progress-never-near", true), "PROGRESS", 0);
    let mut b = Builder::new("progress-absent-near");
    let p = b.producer("all", 5, false);
    b.subscriber(false);
    let other = b.consumer(CommitPolicy::After);
    b.client_starts(other);
    b.born();
    b.written(p, 0, 0);
    acquits(&b.finish(&[(0, v(0))]), "PROGRESS", 0);
}
