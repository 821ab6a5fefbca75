//! The log's side files against arbitrary bytes: read or refused, never a panic.

use super::checkpoint::{BrokerMetadata, parse_epochs, parse_offsets, print_epochs, print_offsets};
use super::producer_snapshot;
use bytes::Bytes;
use proptest::prelude::*;
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use std::collections::BTreeMap;

/// A producer snapshot whose version and checksum are right, whatever it says.
fn sealed(body: &[u8]) -> Bytes {
    let mut bytes = 1_i16.to_be_bytes().to_vec();
    bytes.extend(crc32c::crc32c(body).to_be_bytes());
    bytes.extend(body);
    Bytes::from(bytes)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec![
            "0",
            "1",
            "2",
            " ",
            "\n",
            "-1",
            "t-0",
            "x",
            "99999999999",
            "=",
            "é",
        ]),
        0..20,
    )
    .prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn a_producer_snapshot_with_a_right_checksum_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = producer_snapshot::decode(&sealed(&body));
    }

    #[test]
    fn checkpoints_of_arbitrary_words_are_read_or_refused(text in text()) {
        let _ = (parse_offsets(&text), parse_epochs(&text), BrokerMetadata::parse(&text));
    }

    #[test]
    fn a_checkpoint_of_offsets_comes_back(offsets in prop::collection::btree_map(0_i32..9, 0_i64..i64::MAX, 0..9)) {
        let offsets: BTreeMap<TopicPartition, Offset> = offsets
            .into_iter()
            .map(|(partition, offset)| (TopicPartition::new("t-x", partition), Offset(offset)))
            .collect();
        prop_assert_eq!(parse_offsets(&print_offsets(&offsets)), Some(offsets));
    }

    #[test]
    fn a_checkpoint_that_was_cut_is_refused(lines in 1_i32..6, cut in 1_usize..1000) {
        let epochs: Vec<(LeaderEpoch, Offset)> = (0..lines)
            .map(|epoch| (LeaderEpoch(epoch), Offset(i64::from(epoch) * 7 + 1)))
            .collect();
        let whole = print_epochs(&epochs);
        let last_line = whole.trim_end().rfind('\n').unwrap_or(0);
        let end = last_line * cut / 1000;
        prop_assert_eq!(parse_epochs(&whole[..end]), None);
        prop_assert_eq!(parse_epochs(&whole), Some(epochs));
    }
}
