//! What a reader of committed records is handed, by the list of aborted transactions that comes with a fetch
//! (`CompletedFetch`): against a plain reckoning of who committed what.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test panics on what it does not expect"
)]

mod bench;

use bench::{Bench, bootstrap};
use bytes::BytesMut;
use client_core::Consumer;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};
use protocol::api::data::{AbortedTransaction, FetchResponse, PartitionFetchResponse};
use protocol::api::{ApiKey, RequestBody};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::ConsumerConfig;
use protocol::error_code::ErrorCode;
use protocol::fetch_session::FetchSessionId;
use protocol::ids::{
    ClientId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition,
};
use protocol::record::{BatchBuilder, ControlMarker, ControlType, RecordBatch};
use protocol::time::Span;
use protocol::verb::{Outcome, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One batch of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Batch {
    /// So many records of a producer's transaction.
    Data(i64, i64),
    /// A record that the producer sent outside of any.
    Plain(i64),
    Commit(i64),
    Abort(i64),
}
use Batch::{Abort, Commit, Data, Plain};

impl Batch {
    fn built(self, base: i64) -> RecordBatch {
        let records = |producer: i64, count: i64, transactional: bool| {
            let mut builder = BatchBuilder::new()
                .base_offset(Offset(base))
                .leader_epoch(LeaderEpoch(0))
                .producer(ProducerId(producer), ProducerEpoch(0), Sequence(0));
            if transactional {
                builder = builder.transactional();
            }
            for _ in 0..count {
                builder.append(5, None, Some(b"x"), &[]);
            }
            builder.build()
        };
        let marker = |producer, kind| {
            let marker = ControlMarker {
                kind,
                coordinator_epoch: 0,
            };
            marker
                .batch(ProducerId(producer), ProducerEpoch(0), 5)
                .rebase(Offset(base), LeaderEpoch(0))
        };
        match self {
            Data(producer, count) => records(producer, count, true),
            Plain(producer) => records(producer, 1, false),
            Commit(producer) => marker(producer, ControlType::Commit),
            Abort(producer) => marker(producer, ControlType::Abort),
        }
    }

    fn len(self) -> i64 {
        match self {
            Data(_, count) => count,
            Plain(_) | Commit(_) | Abort(_) => 1,
        }
    }
}

/// A log, what a broker would list as aborted, and which offsets a reader of committed records may see.
struct Log {
    batches: Vec<RecordBatch>,
    /// Producer, first offset, and the offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    visible: Vec<i64>,
    end: i64,
}

fn log(batches: &[Batch]) -> Log {
    let mut log = Log {
        batches: Vec::new(),
        aborted: Vec::new(),
        visible: Vec::new(),
        end: 0,
    };
    let mut open: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for batch in batches {
        log.batches.push(batch.built(log.end));
        let offsets = log.end..log.end + batch.len();
        match *batch {
            Data(producer, _) => open.entry(producer).or_default().extend(offsets.clone()),
            Plain(_) => log.visible.extend(offsets.clone()),
            Commit(producer) => log
                .visible
                .extend(open.remove(&producer).unwrap_or_default()),
            Abort(producer) => {
                if let Some(written) = open.remove(&producer) {
                    log.aborted.push((producer, written[0], log.end));
                }
            }
        }
        log.end = offsets.end;
    }
    log.visible.sort_unstable();
    assert!(
        open.is_empty(),
        "a broker sends nothing above the last stable offset"
    );
    log
}

fn reader(behaviour: Behaviour, settings: &[(&str, &str)]) -> Bench<Consumer> {
    let mut config = ConsumerConfig::defaults(behaviour.era);
    config.set("isolation.level", "read_committed").unwrap();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let config = Arc::new(config.finish().unwrap());
    let client = ClientId::from("c");
    let consumer = Consumer::new(config, bootstrap(), behaviour, client, 7);
    let mut bench = Bench::new(consumer, 1);
    bench.call(Verb::Assign(vec![TopicPartition::new("t", 0)]));
    bench
}

/// The offsets that the reader is handed from `from` on, each poll apart, until it asks for what lies behind the
/// log's end. Each fetch is answered with the whole rest of the log.
fn polls(bench: &mut Bench<Consumer>, log: &Log, from: i64) -> Vec<Vec<i64>> {
    let partition = TopicPartition::new("t", 0);
    bench.call(Verb::Seek(partition.clone(), Offset(from)));
    let mut polls = Vec::new();
    let mut next_fetch = None;
    while next_fetch.is_none_or(|at| at < log.end) {
        let poll = bench.call(Verb::Poll(Span::millis(100)));
        while let Some(asked) = bench.try_take(ApiKey::Fetch) {
            let RequestBody::Fetch(request) = &asked.request.body else {
                panic!("a fetch");
            };
            let at = request.partitions[0].fetch_offset.0;
            next_fetch = Some(at);
            if at < log.end {
                bench.answer(&asked, answer(partition.clone(), log, at));
            }
        }
        bench.pass(Span::millis(200));
        match bench.told(poll).last() {
            Some(Outcome::Polled(Ok(parts))) => polls.push(
                parts
                    .iter()
                    .flat_map(|(_, records)| records.iter().map(|record| record.offset.0))
                    .collect(),
            ),
            other => panic!("{other:?}"),
        }
    }
    polls
}

/// As a broker would: whole batches, and every aborted transaction that ends at the offset or later.
fn answer(partition: TopicPartition, log: &Log, from: i64) -> FetchResponse {
    let mut records = BytesMut::new();
    for batch in &log.batches {
        if batch.next_offset() > Offset(from) {
            records.extend_from_slice(&batch.clone().into_bytes());
        }
    }
    let aborted = log.aborted.iter().filter(|(.., marker)| *marker >= from);
    let listed = aborted.map(|(producer, first, _)| AbortedTransaction {
        producer_id: ProducerId(*producer),
        first_offset: Offset(*first),
    });
    FetchResponse {
        error: ErrorCode::None,
        session: FetchSessionId::NONE,
        partitions: vec![PartitionFetchResponse {
            partition,
            error: ErrorCode::None,
            high_watermark: Some(Offset(log.end)),
            last_stable_offset: Some(Offset(log.end)),
            log_start_offset: Some(Offset(0)),
            diverging_epoch: None,
            aborted_transactions: listed.collect(),
            records: records.freeze(),
        }],
    }
}

fn sound() -> Behaviour {
    Behaviour::of(Era::V2_8)
}

fn handed_over(batches: &[Batch], from: i64) -> Vec<i64> {
    let mut bench = reader(sound(), &[]);
    polls(&mut bench, &log(batches), from).concat()
}

#[test]
fn an_aborted_transaction_hides_its_own_producers_records_alone() {
    let batches = [
        Data(1, 2),
        Data(2, 1),
        Abort(1),
        Data(1, 1),
        Commit(2),
        Commit(1),
    ];
    assert_eq!(handed_over(&batches, 0), [2, 4]);
}

#[test]
fn what_a_producer_sends_outside_of_transactions_is_never_hidden() {
    let batches = [Data(1, 1), Plain(1), Plain(3), Abort(1)];
    assert_eq!(handed_over(&batches, 0), [1, 2]);
}

#[test]
fn the_list_counts_also_where_the_fetch_begins_within_a_transaction() {
    let batches = [Data(1, 3), Data(2, 3), Data(1, 1), Abort(1), Commit(2)];
    assert_eq!(handed_over(&batches, 1), [3, 4, 5]);
    assert_eq!(handed_over(&batches, 4), [4, 5], "within a batch");
    assert!(
        handed_over(&batches, 6).is_empty(),
        "behind what is visible"
    );
}

#[test]
fn a_poll_goes_on_in_the_transaction_where_the_one_before_stopped() {
    let batches = [
        Data(1, 2),
        Plain(9),
        Data(1, 2),
        Plain(9),
        Abort(1),
        Data(1, 1),
        Commit(1),
    ];
    let mut bench = reader(sound(), &[("max.poll.records", "1")]);
    let polls = polls(&mut bench, &log(&batches), 0);
    assert_eq!(polls[..3], [[2], [5], [7]]);
}

#[test]
fn the_abort_of_nothing_uses_up_no_entry_since_librdkafka_1_7() {
    let batches = [Abort(1), Data(1, 1), Commit(1), Data(1, 2), Abort(1)];
    for (fixed, expected) in [(true, vec![1]), (false, vec![1, 3, 4])] {
        let behaviour = sound().with(Fix::EmptyAbortEndsNothing, fixed);
        let mut bench = reader(behaviour, &[]);
        let seen = polls(&mut bench, &log(&batches), 0).concat();
        assert_eq!(seen, expected, "fixed: {fixed}");
    }
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let producer = 1..4_i64;
    prop_oneof![
        (producer.clone(), 1..4_i64).prop_map(|(producer, count)| Data(producer, count)),
        producer.clone().prop_map(Plain),
        producer.clone().prop_map(Commit),
        producer.prop_map(Abort),
        Just(Data(1, 1)),
    ]
}

proptest! {
    #[test]
    fn whatever_the_log_holds_the_reader_sees_what_was_committed(
        mut batches in collection::vec(any_batch(), 0..24),
        from in 0..30_i64,
        most in 1..5_u8,
    ) {
        // Nothing above the last stable offset reaches a reader.
        batches.extend([Commit(1), Abort(2), Commit(3)]);
        let log = log(&batches);
        let from = from.min(log.end);
        let mut bench = reader(sound(), &[("max.poll.records", &most.to_string())]);
        let seen = polls(&mut bench, &log, from).concat();
        let visible: Vec<i64> = log.visible.iter().copied().filter(|at| *at >= from).collect();
        prop_assert_eq!(seen, visible);
    }
}
