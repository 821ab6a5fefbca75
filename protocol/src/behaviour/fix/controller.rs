//! Controller and registration: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};
use crate::behaviour::InterBrokerProtocol;

stories! {
    ControllerMultiCheck {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["C-01"],
        story: "A controller stopped for longer than its session, in a garbage collection, and another broker took over and \
            raised /controller_epoch. When the first woke up it did not yet know, and finished what it had begun: it \
            read the version of a partition's state and wrote its old view over it. The partition then had, in \
            ZooKeeper, a leader and an ISR that nobody had elected. The next election went by that state and could \
            choose a replica without the committed records. Since KAFKA-6082 every write of a controller is one multi \
            with a check of the version of /controller_epoch, and the writes of a deposed controller fail.",
    }
    ControllerEpochCheck {
        base: Sound, home: Kafka,
        affected: "0.8.0 and 0.8.1", fixed: Some("0.8.2"),
        superseded_by: [], catalogue: ["C-02"],
        story: "A request of a controller can be delayed past the end of its reign. A broker that had already followed the \
            next controller got it, and went back to what the first had said: it led a partition that had another \
            leader, and two leaders took records. The two logs then differed. Brokers remember the highest controller \
            epoch they have heard of and refuse anything below; KAFKA-1188 closed the last gap, where a stale leader \
            epoch was taken.",
    }
    BrokerEpoch {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [], catalogue: ["C-03", "C-04"],
        story: "A broker that restarted quickly registered again under the same id, and the controller, which looks at ids, \
            saw no change at all, or one late. It did not tell the new process what to lead, and the partition had no \
            leader that worked. Or a request meant for the process before, such as StopReplica, reached the new one and \
            deleted a live replica. KIP-380 takes the transaction id of the registration as the broker's epoch: the \
            controller sees a bounce as a death and a birth, and a request that names another epoch is refused.",
    }
    DeregisterOnResign {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 0.10.1", fixed: Some("0.10.2"),
        superseded_by: [], catalogue: ["C-05"],
        story: "A controller that lost its office stopped its state machines but left some of its listeners at the ZooKeeper \
            client. The next change of brokers or topics set it to work again. Two controllers then elected leaders and \
            sent requests at the same time, and brokers got contradicting orders. KAFKA-4447 removes every listener when \
            a controller resigns.",
    }
    UpdateMetadataFirst {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 0.10.1", fixed: Some("0.10.2"),
        superseded_by: [], catalogue: ["C-06"],
        story: "A new controller sent LeaderAndIsr before it had told the brokers who is alive. A broker that was to follow \
            a leader it did not know refused and logged an error, and nothing repeated the order. Its replica did not \
            fetch, the ISR shrank, and when the leader failed there was nobody to take over. KAFKA-4443 sends \
            UpdateMetadata first.",
    }
    PartitionsBeforeOrders {
        base: Sound, home: Raft,
        affected: "0.11.0 to 3.9", fixed: None,
        superseded_by: [], catalogue: ["T-23"],
        story: "What a new controller sends first names the live brokers and no partition, and a broker that has just \
            started knows none. If the order to lead a partition of the transaction log comes next, that broker is a \
            coordinator before it knows any other partition. It loads the transactions that are decided and not \
            finished, takes the partitions that it does not know for deleted ones (KAFKA-5202), skips their markers and \
            writes that the transaction is complete. Its records stay undecided until the next marker of the same \
            producer, which may say the opposite. A restart of the whole cluster is enough. In KRaft a broker learns of \
            partitions and of their leaders in one step; no release in ZooKeeper mode has a fix, and the switch lets the \
            first request name all partitions, as the one to a broker that joins a reigning controller does.",
    }
    EphemeralConflictCheck {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 0.8.2", fixed: Some("0.9.0"),
        superseded_by: [], catalogue: ["C-07"],
        story: "A broker whose session had expired got a new session and wanted to register, but the node of its old session \
            was still there. The ZooKeeper client library retried in a way that took the old node for its own, or for \
            ever. When ZooKeeper finally removed the node with the old session, the broker was running but not \
            registered: it led nothing, and nobody noticed. KAFKA-1387 waits until the node of the former session has \
            gone, and only then creates its own.",
    }
    EphemeralOwnerCheck {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [], catalogue: ["C-07"],
        story: "A create of an ephemeral node can succeed while its answer is lost, and the client that tries again finds a \
            node. It might also be the node of the session before, which ZooKeeper has not yet removed. Brokers compared \
            the content, or gave up with an error, and a broker could stay unregistered until somebody restarted it. \
            Since KAFKA-7165 the broker compares the session that owns the node: its present one is fine, its former one \
            is deleted and replaced, and any other is an error.",
    }
    ControllerElectionRetry {
        base: V0_8, home: Kafka,
        affected: "0.8.0 and 0.8.1", fixed: Some("0.8.2"),
        superseded_by: [Mask::Fix(Fix::ControllerMultiCheck)], catalogue: ["C-08"],
        story: "A broker whose session expired twice in a row found, when it tried to become controller, the /controller \
            node that it had itself left behind. It took the node for that of another controller and waited for its \
            deletion, or hung in the retry. When the node went, nobody was waiting any more: the cluster had no \
            controller, and no failure was answered. KAFKA-1451 has the election look at who owns the node and go on.",
    }
    RefreshIsrVersion {
        base: Sound, home: Kafka,
        affected: "0.8.0 and 0.8.1", fixed: Some("0.8.2"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv2)], catalogue: ["C-09"],
        story: "A leader writes its ISR only over the version of the node that it knows. When the write was applied and the \
            answer was lost, the repetition failed with a bad version, and the leader took its own success for somebody \
            else's write. From then on its version was stale and every change of the ISR failed: a dead follower stayed \
            in it, acks=all blocked, or a follower never came back. KAFKA-1382 reads the node after a conflict and \
            accepts it if it says what the leader meant. From 2.7 on the controller writes the ISR.",
    }
    RefreshStaleIsrVersion {
        base: Sound, home: Kafka,
        affected: "0.8.2 to 1.0", fixed: Some("1.1.0"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv2)], catalogue: ["C-09"],
        story: "The controller wrote a partition's state, and its LeaderAndIsr with the new version did not reach the \
            leader. The leader kept the cached version and logged that it is not equal to that in ZooKeeper, at each of \
            its attempts, for ever. The ISR was frozen: with min.insync.replicas=2 producers were refused, and after the \
            leader's death a replica that had long fallen behind was elected as in sync. KAFKA-3042 lets the leader get \
            a fresh version. From 2.7 on the controller writes the ISR.",
    }
    ConditionalIsrWrite {
        base: Sound, home: Design,
        affected: "none released", fixed: None,
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv2)], catalogue: ["C-10"],
        story: "Leaders have always written the ISR with a condition on the version they know. Without it, a leader that \
            slept past its session would write its old view over the state that the controller has written since: a \
            leader of the past in the present ISR. This switch is the negative control: it shows what the condition is \
            for.",
    }
    RewatchAfterExpiry {
        base: V0_8, home: Kafka,
        affected: "0.8.0-beta1", fixed: Some("0.8.0"),
        superseded_by: [], catalogue: ["C-12"],
        story: "Watches end with the session. A controller of the 0.8 beta that got a new session and was elected again did \
            not set all of its watches again. Topics and partitions that were created from then on were not noticed: \
            their directories stood in ZooKeeper, and they never got a leader. KAFKA-928 sets the watches of all \
            partitions again.",
    }
    StopReplicaEpoch {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["C-13"],
        story: "A partition was reassigned away from a broker and soon back to it. The StopReplica of the first move, with \
            the order to delete, was delayed and reached the broker when it was a replica again, or even the leader. It \
            had no epoch by which to tell that it was old, and the broker deleted a live log. KIP-570 has StopReplica \
            carry the leader epoch, and a broker refuses one that is below what it knows.",
    }
    ClearPendingIsrOnEpoch {
        base: Sound, home: Kafka,
        affected: "2.7.0 and 2.8", fixed: Some("3.0.0"),
        superseded_by: [], catalogue: ["C-14"],
        story: "A leader had asked the controller for a change of the ISR when a LeaderAndIsr with a later epoch arrived. It \
            kept the pending change beside the new state: the high watermark was computed by an ISR that did not exist, \
            and an answer to the old question was taken for one to the new. Sometimes the partition remained in a state \
            in which it never asked again. KAFKA-12686 forgets what is pending when the epoch changes and drops late \
            answers.",
    }
    RejectIsrFromFuture {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.2", fixed: Some("3.3.0"),
        superseded_by: [], catalogue: ["C-15"],
        story: "A controller that had been replaced, and did not know it, answered a leader's request to change the ISR. The \
            leader was already in a later epoch, of which the old controller had never heard. It answered as if the \
            leader were fenced or, worse, with success, and the leader acted on an ISR that was never stored. \
            KAFKA-14154 has the controller refuse a request from a leader epoch above its own knowledge in a way that \
            makes the leader ask again elsewhere.",
    }
    IdempotentAlterIsr {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.2", fixed: Some("3.3.0"),
        superseded_by: [], catalogue: ["C-15"],
        story: "A leader asked the controller for a change of the ISR, and it was made; but the answer was lost between them, \
            or the keeper's answer was lost and the controller wrote once more, over a version that it had itself left \
            behind. The leader was told INVALID_UPDATE_VERSION, which means that somebody knows better and LeaderAndIsr \
            will tell. Nobody did, and it kept the change pending: the ISR never grew nor shrank again, and with \
            min.insync.replicas=2 producers were refused until the next election. KAFKA-14144 answers a wish that is \
            fulfilled already with what is there. Kafka compares with what the controller remembers; here it looks into \
            the keeper first, which covers both losses.",
    }
    TopicIdCheck {
        base: Sound, home: Kafka,
        affected: "2.2.0 to 3.1", fixed: Some("3.2.0"),
        superseded_by: [], catalogue: ["C-16"],
        story: "A topic was deleted and created again under its name. Clients know topics by name: the leader epochs of the \
            new topic began at 0, below what the client had seen, so that it took the fresh metadata for stale. It went \
            on asking the old leader or, where it had seen the topic gone, believed that it was still gone. \
            KAFKA-12257 has the client compare the topic id of KIP-516, which brokers of 2.8 tell with the metadata, and \
            begin anew when it changes. The first version of the fix, in 3.0, did not know the id of the first topic any \
            more when it had seen it gone; 3.2 needs none.",
    }
    MetadataEpochAfterReassignment {
        base: Sound, home: Kafka,
        affected: "2.1 to 2.4.0", fixed: Some("2.5.0"),
        superseded_by: [], catalogue: ["C-17"],
        story: "A reassignment raised the leader epoch in ZooKeeper and in LeaderAndIsr, but the controller's cache, from \
            which UpdateMetadata is made, kept the earlier one. Consumers that validate epochs (KIP-320) learned the old \
            epoch from metadata, were told by the leader that it is fenced, asked for metadata, and learned the old \
            epoch again. They read nothing until the next election. KAFKA-9212 updates the cache with what was written.",
    }
    LeaderAndIsrToLeaving {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [], catalogue: ["C-18"],
        story: "In a controlled shutdown the controller moves leaderships away, but did not tell the broker that is leaving. \
            Until it stopped, that broker went on as leader: it took acks=1 records that the new leader never got, and \
            served reads. KAFKA-7482 sends LeaderAndIsr to the leaving broker, too, and it steps down in order.",
    }
    AcceptNewerBrokerEpoch {
        base: Sound, home: Kafka,
        affected: "2.2 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["C-19"],
        story: "A broker learns its own epoch from the answer to its registration. The controller can see the registration \
            before that answer arrives, and names the new epoch in its first LeaderAndIsr. The broker compared it with \
            the epoch of its life before, found them different and refused. The controller did not repeat itself, and \
            the broker led and followed nothing. KAFKA-9839 accepts an epoch that is newer than the broker's own and \
            refuses only older ones.",
    }
    ReadBrokersWhenHandled {
        base: V1_0, home: Kafka,
        affected: "1.0", fixed: Some("1.1.0"),
        superseded_by: [Mask::Fix(Fix::ControllerMultiCheck)], catalogue: ["C-20"],
        story: "The controller queued an event for each change of the brokers, with the list of brokers as it was when the \
            event was queued. When several changes came close together, it handled a list that was out of date and \
            counted a live broker dead, or a dead one alive, until the next change. And the ZooKeeper client opened a \
            new session by itself and repeated there what the old one had left undone, while the controller still \
            believed in its office. The rewrite for 1.1 (KAFKA-5642) reads the list when the event is handled, and no \
            session opens before the controller has left its office.",
    }
}
