//! Every guarantee against a history that breaks it and one that nearly does. The histories are built here, kept as files
//! in `testdata` for everybody to read, and judged from those files. `KTRIAL_BLESS=1` writes the files anew.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod builder;
mod kept;

use builder::{Builder, orders};
use history::History;
use history::event::{Controller, ElectionKind, FaultStage, Group, Phase, Replica, What};
use history::judge::judge;
use history::manifest::CommitPolicy;
use history::operation::{Action, Polled, Stage};
use kept::{acquits, convicts, judged};
use protocol::config::OffsetStorage;
use protocol::ids::{
    BrokerId, ControllerEpoch, GenerationId, GroupId, LeaderEpoch, MemberId, Offset,
    PartitionEpoch, TopicName, TopicPartition,
};
use protocol::verb::ResetReason;

fn v(number: u64) -> history::operation::Value {
    Builder::value(0, number)
}

#[test]
fn v0_convicts_a_read_of_a_failed_send() {
    let mut b = Builder::new("v0-bad");
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1, 2, 3], 0, 0, v(0));
    b.high_watermark(&[1, 2, 3], 1);
    b.ended(p, 0, Stage::Fail);
    convicts(&b.finish(&[(0, v(0))]), "V0", "read-of-failed-send");
}

#[test]
fn v0_acquits_a_read_of_a_send_that_may_have_happened() {
    let mut b = Builder::new("v0-near");
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1, 2, 3], 0, 0, v(0));
    b.high_watermark(&[1, 2, 3], 1);
    b.ended(p, 0, Stage::Info);
    acquits(&b.finish(&[(0, v(0))]), "V0", 0);
}

#[test]
fn p0_convicts_a_record_written_twice_without_a_retry() {
    let mut b = Builder::new("p0-bad");
    let p = b.producer("0", 5, false);
    b.born();
    b.send(p, 0);
    b.ended(p, 0, Stage::Ok);
    b.append(&[1, 2, 3], 0, 0, v(0));
    b.append(&[1, 2, 3], 1, 0, v(0));
    convicts(&b.finish(&[(0, v(0)), (1, v(0))]), "P0", "duplicate");
}

#[test]
fn p0_acquits_a_record_that_is_simply_gone() {
    let mut b = Builder::new("p0-near");
    let p = b.producer("0", 5, false);
    b.born();
    for number in 0..2 {
        b.send(p, number);
        b.ended(p, number, Stage::Ok);
    }
    b.append(&[1, 2, 3], 0, 0, v(1));
    acquits(&b.finish(&[(0, v(1))]), "P0", 0);
}

#[test]
fn p1_convicts_an_acknowledgement_of_what_no_replica_had() {
    let mut b = Builder::new("p1-bad");
    let p = b.producer("1", 5, false);
    b.born();
    b.send(p, 0);
    b.acked(p, 0, 0);
    convicts(&b.finish(&[]), "P1", "acknowledged-lost");
}

#[test]
fn p1_excuses_what_went_with_an_election() {
    let mut b = Builder::new("p1-near");
    let p = b.producer("1", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1], 0, 0, v(0));
    b.acked(p, 0, 0);
    b.kill(1);
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    b.truncate(1, 0, 1, "leader_epoch");
    acquits(&b.finish(&[]), "P1", 1);
}

/// Broker 1 does not know yet that broker 2 leads, takes one more record and acknowledges it.
fn acknowledged_by_a_leader_of_the_past(name: &str, acks: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.producer(acks, 5, false);
    b.born();
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    b.send(p, 0);
    b.append(&[1], 0, 0, v(0));
    b.acked(p, 0, 0);
    b.truncate(1, 0, 1, "leader_epoch");
    b.finish(&[])
}

#[test]
fn p1_excuses_what_a_leader_of_the_past_acknowledged_and_pa_does_not() {
    let history = acknowledged_by_a_leader_of_the_past("p1-past-near", "1");
    acquits(&history, "P1", 1);
    let history = acknowledged_by_a_leader_of_the_past("pa-past-bad", "all");
    convicts(&history, "PA", "acknowledged-lost");
}

/// Broker 2 cuts to a high watermark that lags, and is then elected cleanly (KAFKA-1211, closed by KIP-101).
fn truncated_to_high_watermark(name: &str, kind: ElectionKind) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1, 2], 0, 0, v(0));
    b.high_watermark(&[1], 1);
    b.acked(p, 0, 0);
    b.truncate(2, 0, 1, "high_watermark");
    b.kill(1);
    b.elect(2, 1, kind, &[2], 0);
    b.truncate(1, 0, 1, "high_watermark");
    b.finish(&[])
}

#[test]
fn pa_convicts_a_clean_election_of_a_leader_that_lacks_the_record() {
    let history = truncated_to_high_watermark("pa-bad", ElectionKind::Clean);
    convicts(&history, "PA", "acknowledged-lost");
    let judgement = judge(&history);
    let finding = &judgement.verdict("PA").unwrap().findings[0];
    let story: Vec<&str> = finding
        .story
        .iter()
        .map(|moment| moment.text.as_str())
        .collect();
    let told = story.join("\n");
    for part in [
        "p0 sends 0:0",
        "by leader broker 1 in epoch 0; brokers 1, 2 had it then",
        "broker 2 cuts its log from 1 back to 0 (rule: high_watermark)",
        "broker 1 is killed",
        "elects broker 2 leader of orders-0 in epoch 1 (clean election)",
        "finds nothing",
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
}

#[test]
fn pa_excuses_an_unclean_election_and_names_it() {
    let history = truncated_to_high_watermark("pa-near", ElectionKind::Unclean);
    acquits(&history, "PA", 1);
    let judgement = judge(&history);
    let cause = judgement.verdict("PA").unwrap().excused[0]
        .cause
        .clone()
        .unwrap();
    assert_eq!(cause, "unclean election of broker 2 in epoch 1");
    assert_eq!(judgement.ledger.get("lost"), Some(1));
    assert_eq!(judgement.ledger.get("unclean_elections"), Some(1));
}

/// All three have the record; `lossy` of them lose it with their power, and what loses power leaves the in-sync replicas.
/// Then broker 2 is let in again, and elected.
fn power_failures(name: &str, lossy: &[u16]) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.elect(3, 1, ElectionKind::Clean, &[3], 1);
    for broker in lossy {
        b.power_loss(*broker, 0);
    }
    b.let_in(3, 1, &[3, 2], &[3, 2]);
    b.elect(2, 2, ElectionKind::Clean, &[2], 0);
    b.finish(&[])
}

