//! Producers and consumers.

use super::super::condition::Condition;
use super::super::diagnostic::{Complaint, suggestion};
use super::super::format::{Commit, Consumer, ConsumerApi, OnFailure, Producer, Settings};
use super::super::plan::{ConsumerPlan, PausePlan, ProducerPlan, Start};
use super::super::settings::{apply, complain};
use super::super::text::Time;
use super::Checker;
use client_core::TopicPattern;
use history::manifest::CommitPolicy;
use protocol::behaviour::Behaviour;
use protocol::config::{ConsumerConfig, ProducerConfig, SettingError};
use protocol::ids::TopicName;
use protocol::time::Span;
use std::collections::BTreeSet;
use std::sync::Arc;
use toml::Spanned;

impl Checker<'_> {
    /// The names of all clients, members of a group one by one.
    pub(super) fn client_names(&self) -> Vec<String> {
        let producers = self
            .file
            .producers
            .iter()
            .map(|producer| producer.name.get_ref().clone());
        producers
            .chain(self.file.consumers.iter().flat_map(member_names))
            .collect()
    }

    pub(super) fn producers(&mut self, behaviour: Behaviour) -> Vec<ProducerPlan> {
        self.check_client_names();
        let plans: Vec<ProducerPlan> = self
            .file
            .producers
            .iter()
            .map(|producer| self.producer(producer, behaviour))
            .collect();
        plans
    }

    fn check_client_names(&mut self) {
        let mut seen = BTreeSet::new();
        let producers = self.file.producers.iter().map(|producer| &producer.name);
        for name in producers.chain(self.file.consumers.iter().map(|consumer| &consumer.name)) {
            if !seen.insert(name.get_ref().clone()) {
                let message = format!("two clients are called `{}`", name.get_ref());
                self.complain("scenario::duplicate-name", name.span(), message);
            }
            if name.get_ref().is_empty() || name.get_ref().contains(char::is_whitespace) {
                self.complain(
                    "scenario::client-name",
                    name.span(),
                    "a client's name is one word",
                );
            }
        }
    }

    fn producer(&mut self, producer: &Producer, behaviour: Behaviour) -> ProducerPlan {
        self.topic_exists(&producer.topic);
        if *producer.rate.get_ref() == 0 {
            self.complain(
                "scenario::out-of-range",
                producer.rate.span(),
                "`rate` is at least 1 record per second",
            );
        }
        if *producer.size.get_ref() < 12 {
            let message = "`size` is at least 12 bytes: a record's value carries its number";
            self.complain("scenario::out-of-range", producer.size.span(), message);
        }
        let mut config = ProducerConfig::defaults(behaviour.era);
        let of_side = self.side.map(|side| &side.producer);
        let layers: Vec<&Settings> = std::iter::once(&producer.config).chain(of_side).collect();
        for settings in &layers {
            let known = (ProducerConfig::KEYS, behaviour.era);
            apply(settings, known, &mut self.complaints, |key, value| {
                config.set(key, value)
            });
        }
        let config = config.finish().unwrap_or_else(|error| {
            self.complain_about_client(&error, &layers, &producer.name);
            ProducerConfig::defaults(behaviour.era)
        });
        let transactions = self.transactions(producer, &config);
        if let Some(partition) = &producer.partition {
            self.partition(
                &format!("{}-{}", producer.topic.get_ref(), partition.get_ref()),
                partition.span(),
            );
        }
        let start = self.start(producer.start.as_ref(), producer.start_when.as_ref());
        let rate = (*producer.rate.get_ref()).max(1);
        ProducerPlan {
            name: producer.name.get_ref().clone(),
            topic: TopicName::from(producer.topic.get_ref().as_str()),
            count: self.count(producer, rate),
            rate,
            size: *producer.size.get_ref(),
            keys: producer.keys,
            partition: producer
                .partition
                .as_ref()
                .map(|partition| *partition.get_ref()),
            start,
            idle: producer.idle.map(|idle| (idle.after, idle.lasting.0)),
            on_failure: self.on_failure(producer),
            transactions,
            checkpoint_every: producer.checkpoint_every,
            config: Arc::new(config),
        }
    }

    fn on_failure(&self, producer: &Producer) -> OnFailure {
        let of_side = self.side.and_then(|side| side.on_failure);
        of_side.unwrap_or(producer.on_failure)
    }

    /// How many records it sends: as many as fit into the duration where the file does not say. A transfer is two.
    fn count(&self, producer: &Producer, rate: u32) -> u64 {
        let count = producer
            .count
            .unwrap_or_else(|| u64::from(rate) * self.duration().as_millis() / 1000);
        let transfers = producer
            .transactions
            .as_ref()
            .is_some_and(|transactions| transactions.get_ref().transfers.is_some());
        if transfers { count & !1 } else { count }
    }

    pub(super) fn consumers(&mut self, behaviour: Behaviour) -> Vec<ConsumerPlan> {
        let mut plans = Vec::new();
        for consumer in &self.file.consumers {
            let plan = self.consumer(consumer, behaviour);
            for name in member_names(consumer) {
                let into = self.into(consumer, &name, (plan.commit, behaviour));
                plans.push(ConsumerPlan {
                    name,
                    into,
                    ..plan.clone()
                });
            }
        }
        plans
    }

    fn consumer(&mut self, consumer: &Consumer, behaviour: Behaviour) -> ConsumerPlan {
        for topic in &consumer.topics {
            self.topic_exists(topic);
        }
        let assign = consumer
            .assign
            .iter()
            .filter_map(|partition| self.partition(partition.get_ref(), partition.span()))
            .collect();
        self.check_consumer_shape(consumer);
        let api = self.side.and_then(|side| side.api).unwrap_or(consumer.api);
        let commit = self.side.and_then(|side| side.commit).or(consumer.commit);
        let old = (api == ConsumerApi::Old).then(|| self.old_consumer(consumer, commit, behaviour));
        let config = if old.is_some() {
            group_alone(consumer, behaviour)
        } else {
            self.has_group_coordinator(consumer, behaviour);
            self.consumer_config(consumer, commit, behaviour)
        };
        let commits = old.as_ref().map_or(config.enable_auto_commit, |old| {
            old.config.auto_commit_enable
        });
        let start = self.start(consumer.start.as_ref(), consumer.start_when.as_ref());
        let seek = consumer
            .seek
            .as_ref()
            .map(|seek| (seek.to, self.within(&seek.at)));
        let pause = consumer.pause.as_ref().and_then(|pause| {
            let (partition, span) = (pause.partition.get_ref(), pause.partition.span());
            Some(PausePlan {
                partition: self.partition(partition, span)?,
                after: pause.after,
                lasting: pause.lasting.0,
            })
        });
        ConsumerPlan {
            name: consumer.name.get_ref().clone(),
            topics: self.subscribed(consumer),
            pattern: consumer
                .pattern
                .as_ref()
                .map(|pattern| Arc::from(pattern.get_ref().as_str())),
            assign,
            commit: commit_policy(commit, commits),
            commit_every: *consumer.commit_every.get_ref(),
            commit_on_revoke: self
                .side
                .and_then(|side| side.commit_on_revoke)
                .unwrap_or(consumer.commit_on_revoke),
            processing: consumer.processing.0,
            thread: self
                .side
                .and_then(|side| side.thread)
                .unwrap_or(consumer.thread),
            poll: consumer.poll.0,
            start,
            seek,
            pause,
            into: None,
            config: Arc::new(config),
            old,
        }
    }

    /// The topics a consumer names, and those that its pattern matches.
    fn subscribed(&mut self, consumer: &Consumer) -> Vec<TopicName> {
        let named = consumer.topics.iter().map(|topic| topic.get_ref().as_str());
        let mut topics: Vec<TopicName> = named.map(TopicName::from).collect();
        if let Some(text) = &consumer.pattern {
            match TopicPattern::new(text.get_ref()) {
                Ok(pattern) => {
                    let all = self.file.topics.iter().map(|topic| topic.name.get_ref());
                    let matching = all.filter(|topic| pattern.matches(topic));
                    topics.extend(matching.map(|topic| TopicName::from(topic.as_str())));
                }
                Err(error) => {
                    let message = format!("this is no regular expression: {error}");
                    self.complain("scenario::pattern", text.span(), message);
                }
            }
        }
        topics
    }

    fn check_consumer_shape(&mut self, consumer: &Consumer) {
        let span = consumer.name.span();
        let subscribes = !consumer.topics.is_empty() || consumer.pattern.is_some();
        let ways = [
            !consumer.topics.is_empty(),
            consumer.pattern.is_some(),
            !consumer.assign.is_empty(),
        ];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            self.complain(
                "scenario::consumer",
                span.clone(),
                "a consumer has either `topics` to subscribe to, or a `pattern` of topics, or partitions to `assign`",
            );
        }
        // What is empty the client takes, and says so when it polls; ZooKeeper has no node without a name.
        let old = self.side.and_then(|side| side.api).unwrap_or(consumer.api) == ConsumerApi::Old;
        let nameless = |group: &String| old && group.is_empty();
        if subscribes && consumer.group.as_ref().is_none_or(nameless) {
            let message = "INVALID_GROUP_ID: To use the group management or offset commit APIs, you must provide a valid group.id in the consumer configuration.";
            self.complain("scenario::consumer", span.clone(), message);
        }
        if consumer.group.is_none()
            && consumer
                .commit
                .is_some_and(|commit| commit != Commit::Never)
        {
            self.complain(
                "scenario::consumer",
                span,
                "a consumer without a `group` cannot commit",
            );
        }
        if *consumer.commit_every.get_ref() == 0 {
            self.complain(
                "scenario::out-of-range",
                consumer.commit_every.span(),
                "`commit_every` is at least 1 record",
            );
        }
        if *consumer.members.get_ref() == 0 {
            self.complain(
                "scenario::out-of-range",
                consumer.members.span(),
                "`members` is at least 1",
            );
        }
    }

    fn consumer_config(
        &mut self,
        consumer: &Consumer,
        commit: Option<Commit>,
        behaviour: Behaviour,
    ) -> ConsumerConfig {
        let mut config = ConsumerConfig::defaults(behaviour.era);
        let own = |key: &str, value: &str, config: &mut ConsumerConfig| {
            config.set(key, value).expect("a setting of our own");
        };
        if let Some(group) = &consumer.group {
            own("group.id", group, &mut config);
        }
        match commit {
            Some(Commit::Auto) => own("enable.auto.commit", "true", &mut config),
            Some(Commit::Before | Commit::After | Commit::Transactional | Commit::Never) => {
                own("enable.auto.commit", "false", &mut config);
            }
            None => {}
        }
        let of_side = self.side.map(|side| &side.consumer);
        let layers: Vec<&Settings> = std::iter::once(&consumer.config).chain(of_side).collect();
        for settings in &layers {
            let known = (ConsumerConfig::KEYS, behaviour.era);
            apply(settings, known, &mut self.complaints, |key, value| {
                config.set(key, value)
            });
        }
        config.finish().unwrap_or_else(|error| {
            self.complain_about_client(&error, &layers, &consumer.name);
            ConsumerConfig::defaults(behaviour.era)
        })
    }

    /// Points at the setting that the error names, or at the client.
    pub(super) fn complain_about_client(
        &mut self,
        error: &SettingError,
        layers: &[&Settings],
        name: &Spanned<String>,
    ) {
        let text = error.to_string();
        let named = layers
            .iter()
            .flat_map(|settings| settings.iter())
            .find(|(key, _)| text.contains(key.get_ref().as_str()));
        let span = named.map_or_else(|| name.span(), |(_, value)| value.span());
        let complaint: Complaint = complain(error, span.clone(), span);
        self.complaints.push(complaint);
    }

    fn start(&mut self, at: Option<&Spanned<Time>>, when: Option<&Spanned<Condition>>) -> Start {
        match (at, when) {
            (Some(_), Some(when)) => {
                self.complain(
                    "scenario::start",
                    when.span(),
                    "`start` and `start_when` exclude each other",
                );
                Start::At(Span::ZERO)
            }
            (Some(at), None) => Start::At(self.within(at)),
            (None, Some(when)) => {
                self.condition(when);
                Start::When(when.get_ref().clone())
            }
            (None, None) => Start::At(Span::ZERO),
        }
    }

    pub(super) fn topic_exists(&mut self, name: &Spanned<String>) {
        let names: Vec<&str> = self
            .file
            .topics
            .iter()
            .map(|topic| topic.name.get_ref().as_str())
            .collect();
        if !names.contains(&name.get_ref().as_str()) {
            let help = suggestion(name.get_ref(), names);
            let message = format!("there is no topic `{}`", name.get_ref());
            self.complain_with_help("scenario::unknown-topic", name.span(), message, help);
        }
    }
}

