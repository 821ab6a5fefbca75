//! Every key that a kind of fault takes changes what is done to the world, and so does every word that a key may have.
//!
//! Keys that say when a fault ends and how a node comes back do nothing at the moment of the injection: those are
//! looked at in whole runs, by `sim/tests/faults`.

use super::cluster::nodes;
use super::fault::resolve;
use super::view::ClusterView;
use crate::scenario::check::{Vocabulary, check};
use crate::scenario::format::{FaultKind, FileKind};
use crate::scenario::parse::parse;
use crate::scenario::plan::Plan;
use protocol::ids::{BrokerId, NodeId, TopicPartition};
use protocol::note::{ControllerNote, Note};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys that are asked for when the fault ends or its victim comes back.
const LATER: [&str; 4] = ["for", "until", "restart_after", "disk"];

/// Keys that say in which state of the cluster anything is done.
const GUARDS: [&str; 1] = ["additional"];

/// What the fault of this text does to the world.
fn done(fault: &str) -> String {
    let (plan, view) = before(fault);
    let injection = resolve(&plan.faults[1].action, &view);
    assert!(
        !injection.nodes.is_empty() || injection.operator.is_some() || !injection.begin.is_empty(),
        "nothing is done by {fault}"
    );
    format!("{injection:?}")
}

/// The cluster that the fault of this text strikes.
fn before(fault: &str) -> (Plan, ClusterView) {
    let text = format!(
        "title = 't'
         question = 'q'
         duration = '60s'
         unfaithful = true
         topic = [{{ name = 'orders', partitions = 2 }}, {{ name = 'other', partitions = 2 }}]
         cluster = {{ config = {{ 'log.dirs' = '/one,/two' }} }}
         fault = [{{ kind = 'snapshot_disk', target = 'brokers', at = '1s' }}, {{ {fault}, at = '2s' }}]"
    );
    let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}\n{text}"));
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let checked = check(&file, "keys.toml", &vocabulary);
    assert!(checked.complaints.is_empty(), "{:?}", checked.complaints);
    let plan = checked.plans.into_iter().next().unwrap();
    let view = ClusterView::new(nodes(&Arc::new(plan.clone()), 1).directory);
    (plan, view)
}

#[test]
fn an_operator_may_wait_until_the_move_before_is_over() {
    let partition = TopicPartition::new("orders", 0);
    let replicas = vec![BrokerId(2), BrokerId(3)];
    let started = ControllerNote::ReassignmentStarted {
        partition: partition.clone(),
        replicas: replicas.clone(),
        adding: replicas.clone(),
        removing: Vec::new(),
    };
    let over = ControllerNote::Reassigned {
        partition,
        replicas,
    };
    for (additional, asks) in [
        ("", [true; 3]),
        (", additional = false", [true, false, true]),
    ] {
        let fault =
            format!("kind = 'reassign', partition = 'orders-1', replicas = [1, 2, 3]{additional}");
        let (plan, mut view) = before(&fault);
        let asked = |view: &ClusterView| resolve(&plan.faults[1].action, view).operator.is_some();
        let at_first = asked(&view);
        view.on_note(NodeId(0), &Note::Controller(started.clone()));
        let meanwhile = asked(&view);
        view.on_note(NodeId(0), &Note::Controller(over.clone()));
        assert_eq!([at_first, meanwhile, asked(&view)], asks, "{additional}");
    }
}

/// A key and its value.
type Pair = (&'static str, &'static str);

const HIT: Pair = ("target", "'broker 1'");
const LINK: [Pair; 2] = [("from", "'broker 1'"), ("to", "'broker 2'")];
const PARTITION: Pair = ("partition", "'orders-0'");
const TOPIC: Pair = ("topic", "'orders'");

/// What a kind needs at least.
fn least(kind: FaultKind) -> Vec<Pair> {
    match kind {
        FaultKind::Kill
        | FaultKind::PowerFailure
        | FaultKind::Stop
        | FaultKind::Start
        | FaultKind::Restart
        | FaultKind::Pause
        | FaultKind::Partition
        | FaultKind::ExpireSession
        | FaultKind::StuckDisk
        | FaultKind::FullDisk
        | FaultKind::BrokenDisk
        | FaultKind::SnapshotDisk => vec![HIT],
        FaultKind::Delay => vec![LINK[0], LINK[1], ("by", "'1ms'")],
        FaultKind::Bandwidth => vec![LINK[0], LINK[1], ("bandwidth", "1000")],
        FaultKind::Loss => vec![LINK[0], LINK[1], ("per_mille", "10")],
        FaultKind::Hold | FaultKind::Drop | FaultKind::Duplicate | FaultKind::Reorder => {
            vec![("message", "'Fetch request'")]
        }
        FaultKind::LaneDelay => vec![HIT, ("lane", "'controller'")],
        FaultKind::ClockJump => vec![HIT, ("by", "'1s'")],
        FaultKind::ClockDrift => vec![HIT, ("ppm", "100")],
        FaultKind::SlowDisk => vec![HIT, ("factor", "2")],
        FaultKind::Corrupt => vec![HIT, ("file", "'log'"), PARTITION],
        FaultKind::ElectPreferred | FaultKind::ElectUnclean | FaultKind::CancelReassignment => {
            vec![PARTITION]
        }
        FaultKind::AddPartitions => vec![TOPIC, ("partitions", "3")],
        FaultKind::AlterConfig => vec![TOPIC, ("config", "{ 'retention.ms' = 9 }")],
        FaultKind::DeleteRecords => vec![PARTITION, ("before", "1")],
        FaultKind::Reassign => vec![PARTITION, ("replicas", "[1, 2]")],
        FaultKind::DeleteTopic => vec![TOPIC],
    }
}

