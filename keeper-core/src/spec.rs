//! What one server of the ensemble is: its number, its peers, its settings.

use protocol::behaviour::Behaviour;
use protocol::config::KeeperConfig;
use protocol::ids::KeeperId;
use std::sync::Arc;

/// `clientPort`.
pub const CLIENT_PORT: u16 = 2181;
/// Where a leader waits for its followers.
pub const QUORUM_PORT: u16 = 2888;
/// Where votes are exchanged.
pub const ELECTION_PORT: u16 = 3888;

/// A server's configuration (`QuorumPeerConfig`).
#[derive(Clone, Debug)]
pub struct KeeperSpec {
    /// `myid`.
    pub id: KeeperId,
    /// All servers of the ensemble with their host names, this one included. One server alone is standalone.
    pub servers: Vec<(KeeperId, Arc<str>)>,
    /// `dataDir`: snapshots and epochs.
    pub data_dir: Arc<str>,
    /// `dataLogDir`: transaction logs.
    pub data_log_dir: Arc<str>,
    /// `zoo.cfg`.
    pub config: KeeperConfig,
    /// Which historic fixes the server has.
    pub behaviour: Behaviour,
    /// Draws when snapshots are due.
    pub seed: u64,
}

impl KeeperSpec {
    pub(crate) fn is_standalone(&self) -> bool {
        self.servers.len() <= 1
    }

    /// The bit of a server in a set of voters; zero for a stranger.
    pub(crate) fn bit(&self, id: KeeperId) -> u32 {
        self.servers
            .iter()
            .position(|(server, _)| *server == id)
            .map_or(0, |at| 1 << at)
    }

    /// Whether the set is a majority.
    pub(crate) fn is_quorum(&self, voters: u32) -> bool {
        usize::try_from(voters.count_ones()).is_ok_and(|count| count * 2 > self.servers.len())
    }

    pub(crate) fn host(&self, id: KeeperId) -> Option<&Arc<str>> {
        self.servers
            .iter()
            .find(|(server, _)| *server == id)
            .map(|(_, host)| host)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = KeeperId> {
        self.servers
            .iter()
            .map(|(server, _)| *server)
            .filter(|server| *server != self.id)
    }
}
