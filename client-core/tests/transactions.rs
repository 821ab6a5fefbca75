//! The transactional producer against a scripted cluster: what it asks in which order, when records may go, and which
//! errors it survives.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Asked, Bench, bootstrap, endpoint};
use bytes::Bytes;
use client_core::Producer;
use protocol::api::data::{PartitionProduceResponse, ProduceRequest, ProduceResponse};
use protocol::api::group::{CoordinatorKind, FindCoordinatorResponse};
use protocol::api::transaction::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest,
    EndTxnResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use protocol::api::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::ProducerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{
    BrokerId, ClientId, GenerationId, GroupId, MemberId, Offset, ProducerEpoch, ProducerId,
    Sequence, TopicName, TopicPartition,
};
use protocol::record::RecordBatch;
use protocol::time::Span;
use protocol::verb::{
    Certainty, ClientError, ConsumerGroupMetadata, Failure, OffsetAndMetadata, OperationId,
    Outcome, ProducerRecord, Verb,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The coordinator of the transactional id.
const COORDINATOR: i32 = 2;

type TxnBench = Bench<Producer>;

fn bench_of(behaviour: Behaviour, settings: &[(&str, &str)]) -> TxnBench {
    let mut config = ProducerConfig::defaults(behaviour.era);
    config.set("transactional.id", "tx").unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("p");
    Bench::new(Producer::new(config, bootstrap(), behaviour, client, 7), 3)
}

fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn send_to(bench: &mut TxnBench, partition: Option<i32>, text: &'static str) -> OperationId {
    bench.call(Verb::Send(Box::new(ProducerRecord {
        topic: TopicName::from("t"),
        partition,
        key: None,
        value: Some(Bytes::from_static(text.as_bytes())),
        timestamp: Some(1),
    })))
}

fn send(bench: &mut TxnBench, partition: i32, text: &'static str) -> OperationId {
    send_to(bench, Some(partition), text)
}

fn done(bench: &mut TxnBench, operation: OperationId) -> Result<(), Failure> {
    match bench.told_once(operation) {
        Outcome::Done(result) => result,
        other => panic!("{other:?}"),
    }
}

fn fenced() -> ClientError {
    ClientError::Broker(ErrorCode::ProducerFenced)
}

/// The coordinator of whatever is asked for is broker 2.
fn find(bench: &mut TxnBench) -> (CoordinatorKind, i32) {
    let asked = bench.take(ApiKey::FindCoordinator);
    let RequestBody::FindCoordinator(body) = asked.request.body.clone() else {
        panic!("{asked:?}");
    };
    let coordinator = Some((BrokerId(COORDINATOR), endpoint(COORDINATOR)));
    bench.answer(
        &asked,
        FindCoordinatorResponse {
            error: ErrorCode::None,
            coordinator,
        },
    );
    (body.kind, asked.broker)
}

fn identify(bench: &mut TxnBench, error: ErrorCode, epoch: i16) -> InitProducerIdRequest {
    let asked = bench.take(ApiKey::InitProducerId);
    assert_eq!(asked.broker, COORDINATOR);
    let RequestBody::InitProducerId(body) = asked.request.body.clone() else {
        panic!("{asked:?}");
    };
    bench.answer(
        &asked,
        InitProducerIdResponse {
            error,
            producer_id: ProducerId(9),
            producer_epoch: ProducerEpoch(epoch),
        },
    );
    body
}

/// A producer that has called `initTransactions` and has epoch 0.
fn ready_of(behaviour: Behaviour, settings: &[(&str, &str)]) -> TxnBench {
    let mut bench = bench_of(behaviour, settings);
    let init = bench.call(Verb::InitTransactions);
    bench.pass(Span::millis(200));
    assert_eq!(find(&mut bench).0, CoordinatorKind::Transaction);
    bench.pass(Span::millis(200));
    identify(&mut bench, ErrorCode::None, 0);
    assert_eq!(done(&mut bench, init), Ok(()));
    bench
}

fn ready() -> TxnBench {
    ready_of(Behaviour::of(Era::V2_8), &[])
}

fn begin(bench: &mut TxnBench) {
    let begin = bench.call(Verb::BeginTransaction);
    assert_eq!(done(bench, begin), Ok(()));
}

fn add_partitions(bench: &mut TxnBench, error: ErrorCode) -> AddPartitionsToTxnRequest {
    let asked = bench.take(ApiKey::AddPartitionsToTxn);
    assert_eq!(asked.broker, COORDINATOR);
    let RequestBody::AddPartitionsToTxn(body) = asked.request.body.clone() else {
        panic!("{asked:?}");
    };
    let partitions = body.partitions.iter().map(|p| (p.clone(), error)).collect();
    bench.answer(&asked, AddPartitionsToTxnResponse { partitions });
    body
}

fn produce(asked: &Asked) -> &ProduceRequest {
    match &asked.request.body {
        RequestBody::Produce(produce) => produce,
        other => panic!("{other:?}"),
    }
}

fn batch(asked: &Asked) -> &RecordBatch {
    &produce(asked).partitions[0].1
}

fn land(bench: &mut TxnBench, error: ErrorCode) -> Asked {
    let asked = bench.take(ApiKey::Produce);
    let partitions =
        produce(&asked)
            .partitions
            .iter()
            .map(|(partition, _)| PartitionProduceResponse {
                partition: partition.clone(),
                error,
                base_offset: error.is_none().then_some(Offset(0)),
                log_append_time: None,
                log_start_offset: Some(Offset(0)),
            });
    let body = ProduceResponse {
        partitions: partitions.collect(),
    };
    bench.answer(&asked, body);
    asked
}

fn end(bench: &mut TxnBench, error: ErrorCode, next: Option<i16>) -> EndTxnRequest {
    let asked = bench.take(ApiKey::EndTxn);
    let RequestBody::EndTxn(body) = asked.request.body.clone() else {
        panic!("{asked:?}");
    };
    let next = next.map(|epoch| (ProducerId(9), ProducerEpoch(epoch)));
    bench.answer(&asked, EndTxnResponse { error, next });
    body
}

/// One record, sent and acknowledged, in an open transaction.
fn with_a_record(bench: &mut TxnBench) {
    begin(bench);
    let sent = send(bench, 0, "a");
    add_partitions(bench, ErrorCode::None);
    land(bench, ErrorCode::None);
    assert!(matches!(bench.told_once(sent), Outcome::Sent(Ok(_))));
}

fn offsets(bench: &mut TxnBench, generation: i32) -> OperationId {
    offsets_of(bench, generation, "m")
}

fn offsets_of(bench: &mut TxnBench, generation: i32, member: &str) -> OperationId {
    let position = OffsetAndMetadata {
        offset: Offset(7),
        leader_epoch: None,
        metadata: String::new(),
    };
    let group = ConsumerGroupMetadata {
        group_id: GroupId::from("g"),
        generation_id: GenerationId(generation),
        member_id: MemberId::from(member),
        group_instance_id: None,
    };
    bench.call(Verb::SendOffsetsToTransaction(
        BTreeMap::from([(t(2), position)]),
        group,
    ))
}

fn answer_offsets(bench: &mut TxnBench, error: ErrorCode) -> (i16, TxnOffsetCommitRequest) {
    let asked = bench.take(ApiKey::TxnOffsetCommit);
    let RequestBody::TxnOffsetCommit(body) = asked.request.body.clone() else {
        panic!("{asked:?}");
    };
    let partitions = vec![(t(2), error)];
    bench.answer(&asked, TxnOffsetCommitResponse { partitions });
    (asked.request.api_version, body)
}

#[test]
fn an_id_is_looked_up_and_made_ones_own_before_a_transaction_begins() {
    let mut bench = bench_of(
        Behaviour::of(Era::V2_8),
        &[("transaction.timeout.ms", "5000")],
    );
    let early = bench.call(Verb::BeginTransaction);
    assert!(matches!(
        done(&mut bench, early).unwrap_err().error,
        ClientError::IllegalState(_)
    ));
    let init = bench.call(Verb::InitTransactions);
    bench.pass(Span::millis(200));
    find(&mut bench);
    bench.pass(Span::millis(200));
    // The transaction of a predecessor is being aborted: again, after a rest.
    identify(&mut bench, ErrorCode::ConcurrentTransactions, 0);
    assert_eq!(bench.apis(), []);
    bench.pass(Span::millis(100));
    let body = identify(&mut bench, ErrorCode::None, 3);
    assert_eq!(body.transaction_timeout_ms, 5000);
    assert_eq!(body.current, None);
    assert_eq!(done(&mut bench, init), Ok(()));
    let twice = bench.call(Verb::InitTransactions);
    assert!(done(&mut bench, twice).is_err());
}

#[test]
fn a_record_goes_only_when_the_coordinator_knows_its_partition() {
    let mut bench = ready();
    begin(&mut bench);
    let first = send(&mut bench, 0, "a");
    let second = send(&mut bench, 1, "b");
    // Nothing is sent while a transactional request is under way.
    assert_eq!(bench.apis(), [ApiKey::AddPartitionsToTxn]);
    let added = add_partitions(&mut bench, ErrorCode::None);
    assert_eq!(added.partitions, [t(0)]);
    assert_eq!(added.producer.producer_epoch, ProducerEpoch(0));
    let added = add_partitions(&mut bench, ErrorCode::None);
    assert!(added.partitions.contains(&t(1)));
    let asked = land(&mut bench, ErrorCode::None);
    assert!(batch(&asked).is_transactional());
    assert_eq!(
        produce(&asked).transactional_id.as_ref().unwrap().as_str(),
        "tx"
    );
    land(&mut bench, ErrorCode::None);
    assert!(matches!(bench.told_once(first), Outcome::Sent(Ok(_))));
    assert!(matches!(bench.told_once(second), Outcome::Sent(Ok(_))));
    // A partition that is in the transaction is not asked for again.
    send(&mut bench, 0, "c");
    assert_eq!(bench.apis(), [ApiKey::Produce]);
}

#[test]
fn a_commit_waits_for_every_batch_and_an_abort_drops_what_was_not_sent() {
    let mut bench = ready_of(Behaviour::of(Era::V2_8), &[("linger.ms", "60000")]);
    begin(&mut bench);
    let sent = send(&mut bench, 0, "a");
    add_partitions(&mut bench, ErrorCode::None);
    assert_eq!(bench.apis(), []);
    let commit = bench.call(Verb::CommitTransaction);
    // Committing does not wait for linger.ms.
    assert_eq!(bench.apis(), [ApiKey::Produce]);
    land(&mut bench, ErrorCode::None);
    assert!(end(&mut bench, ErrorCode::None, None).committed);
    assert_eq!(done(&mut bench, commit), Ok(()));
    bench.told(sent);

    begin(&mut bench);
    let dropped = send(&mut bench, 0, "b");
    add_partitions(&mut bench, ErrorCode::None);
    let abort = bench.call(Verb::AbortTransaction);
    match bench.told_once(dropped) {
        Outcome::Sent(Err(failure)) => {
            assert_eq!(failure, Failure::fail(ClientError::TransactionAborted));
        }
        other => panic!("{other:?}"),
    }
    assert!(!end(&mut bench, ErrorCode::None, None).committed);
    assert_eq!(done(&mut bench, abort), Ok(()));
}

#[test]
fn a_transaction_without_anything_in_it_ends_without_a_request() {
    let mut bench = ready();
    begin(&mut bench);
    let commit = bench.call(Verb::CommitTransaction);
    assert_eq!(done(&mut bench, commit), Ok(()));
    assert_eq!(bench.apis(), []);
}

#[test]
fn misuse_is_an_illegal_state() {
    let mut bench = ready();
    for verb in [Verb::CommitTransaction, Verb::AbortTransaction] {
        let call = bench.call(verb);
        let failure = done(&mut bench, call).unwrap_err();
        assert_eq!(failure.certainty, Certainty::Fail);
        assert!(matches!(failure.error, ClientError::IllegalState(_)));
    }
    let sent = send(&mut bench, 0, "a");
    assert!(matches!(
        bench.told_once(sent),
        Outcome::Sent(Err(Failure {
            error: ClientError::IllegalState(_),
            ..
        }))
    ));
    begin(&mut bench);
    let again = bench.call(Verb::BeginTransaction);
    assert!(done(&mut bench, again).is_err());
}

#[test]
fn a_lost_answer_to_a_commit_is_asked_for_again_at_the_coordinator_of_then() {
    let mut bench = ready();
    with_a_record(&mut bench);
    let commit = bench.call(Verb::CommitTransaction);
    let asked = bench.take(ApiKey::EndTxn);
    bench.reset(&asked);
    bench.pass(Span::millis(200));
    find(&mut bench);
    bench.pass(Span::millis(200));
    // It may have been the first one that was carried out; then somebody else took the id over.
    end(&mut bench, ErrorCode::ProducerFenced, None);
    let failure = done(&mut bench, commit).unwrap_err();
    assert_eq!(failure, Failure::info(fenced()));
    let begin = bench.call(Verb::BeginTransaction);
    assert_eq!(done(&mut bench, begin).unwrap_err().error, fenced());
}

#[test]
fn a_commit_that_takes_too_long_is_unknown_and_has_to_be_called_again() {
    let mut bench = ready_of(Behaviour::of(Era::V2_8), &[("max.block.ms", "5000")]);
    with_a_record(&mut bench);
    let commit = bench.call(Verb::CommitTransaction);
    bench.pass(Span::secs(6));
    assert_eq!(
        done(&mut bench, commit),
        Err(Failure::info(ClientError::Timeout("max.block.ms")))
    );
    let abort = bench.call(Verb::AbortTransaction);
    assert!(matches!(
        done(&mut bench, abort).unwrap_err().error,
        ClientError::IllegalState(_)
    ));
    end(&mut bench, ErrorCode::None, None);
    let again = bench.call(Verb::CommitTransaction);
    assert_eq!(done(&mut bench, again), Ok(()));
    begin(&mut bench);
}

#[test]
fn a_batch_given_up_leaves_only_the_abort_and_then_a_new_epoch() {
    let mut bench = ready();
    begin(&mut bench);
    let sent = send(&mut bench, 0, "a");
    add_partitions(&mut bench, ErrorCode::None);
    land(&mut bench, ErrorCode::InvalidProducerEpoch);
    assert!(matches!(bench.told_once(sent), Outcome::Sent(Err(_))));
    let commit = bench.call(Verb::CommitTransaction);
    let failure = done(&mut bench, commit).unwrap_err();
    assert_eq!(failure.certainty, Certainty::Fail);
    let abort = bench.call(Verb::AbortTransaction);
    assert!(!end(&mut bench, ErrorCode::None, None).committed);
    let bump = identify(&mut bench, ErrorCode::None, 1);
    assert_eq!(bump.current, Some((ProducerId(9), ProducerEpoch(0))));
    assert_eq!(done(&mut bench, abort), Ok(()));
    begin(&mut bench);
    send(&mut bench, 0, "b");
    let added = add_partitions(&mut bench, ErrorCode::None);
    assert_eq!(added.producer.producer_epoch, ProducerEpoch(1));
    let asked = land(&mut bench, ErrorCode::None);
    assert_eq!(batch(&asked).producer_epoch(), Some(ProducerEpoch(1)));
    assert_eq!(batch(&asked).base_sequence(), Some(Sequence(0)));
}

#[test]
fn before_epochs_could_be_raised_a_batch_of_unknown_fate_was_the_end() {
    for (can_raise, survives) in [(true, true), (false, false)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::ProducerStateByExpiry, can_raise);
        let settings = [
            ("delivery.timeout.ms", "2000"),
            ("request.timeout.ms", "1000"),
        ];
        let mut bench = ready_of(behaviour, &settings);
        begin(&mut bench);
        let sent = send(&mut bench, 0, "a");
        add_partitions(&mut bench, ErrorCode::None);
        bench.pass(Span::secs(10));
        assert!(matches!(
            bench.told_once(sent),
            Outcome::Sent(Err(Failure {
                certainty: Certainty::Info,
                ..
            }))
        ));
        let abort = bench.call(Verb::AbortTransaction);
        assert_eq!(bench.told(abort).is_empty(), survives, "{can_raise}");
    }
}

