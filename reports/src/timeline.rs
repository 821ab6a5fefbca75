//! What happened, in the order it happened: one line for everything a teacher would point at.

use history::History;
use history::event::{
    Broker, Controller, ElectionKind, Event, FaultStage, Group, Keeper, Phase, Process, Replica,
    Transaction, What,
};
use history::manifest::Manifest;
use protocol::ids::{BrokerId, MemberId, TopicPartition};
use protocol::keeper::KeeperRole;
use std::collections::BTreeMap;

/// How a line is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A phase begins.
    Phase,
    /// Something breaks or is broken.
    Fault,
    /// The cluster's answer to it.
    Change,
    /// A mark is reached.
    Mark,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in nanoseconds.
    pub at: u64,
    /// Where; empty for the world.
    pub node: String,
    /// What.
    pub text: String,
    /// How to show it.
    pub tone: Tone,
}

/// The lines of a history.
pub fn lines(history: &History) -> Vec<Line> {
    let mut teller = Teller {
        manifest: &history.manifest,
        isr: BTreeMap::new(),
        setting_up: false,
    };
    let mut lines = Vec::new();
    for event in &history.events {
        if let Some((tone, text)) = teller.tell(event) {
            let node = event.node.map_or(String::new(), |node| {
                history.manifest.node_name(node).to_owned()
            });
            lines.push(Line {
                at: event.at,
                node,
                text,
                tone,
            });
        }
    }
    fold(lines)
}

/// A line that repeats the one before it is counted instead of told again; bustle also where only other bustle is between.
fn fold(lines: Vec<Line>) -> Vec<Line> {
    let mut folded: Vec<(Line, u64, u64)> = Vec::new();
    for line in lines {
        let same = |(told, ..): &(Line, u64, u64)| told.text == line.text && told.node == line.node;
        let bustle = folded.iter().rev().take_while(|(told, ..)| is_bustle(told));
        let back = bustle.take(LOOK_BACK).position(same);
        let repeated = match back {
            Some(back) => folded.len().checked_sub(back + 1),
            None => folded
                .len()
                .checked_sub(1)
                .filter(|last| same(&folded[*last])),
        };
        if let Some(place) = repeated {
            let (_, times, until) = &mut folded[place];
            *times += 1;
            *until = line.at;
        } else {
            folded.push((line.clone(), 1, line.at));
        }
    }
    let say = |(mut line, times, until): (Line, u64, u64)| {
        if times > 1 {
            line.text = format!(
                "{} ({times} times until {} s)",
                line.text,
                crate::number::seconds(until)
            );
        }
        line
    };
    folded.into_iter().map(say).collect()
}

/// How many lines of bustle are looked through for one that says the same: as many as there are leaders that refuse.
const LOOK_BACK: usize = 16;

/// What is said again and again by several at once: refusals, and faults that had nothing to strike.
fn is_bustle(line: &Line) -> bool {
    line.text.starts_with("refuses records") || line.text.contains("had no effect")
}

struct Teller<'a> {
    /// Who is who, and what was to break.
    manifest: &'a Manifest,
    /// The ISR told last, so that the leader's and the controller's words about one change are told once.
    isr: BTreeMap<TopicPartition, Vec<BrokerId>>,
    /// The phase, to leave out the bustle of the beginning.
    setting_up: bool,
}

