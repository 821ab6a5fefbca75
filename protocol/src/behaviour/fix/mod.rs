//! Every historic fix that can be switched off, so that its bug comes back, and on, so that an older era has it.
//!
//! Each is named by its KIP or JIRA issue, as a scenario writes it; the few that have no such name have a plain one.
//! Faults that are settings (unclean election, acks, `forceSync`) are no fixes and stay settings.

mod about;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod controller;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod groups;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod keeper;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod producer;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod replication;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod storage;
#[expect(non_upper_case_globals, reason = "a story has the name of its fix")]
mod transactions;

pub use about::{Affected, Home, Mask};

use super::Era;
use about::About;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

macro_rules! fixes {
    ($($group:ident { $($variant:ident = $name:literal, $since:ident, $summary:literal;)* })*) => {
        /// A fix that can be switched.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fix {
            $($(#[doc = concat!($name, ": ", $summary)] $variant,)*)*
        }

        impl Fix {
            /// Every fix, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// The KIP or JIRA issue, `KIP-101`.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// What holds when it is on.
            pub const fn summary(self) -> &'static str {
                match self { $($(Self::$variant => $summary,)*)* }
            }

            /// The first era that has it by default.
            pub const fn since(self) -> Era {
                match self { $($(Self::$variant => Era::$since,)*)* }
            }

            const fn about(self) -> About {
                match self { $($(Self::$variant => $group::$variant,)*)* }
            }
        }
    };
}

