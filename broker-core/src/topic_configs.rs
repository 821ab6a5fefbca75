//! Settings of topics as this broker knows them (`DynamicConfigManager`, `AdminZkClient.fetchEntityConfig`).
//!
//! A broker reads a topic's settings when it first needs them, and again when a notice under `/config/changes` names the
//! topic. A notice carries no settings, so that a missed one in between costs nothing, a missed last one costs everything
//! (Z-02). Left out: settings of brokers, users and clients; deletion of old notices.

use crate::hands::Hands;
use crate::keeper_session::{Answer, KeeperOwner, Ticket, get_children, get_data};
use crate::znode::{json, paths};
use protocol::config::TopicOverrides;
use protocol::ids::TopicName;
use protocol::keeper::{KeeperOp, KeeperResult, WatchEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Asked {
    Notices,
    Notice,
    /// And whether a notice named it.
    Topic(TopicName, bool),
}

/// The settings.
#[derive(Clone, Debug, Default)]
pub struct TopicConfigs {
    known: BTreeMap<TopicName, TopicOverrides>,
    asked: BTreeMap<Ticket, Asked>,
    asking: BTreeSet<TopicName>,
    /// The last notice that was looked at; `None` before the first look, which takes all for old.
    last_notice: Option<Arc<str>>,
    started: bool,
    changed: Vec<TopicName>,
    unclean_enabled: Vec<TopicName>,
}

impl TopicConfigs {
    /// Watches for notices: once at start-up and after every new session.
    pub fn start(&mut self, hands: &mut Hands<'_, '_>) {
        self.ask(
            hands,
            Asked::Notices,
            get_children(paths::CONFIG_CHANGES, true),
        );
    }

    /// The settings of a topic; `None` when they have not been read yet.
    pub fn get(&self, topic: &TopicName) -> Option<&TopicOverrides> {
        self.known.get(topic)
    }

    /// Reads what is not known yet; whether everything is known already. What was read shows up in
    /// [`Self::take_changed`].
    pub fn ensure<'a>(
        &mut self,
        hands: &mut Hands<'_, '_>,
        topics: impl IntoIterator<Item = &'a TopicName>,
    ) -> bool {
        let mut all = true;
        for topic in topics {
            if !self.known.contains_key(topic) {
                all = false;
                self.read(hands, topic, false);
            }
        }
        all
    }

    /// The topic is gone.
    pub fn forget(&mut self, topic: &TopicName) {
        self.known.remove(topic);
    }

    /// Topics whose settings were read, for the first time or again, since the last call.
    pub fn take_changed(&mut self) -> Vec<TopicName> {
        std::mem::take(&mut self.changed)
    }

    /// Topics that a notice named since the last call and that allow unclean election for themselves.
    pub fn take_unclean_enabled(&mut self) -> Vec<TopicName> {
        std::mem::take(&mut self.unclean_enabled)
    }

    /// A watch fired; those of other parts are ignored.
    pub fn on_watch(&mut self, hands: &mut Hands<'_, '_>, event: &WatchEvent) {
        if &*event.path == paths::CONFIG_CHANGES {
            self.start(hands);
        }
    }

    /// Takes the answer to an operation of [`KeeperOwner::Configs`].
    pub fn on_reply(&mut self, hands: &mut Hands<'_, '_>, ticket: Ticket, answer: &Answer) {
        let Some(asked) = self.asked.remove(&ticket) else {
            return;
        };
        match asked {
            Asked::Notices => {
                if let Ok(KeeperResult::Children(names, _)) = answer {
                    self.listed(hands, names);
                }
            }
            Asked::Notice => {
                if let Ok(KeeperResult::Data(data, _)) = answer
                    && let Some(topic) = json::decode_config_change(data)
                {
                    self.read(hands, &topic, true);
                }
            }
            Asked::Topic(topic, noticed) => {
                self.asking.remove(&topic);
                let mut overrides = TopicOverrides::default();
                if let Ok(KeeperResult::Data(data, _)) = answer {
                    for (key, value) in json::decode_config(data) {
                        // A setting that nobody knows has no effect, as in `LogConfig.fromProps`.
                        let _ = overrides.set(&key, &value);
                    }
                }
                if noticed && overrides.unclean_leader_election_enable == Some(true) {
                    self.unclean_enabled.push(topic.clone());
                }
                self.known.insert(topic.clone(), overrides);
                self.changed.push(topic);
            }
        }
    }

    fn ask(&mut self, hands: &mut Hands<'_, '_>, asked: Asked, op: KeeperOp) {
        let ticket = hands
            .keeper
            .submit(hands.now, hands.io, KeeperOwner::Configs, op);
        self.asked.insert(ticket, asked);
    }

    fn read(&mut self, hands: &mut Hands<'_, '_>, topic: &TopicName, noticed: bool) {
        if self.asking.insert(topic.clone()) {
            let op = get_data(paths::topic_config(topic), false);
            self.ask(hands, Asked::Topic(topic.clone(), noticed), op);
        }
    }

    fn listed(&mut self, hands: &mut Hands<'_, '_>, names: &[Arc<str>]) {
        if std::mem::replace(&mut self.started, true) {
            let last = self.last_notice.clone();
            let is_new = |name: &&Arc<str>| last.as_ref().is_none_or(|last| *name > last);
            for name in names.iter().filter(is_new) {
                let op = get_data(paths::child(paths::CONFIG_CHANGES, name), false);
                self.ask(hands, Asked::Notice, op);
            }
        }
        if let Some(newest) = names.iter().max()
            && self.last_notice.as_ref().is_none_or(|last| newest > last)
        {
            self.last_notice = Some(newest.clone());
        }
    }
}