impl Teller<'_> {
    fn tell(&mut self, event: &Event) -> Option<(Tone, String)> {
        match &event.what {
            What::Phase(phase) => {
                self.setting_up = *phase == Phase::Setup;
                Some((Tone::Phase, phase_in_words(*phase).to_owned()))
            }
            What::Fault(fault) => {
                fault_in_words(&self.manifest.fault_in_words(fault), &fault.stage)
            }
            What::Process(process) => process_in_words(process),
            What::Mark(name) => Some((Tone::Mark, format!("reached: {name}"))),
            What::Replica(partition, note) if !is_internal(partition) => {
                self.replica(partition, note)
            }
            What::Controller(note) => self.controller(note),
            What::Broker(Broker::SessionExpired) => Some((
                Tone::Change,
                "learns that its keeper session expired".to_owned(),
            )),
            What::Broker(Broker::Fatal(why)) => Some((Tone::Fault, format!("ends: {why}"))),
            What::Broker(Broker::ShuttingDown) => {
                Some((Tone::Change, "begins a controlled shutdown".to_owned()))
            }
            What::Broker(Broker::LogDirOffline(dir)) => {
                Some((Tone::Fault, format!("takes log directory {dir} offline")))
            }
            What::Group(group, note) => group_in_words(group.as_str(), note),
            What::Transaction(id, Transaction::TimedOut) => Some((
                Tone::Change,
                format!(
                    "aborts the transaction of {}, which took too long",
                    id.as_str()
                ),
            )),
            What::Keeper(note) => keeper_in_words(note),
            What::Broker(Broker::Registered { .. } | Broker::ControlRefused(_))
            | What::Replica(..)
            | What::Transaction(..)
            | What::Operation(_)
            | What::Client(_) => None,
        }
    }

    fn replica(&mut self, partition: &TopicPartition, note: &Replica) -> Option<(Tone, String)> {
        match note {
            Replica::IsrChanged { isr, .. } => self.isr_changed(partition, isr),
            Replica::Truncated { to, from, rule } => Some((
                Tone::Change,
                format!(
                    "cuts {partition} from {from} back to {to} ({})",
                    rule.replace('_', " ")
                ),
            )),
            Replica::BecameLeader {
                leader_epoch,
                log_end_offset,
                ..
            } => Some((
                Tone::Change,
                format!(
                    "leads {partition} in epoch {leader_epoch}, its log ends at {log_end_offset}"
                ),
            )),
            Replica::DuplicateBatch { base_offset, .. } => Some((
                Tone::Change,
                format!("recognises a batch of {partition} as the one at offset {base_offset}"),
            )),
            Replica::Stopped { deleted: true } => {
                Some((Tone::Change, format!("removes its replica of {partition}")))
            }
            Replica::AppendRefused { error } => Some((
                Tone::Change,
                format!("refuses records for {partition}: {}", error.name()),
            )),
            Replica::Appended(_)
            | Replica::Loaded { .. }
            | Replica::HighWatermark(_)
            | Replica::LogStart(_)
            | Replica::LastStableOffset(_)
            | Replica::Flushed(_)
            | Replica::BecameFollower { .. }
            | Replica::IsrProposed { .. }
            | Replica::IsrRefused { .. }
            | Replica::Stopped { .. }
            | Replica::Acknowledged { .. } => None,
        }
    }

    fn isr_changed(
        &mut self,
        partition: &TopicPartition,
        isr: &[BrokerId],
    ) -> Option<(Tone, String)> {
        let mut sorted = isr.to_vec();
        sorted.sort_unstable();
        let before = self.isr.insert(partition.clone(), sorted.clone());
        let before = before.filter(|before| *before != sorted)?;
        let how = if before.len() < sorted.len() {
            "grows"
        } else {
            "shrinks"
        };
        Some((
            Tone::Change,
            format!(
                "the ISR of {partition} {how}: {} → {}",
                ids(&before),
                ids(isr)
            ),
        ))
    }

    fn controller(&mut self, note: &Controller) -> Option<(Tone, String)> {
        match note {
            Controller::Elected { epoch } => {
                Some((Tone::Change, format!("is the controller, epoch {epoch}")))
            }
            Controller::Resigned { epoch } => Some((
                Tone::Change,
                format!("is no longer the controller (epoch {epoch})"),
            )),
            Controller::LeaderElected(election) if !is_internal(&election.partition) => {
                let mut sorted = election.isr.clone();
                sorted.sort_unstable();
                self.isr.insert(election.partition.clone(), sorted);
                let leader = election
                    .leader
                    .map_or_else(|| "none".to_owned(), |id| format!("broker {id}"));
                let kind = election_in_words(election.kind);
                Some((
                    Tone::Change,
                    format!(
                        "elects a leader of {} ({kind}): {leader}, epoch {}, ISR {}",
                        election.partition,
                        election.leader_epoch,
                        ids(&election.isr)
                    ),
                ))
            }
            Controller::IsrWritten { partition, isr, .. } if !is_internal(partition) => {
                self.isr_changed(partition, isr)
            }
            Controller::BrokerDown { broker } => {
                Some((Tone::Change, format!("counts broker {broker} out")))
            }
            Controller::BrokerUp { broker, .. } if !self.setting_up => {
                Some((Tone::Change, format!("counts broker {broker} in")))
            }
            Controller::ReassignmentStarted {
                partition,
                adding,
                removing,
                ..
            } => Some((
                Tone::Change,
                format!(
                    "moves {partition}: adds {}, removes {}",
                    ids_or_none(adding),
                    ids_or_none(removing)
                ),
            )),
            Controller::Reassigned {
                partition,
                replicas,
            } => Some((
                Tone::Change,
                format!("{partition} has moved: replicas {}", ids(replicas)),
            )),
            Controller::TopicDeleted(topic) => {
                Some((Tone::Change, format!("topic {topic} is gone")))
            }
            Controller::LeaderElected(_)
            | Controller::IsrWritten { .. }
            | Controller::BrokerUp { .. }
            | Controller::TopicCreated(..) => None,
        }
    }
}

