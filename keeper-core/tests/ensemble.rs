//! What clients and operators can rely on, one schedule each.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail, and looks for one case"
)]

mod cluster;

use bytes::Bytes;
use cluster::client::TestClient;
use cluster::spec;
use cluster::world::{MILLI, SECOND, World};
use keeper_client::KeeperEvent;
use protocol::behaviour::{Behaviour, Era};
use protocol::error_code::KeeperError;
use protocol::ids::SessionId;
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperResult, KeeperRole, WatchEvent, WatchKind,
};
use protocol::machine::Input;
use protocol::note::KeeperNote;
use protocol::time::Span;
use protocol::verb::{OperationId, Verb};

struct Bench {
    world: World,
    servers: usize,
}

fn bench(servers: i32, clients: u64, timeout: Span) -> Bench {
    patient_bench(servers, clients, timeout, 5)
}

/// Whose followers may be silent for `sync_limit` ticks.
fn patient_bench(servers: i32, clients: u64, timeout: Span, sync_limit: i32) -> Bench {
    let mut world = World::new(5);
    for id in 1..=servers {
        let mut spec = spec(id, servers, Behaviour::of(Era::Sound));
        spec.config.sync_limit = sync_limit;
        world.add_keeper(spec);
    }
    for name in 0..clients {
        let count = u32::try_from(servers).unwrap();
        world.add_client(TestClient::new(count, timeout, name, 40 + name));
    }
    world.run_until(5 * SECOND);
    Bench {
        world,
        servers: usize::try_from(servers).unwrap(),
    }
}

fn create(path: &str, mode: CreateMode) -> KeeperOp {
    KeeperOp::Create {
        path: path.into(),
        data: Bytes::from_static(b"first"),
        mode,
    }
}

fn set(path: &str, version: i32) -> KeeperOp {
    KeeperOp::SetData {
        path: path.into(),
        data: Bytes::from_static(b"second"),
        version,
    }
}

fn get(path: &str, watch: bool) -> KeeperOp {
    KeeperOp::GetData {
        path: path.into(),
        watch,
    }
}

fn exists(path: &str, watch: bool) -> KeeperOp {
    KeeperOp::Exists {
        path: path.into(),
        watch,
    }
}

impl Bench {
    /// Makes operations and waits for the answer to the last.
    fn ask(
        &mut self,
        client: usize,
        ops: Vec<KeeperOp>,
    ) -> Vec<Result<KeeperResult, KeeperFailure>> {
        let node = self.servers + client;
        let before = self.world.client(node).history.len();
        let wanted = before + ops.len();
        self.world.request(node, ops);
        let end = self.world.now + 20 * SECOND;
        while self.world.client(node).history.len() < wanted {
            assert!(self.world.now < end, "no answer");
            self.world.run_until(self.world.now + MILLI);
        }
        self.world.client(node).history[before..]
            .iter()
            .map(|record| record.result.clone())
            .collect()
    }

    fn one(&mut self, client: usize, op: KeeperOp) -> Result<KeeperResult, KeeperError> {
        let answer = self.ask(client, vec![op]).remove(0);
        answer.map_err(|failure| failure.error)
    }

    fn wait(&mut self, nanos: u64) {
        self.world.run_until(self.world.now + nanos);
    }

    fn leader(&self) -> Option<usize> {
        (0..self.servers).find(|server| {
            self.world.nodes[*server].up && self.world.keeper(*server).role() == KeeperRole::Leading
        })
    }

    fn session(&mut self, client: usize) -> Option<SessionId> {
        let node = self.servers + client;
        self.world.client(node).keeper.session()
    }

    /// Cuts a node off from these others.
    fn cut(&mut self, node: usize, others: impl IntoIterator<Item = usize>) {
        for other in others {
            self.world
                .partitions
                .insert((node.min(other), node.max(other)));
        }
    }

    fn events(&mut self, client: usize) -> Vec<KeeperEvent> {
        let node = self.servers + client;
        std::mem::take(&mut self.world.client(node).events)
    }
}

