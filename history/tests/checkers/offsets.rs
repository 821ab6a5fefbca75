//! Where the members of a group go on, and what they leave out: AMO, CM, ORD and RES.

use crate::builder::{Builder, orders};
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::event::Group;
use history::manifest::CommitPolicy;
use protocol::verb::ResetReason;

/// So many acknowledged records, and a member of a group that has the partition in generation 1 and reads from its beginning.
fn reading(name: &str, commit: CommitPolicy, records: u64) -> (Builder, u16) {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(commit);
    b.born();
    for (number, offset) in (0..records).zip(0..) {
        b.written(p, number, offset);
    }
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    (b, c)
}

/// A member that commits before it processes reads a record twice, because its application sought back or for no reason.
fn read_again(name: &str, reason: ResetReason, to: i64) -> History {
    let (mut b, c) = reading(name, CommitPolicy::Before, 2);
    let records = [(0, v(0)), (1, v(1))];
    b.polled(c, &records);
    b.committed(c, 1, 2);
    b.processed(c, 0, v(0));
    b.processed(c, 1, v(1));
    b.position(c, to, reason);
    b.polled(c, &records[..1]);
    b.processed(c, 0, v(0));
    b.finish(&records)
}

#[test]
fn amo_excuses_a_second_effect_after_the_position_was_set_back() {
    let sought = read_again("amo-sought-near", ResetReason::Seek, 0);
    acquits(&sought, "AMO", 1);
    let above = read_again("amo-sought-bad", ResetReason::Seek, 1);
    convicts(&above, "AMO", "processed-twice");
}

#[test]
fn cm_convicts_an_effect_before_the_commit_of_who_commits_first() {
    for (name, end) in [
        ("cm-first-bad", None),
        ("cm-first-low-bad", Some(1)),
        ("cm-first-near", Some(2)),
    ] {
        let (mut b, c) = reading(name, CommitPolicy::Before, 2);
        b.polled(c, &[(0, v(0)), (1, v(1))]);
        if let Some(offset) = end {
            b.committed(c, 1, offset);
        }
        b.processed(c, 0, v(0));
        b.processed(c, 1, v(1));
        let history = b.finish(&[(0, v(0)), (1, v(1))]);
        if end == Some(2) {
            acquits(&history, "CM", 0);
        } else {
            convicts(&history, "CM", "processed-before-commit");
        }
    }
}

#[test]
fn ord_convicts_polls_and_effects_that_go_back_without_a_reset() {
    let log = [(0, v(0)), (1, v(1))];
    let (mut b, c) = reading("ord-polled-back-bad", CommitPolicy::After, 2);
    b.polled(c, &log);
    b.polled(c, &log[1..]);
    convicts(&b.finish(&log), "ORD", "polled-backwards");

    let (mut b, c) = reading("ord-processed-back-bad", CommitPolicy::After, 2);
    b.polled(c, &log);
    b.processed(c, 1, v(1));
    b.processed(c, 0, v(0));
    convicts(&b.finish(&log), "ORD", "processed-backwards");

    let (mut b, c) = reading("ord-sought-near", CommitPolicy::After, 2);
    b.polled(c, &log);
    b.processed(c, 0, v(0));
    b.processed(c, 1, v(1));
    b.position(c, 0, ResetReason::Seek);
    b.polled(c, &log);
    b.processed(c, 0, v(0));
    acquits(&b.finish(&log), "ORD", 0);
}

#[test]
fn res_convicts_a_first_poll_that_leaves_out_what_the_log_has() {
    let log = [(0, v(0)), (1, v(1))];
    for (name, found) in [
        ("res-skipped-bad", &log[..]),
        ("res-skipped-near", &log[1..]),
    ] {
        let (mut b, c) = reading(name, CommitPolicy::After, 2);
        b.polled(c, &log[1..]);
        b.processed(c, 1, v(1));
        let history = b.finish(found);
        if found.len() == 2 {
            convicts(&history, "RES", "resume-skipped");
        } else {
            acquits(&history, "RES", 0);
        }
    }
}

#[test]
fn res_excuses_a_commit_that_expired() {
    let (mut b, c) = reading("res-expired-near", CommitPolicy::After, 1);
    b.polled(c, &[(0, v(0))]);
    b.processed(c, 0, v(0));
    b.committed(c, 1, 1);
    b.group(Group::OffsetExpired(orders()));
    b.revoked(c);
    b.generation(2);
    b.assigned(c, 2);
    b.position(c, 0, ResetReason::NoCommit);
    acquits(&b.finish(&[(0, v(0))]), "RES", 1);
}
