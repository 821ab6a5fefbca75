//! What a seed drew, written down as a scenario without chance.
//!
//! Faults at drawn times are tied to what the cluster had just done, every message gets the same delay, and whatever is
//! left to draw (time-outs of clients, flushes, what a loss of power leaves) is drawn from a number in the file instead of
//! from the seed. Where that tells another story, single messages keep the delay that the seed gave them: as few as a
//! bounded search finds. Where even all of them do not help, the delays stay drawn, from the number in the file.
//! So the scenario written down gives the verdict and the ledger of the run it came from, whatever seed it is given, and it
//! outlives changes of the code that move every draw.

mod tie;

use crate::run::director::drawn_time;
use crate::run::{Run, SentMessage, run, run_with_messages};
use crate::scenario::check::{Vocabulary, check};
use crate::scenario::format::{Latency, PinnedMessages, ScenarioFile};
use crate::scenario::message::name_of;
use crate::scenario::plan::{Plan, Trigger};
use crate::scenario::text::Time;
use history::event::{Phase, What};
use history::judge::{Judgement, Outcome, judge};
use history::ledger::Ledger;
use history::verdict::Answer;
use protocol::time::Span;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use toml::Spanned;

/// How many runs the search for the messages that matter may well cost.
pub const SEARCH: u32 = 24;

/// How much of the network had to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delays {
    /// All messages take the same time.
    Constant,
    /// All but this many do.
    Pinned(usize),
    /// They are drawn as the seed drew them.
    Drawn,
}

/// A scenario without chance.
#[derive(Clone, Debug)]
pub struct Effective {
    /// As a file.
    pub file: ScenarioFile,
    /// As a plan.
    pub plan: Arc<Plan>,
    /// What became of the network.
    pub delays: Delays,
    /// Run and judged.
    pub judgement: Judgement,
}

/// Whether two judgements say the same about their runs: every verdict and every number, whatever the words.
pub fn tell_the_same(one: &Judgement, other: &Judgement) -> bool {
    Told::of(one) == Told::of(other)
}

/// Writes down what a plan does with this seed. The search for the messages that matter ends after so many runs.
pub fn effective(plan: &Arc<Plan>, seed: u64, search: u32) -> Effective {
    let plan = &plan.clone().with_nemesis(seed);
    let (original, messages) = run_with_messages(plan, seed);
    let search = Search {
        path: plan.path.clone(),
        wanted: Told::of(&judge(&original.history)),
        drawn: explicit(plan, seed, &original),
        messages,
        left: search,
    };
    search.find()
}

/// What a run tells: the verdicts and the ledger, without the words.
#[derive(PartialEq)]
struct Told {
    outcome: u8,
    reasons: Vec<String>,
    answers: Vec<(String, u8)>,
    ledger: Ledger,
}

impl Told {
    fn of(judgement: &Judgement) -> Self {
        let reasons = match &judgement.outcome {
            Outcome::AsExpected => &[][..],
            Outcome::NotAsExpected(reasons) | Outcome::Unknown(reasons) => reasons,
        };
        let answer = |answer: &Answer| match answer {
            Answer::Holds => 0,
            Answer::Violated => 1,
            Answer::Unknown(_) => 2,
            Answer::NotClaimed(_) => 3,
        };
        Self {
            outcome: judgement.outcome.exit_code(),
            reasons: reasons.iter().map(|reason| reason.code.clone()).collect(),
            answers: judgement
                .verdicts
                .iter()
                .map(|verdict| (verdict.guarantee.clone(), answer(&verdict.answer)))
                .collect(),
            ledger: judgement.ledger.clone(),
        }
    }
}

/// The file with every fault where the seed put it, and all other draws from a number.
fn explicit(plan: &Plan, seed: u64, original: &Run) -> ScenarioFile {
    let draws = plan.draws.unwrap_or(seed);
    let mut file = (*plan.source).clone();
    file.seed = seed;
    file.draws = Some(draws);
    let began = original
        .history
        .events
        .iter()
        .find(|event| event.what == What::Phase(Phase::Safety))
        .map_or(0, |event| event.at);
    for (index, (fault, planned)) in file.faults.iter_mut().zip(&plan.faults).enumerate() {
        let fault = fault.get_mut();
        let at = match &planned.trigger {
            Trigger::At(at) => *at,
            Trigger::Between(first, last) => drawn_time(draws, index, (*first, *last)),
            Trigger::When(_) => continue,
        };
        fault.between = None;
        let strikes = began + (at + planned.after).0;
        if let Some((condition, after)) = tie::tie(&original.history, strikes) {
            fault.at = None;
            fault.when = Some(Spanned::new(0..0, condition));
            fault.after = Some(Time(after));
        } else {
            fault.at = Some(Spanned::new(0..0, Time(at)));
        }
    }
    file
}

