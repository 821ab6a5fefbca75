//! Paths of Kafka's znodes (`ZkData.scala`).

use protocol::behaviour::Era;
use protocol::ids::{BrokerId, TopicName, TopicPartition};
use protocol::keeper::Path;

/// The live brokers.
pub const BROKER_IDS: &str = "/brokers/ids";
/// The topics.
pub const TOPICS: &str = "/brokers/topics";
/// The counter for generated broker ids.
pub const BROKER_SEQUENCE: &str = "/brokers/seqid";
/// Who is the controller.
pub const CONTROLLER: &str = "/controller";
/// How often a controller was elected.
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
/// Settings of topics.
pub const TOPIC_CONFIGS: &str = "/config/topics";
/// Notices that settings changed.
pub const CONFIG_CHANGES: &str = "/config/changes";
/// Prefix of such a notice.
pub const CONFIG_CHANGE_PREFIX: &str = "/config/changes/config_change_";
/// Notices of leaders that changed their in-sync replicas.
pub const ISR_CHANGES: &str = "/isr_change_notification";
/// Prefix of such a notice.
pub const ISR_CHANGE_PREFIX: &str = "/isr_change_notification/isr_change_";
/// Notices of failed log directories.
pub const LOG_DIR_EVENTS: &str = "/log_dir_event_notification";
/// Prefix of such a notice.
pub const LOG_DIR_EVENT_PREFIX: &str = "/log_dir_event_notification/log_dir_event_";
/// Topics that somebody wants deleted.
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
/// Partitions whose preferred replica shall lead.
pub const PREFERRED_ELECTION: &str = "/admin/preferred_replica_election";
/// Partitions whose replicas shall move.
pub const REASSIGN_PARTITIONS: &str = "/admin/reassign_partitions";
/// The last block of producer ids given out.
pub const PRODUCER_IDS: &str = "/latest_producer_id_block";
/// The cluster's id.
pub const CLUSTER_ID: &str = "/cluster/id";
/// Its parent.
pub const CLUSTER: &str = "/cluster";

/// What a broker makes sure of before it registers, parents first (`ZkData.PersistentZkPaths`), each from the era that
/// brought it.
const PERSISTENT: [(&str, Era); 17] = [
    ("/consumers", Era::V0_8),
    ("/brokers", Era::V0_8),
    (BROKER_IDS, Era::V0_8),
    (TOPICS, Era::V0_8),
    ("/config", Era::V0_8),
    (CONFIG_CHANGES, Era::V0_8),
    ("/admin", Era::V0_8),
    (DELETE_TOPICS, Era::V0_8),
    (BROKER_SEQUENCE, Era::V0_9),
    (ISR_CHANGES, Era::V0_9),
    (PRODUCER_IDS, Era::V1_0),
    (LOG_DIR_EVENTS, Era::V1_0),
    (TOPIC_CONFIGS, Era::V0_8),
    ("/config/clients", Era::V0_9),
    ("/config/users", Era::V1_0),
    ("/config/brokers", Era::V1_0),
    ("/config/ips", Era::V2_8),
];

/// The persistent znodes of an era.
pub fn persistent(era: Era) -> impl Iterator<Item = &'static str> {
    PERSISTENT
        .into_iter()
        .filter_map(move |(path, since)| (since <= era).then_some(path))
}

/// Registration of a broker.
pub fn broker(id: BrokerId) -> Path {
    Path::from(format!("{BROKER_IDS}/{id}"))
}

/// Assignment of a topic.
pub fn topic(topic: &TopicName) -> Path {
    Path::from(format!("{TOPICS}/{topic}"))
}

/// Parent of a topic's partitions.
pub fn partitions(topic: &TopicName) -> Path {
    Path::from(format!("{TOPICS}/{topic}/partitions"))
}

/// Parent of a partition's state.
pub fn partition(of: &TopicPartition) -> Path {
    Path::from(format!("{TOPICS}/{}/partitions/{}", of.topic, of.partition))
}

