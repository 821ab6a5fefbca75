//! From a history to an outcome: every guarantee judged, the ledger counted, and both held against what the scenario
//! expects.
//!
//! Nothing is green by omission: a declared fault that was never seen to have an effect, a mark that was not reached and a
//! guarantee that the history cannot tell make the outcome *unknown*. A real violation outweighs them; something expected
//! that did not show does not, because a run that did not get where it claims proves nothing.

use crate::History;
use crate::checker::{self, index::Index};
use crate::event::{FaultStage, Process, What};
use crate::expectation::Quantifier;
use crate::ledger::Ledger;
use crate::manifest::Stream;
use crate::verdict::{Answer, Verdict};
use serde::{Deserialize, Serialize};

/// A declared fault and whether it was seen to have an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultWitness {
    /// The scenario's word for it.
    pub kind: String,
    /// In words.
    pub description: String,
    /// Drawn by a nemesis: bound per sweep, not per run.
    pub random: bool,
    /// How often it began.
    pub injected: u32,
    /// The first effect seen.
    pub effect: Option<String>,
    /// Why it had none, where that is known.
    pub inert: Option<String>,
}

/// A declared mark and whether the run reached it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkWitness {
    /// Its name.
    pub name: String,
    /// Whether.
    pub reached: bool,
}

/// One reason of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The guarantee's code, the ledger's entry, or one of `PANIC`, `FAULT`, `MARK`.
    pub code: String,
    /// One sentence.
    pub text: String,
}

/// Whether the run is as its scenario expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is.
    AsExpected,
    /// It is not.
    NotAsExpected(Vec<Reason>),
    /// The run cannot tell.
    Unknown(Vec<Reason>),
}

impl Outcome {
    /// The exit code of a command that judges one run.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AsExpected => 0,
            Self::NotAsExpected(reasons) if reasons.iter().any(|reason| reason.code == "PANIC") => {
                101
            }
            Self::NotAsExpected(_) => 1,
            Self::Unknown(_) => 3,
        }
    }
}

/// Everything there is to say about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// One per guarantee, in teaching order, invariants last.
    pub verdicts: Vec<Verdict>,
    /// The numbers.
    pub ledger: Ledger,
    /// Declared faults.
    pub faults: Vec<FaultWitness>,
    /// Declared marks.
    pub marks: Vec<MarkWitness>,
    /// Whether all that is expected.
    pub outcome: Outcome,
}

impl Judgement {
    /// The verdict about a guarantee.
    pub fn verdict(&self, code: &str) -> Option<&Verdict> {
        self.verdicts
            .iter()
            .find(|verdict| verdict.guarantee == code)
    }
}

/// Judges a run.
pub fn judge(history: &History) -> Judgement {
    let index = Index::build(history);
    let verdicts = checker::verdicts(&index);
    let ledger = Ledger::of(&index);
    drop(index);
    let (faults, marks, panics) = witnesses(history);
    let mut reasons = Reasons::default();
    reasons.wrong.extend(panics);
    for verdict in &verdicts {
        reasons.of_verdict(history, verdict);
    }
    reasons.of_harm(history, &ledger);
    reasons.of_witnesses(history, &faults, &marks);
    Judgement {
        verdicts,
        ledger,
        faults,
        marks,
        outcome: reasons.outcome(),
    }
}

fn witnesses(history: &History) -> (Vec<FaultWitness>, Vec<MarkWitness>, Vec<Reason>) {
    let planned = history.manifest.faults.iter().map(|fault| FaultWitness {
        kind: fault.kind.clone(),
        description: fault.description.clone(),
        random: fault.random,
        injected: 0,
        effect: None,
        inert: None,
    });
    let mut faults: Vec<FaultWitness> = planned.collect();
    let marks = history.manifest.reaches.iter().map(|name| MarkWitness {
        name: name.clone(),
        reached: false,
    });
    let mut marks: Vec<MarkWitness> = marks.collect();
    let mut panics = Vec::new();
    for event in &history.events {
        match &event.what {
            What::Fault(fault) => {
                let place = usize::try_from(fault.index).unwrap_or(usize::MAX);
                let Some(witness) = faults.get_mut(place) else {
                    continue;
                };
                match &fault.stage {
                    FaultStage::Injected => witness.injected += 1,
                    FaultStage::Effective(effect) => {
                        witness.effect.get_or_insert_with(|| effect.clone());
                    }
                    FaultStage::Inert(why) => witness.inert = Some(why.clone()),
                    FaultStage::Healed => {}
                }
            }
            What::Mark(name) => {
                for mark in marks.iter_mut().filter(|mark| mark.name == *name) {
                    mark.reached = true;
                }
            }
            What::Process(Process::Panicked(message)) => {
                let node = event
                    .node
                    .map_or("the world", |node| history.manifest.node_name(node));
                panics.push(Reason {
                    code: "PANIC".to_owned(),
                    text: format!("{node} panicked in step {}: {message}", event.step),
                });
            }
            What::Operation(_)
            | What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Process(_)
            | What::Phase(_) => {}
        }
    }
    (faults, marks, panics)
}

