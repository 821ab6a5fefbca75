//! The cluster's side, answer by answer.

use crate::bench::{Asked, Bench, bootstrap, endpoint};
use bytes::{BufMut, Bytes, BytesMut};
use client_core::Consumer;
use protocol::api::data::{
    FetchPartition, FetchResponse, ListOffsetsResponse, PartitionFetchResponse,
    PartitionListOffsetsResponse,
};
use protocol::api::group::{
    CommittedOffset, FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse,
    OffsetCommitRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era};
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchSessionId;
use protocol::ids::{
    BrokerId, ClientId, GenerationId, LeaderEpoch, MemberId, Offset, TopicName, TopicPartition,
};
use protocol::record::BatchBuilder;
use protocol::time::Span;
use protocol::verb::{OperationId, Outcome, Verb};
use std::sync::Arc;

pub(crate) fn bench_of(
    behaviour: Behaviour,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Bench<Consumer> {
    let mut config = ConsumerConfig::defaults(behaviour.era);
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("c");
    let consumer = Consumer::new(config, bootstrap(), behaviour, client, 7);
    Bench::new(consumer, partitions)
}

pub(crate) fn bench(partitions: i32, settings: &[(&str, &str)]) -> Bench<Consumer> {
    bench_of(Behaviour::of(Era::V2_8), partitions, settings)
}

pub(crate) fn t(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

pub(crate) fn subscribe(bench: &mut Bench<Consumer>) {
    let done = bench.call(Verb::Subscribe(vec![TopicName::from("t")]));
    assert_eq!(bench.told_once(done), Outcome::Done(Ok(())));
}

pub(crate) fn poll(bench: &mut Bench<Consumer>, millis: u64) -> OperationId {
    bench.call(Verb::Poll(Span::millis(millis)))
}

/// The coordinator is broker 3.
pub(crate) fn find(bench: &mut Bench<Consumer>) {
    let asked = bench.take(ApiKey::FindCoordinator);
    bench.answer(
        &asked,
        FindCoordinatorResponse {
            error: ErrorCode::None,
            coordinator: Some((BrokerId(3), endpoint(3))),
        },
    );
}

pub(crate) fn join_request(asked: &Asked) -> &JoinGroupRequest {
    match &asked.request.body {
        RequestBody::JoinGroup(join) => join,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn sync_request(asked: &Asked) -> &SyncGroupRequest {
    match &asked.request.body {
        RequestBody::SyncGroup(sync) => sync,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn commit_request(asked: &Asked) -> &OffsetCommitRequest {
    match &asked.request.body {
        RequestBody::OffsetCommit(commit) => commit,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refuse_join(bench: &mut Bench<Consumer>, error: ErrorCode, member: &str) {
    let asked = bench.take(ApiKey::JoinGroup);
    bench.answer(
        &asked,
        JoinGroupResponse {
            error,
            generation_id: GenerationId(-1),
            protocol: None,
            leader: MemberId::from(""),
            member_id: MemberId::from(member),
            members: Vec::new(),
        },
    );
}

/// Admits member `m` of `members`; the first one leads.
pub(crate) fn admit(bench: &mut Bench<Consumer>, generation: i32, members: &[&str]) {
    let asked = bench.take(ApiKey::JoinGroup);
    let bytes = join_request(&asked).protocols[0].1.clone();
    let protocol = Some(join_request(&asked).protocols[0].0.clone());
    let is_leader = members[0] == "m";
    let all = members
        .iter()
        .map(|id| (MemberId::from(*id), None, bytes.clone()));
    bench.answer(
        &asked,
        JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: GenerationId(generation),
            protocol,
            leader: MemberId::from(members[0]),
            member_id: MemberId::from("m"),
            members: if is_leader { all.collect() } else { Vec::new() },
        },
    );
}

/// The bytes of an assignment of topic `t`.
pub(crate) fn assignment(indexes: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(1);
    out.put_i16(1);
    out.put_slice(b"t");
    out.put_i32(i32::try_from(indexes.len()).unwrap());
    for index in indexes {
        out.put_i32(*index);
    }
    out.put_i32(-1);
    out.freeze()
}

pub(crate) fn sync(bench: &mut Bench<Consumer>, indexes: &[i32]) {
    let asked = bench.take(ApiKey::SyncGroup);
    bench.answer(
        &asked,
        SyncGroupResponse {
            error: ErrorCode::None,
            assignment: assignment(indexes),
        },
    );
}

/// Finds, joins alone as `m` and gets these partitions.
pub(crate) fn join(bench: &mut Bench<Consumer>, generation: i32, indexes: &[i32]) {
    find(bench);
    refuse_join(bench, ErrorCode::MemberIdRequired, "m");
    admit(bench, generation, &["m"]);
    sync(bench, indexes);
}

/// Tells the committed offsets of what is asked for; none for partitions not listed.
pub(crate) fn committed(bench: &mut Bench<Consumer>, offsets: &[(i32, i64, Option<i32>)]) {
    let asked = bench.take(ApiKey::OffsetFetch);
    let RequestBody::OffsetFetch(request) = &asked.request.body else {
        panic!("an offset fetch");
    };
    let partitions = request
        .partitions
        .iter()
        .flatten()
        .map(|partition| {
            let known = offsets
                .iter()
                .find(|(index, ..)| *index == partition.partition.0)
                .map(|(_, offset, epoch)| CommittedOffset {
                    partition: partition.clone(),
                    offset: Offset(*offset),
                    leader_epoch: epoch.map(LeaderEpoch),
                    metadata: Arc::from(""),
                });
            (partition.clone(), Ok(known))
        })
        .collect();
    bench.answer(
        &asked,
        OffsetFetchResponse {
            error: ErrorCode::None,
            partitions,
        },
    );
}

pub(crate) fn listed(bench: &mut Bench<Consumer>, offset: i64) {
    let asked = bench.take(ApiKey::ListOffsets);
    let RequestBody::ListOffsets(request) = &asked.request.body else {
        panic!("a list");
    };
    let partitions = request
        .partitions
        .iter()
        .map(|(partition, ..)| PartitionListOffsetsResponse {
            partition: partition.clone(),
            error: ErrorCode::None,
            offset: Some(Offset(offset)),
            timestamp: None,
            leader_epoch: None,
        })
        .collect();
    bench.answer(&asked, ListOffsetsResponse { partitions });
}

pub(crate) fn fetch_request(asked: &Asked) -> &[FetchPartition] {
    match &asked.request.body {
        RequestBody::Fetch(fetch) => &fetch.partitions,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn records(base: i64, count: i64, epoch: i32) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(base))
        .leader_epoch(LeaderEpoch(epoch));
    for index in 0..count {
        let value = format!("v{}", base + index);
        builder.append(5, None, Some(value.as_bytes()), &[]);
    }
    builder.build().into_bytes()
}

pub(crate) fn part(
    partition: TopicPartition,
    error: ErrorCode,
    records: Bytes,
) -> PartitionFetchResponse {
    PartitionFetchResponse {
        partition,
        error,
        high_watermark: Some(Offset(1000)),
        last_stable_offset: None,
        log_start_offset: Some(Offset(0)),
        diverging_epoch: None,
        aborted_transactions: Vec::new(),
        records,
    }
}

/// An answer of a broker that has no room for fetch sessions.
pub(crate) fn answer_of(
    error: ErrorCode,
    partitions: Vec<PartitionFetchResponse>,
) -> FetchResponse {
    FetchResponse {
        error,
        session: FetchSessionId::NONE,
        partitions,
    }
}

/// Answers the oldest fetch with one part for its first partition.
pub(crate) fn fetched(
    bench: &mut Bench<Consumer>,
    error: ErrorCode,
    records: Bytes,
) -> FetchPartition {
    let asked = bench.take(ApiKey::Fetch);
    let wanted = fetch_request(&asked)[0].clone();
    let partitions = vec![part(wanted.partition.clone(), error, records)];
    let error = ErrorCode::None;
    bench.answer(&asked, answer_of(error, partitions));
    wanted
}

/// The offsets of the records one poll was told.
pub(crate) fn polled(bench: &mut Bench<Consumer>, poll: OperationId) -> Vec<i64> {
    let told = bench.told(poll);
    match told.last() {
        Some(Outcome::Polled(Ok(parts))) => parts
            .iter()
            .flat_map(|(_, records)| records.iter().map(|record| record.offset.0))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Assigned by hand to partition 0, without a group, at the offset.
pub(crate) fn reading_at(settings: &[(&str, &str)], offset: i64) -> Bench<Consumer> {
    let mut bench = bench(1, settings);
    bench.call(Verb::Assign(vec![t(0)]));
    bench.call(Verb::Seek(t(0), Offset(offset)));
    bench
}

pub(crate) const GROUP: (&str, &str) = ("group.id", "g");
