//! What the release of an era could not do, so that a scenario must not ask for it.

use super::super::diagnostic::Complaint;
use super::super::format::{Consumer, FaultKind};
use super::Checker;
use protocol::behaviour::{Behaviour, Era};
use protocol::config::BrokerConfig;
use toml::Spanned;

impl Checker<'_> {
    /// A release does not know the protocol versions of those after it, and does not start with one. A later fix that is
    /// switched on may need the words of its own time, so a scenario that switches any has its way.
    pub(super) fn speaks_no_later_protocol(&mut self, config: &BrokerConfig, era: Era) {
        let (asked, last) = (
            config.inter_broker_protocol_version,
            Behaviour::of(era).inter_broker_protocol,
        );
        let of_side = self.side.into_iter().flat_map(|side| &side.fixes);
        let switches = self
            .file
            .cluster
            .fixes
            .iter()
            .chain(of_side)
            .next()
            .is_some();
        if asked > last && !switches {
            let message = format!(
                "inter.broker.protocol.version = {asked}: era {era} knows none after {last}"
            );
            let span = self.span_of_broker_setting("inter.broker.protocol.version");
            self.complain("scenario::setting-value", span, message);
        }
    }

    /// What a file asks for may be more than an earlier release promises; then it says which eras it is meant for.
    pub(super) fn is_meant_for(&mut self, era: Era) {
        let eras = &self.file.cluster.eras;
        let Some(first) = eras.first() else {
            return;
        };
        if eras.iter().any(|meant| meant.get_ref() == era.name()) {
            return;
        }
        let span = self.era_word().map_or(first.span(), Spanned::span);
        let names: Vec<&str> = eras.iter().map(|meant| meant.get_ref().as_str()).collect();
        self.complain(
            "scenario::another-era",
            span,
            format!("the file is meant for {}, not for {era}", names.join(", ")),
        );
    }

    /// The Java consumer and the coordinator of its groups came with 0.9.
    pub(super) fn has_group_coordinator(&mut self, consumer: &Consumer, behaviour: Behaviour) {
        if behaviour.era == Era::V0_8 && (!consumer.topics.is_empty() || consumer.pattern.is_some())
        {
            self.complain_with_help(
                "scenario::consumer-of-a-later-era",
                consumer.name.span(),
                format!(
                    "`{}` subscribes to topics, but brokers of era 0.8 coordinate no groups",
                    consumer.name.get_ref()
                ),
                "groups of that time kept themselves in ZooKeeper: let it be a ZooKeeper consumer with `api = \"old\"`, give \
                 it its partitions with `assign`, as the simple consumer had them, or use era 0.9"
                    .to_owned(),
            );
        }
    }

    /// An operator could ask for an unclean election from 2.4 on (KIP-460); before, a topic allowed it or did not.
    pub(super) fn has_admin_calls(&mut self, behaviour: Behaviour) {
        if behaviour.era >= Era::V2_8 {
            return;
        }
        let kinds = self.all_faults().map(|fault| &fault.get_ref().kind);
        let unclean = kinds.filter(|kind| matches!(kind.get_ref(), FaultKind::ElectUnclean));
        let spans: Vec<_> = unclean.map(Spanned::span).collect();
        for span in spans {
            let message = format!(
                "era {} has no such request: it came with 2.4",
                behaviour.era
            );
            self.complaints.push(
                Complaint::error("scenario::fault-of-a-later-era", span, message)
                    .help("set `unclean.leader.election.enable` for the topic instead"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Vocabulary, check};
    use crate::scenario::parse::parse;

    /// The codes of what is wrong with a file of this era.
    fn complaints(era: &str, rest: &str) -> Vec<&'static str> {
        let text = format!(
            "title = 't'\nquestion = 'q'\nduration = '90s'\ntopic = [{{ name = 'orders' }}]\ncluster.era = '{era}'\n{rest}"
        );
        let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}"));
        let known = Vocabulary {
            guarantees: &[],
            ledger: &[],
        };
        let checked = check(&file, "era.toml", &known);
        checked
            .complaints
            .iter()
            .map(|complaint| complaint.code)
            .collect()
    }

    #[test]
    fn brokers_of_0_8_coordinate_no_group_but_answer_a_simple_consumer() {
        let subscribed = "consumer = [{ name = 'c', group = 'g', topics = ['orders'] }]";
        let assigned = "consumer = [{ name = 'c', assign = ['orders-0'] }]";
        assert_eq!(
            complaints("0.8", subscribed),
            ["scenario::consumer-of-a-later-era"]
        );
        assert_eq!(complaints("0.9", subscribed), [""; 0]);
        assert_eq!(complaints("0.8", assigned), [""; 0]);
    }

    #[test]
    fn a_file_that_is_meant_for_some_eras_is_refused_in_the_others() {
        let meant = "cluster.eras = ['2.8', 'sound']";
        assert_eq!(complaints("1.0", meant), ["scenario::another-era"]);
        assert_eq!(complaints("sound", meant), [""; 0]);
        assert_eq!(
            complaints("2.8", "cluster.eras = ['2.8', '2.9']"),
            ["scenario::unknown-era"]
        );
    }

    #[test]
    fn a_key_of_a_later_release_is_a_warning_and_has_no_effect() {
        let producer = "producer = [{ name = 'p', topic = 'orders', config = { 'enable.idempotence' = true } }]";
        assert_eq!(
            complaints("0.9", producer),
            ["scenario::setting-of-a-later-era"]
        );
        assert_eq!(complaints("1.0", producer), [""; 0]);
        let file = parse(&format!(
            "title = 't'\nquestion = 'q'\nduration = '9s'\ntopic = [{{ name = 'orders' }}]\ncluster.era = '0.9'\n{producer}"
        ))
        .unwrap();
        let known = Vocabulary {
            guarantees: &[],
            ledger: &[],
        };
        let checked = check(&file, "era.toml", &known);
        assert!(!checked.plans[0].producers[0].config.enable_idempotence);
    }

    #[test]
    fn a_release_speaks_no_protocol_of_a_later_one() {
        let speaks = |version: &str| {
            format!("cluster.config = {{ 'inter.broker.protocol.version' = '{version}' }}")
        };
        assert_eq!(
            complaints("1.0", &speaks("2.0")),
            ["scenario::setting-value"]
        );
        assert_eq!(complaints("1.0", &speaks("0.11.0")), [""; 0]);
        let with_fix = format!("cluster.fixes = {{ 'KIP-279' = true }}\n{}", speaks("2.0"));
        assert_eq!(complaints("1.0", &with_fix), [""; 0]);
    }

    #[test]
    fn nobody_could_ask_for_an_unclean_election_before_2_4() {
        let fault = "fault = [{ kind = 'elect_unclean', partition = 'orders-0', at = '5s' }]";
        assert_eq!(complaints("1.0", fault), ["scenario::fault-of-a-later-era"]);
        assert_eq!(complaints("2.8", fault), [""; 0]);
    }
}
