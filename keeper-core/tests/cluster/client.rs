//! An application on a keeper session: random operations, and a record of each with its answer.

use super::random::Random;
use super::world::{MILLI, SECOND};
use bytes::Bytes;
use keeper_client::{KeeperClient, KeeperEvent};
use protocol::ids::{Endpoint, SessionId, Xid, Zxid};
use protocol::keeper::{
    CreateMode, KeeperFailure, KeeperOp, KeeperResult, Path, WatchEvent, WatchKind,
};
use protocol::machine::{Input, Io, TimerId};
use protocol::time::{Now, Span};
use std::collections::BTreeMap;

const SESSION: TimerId = TimerId(1);
const WORK: TimerId = TimerId(2);

/// The shared znodes every client writes to.
pub const REGISTERS: [&str; 4] = ["/r0", "/r1", "/r2", "/r3"];
/// Two znodes that only a multi writes.
pub const TWINS: [&str; 2] = ["/m0", "/m1"];

/// One operation and its end, in the order of the answers.
#[derive(Clone, Debug)]
pub struct Record {
    pub invoked: u64,
    pub done: u64,
    pub session: SessionId,
    pub xid: Xid,
    pub op: KeeperOp,
    pub zxid: Zxid,
    pub result: Result<KeeperResult, KeeperFailure>,
}

#[derive(Clone)]
pub struct TestClient {
    pub keeper: KeeperClient,
    name: u64,
    random: Random,
    /// Whether it makes operations of its own.
    pub working: bool,
    created: u64,
    under_way: BTreeMap<Xid, (u64, SessionId, KeeperOp)>,
    pub history: Vec<Record>,
    pub events: Vec<KeeperEvent>,
    watched: BTreeMap<Path, i32>,
    pub violations: Vec<String>,
    pub expiries: u32,
    pub watch_events: u32,
}

impl TestClient {
    pub fn new(servers: u32, timeout: Span, name: u64, seed: u64) -> Self {
        let servers = (1..=servers)
            .map(|id| Endpoint::new(format!("keeper-{id}"), keeper_core::CLIENT_PORT))
            .collect();
        Self {
            keeper: KeeperClient::new(servers, timeout, seed, SESSION),
            name,
            random: Random(seed),
            working: false,
            created: 0,
            under_way: BTreeMap::new(),
            history: Vec::new(),
            events: Vec::new(),
            watched: BTreeMap::new(),
            violations: Vec::new(),
            expiries: 0,
            watch_events: 0,
        }
    }

    pub fn handle(&mut self, now: Now, input: &Input, io: &mut Io<'_>) {
        match input {
            Input::Started => {
                self.keeper.start(now, io);
                io.set_timer(WORK, now.mono + Span::millis(300));
            }
            Input::Timer { timer: WORK } => {
                if self.working && self.keeper.is_connected() && self.keeper.outstanding() < 6 {
                    self.work(now, io);
                }
                let pause = self.random.between(5, 150);
                io.set_timer(WORK, now.mono + Span::millis(pause));
            }
            other => {
                self.keeper.handle(now, other, io);
            }
        }
        self.drain(now, io);
    }

    /// Makes an operation now.
    pub fn request(&mut self, now: Now, io: &mut Io<'_>, op: KeeperOp) {
        let session = self.keeper.session().unwrap_or_default();
        let xid = self.keeper.request(now, io, op.clone());
        self.under_way.insert(xid, (now.mono.0, session, op));
    }

    fn work(&mut self, now: Now, io: &mut Io<'_>) {
        let register = REGISTERS[usize::try_from(self.random.below(4)).unwrap()];
        self.created += 1;
        let unique = format!("{}-{}", self.name, self.created);
        let data = Bytes::from(unique.clone());
        let create = |path: String, mode| KeeperOp::Create {
            path: path.into(),
            data: data.clone(),
            mode,
        };
        let set = |path: &str| KeeperOp::SetData {
            path: path.into(),
            data: data.clone(),
            version: -1,
        };
        let watch = self.random.one_in(2);
        let get = |path: &str| KeeperOp::GetData {
            path: path.into(),
            watch,
        };
        let ops = match self.random.below(12) {
            0..=2 => vec![set(register)],
            3..=5 => vec![get(register)],
            6 => vec![create(format!("/n-{unique}"), CreateMode::Persistent)],
            7 => vec![create(format!("/e-{unique}"), CreateMode::Ephemeral)],
            8 => vec![create("/s/x-".into(), CreateMode::PersistentSequential)],
            9 => vec![KeeperOp::Multi(TWINS.map(set).to_vec())],
            10 => vec![
                KeeperOp::Sync {
                    path: register.into(),
                },
                get(register),
            ],
            // Pipelined: the second read must see the write.
            _ => vec![get(register), set(register), get(register)],
        };
        for op in ops {
            self.request(now, io, op);
        }
    }

    fn drain(&mut self, now: Now, io: &mut Io<'_>) {
        while let Some(event) = self.keeper.next_event() {
            match &event {
                KeeperEvent::Expired => {
                    self.expiries += 1;
                    self.watched.clear();
                    self.keeper.restart_session(now, io);
                }
                KeeperEvent::Watch(WatchEvent { kind, path }) => {
                    self.watch_events += 1;
                    if *kind == WatchKind::DataChanged {
                        self.watched.remove(path);
                    }
                }
                KeeperEvent::Reply { xid, zxid, result } => {
                    let (invoked, session, op) = self.under_way.remove(xid).unwrap();
                    let record = Record {
                        invoked,
                        done: now.mono.0,
                        session,
                        xid: *xid,
                        op,
                        zxid: *zxid,
                        result: result.clone(),
                    };
                    self.look_at(&record);
                    self.history.push(record);
                }
                KeeperEvent::Connected { .. } | KeeperEvent::Disconnected | KeeperEvent::Closed => {
                }
            }
            self.events.push(event);
        }
    }

    /// The change of a watched znode may not be seen before the watch has fired.
    fn look_at(&mut self, record: &Record) {
        let Ok(KeeperResult::Data(_, stat) | KeeperResult::DataSet(stat)) = &record.result else {
            return;
        };
        let path: Path = record.op.path().into();
        if let Some(version) = self.watched.get(&path)
            && *version < stat.version
        {
            self.violations.push(format!(
                "client {} saw {path} at {} before the watch on {version} fired",
                self.name, stat.version
            ));
        }
        if matches!(record.op, KeeperOp::GetData { watch: true, .. }) {
            self.watched.insert(path, stat.version);
        }
    }
}

/// How long a schedule of faults lasts.
pub const FAULTS: u64 = 40 * SECOND;
/// How long everything may take to come back.
pub const RECOVERY: u64 = 40 * SECOND;
/// The ensemble's tick.
pub const TICK: u64 = 500 * MILLI;
