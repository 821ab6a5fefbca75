//! The schema and the reader must know the same keys: what serde would take is asked of serde itself.

use super::SCHEMA;
use super::condition::{CallName, CallStage, Condition};
use super::format::{
    Axis, BrokerTable, Cluster, Commit, Consumer, ConsumerApi, Damage, Direction, Disk, Expect,
    Fault, FaultKind, FileKind, Idle, Into, LaneName, Link, Network, OnFailure, Pause,
    PinnedMessages, Producer, ScenarioFile, Seek, SeekTo, Thread, Topic, Transactions, Unflushed,
    Variant,
};
use super::nemesis::{Nemesis, NemesisKind};
use history::event::ElectionKind;
use history::expectation::Quantifier;
use protocol::behaviour::{Era, Fix};
use protocol::note::TransactionState;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

/// A word where an enum is expected.
#[derive(Debug, Deserialize)]
struct Holder<T> {
    #[expect(dead_code, reason = "only reading it matters")]
    it: T,
}

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// The names that serde's complaint about `text` offers instead of `zzz`.
fn offered<T: DeserializeOwned>(text: &str) -> BTreeSet<String> {
    let error = toml::from_str::<T>(text)
        .err()
        .expect("nothing is called zzz");
    let message = error.message();
    // Inside the table of an enum's variant the complaint is the reader's, not serde's.
    if let Some(available) = message.strip_prefix("unexpected keys in table: zzz, available keys: ")
    {
        return words(available.split(", "));
    }
    assert!(
        message.starts_with("unknown") && message.contains("`zzz`"),
        "{message}"
    );
    words(message.split('`').skip(3).step_by(2))
}

/// The keys that serde takes in a table.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    offered::<T>("zzz = 1")
}

/// The words that serde takes for an enum.
fn choice<T: DeserializeOwned>() -> BTreeSet<String> {
    offered::<Holder<T>>("it = 'zzz'")
}