/// Broker 2 alone loses the record with its power or, without a loss of power, with its disk; it stays an in-sync replica
/// and is elected.
fn last_in_sync(name: &str, power: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    if power {
        b.power_loss(2, 0);
    } else {
        b.kill(2);
        b.loaded(2, 0);
    }
    b.elect(2, 1, ElectionKind::Clean, &[2], 0);
    b.finish(&[])
}

#[test]
fn pa_excuses_power_lost_by_who_stayed_in_sync_and_convicts_a_replaced_disk() {
    let near = last_in_sync("pa-last-in-sync-near", true);
    acquits(&near, "PA", 1);
    acquits(&near, "INV-COMPLETE", 0);
    let bad = last_in_sync("pa-replaced-disk-bad", false);
    convicts(&bad, "PA", "acknowledged-lost");
    convicts(&bad, "INV-COMPLETE", "INV-COMPLETE");
}

#[test]
fn pa_convicts_a_loss_with_fewer_disks_than_in_sync_replicas_asked_for() {
    convicts(
        &power_failures("pa-one-disk-bad", &[2]),
        "PA",
        "acknowledged-lost",
    );
    convicts(
        &power_failures("inv-complete-one-disk-bad", &[2]),
        "INV-COMPLETE",
        "INV-COMPLETE",
    );
}

#[test]
fn pa_excuses_a_loss_with_as_many_disks_as_in_sync_replicas_asked_for() {
    let history = power_failures("pa-two-disks-near", &[1, 2]);
    acquits(&history, "PA", 1);
    let cause = judge(&history).verdict("PA").unwrap().excused[0]
        .cause
        .clone()
        .unwrap();
    assert!(cause.contains("disk lost by brokers 1, 2"), "{cause}");
    acquits(
        &power_failures("inv-complete-two-disks-near", &[1, 2]),
        "INV-COMPLETE",
        0,
    );
}

#[test]
fn dup_convicts_two_copies_of_an_idempotent_send() {
    let mut b = Builder::new("dup-bad");
    let p = b.producer("all", 5, true);
    b.born();
    b.written(p, 0, 0);
    b.append(&[1, 2, 3], 1, 0, v(0));
    convicts(&b.finish(&[(0, v(0)), (1, v(0))]), "DUP", "duplicate");
}

#[test]
fn dup_acquits_what_the_application_itself_sent_twice() {
    let mut b = Builder::new("dup-near");
    let p = b.producer("all", 5, true);
    b.born();
    b.written(p, 0, 0);
    b.send(p, 0);
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.acked(p, 0, 1);
    acquits(&b.finish(&[(0, v(0)), (1, v(0))]), "DUP", 0);
}

/// Two batches of one producer, of which the leader has read its state back; then a copy under a raised epoch.
fn remembered(name: &str, first: u64, leader: u16, again_from: u16) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, true);
    b.born();
    for number in 0..2 {
        b.send(p, number);
        let offset = i64::try_from(number).unwrap();
        let sequence = i32::try_from(number).unwrap();
        b.append_numbered(&[1, 2, 3], offset, (0, sequence), v(number));
    }
    b.high_watermark(&[1, 2, 3], 2);
    b.loaded(leader, 2);
    let others = [1, 2, 3].into_iter().filter(|broker| *broker != again_from);
    let all: Vec<u16> = std::iter::once(again_from).chain(others).collect();
    b.append_numbered(&all, 2, (1, 0), v(first));
    b.acked(p, first, 2);
    b.finish(&[(0, v(0)), (1, v(1)), (2, v(first))])
}

/// Two batches, the first of which is forgotten; the second comes again, with or without the first.
fn carried(name: &str, with_the_forgotten: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, true);
    b.born();
    for number in 0..2 {
        b.send(p, number);
        let offset = i64::try_from(number).unwrap();
        let sequence = i32::try_from(number).unwrap();
        b.append_numbered(&[1, 2, 3], offset, (0, sequence), v(number));
    }
    b.loaded(1, 2);
    let mut found = vec![(0, v(0)), (1, v(1))];
    let again = if with_the_forgotten { 0..2 } else { 1..2 };
    for (number, offset) in again.zip(2..) {
        let sequence = i32::try_from(offset - 2).unwrap();
        b.append_numbered(&[1, 2, 3], offset, (1, sequence), v(number));
        b.acked(p, number, offset);
        found.push((offset, v(number)));
    }
    b.high_watermark(&[1, 2, 3], i64::try_from(found.len()).unwrap());
    b.finish(&found)
}

#[test]
fn dup_excuses_a_retry_that_the_leader_does_not_know_again_and_nothing_else() {
    acquits(&remembered("dup-window-near", 0, 1, 1), "DUP", 1);
    // The last batch is in the snapshot.
    let last = remembered("dup-window-last-bad", 1, 1, 1);
    convicts(&last, "DUP", "duplicate");
    // It goes with the one before it, which was forgotten.
    acquits(&carried("dup-window-carried-near", true), "DUP", 2);
    let alone = carried("dup-window-alone-bad", false);
    convicts(&alone, "DUP", "duplicate");
    // Another broker read its state back than the one that appended again.
    let other = remembered("dup-window-other-bad", 0, 2, 1);
    convicts(&other, "DUP", "duplicate");
}

