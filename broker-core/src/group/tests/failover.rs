//! Another broker takes over: loading, unloading, the bytes in between.

use super::*;
use crate::group::state::GroupState;
use crate::group::storage::{self, Key};
use protocol::ids::{ProducerEpoch, ProducerId, Sequence};
use protocol::record::{BatchBuilder, ControlMarker, ControlType};

#[test]
fn a_successor_knows_generation_members_and_offsets() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let offsets = vec![committed("t", 5, "note")];
    bench.ask(8, "c", commit(&ids[0], GenerationId(1), offsets));
    let mut next = bench.successor();
    let loaded = GroupNote::Loaded {
        generation: GenerationId(1),
        offsets: 1,
    };
    assert_eq!(next.notes, [loaded]);
    let (before, after) = (bench.group(), next.group());
    assert_eq!(after.state, GroupState::Stable);
    assert_eq!(after.leader, before.leader);
    assert_eq!(after.protocol, before.protocol);
    assert_eq!(after.protocol_type, before.protocol_type);
    assert_eq!(after.offsets, before.offsets);
    assert_eq!(after.subscribed, before.subscribed);
    for (id, member) in &before.members {
        let same = &after.members[id];
        assert_eq!(same.assignment, member.assignment);
        assert_eq!(same.protocols, member.protocols);
        assert_eq!(same.client_id, member.client_id);
        assert_eq!(same.session_timeout, SESSION);
        assert_eq!(same.rebalance_timeout, REBALANCE);
    }
    assert_eq!(next.heartbeat(&ids[1], GenerationId(1)), ErrorCode::None);
    next.pass(SESSION);
    assert!(next.group().members.is_empty(), "their sessions count here");
}

#[test]
fn a_group_reads_back_as_it_was_written_in_every_version() {
    for (protocol, version) in [
        (InterBrokerProtocol::V0_9_0, 0),
        (InterBrokerProtocol::V1_0Iv0, 1),
        (InterBrokerProtocol::V2_1Iv0, 2),
        (InterBrokerProtocol::V2_3Iv0, 3),
        (InterBrokerProtocol::V2_8Iv1, 3),
    ] {
        let behaviour = Behaviour::of(Era::V2_8).speaking(protocol);
        let mut bench = Bench::with(behaviour, |_| {});
        let ids = bench.stable(&["c1", "c2"]);
        let assignments: BTreeMap<_, _> =
            ids.iter().map(|id| (id.clone(), assignment(id))).collect();
        let value = storage::group_value(bench.group(), &assignments, protocol);
        assert_eq!(value[..2], [0, version]);
        let next = bench.successor();
        let again = storage::group_value(next.group(), &assignments, protocol);
        // The moment of the state is that of the record, which is written a step before the group is stable.
        assert_eq!(value, again);
    }
}

#[test]
fn keys_and_values_have_kafkas_bytes() {
    let group = GroupId::from("g");
    let partition = TopicPartition::new("t", 2);
    let key = storage::offset_key(&group, &partition);
    assert_eq!(key, b"\0\x01\0\x01g\0\x01t\0\0\0\x02");
    let read = storage::read_key(&Bytes::from(key));
    assert_eq!(read, Some(Key::Offset(group.clone(), partition)));
    let key = storage::group_key(&group);
    assert_eq!(key, b"\0\x02\0\x01g");
    assert_eq!(
        storage::read_key(&Bytes::from(key)),
        Some(Key::Group(group))
    );
    assert_eq!(
        storage::read_key(&Bytes::from_static(b"\0\x03\0\x01g")),
        None
    );
    let mut stored = offsets::StoredOffset {
        offset: Offset(5),
        leader_epoch: Some(LeaderEpoch(3)),
        metadata: "m".into(),
        commit_timestamp: 7,
        expire_timestamp: None,
    };
    let value = storage::offset_value(&stored, InterBrokerProtocol::V2_8Iv1);
    let expected = b"\0\x03\0\0\0\0\0\0\0\x05\0\0\0\x03\0\x01m\0\0\0\0\0\0\0\x07";
    assert_eq!(value, expected);
    let value = storage::offset_value(&stored, InterBrokerProtocol::V2_1Iv0);
    assert_eq!(value, b"\0\x02\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x07");
    let value = storage::offset_value(&stored, InterBrokerProtocol::V1_0Iv0);
    let expected =
        b"\0\x01\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(value, expected);
    stored.expire_timestamp = Some(9);
    let value = storage::offset_value(&stored, InterBrokerProtocol::V2_8Iv1);
    let expected = b"\0\x01\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09";
    assert_eq!(value, expected);
}

