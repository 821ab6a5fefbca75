//! The sides of a file: its variants, or every combination of the sides of its matrix.

use super::super::diagnostic::Complaint;
use super::super::format::{Expect, ScenarioFile, Variant};
use std::collections::BTreeMap;
use toml::Spanned;

/// One variant for each way to take one side of every axis, in the order of the file, the last axis changing fastest;
/// without a matrix the variants themselves.
pub(super) fn sides(file: &ScenarioFile, complaints: &mut Vec<Complaint>) -> Vec<Variant> {
    if file.matrix.is_empty() {
        return file.variants.clone();
    }
    if let Some(variant) = file.variants.first() {
        let message = "a file has variants or a matrix, not both";
        complaints.push(
            Complaint::error("scenario::matrix", variant.name.span(), message)
                .help("a variant that stands alone can be one more side of an axis"),
        );
    }
    let mut combined: Vec<Variant> = Vec::new();
    for axis in &file.matrix {
        if axis.get_ref().sides.is_empty() {
            complaints.push(Complaint::error(
                "scenario::matrix",
                axis.span(),
                "an axis has at least one `side`",
            ));
        }
        let sides = &axis.get_ref().sides;
        combined = if combined.is_empty() {
            let alone = |side: &Variant| joined(&of_file(file, side.name.span()), side);
            sides.iter().map(alone).collect()
        } else {
            let with = |one: &Variant| sides.iter().map(|other| joined(one, other)).collect();
            combined
                .iter()
                .flat_map(|one| -> Vec<Variant> { with(one) })
                .collect()
        };
    }
    combined
}

/// What the file expects and reaches in all combinations, as a side without a name.
fn of_file(file: &ScenarioFile, span: std::ops::Range<usize>) -> Variant {
    Variant {
        expect: Some(file.expect.clone()),
        reaches: Some(file.reaches.clone()),
        ..Variant::named(Spanned::new(span, String::new()))
    }
}

/// Both sides at once; where they contradict each other the second holds.
fn joined(one: &Variant, other: &Variant) -> Variant {
    let name = match one.name.get_ref().as_str() {
        "" => other.name.get_ref().clone(),
        first => format!("{first}, {}", other.name.get_ref()),
    };
    Variant {
        name: Spanned::new(other.name.span(), name),
        era: other.era.clone().or_else(|| one.era.clone()),
        fixes: both(&one.fixes, &other.fixes),
        cluster: both(&one.cluster, &other.cluster),
        topic: both(&one.topic, &other.topic),
        producer: both(&one.producer, &other.producer),
        consumer: both(&one.consumer, &other.consumer),
        commit: other.commit.or(one.commit),
        api: other.api.or(one.api),
        commit_on_revoke: other.commit_on_revoke.or(one.commit_on_revoke),
        thread: other.thread.or(one.thread),
        on_failure: other.on_failure.or(one.on_failure),
        faults: one.faults.iter().chain(&other.faults).cloned().collect(),
        expect: joined_expectations(one.expect.as_ref(), other.expect.as_ref()),
        reaches: match (&one.reaches, &other.reaches) {
            (Some(one), Some(other)) => Some(both(one, other)),
            (one, other) => other.clone().or_else(|| one.clone()),
        },
    }
}

fn joined_expectations(one: Option<&Expect>, other: Option<&Expect>) -> Option<Expect> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Expect {
            violated: both(&one.violated, &other.violated),
            harm: both(&one.harm, &other.harm),
        }),
        (one, other) => other.or(one).cloned(),
    }
}

fn both<K: Ord + Clone, V: Clone>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> BTreeMap<K, V> {
    let mut all = one.clone();
    all.extend(
        other
            .iter()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::super::{Checked, Vocabulary, check};
    use crate::scenario::parse::parse;
    use protocol::api::data::Acks;

    fn checked(rest: &str) -> Checked {
        let text = format!(
            "title = 't'\nquestion = 'q'\nduration = '90s'\ntopic = [{{ name = 'orders' }}]\n\
             producer = [{{ name = 'p', topic = 'orders' }}]\nexpect.harm = {{ lost = 'never' }}\n{rest}"
        );
        let file = parse(&text).unwrap_or_else(|complaint| panic!("{complaint:?}"));
        check(
            &file,
            "matrix.toml",
            &Vocabulary {
                guarantees: &[],
                ledger: &["lost", "duplicated"],
            },
        )
    }

    const MATRIX: &str = "
        [[matrix]]
        side = [
            { name = 'kill', fault = [{ name = 'it', kind = 'kill', target = 'broker 1', at = '5s' }] },
            { name = 'stop', fault = [{ name = 'it', kind = 'stop', target = 'broker 1', at = '5s' }] },
        ]
        [[matrix]]
        side = [
            { name = 'one', producer = { acks = '1' }, expect.harm = { lost = 'sometimes' } },
            { name = 'all', producer = { acks = 'all' }, expect.harm = { duplicated = 'never' } },
        ]";

    #[test]
    fn every_combination_of_sides_is_a_variant() {
        let checked = checked(MATRIX);
        assert_eq!(checked.complaints, []);
        let told: Vec<(&str, &str, Acks)> = checked
            .plans
            .iter()
            .map(|plan| {
                let producer = &plan.producers[0].config;
                (
                    plan.variant.as_deref().unwrap(),
                    plan.faults[0].kind,
                    producer.acks,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("kill, one", "kill", Acks::Leader),
                ("kill, all", "kill", Acks::All),
                ("stop, one", "stop", Acks::Leader),
                ("stop, all", "stop", Acks::All),
            ]
        );
    }

    #[test]
    fn what_sides_expect_is_put_together_over_what_the_file_expects() {
        let checked = checked(MATRIX);
        let harm = |at: usize| {
            let expect = &checked.plans[at].expect;
            expect
                .harm
                .iter()
                .map(|(name, how)| format!("{name} {how:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(harm(0), ["lost Sometimes"]);
        assert_eq!(harm(1), ["duplicated Never", "lost Never"]);
    }

    #[test]
    fn a_matrix_excludes_variants_and_needs_sides() {
        let codes = |rest: &str| {
            let complaints = checked(rest).complaints;
            complaints
                .iter()
                .map(|complaint| complaint.code)
                .collect::<Vec<_>>()
        };
        assert_eq!(codes("matrix = [{ side = [] }]"), ["scenario::matrix"]);
        let both = "matrix = [{ side = [{ name = 'a' }] }]\nvariant = [{ name = 'b' }]";
        assert_eq!(codes(both), ["scenario::matrix"]);
    }

    #[test]
    fn a_fault_of_a_side_is_known_by_name_in_its_conditions() {
        let side = "variant = [{ name = 'a', fault = [{ name = 'it', kind = 'kill', target = 'broker 1', at = '5s' }], reaches = { done = { fault = { name = 'it' } } } }]";
        assert_eq!(checked(side).complaints, []);
        assert_eq!(checked(side).plans[0].faults.len(), 1);
    }
}