#[test]
fn fifo_convicts_a_later_record_before_an_earlier_one() {
    let mut b = Builder::new("fifo-bad");
    let p = b.producer("all", 1, false);
    b.born();
    b.send(p, 0);
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, 0, v(1));
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.high_watermark(&[1, 2, 3], 2);
    b.acked(p, 1, 0);
    b.acked(p, 0, 1);
    convicts(&b.finish(&[(0, v(1)), (1, v(0))]), "FIFO", "reordered");
}

#[test]
fn fifo_acquits_a_second_copy_and_another_producer() {
    let mut b = Builder::new("fifo-near");
    let p = b.producer("all", 1, false);
    let q = b.producer("all", 1, false);
    b.born();
    b.send(q, 0);
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    let other = Builder::value(q, 0);
    b.append(&[1, 2, 3], 2, 0, v(0));
    b.append(&[1, 2, 3], 3, 0, other);
    b.high_watermark(&[1, 2, 3], 4);
    b.acked(q, 0, 3);
    acquits(
        &b.finish(&[(0, v(0)), (1, v(1)), (2, v(0)), (3, other)]),
        "FIFO",
        0,
    );
}

#[test]
fn gap_convicts_a_hole_before_a_later_record() {
    let mut b = Builder::new("gap-bad");
    let p = b.producer("all", 5, true);
    b.born();
    b.send(p, 0);
    b.acked(p, 0, 0);
    b.written(p, 1, 0);
    convicts(&b.finish(&[(0, v(1))]), "GAP", "hole");
}

#[test]
fn gap_acquits_a_hole_that_was_never_acknowledged() {
    let mut b = Builder::new("gap-near");
    let p = b.producer("all", 5, true);
    b.born();
    b.send(p, 0);
    b.ended(p, 0, Stage::Info);
    b.written(p, 1, 0);
    acquits(&b.finish(&[(0, v(1))]), "GAP", 0);
}

#[test]
fn rt_convicts_an_offset_below_one_acknowledged_before_the_send() {
    let mut b = Builder::new("rt-bad");
    let p = b.producer("all", 5, false);
    b.born();
    b.append(&[1, 2, 3], 0, 0, v(1));
    b.send(p, 0);
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.acked(p, 0, 1);
    b.send(p, 1);
    b.acked(p, 1, 0);
    convicts(
        &b.finish(&[(0, v(1)), (1, v(0))]),
        "RT",
        "offset-back-in-time",
    );
}

#[test]
fn rt_acquits_sends_that_overlap() {
    let mut b = Builder::new("rt-near");
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, 0, v(1));
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.acked(p, 0, 1);
    b.acked(p, 1, 0);
    acquits(&b.finish(&[(0, v(1)), (1, v(0))]), "RT", 0);
}

#[test]
fn rt_excuses_the_offset_of_a_record_that_was_lost_with_its_log() {
    let mut b = Builder::new("rt-excused");
    let p = b.producer("1", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.send(p, 1);
    b.append(&[1], 1, 0, v(1));
    b.acked(p, 1, 1);
    // Leadership goes to broker 2 and back before either has fetched from the other.
    b.elect(2, 1, ElectionKind::Preferred, &[1, 2, 3], 1);
    b.send(p, 2);
    b.append(&[2], 1, 1, v(2));
    b.acked(p, 2, 1);
    b.elect(1, 2, ElectionKind::Clean, &[1, 2, 3], 2);
    b.truncate(2, 1, 2, "leader_epoch");
    b.append(&[2, 3], 1, 0, v(1));
    acquits(&b.finish(&[(0, v(0)), (1, v(1))]), "RT", 1);
}

/// A record is acknowledged, lost with the power of broker 2 or for no reason, and written again by a retry further on; its
/// offset is given to a later one.
fn rewritten(name: &str, power: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    if power {
        b.power_loss(2, 0);
    } else {
        b.kill(2);
        b.loaded(2, 0);
    }
    b.elect(2, 1, ElectionKind::Clean, &[2], 0);
    b.send(p, 1);
    b.append(&[2, 1, 3], 0, 1, v(1));
    b.append(&[2, 1, 3], 1, 1, v(0));
    b.acked(p, 1, 0);
    b.finish(&[(0, v(1)), (1, v(0))])
}

#[test]
fn rt_excuses_the_place_of_a_lost_record_that_a_retry_wrote_again_and_convicts_without_a_reason() {
    acquits(&rewritten("rt-rewritten-near", true), "RT", 1);
    let bad = rewritten("rt-rewritten-bad", false);
    convicts(&bad, "RT", "offset-back-in-time");
}

#[test]
fn agree_convicts_two_values_read_at_one_offset() {
    let mut b = Builder::new("agree-bad");
    let p = b.producer("1", 5, false);
    let c = b.consumer(CommitPolicy::Never);
    b.born();
    b.send(p, 0);
    b.append(&[1, 2, 3], 0, 0, v(0));
    b.high_watermark(&[1, 2, 3], 1);
    b.polled(c, &[(0, v(0))]);
    b.kill(1);
    b.truncate(2, 0, 1, "high_watermark");
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    b.send(p, 1);
    b.append(&[2, 3], 0, 1, v(1));
    b.acked(p, 1, 0);
    convicts(&b.finish(&[(0, v(1))]), "AGREE", "inconsistent-offset");
}

#[test]
fn agree_acquits_an_offset_that_nobody_read_before_it_was_given_again() {
    let mut b = Builder::new("agree-near");
    let p = b.producer("1", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1], 0, 0, v(0));
    b.acked(p, 0, 0);
    b.kill(1);
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    b.send(p, 1);
    b.append(&[2, 3], 0, 1, v(1));
    b.acked(p, 1, 0);
    b.high_watermark(&[2, 3], 1);
    acquits(&b.finish(&[(0, v(1))]), "AGREE", 0);
}