/// Values of a key that differ from each other, and from what is there without it.
fn values(kind: FaultKind, key: &str) -> Vec<&'static str> {
    match key {
        "target" | "from" | "to" => vec!["'broker 2'", "'broker 3'", "'brokers'"],
        "direction" => vec!["'both'", "'from'", "'to'"],
        "by" => vec!["'2s'", "'3s'"],
        "backwards" => vec!["false", "true"],
        "ppm" => vec!["50", "-50", "-100"],
        "per_mille" => vec!["20", "30"],
        "bandwidth" => vec!["2000", "3000"],
        "factor" => vec!["3", "4"],
        "message" => vec!["'Produce request'", "'Produce response'", "'quorum'"],
        "skip" | "directory" => vec!["0", "1"],
        "lane" => vec![
            "'request_handler'",
            "'controller'",
            "'keeper_callback'",
            "'group_loader'",
            "'transaction_loader'",
            "'transaction_markers'",
            "'background'",
            "{ fetcher = 2 }",
            "{ fetcher = 3 }",
        ],
        "partition" => vec!["'orders-1'", "'other-0'", "'other-1'"],
        "topic" => vec!["'orders'", "'other'"],
        "partitions" => vec!["4", "5"],
        "replicas" => vec!["[2, 1]", "[1, 3]", "[1]"],
        "before" => vec!["2", "3", "'high watermark'"],
        "config" => vec!["{ 'retention.ms' = 1 }", "{ 'min.insync.replicas' = 1 }"],
        "unflushed" => vec!["'drawn'", "'lost'", "'kept'", "'torn'"],
        "damage" => vec!["'flip_bit'", "'zeros'", "'cut'", "'remove'"],
        "count" | "leader_epoch" | "bytes" => vec!["1", "2"],
        "path" => vec!["'/brokers'", "'/controller'"],
        // Those of keepers hit none of the brokers.
        "file" => FileKind::ALL[..9].iter().map(|file| file.word()).collect(),
        unknown => panic!(
            "`{}` takes `{unknown}`, which has no values here",
            kind.word()
        ),
    }
}

/// A fault of this kind in which the key has this value.
fn with(kind: FaultKind, key: &str, value: &str) -> String {
    let mut pairs: BTreeMap<&str, &str> = least(kind).into_iter().collect();
    let of_a_partition = FileKind::ALL
        .into_iter()
        .filter(|file| file.is_of_a_partition());
    if key == "file" && !of_a_partition.map(FileKind::word).any(|word| word == value) {
        pairs.remove("partition");
    }
    if key == "path" {
        pairs.insert("message", "'keeper request'");
    }
    let kind = format!("'{}'", kind.word());
    pairs.insert("kind", &kind);
    let value = if key == "file" {
        format!("'{value}'")
    } else {
        value.to_owned()
    };
    pairs.insert(key, &value);
    let pairs = pairs.iter().map(|(key, value)| format!("{key} = {value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_key_of_a_fault_changes_what_is_done_and_so_does_every_value() {
    for kind in FaultKind::ALL {
        for key in kind
            .keys()
            .iter()
            .filter(|key| !LATER.contains(key) && !GUARDS.contains(key))
        {
            let values = values(kind, key);
            let texts: Vec<String> = values.iter().map(|value| with(kind, key, value)).collect();
            let all: BTreeSet<String> = texts.iter().map(|text| done(text)).collect();
            assert_eq!(
                all.len(),
                values.len(),
                "`{key}` of `{}` has values that do the same: {all:#?}",
                kind.word()
            );
        }
    }
}

#[test]
fn no_two_kinds_do_the_same() {
    // A restart is a kill whose victim comes back.
    let kinds = FaultKind::ALL
        .into_iter()
        .filter(|kind| *kind != FaultKind::Restart);
    let mut known = BTreeMap::new();
    for kind in kinds {
        let pairs = least(kind)
            .into_iter()
            .map(|(key, value)| format!(", {key} = {value}"));
        let text = format!("kind = '{}'{}", kind.word(), pairs.collect::<String>());
        if let Some(other) = known.insert(done(&text), kind.word()) {
            panic!("`{other}` and `{}` do the same", kind.word());
        }
    }
}

#[test]
fn a_start_brings_the_disk_that_it_names() {
    let texts = ["'same'", "'empty'", "'older'"]
        .map(|disk| format!("kind = 'start', target = 'broker 1', disk = {disk}"));
    let all: BTreeSet<String> = texts.iter().map(|text| done(text)).collect();
    assert_eq!(all.len(), 3, "{all:#?}");
}
