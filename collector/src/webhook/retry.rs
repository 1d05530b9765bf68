//! When to try again: exponential back-off with jitter, and what the other end asks for.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

/// No wish of the other end is honoured for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// How long to wait after the n-th failure in a row (1 is the first): `min` doubled each time up to
/// `max`, of which between a half and all, so that many sensors don't come back at once.
#[must_use]
pub fn back_off(failures: u32, min: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let full = min.saturating_mul(1 << doublings).min(max);
    let random = RandomState::new().hash_one(failures);
    full.mul_f64(0.5 + (random >> 11) as f64 / (1u64 << 54) as f64)
}

/// What a Retry-After header asks for (RFC 9110, 10.2.3): seconds or a date.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_differ() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(300));
        for (failures, full) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (u32::MAX, 300)] {
            let full = Duration::from_secs(full);
            let waits: Vec<_> = (0..50).map(|_| back_off(failures, min, max)).collect();
            assert!(waits.iter().all(|wait| *wait >= full / 2 && *wait <= full), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(37)));
        let past = "Sun, 06 Nov 1994 08:48:00 GMT";
        assert_eq!(retry_after(past, now), Some(Duration::ZERO));
        assert_eq!(retry_after("999999999", now), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon", now), None);
    }
}
