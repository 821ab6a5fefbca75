//! Creating, deleting, growing and configuring topics (`AdminManager`, `AdminZkClient`, `DelayedCreatePartitions`).
//!
//! None of it is the controller's doing: whoever takes the request writes the znodes, and the controller's watches do the
//! rest. CreateTopics, DeleteTopics and CreatePartitions are for the active controller; creation on first use and changes of
//! settings happen on any broker. An answer waits until this broker's metadata cache shows the effect or the request's time is over. Left out:
//! policies, quotas. A handler thread of Kafka's is blocked while it writes; here the answer is late, but the next request is
//! served, and creation on first use answers at once.

mod operation;
mod plan;

use self::operation::{Entry, Kind, Operation, Phase, Wish, entry_of, operation};
use self::plan::{check_config, configure, exists, grow};
use crate::hands::Hands;
use crate::keeper_session::{
    Answer, KeeperOwner, Ticket, create, create_sequential, get_children, get_data, set_data,
};
use crate::metadata_cache::MetadataCache;
use crate::placement::{
    Draws, Refusal, Start, assign_replicas, check_assignment, check_topic_name,
};
use crate::timer::TimerOwner;
use crate::znode::topic::{Assignment, Topic, TopicVersion};
use crate::znode::{json, paths};
use bytes::Bytes;
use protocol::api::topics::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, IncrementalAlterConfigsRequest, NewPartitions,
};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, PartitionIndex, TopicName};
use protocol::keeper::KeeperOp;
use protocol::machine::RequestToken;
use protocol::time::Span;
use protocol::verb::NewTopic;
use std::collections::{BTreeMap, BTreeSet};

/// The settings topic administration needs.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Which Kafka it is.
    pub behaviour: Behaviour,
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i32,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `offsets.topic.num.partitions`.
    pub offsets_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_replication_factor: i32,
    /// `offsets.topic.segment.bytes`.
    pub offsets_segment_bytes: i32,
    /// The transaction topic.
    pub transaction_topic: TransactionTopic,
    /// Draws placements and topic ids.
    pub seed: u64,
}

/// How `__transaction_state` is created.
#[derive(Clone, Copy, Debug)]
pub struct TransactionTopic {
    /// `transaction.state.log.num.partitions`.
    pub partitions: i32,
    /// `transaction.state.log.replication.factor`.
    pub replication_factor: i32,
    /// `transaction.state.log.min.isr`.
    pub min_isr: i32,
    /// `transaction.state.log.segment.bytes`.
    pub segment_bytes: i32,
}

/// The offsets topic.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The transaction topic.
const TRANSACTION_TOPIC: &str = "__transaction_state";

/// Topic administration.
#[derive(Clone, Debug)]
pub struct TopicAdmin {
    settings: AdminSettings,
    draws: Draws,
    operations: BTreeMap<u64, Operation>,
    next: u64,
    /// Topics being created on first use.
    creating: BTreeSet<TopicName>,
}

impl TopicAdmin {
    /// Nothing under way.
    pub fn new(settings: AdminSettings) -> Self {
        Self {
            draws: Draws::new(settings.seed),
            settings,
            operations: BTreeMap::new(),
            next: 0,
            creating: BTreeSet::new(),
        }
    }

    /// CreateTopics, on the active controller.
    pub fn create_topics(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        token: RequestToken,
        request: &CreateTopicsRequest,
    ) {
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for new in &request.topics {
            if !seen.insert(&new.name) {
                twice.insert(&new.name);
            }
        }
        let mut entries = Vec::new();
        for new in &request.topics {
            let refusal = if twice.contains(&new.name) {
                let message = "Found multiple entries for this topic.".to_owned();
                Err((ErrorCode::InvalidRequest, message))
            } else {
                self.plan(cache, new)
            };
            let listed = entries.iter().any(|entry: &Entry| entry.topic == new.name);
            if !listed {
                entries.push(entry_of(&new.name, refusal));
            }
        }
        let mut operation = operation(Kind::Create, Some(token), request.timeout, entries);
        operation.validate_only = request.validate_only;
        self.begin(hands, cache, operation);
    }

