//! How scenario files name messages.

use protocol::api::ApiKey;
use protocol::message::MessageKind;

/// `Produce request`, `Fetch response`, `keeper request`, `keeper reply`, `election`, `quorum`.
///
/// # Errors
/// When no message is called so: how they are called.
pub fn kind_of(text: &str) -> Result<MessageKind, String> {
    let wrong = || {
        let names: Vec<&str> = ApiKey::ALL.iter().map(|key| key.name()).collect();
        let near = super::diagnostic::did_you_mean(
            text.split(' ').next().unwrap_or_default(),
            names.iter().copied(),
        );
        let near = near.map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
        format!(
            "`{text}` is no message: write `Produce request`, `Fetch response`, `keeper request`, `keeper reply`, `election` or `quorum`{near}"
        )
    };
    match text.split_once(' ') {
        None if text == "election" => Ok(MessageKind::Election),
        None if text == "quorum" => Ok(MessageKind::Quorum),
        Some(("keeper", "request")) => Ok(MessageKind::KeeperRequest),
        Some(("keeper", "reply")) => Ok(MessageKind::KeeperReply),
        Some((api, "request")) => ApiKey::from_name(api)
            .map(MessageKind::Request)
            .ok_or_else(wrong),
        Some((api, "response")) => ApiKey::from_name(api)
            .map(MessageKind::Response)
            .ok_or_else(wrong),
        None | Some(_) => Err(wrong()),
    }
}

/// The name under which [`kind_of`] finds a kind.
pub fn name_of(kind: MessageKind) -> String {
    match kind {
        MessageKind::Request(key) => format!("{} request", key.name()),
        MessageKind::Response(key) => format!("{} response", key.name()),
        MessageKind::KeeperRequest => "keeper request".to_owned(),
        MessageKind::KeeperReply => "keeper reply".to_owned(),
        MessageKind::Election => "election".to_owned(),
        MessageKind::Quorum => "quorum".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_under_its_name() {
        let apis = ApiKey::ALL
            .iter()
            .flat_map(|key| [MessageKind::Request(*key), MessageKind::Response(*key)]);
        let others = [
            MessageKind::KeeperRequest,
            MessageKind::KeeperReply,
            MessageKind::Election,
            MessageKind::Quorum,
        ];
        for kind in apis.chain(others) {
            assert_eq!(kind_of(&name_of(kind)), Ok(kind));
        }
    }
}
