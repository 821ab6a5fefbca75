//! Asks coordinators whether partitions are in a transaction, for the leaders on this broker (`AddPartitionsToTxnManager`;
//! KIP-890).
//!
//! One question in flight per broker. Left out: several questions in one request.

use crate::peer_channel::{PeerChannel, PeerEvent};
use crate::replication::{Verification, Verified};
use crate::request_channel::internal_client_id;
use crate::timer::TimerOwner;
use protocol::api::ResponseBody;
use protocol::api::transaction::AddPartitionsToTxnRequest;
use protocol::error_code::ErrorCode;
use protocol::ids::{BrokerId, Endpoint};
use protocol::machine::{ConnectionId, Input, Io};
use protocol::time::{Now, Span};
use std::collections::{BTreeMap, VecDeque};

/// The version of `AddPartitionsToTxn` that can only ask.
const VERSION: i16 = 4;

#[derive(Clone, Debug)]
struct Line {
    peer: PeerChannel,
    /// The first one is in flight.
    queue: VecDeque<Verification>,
}

/// The questions under way.
#[derive(Clone, Debug)]
pub struct Verifier {
    broker: BrokerId,
    request_timeout: Span,
    lines: BTreeMap<BrokerId, Line>,
    answers: Vec<(u64, Verified)>,
}

impl Verifier {
    /// Nothing asked yet.
    pub fn new(broker: BrokerId, request_timeout: Span) -> Self {
        Self {
            broker,
            request_timeout,
            lines: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    /// Asks the coordinator at `home`, or answers that there is none.
    pub fn ask(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        home: Option<(BrokerId, Endpoint)>,
        question: Verification,
    ) {
        let Some((broker, endpoint)) = home else {
            let none = Err(ErrorCode::CoordinatorNotAvailable);
            self.answers.push((question.number, none));
            return;
        };
        let client_id = internal_client_id(self.broker.0, "txn-verifier");
        let number = u64::try_from(broker.0).expect("broker ids are not negative");
        let timer = TimerOwner::Verification.timer(number);
        let line = self.lines.entry(broker).or_insert_with(|| Line {
            peer: PeerChannel::new(endpoint, client_id, timer, self.request_timeout),
            queue: VecDeque::new(),
        });
        line.queue.push_back(question);
        line.pump(now, io);
    }

    /// What was answered since the last call.
    pub fn take_answers(&mut self) -> Vec<(u64, Verified)> {
        std::mem::take(&mut self.answers)
    }

    /// Whether this end of a connection leads to a coordinator.
    pub fn owns(&self, connection: ConnectionId) -> bool {
        self.lines.values().any(|line| line.peer.owns(connection))
    }

    /// Takes an input about such a connection.
    pub fn on_connection(
        &mut self,
        now: Now,
        io: &mut Io<'_>,
        (connection, input): (ConnectionId, Input),
    ) {
        let mut lines = self.lines.iter();
        let owner = lines.find(|(_, line)| line.peer.owns(connection));
        if let Some(broker) = owner.map(|(broker, _)| *broker) {
            self.on_line(now, io, (broker, input));
        }
    }

    /// Takes a timer of [`TimerOwner::Verification`].
    pub fn on_timer(&mut self, now: Now, io: &mut Io<'_>, number: u64) {
        if let Ok(broker) = i32::try_from(number) {
            let timer = TimerOwner::Verification.timer(number);
            self.on_line(now, io, (BrokerId(broker), Input::Timer { timer }));
        }
    }

    fn on_line(&mut self, now: Now, io: &mut Io<'_>, (broker, input): (BrokerId, Input)) {
        let Some(line) = self.lines.get_mut(&broker) else {
            return;
        };
        let Some(event) = line.peer.handle(input, io) else {
            return;
        };
        let Some(question) = line.queue.pop_front() else {
            return;
        };
        let verified = match event {
            PeerEvent::Response(ResponseBody::AddPartitionsToTxn(response)) => {
                Ok(response.partitions)
            }
            PeerEvent::Response(_) | PeerEvent::Failed => Err(ErrorCode::NetworkException),
        };
        self.answers.push((question.number, verified));
        line.pump(now, io);
    }
}

impl Line {
    fn pump(&mut self, now: Now, io: &mut Io<'_>) {
        if self.peer.is_busy() {
            return;
        }
        if let Some(question) = self.queue.front() {
            let body = AddPartitionsToTxnRequest {
                producer: question.producer.clone(),
                partitions: question.partitions.clone(),
                verify_only: true,
            };
            self.peer.send(now, io, VERSION, body.into());
        }
    }
}
