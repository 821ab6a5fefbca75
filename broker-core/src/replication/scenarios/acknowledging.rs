//! When a produce request is answered, and how.

use super::*;
use crate::replication::{InternalAppend, LeadershipChange};
use protocol::behaviour::Fix;

fn three() -> Cluster {
    let mut cluster = Cluster::of(Era::V2_8);
    cluster.elect(1, 0, &[1, 2, 3]);
    cluster
}

#[test]
fn acks_all_is_answered_when_every_member_has_the_record() {
    let mut cluster = three();
    cluster.hold(3);
    let asked = cluster.produce(1, Acks::All, "a");
    assert!(cluster.produced(asked).is_none());
    assert_eq!(cluster.bounds(2), (0, 0, 1));
    assert_eq!(cluster.bounds(1), (0, 0, 1));
    cluster.release(3);
    let answer = cluster.produced(asked).expect("both have it").clone();
    assert_eq!(
        (answer.error, answer.base_offset),
        (ErrorCode::None, Some(Offset(0)))
    );
    assert!(cluster.saw(1, |note| *note
        == ReplicaNote::Acknowledged { up_to: Offset(1) }));
    assert_eq!(cluster.bounds(1), (0, 1, 1));
}

#[test]
fn followers_learn_the_high_watermark_one_fetch_later() {
    let mut cluster = three();
    cluster.produce(1, Acks::All, "a");
    assert_eq!((cluster.bounds(1).1, cluster.bounds(2).1), (1, 0));
    cluster.pass(Span::millis(500));
    assert_eq!((cluster.bounds(2).1, cluster.bounds(3).1), (1, 1));
}

#[test]
fn acks_1_is_answered_before_any_follower_has_the_record() {
    let mut cluster = three();
    cluster.hold(2);
    cluster.hold(3);
    assert_eq!(cluster.produce_now(1, Acks::Leader, "a"), ErrorCode::None);
    assert_eq!(cluster.bounds(1), (0, 0, 1));
}

#[test]
fn a_request_that_waits_too_long_times_out_although_the_record_stays() {
    let mut cluster = three();
    cluster.hold(2);
    let asked = cluster.produce(1, Acks::All, "a");
    cluster.pass(Span::millis(4999));
    assert!(cluster.produced(asked).is_none());
    cluster.pass(Span::millis(1));
    assert_eq!(
        cluster.produced(asked).unwrap().error,
        ErrorCode::RequestTimedOut
    );
    assert_eq!(cluster.bounds(1).2, 1);
}

#[test]
fn below_the_minimum_nothing_is_appended() {
    let mut cluster = Cluster::of(Era::V2_8);
    cluster.set_min_isr("2");
    cluster.elect(1, 0, &[1]);
    assert_eq!(
        cluster.produce_now(1, Acks::All, "a"),
        ErrorCode::NotEnoughReplicas
    );
    assert_eq!(cluster.bounds(1).2, 0);
    let refused = ReplicaNote::AppendRefused {
        error: ErrorCode::NotEnoughReplicas,
    };
    assert!(cluster.saw(1, |note| *note == refused));
    assert_eq!(cluster.produce_now(1, Acks::Leader, "b"), ErrorCode::None);
}

#[test]
fn a_set_that_shrinks_below_the_minimum_meanwhile_is_told_after_the_append() {
    let mut cluster = Cluster::of(Era::Sound);
    cluster.behaviour = cluster.behaviour.with(Fix::HighWatermarkNeedsMinIsr, false);
    let mut cluster = Cluster::new(cluster.behaviour, &[1, 2]);
    cluster.set_min_isr("2");
    cluster.elect(1, 0, &[1, 2]);
    cluster.kill(2);
    // It has been gone for so long that it is put out before the request times out.
    cluster.pass(Span::secs(44));
    let asked = cluster.produce(1, Acks::All, "a");
    cluster.pass(Span::secs(1));
    let wish = cluster.wish(1);
    assert_eq!(wish.new_isr, brokers(&[1]));
    assert!(cluster.produced(asked).is_none());
    cluster.grant(1, &wish);
    assert_eq!(
        cluster.produced(asked).unwrap().error,
        ErrorCode::NotEnoughReplicasAfterAppend
    );
}

