//! Ids for idempotent producers (`ProducerIdManager`): blocks of 1000, claimed by conditional writes.
//!
//! Each broker claims a block when it starts and the next one when that is used up. A write that conflicts is compared with
//! what is stored, because its own first try may have been done before the connection broke. The transaction coordinator
//! takes ids of the same blocks by [`ProducerIds::next_id`].

use crate::hands::Hands;
use crate::keeper_session::{Answer, KeeperOwner, Ticket, error_of, get_data, set_data};
use crate::znode::json::ProducerIdBlock;
use crate::znode::paths;
use protocol::api::InitProducerIdResponse;
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::{BrokerId, ProducerEpoch, ProducerId};
use protocol::keeper::{KeeperOp, KeeperResult};
use protocol::machine::RequestToken;
use std::collections::VecDeque;

/// `ProducerIdManager.PidBlockSize`.
const BLOCK: i64 = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Reading,
    Writing(ProducerIdBlock),
    /// The write conflicted: is what is stored ours?
    Checking(ProducerIdBlock),
}

/// The ids.
#[derive(Clone, Debug)]
pub struct ProducerIds {
    broker: BrokerId,
    next: i64,
    /// One past the last id of the block; equal to `next` when there is none left.
    end: i64,
    phase: Phase,
    ticket: Option<Ticket>,
    waiting: VecDeque<RequestToken>,
    /// The last claim failed, which whoever asks for [`Self::next_id`] has not heard.
    failed: bool,
}

impl ProducerIds {
    /// No block yet.
    pub fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            next: 0,
            end: 0,
            phase: Phase::Idle,
            ticket: None,
            waiting: VecDeque::new(),
            failed: false,
        }
    }

    /// Claims the first block.
    pub fn start(&mut self, hands: &mut Hands<'_, '_>) {
        self.claim(hands);
    }

    /// An id of the present block, if one is left; otherwise ask [`Self::start`] for a block and come again.
    pub fn next_id(&mut self) -> Option<ProducerId> {
        (self.next < self.end).then(|| {
            let id = ProducerId(self.next);
            self.next += 1;
            id
        })
    }

    /// Whether a claim has failed since the last time this was asked.
    pub fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Answers InitProducerId without a transactional id, now or once a block is claimed.
    pub fn init_producer_id(&mut self, hands: &mut Hands<'_, '_>, token: RequestToken) {
        self.waiting.push_back(token);
        self.serve(hands);
    }

    /// Takes the answer to an operation of [`KeeperOwner::ProducerIds`].
    pub fn on_reply(&mut self, hands: &mut Hands<'_, '_>, ticket: Ticket, answer: &Answer) {
        if self.ticket != Some(ticket) {
            return;
        }
        self.ticket = None;
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Reading => self.read(hands, answer),
            Phase::Writing(block) => match error_of(answer) {
                None => self.claimed(hands, block),
                Some(KeeperError::BadVersion) => {
                    self.phase = Phase::Checking(block);
                    self.ask(hands, get_data(paths::PRODUCER_IDS, false));
                }
                Some(_) => self.fail(hands),
            },
            Phase::Checking(block) => match answer {
                Ok(KeeperResult::Data(data, _)) if ProducerIdBlock::decode(data) == Some(block) => {
                    self.claimed(hands, block);
                }
                Ok(_) | Err(_) => self.read(hands, answer),
            },
        }
    }

    fn ask(&mut self, hands: &mut Hands<'_, '_>, op: KeeperOp) {
        let ticket = hands
            .keeper
            .submit(hands.now, hands.io, KeeperOwner::ProducerIds, op);
        self.ticket = Some(ticket);
    }

    fn claim(&mut self, hands: &mut Hands<'_, '_>) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Reading;
            self.ask(hands, get_data(paths::PRODUCER_IDS, false));
        }
    }

    fn read(&mut self, hands: &mut Hands<'_, '_>, answer: &Answer) {
        let Ok(KeeperResult::Data(data, stat)) = answer else {
            self.fail(hands);
            return;
        };
        let start = ProducerIdBlock::decode(data).map_or(0, |block| block.end + 1);
        let block = ProducerIdBlock {
            broker: self.broker,
            start,
            end: start + BLOCK - 1,
        };
        self.phase = Phase::Writing(block);
        let write = set_data(paths::PRODUCER_IDS, block.encode(), stat.version);
        self.ask(hands, write);
    }

    fn claimed(&mut self, hands: &mut Hands<'_, '_>, block: ProducerIdBlock) {
        self.next = block.start;
        self.end = block.end + 1;
        self.serve(hands);
    }

    /// `generateProducerId` threw: the coordinator answers with the error of the exception.
    fn fail(&mut self, hands: &mut Hands<'_, '_>) {
        self.failed = true;
        for token in std::mem::take(&mut self.waiting) {
            hands.respond(token, answer_with(Err(ErrorCode::UnknownServerError)));
        }
    }

    fn serve(&mut self, hands: &mut Hands<'_, '_>) {
        while !self.waiting.is_empty() {
            let Some(id) = self.next_id() else {
                self.claim(hands);
                return;
            };
            if let Some(token) = self.waiting.pop_front() {
                hands.respond(token, answer_with(Ok(id)));
            }
        }
    }
}

fn answer_with(id: Result<ProducerId, ErrorCode>) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error: id.err().unwrap_or(ErrorCode::None),
        producer_id: id.unwrap_or(ProducerId(-1)),
        producer_epoch: ProducerEpoch(if id.is_ok() { 0 } else { -1 }),
    }
}