#[test]
fn amo_convicts_two_effects_of_one_record() {
    let mut b = Builder::new("amo-bad");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::Before);
    let d = b.consumer(CommitPolicy::Before);
    b.born();
    b.written(p, 0, 0);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0))]);
    b.processed(c, 0, v(0));
    b.generation(2);
    b.revoked(c);
    b.assigned(d, 2);
    b.position(d, 0, ResetReason::NoCommit);
    b.polled(d, &[(0, v(0))]);
    b.committed(d, 2, 1);
    b.processed(d, 0, v(0));
    convicts(&b.finish(&[(0, v(0))]), "AMO", "processed-twice");
}

#[test]
fn amo_excuses_a_record_that_is_in_the_log_twice() {
    let mut b = Builder::new("amo-near");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::Before);
    b.born();
    b.written(p, 0, 0);
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(0))]);
    b.committed(c, 1, 2);
    b.processed(c, 0, v(0));
    b.processed(c, 1, v(0));
    acquits(&b.finish(&[(0, v(0)), (1, v(0))]), "AMO", 1);
}

#[test]
fn alo_convicts_a_record_that_a_commit_passed_over() {
    let mut b = Builder::new("alo-bad");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.committed(c, 1, 2);
    convicts(&b.finish(&[(0, v(0)), (1, v(1))]), "ALO", "never-processed");
}

#[test]
fn alo_excuses_what_a_group_that_began_late_never_saw() {
    let mut b = Builder::new("alo-near");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 1, ResetReason::NoCommit);
    b.written(p, 1, 1);
    b.polled(c, &[(1, v(1))]);
    b.processed(c, 1, v(1));
    b.committed(c, 1, 2);
    acquits(&b.finish(&[(0, v(0)), (1, v(1))]), "ALO", 1);
}

/// A group begins in another partition of the topic, before or after the one with the records has its first leader.
fn partition_added(name: &str, group_first: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let other = TopicPartition::new(TopicName::from("orders"), 1);
    let polled = Polled {
        partition: other.clone(),
        records: Vec::new(),
    };
    let elsewhere = Action::Position {
        partition: other,
        offset: Offset(0),
        reason: ResetReason::NoCommit,
    };
    if group_first {
        b.operation(c, Stage::Ok, elsewhere);
        b.born();
    } else {
        b.born();
        b.operation(c, Stage::Ok, elsewhere);
    }
    b.operation(
        c,
        Stage::Ok,
        Action::Poll {
            records: vec![polled],
            error: None,
        },
    );
    b.written(p, 0, 0);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 1, ResetReason::NoCommit);
    b.written(p, 1, 1);
    b.polled(c, &[(1, v(1))]);
    b.processed(c, 1, v(1));
    b.committed(c, 1, 2);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn alo_convicts_a_group_that_skips_the_beginning_of_a_partition_added_under_it() {
    convicts(
        &partition_added("alo-added-bad", true),
        "ALO",
        "never-processed",
    );
}

#[test]
fn alo_excuses_a_group_that_came_after_the_partition() {
    acquits(&partition_added("alo-added-near", false), "ALO", 1);
}

/// The group's commit goes from 2 back to 1.
fn commit_back(name: &str, sought: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.processed(c, 1, v(1));
    b.committed(c, 1, 2);
    if sought {
        b.position(c, 0, ResetReason::Seek);
    }
    b.committed(c, 1, 1);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn cm_convicts_a_commit_that_goes_back() {
    convicts(&commit_back("cm-bad", false), "CM", "commit-went-back");
}

/// Broker 2 has read the group from the log, and 2 is committed there; then 1 is said to be committed, by this broker.
fn late_word(name: &str, broker: u16) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    let group = |said| What::Group(GroupId::from("g"), said);
    let committed = |offset| Group::OffsetCommitted {
        partition: orders(),
        offset: Offset(offset),
        member: MemberId::from(format!("m{c}")),
        generation: GenerationId(1),
    };
    let loaded = Group::Loaded {
        generation: GenerationId(1),
        offsets: 1,
    };
    b.at(Some(1), group(loaded));
    b.at(Some(1), group(committed(2)));
    b.at(Some(broker), group(committed(1)));
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn cm_acquits_the_late_word_of_a_coordinator_that_stood_still() {
    acquits(&late_word("cm-late-near", 0), "CM", 0);
    convicts(&late_word("cm-late-bad", 1), "CM", "commit-went-back");
}

#[test]
fn cm_excuses_a_commit_after_the_application_sought_back() {
    acquits(&commit_back("cm-near", true), "CM", 1);
}

#[test]
fn cm_convicts_a_commit_of_an_old_generation_and_one_of_the_unprocessed() {
    let mut b = Builder::new("cm-stale-bad");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.generation(2);
    b.committed(c, 1, 0);
    convicts(&b.finish(&[(0, v(0))]), "CM", "stale-commit");
    let mut b = Builder::new("cm-unprocessed-bad");
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.generation(1);
    b.polled(c, &[(0, v(0))]);
    b.committed(c, 1, 1);
    b.processed(c, 0, v(0));
    convicts(&b.finish(&[(0, v(0))]), "CM", "committed-unprocessed");
}

/// The application sends record 0 twice, with record 1 between; then record 2.
fn sent_again(name: &str, last: i64) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.written(p, 0, 2);
    b.written(p, 2, last);
    let log = [(0, v(0)), (1, v(1)), (2, v(0)), (3, v(2))];
    b.finish(&log)
}

#[test]
fn rt_acquits_an_application_that_sends_a_record_again() {
    acquits(&sent_again("rt-again-near", 3), "RT", 0);
}

#[test]
fn rt_convicts_an_offset_below_that_of_a_record_sent_again() {
    convicts(&sent_again("rt-again-bad", 1), "RT", "offset-back-in-time");
}

/// Two members are given the partition; the second in this generation.
fn two_owners(name: &str, generation: i32) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.polled(c, &[(0, v(0))]);
    b.assigned(d, generation);
    b.processed(c, 0, v(0));
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_two_owners_in_one_generation() {
    convicts(&two_owners("own-bad", 1), "OWN", "two-owners");
}

