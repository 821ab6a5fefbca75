//! Known bytes, rewrites, runs of batches and markers, through the public face of the module.

use super::*;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use bytes::Bytes;

/// Two records at offset 42, epoch 5, of transactional producer 9, assembled field by field; the checksum was computed
/// by a bitwise CRC-32C.
const TWO_RECORDS: [u8; 82] = [
    0, 0, 0, 0, 0, 0, 0, 42, // base offset
    0, 0, 0, 70, // length
    0, 0, 0, 5, // leader epoch
    2, // magic
    0x4a, 0xdc, 0x08, 0x77, // checksum
    0, 0x10, // attributes: transactional
    0, 0, 0, 1, // last offset delta
    0, 0, 0, 0, 0, 0, 0x03, 0xe8, // first timestamp 1000
    0, 0, 0, 0, 0, 0, 0x04, 0x4c, // max timestamp 1100
    0, 0, 0, 0, 0, 0, 0, 9, // producer id
    0, 3, // producer epoch
    0, 0, 0, 7, // base sequence
    0, 0, 0, 2, // record count
    // 12 bytes, attributes, +0 ms, +0, "k", "v1", one header "h" without a value
    0x18, 0, 0, 0, 0x02, b'k', 0x04, b'v', b'1', 0x02, 0x02, b'h', 0x01,
    // 7 bytes, attributes, +100 ms, +1, no key, no value, no headers
    0x0e, 0, 0xc8, 0x01, 0x02, 0x01, 0x01, 0x00,
];

fn header(key: &'static str, value: Option<&'static str>) -> RecordHeader {
    RecordHeader {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|text| Bytes::from_static(text.as_bytes())),
    }
}

fn two_records() -> RecordBatch {
    RecordBatch::parse(Bytes::from_static(&TWO_RECORDS)).unwrap()
}

fn plain(values: &[&str]) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(1000, None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

#[test]
fn the_fields_of_known_bytes_are_read() {
    let batch = two_records();
    assert_eq!(batch.check_crc(), Ok(()));
    assert_eq!(batch.base_offset(), Offset(42));
    assert_eq!(batch.last_offset(), Offset(43));
    assert_eq!(batch.next_offset(), Offset(44));
    assert_eq!(batch.batch_length(), 70);
    assert_eq!(batch.partition_leader_epoch(), Some(LeaderEpoch(5)));
    assert_eq!(batch.magic(), MAGIC);
    assert_eq!(batch.crc(), 0x4adc_0877);
    assert_eq!(batch.codec(), Codec::None);
    assert_eq!(batch.timestamp_type(), TimestampType::CreateTime);
    assert!(batch.is_transactional() && !batch.is_control());
    assert_eq!(
        (batch.first_timestamp(), batch.max_timestamp()),
        (1000, 1100)
    );
    assert_eq!(batch.producer_id(), Some(ProducerId(9)));
    assert_eq!(batch.producer_epoch(), Some(ProducerEpoch(3)));
    assert_eq!(batch.base_sequence(), Some(Sequence(7)));
    assert_eq!(batch.last_sequence(), Some(Sequence(8)));
    assert_eq!(batch.record_count(), 2);
    assert_eq!(batch.size_in_bytes(), 82);
    let header = BatchHeader::peek(&TWO_RECORDS[..HEADER_SIZE]).unwrap();
    assert_eq!(header, batch.header());
    assert!(header.is_plausible());
    assert_eq!(header.size_in_bytes(), 82);
    assert_eq!(header.next_offset(), Offset(44));
    assert_eq!(header.last_sequence(), Some(Sequence(8)));
    assert_eq!(BatchHeader::peek(&TWO_RECORDS[..HEADER_SIZE - 1]), None);
}

#[test]
fn the_records_of_known_bytes_are_read() {
    let records: Vec<_> = two_records().records().map(Result::unwrap).collect();
    assert_eq!(
        records,
        [
            RecordView {
                offset: Offset(42),
                timestamp: 1000,
                sequence: Some(Sequence(7)),
                key: Some(Bytes::from_static(b"k")),
                value: Some(Bytes::from_static(b"v1")),
                headers: vec![header("h", None)],
            },
            RecordView {
                offset: Offset(43),
                timestamp: 1100,
                sequence: Some(Sequence(8)),
                key: None,
                value: None,
                headers: Vec::new(),
            },
        ]
    );
    let batch = two_records();
    let values: Vec<_> = batch.values().map(Result::unwrap).collect();
    assert_eq!(
        values,
        [(Offset(42), Some(b"v1".as_slice())), (Offset(43), None)]
    );
}

#[test]
fn the_builder_writes_the_known_bytes_and_foretells_their_size() {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(42))
        .leader_epoch(LeaderEpoch(5))
        .producer(ProducerId(9), ProducerEpoch(3), Sequence(7))
        .transactional();
    let headers = [header("h", None)];
    assert_eq!(builder.size_in_bytes(), HEADER_SIZE);
    assert_eq!(
        builder.size_if_appended(1000, Some(b"k"), Some(b"v1"), &headers),
        74
    );
    assert_eq!(builder.append(1000, Some(b"k"), Some(b"v1"), &headers), 0);
    assert_eq!(builder.size_if_appended(1100, None, None, &[]), 82);
    assert_eq!(builder.append(1100, None, None, &[]), 1);
    assert_eq!((builder.size_in_bytes(), builder.record_count()), (82, 2));
    assert_eq!(builder.build().bytes().as_ref(), TWO_RECORDS);
}

