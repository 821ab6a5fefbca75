//! Streams over all topics that a filter allows (`createMessageStreamsByFilter`, `Whitelist`, `WildcardStreamsHandler`,
//! `ZookeeperTopicEventWatcher`).
//!
//! The filter itself stands in the registration, and whoever divides finds out for himself which topics that is. Each
//! stream takes messages of all of them. A consumer with a filter watches the topics and rebalances when the allowed ones
//! change; unless its filter is a plain list of names, which Kafka takes to be complete. Left out: `Blacklist`.

use super::chore::{Chore, Fact};
use super::leader_finder::children;
use super::rebalance::Caller;
use super::registration::Creation;
use super::session::Thread;
use super::{Moment, ZookeeperConsumer, znode};
use crate::consumer::TopicPattern;
use protocol::ids::TopicName;
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, Outcome};
use std::sync::Arc;

/// `Topic.InternalTopics`.
const INTERNAL: &str = "__consumer_offsets";

/// `Whitelist`.
#[derive(Clone, Debug)]
pub(super) struct TopicFilter {
    text: Arc<str>,
    pattern: TopicPattern,
}

impl TopicFilter {
    /// A comma stands for a bar; blanks and quotes around it are dropped. None where that is no regular expression.
    pub(super) fn new(raw: &str) -> Option<Self> {
        let bars = raw.trim().replace(',', "|").replace(' ', "");
        let text = bars.trim_matches(['"', '\'']);
        Some(Self {
            text: text.into(),
            pattern: TopicPattern::new(text).ok()?,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn allows(&self, topic: &str, leaves_out_internal: bool) -> bool {
        self.pattern.matches(topic) && !(leaves_out_internal && topic == INTERNAL)
    }

    /// `requiresTopicEventWatcher`: not where the text can only be names.
    fn needs_watcher(&self) -> bool {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "-|".contains(letter);
        !self.text.chars().all(is_of_name)
    }
}

/// The filter of a consumer, and over how many streams.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    pub(super) filter: TopicFilter,
    pub(super) streams: u32,
}

impl ZookeeperConsumer {
    /// `createMessageStreamsByFilter`.
    pub(super) fn create_streams_by_filter(
        &mut self,
        moment: Moment,
        (text, streams): (&str, u32),
        io: &mut Io<'_>,
    ) {
        let Some(filter) = TopicFilter::new(text) else {
            let error = ClientError::IllegalState("the filter is no regular expression");
            io.outcome(moment.operation, Outcome::Done(Err(Failure::fail(error))));
            return;
        };
        if self.begin_creation(moment, streams, io) {
            self.wildcard = Some(Wildcard { filter, streams });
            self.go_on_creating(moment.now);
        }
    }

    pub(super) fn all_topics(&self) -> Chore {
        Chore::Children {
            path: znode::TOPICS.into(),
            watch: self.listening.to_topics,
        }
    }

    /// `handleTopicEvent`: says whether the allowed topics are others than before.
    pub(super) fn allow(&mut self, all: &[Arc<str>]) -> bool {
        let Some(wildcard) = &self.wildcard else {
            return false;
        };
        let leaves_out = self.config.exclude_internal_topics;
        let allowed = all
            .iter()
            .filter(|topic| wildcard.filter.allows(topic, leaves_out));
        let streams = wildcard.streams;
        let allowed = allowed.map(|topic| (TopicName::from(&**topic), streams));
        let allowed = allowed.collect();
        let changes = self.subscription != allowed;
        self.subscription = allowed;
        changes
    }

    /// The first rebalance is over: whoever has to hear of topics begins to watch them before the call returns.
    pub(super) fn watch_topics(&mut self) -> bool {
        let needs = |wildcard: &Wildcard| wildcard.filter.needs_watcher();
        if self.listening.to_topics || !self.wildcard.as_ref().is_some_and(needs) {
            return false;
        }
        self.listening.to_topics = true;
        self.created = Creation::Watching;
        let watch = vec![Chore::Watch(znode::TOPICS.into()), self.all_topics()];
        self.wanted.push_back((Thread::Application, watch));
        true
    }

    /// The topics at the moment the watch was set, which count as an event too.
    pub(super) fn on_topics_watched(&mut self, now: Mono, facts: &[Fact], io: &mut Io<'_>) {
        if self.allow(&children(&facts[facts.len().saturating_sub(1)..])) {
            self.created = Creation::Rebalancing;
            self.synced_rebalance(now, Caller::Application, io);
        } else {
            self.finish_creation(io);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_allows_whole_names_and_takes_commas_for_bars() {
        let filter = TopicFilter::new(" 'orders-.*, returns' ").unwrap();
        assert_eq!(filter.text(), "orders-.*|returns");
        assert!(filter.allows("orders-eu", true) && filter.allows("returns", true));
        assert!(!filter.allows("old-orders-eu", true));
        assert!(TopicFilter::new("[").is_none());
    }

    #[test]
    fn internal_topics_are_left_out_unless_they_are_wanted() {
        let all = TopicFilter::new(".*").unwrap();
        assert!(!all.allows(INTERNAL, true));
        assert!(all.allows(INTERNAL, false));
    }

    #[test]
    fn a_plain_list_of_names_needs_no_watcher() {
        assert!(
            !TopicFilter::new("orders-eu,returns")
                .unwrap()
                .needs_watcher()
        );
        assert!(TopicFilter::new("orders-.*").unwrap().needs_watcher());
    }
}
