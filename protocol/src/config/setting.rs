//! What a key is, how its text is read and printed, and the macro that declares a group of keys (`ConfigDef`).

use crate::behaviour::{Era, InterBrokerProtocol};
use crate::time::Span;
use std::fmt;

/// The type of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A whole number in the unit that the key's name ends with, milliseconds where it names none.
    Duration,
    /// Any text.
    Text,
    /// Texts between commas.
    List,
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A key and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct SettingKey {
    /// The dotted name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Smallest and largest value, in the key's own unit.
    pub range: Range,
    /// One line on what it does.
    pub doc: &'static str,
    /// Its default in an era, as text; empty when it is unset.
    pub default: fn(Era) -> String,
    /// The keys of its group that the first era did not have yet.
    pub(super) later: Later,
}

/// Keys by the first era that knows them; one that is not listed is as old as the first era.
pub(super) type Later = &'static [(Era, &'static [&'static str])];

impl SettingKey {
    /// The first era that knows the key. A release before ignores it, with a warning.
    pub fn since(&self) -> Era {
        self.later
            .iter()
            .find(|(_, names)| names.contains(&self.name))
            .map_or(Era::V0_8, |(era, _)| *era)
    }

    /// What a value must be, for messages.
    pub fn expected(&self) -> String {
        let bounds = match self.range {
            Range {
                min: i64::MIN,
                max: i64::MAX,
            } => String::new(),
            Range { min, max: i64::MAX } => format!(" of at least {min}"),
            Range { min, max } => format!(" from {min} to {max}"),
        };
        match self.kind {
            Kind::Number => format!("a whole number{bounds}"),
            Kind::Duration => format!("a whole number of {}{bounds}", Unit::of(self.name).name),
            Kind::Bool => "true or false".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::List => "a list with commas".to_owned(),
            Kind::Ratio => "a number from 0 to 1".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// Why a setting was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingError {
    /// Nobody knows this key. Kafka warns and goes on.
    Unknown {
        /// The key as written.
        key: String,
        /// A known key that looks like it.
        suggestion: Option<&'static str>,
    },
    /// Kafka honours this key, ktrial does not.
    NotModelled {
        /// The key.
        key: String,
    },
    /// The value is not acceptable (Kafka's `ConfigException`).
    Invalid {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What it should be.
        expected: String,
    },
}

impl SettingError {
    /// An unacceptable value, alone or together with other settings.
    pub fn invalid(key: &str, value: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown {
                key,
                suggestion: Some(near),
            } => write!(f, "no setting is called {key}; did you mean {near}?"),
            Self::Unknown {
                key,
                suggestion: None,
            } => write!(f, "no setting is called {key}"),
            Self::NotModelled { key } => {
                write!(f, "{key} is a setting of Kafka that has no effect here")
            }
            Self::Invalid {
                key,
                value,
                expected,
            } => write!(f, "{key} = {value}: expected {expected}"),
        }
    }
}

impl std::error::Error for SettingError {}

/// The bounds of a number, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

/// No bounds.
pub(super) const ANY: Range = at_least(i64::MIN);

/// `min` or more.
pub(super) const fn at_least(min: i64) -> Range {
    Range { min, max: i64::MAX }
}

/// The unit of a duration, by the last word of its key.
struct Unit {
    name: &'static str,
    millis: u64,
}

impl Unit {
    fn of(key: &str) -> Self {
        let (name, millis) = match key.rsplit('.').next() {
            Some("hours") => ("hours", 3_600_000),
            Some("minutes") => ("minutes", 60_000),
            Some("seconds") => ("seconds", 1_000),
            Some(_) | None => ("milliseconds", 1),
        };
        Self { name, millis }
    }
}

/// A type that settings have.
pub(super) trait Value: Sized {
    /// Its kind.
    const KIND: Kind;
    /// Reads a value of `key`.
    fn read(key: &str, text: &str, range: Range) -> Option<Self>;
    /// Prints it so that [`read`](Self::read) takes it back.
    fn print(&self, key: &str) -> String;
}

fn integer(text: &str, range: Range) -> Option<i64> {
    let value = text.parse().ok()?;
    (range.min..=range.max).contains(&value).then_some(value)
}

macro_rules! integer_value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Number;
            fn read(_key: &str, text: &str, range: Range) -> Option<Self> {
                integer(text, range).and_then(|value| Self::try_from(value).ok())
            }
            fn print(&self, _key: &str) -> String {
                self.to_string()
            }
        }
    )*};
}
integer_value!(i16, i32, i64);

