//! Consumers, groups and offsets: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};

stories! {
    GenerationCheck {
        base: Sound, home: Design,
        affected: "none released", fixed: None,
        superseded_by: [], catalogue: ["G-05"],
        story: "A group's coordinator refuses a commit that names an earlier generation. Without it, a member that slept \
            past its session would wake up and commit the position it had then, over what its successor has committed \
            since. The group would go back and deliver records twice, or forward and skip some. No release of the \
            coordinator lacked the check; the ZooKeeper consumer before it had nothing of the kind. The switch is the \
            negative control.",
    }
    ExpireOnlyWhenEmpty {
        base: Sound, home: Kafka,
        affected: "0.8.2 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["G-09"],
        story: "A committed offset expired when offsets.retention.minutes had passed since the commit, a day by default \
            until 2.0, even if the group was alive. A consumer of a quiet topic that had nothing to commit lost its \
            offset under its feet. After the next rebalance or restart it found none and followed auto.offset.reset: \
            with latest it skipped everything it had missed, with earliest it read the whole topic again. With KIP-211 \
            the clock starts when the group becomes empty.",
    }
    ExpireNotInRebalance {
        base: Sound, home: Kafka,
        affected: "2.1 to 3.1", fixed: Some("3.2.0"),
        superseded_by: [], catalogue: ["G-10"],
        story: "With KIP-211 offsets of topics that no member subscribes to may expire while the group is alive. During a \
            rebalance the coordinator does not know the subscriptions of all members yet. A run of the expiry at that \
            moment took topics for unsubscribed and deleted offsets that were needed a second later; the members started \
            from auto.offset.reset. Since KAFKA-13636 nothing expires unless the group is stable.",
    }
    ExpireAfterLoad {
        base: Sound, home: Kafka,
        affected: "2.1 and 2.2.0", fixed: Some("2.3.0"),
        superseded_by: [], catalogue: ["G-10"],
        story: "Offsets written before KIP-211 carry their own time of expiry. When a coordinator of 2.1 loaded them it read \
            a missing time as a moment long past. The first run of the expiry after an upgrade or a failover deleted \
            them, and the group started from auto.offset.reset. KAFKA-8069 takes a missing time for what it is.",
    }
    ConsumerEpochValidation {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.2", fixed: Some("2.3.0"),
        superseded_by: [], catalogue: ["G-11"],
        story: "An unclean election cut two records that a consumer had already read. The new leader wrote others at their \
            offsets, and one more. The consumer's position was valid, so it read on from there and never saw the two new \
            records. With KIP-320 the consumer remembers the epoch of its position. After each change of leader it asks \
            where that epoch ended (KAFKA-7747), notices the truncation, and goes back or tells the application.",
    }
    OffsetsTopicReplication {
        base: Sound, home: Kafka,
        affected: "0.8.2 to 0.10.2", fixed: Some("0.11.0"),
        superseded_by: [], catalogue: ["G-14"],
        story: "The topic of committed offsets is created when the first group looks for its coordinator. If only one broker \
            was up at that moment, it was created with one replica, whatever offsets.topic.replication.factor said, and \
            stayed so. When that broker was lost, the offsets and members of all groups on it were gone, and consumers \
            started from auto.offset.reset. Since KIP-115 the creation waits until there are enough brokers.",
    }
    QuickPoll {
        base: Sound, home: Kafka,
        affected: "0.9.0.0", fixed: Some("0.9.0.1"),
        superseded_by: [], catalogue: ["G-15"],
        story: "The consumer of 0.9.0.0 sent its next fetches before it returned from poll, and in doing so let due tasks \
            run. The auto commit was one of them. It committed positions that already counted the records about to be \
            returned. If the application crashed before it had processed them, they were skipped at the next start. \
            Since KAFKA-2942 fetching ahead runs no such task.",
    }
    PauseWhileRevoking {
        base: Sound, home: Kafka,
        affected: "3.2.0 to 3.2.2", fixed: Some("3.2.3"),
        superseded_by: [], catalogue: ["G-16"],
        story: "Before a rebalance the consumer commits what it has returned. Up to 3.1 poll waited for that commit; since \
            KAFKA-13310 it goes on meanwhile. It went on returning records of partitions that were about to be revoked. \
            They were processed, but the commit did not count them, and the next owner processed them again in an \
            otherwise orderly restart. KAFKA-14024 had the revocation wait for the commit, and KAFKA-14196 returns nothing \
            of these partitions until then.",
    }
    PrepareEveryJoin {
        base: V2_8, home: Kafka,
        affected: "2.4 to 2.8.0", fixed: Some("2.8.1"),
        superseded_by: [Mask::Fix(Fix::OwnedGenerationCheck)], catalogue: ["G-17"],
        story: "A consumer prepares once for each rebalance: it commits, gives up what it has to, and then joins. If the \
            coordinator threw it out while it was joining, it joined again at once as a new member, without preparing \
            anew. With the cooperative protocol, where partitions are kept through a rebalance, it never learned that it \
            had lost them: it went on reading them, and told the group that they were its own. Since KAFKA-12983 a \
            member that loses its place begins with the preparation again, and gives up everything.",
    }
    OwnedGenerationCheck {
        base: Sound, home: Kafka,
        affected: "2.4 to 2.8", fixed: Some("3.0.0"),
        superseded_by: [], catalogue: ["G-17"],
        story: "With the cooperative protocol each member says what it owns, and the leader of the group moves as little as \
            possible. A member that had missed a rebalance still claimed what it owned before, although another had it \
            by now. The assignor believed both and left the partition with both: two members processed and committed the \
            same records in turn. KAFKA-12984 has members name the generation of their claim, and claims from a missed \
            one do not count. Since KAFKA-12983, which is in 2.8.1, a member that lost its place claims nothing, so that this \
            has to be switched off too where the bug is to be seen.",
    }
    DropCacheOnUnload {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 0.11.0.0", fixed: Some("0.11.0.1"),
        superseded_by: [], catalogue: ["G-19"],
        story: "A group's coordinator moved from broker A to B and back. A had kept what it knew of the group and answered \
            from it: offsets that B had seen committed since were missing. Members went back to old positions, and a \
            running expiry could even write the deletion of offsets that were valid. KAFKA-2163 and KAFKA-5600 drop the \
            cache when a coordinator leaves and load it anew when it comes back.",
    }
    ReplayAcrossGaps {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.4", fixed: Some("2.5.0"),
        superseded_by: [], catalogue: ["G-20"],
        story: "A new coordinator reads its partition of the offsets topic to the end. Compaction can remove the last \
            records before that end, so that a read finds nothing there. The loader did not advance and read the same \
            place again, for ever: the groups of that partition had no coordinator until the broker was restarted. \
            KAFKA-9065 stops when a read brings nothing.",
    }
    LargeGroupRecords {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["G-20"],
        story: "The loader of groups reads into a buffer of offsets.load.buffer.size bytes. The record of a large group, \
            with many members and long assignments, could exceed it. The read returned nothing, the loader tried again, \
            and the groups of that partition never had a coordinator again. KAFKA-7286 has a read return at least one \
            whole batch, and grows the buffer.",
    }
    KeepPausedPosition {
        base: Sound, home: Kafka,
        affected: "0.10.0 and 0.10.1", fixed: Some("0.10.2"),
        superseded_by: [], catalogue: ["G-22"],
        story: "A consumer paused a partition, in order to process what it had, and a rebalance gave it the same partition \
            again. Its position was taken from the committed offset instead of what it had read. After resume it \
            delivered records a second time, or, where its commits ran ahead, skipped some. KAFKA-4547 leaves a position \
            alone that is still valid.",
    }
    CompletingRebalanceEnds {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.8", fixed: Some("3.0.0"),
        superseded_by: [], catalogue: ["G-23"],
        story: "In a rebalance the leader of the group computes the assignment and sends it in its SyncGroup. If that \
            request never came, although the leader was alive and sent heartbeats, all others waited in \
            CompletingRebalance. Their heartbeats were answered, nobody timed out, and the group consumed nothing. \
            KAFKA-12890 starts a timer when the group enters that state and removes members whose SyncGroup does not \
            come.",
    }
    JoinAfterExpiry {
        base: Sound, home: Kafka,
        affected: "2.2 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["G-23"],
        story: "A member joined the group for the first time and vanished while the coordinator was waiting for the others. \
            Its session was not watched while its join was pending. The rebalance ended with a member that did not \
            exist; it was given partitions that nobody read, or, as the leader, never sent an assignment. KAFKA-9752 \
            lets the session of a new member expire during the join.",
    }
    FenceInstanceId {
        base: Sound, home: Kafka,
        affected: "2.3.0, had it been left out", fixed: Some("2.3.0"),
        superseded_by: [], catalogue: ["G-24"],
        story: "Static membership (KIP-345) knows a member by its group.instance.id, so that a restart within the session \
            causes no rebalance. If two processes are started with one id by mistake, both could join in turn, each \
            taking the other's place, and both would read the same partitions and overwrite each other's commits. \
            Therefore a join with a known id gets a new member id, and the process with the older one is fenced with \
            FENCED_INSTANCE_ID.",
    }
    PersistReplacement {
        base: Sound, home: Kafka,
        affected: "2.3 to 2.6.0", fixed: Some("2.6.1"),
        superseded_by: [], catalogue: ["G-25"],
        story: "A static member that comes back within its session gets a new member id and its old assignment, and the others \
            notice nothing. The coordinator only remembered that id. After a failover its successor read the old one from \
            the log, and fenced the process that rightly held the place: FENCED_INSTANCE_ID, which ends an application. \
            Since KAFKA-10284 the group is written down again before the member is answered.",
    }
    FollowerFetchRetry {
        base: Sound, home: Kafka,
        affected: "2.4.0, had it been left out", fixed: Some("2.4.0"),
        superseded_by: [], catalogue: ["G-26"],
        story: "A consumer that reads from the nearest replica (KIP-392) may have a position above that follower's high \
            watermark, which lags behind that of the leader. Taken for out of range, the position would be reset by \
            auto.offset.reset: a jump to the beginning or over everything unread. KIP-392 has the follower answer with a \
            retriable error, and the consumer asks the leader before it resets anything.",
    }
    DropQueueOnRevoke {
        base: Sound, home: Librdkafka,
        affected: "librdkafka before 1.7.0", fixed: Some("librdkafka 1.7.0"),
        superseded_by: [], catalogue: ["G-27"],
        story: "librdkafka fetches ahead into a queue. When a partition was revoked, what was in the queue was still handed \
            to the application, after its new owner had begun. Both processed the same records, and the old owner might \
            commit them as well. Since 1.7.0 the queue is emptied when the partition goes.",
    }
    MemberIdRequired {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [], catalogue: ["G-31"],
        story: "A consumer joins for the first time without an id, and the coordinator gives it one in its answer. When the \
            answer was late, the client joined again, again without an id, and the coordinator counted one more member \
            with each attempt. The group filled up with members that did not exist; rebalances waited for them until \
            their sessions expired. With KIP-394 the first join is answered at once with an id, and only a join with \
            that id counts.",
    }
}
