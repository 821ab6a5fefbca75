//! `ktrial sweep`: one scenario, many seeds, all cores.
//!
//! Each thread takes the next seed, runs and judges it and keeps only what is counted, so memory does not grow with seeds.

mod cpu;
mod tally;
mod told;

use super::{run, say};
use crate::args::Sweep;
use crate::exit::Exit;
use crate::load;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sim::scenario::plan::Plan;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tally::Tally;
pub(super) use tally::{Judged, run_and_judge};

/// How many seeds when neither a number nor a time is asked for.
const USUAL: u64 = 100;

/// Sweeps every variant of a scenario.
pub(crate) fn sweep(args: &Sweep) -> Exit {
    match sweep_all(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn sweep_all(args: &Sweep) -> Result<Exit, Exit> {
    let plans = load::only(load::plans(&args.file)?, args.variant.as_deref())?;
    let mut worst = Exit::AsExpected;
    let mut results = Vec::new();
    for plan in &plans {
        let tally = sweep_plan(args, plan);
        worst = worst.worse(tally.verdict(plan));
        if args.json {
            results.push(told::as_json(plan, &tally));
        } else {
            told::print(plan, &tally);
        }
    }
    if args.json {
        say(&json!({ "sweeps": results }).to_string());
    }
    Ok(worst)
}

/// The seeds of a sweep, in order; every shard takes its own.
#[derive(Clone, Copy, Debug)]
struct Seeds {
    first: u64,
    step: u64,
    count: Option<u64>,
}

impl Seeds {
    fn of(args: &Sweep) -> Self {
        let (number, shards) = args.shard.map_or((1, 1), |shard| (shard.number, shard.of));
        let all = match (args.seeds, args.lasting) {
            (Some(seeds), _) => Some(seeds),
            (None, Some(_)) => None,
            (None, None) => Some(USUAL),
        };
        Self {
            first: args.first.saturating_add(number - 1),
            step: shards,
            // The shards' counts add up to the whole.
            count: all.map(|all| all.saturating_sub(number - 1).div_ceil(shards)),
        }
    }

    fn get(self, nth: u64) -> Option<u64> {
        let within = self.count.is_none_or(|count| nth < count);
        let seed = nth.checked_mul(self.step)?.checked_add(self.first)?;
        within.then_some(seed)
    }
}

fn sweep_plan(args: &Sweep, plan: &Arc<Plan>) -> Tally {
    let seeds = Seeds::of(args);
    let deadline = args
        .lasting
        .map(|lasting| Instant::now() + Duration::from_nanos(lasting.0.0));
    let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
    let tally = Mutex::new(Tally::default());
    let bar = progress_bar(plan, seeds.count);
    let earlier = keep_panics();
    let began = Instant::now();
    super::on_threads(super::jobs(args.jobs), |nth| {
        let Some(seed) = seeds.get(nth).filter(|_| in_time()) else {
            return ControlFlow::Break(());
        };
        let failed = tally::one_seed(plan, seed, &tally);
        show(&bar, &tally);
        if failed && args.stop_on_first {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    std::panic::set_hook(earlier);
    bar.finish_and_clear();
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.elapsed = began.elapsed().as_secs_f64();
    tally
}

fn progress_bar(plan: &Plan, seeds: Option<u64>) -> ProgressBar {
    let (bar, template) = match seeds {
        Some(seeds) => (
            ProgressBar::new(seeds),
            "{prefix} {bar:30} {pos}/{len} seeds, {per_sec}, {eta} left{msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{prefix} {spinner} {elapsed}, {pos} seeds, {per_sec}{msg}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(plan.variant.clone().unwrap_or_else(|| plan.name.clone()));
    bar
}

fn show(bar: &ProgressBar, tally: &Mutex<Tally>) {
    bar.inc(1);
    if bar.is_hidden() {
        return;
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = match tally.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    bar.set_message(format!(
        ", {:.0} simulated seconds per core-second{failed}",
        tally.speed()
    ));
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

/// Panics are counted like other findings instead of being printed one by one.
fn keep_panics() -> Hook {
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let text = formatted.or_else(|| payload.downcast_ref().copied());
        let text = text.unwrap_or("a panic without words");
        let place = info
            .location()
            .map_or_else(String::new, |place| format!(" ({place})"));
        LAST_PANIC.with(|last| *last.borrow_mut() = format!("{text}{place}"));
    }));
    earlier
}

fn last_panic() -> String {
    LAST_PANIC.take()
}

/// The command that repeats a seed.
fn again(plan: &Plan, seed: u64) -> String {
    run::again(plan, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_seeds_and_none_twice() {
        let shard = |number: u64| Seeds {
            first: 10 + number - 1,
            step: 3,
            count: Some(7_u64.saturating_sub(number - 1).div_ceil(3)),
        };
        let seeds = |shard: Seeds| (0..).map_while(move |nth| shard.get(nth));
        let mut all: Vec<u64> = (1..=3).flat_map(|number| seeds(shard(number))).collect();
        all.sort_unstable();
        assert_eq!(all, (10..17).collect::<Vec<u64>>());
    }
}