#[test]
fn own_excuses_a_zombie_of_the_generation_before() {
    acquits(&two_owners("own-near", 2), "OWN", 1);
}

/// A ZooKeeper consumer owns the partition, then another does; perhaps the keepers ended the first one's session before.
fn two_old_owners(name: &str, expired: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.old_consumer(CommitPolicy::Auto);
    let d = b.old_consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.owns(c);
    b.polled(c, &[(0, v(0))]);
    if expired {
        b.session_expires(c);
    }
    b.owns(d);
    b.processed(c, 0, v(0));
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_two_zookeeper_consumers_whose_sessions_both_live() {
    convicts(&two_old_owners("own-old-bad", false), "OWN", "two-owners");
}

#[test]
fn own_excuses_a_zookeeper_consumer_that_has_not_learnt_of_its_expiry() {
    acquits(&two_old_owners("own-old-near", true), "OWN", 1);
}

/// A commit of 3 is over, or still under way, when a commit of 1 begins.
fn old_commits(name: &str, over: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.old_consumer(CommitPolicy::Auto);
    let d = b.old_consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.writes(c, Stage::Invoke, (101, 0));
    b.writes(c, Stage::Ok, (101, 0));
    b.writes(c, Stage::Invoke, (102, 3));
    if over {
        b.writes(c, Stage::Ok, (102, 3));
    }
    b.writes(d, Stage::Invoke, (103, 1));
    if !over {
        b.writes(c, Stage::Ok, (102, 3));
    }
    b.writes(d, Stage::Ok, (103, 1));
    b.finish(&[(0, v(0))])
}

#[test]
fn cm_convicts_a_commit_in_zookeeper_over_a_higher_one_that_was_over() {
    convicts(&old_commits("cm-old-bad", true), "CM", "commit-went-back");
}

#[test]
fn cm_admits_that_of_two_commits_in_zookeeper_at_once_the_lower_one_came_first() {
    acquits(&old_commits("cm-old-near", false), "CM", 0);
}

/// 1 and then 3 are committed; a consumer begins to ask after, or before, the commit of 3 is over, and finds 1.
fn old_resume(name: &str, over: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.old_consumer(CommitPolicy::Auto);
    let d = b.old_consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.writes(c, Stage::Invoke, (101, 1));
    b.writes(c, Stage::Ok, (101, 1));
    b.writes(c, Stage::Invoke, (102, 3));
    if over {
        b.writes(c, Stage::Ok, (102, 3));
    }
    b.rebalances(d);
    if !over {
        b.writes(c, Stage::Ok, (102, 3));
    }
    b.owns(d);
    b.position(d, 1, ResetReason::Committed);
    b.finish(&[(0, v(0))])
}

#[test]
fn res_convicts_a_zookeeper_consumer_that_resumes_behind_a_commit_that_was_over() {
    convicts(&old_resume("res-old-bad", true), "RES", "resumed-elsewhere");
}

#[test]
fn res_admits_that_a_commit_in_zookeeper_came_after_the_question() {
    acquits(&old_resume("res-old-near", false), "RES", 0);
}

/// A member that keeps its offsets in Kafka has committed 3; one that keeps them in ZooKeeper goes on from what it commits
/// itself, or finds nothing.
fn moving(name: &str, finds: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let moved = b.old_consumer_with(CommitPolicy::Auto, OffsetStorage::Kafka);
    let other = b.old_consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.writes(moved, Stage::Invoke, (101, 3));
    b.stored_without_a_member(3);
    b.writes(moved, Stage::Ok, (101, 3));
    if finds {
        b.writes(other, Stage::Invoke, (102, 5));
        b.writes(other, Stage::Ok, (102, 5));
    }
    b.rebalances(other);
    b.owns(other);
    let (offset, reason) = if finds {
        (5, ResetReason::Committed)
    } else {
        (0, ResetReason::NoCommit)
    };
    b.position(other, offset, reason);
    b.finish(&[(0, v(0))])
}

#[test]
fn res_convicts_a_member_that_does_not_find_what_another_committed_in_the_other_place() {
    convicts(&moving("res-moving-bad", false), "RES", "commit-forgotten");
}

#[test]
fn res_acquits_a_member_that_goes_on_from_its_own_place() {
    acquits(&moving("res-moving-near", true), "RES", 0);
}

/// A second process is given the partition in the same generation, after the coordinator has put it into the place of the
/// `replaced` member.
fn replaced(name: &str, replaced: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.polled(c, &[(0, v(0))]);
    b.group(Group::MemberRemoved {
        member: MemberId::from(replaced),
        reason: "replaced".into(),
    });
    b.group(Group::MemberJoined(MemberId::from(format!("m{d}"))));
    b.assigned(d, 1);
    b.processed(c, 0, v(0));
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_a_second_owner_that_took_the_place_of_a_third_member() {
    convicts(&replaced("own-replaced-bad", "m9"), "OWN", "two-owners");
}

#[test]
fn own_excuses_a_static_member_whose_place_was_taken() {
    acquits(&replaced("own-replaced-near", "m1"), "OWN", 1);
}

/// A second member takes the partition over in the second generation; whoever had it says whether it keeps it there.
fn kept(name: &str, keeps: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.assigned(d, 2);
    if !keeps {
        b.revoked(c);
    }
    b.kept(c, 2);
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_a_member_that_keeps_what_another_got_in_that_generation() {
    convicts(&kept("own-kept-bad", true), "OWN", "two-owners");
}

#[test]
fn own_acquits_a_member_that_gave_it_up_before_it_took_its_assignment() {
    acquits(&kept("own-kept-near", false), "OWN", 0);
}

/// A member is handed a record after it gave the partition up, or before.
fn queued(name: &str, late: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    if late {
        b.revoked(c);
        b.polled(c, &[(0, v(0))]);
    } else {
        b.polled(c, &[(0, v(0))]);
        b.revoked(c);
    }
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_records_of_a_partition_that_was_given_up() {
    convicts(&queued("own-queue-bad", true), "OWN", "not-the-owner");
}

#[test]
fn own_acquits_records_polled_before_the_partition_was_given_up() {
    acquits(&queued("own-queue-near", false), "OWN", 0);
}

/// A member polls offsets 0 and 2.
fn skipping(name: &str, log: &[(i64, history::operation::Value)]) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    for number in 0..3 {
        b.send(p, number);
    }
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (2, v(2))]);
    b.processed(c, 0, v(0));
    b.processed(c, 2, v(2));
    b.finish(log)
}

#[test]
fn ord_convicts_a_poll_that_skips_a_record() {
    convicts(
        &skipping("ord-bad", &[(0, v(0)), (1, v(1)), (2, v(2))]),
        "ORD",
        "skipped",
    );
}

#[test]
fn ord_acquits_a_poll_over_a_hole_in_the_log() {
    acquits(&skipping("ord-near", &[(0, v(0)), (2, v(2))]), "ORD", 0);
}

/// A group that committed 2 is assigned again and reads on from 0.
fn resuming(name: &str, reason: ResetReason, offset: i64) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.processed(c, 1, v(1));
    b.committed(c, 1, 2);
    b.revoked(c);
    b.generation(2);
    b.assigned(d, 2);
    b.position(d, offset, reason);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn res_convicts_another_place_than_committed_and_a_forgotten_commit() {
    convicts(
        &resuming("res-bad", ResetReason::Committed, 0),
        "RES",
        "resumed-elsewhere",
    );
    convicts(
        &resuming("res-forgotten-bad", ResetReason::NoCommit, 0),
        "RES",
        "commit-forgotten",
    );
}

/// A member is given the partition before, or after, another one has committed 1 and 2; it is told that there is no commit,
/// or this one.
fn overtaken(name: &str, before: bool, told: Option<i64>) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    if before {
        b.assigned(c, 1);
    }
    b.assigned(d, 1);
    b.position(d, 0, ResetReason::NoCommit);
    b.polled(d, &[(0, v(0)), (1, v(1))]);
    b.processed(d, 0, v(0));
    b.committed(d, 1, 1);
    b.processed(d, 1, v(1));
    b.committed(d, 1, 2);
    if !before {
        b.assigned(c, 1);
    }
    match told {
        Some(offset) => b.position(c, offset, ResetReason::Committed),
        None => b.position(c, 0, ResetReason::NoCommit),
    }
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn res_acquits_an_answer_that_was_overtaken_by_commits_of_the_next_owner() {
    for (name, told) in [
        ("res-overtaken-none-near", None),
        ("res-overtaken-near", Some(1)),
    ] {
        acquits(&overtaken(name, true, told), "RES", 0);
    }
    let forgotten = overtaken("res-overtaken-none-bad", false, None);
    convicts(&forgotten, "RES", "commit-forgotten");
    let elsewhere = overtaken("res-overtaken-bad", false, Some(1));
    convicts(&elsewhere, "RES", "resumed-elsewhere");
}

#[test]
fn res_acquits_a_reset_with_a_recorded_reason() {
    acquits(&resuming("res-near", ResetReason::OutOfRange, 0), "RES", 0);
    acquits(
        &resuming("res-committed-near", ResetReason::Committed, 2),
        "RES",
        0,
    );
}

/// A commit of 2 is forgotten in a run with a fault for good, which hit this broker; the log that held the commit is on
/// broker 1, and nobody leads it any more.
fn forgotten_for_good(name: &str, victim: u16) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0))]);
    b.processed(c, 0, v(0));
    b.stored_in_log();
    b.committed(c, 1, 1);
    b.planned("kill", true);
    b.fault_at(0, &format!("broker {victim}"), FaultStage::Injected);
    b.stored_is_offline();
    b.revoked(c);
    b.generation(2);
    b.assigned(c, 2);
    b.position(c, 0, ResetReason::NoCommit);
    b.finish(&[(0, v(0))])
}

