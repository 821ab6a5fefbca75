//! Who is the controller: looking at `/controller`, claiming it, and the epoch that fences the one before.
//!
//! With KAFKA-6082 one multi creates `/controller` and raises `/controller_epoch`; when that conflicts, or when its reply
//! was lost, both are read again: the epoch tells whether the claim was ours. Before, the node was created first and the
//! epoch raised afterwards, which leaves the window in which an earlier controller still writes.

use super::step::{Step, Then};
use super::{Controller, Reply, note};
use crate::hands::Hands;
use crate::keeper_session::{create, exists, get_data, set_data};
use crate::znode::{json, paths};
use protocol::behaviour::Fix;
use protocol::error_code::{ErrorCode, KeeperError};
use protocol::ids::ControllerEpoch;
use protocol::keeper::{CreateMode, KeeperOp, KeeperResult};
use protocol::note::ControllerNote;

impl Controller {
    /// Watches `/controller` and reads it (`maybeResign`), then runs for it if it is free (`elect`).
    pub(super) fn look_for_controller(&mut self, hands: &mut Hands<'_, '_>, elect: bool) {
        let ops = vec![
            exists(paths::CONTROLLER, true),
            get_data(paths::CONTROLLER, true),
        ];
        self.ask(hands, ops, Then::ControllerRead { elect });
    }

    pub(super) fn controller_read(
        &mut self,
        hands: &mut Hands<'_, '_>,
        replies: &[Reply],
        elect: bool,
    ) {
        let was_active = self.is_active();
        self.active = match replies.last() {
            Some(Ok(KeeperResult::Data(data, _))) => json::decode_controller(data),
            Some(_) | None => None,
        };
        if was_active && !self.is_active() {
            self.resign(hands);
        }
        if elect && self.active.is_none() {
            let step = if self.settings.behaviour.has(Fix::ControllerMultiCheck) {
                Step::ReadEpoch
            } else {
                self.create_plainly(hands);
                return;
            };
            self.agenda.push(step);
        }
    }

    pub(super) fn read_epoch(&mut self, hands: &mut Hands<'_, '_>) {
        let op = get_data(paths::CONTROLLER_EPOCH, false);
        self.ask(hands, vec![op], Then::EpochRead);
    }

    pub(super) fn epoch_read(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        match replies.first() {
            Some(Ok(KeeperResult::Data(data, stat))) => {
                let present = json::decode_controller_epoch(data).unwrap_or_default();
                let version = stat.version;
                self.agenda.push(Step::Claim { present, version });
            }
            Some(Err(KeeperError::NoNode)) => {
                let zero = json::encode_controller_epoch(ControllerEpoch(0));
                let op = create(paths::CONTROLLER_EPOCH, zero);
                self.ask(hands, vec![op], Then::EpochCreated);
            }
            Some(_) | None => {}
        }
    }

    /// Created by us or by somebody else: either way it is there now.
    pub(super) fn epoch_created(&mut self) {
        self.agenda.push(Step::ReadEpoch);
    }

    pub(super) fn claim(
        &mut self,
        hands: &mut Hands<'_, '_>,
        present: ControllerEpoch,
        version: i32,
    ) {
        let raise = json::encode_controller_epoch(present.next());
        let op = KeeperOp::Multi(vec![
            self.controller_node(hands),
            set_data(paths::CONTROLLER_EPOCH, raise, version),
        ]);
        self.ask(hands, vec![op], Then::Claimed { present });
    }

    fn controller_node(&self, hands: &Hands<'_, '_>) -> KeeperOp {
        KeeperOp::Create {
            path: paths::CONTROLLER.into(),
            data: json::encode_controller(self.settings.broker, hands.now.wall),
            mode: CreateMode::Ephemeral,
        }
    }

    pub(super) fn claimed(
        &mut self,
        hands: &mut Hands<'_, '_>,
        replies: &[Reply],
        present: ControllerEpoch,
    ) {
        match replies.first() {
            Some(Ok(KeeperResult::Multi(results))) => {
                if let Some(KeeperResult::DataSet(stat)) = results.last() {
                    self.won(hands, present.next(), stat.version);
                }
            }
            Some(Err(KeeperError::NodeExists | KeeperError::BadVersion)) => {
                let ops = vec![
                    get_data(paths::CONTROLLER, false),
                    get_data(paths::CONTROLLER_EPOCH, false),
                ];
                self.ask(hands, ops, Then::ClaimChecked { present });
            }
            Some(_) | None => {}
        }
    }

