//! From the first `InitProducerId` to the last record of a transaction.

use super::*;
use TransactionState as S;

#[test]
fn a_committed_transaction_becomes_visible_in_all_its_partitions() {
    let mut cluster = Cluster::of(Era::V2_8);
    let producer = cluster.init();
    assert_eq!(producer.producer_epoch, ProducerEpoch(0));
    cluster.write(&producer, &orders(), "a");
    cluster.write(&producer, &payments(), "b");
    assert!(cluster.committed(&orders()).is_empty());
    assert_eq!(cluster.stable(&orders()), (0, 1));
    assert_eq!(cluster.end(&producer, true), ErrorCode::None);
    assert_eq!(cluster.committed(&orders()), ["a"]);
    assert_eq!(cluster.committed(&payments()), ["b"]);
    assert_eq!(cluster.stable(&orders()), (2, 2));
    let states = [
        S::Empty,
        S::Ongoing,
        S::Ongoing,
        S::PrepareCommit,
        S::CompleteCommit,
    ];
    assert_eq!(cluster.states(), states);
}

#[test]
fn an_aborted_transaction_is_listed_for_readers_of_committed_data() {
    let mut cluster = Cluster::of(Era::V2_8);
    let producer = cluster.init();
    cluster.write(&producer, &orders(), "a");
    assert_eq!(cluster.end(&producer, false), ErrorCode::None);
    cluster.write(&producer, &orders(), "b");
    assert_eq!(cluster.end(&producer, true), ErrorCode::None);
    assert_eq!(cluster.committed(&orders()), ["b"]);
    let all = cluster.fetch(&orders(), IsolationLevel::ReadUncommitted);
    assert!(all.aborted_transactions.is_empty());
    assert_eq!(batches(all.records).count(), 4);
}

#[test]
fn offsets_take_effect_with_the_transaction() {
    let mut cluster = Cluster::of(Era::V2_8);
    let producer = cluster.init();
    cluster.find_coordinator(CoordinatorKind::Group, GROUP);
    for (offset, committed, after) in [(5, false, None), (7, true, Some(7))] {
        assert_eq!(cluster.add_offsets(&producer), ErrorCode::None);
        assert_eq!(cluster.commit_offset(&producer, offset), ErrorCode::None);
        assert_eq!(cluster.fetch_offset(false), Ok(None));
        assert_eq!(
            cluster.fetch_offset(true),
            Err(ErrorCode::UnstableOffsetCommit)
        );
        assert_eq!(cluster.end(&producer, committed), ErrorCode::None);
        assert_eq!(cluster.fetch_offset(true), Ok(after));
    }
}
