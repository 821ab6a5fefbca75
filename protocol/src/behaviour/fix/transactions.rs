//! Transactions: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};

stories! {
    VerifyTransaction {
        base: V2_8, home: Kafka,
        affected: "0.11.0 to 3.5", fixed: Some("3.6.0"),
        superseded_by: [Mask::Fix(Fix::EpochPerTransaction)], catalogue: ["T-01"],
        story: "A transactional batch was delayed in the network. Meanwhile its transaction was aborted, by the application \
            or by its timeout, and the markers were written. The batch arrived with a valid producer epoch, and the \
            broker appended it as the beginning of a transaction that no coordinator knew. Nobody would ever end it: the \
            last stable offset stood still, read_committed consumers of the partition saw nothing new, and compaction \
            stopped. The first part of KIP-890 has the leader ask the coordinator whether the partition is in an open \
            transaction before it appends.",
    }
    VerifyBeforeAppend {
        base: V2_8, home: Kafka,
        affected: "3.5", fixed: Some("3.6.0"),
        superseded_by: [Mask::Fix(Fix::EpochPerTransaction)], catalogue: ["T-01"],
        story: "The verification of KIP-890 takes time. Between the answer of the coordinator and the append the transaction \
            could be aborted and its marker written; the batch was then appended after all, and hung as before. \
            KAFKA-14884 keeps a token for the open verification in the partition and looks at it in the same step in \
            which it appends; a marker in between removes the token.",
    }
    EpochPerTransaction {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 3.9", fixed: Some("4.0.0"),
        superseded_by: [], catalogue: ["T-02", "T-03"],
        story: "All transactions of a producer shared one epoch, so that a late message of one could not be told from a \
            message of the next. A delayed request to commit was repeated by the client, over another connection, and \
            answered. The producer went on with its next transaction, wrote a part of it, and then the first request \
            arrived: the coordinator committed half of the second transaction. Its application aborted it later, and yet \
            a part of it was visible. In the same way a delayed batch of an aborted transaction became part of the next. \
            The second part of KIP-890 raises the epoch with each transaction.",
    }
    FenceOnInit {
        base: V2_8, home: Kafka,
        affected: "development of 0.11.0", fixed: Some("0.11.0"),
        superseded_by: [Mask::Fix(Fix::VerifyTransaction)], catalogue: ["T-04"],
        story: "A process with a transactional id stopped in the middle of a transaction, and a second one with the same id \
            took over. Without a new epoch for the second, the first could wake up, add records and commit them among \
            those of its successor. KAFKA-5231 raises the epoch when a producer with that id begins, aborts what its \
            predecessor left open, and thereby fences it.",
    }
    EpochOnTimeout {
        base: V2_8, home: Kafka,
        affected: "0.11.0.0 and 0.11.0.1", fixed: Some("1.0.0"),
        superseded_by: [Mask::Fix(Fix::EpochPerTransaction)], catalogue: ["T-05"],
        story: "A transaction took longer than transaction.timeout.ms and the coordinator aborted it, without raising the \
            epoch of its producer. The producer, which had not heard of it, sent its next records, and they opened a new \
            transaction in the coordinator's eyes. The commit succeeded, and only the second half of what the \
            application had put into one transaction became visible. KAFKA-6119 raises the epoch when a transaction \
            times out, so that the producer's next request is refused and it learns of the abort.",
    }
    GroupMetadataInCommit {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.4", fixed: Some("2.5.0"),
        superseded_by: [], catalogue: ["T-06", "T-07"],
        story: "An application reads, writes its results, and commits its offsets in one transaction. One instance stopped \
            for longer than its session; its partition moved to another, which processed the same records and committed. \
            Then the first woke up and committed its own transaction: the coordinator checked the group's id but not \
            whether this member was still in it, and the results were there twice. KIP-447 has the commit name member \
            and generation, so that a member of the past is refused, and has a reader of offsets wait until no \
            transaction on them is open.",
    }
    IsolationInPurgatory {
        base: Sound, home: Kafka,
        affected: "development of 0.11.0", fixed: Some("0.11.0"),
        superseded_by: [], catalogue: ["T-09"],
        story: "A read_committed fetch that has to wait for data is put aside and completed when data arrives. When it was \
            completed, it was answered like any other: without the isolation level that it had asked for, or without the \
            list of aborted transactions. The consumer delivered records of an aborted transaction. KAFKA-5355 keeps \
            both with the waiting fetch.",
    }
    StableOffsetOnce {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["T-10"],
        story: "A read_committed read ends at the last stable offset, which is bounded by the high watermark. The two were \
            read one after the other, and a transaction could begin and be replicated in between. The read then ended \
            above the last stable offset of that moment, and the consumer got records of a transaction that was still \
            open and might be aborted. KAFKA-9807 takes both from one snapshot.",
    }
    TransactionTimeForward {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["T-11"],
        story: "A coordinator compares the time of a state change with that of the one before. When its clock was set back \
            in between, the comparison failed, and the transaction remained between two states. It could neither end nor \
            expire, and the producer was told to try again for ever, while readers of committed records waited. \
            KAFKA-5415 and KAFKA-8803 accept a time that goes back.",
    }
    MarkerIdentity {
        base: Sound, home: Kafka,
        affected: "2.8 to 3.7", fixed: Some("3.8.0"),
        superseded_by: [], catalogue: ["T-12"],
        story: "A coordinator keeps a list of transactions whose markers are being written, by transactional id. The answer \
            to a marker of one transaction could arrive when the next of the same producer was already in the list, and \
            removed it. The second was then never completed: it stayed in its prepared state and the producer could not \
            begin another. KAFKA-16352 compares the identity of the entry before it removes it.",
    }
    SingleCompletion {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.6", fixed: Some("2.7.0"),
        superseded_by: [], catalogue: ["T-13"],
        story: "When all markers of a transaction were written, the coordinator wrote the record that completes it. Two \
            answers that came together could both find that nothing was left to do, and the record was written twice. \
            The second one could hit the producer's next transaction and mark it as complete although it had just begun. \
            KAFKA-10080 lets only one of them write.",
    }
    ResumePrepared {
        base: Sound, home: Kafka,
        affected: "development of 0.11.0", fixed: Some("0.11.0"),
        superseded_by: [], catalogue: ["T-14"],
        story: "A coordinator had decided to commit and had written the marker to one of two partitions when it died. The \
            decision is in its log, but a new coordinator that does not carry it out leaves the transaction half \
            visible: committed in one partition, open in the other. KAFKA-5131 has the new coordinator send the markers \
            of every prepared transaction that it finds when it loads the log.",
    }
    EndTransactionEpoch {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.6", fixed: Some("2.7.0"),
        superseded_by: [], catalogue: ["T-15"],
        story: "A request to end a transaction was accepted when its epoch was the stored one or a newer. After a fencing \
            that could not be written to the log, a producer held an epoch that was never stored, and ended a \
            transaction by it. What the log said and what had happened then differed, and a failover of the coordinator \
            brought the other version back. KAFKA-9600 demands the stored epoch exactly.",
    }
    MaterializeByOffset {
        base: Sound, home: Kafka,
        affected: "development of 0.11.0", fixed: Some("0.11.0"),
        superseded_by: [], catalogue: ["T-19"],
        story: "An offset committed in a transaction takes effect when the transaction ends, and a plain commit takes effect \
            at once. When the two crossed, the coordinator kept the one that became effective last, while a replay of \
            its log keeps the one that was written last. After a failover of the coordinator the committed offset jumped \
            back, and records were consumed again. KAFKA-5247 lets offsets take effect in the order of the log.",
    }
    OffsetsWithTheMarker {
        base: Sound, home: Raft,
        affected: "0.11.0 to 3.9", fixed: None,
        superseded_by: [], catalogue: ["T-24"],
        story: "When the marker of a transaction is in the offsets topic, its offsets are made visible by a thread that also \
            loads groups and removes expired offsets, and the transaction is complete without waiting for it. Where that \
            thread was late, the producer had begun the next transaction and sent the next offsets of the same \
            partitions, which took the place of those that were decided. The decision then made offsets visible that \
            nobody had decided, and that an abort did not take back; or it found offsets that were not in the log yet \
            (an IllegalStateException) and left the group where it had been before. Records were skipped, or copied \
            twice, until the next failover of the group coordinator. The group coordinator of KIP-848 applies a marker \
            as it writes it; no release in ZooKeeper mode has that.",
    }
    EmptyAbortEndsNothing {
        base: Sound, home: Librdkafka,
        affected: "librdkafka 1.2.0 to 1.6.2", fixed: Some("librdkafka 1.7.0"),
        superseded_by: [], catalogue: ["T-17"],
        story: "A broker sends a reader of committed records the beginnings of the aborted transactions along with the records. \
            librdkafka kept them by producer, and each abort marker of the producer took the next one from the list. A \
            producer that had named a partition to its coordinator and aborted before it wrote anything there left a \
            marker without a transaction, which is not in the list. It took the beginning of a later transaction away, \
            and the list no longer fitted the log. Since 1.7.0 a marker ends only what began before it.",
    }
    AbortBeforeNewEpoch {
        base: V1_0, home: Librdkafka,
        affected: "librdkafka 1.6.1 to 1.8.0", fixed: Some("librdkafka 1.8.2"),
        superseded_by: [Mask::Fix(Fix::ProducerStateByExpiry), Mask::Fix(Fix::UnknownProducerStartsAtZero)],
        catalogue: ["T-18"],
        story: "A sequence did not fit in the middle of a transaction. librdkafka asked the coordinator for a new epoch so \
            that its sequences could begin anew, and went on as if it were in the same transaction. To the coordinator \
            such a question means that a successor is there: it aborts what is open. The application sent the rest and \
            committed, the commit succeeded, and what it had sent before the question was gone. Since 1.8.2 the \
            application has to abort first; 1.6.2 ends the producer. A broker of KIP-360 is told the epoch that the \
            producer has, and fences it.",
    }
    StableListOffsets {
        base: Sound, home: Kafka,
        affected: "0.11.0.0", fixed: Some("0.11.0.1"),
        superseded_by: [], catalogue: ["T-29"],
        story: "A read_committed consumer may look up an offset by time. The answer went by the high watermark and could lie \
            within a transaction that was still open: a place that the consumer was not allowed to read yet, and from \
            which it went on in the middle of that transaction. KAFKA-5522 bounds the answer by the last stable offset, \
            as that to the question for the end of the partition already was.",
    }
}
