//! What breaks: each fault's keys must fit its kind, and what it names must be there.

use super::super::format::{Before, Disk, Fault, FaultKind};
use super::super::message::kind_of;
use super::super::plan::{DiskChange, FaultAction, FaultPlan, LinkChange, MessageChange, Trigger};
use super::super::target::Target;
use super::Checker;
use protocol::ids::{Offset, TopicName, TopicPartition};
use protocol::time::Span;
use std::ops::Range;
use toml::Spanned;

impl FaultKind {
    /// Every kind, in the order of the catalogue.
    pub const ALL: [Self; 27] = [
        Self::Kill,
        Self::PowerFailure,
        Self::Stop,
        Self::Start,
        Self::Restart,
        Self::Pause,
        Self::Partition,
        Self::Delay,
        Self::Bandwidth,
        Self::Loss,
        Self::Hold,
        Self::Drop,
        Self::Duplicate,
        Self::LaneDelay,
        Self::ExpireSession,
        Self::ClockJump,
        Self::ClockDrift,
        Self::SlowDisk,
        Self::StuckDisk,
        Self::FullDisk,
        Self::ElectPreferred,
        Self::ElectUnclean,
        Self::AddPartitions,
        Self::DeleteRecords,
        Self::Reassign,
        Self::CancelReassignment,
        Self::DeleteTopic,
    ];

    /// The word of scenario files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerFailure => "power_failure",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
            Self::Loss => "loss",
            Self::Hold => "hold",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::LaneDelay => "lane_delay",
            Self::ExpireSession => "expire_session",
            Self::ClockJump => "clock_jump",
            Self::ClockDrift => "clock_drift",
            Self::SlowDisk => "slow_disk",
            Self::StuckDisk => "stuck_disk",
            Self::FullDisk => "full_disk",
            Self::ElectPreferred => "elect_preferred",
            Self::ElectUnclean => "elect_unclean",
            Self::AddPartitions => "add_partitions",
            Self::DeleteRecords => "delete_records",
            Self::Reassign => "reassign",
            Self::CancelReassignment => "cancel_reassignment",
            Self::DeleteTopic => "delete_topic",
        }
    }

    /// It lasts, so it takes `for` or `until`.
    const fn lasts(self) -> bool {
        matches!(
            self,
            Self::Pause
                | Self::Partition
                | Self::Delay
                | Self::Bandwidth
                | Self::Loss
                | Self::Hold
                | Self::LaneDelay
                | Self::SlowDisk
                | Self::StuckDisk
                | Self::FullDisk
        )
    }
}

/// One fault being read; knows where it stands, for complaints.
struct Reader<'c, 'a> {
    checker: &'c mut Checker<'a>,
    fault: &'c Fault,
    span: Range<usize>,
}

impl Checker<'_> {
    pub(super) fn faults(&mut self) -> Vec<FaultPlan> {
        let of_side = self.side.into_iter().flat_map(|side| &side.faults);
        let mut plans = Vec::new();
        for fault in self.file.faults.iter().chain(of_side) {
            let mut reader = Reader {
                checker: self,
                fault: fault.get_ref(),
                span: fault.span(),
            };
            plans.extend(reader.plan());
        }
        plans
    }
}

impl Reader<'_, '_> {
    fn plan(&mut self) -> Option<FaultPlan> {
        let fault = self.fault;
        let trigger = self.trigger()?;
        self.check_lasting();
        self.check_repeat();
        let action = self.action()?;
        let description = describe(*fault.kind.get_ref(), &action, &trigger, fault);
        Some(FaultPlan {
            name: fault.name.clone(),
            kind: fault.kind.get_ref().word(),
            description,
            action,
            trigger,
            after: fault.after.map_or(Span::ZERO, |after| after.0),
            repeat: fault.every.map(|every| (every.0, fault.times)),
            lasting: fault.lasting.as_ref().map(|lasting| lasting.get_ref().0),
            until: fault.until.as_ref().map(|until| until.get_ref().clone()),
            permanent: fault.permanent,
            optional: fault.optional,
        })
    }

