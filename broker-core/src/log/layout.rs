//! Where a log's files lie and what they are called (`kafka.log.Log`'s companion, `LogManager`'s file names).
//!
//! Names are formatted only when a file is opened, renamed or removed, never per append. Left out: `.swap` and `-future`
//! (moving a replica between directories).

use protocol::ids::{Offset, TopicPartition};

/// The checkpoint of recovery points in a log directory.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// The checkpoint of high watermarks in a log directory.
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
/// The checkpoint of log start offsets in a log directory.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// The leader epochs of one log, beside its segments.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// Which topic's log it is (KIP-516), beside its segments.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Tells that the last life ended in good order.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Whose directory it is.
pub const META_PROPERTIES: &str = "meta.properties";

/// The ending of a file that waits for its removal.
pub const DELETED: &str = ".deleted";
/// The ending of a file the cleaner was writing.
pub const CLEANED: &str = ".cleaned";
/// The ending of the directory of a log that waits for its removal.
pub const DELETED_DIRECTORY: &str = "-delete";

/// A kind of file that belongs to a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SegmentFile {
    /// The batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TransactionIndex,
    /// Producer state at the segment's base offset.
    Snapshot,
}

impl SegmentFile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Log,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::TransactionIndex,
        Self::Snapshot,
    ];

    /// The ending of the file's name.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TransactionIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
        }
    }
}

/// The path of a segment's file: twenty digits of its base offset and the ending.
pub fn segment_path(directory: &str, base_offset: Offset, file: SegmentFile) -> String {
    format!("{directory}/{:020}{}", base_offset.0, file.ending())
}

/// Reads a name such as `00000000000000000042.log` back.
pub fn parse_segment_name(name: &str) -> Option<(Offset, SegmentFile)> {
    SegmentFile::ALL.into_iter().find_map(|file| {
        let digits = name.strip_suffix(file.ending())?;
        let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let base = digits.parse().ok().filter(|_| decimal)?;
        Some((Offset(base), file))
    })
}

/// The directory of a partition's log: `orders-0`, below its log directory.
pub fn log_path(log_dir: &str, partition: &TopicPartition) -> String {
    format!("{log_dir}/{partition}")
}

/// The name a log's directory gets when it is deleted: `orders-0.<32 hex digits>-delete`. Kafka cuts the topic so that
/// the name stays within the 255 bytes a file system allows.
pub fn deleted_log_name(partition: &TopicPartition, unique: u128) -> String {
    let suffix = format!("-{}.{unique:032x}{DELETED_DIRECTORY}", partition.partition);
    let room = 255 - suffix.len();
    let topic: String = partition.topic.as_str().chars().take(room).collect();
    topic + &suffix
}

/// Whether a directory is one of a deleted log.
pub fn is_deleted_log(name: &str) -> bool {
    name.strip_suffix(DELETED_DIRECTORY)
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(partition, unique)| {
            unique.len() == 32 && TopicPartition::parse(partition).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_twenty_digits_of_their_base_offset() {
        assert_eq!(
            segment_path("d/orders-0", Offset(4711), SegmentFile::TimeIndex),
            "d/orders-0/00000000000000004711.timeindex"
        );
        for file in SegmentFile::ALL {
            let path = segment_path("d", Offset(i64::MAX), file);
            assert_eq!(
                parse_segment_name(&path[2..]),
                Some((Offset(i64::MAX), file))
            );
        }
        for name in [
            "leader-epoch-checkpoint",
            ".log",
            "00000000000000000000.log.deleted",
            "-1.log",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_deleted_log_has_its_partition_a_unique_number_and_the_ending() {
        let partition = TopicPartition::new("orders", 7);
        let name = deleted_log_name(&partition, 0xab);
        assert_eq!(name, "orders-7.000000000000000000000000000000ab-delete");
        assert!(is_deleted_log(&name));
        assert!(!is_deleted_log("orders-7"));
        assert!(!is_deleted_log("my-delete"));
        let long = TopicPartition::new("t".repeat(249), 7);
        assert_eq!(deleted_log_name(&long, 1).len(), 255);
    }

    #[test]
    fn a_log_lies_below_its_log_directory() {
        let partition = TopicPartition::new("my-topic", 3);
        assert_eq!(log_path("data-1", &partition), "data-1/my-topic-3");
    }
}
