//! Who owns a partition: OWN, of groups that a broker coordinates.

use crate::builder::Builder;
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::event::{FaultStage, Group};
use history::manifest::CommitPolicy;
use protocol::ids::MemberId;
use protocol::verb::ResetReason;

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

/// The coordinator has put a second process into the place of the first, cannot confirm that and takes the first one back;
/// the next coordinator replaces whom it found in the log.
fn taken_back(name: &str, found: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.assigned(c, 1);
    b.polled(c, &[(0, v(0))]);
    let mut replaces = |old: &str, new: &str| {
        b.group(Group::MemberRemoved {
            member: MemberId::from(old),
            reason: "replaced".into(),
        });
        b.group(Group::MemberJoined(MemberId::from(new)));
    };
    replaces("m1", "m8");
    replaces("m8", "m1");
    replaces(found, &format!("m{d}"));
    b.assigned(d, 1);
    b.processed(c, 0, v(0));
    b.finish(&[(0, v(0))])
}

#[test]
fn own_convicts_a_second_owner_beside_a_static_member_that_was_taken_back() {
    convicts(&taken_back("own-taken-back-bad", "m9"), "OWN", "two-owners");
}

#[test]
fn own_excuses_a_static_member_that_the_next_coordinator_does_not_find() {
    acquits(&taken_back("own-taken-back-near", "m8"), "OWN", 1);
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

/// Two members are given the partition in generations of the same number; between the two the only replica that has what
/// the coordinator had stored may go for good, or another one.
fn counted_anew(name: &str, victim: u16) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.consumer(CommitPolicy::After);
    let d = b.consumer(CommitPolicy::After);
    b.born();
    b.written(p, 0, 0);
    b.stored_in_log();
    b.assigned(c, 1);
    b.planned("kill", true);
    b.fault_at(0, &format!("broker {victim}"), FaultStage::Injected);
    b.stored_is_offline();
    b.assigned(d, 1);
    b.finish(&[(0, v(0))])
}

#[test]
fn own_excuses_a_second_owner_where_the_group_was_lost_and_counts_anew() {
    acquits(&counted_anew("own-anew-near", 1), "OWN", 1);
    convicts(&counted_anew("own-anew-bad", 3), "OWN", "two-owners");
}