#[test]
fn a_group_value_has_kafkas_bytes() {
    let mut bench = Bench::new();
    let mut request = join_request(&"".into());
    request.group_instance_id = Some("i".into());
    request.protocols = vec![("r".into(), Bytes::from_static(b"s"))];
    bench.ask(7, "c", GroupRequest::Join(request));
    bench.pass(Span::secs(3));
    let group = bench.group();
    let id = group.leader.clone().unwrap();
    let assignments = BTreeMap::from([(id.clone(), Bytes::from_static(b"a"))]);
    let value = storage::group_value(group, &assignments, InterBrokerProtocol::V2_8Iv1);
    let mut expected = b"\0\x03\0\x08consumer\0\0\0\x01\0\x01r\0\x26".to_vec();
    expected.extend_from_slice(id.as_str().as_bytes());
    expected.extend_from_slice(&1_003_000_i64.to_be_bytes());
    expected.extend_from_slice(b"\0\0\0\x01\0\x26");
    expected.extend_from_slice(id.as_str().as_bytes());
    expected.extend_from_slice(b"\0\x01i\0\x01c\0\x04host");
    expected.extend_from_slice(&60_000_i32.to_be_bytes());
    expected.extend_from_slice(&10_000_i32.to_be_bytes());
    expected.extend_from_slice(b"\0\0\0\x01s\0\0\0\x01a");
    assert_eq!(Bytes::from(value), Bytes::from(expected));
}

#[test]
fn a_loaded_group_that_is_too_large_rebalances_and_turns_the_last_away() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let mut next = Bench::idle(Behaviour::of(Era::V2_8), |config| config.group_max_size = 1);
    next.log.clone_from(&bench.log);
    next.end = bench.end;
    next.elect(1);
    assert_eq!(next.state(), "PreparingRebalance");
    let first = next.join(&ids[0]);
    assert!(next.waits(first));
    let second = next.join(&ids[1]);
    let answer: JoinGroupResponse = next.answered(second);
    assert_eq!(answer.error, ErrorCode::GroupMaxSizeReached);
    let answer: JoinGroupResponse = next.answered(first);
    assert_eq!((answer.error, answer.members.len()), (ErrorCode::None, 1));
}

#[test]
fn requests_wait_for_the_load_except_heartbeats_and_syncs() {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    let partition = bench.partition();
    bench.act(|coordinator, desk| coordinator.on_elected(desk.io, partition, LeaderEpoch(0)));
    let one: MemberId = "x".into();
    let loading = ErrorCode::CoordinatorLoadInProgress;
    let asked = bench.join(&one);
    assert_eq!(bench.answered::<JoinGroupResponse>(asked).error, loading);
    let asked = bench.commit(&one, GenerationId(1), 5);
    assert_eq!(bench.commit_error(asked), loading);
    assert_eq!(bench.fetch(None, false).error, loading);
    assert_eq!(bench.heartbeat(&one, GenerationId(1)), ErrorCode::None);
    let sync = GroupRequest::Sync(SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: GenerationId(1),
        member_id: one.clone(),
        group_instance_id: None,
        assignments: Vec::new(),
    });
    let asked = bench.ask(5, "c", sync);
    let error = bench.answered::<SyncGroupResponse>(asked).error;
    assert_eq!(error, ErrorCode::RebalanceInProgress);
    bench.run_lanes();
    assert_eq!(
        bench.heartbeat(&one, GenerationId(1)),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn a_load_reads_chunk_after_chunk() {
    let mut bench = Bench::new();
    for offset in 0..50 {
        bench.commit(&NOBODY.0.into(), NOBODY.1, offset);
    }
    let behaviour = Behaviour::of(Era::V2_8);
    let mut next = Bench::idle(behaviour, |config| config.offsets_load_buffer_size = 200);
    next.log.clone_from(&bench.log);
    next.end = bench.end;
    next.elect(1);
    assert_eq!(next.offset("t"), Some(49));
}

#[test]
fn a_resigned_coordinator_answers_everybody_and_forgets() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1", "c2"]);
    let waiting = bench.join(&ids[0]);
    bench.resign(1);
    assert!(bench.waits(waiting), "the loader thread has not come to it");
    bench.run_lanes();
    let answer: JoinGroupResponse = bench.answered(waiting);
    assert_eq!(answer.error, ErrorCode::NotCoordinator);
    assert_eq!(bench.notes.last(), Some(&GroupNote::Unloaded));
    assert!(bench.coordinator.registry.groups.is_empty());
    assert_eq!(
        bench.heartbeat(&ids[0], GenerationId(1)),
        ErrorCode::NotCoordinator
    );
    bench.pass(Span::secs(600));
}