    fn trigger(&mut self) -> Option<Trigger> {
        let fault = self.fault;
        match (&fault.at, &fault.between, &fault.when) {
            (Some(at), None, None) => Some(Trigger::At(self.checker.within(at))),
            (None, Some(between), None) => {
                let [first, last] = *between.get_ref();
                if first > last {
                    let message = format!("the range begins at {first} and ends at {last}");
                    self.checker
                        .complain("scenario::empty-range", between.span(), message);
                }
                self.checker.within_at(last, between.span());
                Some(Trigger::Between(first.0, last.0))
            }
            (None, None, Some(when)) => {
                self.checker.condition(when);
                Some(Trigger::When(when.get_ref().clone()))
            }
            _ => {
                let message = "a fault happens `at` a time, `between` two times, or `when` a condition is true: give exactly one";
                self.checker
                    .complain("scenario::fault-time", self.span.clone(), message);
                None
            }
        }
    }

    fn check_lasting(&mut self) {
        let fault = self.fault;
        let kind = *fault.kind.get_ref();
        if let Some(lasting) = &fault.lasting
            && !kind.lasts()
        {
            let message = format!("`for` has no meaning for `{}`", kind.word());
            self.checker
                .complain("scenario::fault-key", lasting.span(), message);
        }
        if let Some(until) = &fault.until {
            self.checker.condition(until);
            if !kind.lasts() {
                let message = format!("`until` has no meaning for `{}`", kind.word());
                self.checker
                    .complain("scenario::fault-key", until.span(), message);
            }
        }
    }

    fn check_repeat(&mut self) {
        if self.fault.times.is_some() && self.fault.every.is_none() {
            self.checker.complain(
                "scenario::fault-key",
                self.span.clone(),
                "`times` needs `every`",
            );
        }
        if self.fault.every.is_some_and(|every| every.0 == Span::ZERO) {
            self.checker.complain(
                "scenario::fault-key",
                self.span.clone(),
                "`every` is longer than no time at all",
            );
        }
    }

    fn action(&mut self) -> Option<FaultAction> {
        let fault = self.fault;
        let restart_after = fault.restart_after.map(|after| after.0);
        let empty_disk = fault.disk == Some(Disk::Empty);
        Some(match *fault.kind.get_ref() {
            FaultKind::Kill => FaultAction::Kill {
                target: self.target()?,
                power: false,
                restart_after,
                empty_disk,
            },
            FaultKind::PowerFailure => FaultAction::Kill {
                target: self.target()?,
                power: true,
                restart_after,
                empty_disk,
            },
            FaultKind::Restart => FaultAction::Kill {
                target: self.target()?,
                power: false,
                restart_after: Some(restart_after.unwrap_or_default()),
                empty_disk,
            },
            FaultKind::Stop => FaultAction::Stop {
                target: self.target()?,
                restart_after,
            },
            FaultKind::Start => FaultAction::Start {
                target: self.target()?,
            },
            FaultKind::Pause => FaultAction::Pause {
                target: self.target()?,
            },
            FaultKind::Partition => self.partition()?,
            FaultKind::Delay => self.link(fault.by.map(|by| LinkChange::Delay(by.0)), "by")?,
            FaultKind::Bandwidth => {
                self.link(fault.bandwidth.map(LinkChange::Bandwidth), "bandwidth")?
            }
            FaultKind::Loss => self.link(fault.per_mille.map(LinkChange::Loss), "per_mille")?,
            FaultKind::Hold => self.message(MessageChange::Hold)?,
            FaultKind::Drop => self.message(MessageChange::Drop)?,
            FaultKind::Duplicate => self.duplicate()?,
            FaultKind::LaneDelay => self.lane()?,
            FaultKind::ExpireSession => FaultAction::ExpireSession {
                target: self.target()?,
            },
            FaultKind::ClockJump => self.clock_jump()?,
            FaultKind::ClockDrift => FaultAction::ClockDrift {
                target: self.target()?,
                ppm: self.needed(fault.ppm, "ppm")?,
            },
            FaultKind::SlowDisk => {
                let factor = self.needed(fault.factor, "factor")?;
                self.disk(DiskChange::Slow(factor))?
            }
            FaultKind::StuckDisk => self.disk(DiskChange::Stuck)?,
            FaultKind::FullDisk => self.disk(DiskChange::Full)?,
            FaultKind::ElectPreferred => self.elect(false)?,
            FaultKind::ElectUnclean => self.elect(true)?,
            FaultKind::AddPartitions => self.add_partitions()?,
            FaultKind::DeleteRecords => self.delete_records()?,
            FaultKind::Reassign => self.reassign()?,
            FaultKind::CancelReassignment => self.cancel_reassignment()?,
            FaultKind::DeleteTopic => FaultAction::DeleteTopic {
                topic: self.topic()?,
            },
        })
    }

