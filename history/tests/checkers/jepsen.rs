//! Histories in Jepsen's form: what is written, and that its rules for histories are kept. `KTRIAL_BLESS=1` writes the files
//! anew.

use crate::kept;
use history::{History, jsonl};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

fn read(name: &str) -> History {
    let file = std::fs::read(kept::path(name)).unwrap();
    jsonl::read(BufReader::new(file.as_slice())).unwrap()
}

fn edn(name: &str) -> String {
    let mut out = Vec::new();
    history::jepsen::write(&read(name), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// One history each: plain sends and polls, a copy in a transaction, a torn transaction, an end that nobody was told, and
/// an application that goes back.
const KEPT: &[&str] = &[
    "ord-bad",
    "e7-near",
    "e3-bad",
    "e2-undecided-bad",
    "e1-near",
];

#[test]
fn a_history_is_written_as_jepsen_would_have_recorded_it() {
    for name in KEPT {
        let path = kept::path(name).with_extension("edn");
        let written = edn(name);
        if std::env::var_os("KTRIAL_BLESS").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, expected, "{name}: KTRIAL_BLESS=1 writes it anew");
    }
}

fn field<'t>(line: &'t str, name: &str) -> &'t str {
    let (_, rest) = line.split_once(&format!(":{name} ")).unwrap();
    rest.split([',', '}']).next().unwrap()
}

#[test]
fn a_process_does_one_thing_at_a_time_and_nothing_after_it_was_left_without_an_answer() {
    let folder = kept::path("e1-bad");
    let files = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    let mut judged = 0;
    for file in files.map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|kind| kind != "jsonl") {
            continue;
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        let written = edn(name);
        let mut busy: BTreeMap<&str, &str> = BTreeMap::new();
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        let mut before = 0;
        for (place, line) in written.lines().enumerate() {
            assert_eq!(field(line, "index"), place.to_string(), "{name}");
            let time: u64 = field(line, "time").parse().unwrap();
            assert!(time >= before, "{name}: {line}");
            before = time;
            let (process, function) = (field(line, "process"), field(line, "f"));
            assert!(!gone.contains(process), "{name}: {line}");
            match field(line, "type") {
                ":invoke" => assert_eq!(busy.insert(process, function), None, "{name}: {line}"),
                kind => {
                    assert_eq!(busy.remove(process), Some(function), "{name}: {line}");
                    if kind == ":info" {
                        gone.insert(process);
                    }
                }
            }
            judged += 1;
        }
        assert!(busy.is_empty(), "{name}: {busy:?} never end");
    }
    assert!(judged > 100);
}

#[test]
fn keys_are_the_partitions_of_the_workload_in_order() {
    let keys = history::jepsen::keys(&read("e7-near"));
    let names: Vec<String> = keys
        .iter()
        .map(|(key, partition)| format!("{key} {partition}"))
        .collect();
    assert_eq!(names, ["0 orders-0", "1 orders-1", "2 copies-0"]);
}
