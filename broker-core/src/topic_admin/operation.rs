//! One request for topics on its way: what is wanted, what the keeper said, when it is done.

use super::plan::exists;
use crate::hands::Hands;
use crate::keeper_session::{Answer, Ticket, error_of};
use crate::metadata_cache::MetadataCache;
use crate::placement::{Refusal, collides};
use crate::znode::topic::Topic;
use protocol::api::topics::{
    CreatePartitionsResponse, CreateTopicsResponse, DeleteTopicsResponse,
    IncrementalAlterConfigsResponse, NewPartitions,
};
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{PartitionIndex, TopicName, TopicPartition};
use protocol::keeper::KeeperResult;
use protocol::machine::RequestToken;
use protocol::time::{Mono, Span};
use std::collections::BTreeMap;

/// What is wanted of a topic.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Create {
        content: Topic,
        config: BTreeMap<String, String>,
    },
    Delete,
    Grow(NewPartitions),
    /// Settings to set, or to delete where there is no value.
    Configure(BTreeMap<String, Option<String>>),
}

/// One topic of a request, and what has become of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) topic: TopicName,
    pub(super) wish: Wish,
    pub(super) error: ErrorCode,
    pub(super) message: Option<String>,
    /// Which partitions must show up.
    pub(super) expected: Vec<PartitionIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Delete,
    Grow,
    Configure,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Reading,
    /// So many operations per topic that is still in the race; the last one decides.
    Writing(usize),
    Waiting,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// None when the broker creates a topic on first use.
    pub(super) token: Option<RequestToken>,
    pub(super) timeout: Span,
    pub(super) deadline: Mono,
    pub(super) validate_only: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) phase: Phase,
    pub(super) tickets: Vec<Ticket>,
    pub(super) answers: BTreeMap<Ticket, Answer>,
}

impl Entry {
    pub(super) fn refuse(&mut self, (error, message): Refusal) {
        self.error = error;
        self.message = (!message.is_empty()).then_some(message);
    }
}

impl Operation {
    /// Topics that nothing has refused.
    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        let open = |entry: &&Entry| entry.error == ErrorCode::None;
        self.entries.iter().filter(open)
    }

    /// The list of topics decides what may be created or deleted (`validateTopicCreate`).
    pub(super) fn read(&mut self, answers: &[Answer]) {
        let Some(Ok(KeeperResult::Children(names, _))) = answers.first() else {
            if matches!(self.kind, Kind::Create | Kind::Delete) {
                for entry in &mut self.entries {
                    entry.refuse((ErrorCode::UnknownServerError, String::new()));
                }
            }
            return;
        };
        let open = |entry: &&mut Entry| entry.error == ErrorCode::None;
        for entry in self.entries.iter_mut().filter(open) {
            let topic = entry.topic.as_str();
            let known = names.iter().any(|name| &**name == topic);
            match entry.wish {
                Wish::Create { .. } if known => entry.refuse(exists(&entry.topic)),
                Wish::Create { .. } => {
                    let like = names.iter().filter(|name| collides(name, topic));
                    let like: Vec<&str> = like.map(|name| &**name).collect();
                    if !like.is_empty() {
                        let message = format!(
                            "Topic '{topic}' collides with existing topics: {}",
                            like.join(", ")
                        );
                        entry.refuse((ErrorCode::InvalidTopicException, message));
                    }
                }
                Wish::Delete if !known => {
                    entry.refuse((ErrorCode::UnknownTopicOrPartition, String::new()));
                }
                Wish::Delete | Wish::Grow(_) | Wish::Configure(_) => {}
            }
        }
    }

    pub(super) fn written(&mut self, answers: &[Answer], per_topic: usize) {
        let open = |entry: &&mut Entry| entry.error == ErrorCode::None;
        let entries = self.entries.iter_mut().filter(open);
        for (entry, answers) in entries.zip(answers.chunks(per_topic)) {
            match (answers.last().and_then(error_of), &entry.wish) {
                // Somebody has asked for the deletion already: as good as ours.
                (None, _) | (Some(KeeperError::NodeExists), Wish::Delete) => {}
                (Some(KeeperError::NodeExists), _) => entry.refuse(exists(&entry.topic)),
                (Some(KeeperError::NoNode), _) => {
                    entry.refuse((ErrorCode::UnknownTopicOrPartition, String::new()));
                }
                (Some(_), _) => entry.refuse((ErrorCode::UnknownServerError, String::new())),
            }
        }
    }

    /// Whether this broker's metadata shows what was wanted.
    pub(super) fn is_done(&self, entry: &Entry, cache: &MetadataCache) -> bool {
        if self.kind == Kind::Configure {
            return true;
        }
        if self.kind == Kind::Delete {
            return !cache.contains_topic(&entry.topic);
        }
        entry.expected.iter().all(|index| {
            let partition = TopicPartition {
                topic: entry.topic.clone(),
                partition: *index,
            };
            let cached = cache.partition(&partition);
            cached.is_some_and(|cached| cached.leader.is_some())
        })
    }

    pub(super) fn finish(mut self, hands: &mut Hands<'_, '_>, cache: &MetadataCache) {
        let Some(token) = self.token else {
            return;
        };
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let late = entry.error == ErrorCode::None
                && !self.validate_only
                && !self.is_done(entry, cache);
            if late {
                self.entries[at].refuse((ErrorCode::RequestTimedOut, String::new()));
            }
        }
        let entries = self.entries.into_iter();
        match self.kind {
            Kind::Create => {
                let topics = entries
                    .map(|entry| (entry.topic, entry.error, entry.message))
                    .collect();
                hands.respond(token, CreateTopicsResponse { topics });
            }
            Kind::Grow => {
                let topics = entries
                    .map(|entry| (entry.topic, entry.error, entry.message))
                    .collect();
                hands.respond(token, CreatePartitionsResponse { topics });
            }
            Kind::Configure => {
                let topics = entries
                    .map(|entry| (entry.topic, entry.error, entry.message))
                    .collect();
                hands.respond(token, IncrementalAlterConfigsResponse { topics });
            }
            Kind::Delete => {
                let topics = entries.map(|entry| (entry.topic, entry.error)).collect();
                hands.respond(token, DeleteTopicsResponse { topics });
            }
        }
    }
}

pub(super) fn entry_of(topic: &TopicName, wish: Result<Wish, Refusal>) -> Entry {
    let (wish, refusal) = match wish {
        Ok(wish) => (wish, None),
        Err(refusal) => (Wish::Delete, Some(refusal)),
    };
    let mut entry = Entry {
        topic: topic.clone(),
        wish,
        error: ErrorCode::None,
        message: None,
        expected: Vec::new(),
    };
    if let Some(refusal) = refusal {
        entry.refuse(refusal);
    }
    entry
}

pub(super) fn operation(
    kind: Kind,
    token: Option<RequestToken>,
    timeout: Span,
    entries: Vec<Entry>,
) -> Operation {
    Operation {
        kind,
        token,
        timeout,
        deadline: Mono(0),
        validate_only: false,
        entries,
        phase: Phase::Reading,
        tickets: Vec::new(),
        answers: BTreeMap::new(),
    }
}
