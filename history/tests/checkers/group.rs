//! Guarantees of consumer groups: AMO, ALO, CM, ORD, RES.

use crate::builder::{Builder, orders};
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::event::{FaultStage, Group, What};
use history::manifest::CommitPolicy;
use history::operation::{Action, Polled, Stage};
use protocol::ids::{
    GenerationId, GroupId, MemberId, Offset, ProducerId, TopicName, TopicPartition,
};
use protocol::verb::ResetReason;

/// Two acknowledged records, and a group of so many members, which commit after they process, in its first generation.
fn two_records<const MEMBERS: usize>(name: &str) -> (Builder, [u16; MEMBERS]) {
    two_records_for(name, CommitPolicy::After)
}

/// The same, of members that commit like this.
fn two_records_for<const MEMBERS: usize>(
    name: &str,
    commit: CommitPolicy,
) -> (Builder, [u16; MEMBERS]) {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let members = std::array::from_fn(|_| b.consumer(commit));
    b.born();
    b.written(p, 0, 0);
    b.written(p, 1, 1);
    b.generation(1);
    (b, members)
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
    let (mut b, [c]) = two_records(name);
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
    let (mut b, [c]) = two_records(name);
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

/// A member asks for a commit, the next generation begins, and only then do the replicas have the commit: before they have
/// the generation, or after.
#[test]
fn cm_acquits_a_commit_that_waited_in_the_log_while_its_generation_ended_only() {
    for (name, stands) in [("cm-waited-bad", true), ("cm-waited-near", false)] {
        let mut b = Builder::new(name);
        let p = b.producer("all", 5, false);
        let c = b.consumer(CommitPolicy::After);
        b.born();
        b.written(p, 0, 0);
        b.generation(1);
        b.polled(c, &[(0, v(0))]);
        b.processed(c, 0, v(0));
        b.commit_asked(c, 1, Stage::Invoke);
        b.generation(2);
        if stands {
            b.group(Group::State("Stable".to_owned()));
        }
        b.committed(c, 1, 1);
        let history = b.finish(&[(0, v(0))]);
        if stands {
            convicts(&history, "CM", "stale-commit");
        } else {
            acquits(&history, "CM", 0);
        }
    }
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
    let (mut b, [c, d]) = two_records(name);
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
    let (mut b, [c, d]) = two_records(name);
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
    /// The client made it by itself, nobody knows, and another coordinator reads the log.
    LoadedByItself,
    /// The client made it by itself, and it was refused.
    RefusedByItself,
}

fn resuming_unconfirmed(name: &str, fate: Unconfirmed) -> History {
    let (mut b, [c, d]) = two_records(name);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.commit_asked(c, 1, Stage::Invoke);
    b.committed(c, 1, 1);
    b.processed(c, 1, v(1));
    match fate {
        Unconfirmed::LoadedByItself => b.commit_untold(c, 2, (Stage::Info, true)),
        Unconfirmed::RefusedByItself => b.commit_untold(c, 2, (Stage::Fail, true)),
        Unconfirmed::Refused => {
            b.commit_asked(c, 2, Stage::Invoke);
            b.commit_asked(c, 2, Stage::Fail);
        }
        Unconfirmed::Loaded | Unconfirmed::SameCoordinator | Unconfirmed::LoadedAndGone => {
            b.commit_asked(c, 2, Stage::Invoke);
        }
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

/// A transaction's offset lies in the log; a coordinator that hears nothing of its marker, or hears that it was aborted, is
/// followed by one that reads the log.
fn resuming_pending(name: &str, aborted: bool) -> History {
    let (mut b, [c, d]) = two_records(name);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.processed(c, 0, v(0));
    b.committed(c, 1, 1);
    b.processed(c, 1, v(1));
    let producer_id = ProducerId(9);
    b.group(Group::OffsetPending {
        partition: orders(),
        offset: Offset(2),
        producer_id,
    });
    if aborted {
        let committed = false;
        b.group(Group::PendingDecided {
            producer_id,
            committed,
        });
    }
    b.group_loaded(1);
    b.generation(2);
    b.assigned(d, 2);
    b.position(d, 2, ResetReason::Committed);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn res_acquits_an_offset_of_a_transaction_that_the_next_coordinator_finds_decided() {
    acquits(&resuming_pending("res-pending-near", false), "RES", 0);
    let aborted = resuming_pending("res-pending-bad", true);
    convicts(&aborted, "RES", "resumed-elsewhere");
}

/// A process of a client that commits like this dies with records in hand; another member goes on behind them.
fn resuming_after_a_death(name: &str, commit: CommitPolicy) -> History {
    let (mut b, [c, d]) = two_records_for(name, commit);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0)), (1, v(1))]);
    b.committed(c, 1, 1);
    b.client_dies(c);
    b.group_loaded(1);
    b.generation(2);
    b.assigned(d, 2);
    b.position(d, 2, ResetReason::Committed);
    b.finish(&[(0, v(0)), (1, v(1))])
}

#[test]
fn res_acquits_what_a_client_that_commits_by_itself_asked_for_before_it_died() {
    let near = resuming_after_a_death("res-died-near", CommitPolicy::Auto);
    acquits(&near, "RES", 0);
    let bad = resuming_after_a_death("res-died-bad", CommitPolicy::After);
    convicts(&bad, "RES", "resumed-elsewhere");
}

/// A client that commits by itself polls the record at 0, behind which there is a marker, or a record, and dies; another one
/// goes on at 2; or it has committed 2, and the other one goes on at 1.
fn resuming_behind(name: &str, marker: bool, settled: bool) -> History {
    let (mut b, [c, d]) = two_records_for(name, CommitPolicy::Auto);
    b.assigned(c, 1);
    b.position(c, 0, ResetReason::NoCommit);
    b.polled(c, &[(0, v(0))]);
    b.committed(c, 1, if settled { 2 } else { 0 });
    b.client_dies(c);
    b.group_loaded(1);
    b.generation(2);
    b.assigned(d, 2);
    b.position(d, if settled { 1 } else { 2 }, ResetReason::Committed);
    let second = (if marker { 2 } else { 1 }, v(1));
    b.finish(&[(0, v(0)), second])
}

#[test]
fn res_admits_a_commit_behind_a_marker_of_a_client_that_commits_by_itself() {
    let near = resuming_behind("res-marker-near", true, false);
    acquits(&near, "RES", 0);
    let behind_a_record = resuming_behind("res-marker-bad", false, false);
    convicts(&behind_a_record, "RES", "resumed-elsewhere");
    let over = resuming_behind("res-marker-over-bad", true, true);
    convicts(&over, "RES", "resumed-elsewhere");
}

#[test]
fn res_acquits_a_commit_without_answer_that_the_next_coordinator_finds_in_its_log() {
    let near = resuming_unconfirmed("res-unconfirmed-near", Unconfirmed::Loaded);
    acquits(&near, "RES", 0);
    let near = resuming_unconfirmed("res-by-itself-near", Unconfirmed::LoadedByItself);
    acquits(&near, "RES", 0);
    for (name, fate) in [
        ("res-by-itself-bad", Unconfirmed::RefusedByItself),
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