fixes! {
    replication {
        TruncateByLeaderEpoch = "KIP-101", V1_0, "A new follower truncates to the end of its leader epoch, not to its own high watermark.";
        LargestCommonEpoch = "KIP-279", V2_8, "The leader answers with the largest epoch not above the asked one, and the follower narrows down until both agree.";
        FenceFetchByLeaderEpoch = "KIP-320", V2_8, "A leader refuses fetches and epoch questions that name another leader epoch than its own.";
        IsrExpandFromEpochStart = "KAFKA-7128", V2_8, "A follower joins the ISR only when it has also reached the start of the leader's epoch.";
        ValidateInflightEpoch = "KAFKA-7786", V2_8, "An epoch answer asked for in an earlier leader epoch is not applied.";
        PersistEpochOnElection = "KAFKA-7415", V2_8, "A new leader notes its epoch at once, even when it writes no record in it.";
        DivergenceBeforeHighWatermark = "KAFKA-14704", Sound, "A follower truncates a diverging tail before it takes the leader's high watermark.";
        IgnoreDivergingFetchOffset = "KAFKA-13141", Sound, "The fetch offset of a diverging follower does not count for the high watermark.";
        TruncateRequiresOwnership = "KAFKA-13207", Sound, "A fetcher truncates only partitions it still owns.";
        KeepCheckpointOfStopped = "KAFKA-681", V0_8, "The high watermark checkpoint keeps partitions across restart and controlled shutdown.";
        FollowerFlagFirst = "KAFKA-1154", V0_8, "A replica stops accepting produce requests before it truncates as a new follower.";
        CloseOnAcksZeroError = "KAFKA-955", V0_8, "A failed acks=0 produce closes the connection, so that the producer looks for the new leader.";
        DrainBeforeClose = "KAFKA-3703", V1_0, "Requests received before a client closed are still handled.";
        EligibleLeaderReplicas = "KIP-966", Sound, "Replicas that left the ISR at its minimum stay eligible before the last one standing.";
        HighWatermarkNeedsMinIsr = "KAFKA-15583", Sound, "The high watermark does not move while the ISR is below min.insync.replicas.";
        RejectEmptyLog = "reject-empty-log", Sound, "A replica that comes back with an empty disk is not elected from the ISR.";
        ForgetAfterMissedEpoch = "missed-leader-epoch", Sound, "A leader that is elected again after an election that it was not told of forgets how far its followers had come.";
        MaximalIsr = "KIP-497", V2_8, "The high watermark counts replicas whose admission to the ISR is still on its way.";
        BrokerEpochInFetch = "KIP-903", Sound, "A fetch of a broker's earlier life cannot bring it into the ISR.";
        BrokerEpochCheckedAtomically = "KAFKA-15221", Sound, "The broker epoch is compared in the same step that proposes the new ISR.";
        RejectIneligibleIsr = "KIP-841", Sound, "A dead or leaving broker is not taken into the ISR.";
        FetchInCurrentEpoch = "fetch-in-current-epoch", Sound, "A replica joins the ISR only by a fetch of the current assignment.";
        IsrSubsetOfReplicas = "KAFKA-9672", Sound, "The ISR never holds a broker that is no replica.";
        OutOfRangeNeedsLeader = "KAFKA-2143", V1_0, "Only the leader may tell a follower that its offset is out of range.";
        OutOfRangeTruncates = "KAFKA-7414", V2_8, "A follower that is ahead of an unclean leader truncates instead of halting.";
        FullTruncationMovesHighWatermark = "KAFKA-9491", V2_8, "A full truncation moves the high watermark along.";
        SliceSizeOnce = "KAFKA-9835", V2_8, "A read takes the size of a segment once, so that it never reaches past the high watermark.";
        MonotonicListOffsets = "KIP-207", V2_8, "A new leader does not tell the end offset before its high watermark reached its epoch.";
        HighWatermarkAfterShrink = "KAFKA-13091", Sound, "The high watermark is looked at again when a shrink of the ISR is confirmed.";
        CaughtUpByPreviousFetch = "KAFKA-4485", V1_0, "A follower has caught up also when it fetches from where the leader's log ended at its fetch before.";
        InSyncAtTheEnd = "KAFKA-7152", V2_8, "A follower that has everything the leader has is in sync, however long ago it fetched.";
        UncleanElectionSetting = "KAFKA-1028", V0_8, "Whether a replica outside the ISR may lead is a setting.";
        KeepLastIsr = "KAFKA-708", V0_8, "The last member is never removed from the ISR.";
        KeepLastIsrWhenUnclean = "KAFKA-5083", V2_8, "The last member stays in the ISR also where unclean election is on.";
        IsrLagByTime = "KAFKA-1546", V0_9, "A replica lags by time alone; replica.lag.max.messages is gone.";
        FlushTruncatedEpochs = "KAFKA-16541", Sound, "Leader epochs on disk never get behind a truncation.";
        FirstEpochOnRecovery = "KAFKA-10432", V2_8, "Recovery restores the first leader epoch of a log as well.";
    }
    controller {
        ControllerMultiCheck = "KAFKA-6082", V2_8, "Every write of the controller is one multi with a check of /controller_epoch.";
        ControllerEpochCheck = "KAFKA-1188", V0_8, "Brokers refuse the requests of an earlier controller.";
        BrokerEpoch = "KIP-380", V2_8, "The controller tells one life of a broker from the next and names it in its requests.";
        DeregisterOnResign = "KAFKA-4447", V1_0, "A controller that resigns stops listening to the keeper.";
        UpdateMetadataFirst = "KAFKA-4443", V1_0, "A new controller tells who lives before it tells who leads.";
        PartitionsBeforeOrders = "partitions-before-orders", Sound, "A new controller tells of all partitions before it tells who leads.";
        EphemeralConflictCheck = "KAFKA-1387", V0_9, "A broker waits for the node of its own former session to go away.";
        EphemeralOwnerCheck = "KAFKA-7165", V2_8, "A broker compares the owner session of its registration and replaces a left-over one.";
        ControllerElectionRetry = "KAFKA-1451", V0_8, "The election of a controller does not hang on its own left-over node.";
        RefreshIsrVersion = "KAFKA-1382", V0_8, "A leader whose ISR write conflicts compares what is stored with what it meant.";
        RefreshStaleIsrVersion = "KAFKA-3042", V2_8, "A leader with a stale version of the partition state gets a fresh one.";
        ConditionalIsrWrite = "conditional-isr-write", V0_8, "A leader writes the ISR only over the version it knows.";
        RewatchAfterExpiry = "KAFKA-928", V0_8, "A controller sets its watches again in a new session.";
        StopReplicaEpoch = "KIP-570", V2_8, "A delayed StopReplica of an earlier assignment is refused.";
        ClearPendingIsrOnEpoch = "KAFKA-12686", Sound, "A new leader epoch forgets the ISR change that is in flight.";
        RejectIsrFromFuture = "KAFKA-14154", Sound, "A zombie controller does not answer an ISR change of a later epoch.";
        IdempotentAlterIsr = "KAFKA-14144", Sound, "A change of the ISR that is there already is answered as done.";
        TopicIdCheck = "KAFKA-12257", Sound, "Clients tell a topic from a later one of the same name.";
        MetadataEpochAfterReassignment = "KAFKA-9212", V2_8, "Metadata shows the leader epoch that the reassignment wrote.";
        LeaderAndIsrToLeaving = "KAFKA-7482", V2_8, "A broker in controlled shutdown is told of the leaderships it loses.";
        AcceptNewerBrokerEpoch = "KAFKA-9839", V2_8, "A broker whose registration reply is slow accepts the newer epoch the controller has seen.";
        ReadBrokersWhenHandled = "KAFKA-5642", V2_8, "The controller leaves its office before a new session opens, and reads the live brokers when it handles their change.";
    }
    producer {
        MutePartition = "KAFKA-3197", V1_0, "With one request in flight, a partition has one batch in flight, across leader changes too.";
        DedupeWindow = "KAFKA-5494", V1_0, "A leader remembers the last five batches of a producer, so that five may be in flight.";
        ProducerStateByExpiry = "KIP-360", V2_8, "Producer state outlives the records it came from, and the client may raise its own epoch.";
        UnknownProducerStartsAtZero = "KAFKA-14920", Sound, "A producer without state must start at sequence 0.";
        LossByLogStart = "KAFKA-5793", V1_0, "The producer tells a loss from retention by the log start offset.";
        WaitInflightBeforeReset = "KAFKA-14034", Sound, "The producer waits for what is in flight before it starts a new epoch.";
        ResetIdlePartitions = "KAFKA-12152", V2_8, "A new producer epoch starts the sequences of idle partitions again, too.";
        EpochBumpPerPartition = "librdkafka-4953", V0_8, "A sequence error of one partition does not repeat the records of another.";
        KeepSequenceOnTopicFlap = "librdkafka-1.9.0", V0_8, "The producer keeps its sequence when a topic drops out of metadata for a moment.";
        DrainOnClose = "KAFKA-116", V0_8, "Closing a producer sends what is queued.";
        ReportSerializationErrors = "KAFKA-1702", V0_9, "A record that cannot be sent is reported.";
        MarkersKeepProducer = "KAFKA-9144", V2_8, "Markers keep the state of their producer alive.";
        MarkerOnlyProducer = "KAFKA-7298", V2_8, "A producer of whom only a marker is left may go on.";
        SnapshotBeforeTruncation = "KAFKA-5435", V1_0, "Producer state survives a truncation and a restart.";
        BatchInItsTransaction = "KAFKA-13782", Sound, "A batch is always added to the transaction of its own partition.";
    }
    transactions {
        VerifyTransaction = "KIP-890", Sound, "The leader asks the coordinator whether a transaction is open before it appends.";
        VerifyBeforeAppend = "KAFKA-14884", Sound, "The verification is looked at again in the step that appends.";
        EpochPerTransaction = "KAFKA-14562", Sound, "Every transaction has its own producer epoch.";
        FenceOnInit = "KAFKA-5231", V1_0, "A second producer of a transactional id fences the first and aborts its transaction.";
        EpochOnTimeout = "KAFKA-6119", V2_8, "A transaction that times out raises the producer epoch.";
        GroupMetadataInCommit = "KIP-447", V2_8, "A transactional commit names member and generation, and readers wait for stable offsets.";
        IsolationInPurgatory = "KAFKA-5355", V1_0, "A waiting fetch keeps its isolation level and gets the aborted transactions.";
        StableOffsetOnce = "KAFKA-9807", V2_8, "A read takes the last stable offset and the high watermark from one moment.";
        TransactionTimeForward = "KAFKA-8803", V2_8, "A coordinator whose clock went back still ends its transactions.";
        MarkerIdentity = "KAFKA-16352", Sound, "The answer of an earlier marker does not end the present transaction.";
        SingleCompletion = "KAFKA-10080", V2_8, "A transaction is completed once.";
        ResumePrepared = "KAFKA-5131", V1_0, "A new coordinator carries a decided transaction to its end.";
        EndTransactionEpoch = "KAFKA-9600", V2_8, "The end of a transaction must name the stored epoch.";
        MaterializeByOffset = "KAFKA-5247", V1_0, "Committed offsets take effect in the order of the log.";
        OffsetsWithTheMarker = "offsets-with-the-marker", Sound, "Offsets of a transaction take effect as its marker does, before the next transaction sends its own.";
        EmptyAbortEndsNothing = "librdkafka-1.7.0", V0_8, "The abort of a transaction without records does not end a later one of the same producer.";
        AbortBeforeNewEpoch = "librdkafka-3575", V0_8, "A sequence that does not fit ends the transaction before its producer gets a new epoch.";
        StableListOffsets = "KAFKA-5522", V1_0, "Offsets looked up for read_committed stop at the last stable one.";
    }
    groups {
        GenerationCheck = "generation-check", V0_8, "A commit of an earlier generation is refused.";
        ExpireOnlyWhenEmpty = "KIP-211", V2_8, "Offsets expire only when the group is empty.";
        ExpireNotInRebalance = "KAFKA-13636", Sound, "Offsets do not expire during a rebalance.";
        ExpireAfterLoad = "KAFKA-8069", V2_8, "Loading old offsets does not make them expire early.";
        ConsumerEpochValidation = "KAFKA-7747", V2_8, "A consumer validates its position after a change of leader and notices truncation.";
        OffsetsTopicReplication = "KIP-115", V1_0, "The offsets topic is created only with all its replicas.";
        QuickPoll = "KAFKA-2942", V1_0, "Prefetching does not commit positions that were not returned yet.";
        PauseWhileRevoking = "KAFKA-14196", Sound, "Nothing is returned between the commit and the revocation.";
        PrepareEveryJoin = "KAFKA-12983", V2_8, "A member that is thrown out while it joins gives up what it owned before it joins anew.";
        OwnedGenerationCheck = "KAFKA-12984", Sound, "Ownership claimed from a missed generation does not count.";
        DropCacheOnUnload = "KAFKA-5600", V1_0, "A coordinator that comes back does not answer from its old cache.";
        ReplayAcrossGaps = "KAFKA-9065", V2_8, "Loading a group ends also where compaction left a gap.";
        LargeGroupRecords = "KAFKA-7286", V2_8, "Loading a group ends also where a record exceeds the buffer.";
        KeepPausedPosition = "KAFKA-4547", V1_0, "A paused partition keeps its position through a rebalance.";
        CompletingRebalanceEnds = "KAFKA-12890", Sound, "A group whose leader never sends the assignment moves on.";
        JoinAfterExpiry = "KAFKA-9752", V2_8, "A member that vanished while joining does not hold the group.";
        FenceInstanceId = "KIP-345", V2_8, "Of two processes with one group.instance.id the older is fenced.";
        PersistReplacement = "KAFKA-10284", V2_8, "The new id of a static member is written down.";
        FollowerFetchRetry = "KIP-392", V2_8, "A consumer ahead of a follower asks the leader before it resets.";
        DropQueueOnRevoke = "librdkafka-3340", V0_8, "Records of revoked partitions are not delivered any more.";
        MemberIdRequired = "KIP-394", V2_8, "A member joins with an id, so that repeated first joins leave no ghosts.";
    }
    storage {
        TombstoneHorizon = "KAFKA-4529", V1_0, "The age of a tombstone is taken from the segment, not from its records.";
        DeleteHorizon = "KIP-534", Sound, "A tombstone or marker goes a fixed time after it was first cleaned.";
        CleanerExcludesRetention = "KAFKA-7322", V2_8, "Retention leaves a log alone while it is being cleaned.";
        RetentionBoundByHighWatermark = "KAFKA-5634", V1_0, "Retention never passes the high watermark.";
        RetainLastBatch = "KAFKA-5490", V1_0, "Compaction keeps the last batch of a producer.";
        CleanBoundByHighWatermark = "KAFKA-13194", Sound, "Compaction stays below the high watermark and the last stable offset.";
    }
    keeper {
        KeeperFlushBeforeAck = "flush-before-ack", V0_8, "A keeper acknowledges a proposal only when it is on disk.";
        SyncBeforeRead = "sync-before-read", Sound, "A client reads what others depend on only after a sync.";
        RereadOnWatch = "reread-on-watch", V0_8, "A client that a watch has told of a change sets the watch again before it reads.";
        NoEphemeralAfterSession = "ZOOKEEPER-1208", V2_8, "A session that is ending creates no ephemeral node.";
        EphemeralCleanupOnClose = "ZOOKEEPER-2355", V2_8, "All servers remove the ephemeral nodes of a closed session.";
        ConsistentSnapshotReplay = "ZOOKEEPER-3144", Sound, "Replay over a fuzzy snapshot gives the same ephemeral nodes everywhere.";
        AtomicMultiInSnapshot = "ZOOKEEPER-3127", Sound, "A multi is in a snapshot whole or not at all.";
        PersistBeforeNewLeaderAck = "ZOOKEEPER-3911", Sound, "A follower acknowledges the new leader only when what it was sent is on disk.";
        TruncateFailureIsFatal = "ZOOKEEPER-3701", Sound, "A keeper that cannot truncate its log does not go on.";
        TruncateExactly = "ZOOKEEPER-1154", V0_8, "A keeper that was ahead loses only what the leader does not have.";
        MonotonicKeeperClock = "ZOOKEEPER-1366", V2_8, "Sessions are measured on the monotonic clock.";
        SessionMoved = "ZOOKEEPER-710", V0_8, "A request that arrives over a session's former server is refused.";
        SequentialNamesUnique = "ZOOKEEPER-1046", V0_8, "A sequential name is never given twice.";
    }
}

