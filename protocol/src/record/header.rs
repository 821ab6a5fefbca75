//! The 61 bytes before the records, and where each field lies (`DefaultRecordBatch`).

use super::MAGIC;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use std::fmt;

/// The bytes of a batch before its records (`RECORD_BATCH_OVERHEAD`).
pub const HEADER_SIZE: usize = 61;
/// The bytes that the length field does not count: base offset and the length itself (`Records.LOG_OVERHEAD`).
pub const LOG_OVERHEAD: usize = 12;

pub(super) const BASE_OFFSET: usize = 0;
pub(super) const LENGTH: usize = 8;
pub(super) const LEADER_EPOCH: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC: usize = 17;
pub(super) const ATTRIBUTES: usize = 21;
pub(super) const LAST_OFFSET_DELTA: usize = 23;
pub(super) const FIRST_TIMESTAMP: usize = 27;
pub(super) const MAX_TIMESTAMP: usize = 35;
pub(super) const PRODUCER_ID: usize = 43;
pub(super) const PRODUCER_EPOCH: usize = 51;
pub(super) const BASE_SEQUENCE: usize = 53;
pub(super) const RECORD_COUNT: usize = 57;

/// How a batch's records are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy in Xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
    /// A number that no codec has.
    Unknown(u8),
}

impl Codec {
    /// The codec whose number the low three attribute bits carry.
    pub const fn from_id(id: u8) -> Self {
        match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            unknown => Self::Unknown(unknown),
        }
    }

    /// Its number in the attributes.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
            Self::Unknown(id) => id & 7,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip => f.write_str("gzip"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd => f.write_str("zstd"),
            Self::Unknown(id) => write!(f, "codec {id}"),
        }
    }
}

/// Whose clock a batch's timestamps come from (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's, one for the whole batch.
    LogAppendTime,
}

/// The flags of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;

    /// How the records are compressed.
    pub const fn codec(self) -> Codec {
        Codec::from_id((self.0 & Self::CODEC).to_le_bytes()[0])
    }

    /// Whose clock the timestamps come from.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker instead of data.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The same flags with the timestamps' clock replaced.
    #[must_use]
    pub const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same flags, of a batch inside a transaction or outside of any.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Self {
        if transactional {
            Self(self.0 | Self::TRANSACTIONAL)
        } else {
            Self(self.0 & !Self::TRANSACTIONAL)
        }
    }

    /// The same flags, of a marker.
    #[must_use]
    pub const fn with_control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }
}

/// Every field of a batch header, decoded. Sentinels (-1) become `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The offset of the first record the batch was made with.
    pub base_offset: Offset,
    /// The length field: the whole batch less [`LOG_OVERHEAD`].
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch.
    pub partition_leader_epoch: Option<LeaderEpoch>,
    /// The format.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// The flags.
    pub attributes: Attributes,
    /// The last record's offset less the base offset; kept by compaction.
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas add to, in milliseconds.
    pub first_timestamp: i64,
    /// The largest timestamp, or the append time.
    pub max_timestamp: i64,
    /// The idempotent producer, if it is one.
    pub producer_id: Option<ProducerId>,
    /// Its epoch.
    pub producer_epoch: Option<ProducerEpoch>,
    /// The sequence of the first record.
    pub base_sequence: Option<Sequence>,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the front of `bytes`; `None` when there are fewer than [`HEADER_SIZE`].
    /// Whether it can be a header at all is [`is_plausible`](Self::is_plausible).
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let raw: &[u8; HEADER_SIZE] = bytes.first_chunk()?;
        Some(Self {
            base_offset: base_offset(raw),
            batch_length: batch_length(raw),
            partition_leader_epoch: partition_leader_epoch(raw),
            magic: magic(raw),
            crc: crc(raw),
            attributes: attributes(raw),
            last_offset_delta: last_offset_delta(raw),
            first_timestamp: first_timestamp(raw),
            max_timestamp: max_timestamp(raw),
            producer_id: producer_id(raw),
            producer_epoch: producer_epoch(raw),
            base_sequence: base_sequence(raw),
            record_count: record_count(raw),
        })
    }

    /// Whether the format is 2 and the length has room for a header.
    pub fn is_plausible(&self) -> bool {
        self.magic == MAGIC && self.size_in_bytes() >= HEADER_SIZE
    }

    /// The size of the whole batch; 0 when the length field is negative.
    pub fn size_in_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |length| length + LOG_OVERHEAD)
    }

    /// The offset of the last record the batch was made with.
    pub fn last_offset(&self) -> Offset {
        last_offset(self.base_offset, self.last_offset_delta)
    }

    /// The offset after the last one.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// The sequence of the last record.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.base_sequence
            .map(|base| advance_sequence(base, self.last_offset_delta))
    }
}

