//! Consumers of ZooKeeper's time: what they can do, and their settings.

use super::super::diagnostic::Complaint;
use super::super::format::{Commit, Consumer, Settings, Thread};
use super::super::plan::OldConsumerPlan;
use super::super::settings::apply;
use super::Checker;
use protocol::behaviour::{Behaviour, Era};
use protocol::config::OldConsumerConfig;
use std::sync::Arc;

impl Checker<'_> {
    /// The plan of a ZooKeeper consumer.
    pub(super) fn old_consumer(
        &mut self,
        consumer: &Consumer,
        commit: Option<Commit>,
        behaviour: Behaviour,
    ) -> OldConsumerPlan {
        self.can_be_old(consumer, behaviour);
        let mut config = OldConsumerConfig::defaults(behaviour.era);
        let own = |key: &str, value: &str, config: &mut OldConsumerConfig| {
            config.set(key, value).expect("a setting of our own");
        };
        if let Some(group) = &consumer.group {
            own("group.id", group, &mut config);
        }
        match commit {
            Some(Commit::Auto) => own("auto.commit.enable", "true", &mut config),
            Some(Commit::Before | Commit::After | Commit::Transactional | Commit::Never) => {
                own("auto.commit.enable", "false", &mut config);
            }
            None => {}
        }
        let of_side = self.side.map(|side| &side.consumer);
        let layers: Vec<&Settings> = std::iter::once(&consumer.config).chain(of_side).collect();
        for settings in &layers {
            let known = (OldConsumerConfig::KEYS, behaviour.era);
            apply(settings, known, &mut self.complaints, |key, value| {
                config.set(key, value)
            });
        }
        let config = config.finish().unwrap_or_else(|error| {
            self.complain_about_client(&error, &layers, &consumer.name);
            OldConsumerConfig::defaults(behaviour.era)
        });
        OldConsumerPlan {
            config: Arc::new(config),
            streams: *consumer.streams.get_ref(),
        }
    }

    /// A stream has nothing like `pause`.
    fn has_no_pause(&mut self, consumer: &Consumer) {
        let name = consumer.name.get_ref();
        if consumer.pause.is_some() {
            self.complain_with_help(
                "scenario::consumer",
                consumer.name.span(),
                format!("`{name}` is a ZooKeeper consumer, which cannot pause a partition"),
                "a thread that takes no message holds its stream up: give it a time of `processing`, or `pause` its process \
                 with a fault"
                    .to_owned(),
            );
        }
    }

    fn can_be_old(&mut self, consumer: &Consumer, behaviour: Behaviour) {
        let name = consumer.name.get_ref();
        let span = consumer.name.span();
        if behaviour.era > Era::V0_9 {
            self.complaints.push(
                Complaint::error(
                    "scenario::consumer-of-an-earlier-era",
                    span.clone(),
                    format!(
                        "`{name}` is a ZooKeeper consumer, which era {} does not have",
                        behaviour.era
                    ),
                )
                .help("Kafka 2.0 removed it; it is modelled as 0.8 and 0.9 had it".to_owned()),
            );
        }
        let refused = [
            (!consumer.assign.is_empty(), "have partitions assigned"),
            (consumer.seek.is_some(), "seek"),
            (
                consumer.commit_on_revoke,
                "be told before partitions are taken from it",
            ),
            (
                consumer.thread == Thread::Worker,
                "be polled: its streams are its threads",
            ),
        ];
        for (_, what) in refused.iter().filter(|(asked, _)| *asked) {
            let message = format!("`{name}` is a ZooKeeper consumer, which cannot {what}");
            self.complain("scenario::consumer", span.clone(), message);
        }
        self.has_no_pause(consumer);
        if *consumer.streams.get_ref() == 0 {
            self.complain(
                "scenario::out-of-range",
                consumer.streams.span(),
                "`streams` is at least 1",
            );
        }
    }
}