#[test]
fn a_batch_of_another_client_has_the_same_checksum() {
    // One record with timestamp delta 5, key 1 2 3 4, value 5 6 7 and header 8 9 10 = 11 12.
    let mut raw = vec![0; HEADER_SIZE];
    raw[11] = 70;
    raw[16] = 2;
    raw[17..21].copy_from_slice(&[84, 121, 97, 253]);
    raw[27..35].copy_from_slice(&1_479_847_795_000_i64.to_be_bytes());
    raw[60] = 1;
    raw.extend([
        40, 0, 10, 0, 8, 1, 2, 3, 4, 6, 5, 6, 7, 2, 6, 8, 9, 10, 4, 11, 12,
    ]);
    let batch = RecordBatch::parse(raw.into()).unwrap();
    assert_eq!(batch.check_crc(), Ok(()));
    let record = batch.records().next().unwrap().unwrap();
    assert_eq!(record.timestamp, 1_479_847_795_005);
    assert_eq!(record.headers[0].key.as_ref(), [8, 9, 10]);
}

#[test]
fn the_upper_bound_is_the_header_21_bytes_and_the_payload() {
    assert_eq!(
        estimate_batch_size_upper_bound(None, None, &[]),
        61 + 21 + 3
    );
    assert_eq!(
        estimate_batch_size_upper_bound(Some(b"key"), Some(&[0; 100]), &[header("h", Some("v"))]),
        61 + 21 + 4 + 102 + 1 + 4
    );
}

#[test]
fn an_empty_value_is_not_a_missing_one_and_repeated_headers_keep_their_order() {
    let headers = [
        header("a", Some("1")),
        header("b", Some("")),
        header("a", None),
    ];
    let mut builder = BatchBuilder::new();
    builder.append(-1, Some(b""), Some(b""), &headers);
    let record = builder.build().records().next().unwrap().unwrap();
    assert_eq!(record.key, Some(Bytes::new()));
    assert_eq!(record.value, Some(Bytes::new()));
    assert_eq!(record.timestamp, NO_TIMESTAMP);
    assert_eq!(record.headers, headers);
}

#[test]
fn timestamps_may_go_back_inside_a_batch() {
    let mut builder = BatchBuilder::new();
    for timestamp in [500, 100, 700, i64::MIN, 300] {
        builder.append(timestamp, None, None, &[]);
    }
    let batch = builder.build();
    assert_eq!((batch.first_timestamp(), batch.max_timestamp()), (500, 700));
    let read: Vec<_> = batch
        .records()
        .map(|record| record.unwrap().timestamp)
        .collect();
    assert_eq!(read, [500, 100, 700, i64::MIN, 300]);
}

#[test]
fn rebasing_keeps_the_checksum_and_works_in_place_on_bytes_of_ones_own() {
    let batch = plain(&["a", "b"]);
    let (place, crc) = (batch.bytes().as_ptr(), batch.crc());
    let rebased = batch.rebase(Offset(7), LeaderEpoch(3));
    assert_eq!(rebased.bytes().as_ptr(), place);
    assert_eq!(
        (rebased.base_offset(), rebased.last_offset()),
        (Offset(7), Offset(8))
    );
    assert_eq!(rebased.partition_leader_epoch(), Some(LeaderEpoch(3)));
    assert_eq!((rebased.crc(), rebased.is_valid()), (crc, true));
}

#[test]
fn rebasing_shared_bytes_leaves_the_other_holder_alone() {
    let mine = plain(&["a"]);
    let theirs = mine.clone();
    let rebased = mine.rebase(Offset(7), LeaderEpoch(3));
    assert_eq!(theirs.base_offset(), Offset(0));
    assert_eq!(theirs.partition_leader_epoch(), None);
    assert_eq!(rebased.base_offset(), Offset(7));
}

