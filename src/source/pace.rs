//! How long to wait before something that failed is tried again.

use std::time::Duration;

use crate::clock;

/// The first wait, doubled after each further failure.
const FIRST: Duration = Duration::from_secs(1);

/// The wait after so many failures in a row, at most `last`, with jitter so that those who failed together do not come
/// together.
#[must_use]
pub fn back_off(failures: u32, last: Duration) -> Duration {
    let full = (FIRST * 2_u32.pow(failures.min(6))).min(last);
    full.mul_f64(0.5 + 0.5 * jitter())
}

/// A number from 0 to 1 that differs between processes; nothing hangs on its quality.
#[must_use]
pub fn jitter() -> f64 {
    f64::from(clock::now().subsec_nanosecond() % 1_000_000) / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_call_is_tried_again_ever_more_slowly_up_to_the_last_wait() {
        let last = Duration::from_mins(1);
        for failures in 0..100 {
            let full = Duration::from_secs(1_u64 << failures.min(6)).min(last);
            let wait = back_off(failures, last);
            assert!(wait >= full / 2 && wait <= full, "{failures}");
        }
    }
}