fn ids_or_none(brokers: &[BrokerId]) -> String {
    if brokers.is_empty() {
        "none".to_owned()
    } else {
        ids(brokers)
    }
}

fn is_internal(partition: &TopicPartition) -> bool {
    partition.topic.as_str().starts_with("__")
}

fn ids(list: &[BrokerId]) -> String {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join(",")
}

const fn phase_in_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => "the cluster forms",
        Phase::Safety => "the workload begins; faults may happen",
        Phase::Heal => "everything that is not permanent heals",
        Phase::Liveness => "progress is due",
        Phase::FinalRead => "every partition is read from its beginning",
        Phase::End => "end",
    }
}

const fn election_in_words(kind: ElectionKind) -> &'static str {
    match kind {
        ElectionKind::New => "new partition",
        ElectionKind::Clean => "clean",
        ElectionKind::Unclean => "UNCLEAN",
        ElectionKind::Preferred => "preferred replica",
        ElectionKind::ControlledShutdown => "controlled shutdown",
        ElectionKind::Reassignment => "reassignment",
        ElectionKind::Eligible => "eligible replica",
        ElectionKind::LastKnownLeader => "LAST KNOWN LEADER",
    }
}

fn fault_in_words(words: &str, stage: &FaultStage) -> Option<(Tone, String)> {
    match stage {
        FaultStage::Injected => Some((Tone::Fault, format!("FAULT {words}"))),
        FaultStage::Healed => Some((Tone::Fault, format!("fault {words} is over"))),
        FaultStage::Inert(why) => {
            Some((Tone::Fault, format!("fault {words} had no effect: {why}")))
        }
        FaultStage::Effective(_) => None,
    }
}

fn process_in_words(process: &Process) -> Option<(Tone, String)> {
    match process {
        Process::Died { how, bytes_lost: 0 } if how == "exit" => {
            Some((Tone::Fault, "ends itself".to_owned()))
        }
        Process::Died { how, bytes_lost } if how == "power" => Some((
            Tone::Fault,
            format!("loses power, and {bytes_lost} unflushed bytes"),
        )),
        Process::Died { .. } => Some((Tone::Fault, "is dead".to_owned())),
        Process::Stopped => Some((Tone::Change, "stops in good order".to_owned())),
        Process::Paused => Some((Tone::Fault, "stands still".to_owned())),
        Process::Resumed => Some((Tone::Change, "goes on".to_owned())),
        Process::Started { life: 0 | 1 } => None,
        Process::Started { .. } => Some((Tone::Change, "starts again".to_owned())),
        Process::Panicked(why) => Some((
            Tone::Fault,
            format!("PANICS, which is a bug in ktrial: {why}"),
        )),
    }
}

