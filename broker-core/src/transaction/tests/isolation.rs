//! What readers of committed data see, and what they do not.

use super::*;
use protocol::api::data::{ListOffsetsRequest, OffsetSpec};
use protocol::behaviour::Fix;

fn cluster(fix: Fix, on: bool) -> Cluster {
    Cluster::with(Behaviour::of(Era::V2_8).with(fix, on), |_| {})
}

fn read_committed(from: i64, max_wait: Span) -> FetchRequest {
    FetchRequest {
        replica_id: None,
        replica_epoch: None,
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: IsolationLevel::ReadCommitted,
        metadata: FetchMetadata::LEGACY,
        forgotten: Vec::new(),
        partitions: vec![FetchPartition {
            partition: orders(),
            fetch_offset: Offset(from),
            current_leader_epoch: None,
            last_fetched_epoch: None,
            log_start_offset: None,
            max_bytes: 1 << 20,
        }],
    }
}

#[test]
fn a_fetch_that_waits_keeps_its_isolation_since_kafka_5355() {
    for (fixed, seen) in [(true, 0), (false, 1)] {
        let mut cluster = cluster(Fix::IsolationInPurgatory, fixed);
        let producer = cluster.init();
        assert_eq!(cluster.add(&producer, orders()), ErrorCode::None);
        let leader = cluster.leader(&orders());
        cluster.send(&leader, 11, read_committed(0, Span::secs(2)));
        let reader = cluster.set_aside(&leader);
        assert_eq!(
            cluster.produce(&producer, &orders(), "open"),
            ErrorCode::None
        );
        cluster.world.pass(Span::secs(3));
        let Some(ResponseBody::Fetch(answer)) = cluster.answer_of(&reader) else {
            panic!("a fetch is answered");
        };
        let records = answer.partitions[0].records.clone();
        assert_eq!(batches(records).count(), seen, "fixed: {fixed}");
    }
}

#[test]
fn a_time_in_an_open_transaction_is_not_found_since_kafka_5522() {
    for (fixed, found) in [(true, None), (false, Some(Offset(0)))] {
        let mut cluster = cluster(Fix::StableListOffsets, fixed);
        let producer = cluster.init();
        cluster.write(&producer, &orders(), "open");
        let mut list = |spec| {
            let request = ListOffsetsRequest {
                replica_id: None,
                isolation_level: IsolationLevel::ReadCommitted,
                partitions: vec![(orders(), None, spec)],
            };
            let leader = cluster.leader(&orders());
            match cluster.ask(&leader, 5, request) {
                ResponseBody::ListOffsets(answer) => answer.partitions[0].offset,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(list(OffsetSpec::Timestamp(0)), found, "fixed: {fixed}");
        assert_eq!(list(OffsetSpec::Latest), Some(Offset(0)));
    }
}

#[test]
fn the_last_stable_offset_survives_a_change_of_leaders() {
    let mut cluster = Cluster::of(Era::V2_8);
    let producer = cluster.init();
    cluster.write(&producer, &orders(), "a");
    cluster.world.pass(Span::secs(1));
    let leader = cluster.leader(&orders());
    cluster.kill(&leader);
    assert_eq!(cluster.stable(&orders()).0, 0);
    let notes = cluster.world.notes.iter().filter(|(_, note)| {
        let stable = protocol::note::ReplicaNote::LastStableOffset(Offset(0));
        matches!(note, Note::Replica(name, note) if *name == orders() && *note == stable)
    });
    assert_eq!(notes.count(), 2, "one per leader");
    assert_eq!(cluster.end(&producer, false), ErrorCode::None);
    cluster.world.pass(Span::secs(1));
    let answer = cluster.fetch(&orders(), IsolationLevel::ReadCommitted);
    assert_eq!(answer.last_stable_offset, Some(Offset(2)));
    assert_eq!(answer.aborted_transactions.len(), 1);
}