#[test]
fn the_append_time_masks_the_records_own_and_gets_a_new_checksum() {
    let before = two_records();
    let stamped = before.clone().with_log_append_time(5000);
    assert_ne!(stamped.crc(), before.crc());
    assert!(stamped.is_valid() && stamped.is_transactional());
    assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(
        (stamped.first_timestamp(), stamped.max_timestamp()),
        (1000, 5000)
    );
    assert!(
        stamped
            .records()
            .all(|record| record.unwrap().timestamp == 5000)
    );
}

#[test]
fn a_renumbered_batch_differs_in_producer_fields_alone() {
    let batch = two_records().with_producer_state(
        ProducerId(10),
        ProducerEpoch(4),
        Sequence(i32::MAX),
        false,
    );
    assert!(batch.is_valid() && !batch.is_transactional());
    assert_eq!(batch.producer_id(), Some(ProducerId(10)));
    assert_eq!(batch.producer_epoch(), Some(ProducerEpoch(4)));
    assert_eq!(batch.last_sequence(), Some(Sequence(0)));
    assert_eq!(batch.bytes()[57..], TWO_RECORDS[57..]);
}

#[test]
fn one_flipped_bit_breaks_the_checksum_except_in_what_a_leader_writes() {
    for at in (0..TWO_RECORDS.len()).filter(|at| !(8..12).contains(at) && *at != 16) {
        let mut raw = TWO_RECORDS;
        raw[at] ^= 0x01;
        let batch = RecordBatch::parse(Bytes::copy_from_slice(&raw)).unwrap();
        assert_eq!(batch.is_valid(), at < 16, "byte {at}");
    }
}

#[test]
fn bytes_that_are_not_exactly_one_batch_are_refused() {
    let parse = |raw: &[u8]| RecordBatch::parse(Bytes::copy_from_slice(raw)).map(|_| ());
    let need = 82;
    assert_eq!(
        parse(&TWO_RECORDS[..81]),
        Err(BatchError::Incomplete { have: 81, need })
    );
    assert_eq!(
        parse(&[]),
        Err(BatchError::Incomplete {
            have: 0,
            need: HEADER_SIZE
        })
    );
    let mut longer = TWO_RECORDS.to_vec();
    longer.push(0);
    assert_eq!(parse(&longer), Err(BatchError::TrailingBytes { extra: 1 }));
    let mut old = TWO_RECORDS;
    old[16] = 1;
    assert_eq!(parse(&old), Err(BatchError::UnsupportedMagic(1)));
    let mut short = TWO_RECORDS;
    short[11] = 48;
    assert_eq!(parse(&short), Err(BatchError::BadLength(48)));
    let mut negative = TWO_RECORDS;
    negative[8] = 0xff;
    assert!(matches!(parse(&negative), Err(BatchError::BadLength(length)) if length < 0));
}

#[test]
fn a_run_is_cut_into_its_batches_and_an_incomplete_tail_is_left() {
    let (first, second) = (plain(&["a"]), plain(&["b", "c"]));
    let run = [first.bytes().as_ref(), second.bytes(), &TWO_RECORDS].concat();
    for cut in 0..=TWO_RECORDS.len() {
        let mut cutter = batches(Bytes::copy_from_slice(&run[..run.len() - cut]));
        let whole: Vec<_> = cutter.by_ref().map(Result::unwrap).collect();
        assert_eq!(whole.len(), if cut == 0 { 3 } else { 2 });
        assert_eq!((&whole[0], &whole[1]), (&first, &second));
        let left = if cut == 0 { 0 } else { TWO_RECORDS.len() - cut };
        assert_eq!(cutter.rest().len(), left);
    }
}

#[test]
fn a_run_ends_with_one_error_where_it_is_no_batch() {
    let mut run = [TWO_RECORDS, TWO_RECORDS].concat();
    run[82 + 16] = 9;
    let mut cutter = batches(run.into());
    assert_eq!(cutter.next(), Some(Ok(two_records())));
    assert_eq!(cutter.next(), Some(Err(BatchError::UnsupportedMagic(9))));
    assert_eq!(cutter.next(), None);
    assert_eq!(cutter.rest().len(), 82);
}