#[test]
fn members_that_wait_for_an_assignment_are_told_of_the_move() {
    let mut bench = Bench::new();
    bench.newcomer("c1");
    let (two, _) = bench.newcomer("c2");
    bench.pass(Span::secs(6));
    let request = bench.sync(&two, Vec::new());
    let waiting = bench.ask(5, "c", request);
    bench.resign(1);
    bench.run_lanes();
    let error = bench.answered::<SyncGroupResponse>(waiting).error;
    assert_eq!(error, ErrorCode::NotCoordinator);
}

#[test]
fn a_commit_that_ends_after_the_move_touches_no_cache() {
    let mut bench = Bench::new();
    bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
    bench.replicated = false;
    let asked = bench.commit(&NOBODY.0.into(), NOBODY.1, 9);
    bench.resign(1);
    bench.elect(2);
    assert_eq!(bench.offset("t"), Some(5));
    bench.fail_next(ErrorCode::NotLeaderOrFollower);
    assert_eq!(bench.commit_error(asked), ErrorCode::NotCoordinator);
    assert_eq!(bench.offset("t"), Some(5));
}

#[test]
fn a_coordinator_that_comes_back_answers_from_its_old_cache_before_kafka_5600() {
    for (fixed, expected) in [(true, 9), (false, 5)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::DropCacheOnUnload, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
        bench.resign(1);
        bench.run_lanes();
        let mut other = bench.successor();
        other.commit(&NOBODY.0.into(), NOBODY.1, 9);
        bench.log.clone_from(&other.log);
        bench.end = other.end;
        bench.elect(2);
        assert_eq!(bench.offset("t"), Some(expected));
    }
}

#[test]
fn outdated_elections_and_resignations_change_nothing() {
    let mut bench = Bench::new();
    bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
    bench.resign(5);
    bench.run_lanes();
    bench.elect(4);
    assert_eq!(bench.fetch(None, false).error, ErrorCode::NotCoordinator);
    bench.elect(6);
    bench.resign(5);
    bench.run_lanes();
    assert_eq!(bench.offset("t"), Some(5));
}

#[test]
fn an_election_right_after_a_resignation_loads_again() {
    let mut bench = Bench::new();
    bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
    let mut next = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    next.log.clone_from(&bench.log);
    next.end = bench.end;
    let partition = next.partition();
    // The loader thread comes to none of it before the last.
    for epoch in [1, 3] {
        next.act(|coordinator, desk| {
            coordinator.on_elected(desk.io, partition, LeaderEpoch(epoch));
        });
        if epoch == 1 {
            next.resign(2);
        }
    }
    assert_eq!(next.lanes, 3);
    next.run_lanes();
    assert_eq!(next.offset("t"), Some(5));
}

#[test]
fn a_broker_that_never_coordinated_a_partition_has_nothing_to_unload() {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    bench.resign(1);
    assert_eq!(bench.lanes, 0);
}

#[test]
fn tombstones_bury_offsets_and_group_for_the_successor_too() {
    let mut bench = Bench::new();
    let ids = bench.stable(&["c1"]);
    bench.commit(&ids[0], GenerationId(1), 5);
    bench.leave(&ids[0]);
    bench.pass(Span::secs(8 * 86_400));
    let last = batches(Bytes::from(bench.log.clone())).last().unwrap();
    let records: Vec<_> = last.unwrap().records().map(Result::unwrap).collect();
    let keys: Vec<_> = records
        .iter()
        .map(|record| {
            (
                storage::read_key(record.key.as_ref().unwrap()).unwrap(),
                record.value.clone(),
            )
        })
        .collect();
    let group = GroupId::from(GROUP);
    let offset = Key::Offset(group.clone(), TopicPartition::new("t", 0));
    assert_eq!(keys, [(offset, None), (Key::Group(group), None)]);
    let next = bench.successor();
    assert!(next.coordinator.registry.groups.is_empty());
}

#[test]
fn a_compacted_end_keeps_the_loader_busy_for_ever_before_kafka_9065() {
    for (fixed, error) in [
        (true, ErrorCode::None),
        (false, ErrorCode::CoordinatorLoadInProgress),
    ] {
        let mut bench = Bench::new();
        bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::ReplayAcrossGaps, fixed);
        let mut next = Bench::idle(behaviour, |_| {});
        next.log.clone_from(&bench.log);
        // Compaction took the last record, not its offset.
        next.end = bench.end.plus(1);
        next.elect(1);
        assert_eq!(next.fetch(None, false).error, error);
        next.resign(2);
        next.run_lanes();
        assert_eq!(next.fetch(None, false).error, ErrorCode::NotCoordinator);
    }
}

