//! Fast leader election (`FastLeaderElection`).
//!
//! A looking server raises its logical clock, votes for itself and tells everybody. It adopts a vote that is better (epoch,
//! then transaction, then id) in its own round, joins a later round, and answers who is behind. When a majority agrees it
//! waits 200 ms for a better vote. Servers that are not looking answer with the leader they have; a late server joins them
//! when a majority backs that leader and the leader itself says that it leads.
//! Left out: observers, weights, and the wire formats before 3.4.6.

use crate::mesh::Mesh;
use crate::spec::KeeperSpec;
use crate::step::Step;
use crate::timers;
use protocol::ids::{KeeperId, Zxid};
use protocol::keeper::{ElectionMessage, KeeperRole};
use protocol::time::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `finalizeWait`.
const FINALIZE_WAIT: Span = Span::millis(200);
/// `maxNotificationInterval`.
const LONGEST_WAIT: Span = Span::secs(60);

/// A vote as it is compared: `Vote`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Vote {
    leader: KeeperId,
    zxid: Zxid,
    peer_epoch: i32,
    election_epoch: i64,
    state: KeeperRole,
}

impl Vote {
    /// `totalOrderPredicate`.
    fn beats(&self, other: &Self) -> bool {
        (self.peer_epoch, self.zxid, self.leader) > (other.peer_epoch, other.zxid, other.leader)
    }

    /// `Vote.equals`: outside an election only leader and epoch count.
    fn agrees(&self, other: &Self) -> bool {
        let looking = self.state == KeeperRole::Looking || other.state == KeeperRole::Looking;
        self.leader == other.leader
            && self.peer_epoch == other.peer_epoch
            && (!looking
                || (self.zxid == other.zxid && self.election_epoch == other.election_epoch))
    }
}

impl From<&ElectionMessage> for Vote {
    fn from(message: &ElectionMessage) -> Self {
        Self {
            leader: message.leader,
            zxid: message.zxid,
            peer_epoch: message.peer_epoch,
            election_epoch: message.election_epoch,
            state: message.state,
        }
    }
}

/// A server's part in elections.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    spec: Arc<KeeperSpec>,
    /// `logicalclock`: the round.
    clock: i64,
    own: Vote,
    /// The vote proposed while looking, the final one after.
    vote: Vote,
    state: KeeperRole,
    received: BTreeMap<KeeperId, Vote>,
    settled: BTreeMap<KeeperId, Vote>,
    wait: Span,
    deciding: bool,
}

impl Election {
    pub(crate) fn new(spec: Arc<KeeperSpec>) -> Self {
        let own = Vote {
            leader: spec.id,
            zxid: Zxid::ZERO,
            peer_epoch: 0,
            election_epoch: 0,
            state: KeeperRole::Looking,
        };
        Self {
            spec,
            clock: 0,
            own,
            vote: own,
            state: KeeperRole::Looking,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            wait: FINALIZE_WAIT,
            deciding: false,
        }
    }

    /// A new round begins (`lookForLeader`).
    pub(crate) fn start(
        &mut self,
        (epoch, last_zxid): (i32, Zxid),
        mesh: &mut Mesh,
        step: &mut Step<'_, '_>,
    ) {
        self.clock += 1;
        self.own = Vote {
            leader: self.spec.id,
            zxid: last_zxid,
            peer_epoch: epoch,
            election_epoch: self.clock,
            state: KeeperRole::Looking,
        };
        self.vote = self.own;
        self.state = KeeperRole::Looking;
        self.received.clear();
        self.settled.clear();
        self.wait = FINALIZE_WAIT;
        self.deciding = false;
        self.broadcast(mesh, step);
        step.ring_in(timers::ELECTION, self.wait);
    }

    /// The election is over for this server.
    pub(crate) fn leave(&mut self, state: KeeperRole, step: &mut Step<'_, '_>) {
        self.state = state;
        self.received.clear();
        self.settled.clear();
        self.deciding = false;
        step.io.cancel_timer(timers::ELECTION);
    }

    /// The leader's epoch is known (`updateElectionVote`, ZOOKEEPER-1732): all members report the same vote.
    pub(crate) fn set_epoch(&mut self, epoch: i32) {
        self.vote.peer_epoch = epoch;
    }

