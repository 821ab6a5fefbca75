//! What a loss of power excuses, each with a near miss in which it is not the cause.

use crate::builder::Builder;
use crate::kept::{acquits, convicts, judged};
use crate::v;
use history::History;
use history::event::{Controller, ElectionKind, LeaderElection, Process, Replica, What};
use history::manifest::CommitPolicy;
use history::verdict::Answer;
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicPartition};
use protocol::verb::ResetReason;

/// Brokers 1 and 3 lose a record with their power, broker 2 keeps it. Broker 1 leads again, in the same epoch or in a new
/// one, and another record takes the place; then broker 2 is elected.
fn written_again(name: &str, epoch: i32) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.power_loss(1, 0);
    b.power_loss(3, 0);
    if epoch == 0 {
        b.lead(1, 0, &[1, 2, 3], 0);
    } else {
        b.elect(1, epoch, ElectionKind::Clean, &[1, 2, 3], 0);
    }
    b.send(p, 1);
    b.append(&[1, 3], 0, epoch, v(1));
    b.high_watermark(&[1, 3], 1);
    b.acked(p, 1, 0);
    b.elect(2, epoch + 1, ElectionKind::Preferred, &[1, 2, 3], 1);
    b.finish(&[(0, v(0))])
}

#[test]
fn a_record_that_another_of_the_same_epoch_displaces_is_excused_where_its_leader_had_lost_power_and_led_again()
 {
    let near = written_again("pa-led-again-near", 0);
    acquits(&near, "PA", 1);
    acquits(&near, "INV-STRONG-ISR", 0);
    acquits(&near, "INV-LOG", 0);
    let bad = written_again("pa-new-epoch-bad", 1);
    convicts(&bad, "PA", "acknowledged-lost");
    convicts(&bad, "INV-STRONG-ISR", "INV-STRONG-ISR");
}

/// A group acts on a record that goes with the power of all; another takes its place, in the same epoch or in a new one.
fn skipped(name: &str, epoch: i32) -> History {
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
    b.committed(c, 1, 1);
    for broker in [1, 2, 3] {
        b.power_loss(broker, 0);
    }
    if epoch == 0 {
        b.lead(1, 0, &[1, 2, 3], 0);
    } else {
        b.elect(1, epoch, ElectionKind::Clean, &[1, 2, 3], 0);
    }
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, epoch, v(1));
    b.high_watermark(&[1, 2, 3], 1);
    b.acked(p, 1, 0);
    b.finish(&[(0, v(1))])
}

#[test]
fn a_group_may_skip_what_takes_the_place_of_what_it_read_only_where_no_epoch_tells_them_apart() {
    acquits(&skipped("alo-led-again-near", 0), "ALO", 1);
    let bad = skipped("alo-new-epoch-bad", 1);
    convicts(&bad, "ALO", "never-processed");
}

