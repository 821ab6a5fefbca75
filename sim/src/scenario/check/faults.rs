//! What breaks: each fault's keys must fit its kind, and what it names must be there.

use super::super::format::{Before, Fault, FaultKind, Unflushed};
use super::super::plan::{
    DiskChange, FaultAction, FaultPlan, LinkChange, MessageChange, Restart, Trigger,
};
use super::super::settings::apply;
use super::super::target::Target;
use super::super::text::Time;
use super::Checker;
use super::describe::describe;
use protocol::config::TopicOverrides;
use protocol::ids::{Offset, TopicName, TopicPartition};
use protocol::time::Span;
use std::ops::Range;
use toml::Spanned;

/// One fault being read; knows where it stands, for complaints.
pub(super) struct Reader<'c, 'a> {
    pub(super) checker: &'c mut Checker<'a>,
    pub(super) fault: &'c Fault,
    pub(super) span: Range<usize>,
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

    /// Reads a fault that has no moment yet as if it struck at once, for what is wrong with it.
    pub(super) fn without_moment(&mut self, fault: &Spanned<Fault>) {
        let struck = Fault {
            at: Some(Spanned::new(fault.span(), Time::default())),
            ..fault.get_ref().clone()
        };
        let mut reader = Reader {
            checker: self,
            fault: &struck,
            span: fault.span(),
        };
        let _ = reader.plan();
    }
}

