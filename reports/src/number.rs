//! Numbers for readers: one way of rounding everywhere (down, never up), so that page, chart and tooltip agree.

/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Seconds with milliseconds: `12.345`.
pub(crate) fn seconds(nanos: u64) -> String {
    format!("{}.{:03}", nanos / SECOND, nanos / MILLISECOND % 1_000)
}

/// A length of time in the unit that suits it: `250 µs`, `12 ms`, `3.4 s`.
pub(crate) fn duration_of_micros(micros: u64) -> String {
    if micros < 1_000 {
        format!("{micros} µs")
    } else if micros < 1_000_000 {
        format!("{} ms", micros / 1_000)
    } else {
        let tenths = micros / 100_000;
        if tenths.is_multiple_of(10) {
            format!("{} s", tenths / 10)
        } else {
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
    }
}

/// Thousands apart by a thin space: `12 345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `1 partition`, `2 partitions`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn lengths_of_time_take_the_unit_that_suits_them() {
        assert_eq!(duration_of_micros(250), "250 µs");
        assert_eq!(duration_of_micros(12_900), "12 ms");
        assert_eq!(duration_of_micros(3_000_000), "3 s");
        assert_eq!(duration_of_micros(3_490_000), "3.4 s");
        assert_eq!(seconds(12_345_999_999), "12.345");
    }
}
