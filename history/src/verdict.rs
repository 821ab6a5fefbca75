//! What a checker answers: holds, violated or unknown; with witnesses, and with what was excused and why.

use crate::event::Value;
use protocol::ids::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};

/// The answer of one checker about one guarantee.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The guarantee's code (`PA`, `DUP` …).
    pub guarantee: String,
    /// The answer.
    pub answer: Answer,
    /// What broke it: the first witnesses; `violations` counts all.
    pub findings: Vec<Finding>,
    /// How often it was broken.
    pub violations: u64,
    /// What would have broken it but has a named cause: the first witnesses; `excused_total` counts all.
    pub excused: Vec<Finding>,
    /// How often it was excused.
    pub excused_total: u64,
    /// How many things were judged (records, polls, elections …), so that an empty proof is seen to be empty.
    pub judged: u64,
}

/// Holds, violated or unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing in the history breaks it.
    Holds,
    /// Something does.
    Violated,
    /// The history cannot tell, and why.
    Unknown(String),
    /// The configuration does not promise it, and why.
    NotClaimed(String),
}

/// One thing that breaks a guarantee, with its story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code of the anomaly (`acknowledged-lost`, `duplicate` …).
    pub anomaly: String,
    /// One sentence.
    pub summary: String,
    /// The partition, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partition: Option<TopicPartition>,
    /// The offset, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<Offset>,
    /// The record, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<Value>,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// What happened, step by step.
    pub story: Vec<Moment>,
    /// Why it is excused, for an excused one: the named cause (`unclean election of broker 3 in epoch 2`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

impl Finding {
    /// An anomaly in one sentence, with what was expected and what was seen.
    pub fn new(
        anomaly: &str,
        summary: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) -> Self {
        Self {
            anomaly: anomaly.to_owned(),
            summary: summary.into(),
            partition: None,
            offset: None,
            value: None,
            expected: expected.into(),
            seen: seen.into(),
            story: Vec::new(),
            cause: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn at(mut self, partition: &TopicPartition, offset: i64) -> Self {
        self.partition = Some(partition.clone());
        self.offset = (offset >= 0).then_some(Offset(offset));
        self
    }

    /// Which record it is about.
    #[must_use]
    pub fn about(mut self, value: Value) -> Self {
        self.value = Some(value);
        self
    }

    /// What happened.
    #[must_use]
    pub fn told(mut self, mut story: Vec<Moment>) -> Self {
        story.sort_by_key(|moment| (moment.at, moment.step));
        self.story = story;
        self
    }

    /// Why it is excused.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

/// One moment of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When, in nanoseconds of the world's clock.
    pub at: u64,
    /// In which step.
    pub step: u64,
    /// On which node, by name; empty for the world.
    pub node: String,
    /// What.
    pub text: String,
}

/// How many witnesses a verdict keeps.
pub const WITNESSES: usize = 5;

impl Verdict {
    /// Nothing judged yet: holds until something is found.
    pub fn new(guarantee: &str) -> Self {
        Self {
            guarantee: guarantee.to_owned(),
            answer: Answer::Holds,
            findings: Vec::new(),
            violations: 0,
            excused: Vec::new(),
            excused_total: 0,
            judged: 0,
        }
    }

    /// The history cannot tell.
    pub fn unknown(guarantee: &str, why: impl Into<String>) -> Self {
        Self {
            answer: Answer::Unknown(why.into()),
            ..Self::new(guarantee)
        }
    }

    /// The configuration does not promise it.
    pub fn not_claimed(guarantee: &str, why: impl Into<String>) -> Self {
        Self {
            answer: Answer::NotClaimed(why.into()),
            ..Self::new(guarantee)
        }
    }

    /// Something breaks the guarantee; the finding is only built while witnesses are still kept.
    pub fn violate(&mut self, finding: impl FnOnce() -> Finding) {
        self.answer = Answer::Violated;
        self.violations += 1;
        if self.findings.len() < WITNESSES {
            self.findings.push(finding());
        }
    }

    /// Something would break it but has a cause that the configuration admits.
    pub fn excuse(&mut self, finding: impl FnOnce() -> Finding) {
        self.excused_total += 1;
        if self.excused.len() < WITNESSES {
            self.excused.push(finding());
        }
    }

    /// Whether it is violated.
    pub fn is_violated(&self) -> bool {
        self.answer == Answer::Violated
    }
}
