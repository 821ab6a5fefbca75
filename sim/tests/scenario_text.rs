//! Scenario files against arbitrary damage: nothing panics, and every complaint points into the file.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use proptest::prelude::*;
use sim::scenario::check::{Vocabulary, check};
use sim::scenario::diagnostic::Complaint;
use sim::scenario::parse;

const SCENARIOS: &[&str] = &[
    include_str!("../../scenarios/06-reordering.toml"),
    include_str!("../../scenarios/12-commit-and-crash.toml"),
    include_str!("../../scenarios/eras/02-truncation.toml"),
    include_str!("../../scenarios/failures/R-01-truncation-to-high-watermark.toml"),
    include_str!("../../scenarios/swarm/standard.toml"),
];

/// What goes where something was.
const SCRAPS: &[&str] = &[
    "",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    "true",
    "\n",
    "'",
    "\u{1F980}",
    "[[fault]]\n",
    "kind = \"kill\"",
    "\"10s\"",
    "\"-3s\"",
    "\"leader of nowhere-0\"",
    "target = 7",
    "#",
    "\\",
    ".",
];

fn complaints(text: &str) -> Vec<Complaint> {
    match parse::text(text.as_bytes().to_vec()).and_then(|text| parse::parse(&text)) {
        Err(complaint) => vec![complaint],
        Ok(file) => {
            let vocabulary = Vocabulary {
                guarantees: &["PA", "P1", "ALO", "AMO"],
                ledger: &["lost", "duplicated"],
            };
            let checked = check(&file, "damaged.toml", &vocabulary);
            assert!(
                !checked.plans.is_empty() || !checked.complaints.is_empty(),
                "refused without a word"
            );
            checked.complaints
        }
    }
}

/// Replaces `length` characters of a scenario from a place on, both given in thousandths of its size.
fn damaged(which: usize, place: usize, length: usize, scrap: &str) -> String {
    let whole: Vec<char> = SCENARIOS[which].chars().collect();
    let from = whole.len() * place / 1000;
    let to = (from + length).min(whole.len());
    let (head, tail) = (&whole[..from], &whole[to..]);
    head.iter()
        .chain(&scrap.chars().collect::<Vec<_>>())
        .chain(tail)
        .collect()
}

proptest! {
    #[test]
    fn every_complaint_about_a_damaged_file_has_its_place(
        which in 0..SCENARIOS.len(),
        place in 0_usize..1000,
        length in 0_usize..40,
        scrap in prop::sample::select(SCRAPS),
    ) {
        let text = damaged(which, place, length, scrap);
        for complaint in complaints(&text) {
            prop_assert!(!complaint.message.is_empty());
            prop_assert!(complaint.span.start <= complaint.span.end);
            prop_assert!(complaint.span.end <= text.len(), "{:?} in {} bytes", complaint.span, text.len());
            prop_assert!(text.is_char_boundary(complaint.span.start));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_a_word(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match parse::text(bytes) {
            Ok(text) => drop(complaints(&text)),
            Err(complaint) => prop_assert!(!complaint.message.is_empty()),
        }
    }
}