    /// Refuses CreateTopics on a broker that is not the controller.
    pub fn refuse_create(
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &CreateTopicsRequest,
    ) {
        let one = |new: &NewTopic| (new.name.clone(), ErrorCode::NotController, None);
        let topics = request.topics.iter().map(one).collect();
        hands.respond(token, CreateTopicsResponse { topics });
    }

    /// `createTopics` up to the first look at the keeper.
    fn plan(&mut self, cache: &MetadataCache, new: &NewTopic) -> Result<Wish, Refusal> {
        check_topic_name(new.name.as_str())?;
        if cache.contains_topic(&new.name) {
            return Err(exists(&new.name));
        }
        check_config(&new.config)?;
        let assignment = if new.assignment.is_empty() {
            let or_default =
                |number: i32, default: i32| if number == -1 { default } else { number };
            let counts = (
                or_default(new.partitions, self.settings.partitions),
                or_default(
                    i32::from(new.replication_factor),
                    self.settings.replication_factor,
                ),
            );
            assign_replicas(&live(cache), counts, Start::Random, &mut self.draws)?
        } else {
            if new.partitions != -1 || new.replication_factor != -1 {
                let message = "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be \
                               used at the same time.";
                return Err((ErrorCode::InvalidRequest, message.to_owned()));
            }
            let placed: Assignment = new
                .assignment
                .iter()
                .map(|(index, list)| {
                    let list = list.iter().copied().map(BrokerId).collect();
                    (PartitionIndex(*index), list)
                })
                .collect();
            check_assignment(&placed)?;
            placed
        };
        Ok(self.creation(assignment, new.config.clone()))
    }

    fn creation(&mut self, assignment: Assignment, config: BTreeMap<String, String>) -> Wish {
        let mut content = Topic::placed(assignment);
        if self
            .settings
            .behaviour
            .inter_broker_protocol
            .supports_topic_ids()
        {
            content.id = Some(self.draws.topic_id());
        }
        Wish::Create { content, config }
    }

    /// Creates topics on first use, on any broker; the error Metadata answers with for each.
    pub fn auto_create(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        topics: &[TopicName],
    ) -> Vec<(TopicName, ErrorCode)> {
        let mut errors = Vec::new();
        let mut entries = Vec::new();
        for topic in topics {
            if self.creating.contains(topic) {
                errors.push((topic.clone(), ErrorCode::LeaderNotAvailable));
                continue;
            }
            match self.plan_first_use(cache, topic) {
                Ok(wish) => {
                    self.creating.insert(topic.clone());
                    entries.push(entry_of(topic, Ok(wish)));
                    errors.push((topic.clone(), ErrorCode::LeaderNotAvailable));
                }
                Err((error, _)) => errors.push((topic.clone(), error)),
            }
        }
        if !entries.is_empty() {
            let operation = operation(Kind::Create, None, Span::ZERO, entries);
            self.begin(hands, cache, operation);
        }
        errors
    }

