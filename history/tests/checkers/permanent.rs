//! What faults that do not heal excuse: that which needs whom they hit, and nothing else.

use crate::builder::Builder;
use crate::kept::{acquits, convicts, judged};
use crate::v;
use history::History;
use history::event::{FaultStage, Phase};
use history::manifest::CommitPolicy;
use history::operation::{Action, Stage};
use history::verdict::Answer;

/// A partition is offline with what was acknowledged in it, after these were taken for good.
fn offline(name: &str, taken: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.planned("kill", true);
    b.born();
    b.written(p, 0, 0);
    b.fault_at(0, taken, FaultStage::Injected);
    b.offline(1);
    b.finish(&[])
}

#[test]
fn a_loss_is_excused_by_what_took_a_replica_for_good() {
    acquits(&offline("permanent-replica-near", "broker 1"), "PA", 1);
    let elsewhere = judged(&offline("permanent-replica-bad", "keeper 1"));
    let verdict = elsewhere.verdict("PA").unwrap();
    assert!(matches!(verdict.answer, Answer::Unknown(_)), "{verdict:?}");
    assert_eq!(verdict.excused_total, 0);
}

/// A send that never got as far as a partition, after these were taken for good.
fn nowhere(name: &str, taken: &str) -> History {
    let mut b = Builder::new(name);
    let p = b.producer("all", 5, false);
    b.consumer(CommitPolicy::After);
    b.planned("cut", true);
    b.born();
    b.fault_at(0, taken, FaultStage::Injected);
    b.phase(Phase::Heal);
    b.send(p, 0);
    b.finish(&[])
}

#[test]
fn a_client_is_excused_by_what_took_its_own_machine() {
    acquits(&nowhere("permanent-client-near", "p0"), "PROGRESS", 1);
    let another = nowhere("permanent-client-bad", "c1");
    convicts(&another, "PROGRESS", "send-never-ends");
}

#[test]
fn everything_is_excused_where_no_majority_of_keepers_is_left() {
    let two = nowhere("permanent-keepers-near", "keeper 1, keeper 3");
    acquits(&two, "PROGRESS", 1);
    let one = nowhere("permanent-keepers-bad", "keeper 1, broker 2");
    convicts(&one, "PROGRESS", "send-never-ends");
}

#[test]
fn a_group_that_never_begins_is_told_with_the_error_of_its_members() {
    let mut b = Builder::new("progress-nameless-bad");
    let p = b.producer("all", 5, false);
    let c = b.subscriber(true);
    b.born();
    b.written(p, 0, 0);
    let refused = Action::Poll {
        records: Vec::new(),
        error: Some("INVALID_GROUP_ID".to_owned()),
    };
    b.operation(c, Stage::Fail, refused);
    let judgement = judged(&b.finish(&[(0, v(0))]));
    let finding = &judgement.verdict("PROGRESS").unwrap().findings[0];
    assert_eq!(finding.anomaly, "never-read");
    assert!(
        finding.summary.ends_with("is told INVALID_GROUP_ID"),
        "{}",
        finding.summary
    );
    assert_eq!(judgement.ledger.get("misuse"), Some(1));
}
