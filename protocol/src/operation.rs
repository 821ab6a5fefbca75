//! What clients did and what they were told: invoke, then ok, fail or info.
//!
//! *ok* happened, *fail* certainly did not, *info* may have. A crashed client's open operations end as info, and its next
//! life is a new process.

use crate::ids::{GroupId, Offset, TopicName, TopicPartition, TransactionalId};
use crate::verb::ResetReason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A unique payload: which producer client sent it, and its number there. Every record of a workload carries one, so the
/// writer of a value is found by arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// Value `number` of producer client `writer`.
    pub const fn new(writer: u16, number: u64) -> Self {
        #[expect(clippy::as_conversions, reason = "const widening")]
        Self(((writer as u64) << 48) | (number & 0xffff_ffff_ffff))
    }

    /// The index of the producer client in the manifest.
    pub const fn writer(self) -> u16 {
        #[expect(clippy::as_conversions, reason = "the shift leaves 16 bits")]
        {
            (self.0 >> 48) as u16
        }
    }

    /// Its number among those the client sent, from 0.
    pub const fn number(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }
}

/// `3:17` is value 17 of writer 3.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.writer(), self.number())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let parsed = text
            .split_once(':')
            .and_then(|(writer, number)| Some((writer.parse().ok()?, number.parse().ok()?)));
        let (writer, number) =
            parsed.ok_or_else(|| serde::de::Error::custom("a value reads WRITER:NUMBER"))?;
        Ok(Self::new(writer, number))
    }
}

/// One life of one client: operations of one process do not overlap unless the client says so (a producer pipelines).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// The beginning or the end of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose: an index into the manifest's clients.
    pub client: u16,
    /// Which life of it.
    pub process: ProcessId,
    /// Its number in that life; beginning and end share it.
    pub id: u64,
    /// Beginning or end.
    #[serde(rename = "type")]
    pub stage: Stage,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// Beginning or end of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
}

/// What an operation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "f")]
pub enum Action {
    /// A record sent. `offset` is known with an ok unless acks=0; `partition` from the ok on, or from the invoke where the
    /// application chose it.
    Send {
        /// To which topic.
        topic: TopicName,
        /// To which partition.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        partition: Option<i32>,
        /// With which key, as text.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        key: Option<String>,
        /// What.
        value: Value,
        /// In which transaction of this process.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        transaction: Option<TransactionNumber>,
        /// The value that was read to make this one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        made_from: Option<Value>,
        /// What it adds to the account that its key names.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        amount: Option<i64>,
        /// Where it went.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        offset: Option<Offset>,
        /// Why not ok.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
    /// Records polled.
    Poll {
        /// Per partition, in offset order.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        records: Vec<Polled>,
        /// Why not ok.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
    /// Offsets committed.
    Commit {
        /// The group.
        group: GroupId,
        /// The next offset to read, per partition.
        offsets: Vec<(TopicPartition, Offset)>,
        /// Not asked for by the application: auto commit.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        auto: bool,
        /// Why not ok.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
    /// Partitions came (a single `ok` event, no invoke).
    Assigned {
        /// The group, if assigned by one.
        group: Option<GroupId>,
        /// The member and generation, where the client told.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        generation: Option<i32>,
        /// Which.
        partitions: Vec<TopicPartition>,
    },
    /// Partitions went in good order (a single `ok` event).
    Revoked {
        /// The group.
        group: Option<GroupId>,
        /// Which.
        partitions: Vec<TopicPartition>,
    },
    /// Partitions were somebody else's already (a single `ok` event).
    Lost {
        /// The group.
        group: Option<GroupId>,
        /// Which.
        partitions: Vec<TopicPartition>,
    },
    /// Where reading starts, and why there (a single `ok` event).
    Position {
        /// The partition.
        partition: TopicPartition,
        /// The next offset to read.
        offset: Offset,
        /// Why.
        reason: ResetReason,
    },
    /// The application's side effect for one record (a single `ok` event).
    Process {
        /// The group, if any.
        group: Option<GroupId>,
        /// From which partition.
        partition: TopicPartition,
        /// At which offset.
        offset: Offset,
        /// What.
        value: Value,
    },
    /// A step of a transactional producer.
    Transaction {
        /// `transactional.id`.
        transactional_id: TransactionalId,
        /// Which transaction of this process; none for `initTransactions`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        transaction: Option<TransactionNumber>,
        /// Which step.
        call: TransactionCall,
        /// Why not ok.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
    /// Anything else an application or operator asked for: `flush`, `close`, `create topics`, `elect leaders` …
    Admin {
        /// Which call.
        call: String,
        /// Why not ok.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
}

/// A transaction of one process: they count from 0, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionNumber(pub u32);

/// A call of a transactional producer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionCall {
    /// `initTransactions`.
    Init,
    /// `beginTransaction`.
    Begin,
    /// `sendOffsetsToTransaction`.
    SendOffsets {
        /// The group.
        group: GroupId,
        /// The next offset to read, per partition.
        offsets: Vec<(TopicPartition, Offset)>,
    },
    /// `commitTransaction`.
    Commit,
    /// `abortTransaction`.
    Abort,
}

/// The records of one partition in one poll.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Polled {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset and value; a record that is not of the workload has no value.
    pub records: Vec<(Offset, Option<Value>)>,
}
