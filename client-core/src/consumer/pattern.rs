//! Subscription by pattern (`subscribe(Pattern)`, `SubscriptionState.matchesSubscribedPattern`).
//!
//! The pattern is the client's own business: brokers and the other members only ever see topics. The client asks for the
//! metadata of all topics, takes those whose whole name matches, and joins anew when that set changes: after a topic was
//! created, at the next refresh of metadata (`metadata.max.age.ms`). Before it joins for any reason it asks once more, so
//! that members who learn of a topic at different times do not each cause a rebalance of their own.
//!
//! Java's `Pattern` knows look-around and back references, which this one does not.

use super::Consumer;
use super::membership::Join;
use super::poll::Moment;
use super::subscription::Mode;
use protocol::ids::TopicName;
use protocol::machine::Io;
use protocol::time::Mono;
use protocol::verb::{ClientError, Failure, Outcome};
use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};

/// A pattern over names of topics.
#[derive(Clone, Debug)]
pub struct TopicPattern(Regex);

/// Why a text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatternError(String);

impl Display for PatternError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl TopicPattern {
    /// The pattern of a regular expression.
    ///
    /// # Errors
    /// What is wrong with it (`PatternSyntaxException`).
    pub fn new(text: &str) -> Result<Self, PatternError> {
        // Alone first, so that a stray parenthesis cannot pair with one of those around it.
        Regex::new(text).map_err(|error| PatternError(error.to_string()))?;
        let whole = Regex::new(&format!("^(?:{text})$"));
        whole
            .map(Self)
            .map_err(|error| PatternError(error.to_string()))
    }

    /// Whether the whole name matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

impl Consumer {
    pub(super) fn subscribe_pattern(&mut self, moment: Moment, text: &str, io: &mut Io<'_>) {
        if let Some(error) = self.refuses_subscription() {
            io.outcome(moment.operation, Outcome::Done(Err(Failure::fail(error))));
            return;
        }
        let Ok(pattern) = TopicPattern::new(text) else {
            let error = ClientError::IllegalState("the pattern is no regular expression");
            io.outcome(moment.operation, Outcome::Done(Err(Failure::fail(error))));
            return;
        };
        self.subscription.pattern = Some(pattern);
        self.subscription.mode = Mode::Topics(BTreeSet::new());
        self.network.metadata.want_all(true);
        self.match_topics(moment.now);
        self.want_topics(moment.now);
        io.outcome(moment.operation, Outcome::Done(Ok(())));
    }

    /// Subscribes to what matches among the topics of the last answer (`updatePatternSubscription`).
    pub(super) fn match_topics(&mut self, now: Mono) {
        let Some(pattern) = &self.subscription.pattern else {
            return;
        };
        let leaves_out_internal = self.config.exclude_internal_topics;
        let matching: BTreeSet<TopicName> = self
            .network
            .metadata
            .all_topics()
            .filter(|(topic, internal)| {
                pattern.matches(topic.as_str()) && !(*internal && leaves_out_internal)
            })
            .map(|(topic, _)| topic.clone())
            .collect();
        if self.subscription.topics() != Some(&matching) {
            self.subscription.mode = Mode::Topics(matching);
            self.want_topics(now);
        }
    }

    /// Whether a join has to wait for fresh metadata, which are asked for unless they just came (`ConsumerCoordinator.poll`).
    pub(super) fn awaits_matches(&mut self, now: Mono) -> bool {
        let is_about_to_join =
            self.membership.rejoin_needed && matches!(self.membership.join, Join::Idle);
        if self.subscription.pattern.is_none() || !is_about_to_join {
            return false;
        }
        let metadata = &mut self.network.metadata;
        if self.matched_before.is_none() && metadata.may_update(now) {
            metadata.request_update();
            self.matched_before = Some(metadata.version());
        }
        let waits = self.matched_before == Some(metadata.version());
        if !waits {
            self.matched_before = None;
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let pattern = TopicPattern::new("orders-.*|returns").unwrap();
        assert!(pattern.matches("orders-eu"));
        assert!(pattern.matches("returns"));
        assert!(!pattern.matches("returns-eu"));
        assert!(!pattern.matches("old-orders-eu"));
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused_also_where_brackets_around_it_would_mend_it() {
        assert!(TopicPattern::new("orders)|(returns").is_err());
        assert!(TopicPattern::new("[").is_err());
    }
}