/// How many words a set takes.
const WORDS: usize = Fix::ALL.len().div_ceil(64);

impl Fix {
    /// Its place in a set: which word, and which bit of it.
    const fn place(self) -> (usize, u64) {
        #[expect(
            clippy::as_conversions,
            reason = "the discriminant is the place in the set, and a byte fits"
        )]
        let place = self as usize;
        (place / 64, 1 << (place % 64))
    }
}

impl Fix {
    /// Whether an era has it when nobody switches it. Eligible leader replicas no era has: with them another replica leads, the
    /// ISR may be empty and a registration says more, so that what is left is not the replication of ZooKeeper mode.
    pub fn is_on_in(self, era: Era) -> bool {
        self.since() <= era && self != Self::EligibleLeaderReplicas
    }

    /// The era in which its bug is judged: there, with the fix off, it is real, and nothing but what
    /// [`superseded_by`](Self::superseded_by) names hides it.
    pub const fn base(self) -> Era {
        self.about().base
    }

    /// Where the bug lived.
    pub const fn home(self) -> Home {
        self.about().home
    }

    /// The releases that had the bug.
    pub const fn affected(self) -> Affected {
        self.about().affected
    }

    /// What hides the bug where it is present, and has to be switched off along with the fix.
    pub const fn superseded_by(self) -> &'static [Mask] {
        self.about().superseded_by
    }

    /// The entries of the catalogue that show it: a scenario's file begins with one, `R-03-…`.
    pub const fn catalogue(self) -> &'static [&'static str] {
        self.about().catalogue
    }

    /// What happened, in which order, what a user saw of it, and how it was fixed.
    pub const fn story(self) -> &'static str {
        self.about().story
    }
}

