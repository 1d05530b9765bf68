//! Medians in fixed memory: counts by classes of values, four to an octave. A median is off by an
//! eighth at most; values below 8 are exact.

/// Values below this have a class each.
const EXACT: u64 = 8;

/// Octaves above those: values of 2^32 and more fall into the last class.
const OCTAVES: usize = 29;

const CLASSES: usize = EXACT as usize + 4 * OCTAVES;

/// Counts by class.
#[derive(Clone, Debug)]
pub struct Histogram {
    classes: [u32; CLASSES],
    total: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { classes: [0; CLASSES], total: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        let class = &mut self.classes[class_of(value)];
        *class = class.saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// The middle of the class that the median falls into; the lower one of an even count.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let half = self.total.div_ceil(2);
        let mut below = 0u32;
        let class = self.classes.iter().position(|count| {
            below = below.saturating_add(*count);
            below >= half && *count > 0
        })?;
        Some(middle_of(class))
    }
}

fn class_of(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let octave = value.ilog2() as usize;
    let quarter = (value >> (octave - 2)) as usize & 3;
    (EXACT as usize + 4 * (octave - 3) + quarter).min(CLASSES - 1)
}

fn middle_of(class: usize) -> u64 {
    let Some(above) = class.checked_sub(EXACT as usize) else { return class as u64 };
    let (octave, quarter) = (above / 4 + 3, above as u64 % 4);
    ((4 + quarter) << (octave - 2)) + (1 << (octave - 2)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Histogram::default().median(), None);
    }

    proptest! {
        #[test]
        fn the_median_is_off_by_an_eighth_at_most(mut values in prop::collection::vec(0u64..1 << 31, 1..60)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let exact = values[(values.len() - 1) / 2];
            let median = histogram.median().unwrap();
            prop_assert!(median.abs_diff(exact) <= exact / 8, "{median} for {exact}");
        }
    }

    #[test]
    fn the_largest_values_have_a_class() {
        let mut histogram = Histogram::default();
        histogram.add(u64::MAX);
        assert!(histogram.median().unwrap() >= 1 << 31);
    }
}