impl Value for bool {
    const KIND: Kind = Kind::Bool;

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn print(&self, _key: &str) -> String {
        self.to_string()
    }
}

impl Value for Span {
    const KIND: Kind = Kind::Duration;

    fn read(key: &str, text: &str, range: Range) -> Option<Self> {
        let value = integer(text, range)?;
        Some(u64::try_from(value).map_or(Self::MAX, |count| {
            Self::millis(count.saturating_mul(Unit::of(key).millis))
        }))
    }

    fn print(&self, key: &str) -> String {
        if *self == Self::MAX {
            i64::MAX.to_string()
        } else {
            (self.as_millis() / Unit::of(key).millis).to_string()
        }
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        Some(text.to_owned())
    }

    fn print(&self, _key: &str) -> String {
        self.clone()
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        let parts: Self = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        (!parts.is_empty()).then_some(parts)
    }

    fn print(&self, _key: &str) -> String {
        self.join(",")
    }
}

impl Value for InterBrokerProtocol {
    const KIND: Kind = Kind::Text;

    fn read(_key: &str, text: &str, _range: Range) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self, _key: &str) -> String {
        self.to_string()
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn read(key: &str, text: &str, range: Range) -> Option<Self> {
        T::read(key, text, range).map(Some)
    }

    fn print(&self, key: &str) -> String {
        self.as_ref()
            .map_or_else(String::new, |value| value.print(key))
    }
}

/// Reads the text of a key, with surrounding blanks taken off as Kafka does.
pub(super) fn read<T: Value>(key: &SettingKey, text: &str) -> Result<T, SettingError> {
    T::read(key.name, text.trim(), key.range)
        .ok_or_else(|| SettingError::invalid(key.name, text, key.expected()))
}