    fn needed<T>(&mut self, value: Option<T>, key: &str) -> Option<T> {
        if value.is_none() {
            let message = format!("`{}` needs `{key}`", self.fault.kind.get_ref().word());
            self.checker
                .complain("scenario::fault-key", self.span.clone(), message);
        }
        value
    }

    fn target(&mut self) -> Option<Target> {
        let target = self.needed(self.fault.target.as_ref(), "target")?;
        self.checker.target(target);
        Some(target.get_ref().clone())
    }

    fn optional(&mut self, target: Option<&Spanned<Target>>) -> Option<Target> {
        target.map(|target| {
            self.checker.target(target);
            target.get_ref().clone()
        })
    }

    fn partition(&mut self) -> Option<FaultAction> {
        let target = self.target()?;
        let from = self.optional(self.fault.from.as_ref());
        let direction = self
            .fault
            .direction
            .unwrap_or(super::super::format::Direction::Both);
        Some(FaultAction::Partition {
            target,
            from,
            direction,
        })
    }

    fn link(&mut self, change: Option<LinkChange>, key: &str) -> Option<FaultAction> {
        let change = self.needed(change, key)?;
        let from = self.needed(self.fault.from.as_ref(), "from")?;
        let to = self.needed(self.fault.to.as_ref(), "to")?;
        self.checker.target(from);
        self.checker.target(to);
        Some(FaultAction::Link {
            from: from.get_ref().clone(),
            to: to.get_ref().clone(),
            change,
        })
    }

    fn duplicate(&mut self) -> Option<FaultAction> {
        if !self.checker.file.unfaithful {
            let message = "TCP delivers no message twice; write `unfaithful = true` at the top to ask for it all the same";
            self.checker
                .complain("scenario::unfaithful", self.fault.kind.span(), message);
        }
        self.message(MessageChange::Duplicate)
    }

    fn message(&mut self, change: MessageChange) -> Option<FaultAction> {
        let text = self.needed(self.fault.message.as_ref(), "message")?;
        let kind = match kind_of(text.get_ref()) {
            Ok(kind) => kind,
            Err(message) => {
                self.checker
                    .complain("scenario::unknown-message", text.span(), message);
                return None;
            }
        };
        let from = self.optional(self.fault.from.as_ref());
        let to = self.optional(self.fault.to.as_ref());
        let count = self.fault.count.unwrap_or(1);
        Some(FaultAction::Message {
            kind,
            from,
            to,
            skip: self.fault.skip,
            count,
            change,
        })
    }

    fn lane(&mut self) -> Option<FaultAction> {
        let lane = *self.needed(self.fault.lane.as_ref(), "lane")?.get_ref();
        Some(FaultAction::Lane {
            target: self.target()?,
            lane,
            by: self.fault.by.map(|by| by.0),
        })
    }

    fn clock_jump(&mut self) -> Option<FaultAction> {
        let by = self.needed(self.fault.by, "by")?.0.0;
        let nanos = i64::try_from(by).unwrap_or(i64::MAX);
        Some(FaultAction::ClockJump {
            target: self.target()?,
            nanos: if self.fault.backwards { -nanos } else { nanos },
        })
    }

