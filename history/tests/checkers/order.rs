//! Guarantees about the order of records: FIFO, GAP and RT of a partition, AGREE of its readers.

use crate::builder::{Builder, orders};
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::event::{Controller, ElectionKind, Fault, FaultStage, Replica, What};
use history::manifest::CommitPolicy;
use history::operation::Stage;

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

fn deletion_is_asked_for(b: &mut Builder) {
    b.at(
        None,
        What::Fault(Fault {
            index: 0,
            kind: "delete_topic".to_owned(),
            target: "orders".to_owned(),
            stage: FaultStage::Injected,
        }),
    );
}

fn deleted(b: &mut Builder) {
    for broker in 1..=3 {
        b.broker(broker, Replica::Stopped { deleted: true });
    }
    let gone = Controller::TopicDeleted(orders().topic);
    b.at(Some(0), What::Controller(gone));
}

/// A topic is deleted with what was acknowledged in it, and created anew under its name: once or twice, and as often as
/// somebody asked for it or not.
fn deleted_with_its_topic(name: &str, wishes: u32, deletions: u64) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.planned("delete_topic", false);
    b.born();
    b.written(p, 0, 0);
    for _ in 0..wishes {
        deletion_is_asked_for(&mut b);
    }
    for life in 1..=deletions {
        deleted(&mut b);
        b.born();
        b.written(p, life, 0);
    }
    b.finish(&[(0, v(deletions))])
}

#[test]
fn pa_and_agree_acquit_what_went_with_a_topic_that_was_to_go() {
    let near = deleted_with_its_topic("pa-topic-near", 1, 1);
    acquits(&near, "PA", 1);
    acquits(&near, "AGREE", 1);
}

#[test]
fn pa_and_agree_convict_a_topic_that_is_deleted_once_more_than_anybody_asked_for() {
    let bad = deleted_with_its_topic("pa-topic-bad", 1, 2);
    convicts(&bad, "PA", "acknowledged-lost");
    convicts(&bad, "AGREE", "inconsistent-offset");
}

#[test]
fn progress_excuses_what_cannot_be_read_because_its_topic_was_to_go() {
    for (name, asked_for) in [
        ("progress-deleted-near", true),
        ("progress-deleted-bad", false),
    ] {
        let mut b = Builder::new(name);
        let p = b.producer("all", 5, false);
        b.planned("delete_topic", false);
        b.born();
        b.written(p, 0, 0);
        if asked_for {
            deletion_is_asked_for(&mut b);
        }
        deleted(&mut b);
        let history = b.finish(&[]);
        if asked_for {
            acquits(&history, "PROGRESS", 1);
        } else {
            convicts(&history, "PROGRESS", "final-read-incomplete");
        }
    }
}

#[test]
fn pa_convicts_a_topic_that_is_gone_though_nobody_asked_and_a_replica_has_it() {
    let mut b = Builder::new("pa-topic-gone-bad");
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    let gone = Controller::TopicDeleted(orders().topic);
    b.at(Some(0), What::Controller(gone));
    convicts(&b.finish(&[]), "PA", "acknowledged-lost");
}

#[test]
fn pa_convicts_what_was_lost_before_its_topic_was_deleted() {
    let mut b = Builder::new("pa-topic-late-bad");
    let p = b.producer("all", 5, false);
    b.planned("delete_topic", false);
    b.born();
    b.written(p, 0, 0);
    for broker in 1..=3 {
        b.truncate(broker, 0, 1, "high_watermark");
    }
    deletion_is_asked_for(&mut b);
    deleted(&mut b);
    b.born();
    b.written(p, 1, 0);
    convicts(&b.finish(&[(0, v(1))]), "PA", "acknowledged-lost");
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

/// The logs of two replicas differ below both high watermarks, and nobody reads the one that is wrong.
fn differing_logs(name: &str, era: &str) -> History {
    let mut b = Builder::new(name);
    era.clone_into(&mut b.history.manifest.era);
    let p = b.producer("1", 5, false);
    b.born();
    b.send(p, 0);
    b.append(&[1, 3], 0, 0, v(0));
    b.append(&[2], 0, 0, v(1));
    b.high_watermark(&[1, 2, 3], 1);
    b.acked(p, 0, 0);
    b.finish(&[(0, v(0))])
}

#[test]
fn agree_convicts_logs_that_differ_below_their_high_watermarks_where_the_era_promises_them() {
    convicts(&differing_logs("agree-log-bad", "2.8"), "AGREE", "INV-LOG");
    acquits(&differing_logs("agree-log-near", "0.8"), "AGREE", 0);
}

#[test]
fn agree_convicts_an_acknowledgement_of_a_place_where_a_reader_finds_another_record() {
    let mut b = Builder::new("agree-told-bad");
    let p = b.producer("all", 5, false);
    b.born();
    b.send(p, 0);
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, 0, v(1));
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.high_watermark(&[1, 2, 3], 2);
    b.acked(p, 0, 0);
    convicts(
        &b.finish(&[(0, v(1)), (1, v(0))]),
        "AGREE",
        "inconsistent-offset",
    );
}

/// The second record is in the log when the first one comes, of which nobody was told.
fn late(name: &str, idempotence: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 1, idempotence);
    b.born();
    b.send(p, 0);
    b.ended(p, 0, Stage::Info);
    b.written(p, 1, 0);
    b.append(&[1, 2, 3], 1, 0, v(0));
    b.high_watermark(&[1, 2, 3], 2);
    b.finish(&[(0, v(1)), (1, v(0))])
}

#[test]
fn fifo_excuses_what_comes_after_the_producer_gave_it_up_unless_its_batches_are_numbered() {
    acquits(&late("fifo-late-near", false), "FIFO", 1);
    convicts(&late("fifo-late-bad", true), "FIFO", "reordered");
}

/// Broker 3 lacks the first record when it is elected, and then takes the second.
fn hole(name: &str, kind: ElectionKind) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, true);
    b.born();
    b.send(p, 0);
    b.append(&[1, 2], 0, 0, v(0));
    b.high_watermark(&[1], 1);
    b.acked(p, 0, 0);
    b.elect(3, 1, kind, &[3], 0);
    b.send(p, 1);
    b.append(&[3], 0, 1, v(1));
    b.high_watermark(&[3], 1);
    b.acked(p, 1, 0);
    b.finish(&[(0, v(1))])
}

#[test]
fn gap_excuses_the_hole_of_an_unclean_election_and_convicts_that_of_a_clean_one() {
    acquits(&hole("gap-unclean-near", ElectionKind::Unclean), "GAP", 1);
    convicts(&hole("gap-clean-bad", ElectionKind::Clean), "GAP", "hole");
}
