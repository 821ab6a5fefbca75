//! The time that a core has spent on the calling thread: on a busy machine a seed takes longer, but does not cost more.

use std::time::Duration;

#[cfg(unix)]
pub(super) fn spent() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Where the system is not asked, the clock on the wall stands in.
#[cfg(not(unix))]
pub(super) fn spent() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

#[cfg(all(test, unix))]
mod tests {
    use super::spent;
    use std::time::Duration;

    #[test]
    fn who_sleeps_costs_nothing() {
        let before = spent();
        std::thread::sleep(Duration::from_millis(200));
        assert!(spent().saturating_sub(before) < Duration::from_millis(100));
    }
}
