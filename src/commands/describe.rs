//! `ktrial describe`: the theory behind a code or a term.

use super::say;
use crate::args::Describe;
use crate::exit::Exit;
use crate::load;
use crate::page::{WIDTH, wrap};
use crate::style::{HEADING, paint};
use protocol::behaviour::{Fix, Mask};
use protocol::config::{
    BrokerConfig, ConsumerConfig, KeeperConfig, OldConsumerConfig, ProducerConfig, SettingKey,
};
use protocol::error_code::ErrorCode;
use sim::scenario::diagnostic::did_you_mean;
use std::path::{Path, PathBuf};

/// Explains one thing, whatever it is.
pub(crate) fn describe(args: &Describe) -> Exit {
    let code = args.code.as_str();
    let found = guarantee(code)
        .or_else(|| ledger(code))
        .or_else(|| fix(code))
        .or_else(|| error(code))
        .or_else(|| setting(code))
        .or_else(|| fault(code));
    let Some(text) = found.or_else(|| word(code)) else {
        let near = names();
        let hint = did_you_mean(code, near.iter().map(String::as_str)).map_or_else(
            || "`ktrial list --guarantees`, `--ledger` and `--fixes` tell what there is".to_owned(),
            |best| format!("did you mean `{best}`?"),
        );
        load::complain_plainly(&format!("nothing is called `{code}`: {hint}"));
        return Exit::Usage;
    };
    say(&text);
    Exit::AsExpected
}

fn entry(name: &str, kind: &str, text: &str) -> String {
    let lines: Vec<String> = text.lines().map(folded).collect();
    format!("{} ({kind})\n\n{}", paint(HEADING, name), lines.join("\n"))
}

/// A long line as several; a short one keeps its spaces.
fn folded(line: &str) -> String {
    if line.chars().count() > WIDTH {
        wrap(line, WIDTH).join("\n")
    } else {
        line.to_owned()
    }
}

/// A guarantee, or one of its anomalies (`PA/acknowledged-lost`, as findings are called).
fn guarantee(code: &str) -> Option<String> {
    let code = code.split_once('/').map_or(code, |(code, _)| code);
    let known = history::checker::guarantees()
        .into_iter()
        .find(|known| known.code.eq_ignore_ascii_case(code))?;
    Some(entry(
        known.code,
        "guarantee",
        &format!("{}\n\n{}", known.title, known.definition),
    ))
}

fn ledger(code: &str) -> Option<String> {
    let known = history::ledger::LEDGER_KEYS
        .iter()
        .find(|(name, _)| *name == code || (name.ends_with('.') && code.starts_with(name)))?;
    Some(entry(code, "entry of the ledger", known.1))
}

fn fix(code: &str) -> Option<String> {
    let fix: Fix = code.parse().ok()?;
    let mut lines = vec![
        fix.summary().to_owned(),
        String::new(),
        fix.story().to_owned(),
        String::new(),
    ];
    let mut fact = |name: &str, value: &str| lines.push(format!("{name:<12}{value}"));
    fact("affected", &fix.affected().to_string());
    fact("switch", &super::on_from(fix));
    fact("judged in", &format!("era {}", fix.base()));
    if !fix.superseded_by().is_empty() {
        let masks: Vec<String> = fix.superseded_by().iter().map(Mask::to_string).collect();
        fact("hidden by", &masks.join(", "));
    }
    if let Some(label) = fix.home().label() {
        fact("note", label);
    }
    fact("shown by", &shown_by(fix));
    Some(entry(
        fix.name(),
        "fix that can be switched",
        &lines.join("\n"),
    ))
}

/// The scenarios that switch a fix off, or else its entries in the catalogue.
fn shown_by(fix: Fix) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir("scenarios/failures")
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .filter(|path| switches_off(path, fix))
        .collect();
    files.sort();
    if files.is_empty() {
        // Not in the project's folder, or told in words only.
        return fix.catalogue().join(", ");
    }
    let shown: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

