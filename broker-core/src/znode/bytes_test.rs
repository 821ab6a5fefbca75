//! What others wrote into the keeper, against arbitrary words: read or refused, never a panic.

use super::{broker, json, topic};
use proptest::prelude::*;

fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"version\"",
        "\"partitions\"",
        "\"brokerid\"",
        "\"leader\"",
        "\"isr\"",
        "\"leader_epoch\"",
        "\"controller_epoch\"",
        "\"host\"",
        "\"port\"",
        "\"0\"",
        "\"x\"",
        "1",
        "-1",
        "2.5",
        "99999999999999999999",
        "null",
        "true",
        " ",
    ];
    let text = prop::collection::vec(prop::sample::select(words), 0..25)
        .prop_map(|words| words.concat().into_bytes());
    prop_oneof![text, prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn every_znode_is_read_or_refused(data in nearly_json(), version in any::<i32>()) {
        let _ = json::PartitionState::decode(&data, version);
        let _ = (json::decode_controller(&data), json::decode_controller_epoch(&data));
        let _ = (json::decode_config(&data), json::decode_config_change(&data));
        let _ = (json::decode_reassignment(&data), json::decode_partitions(&data));
        let _ = (json::decode_log_dir_event(&data), json::ProducerIdBlock::decode(&data));
        let _ = (json::decode_cluster_id(&data), broker::decode_broker(&data));
        let _ = topic::Topic::decode(&data);
    }
}