#[test]
fn a_standalone_server_serves_and_comes_back_with_its_data() {
    let mut bench = bench(1, 1, Span::secs(6));
    assert_eq!(bench.world.keeper(0).role(), KeeperRole::Standalone);
    let created = bench.one(0, create("/a", CreateMode::Persistent));
    assert_eq!(created, Ok(KeeperResult::Created("/a".into())));
    assert_eq!(bench.one(0, set("/a", 7)), Err(KeeperError::BadVersion));
    let session = bench.session(0);
    bench.world.kill(0, true, 100 * MILLI);
    bench.wait(4 * SECOND);
    let Ok(KeeperResult::Data(data, stat)) = bench.one(0, get("/a", false)) else {
        panic!("the znode is there");
    };
    assert_eq!((data.as_ref(), stat.version), (b"first".as_ref(), 0));
    assert_eq!(bench.session(0), session, "the session outlives the crash");
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let mut bench = bench(3, 1, Span::secs(6));
    let answers = bench.ask(
        0,
        vec![
            create("/a", CreateMode::Persistent),
            get("/a", false),
            set("/a", 0),
            get("/a", false),
            set("/a", 0),
            exists("/b", false),
        ],
    );
    let Ok(KeeperResult::Data(first, _)) = &answers[1] else {
        panic!("{answers:?}");
    };
    let Ok(KeeperResult::Data(second, stat)) = &answers[3] else {
        panic!("{answers:?}");
    };
    assert_eq!(
        (first.as_ref(), second.as_ref()),
        (b"first".as_ref(), b"second".as_ref())
    );
    assert_eq!(stat.version, 1);
    let errors: Vec<_> = answers[4..]
        .iter()
        .map(|answer| answer.as_ref().unwrap_err().error)
        .collect();
    assert_eq!(errors, [KeeperError::BadVersion, KeeperError::NoNode]);
}

#[test]
fn a_client_without_a_server_learns_of_its_expiry_when_it_comes_back() {
    let mut bench = bench(3, 2, Span::secs(2));
    bench.one(0, create("/e", CreateMode::Ephemeral)).unwrap();
    bench.one(1, exists("/e", true)).unwrap();
    let old = bench.session(0).unwrap();
    bench.cut(3, 0..3);
    bench.events(0);
    bench.wait(6 * SECOND);
    assert_eq!(bench.events(0), [KeeperEvent::Disconnected]);
    let gone = KeeperEvent::Watch(WatchEvent {
        kind: WatchKind::Deleted,
        path: "/e".into(),
    });
    assert!(bench.events(1).contains(&gone), "the others see it go");
    bench.world.heal();
    bench.wait(6 * SECOND);
    let events = bench.events(0);
    assert_eq!(events[0], KeeperEvent::Expired);
    assert!(matches!(events[1], KeeperEvent::Connected { new: true, session } if session != old));
    let expired = KeeperNote::SessionExpired(old);
    assert_eq!(
        bench
            .world
            .notes
            .iter()
            .filter(|(_, note)| *note == expired)
            .count(),
        1
    );
}

#[test]
fn a_change_missed_while_away_fires_on_return() {
    let mut bench = bench(3, 2, Span::secs(6));
    bench.one(1, create("/a", CreateMode::Persistent)).unwrap();
    bench.one(0, get("/a", true)).unwrap();
    bench.one(0, exists("/b", true)).unwrap_err();
    bench.cut(3, 0..3);
    bench.wait(4500 * MILLI);
    bench.one(1, set("/a", -1)).unwrap();
    bench.one(1, create("/b", CreateMode::Persistent)).unwrap();
    bench.events(0);
    bench.world.heal();
    bench.wait(4 * SECOND);
    let events = bench.events(0);
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            KeeperEvent::Watch(event) => Some((event.kind, &*event.path)),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        [(WatchKind::DataChanged, "/a"), (WatchKind::Created, "/b")]
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, KeeperEvent::Connected { new: false, .. }))
    );
}

#[test]
fn a_server_behind_the_client_sends_it_away() {
    let mut bench = patient_bench(3, 1, Span::secs(10), 40);
    let leader = bench.leader().unwrap();
    // The servers connected to have accepted the client.
    let behind = (0..3)
        .find(|server| *server != leader && bench.world.connections(3, *server) == 0)
        .unwrap();
    let third = 3 - leader - behind;
    bench.one(0, create("/a", CreateMode::Persistent)).unwrap();
    // The lagging server still serves, but hears nothing any more; nobody else is left for the client.
    bench.cut(behind, [leader, third]);
    bench.cut(3, [behind]);
    bench.wait(200 * MILLI);
    while bench.one(0, set("/a", -1)).is_err() {}
    let newest = bench.world.client(3).keeper.last_zxid();
    bench.world.partitions.remove(&(behind, 3));
    bench.world.kill(leader, false, 60 * SECOND);
    bench.world.kill(third, false, 60 * SECOND);
    bench.events(0);
    let end = bench.world.now + 6 * SECOND;
    while bench.world.now < end && bench.world.keeper(behind).is_serving() {
        assert!(bench.world.keeper(behind).last_zxid() < newest);
        bench.wait(MILLI);
    }
    let events = bench.events(0);
    let connected = |event: &KeeperEvent| matches!(event, KeeperEvent::Connected { .. });
    assert!(!events.iter().any(connected), "{events:?}");
    assert_eq!(bench.world.connections(3, behind), 0, "it was sent away");
}

