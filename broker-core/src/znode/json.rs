//! The small JSON contents of Kafka's znodes, byte for byte as its brokers write them (`ZkData.scala`).
//!
//! Kafka encodes Scala maps; those of up to four entries keep the order of the code, larger ones have the order of their
//! hashes, which is what the fields here follow. Unknown fields are ignored on reading, as Kafka does.

use bytes::Bytes;
use protocol::api::cluster::LeaderAndIsr;
use protocol::behaviour::Era;
use protocol::ids::{
    BrokerId, ControllerEpoch, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicName,
    TopicPartition,
};
use protocol::time::Wall;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("plain structures have a JSON form"))
}

pub(super) fn decode<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
    serde_json::from_slice(data).ok()
}

/// Who leads a partition, and which controller decided it (`LeaderIsrAndControllerEpoch`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Leader, epoch, in-sync replicas and the znode's version.
    pub state: LeaderAndIsr,
    /// The epoch of the controller that wrote it, or whom the leader believed in when it wrote it.
    pub controller_epoch: ControllerEpoch,
    /// Who may lead should the ISR be empty.
    pub eligible: Eligible,
}

/// What the controller remembers of replicas that left the ISR while it was below `min.insync.replicas` (KIP-966). No release
/// of ZooKeeper mode has this: the names of the keys are those of KRaft's records, and who does not know them ignores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligible {
    /// Replicas that have everything committed (`eligibleLeaderReplicas`).
    pub replicas: Vec<BrokerId>,
    /// Others that were in sync since (`lastKnownElr`); while nobody leads, who led last.
    pub last_known: Vec<BrokerId>,
}

#[derive(Serialize, Deserialize)]
struct StateJson {
    controller_epoch: ControllerEpoch,
    leader: i32,
    version: i32,
    leader_epoch: LeaderEpoch,
    isr: Vec<BrokerId>,
    #[serde(
        default,
        rename = "eligibleLeaderReplicas",
        skip_serializing_if = "Vec::is_empty"
    )]
    eligible: Vec<BrokerId>,
    #[serde(
        default,
        rename = "lastKnownElr",
        skip_serializing_if = "Vec::is_empty"
    )]
    last_known: Vec<BrokerId>,
}

impl PartitionState {
    /// The content of `…/state`; the version of the znode is not part of it.
    pub fn encode(&self) -> Bytes {
        encode(&StateJson {
            controller_epoch: self.controller_epoch,
            leader: self.state.leader.map_or(-1, |leader| leader.0),
            version: 1,
            leader_epoch: self.state.leader_epoch,
            isr: self.state.isr.clone(),
            eligible: self.eligible.replicas.clone(),
            last_known: self.eligible.last_known.clone(),
        })
    }

