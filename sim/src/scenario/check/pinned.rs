//! Messages whose delay is fixed: names and numbers must be such as a run has.

use super::super::diagnostic::suggestion;
use super::super::format::PinnedMessages;
use super::super::message::kind_of;
use super::super::plan::{COMMITTED_READER, FINAL_READER, OPERATOR, PinnedMessage};
use super::Checker;
use protocol::message::MessageKind;
use toml::Spanned;

impl Checker<'_> {
    pub(super) fn pinned_messages(&mut self) -> Vec<PinnedMessage> {
        let file = self.file;
        let mut pinned = Vec::new();
        for messages in &file.network.messages {
            self.node_name(&messages.from);
            self.node_name(&messages.to);
            match kind_of(messages.message.get_ref()) {
                Ok(kind) => self.numbers(messages, kind, &mut pinned),
                Err(error) => {
                    self.complain("scenario::unknown-message", messages.message.span(), error);
                }
            }
        }
        pinned
    }

    fn numbers(
        &mut self,
        messages: &PinnedMessages,
        kind: MessageKind,
        pinned: &mut Vec<PinnedMessage>,
    ) {
        for (number, latency) in &messages.latency {
            let Ok(nth) = number.get_ref().parse() else {
                let message = format!("`{}` is no number of a message", number.get_ref());
                self.complain("scenario::message-number", number.span(), message);
                continue;
            };
            pinned.push(PinnedMessage {
                from: messages.from.get_ref().clone(),
                to: messages.to.get_ref().clone(),
                kind,
                nth,
                latency: latency.0,
            });
        }
    }

    /// A name that a node has in histories.
    fn node_name(&mut self, name: &Spanned<String>) {
        let cluster = &self.file.cluster;
        let brokers = (1..=*cluster.brokers.get_ref()).map(|id| format!("b{id}"));
        let keepers = (1..=*cluster.keepers.get_ref()).map(|id| format!("z{id}"));
        let own = [OPERATOR, FINAL_READER, COMMITTED_READER].map(str::to_owned);
        let clients = self.client_names();
        let all: Vec<String> = brokers.chain(keepers).chain(clients).chain(own).collect();
        if !all.contains(name.get_ref()) {
            let help = suggestion(name.get_ref(), all.iter().map(String::as_str));
            let message = format!("no node is called `{}`", name.get_ref());
            self.complain_with_help("scenario::unknown-node", name.span(), message, help);
        }
    }
}