    fn disk(&mut self, change: DiskChange) -> Option<FaultAction> {
        Some(FaultAction::Disk {
            target: self.target()?,
            directory: self.fault.directory.unwrap_or(0),
            change,
        })
    }

    fn elect(&mut self, unclean: bool) -> Option<FaultAction> {
        let partition = self.partition_named()?;
        Some(FaultAction::Elect { partition, unclean })
    }

    fn partition_named(&mut self) -> Option<TopicPartition> {
        let partition = self.needed(self.fault.partition.as_ref(), "partition")?;
        self.checker
            .partition(partition.get_ref(), partition.span())
    }

    fn reassign(&mut self) -> Option<FaultAction> {
        let partition = self.partition_named()?;
        let replicas = self.needed(self.fault.replicas.as_ref(), "replicas")?;
        for id in replicas.get_ref() {
            self.checker.broker_exists(*id, &replicas.span());
        }
        Some(FaultAction::Reassign {
            partition,
            replicas: Some(replicas.get_ref().clone()),
        })
    }

    fn cancel_reassignment(&mut self) -> Option<FaultAction> {
        Some(FaultAction::Reassign {
            partition: self.partition_named()?,
            replicas: None,
        })
    }

    fn add_partitions(&mut self) -> Option<FaultAction> {
        Some(FaultAction::AddPartitions {
            partitions: self.needed(self.fault.partitions, "partitions")?,
            topic: self.topic()?,
        })
    }

    fn delete_records(&mut self) -> Option<FaultAction> {
        let partition = self.partition_named()?;
        let before = self.needed(self.fault.before.as_ref(), "before")?;
        let before = match before.get_ref() {
            Before::Offset(offset) => Some(Offset(i64::from(*offset))),
            Before::Mark(mark) if mark == "high watermark" => None,
            Before::Mark(mark) => {
                let message = format!("`before` is an offset or `high watermark`, not `{mark}`");
                self.checker
                    .complain("scenario::fault-key", before.span(), message);
                return None;
            }
        };
        Some(FaultAction::DeleteRecords { partition, before })
    }

    fn topic(&mut self) -> Option<TopicName> {
        let topic = self.needed(self.fault.topic.as_ref(), "topic")?;
        self.checker.topic_exists(topic);
        Some(TopicName::from(topic.get_ref().as_str()))
    }
}

/// The fault in words, for the timeline.
fn describe(kind: FaultKind, action: &FaultAction, trigger: &Trigger, fault: &Fault) -> String {
    let what = describe_action(kind, action, fault);
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
        Trigger::At(at) => format!("{after} at {}", super::super::text::Time(*at)),
        Trigger::Between(first, last) => {
            format!(
                "{after} between {} and {}",
                super::super::text::Time(*first),
                super::super::text::Time(*last)
            )
        }
        Trigger::When(condition) => format!(
            "{after}{} {condition}",
            if fault.after.is_some() { "" } else { " when" }
        ),
    };
    let every = fault
        .every
        .map_or_else(String::new, |every| format!(", again every {every}"));
    format!("{what}{lasting}{until},{when}{every}")
}

fn describe_action(kind: FaultKind, action: &FaultAction, fault: &Fault) -> String {
    let word = kind.word().replace('_', " ");
    match action {
        FaultAction::Kill {
            target,
            restart_after,
            ..
        }
        | FaultAction::Stop {
            target,
            restart_after,
        } => {
            let back = restart_after.map_or_else(String::new, |after| {
                format!(", back after {}", super::super::text::Time(after))
            });
            format!("{word} {target}{back}")
        }
        FaultAction::Start { target }
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
            format!("{word} {count} × {text}{from}{to}")
        }
        FaultAction::Elect { partition, .. } => format!("{word} leader of {partition}"),
        FaultAction::AddPartitions { topic, partitions } => {
            format!("raise {topic} to {partitions} partitions")
        }
        FaultAction::Reassign {
            partition,
            replicas,
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
