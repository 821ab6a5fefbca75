//! Turns a parsed file into plans, one per variant, and complains about whatever does not fit together.
//!
//! Everything is checked before anything runs, and every complaint is kept, so that a user mends a file in one go.

mod cluster;
mod damage;
mod describe;
mod era;
mod faults;
mod matrix;
mod messages;
mod nemesis;
mod old_consumer;
mod pinned;
mod transactions;
mod workload;

pub(super) use transactions::transactional_ids;
pub(super) use workload::member_names;

use super::condition::Condition;
use super::diagnostic::{Complaint, suggestion};
use super::format::{Expect, Fault, Latency, ScenarioFile, Variant};
use super::plan::{FaultPlan, LinkPlan, NetworkPlan, Plan};
use super::side::with;
use super::text::Time;
use history::expectation::Expectations;
use protocol::ids::TopicPartition;
use protocol::time::Span;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;

/// The plans of a file, or all that is wrong with it; warnings come with either.
pub struct Checked {
    /// One per variant; one without a name when the file has no variants. Empty when there are errors.
    pub plans: Vec<Plan>,
    /// Errors and warnings, in the order of the file.
    pub complaints: Vec<Complaint>,
}

/// The names that `[expect]` may use.
pub struct Vocabulary<'a> {
    /// Guarantee codes.
    pub guarantees: &'a [&'a str],
    /// Ledger entries; one that ends in a dot admits any ending (`refused.`).
    pub ledger: &'a [&'a str],
}

/// Resolves a file. `path` is as the user gave it.
pub fn check(file: &ScenarioFile, path: &str, vocabulary: &Vocabulary<'_>) -> Checked {
    let mut complaints = Vec::new();
    let variants = matrix::sides(file, &mut complaints);
    let sides: Vec<Option<&Variant>> = if variants.is_empty() {
        vec![None]
    } else {
        variants.iter().map(Some).collect()
    };
    check_variant_names(&variants, &mut complaints);
    let mut plans = Vec::new();
    for side in sides {
        let mut checker = Checker {
            file,
            side,
            complaints: Vec::new(),
        };
        plans.push(checker.plan(path, vocabulary));
        for complaint in checker.complaints {
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
        }
    }
    complaints.sort_by_key(|complaint| (complaint.warning, complaint.span.start));
    if complaints.iter().any(|complaint| !complaint.warning) {
        plans.clear();
    }
    Checked { plans, complaints }
}

/// The variants of a file that has been checked, and those that its matrix makes.
pub(super) fn variants(file: &ScenarioFile) -> Vec<Variant> {
    matrix::sides(file, &mut Vec::new())
}

/// The faults of a file that has been checked, with those that were drawn since.
pub(super) fn faults_of(file: &ScenarioFile) -> Vec<FaultPlan> {
    let mut checker = Checker {
        file,
        side: None,
        complaints: Vec::new(),
    };
    let faults = checker.faults();
    debug_assert!(
        checker.complaints.is_empty(),
        "a nemesis draws only what a file may say: {:?}",
        checker.complaints
    );
    faults
}

fn check_variant_names(variants: &[Variant], complaints: &mut Vec<Complaint>) {
    let mut seen = BTreeSet::new();
    for variant in variants {
        if !seen.insert(variant.name.get_ref()) {
            let message = format!("two variants are called `{}`", variant.name.get_ref());
            complaints.push(Complaint::error(
                "scenario::duplicate-name",
                variant.name.span(),
                message,
            ));
        }
    }
}

/// One side of a file being resolved.
struct Checker<'a> {
    file: &'a ScenarioFile,
    side: Option<&'a Variant>,
    complaints: Vec<Complaint>,
}

