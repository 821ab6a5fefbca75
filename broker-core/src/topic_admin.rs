//! Creating, deleting and growing topics (`AdminManager`, `AdminZkClient`, `DelayedCreatePartitions`).
//!
//! None of it is the controller's doing: whoever takes the request writes the znodes, and the controller's watches do the
//! rest. CreateTopics, DeleteTopics and CreatePartitions are for the active controller; creation on first use happens on any
//! broker. An answer waits until this broker's metadata cache shows the effect or the request's time is over. Left out:
//! policies, quotas. A handler thread of Kafka's is blocked while it writes; here the answer is late, but the next request is
//! served, and creation on first use answers at once.

use crate::hands::Hands;
use crate::keeper_session::{
    Answer, KeeperOwner, Ticket, create, error_of, get_children, get_data, set_data,
};
use crate::metadata_cache::MetadataCache;
use crate::placement::{
    Draws, Refusal, Start, assign_replicas, check_assignment, check_topic_name, collides,
};
use crate::timer::TimerOwner;
use crate::znode::topic::{Assignment, Topic, TopicVersion};
use crate::znode::{json, paths};
use bytes::Bytes;
use protocol::api::topics::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, NewPartitions,
};
use protocol::behaviour::{Behaviour, Era, Fix};
use protocol::config::{SettingError, TopicOverrides};
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};
use protocol::keeper::{KeeperOp, KeeperResult};
use protocol::machine::RequestToken;
use protocol::time::{Mono, Span};
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
    /// Draws placements and topic ids.
    pub seed: u64,
}

/// The offsets topic.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What is wanted of a topic.
#[derive(Clone, Debug)]
enum Wish {
    Create {
        content: Topic,
        config: BTreeMap<String, String>,
    },
    Delete,
    Grow(NewPartitions),
}

/// One topic of a request, and what has become of it.
#[derive(Clone, Debug)]
struct Entry {
    topic: TopicName,
    wish: Wish,
    error: ErrorCode,
    message: Option<String>,
    /// Which partitions must show up.
    expected: Vec<PartitionIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Create,
    Delete,
    Grow,
}

#[derive(Clone, Debug)]
enum Phase {
    Reading,
    /// So many operations per topic that is still in the race; the last one decides.
    Writing(usize),
    Waiting,
}

#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    /// None when the broker creates a topic on first use.
    token: Option<RequestToken>,
    timeout: Span,
    deadline: Mono,
    validate_only: bool,
    entries: Vec<Entry>,
    phase: Phase,
    tickets: Vec<Ticket>,
    answers: BTreeMap<Ticket, Answer>,
}

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
            }
        }
        let per_topic = if operation.kind == Kind::Create { 3 } else { 1 };
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

impl Entry {
    fn refuse(&mut self, (error, message): Refusal) {
        self.error = error;
        self.message = (!message.is_empty()).then_some(message);
    }
}

impl Operation {
    /// Topics that nothing has refused.
    fn open(&self) -> impl Iterator<Item = &Entry> {
        let open = |entry: &&Entry| entry.error == ErrorCode::None;
        self.entries.iter().filter(open)
    }

    /// The list of topics decides what may be created or deleted (`validateTopicCreate`).
    fn read(&mut self, answers: &[Answer]) {
        let Some(Ok(KeeperResult::Children(names, _))) = answers.first() else {
            if self.kind != Kind::Grow {
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
                Wish::Delete | Wish::Grow(_) => {}
            }
        }
    }

