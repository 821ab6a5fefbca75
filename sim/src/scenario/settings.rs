//! Kafka's own keys inside a scenario: applied to the typed settings, with the warnings Kafka would give.

use super::diagnostic::Complaint;
use super::format::Settings;
use protocol::config::SettingError;
use std::ops::Range;

/// Applies each key through `set`.
///
/// A key that nobody knows is a warning, because Kafka ignores it with a warning; a value that Kafka would refuse at start
/// and a key that Kafka honours but ktrial does not model are errors.
pub fn apply(
    settings: &Settings,
    complaints: &mut Vec<Complaint>,
    mut set: impl FnMut(&str, &str) -> Result<(), SettingError>,
) {
    for (key, value) in settings {
        if let Err(error) = set(key.get_ref(), &value.get_ref().0) {
            complaints.push(complain(&error, key.span(), value.span()));
        }
    }
}

/// A complaint about one setting.
pub fn complain(error: &SettingError, key: Range<usize>, value: Range<usize>) -> Complaint {
    match error {
        SettingError::Unknown { key: word, suggestion } => {
            let message = format!("`{word}` is no key of Kafka: Kafka ignores it, so it has no effect");
            let complaint = Complaint::warning("scenario::unknown-setting", key, message);
            match suggestion {
                Some(near) => complaint.help(format!("did you mean `{near}`?")),
                None => complaint,
            }
        }
        SettingError::NotModelled { .. } => Complaint::error("scenario::setting-not-modelled", key, error.to_string())
            .help("a run with it would not show what Kafka does; docs/faithfulness.md lists what is left out"),
        SettingError::Invalid { .. } => Complaint::error("scenario::setting-value", value, error.to_string()),
    }
}