#[derive(Default)]
struct Reasons {
    /// Something broke that should not have.
    wrong: Vec<Reason>,
    /// Something should have shown and did not.
    absent: Vec<Reason>,
    /// The history does not tell.
    unknown: Vec<Reason>,
}

fn reason(code: &str, text: impl Into<String>) -> Reason {
    Reason {
        code: code.to_owned(),
        text: text.into(),
    }
}

impl Reasons {
    fn of_verdict(&mut self, history: &History, verdict: &Verdict) {
        let expected = &history.manifest.expect.violated;
        let code = verdict.guarantee.as_str();
        let white = code.starts_with("INV-");
        let Some(quantifier) = expected.get(code).copied() else {
            // Where a guarantee is meant to break, the invariants beneath it break with it.
            let follows = white
                && expected
                    .values()
                    .any(|quantifier| *quantifier != Quantifier::Never);
            match &verdict.answer {
                Answer::Violated if !follows => self.wrong.push(reason(code, violated(verdict))),
                Answer::Unknown(why) if !white => self.unknown.push(reason(code, why)),
                Answer::Holds | Answer::Violated | Answer::Unknown(_) | Answer::NotClaimed(_) => {}
            }
            return;
        };
        match &verdict.answer {
            Answer::Unknown(why) => self.unknown.push(reason(code, why)),
            Answer::Violated if !quantifier.admits(true) => {
                self.wrong.push(reason(code, violated(verdict)));
            }
            Answer::NotClaimed(why) if quantifier == Quantifier::Always => {
                self.absent.push(reason(
                    code,
                    format!("{code} was to be violated, but is not claimed: {why}"),
                ));
            }
            Answer::Holds if !quantifier.admits(false) => {
                self.absent.push(reason(
                    code,
                    format!("{code} was to be violated {quantifier}, but it holds"),
                ));
            }
            Answer::Violated | Answer::Holds | Answer::NotClaimed(_) => {}
        }
    }

    fn of_harm(&mut self, history: &History, ledger: &Ledger) {
        for (name, quantifier) in &history.manifest.expect.harm {
            let Some(count) = ledger.get(name) else {
                self.unknown
                    .push(reason(name, format!("the history cannot tell `{name}`")));
                continue;
            };
            if quantifier.admits(count > 0) {
                continue;
            }
            let text = format!("`{name}` was to be above zero {quantifier}, and is {count}");
            if count > 0 {
                self.wrong.push(reason(name, text));
            } else {
                self.absent.push(reason(name, text));
            }
        }
    }

    fn of_witnesses(&mut self, history: &History, faults: &[FaultWitness], marks: &[MarkWitness]) {
        for fault in faults
            .iter()
            .filter(|fault| !fault.random && fault.effect.is_none())
        {
            let why = fault.inert.as_deref().unwrap_or("no effect of it was seen");
            self.unknown
                .push(reason("FAULT", format!("{}: {why}", fault.description)));
        }
        for mark in marks.iter().filter(|mark| !mark.reached) {
            self.unknown.push(reason(
                "MARK",
                format!("the run did not reach `{}`", mark.name),
            ));
        }
        if !history.manifest.has(Stream::Operations) {
            self.unknown
                .push(reason("STREAM", "the history holds no operations"));
        }
    }

    fn outcome(mut self) -> Outcome {
        if !self.wrong.is_empty() {
            self.wrong.append(&mut self.absent);
            return Outcome::NotAsExpected(self.wrong);
        }
        if !self.unknown.is_empty() {
            self.unknown.append(&mut self.absent);
            return Outcome::Unknown(self.unknown);
        }
        if self.absent.is_empty() {
            Outcome::AsExpected
        } else {
            Outcome::NotAsExpected(self.absent)
        }
    }
}

fn violated(verdict: &Verdict) -> String {
    let first = verdict
        .findings
        .first()
        .map_or("", |finding| finding.summary.as_str());
    match verdict.violations {
        0 | 1 => first.to_owned(),
        more => format!("{first} (and {} more)", more - 1),
    }
}