/// Leader and in-sync replicas of a partition.
pub fn partition_state(of: &TopicPartition) -> Path {
    Path::from(format!(
        "{TOPICS}/{}/partitions/{}/state",
        of.topic, of.partition
    ))
}

/// Settings of a topic.
pub fn topic_config(topic: &TopicName) -> Path {
    Path::from(format!("{TOPIC_CONFIGS}/{topic}"))
}

/// Settings of a broker; of all brokers without an id.
pub fn broker_config(id: Option<BrokerId>) -> Path {
    match id {
        Some(id) => Path::from(format!("/config/brokers/{id}")),
        None => Path::from("/config/brokers/<default>"),
    }
}

/// The wish to delete a topic.
pub fn delete_topic(topic: &TopicName) -> Path {
    Path::from(format!("{DELETE_TOPICS}/{topic}"))
}

/// A child of a znode.
pub fn child(parent: &str, name: &str) -> Path {
    Path::from(format!("{parent}/{name}"))
}

/// The topic whose assignment lies at `path`, if it is such a path.
pub fn topic_of(path: &str) -> Option<TopicName> {
    let name = path.strip_prefix(TOPICS)?.strip_prefix('/')?;
    (!name.is_empty() && !name.contains('/')).then(|| TopicName::from(name))
}

/// The partition whose state lies at `path`, if it is such a path.
pub fn partition_of_state(path: &str) -> Option<TopicPartition> {
    let rest = path.strip_prefix(TOPICS)?.strip_prefix('/')?;
    let (topic, rest) = rest.split_once("/partitions/")?;
    let index = rest.strip_suffix("/state")?.parse().ok()?;
    Some(TopicPartition::new(topic, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_zk_data() {
        let partition_0 = TopicPartition::new("orders", 0);
        assert_eq!(&*broker(BrokerId(7)), "/brokers/ids/7");
        assert_eq!(&*topic(&partition_0.topic), "/brokers/topics/orders");
        assert_eq!(
            &*partition_state(&partition_0),
            "/brokers/topics/orders/partitions/0/state"
        );
        assert_eq!(&*topic_config(&partition_0.topic), "/config/topics/orders");
        assert_eq!(&*broker_config(None), "/config/brokers/<default>");
        assert_eq!(
            &*delete_topic(&partition_0.topic),
            "/admin/delete_topics/orders"
        );
    }

    #[test]
    fn a_topic_is_read_back_from_its_path_and_nothing_else_is() {
        assert_eq!(topic_of("/brokers/topics/a"), Some(TopicName::from("a")));
        assert_eq!(topic_of("/brokers/topics/a/partitions"), None);
        assert_eq!(topic_of("/brokers/topics"), None);
        assert_eq!(topic_of("/brokers/ids/1"), None);
    }

    #[test]
    fn a_partition_is_read_back_from_the_path_of_its_state() {
        let partition = TopicPartition::new("orders", 7);
        let path = partition_state(&partition);
        assert_eq!(partition_of_state(&path), Some(partition));
        assert_eq!(partition_of_state("/brokers/topics/a/partitions/7"), None);
        assert_eq!(partition_of_state("/brokers/topics/a"), None);
    }

    #[test]
    fn parents_are_made_before_their_children() {
        for era in Era::ALL {
            let all: Vec<_> = persistent(era).collect();
            for (at, path) in all.iter().enumerate() {
                let parent = path.rsplit_once('/').unwrap().0;
                assert!(parent.is_empty() || all[..at].contains(&parent), "{path}");
            }
        }
    }

    #[test]
    fn each_era_has_the_znodes_of_its_release() {
        let has = |era, path: &str| persistent(era).any(|known| known == path);
        assert!(!has(Era::V0_8, ISR_CHANGES) && has(Era::V0_9, ISR_CHANGES));
        assert!(!has(Era::V0_9, LOG_DIR_EVENTS) && has(Era::V1_0, LOG_DIR_EVENTS));
        assert_eq!(persistent(Era::Sound).count(), PERSISTENT.len());
    }
}
