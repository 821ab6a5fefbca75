//! What a topic may become: checks that need no keeper, and the assignment of a topic that grows.

use crate::keeper_session::Answer;
use crate::placement::{Draws, Refusal, Start, assign_replicas};
use crate::znode::json;
use crate::znode::topic::{Assignment, Topic};
use protocol::api::topics::NewPartitions;
use protocol::config::{SettingError, TopicOverrides};
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, PartitionIndex, TopicName};
use protocol::keeper::KeeperResult;
use std::collections::{BTreeMap, BTreeSet};

/// The assignment with more partitions, and which are new (`AdminManager.createPartitions`).
pub(super) fn grow(
    new: &NewPartitions,
    brokers: &[BrokerId],
    answer: Option<&Answer>,
) -> Result<(Topic, Vec<PartitionIndex>), Refusal> {
    let Some(Ok(KeeperResult::Data(data, _))) = answer else {
        let message = format!("The topic '{}' does not exist.", new.topic);
        return Err((ErrorCode::UnknownTopicOrPartition, message));
    };
    let mut content = Topic::decode(data).unwrap_or_default();
    if !content.adding.is_empty() || !content.removing.is_empty() {
        let message = format!(
            "A partition reassignment is in progress for the topic '{}'.",
            new.topic
        );
        return Err((ErrorCode::ReassignmentInProgress, message));
    }
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

pub(super) fn check_config(config: &BTreeMap<String, String>) -> Result<(), Refusal> {
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

/// The settings after some changes (`AdminManager.incrementalAlterConfigs` for SET and DELETE).
pub(super) fn configure(
    changes: &BTreeMap<String, Option<String>>,
    answer: Option<&Answer>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut config = match answer {
        Some(Ok(KeeperResult::Data(data, _))) => json::decode_config(data),
        _ => BTreeMap::new(),
    };
    for (key, value) in changes {
        match value {
            Some(value) => config.insert(key.clone(), value.clone()),
            None => config.remove(key),
        };
    }
    check_config(&config)?;
    Ok(config)
}

pub(super) fn exists(topic: &TopicName) -> Refusal {
    let message = format!("Topic '{topic}' already exists.");
    (ErrorCode::TopicAlreadyExists, message)
}
