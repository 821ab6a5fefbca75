//! The keeper: what went wrong before each fix.

use super::about::stories;

stories! {
    KeeperFlushBeforeAck {
        base: Sound, home: Design,
        affected: "none released", fixed: None,
        superseded_by: [], catalogue: ["Z-12"],
        story: "A ZooKeeper server acknowledges a proposal when its log is on disk. With forceSync=no, which is a setting, \
            or a disk that lies, it does so earlier. After a loss of power of a majority the ensemble forgets what it \
            had acknowledged: an election, an ISR, a controller epoch. Two controllers may then reign in the same epoch. \
            The switch is the negative control.",
    }
    SyncBeforeRead {
        base: Sound, home: Design,
        affected: "all of ZooKeeper", fixed: None,
        superseded_by: [], catalogue: ["Z-01"],
        story: "A read in ZooKeeper is answered by the server of the session, which may be behind the leader. One client \
            writes and tells another by other means; the other reads and sees the old value. A new controller that reads \
            brokers or states from such a server decides by an old view. A sync before the read makes the server catch \
            up; Kafka does without. This is how ZooKeeper is meant to be, and the switch shows what a sync would buy.",
    }
    RereadOnWatch {
        base: Sound, home: Design,
        affected: "none released", fixed: None,
        superseded_by: [], catalogue: ["Z-02"],
        story: "A watch rings once. Between its ring and the moment it is set again the node may change again, unnoticed. A \
            client must therefore set the watch with the same request by which it reads. One that reads first and sets \
            the watch afterwards misses the last change for good. Kafka's clients do it in the right order; the switch \
            is the negative control.",
    }
    NoEphemeralAfterSession {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.2 and 3.3", fixed: Some("ZooKeeper 3.4.0"),
        superseded_by: [], catalogue: ["Z-06"],
        story: "A session was being closed while one of its requests, to create an ephemeral node, was still in the queue \
            behind the close. The node was created for a session that no longer existed, and nothing would ever remove \
            it. A dead broker stayed registered, or a dead controller in office, until somebody deleted the node by \
            hand. Since ZOOKEEPER-1208 a session that is closing creates nothing.",
    }
    EphemeralCleanupOnClose {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.4", fixed: Some("ZooKeeper 3.6.0"),
        superseded_by: [], catalogue: ["Z-06"],
        story: "When a session ends, every server removes its ephemeral nodes. After a failure of a follower in the middle \
            of a synchronisation, one server could miss the end and keep the nodes. Clients of that server saw a broker \
            that had died long ago, and others did not. ZOOKEEPER-2355 has all servers remove them.",
    }
    ConsistentSnapshotReplay {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.4 and 3.5", fixed: Some("ZooKeeper 3.6.0"),
        superseded_by: [], catalogue: ["Z-07"],
        story: "A snapshot is taken while writes go on, so that it holds some of them, and replaying the log over it must \
            give the same tree. For ephemeral nodes it did not: a session that ended while the snapshot was taken left \
            nodes on the server that restarted from it. Servers of one ensemble then disagreed about which brokers are \
            alive. ZOOKEEPER-3144 and its neighbours make the replay exact.",
    }
    AtomicMultiInSnapshot {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.4 and 3.5", fixed: Some("ZooKeeper 3.6.0"),
        superseded_by: [], catalogue: ["Z-16"],
        story: "A multi is all or nothing. A snapshot taken in the middle could hold its first half, and after a restart the \
            log was not replayed for the second. Kafka relies on multis to check the controller epoch with each write, \
            and a half of one is a write without its check. Since ZOOKEEPER-3127 a multi is in a snapshot as a whole or \
            not at all.",
    }
    PersistBeforeNewLeaderAck {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.4 to 3.6", fixed: Some("ZooKeeper 3.7.0"),
        superseded_by: [], catalogue: ["Z-08"],
        story: "A new leader brings its followers up to date and asks each to confirm. A follower confirmed before what it \
            had been sent was on its disk. With a majority of confirmations the leader served, and writes were \
            acknowledged on the ground of them. Then all lost power, and the followers came back without the \
            transactions they had confirmed: what was acknowledged, an ISR or a controller epoch, was gone. \
            ZOOKEEPER-3911 writes first and confirms afterwards.",
    }
    TruncateFailureIsFatal {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.4 to 3.6", fixed: Some("ZooKeeper 3.7.0"),
        superseded_by: [], catalogue: ["Z-09"],
        story: "A server that has transactions which the leader does not have must cut them. When the cut failed, on a full \
            disk for instance, the server logged an error and went on with what it had. It then served a tree that \
            differs from that of all others, and clients of it saw another world. ZOOKEEPER-3701 stops the server \
            instead.",
    }
    TruncateExactly {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.3", fixed: Some("ZooKeeper 3.4.0"),
        superseded_by: [], catalogue: ["Z-10"],
        story: "After an election a server that was ahead had to cut its log back to what the leader has. It cut at the \
            wrong place and lost transactions that the leader had as well, or kept one too many. Later proposals were \
            appended behind the gap, and the server's tree differed for ever. ZOOKEEPER-1154 and ZOOKEEPER-1489 cut \
            exactly at the last common transaction.",
    }
    MonotonicKeeperClock {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.3 to 3.5.0", fixed: Some("ZooKeeper 3.5.1"),
        superseded_by: [], catalogue: ["Z-11"],
        story: "ZooKeeper measured sessions on the wall clock. When the clock of the leading server was set forward, by an \
            administrator or a leap, all sessions expired at once: every broker was deregistered, the controller lost \
            its office, and all partitions were elected anew or went offline. Set back, nothing expired for as long, and \
            dead brokers stayed alive. ZOOKEEPER-1366 uses the monotonic clock.",
    }
    SessionMoved {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.1", fixed: Some("ZooKeeper 3.2.0"),
        superseded_by: [], catalogue: ["Z-15"],
        story: "A client lost patience with its server and reconnected to another. A request it had sent to the first was \
            still on its way and was applied after later ones of the same client. An old value replaced a new one, \
            although a session promises the order of its requests. Since 3.2 each server owns the sessions that \
            connected to it, and a request over the former one is refused with SessionMoved.",
    }
    SequentialNamesUnique {
        base: Sound, home: ZooKeeper,
        affected: "ZooKeeper 3.2 and 3.3", fixed: Some("ZooKeeper 3.4.0"),
        superseded_by: [], catalogue: ["Z-17"],
        story: "The number in a sequential name comes from the count of changes to the children of the parent. Deletions \
            were counted differently after a restart, and a number was given twice: the create failed, or a new node \
            took the name of an old one. Kafka's notices of configuration and ISR changes are such nodes, and a broker \
            that had seen the number skipped the new notice. ZOOKEEPER-1046 makes the count the same everywhere.",
    }
}