#[test]
fn the_first_partitions_are_asked_for_again_soon_while_the_transaction_before_completes() {
    let mut bench = ready();
    begin(&mut bench);
    send(&mut bench, 0, "a");
    add_partitions(&mut bench, ErrorCode::ConcurrentTransactions);
    bench.pass(Span::millis(19));
    assert_eq!(bench.apis(), []);
    bench.pass(Span::millis(1));
    add_partitions(&mut bench, ErrorCode::None);
    assert_eq!(bench.apis(), [ApiKey::Produce]);
}

#[test]
fn a_fenced_producer_fails_for_good_whatever_it_asks() {
    let mut bench = ready();
    begin(&mut bench);
    let sent = send(&mut bench, 0, "a");
    add_partitions(&mut bench, ErrorCode::InvalidProducerEpoch);
    assert!(matches!(
        bench.told_once(sent),
        Outcome::Sent(Err(Failure {
            certainty: Certainty::Fail,
            ..
        }))
    ));
    for verb in [
        Verb::CommitTransaction,
        Verb::AbortTransaction,
        Verb::BeginTransaction,
    ] {
        let call = bench.call(verb);
        assert_eq!(done(&mut bench, call), Err(Failure::fail(fenced())));
    }
    assert_eq!(bench.apis(), []);
}

