//! Producers that send in transactions, and consumers that write what they make of their records.

use super::super::diagnostic::suggestion;
use super::super::format::{
    Commit, Consumer, OnFailure, Producer, ScenarioFile, Settings, Transactions,
};
use super::super::plan::{IntoPlan, TransactionsPlan};
use super::super::settings::apply;
use super::{Checker, member_names};
use history::manifest::CommitPolicy;
use protocol::behaviour::Behaviour;
use protocol::config::ProducerConfig;
use protocol::ids::TopicName;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;

/// Records in a transaction, where the file does not say.
const RECORDS: u64 = 10;

/// The transactional ids of a file, each once.
pub(in crate::scenario) fn transactional_ids(file: &ScenarioFile) -> Vec<String> {
    let named = |settings: &Settings| {
        let mut settings = settings.iter();
        let found = settings.find(|(key, _)| key.get_ref() == "transactional.id");
        found.map(|(_, value)| value.get_ref().0.clone())
    };
    let producers = file
        .producers
        .iter()
        .filter_map(|producer| named(&producer.config));
    let is_transactional = |consumer: &&Consumer| {
        let of_sides = file.variants.iter().filter_map(|side| side.commit);
        consumer
            .commit
            .into_iter()
            .chain(of_sides)
            .any(|commit| commit == Commit::Transactional)
    };
    let copying = file.consumers.iter().filter(is_transactional);
    let copying = copying.flat_map(|consumer| {
        let own = consumer.into.as_ref().and_then(|into| {
            let set = into.transactional_id.clone();
            set.or_else(|| named(&into.config))
        });
        let members: Vec<String> = member_names(consumer).collect();
        own.map_or(members, |id| vec![id])
    });
    let mut ids: Vec<String> = producers.chain(copying).collect();
    ids.sort();
    ids.dedup();
    ids
}

impl Checker<'_> {
    /// Complains about a transactional id that nobody has.
    pub(super) fn transactional_id_exists(&mut self, id: &str, span: &Range<usize>) {
        let ids = transactional_ids(self.file);
        if !ids.iter().any(|known| known == id) {
            let help = suggestion(id, ids.iter().map(String::as_str));
            let message = format!("no producer has the transactional.id `{id}`");
            let code = "scenario::unknown-transactional-id";
            self.complain_with_help(code, span.clone(), message, help);
        }
    }

    /// How a producer sends in transactions, if it has a transactional id.
    pub(super) fn transactions(
        &mut self,
        producer: &Producer,
        config: &ProducerConfig,
    ) -> Option<TransactionsPlan> {
        let is_transactional = config.transactional_id.is_some();
        if let Some(table) = producer.transactions.as_ref().filter(|_| !is_transactional) {
            let message = "`transactions` needs a `transactional.id` among the settings";
            self.complain("scenario::transactions", table.span(), message);
        }
        if !is_transactional {
            return None;
        }
        let span = producer.transactions.as_ref();
        let span = span.map_or_else(|| producer.name.span(), Spanned::span);
        let table = producer
            .transactions
            .as_ref()
            .map(|table| table.get_ref().clone());
        let table = table.unwrap_or_default();
        self.check_transactions(producer, &table, &span);
        let records = table.transfers.map(|transfers| transfers.saturating_mul(2));
        Some(TransactionsPlan {
            records: records.or(table.records).unwrap_or(RECORDS),
            transfers: table.transfers.is_some(),
            abort_per_mille: table.abort_per_mille,
            aborts: table.aborts,
            not_begun: table.not_begun,
            pause: table.pause.0,
        })
    }

    fn check_transactions(
        &mut self,
        producer: &Producer,
        table: &Transactions,
        span: &Range<usize>,
    ) {
        let mut wrong = Vec::new();
        if table.records.is_some() && table.transfers.is_some() {
            wrong.push("`records` and `transfers` exclude each other: a transfer is two records");
        }
        if table.records == Some(0) || table.transfers == Some(0) {
            wrong.push("a transaction has at least 1 record or 1 transfer");
        }
        if table.abort_per_mille > 1000 {
            wrong.push("`abort_per_mille` is at most 1000");
        }
        if table.transfers.is_some() && producer.keys.is_none_or(|keys| keys < 2) {
            wrong.push("`transfers` need at least 2 `keys`: they are the accounts");
        }
        if producer.idle.is_some() {
            wrong.push("a producer with a `transactional.id` rests by `pause`, not by `idle`");
        }
        if producer.on_failure == OnFailure::Resend {
            wrong.push("a producer with a `transactional.id` aborts what failed; `on_failure` is not for it");
        }
        for message in wrong {
            self.complain("scenario::transactions", span.clone(), message);
        }
    }

    /// Where a consumer writes what it makes of its records.
    pub(super) fn into(
        &mut self,
        consumer: &Consumer,
        member: &str,
        (commit, behaviour): (CommitPolicy, Behaviour),
    ) -> Option<Arc<IntoPlan>> {
        let is_transactional = commit == CommitPolicy::Transactional;
        let Some(into) = &consumer.into else {
            if is_transactional {
                let message = "`commit = \"transactional\"` needs `into`: offsets are committed with what is written";
                self.complain("scenario::transactions", consumer.name.span(), message);
            }
            return None;
        };
        self.topic_exists(&into.topic);
        if *into.size.get_ref() < 12 {
            let message = "`size` is at least 12 bytes: a record's value carries its number";
            self.complain("scenario::out-of-range", into.size.span(), message);
        }
        let mut config = ProducerConfig::defaults(behaviour.era);
        if is_transactional {
            let id = into.transactional_id.as_deref().unwrap_or(member);
            config
                .set("transactional.id", id)
                .expect("a setting of our own");
        }
        let of_side = self.side.map(|side| &side.producer);
        let layers: Vec<&Settings> = std::iter::once(&into.config).chain(of_side).collect();
        for settings in &layers {
            let known = (ProducerConfig::KEYS, behaviour.era);
            apply(settings, known, &mut self.complaints, |key, value| {
                config.set(key, value)
            });
        }
        let config = config.finish().unwrap_or_else(|error| {
            self.complain_about_client(&error, &layers, &consumer.name);
            ProducerConfig::defaults(behaviour.era)
        });
        if config.transactional_id.is_some() != is_transactional {
            let message =
                "a `transactional.id` goes with `commit = \"transactional\"`, which sets one";
            self.complain("scenario::transactions", consumer.name.span(), message);
        }
        Some(Arc::new(IntoPlan {
            topic: TopicName::from(into.topic.get_ref().as_str()),
            size: *into.size.get_ref(),
            group_metadata: into.group_metadata,
            abort_per_mille: into.abort_per_mille,
            config: Arc::new(config),
        }))
    }
}