/// The settings that everything needs which looks at groups, whoever keeps them.
fn group_alone(consumer: &Consumer, behaviour: Behaviour) -> ConsumerConfig {
    let mut config = ConsumerConfig::defaults(behaviour.era);
    if let Some(group) = &consumer.group {
        config.set("group.id", group).expect("a setting of our own");
    }
    config
}

/// `name`, or `name-1`, `name-2` … for several members.
pub(in crate::scenario) fn member_names(consumer: &Consumer) -> impl Iterator<Item = String> {
    let (name, members) = (consumer.name.get_ref().clone(), *consumer.members.get_ref());
    (1..=members).map(move |number| {
        if members == 1 {
            name.clone()
        } else {
            format!("{name}-{number}")
        }
    })
}

fn commit_policy(commit: Option<Commit>, by_itself: bool) -> CommitPolicy {
    match commit {
        Some(Commit::Auto) => CommitPolicy::Auto,
        Some(Commit::Before) => CommitPolicy::Before,
        Some(Commit::After) => CommitPolicy::After,
        Some(Commit::Transactional) => CommitPolicy::Transactional,
        None if by_itself => CommitPolicy::Auto,
        Some(Commit::Never) | None => CommitPolicy::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Vocabulary, check};
    use crate::scenario::parse::parse;
    use crate::scenario::plan::Plan;
    use protocol::ids::TopicName;

    fn checked(consumer: &str) -> (Vec<&'static str>, Option<Plan>) {
        let text = format!(
            "title = 't'\nquestion = 'q'\nduration = '9s'\ntopic = [{{ name = 'orders-eu' }}, {{ name = 'orders' }}]\n\
             consumer = [{{ name = 'c', {consumer} }}]"
        );
        let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}"));
        let known = Vocabulary {
            guarantees: &[],
            ledger: &[],
        };
        let checked = check(&file, "workload.toml", &known);
        let complaints = checked.complaints.iter();
        let codes = complaints.map(|complaint| complaint.code).collect();
        (codes, checked.plans.first().cloned())
    }

    #[test]
    fn a_pattern_stands_for_the_topics_whose_whole_name_matches() {
        let (codes, plan) = checked("group = 'g', pattern = 'orders-.*'");
        assert_eq!(codes, [""; 0]);
        let plan = plan.unwrap();
        let topics = plan.consumers[0].topics.iter();
        let names: Vec<&str> = topics.map(TopicName::as_str).collect();
        assert_eq!(names, ["orders-eu"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_and_so_are_two_ways_to_subscribe() {
        let codes = |consumer| checked(consumer).0;
        assert_eq!(codes("group = 'g', pattern = '['"), ["scenario::pattern"]);
        let both = "group = 'g', pattern = 'o.*', topics = ['orders']";
        assert_eq!(codes(both), ["scenario::consumer"]);
    }

    #[test]
    fn members_need_a_group_and_what_an_empty_name_does_the_run_tells_except_in_zookeeper() {
        for way in ["topics = ['orders']", "pattern = 'o.*'"] {
            assert_eq!(checked(way).0, ["scenario::consumer"]);
            let empty = format!("group = '', {way}");
            assert_eq!(checked(&empty).0, [""; 0]);
            let old = format!("api = 'old', {empty}");
            assert!(checked(&old).0.contains(&"scenario::consumer"));
        }
        assert_eq!(checked("assign = ['orders-0']").0, [""; 0]);
    }
}
