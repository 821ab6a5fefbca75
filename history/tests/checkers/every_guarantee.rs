//! Every guarantee of the catalogue has a planted history that breaks it and is convicted, and one that nearly does and is
//! acquitted. A guarantee without a pair fails here, and so does an anomaly that no kept history shows.

use crate::kept;
use history::checker::{codes, guarantees};
use history::jsonl;
use history::judge::judge;
use history::verdict::{Answer, Verdict};
use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;

/// What is to become of a planted breach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    /// It is a violation.
    Convicted,
    /// Nobody promises the contrary: it is told, with its cause.
    Told,
}

use Planted::{Convicted, Told};

/// Guarantee, what becomes of the breach, the history that breaks it, and the one that nearly does.
const PAIRS: &[(&str, Planted, &str, &str)] = &[
    ("V0", Convicted, "v0-bad", "v0-near"),
    ("P0", Convicted, "p0-bad", "p0-near"),
    ("P1", Convicted, "p1-bad", "p1-near"),
    ("PA", Convicted, "pa-bad", "pa-near"),
    ("DUP", Convicted, "dup-bad", "dup-near"),
    ("FIFO", Convicted, "fifo-bad", "fifo-near"),
    ("GAP", Convicted, "gap-bad", "gap-near"),
    ("RT", Convicted, "rt-bad", "rt-near"),
    ("AGREE", Convicted, "agree-bad", "agree-near"),
    ("AMO", Convicted, "amo-bad", "amo-near"),
    ("ALO", Convicted, "alo-bad", "alo-near"),
    ("CM", Convicted, "cm-bad", "cm-near"),
    ("OWN", Convicted, "own-bad", "own-near"),
    ("ORD", Convicted, "ord-bad", "ord-near"),
    ("RES", Convicted, "res-bad", "res-near"),
    ("E1", Convicted, "e1-bad", "e1-near"),
    ("E2", Convicted, "e2-bad", "e2-near"),
    ("E3", Convicted, "e3-bad", "e3-near"),
    ("E4", Convicted, "e4-bad", "e4-near"),
    ("E5", Convicted, "e5-bad", "e5-near"),
    ("E6", Convicted, "e6-bad", "e6-near"),
    ("E7", Convicted, "e7-bad", "e7-near"),
    ("E8", Convicted, "e8-bad", "e8-near"),
    ("E9", Convicted, "e9-bad", "e9-near"),
    ("EO", Convicted, "eo-bad", "eo-near"),
    ("G0", Told, "g0-cycle", "g0-near"),
    ("G1c", Convicted, "g1c-bad", "g1c-near"),
    ("PROGRESS", Convicted, "progress-bad", "progress-near"),
    ("INV-LEADER", Convicted, "inv-leader-bad", "inv-leader-near"),
    (
        "INV-CONTROLLER",
        Convicted,
        "inv-controller-bad",
        "inv-controller-near",
    ),
    ("INV-ISR", Convicted, "inv-isr-bad", "inv-isr-near"),
    ("INV-HW", Convicted, "inv-hw-bad", "inv-hw-near"),
    ("INV-LOG", Convicted, "inv-log-bad", "inv-log-near"),
    (
        "INV-COMPLETE",
        Convicted,
        "inv-complete-bad",
        "inv-complete-near",
    ),
    ("INV-QUORUM", Convicted, "inv-quorum-bad", "inv-quorum-near"),
    (
        "INV-VALID-HW",
        Convicted,
        "inv-valid-hw-bad",
        "inv-valid-hw-near",
    ),
    (
        "INV-STRONG-ISR",
        Convicted,
        "inv-strong-isr-bad",
        "inv-strong-isr-near",
    ),
    ("INV-READ", Convicted, "inv-read-bad", "inv-read-near"),
    (
        "INV-READ-HW",
        Convicted,
        "inv-read-hw-bad",
        "inv-read-hw-near",
    ),
    ("INV-KEEPER", Convicted, "inv-keeper-bad", "inv-keeper-near"),
];

fn verdict(code: &str, history: &str) -> Verdict {
    let file = std::fs::read(kept::path(history)).unwrap();
    let history = jsonl::read(BufReader::new(file.as_slice())).unwrap();
    judge(&history).verdict(code).unwrap().clone()
}

#[test]
fn every_guarantee_has_a_pair_of_its_own() {
    let listed: Vec<&str> = PAIRS.iter().map(|(code, ..)| *code).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "a code is listed twice");
    assert_eq!(unique, codes().into_iter().collect());
    assert_eq!(listed.len(), guarantees().len());
}

#[test]
fn the_breach_is_convicted_with_a_witness_and_its_story() {
    for (code, planted, bad, _) in PAIRS {
        let verdict = verdict(code, bad);
        let findings = match planted {
            Convicted => {
                assert_eq!(verdict.answer, Answer::Violated, "{code} on {bad}");
                &verdict.findings
            }
            Told => {
                assert!(
                    matches!(verdict.answer, Answer::NotClaimed(_)),
                    "{code} on {bad}"
                );
                &verdict.excused
            }
        };
        let first = findings
            .first()
            .unwrap_or_else(|| panic!("{code} on {bad}"));
        assert!(!first.summary.is_empty(), "{code} on {bad}");
        assert!(!first.story.is_empty(), "{code} on {bad} has no story");
    }
}

#[test]
fn the_near_miss_is_acquitted() {
    for (code, planted, _, near) in PAIRS {
        let verdict = verdict(code, near);
        assert_eq!(verdict.violations, 0, "{code} on {near}: {verdict:#?}");
        assert!(verdict.judged > 0, "{code} judged nothing on {near}");
        match planted {
            Convicted => assert_eq!(verdict.answer, Answer::Holds, "{code} on {near}"),
            Told => assert!(verdict.excused.is_empty(), "{code} on {near}"),
        }
    }
}

/// Words with a hyphen in the checkers that name no anomaly.
const NO_ANOMALIES: [&str; 3] = [
    "controlled-shutdown",
    "eligible-replica",
    "last-known-leader",
];

/// Every text in quotes that looks like the name of an anomaly.
fn names_in(source: &str) -> impl Iterator<Item = String> + '_ {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let quoted = code.split('"').skip(1).step_by(2);
    let is_name = |text: &&str| {
        let mut parts = text.split('-');
        let of_letters =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        text.contains('-') && parts.all(of_letters)
    };
    quoted.filter(is_name).map(str::to_owned)
}

/// What the checkers can find, by their own words.
fn anomalies() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checker");
    let files = std::fs::read_dir(folder).unwrap();
    let sources = files.map(|file| file.unwrap().path());
    let sources = sources.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let names = sources.flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        names_in(&text).collect::<Vec<_>>()
    });
    names
        .filter(|name| !NO_ANOMALIES.contains(&name.as_str()))
        .collect()
}

/// What is found in the kept histories.
fn shown() -> BTreeSet<String> {
    let folder = kept::path("x").parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let histories = paths.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    let mut shown = BTreeSet::new();
    for path in histories {
        let file = std::fs::read(path).unwrap();
        let history = jsonl::read(BufReader::new(file.as_slice())).unwrap();
        for verdict in judge(&history).verdicts {
            let findings = verdict.findings.into_iter().chain(verdict.excused);
            shown.extend(findings.map(|finding| finding.anomaly));
        }
    }
    shown
}

#[test]
fn every_anomaly_that_a_checker_can_name_is_shown_by_a_kept_history() {
    let (anomalies, shown) = (anomalies(), shown());
    let missing: Vec<&String> = anomalies.difference(&shown).collect();
    assert!(missing.is_empty(), "no history shows {missing:?}");
}
