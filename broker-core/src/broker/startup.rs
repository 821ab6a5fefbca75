//! From the first keeper connection to the first request served.

use super::{Broker, Stage};
use crate::coordination::CoordinationEvent;
use protocol::behaviour::Era;
use protocol::ids::{TopicName, TopicPartition};
use protocol::machine::{Io, Lane};
use protocol::note::{BrokerNote, Note};
use protocol::time::Now;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Broker {
    pub(super) fn on_coordination(&mut self, now: Now, event: CoordinationEvent, io: &mut Io<'_>) {
        match event {
            CoordinationEvent::Prepared { .. } => self.read_settings(now, io),
            CoordinationEvent::Registered(epoch) => {
                self.replicas.set_broker_epoch(epoch);
                if self.stage == Stage::Registering {
                    self.serve(now, io);
                }
            }
            CoordinationEvent::Refused(why) if self.is_starting() => {
                io.note(Note::Broker(BrokerNote::Fatal(why)));
                io.exit(false);
            }
            CoordinationEvent::SessionExpired
                if self.is_starting() && !self.coordination.keeper.reopens() =>
            {
                Self::halt("the keeper session expired during start-up", io);
            }
            CoordinationEvent::Refused(_) | CoordinationEvent::SessionExpired => {}
            CoordinationEvent::Closed => io.exit(true),
        }
    }

    /// `KafkaServer.startup` is not over: what fails in it ends the process.
    fn is_starting(&self) -> bool {
        match self.stage {
            Stage::Connecting | Stage::ReadingSettings(_) | Stage::Registering => true,
            Stage::Running | Stage::Stopping => false,
        }
    }

    /// The logs on disk are loaded with their topics' settings, so those are read first.
    fn read_settings(&mut self, now: Now, io: &mut Io<'_>) {
        let topics = self.topics_on_disk(io);
        self.ensure_settings(now, io, &topics);
        self.stage = Stage::ReadingSettings(topics);
        self.load_when_settings_are_known(now, io);
    }

    fn topics_on_disk(&self, io: &mut Io<'_>) -> BTreeSet<TopicName> {
        let mut topics = BTreeSet::new();
        for directory in &self.spec.config.log_dirs {
            let names = io.disk.list(directory.trim_start_matches('/'));
            topics.extend(
                names
                    .iter()
                    .filter_map(|name| TopicPartition::parse(name))
                    .map(|partition| partition.topic),
            );
        }
        topics
    }

    /// Asks for settings that are not known; whether all are known already.
    pub(super) fn ensure_settings(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        topics: &BTreeSet<TopicName>,
    ) -> bool {
        let keeper = &mut self.coordination.keeper;
        let mut hands = crate::hands::Hands {
            now,
            io,
            keeper,
            requests: &mut self.requests,
        };
        self.coordination.configs.ensure(&mut hands, topics)
    }

    /// Settings of topics that were read go to the logs.
    pub(super) fn apply_settings(&mut self, io: &mut Io<'_>) -> bool {
        let changed = self.coordination.configs.take_changed();
        for topic in &changed {
            let overrides = self
                .coordination
                .configs
                .get(topic)
                .copied()
                .unwrap_or_default();
            self.replicas.set_topic_config(topic.clone(), overrides);
            let controller = &mut self.coordination.controller;
            controller.settings_changed(io, topic.clone());
        }
        !changed.is_empty()
    }

    /// Topics that were changed to allow unclean election get a leader at once (KAFKA-6526, since 2.0); before, only the
    /// next change of the controller or of the brokers gave them one.
    pub(super) fn allow_unclean_elections(&mut self, io: &mut Io<'_>) {
        let topics = self.coordination.configs.take_unclean_enabled();
        if matches!(self.spec.behaviour.era, Era::V2_8 | Era::Sound) {
            for topic in topics {
                self.coordination
                    .controller
                    .unclean_election_enabled(io, topic);
            }
        }
    }

    pub(super) fn load_when_settings_are_known(&mut self, now: Now, io: &mut Io<'_>) {
        let Stage::ReadingSettings(topics) = &self.stage else {
            return;
        };
        if topics
            .iter()
            .all(|topic| self.coordination.configs.get(topic).is_some())
        {
            self.apply_settings(io);
            self.replicas.on_started(now, io);
            let clean = self.replicas.after_clean_shutdown();
            self.coordination.registration.after_clean_shutdown(clean);
            self.stage = Stage::Registering;
            self.coordination.register(now, io, &mut self.requests);
        }
    }

    fn serve(&mut self, now: Now, io: &mut Io<'_>) {
        self.stage = Stage::Running;
        self.groups.on_started(now, io, None);
        self.transactions.on_started(now, io);
        for _ in 0..std::mem::take(&mut self.early) {
            io.queue(Lane::RequestHandler);
        }
    }

    /// Ends the process at once, as `Exit.halt` does.
    pub(super) fn halt(why: &str, io: &mut Io<'_>) {
        io.note(Note::Broker(BrokerNote::Fatal(Arc::from(why))));
        io.exit(false);
    }
}