impl Reader<'_, '_> {
    fn plan(&mut self) -> Option<FaultPlan> {
        let fault = self.fault;
        let trigger = self.trigger()?;
        self.check_keys();
        self.check_repeat();
        let action = self.action()?;
        let (what, description) = describe(*fault.kind.get_ref(), &action, &trigger, fault);
        Some(FaultPlan {
            name: fault.name.clone(),
            kind: fault.kind.get_ref().word(),
            what,
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
            (Some(at), None, None) => {
                let begins = Time(at.get_ref().0 + fault.after.map_or(Span::ZERO, |after| after.0));
                self.checker.within_at(begins, at.span());
                Some(Trigger::At(at.get_ref().0))
            }
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

    /// A key that means nothing to this kind is a misunderstanding, and told.
    fn check_keys(&mut self) {
        let kind = *self.fault.kind.get_ref();
        for (key, span) in present(self.fault) {
            if kind.keys().contains(&key) {
                continue;
            }
            let message = format!("`{key}` has no meaning for `{}`", kind.word());
            let takes: Vec<String> = kind.keys().iter().map(|key| format!("`{key}`")).collect();
            let help = format!("`{}` takes {}", kind.word(), takes.join(", "));
            let span = if span.is_empty() {
                self.span.clone()
            } else {
                span
            };
            self.checker
                .complain_with_help("scenario::fault-key", span, message, help);
        }
        if let Some(until) = &self.fault.until {
            self.checker.condition(until);
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

    #[expect(clippy::too_many_lines, reason = "one arm a kind, each short")]
    fn action(&mut self) -> Option<FaultAction> {
        let fault = self.fault;
        let restart = self.restart();
        Some(match *fault.kind.get_ref() {
            FaultKind::Kill => FaultAction::Kill {
                target: self.target()?,
                power: None,
                restart,
            },
            FaultKind::PowerFailure => FaultAction::Kill {
                target: self.target()?,
                power: Some(
                    fault
                        .unflushed
                        .as_ref()
                        .map_or_else(Unflushed::default, |word| *word.get_ref()),
                ),
                restart,
            },
            FaultKind::Restart => FaultAction::Kill {
                target: self.target()?,
                power: None,
                restart: Restart {
                    after: Some(restart.after.unwrap_or_default()),
                    ..restart
                },
            },
            FaultKind::Stop => FaultAction::Stop {
                target: self.target()?,
                restart,
            },
            FaultKind::Start => FaultAction::Start {
                target: self.target()?,
                disk: restart.disk,
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
            FaultKind::Duplicate => self.message(MessageChange::Duplicate)?,
            FaultKind::Reorder => self.message(MessageChange::Reorder)?,
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
            FaultKind::BrokenDisk => self.disk(DiskChange::Broken)?,
            FaultKind::SnapshotDisk => FaultAction::SnapshotDisk {
                target: self.target()?,
            },
            FaultKind::Corrupt => self.corrupt()?,
            FaultKind::ElectPreferred => self.elect(false)?,
            FaultKind::ElectUnclean => self.elect(true)?,
            FaultKind::AddPartitions => self.add_partitions()?,
            FaultKind::AlterConfig => self.alter_config()?,
            FaultKind::DeleteRecords => self.delete_records()?,
            FaultKind::Reassign => self.reassign()?,
            FaultKind::CancelReassignment => self.cancel_reassignment()?,
            FaultKind::DeleteTopic => FaultAction::DeleteTopic {
                topic: self.topic()?,
            },
        })
    }

    pub(super) fn needed<T>(&mut self, value: Option<T>, key: &str) -> Option<T> {
        if value.is_none() {
            let message = format!("`{}` needs `{key}`", self.fault.kind.get_ref().word());
            self.checker
                .complain("scenario::fault-key", self.span.clone(), message);
        }
        value
    }

    pub(super) fn target(&mut self) -> Option<Target> {
        let target = self.needed(self.fault.target.as_ref(), "target")?;
        self.checker.target(target);
        Some(target.get_ref().clone())
    }

    pub(super) fn optional(&mut self, target: Option<&Spanned<Target>>) -> Option<Target> {
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
            additional: self.fault.additional.unwrap_or(true),
        })
    }

    fn cancel_reassignment(&mut self) -> Option<FaultAction> {
        Some(FaultAction::Reassign {
            partition: self.partition_named()?,
            replicas: None,
            additional: true,
        })
    }

    fn add_partitions(&mut self) -> Option<FaultAction> {
        Some(FaultAction::AddPartitions {
            partitions: self.needed(self.fault.partitions, "partitions")?,
            topic: self.topic()?,
        })
    }

    fn alter_config(&mut self) -> Option<FaultAction> {
        let topic = self.topic()?;
        let Some((first, _)) = self.fault.config.first_key_value() else {
            self.needed(None::<()>, "config")?;
            return None;
        };
        let era = self.checker.era();
        let span = first.span();
        let mut overrides = TopicOverrides::default();
        let known = (TopicOverrides::KEYS, era);
        apply(
            &self.fault.config,
            known,
            &mut self.checker.complaints,
            |key, value| overrides.set(key, value),
        );
        let config = overrides.entries();
        if config.is_empty() {
            let message = "none of these settings has an effect, so the fault would have none";
            self.checker.complain("scenario::fault-key", span, message);
            return None;
        }
        Some(FaultAction::AlterConfig { topic, config })
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

/// The keys of single kinds that a fault has, and where they stand; an empty range where nothing remembers it.
fn present(fault: &Fault) -> Vec<(&'static str, Range<usize>)> {
    fn at<T>(value: Option<&Spanned<T>>) -> Option<Range<usize>> {
        value.map(Spanned::span)
    }
    fn set(there: bool) -> Option<Range<usize>> {
        there.then_some(0..0)
    }
    let keys = [
        ("target", at(fault.target.as_ref())),
        ("for", at(fault.lasting.as_ref())),
        ("until", at(fault.until.as_ref())),
        ("restart_after", set(fault.restart_after.is_some())),
        ("disk", at(fault.disk.as_ref())),
        ("from", at(fault.from.as_ref())),
        ("to", at(fault.to.as_ref())),
        ("direction", set(fault.direction.is_some())),
        ("by", set(fault.by.is_some())),
        ("backwards", set(fault.backwards)),
        ("ppm", set(fault.ppm.is_some())),
        ("per_mille", set(fault.per_mille.is_some())),
        ("bandwidth", set(fault.bandwidth.is_some())),
        ("factor", set(fault.factor.is_some())),
        ("message", at(fault.message.as_ref())),
        ("skip", set(fault.skip > 0)),
        ("count", set(fault.count.is_some())),
        ("lane", at(fault.lane.as_ref())),
        ("partition", at(fault.partition.as_ref())),
        ("topic", at(fault.topic.as_ref())),
        ("partitions", set(fault.partitions.is_some())),
        (
            "config",
            fault.config.first_key_value().map(|(key, _)| key.span()),
        ),
        ("replicas", at(fault.replicas.as_ref())),
        ("additional", set(fault.additional.is_some())),
        ("before", at(fault.before.as_ref())),
        ("directory", set(fault.directory.is_some())),
        ("unflushed", at(fault.unflushed.as_ref())),
        ("file", at(fault.file.as_ref())),
        ("damage", set(fault.damage.is_some())),
        ("bytes", set(fault.bytes.is_some())),
        ("leader_epoch", at(fault.leader_epoch.as_ref())),
        ("path", at(fault.path.as_ref())),
    ];
    keys.into_iter()
        .filter_map(|(key, span)| span.map(|span| (key, span)))
        .collect()
}