fn properties(table: &Value) -> BTreeSet<String> {
    assert_eq!(table["additionalProperties"], Value::Bool(false), "{table}");
    words(
        table["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str),
    )
}

/// Every word that a schema of an enum admits, those with a value included.
fn admitted(schema: &Value) -> BTreeSet<String> {
    let plain = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let constant = schema["const"].as_str();
    let mut all = words(plain.chain(constant));
    if let Some(fields) = schema["properties"].as_object() {
        all.extend(fields.keys().cloned());
    }
    for side in schema["oneOf"].as_array().into_iter().flatten() {
        all.extend(admitted(side));
    }
    all
}

#[test]
fn schema_has_the_keys_of_every_table() {
    let schema = schema();
    assert_eq!(properties(&schema), keys::<ScenarioFile>());
    let tables = [
        ("cluster", keys::<Cluster>()),
        ("broker", keys::<BrokerTable>()),
        ("topic", keys::<Topic>()),
        ("producer", keys::<Producer>()),
        ("consumer", keys::<Consumer>()),
        ("idle", keys::<Idle>()),
        ("transactions", keys::<Transactions>()),
        ("into", keys::<Into>()),
        ("seek", keys::<Seek>()),
        ("pause", keys::<Pause>()),
        ("network", keys::<Network>()),
        ("link", keys::<Link>()),
        ("nemesis", keys::<Nemesis>()),
        ("pinned_messages", keys::<PinnedMessages>()),
        ("fault", keys::<Fault>()),
        ("expect", keys::<Expect>()),
        ("variant", keys::<Variant>()),
        ("axis", keys::<Axis>()),
    ];
    for (name, known) in tables {
        assert_eq!(properties(&schema["$defs"][name]), known, "table `{name}`");
    }
}

#[test]
fn schema_has_every_condition_and_its_keys() {
    let conditions = &schema()["$defs"]["condition"];
    assert_eq!(properties(conditions), choice::<Condition>());
    for (name, table) in conditions["properties"].as_object().unwrap() {
        if ["all", "in_order"].contains(&name.as_str()) {
            continue;
        }
        let known = offered::<Holder<Condition>>(&format!("it = {{ {name} = {{ zzz = 1 }} }}"));
        assert_eq!(properties(table), known, "condition `{name}`");
    }
}

#[test]
fn schema_has_every_word_of_every_choice() {
    let schema = schema();
    let defs = &schema["$defs"];
    let fault = &defs["fault"]["properties"];
    let choices = [
        (&fault["kind"], choice::<FaultKind>()),
        (&fault["disk"], choice::<Disk>()),
        (&fault["direction"], choice::<Direction>()),
        (&fault["unflushed"], choice::<Unflushed>()),
        (&fault["file"], choice::<FileKind>()),
        (&fault["damage"], choice::<Damage>()),
        (&defs["lane"], choice::<LaneName>()),
        (&defs["commit"], choice::<Commit>()),
        (&defs["thread"], choice::<Thread>()),
        (&defs["consumer_api"], choice::<ConsumerApi>()),
        (&defs["on_failure"], choice::<OnFailure>()),
        (&defs["seek"]["properties"]["to"], choice::<SeekTo>()),
        (&defs["quantifier"], choice::<Quantifier>()),
        (
            &defs["condition"]["properties"]["elected"]["properties"]["kind"],
            choice::<ElectionKind>(),
        ),
        (
            &defs["condition"]["properties"]["transaction_state"]["properties"]["state"],
            choice::<TransactionState>(),
        ),
        (
            &defs["condition"]["properties"]["transaction_call"]["properties"]["call"],
            choice::<CallName>(),
        ),
        (
            &defs["condition"]["properties"]["transaction_call"]["properties"]["stage"],
            choice::<CallStage>(),
        ),
    ];
    for (part, known) in choices {
        assert_eq!(admitted(part), known);
    }
}

/// The keys that fit every kind of fault.
const SHARED: [&str; 10] = [
    "kind",
    "name",
    "at",
    "between",
    "when",
    "after",
    "every",
    "times",
    "permanent",
    "optional",
];

#[test]
fn every_key_of_a_fault_is_shared_or_belongs_to_a_kind() {
    let own = FaultKind::ALL.iter().flat_map(|kind| kind.keys()).copied();
    assert_eq!(words(own.chain(SHARED)), keys::<Fault>());
}

#[test]
fn every_kind_of_file_has_its_word() {
    assert_eq!(
        words(FileKind::ALL.map(FileKind::word)),
        choice::<FileKind>()
    );
}

#[test]
fn schema_has_every_kind_of_the_nemesis() {
    let kinds = &schema()["$defs"]["nemesis"]["properties"]["kinds"];
    assert_eq!(properties(kinds), choice::<NemesisKind>());
}

#[test]
fn schema_has_every_era_fix_guarantee_and_entry_of_the_ledger() {
    let schema = schema();
    let defs = &schema["$defs"];
    assert_eq!(admitted(&defs["era"]), words(Era::ALL.map(Era::name)));
    assert_eq!(
        properties(&defs["fixes"]),
        words(Fix::ALL.iter().map(|fix| fix.name()))
    );
    let expect = &defs["expect"]["properties"];
    assert_eq!(
        properties(&expect["violated"]),
        words(history::checker::codes())
    );
    let harm = &expect["harm"];
    let open = harm["patternProperties"].as_object().unwrap().keys();
    let open = open.map(|pattern| {
        pattern
            .trim_start_matches('^')
            .trim_end_matches(".*$")
            .replace('\\', "")
    });
    let mut entries = properties(harm);
    entries.extend(open);
    assert_eq!(
        entries,
        words(history::ledger::LEDGER_KEYS.iter().map(|(key, _)| *key))
    );
}

/// Every `$ref` in the schema.
fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            found.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn schema_refers_only_to_what_it_defines() {
    let schema = schema();
    let mut found = BTreeSet::new();
    references(&schema, &mut found);
    let defined = schema["$defs"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("#/$defs/{name}"));
    assert_eq!(found, defined.collect());
}