fn switches_off(scenario: &Path, fix: Fix) -> bool {
    let name = fix.name();
    std::fs::read_to_string(scenario).is_ok_and(|text| {
        text.contains(&format!("{name} = false")) || text.contains(&format!("\"{name}\" = false"))
    })
}

fn error(code: &str) -> Option<String> {
    let error = ErrorCode::from_name(&code.to_ascii_uppercase())?;
    let retriable = if error.is_retriable() {
        "A client may try again."
    } else {
        "Trying again does not help."
    };
    let definite = if error.is_definite() {
        "What was asked certainly did not happen."
    } else {
        "What was asked may have happened."
    };
    Some(entry(
        error.name(),
        &format!("error {}", error.code()),
        &format!("{}\n{retriable} {definite}", error.message()),
    ))
}

fn settings() -> [(&'static str, &'static [SettingKey]); 5] {
    [
        ("broker setting", BrokerConfig::KEYS),
        ("producer setting", ProducerConfig::KEYS),
        ("consumer setting", ConsumerConfig::KEYS),
        ("setting of the ZooKeeper consumer", OldConsumerConfig::KEYS),
        ("keeper setting", KeeperConfig::KEYS),
    ]
}

fn setting(code: &str) -> Option<String> {
    let mut found = Vec::new();
    for (kind, keys) in settings() {
        for key in keys.iter().filter(|key| key.name == code) {
            let defaults =
                protocol::behaviour::Era::ALL.map(|era| format!("{era}: {}", (key.default)(era)));
            let text = format!(
                "{}\n\nTakes {}. Known from era {} on. Default by era: {}.",
                key.doc,
                key.expected(),
                key.since(),
                defaults.join(", ")
            );
            found.push(entry(key.name, kind, &text));
        }
    }
    (!found.is_empty()).then(|| found.join("\n\n"))
}

fn fault(code: &str) -> Option<String> {
    let (name, text) = sim::scenario::catalogue::FAULTS
        .iter()
        .find(|(name, _)| *name == code)?;
    Some(entry(name, "fault", text))
}

/// The glossary's table of words.
const GLOSSARY: &str = include_str!("../../docs/glossary.md");

/// The rows of the glossary: the words, what they mean, and what they are called in ktrial and in Kafka.
fn glossary() -> impl Iterator<Item = (&'static str, &'static str, [&'static str; 2])> {
    GLOSSARY.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (words, meaning) = (cells.next()?, cells.next()?);
        let (ours, theirs) = (cells.next()?, cells.next()?);
        let theirs = theirs.trim_end_matches(" |");
        (words != "Word").then_some((words, meaning, [ours, theirs]))
    })
}

/// The names of a row: `high watermark (HW)` has two.
fn names_of(words: &str) -> impl Iterator<Item = &str> {
    words
        .split([',', '(', ')'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// A word of Kafka's.
fn word(code: &str) -> Option<String> {
    let spaced = code.replace(['-', '_'], " ");
    let named = |name: &str| name.eq_ignore_ascii_case(code) || name.eq_ignore_ascii_case(&spaced);
    let (words, meaning, [ours, theirs]) =
        glossary().find(|(words, ..)| names_of(words).any(named))?;
    let text = format!("{meaning}\n\nin ktrial   {ours}\nin Kafka    {theirs}");
    Some(entry(words, "word", &text))
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = history::checker::codes()
        .into_iter()
        .map(str::to_owned)
        .collect();
    names.extend(
        history::ledger::LEDGER_KEYS
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    names.extend(Fix::ALL.iter().map(|fix| fix.name().to_owned()));
    names.extend(glossary().flat_map(|(words, ..)| names_of(words).map(str::to_owned)));
    names.extend(
        settings()
            .iter()
            .flat_map(|(_, keys)| keys.iter().map(|key| key.name.to_owned())),
    );
    names.extend(
        sim::scenario::catalogue::FAULTS
            .iter()
            .map(|(name, _)| (*name).to_owned()),
    );
    names
}
