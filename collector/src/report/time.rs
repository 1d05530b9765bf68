//! Times as people and log pipelines read them: RFC 3339, UTC, microseconds.

use time::OffsetDateTime;
use time::macros::format_description;

/// Nanoseconds since the Unix epoch, cut to microseconds.
#[must_use]
pub fn rfc3339(at_ns: u64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    // 2^64 ns end in the year 2554, which the type can hold, so neither step can fail.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ns))
        .ok()
        .and_then(|time| time.format(&format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_in_utc() {
        assert_eq!(rfc3339(1_552_349_515_546_271_999), "2019-03-12T00:11:55.546271Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551Z");
    }
}