#[test]
fn a_wrong_record_count_is_found_at_the_end() {
    let with_count = |count: u8| {
        let mut raw = TWO_RECORDS;
        raw[60] = count;
        let batch = RecordBatch::parse(Bytes::copy_from_slice(&raw)).unwrap();
        batch
            .records()
            .map(|record| record.map(|_| ()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        with_count(1),
        [Ok(()), Err(BatchError::RecordsRemain { extra: 8 })]
    );
    assert_eq!(
        with_count(3),
        [Ok(()), Ok(()), Err(BatchError::RecordTruncated)]
    );
}

#[test]
fn a_compressed_batch_stays_closed_but_can_be_rebased() {
    let mut raw = TWO_RECORDS;
    raw[22] = 4;
    let batch = RecordBatch::parse(Bytes::copy_from_slice(&raw)).unwrap();
    let batch = batch.rebase(Offset(100), LeaderEpoch(6));
    assert_eq!(
        (batch.codec(), batch.last_offset()),
        (Codec::Zstd, Offset(101))
    );
    let mut records = batch.records();
    assert_eq!(
        records.next(),
        Some(Err(BatchError::Compressed(Codec::Zstd)))
    );
    assert_eq!(records.next(), None);
}

#[test]
fn a_marker_is_a_transactional_control_batch_without_a_sequence() {
    for (kind, id) in [(ControlType::Abort, 0), (ControlType::Commit, 1)] {
        let marker = ControlMarker {
            kind,
            coordinator_epoch: 12,
        };
        let batch = marker.batch(ProducerId(9), ProducerEpoch(3), 1000);
        assert!(batch.is_control() && batch.is_transactional() && batch.is_valid());
        assert_eq!((batch.record_count(), batch.base_sequence()), (1, None));
        assert_eq!(batch.control_marker(), Ok(Some(marker)));
        let record = batch.records().next().unwrap().unwrap();
        assert_eq!(record.key.unwrap().as_ref(), [0, 0, 0, id]);
        assert_eq!(record.value.unwrap().as_ref(), [0, 0, 0, 0, 0, 12]);
    }
    assert_eq!(two_records().control_marker(), Ok(None));
}

#[test]
fn a_malformed_marker_is_an_error_and_a_later_kind_is_unknown() {
    let marker = |key: &[u8]| {
        let mut builder = BatchBuilder::new().control(ProducerId(1), ProducerEpoch(0));
        builder.append(0, Some(key), None, &[]);
        builder.build().control_marker()
    };
    assert_eq!(marker(&[0, 0, 0]), Err(BatchError::BadControlRecord));
    assert_eq!(marker(&[0, 0, 0, 1]), Err(BatchError::BadControlRecord));
    assert_eq!(
        marker(&[0xff, 0xff, 0, 1]),
        Err(BatchError::BadControlRecord)
    );
    let unknown = marker(&[0, 0, 0, 2]).unwrap().unwrap();
    assert_eq!(unknown.kind, ControlType::Unknown(2));
}

#[test]
fn compaction_keeps_offsets_sequences_and_an_empty_header() {
    let batch = two_records();
    let kept = batch.retain(|record| record.key.is_none()).unwrap();
    assert!(kept.is_valid() && kept.is_transactional());
    assert_eq!(
        (kept.base_offset(), kept.last_offset()),
        (Offset(42), Offset(43))
    );
    assert_eq!(kept.last_sequence(), Some(Sequence(8)));
    assert_eq!((kept.record_count(), kept.max_timestamp()), (1, 1100));
    assert_eq!(kept.partition_leader_epoch(), Some(LeaderEpoch(5)));
    let record = kept.records().next().unwrap().unwrap();
    assert_eq!(
        (record.offset, record.sequence),
        (Offset(43), Some(Sequence(8)))
    );
    let first = batch.retain(|record| record.key.is_some()).unwrap();
    assert_eq!(
        (first.last_offset(), first.max_timestamp()),
        (Offset(43), 1000)
    );
    let empty = batch.retain(|_| false).unwrap();
    assert!(empty.is_valid());
    assert_eq!(
        (empty.size_in_bytes(), empty.record_count()),
        (HEADER_SIZE, 0)
    );
    assert_eq!(
        (empty.last_sequence(), empty.max_timestamp()),
        (Some(Sequence(8)), 1100)
    );
    assert_eq!(empty.records().next(), None);
    assert_eq!(batch.retain(|_| true), Ok(batch));
}

#[test]
fn serde_refuses_bytes_that_are_no_batch() {
    let batch = two_records();
    let text = serde_json::to_string(&batch).unwrap();
    assert_eq!(serde_json::from_str::<RecordBatch>(&text).unwrap(), batch);
    assert!(serde_json::from_str::<RecordBatch>("[1,2,3]").is_err());
}
