//! Every guarantee of the catalogue has a planted history that breaks it and is convicted, and one that nearly does and is
//! acquitted. A guarantee without a pair fails here.

use crate::kept;
use history::checker::{codes, guarantees};
use history::jsonl;
use history::judge::judge;
use history::verdict::{Answer, Verdict};
use std::collections::BTreeSet;
use std::io::BufReader;

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