#[test]
fn res_convicts_a_forgotten_commit_whatever_else_is_gone_for_good() {
    convicts(
        &forgotten_for_good("res-for-good-bad", 3),
        "RES",
        "commit-forgotten",
    );
}

#[test]
fn res_excuses_a_commit_whose_last_replica_is_gone_for_good() {
    acquits(&forgotten_for_good("res-for-good-near", 1), "RES", 1);
}

/// What becomes of a commit of offset 2 that no coordinator confirms, after 1 had been committed.
#[derive(Clone, Copy, PartialEq)]
enum Unconfirmed {
    /// Nobody knows, and another coordinator reads it in the log.
    Loaded,
    /// Nobody knows, and the coordinator is the same.
    SameCoordinator,
    /// It was refused, and another coordinator reads the log.
    Refused,
    /// It was resumed from once, and then the group is back at 1.
    LoadedAndGone,
}

fn resuming_unconfirmed(name: &str, fate: Unconfirmed) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.commit_asked(c, 1, Stage::Invoke);
    b.committed(c, 1, 1);
    b.processed(c, 1, v(1));
    b.commit_asked(c, 2, Stage::Invoke);
    if fate == Unconfirmed::Refused {
        b.commit_asked(c, 2, Stage::Fail);
    }
    if fate != Unconfirmed::SameCoordinator {
        b.group_loaded(1);
    }
    b.generation(2);
    b.assigned(d, 2);
    b.position(d, 2, ResetReason::Committed);
    if fate == Unconfirmed::LoadedAndGone {
        b.revoked(d);
        b.generation(3);
        b.assigned(c, 3);
        b.position(c, 1, ResetReason::Committed);
    }
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn res_acquits_a_commit_without_answer_that_the_next_coordinator_finds_in_its_log() {
    let near = resuming_unconfirmed("res-unconfirmed-near", Unconfirmed::Loaded);
    acquits(&near, "RES", 0);
    for (name, fate) in [
        ("res-unconfirmed-bad", Unconfirmed::SameCoordinator),
        ("res-refused-bad", Unconfirmed::Refused),
        ("res-unconfirmed-gone-bad", Unconfirmed::LoadedAndGone),
    ] {
        convicts(
            &resuming_unconfirmed(name, fate),
            "RES",
            "resumed-elsewhere",
        );
    }
}

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

