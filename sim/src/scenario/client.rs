//! The applications of a scenario file, as serde reads them: who produces, who consumes, and how.

use super::condition::Condition;
use super::format::{Settings, Spanned, is_default};
use super::text::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A producer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// Its name.
    pub name: Spanned<String>,
    /// Where it sends.
    pub topic: Spanned<String>,
    /// How many records; without it, as many as fit into the duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Records per second.
    #[serde(default = "hundred")]
    pub rate: Spanned<u32>,
    /// Bytes of a value.
    #[serde(default = "hundred")]
    pub size: Spanned<u32>,
    /// How many different keys, used in turn; without it, records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
    /// Send everything to one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Spanned<i32>>,
    /// When it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Spanned<Time>>,
    /// When a condition holds it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_when: Option<Spanned<Condition>>,
    /// A time without sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// What it does with a record that was not acknowledged.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// After how many acknowledged records it notes how far it is, to go on from there in its next life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// How it sends in transactions, where it has a `transactional.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Spanned<Transactions>>,
    /// Its settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
}

/// How a producer sends in transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    /// Records in each; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Transfers in each, instead of records: an amount goes from one account to another, in two records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfers: Option<u64>,
    /// Of a thousand transactions, how many the application aborts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub abort_per_mille: u16,
    /// Transactions that the application aborts, by number, the first of each life being 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aborts: Vec<u32>,
    /// Transactions that the application forgets to begin, by number: it sends and commits without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_begun: Vec<u32>,
    /// Rest between two.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause: Time,
}

/// Where a consumer writes what it makes of its records.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Into {
    /// The topic.
    pub topic: Spanned<String>,
    /// Bytes of a value.
    #[serde(default = "hundred")]
    pub size: Spanned<u32>,
    /// `transactional.id`, with `commit = "transactional"`; the member's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactional_id: Option<String>,
    /// Transactions name member and generation, not only the group (KIP-447).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub group_metadata: bool,
    /// Of a thousand transactions, how many the application aborts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub abort_per_mille: u16,
    /// The producer's settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// A time in which a producer sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// After so many records.
    pub after: u64,
    /// How long.
    #[serde(rename = "for")]
    pub lasting: Time,
}

/// What an application does with a record that was not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Goes on with the next one.
    #[default]
    GiveUp,
    /// Hands the same record to the client again.
    Resend,
}

fn hundred() -> Spanned<u32> {
    Spanned::new(0..0, 100)
}

/// A consumer, or several alike.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Its name; several members are called `name-1`, `name-2` …
    pub name: Spanned<String>,
    /// Which client it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api: ConsumerApi,
    /// How many streams of each topic a ZooKeeper consumer has.
    #[serde(default = "one_stream", skip_serializing_if = "is_one_stream")]
    pub streams: Spanned<u32>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What it subscribes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Spanned<String>>,
    /// The regular expression that the topics it subscribes to match, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Spanned<String>>,
    /// What it takes for itself, without a group's help (`orders-0`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assign: Vec<Spanned<String>>,
    /// How many.
    #[serde(default = "one_member")]
    pub members: Spanned<u16>,
    /// When it commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// How many records it processes before it commits after them.
    #[serde(default = "one_record")]
    pub commit_every: Spanned<u64>,
    /// It commits when partitions are taken from it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commit_on_revoke: bool,
    /// How long it works on each record.
    #[serde(default, skip_serializing_if = "is_default")]
    pub processing: Time,
    /// Where it works on them.
    #[serde(default)]
    pub thread: Thread,
    /// When it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Spanned<Time>>,
    /// When a condition holds it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_when: Option<Spanned<Condition>>,
    /// `poll`'s time-out.
    #[serde(default = "a_tenth")]
    pub poll: Time,
    /// Seek there once, the first time a partition is assigned after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seek: Option<Seek>,
    /// It pauses a partition for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// It writes a record there for each that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<Into>,
    /// Its settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: Settings,
}

fn one_member() -> Spanned<u16> {
    Spanned::new(0..0, 1)
}

fn one_stream() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

fn is_one_stream(streams: &Spanned<u32>) -> bool {
    *streams.get_ref() == 1
}

/// Which of Kafka's consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsumerApi {
    /// The Java consumer, whose groups a broker coordinates.
    #[default]
    New,
    /// The ZooKeeper consumer of 0.8 and 0.9, whose groups keep themselves.
    Old,
}

fn one_record() -> Spanned<u64> {
    Spanned::new(0..0, 1)
}

/// Which thread of an application works on records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thread {
    /// The one that polls, between two polls.
    #[default]
    Poll,
    /// Another one, to which the polling thread hands them before it polls on.
    Worker,
}

fn a_tenth() -> Time {
    Time(protocol::time::Span::millis(100))
}

/// When an application commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// The client does, inside `poll`.
    Auto,
    /// Before processing.
    Before,
    /// After processing.
    After,
    /// In the transaction that holds what was made of the records.
    Transactional,
    /// Never.
    Never,
}

/// A jump of a consumer's position.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seek {
    /// Where to.
    pub to: SeekTo,
    /// When.
    pub at: Spanned<Time>,
}

/// A partition that a consumer pauses for a while.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Which.
    pub partition: Spanned<String>,
    /// Once it has polled so many records of it.
    pub after: u64,
    /// For so long.
    #[serde(rename = "for")]
    pub lasting: Time,
}

/// Where a seek goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeekTo {
    /// To the first record.
    Beginning,
    /// Past the last one.
    End,
    /// To this offset, in every assigned partition.
    Offset(i64),
}
