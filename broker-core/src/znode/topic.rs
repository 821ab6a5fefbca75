//! A topic's assignment, `/brokers/topics/<topic>` (`TopicZNode`).
//!
//! Version 1 has the replicas of each partition; 2 (KIP-455, 2.4) those being added and removed as well; 3 (KIP-516, 2.8)
//! the topic's id.

use super::json::{decode, encode};
use bytes::Bytes;
use protocol::ids::{BrokerId, PartitionIndex, TopicId};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// The replicas of each partition, preferred leader first.
pub type Assignment = BTreeMap<PartitionIndex, Vec<BrokerId>>;

/// What a topic's znode says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topic {
    /// The replicas of each partition.
    pub partitions: Assignment,
    /// Replicas being added (KIP-455).
    pub adding: Assignment,
    /// Replicas being removed (KIP-455).
    pub removing: Assignment,
    /// The topic's id (KIP-516).
    pub id: Option<TopicId>,
}

/// Which version of the content a broker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicVersion {
    /// Before 2.4.
    V1,
    /// 2.4 on, or 2.8 for a topic without id.
    V2,
}

/// JSON objects have text keys; Jackson prints them in the order of the map, Kafka's sorted by number here.
struct ByText<'a>(&'a Assignment);

impl Serialize for ByText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(index, list)| (index.to_string(), list)))
    }
}

#[derive(Serialize)]
struct TopicV1<'a> {
    version: i32,
    partitions: ByText<'a>,
}

#[derive(Serialize)]
struct TopicV2<'a> {
    version: i32,
    partitions: ByText<'a>,
    adding_replicas: ByText<'a>,
    removing_replicas: ByText<'a>,
}

#[derive(Serialize)]
struct TopicV3<'a> {
    removing_replicas: ByText<'a>,
    partitions: ByText<'a>,
    topic_id: String,
    adding_replicas: ByText<'a>,
    version: i32,
}

#[derive(Deserialize)]
struct AnyTopic {
    partitions: BTreeMap<String, Vec<BrokerId>>,
    #[serde(default)]
    adding_replicas: BTreeMap<String, Vec<BrokerId>>,
    #[serde(default)]
    removing_replicas: BTreeMap<String, Vec<BrokerId>>,
    #[serde(default)]
    topic_id: Option<String>,
}

impl Topic {
    /// A topic with these replicas and nothing else.
    pub fn placed(partitions: Assignment) -> Self {
        Self {
            partitions,
            ..Self::default()
        }
    }

    /// The content; a topic with an id is always version 3.
    pub fn encode(&self, version: TopicVersion) -> Bytes {
        match (self.id, version) {
            (Some(id), _) => encode(&TopicV3 {
                removing_replicas: ByText(&self.removing),
                partitions: ByText(&self.partitions),
                topic_id: id.to_string(),
                adding_replicas: ByText(&self.adding),
                version: 3,
            }),
            (None, TopicVersion::V2) => encode(&TopicV2 {
                version: 2,
                partitions: ByText(&self.partitions),
                adding_replicas: ByText(&self.adding),
                removing_replicas: ByText(&self.removing),
            }),
            (None, TopicVersion::V1) => encode(&TopicV1 {
                version: 1,
                partitions: ByText(&self.partitions),
            }),
        }
    }

    /// Reads any version.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let json: AnyTopic = decode(data)?;
        Some(Self {
            partitions: by_index(json.partitions)?,
            adding: by_index(json.adding_replicas)?,
            removing: by_index(json.removing_replicas)?,
            id: json.topic_id.as_deref().and_then(TopicId::parse),
        })
    }
}

fn by_index(map: BTreeMap<String, Vec<BrokerId>>) -> Option<Assignment> {
    map.into_iter()
        .map(|(key, list)| Some((PartitionIndex(key.parse().ok()?), list)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Topic {
        Topic::placed(BTreeMap::from([(
            PartitionIndex(0),
            vec![BrokerId(1), BrokerId(2), BrokerId(0)],
        )]))
    }

    #[test]
    fn the_versions_have_the_bytes_of_kafka() {
        let mut topic = orders();
        assert_eq!(
            topic.encode(TopicVersion::V1),
            r#"{"version":1,"partitions":{"0":[1,2,0]}}"#
        );
        assert_eq!(
            topic.encode(TopicVersion::V2),
            r#"{"version":2,"partitions":{"0":[1,2,0]},"adding_replicas":{},"removing_replicas":{}}"#
        );
        topic.id = TopicId::parse("4b5nfE4KRGKFXhhBrFDn1A");
        assert_eq!(
            topic.encode(TopicVersion::V2),
            r#"{"removing_replicas":{},"partitions":{"0":[1,2,0]},"topic_id":"4b5nfE4KRGKFXhhBrFDn1A","adding_replicas":{},"version":3}"#
        );
    }

    #[test]
    fn every_version_is_read_back() {
        let mut topic = orders();
        for version in [TopicVersion::V1, TopicVersion::V2] {
            assert_eq!(Topic::decode(&topic.encode(version)), Some(topic.clone()));
        }
        topic.id = Some(TopicId(7));
        assert_eq!(Topic::decode(&topic.encode(TopicVersion::V2)), Some(topic));
        assert_eq!(Topic::decode(b"{}"), None);
    }

    #[test]
    fn partitions_are_written_by_number_not_by_text() {
        let partitions = (0..11).map(|index| (PartitionIndex(index), vec![BrokerId(0)]));
        let text = Topic::placed(partitions.collect()).encode(TopicVersion::V1);
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.find("\"2\"").unwrap() < text.find("\"10\"").unwrap());
    }
}