#[test]
fn inv_leader_convicts_two_leaders_in_one_epoch_only() {
    for (name, epoch) in [("inv-leader-bad", 1), ("inv-leader-near", 2)] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2, 3], 0);
        b.elect(2, epoch, ElectionKind::Clean, &[2, 3], 0);
        let history = b.finish(&[]);
        if epoch == 1 {
            convicts(&history, "INV-LEADER", "INV-LEADER");
        } else {
            acquits(&history, "INV-LEADER", 0);
        }
    }
}

#[test]
fn inv_controller_convicts_two_controllers_in_one_epoch_only() {
    for (name, second) in [("inv-controller-bad", 1), ("inv-controller-near", 2)] {
        let mut b = Builder::new(name);
        for (node, epoch) in [(0, 1), (1, second)] {
            let elected = Controller::Elected {
                epoch: ControllerEpoch(epoch),
            };
            b.at(Some(node), What::Controller(elected));
        }
        let history = b.finish(&[]);
        if second == 1 {
            convicts(&history, "INV-CONTROLLER", "INV-CONTROLLER");
        } else {
            acquits(&history, "INV-CONTROLLER", 0);
        }
    }
}

#[test]
fn inv_isr_convicts_a_leader_out_of_sync_only() {
    for (name, isr) in [("inv-isr-bad", vec![2, 3]), ("inv-isr-near", vec![1])] {
        let mut b = Builder::new(name);
        b.born();
        let bad = isr.len() == 2;
        b.at(
            Some(0),
            What::Controller(Controller::IsrWritten {
                partition: orders(),
                isr: isr.into_iter().map(BrokerId).collect(),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: PartitionEpoch(1),
            }),
        );
        let history = b.finish(&[]);
        if bad {
            convicts(&history, "INV-ISR", "INV-ISR");
        } else {
            acquits(&history, "INV-ISR", 0);
        }
    }
}

#[test]
fn inv_hw_convicts_a_mark_that_goes_back_unless_the_log_was_cut() {
    for (name, cut) in [("inv-hw-bad", false), ("inv-hw-near", true)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.high_watermark(&[1, 2], 2);
        if cut {
            b.truncate(2, 1, 2, "leader_epoch");
        }
        b.high_watermark(&[2], 1);
        let history = b.finish(&[]);
        if cut {
            acquits(&history, "INV-HW", 0);
        } else {
            convicts(&history, "INV-HW", "INV-HW");
        }
    }
}

#[test]
fn inv_log_convicts_a_difference_below_the_high_watermark_only() {
    for (name, mark) in [("inv-log-bad", 1), ("inv-log-near", 0)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1], 0, 0, v(0));
        b.append(&[2], 0, 0, v(1));
        b.high_watermark(&[1], 1);
        b.high_watermark(&[2], mark);
        b.append(&[3], 0, 0, v(0));
        b.high_watermark(&[3], 1);
        let history = b.finish(&[]);
        if mark == 1 {
            convicts(&history, "INV-LOG", "INV-LOG");
        } else {
            acquits(&history, "INV-LOG", 0);
        }
    }
}

#[test]
fn inv_complete_convicts_a_clean_leader_without_what_was_committed_only() {
    for (name, kind) in [
        ("inv-complete-bad", ElectionKind::Clean),
        ("inv-complete-near", ElectionKind::Unclean),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1], 0, 0, v(0));
        b.high_watermark(&[1], 1);
        b.elect(2, 1, kind, &[2], 0);
        let history = b.finish(&[]);
        if kind == ElectionKind::Clean {
            convicts(&history, "INV-COMPLETE", "INV-COMPLETE");
        } else {
            acquits(&history, "INV-COMPLETE", 0);
        }
    }
}

#[test]
fn inv_quorum_convicts_a_leader_that_leaves_out_whom_the_controller_let_in() {
    for (name, waits_for) in [
        ("inv-quorum-bad", vec![1, 2]),
        ("inv-quorum-near", vec![1, 2, 3]),
    ] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2], 0);
        let bad = waits_for.len() == 2;
        b.let_in(1, 1, &[1, 2, 3], &waits_for);
        let history = b.finish(&[]);
        if bad {
            convicts(&history, "INV-QUORUM", "INV-QUORUM");
        } else {
            acquits(&history, "INV-QUORUM", 0);
        }
    }
}

#[test]
fn inv_valid_hw_convicts_a_member_without_what_is_committed_only() {
    for (name, holders) in [
        ("inv-valid-hw-bad", vec![1, 2]),
        ("inv-valid-hw-near", vec![1, 2, 3]),
    ] {
        let mut b = Builder::new(name);
        b.elect(1, 1, ElectionKind::New, &[1, 2], 0);
        b.append(&[1, 2, 3], 0, 1, v(0));
        b.append(&holders, 1, 1, v(1));
        b.high_watermark(&[1], 2);
        b.let_in(1, 1, &[1, 2, 3], &[1, 2, 3]);
        let history = b.finish(&[]);
        if holders.len() == 2 {
            convicts(&history, "INV-VALID-HW", "INV-VALID-HW");
        } else {
            acquits(&history, "INV-VALID-HW", 0);
        }
    }
}

