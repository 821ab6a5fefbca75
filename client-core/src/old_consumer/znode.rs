//! The znodes of the consumer: where they are and what is in them (`ZKGroupDirs`, `ZKGroupTopicDirs`, `TopicCount`).

use super::filter::{TopicFilter, Wildcard};
use bytes::Bytes;
use protocol::ids::{BrokerId, Endpoint, GroupId, TopicName, TopicPartition};
use protocol::keeper::Path;
use protocol::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The live brokers.
pub(super) const BROKER_IDS: &str = "/brokers/ids";

/// The topics.
pub(super) const TOPICS: &str = "/brokers/topics";

/// A broker's registration.
pub(super) fn broker(id: &str) -> Path {
    Path::from(format!("{BROKER_IDS}/{id}"))
}

/// A topic's assignment.
pub(super) fn topic(topic: &TopicName) -> Path {
    Path::from(format!("{TOPICS}/{topic}"))
}

/// The members of a group.
pub(super) fn ids(group: &GroupId) -> Path {
    Path::from(format!("/consumers/{group}/ids"))
}

/// One member's registration.
pub(super) fn id(group: &GroupId, consumer: &str) -> Path {
    Path::from(format!("/consumers/{group}/ids/{consumer}"))
}

/// Who owns a partition.
pub(super) fn owner(group: &GroupId, of: &TopicPartition) -> Path {
    Path::from(format!(
        "/consumers/{group}/owners/{}/{}",
        of.topic, of.partition
    ))
}

/// The next offset to consume.
pub(super) fn offset(group: &GroupId, of: &TopicPartition) -> Path {
    Path::from(format!(
        "/consumers/{group}/offsets/{}/{}",
        of.topic, of.partition
    ))
}

/// The word for a filter in a registration.
const WHITE_LIST: &str = "white_list";

#[derive(Serialize, Deserialize)]
struct RegistrationJson {
    version: i32,
    subscription: BTreeMap<TopicName, u32>,
    pattern: String,
    timestamp: String,
}

/// What a member wants.
#[derive(Clone, Debug)]
pub(super) enum Wants {
    /// So many streams of each topic (`StaticTopicCount`).
    Topics(BTreeMap<TopicName, u32>),
    /// Streams over what a filter allows (`WildcardTopicCount`).
    Filtered(Wildcard),
}

impl Wants {
    /// The bytes that a member registers with.
    pub(super) fn registration(&self, now: Wall) -> Bytes {
        let (subscription, pattern) = match self {
            Self::Topics(topics) => (topics.clone(), "static"),
            Self::Filtered(Wildcard { filter, streams }) => {
                let entry = (TopicName::from(filter.text()), *streams);
                (BTreeMap::from([entry]), WHITE_LIST)
            }
        };
        let json = RegistrationJson {
            version: 1,
            subscription,
            pattern: pattern.to_owned(),
            timestamp: now.millis().to_string(),
        };
        Bytes::from(serde_json::to_vec(&json).expect("plain structures have a JSON form"))
    }

    /// What a registration says.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let json: RegistrationJson = serde_json::from_slice(data).ok()?;
        if json.pattern != WHITE_LIST {
            return Some(Self::Topics(json.subscription));
        }
        let (text, streams) = json.subscription.into_iter().next()?;
        let filter = TopicFilter::new(text.as_str())?;
        Some(Self::Filtered(Wildcard { filter, streams }))
    }
}

#[derive(Deserialize)]
struct BrokerJson {
    host: String,
    port: u16,
}

/// Where a broker listens.
pub(super) fn endpoint(id: &str, data: &[u8]) -> Option<(BrokerId, Endpoint)> {
    let json: BrokerJson = serde_json::from_slice(data).ok()?;
    Some((
        BrokerId(id.parse().ok()?),
        Endpoint::new(json.host, json.port),
    ))
}

#[derive(Deserialize)]
struct TopicJson {
    partitions: BTreeMap<String, Vec<i32>>,
}

/// The partitions of a topic, by number; none when the data say nothing of the kind.
pub(super) fn partitions(data: &[u8]) -> Vec<i32> {
    let json: Option<TopicJson> = serde_json::from_slice(data).ok();
    let names = json.map(|json| json.partitions).unwrap_or_default();
    let mut numbers: Vec<i32> = names.keys().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_zk_utils() {
        let (group, partition) = (GroupId::from("g"), TopicPartition::new("orders", 3));
        assert_eq!(&*ids(&group), "/consumers/g/ids");
        assert_eq!(&*id(&group, "g_h-1-2"), "/consumers/g/ids/g_h-1-2");
        assert_eq!(&*owner(&group, &partition), "/consumers/g/owners/orders/3");
        assert_eq!(
            &*offset(&group, &partition),
            "/consumers/g/offsets/orders/3"
        );
    }

    #[test]
    fn a_registration_has_the_bytes_of_kafka() {
        let topics = BTreeMap::from([(TopicName::from("t"), 2)]);
        let data = Wants::Topics(topics.clone()).registration(Wall::from_millis(17));
        assert_eq!(
            data,
            r#"{"version":1,"subscription":{"t":2},"pattern":"static","timestamp":"17"}"#
        );
        assert!(matches!(Wants::read(&data), Some(Wants::Topics(read)) if read == topics));
        assert!(Wants::read(b"2").is_none());
    }

    #[test]
    fn a_filter_is_registered_in_place_of_topics() {
        let filter = TopicFilter::new("t.*").unwrap();
        let wildcard = Wildcard { filter, streams: 2 };
        let data = Wants::Filtered(wildcard).registration(Wall::from_millis(17));
        assert_eq!(
            data,
            r#"{"version":1,"subscription":{"t.*":2},"pattern":"white_list","timestamp":"17"}"#
        );
        let Some(Wants::Filtered(read)) = Wants::read(&data) else {
            panic!("a filter");
        };
        assert_eq!((read.filter.text(), read.streams), ("t.*", 2));
    }

    #[test]
    fn partitions_are_numbers_and_not_texts() {
        let data = br#"{"version":1,"partitions":{"10":[1],"2":[1],"0":[1]}}"#;
        assert_eq!(partitions(data), [0, 2, 10]);
        assert_eq!(partitions(b""), Vec::<i32>::new());
    }

    #[test]
    fn a_broker_of_any_version_says_where_it_listens() {
        let data = br#"{"jmx_port":-1,"timestamp":"1","host":"b1","version":1,"port":9092}"#;
        let expected = (BrokerId(1), Endpoint::new("b1", 9092));
        assert_eq!(endpoint("1", data), Some(expected));
    }
}
