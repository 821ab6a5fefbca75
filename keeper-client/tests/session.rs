//! The client against a server played by hand.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use keeper_client::{KeeperClient, KeeperEvent, KeeperState};
use protocol::disk::NoDisk;
use protocol::error_code::KeeperError;
use protocol::ids::{Endpoint, SessionId, Xid, Zxid};
use protocol::keeper::{
    KeeperFailure, KeeperOp, KeeperReply, KeeperRequest, KeeperResult, Stat, WatchEvent, WatchKind,
};
use protocol::machine::{CloseReason, ConnectionId, Effect, Input, Io, Stamped, TimerId};
use protocol::message::Message;
use protocol::time::{Mono, Now, Span};

const TIMER: TimerId = TimerId(77);
const SESSION: SessionId = SessionId(0x100);

struct Bench {
    client: KeeperClient,
    now: Mono,
    next: u64,
    timer: Option<Mono>,
    dialled: Vec<(ConnectionId, Endpoint)>,
    sent: Vec<KeeperRequest>,
    closed: Vec<ConnectionId>,
}

impl Bench {
    /// Three servers, a session of six seconds, started.
    fn new() -> Self {
        let servers = (1..=3)
            .map(|n| Endpoint::new(format!("k{n}"), 2181))
            .collect();
        let mut bench = Self {
            client: KeeperClient::new(servers, Span::secs(6), 3, TIMER),
            now: Mono(0),
            next: 1,
            timer: None,
            dialled: Vec::new(),
            sent: Vec::new(),
            closed: Vec::new(),
        };
        bench.act(KeeperClient::start);
        bench
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut KeeperClient, Now, &mut Io<'_>) -> T) -> T {
        let now = Now {
            mono: self.now,
            ..Now::default()
        };
        let mut effects: Vec<Stamped> = Vec::new();
        let mut disk = NoDisk;
        let mut io = Io::new(&mut disk, &mut effects, &mut self.next);
        let answer = act(&mut self.client, now, &mut io);
        for Stamped { effect, .. } in effects {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is a failure")]
            match effect {
                Effect::Connect { connection, to } => self.dialled.push((connection, to)),
                Effect::Send {
                    message: Message::KeeperRequest(request),
                    ..
                } => self.sent.push(*request),
                Effect::Close { connection } => self.closed.push(connection),
                Effect::SetTimer { timer: TIMER, at } => self.timer = Some(at),
                Effect::CancelTimer { timer: TIMER } => self.timer = None,
                effect => panic!("{effect:?}"),
            }
        }
        answer
    }

    fn give(&mut self, input: &Input) -> bool {
        self.act(|client, now, io| client.handle(now, input, io))
    }

    fn connection(&self) -> ConnectionId {
        self.dialled.last().unwrap().0
    }

    fn reply(&mut self, reply: KeeperReply) {
        let connection = self.connection();
        let message = Message::KeeperReply(Box::new(reply));
        assert!(self.give(&Input::Received {
            connection,
            message
        }));
    }

    fn answer(&mut self, xid: Xid, result: Result<KeeperResult, KeeperFailure>) {
        let zxid = Zxid(9);
        self.reply(KeeperReply::Reply { xid, zxid, result });
    }

    /// Opens the connection dialled last and grants the session.
    fn connect(&mut self) {
        let connection = self.connection();
        assert!(self.give(&Input::Opened { connection }));
        self.reply(KeeperReply::Connected {
            timeout: Span::secs(6),
            session: SESSION,
            password: 5,
        });
    }

    fn lose(&mut self) {
        let connection = self.connection();
        let reason = CloseReason::Reset;
        assert!(self.give(&Input::Closed { connection, reason }));
    }

    /// Lets the timer ring at its time.
    fn ring(&mut self) {
        self.now = self.timer.take().expect("a timer is set");
        assert!(self.give(&Input::Timer { timer: TIMER }));
    }

    fn request(&mut self, op: KeeperOp) -> Xid {
        self.act(|client, now, io| client.request(now, io, op))
    }

    fn events(&mut self) -> Vec<KeeperEvent> {
        std::iter::from_fn(|| self.client.next_event()).collect()
    }

    fn sent(&mut self) -> Vec<KeeperRequest> {
        std::mem::take(&mut self.sent)
    }
}

fn get(watch: bool) -> KeeperOp {
    KeeperOp::GetData {
        path: "/a".into(),
        watch,
    }
}

fn data() -> KeeperResult {
    KeeperResult::Data(Bytes::new(), Stat::default())
}

fn lost(xid: Xid, error: KeeperError) -> KeeperEvent {
    KeeperEvent::Reply {
        xid,
        zxid: Zxid::ZERO,
        result: Err(KeeperFailure {
            error,
            multi: Vec::new(),
        }),
    }
}

#[test]
fn requests_made_before_the_session_stands_follow_it() {
    let mut bench = Bench::new();
    let xid = bench.request(get(false));
    bench.connect();
    let sent = bench.sent();
    assert!(
        matches!(sent[0], KeeperRequest::Connect { session: SessionId(0), timeout, .. } if timeout == Span::secs(6))
    );
    assert!(matches!(sent[1], KeeperRequest::Op { xid: sent, .. } if sent == xid));
    let connected = KeeperEvent::Connected {
        session: SESSION,
        new: true,
    };
    assert_eq!(bench.events(), [connected]);
}

