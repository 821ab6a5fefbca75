//! What is kept of all seeds of one variant: counts, and of each distinct failure the smallest seed.

use super::{cpu, last_panic};
use crate::commands::exit_of;
use crate::exit::Exit;
use history::History;
use history::expectation::Quantifier;
use history::judge::{FaultWitness, Judgement, Outcome, Reason, judge};
use history::manifest::{Manifest, NodeRole};
use history::verdict::{Finding, Verdict};
use sim::run::Statistics;
use sim::scenario::plan::Plan;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// A distinct failure: who found it, what it is called, and which roles have a part in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    pub(crate) checker: String,
    pub(crate) anomaly: String,
    pub(crate) roles: String,
}

/// How often it was met.
#[derive(Clone, Debug)]
pub(crate) struct Met {
    pub(crate) times: u64,
    pub(crate) smallest_seed: u64,
    /// In the words of that seed.
    pub(crate) text: String,
}

/// Random faults of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) injected: u64,
    pub(crate) effective: u64,
}

/// All seeds of one variant.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) as_expected: u64,
    pub(crate) unknown: u64,
    /// Neither as expected nor unknown.
    pub(crate) failed: u64,
    /// Seconds: simulated, of cores, of the clock on the wall.
    pub(crate) simulated: f64,
    pub(crate) busy: f64,
    pub(crate) elapsed: f64,
    pub(crate) acknowledged: u64,
    /// What broke with an effect, random or not.
    pub(crate) effective_faults: u64,
    pub(crate) failures: BTreeMap<Failure, Met>,
    /// How often each expected harm or violation was seen.
    pub(crate) seen: BTreeMap<String, u64>,
    /// Random faults by kind.
    pub(crate) random: BTreeMap<String, Faults>,
    worst: Option<Exit>,
}

/// Runs and judges one seed and takes in what came of it; whether that is a failure.
pub(super) fn one_seed(plan: &Arc<Plan>, seed: u64, tally: &Mutex<Tally>) -> bool {
    let ran = run_and_judge(plan, seed);
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = tally.failed;
    tally.runs += 1;
    match ran {
        Ok(run) => {
            tally.busy += run.busy.as_secs_f64();
            tally.take_in(plan, seed, &run);
        }
        Err(panic) => {
            tally.failed += 1;
            let failure = Failure {
                checker: "PANIC".to_owned(),
                anomaly: without_numbers(&panic),
                roles: String::new(),
            };
            tally.fail(failure, seed, panic, Exit::Bug);
        }
    }
    tally.failed > failed
}

/// A run and what the judge says.
pub(crate) struct Judged {
    manifest: Manifest,
    statistics: Statistics,
    /// The time that a core spent on it.
    busy: std::time::Duration,
    pub(crate) judgement: Judgement,
}

/// A run on a thread of its own, or what it panicked with.
pub(crate) fn run_and_judge(plan: &Arc<Plan>, seed: u64) -> Result<Judged, String> {
    let here = || {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let run = sim::run::run_hosted(plan, seed);
            let judgement = judge(&run.history);
            let History { manifest, .. } = run.history;
            Judged {
                manifest,
                statistics: run.statistics,
                busy: cpu::spent(),
                judgement,
            }
        }));
        ran.map_err(|_| last_panic())
    };
    super::super::on_fresh_thread(here)
}

impl Tally {
    fn take_in(&mut self, plan: &Plan, seed: u64, run: &Judged) {
        let judgement = &run.judgement;
        self.simulated += std::time::Duration::from_nanos(run.statistics.simulated.0).as_secs_f64();
        self.acknowledged += judgement.ledger.get("acknowledged").unwrap_or(0);
        for fault in &judgement.faults {
            self.take_in_fault(fault);
        }
        self.take_in_expected(plan, judgement);
        match &judgement.outcome {
            Outcome::AsExpected => self.as_expected += 1,
            Outcome::NotAsExpected(reasons) => {
                self.failed += 1;
                self.reasons(seed, run, reasons);
            }
            Outcome::Unknown(reasons) => {
                self.unknown += 1;
                self.reasons(seed, run, reasons);
            }
        }
    }

    fn take_in_fault(&mut self, fault: &FaultWitness) {
        let effective = u64::from(fault.effect.is_some());
        self.effective_faults += effective;
        if fault.random {
            let faults = self.random.entry(fault.kind.clone()).or_default();
            faults.injected += 1;
            faults.effective += effective;
        }
    }

    fn take_in_expected(&mut self, plan: &Plan, judgement: &Judgement) {
        for name in plan.expect.harm.keys() {
            if judgement.ledger.get(name).unwrap_or(0) > 0 {
                *self.seen.entry(name.clone()).or_default() += 1;
            }
        }
        for code in plan.expect.violated.keys() {
            if judgement.verdict(code).is_some_and(Verdict::is_violated) {
                *self.seen.entry(code.clone()).or_default() += 1;
            }
        }
    }

