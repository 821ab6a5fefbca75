//! The settings of a keeper server, under the names of `zoo.cfg` (`QuorumPeerConfig`) and of its system properties.
//!
//! The same in every era; the world places servers and clients itself, so addresses and directories are left out.
//! `initLimit` and `syncLimit` have no default in ZooKeeper and take those of the sample file.

use super::setting::{ANY, at_least, settings};
use super::{SettingError, YesNo};
use crate::time::Span;

const NOT_MODELLED: &[&str] = &[
    "dataDir",
    "dataLogDir",
    "clientPort",
    "clientPortAddress",
    "secureClientPort*",
    "server.*",
    "group.*",
    "weight.*",
    "peerType",
    "electionAlg",
    "electionPort",
    "autopurge.*",
    "4lw.*",
    "admin.*",
    "ssl.*",
    "authProvider.*",
    "standaloneEnabled",
    "reconfigEnabled",
    "quorumListenOnAllIPs",
    "metricsProvider.*",
    "preAllocSize",
    "jute.maxbuffer",
    "fsync.warningthresholdms",
    "snapshot.*",
];

settings! {
    /// The settings of a keeper server.
    KeeperConfig(_era), not_modelled: NOT_MODELLED, later: &[];
    tick_time: Span = "tickTime", at_least(1), Span::secs(3), "The unit of the other times; half a tick between pings of the leader.";
    init_limit: i32 = "initLimit", at_least(1), 10, "Ticks a follower may take to catch up with a new leader.";
    sync_limit: i32 = "syncLimit", at_least(1), 5, "Ticks a follower may be silent.";
    min_session_timeout: Option<Span> = "minSessionTimeout", at_least(1), None, "Shortest session; unset: two ticks.";
    max_session_timeout: Option<Span> = "maxSessionTimeout", at_least(1), None, "Longest session; unset: twenty ticks.";
    snap_count: i32 = "snapCount", at_least(2), 100_000, "Transactions between two snapshots.";
    commit_log_count: i32 = "commitLogCount", at_least(1), 500, "Transactions kept in memory to bring followers up to date.";
    global_outstanding_limit: i32 = "globalOutstandingLimit", at_least(1), 1000, "Requests a server takes before it stops reading.";
    force_sync: YesNo = "forceSync", ANY, YesNo(true), "Whether the transaction log is flushed before it is acknowledged.";
    max_client_cnxns: i32 = "maxClientCnxns", at_least(0), 60, "Connections of one client host, 0 without limit.";
    leader_serves: YesNo = "leaderServes", ANY, YesNo(true), "Whether the leader takes clients.";
    cnx_timeout: Span = "cnxTimeout", at_least(1), Span::secs(5), "How long an election connection may take to open.";
}

impl KeeperConfig {
    /// The shortest session a client gets.
    pub fn shortest_session(&self) -> Span {
        self.min_session_timeout.unwrap_or(self.tick_time * 2)
    }

    /// The longest session a client gets.
    pub fn longest_session(&self) -> Span {
        self.max_session_timeout.unwrap_or(self.tick_time * 20)
    }

    /// The session a client gets that asks for `wanted`.
    pub fn negotiate(&self, wanted: Span) -> Span {
        wanted
            .max(self.shortest_session())
            .min(self.longest_session())
    }

    /// The rules between settings (`QuorumPeerConfig.parseProperties`).
    pub fn validate(&self) -> Result<(), SettingError> {
        if self.shortest_session() > self.longest_session() {
            let value = self.get("minSessionTimeout").unwrap_or_default();
            return Err(SettingError::invalid(
                "minSessionTimeout",
                value,
                "no more than maxSessionTimeout",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Era;

    #[test]
    fn sessions_are_bounded_by_two_and_twenty_ticks() {
        let mut keeper = KeeperConfig::defaults(Era::V2_8);
        assert_eq!(
            (keeper.shortest_session(), keeper.longest_session()),
            (Span::secs(6), Span::secs(60))
        );
        assert_eq!(keeper.negotiate(Span::secs(1)), Span::secs(6));
        assert_eq!(keeper.negotiate(Span::secs(18)), Span::secs(18));
        keeper.set("tickTime", "500").unwrap();
        assert_eq!(keeper.negotiate(Span::secs(18)), Span::secs(10));
    }

    #[test]
    fn defaults_agree_with_zoo_cfg() {
        let keeper = KeeperConfig::defaults(Era::V0_8);
        let texts = [
            "tickTime",
            "snapCount",
            "globalOutstandingLimit",
            "forceSync",
            "maxClientCnxns",
            "leaderServes",
        ]
        .map(|key| keeper.get(key).unwrap());
        assert_eq!(texts, ["3000", "100000", "1000", "yes", "60", "yes"]);
    }

    #[test]
    fn the_shortest_session_may_not_exceed_the_longest() {
        let mut keeper = KeeperConfig::defaults(Era::V2_8);
        keeper.set("minSessionTimeout", "70000").unwrap();
        assert!(keeper.validate().is_err());
        assert!(keeper.set("forceSync", "true").is_err());
    }
}