impl FromStr for Fix {
    type Err = ();

    /// Reads the name, upper or lower case.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .iter()
            .find(|fix| fix.name().eq_ignore_ascii_case(text))
            .copied()
            .ok_or(())
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Fix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|()| Error::custom(format!("no fix is called {text}")))
    }
}

/// A set of fixes: one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FixSet([u64; WORDS]);

impl FixSet {
    /// None.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Whether a fix is in the set.
    #[inline]
    pub const fn contains(self, fix: Fix) -> bool {
        let (word, bit) = fix.place();
        self.0[word] & bit != 0
    }

    /// The set with one fix put in or taken out.
    #[must_use]
    pub const fn with(self, fix: Fix, on: bool) -> Self {
        let (word, bit) = fix.place();
        let mut words = self.0;
        if on {
            words[word] |= bit;
        } else {
            words[word] &= !bit;
        }
        Self(words)
    }

    /// Its members, in the order of the catalogue.
    pub fn iter(self) -> impl Iterator<Item = Fix> {
        Fix::ALL
            .iter()
            .copied()
            .filter(move |fix| self.contains(*fix))
    }
}

impl FromIterator<Fix> for FixSet {
    fn from_iter<I: IntoIterator<Item = Fix>>(fixes: I) -> Self {
        fixes
            .into_iter()
            .fold(Self::EMPTY, |set, fix| set.with(fix, true))
    }
}