#[test]
fn a_write_whose_connection_breaks_is_neither_done_nor_not_done() {
    let mut bench = bench(3, 1, Span::secs(6));
    bench.one(0, create("/a", CreateMode::Persistent)).unwrap();
    bench.world.request(3, vec![set("/a", 0)]);
    // The request is on its way; its answer will find nobody.
    bench.wait(MILLI / 10);
    bench.cut(3, 0..3);
    bench.wait(5 * SECOND);
    bench.world.heal();
    bench.wait(5 * SECOND);
    let last = bench.world.client(3).history.last().unwrap().clone();
    assert_eq!(last.result.unwrap_err().error, KeeperError::ConnectionLoss);
    let Ok(KeeperResult::Data(_, stat)) = bench.one(0, get("/a", false)) else {
        panic!("the znode is there");
    };
    assert_eq!(stat.version, 1, "it was done");
}

#[test]
fn the_ensemble_goes_on_without_its_leader_but_not_without_a_majority() {
    let mut bench = bench(3, 1, Span::secs(10));
    bench.one(0, create("/a", CreateMode::Persistent)).unwrap();
    let first = bench.leader().unwrap();
    bench.world.kill(first, false, 30 * SECOND);
    bench.wait(6 * SECOND);
    let second = bench.leader().expect("a new leader");
    assert_ne!(first, second);
    bench.wait(3 * SECOND);
    assert!(bench.one(0, set("/a", 0)).is_ok());
    bench.world.kill(second, false, 60 * SECOND);
    bench.wait(5 * SECOND);
    assert_eq!(bench.leader(), None);
    let serving = (0..3).filter(|server| bench.world.keeper(*server).is_serving());
    assert_eq!(
        serving
            .filter(|server| bench.world.nodes[*server].up)
            .count(),
        0
    );
}

#[test]
fn a_closed_session_is_gone_at_once() {
    let mut bench = bench(3, 2, Span::secs(6));
    bench.one(0, create("/e", CreateMode::Ephemeral)).unwrap();
    bench.world.close(3);
    bench.wait(300 * MILLI);
    assert_eq!(bench.events(0).last(), Some(&KeeperEvent::Closed));
    bench.one(1, KeeperOp::Sync { path: "/e".into() }).unwrap();
    assert_eq!(bench.one(1, exists("/e", false)), Err(KeeperError::NoNode));
}

#[test]
fn an_operator_ends_a_session_whose_client_is_alive() {
    let mut bench = bench(3, 2, Span::secs(6));
    bench.one(0, create("/e", CreateMode::Ephemeral)).unwrap();
    let old = bench.session(0).unwrap();
    bench.events(0);
    let leader = bench.leader().unwrap();
    let end = |session| Input::Verb {
        operation: OperationId(0),
        verb: Verb::ExpireSession(session),
    };
    bench.world.step(leader, end(SessionId(77)));
    bench.world.step(leader, end(old));
    bench.world.step(leader, end(old));
    bench.wait(SECOND);
    bench.one(1, KeeperOp::Sync { path: "/e".into() }).unwrap();
    assert_eq!(bench.one(1, exists("/e", false)), Err(KeeperError::NoNode));
    bench.wait(3 * SECOND);
    let events = bench.events(0);
    assert!(events.contains(&KeeperEvent::Expired), "{events:?}");
    let ended = KeeperNote::SessionExpired(old);
    let told = bench.world.notes.iter();
    assert_eq!(told.filter(|(_, note)| *note == ended).count(), 1);
}

#[test]
fn an_idle_ensemble_costs_a_handful_of_steps_per_tick() {
    let mut bench = bench(3, 0, Span::secs(6));
    let before = bench.world.steps;
    bench.wait(100 * SECOND);
    let ticks = 100 * SECOND / cluster::client::TICK;
    // Per half tick: the leader's timer, a ping to each follower and its answer.
    assert!(bench.world.steps - before <= 11 * ticks);
}
