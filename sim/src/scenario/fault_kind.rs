//! The words of a fault: its kind, and the choices that single kinds have.

use serde::{Deserialize, Serialize};

/// What breaks, or what an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each is described where `ktrial describe` finds it, in scenario/catalogue.rs"
)]
pub enum FaultKind {
    Kill,
    PowerFailure,
    Stop,
    Start,
    Restart,
    Pause,
    Partition,
    Delay,
    Bandwidth,
    Loss,
    Hold,
    Drop,
    Duplicate,
    Reorder,
    LaneDelay,
    ExpireSession,
    ClockJump,
    ClockDrift,
    SlowDisk,
    StuckDisk,
    FullDisk,
    BrokenDisk,
    SnapshotDisk,
    Corrupt,
    ElectPreferred,
    ElectUnclean,
    AddPartitions,
    AlterConfig,
    DeleteRecords,
    Reassign,
    CancelReassignment,
    DeleteTopic,
}

/// Up to where records are deleted: an offset, or the words `high watermark`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Before {
    /// The first offset to keep.
    Offset(u32),
    /// A mark that moves.
    Mark(String),
}

/// What a disk holds when its node comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// What the crash left.
    Same,
    /// Nothing.
    Empty,
    /// What it held when the last `snapshot_disk` hit the node.
    Older,
}

/// Which way a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both.
    Both,
    /// What the target sends is lost.
    From,
    /// What is sent to the target is lost.
    To,
}

/// A thread whose work can be delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneName {
    /// Request handlers.
    RequestHandler,
    /// The controller's event queue.
    Controller,
    /// The fetcher that follows one broker.
    Fetcher(i32),
    /// The keeper client's event thread.
    KeeperCallback,
    /// The loader of group metadata.
    GroupLoader,
    /// The loader of transactional ids.
    TransactionLoader,
    /// The sender of transaction markers.
    TransactionMarkers,
    /// Background work.
    Background,
}

/// What a loss of power leaves of what was not flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unflushed {
    /// As much as the seed draws, file by file.
    #[default]
    Drawn,
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// Everything, but the end of each file is garbage.
    Torn,
}

/// Which file of a broker or keeper is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each is the file of that name, see FileKind::path"
)]
pub enum FileKind {
    HighWatermarkCheckpoint,
    RecoveryPointCheckpoint,
    LogStartCheckpoint,
    CleanShutdown,
    LeaderEpochCheckpoint,
    Log,
    Index,
    TimeIndex,
    Snapshot,
    KeeperLog,
    KeeperSnapshot,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::HighWatermarkCheckpoint,
        Self::RecoveryPointCheckpoint,
        Self::LogStartCheckpoint,
        Self::CleanShutdown,
        Self::LeaderEpochCheckpoint,
        Self::Log,
        Self::Index,
        Self::TimeIndex,
        Self::Snapshot,
        Self::KeeperLog,
        Self::KeeperSnapshot,
    ];

    /// The word of scenario files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HighWatermarkCheckpoint => "high_watermark_checkpoint",
            Self::RecoveryPointCheckpoint => "recovery_point_checkpoint",
            Self::LogStartCheckpoint => "log_start_checkpoint",
            Self::CleanShutdown => "clean_shutdown",
            Self::LeaderEpochCheckpoint => "leader_epoch_checkpoint",
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "time_index",
            Self::Snapshot => "snapshot",
            Self::KeeperLog => "keeper_log",
            Self::KeeperSnapshot => "keeper_snapshot",
        }
    }

    /// It belongs to one partition.
    pub const fn is_of_a_partition(self) -> bool {
        matches!(
            self,
            Self::LeaderEpochCheckpoint
                | Self::Log
                | Self::Index
                | Self::TimeIndex
                | Self::Snapshot
        )
    }

    /// Its path: below a log directory, for a file of a partition below the partition's directory there, for a keeper's
    /// file below its disk. A `*` stands for any text; the last file that matches is meant.
    pub const fn path(self) -> &'static str {
        match self {
            Self::HighWatermarkCheckpoint => "replication-offset-checkpoint",
            Self::RecoveryPointCheckpoint => "recovery-point-offset-checkpoint",
            Self::LogStartCheckpoint => "log-start-offset-checkpoint",
            Self::CleanShutdown => ".kafka_cleanshutdown",
            Self::LeaderEpochCheckpoint => "leader-epoch-checkpoint",
            Self::Log => "*.log",
            Self::Index => "*.index",
            Self::TimeIndex => "*.timeindex",
            Self::Snapshot => "*.snapshot",
            Self::KeeperLog => "datalog/version-2/log.*",
            Self::KeeperSnapshot => "data/version-2/snapshot.*",
        }
    }
}

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit flips.
    FlipBit,
    /// Bytes read as zeros.
    Zeros,
    /// Bytes are missing.
    Cut,
    /// The file is missing.
    Remove,
}

