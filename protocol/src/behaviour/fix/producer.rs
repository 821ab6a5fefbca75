//! Producers: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};

stories! {
    MutePartition {
        base: Sound, home: Kafka,
        affected: "0.8.2 to 0.9.0", fixed: Some("0.10.0"),
        superseded_by: [], catalogue: ["P-03"],
        story: "With max.in.flight.requests.per.connection=1 a producer was thought to keep the order of its records. The \
            limit is per connection. A batch was in flight to the old leader when leadership moved; the next batch of \
            the same partition went to the new leader on another connection and was appended; the first timed out and \
            was sent again, behind it. KAFKA-3197 mutes a partition while one of its batches is in flight, whoever the \
            leader is.",
    }
    DedupeWindow {
        base: V1_0, home: Kafka,
        affected: "0.11.0", fixed: Some("1.0.0"),
        superseded_by: [], catalogue: ["P-04"],
        story: "An idempotent producer of 0.11 could have only one request in flight, because a broker remembered only the \
            last batch of each producer. Had it pipelined, and had five answers been lost, the repetition of the first \
            four would have looked like a gap in the sequence, and the producer would have failed although nothing was \
            lost. Since KAFKA-5494 the broker remembers the last five batches and answers their repetition with the \
            offsets they already have. That is why an idempotent producer may have five requests in flight, and not six.",
    }
    ProducerStateByExpiry {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.3", fixed: Some("2.4.0"),
        superseded_by: [], catalogue: ["P-05"],
        story: "A broker forgot a producer when the last of its records was deleted by retention. An idempotent producer \
            that had been quiet came back with its next sequence number, and the broker, which knew nothing of it, \
            refused with UNKNOWN_PRODUCER_ID. The producer was broken and had to be closed; an application that then \
            sent its last records again, with a new producer, wrote duplicates. KIP-360 keeps the state of a producer \
            until transactional.id.expiration.ms has passed, whatever becomes of its records, and lets the client raise \
            its own epoch and go on.",
    }
    UnknownProducerStartsAtZero {
        base: Sound, home: Kafka,
        affected: "2.4 to 3.x", fixed: Some("4.0.0"),
        superseded_by: [], catalogue: ["P-06"],
        story: "When a broker does not know a producer, it takes a batch with any sequence number. A copy of a batch that \
            had already been written, and acknowledged, was still on its way when the state expired or the leader \
            changed to one without it. The copy arrived, nothing told that it was old, and it was appended a second \
            time. KAFKA-14920, first for transactions, has an unknown producer start at sequence 0.",
    }
    LossByLogStart {
        base: V1_0, home: Kafka,
        affected: "0.11.0", fixed: Some("1.0.0"),
        superseded_by: [Mask::Fix(Fix::ProducerStateByExpiry), Mask::Fix(Fix::UnknownProducerStartsAtZero)],
        catalogue: ["P-07"],
        story: "UNKNOWN_PRODUCER_ID can mean that records were lost, or that retention deleted them in good order. The \
            producer of 0.11 could not tell and gave up in both cases. KAFKA-5793 puts the start offset of the log into \
            the answer: if it lies above the last acknowledged offset, retention is the reason, and the producer starts \
            its sequence again and repeats the batch. Since KIP-360 the error hardly occurs.",
    }
    WaitInflightBeforeReset {
        base: Sound, home: Kafka,
        affected: "2.5 and later", fixed: None,
        superseded_by: [], catalogue: ["P-08"],
        story: "An idempotent producer had two batches in flight. The first was appended, but its answer was lost; the \
            second failed for good. To close the gap in the sequence the producer raised its epoch and gave the first \
            batch a new number in it. The broker saw a new epoch, could not know the batch, and appended it again. \
            KAFKA-14034 has the producer wait until all that is in flight is decided before it starts the new epoch. The \
            change was never merged; the switch shows what it would do.",
    }
    ResetIdlePartitions {
        base: Sound, home: Kafka,
        affected: "2.5 to 2.7", fixed: Some("2.8.0"),
        superseded_by: [], catalogue: ["P-09"],
        story: "After a producer raised its epoch, the sequences of the partitions with batches in flight began at 0 again. \
            A partition that was idle at that moment kept its old sequence. Its next batch came with the new epoch and a \
            number above 0; the broker expects 0 in a new epoch and refused it as out of order, at each repetition, \
            until the delivery timed out. KAFKA-12152 resets every partition that still has the old epoch.",
    }
    EpochBumpPerPartition {
        base: Sound, home: Librdkafka,
        affected: "librdkafka 1.0 and later", fixed: None,
        superseded_by: [], catalogue: ["P-10"],
        story: "When one partition answers that a sequence is out of order, librdkafka raises the epoch of the whole \
            producer and begins every partition anew. Batches of another partition that were written, but not yet \
            acknowledged, are sent again under the new epoch, and the broker cannot know them. A hiccup on partition 5 \
            writes duplicates to partition 12. The issue is open; with the switch on only the partition with the error \
            repeats its batches.",
    }
    KeepSequenceOnTopicFlap {
        base: Sound, home: Librdkafka,
        affected: "librdkafka 1.0 to 1.8.2", fixed: Some("librdkafka 1.9.0"),
        superseded_by: [], catalogue: ["P-11"],
        story: "A broker that is starting may say for a moment that it does not know a topic. librdkafka took the partition \
            object away, and with it the counter of sequence numbers. When the topic was back, the producer numbered its \
            next records from 0. The broker took them for repetitions of its first batches and answered that all is \
            well, with the old offsets. The application was told that its records are written, and they were never \
            written anywhere. Since 1.9.0 the sequence is kept.",
    }
    DrainOnClose {
        base: Sound, home: Kafka,
        affected: "0.7 and before", fixed: Some("0.7.0"),
        superseded_by: [], catalogue: ["P-13"],
        story: "An application closed its producer, and what was still in its queue was thrown away without a word. The \
            close returned in good order. KAFKA-116 sends what is queued before the producer closes.",
    }
    ReportSerializationErrors {
        base: V0_8, home: Kafka,
        affected: "0.8.2", fixed: Some("0.9.0"),
        superseded_by: [], catalogue: ["P-13"],
        story: "The Java producer of 0.8.2 could lose a record without telling: when a record was refused before it reached \
            a batch, because it was too large or could not be turned into bytes, neither the future nor the callback \
            always heard of it. The application counted it as sent. KAFKA-1702 reports each such record as failed.",
    }
    MarkersKeepProducer {
        base: V2_8, home: Kafka,
        affected: "0.11.0 to 2.4", fixed: Some("2.5.0"),
        superseded_by: [Mask::Fix(Fix::VerifyTransaction), Mask::Fix(Fix::UnknownProducerStartsAtZero)],
        catalogue: ["P-14"],
        story: "A producer's state expires some time after its last record. The markers that end its transactions did not \
            count as records. The state of a producer with many empty or slow transactions expired although its \
            coordinator was still writing markers, and the log forgot the coordinator epoch. A later marker then seemed \
            to go back, and a broker that replayed the log at a restart refused it and failed the recovery. KAFKA-9144 \
            counts markers as signs of life.",
    }
    MarkerOnlyProducer {
        base: V1_0, home: Kafka,
        affected: "0.11.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [Mask::Fix(Fix::ProducerStateByExpiry), Mask::Fix(Fix::UnknownProducerStartsAtZero)],
        catalogue: ["P-15"],
        story: "Retention had deleted all records of a producer and left only the marker that ended its last transaction. \
            The broker knew the producer and its epoch but no sequence number. The next batch came with the number that \
            follows, the broker took it for a gap, and the producer failed for good. KAFKA-7298 lets such a producer go \
            on. Since KIP-360 the state does not depend on the records.",
    }
    SnapshotBeforeTruncation {
        base: Sound, home: Kafka,
        affected: "0.11.0.0", fixed: Some("0.11.0.1"),
        superseded_by: [], catalogue: ["P-16"],
        story: "Brokers save the state of producers in snapshots beside the log. When a log was truncated, snapshots beyond \
            the cut were deleted, and what the state should be at the cut was not saved. A restart at that moment built \
            the state from an older snapshot, or from none. A repeated batch was then not recognised, and the records \
            were in the log twice. KAFKA-5435 and KAFKA-12520 take a snapshot at the right places and replay the log \
            from the last good one.",
    }
    BatchInItsTransaction {
        base: Sound, home: Kafka,
        affected: "development of 3.2.0", fixed: Some("3.1.1"),
        superseded_by: [], catalogue: ["P-19"],
        story: "The sticky partitioner chooses another partition when a batch begins. A change on the way to 3.2.0 added the \
            partition to the transaction before that, and the record went into the second one. A record is not sent \
            before its partition is in the transaction, so this one never was: the commit waited for it until \
            delivery.timeout.ms, and failed. KAFKA-13782 adds the partition that the record really goes to.",
    }
}