#[test]
fn a_lost_connection_leaves_every_request_without_an_outcome() {
    let mut bench = Bench::new();
    bench.connect();
    let first = bench.request(get(false));
    let second = bench.request(get(false));
    bench.answer(first, Ok(data()));
    bench.events();
    bench.lose();
    assert_eq!(
        bench.events(),
        [
            lost(second, KeeperError::ConnectionLoss),
            KeeperEvent::Disconnected
        ]
    );
}

#[test]
fn the_session_and_its_watches_are_taken_up_again() {
    let mut bench = Bench::new();
    bench.connect();
    let xid = bench.request(get(true));
    bench.answer(xid, Ok(data()));
    bench.lose();
    bench.ring();
    bench.sent();
    bench.events();
    bench.connect();
    let sent = bench.sent();
    assert!(matches!(
        sent[0],
        KeeperRequest::Connect {
            session: SESSION,
            password: 5,
            last_zxid_seen: Zxid(9),
            ..
        }
    ));
    let renewal = KeeperRequest::SetWatches {
        relative_zxid: Zxid(9),
        data: vec!["/a".into()],
        exist: vec![],
        child: vec![],
    };
    assert_eq!(sent[1], renewal);
    let again = KeeperEvent::Connected {
        session: SESSION,
        new: false,
    };
    assert_eq!(bench.events(), [again]);
    let event = WatchEvent {
        kind: WatchKind::DataChanged,
        path: "/a".into(),
    };
    bench.reply(KeeperReply::Event(event.clone()));
    bench.reply(KeeperReply::Event(event.clone()));
    assert_eq!(bench.events(), [KeeperEvent::Watch(event)]);
}

#[test]
fn expiry_is_told_by_a_server_and_ends_everything() {
    let mut bench = Bench::new();
    bench.connect();
    bench.lose();
    bench.ring();
    let waiting = bench.request(get(true));
    bench.events();
    let connection = bench.connection();
    bench.give(&Input::Opened { connection });
    bench.reply(KeeperReply::Connected {
        timeout: Span::ZERO,
        session: SessionId(0),
        password: 0,
    });
    assert_eq!(
        bench.events(),
        [
            KeeperEvent::Expired,
            lost(waiting, KeeperError::SessionExpired)
        ]
    );
    assert_eq!(bench.client.state(), KeeperState::Closed);
    let late = bench.request(get(false));
    assert_eq!(bench.events(), [lost(late, KeeperError::SessionExpired)]);
    bench.act(KeeperClient::restart_session);
    bench.sent();
    bench.connect();
    assert!(matches!(
        bench.sent()[0],
        KeeperRequest::Connect {
            session: SessionId(0),
            last_zxid_seen: Zxid(0),
            ..
        }
    ));
}

#[test]
fn an_idle_client_pings_after_a_third_and_gives_up_after_two() {
    let mut bench = Bench::new();
    bench.connect();
    bench.sent();
    bench.ring();
    assert_eq!(bench.now, Mono(2_000_000_000));
    assert_eq!(bench.sent(), [KeeperRequest::Ping]);
    // The server answers: another four seconds of patience.
    bench.reply(KeeperReply::Pong { zxid: Zxid(0) });
    bench.events();
    bench.ring();
    assert_eq!(bench.now, Mono(4_000_000_000));
    assert_eq!(bench.sent(), [KeeperRequest::Ping]);
    bench.ring();
    assert_eq!(bench.now, Mono(6_000_000_000));
    assert_eq!(bench.events(), [KeeperEvent::Disconnected]);
    assert_eq!(bench.closed, [bench.connection()]);
}

#[test]
fn a_server_that_does_not_answer_has_a_third_of_the_session() {
    let mut bench = Bench::new();
    bench.ring();
    assert_eq!(bench.now, Mono(2_000_000_000));
    assert!(bench.closed.is_empty() || bench.closed == [bench.dialled[0].0]);
    bench.ring();
    assert_eq!(bench.dialled.len(), 2);
    assert_ne!(bench.dialled[0].1, bench.dialled[1].1);
    // Never connected, so there is nothing to be disconnected from.
    assert_eq!(bench.events(), []);
}

#[test]
fn closing_waits_for_the_server() {
    let mut bench = Bench::new();
    bench.connect();
    bench.events();
    bench.sent();
    bench.act(KeeperClient::close);
    let sent = bench.sent();
    let [KeeperRequest::CloseSession { xid }] = sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(bench.events(), []);
    bench.answer(xid, Ok(KeeperResult::Done));
    assert_eq!(bench.events(), [KeeperEvent::Closed]);
    assert_eq!(bench.timer, None);
}

#[test]
fn inputs_of_others_are_left_alone() {
    let mut bench = Bench::new();
    bench.connect();
    let connection = ConnectionId(999);
    assert!(!bench.give(&Input::Opened { connection }));
    assert!(!bench.give(&Input::Timer { timer: TimerId(1) }));
    assert!(!bench.give(&Input::Started));
}

#[test]
fn an_answer_out_of_order_ends_the_connection() {
    let mut bench = Bench::new();
    bench.connect();
    let xid = bench.request(get(false));
    bench.events();
    bench.answer(Xid(xid.0 + 1), Ok(data()));
    assert_eq!(
        bench.events(),
        [
            lost(xid, KeeperError::ConnectionLoss),
            KeeperEvent::Disconnected
        ]
    );
}
