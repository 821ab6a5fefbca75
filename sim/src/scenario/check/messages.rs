//! Faults of single messages: which messages are meant.

use super::super::message::kind_of;
use super::super::plan::{FaultAction, MessageChange};
use super::faults::Reader;
use protocol::message::MessageKind;

impl Reader<'_, '_> {
    pub(super) fn message(&mut self, change: MessageChange) -> Option<FaultAction> {
        self.check_faithful();
        let text = self.needed(self.fault.message.as_ref(), "message")?;
        let kind = match kind_of(text.get_ref()) {
            Ok(kind) => kind,
            Err(message) => {
                self.checker
                    .complain("scenario::unknown-message", text.span(), message);
                return None;
            }
        };
        let from = self.optional(self.fault.from.as_ref());
        let to = self.optional(self.fault.to.as_ref());
        let partition = match &self.fault.partition {
            None => None,
            Some(text) => Some(self.checker.partition(text.get_ref(), text.span())?),
        };
        self.check_content(kind);
        Some(FaultAction::Message {
            kind,
            from,
            to,
            partition,
            leader_epoch: self
                .fault
                .leader_epoch
                .as_ref()
                .map(|epoch| *epoch.get_ref()),
            path: self.fault.path.as_ref().map(|path| path.get_ref().clone()),
            skip: self.fault.skip,
            count: self.fault.count.unwrap_or(1),
            change,
        })
    }

    fn check_faithful(&mut self) {
        let kind = &self.fault.kind;
        if !self.checker.file.unfaithful && kind.get_ref().is_unfaithful() {
            let what = match kind.get_ref().word() {
                "duplicate" => "TCP delivers no message twice",
                _ => "no message of a TCP connection overtakes another",
            };
            let message =
                format!("{what}; write `unfaithful = true` at the top to ask for it all the same");
            self.checker
                .complain("scenario::unfaithful", kind.span(), message);
        }
    }

    /// A condition on the content must be one that such a message can meet.
    fn check_content(&mut self, kind: MessageKind) {
        let of_keepers = matches!(
            kind,
            MessageKind::KeeperRequest | MessageKind::KeeperReply | MessageKind::Quorum
        );
        let of_brokers = matches!(kind, MessageKind::Request(_) | MessageKind::Response(_));
        let keys = [
            (
                "partition",
                self.fault.partition.as_ref().map(toml::Spanned::span),
                of_brokers,
            ),
            (
                "leader_epoch",
                self.fault.leader_epoch.as_ref().map(toml::Spanned::span),
                of_brokers,
            ),
            (
                "path",
                self.fault.path.as_ref().map(toml::Spanned::span),
                of_keepers,
            ),
        ];
        for (key, span, fits) in keys {
            if let Some(span) = span
                && !fits
            {
                let message = format!("no such message names a {}", key.replace('_', " "));
                let help = if key == "path" {
                    "`path` picks keeper requests, keeper replies (watch events) and quorum messages"
                } else {
                    "`partition` and `leader_epoch` pick requests and responses of brokers"
                };
                self.checker.complain_with_help(
                    "scenario::fault-key",
                    span,
                    message,
                    help.to_owned(),
                );
            }
        }
    }
}
