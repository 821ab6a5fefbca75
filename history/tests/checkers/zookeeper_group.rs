//! Groups of ZooKeeper consumers, of which no coordinator tells: OWN, CM, RES.

use crate::builder::Builder;
use crate::kept::{acquits, convicts};
use crate::v;
use history::History;
use history::manifest::CommitPolicy;
use history::operation::Stage;
use protocol::config::OffsetStorage;
use protocol::verb::ResetReason;

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

/// A consumer finds 1, for which it asked before, or after, the commit of 3 was over, and begins to ask again in the same step.
fn asked_twice(name: &str, over: bool) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    let c = b.old_consumer(CommitPolicy::Auto);
    let d = b.old_consumer(CommitPolicy::Auto);
    b.born();
    b.written(p, 0, 0);
    b.writes(c, Stage::Invoke, (101, 1));
    b.writes(c, Stage::Ok, (101, 1));
    if over {
        b.writes(c, Stage::Invoke, (102, 3));
        b.writes(c, Stage::Ok, (102, 3));
        b.rebalances(d);
    } else {
        b.rebalances(d);
        b.writes(c, Stage::Invoke, (102, 3));
        b.writes(c, Stage::Ok, (102, 3));
    }
    b.rebalances(d);
    b.owns(d);
    b.in_one_step();
    b.position(d, 1, ResetReason::Committed);
    b.in_one_step();
    b.finish(&[(0, v(0))])
}

#[test]
fn res_takes_the_question_that_was_answered_not_the_next_one_of_the_same_step() {
    let convicted = asked_twice("res-old-twice-bad", true);
    convicts(&convicted, "RES", "resumed-elsewhere");
    acquits(&asked_twice("res-old-twice-near", false), "RES", 0);
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
