//! Small text files that survive a restart: offsets by partition, leader epochs, `meta.properties`, `partition.metadata`.
//!
//! Stands for `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`, `BrokerMetadataCheckpoint` and
//! `PartitionMetadataFile`. Each is
//! replaced as a whole (temporary file, flush, atomic rename), so a crash leaves the old or the new content. Left out: the
//! date that Java writes into a properties file, because equal runs must leave equal bytes.

use bytes::Bytes;
use protocol::disk::{Disk, DiskError};
use protocol::ids::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The only version there is.
const VERSION: &str = "0";

/// Reads a whole file as text; `None` when it is missing, unreadable or no text.
pub(super) fn read_text(disk: &mut dyn Disk, path: &str) -> Option<String> {
    let file = disk.find(path)?;
    let size = disk.len(file);
    let bytes = disk.read(file, 0, size).ok()?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// The lines after version and count; `None` when the file is malformed, as Kafka then throws it away.
fn entries(text: &str) -> Option<impl Iterator<Item = &str>> {
    let mut lines = text.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    (lines.clone().count() == count).then_some(lines)
}

/// The text of offsets by partition.
pub fn print_offsets(offsets: &BTreeMap<TopicPartition, Offset>) -> String {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    text
}

/// Reads the text of offsets by partition back.
pub fn parse_offsets(text: &str) -> Option<BTreeMap<TopicPartition, Offset>> {
    entries(text)?
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let topic = TopicName::from(words.next()?);
            let partition = PartitionIndex(words.next()?.parse().ok()?);
            let offset = Offset(words.next()?.parse().ok()?);
            words
                .next()
                .is_none()
                .then_some((TopicPartition { topic, partition }, offset))
        })
        .collect()
}

/// Reads a checkpoint of offsets; empty when it is missing or malformed.
pub fn read_offsets(disk: &mut dyn Disk, path: &str) -> BTreeMap<TopicPartition, Offset> {
    read_text(disk, path)
        .and_then(|text| parse_offsets(&text))
        .unwrap_or_default()
}

/// Writes a checkpoint of offsets.
pub fn write_offsets(
    disk: &mut dyn Disk,
    path: &str,
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), DiskError> {
    disk.replace(path, Bytes::from(print_offsets(offsets)))
}

/// The text of leader epochs and their start offsets.
pub fn print_epochs(epochs: &[(LeaderEpoch, Offset)]) -> String {
    let mut text = format!("{VERSION}\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        let _ = writeln!(text, "{epoch} {start}");
    }
    text
}

/// Reads the text of leader epochs back.
pub fn parse_epochs(text: &str) -> Option<Vec<(LeaderEpoch, Offset)>> {
    entries(text)?
        .map(|line| {
            let (epoch, start) = line.split_once(' ')?;
            Some((
                LeaderEpoch(epoch.parse().ok()?),
                Offset(start.parse().ok()?),
            ))
        })
        .collect()
}

/// The text of `partition.metadata`, version 0; it does not end its last line.
pub fn print_partition_metadata(id: TopicId) -> String {
    format!("version: {VERSION}\ntopic_id: {id}")
}

/// Reads the text of `partition.metadata` back.
pub fn parse_partition_metadata(text: &str) -> Option<TopicId> {
    let (version, id) = text.split_once('\n')?;
    let value = |line: &str| Some(line.split_once(':')?.1.trim_ascii().to_owned());
    if value(version)? != VERSION {
        return None;
    }
    TopicId::parse(&value(id)?)
}

/// Whose log directory it is (`meta.properties`, version 0).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerMetadata {
    /// `broker.id`.
    pub broker_id: BrokerId,
    /// `cluster.id`, as `/cluster/id` has it; absent before 0.10.1.
    pub cluster_id: Option<String>,
}

impl BrokerMetadata {
    /// The text of the file.
    pub fn print(&self) -> String {
        let cluster = self
            .cluster_id
            .as_ref()
            .map(|id| format!("cluster.id={id}\n"));
        format!(
            "#\nbroker.id={}\n{}version={VERSION}\n",
            self.broker_id,
            cluster.unwrap_or_default()
        )
    }

    /// Reads the text back; `None` when a required key is missing or the version is another.
    pub fn parse(text: &str) -> Option<Self> {
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        if values.get("version") != Some(&VERSION) {
            return None;
        }
        Some(Self {
            broker_id: BrokerId(values.get("broker.id")?.parse().ok()?),
            cluster_id: values.get("cluster.id").map(|id| (*id).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_as_kafka_writes_them() {
        let offsets = BTreeMap::from([
            (TopicPartition::new("b", 10), Offset(7)),
            (TopicPartition::new("a-b", 0), Offset(123)),
        ]);
        let text = print_offsets(&offsets);
        assert_eq!(text, "0\n2\na-b 0 123\nb 10 7\n");
        assert_eq!(parse_offsets(&text), Some(offsets));
        assert_eq!(print_offsets(&BTreeMap::new()), "0\n0\n");
    }

    #[test]
    fn a_malformed_checkpoint_is_none() {
        for text in [
            "",
            "1\n0\n",
            "0\n2\na 0 1\n",
            "0\n1\na 0\n",
            "0\n1\na 0 x\n",
            "0\nx\n",
            "0\n1\na 0 1 2\n",
        ] {
            assert_eq!(parse_offsets(text), None, "{text:?}");
        }
    }

    #[test]
    fn epochs_are_written_as_kafka_writes_them() {
        let epochs = vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))];
        assert_eq!(print_epochs(&epochs), "0\n2\n0 0\n3 17\n");
        assert_eq!(parse_epochs("0\n2\n0 0\n3 17\n"), Some(epochs));
        assert_eq!(parse_epochs("0\n1\n0\n"), None);
    }

    #[test]
    fn partition_metadata_are_written_as_kafka_writes_them() {
        let id = TopicId::parse("4b5nfE4KRGKFXhhBrFDn1A").unwrap();
        let text = print_partition_metadata(id);
        assert_eq!(text, "version: 0\ntopic_id: 4b5nfE4KRGKFXhhBrFDn1A");
        assert_eq!(parse_partition_metadata(&text), Some(id));
        for text in [
            "",
            "version: 0\n",
            "version: 1\ntopic_id: 4b5nfE4KRGKFXhhBrFDn1A",
            "version: 0\ntopic_id: 4b5n",
        ] {
            assert_eq!(parse_partition_metadata(text), None, "{text:?}");
        }
    }

    #[test]
    fn meta_properties_are_read_back() {
        let metadata = BrokerMetadata {
            broker_id: BrokerId(2),
            cluster_id: Some("kq".into()),
        };
        let text = metadata.print();
        assert_eq!(text, "#\nbroker.id=2\ncluster.id=kq\nversion=0\n");
        assert_eq!(BrokerMetadata::parse(&text), Some(metadata));
        assert_eq!(BrokerMetadata::parse("broker.id=2\nversion=1\n"), None);
        assert_eq!(BrokerMetadata::parse("version=0\n"), None);
    }
}