    fn plan_first_use(
        &mut self,
        cache: &MetadataCache,
        topic: &TopicName,
    ) -> Result<Wish, Refusal> {
        check_topic_name(topic.as_str())?;
        let brokers = live(cache);
        if topic.as_str() == TRANSACTION_TOPIC {
            return self.plan_transaction_topic(&brokers);
        }
        if topic.as_str() != OFFSETS_TOPIC {
            let counts = (self.settings.partitions, self.settings.replication_factor);
            let placed = assign_replicas(&brokers, counts, Start::Random, &mut self.draws)?;
            return Ok(self.creation(placed, BTreeMap::new()));
        }
        let wanted = self.settings.offsets_replication_factor;
        let alive = i32::try_from(brokers.len()).unwrap_or(i32::MAX);
        let replicas = if self.settings.behaviour.has(Fix::OffsetsTopicReplication) {
            if alive < wanted {
                return Err((ErrorCode::CoordinatorNotAvailable, String::new()));
            }
            wanted
        } else if alive > 0 {
            // Before KIP-115 the topic got as many replicas as there happened to be brokers, for ever.
            wanted.min(alive)
        } else {
            wanted
        };
        let counts = (self.settings.offsets_partitions, replicas);
        let placed = assign_replicas(&brokers, counts, Start::Random, &mut self.draws)?;
        let config = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            (
                "segment.bytes",
                self.settings.offsets_segment_bytes.to_string(),
            ),
        ];
        let config = config.map(|(key, value)| (key.to_owned(), value));
        Ok(self.creation(placed, config.into()))
    }

    /// `TransactionStateManager.transactionTopicConfigs`; it came after KIP-115, so that too few brokers always refuse it.
    fn plan_transaction_topic(&mut self, brokers: &[BrokerId]) -> Result<Wish, Refusal> {
        let topic = self.settings.transaction_topic;
        let alive = i32::try_from(brokers.len()).unwrap_or(i32::MAX);
        if alive < topic.replication_factor {
            return Err((ErrorCode::CoordinatorNotAvailable, String::new()));
        }
        let counts = (topic.partitions, topic.replication_factor);
        let placed = assign_replicas(brokers, counts, Start::Random, &mut self.draws)?;
        let config = [
            ("unclean.leader.election.enable", "false".to_owned()),
            ("compression.type", "uncompressed".to_owned()),
            ("cleanup.policy", "compact".to_owned()),
            ("min.insync.replicas", topic.min_isr.to_string()),
            ("segment.bytes", topic.segment_bytes.to_string()),
        ];
        let config = config.map(|(key, value)| (key.to_owned(), value));
        Ok(self.creation(placed, config.into()))
    }

    /// DeleteTopics, on the active controller.
    pub fn delete_topics(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        (token, api_version): (RequestToken, i16),
        request: &DeleteTopicsRequest,
    ) {
        let wish = |topic: &TopicName| {
            let refused = |error: ErrorCode| Err((error, String::new()));
            let wish = if !self.settings.delete_topics {
                refused(if api_version < 3 {
                    ErrorCode::InvalidRequest
                } else {
                    ErrorCode::TopicDeletionDisabled
                })
            } else if cache.contains_topic(topic) {
                Ok(Wish::Delete)
            } else {
                refused(ErrorCode::UnknownTopicOrPartition)
            };
            entry_of(topic, wish)
        };
        let entries = request.topics.iter().map(wish).collect();
        let operation = operation(Kind::Delete, Some(token), request.timeout, entries);
        self.begin(hands, cache, operation);
    }

    /// Refuses DeleteTopics on a broker that is not the controller.
    pub fn refuse_delete(
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &DeleteTopicsRequest,
    ) {
        let one = |topic: &TopicName| (topic.clone(), ErrorCode::NotController);
        let topics = request.topics.iter().map(one).collect();
        hands.respond(token, DeleteTopicsResponse { topics });
    }

    /// CreatePartitions, on the active controller.
    pub fn create_partitions(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        token: RequestToken,
        request: &CreatePartitionsRequest,
    ) {
        let wish = |new: &NewPartitions| entry_of(&new.topic, Ok(Wish::Grow(new.clone())));
        let entries = request.topics.iter().map(wish).collect();
        let operation = operation(Kind::Grow, Some(token), request.timeout, entries);
        self.begin(hands, cache, operation);
    }

    /// Refuses CreatePartitions on a broker that is not the controller.
    pub fn refuse_partitions(
        hands: &mut Hands<'_, '_>,
        token: RequestToken,
        request: &CreatePartitionsRequest,
    ) {
        let one = |new: &NewPartitions| (new.topic.clone(), ErrorCode::NotController, None);
        let topics = request.topics.iter().map(one).collect();
        hands.respond(token, CreatePartitionsResponse { topics });
    }

    /// IncrementalAlterConfigs, on any broker.
    pub fn alter_configs(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        token: RequestToken,
        request: &IncrementalAlterConfigsRequest,
    ) {
        let wish = |(topic, changes): &(TopicName, BTreeMap<String, Option<String>>)| {
            let wish = if cache.contains_topic(topic) {
                Ok(Wish::Configure(changes.clone()))
            } else {
                let message = format!("The topic '{topic}' does not exist.");
                Err((ErrorCode::UnknownTopicOrPartition, message))
            };
            entry_of(topic, wish)
        };
        let entries = request.topics.iter().map(wish).collect();
        let mut operation = operation(Kind::Configure, Some(token), Span::ZERO, entries);
        operation.validate_only = request.validate_only;
        self.begin(hands, cache, operation);
    }

    fn begin(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        mut operation: Operation,
    ) {
        operation.deadline = hands.now.mono + operation.timeout;
        let ops = match operation.kind {
            Kind::Create | Kind::Delete => vec![get_children(paths::TOPICS, false)],
            Kind::Grow => {
                let read = |entry: &Entry| get_data(paths::topic(&entry.topic), false);
                operation.entries.iter().map(read).collect()
            }
            Kind::Configure => {
                let read = |entry: &Entry| get_data(paths::topic_config(&entry.topic), false);
                operation.entries.iter().map(read).collect()
            }
        };
        let id = self.next;
        self.next += 1;
        if operation.open().next().is_none() {
            self.wait(hands, cache, id, operation);
        } else {
            self.ask(hands, id, operation, ops);
        }
    }

    fn ask(
        &mut self,
        hands: &mut Hands<'_, '_>,
        id: u64,
        mut operation: Operation,
        ops: Vec<KeeperOp>,
    ) {
        let submit = |op| {
            hands
                .keeper
                .submit(hands.now, hands.io, KeeperOwner::Admin, op)
        };
        operation.tickets = ops.into_iter().map(submit).collect();
        operation.answers.clear();
        self.operations.insert(id, operation);
    }

    /// Takes the answer to an operation of [`KeeperOwner::Admin`].
    pub fn on_reply(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        ticket: Ticket,
        answer: Answer,
    ) {
        let mut operations = self.operations.iter_mut();
        let found = operations.find(|(_, operation)| operation.tickets.contains(&ticket));
        let Some((id, operation)) = found else {
            return;
        };
        operation.answers.insert(ticket, answer);
        if operation.answers.len() < operation.tickets.len() {
            return;
        }
        let id = *id;
        let Some(mut operation) = self.operations.remove(&id) else {
            return;
        };
        let tickets = std::mem::take(&mut operation.tickets);
        let answers: Vec<Answer> = tickets
            .iter()
            .filter_map(|ticket| operation.answers.remove(ticket))
            .collect();
        match operation.phase {
            Phase::Reading => {
                operation.read(&answers);
                let brokers = live(cache);
                let (per_topic, ops) = self.writes(&mut operation, &brokers, &answers);
                if ops.is_empty() || operation.validate_only {
                    self.wait(hands, cache, id, operation);
                } else {
                    operation.phase = Phase::Writing(per_topic);
                    self.ask(hands, id, operation, ops);
                }
            }
            Phase::Writing(per_topic) => {
                operation.written(&answers, per_topic);
                self.wait(hands, cache, id, operation);
            }
            Phase::Waiting => {}
        }
    }

    /// What is to be written, the same number of operations for every topic still in the race.
    fn writes(
        &self,
        operation: &mut Operation,
        brokers: &[BrokerId],
        answers: &[Answer],
    ) -> (usize, Vec<KeeperOp>) {
        let version = if matches!(self.settings.behaviour.era, Era::V2_8 | Era::Sound) {
            TopicVersion::V2
        } else {
            TopicVersion::V1
        };
        let mut ops = Vec::new();
        for (at, entry) in operation.entries.iter_mut().enumerate() {
            if entry.error != ErrorCode::None {
                continue;
            }
            match &entry.wish {
                Wish::Create { content, config } => {
                    // `setOrCreateEntityConfigs`: left-over settings of an earlier topic are replaced.
                    let (path, data) = (
                        paths::topic_config(&entry.topic),
                        json::encode_config(config),
                    );
                    entry.expected = content.partitions.keys().copied().collect();
                    ops.push(create(path.clone(), data.clone()));
                    ops.push(set_data(path, data, -1));
                    ops.push(create(paths::topic(&entry.topic), content.encode(version)));
                }
                Wish::Delete => {
                    ops.push(create(paths::delete_topic(&entry.topic), Bytes::new()));
                }
                Wish::Grow(new) => match grow(new, brokers, answers.get(at)) {
                    Ok((grown, added)) => {
                        entry.expected = added;
                        ops.push(set_data(
                            paths::topic(&entry.topic),
                            grown.encode(version),
                            -1,
                        ));
                    }
                    Err(refusal) => entry.refuse(refusal),
                },
                Wish::Configure(changes) => match configure(changes, answers.get(at)) {
                    Ok(config) => {
                        let (path, data) = (
                            paths::topic_config(&entry.topic),
                            json::encode_config(&config),
                        );
                        let era = self.settings.behaviour.era;
                        ops.push(create(path.clone(), data.clone()));
                        ops.push(set_data(path, data, -1));
                        ops.push(create_sequential(
                            paths::CONFIG_CHANGE_PREFIX,
                            json::encode_config_change(&entry.topic, era),
                        ));
                    }
                    Err(refusal) => entry.refuse(refusal),
                },
            }
        }
        let per_topic = match operation.kind {
            Kind::Create | Kind::Configure => 3,
            Kind::Delete | Kind::Grow => 1,
        };
        (per_topic, ops)
    }

    fn wait(
        &mut self,
        hands: &mut Hands<'_, '_>,
        cache: &MetadataCache,
        id: u64,
        mut operation: Operation,
    ) {
        operation.phase = Phase::Waiting;
        for entry in &operation.entries {
            if operation.token.is_none() {
                self.creating.remove(&entry.topic);
            }
        }
        let over = operation.validate_only
            || operation.timeout == Span::ZERO
            || operation
                .open()
                .all(|entry| operation.is_done(entry, cache));
        if over {
            operation.finish(hands, cache);
        } else {
            let timer = TimerOwner::Admin.timer(id);
            hands.io.set_timer(timer, operation.deadline);
            self.operations.insert(id, operation);
        }
    }

    /// The metadata cache has changed: call after every UpdateMetadata.
    pub fn on_metadata(&mut self, hands: &mut Hands<'_, '_>, cache: &MetadataCache) {
        let done: Vec<u64> = self
            .operations
            .iter()
            .filter(|(_, operation)| {
                matches!(operation.phase, Phase::Waiting)
                    && operation
                        .open()
                        .all(|entry| operation.is_done(entry, cache))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            hands.io.cancel_timer(TimerOwner::Admin.timer(id));
            self.end(hands, cache, id);
        }
    }

    /// Takes a timer of [`TimerOwner::Admin`]: a request's time is over.
    pub fn on_timer(&mut self, hands: &mut Hands<'_, '_>, cache: &MetadataCache, local: u64) {
        self.end(hands, cache, local);
    }

    fn end(&mut self, hands: &mut Hands<'_, '_>, cache: &MetadataCache, id: u64) {
        if let Some(operation) = self.operations.remove(&id) {
            operation.finish(hands, cache);
        }
    }
}

fn live(cache: &MetadataCache) -> Vec<BrokerId> {
    let brokers = cache.live_brokers();
    brokers.into_iter().map(|broker| broker.id).collect()
}
