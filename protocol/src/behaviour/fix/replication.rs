//! Replication and log: what went wrong before each fix.

use super::Fix;
use super::about::{Mask, stories};
use crate::behaviour::InterBrokerProtocol;

stories! {
    TruncateByLeaderEpoch {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 0.10.2", fixed: Some("0.11.0"),
        superseded_by: [], catalogue: ["R-01", "R-02"],
        story: "A follower learns the high watermark one fetch late, so it often holds committed records above its own high \
            watermark. Up to 0.10.2 a broker that became a follower, after a restart or a new leader epoch, first cut \
            its log back to that high watermark. If the leader died before the follower had fetched the records again, \
            the follower was elected from the ISR without them, and a record acknowledged with acks=all was gone for \
            good; the old leader then cut it away as well. If two replicas lost power together, the same rule could \
            leave different records at one offset of both logs, for ever. KIP-101 puts the leader epoch into every batch \
            and has a follower ask the leader where its last epoch ended, and cut there.",
    }
    LargestCommonEpoch {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 1.1", fixed: Some("2.0.0"),
        superseded_by: [], catalogue: ["R-03"],
        story: "After KIP-101 a follower asked where its last leader epoch ended, and the leader answered with the start of \
            the first later epoch it knew. When leadership moved twice in quick succession, a replica could hold a \
            record of an epoch that the leader had never seen: the leader, which had the epochs 0, 1 and 3, answered the \
            question for epoch 2 with the start of epoch 3, and the follower kept its own record below it. The two logs \
            then differed below the high watermark and nobody noticed. A consumer that read once from each leader saw \
            two values at one offset. KIP-279 has the leader answer with the largest epoch not above the asked one, and \
            with its end; a follower that does not know that epoch asks again until both agree.",
    }
    FenceFetchByLeaderEpoch {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv1)], catalogue: ["R-04"],
        story: "A leader that is cut off from the controller goes on leading in its old epoch. A follower that had already \
            been told of a later epoch with the same leader could fetch from it while it was still the leader of the old \
            one, and copy a record that the cluster had never accepted. When the leader caught up it cut that record and \
            wrote another at its place, and counted the follower as having it. The committed logs then differed. KIP-320 \
            has every fetch and every question about epochs name the epoch that the sender believes in; a leader in \
            another epoch refuses. From 2.7 on a follower also names the epoch of its last record, which finds the \
            divergence at the next fetch and so hides this bug.",
    }
    IsrExpandFromEpochStart {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["R-05"],
        story: "A new leader knows the high watermark as it was some fetches ago. Until it has moved on, a follower that is \
            far behind may reach that stale high watermark, and the leader took it into the ISR although records that \
            were already acknowledged lie above. When the leader then died, the controller elected that follower in good \
            faith, and the acknowledged records were lost in a clean election. Since KAFKA-7128 a follower joins only \
            when it has also reached the offset at which the leader's epoch began.",
    }
    ValidateInflightEpoch {
        base: Sound, home: Kafka,
        affected: "2.1.0", fixed: Some("2.2.0"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv1)], catalogue: ["R-07"],
        story: "A follower asked for the end of its epoch, and while the answer was on its way the controller raised the \
            leader epoch without changing the leader. The answer, an error or an offset of the earlier epoch, was then \
            applied to the partition in its new epoch. The follower cut at the wrong place, or took the partition out of \
            its fetcher after a fenced epoch and never fetched it again: the ISR shrank and stayed small. KAFKA-7786 \
            compares the epoch of the question with the present one and drops an answer that is late. From 2.7 on \
            followers do not ask this question, but find a divergence while they fetch.",
    }
    PersistEpochOnElection {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["R-08"],
        story: "A leader noted its epoch only when it wrote a record in it. After two elections in a row without a write, \
            the leader's list of epochs had a hole. A follower that held records of the missing epoch asked where that \
            epoch ended, and got an answer that named none or a wrong place. It fell back to its high watermark, cut too \
            much or too little, or asked for ever. KAFKA-7415 writes down the epoch and its start in the moment a \
            replica becomes leader.",
    }
    DivergenceBeforeHighWatermark {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.4", fixed: Some("3.5.0"),
        superseded_by: [], catalogue: ["R-09"],
        story: "Since 2.7 one fetch response may carry both the place where a follower's log diverges and the leader's high \
            watermark. The follower took the high watermark first. For a moment it pointed above the follower's own \
            diverging tail, so that a consumer that reads from followers was given records that had never been \
            committed; then the tail was cut, below a high watermark already announced. KAFKA-14704 handles the \
            divergence first and ignores the rest of that response.",
    }
    IgnoreDivergingFetchOffset {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.0", fixed: Some("3.1.0"),
        superseded_by: [], catalogue: ["R-10"],
        story: "A follower with a diverging tail tells the leader an offset at which the leader has, or will have, another \
            record. Since followers find divergence while fetching (2.7), the leader noticed the divergence and still \
            noted the offset as replicated. Its high watermark moved over records that the follower was just about to \
            cut away. A producer with acks=all got its acknowledgement for a record that only the leader had. \
            KAFKA-13141 leaves the state of the follower alone when a fetch diverges.",
    }
    TruncateRequiresOwnership {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.0", fixed: Some("3.1.0"),
        superseded_by: [], catalogue: ["R-11"],
        story: "A fetch response that told a follower to cut its log was still being handled when the controller made that \
            follower the leader. The fetcher had lost the partition but went on and cut it: the log of a leader became \
            shorter, under the feet of its producers and followers. KAFKA-13207 has the fetcher check, under the lock \
            that guards its partitions, that the partition is still its own.",
    }
    KeepCheckpointOfStopped {
        base: V0_8, home: Kafka,
        affected: "0.8.0-beta1", fixed: Some("0.8.0"),
        superseded_by: [Mask::Fix(Fix::TruncateByLeaderEpoch)], catalogue: ["R-13"],
        story: "A broker writes the high watermarks of all its partitions to a checkpoint file. In the 0.8 beta the file was \
            rewritten before all partitions were known again after a start, and a controlled shutdown took partitions \
            out of memory before the last checkpoint, so that they were missing in it. The next start found no high \
            watermark and took 0. A follower that truncates to its high watermark then threw its whole log away; if it \
            was elected before it had fetched everything again, everything was lost. KAFKA-681 and its neighbours keep \
            what the file says for partitions that are not there yet. Since 0.11 a follower no longer truncates to the \
            high watermark, which hides the mistake.",
    }
    FollowerFlagFirst {
        base: V0_8, home: Kafka,
        affected: "0.8.0", fixed: Some("0.8.1"),
        superseded_by: [Mask::Fix(Fix::TruncateByLeaderEpoch)], catalogue: ["R-14"],
        story: "A broker that was told to follow cut its log first and became a follower only afterwards. A produce request \
            that was waiting in between still found a leader, and its record was appended behind the cut. The follower \
            then fetched from behind that record, and its log kept a record that the new leader never had. KAFKA-1154 \
            turns the order around: first no more produce requests, then the cut.",
    }
    CloseOnAcksZeroError {
        base: Sound, home: Kafka,
        affected: "0.8.0-beta1", fixed: Some("0.8.0"),
        superseded_by: [], catalogue: ["R-18"],
        story: "With acks=0 a producer gets no answers, so it cannot hear that a broker does not lead the partition any \
            more. When leadership moved away, the old leader dropped every record with an error that nobody saw, and the \
            producer went on for as long as its metadata was young. KAFKA-955 closes the connection when an acks=0 \
            request fails. The producer notices that, asks for metadata, and finds the new leader; what was lost is \
            bounded by what was in flight.",
    }
    DrainBeforeClose {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 0.10.1", fixed: Some("0.10.2"),
        superseded_by: [], catalogue: ["R-19"],
        story: "A client that had sent its last records with acks=0 closed its connection. The broker's selector saw the end \
            of the stream and discarded what it had received from that connection and not yet handed on. The producer \
            had closed in good order and no error was seen anywhere, but the last records were not in the log. \
            KAFKA-3703 handles what was received before it lets the channel go.",
    }
    EligibleLeaderReplicas {
        base: Sound, home: Raft,
        affected: "0.8.0 to 3.9", fixed: Some("4.0.0"),
        superseded_by: [], catalogue: ["R-23"],
        story: "Three replicas and min.insync.replicas=2: one replica leaves the ISR, then the second, and the third is \
            alone. An ISR is never empty, so the third stays in it, even when it loses power and with it the last \
            records that were not on disk. It comes back, is the only candidate, and is elected; the other two, which \
            have the records, cut them away. Records that two replicas had acknowledged are lost although one failure is \
            what min.insync.replicas=2 allows. With KIP-966 an ISR may be empty: the controller remembers those \
            who left it below its minimum as eligible leaders, and strikes out whoever comes back without word of a \
            clean shutdown. It was built for KRaft and never existed in ZooKeeper mode; this switch, off in every era, \
            shows what it would have done there.",
    }
    HighWatermarkNeedsMinIsr {
        base: Sound, home: Raft,
        affected: "0.8.0 to 3.6", fixed: Some("3.7.0"),
        superseded_by: [], catalogue: ["R-23"],
        story: "A leader with fewer in-sync replicas than min.insync.replicas refuses new acks=all records, but its high \
            watermark still moved. Records written with acks=1, or before the ISR shrank, became visible to consumers \
            and counted as committed although only one replica had them. When that replica was lost, consumers had read \
            what no longer existed. KAFKA-15583 keeps the high watermark where it is until the ISR is large enough. It \
            belongs to the eligible leader replicas of KIP-966 and never existed in ZooKeeper mode.",
    }
    RejectEmptyLog {
        base: Sound, home: Design,
        affected: "0.8.0 and later", fixed: None,
        superseded_by: [], catalogue: ["R-26"],
        story: "A broker identifies itself by its id, not by what is on its disk. When the last member of an ISR came back \
            with a new, empty disk under its old id, the controller found it in the ISR and alive, and elected it: a \
            clean election of an empty log. All other replicas then cut everything away. ZooKeeper mode never had a \
            remedy; the usual advice is to give a replaced machine a new id. With the switch on, the election skips a \
            member of the ISR whose log directory is known to be new.",
    }
    ForgetAfterMissedEpoch {
        base: Sound, home: Design,
        affected: "0.8.0 and later", fixed: None,
        superseded_by: [], catalogue: ["R-42"],
        story: "A leader remembers how far each follower has come, and counts a record as committed when everybody in sync \
            has come that far. A broker that becomes leader forgets what it knew from the time before; one that is told \
            to lead while it thinks it leads already does not (`isNewLeader` in `makeLeader`). But the epoch may have \
            moved by more than one: somebody else led in between, the followers cut their logs to his, and the order \
            that said so never arrived. Then the leader takes records for committed that only it has, and acknowledges \
            them. No release asks whether an epoch was missed. Random faults found this one here; with the switch on \
            the leader forgets, and waits for the next fetches.",
    }
    MaximalIsr {
        base: Sound, home: Design,
        affected: "2.7.0, had it been left out", fixed: Some("2.7.0"),
        superseded_by: [], catalogue: ["R-27"],
        story: "Since KIP-497 a leader asks the controller to change the ISR and hears of the outcome later. In between the \
            controller may already elect from the new ISR while the leader still counts the old one. If the leader moved \
            its high watermark by the old ISR, a record could be acknowledged that the new member does not have, and \
            that member could be elected. KIP-497 therefore counts the maximal ISR: a replica whose admission is on its \
            way counts as a member until the controller has refused it.",
    }
    BrokerEpochInFetch {
        base: Sound, home: Raft,
        affected: "0.8.0 to 3.4", fixed: Some("3.5.0"),
        superseded_by: [], catalogue: ["R-28"],
        story: "A follower caught up, and the leader asked for its admission to the ISR. Before the controller decided, the \
            follower lost power, and with it records that were not on disk, and registered again. The controller saw an \
            id that is alive and admitted it: the ISR now held a replica that lacked acknowledged records. With the \
            other replicas gone it was elected. KIP-903 has fetches carry the broker epoch and has the controller \
            compare the epoch of the proposal with that of the registration. The check was built for the KRaft \
            controller.",
    }
    BrokerEpochCheckedAtomically {
        base: Sound, home: Raft,
        affected: "3.5.0 and 3.6", fixed: Some("3.7.0"),
        superseded_by: [], catalogue: ["R-28"],
        story: "With KIP-903 the leader kept the broker epoch of a follower beside its fetch state. It read the two at \
            different moments: the fetch state of the earlier life could be combined with the broker epoch of the new \
            one, and the proposal to the controller then looked right. KAFKA-15221 updates and compares both in one \
            step.",
    }
    RejectIneligibleIsr {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 3.3", fixed: Some("3.4.0"),
        superseded_by: [], catalogue: ["R-29"],
        story: "In a controlled shutdown the controller takes the leaving broker out of the ISR and moves its leaderships \
            away. One more fetch of that broker, and the leader put it back into the ISR. When the broker was gone for \
            good and the leader died too, the controller counted on a member that could not serve, and the partition \
            went offline or waited for a dead broker. KIP-841 has leader and controller refuse brokers that are fenced \
            or leaving; KAFKA-14140 is its part for ZooKeeper mode.",
    }
    FetchInCurrentEpoch {
        base: Sound, home: Design,
        affected: "none released", fixed: None,
        superseded_by: [], catalogue: ["R-30"],
        story: "A reassignment removes a replica and another one adds it again, empty. When a leader sees both as one change \
            it still has the fetch state of the removed replica, which was caught up, and may take the empty one into \
            the ISR on the strength of it. The replica is then elected and everything is lost. A fetch has to belong to \
            the present assignment before it counts. This is a hazard of the design, found in a specification, and no \
            release is known to have had it in ZooKeeper mode.",
    }
    IsrSubsetOfReplicas {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.8", fixed: Some("3.0.0"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv2)], catalogue: ["R-31"],
        story: "A reassignment takes a replica away in two rounds: the leader first learns that it is no replica, and then it \
            leaves the ISR. When the controller died in between, the ISR held a broker that the leader did not know. Its \
            look for lagging followers ended in an exception at that member, each time anew, so that nobody was put out \
            any more, and what was sent with acks=all waited for whoever died next. KAFKA-1097 and KAFKA-1170 repaired \
            some orders of events in 0.8.1; since KAFKA-9672 a leader puts out a member that is no replica. From 2.7 on it \
            needs a controller for every change of the ISR, and a controller that lives ends the reassignment.",
    }
    OutOfRangeNeedsLeader {
        base: V0_9, home: Kafka,
        affected: "0.8.0 to 0.9.0", fixed: Some("0.10.0"),
        superseded_by: [Mask::Fix(Fix::TruncateByLeaderEpoch)], catalogue: ["R-32"],
        story: "While leadership moved, a follower's fetch reached a broker that was not the leader any more, or not yet, \
            and whose log was shorter. It answered that the offset was out of range. The follower asked the same broker \
            for its first offset, threw its log away and began again from there. If the real leader died meanwhile, the \
            only full copy had been thrown away for nothing. Since KAFKA-2143 only a leader answers such questions, and \
            a follower cuts everything only when the leader's log begins above its own end.",
    }
    OutOfRangeTruncates {
        base: V0_9, home: Kafka,
        affected: "0.8.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [Mask::Fix(Fix::TruncateByLeaderEpoch)], catalogue: ["R-33"],
        story: "After an unclean election a follower may have a longer log than the leader. If unclean elections were not \
            enabled for the topic, the follower took this for impossible and halted its whole process, rather than lose \
            what it had. With the setting changed in between, or with an election forced by hand, brokers went down one \
            after another and came down again after each restart. Since KAFKA-7414 the follower cuts its log and warns \
            when that reaches below its high watermark.",
    }
    FullTruncationMovesHighWatermark {
        base: Sound, home: Kafka,
        affected: "2.0 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["R-34"],
        story: "A follower that had been away for so long that the leader had deleted everything it had begins again at the \
            leader's first offset. Its log moved there, but its high watermark stayed where it was, below the start of \
            its own log. When this follower became leader at once, every read at the high watermark failed, and so did \
            the first fetches of its followers. KAFKA-9491 moves the high watermark along.",
    }
    SliceSizeOnce {
        base: Sound, home: Kafka,
        affected: "2.2 to 2.5", fixed: Some("2.6.0"),
        superseded_by: [], catalogue: ["R-35"],
        story: "A read that must end at the high watermark takes a slice of a segment. The size of the segment was looked at \
            twice, and an append in between made the slice reach past the high watermark. A consumer was given records \
            that were not committed; after a failover other records stood at those offsets. KAFKA-9835 takes the size \
            once.",
    }
    MonotonicListOffsets {
        base: Sound, home: Kafka,
        affected: "0.8.0 to 2.1", fixed: Some("2.2.0"),
        superseded_by: [], catalogue: ["R-37"],
        story: "A consumer asked for the end of a partition and was told 10. The leader died; the new leader had all \
            records, but knew an earlier high watermark. The same question was now answered with 5: the log seemed to \
            have lost records it still had. A consumer positioned at 10 was out of range by the numbers it was told. \
            KIP-207 has a new leader answer with a retriable error until its high watermark has reached the start of its \
            epoch.",
    }
    HighWatermarkAfterShrink {
        base: Sound, home: Kafka,
        affected: "2.7.0 to 3.0", fixed: Some("3.1.0"),
        superseded_by: [], catalogue: ["R-38"],
        story: "A leader that removes a slow replica from the ISR may move its high watermark, because the remaining members \
            have more. When the ISR is changed by asking the controller, the change takes effect when the answer \
            arrives, and nobody looked at the high watermark then. A produce request with acks=all went on waiting \
            although every member of the ISR had the record, until the next append or until it timed out. KAFKA-13091 \
            looks again when the shrink is confirmed.",
    }
    CaughtUpByPreviousFetch {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 0.10.1", fixed: Some("0.10.2"),
        superseded_by: [], catalogue: ["R-40"],
        story: "When 0.9 began to measure a follower's lag in time, a follower had caught up only by a fetch from the very \
            end of the leader's log. Under a steady load that moment may never come: when the fetch arrives, the \
            leader has some records more than it had when the follower asked for the last ones. A healthy follower \
            that was always one fetch behind left the ISR after replica.lag.time.max.ms and came back with its next \
            fetch, again and again. While it was out, the leader acknowledged records that only it had. Since \
            KAFKA-4485 a fetch from where the log ended at the fetch before counts as caught up at that time.",
    }
    InSyncAtTheEnd {
        base: Sound, home: Kafka,
        affected: "0.9.0 to 2.0", fixed: Some("2.1.0"),
        superseded_by: [], catalogue: ["R-40"],
        story: "A follower that had everything could still leave the ISR, because only the time of its last fetch counted. \
            A leader that was busy, or paused for a moment itself, handled the fetches late and shrank the ISR to \
            itself although nothing was missing anywhere. Each such shrink is a write to ZooKeeper and a moment \
            without a second copy in sync. KAFKA-7152 keeps a follower whose log ends where the leader's does.",
    }
    UncleanElectionSetting {
        base: V0_8, home: Kafka,
        affected: "0.8.0 and 0.8.1", fixed: Some("0.8.2"),
        superseded_by: [], catalogue: ["R-15"],
        story: "In 0.8.1 a partition whose in-sync replicas were all gone always got a leader, if any replica lived: \
            availability went before durability, and nobody could choose otherwise. The new leader had a shorter \
            log, and what it lacked was lost, though acknowledged with acks=all; the old leader cut its log when it \
            came back. KAFKA-1028 made it a setting, unclean.leader.election.enable, of the broker and of each \
            topic. It stayed true by default until 0.10.2 and is false since 0.11 (KIP-106).",
    }
    KeepLastIsr {
        base: V0_8, home: Kafka,
        affected: "0.8.0-beta1", fixed: Some("0.8.0"),
        superseded_by: [], catalogue: ["R-39"],
        story: "When the last broker of an ISR failed, the controller of the 0.8 beta removed it like any other, and the ISR \
            was empty. Nobody could tell any more who had the committed records, and whoever came back first could be \
            elected. KAFKA-708 keeps the last member in the ISR, so that the partition waits for it.",
    }
    KeepLastIsrWhenUnclean {
        base: V1_0, home: Kafka,
        affected: "0.8.2 to 1.0", fixed: Some("1.1.0"),
        superseded_by: [], catalogue: ["R-39"],
        story: "Where unclean elections were allowed, the controller still removed the last member from the ISR when it went \
            offline. When that member came back first, nothing told that it had been in sync, and its election counted \
            as unclean although nothing was lost. The rewrite of the controller for 1.1 keeps the last member in all \
            cases (KAFKA-5083).",
    }
    IsrLagByTime {
        base: V0_8, home: Kafka,
        affected: "0.8.0 to 0.8.2", fixed: Some("0.9.0"),
        superseded_by: [], catalogue: ["R-40"],
        story: "A follower was out of sync when it was silent for replica.lag.time.max.ms, or when it was more than \
            replica.lag.max.messages behind, 4000 by default. One large burst of a producer put every healthy follower \
            behind by more than that. The leader shrank the ISR to itself, took the followers back with their next \
            fetch, and did so again with the next burst. While it was alone, an acks=all record was acknowledged by one \
            replica, and a crash at that moment lost it. KAFKA-1546 removed the count: a follower is in sync when it has \
            caught up within the time.",
    }
    FlushTruncatedEpochs {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 3.8", fixed: Some("3.9.0"),
        superseded_by: [], catalogue: ["R-41"],
        story: "A truncation cuts the list of leader epochs as well, and the list is written to a checkpoint file of its \
            own. In 3.8 that write was made asynchronous. After a loss of power the file could be older than the log and \
            name epochs of records that had been cut. The broker then answered questions about epochs wrongly, and a \
            follower that believed it kept or cut the wrong records. KAFKA-16541 makes sure that the file on disk never \
            falls behind a truncation.",
    }
    FirstEpochOnRecovery {
        base: Sound, home: Kafka,
        affected: "0.11.0 to 2.6", fixed: Some("2.7.0"),
        superseded_by: [Mask::Protocol(InterBrokerProtocol::V2_7Iv1)], catalogue: ["R-41"],
        story: "After an unclean stop the list of leader epochs is built again from the batches of the log. Epoch 0, the \
            first a topic has, was taken for no epoch at all and left out. A leader without it could not tell a follower \
            where epoch 0 ended, and the follower fell back to its high watermark. KAFKA-10432 restores the first epoch \
            too.",
    }
}