/// The coordinator's log ends with its process or with its power, and comes back without the commit.
fn gone_back(name: &str, how: &str) -> History {
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
    let home = TopicPartition::new("__consumer_offsets", 0);
    let elected = |epoch| {
        What::Controller(Controller::LeaderElected(LeaderElection {
            partition: home.clone(),
            leader: Some(BrokerId(1)),
            leader_epoch: LeaderEpoch(epoch),
            isr: vec![BrokerId(1)],
            kind: ElectionKind::Clean,
            controller_epoch: ControllerEpoch(1),
        }))
    };
    b.at(Some(0), elected(0));
    b.stored_in_log();
    b.committed(c, 1, 2);
    let died = Process::Died {
        how: how.to_owned(),
        bytes_lost: 100,
    };
    b.at(Some(0), What::Process(died));
    let loaded = Replica::Loaded {
        log_start_offset: Offset(0),
        log_end_offset: Offset(0),
        high_watermark: Offset(0),
        clean: false,
    };
    let leads = Replica::BecameLeader {
        leader_epoch: LeaderEpoch(1),
        isr: vec![BrokerId(1)],
        log_end_offset: Offset(0),
    };
    b.at(Some(0), elected(1));
    for replica in [loaded, leads] {
        b.at(Some(0), What::Replica(home.clone(), replica));
    }
    b.committed(c, 1, 1);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn a_commit_may_go_back_where_the_coordinator_lost_the_one_before_with_its_power() {
    acquits(&gone_back("cm-power-near", "power"), "CM", 1);
    let bad = gone_back("cm-process-bad", "process");
    convicts(&bad, "CM", "commit-went-back");
}

/// Broker 2 stops following in the middle, because the leader that lost its power put a longer batch in the same place; or
/// nobody ever lost anything.
fn stuck(name: &str, lost: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    if lost {
        b.power_loss(1, 0);
    } else {
        b.kill(1);
        b.loaded(1, 1);
    }
    let end = i64::from(!lost);
    b.lead(1, 0, &[1, 2, 3], end);
    b.phase(history::event::Phase::Heal);
    b.send(p, 1);
    b.append(&[1], end, 0, v(1));
    b.finish(&[(0, v(0))])
}

#[test]
fn a_partition_may_stand_still_where_followers_kept_what_its_leader_lost_in_its_own_epoch() {
    acquits(&stuck("progress-led-again-near", true), "PROGRESS", 1);
    convicts(
        &stuck("progress-led-again-bad", false),
        "PROGRESS",
        "send-never-ends",
    );
}

/// With KIP-966: a record is lost with the power of the leader, and whoever led last leads again; these came back from an
/// unclean shutdown.
fn last_known(name: &str, kind: ElectionKind, unclean: &[u16]) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    for broker in unclean {
        b.power_loss(*broker, i64::from(*broker != 1));
    }
    b.let_in(1, 0, &[2, 3], &[]);
    b.elect(1, 1, kind, &[1], 0);
    b.send(p, 1);
    b.append(&[1, 2, 3], 0, 1, v(1));
    b.high_watermark(&[1, 2, 3], 1);
    b.acked(p, 1, 0);
    b.finish(&[(0, v(1))])
}

#[test]
fn who_led_last_may_lead_without_a_record_only_after_as_many_unclean_shutdowns_as_have_to_be_in_sync()
 {
    let of = |name, unclean| last_known(name, ElectionKind::LastKnownLeader, unclean);
    acquits(&of("pa-last-known-near", &[1, 2]), "PA", 1);
    convicts(&of("pa-last-known-bad", &[1]), "PA", "acknowledged-lost");
    let eligible = last_known("pa-eligible-bad", ElectionKind::Eligible, &[1, 2]);
    convicts(&eligible, "PA", "acknowledged-lost");
}

/// A record that nobody lost stands before one that all or none lost with their leader's power, and the final read gets neither.
fn unread(name: &str, lost: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    if lost {
        b.power_loss(1, 1);
    } else {
        b.kill(1);
        b.loaded(1, 2);
    }
    b.lead(1, 0, &[1, 2, 3], if lost { 1 } else { 2 });
    b.finish(&[])
}

#[test]
fn a_record_that_its_leader_has_is_out_of_reach_where_followers_kept_what_it_lost_in_its_own_epoch()
{
    acquits(&unread("pa-stands-still-near", true), "PA", 2);
    let judgement = judged(&unread("pa-cut-short", false));
    let answer = &judgement.verdict("PA").unwrap().answer;
    assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
}

/// A record is written, polled after its leader has lost it, and somebody else got its place.
fn polled_late(name: &str, copies: &[u16]) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("1", 5, false);
    let c = b.consumer(CommitPolicy::Never);
    b.elect(3, 0, ElectionKind::New, &[1, 2, 3], 0);
    b.elect(1, 1, ElectionKind::Clean, &[1], 0);
    b.send(p, 0);
    b.append(copies, 0, 1, v(0));
    b.high_watermark(copies, 1);
    b.power_loss(1, 0);
    b.elect(1, 2, ElectionKind::Clean, &[1], 0);
    b.polled(c, &[(0, v(0))]);
    b.send(p, 1);
    b.append(&[1], 0, 2, v(1));
    b.acked(p, 1, 0);
    b.finish(&[(0, v(1))])
}

#[test]
fn what_is_polled_late_was_lost_by_the_leader_that_wrote_it_and_not_by_one_before() {
    acquits(&polled_late("agree-polled-late-near", &[1, 3]), "AGREE", 1);
    let bad = polled_late("agree-one-copy-bad", &[1]);
    convicts(&bad, "AGREE", "inconsistent-offset");
}