impl Checker<'_> {
    fn plan(&mut self, path: &str, vocabulary: &Vocabulary<'_>) -> Plan {
        let file = self.file;
        let (behaviour, fixes) = self.behaviour();
        let brokers = self.brokers(behaviour);
        let keepers = self.keepers(behaviour);
        let topics = self.topics(&brokers);
        let producers = self.producers(behaviour);
        let consumers = self.consumers(behaviour);
        let faults = self.faults();
        self.nemesis();
        self.has_admin_calls(behaviour);
        let expect = self
            .side
            .and_then(|side| side.expect.as_ref())
            .unwrap_or(&file.expect);
        let expect = self.expectations(expect, vocabulary);
        let reaches = self
            .side
            .and_then(|side| side.reaches.as_ref())
            .unwrap_or(&file.reaches)
            .clone();
        for condition in reaches.values() {
            self.condition(condition);
        }
        Plan {
            name: std::path::Path::new(path)
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            path: path.to_owned(),
            variant: self.side.map(|side| side.name.get_ref().clone()),
            title: file.title.clone(),
            question: file.question.clone(),
            lesson: file.lesson.clone(),
            seed: file.seed,
            draws: file.draws,
            duration: self.duration(),
            progress_within: file.progress_within.0,
            behaviour,
            fixes,
            brokers,
            keepers,
            topics,
            producers,
            consumers,
            network: self.network(),
            faults,
            expect,
            reaches: reaches
                .into_iter()
                .map(|(name, condition)| (name, condition.into_inner()))
                .collect(),
            source: Arc::new(
                self.side
                    .map_or_else(|| file.clone(), |side| with(file, side)),
            ),
        }
    }

    /// The faults of the file, of this side and of the nemesis.
    fn all_faults(&self) -> impl Iterator<Item = &Spanned<Fault>> {
        let of_side = self.side.into_iter().flat_map(|side| &side.faults);
        let of_nemesis = self.file.nemesis.iter().flat_map(|nemesis| &nemesis.faults);
        self.file.faults.iter().chain(of_side).chain(of_nemesis)
    }

    fn duration(&self) -> Span {
        self.file.duration.get_ref().0
    }

    fn complain(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        self.complaints.push(Complaint::error(code, span, message));
    }

    fn complain_with_help(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: String,
        help: String,
    ) {
        self.complaints
            .push(Complaint::error(code, span, message).help(help));
    }

    /// A time of the safety phase must lie within it.
    fn within(&mut self, time: &Spanned<Time>) -> Span {
        self.within_at(*time.get_ref(), time.span())
    }

    fn within_at(&mut self, time: Time, span: Range<usize>) -> Span {
        if time.0 > self.duration() {
            let message = format!(
                "{time} is after the end: the scenario lasts {}",
                self.file.duration.get_ref()
            );
            self.complain("scenario::after-the-end", span, message);
        }
        time.0
    }

    fn network(&mut self) -> NetworkPlan {
        let network = &self.file.network;
        if network.loss_per_mille >= 1000 {
            let message =
                "`loss_per_mille` is below 1000: a network that loses everything is a partition";
            self.complain("scenario::out-of-range", 0..0, message);
        }
        for link in &network.links {
            self.target(&link.from);
            self.target(&link.to);
        }
        let links = network.links.iter().map(|link| LinkPlan {
            from: link.from.get_ref().clone(),
            to: link.to.get_ref().clone(),
            latency: link.latency,
            bandwidth: link.bandwidth,
        });
        NetworkPlan {
            latency: network.latency.unwrap_or(Latency::Uniform([
                Time(Span::micros(200)),
                Time(Span::micros(800)),
            ])),
            bandwidth: network.bandwidth,
            loss_per_mille: network.loss_per_mille,
            links: links.collect(),
            messages: self.pinned_messages(),
        }
    }

    fn expectations(&mut self, expect: &Expect, vocabulary: &Vocabulary<'_>) -> Expectations {
        let mut resolved = Expectations::default();
        for (code, quantifier) in &expect.violated {
            if vocabulary.guarantees.contains(&code.get_ref().as_str()) {
                resolved
                    .violated
                    .insert(code.get_ref().clone(), *quantifier);
            } else {
                let help = suggestion(code.get_ref(), vocabulary.guarantees.iter().copied());
                let message = format!("`{}` is no guarantee", code.get_ref());
                self.complain_with_help("scenario::unknown-guarantee", code.span(), message, help);
            }
        }
        for (name, quantifier) in &expect.harm {
            let known = |key: &&str| {
                *key == name.get_ref() || (key.ends_with('.') && name.get_ref().starts_with(*key))
            };
            if vocabulary.ledger.iter().any(known) {
                resolved.harm.insert(name.get_ref().clone(), *quantifier);
            } else {
                let help = suggestion(name.get_ref(), vocabulary.ledger.iter().copied());
                let message = format!("`{}` is no entry of the ledger", name.get_ref());
                self.complain_with_help("scenario::unknown-harm", name.span(), message, help);
            }
        }
        resolved
    }

    /// A condition may only name what is there.
    fn condition(&mut self, condition: &Spanned<Condition>) {
        self.condition_at(condition.get_ref(), &condition.span());
    }

    fn condition_at(&mut self, condition: &Condition, span: &Range<usize>) {
        if let Some(partition) = condition.partition() {
            self.partition(partition, span.clone());
        }
        if let Some(broker) = condition.broker() {
            self.broker_exists(broker, span);
        }
        if let Some(id) = condition.transactional_id() {
            self.transactional_id_exists(id, span);
        }
        if let Some(client) = condition.client() {
            self.client_exists(client, span);
        }
        if let Condition::Fault { name } = condition {
            self.fault_exists(name, span);
        }
        if let Condition::All(all) | Condition::InOrder(all) = condition {
            for each in all {
                self.condition_at(each, span);
            }
        }
    }

    /// How many partitions a topic has in the end: as declared, placed, or raised by a fault.
    fn partitions_ever(&self, topic: &super::format::Topic) -> i32 {
        let placed = i32::try_from(topic.replicas.len()).unwrap_or(i32::MAX);
        let faults = self.all_faults().map(Spanned::get_ref);
        let raises = |fault: &&Fault| {
            fault
                .topic
                .as_ref()
                .is_some_and(|name| name.get_ref() == topic.name.get_ref())
        };
        let raised = faults
            .filter(raises)
            .filter_map(|fault| fault.partitions)
            .max()
            .unwrap_or(0);
        if placed > 0 {
            placed.max(raised)
        } else {
            (*topic.partitions.get_ref()).max(raised)
        }
    }

    /// A partition of a declared topic.
    fn partition(&mut self, text: &str, span: Range<usize>) -> Option<TopicPartition> {
        let Some(partition) = TopicPartition::parse(text) else {
            let message =
                format!("`{text}` is no partition: write topic, dash, number, such as `orders-0`");
            self.complain("scenario::no-partition", span, message);
            return None;
        };
        let Some(topic) = self
            .file
            .topics
            .iter()
            .find(|topic| topic.name.get_ref() == partition.topic.as_str())
        else {
            // Kafka's own topics are not declared.
            if partition.topic.as_str().starts_with("__") {
                return Some(partition);
            }
            let names: Vec<&str> = self
                .file
                .topics
                .iter()
                .map(|topic| topic.name.get_ref().as_str())
                .collect();
            let help = suggestion(partition.topic.as_str(), names);
            let message = format!("there is no topic `{}`", partition.topic);
            self.complain_with_help("scenario::unknown-topic", span, message, help);
            return None;
        };
        let ever = self.partitions_ever(topic);
        if partition.partition.0 >= ever {
            let there_are = if ever == 1 {
                "its only partition is 0".to_owned()
            } else {
                format!("its partitions are 0 to {}", ever - 1)
            };
            let message = format!("there is no {partition}: {there_are}");
            self.complain("scenario::unknown-partition", span, message);
            return None;
        }
        Some(partition)
    }
}