#[test]
fn a_leader_that_is_deposed_tells_who_waits_for_it() {
    let mut cluster = three();
    cluster.hold(2);
    let asked = cluster.produce(1, Acks::All, "a");
    let told = cluster.state(3, 1, &[3, 1]);
    cluster.tell(1, &told);
    assert_eq!(
        cluster.produced(asked).unwrap().error,
        ErrorCode::NotLeaderOrFollower
    );
}

#[test]
fn errors_before_the_append_name_their_cause() {
    let mut cluster = three();
    assert_eq!(
        cluster.produce_now(2, Acks::Leader, "a"),
        ErrorCode::NotLeaderOrFollower
    );
    assert_eq!(
        cluster.produce_now(1, Acks::Other(2), "a"),
        ErrorCode::InvalidRequiredAcks
    );
    let unknown = ProduceRequest {
        transactional_id: None,
        acks: Acks::All,
        timeout: Span::secs(1),
        partitions: vec![
            (TopicPartition::new("nothing", 0), batch("a")),
            (orders(), batch(&"x".repeat(2_000_000))),
        ],
    };
    let asked = cluster.ask(1, 8, unknown);
    let Some(ResponseBody::Produce(answer)) = cluster.answers.get(&asked) else {
        panic!("answered at once");
    };
    let errors: Vec<ErrorCode> = answer.partitions.iter().map(|one| one.error).collect();
    assert_eq!(
        errors,
        [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::MessageTooLarge
        ]
    );
}

#[test]
fn a_failed_acks_0_closes_the_connection_since_kafka_955() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::CloseOnAcksZeroError, fixed);
        let mut cluster = Cluster::new(behaviour, &[1, 2]);
        cluster.elect(1, 0, &[1, 2]);
        let asked = cluster.produce(2, Acks::None, "a");
        assert!(cluster.produced(asked).is_none());
        assert_eq!(!cluster.closed.is_empty(), fixed);
        let asked = cluster.produce(1, Acks::None, "a");
        assert!(cluster.produced(asked).is_none());
        assert_eq!(cluster.bounds(1).2, 1);
    }
}

#[test]
fn a_flush_per_record_comes_before_the_answer_and_before_the_next_fetch() {
    let mut cluster = Cluster::with(Behaviour::of(Era::V2_8), &[1, 2], |config| {
        config.log_flush_interval_messages = 1;
    });
    cluster.elect(1, 0, &[1, 2]);
    cluster.hold_flushes = true;
    let asked = cluster.produce(1, Acks::Leader, "a");
    assert!(cluster.produced(asked).is_none());
    assert_eq!(cluster.flushes.len(), 1, "the follower is woken after it");
    let (id, flush) = cluster.flushes.remove(0);
    cluster.flushed(id, flush);
    cluster.run();
    assert_eq!(cluster.produced(asked).unwrap().error, ErrorCode::None);
    assert_eq!(cluster.bounds(2).2, 1);
    assert_eq!(
        cluster.bounds(1).1,
        0,
        "the follower flushes before it fetches again"
    );
    cluster.hold_flushes = false;
    cluster.run();
    assert_eq!(cluster.bounds(1).1, 1);
}

#[test]
fn other_parts_of_the_broker_append_and_are_told_the_end() {
    let mut cluster = three();
    let changes = cluster
        .nodes
        .get_mut(&1)
        .unwrap()
        .manager
        .take_leadership_changes();
    let epoch = LeaderEpoch(0);
    assert_eq!(
        changes,
        [(orders(), LeadershipChange::BecameLeader { epoch })]
    );
    let append = InternalAppend {
        partition: orders(),
        batch: batch("offsets"),
        acks: Acks::All,
        timeout: Span::secs(5),
    };
    let ticket = cluster.call(1, |manager, step| {
        manager.append_internal(step, append.clone())
    });
    let finished = |cluster: &mut Cluster, id: i32| {
        cluster
            .nodes
            .get_mut(&id)
            .unwrap()
            .manager
            .take_finished_appends()
    };
    assert_eq!(finished(&mut cluster, 1), []);
    cluster.run();
    assert_eq!(finished(&mut cluster, 1), [(ticket, Ok(Offset(0)))]);
    assert_eq!(cluster.log(1), ["offsets"]);
    let ticket = cluster.call(2, |manager, step| manager.append_internal(step, append));
    assert_eq!(
        finished(&mut cluster, 2),
        [(ticket, Err(ErrorCode::NotLeaderOrFollower))]
    );
}