/// The search for the fewest delays that must be kept.
struct Search {
    path: String,
    wanted: Told,
    drawn: ScenarioFile,
    messages: Vec<SentMessage>,
    /// Runs that the search may still cost.
    left: u32,
}

impl Search {
    fn find(mut self) -> Effective {
        let constant = constant_delay(&self.drawn);
        if let Some(found) =
            self.attempt(&with_delays(&self.drawn, constant, &[]), Delays::Constant)
        {
            return found;
        }
        let differing = self
            .messages
            .iter()
            .filter(|message| message.pinned.latency != constant.0);
        let all: Vec<SentMessage> = differing.cloned().collect();
        if let Some(found) = self.pinned(&all) {
            return self.fewer(all, found);
        }
        let drawn = self.drawn.clone();
        let (plan, judgement) = self.judged(&drawn);
        Effective {
            file: drawn,
            plan,
            delays: Delays::Drawn,
            judgement,
        }
    }

    fn pinned(&mut self, messages: &[SentMessage]) -> Option<Effective> {
        let file = with_delays(&self.drawn, constant_delay(&self.drawn), messages);
        self.attempt(&file, Delays::Pinned(messages.len()))
    }

    /// Leaves out ever smaller parts as long as the story stays.
    fn fewer(&mut self, mut kept: Vec<SentMessage>, mut best: Effective) -> Effective {
        let mut parts = 2;
        while self.left > 0 && parts <= kept.len() {
            let size = kept.len().div_ceil(parts);
            let mut place = 0;
            let mut shorter = false;
            while place < kept.len() && self.left > 0 {
                let end = (place + size).min(kept.len());
                let rest = [&kept[..place], &kept[end..]].concat();
                if let Some(found) = self.pinned(&rest) {
                    (kept, best, shorter) = (rest, found, true);
                } else {
                    place = end;
                }
            }
            if !shorter {
                parts *= 2;
            }
        }
        best
    }

    /// The file as a result, when it tells what the seed told.
    fn attempt(&mut self, file: &ScenarioFile, delays: Delays) -> Option<Effective> {
        self.left = self.left.saturating_sub(1);
        let (plan, judgement) = self.judged(file);
        (Told::of(&judgement) == self.wanted).then(|| Effective {
            file: file.clone(),
            plan,
            delays,
            judgement,
        })
    }

    fn judged(&self, file: &ScenarioFile) -> (Arc<Plan>, Judgement) {
        let plan = plan_of(file, &self.path);
        let judgement = judge(&run(&plan, file.seed).history);
        (plan, judgement)
    }
}

/// A file of ours as a plan.
fn plan_of(file: &ScenarioFile, path: &str) -> Arc<Plan> {
    let guarantees = history::checker::codes();
    let ledger = Ledger::keys();
    let vocabulary = Vocabulary {
        guarantees: &guarantees,
        ledger: &ledger,
    };
    let mut checked = check(file, path, &vocabulary);
    let plan = checked.plans.pop();
    Arc::new(plan.expect("what was checked once stays correct when its draws are written down"))
}

/// The middle of what the network draws.
fn constant_delay(file: &ScenarioFile) -> Time {
    let usual = [Time(Span::micros(200)), Time(Span::micros(800))];
    middle(file.network.latency.unwrap_or(Latency::Uniform(usual)))
}

fn middle(latency: Latency) -> Time {
    match latency {
        Latency::Constant(time) => time,
        Latency::Uniform([least, most]) => Time(Span(u64::midpoint(least.0.0, most.0.0))),
    }
}