impl FaultKind {
    /// Every kind, in the order of the catalogue.
    pub const ALL: [Self; 32] = [
        Self::Kill,
        Self::PowerFailure,
        Self::Stop,
        Self::Start,
        Self::Restart,
        Self::Pause,
        Self::Partition,
        Self::Delay,
        Self::Bandwidth,
        Self::Loss,
        Self::Hold,
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::LaneDelay,
        Self::ExpireSession,
        Self::ClockJump,
        Self::ClockDrift,
        Self::SlowDisk,
        Self::StuckDisk,
        Self::FullDisk,
        Self::BrokenDisk,
        Self::SnapshotDisk,
        Self::Corrupt,
        Self::ElectPreferred,
        Self::ElectUnclean,
        Self::AddPartitions,
        Self::AlterConfig,
        Self::DeleteRecords,
        Self::Reassign,
        Self::CancelReassignment,
        Self::DeleteTopic,
    ];

    /// The word of scenario files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerFailure => "power_failure",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
            Self::Loss => "loss",
            Self::Hold => "hold",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::LaneDelay => "lane_delay",
            Self::ExpireSession => "expire_session",
            Self::ClockJump => "clock_jump",
            Self::ClockDrift => "clock_drift",
            Self::SlowDisk => "slow_disk",
            Self::StuckDisk => "stuck_disk",
            Self::FullDisk => "full_disk",
            Self::BrokenDisk => "broken_disk",
            Self::SnapshotDisk => "snapshot_disk",
            Self::Corrupt => "corrupt",
            Self::ElectPreferred => "elect_preferred",
            Self::ElectUnclean => "elect_unclean",
            Self::AddPartitions => "add_partitions",
            Self::AlterConfig => "alter_config",
            Self::DeleteRecords => "delete_records",
            Self::Reassign => "reassign",
            Self::CancelReassignment => "cancel_reassignment",
            Self::DeleteTopic => "delete_topic",
        }
    }

    /// The keys it takes besides those that all kinds share.
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Kill | Self::Restart | Self::Stop => &["target", "restart_after", "disk"],
            Self::PowerFailure => &["target", "restart_after", "disk", "unflushed"],
            Self::Start => &["target", "disk"],
            Self::Pause => &["target", "for", "until"],
            Self::Partition => &["target", "from", "direction", "for", "until"],
            Self::Delay => &["from", "to", "by", "for", "until"],
            Self::Bandwidth => &["from", "to", "bandwidth", "for", "until"],
            Self::Loss => &["from", "to", "per_mille", "for", "until"],
            Self::Hold => &[
                "message",
                "from",
                "to",
                "partition",
                "leader_epoch",
                "path",
                "skip",
                "count",
                "for",
                "until",
            ],
            Self::Drop | Self::Duplicate | Self::Reorder => &[
                "message",
                "from",
                "to",
                "partition",
                "leader_epoch",
                "path",
                "skip",
                "count",
            ],
            Self::LaneDelay => &["target", "lane", "by", "for", "until"],
            Self::ExpireSession | Self::SnapshotDisk => &["target"],
            Self::ClockJump => &["target", "by", "backwards"],
            Self::ClockDrift => &["target", "ppm", "for", "until"],
            Self::SlowDisk => &["target", "factor", "directory", "for", "until"],
            Self::StuckDisk | Self::FullDisk | Self::BrokenDisk => {
                &["target", "directory", "for", "until"]
            }
            Self::Corrupt => &[
                "target",
                "file",
                "partition",
                "damage",
                "bytes",
                "directory",
            ],
            Self::ElectPreferred | Self::ElectUnclean | Self::CancelReassignment => &["partition"],
            Self::AddPartitions => &["topic", "partitions"],
            Self::AlterConfig => &["topic", "config"],
            Self::DeleteRecords => &["partition", "before"],
            Self::Reassign => &["partition", "replicas", "additional"],
            Self::DeleteTopic => &["topic"],
        }
    }

    /// It does what TCP rules out.
    pub const fn is_unfaithful(self) -> bool {
        matches!(self, Self::Duplicate | Self::Reorder)
    }
}