    /// Reads the content of `…/state` whose znode has this version.
    pub fn decode(data: &[u8], version: i32) -> Option<Self> {
        let json: StateJson = decode(data)?;
        Some(Self {
            state: LeaderAndIsr {
                leader: (json.leader >= 0).then_some(BrokerId(json.leader)),
                leader_epoch: json.leader_epoch,
                isr: json.isr,
                partition_epoch: PartitionEpoch(version),
            },
            controller_epoch: json.controller_epoch,
            eligible: Eligible {
                replicas: json.eligible,
                last_known: json.last_known,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ControllerJson {
    version: i32,
    brokerid: BrokerId,
    timestamp: String,
}

/// The content of `/controller`.
pub fn encode_controller(broker: BrokerId, now: Wall) -> Bytes {
    encode(&ControllerJson {
        version: 1,
        brokerid: broker,
        timestamp: now.millis().to_string(),
    })
}

/// Who `/controller` says it is.
pub fn decode_controller(data: &[u8]) -> Option<BrokerId> {
    decode::<ControllerJson>(data).map(|json| json.brokerid)
}

/// The content of `/controller_epoch`.
pub fn encode_controller_epoch(epoch: ControllerEpoch) -> Bytes {
    Bytes::from(epoch.to_string())
}

/// The number in `/controller_epoch`.
pub fn decode_controller_epoch(data: &[u8]) -> Option<ControllerEpoch> {
    std::str::from_utf8(data)
        .ok()?
        .parse()
        .ok()
        .map(ControllerEpoch)
}

#[derive(Serialize, Deserialize)]
struct ConfigJson {
    version: i32,
    config: BTreeMap<String, String>,
}

/// The content of `/config/<type>/<name>`.
pub fn encode_config(config: &BTreeMap<String, String>) -> Bytes {
    encode(&ConfigJson {
        version: 1,
        config: config.clone(),
    })
}

/// The settings in `/config/<type>/<name>`; empty data are no settings.
pub fn decode_config(data: &[u8]) -> BTreeMap<String, String> {
    decode::<ConfigJson>(data).map_or_else(BTreeMap::new, |json| json.config)
}

#[derive(Serialize, Deserialize)]
struct ConfigChangeV1 {
    version: i32,
    entity_type: String,
    entity_name: String,
}

#[derive(Serialize, Deserialize)]
struct ConfigChangeV2 {
    version: i32,
    entity_path: String,
}

/// The content of a notice under `/config/changes` that a topic's settings changed: the bare name in 0.8, type and name in
/// 0.9, a path from 0.10.1 on.
pub fn encode_config_change(topic: &TopicName, era: Era) -> Bytes {
    match era {
        Era::V0_8 => encode(&topic.to_string()),
        Era::V0_9 => encode(&ConfigChangeV1 {
            version: 1,
            entity_type: "topics".to_owned(),
            entity_name: topic.to_string(),
        }),
        Era::V1_0 | Era::V2_8 | Era::Sound => encode(&ConfigChangeV2 {
            version: 2,
            entity_path: format!("topics/{topic}"),
        }),
    }
}

/// Which topic's settings changed, whatever the version; `None` when it is about something else.
pub fn decode_config_change(data: &[u8]) -> Option<TopicName> {
    let name = if let Some(v2) = decode::<ConfigChangeV2>(data) {
        v2.entity_path.strip_prefix("topics/")?.to_owned()
    } else if let Some(v1) = decode::<ConfigChangeV1>(data) {
        (v1.entity_type == "topics").then_some(v1.entity_name)?
    } else {
        decode::<String>(data)?
    };
    Some(TopicName::from(name.as_str()))
}

#[derive(Serialize, Deserialize)]
struct PartitionJson {
    topic: TopicName,
    partition: PartitionIndex,
}

#[derive(Serialize, Deserialize)]
struct PartitionsJson {
    version: i32,
    partitions: Vec<PartitionJson>,
}

/// A list of partitions: a notice under `/isr_change_notification`, or `/admin/preferred_replica_election`.
pub fn encode_partitions<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Bytes {
    let one = |of: &TopicPartition| PartitionJson {
        topic: of.topic.clone(),
        partition: of.partition,
    };
    encode(&PartitionsJson {
        version: 1,
        partitions: partitions.into_iter().map(one).collect(),
    })
}

#[derive(Serialize, Deserialize)]
struct MoveJson {
    topic: TopicName,
    partition: PartitionIndex,
    replicas: Vec<BrokerId>,
}

#[derive(Serialize, Deserialize)]
struct MovesJson {
    version: i32,
    partitions: Vec<MoveJson>,
}

/// The content of `/admin/reassign_partitions`: the replicas that partitions shall have.
pub fn encode_reassignment(moves: &[(TopicPartition, Vec<BrokerId>)]) -> Bytes {
    let one = |(of, replicas): &(TopicPartition, Vec<BrokerId>)| MoveJson {
        topic: of.topic.clone(),
        partition: of.partition,
        replicas: replicas.clone(),
    };
    encode(&MovesJson {
        version: 1,
        partitions: moves.iter().map(one).collect(),
    })
}

/// Reads it; what cannot be read asks for nothing.
pub fn decode_reassignment(data: &[u8]) -> Vec<(TopicPartition, Vec<BrokerId>)> {
    let one = |json: MoveJson| {
        let partition = TopicPartition {
            topic: json.topic,
            partition: json.partition,
        };
        (partition, json.replicas)
    };
    decode::<MovesJson>(data).map_or_else(Vec::new, |json| {
        json.partitions.into_iter().map(one).collect()
    })
}

/// Reads such a list.
pub fn decode_partitions(data: &[u8]) -> Vec<TopicPartition> {
    let one = |json: PartitionJson| TopicPartition {
        topic: json.topic,
        partition: json.partition,
    };
    decode::<PartitionsJson>(data).map_or_else(Vec::new, |json| {
        json.partitions.into_iter().map(one).collect()
    })
}

#[derive(Serialize, Deserialize)]
struct LogDirEventJson {
    version: i32,
    broker: BrokerId,
    event: i32,
}

/// The content of a notice under `/log_dir_event_notification`: event 1, a directory failed.
pub fn encode_log_dir_event(broker: BrokerId) -> Bytes {
    encode(&LogDirEventJson {
        version: 1,
        broker,
        event: 1,
    })
}

/// Whose directory failed.
pub fn decode_log_dir_event(data: &[u8]) -> Option<BrokerId> {
    decode::<LogDirEventJson>(data).map(|json| json.broker)
}

#[derive(Serialize, Deserialize)]
struct ProducerIdsJson {
    version: i32,
    broker: BrokerId,
    block_start: String,
    block_end: String,
}

/// A block of producer ids: the broker that claimed it, its first and its last id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// Who claimed it.
    pub broker: BrokerId,
    /// The first id.
    pub start: i64,
    /// The last id.
    pub end: i64,
}

impl ProducerIdBlock {
    /// The content of `/latest_producer_id_block`.
    pub fn encode(&self) -> Bytes {
        encode(&ProducerIdsJson {
            version: 1,
            broker: self.broker,
            block_start: self.start.to_string(),
            block_end: self.end.to_string(),
        })
    }

    /// Reads it; empty data are no block.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let json: ProducerIdsJson = decode(data)?;
        Some(Self {
            broker: json.broker,
            start: json.block_start.parse().ok()?,
            end: json.block_end.parse().ok()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ClusterIdJson {
    version: String,
    id: String,
}

/// The content of `/cluster/id`.
pub fn encode_cluster_id(id: &str) -> Bytes {
    encode(&ClusterIdJson {
        version: "1".to_owned(),
        id: id.to_owned(),
    })
}

/// The cluster's id.
pub fn decode_cluster_id(data: &[u8]) -> Option<String> {
    decode::<ClusterIdJson>(data).map(|json| json.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn a_partition_state_has_the_bytes_of_kafka() {
        let mut state = PartitionState {
            state: LeaderAndIsr {
                leader: Some(BrokerId(1)),
                leader_epoch: LeaderEpoch(0),
                isr: brokers(&[1, 2, 0]),
                partition_epoch: PartitionEpoch(3),
            },
            controller_epoch: ControllerEpoch(1),
            eligible: Eligible::default(),
        };
        let bytes = state.encode();
        assert_eq!(
            bytes,
            r#"{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":0,"isr":[1,2,0]}"#
        );
        assert_eq!(PartitionState::decode(&bytes, 3), Some(state.clone()));
        state.eligible.replicas = brokers(&[3]);
        state.eligible.last_known = brokers(&[4]);
        assert_eq!(PartitionState::decode(&state.encode(), 3), Some(state));
    }

    #[test]
    fn minus_one_is_no_leader_and_the_order_of_fields_does_not_matter() {
        let text =
            br#"{"version":1,"leader":-1,"leader_epoch":5,"controller_epoch":2,"isr":[1,2]}"#;
        let state = PartitionState::decode(text, 9).unwrap();
        assert_eq!(state.state.leader, None);
        assert_eq!(state.state.leader_epoch, LeaderEpoch(5));
        assert_eq!(state.state.partition_epoch, PartitionEpoch(9));
        assert!(String::from_utf8_lossy(&state.encode()).contains(r#""leader":-1"#));
    }

    #[test]
    fn controller_and_epoch_are_read_back() {
        let bytes = encode_controller(BrokerId(0), Wall::from_millis(1_529_000_000_000));
        assert_eq!(
            bytes,
            r#"{"version":1,"brokerid":0,"timestamp":"1529000000000"}"#
        );
        assert_eq!(decode_controller(&bytes), Some(BrokerId(0)));
        assert_eq!(encode_controller_epoch(ControllerEpoch(12)), "12");
        assert_eq!(decode_controller_epoch(b"12"), Some(ControllerEpoch(12)));
    }

    #[test]
    fn settings_and_their_notices_have_the_bytes_of_kafka() {
        let config = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let bytes = encode_config(&config);
        assert_eq!(bytes, r#"{"version":1,"config":{"retention.ms":"1000"}}"#);
        assert_eq!(decode_config(&bytes), config);
        assert_eq!(decode_config(b""), BTreeMap::new());
    }

    #[test]
    fn each_release_has_its_own_notice_of_changed_settings_and_all_are_read() {
        let topic = TopicName::from("t");
        for (era, text) in [
            (Era::V0_8, r#""t""#),
            (
                Era::V0_9,
                r#"{"version":1,"entity_type":"topics","entity_name":"t"}"#,
            ),
            (Era::V1_0, r#"{"version":2,"entity_path":"topics/t"}"#),
        ] {
            let notice = encode_config_change(&topic, era);
            assert_eq!(notice, text);
            assert_eq!(decode_config_change(&notice), Some(topic.clone()));
        }
        assert_eq!(
            decode_config_change(br#"{"version":2,"entity_path":"clients/c"}"#),
            None
        );
    }

    #[test]
    fn lists_of_partitions_have_the_bytes_of_kafka() {
        let list = [TopicPartition::new("t", 0)];
        let bytes = encode_partitions(&list);
        assert_eq!(
            bytes,
            r#"{"version":1,"partitions":[{"topic":"t","partition":0}]}"#
        );
        assert_eq!(decode_partitions(&bytes), list);
    }

    #[test]
    fn the_remaining_contents_are_those_of_the_reference() {
        let event = encode_log_dir_event(BrokerId(1));
        assert_eq!(event, r#"{"version":1,"broker":1,"event":1}"#);
        assert_eq!(decode_log_dir_event(&event), Some(BrokerId(1)));
        let block = ProducerIdBlock {
            broker: BrokerId(1),
            start: 0,
            end: 999,
        };
        assert_eq!(
            block.encode(),
            r#"{"version":1,"broker":1,"block_start":"0","block_end":"999"}"#
        );
        assert_eq!(ProducerIdBlock::decode(&block.encode()), Some(block));
        assert_eq!(ProducerIdBlock::decode(b""), None);
        let id = encode_cluster_id("abc");
        assert_eq!(id, r#"{"version":"1","id":"abc"}"#);
        assert_eq!(decode_cluster_id(&id).as_deref(), Some("abc"));
    }
}