#[test]
fn offsets_enter_the_transaction_through_the_coordinator_of_their_group() {
    let mut bench = ready();
    begin(&mut bench);
    let call = offsets(&mut bench, 4);
    let asked = bench.take(ApiKey::AddOffsetsToTxn);
    bench.answer(
        &asked,
        AddOffsetsToTxnResponse {
            error: ErrorCode::None,
        },
    );
    assert_eq!(find(&mut bench).0, CoordinatorKind::Group);
    bench.pass(Span::millis(100));
    let (version, body) = answer_offsets(&mut bench, ErrorCode::CoordinatorLoadInProgress);
    assert_eq!((version, body.generation_id), (3, GenerationId(4)));
    bench.pass(Span::millis(100));
    answer_offsets(&mut bench, ErrorCode::None);
    assert_eq!(done(&mut bench, call), Ok(()));
    // Offsets alone make a transaction.
    bench.call(Verb::CommitTransaction);
    assert!(end(&mut bench, ErrorCode::None, None).committed);
}

#[test]
fn offsets_of_a_former_generation_can_only_be_aborted() {
    let mut bench = ready();
    begin(&mut bench);
    let call = offsets(&mut bench, 4);
    let asked = bench.take(ApiKey::AddOffsetsToTxn);
    bench.answer(
        &asked,
        AddOffsetsToTxnResponse {
            error: ErrorCode::None,
        },
    );
    find(&mut bench);
    bench.pass(Span::millis(100));
    answer_offsets(&mut bench, ErrorCode::IllegalGeneration);
    assert_eq!(
        done(&mut bench, call),
        Err(Failure::fail(ClientError::CommitFailed))
    );
    let commit = bench.call(Verb::CommitTransaction);
    assert_eq!(
        done(&mut bench, commit).unwrap_err().error,
        ClientError::CommitFailed
    );
    let abort = bench.call(Verb::AbortTransaction);
    end(&mut bench, ErrorCode::None, None);
    assert_eq!(done(&mut bench, abort), Ok(()));
}

