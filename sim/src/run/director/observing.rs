//! The director as the world's observer: what it is told, and whom it tells.

use super::Director;
use super::witness::orders_another_disk;
use crate::application::error_name;
use crate::run::fault;
use crate::scenario::plan::{FaultAction, OPERATOR};
use crate::world::{At, Commands, FaultId, Happening, Observer, Place, Step, Transfer};
use history::event::{FaultStage, Process};
use protocol::keeper::KeeperReply;
use protocol::message::Message;
use protocol::note::{BrokerNote, KeeperNote, Note};
use protocol::verb::{OperationId, Outcome};

/// The cluster's error, under the name that an application sees.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these are answers to an operator"
)]
fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(Err(failure))
        | Outcome::Offsets(Err(failure))
        | Outcome::Reassignments(Err(failure)) => {
            format!("the cluster answered {}", error_name(&failure.error))
        }
        _ => "the cluster gave another answer".to_owned(),
    }
}

impl Observer for Director {
    // Only connects of keeper sessions matter, and they are few: see `delivered`.
    const WANTS_MESSAGES: bool = true;

    fn note(&mut self, place: Place, note: &Note, commands: &mut Commands) {
        self.recorder.moment(place.at.0, self.step);
        self.recorder.note(place.node, note);
        self.view.on_note(place.node, note);
        if let Note::Keeper(KeeperNote::SessionExpired(session)) = note {
            self.on_session_expired(*session);
        }
        if *note == Note::Broker(BrokerNote::ShuttingDown) {
            self.on_shutting_down(place.node);
        }
        let reactions = self.barriers.on_note(place.node, note);
        self.react(place.at, reactions, commands);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these concern this part; the rest passes by"
    )]
    fn outcome(
        &mut self,
        place: Place,
        operation: OperationId,
        outcome: &Outcome,
        _commands: &mut Commands,
    ) {
        if let Some(index) = self.operator_calls.remove(&operation) {
            self.recorder.moment(place.at.0, self.step);
            match outcome {
                Outcome::Done(Ok(())) | Outcome::Offsets(Ok(_)) => self.effective(
                    index,
                    OPERATOR.to_owned(),
                    "the cluster did what it was asked".to_owned(),
                ),
                other => {
                    let kind = self.plan.faults[index].kind;
                    self.recorder.fault(
                        index,
                        kind,
                        OPERATOR.to_owned(),
                        FaultStage::Inert(refusal(other)),
                    );
                }
            }
        } else if self.own.contains(&place.node) {
            self.outcomes.push((place.node, operation, outcome.clone()));
        }
    }

    fn sent(&mut self, transfer: Transfer<'_>) {
        if let Some(messages) = &mut self.messages {
            messages.push((transfer.at, transfer.name));
        }
    }

    fn delivered(&mut self, transfer: Transfer<'_>) {
        if let Message::KeeperReply(reply) = transfer.message
            && let KeeperReply::Connected { session, .. } = **reply
        {
            self.view.session_opened(transfer.name.to, session);
        }
    }

    fn happened(&mut self, place: Place, happening: &Happening, _commands: &mut Commands) {
        self.recorder.moment(place.at.0, self.step);
        let node = place.node;
        match happening {
            Happening::Started => {
                self.alive.insert(node);
                self.recorder
                    .process(node, Process::Started { life: place.life });
                self.disks.remove(&node);
                self.seen(node, "started", |action| {
                    matches!(action, FaultAction::Start { .. }) && !orders_another_disk(action)
                });
            }
            Happening::Killed { kind, loss, .. } => {
                self.alive.remove(&node);
                self.stopping.remove(&node);
                self.on_killed(node, *kind, *loss);
            }
            Happening::Exited { clean } => self.on_exited(place, *clean),
            Happening::Paused => self.recorder.process(node, Process::Paused),
            Happening::Resumed { waiting } => {
                self.recorder.process(node, Process::Resumed);
                if *waiting > 0 {
                    let what = format!("kept {waiting} inputs waiting");
                    self.seen(node, &what, |action| {
                        matches!(action, FaultAction::Pause { .. })
                    });
                }
            }
            Happening::ClockChanged => {
                self.seen(node, "has another clock", |action| {
                    matches!(
                        action,
                        FaultAction::ClockJump { .. } | FaultAction::ClockDrift { .. }
                    )
                });
            }
            Happening::Corrupted { bytes } => {
                if *bytes > 0 {
                    let what = format!("has {bytes} damaged bytes");
                    self.seen(node, &what, |action| {
                        matches!(action, FaultAction::Corrupt { .. })
                    });
                }
            }
            Happening::DiskReplaced { before, after } => {
                self.on_disk_replaced(node, *before, *after);
            }
            Happening::Flushed { .. }
            | Happening::Accepted { .. }
            | Happening::Broken { .. }
            | Happening::Ignored => {}
        }
    }

    fn fault(&mut self, at: At, id: FaultId, began: bool, hits: u64) {
        if began {
            return;
        }
        self.recorder.moment(at.0, self.step);
        let Some(position) = self
            .active
            .iter()
            .position(|active| active.ids.contains(&id))
        else {
            return;
        };
        let (index, target) = (
            self.active[position].fault,
            self.active[position].target.clone(),
        );
        if hits > 0 {
            self.effective(
                index,
                target.clone(),
                fault::effect_in_words(&self.plan.faults[index].action, hits),
            );
        }
        self.recorder.fault(
            index,
            self.plan.faults[index].kind,
            target,
            FaultStage::Healed,
        );
        self.active[position].ids.retain(|other| *other != id);
        if self.active[position].ids.is_empty() {
            self.active.remove(position);
        }
    }

    fn after_step(&mut self, step: &Step, _commands: &mut Commands) {
        self.step = step.position;
    }
}