#[test]
fn inv_log_excuses_what_lost_disks_hide_within_one_epoch() {
    for (name, lossy) in [
        ("inv-log-one-disk-bad", vec![]),
        ("inv-log-two-disks-near", vec![1, 2]),
    ] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        if lossy.is_empty() {
            b.kill(1);
            b.loaded(1, 0);
        }
        for broker in &lossy {
            b.power_loss(*broker, 0);
        }
        b.lead(1, 0, &[1, 2, 3], 0);
        b.append(&[1], 0, 0, v(1));
        b.high_watermark(&[1], 1);
        b.high_watermark(&[3], 1);
        let history = b.finish(&[]);
        if lossy.is_empty() {
            convicts(&history, "INV-COMPLETE", "INV-COMPLETE");
            convicts(&history, "INV-LOG", "INV-LOG");
        } else {
            acquits(&history, "INV-COMPLETE", 0);
            acquits(&history, "INV-LOG", 0);
        }
    }
}

#[test]
fn inv_strong_isr_convicts_a_member_that_cuts_what_is_committed_only() {
    for (name, to) in [("inv-strong-isr-bad", 1), ("inv-strong-isr-near", 2)] {
        let mut b = Builder::new(name);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.append(&[1, 2], 2, 0, v(2));
        b.high_watermark(&[1], 2);
        b.truncate(2, to, 3, "high_watermark");
        let history = b.finish(&[]);
        if to == 1 {
            convicts(&history, "INV-STRONG-ISR", "INV-STRONG-ISR");
        } else {
            acquits(&history, "INV-STRONG-ISR", 0);
        }
    }
}

#[test]
fn inv_read_convicts_a_leader_that_cuts_what_was_read_only() {
    for (name, read) in [("inv-read-bad", true), ("inv-read-near", false)] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1, 2, 3], 1, 0, v(1));
        b.high_watermark(&[1], 2);
        let records: &[_] = if read {
            &[(0, v(0)), (1, v(1))]
        } else {
            &[(0, v(0))]
        };
        b.polled(c, records);
        b.truncate(1, 1, 2, "diverging_epoch");
        let history = b.finish(&[]);
        if read {
            convicts(&history, "INV-READ", "INV-READ");
        } else {
            acquits(&history, "INV-READ", 0);
        }
    }
}

#[test]
fn inv_read_hw_convicts_a_read_above_every_mark_of_a_leader_only() {
    for (name, mark) in [("inv-read-hw-bad", 1), ("inv-read-hw-near", 2)] {
        let mut b = Builder::new(name);
        let c = b.consumer(CommitPolicy::Never);
        b.born();
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.append(&[1], 1, 0, v(1));
        b.high_watermark(&[1], mark);
        b.polled(c, &[(0, v(0)), (1, v(1))]);
        let history = b.finish(&[]);
        if mark == 1 {
            convicts(&history, "INV-READ-HW", "INV-READ-HW");
        } else {
            acquits(&history, "INV-READ-HW", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_two_meanings_of_one_transaction_only() {
    for (name, digest) in [("inv-keeper-bad", 9), ("inv-keeper-near", 2)] {
        let mut b = Builder::new(name);
        b.keeper(1, 1, 1);
        b.keeper(1, 2, 2);
        b.keeper(2, 1, 1);
        b.keeper(2, 2, digest);
        let history = b.finish(&[]);
        if digest == 9 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_a_transaction_left_out() {
    let mut b = Builder::new("inv-keeper-skip-bad");
    for zxid in 1..4 {
        b.keeper(1, zxid, 7);
    }
    b.keeper(2, 1, 7);
    b.keeper(2, 3, 7);
    convicts(&b.finish(&[]), "INV-KEEPER", "INV-KEEPER");
}

#[test]
fn inv_keeper_convicts_a_server_that_is_behind_its_client_only() {
    for (name, seen) in [("inv-keeper-image-bad", 2), ("inv-keeper-image-near", 1)] {
        let mut b = Builder::new(name);
        b.keeper(1, 1, 1);
        b.keeper(1, 2, 2);
        b.keeper(2, 1, 1);
        b.resumed_at(2, seen);
        b.keeper(2, 2, 2);
        let history = b.finish(&[]);
        if seen == 2 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn inv_keeper_convicts_a_tree_that_is_not_that_of_the_others_once() {
    for (name, restored) in [("inv-keeper-state-bad", 9), ("inv-keeper-state-near", 22)] {
        let mut b = Builder::new(name);
        for (zxid, state) in [(1, 11), (2, 22), (3, 33)] {
            b.keeper_state(1, zxid, state);
        }
        // It comes back with what its disk shows, and goes on from there.
        b.keeper_restored(2, 2, restored);
        b.keeper_state(2, 3, restored + 11);
        let history = b.finish(&[]);
        if restored == 9 {
            convicts(&history, "INV-KEEPER", "INV-KEEPER");
        } else {
            acquits(&history, "INV-KEEPER", 0);
        }
    }
}

#[test]
fn a_record_deleted_by_retention_is_not_lost() {
    let mut b = Builder::new("pa-deleted-near");
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.broker(1, Replica::LogStart(Offset(1)));
    let history = b.finish(&[(1, v(1))]);
    acquits(&history, "PA", 0);
    let ledger = judge(&history).ledger;
    assert_eq!(
        (ledger.get("lost"), ledger.get("deleted")),
        (Some(0), Some(1))
    );
}

#[test]
fn a_record_that_was_lost_before_its_offset_was_deleted_is_lost() {
    let mut b = Builder::new("p1-deleted-after-loss");
    let p = b.producer("1", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1], 0, 0, v(0));
    b.acked(p, 0, 0);
    b.kill(1);
    b.elect(2, 1, ElectionKind::Clean, &[2, 3], 0);
    b.send(p, 1);
    b.append(&[2, 3], 0, 1, v(1));
    b.acked(p, 1, 0);
    b.send(p, 2);
    b.append(&[2, 3], 1, 1, v(2));
    b.acked(p, 2, 1);
    b.broker(2, Replica::LogStart(Offset(1)));
    let history = b.finish(&[(1, v(2))]);
    acquits(&history, "P1", 1);
    let ledger = judge(&history).ledger;
    assert_eq!(
        (ledger.get("lost"), ledger.get("deleted")),
        (Some(1), Some(1))
    );
}