/// The error for a key that is not among `keys`.
pub(super) fn unknown(
    key: &str,
    keys: &'static [SettingKey],
    not_modelled: &[&str],
) -> SettingError {
    if not_modelled.iter().any(|name| {
        key == *name
            || name
                .strip_suffix('*')
                .is_some_and(|start| key.starts_with(start))
    }) {
        return SettingError::NotModelled {
            key: key.to_owned(),
        };
    }
    let allowed = (key.len() / 4).clamp(1, 4);
    let suggestion = keys
        .iter()
        .map(|known| {
            (
                strsim::damerau_levenshtein(
                    &key.to_ascii_lowercase(),
                    &known.name.to_ascii_lowercase(),
                ),
                known.name,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name);
    SettingError::Unknown {
        key: key.to_owned(),
        suggestion,
    }
}

/// Declares a struct of settings. A row is `field: type = "key", range, default, "text";`, the default an expression over
/// the era named in the head.
macro_rules! settings {
    (
        $(#[$doc:meta])* $name:ident($era:ident), not_modelled: $not_modelled:expr, later: $later:expr;
        $($field:ident: $type:ty = $key:literal, $range:expr, $default:expr, $text:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            $(#[doc = concat!("`", $key, "`: ", $text)] pub $field: $type,)*
            /// The keys that were set rather than left at their default.
            explicit: std::collections::BTreeSet<&'static str>,
        }

        impl $name {
            /// Every key, in the order of declaration.
            pub const KEYS: &'static [$crate::config::SettingKey] = &[$($crate::config::SettingKey {
                name: $key,
                kind: <$type as $crate::config::setting::Value>::KIND,
                range: $range,
                doc: $text,
                default: |era| $crate::config::setting::Value::print(&Self::defaults(era).$field, $key),
                later: $later,
            },)*];

            /// The settings of an untouched installation of `era`.
            pub fn defaults($era: $crate::behaviour::Era) -> Self {
                Self { $($field: $default,)* explicit: std::collections::BTreeSet::new() }
            }

            /// Sets a key from text.
            pub fn set(&mut self, key: &str, value: &str) -> Result<(), $crate::config::SettingError> {
                let Some(known) = Self::KEYS.iter().find(|known| known.name == key) else {
                    return Err($crate::config::setting::unknown(key, Self::KEYS, $not_modelled));
                };
                match known.name {
                    $($key => self.$field = $crate::config::setting::read(known, value)?,)*
                    _ => {}
                }
                self.explicit.insert(known.name);
                Ok(())
            }

            /// The value of a key as text, empty when it is unset; none for a key that is not known.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some($crate::config::setting::Value::print(&self.$field, $key)),)*
                    _ => None,
                }
            }

            /// Whether a key was set, be it to its default.
            pub fn is_set(&self, key: &str) -> bool {
                self.explicit.contains(key)
            }

            /// The keys that were set, by name.
            pub fn explicit(&self) -> impl Iterator<Item = &'static str> {
                self.explicit.iter().copied()
            }
        }
    };
}
pub(super) use settings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        AdminConfig, BrokerConfig, ConsumerConfig, KeeperConfig, OldConsumerConfig, ProducerConfig,
        TopicOverrides,
    };

    macro_rules! check_defaults {
        ($($config:ident),*) => {$(
            for era in Era::ALL {
                let mut config = $config::defaults(era);
                for key in $config::KEYS {
                    let text = (key.default)(era);
                    assert_eq!(config.get(key.name), Some(text.clone()));
                    if !text.is_empty() {
                        config.set(key.name, &text).unwrap_or_else(|error| panic!("{error}"));
                        assert!(config.is_set(key.name));
                        assert_eq!(config.get(key.name), Some(text));
                    }
                }
            }
        )*};
    }

    #[test]
    fn every_default_is_a_value_that_its_own_key_accepts() {
        check_defaults!(
            AdminConfig,
            BrokerConfig,
            ConsumerConfig,
            KeeperConfig,
            OldConsumerConfig,
            ProducerConfig
        );
    }

    #[test]
    fn a_key_knows_its_first_era_and_every_listed_key_is_there() {
        for (keys, later) in [
            (BrokerConfig::KEYS, BrokerConfig::KEYS[0].later),
            (ProducerConfig::KEYS, ProducerConfig::KEYS[0].later),
            (ConsumerConfig::KEYS, ConsumerConfig::KEYS[0].later),
            (TopicOverrides::KEYS, TopicOverrides::KEYS[0].later),
        ] {
            for name in later.iter().flat_map(|(_, names)| *names) {
                assert!(keys.iter().any(|key| key.name == *name), "{name}");
            }
        }
        let since = |name: &str| {
            let key = ProducerConfig::KEYS.iter().find(|key| key.name == name);
            key.unwrap().since()
        };
        assert_eq!(since("acks"), Era::V0_8);
        assert_eq!(since("request.timeout.ms"), Era::V0_9);
        assert_eq!(since("enable.idempotence"), Era::V1_0);
        assert_eq!(since("delivery.timeout.ms"), Era::V2_8);
    }

    #[test]
    fn a_misspelt_key_brings_the_right_one_to_mind() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        assert_eq!(
            broker.set("message.max.byte", "1"),
            Err(SettingError::Unknown {
                key: "message.max.byte".into(),
                suggestion: Some("message.max.bytes")
            })
        );
        assert_eq!(
            broker
                .set("colour", "green")
                .map_err(|error| error.to_string()),
            Err("no setting is called colour".into())
        );
        let near = KeeperConfig::defaults(Era::V2_8)
            .set("ticktime", "1")
            .unwrap_err();
        assert_eq!(
            near.to_string(),
            "no setting is called ticktime; did you mean tickTime?"
        );
    }

    #[test]
    fn a_key_that_has_no_effect_here_says_so() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        let error = broker.set("ssl.keystore.location", "/x").unwrap_err();
        assert_eq!(
            error,
            SettingError::NotModelled {
                key: "ssl.keystore.location".into()
            }
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_what_was_expected() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        for (key, value, expected) in [
            ("min.insync.replicas", "0", "a whole number of at least 1"),
            ("min.insync.replicas", "two", "a whole number of at least 1"),
            (
                "replica.lag.time.max.ms",
                "10s",
                "a whole number of milliseconds",
            ),
            ("unclean.leader.election.enable", "yes", "true or false"),
            (
                "log.message.timestamp.type",
                "Never",
                "one of CreateTime, LogAppendTime",
            ),
        ] {
            let before = broker.clone();
            assert_eq!(
                broker.set(key, value),
                Err(SettingError::invalid(key, value, expected))
            );
            assert_eq!(broker, before, "a refused value changes nothing");
        }
    }

    #[test]
    fn durations_are_read_in_the_unit_of_their_key() {
        let mut broker = BrokerConfig::defaults(Era::V2_8);
        broker.set("log.roll.hours", " 2 ").unwrap();
        broker.set("offsets.retention.minutes", "3").unwrap();
        broker
            .set("leader.imbalance.check.interval.seconds", "4")
            .unwrap();
        assert_eq!(broker.log_roll_hours, Span::secs(7200));
        assert_eq!(broker.offsets_retention_minutes, Span::secs(180));
        assert_eq!(
            broker.leader_imbalance_check_interval_seconds,
            Span::secs(4)
        );
    }
}
