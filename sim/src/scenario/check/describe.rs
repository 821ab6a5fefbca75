//! A fault in words, for the timeline.

use super::super::format::{Disk, Fault, FaultKind};
use super::super::plan::{FaultAction, Restart, Trigger};
use super::super::text::Time;
use protocol::ids::TopicName;
use protocol::time::Span;
use std::collections::BTreeMap;

/// In words: what it does and to whom, and the same with how long and when.
pub(super) fn describe(
    kind: FaultKind,
    action: &FaultAction,
    trigger: &Trigger,
    fault: &Fault,
) -> (String, String) {
    let what = format!("{}{}", describe_action(kind, action, fault), amount(fault));
    let lasting = fault
        .lasting
        .as_ref()
        .map_or_else(String::new, |lasting| format!(" for {}", lasting.get_ref()));
    let until = fault
        .until
        .as_ref()
        .map_or_else(String::new, |until| format!(" until {}", until.get_ref()));
    let after = fault
        .after
        .map_or_else(String::new, |after| format!(" {after} after"));
    let when = match trigger {
        Trigger::At(at) => format!("{after} at {}", Time(*at)),
        Trigger::Between(first, last) => {
            format!("{after} between {} and {}", Time(*first), Time(*last))
        }
        Trigger::When(condition) => format!(
            "{after}{} {condition}",
            if fault.after.is_some() { "" } else { " when" }
        ),
    };
    let every = fault
        .every
        .map_or_else(String::new, |every| format!(", again every {every}"));
    let whole = format!("{what}{lasting}{until},{when}{every}");
    (what, whole)
}

fn settings(topic: &TopicName, config: &BTreeMap<String, String>) -> String {
    let settings: Vec<String> = config
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("set {} of {topic}", settings.join(", "))
}

fn describe_action(kind: FaultKind, action: &FaultAction, fault: &Fault) -> String {
    let word = kind.word().replace('_', " ");
    match action {
        FaultAction::Kill {
            target, restart, ..
        }
        | FaultAction::Stop { target, restart } => {
            format!("{word} {target}{}", back(*restart))
        }
        FaultAction::Start { target, disk } => format!("{word} {target}{}", with(*disk)),
        FaultAction::Corrupt {
            target, partition, ..
        } => {
            let file = fault.file.as_ref().map_or("", |file| file.get_ref().word());
            let of = partition
                .as_ref()
                .map_or_else(String::new, |partition| format!(" of {partition}"));
            format!("{word} the {}{of} on {target}", file.replace('_', " "))
        }
        FaultAction::SnapshotDisk { target }
        | FaultAction::Pause { target }
        | FaultAction::ExpireSession { target }
        | FaultAction::ClockJump { target, .. }
        | FaultAction::ClockDrift { target, .. }
        | FaultAction::Lane { target, .. }
        | FaultAction::Disk { target, .. } => format!("{word} {target}"),
        FaultAction::Partition { target, from, .. } => {
            let from = from
                .as_ref()
                .map_or_else(|| "everybody else".to_owned(), ToString::to_string);
            format!("partition {target} from {from}")
        }
        FaultAction::Link { from, to, .. } => format!("{word} on the link from {from} to {to}"),
        FaultAction::Message {
            from, to, count, ..
        } => {
            let text = fault
                .message
                .as_ref()
                .map_or("", |message| message.get_ref());
            let from = from
                .as_ref()
                .map_or_else(String::new, |from| format!(" from {from}"));
            let to = to
                .as_ref()
                .map_or_else(String::new, |to| format!(" to {to}"));
            format!("{word} {count} × {text}{}{from}{to}", about(fault))
        }
        FaultAction::Elect { partition, .. } => format!("{word} leader of {partition}"),
        FaultAction::AddPartitions { topic, partitions } => {
            format!("raise {topic} to {partitions} partitions")
        }
        FaultAction::AlterConfig { topic, config } => settings(topic, config),
        FaultAction::Reassign {
            partition,
            replicas,
            ..
        } => match replicas {
            Some(ids) => format!("move {partition} to brokers {ids:?}"),
            None => format!("cancel the move of {partition}"),
        },
        FaultAction::DeleteRecords { partition, before } => {
            let before = before.map_or_else(
                || "the high watermark".to_owned(),
                |offset| offset.0.to_string(),
            );
            format!("delete the records of {partition} before {before}")
        }
        FaultAction::DeleteTopic { topic } => format!("delete topic {topic}"),
    }
}

/// How much, where a number says so.
fn amount(fault: &Fault) -> String {
    let by = fault.by.map(|by| {
        let way = if fault.backwards { " backwards" } else { "" };
        format!(" by {by}{way}")
    });
    let ppm = fault.ppm.map(|ppm| format!(" by {ppm} ppm"));
    let share = fault.per_mille.map(|share| format!(" of {share} ‰"));
    let limit = fault.bandwidth.map(|limit| format!(" of {limit} B/s"));
    let factor = fault
        .factor
        .map(|factor| format!(" by a factor of {factor}"));
    let all = [by, ppm, share, limit, factor];
    all.into_iter().flatten().collect()
}

fn back(restart: Restart) -> String {
    let after = match restart.after {
        None => String::new(),
        Some(Span::ZERO) => ", back at once".to_owned(),
        Some(after) => format!(", back after {}", Time(after)),
    };
    format!("{after}{}", with(restart.disk))
}

fn with(disk: Disk) -> &'static str {
    match disk {
        Disk::Same => "",
        Disk::Empty => " with an empty disk",
        Disk::Older => " with its older disk",
    }
}

/// What the messages are to be about.
fn about(fault: &Fault) -> String {
    let partition = fault.partition.as_ref().map(|text| text.get_ref().clone());
    let epoch = fault
        .leader_epoch
        .as_ref()
        .map(|epoch| format!("epoch {}", epoch.get_ref()));
    let path = fault.path.as_ref().map(|path| path.get_ref().clone());
    let all: Vec<String> = [partition, epoch, path].into_iter().flatten().collect();
    if all.is_empty() {
        String::new()
    } else {
        format!(" about {}", all.join(", "))
    }
}
