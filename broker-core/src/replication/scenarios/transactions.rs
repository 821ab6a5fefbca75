//! Transactions in one partition: what may be appended, and how far a reader of committed data gets.

use super::*;
use protocol::api::transaction::{TransactionMarker, WriteTxnMarkersRequest};
use protocol::behaviour::Fix;
use protocol::ids::{ProducerEpoch, ProducerId, Sequence};

/// A batch inside a transaction of producer 7.
fn within(value: &str) -> ProduceRequest {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(7), ProducerEpoch(0), Sequence(0))
        .transactional();
    builder.append(BEGIN, None, Some(value.as_bytes()), &[]);
    ProduceRequest {
        transactional_id: Some("tx".into()),
        acks: Acks::Leader,
        timeout: Span::secs(5),
        partitions: vec![(orders(), builder.build())],
    }
}

fn abort() -> WriteTxnMarkersRequest {
    WriteTxnMarkersRequest {
        markers: vec![TransactionMarker {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(0),
            committed: false,
            coordinator_epoch: 0,
            partitions: vec![orders()],
        }],
    }
}

fn leader(fixes: &[(Fix, bool)]) -> Cluster {
    let behaviour = fixes
        .iter()
        .fold(Behaviour::of(Era::V2_8), |behaviour, (fix, on)| {
            behaviour.with(*fix, *on)
        });
    let mut cluster = Cluster::new(behaviour, &[1]);
    cluster.elect(1, 0, &[1]);
    cluster
}

#[test]
fn a_batch_waits_until_its_transaction_is_verified() {
    let mut cluster = leader(&[
        (Fix::VerifyTransaction, true),
        (Fix::VerifyBeforeAppend, true),
    ]);
    for (told, answer) in [
        (Ok(ErrorCode::InvalidTxnState), ErrorCode::InvalidTxnState),
        (Ok(ErrorCode::ProducerFenced), ErrorCode::InvalidProducerEpoch),
        (Err(ErrorCode::NetworkException), ErrorCode::NotEnoughReplicas),
        (Ok(ErrorCode::None), ErrorCode::None),
    ] {
        let asked = cluster.ask(1, 9, within("a"));
        assert!(cluster.produced(asked).is_none());
        cluster.call(1, |manager, step| {
            let question = manager.take_verifications().remove(0);
            assert_eq!(question.partitions, [orders()]);
            let verified = told.map(|error| vec![(orders(), error)]);
            manager.on_verified(step, question.number, verified);
        });
        cluster.run();
        assert_eq!(cluster.produced(asked).unwrap().error, answer);
    }
    assert_eq!(cluster.log(1), ["a"]);
}

#[test]
fn a_marker_between_verification_and_append_is_seen_since_kafka_14884() {
    for (fixed, answer) in [
        (true, ErrorCode::InvalidTxnState),
        (false, ErrorCode::None),
    ] {
        let mut cluster = leader(&[
            (Fix::VerifyTransaction, true),
            (Fix::VerifyBeforeAppend, fixed),
        ]);
        let asked = cluster.ask(1, 9, within("late"));
        cluster.ask(1, 0, abort());
        cluster.call(1, |manager, step| {
            let question = manager.take_verifications().remove(0);
            let verified = Ok(vec![(orders(), ErrorCode::None)]);
            manager.on_verified(step, question.number, verified);
        });
        cluster.run();
        let told = cluster.produced(asked).expect("it is decided").error;
        assert_eq!(told, answer, "fixed: {fixed}");
    }
}

#[test]
fn a_transaction_that_begins_between_two_looks_is_read_until_kafka_9807() {
    for (fixed, records) in [(true, 0), (false, 1)] {
        let mut cluster = leader(&[(Fix::StableOffsetOnce, fixed)]);
        cluster.hold(1);
        let mut fetch = Cluster::consume(0, Span::ZERO);
        fetch.isolation_level = IsolationLevel::ReadCommitted;
        let asked = cluster.ask(1, 11, fetch.clone());
        cluster.ask(1, 9, within("open"));
        cluster.release(1);
        let seen = cluster.fetched(asked).expect("it does not wait");
        assert_eq!(batches(seen.records.clone()).count(), records, "fixed: {fixed}");
        let later = cluster.fetch_now(1, fetch);
        assert_eq!(batches(later.records).count(), 0);
    }
}
