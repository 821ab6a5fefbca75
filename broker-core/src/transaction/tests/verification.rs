//! KIP-890: batches and calls of an earlier transaction that come late.

use super::*;
use protocol::behaviour::Fix;

fn cluster(fixes: &[(Fix, bool)]) -> Cluster {
    let behaviour = fixes
        .iter()
        .fold(Behaviour::of(Era::V2_8), |behaviour, (fix, on)| {
            behaviour.with(*fix, *on)
        });
    Cluster::with(behaviour, |_| {})
}

/// A batch that arrives after its transaction was aborted.
fn late(cluster: &mut Cluster) -> ErrorCode {
    let producer = cluster.init();
    cluster.write(&producer, &orders(), "a");
    let late = cluster.batch(&producer, &orders(), "late");
    assert_eq!(cluster.end(&producer, false), ErrorCode::None);
    let leader = cluster.leader(&orders());
    let ResponseBody::Produce(answer) = cluster.ask(&leader, 9, late) else {
        panic!("a batch is answered");
    };
    answer.partitions[0].error
}

#[test]
fn a_batch_behind_the_marker_of_its_transaction_is_refused_since_kip_890() {
    for (fixed, answer) in [(true, ErrorCode::InvalidTxnState), (false, ErrorCode::None)] {
        let mut cluster = cluster(&[
            (Fix::VerifyTransaction, fixed),
            (Fix::VerifyBeforeAppend, fixed),
        ]);
        assert_eq!(late(&mut cluster), answer);
        cluster.world.pass(Span::secs(60));
        let (stable, high_watermark) = cluster.stable(&orders());
        assert_eq!(stable == high_watermark, fixed, "it hangs without");
    }
}

#[test]
fn a_late_commit_does_not_end_the_next_transaction_since_kafka_14562() {
    for fixed in [true, false] {
        let mut cluster = cluster(&[(Fix::EpochPerTransaction, fixed)]);
        let version = if fixed { 5 } else { 3 };
        let first = cluster.init();
        cluster.write(&first, &orders(), "a");
        let answer = cluster.end_with(version, &first, true);
        assert_eq!(answer.error, ErrorCode::None);
        cluster.world.pass(Span::millis(100));
        let mut second = first.clone();
        assert_eq!(answer.next.is_some(), fixed);
        if let Some((id, epoch)) = answer.next {
            (second.producer_id, second.producer_epoch) = (id, epoch);
            cluster.sequences.clear();
        }
        // The answer was lost on the way once, and the call comes again.
        let again = cluster.end_with(version, &first, true);
        assert_eq!((again.error, again.next), (ErrorCode::None, answer.next));
        cluster.write(&second, &payments(), "half");
        let late = cluster.end_with(version, &first, true).error;
        cluster.world.pass(Span::millis(100));
        if fixed {
            assert_eq!(late, ErrorCode::ProducerFenced);
            assert!(cluster.committed(&payments()).is_empty());
        } else {
            assert_eq!(late, ErrorCode::None);
            assert_eq!(cluster.committed(&payments()), ["half"]);
        }
    }
}

#[test]
fn a_late_batch_is_of_an_earlier_epoch_since_kafka_14562() {
    let mut cluster = cluster(&[(Fix::EpochPerTransaction, true)]);
    let first = cluster.init();
    cluster.write(&first, &orders(), "a");
    let late = cluster.batch(&first, &orders(), "late");
    assert_eq!(cluster.end_with(5, &first, false).error, ErrorCode::None);
    cluster.world.pass(Span::millis(100));
    let leader = cluster.leader(&orders());
    let ResponseBody::Produce(answer) = cluster.ask(&leader, 9, late) else {
        panic!("a batch is answered");
    };
    assert_eq!(answer.partitions[0].error, ErrorCode::InvalidProducerEpoch);
}