#[test]
fn a_commit_without_expiry_is_taken_for_expired_before_kafka_8069() {
    for (fixed, expected) in [(true, Some(5)), (false, None)] {
        let behaviour = Behaviour::of(Era::V2_8)
            .speaking(InterBrokerProtocol::V2_0Iv1)
            .with(Fix::ExpireAfterLoad, fixed);
        let mut bench = Bench::with(behaviour, |_| {});
        bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
        let mut next = bench.successor();
        assert_eq!(next.offset("t"), Some(5));
        next.pass(Span::secs(600));
        assert_eq!(next.offset("t"), expected);
    }
}

/// The record of a commit of `offset` as the log holds it.
fn commit_record(batch: BatchBuilder, at: i64, offset: i64) -> Bytes {
    let stored = offsets::StoredOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "".into(),
        commit_timestamp: 0,
        expire_timestamp: None,
    };
    let key = storage::offset_key(&GROUP.into(), &TopicPartition::new("t", 0));
    let value = storage::offset_value(&stored, InterBrokerProtocol::V2_8Iv1);
    let mut batch = batch;
    batch.append(0, Some(&key), Some(&value), &[]);
    let batch = batch.build().rebase(Offset(at), LeaderEpoch(0));
    batch.into_bytes()
}

fn load_transaction(kind: ControlType, plain: Option<i64>) -> Option<i64> {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    let (id, epoch) = (ProducerId(4), ProducerEpoch(0));
    let batch = BatchBuilder::new().producer(id, epoch, Sequence(0));
    bench.log.extend(commit_record(batch.transactional(), 0, 5));
    bench.end = Offset(1);
    if let Some(offset) = plain {
        bench
            .log
            .extend(commit_record(BatchBuilder::new(), 1, offset));
        bench.end = Offset(2);
    }
    let marker = ControlMarker {
        kind,
        coordinator_epoch: 0,
    };
    let marker = marker.batch(id, epoch, 0).rebase(bench.end, LeaderEpoch(0));
    bench.log.extend_from_slice(marker.bytes());
    bench.end = bench.end.next();
    bench.elect(0);
    bench.offset("t")
}

#[test]
fn transactional_offsets_count_from_their_commit_marker_on() {
    assert_eq!(load_transaction(ControlType::Commit, None), Some(5));
    assert_eq!(load_transaction(ControlType::Abort, None), None);
}

#[test]
fn a_later_plain_commit_goes_before_one_whose_transaction_ends_after_it() {
    assert_eq!(load_transaction(ControlType::Commit, Some(8)), Some(8));
}

#[test]
fn a_partition_with_a_record_that_makes_no_sense_loads_as_empty() {
    let mut bench = Bench::new();
    bench.commit(&NOBODY.0.into(), NOBODY.1, 5);
    let mut batch = BatchBuilder::new();
    batch.append(0, Some(b"\0\x09"), Some(b""), &[]);
    let batch = batch.build().rebase(bench.end, LeaderEpoch(0));
    bench.log.extend_from_slice(batch.bytes());
    bench.end = bench.end.next();
    let mut next = bench.successor();
    assert_eq!(next.offset("t"), None);
}

#[test]
fn a_missing_log_loads_as_empty() {
    let mut bench = Bench::idle(Behaviour::of(Era::V2_8), |_| {});
    let partition = bench.partition();
    bench.act(|coordinator, desk| coordinator.on_elected(desk.io, partition, LeaderEpoch(0)));
    bench.act(GroupCoordinator::on_due);
    assert_eq!(bench.coordinator.take_loads().len(), 1);
    bench.act(|coordinator, desk| coordinator.on_load_data(desk, partition, LoadData::NoLog));
    assert_eq!(bench.offset("t"), None);
}

#[test]
fn a_static_member_keeps_its_instance_through_a_failover() {
    let mut bench = Bench::new();
    let mut request = join_request(&"".into());
    request.group_instance_id = Some("i1".into());
    let asked = bench.ask(7, "c1", GroupRequest::Join(request.clone()));
    bench.pass(Span::secs(3));
    let old = bench.answered::<JoinGroupResponse>(asked).member_id;
    bench.sync_all(std::slice::from_ref(&old));
    bench.ask(7, "c1", GroupRequest::Join(request.clone()));
    let mut next = bench.successor();
    request.member_id = old;
    let asked = next.ask(7, "c1", GroupRequest::Join(request));
    let error = next.answered::<JoinGroupResponse>(asked).error;
    assert_eq!(
        error,
        ErrorCode::FencedInstanceId,
        "its new id was written down"
    );
}