/// The file with one delay for every message but these.
fn with_delays(file: &ScenarioFile, constant: Time, kept: &[SentMessage]) -> ScenarioFile {
    let mut file = file.clone();
    file.network.latency = Some(Latency::Constant(constant));
    for link in &mut file.network.links {
        link.latency = link
            .latency
            .map(|latency| Latency::Constant(middle(latency)));
    }
    let text = |text: &str| Spanned::new(0..0, text.to_owned());
    let mut tables: BTreeMap<(&str, &str, String), BTreeMap<u32, Time>> = BTreeMap::new();
    for SentMessage { pinned, .. } in kept {
        let key = (
            pinned.from.as_str(),
            pinned.to.as_str(),
            name_of(pinned.kind),
        );
        let table = tables.entry(key).or_default();
        table.insert(pinned.nth, Time(pinned.latency));
    }
    let pinned = tables
        .into_iter()
        .map(|((from, to, kind), latency)| PinnedMessages {
            from: text(from),
            to: text(to),
            message: text(&kind),
            latency: latency
                .into_iter()
                .map(|(nth, time)| (text(&nth.to_string()), time))
                .collect(),
        });
    file.network.messages = pinned.collect();
    file
}

impl Effective {
    /// The file as text, with what it is in its head; `of` is the plan it came from.
    pub fn text(&self, of: &Plan, seed: u64) -> String {
        let mut text = String::new();
        let variant = of
            .variant
            .as_ref()
            .map_or_else(String::new, |name| format!(", variant `{name}`"));
        let _ = writeln!(
            text,
            "# What seed {seed} drew for {}{variant}, without chance.",
            of.path
        );
        let delays = match self.delays {
            Delays::Constant => "Every message takes the same time.".to_owned(),
            Delays::Pinned(1) => "Every message but one takes the same time.".to_owned(),
            Delays::Pinned(count) => {
                format!("Every message takes the same time, but {count} keep theirs.")
            }
            Delays::Drawn => {
                "With equal delays the run is another one, so they are drawn, always alike."
                    .to_owned()
            }
        };
        let _ = writeln!(text, "# {delays}");
        text.push_str(&self.file.text());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::format::Fault;
    use crate::scenario::parse::parse;
    use crate::scenario::plan::PinnedMessage;

    const SMALL: &str = "title = 't'\nquestion = 'q?'\nduration = '10s'\n\
        [[topic]]\nname = 'orders'\n[[producer]]\nname = 'p1'\ntopic = 'orders'\nrate = 20\n";

    fn plan(rest: &str) -> Arc<Plan> {
        plan_of(&parse(&format!("{SMALL}{rest}")).unwrap(), "small.toml")
    }

    fn faults(written: &Effective) -> Vec<&Fault> {
        written.file.faults.iter().map(Spanned::get_ref).collect()
    }

    #[test]
    fn a_fault_at_a_drawn_time_is_tied_to_what_the_cluster_had_just_done() {
        let plan = plan(
            "[[fault]]\nkind = 'pause'\ntarget = 'broker 1'\nbetween = ['3s', '7s']\nfor = '1s'\n",
        );
        let written = effective(&plan, 5, SEARCH);
        let [fault] = faults(&written)[..] else {
            panic!("one fault stays one fault");
        };
        assert!(fault.when.is_some() && fault.at.is_none() && fault.between.is_none());
        assert!(fault.after.is_some_and(|after| after.0 < Span::millis(250)));
    }

    #[test]
    fn a_fault_in_a_quiet_moment_keeps_its_time() {
        let plan = plan(
            "start = '8s'\n[[fault]]\nkind = 'pause'\ntarget = 'broker 1'\nat = '3s'\nfor = '1s'\n",
        );
        let written = effective(&plan, 5, SEARCH);
        let at = faults(&written)[0].at.as_ref().map(|at| at.get_ref().0);
        assert_eq!(at, Some(Span::secs(3)));
    }

    #[test]
    fn messages_keep_the_delays_they_are_given() {
        let plan = plan("");
        let (_, messages) = run_with_messages(&plan, 5);
        let file = with_delays(&plan.source, Time(Span::millis(9)), &messages[..3]);
        let again = plan_of(&file, "small.toml");
        assert_eq!(
            again.network.latency,
            Latency::Constant(Time(Span::millis(9)))
        );
        let mut pinned = again.network.messages.clone();
        let mut wanted: Vec<_> = messages[..3]
            .iter()
            .map(|message| message.pinned.clone())
            .collect();
        let key = |message: &PinnedMessage| (message.from.clone(), message.to.clone(), message.nth);
        pinned.sort_by_key(key);
        wanted.sort_by_key(key);
        assert_eq!(pinned, wanted);
    }
}