    /// This server's vote, as it tells it.
    pub(crate) fn message(&self) -> ElectionMessage {
        let election_epoch = if self.state == KeeperRole::Looking {
            self.clock
        } else {
            self.vote.election_epoch
        };
        ElectionMessage {
            from: self.spec.id,
            leader: self.vote.leader,
            zxid: self.vote.zxid,
            election_epoch,
            peer_epoch: self.vote.peer_epoch,
            state: self.state,
        }
    }

    fn broadcast(&mut self, mesh: &mut Mesh, step: &mut Step<'_, '_>) {
        let message = self.message();
        for peer in self.spec.peers() {
            mesh.send(peer, message, step);
        }
        // Its own notification counts like any other.
        self.received.insert(self.spec.id, self.current());
    }

    fn current(&self) -> Vote {
        Vote {
            election_epoch: self.clock,
            state: KeeperRole::Looking,
            ..self.vote
        }
    }

    fn has_quorum(&self, votes: &BTreeMap<KeeperId, Vote>, vote: &Vote) -> bool {
        let voters = votes
            .iter()
            .filter(|(_, other)| other.agrees(vote))
            .fold(0, |set, (id, _)| set | self.spec.bit(*id));
        self.spec.is_quorum(voters)
    }

    /// A vote came in; the leader, if that settles it.
    pub(crate) fn receive(
        &mut self,
        message: &ElectionMessage,
        mesh: &mut Mesh,
        step: &mut Step<'_, '_>,
    ) -> Option<KeeperId> {
        if self.spec.bit(message.from) == 0 || self.spec.bit(message.leader) == 0 {
            return None;
        }
        if self.state != KeeperRole::Looking {
            if message.state == KeeperRole::Looking {
                mesh.send(message.from, self.message(), step);
            }
            return None;
        }
        let vote = Vote::from(message);
        if message.state == KeeperRole::Looking && message.election_epoch < self.clock {
            mesh.send(message.from, self.message(), step);
        }
        if self.deciding {
            if !vote.beats(&self.vote) {
                step.ring_in(timers::ELECTION, FINALIZE_WAIT);
                return None;
            }
            self.deciding = false;
        }
        let leader = match message.state {
            KeeperRole::Looking => {
                self.looking(message.from, vote, mesh, step);
                None
            }
            KeeperRole::Following | KeeperRole::Leading | KeeperRole::Standalone => {
                self.settled_vote(message.from, vote)
            }
        };
        if leader.is_none() && !self.deciding {
            step.ring_in(timers::ELECTION, self.wait);
        }
        leader
    }

    fn looking(&mut self, from: KeeperId, vote: Vote, mesh: &mut Mesh, step: &mut Step<'_, '_>) {
        if vote.election_epoch < self.clock {
            return;
        }
        if vote.election_epoch > self.clock {
            self.clock = vote.election_epoch;
            self.received.clear();
            self.vote = if vote.beats(&self.own) {
                vote
            } else {
                self.own
            };
            self.broadcast(mesh, step);
        } else if vote.beats(&self.vote) {
            self.vote = vote;
            self.broadcast(mesh, step);
        }
        self.received.insert(from, vote);
        if self.has_quorum(&self.received, &self.current()) {
            self.deciding = true;
            step.ring_in(timers::ELECTION, FINALIZE_WAIT);
        }
    }

    fn settled_vote(&mut self, from: KeeperId, vote: Vote) -> Option<KeeperId> {
        if vote.election_epoch == self.clock {
            let counted = Vote {
                state: KeeperRole::Looking,
                ..vote
            };
            self.received.insert(from, counted);
            if self.has_quorum(&self.received, &vote) && self.leader_leads(&vote) {
                self.vote = vote;
                return Some(vote.leader);
            }
        }
        self.settled.insert(from, vote);
        if self.has_quorum(&self.settled, &vote) && self.leader_leads(&vote) {
            self.clock = vote.election_epoch;
            self.vote = vote;
            return Some(vote.leader);
        }
        None
    }

    /// `checkLeader`: a leader that crashed must not be elected by those who still follow it.
    fn leader_leads(&self, vote: &Vote) -> bool {
        if vote.leader == self.spec.id {
            self.clock == vote.election_epoch
        } else {
            self.settled
                .get(&vote.leader)
                .is_some_and(|own| own.state == KeeperRole::Leading)
        }
    }

