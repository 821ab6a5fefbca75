//! What a leader looks at before it takes a batch (`LogValidator`, `Log.analyzeAndValidateRecords`).
//!
//! Left out: conversion between formats and recompression, since batches of format 2 are stored as they come; records of
//! compressed batches are not looked into.

use super::append::AppendOrigin;
use protocol::config::{TimestampType, TopicConfig};
use protocol::error_code::ErrorCode;
use protocol::ids::Offset;
use protocol::record::{self, Codec, NO_TIMESTAMP, RecordBatch};
use protocol::time::Span;

/// What a leader refuses, in the order in which Kafka looks.
pub(super) fn validate(
    batch: &RecordBatch,
    config: &TopicConfig,
    origin: AppendOrigin,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    if origin == AppendOrigin::Client && batch.base_offset() != Offset::ZERO {
        return Err(ErrorCode::InvalidRecord);
    }
    if batch.size_in_bytes() > usize::try_from(config.max_message_bytes).unwrap_or(0) {
        return Err(ErrorCode::MessageTooLarge);
    }
    batch.check_crc().map_err(|_| ErrorCode::CorruptMessage)?;
    let count = batch.record_count();
    if count <= 0 || batch.last_offset_delta().checked_add(1) != Some(count) {
        return Err(ErrorCode::InvalidRecord);
    }
    if origin == AppendOrigin::Client {
        let unnumbered = batch.producer_id().is_some() && batch.base_sequence().is_none();
        if batch.is_control() || unnumbered {
            return Err(ErrorCode::InvalidRecord);
        }
        if batch.timestamp_type() == record::TimestampType::LogAppendTime {
            return Err(ErrorCode::InvalidTimestamp);
        }
    }
    if batch.codec() == Codec::None {
        validate_records(batch, config, now_ms)?;
    }
    Ok(())
}

/// Looks into the records only as far as the topic's settings ask.
fn validate_records(
    batch: &RecordBatch,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    let limit = config.message_timestamp_difference_max_ms;
    let judges_time =
        limit != Span::MAX && config.message_timestamp_type == TimestampType::CreateTime;
    let needs_key = config.cleanup_policy.compact && !batch.is_control();
    if !judges_time && !needs_key {
        let mut expected = batch.base_offset();
        for value in batch.values() {
            let (offset, _) = value.map_err(|_| ErrorCode::InvalidRecord)?;
            if offset != expected {
                return Err(ErrorCode::InvalidRecord);
            }
            expected = expected.next();
        }
        return Ok(());
    }
    for record in batch.records() {
        let record = record.map_err(|_| ErrorCode::InvalidRecord)?;
        if needs_key && record.key.is_none() {
            return Err(ErrorCode::InvalidRecord);
        }
        let apart = record.timestamp.abs_diff(now_ms);
        if judges_time && record.timestamp != NO_TIMESTAMP && apart > limit.as_millis() {
            return Err(ErrorCode::InvalidTimestamp);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture::{Fixture, batch};
    use bytes::Bytes;
    use protocol::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
    use protocol::record::{BatchBuilder, ControlMarker, ControlType};

    #[test]
    fn what_a_client_may_not_send_is_refused_and_leaves_no_trace() {
        let mut fixture = Fixture::new(&[
            ("max.message.bytes", "200"),
            ("segment.bytes", "150"),
            ("message.timestamp.difference.max.ms", "5000"),
            ("cleanup.policy", "compact"),
        ]);
        let keyed = |size: usize, timestamp| {
            let mut builder = BatchBuilder::new();
            builder.append(timestamp, Some(b"k"), Some(&vec![0; size]), &[]);
            builder.build()
        };
        let time = fixture.now.wall.millis();
        let mut damaged = keyed(1, time).into_bytes().to_vec();
        damaged[65] ^= 1;
        let mut miscounted = keyed(1, time).into_bytes().to_vec();
        miscounted[60] = 2;
        let crc = crc32c::crc32c(&miscounted[21..]);
        miscounted[17..21].copy_from_slice(&crc.to_be_bytes());
        let parse = |bytes: Vec<u8>| RecordBatch::parse(Bytes::from(bytes)).unwrap();
        let marker = ControlMarker {
            kind: ControlType::Abort,
            coordinator_epoch: 0,
        };
        for (batch, error) in [
            (
                keyed(1, time).rebase(Offset(1), LeaderEpoch(0)),
                ErrorCode::InvalidRecord,
            ),
            (keyed(500, time), ErrorCode::MessageTooLarge),
            (keyed(100, time), ErrorCode::RecordListTooLarge),
            (parse(damaged), ErrorCode::CorruptMessage),
            (parse(miscounted), ErrorCode::InvalidRecord),
            (keyed(1, time - 5001), ErrorCode::InvalidTimestamp),
            (
                keyed(1, time).with_log_append_time(time),
                ErrorCode::InvalidTimestamp,
            ),
            (batch(&["without a key"]), ErrorCode::InvalidRecord),
            (
                marker.batch(ProducerId(1), ProducerEpoch(0), time),
                ErrorCode::InvalidRecord,
            ),
        ] {
            assert_eq!(fixture.append(batch, 0), Err(error), "{error:?}");
        }
        assert_eq!(fixture.log.log_end_offset(), Offset::ZERO);
        assert!(fixture.bench.notes().is_empty());
        fixture.append(keyed(1, time - 5000), 0).unwrap();
    }
}
