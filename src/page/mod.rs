//! The page that `run` prints: who was there, what broke when, what became of the records, and the verdict with its
//! witnesses.

mod guarantees;
pub(crate) mod junit;
mod ledger;
pub(crate) mod report;
pub(crate) mod table;

use crate::style::{BAD, FAINT, FAULT, GOOD, HEADING, NAME, UNKNOWN, pad, paint};
use history::History;
use history::judge::{Judgement, Outcome};
use history::manifest::{ClientKind, CommitPolicy, Manifest, NodeRole};
use reports::timeline::{self, Line, Tone};
use std::fmt::Write;

/// Widest text line.
pub(crate) const WIDTH: usize = 100;

/// The whole page.
pub(crate) fn page(history: &History, judgement: &Judgement) -> String {
    let manifest = &history.manifest;
    let mut out = String::new();
    header(&mut out, manifest);
    cast(&mut out, manifest);
    section(&mut out, "What happened");
    for line in timeline::lines(history) {
        timeline_line(&mut out, &line);
    }
    section(&mut out, "What became of the records");
    ledger::print(&mut out, judgement);
    section(&mut out, "Guarantees");
    guarantees::print(&mut out, judgement);
    guarantees::findings(&mut out, judgement);
    verdict(&mut out, history, judgement);
    out
}

fn header(out: &mut String, manifest: &Manifest) {
    let variant = manifest
        .variant
        .as_ref()
        .map_or_else(String::new, |name| format!(" [{name}]"));
    line(
        out,
        &format!(
            "{}{}",
            paint(HEADING, &manifest.title),
            paint(NAME, variant)
        ),
    );
    for text in wrap(&manifest.question, WIDTH) {
        line(out, &text);
    }
    let fixes: Vec<String> = manifest
        .fixes
        .iter()
        .map(|(name, on)| format!("{name} {}", if *on { "on" } else { "OFF" }))
        .collect();
    let fixes = if fixes.is_empty() {
        String::new()
    } else {
        format!(" · {}", fixes.join(", "))
    };
    line(
        out,
        &paint(
            FAINT,
            format!(
                "{} · seed {} · era {}{fixes}",
                manifest.path, manifest.seed, manifest.era
            ),
        ),
    );
}

fn cast(out: &mut String, manifest: &Manifest) {
    section(out, "Who was there");
    let brokers = manifest
        .nodes
        .iter()
        .filter(|node| matches!(node.role, NodeRole::Broker(_)))
        .count();
    let keepers = manifest
        .nodes
        .iter()
        .filter(|node| matches!(node.role, NodeRole::Keeper(_)))
        .count();
    line(
        out,
        &format!("  {brokers} brokers, {keepers} keeper servers"),
    );
    for topic in &manifest.topics {
        let unclean = if topic.unclean_leader_election {
            ", unclean elections allowed"
        } else {
            ""
        };
        line(
            out,
            &format!(
                "  topic {}: {} × {} replicas, min.insync.replicas={}{unclean}",
                paint(NAME, &topic.name),
                count(topic.partitions, "partition"),
                topic.replication_factor,
                topic.min_insync_replicas
            ),
        );
    }
    for client in &manifest.clients {
        let what = match &client.kind {
            ClientKind::Producer {
                acks,
                in_flight,
                idempotence,
                ..
            } => {
                let idempotent = if *idempotence { ", idempotent" } else { "" };
                format!("acks={acks}, {in_flight} in flight{idempotent}")
            }
            ClientKind::Consumer { group, commit, .. } => {
                let group = group
                    .as_ref()
                    .map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
                format!("{group}, {}", commit_in_words(*commit))
            }
            ClientKind::Admin | ClientKind::FinalReader | ClientKind::CommittedReader => continue,
        };
        let kind = if matches!(client.kind, ClientKind::Producer { .. }) {
            "producer"
        } else {
            "consumer"
        };
        line(
            out,
            &format!("  {kind} {}: {what}", paint(NAME, &client.name)),
        );
    }
}

const fn commit_in_words(commit: CommitPolicy) -> &'static str {
    match commit {
        CommitPolicy::Auto => "auto commit",
        CommitPolicy::Before => "commits before it processes",
        CommitPolicy::After => "commits after it processed",
        CommitPolicy::Transactional => "commits with what it made",
        CommitPolicy::Never => "never commits",
    }
}

fn timeline_line(out: &mut String, entry: &Line) {
    let time = format!("{:>10}", seconds(entry.at));
    let node = pad(NAME, &entry.node, 7);
    match entry.tone {
        Tone::Phase => line(out, &paint(FAINT, format!("{time}  ── {} ──", entry.text))),
        Tone::Fault => line(
            out,
            &format!("{time}  {node} {}", paint(FAULT, &entry.text)),
        ),
        Tone::Change => line(out, &format!("{time}  {node} {}", entry.text)),
        Tone::Mark => line(out, &format!("{time}  {node} {}", paint(GOOD, &entry.text))),
    }
}

fn verdict(out: &mut String, history: &History, judgement: &Judgement) {
    out.push('\n');
    let (style, word, reasons): (_, _, &[history::judge::Reason]) = match &judgement.outcome {
        Outcome::AsExpected => (GOOD, "AS EXPECTED", &[]),
        Outcome::NotAsExpected(reasons) => (BAD, "NOT AS EXPECTED", reasons),
        Outcome::Unknown(reasons) => (UNKNOWN, "UNKNOWN", reasons),
    };
    line(out, &format!("Verdict: {}", paint(style, word)));
    for reason in reasons {
        line(out, &format!("  - {}: {}", reason.code, reason.text));
    }
    line(
        out,
        &paint(
            FAINT,
            format!("Again:   {}", repeat_command(&history.manifest)),
        ),
    );
}

/// The command that repeats a run.
pub(crate) fn repeat_command(manifest: &Manifest) -> String {
    format!(
        "ktrial run {} --seed {}{}",
        manifest.path,
        manifest.seed,
        variant_option(manifest.variant.as_deref())
    )
}

/// How a command names a variant; nothing when there is none.
pub(crate) fn variant_option(variant: Option<&str>) -> String {
    variant.map_or_else(String::new, |name| format!(" --variant '{name}'"))
}

fn section(out: &mut String, title: &str) {
    out.push('\n');
    line(out, &paint(HEADING, title));
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// `1 partition`, `2 partitions`.
pub(crate) fn count(number: i32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Seconds with milliseconds.
pub(crate) fn seconds(nanos: u64) -> String {
    format!(
        "{}.{:03}s",
        nanos / 1_000_000_000,
        nanos / 1_000_000 % 1_000
    )
}

/// Breaks text at spaces.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