    /// Nothing came for a while; the leader, if a majority agreed before.
    pub(crate) fn ring(&mut self, mesh: &mut Mesh, step: &mut Step<'_, '_>) -> Option<KeeperId> {
        if self.state != KeeperRole::Looking {
            return None;
        }
        if self.deciding {
            self.vote = self.current();
            return Some(self.vote.leader);
        }
        if mesh.has_delivered() {
            self.broadcast(mesh, step);
        } else {
            mesh.dial_all(step);
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        step.ring_in(timers::ELECTION, self.wait);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryDisk, at, spec};
    use protocol::machine::{Effect, Io};

    const ONE: KeeperId = KeeperId(1);
    const TWO: KeeperId = KeeperId(2);
    const THREE: KeeperId = KeeperId(3);

    struct Bench {
        election: Election,
        mesh: Mesh,
        disk: MemoryDisk,
    }

    /// Server 1 of three, looking, with transaction 1.5.
    fn bench() -> Bench {
        let spec = Arc::new(spec(1, 3));
        let mut bench = Bench {
            election: Election::new(spec.clone()),
            mesh: Mesh::new(spec),
            disk: MemoryDisk::default(),
        };
        bench.act(|election, mesh, step| election.start((1, Zxid::new(1, 5)), mesh, step));
        bench
    }

    impl Bench {
        fn act<T>(
            &mut self,
            act: impl FnOnce(&mut Election, &mut Mesh, &mut Step<'_, '_>) -> T,
        ) -> T {
            let (mut effects, mut next) = (Vec::new(), 1);
            let mut io = Io::new(&mut self.disk, &mut effects, &mut next);
            let mut step = Step {
                now: at(0),
                io: &mut io,
            };
            let answer = act(&mut self.election, &mut self.mesh, &mut step);
            assert!(
                effects.iter().all(|stamped| matches!(
                    stamped.effect,
                    Effect::Connect { .. } | Effect::SetTimer { .. }
                )),
                "nobody is connected yet"
            );
            answer
        }

        fn hear(&mut self, message: ElectionMessage) -> Option<KeeperId> {
            self.act(|election, mesh, step| election.receive(&message, mesh, step))
        }

        fn ring(&mut self) -> Option<KeeperId> {
            self.act(Election::ring)
        }
    }

    fn vote(from: KeeperId, leader: KeeperId, counter: u32, state: KeeperRole) -> ElectionMessage {
        ElectionMessage {
            from,
            leader,
            zxid: Zxid::new(1, counter),
            election_epoch: 1,
            peer_epoch: 1,
            state,
        }
    }

    #[test]
    fn a_better_vote_is_adopted_and_wins_after_the_wait() {
        let mut bench = bench();
        assert_eq!(bench.hear(vote(TWO, TWO, 5, KeeperRole::Looking)), None);
        assert_eq!(bench.election.message().leader, TWO);
        assert_eq!(bench.ring(), Some(TWO));
    }

    #[test]
    fn the_longer_history_beats_the_larger_id() {
        let mut bench = bench();
        assert_eq!(bench.hear(vote(THREE, THREE, 4, KeeperRole::Looking)), None);
        assert_eq!(bench.election.message().leader, ONE);
        assert_eq!(bench.hear(vote(THREE, ONE, 5, KeeperRole::Looking)), None);
        assert_eq!(bench.ring(), Some(ONE));
    }

    #[test]
    fn a_better_vote_within_the_wait_reopens_the_election() {
        let mut bench = bench();
        bench.hear(vote(TWO, TWO, 5, KeeperRole::Looking));
        bench.hear(vote(THREE, THREE, 9, KeeperRole::Looking));
        assert_eq!(bench.election.message().leader, THREE);
        assert_eq!(bench.ring(), Some(THREE));
    }

    #[test]
    fn a_later_round_makes_earlier_votes_worthless() {
        let mut bench = bench();
        let mut later = vote(TWO, TWO, 3, KeeperRole::Looking);
        later.election_epoch = 4;
        assert_eq!(bench.hear(later), None);
        let own = bench.election.message();
        assert_eq!((own.election_epoch, own.leader), (4, ONE));
        assert_eq!(bench.hear(vote(THREE, ONE, 5, KeeperRole::Looking)), None);
        assert_eq!(bench.ring(), None, "a vote of round 1 does not count");
    }

    #[test]
    fn a_leader_is_joined_only_when_it_says_so_itself() {
        let mut bench = bench();
        assert_eq!(bench.hear(vote(TWO, THREE, 8, KeeperRole::Following)), None);
        assert_eq!(
            bench.hear(vote(THREE, THREE, 8, KeeperRole::Leading)),
            Some(THREE)
        );
    }
}
