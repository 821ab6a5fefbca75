//! Kafka's own keys inside a scenario: applied to the typed settings, with the warnings Kafka would give.

use super::diagnostic::Complaint;
use super::format::Settings;
use protocol::behaviour::Era;
use protocol::config::{SettingError, SettingKey};
use std::ops::Range;

/// Applies each key through `set`; `known` are the keys of that group of settings, and the era says which of them the
/// release of that time had.
///
/// A key that nobody knows, or not yet, is a warning, because Kafka ignores it with a warning; a value that Kafka would refuse at start
/// and a key that Kafka honours but ktrial does not model are errors.
pub fn apply(
    settings: &Settings,
    (known, era): (&[SettingKey], Era),
    complaints: &mut Vec<Complaint>,
    mut set: impl FnMut(&str, &str) -> Result<(), SettingError>,
) {
    for (key, value) in settings {
        let newer = |known: &&SettingKey| known.name == key.get_ref() && known.since() > era;
        if let Some(newer) = known.iter().find(newer) {
            complaints.push(complain_of_later(newer, era, key.span()));
            continue;
        }
        if let Err(error) = set(key.get_ref(), &value.get_ref().0) {
            complaints.push(complain(&error, key.span(), value.span()));
        } else if let Some(lacking) = lacking(key.get_ref(), &value.get_ref().0) {
            let message = format!("`{}` has no effect here: {lacking}", key.get_ref());
            let complaint =
                Complaint::warning("scenario::setting-without-effect", key.span(), message);
            complaints.push(complaint.help("docs/faithfulness.md lists what is left out"));
        }
    }
}

/// The part that a setting would need to have an effect which a run could show, and that is missing.
fn lacking(key: &str, value: &str) -> Option<&'static str> {
    let compacts = key.ends_with("cleanup.policy") && value.contains("compact");
    if compacts || key.starts_with("log.cleaner.") {
        return Some("there is no log cleaner");
    }
    (key == "broker.rack").then_some("replicas are placed, and read from, without regard to racks")
}

fn complain_of_later(key: &SettingKey, era: Era, span: Range<usize>) -> Complaint {
    let message = format!(
        "`{}` is a key of later releases: Kafka of era {era} ignores it, so it has no effect",
        key.name
    );
    Complaint::warning("scenario::setting-of-a-later-era", span, message)
        .help(format!("the first era that knows it is {}", key.since()))
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
