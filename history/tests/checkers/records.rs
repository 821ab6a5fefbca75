//! Guarantees about single records: what is read was sent (V0), written once (P0, DUP), kept once acknowledged (P1, PA).

use crate::builder::Builder;
use crate::builder::transactions::{copy, order};
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::event::{ElectionKind, Replica};
use history::judge::judge;
use history::operation::Stage;
use protocol::ids::Offset;

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
fn v0_convicts_a_read_of_what_nobody_sent() {
    let mut b = Builder::new("v0-unsent-bad");
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    convicts(&b.finish(&[(0, v(0)), (1, v(7))]), "V0", "read-never-sent");
}

#[test]
fn v0_convicts_a_read_from_another_topic_than_it_was_sent_to() {
    let mut b = Builder::new("v0-topic-bad");
    let p = b.producer("all", 5, false);
    b.two_topics();
    b.written(p, 0, 0);
    let places = [(order(0), 0, v(0)), (copy(0), 0, v(0))];
    convicts(
        &b.finish_committed(&places, &[]),
        "V0",
        "read-from-wrong-topic",
    );
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
fn p1_and_pa_convict_an_acknowledgement_of_another_place_than_the_log_has_it_at() {
    for (name, acks, code) in [
        ("p1-elsewhere-bad", "1", "P1"),
        ("pa-elsewhere-bad", "all", "PA"),
    ] {
        let mut b = Builder::new(name);
        let p = b.producer(acks, 5, false);
        b.born();
        b.send(p, 0);
        b.append(&[1, 2, 3], 0, 0, v(0));
        b.high_watermark(&[1, 2, 3], 1);
        b.acked(p, 0, 1);
        convicts(&b.finish(&[(0, v(0))]), code, "acknowledged-elsewhere");
    }
}

#[test]
fn p1_and_pa_convict_a_read_that_leaves_out_what_the_leader_has() {
    for (name, acks, code) in [("p1-unread-bad", "1", "P1"), ("pa-unread-bad", "all", "PA")] {
        let mut b = Builder::new(name);
        let p = b.producer(acks, 5, false);
        b.born();
        b.written(p, 0, 0);
        b.written(p, 1, 1);
        convicts(&b.finish(&[(1, v(1))]), code, "acknowledged-unread");
    }
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

/// Two batches, the first of which broker 1 has forgotten; the second comes again, with or without the first, to this leader.
fn carried(name: &str, with_the_forgotten: bool, last_leader: u16) -> History {
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
        let leader = if number == 1 { last_leader } else { 1 };
        let others = [1, 2, 3].into_iter().filter(|broker| *broker != leader);
        let all: Vec<u16> = std::iter::once(leader).chain(others).collect();
        b.append_numbered(&all, offset, (1, sequence), v(number));
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
    acquits(&carried("dup-window-carried-near", true, 1), "DUP", 2);
    // A leader that has forgotten nothing may be the one that it comes to.
    acquits(&carried("dup-window-moved-near", true, 2), "DUP", 2);
    for (name, leader) in [("dup-window-alone-bad", 1), ("dup-window-moved-bad", 2)] {
        convicts(&carried(name, false, leader), "DUP", "duplicate");
    }
    // Another broker read its state back than the one that appended again.
    let other = remembered("dup-window-other-bad", 0, 2, 1);
    convicts(&other, "DUP", "duplicate");
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

/// Retention of a follower may be ahead of its leader's.
#[test]
fn what_a_follower_deleted_before_it_led_is_not_lost() {
    for (name, deletes) in [
        ("pa-follower-deletes-near", true),
        ("pa-follower-keeps-bad", false),
    ] {
        let mut b = Builder::new(name);
        let p = b.producer("all", 5, false);
        b.born();
        b.written(p, 0, 0);
        b.written(p, 1, 1);
        if deletes {
            b.broker(2, Replica::LogStart(Offset(1)));
        }
        b.elect(2, 1, ElectionKind::Clean, &[2, 3], 2);
        let history = b.finish(&[(1, v(1))]);
        if deletes {
            acquits(&history, "PA", 0);
        } else {
            convicts(&history, "PA", "acknowledged-unread");
        }
    }
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
