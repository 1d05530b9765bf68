//! Values of the command line that are no plain numbers: times, sizes, names, processors.

use std::time::Duration;

/// Processor numbers, in the order in which workers get them.
#[cfg(feature = "xdp")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// Reads a time with its unit: `500ms`, `90s`, `5m`, `2h`; a bare number means seconds.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("give a whole number and a unit: 500ms, 90s, 5m or 2h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "give a whole number first: 90s".to_owned())?;
    match number.checked_mul(unit_ms) {
        Some(ms @ 1..=31_536_000_000) => Ok(Duration::from_millis(ms)),
        _ => Err("give a time between 1ms and 8760h".to_owned()),
    }
}

/// Reads a name that people and programs can tell apart from none.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn sensor_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("give a name that can be seen, such as mirror-1".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a number that sizes a ring or table.
///
/// # Errors
/// A sentence that says what is accepted.
#[cfg(feature = "xdp")]
pub fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| "give a whole number".to_owned())?;
    if number.is_power_of_two() && (64..=1 << 28).contains(&number) {
        Ok(number)
    } else {
        Err("give a power of two between 64 and 268435456".to_owned())
    }
}

/// Reads processor numbers as /sys writes them: `2,4-6`.
///
/// # Errors
/// A sentence that says what is accepted.
#[cfg(feature = "xdp")]
pub fn cpu_list(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.parse::<usize>().map_err(|_| "give processor numbers: 2,3 or 4-7".to_owned())
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last >= 1024 {
            return Err("give ranges upwards and numbers below 1024".to_owned());
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "1.5s", "0s", "5d", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "xdp")]
    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("2,4-6"), Ok(CpuList(vec![2, 4, 5, 6])));
        assert!(cpu_list("6-4").is_err());
        assert!(cpu_list("a").is_err());
    }
}