#[test]
fn a_generation_without_a_member_is_misuse() {
    let mut bench = ready();
    begin(&mut bench);
    let call = offsets_of(&mut bench, 4, "");
    let failure = done(&mut bench, call).unwrap_err();
    assert_eq!(failure.certainty, Certainty::Fail);
    assert!(matches!(failure.error, ClientError::IllegalState(_)));
    assert_eq!(bench.apis(), [], "nobody is asked");
}

#[test]
fn a_group_that_is_refused_for_its_name_ends_the_producer() {
    let mut bench = ready();
    begin(&mut bench);
    let call = offsets(&mut bench, 4);
    let asked = bench.take(ApiKey::AddOffsetsToTxn);
    let error = ErrorCode::None;
    bench.answer(&asked, AddOffsetsToTxnResponse { error });
    find(&mut bench);
    bench.pass(Span::millis(100));
    answer_offsets(&mut bench, ErrorCode::InvalidGroupId);
    let refused = ClientError::Broker(ErrorCode::InvalidGroupId);
    assert_eq!(done(&mut bench, call).unwrap_err().error, refused);
    let abort = bench.call(Verb::AbortTransaction);
    assert_eq!(done(&mut bench, abort).unwrap_err().error, refused);
}

#[test]
fn without_kip_447_the_generation_is_not_told() {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::GroupMetadataInCommit, false);
    let mut bench = ready_of(behaviour, &[]);
    begin(&mut bench);
    offsets(&mut bench, 4);
    let asked = bench.take(ApiKey::AddOffsetsToTxn);
    bench.answer(
        &asked,
        AddOffsetsToTxnResponse {
            error: ErrorCode::None,
        },
    );
    find(&mut bench);
    bench.pass(Span::millis(100));
    let (version, body) = answer_offsets(&mut bench, ErrorCode::None);
    assert_eq!((version, body.generation_id), (2, GenerationId(-1)));
    assert_eq!(body.member_id.as_str(), "");
}

