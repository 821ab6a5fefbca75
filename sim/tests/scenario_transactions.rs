//! What a scenario with transactions may not ask for, and what it is told.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use sim::scenario::check::{Vocabulary, check};
use sim::scenario::parse;

const HEAD: &str = "title = 't'\nquestion = 'q'\nduration = '10s'\n";

/// Everything that is wrong with a scenario.
fn complaints(text: &str) -> Vec<String> {
    let vocabulary = Vocabulary {
        guarantees: &[],
        ledger: &[],
    };
    let file = parse::parse(text).unwrap();
    let complaints = check(&file, "t.toml", &vocabulary).complaints;
    complaints.into_iter().map(|one| one.message).collect()
}

#[test]
fn a_transaction_that_cannot_be_is_refused_with_the_reason() {
    let producer = |rest: &str| {
        format!(
            "{HEAD}[[topic]]\nname = 'orders'\n[[producer]]\nname = 'p'\ntopic = 'orders'\n{rest}"
        )
    };
    let consumer = |rest: &str| {
        format!(
            "{HEAD}[[topic]]\nname = 'orders'\n[[consumer]]\nname = 'c'\ngroup = 'g'\ntopics = ['orders']\n{rest}"
        )
    };
    let id = "config = { 'transactional.id' = 't' }";
    for (text, expected) in [
        (
            producer("transactions = { records = 2 }"),
            "needs a `transactional.id`",
        ),
        (
            producer(&format!("{id}\ntransactions = {{ transfers = 1 }}")),
            "at least 2 `keys`",
        ),
        (
            producer(&format!(
                "{id}\nkeys = 2\ntransactions = {{ records = 1, transfers = 1 }}"
            )),
            "exclude each other",
        ),
        (
            producer(&format!("{id}\non_failure = 'resend'")),
            "aborts what failed",
        ),
        (consumer("commit = 'transactional'"), "needs `into`"),
        (
            consumer(
                "commit = 'after'\ninto = { topic = 'orders', config = { 'transactional.id' = 't' } }",
            ),
            "goes with `commit",
        ),
        (
            consumer("into = { topic = 'order' }"),
            "there is no topic `order`",
        ),
        (
            producer(&format!(
                "{id}\n[reaches]\nx = {{ transaction_state = {{ id = 'tt', state = 'Ongoing' }} }}"
            )),
            "no producer has the transactional.id `tt`",
        ),
    ] {
        let messages = complaints(&text);
        assert!(
            messages.iter().any(|message| message.contains(expected)),
            "{text}\n{messages:?}"
        );
    }
}