    fn reasons(&mut self, seed: u64, run: &Judged, reasons: &[Reason]) {
        let exit = exit_of(&run.judgement.outcome);
        for reason in reasons {
            let failure = failure(run, reason);
            self.fail(failure, seed, reason.text.clone(), exit);
        }
    }

    fn fail(&mut self, failure: Failure, seed: u64, text: String, exit: Exit) {
        self.worst = Some(self.worst.map_or(exit, |worst| worst.worse(exit)));
        let met = self.failures.entry(failure).or_insert_with(|| Met {
            times: 0,
            smallest_seed: seed,
            text: text.clone(),
        });
        met.times += 1;
        if seed < met.smallest_seed {
            (met.smallest_seed, met.text) = (seed, text);
        }
    }

    /// Simulated seconds per second of a core.
    pub(crate) fn speed(&self) -> f64 {
        self.simulated / self.busy.max(1e-9)
    }

    /// Kinds of random faults that were injected and never had an effect: whatever was tried with them proves nothing.
    pub(crate) fn inert(&self) -> impl Iterator<Item = &str> {
        let inert = self
            .random
            .iter()
            .filter(|(_, faults)| faults.effective == 0);
        inert.map(|(kind, _)| kind.as_str())
    }

    /// What was to be seen in some runs and was in none.
    pub(crate) fn never_seen<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a str> {
        let all = plan.expect.harm.iter().chain(&plan.expect.violated);
        all.filter(|(_, quantifier)| **quantifier == Quantifier::Sometimes)
            .map(|(name, _)| name.as_str())
            .filter(|name| !self.seen.contains_key(*name))
    }

    /// Runs were judged one by one; `sometimes` and random faults are judged here.
    pub(crate) fn verdict(&self, plan: &Plan) -> Exit {
        let mut exit = self.worst.unwrap_or(Exit::AsExpected);
        if self.runs == 0 || self.inert().next().is_some() {
            exit = exit.worse(Exit::Unknown);
        }
        if self.runs > 0 && self.never_seen(plan).next().is_some() {
            exit = exit.worse(Exit::NotAsExpected);
        }
        exit
    }
}

fn failure(run: &Judged, reason: &Reason) -> Failure {
    let verdict = run.judgement.verdict(&reason.code);
    let finding = verdict.and_then(|verdict| verdict.findings.first());
    Failure {
        checker: reason.code.clone(),
        anomaly: finding.map_or_else(
            || without_numbers(&reason.text),
            |finding| finding.anomaly.clone(),
        ),
        roles: finding.map_or_else(String::new, |finding| roles(&run.manifest, finding)),
    }
}

/// Who has a part in a finding's story, by what they are: `2 brokers, client`.
fn roles(manifest: &Manifest, finding: &Finding) -> String {
    let mut names: Vec<&str> = finding
        .story
        .iter()
        .map(|moment| moment.node.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let count = |noun: &str, is: fn(&NodeRole) -> bool| {
        let nodes = manifest.nodes.iter().filter(|node| is(&node.role));
        match nodes
            .filter(|node| names.contains(&node.name.as_str()))
            .count()
        {
            0 => None,
            1 => Some(noun.to_owned()),
            more => Some(format!("{more} {noun}s")),
        }
    };
    let all = [
        count("broker", |role| matches!(role, NodeRole::Broker(_))),
        count("keeper", |role| matches!(role, NodeRole::Keeper(_))),
        count("client", |role| matches!(role, NodeRole::Client(_))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Failures that differ in their numbers only are one.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(seeds: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for seed in seeds {
            let failure = Failure {
                checker: "PA".to_owned(),
                anomaly: without_numbers(&format!("record {seed}00 is lost")),
                roles: "broker".to_owned(),
            };
            tally.fail(
                failure,
                *seed,
                format!("record {seed}00"),
                Exit::NotAsExpected,
            );
        }
        tally
    }

    #[test]
    fn failures_alike_but_for_numbers_are_one_with_the_smallest_seed() {
        let tally = failed(&[7, 3, 12]);
        let met: Vec<&Met> = tally.failures.values().collect();
        assert_eq!(met.len(), 1);
        assert_eq!((met[0].times, met[0].smallest_seed), (3, 3));
        assert_eq!(met[0].text, "record 300");
    }

    #[test]
    fn a_kind_of_random_fault_without_any_effect_is_told() {
        let mut tally = Tally::default();
        for (kind, effective) in [("kill", 2), ("pause", 0)] {
            let faults = Faults {
                injected: 2,
                effective,
            };
            tally.random.insert(kind.to_owned(), faults);
        }
        assert_eq!(tally.inert().collect::<Vec<_>>(), ["pause"]);
    }
}