#[test]
fn where_each_transaction_has_its_epoch_the_end_of_one_brings_that_of_the_next() {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::EpochPerTransaction, true);
    let mut bench = ready_of(behaviour, &[]);
    with_a_record(&mut bench);
    bench.call(Verb::CommitTransaction);
    end(&mut bench, ErrorCode::None, Some(1));
    begin(&mut bench);
    send(&mut bench, 0, "b");
    let added = add_partitions(&mut bench, ErrorCode::None);
    assert_eq!(added.producer.producer_epoch, ProducerEpoch(1));
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(batch(&asked).producer_epoch(), Some(ProducerEpoch(1)));
    assert_eq!(batch(&asked).base_sequence(), Some(Sequence(0)));
}

#[test]
fn sequences_go_on_from_transaction_to_transaction_within_an_epoch() {
    let mut bench = ready();
    with_a_record(&mut bench);
    bench.call(Verb::CommitTransaction);
    end(&mut bench, ErrorCode::None, None);
    begin(&mut bench);
    send(&mut bench, 0, "b");
    add_partitions(&mut bench, ErrorCode::None);
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(batch(&asked).base_sequence(), Some(Sequence(1)));
}

/// The second record of a transaction does not fit into the sequence that its leader knows.
fn with_a_gap(era: Era, fixed: bool) -> (TxnBench, OperationId) {
    let behaviour = Behaviour::of(era).with(Fix::AbortBeforeNewEpoch, fixed);
    let mut bench = ready_of(behaviour, &[]);
    with_a_record(&mut bench);
    let sent = send(&mut bench, 0, "b");
    land(&mut bench, ErrorCode::OutOfOrderSequenceNumber);
    bench.pass(Span::millis(200));
    (bench, sent)
}

