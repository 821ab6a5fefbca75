//! What lies at the front of a log goes: DeleteRecords, and who learns of it when.

use super::*;
use protocol::api::data::{DeleteRecordsRequest, PartitionDeleteRecordsResponse};
use protocol::behaviour::InterBrokerProtocol;

/// Two brokers, and five records that both have.
fn five() -> Cluster {
    let mut cluster = Cluster::new(Behaviour::of(Era::V2_8), &[1, 2]);
    cluster.elect(1, 0, &[1, 2]);
    for value in ["a", "b", "c", "d", "e"] {
        assert_eq!(
            cluster.produce_now(1, Acks::All, value),
            ErrorCode::None,
            "{value}"
        );
    }
    cluster
}

impl Cluster {
    fn delete(&mut self, id: i32, before: Option<i64>) -> CorrelationId {
        let request = DeleteRecordsRequest {
            partitions: vec![(orders(), before.map(Offset))],
            timeout: Span::secs(5),
        };
        self.ask(id, 2, request)
    }

    fn deleted(&self, asked: CorrelationId) -> Option<&PartitionDeleteRecordsResponse> {
        match self.answers.get(&asked)? {
            ResponseBody::DeleteRecords(answer) => Some(&answer.partitions[0]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_deletion_is_answered_when_the_follower_has_told_that_it_followed() {
    let mut cluster = five();
    let asked = cluster.delete(1, Some(3));
    assert_eq!(cluster.bounds(1), (3, 5, 5), "the leader moves at once");
    assert!(
        cluster.deleted(asked).is_none(),
        "the follower knows nothing"
    );
    // The fetch that waits comes back with the new start; the one after it tells the leader.
    cluster.pass(Span::secs(1));
    assert_eq!(cluster.bounds(2).0, 3);
    let answer = cluster.deleted(asked).expect("both have moved");
    assert_eq!(
        (answer.error, answer.low_watermark),
        (ErrorCode::None, Some(Offset(3)))
    );
}

#[test]
fn a_follower_that_stays_silent_lets_the_deletion_time_out_though_the_leader_has_deleted() {
    let mut cluster = five();
    cluster.hold(2);
    let asked = cluster.delete(1, None);
    cluster.pass(Span::secs(5));
    let answer = cluster.deleted(asked).expect("its time is over");
    assert_eq!(answer.error, ErrorCode::RequestTimedOut);
    assert_eq!(cluster.bounds(1), (5, 5, 5));
    assert_eq!(cluster.bounds(2).0, 0);
}

#[test]
fn a_deletion_does_not_pass_the_high_watermark() {
    let mut cluster = five();
    cluster.hold(2);
    cluster.produce(1, Acks::Leader, "f");
    let asked = cluster.delete(1, Some(6));
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::OffsetOutOfRange
    );
    let asked = cluster.delete(1, Some(-5));
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::OffsetOutOfRange
    );
    assert_eq!(cluster.bounds(1), (0, 5, 6));
}

#[test]
fn only_the_leader_deletes_and_only_where_the_policy_is_to_delete() {
    let mut cluster = five();
    let asked = cluster.delete(2, Some(3));
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
    let mut overrides = TopicOverrides::default();
    overrides.set("cleanup.policy", "compact").unwrap();
    let manager = &mut cluster.nodes.get_mut(&1).unwrap().manager;
    manager.set_topic_config("orders".into(), overrides);
    let asked = cluster.delete(1, Some(3));
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::PolicyViolation
    );
}

#[test]
fn a_leader_that_resigns_lets_the_waiting_deletion_go() {
    let mut cluster = five();
    cluster.hold(2);
    let asked = cluster.delete(1, Some(3));
    let told = cluster.state(2, 1, &[1, 2]);
    cluster.tell(1, &told);
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
}

#[test]
fn a_reader_behind_the_new_start_is_out_of_range() {
    let mut cluster = five();
    cluster.delete(1, Some(3));
    let answer = cluster.fetch_now(1, Cluster::consume(2, Span::ZERO));
    assert_eq!(answer.error, ErrorCode::OffsetOutOfRange);
    let answer = cluster.fetch_now(1, Cluster::consume(3, Span::ZERO));
    assert_eq!(answer.log_start_offset, Some(Offset(3)));
    assert_eq!(values(&answer.records), ["d", "e"]);
}

#[test]
fn a_follower_that_was_away_begins_anew_where_the_leader_starts() {
    let mut cluster = five();
    cluster.kill(2);
    for value in ["f", "g"] {
        cluster.produce(1, Acks::Leader, value);
    }
    cluster.elect(1, 1, &[1]);
    cluster.produce(1, Acks::Leader, "h");
    cluster.delete(1, Some(7));
    cluster.restart(2);
    let told = cluster.state(1, 1, &[1]);
    cluster.tell(2, &told);
    cluster.pass(Span::secs(3));
    assert_eq!(cluster.bounds(2), (7, 8, 8));
    assert!(cluster.saw(2, |note| matches!(
        note,
        ReplicaNote::LogStart(Offset(7)) | ReplicaNote::Truncated { .. }
    )));
}

#[test]
fn the_log_start_outlives_the_process_by_its_checkpoint() {
    let mut cluster = five();
    cluster.delete(1, Some(3));
    cluster.pass(Span::secs(61));
    cluster.kill(1);
    cluster.restart(1);
    assert_eq!(cluster.bounds(1).0, 3);
}

#[test]
fn before_kip_107_a_follower_does_not_tell_where_its_log_starts() {
    let mut cluster = Cluster::with(
        Behaviour::of(Era::V2_8).speaking(InterBrokerProtocol::V0_11_0Iv0),
        &[1, 2],
        |_| {},
    );
    cluster.elect(1, 0, &[1, 2]);
    cluster.produce(1, Acks::All, "a");
    let asked = cluster.delete(1, Some(1));
    cluster.pass(Span::secs(5));
    assert_eq!(
        cluster.deleted(asked).unwrap().error,
        ErrorCode::RequestTimedOut
    );
}