    fn written(&mut self, answers: &[Answer], per_topic: usize) {
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
    fn is_done(&self, entry: &Entry, cache: &MetadataCache) -> bool {
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

    fn finish(mut self, hands: &mut Hands<'_, '_>, cache: &MetadataCache) {
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
            Kind::Delete => {
                let topics = entries.map(|entry| (entry.topic, entry.error)).collect();
                hands.respond(token, DeleteTopicsResponse { topics });
            }
        }
    }
}

/// The assignment with more partitions, and which are new (`AdminManager.createPartitions`).
fn grow(
    new: &NewPartitions,
    brokers: &[BrokerId],
    answer: Option<&Answer>,
) -> Result<(Topic, Vec<PartitionIndex>), Refusal> {
    let Some(Ok(KeeperResult::Data(data, _))) = answer else {
        let message = format!("The topic '{}' does not exist.", new.topic);
        return Err((ErrorCode::UnknownTopicOrPartition, message));
    };
    let mut content = Topic::decode(data).unwrap_or_default();
    let present = content.partitions.len();
    let count = i32::try_from(present).unwrap_or(i32::MAX);
    let increment = new.total - count;
    if increment < 0 {
        let message = format!(
            "Topic currently has {count} partitions, which is higher than the requested {}.",
            new.total
        );
        return Err((ErrorCode::InvalidPartitions, message));
    }
    if increment == 0 {
        let message = format!("Topic already has {count} partitions.");
        return Err((ErrorCode::InvalidPartitions, message));
    }
    let added = if let Some(lists) = &new.assignment {
        given(lists, (count, increment), brokers)?
    } else {
        let first = content.partitions.values().next().cloned();
        let first = first.unwrap_or_default();
        let leader = first.first().copied().unwrap_or(BrokerId(0));
        let start = Start::At {
            broker: brokers.iter().position(|id| *id >= leader).unwrap_or(0),
            partition: present,
        };
        let replicas = i32::try_from(first.len()).unwrap_or(i32::MAX);
        // Nothing is drawn when the start is given.
        assign_replicas(brokers, (increment, replicas), start, &mut Draws::new(0))?
    };
    let indexes = added.keys().copied().collect();
    content.partitions.extend(added);
    Ok((content, indexes))
}

fn given(
    lists: &[Vec<BrokerId>],
    (count, increment): (i32, i32),
    brokers: &[BrokerId],
) -> Result<Assignment, Refusal> {
    let refuse = |message: String| Err((ErrorCode::InvalidReplicaAssignment, message));
    let unknown: BTreeSet<String> = lists
        .iter()
        .flatten()
        .filter(|id| !brokers.contains(id))
        .map(ToString::to_string)
        .collect();
    if !unknown.is_empty() {
        let list = unknown.into_iter().collect::<Vec<_>>().join(", ");
        return refuse(format!("Unknown broker(s) in replica assignment: {list}."));
    }
    if i32::try_from(lists.len()) != Ok(increment) {
        return refuse(format!(
            "Increasing the number of partitions by {increment} but {} assignments provided.",
            lists.len()
        ));
    }
    Ok((count..)
        .map(PartitionIndex)
        .zip(lists.iter().cloned())
        .collect())
}

fn check_config(config: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut overrides = TopicOverrides::default();
    for (key, value) in config {
        match overrides.set(key, value) {
            Ok(()) | Err(SettingError::NotModelled { .. }) => {}
            Err(SettingError::Unknown { key, .. }) => {
                let message = format!("Unknown topic config name: {key}");
                return Err((ErrorCode::InvalidConfig, message));
            }
            Err(SettingError::Invalid { key, value, .. }) => {
                let message = format!("Invalid value {value} for configuration {key}");
                return Err((ErrorCode::InvalidConfig, message));
            }
        }
    }
    Ok(())
}

fn exists(topic: &TopicName) -> Refusal {
    let message = format!("Topic '{topic}' already exists.");
    (ErrorCode::TopicAlreadyExists, message)
}

fn live(cache: &MetadataCache) -> Vec<BrokerId> {
    let brokers = cache.live_brokers();
    brokers.into_iter().map(|broker| broker.id).collect()
}

fn entry_of(topic: &TopicName, wish: Result<Wish, Refusal>) -> Entry {
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

fn operation(
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