#[test]
fn a_sequence_that_does_not_fit_leaves_only_the_abort() {
    let (mut bench, sent) = with_a_gap(Era::V1_0, true);
    assert!(matches!(bench.told_once(sent), Outcome::Sent(Err(_))));
    let commit = bench.call(Verb::CommitTransaction);
    assert!(done(&mut bench, commit).is_err());
    let abort = bench.call(Verb::AbortTransaction);
    assert!(!end(&mut bench, ErrorCode::None, None).committed);
    assert_eq!(done(&mut bench, abort), Ok(()));
}

#[test]
fn librdkafka_took_a_new_epoch_for_the_same_transaction() {
    let (mut bench, sent) = with_a_gap(Era::V1_0, false);
    // The coordinator aborts what a predecessor has left.
    let asked = identify(&mut bench, ErrorCode::ConcurrentTransactions, 0);
    assert_eq!(asked.current, None);
    bench.pass(Span::millis(200));
    identify(&mut bench, ErrorCode::None, 1);
    bench.pass(Span::millis(200));
    let again = land(&mut bench, ErrorCode::None);
    assert_eq!(batch(&again).producer_epoch(), Some(ProducerEpoch(1)));
    assert_eq!(batch(&again).base_sequence(), Some(Sequence(0)));
    assert!(matches!(bench.told_once(sent), Outcome::Sent(Ok(_))));
    let commit = bench.call(Verb::CommitTransaction);
    let ended = end(&mut bench, ErrorCode::None, None);
    assert_eq!(ended.producer.producer_epoch, ProducerEpoch(1));
    assert!(ended.committed);
    assert_eq!(done(&mut bench, commit), Ok(()));
}

#[test]
fn a_coordinator_that_is_told_the_epoch_fences_such_a_producer() {
    let (mut bench, _) = with_a_gap(Era::V2_8, false);
    let asked = identify(&mut bench, ErrorCode::ProducerFenced, 0);
    assert_eq!(asked.current, Some((ProducerId(9), ProducerEpoch(0))));
    let commit = bench.call(Verb::CommitTransaction);
    assert_eq!(done(&mut bench, commit).unwrap_err().error, fenced());
}

/// A record without a key begins a batch, and the sticky partition moves with it: what is added, and what is then sent.
fn sticky_partition_moves(fixed: bool) -> (Vec<TopicPartition>, Vec<ApiKey>) {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::BatchInItsTransaction, fixed);
    let mut bench = ready_of(behaviour, &[]);
    begin(&mut bench);
    send_to(&mut bench, None, "a");
    let added = add_partitions(&mut bench, ErrorCode::None);
    bench.call(Verb::CommitTransaction);
    (added.partitions, bench.apis())
}

#[test]
fn the_partition_that_a_record_really_goes_to_is_added() {
    let (_, then) = sticky_partition_moves(true);
    assert_eq!(then, [ApiKey::Produce]);
}

#[test]
fn without_kafka_13782_another_one_is_added_and_the_record_never_goes() {
    let (added, then) = sticky_partition_moves(false);
    assert_eq!(then, []);
    assert_ne!(added, sticky_partition_moves(true).0);
}

#[test]
fn closing_aborts_what_is_open() {
    let mut bench = ready();
    with_a_record(&mut bench);
    let close = bench.call(Verb::Close(Span::secs(30)));
    assert!(!end(&mut bench, ErrorCode::None, None).committed);
    assert_eq!(done(&mut bench, close), Ok(()));
}
