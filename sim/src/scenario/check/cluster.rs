//! Brokers, keepers, topics and targets.

use super::super::diagnostic::{Complaint, suggestion};
use super::super::plan::{BrokerPlan, KeeperPlan, TopicPlan};
use super::super::settings::{apply, complain};
use super::super::target::Target;
use super::Checker;
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::{BrokerConfig, KeeperConfig, TopicConfig, TopicOverrides};
use protocol::ids::{BrokerId, KeeperId, TopicName};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;

/// How many partitions Kafka's own topics get.
const OWN_TOPIC_SIZES: [&str; 2] = [
    "offsets.topic.num.partitions",
    "transaction.state.log.num.partitions",
];

impl<'a> Checker<'a> {
    pub(super) fn era_word(&self) -> Option<&'a Spanned<String>> {
        self.side
            .and_then(|side| side.era.as_ref())
            .or(self.file.cluster.era.as_ref())
    }

    /// The era that is named; the sound one where the name is wrong, which [`Self::behaviour`] complains about.
    pub(super) fn era(&self) -> Era {
        self.era_word()
            .and_then(|word| word.get_ref().parse().ok())
            .unwrap_or(Era::Sound)
    }

    fn is_an_era(&mut self, word: &Spanned<String>) {
        if word.get_ref().parse::<Era>().is_err() {
            let message = format!("`{}` is no era", word.get_ref());
            let help = suggestion(word.get_ref(), Era::ALL.iter().map(|era| era.name()));
            self.complain_with_help("scenario::unknown-era", word.span(), message, help);
        }
    }

    /// The era, with the fixes of the file and then of the variant.
    pub(super) fn behaviour(&mut self) -> (Behaviour, BTreeMap<String, bool>) {
        let era = self.era();
        let named = self.era_word().into_iter().chain(&self.file.cluster.eras);
        for word in named {
            self.is_an_era(word);
        }
        self.is_meant_for(era);
        let mut behaviour = Behaviour::of(era);
        let mut fixes = BTreeMap::new();
        let of_side = self.side.into_iter().flat_map(|side| &side.fixes);
        for (name, on) in self.file.cluster.fixes.iter().chain(of_side) {
            if let Ok(fix) = name.get_ref().parse::<Fix>() {
                behaviour = behaviour.with(fix, *on);
                fixes.insert(fix.name().to_owned(), *on);
            } else {
                let message = format!("`{}` is no fix that can be switched", name.get_ref());
                let help = suggestion(name.get_ref(), Fix::ALL.iter().map(|fix| fix.name()));
                self.complaints.push(
                    Complaint::error("scenario::unknown-fix", name.span(), message).help(help),
                );
            }
        }
        (behaviour, fixes)
    }

    pub(super) fn brokers(&mut self, behaviour: Behaviour) -> Vec<BrokerPlan> {
        let cluster = &self.file.cluster;
        let count = *cluster.brokers.get_ref();
        if count == 0 || count > 100 {
            let message = format!("{count} brokers: a cluster has 1 to 100");
            self.complain("scenario::out-of-range", cluster.brokers.span(), message);
        }
        for name in cluster.broker.keys() {
            if !name
                .get_ref()
                .parse()
                .is_ok_and(|id: u16| (1..=count).contains(&id))
            {
                let message = format!(
                    "there is no broker `{}`: ids go from 1 to {count}",
                    name.get_ref()
                );
                self.complain("scenario::unknown-broker", name.span(), message);
            }
        }
        self.one_size_of_own_topics();
        (1..=count.min(100))
            .map(|id| self.broker(id, behaviour))
            .collect()
    }

    /// A broker of Kafka asks the keepers at its start how many partitions its own topics have, and takes the setting where there
    /// is none yet (KAFKA-2336); brokers here take the setting, so that it has to be everybody's.
    fn one_size_of_own_topics(&mut self) {
        let own = self.file.cluster.broker.values();
        let keys = own.flat_map(|table| table.config.keys());
        let sizes = keys.filter(|key| OWN_TOPIC_SIZES.contains(&key.get_ref().as_str()));
        for key in sizes {
            let message = format!("`{}` is set for all brokers alike", key.get_ref());
            self.complain("scenario::of-all-brokers", key.span(), message);
        }
    }

    fn broker(&mut self, id: u16, behaviour: Behaviour) -> BrokerPlan {
        let cluster = &self.file.cluster;
        let mut config = BrokerConfig::defaults(behaviour.era);
        let own = cluster
            .broker
            .iter()
            .filter(|(name, _)| name.get_ref().parse() == Ok(id));
        let own: Vec<_> = own.map(|(_, table)| &table.config).collect();
        let of_side = self.side.map(|side| &side.cluster);
        for settings in std::iter::once(&cluster.config).chain(of_side).chain(own) {
            let known = (BrokerConfig::KEYS, behaviour.era);
            apply(settings, known, &mut self.complaints, |key, value| {
                config.set(key, value)
            });
        }
        self.speaks_no_later_protocol(&config, behaviour.era);
        if let Err(error) = config
            .set("broker.id", &id.to_string())
            .and_then(|()| config.validate())
        {
            let span = self.span_of_broker_setting(&error.to_string());
            self.complaints.push(complain(&error, span.clone(), span));
        }
        BrokerPlan {
            id: BrokerId(i32::from(id)),
            behaviour: behaviour.speaking(config.inter_broker_protocol_version),
            config: Arc::new(config),
            absent: cluster.absent.iter().any(|absent| *absent.get_ref() == id),
        }
    }

    /// Where the setting that an error names stands in the file.
    pub(super) fn span_of_broker_setting(&self, error: &str) -> Range<usize> {
        let cluster = &self.file.cluster;
        let own = cluster.broker.values().map(|table| &table.config);
        let of_side = self.side.map(|side| &side.cluster);
        let all = std::iter::once(&cluster.config).chain(of_side).chain(own);
        let named = all
            .flatten()
            .find(|(key, _)| error.contains(key.get_ref().as_str()));
        named.map_or(0..0, |(_, value)| value.span())
    }

    pub(super) fn keepers(&mut self, behaviour: Behaviour) -> Vec<KeeperPlan> {
        let count = *self.file.cluster.keepers.get_ref();
        if ![1, 3, 5].contains(&count) {
            let message = format!("{count} keeper servers: an ensemble has 1, 3 or 5");
            self.complain(
                "scenario::out-of-range",
                self.file.cluster.keepers.span(),
                message,
            );
        }
        let mut config = KeeperConfig::defaults(behaviour.era);
        apply(
            &self.file.cluster.keeper,
            (KeeperConfig::KEYS, behaviour.era),
            &mut self.complaints,
            |key, value| config.set(key, value),
        );
        if let Err(error) = config.validate() {
            let span = self
                .file
                .cluster
                .keeper
                .keys()
                .next()
                .map_or(0..0, Spanned::span);
            self.complaints.push(complain(&error, span.clone(), span));
        }
        let config = Arc::new(config);
        (1..=i32::from(count.min(5)))
            .map(|id| KeeperPlan {
                id: KeeperId(id),
                config: config.clone(),
            })
            .collect()
    }

    pub(super) fn topics(&mut self, brokers: &[BrokerPlan]) -> Vec<TopicPlan> {
        let mut plans = Vec::new();
        for topic in &self.file.topics {
            let name = topic.name.get_ref();
            if plans
                .iter()
                .any(|plan: &TopicPlan| plan.name.as_str() == name)
            {
                self.complain(
                    "scenario::duplicate-name",
                    topic.name.span(),
                    format!("two topics are called `{name}`"),
                );
            }
            let legal = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
            if name.is_empty()
                || name.len() > 249
                || !name.chars().all(legal)
                || [".", ".."].contains(&name.as_str())
            {
                let message = format!(
                    "INVALID_TOPIC_EXCEPTION: topic name `{name}` is illegal, it can't be longer than 249 characters and holds only ASCII letters, digits, `.`, `_` and `-`"
                );
                self.complain("scenario::topic-name", topic.name.span(), message);
            }
            plans.push(self.topic(topic, brokers));
        }
        plans
    }

    fn topic(&mut self, topic: &super::super::format::Topic, brokers: &[BrokerPlan]) -> TopicPlan {
        let present = brokers.iter().filter(|broker| !broker.absent).count();
        let assignment = self.assignment(topic, brokers);
        let default = i16::try_from(present.min(3)).unwrap_or(3);
        let replication_factor = match (&topic.replication_factor, assignment.values().next()) {
            (Some(factor), _) => *factor.get_ref(),
            (None, Some(replicas)) => i16::try_from(replicas.len()).unwrap_or(default),
            (None, None) => default,
        };
        let span = topic
            .replication_factor
            .as_ref()
            .map_or_else(|| topic.name.span(), Spanned::span);
        if replication_factor < 1 {
            let message = "INVALID_REPLICATION_FACTOR: Replication factor must be larger than 0.";
            self.complain("scenario::replication-factor", span, message);
        } else if usize::try_from(replication_factor).is_ok_and(|factor| factor > present) {
            let message = format!(
                "INVALID_REPLICATION_FACTOR: Replication factor: {replication_factor} larger than available brokers: {present}."
            );
            self.complain("scenario::replication-factor", span, message);
        }
        let partitions = if assignment.is_empty() {
            *topic.partitions.get_ref()
        } else {
            i32::try_from(assignment.len()).unwrap_or(1)
        };
        if partitions < 1 {
            let message = "INVALID_PARTITIONS: Number of partitions must be larger than 0.";
            self.complain("scenario::partitions", topic.partitions.span(), message);
        }
        let mut overrides = TopicOverrides::default();
        let era = brokers
            .first()
            .map_or(Era::Sound, |broker| broker.behaviour.era);
        let of_side = self.side.map(|side| &side.topic);
        for settings in std::iter::once(&topic.config).chain(of_side) {
            let known = (TopicOverrides::KEYS, era);
            apply(settings, known, &mut self.complaints, |key, value| {
                overrides.set(key, value)
            });
        }
        let fallback = BrokerConfig::defaults(Era::Sound);
        let broker = brokers.first().map_or(&fallback, |broker| &broker.config);
        TopicPlan {
            name: TopicName::from(topic.name.get_ref().as_str()),
            partitions,
            replication_factor,
            assignment,
            effective: TopicConfig::resolve(broker, &overrides),
            config: overrides.entries(),
        }
    }

    fn assignment(
        &mut self,
        topic: &super::super::format::Topic,
        brokers: &[BrokerPlan],
    ) -> BTreeMap<i32, Vec<i32>> {
        for replicas in &topic.replicas {
            for id in replicas.get_ref() {
                if !brokers.iter().any(|broker| broker.id.0 == *id) {
                    self.broker_exists(*id, &replicas.span());
                }
            }
            if replicas.get_ref().is_empty() {
                self.complain(
                    "scenario::replicas",
                    replicas.span(),
                    "a partition has at least one replica",
                );
            }
        }
        (0..)
            .zip(
                topic
                    .replicas
                    .iter()
                    .map(|replicas| replicas.get_ref().clone()),
            )
            .collect()
    }

    pub(super) fn broker_exists(&mut self, id: i32, span: &Range<usize>) {
        let count = *self.file.cluster.brokers.get_ref();
        if !(1..=i32::from(count)).contains(&id) {
            let message = format!("there is no broker {id}: ids go from 1 to {count}");
            self.complain("scenario::unknown-broker", span.clone(), message);
        }
    }

    pub(super) fn client_exists(&mut self, name: &str, span: &Range<usize>) {
        let mut names = self.client_names();
        // Members of a group answer to their common name as well.
        names.extend(
            self.file
                .consumers
                .iter()
                .map(|consumer| consumer.name.get_ref().clone()),
        );
        if !names.iter().any(|known| known == name) {
            let help = suggestion(name, names.iter().map(String::as_str));
            self.complain_with_help(
                "scenario::unknown-client",
                span.clone(),
                format!("there is no client `{name}`"),
                help,
            );
        }
    }

    pub(super) fn fault_exists(&mut self, name: &str, span: &Range<usize>) {
        let names: Vec<String> = self
            .all_faults()
            .filter_map(|fault| fault.get_ref().name.clone())
            .collect();
        if !names.iter().any(|known| known == name) {
            let help = suggestion(name, names.iter().map(String::as_str));
            self.complain_with_help(
                "scenario::unknown-fault",
                span.clone(),
                format!("no fault is called `{name}`"),
                help,
            );
        }
    }

    /// A target may only name what is there.
    pub(super) fn target(&mut self, target: &Spanned<Target>) {
        self.target_at(target.get_ref(), &target.span());
    }

    fn target_at(&mut self, target: &Target, span: &Range<usize>) {
        match target {
            Target::Broker(id) => self.broker_exists(*id, span),
            Target::Keeper(id) => {
                let count = *self.file.cluster.keepers.get_ref();
                if !(1..=i32::from(count)).contains(id) {
                    let message = format!("there is no keeper {id}: ids go from 1 to {count}");
                    self.complain("scenario::unknown-keeper", span.clone(), message);
                }
            }
            Target::Client(name) => self.client_exists(name, span),
            Target::LeaderOf(partition)
            | Target::FollowerOf(partition)
            | Target::FollowersOf(partition)
            | Target::ReplicasOf(partition) => {
                self.partition(partition, span.clone());
            }
            Target::CoordinatorOf(group) => self.group_exists(group, span),
            Target::TransactionCoordinatorOf(id) => self.transactional_id_exists(id, span),
            Target::VictimOf(fault) => self.fault_exists(fault, span),
            Target::Several(all) => all.iter().for_each(|each| self.target_at(each, span)),
            Target::Controller
            | Target::KeeperLeader
            | Target::KeeperFollowers
            | Target::Brokers
            | Target::Keepers
            | Target::Clients => {}
        }
    }

    fn group_exists(&mut self, group: &str, span: &Range<usize>) {
        let groups: Vec<&str> = self
            .file
            .consumers
            .iter()
            .filter_map(|consumer| consumer.group.as_deref())
            .collect();
        if !groups.contains(&group) {
            let help = suggestion(group, groups);
            self.complain_with_help(
                "scenario::unknown-group",
                span.clone(),
                format!("no consumer is in a group `{group}`"),
                help,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Vocabulary, check};
    use crate::scenario::parse::parse;

    #[test]
    fn how_many_partitions_kafkas_own_topics_have_no_broker_decides_alone() {
        let codes = |whose: &str| {
            let text = format!(
                "title = 't'\nquestion = 'q'\nduration = '9s'\n[{whose}]\n'offsets.topic.num.partitions' = 5"
            );
            let known = Vocabulary {
                guarantees: &[],
                ledger: &[],
            };
            let checked = check(&parse(&text).unwrap(), "own.toml", &known);
            let complaints = checked.complaints.into_iter();
            complaints.map(|one| one.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("cluster.config"), [""; 0]);
        assert_eq!(
            codes("cluster.broker.1.config"),
            ["scenario::of-all-brokers"]
        );
    }
}
