//! Record batches against arbitrary bytes: nothing panics, and what is written is read back.

use bytes::Bytes;
use proptest::prelude::*;
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use protocol::record::{BatchBuilder, BatchHeader, RecordBatch, RecordHeader, RecordView, batches};

/// Calls everything that interprets the bytes.
fn exercise(raw: &[u8]) {
    if let Some(header) = BatchHeader::peek(raw) {
        let _ = (header.is_plausible(), header.size_in_bytes());
        let _ = (header.next_offset(), header.last_sequence());
    }
    for batch in batches(Bytes::copy_from_slice(raw)).flatten() {
        exercise_batch(&batch);
    }
    if let Ok(batch) = RecordBatch::parse(Bytes::copy_from_slice(raw)) {
        exercise_batch(&batch);
    }
}

fn exercise_batch(batch: &RecordBatch) {
    assert_eq!(BatchHeader::peek(batch.bytes()), Some(batch.header()));
    let _ = (batch.is_valid(), batch.last_sequence(), batch.next_offset());
    let _ = (batch.control_marker(), format!("{batch:?}"));
    let whole = batch.records().all(|record| record.is_ok());
    // Reading values looks into less, so it never refuses what reading records accepts.
    assert!(!whole || batch.values().all(|value| value.is_ok()));
    let mut odd = false;
    let retained = batch.retain(|_| {
        odd = !odd;
        odd
    });
    assert_eq!(retained.is_ok(), whole);
    let rebased = batch.clone().rebase(Offset(5), LeaderEpoch(1));
    assert_eq!(rebased.is_valid(), batch.is_valid());
    assert!(batch.clone().with_log_append_time(9).is_valid());
}

type Fields = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<RecordHeader>);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn record() -> impl Strategy<Value = Fields> {
    let header = (bytes(), prop::option::of(bytes())).prop_map(|(key, value)| RecordHeader {
        key: key.into(),
        value: value.map(Bytes::from),
    });
    let headers = prop::collection::vec(header, 0..4);
    (
        any::<i64>(),
        prop::option::of(bytes()),
        prop::option::of(bytes()),
        headers,
    )
}

fn build(records: &[Fields]) -> RecordBatch {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), Sequence(i32::MAX));
    for (timestamp, key, value, headers) in records {
        let (key, value) = (key.as_deref(), value.as_deref());
        let foretold = builder.size_if_appended(*timestamp, key, value, headers);
        builder.append(*timestamp, key, value, headers);
        assert_eq!(builder.size_in_bytes(), foretold);
    }
    builder.build()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(records in prop::collection::vec(record(), 1..8)) {
        let batch = build(&records);
        prop_assert!(batch.is_valid());
        let read: Vec<RecordView> = batch.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (delta, (view, (timestamp, key, value, headers))) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(view.offset, Offset(i64::try_from(delta).unwrap()));
            prop_assert_eq!(view.sequence, Some(Sequence(i32::MAX).plus(i32::try_from(delta).unwrap())));
            prop_assert_eq!(view.timestamp, *timestamp);
            prop_assert_eq!(view.key.as_deref(), key.as_deref());
            prop_assert_eq!(view.value.as_deref(), value.as_deref());
            prop_assert_eq!(&view.headers, headers);
        }
        let values: Vec<_> = batch.values().map(|value| value.unwrap().1).collect();
        let expected: Vec<_> = records.iter().map(|(_, _, value, _)| value.as_deref()).collect();
        prop_assert_eq!(values, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&raw);
    }

    #[test]
    fn arbitrary_fields_behind_a_plausible_length_never_panic(
        mut raw in prop::collection::vec(any::<u8>(), 61..200),
        count in 0_u8..5,
    ) {
        let length = u8::try_from(raw.len() - 12).unwrap();
        raw[8..12].copy_from_slice(&[0, 0, 0, length]);
        raw[16] = 2;
        raw[21..23].copy_from_slice(&[0, 0]);
        raw[57..61].copy_from_slice(&[0, 0, 0, count]);
        exercise(&raw);
    }

    #[test]
    fn mutated_batches_never_panic(
        records in prop::collection::vec(record(), 1..4),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        also_cut in any::<bool>(),
    ) {
        let mut raw = build(&records).into_bytes().to_vec();
        for (at, byte) in mutations {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if also_cut {
            raw.truncate(cut.index(raw.len()));
        }
        exercise(&raw);
    }
}