fn group_in_words(group: &str, note: &Group) -> Option<(Tone, String)> {
    match note {
        Group::Generation {
            generation,
            members,
        } => Some((
            Tone::Change,
            format!(
                "group {group} is in generation {generation}: {}",
                members_in_words(members)
            ),
        )),
        Group::MemberRemoved { member, reason } => {
            let name = member
                .as_str()
                .rsplit_once('-')
                .map_or(member.as_str(), |_| short_member(member.as_str()));
            Some((
                Tone::Change,
                format!("group {group} loses {name} ({})", reason.replace('_', " ")),
            ))
        }
        Group::State(_)
        | Group::MemberJoined(_)
        | Group::OffsetCommitted { .. }
        | Group::OffsetPending { .. }
        | Group::PendingDecided { .. }
        | Group::CommitRefused { .. }
        | Group::OffsetExpired(_)
        | Group::Loaded { .. }
        | Group::Unloaded => None,
    }
}

/// Who is in a group: by name as long as the names fit into a line.
fn members_in_words(members: &[MemberId]) -> String {
    match members {
        [] => "nobody".to_owned(),
        [_, _, _, _, _, ..] => format!("{} members", members.len()),
        few => {
            let names: Vec<&str> = few
                .iter()
                .map(|member| short_member(member.as_str()))
                .collect();
            names.join(", ")
        }
    }
}

/// A member id is the client id, a dash and a UUID; the client id is what a reader knows.
fn short_member(member: &str) -> &str {
    let cut = member.len().saturating_sub(37);
    if cut > 0 && member.is_char_boundary(cut) {
        &member[..cut]
    } else {
        member
    }
}

fn keeper_in_words(note: &Keeper) -> Option<(Tone, String)> {
    match note {
        Keeper::Role {
            role: KeeperRole::Leading,
            epoch,
            ..
        } => Some((
            Tone::Change,
            format!("leads the keeper ensemble, epoch {epoch}"),
        )),
        Keeper::Role {
            role: KeeperRole::Looking,
            ..
        } => Some((Tone::Change, "looks for a keeper leader".to_owned())),
        Keeper::SessionExpired(_) => Some((Tone::Change, "expires a session".to_owned())),
        Keeper::Role { .. }
        | Keeper::Logged(_)
        | Keeper::Applied { .. }
        | Keeper::Restored { .. }
        | Keeper::Truncated(_)
        | Keeper::SessionCreated { .. }
        | Keeper::SessionResumed { .. }
        | Keeper::SessionClosed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{Builder, lossy};

    fn texts(history: &History) -> Vec<String> {
        lines(history).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_story_names_fault_death_election_and_truncation_in_their_order() {
        let told = texts(&lossy());
        let wanted = [
            "FAULT kill b1",
            "is dead",
            "elects a leader of orders-0 (clean): broker 2, epoch 1, ISR 2,3",
            "fault kill b1 is over",
            "cuts orders-0 from 20 back to 16 (leader epoch)",
            "the ISR of orders-0 grows: 2,3 → 2,3,1",
        ];
        let found: Vec<&str> = told
            .iter()
            .map(String::as_str)
            .filter(|text| wanted.contains(text))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_repeats_is_counted_instead_of_told_again() {
        let mut b = Builder::new();
        for at in [10, 20, 30] {
            b.die(at, 1);
        }
        assert_eq!(texts(&b.history), ["is dead (3 times until 0.030 s)"]);
    }

    #[test]
    fn two_that_refuse_in_turn_are_told_once_each_until_something_else_happens() {
        let line = |at: u64, text: &str| Line {
            at,
            node: "b1".to_owned(),
            text: text.to_owned(),
            tone: Tone::Change,
        };
        let lines = [
            line(1, "refuses records for a"),
            line(2, "refuses records for b"),
            line(3, "refuses records for a"),
            line(4, "starts again"),
            line(5, "refuses records for a"),
        ];
        let texts: Vec<_> = fold(lines.into()).into_iter().map(|it| it.text).collect();
        let told = [
            "refuses records for a (2 times until 0.000 s)",
            "refuses records for b",
            "starts again",
            "refuses records for a",
        ];
        assert_eq!(texts, told);
    }
}