impl fmt::Debug for FixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for FixSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for FixSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Fix>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Behaviour;
    use std::collections::BTreeSet;

    #[test]
    fn every_fix_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<_> = Fix::ALL.iter().map(|fix| fix.name()).collect();
        assert_eq!(names.len(), Fix::ALL.len());
        for fix in Fix::ALL {
            assert_eq!(fix.name().to_lowercase().parse(), Ok(*fix));
        }
        assert_eq!("KIP-1".parse::<Fix>(), Err(()));
    }

    #[test]
    fn a_story_has_three_to_eight_sentences_and_an_entry_of_the_catalogue() {
        let ends = |word: &&str| word.ends_with(". ") || word.ends_with("? ");
        for fix in Fix::ALL {
            let sentences = fix.story().split_inclusive([' ']).filter(ends).count() + 1;
            assert!((3..=8).contains(&sentences), "{fix}: {sentences} sentences");
            assert!(!fix.catalogue().is_empty(), "{fix} is shown nowhere");
        }
    }

    #[test]
    fn a_bug_is_hidden_only_by_what_came_after_some_era_that_had_it() {
        for fix in Fix::ALL {
            for mask in fix.superseded_by() {
                match mask {
                    Mask::Fix(other) => {
                        assert!(other.since() > fix.base(), "{fix} is hidden in its base");
                    }
                    Mask::Protocol(version) => {
                        assert!(*version > Behaviour::of(Era::V1_0).inter_broker_protocol);
                    }
                }
            }
        }
    }

    #[test]
    fn what_kraft_alone_has_says_so() {
        assert_eq!(
            Fix::EligibleLeaderReplicas.home().label(),
            Some("never in ZooKeeper mode")
        );
        assert_eq!(Fix::TruncateByLeaderEpoch.home().label(), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: FixSet = [Fix::SequentialNamesUnique, Fix::TruncateByLeaderEpoch]
            .into_iter()
            .collect();
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Fix::TruncateByLeaderEpoch, Fix::SequentialNamesUnique]
        );
        assert!(
            !set.with(Fix::TruncateByLeaderEpoch, false)
                .contains(Fix::TruncateByLeaderEpoch)
        );
    }

    #[test]
    fn fixes_appear_in_the_era_of_their_release() {
        for (name, era) in [
            ("KIP-101", Era::V1_0),
            ("KIP-279", Era::V2_8),
            ("KIP-320", Era::V2_8),
            ("KAFKA-7128", Era::V2_8),
            ("KAFKA-6082", Era::V2_8),
            ("KAFKA-1546", Era::V0_9),
            ("KAFKA-5494", Era::V1_0),
            ("KAFKA-14704", Era::Sound),
            ("KIP-966", Era::Sound),
        ] {
            assert_eq!(name.parse::<Fix>().map(Fix::since), Ok(era), "{name}");
        }
    }
}