/// Wraps instead of overflowing, as Java does: the bytes may say anything.
pub(super) fn last_offset(base: Offset, delta: i32) -> Offset {
    Offset(base.0.wrapping_add(i64::from(delta)))
}

/// `DefaultRecordBatch.incrementSequence` that also takes the negative deltas of malformed batches.
pub(super) fn advance_sequence(base: Sequence, delta: i32) -> Sequence {
    let sum = i64::from(base.0) + i64::from(delta);
    let wrapped = if sum > i64::from(i32::MAX) {
        sum - (i64::from(i32::MAX) + 1)
    } else {
        sum
    };
    Sequence(i32::try_from(wrapped).unwrap_or(i32::MIN))
}

/// The `N` bytes at `at`; both are constants wherever this is inlined, so it is a plain load.
#[inline]
fn load<const N: usize>(raw: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&raw[at..at + N]);
    field
}

macro_rules! fields {
    ($($name:ident: $type:ty = |$raw:ident| $load:expr;)*) => {
        $(#[inline]
        pub(super) fn $name($raw: &[u8; HEADER_SIZE]) -> $type {
            $load
        })*
    };
}

fields! {
    base_offset: Offset = |raw| Offset(i64::from_be_bytes(load(raw, BASE_OFFSET)));
    batch_length: i32 = |raw| i32::from_be_bytes(load(raw, LENGTH));
    partition_leader_epoch: Option<LeaderEpoch> = |raw| {
        let epoch = i32::from_be_bytes(load(raw, LEADER_EPOCH));
        (epoch >= 0).then_some(LeaderEpoch(epoch))
    };
    magic: i8 = |raw| i8::from_be_bytes(load(raw, MAGIC_AT));
    crc: u32 = |raw| u32::from_be_bytes(load(raw, CRC));
    attributes: Attributes = |raw| Attributes(i16::from_be_bytes(load(raw, ATTRIBUTES)));
    last_offset_delta: i32 = |raw| i32::from_be_bytes(load(raw, LAST_OFFSET_DELTA));
    first_timestamp: i64 = |raw| i64::from_be_bytes(load(raw, FIRST_TIMESTAMP));
    max_timestamp: i64 = |raw| i64::from_be_bytes(load(raw, MAX_TIMESTAMP));
    producer_id: Option<ProducerId> = |raw| {
        let id = i64::from_be_bytes(load(raw, PRODUCER_ID));
        (id >= 0).then_some(ProducerId(id))
    };
    producer_epoch: Option<ProducerEpoch> = |raw| {
        let epoch = i16::from_be_bytes(load(raw, PRODUCER_EPOCH));
        (epoch >= 0).then_some(ProducerEpoch(epoch))
    };
    base_sequence: Option<Sequence> = |raw| {
        let sequence = i32::from_be_bytes(load(raw, BASE_SEQUENCE));
        (sequence >= 0).then_some(Sequence(sequence))
    };
    record_count: i32 = |raw| i32::from_be_bytes(load(raw, RECORD_COUNT));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_lie_on_their_bits() {
        let flags = Attributes(0x3b);
        assert_eq!(flags.codec(), Codec::Lz4);
        assert_eq!(flags.timestamp_type(), TimestampType::LogAppendTime);
        assert!(flags.is_transactional() && flags.is_control());
        assert_eq!(
            Attributes::default()
                .with_timestamp_type(TimestampType::LogAppendTime)
                .with_transactional(true)
                .with_control(),
            Attributes(0x38)
        );
        assert_eq!(Attributes(0x38).with_transactional(false), Attributes(0x28));
    }

    #[test]
    fn every_codec_number_is_read_back() {
        for id in 0..8 {
            assert_eq!(Codec::from_id(id).id(), id);
        }
        assert_eq!(Codec::from_id(7), Codec::Unknown(7));
    }

    #[test]
    fn a_sequence_wraps_to_zero_and_survives_malformed_deltas() {
        assert_eq!(advance_sequence(Sequence(i32::MAX), 1), Sequence(0));
        assert_eq!(
            advance_sequence(Sequence(i32::MAX), i32::MAX),
            Sequence(i32::MAX - 1)
        );
        assert_eq!(advance_sequence(Sequence(0), i32::MIN), Sequence(i32::MIN));
    }
}
