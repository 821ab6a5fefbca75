//! Small values that scenario files write as text: lengths of time and numbers of bytes.

use protocol::time::Span;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A length of time: `250us`, `5ms`, `1.5s`, `2m`, `1h`, `7d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time(pub Span);

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no length of time: write a number and a unit, such as `250ms`, `1.5s` or `2m`"
            )
        };
        let split = text
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let (_, factor) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let nanos = whole.checked_mul(factor).ok_or_else(wrong)?;
        Ok(Self(Span(
            nanos + parse_fraction(fraction, factor).ok_or_else(wrong)?,
        )))
    }
}

/// `fraction` digits of a unit of `factor` nanoseconds.
fn parse_fraction(fraction: &str, factor: u64) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: u64 = fraction.parse().ok()?;
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    digits.checked_mul(factor).map(|product| product / scale)
}

/// The largest unit that needs no fraction: `1500ms`, `2s`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        let fits = |(_, factor): &&(&str, u64)| nanos.is_multiple_of(*factor);
        // Minutes and above read worse than seconds until they are whole.
        let (unit, factor) = if nanos == 0 {
            &("s", 1)
        } else {
            UNITS.iter().rfind(fits).unwrap_or(&UNITS[0])
        };
        write!(f, "{}{unit}", nanos / factor)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"250ms\", \"1.5s\" or \"2m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value of a Kafka setting: text, number or truth value, all turned into Kafka's own text form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingText(pub String);

impl<'de> Deserialize<'de> for SettingText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;
        impl Visitor<'_> for AnyVisitor {
            type Value = SettingText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SettingText, E> {
                Ok(SettingText(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SettingText, E> {
                Ok(SettingText(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SettingText, E> {
                Ok(SettingText(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<SettingText, E> {
                Ok(SettingText(number.to_string()))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<SettingText, E> {
                Ok(SettingText(truth.to_string()))
            }
        }
        deserializer.deserialize_any(AnyVisitor)
    }
}

impl Serialize for SettingText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_unit_and_fraction() {
        assert_eq!("250us".parse(), Ok(Time(Span::micros(250))));
        assert_eq!("1.5s".parse(), Ok(Time(Span::millis(1500))));
        assert_eq!("2m".parse(), Ok(Time(Span::secs(120))));
    }

    #[test]
    fn a_time_without_unit_is_refused_with_a_hint() {
        let error = "5".parse::<Time>().unwrap_err();
        assert!(error.contains("a number and a unit"), "{error}");
        assert!("1.x5s".parse::<Time>().is_err());
        assert!("-1s".parse::<Time>().is_err());
    }

    #[test]
    fn times_print_as_they_are_read() {
        for text in ["250us", "1500ms", "2s", "3m", "7d", "0s"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
    }
}
