//! A run inside madsim, as users get it: one runtime on a fresh thread, whose clock follows the world's.
//!
//! A run asks the operating system for nothing. Should something in it do so by accident, a library that draws a number or
//! looks at the clock, then madsim answers, from the seed and with the world's time, and the same seed is still the same run.
//! Tests hold hosted and bare runs of every scenario to the same bytes.

use super::{Run, Runner};
use crate::scenario::plan::Plan;
use crate::world::At;
use madsim::Config;
use madsim::runtime::Runtime;
use madsim::time::TimeHandle;
use protocol::time::Span;
use std::sync::Arc;
use std::time::Duration;

/// Runs a plan with a seed inside madsim. The calling thread has to be a fresh one and to end soon: what the standard library
/// keeps for a thread, such as the keys of hash maps, is drawn from the seed of its first run.
pub fn run_hosted(plan: &Arc<Plan>, seed: u64) -> Run {
    let runtime = Runtime::with_seed_and_config(seed, Config::default());
    runtime.block_on(async {
        let mut runner = Runner::new(Arc::clone(plan), seed);
        runner.clock = Some(HostClock::new());
        runner.all_phases();
        runner.finish()
    })
}

/// madsim's clock, moved along with the world's in its own grain of a millisecond.
pub(super) struct HostClock {
    madsim: TimeHandle,
    shown: At,
}

impl HostClock {
    fn new() -> Self {
        Self {
            madsim: TimeHandle::current(),
            shown: At::ZERO,
        }
    }

    pub(super) fn follow(&mut self, now: At) {
        let passed = now.since(self.shown);
        if passed >= Span::millis(1) {
            self.madsim.advance(Duration::from_nanos(passed.0));
            self.shown = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn who_looks_at_the_clock_sees_the_time_of_the_world() {
        let passed = std::thread::spawn(|| {
            let runtime = Runtime::with_seed_and_config(1, Config::default());
            runtime.block_on(async {
                let mut clock = HostClock::new();
                let before = Instant::now();
                clock.follow(At::ZERO + Span::micros(900));
                let soon = before.elapsed();
                clock.follow(At::ZERO + Span::secs(3600));
                (soon, before.elapsed())
            })
        });
        let (soon, later) = passed.join().unwrap();
        assert!(soon < Duration::from_millis(1), "{soon:?}");
        assert_eq!(later.as_secs(), 3600);
    }
}
