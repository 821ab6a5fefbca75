//! Retention and compaction: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};

stories! {
    TombstoneHorizon {
        base: V1_0, home: Kafka,
        affected: "0.10.1", fixed: Some("0.10.2"),
        superseded_by: [Mask::Fix(Fix::DeleteHorizon)], catalogue: ["L-01"],
        story: "A tombstone must stay for delete.retention.ms, so that a slow reader still learns of the deletion. From \
            0.10.1 on its age was taken from the largest timestamp of the segment's records instead of the time the \
            segment was last written. A record with a timestamp far in the past or the future moved it, and a tombstone \
            could go in the same pass that removed the value. A consumer that had read the value and paused never \
            learned that it is deleted. KAFKA-4529 goes back to the time of the segment file.",
    }
    DeleteHorizon {
        base: Sound, home: Kafka,
        affected: "0.8.1 to 3.0", fixed: Some("3.1.0"),
        superseded_by: [], catalogue: ["L-02"],
        story: "The age of a tombstone was that of its segment, and a segment that was merged in a compaction looked young \
            again. On a topic with little traffic tombstones and the markers of transactions were kept for ever; on \
            others a marker went before all replicas had seen it. With KIP-534 the cleaner writes into the batch when it \
            was first cleaned, and the time counts from there.",
    }
    CleanerExcludesRetention {
        base: Sound, home: Kafka,
        affected: "0.10.1 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["L-03"],
        story: "The cleaner replaces old segments by cleaned ones, and retention deletes old segments. When the policy of a \
            topic was changed while the cleaner was at work, both handled the same segments: one deleted what the other \
            was about to replace, and deleted records came back or live ones were gone. KAFKA-7322 has retention and \
            cleaner exclude each other on one log.",
    }
    RetentionBoundByHighWatermark {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 0.11.0", fixed: Some("1.0.0"),
        superseded_by: [], catalogue: ["L-04"],
        story: "Retention deleted segments by age or size without looking at the high watermark. On a leader whose followers \
            were far behind, or on a follower, the log could then begin above the high watermark. Followers were out of \
            range and had to start over, and records that no consumer was ever allowed to see were gone. KAFKA-5634 \
            never deletes beyond the high watermark.",
    }
    RetainLastBatch {
        base: Sound, home: Kafka,
        affected: "0.11.0.0", fixed: Some("0.11.0.1"),
        superseded_by: [], catalogue: ["L-07"],
        story: "The last batch of an idempotent producer carries its last sequence number. Compaction removed it like any \
            other when all its keys had newer values. A broker that restarted and rebuilt the state of producers from \
            the log no longer knew the sequence: the next batch looked out of order, or a repetition was appended again. \
            KAFKA-5490 keeps the header of a producer's last batch, empty if need be.",
    }
    CleanBoundByHighWatermark {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 3.0", fixed: Some("3.1.0"),
        superseded_by: [], catalogue: ["T-16"],
        story: "The cleaner may not pass the first open transaction. When there was none it took the end of the active \
            segment as its limit, above the high watermark. A record that was not committed replaced the committed value \
            of its key; after a failover that record was truncated, and the key had no value at all. KAFKA-13194 stays \
            below the last stable offset and the high watermark.",
    }
}