    /// A claim that conflicted may be our own, done before the connection broke (`checkControllerAndEpoch`).
    pub(super) fn claim_checked(
        &mut self,
        hands: &mut Hands<'_, '_>,
        replies: &[Reply],
        present: ControllerEpoch,
    ) {
        if let [
            Ok(KeeperResult::Data(controller, _)),
            Ok(KeeperResult::Data(epoch, stat)),
        ] = replies
        {
            let ours = json::decode_controller(controller) == Some(self.settings.broker);
            if ours && json::decode_controller_epoch(epoch) == Some(present.next()) {
                self.won(hands, present.next(), stat.version);
                return;
            }
        }
        self.moved(hands);
    }

    fn create_plainly(&mut self, hands: &mut Hands<'_, '_>) {
        let op = self.controller_node(hands);
        self.ask(hands, vec![op], Then::PlainCreated);
    }

    pub(super) fn plain_created(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        match replies.first() {
            Some(Ok(_)) => self.plainly_ours(hands),
            Some(Err(KeeperError::NodeExists)) => {
                let op = get_data(paths::CONTROLLER, true);
                self.ask(hands, vec![op], Then::PlainOwnerRead);
            }
            Some(Err(_)) | None => {}
        }
    }

    /// The node is there: of the present session it is ours (`ZKCheckedEphemeral`). Without KAFKA-1451 nobody looks, and a
    /// broker that takes its own left-over node for somebody else's waits for a deletion.
    pub(super) fn plain_owner_read(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        match replies.first() {
            Some(Ok(KeeperResult::Data(data, stat))) => {
                let own_session = hands.keeper.session() == Some(stat.ephemeral_owner);
                if own_session && self.settings.behaviour.has(Fix::ControllerElectionRetry) {
                    self.plainly_ours(hands);
                } else {
                    self.active = json::decode_controller(data);
                }
            }
            Some(Err(KeeperError::NoNode)) => {
                self.agenda.push(Step::LookForController { elect: true });
            }
            Some(_) | None => {}
        }
    }

    fn plainly_ours(&mut self, hands: &mut Hands<'_, '_>) {
        self.active = Some(self.settings.broker);
        let op = get_data(paths::CONTROLLER_EPOCH, false);
        self.ask(hands, vec![op], Then::PlainEpochRead);
    }

    pub(super) fn plain_epoch_read(&mut self, hands: &mut Hands<'_, '_>, replies: &[Reply]) {
        let (op, epoch) = if let Some(Ok(KeeperResult::Data(data, stat))) = replies.first() {
            let present = json::decode_controller_epoch(data).unwrap_or_default();
            let epoch = present.next();
            let data = json::encode_controller_epoch(epoch);
            (set_data(paths::CONTROLLER_EPOCH, data, stat.version), epoch)
        } else {
            let epoch = ControllerEpoch(1);
            let data = json::encode_controller_epoch(epoch);
            (create(paths::CONTROLLER_EPOCH, data), epoch)
        };
        self.ask(hands, vec![op], Then::PlainEpochWritten { epoch });
    }

    pub(super) fn plain_epoch_written(
        &mut self,
        hands: &mut Hands<'_, '_>,
        replies: &[Reply],
        epoch: ControllerEpoch,
    ) {
        match replies.first() {
            Some(Ok(KeeperResult::DataSet(stat))) => self.won(hands, epoch, stat.version),
            Some(Ok(_)) => self.won(hands, epoch, 0),
            Some(Err(_)) | None => {
                // Somebody raised it in between: there is a newer controller.
                self.fail(hands, ErrorCode::NotController);
                self.agenda.push(Step::LookForController { elect: false });
            }
        }
    }

    fn won(&mut self, hands: &mut Hands<'_, '_>, epoch: ControllerEpoch, version: i32) {
        self.active = Some(self.settings.broker);
        self.context.epoch = epoch;
        self.context.epoch_version = version;
        self.watching = true;
        self.terms += 1;
        note(hands.io, ControllerNote::Elected { epoch });
        self.take_over();
    }
}
