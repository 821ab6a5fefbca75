//! The producer against a scripted cluster: what is sent again, in which order, and what the application is told.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Asked, Bench, bootstrap};
use bytes::Bytes;
use client_core::Producer;
use protocol::api::data::{Acks, PartitionProduceResponse, ProduceRequest, ProduceResponse};
use protocol::api::{ApiKey, InitProducerIdResponse, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::ProducerConfig;
use protocol::error_code::ErrorCode;
use protocol::ids::{
    ClientId, Offset, ProducerEpoch, ProducerId, Sequence, TopicName, TopicPartition,
};
use protocol::note::{ClientNote, Note};
use protocol::record::RecordBatch;
use protocol::time::Span;
use protocol::verb::{Certainty, ClientError, OperationId, Outcome, ProducerRecord, Verb};
use std::sync::Arc;

fn bench_of(behaviour: Behaviour, settings: &[(&str, &str)]) -> Bench<Producer> {
    let mut config = ProducerConfig::defaults(behaviour.era);
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("p");
    Bench::new(Producer::new(config, bootstrap(), behaviour, client, 7), 3)
}

fn bench(settings: &[(&str, &str)]) -> Bench<Producer> {
    bench_of(Behaviour::of(Era::V2_8), settings)
}

fn send(bench: &mut Bench<Producer>, partition: i32, text: &'static str) -> OperationId {
    bench.call(Verb::Send(Box::new(ProducerRecord {
        topic: TopicName::from("t"),
        partition: Some(partition),
        key: None,
        value: Some(Bytes::from_static(text.as_bytes())),
        timestamp: Some(1),
    })))
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

fn texts(asked: &Asked) -> Vec<String> {
    batch(asked)
        .values()
        .map(|value| String::from_utf8(value.unwrap().1.unwrap().to_vec()).unwrap())
        .collect()
}

fn verdict(asked: &Asked, error: ErrorCode, offset: i64) -> ProduceResponse {
    ProduceResponse {
        partitions: vec![PartitionProduceResponse {
            partition: produce(asked).partitions[0].0.clone(),
            error,
            base_offset: error.is_none().then_some(Offset(offset)),
            log_append_time: None,
            log_start_offset: Some(Offset(0)),
        }],
    }
}

fn answer(bench: &mut Bench<Producer>, asked: &Asked, error: ErrorCode, offset: i64) {
    let body = verdict(asked, error, offset);
    bench.answer(asked, body);
}

fn identify(bench: &mut Bench<Producer>, id: i64) {
    let asked = bench.take(ApiKey::InitProducerId);
    bench.answer(
        &asked,
        InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(0),
        },
    );
}

fn offset(bench: &mut Bench<Producer>, operation: OperationId) -> Option<Offset> {
    match bench.told_once(operation) {
        Outcome::Sent(Ok(metadata)) => metadata.offset,
        other => panic!("{other:?}"),
    }
}

fn failure(bench: &mut Bench<Producer>, operation: OperationId) -> (Certainty, ClientError) {
    match bench.told_once(operation) {
        Outcome::Sent(Err(failure)) => (failure.certainty, failure.error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_goes_to_the_leader_and_comes_back_with_its_offset() {
    let mut bench = bench(&[]);
    let sent = send(&mut bench, 1, "a");
    let asked = bench.take(ApiKey::Produce);
    assert_eq!((asked.broker, produce(&asked).acks), (2, Acks::Leader));
    assert_eq!(asked.request.api_version, 9);
    answer(&mut bench, &asked, ErrorCode::None, 41);
    assert_eq!(offset(&mut bench, sent), Some(Offset(41)));
}

#[test]
fn after_a_lost_response_the_same_batch_is_sent_again() {
    let mut bench = bench(&[]);
    let sent = send(&mut bench, 0, "a");
    let first = bench.take(ApiKey::Produce);
    bench.reset(&first);
    bench.pass(Span::millis(200));
    let second = bench.take(ApiKey::Produce);
    assert_eq!(batch(&second), batch(&first));
    assert!(bench.notes.contains(&Note::Client(ClientNote::Retry {
        partition: TopicPartition::new("t", 0),
        error: ErrorCode::NetworkException,
        attempts: 1
    })));
    answer(&mut bench, &second, ErrorCode::None, 5);
    assert_eq!(offset(&mut bench, sent), Some(Offset(5)));
}

#[test]
fn with_five_in_flight_a_refused_batch_is_overtaken() {
    let mut bench = bench(&[]);
    send(&mut bench, 0, "a");
    send(&mut bench, 0, "b");
    let (a, b) = (bench.take(ApiKey::Produce), bench.take(ApiKey::Produce));
    answer(&mut bench, &a, ErrorCode::NotLeaderOrFollower, 0);
    answer(&mut bench, &b, ErrorCode::None, 0);
    bench.pass(Span::millis(200));
    let again = bench.take(ApiKey::Produce);
    assert_eq!(texts(&again), ["a"]);
}

#[test]
fn an_idempotent_producer_keeps_the_order_of_refused_batches() {
    let mut bench = bench(&[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    send(&mut bench, 0, "a");
    send(&mut bench, 0, "b");
    let (a, b) = (bench.take(ApiKey::Produce), bench.take(ApiKey::Produce));
    assert_eq!(batch(&a).base_sequence(), Some(Sequence(0)));
    assert_eq!(batch(&b).base_sequence(), Some(Sequence(1)));
    answer(&mut bench, &a, ErrorCode::NotLeaderOrFollower, 0);
    answer(&mut bench, &b, ErrorCode::OutOfOrderSequenceNumber, 0);
    bench.pass(Span::millis(200));
    let a = bench.take(ApiKey::Produce);
    assert_eq!(texts(&a), ["a"]);
    assert_eq!(batch(&a).base_sequence(), Some(Sequence(0)));
    assert!(bench.try_take(ApiKey::Produce).is_none(), "b waits for a");
    answer(&mut bench, &a, ErrorCode::None, 0);
    let b = bench.take(ApiKey::Produce);
    assert_eq!(batch(&b).base_sequence(), Some(Sequence(1)));
    assert_eq!(batch(&b).producer_epoch(), Some(ProducerEpoch(0)));
}

#[test]
fn a_gap_that_is_real_raises_the_epoch_and_starts_at_zero() {
    let mut bench = bench(&[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    let a = send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::None, 0);
    offset(&mut bench, a);
    send(&mut bench, 0, "b");
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(batch(&asked).base_sequence(), Some(Sequence(1)));
    answer(&mut bench, &asked, ErrorCode::OutOfOrderSequenceNumber, 0);
    bench.pass(Span::millis(200));
    let again = bench.take(ApiKey::Produce);
    assert_eq!(texts(&again), ["b"]);
    assert_eq!(batch(&again).base_sequence(), Some(Sequence(0)));
    assert_eq!(batch(&again).producer_epoch(), Some(ProducerEpoch(1)));
    assert!(batch(&again).is_valid());
}

#[test]
fn before_kip_360_such_a_gap_fails_the_batch_and_asks_for_a_new_id() {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::ProducerStateByExpiry, false);
    let mut bench = bench_of(behaviour, &[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    let a = send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::OutOfOrderSequenceNumber, 0);
    let error = ClientError::Broker(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(failure(&mut bench, a), (Certainty::Fail, error));
    identify(&mut bench, 10);
    send(&mut bench, 0, "b");
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(batch(&asked).producer_id(), Some(ProducerId(10)));
    assert_eq!(batch(&asked).base_sequence(), Some(Sequence(0)));
}

/// The leader refused `a` and does not know the producer of `b`, which followed: it has written neither (KAFKA-5793).
#[test]
fn before_kip_360_sequences_that_begin_anew_count_the_batch_that_waits_for_its_retry() {
    let behaviour = Behaviour::of(Era::Sound).with(Fix::ProducerStateByExpiry, false);
    let mut bench = bench_of(behaviour, &[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    send(&mut bench, 0, "a");
    send(&mut bench, 0, "b");
    let (a, b) = (bench.take(ApiKey::Produce), bench.take(ApiKey::Produce));
    answer(&mut bench, &a, ErrorCode::NotEnoughReplicas, 0);
    answer(&mut bench, &b, ErrorCode::UnknownProducerId, 0);
    bench.pass(Span::millis(200));
    for (text, sequence) in [("a", 0), ("b", 1)] {
        let again = bench.take(ApiKey::Produce);
        assert_eq!(texts(&again), [text]);
        assert_eq!(batch(&again).base_sequence(), Some(Sequence(sequence)));
        assert_eq!(batch(&again).producer_epoch(), Some(ProducerEpoch(0)));
        answer(&mut bench, &again, ErrorCode::None, i64::from(sequence));
    }
}

#[test]
fn a_fatal_error_behind_an_uncertain_batch_waits_only_with_the_fix() {
    for (fix, epoch) in [(false, 1), (true, 0)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::WaitInflightBeforeReset, fix);
        let mut bench = bench_of(behaviour, &[("enable.idempotence", "true")]);
        identify(&mut bench, 9);
        send(&mut bench, 0, "a");
        send(&mut bench, 0, "b");
        let (a, b) = (bench.take(ApiKey::Produce), bench.take(ApiKey::Produce));
        // A was appended, but its answer says otherwise; B fails for good.
        answer(&mut bench, &a, ErrorCode::RequestTimedOut, 0);
        answer(&mut bench, &b, ErrorCode::InvalidRecord, 0);
        bench.pass(Span::millis(200));
        let again = bench.take(ApiKey::Produce);
        assert_eq!(texts(&again), ["a"]);
        assert_eq!(batch(&again).producer_epoch(), Some(ProducerEpoch(epoch)));
    }
}

/// The answer to `b` of another partition is lost when a sequence of this one does not fit: the epoch under which `b` goes
/// again, and that of `c`.
fn epochs_after_a_gap_elsewhere(fix: bool) -> [Option<ProducerEpoch>; 2] {
    let behaviour = Behaviour::of(Era::V2_8).with(Fix::EpochBumpPerPartition, fix);
    let mut bench = bench_of(behaviour, &[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::None, 0);
    send(&mut bench, 1, "b");
    send(&mut bench, 0, "c");
    let (b, c) = (bench.take(ApiKey::Produce), bench.take(ApiKey::Produce));
    answer(&mut bench, &c, ErrorCode::OutOfOrderSequenceNumber, 0);
    assert_eq!(texts(&b), ["b"]);
    bench.reset(&b);
    bench.pass(Span::millis(300));
    let again = [bench.take(ApiKey::Produce), bench.take(ApiKey::Produce)];
    let of = |text: &str| {
        let asked = again.iter().find(|asked| texts(asked) == [text]).unwrap();
        batch(asked).producer_epoch()
    };
    [of("b"), of("c")]
}

#[test]
fn a_gap_in_one_partition_leaves_batches_of_another_under_their_epoch() {
    let epoch = |number| Some(ProducerEpoch(number));
    assert_eq!(epochs_after_a_gap_elsewhere(true), [epoch(0), epoch(1)]);
    // librdkafka: the broker does not know b again.
    assert_eq!(epochs_after_a_gap_elsewhere(false), [epoch(1), epoch(1)]);
}

#[test]
fn a_duplicate_the_broker_no_longer_remembers_is_a_success_without_offset() {
    let mut bench = bench(&[("enable.idempotence", "true")]);
    identify(&mut bench, 9);
    let a = send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::DuplicateSequenceNumber, 0);
    assert_eq!(offset(&mut bench, a), None);
}

#[test]
fn delivery_timeout_is_info_for_what_was_sent_and_fail_for_what_was_not() {
    let mut bench = bench(&[
        ("delivery.timeout.ms", "1000"),
        ("request.timeout.ms", "900"),
        ("max.in.flight.requests.per.connection", "1"),
    ]);
    let sent = send(&mut bench, 0, "a");
    let kept = send(&mut bench, 0, "b");
    bench.pass(Span::millis(1001));
    let error = ClientError::Timeout("delivery.timeout.ms");
    assert_eq!(failure(&mut bench, sent), (Certainty::Info, error.clone()));
    assert_eq!(failure(&mut bench, kept), (Certainty::Fail, error));
}

#[test]
fn a_definite_error_after_an_uncertain_attempt_is_still_info() {
    let mut bench = bench(&[]);
    let sent = send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    bench.reset(&asked);
    bench.pass(Span::millis(200));
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::InvalidRecord, 0);
    let error = ClientError::Broker(ErrorCode::InvalidRecord);
    assert_eq!(failure(&mut bench, sent), (Certainty::Info, error));
}

#[test]
fn without_retries_a_lost_answer_is_info_and_a_refusal_is_fail() {
    let mut bench = bench(&[("retries", "0"), ("acks", "all")]);
    let lost = send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    bench.reset(&asked);
    assert_eq!(
        failure(&mut bench, lost),
        (Certainty::Info, ClientError::Disconnected)
    );
    bench.pass(Span::millis(200));
    let refused = send(&mut bench, 1, "b");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::NotEnoughReplicas, 0);
    assert_eq!(failure(&mut bench, refused).0, Certainty::Fail);
    let written = send(&mut bench, 1, "c");
    let asked = bench.take(ApiKey::Produce);
    answer(
        &mut bench,
        &asked,
        ErrorCode::NotEnoughReplicasAfterAppend,
        0,
    );
    assert_eq!(failure(&mut bench, written).0, Certainty::Info);
}

#[test]
fn acks_zero_is_a_success_as_soon_as_it_is_written() {
    let mut bench = bench(&[("acks", "0")]);
    let sent = send(&mut bench, 0, "a");
    assert_eq!(offset(&mut bench, sent), None);
    assert_eq!(produce(&bench.take(ApiKey::Produce)).acks, Acks::None);
}

#[test]
fn lingering_records_share_a_batch() {
    let mut bench = bench(&[("linger.ms", "20")]);
    let sent = [send(&mut bench, 0, "a"), send(&mut bench, 0, "b")];
    bench.pass(Span::millis(19));
    assert!(bench.try_take(ApiKey::Produce).is_none());
    bench.pass(Span::millis(1));
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(texts(&asked), ["a", "b"]);
    answer(&mut bench, &asked, ErrorCode::None, 7);
    assert_eq!(offset(&mut bench, sent[1]), Some(Offset(8)));
}

#[test]
fn with_one_in_flight_a_batch_does_not_overtake_over_another_leader() {
    for (fix, overtakes) in [(true, false), (false, true)] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::MutePartition, fix);
        let mut bench = bench_of(behaviour, &[("max.in.flight.requests.per.connection", "1")]);
        send(&mut bench, 0, "a");
        let a = bench.take(ApiKey::Produce);
        bench.leaders.insert(TopicPartition::new("t", 0), (2, 1));
        // Another partition of the old leader makes the producer look at the metadata again.
        bench.leaders.insert(TopicPartition::new("t", 3), (2, 0));
        send(&mut bench, 3, "x");
        bench.pass(Span::millis(200));
        let x = bench.take(ApiKey::Produce);
        answer(&mut bench, &x, ErrorCode::None, 0);
        send(&mut bench, 0, "b");
        assert_eq!(bench.try_take(ApiKey::Produce).is_some(), overtakes);
        answer(&mut bench, &a, ErrorCode::NotLeaderOrFollower, 0);
    }
}

#[test]
fn a_batch_too_large_is_sent_in_parts() {
    let mut bench = bench(&[("linger.ms", "20"), ("batch.size", "100")]);
    bench.call(Verb::Flush);
    let sent = send(&mut bench, 0, "a");
    bench.pass(Span::millis(20));
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::MessageTooLarge, 0);
    let error = ClientError::Broker(ErrorCode::MessageTooLarge);
    assert_eq!(failure(&mut bench, sent), (Certainty::Fail, error));

    let sent: Vec<OperationId> = ["b", "c", "d", "e"]
        .into_iter()
        .map(|text| send(&mut bench, 0, text))
        .collect();
    bench.pass(Span::millis(20));
    let asked = bench.take(ApiKey::Produce);
    let count = batch(&asked).record_count();
    assert!(count > 1);
    answer(&mut bench, &asked, ErrorCode::MessageTooLarge, 0);
    let mut offset_now = 0;
    while let Some(asked) = bench.try_take(ApiKey::Produce) {
        answer(&mut bench, &asked, ErrorCode::None, offset_now);
        offset_now += i64::from(batch(&asked).record_count());
        bench.pass(Span::millis(20));
    }
    for (operation, expected) in sent.into_iter().zip(0..) {
        assert_eq!(offset(&mut bench, operation), Some(Offset(expected)));
    }
}

#[test]
fn a_send_without_memory_waits_and_gives_up_after_max_block() {
    let mut bench = bench(&[
        ("buffer.memory", "100"),
        ("batch.size", "100"),
        ("max.block.ms", "500"),
    ]);
    let first = send(&mut bench, 0, "a");
    let blocked = send(&mut bench, 1, "b");
    assert!(bench.told(blocked).is_empty());
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::None, 0);
    offset(&mut bench, first);
    let asked = bench.take(ApiKey::Produce);
    assert_eq!(texts(&asked), ["b"]);
    let late = send(&mut bench, 2, "c");
    bench.pass(Span::millis(500));
    assert_eq!(
        failure(&mut bench, late),
        (Certainty::Fail, ClientError::BufferExhausted)
    );
}

#[test]
fn a_topic_nobody_knows_is_waited_for() {
    let mut bench = bench(&[("max.block.ms", "1000")]);
    let topic = TopicName::from("later");
    let record = |value| {
        Verb::Send(Box::new(ProducerRecord {
            topic: topic.clone(),
            partition: None,
            key: None,
            value: Some(Bytes::from_static(value)),
            timestamp: None,
        }))
    };
    let early = bench.call(record(b"a"));
    bench.pass(Span::millis(1000));
    let error = ClientError::Timeout("max.block.ms");
    assert_eq!(failure(&mut bench, early), (Certainty::Fail, error));
    let asked = bench.metadata_asked;
    assert!((5..15).contains(&asked), "asked {asked} times in a second");
    bench.call(record(b"b"));
    bench
        .leaders
        .insert(TopicPartition::new("later", 0), (3, 0));
    bench.pass(Span::millis(200));
    assert_eq!(texts(&bench.take(ApiKey::Produce)), ["b"]);
}

#[test]
fn flush_waits_for_what_was_sent_before_and_close_for_everything() {
    let mut bench = bench(&[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]);
    send(&mut bench, 0, "a");
    let flush = bench.call(Verb::Flush);
    let asked = bench.take(ApiKey::Produce);
    assert!(bench.told(flush).is_empty());
    answer(&mut bench, &asked, ErrorCode::None, 0);
    assert_eq!(bench.told_once(flush), Outcome::Done(Ok(())));
    let last = send(&mut bench, 0, "b");
    let close = bench.call(Verb::Close(Span::secs(5)));
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::None, 1);
    assert_eq!(offset(&mut bench, last), Some(Offset(1)));
    assert_eq!(bench.told_once(close), Outcome::Done(Ok(())));
    let late = send(&mut bench, 0, "c");
    assert_eq!(failure(&mut bench, late).0, Certainty::Fail);
}

#[test]
fn a_close_that_takes_too_long_is_honest_about_what_was_under_way() {
    let mut bench = bench(&[("max.in.flight.requests.per.connection", "1")]);
    let sent = send(&mut bench, 0, "a");
    let kept = send(&mut bench, 0, "b");
    let close = bench.call(Verb::Close(Span::millis(100)));
    bench.pass(Span::millis(100));
    assert_eq!(
        failure(&mut bench, sent),
        (Certainty::Info, ClientError::Closed)
    );
    assert_eq!(
        failure(&mut bench, kept),
        (Certainty::Fail, ClientError::Closed)
    );
    assert_eq!(bench.told_once(close), Outcome::Done(Ok(())));
}

#[test]
fn a_request_without_answer_closes_its_connection() {
    let mut bench = bench(&[("request.timeout.ms", "1000")]);
    send(&mut bench, 0, "a");
    let first = bench.take(ApiKey::Produce);
    bench.pass(Span::millis(1300));
    let second = bench.take(ApiKey::Produce);
    assert_ne!(first.connection, second.connection);
    assert_eq!(batch(&first), batch(&second));
}

#[test]
fn the_producer_of_0_8_waits_for_its_answer_as_long_as_the_connection_stands() {
    for (era, waits) in [(Era::V0_8, true), (Era::V0_9, false)] {
        let mut bench = bench_of(Behaviour::of(era), &[]);
        let operation = send(&mut bench, 0, "a");
        bench.take(ApiKey::Produce);
        bench.pass(Span::secs(300));
        assert_eq!(bench.told(operation).is_empty(), waits, "{era}");
    }
}

#[test]
fn a_cluster_that_is_gone_is_tried_with_growing_rests() {
    let mut bench = bench(&[]);
    send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    bench.refusing.extend([1, 2, 3]);
    bench.reset(&asked);
    let before = bench.steps;
    bench.pass(Span::secs(60));
    let steps = bench.steps - before;
    // Three brokers, each about once a second, and a timer and a refusal for each.
    assert!((60..700).contains(&steps), "{steps} steps in a minute");
}

#[test]
fn an_idle_producer_does_nothing_but_renew_its_metadata() {
    let mut bench = bench(&[]);
    send(&mut bench, 0, "a");
    let asked = bench.take(ApiKey::Produce);
    answer(&mut bench, &asked, ErrorCode::None, 0);
    let before = bench.steps;
    bench.pass(Span::secs(500));
    assert!(bench.steps - before < 10, "{}", bench.steps - before);
}

#[test]
fn closing_sends_what_is_queued_since_kafka_116() {
    for fixed in [true, false] {
        let behaviour = Behaviour::of(Era::V2_8).with(Fix::DrainOnClose, fixed);
        let mut bench = bench_of(behaviour, &[("linger.ms", "60000")]);
        let queued = send(&mut bench, 0, "a");
        bench.call(Verb::Close(Span::secs(30)));
        assert_eq!(bench.try_take(ApiKey::Produce).is_some(), fixed);
        if !fixed {
            assert!(matches!(
                bench.told_once(queued),
                Outcome::Sent(Err(failure)) if failure.error == ClientError::Closed
            ));
        }
    }
}
