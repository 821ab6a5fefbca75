//! Verdicts as a JUnit file, the form in which build servers take the results of tests.
//!
//! A file is a suite, and each of its variants a case. What is not as expected is a failure, with the findings as its text;
//! what is unknown and what crashed is an error, because neither says anything about Kafka.

use super::{repeat_command, seconds};
use history::History;
use history::judge::{Judgement, Outcome, Reason};
use history::manifest::Manifest;
use history::verdict::Finding;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use sim::scenario::plan::Plan;
use std::fmt::Write;
use std::time::Duration;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Error,
}

impl End {
    const fn element(self) -> Option<&'static str> {
        match self {
            Self::Passed => None,
            Self::Failed => Some("failure"),
            Self::Error => Some("error"),
        }
    }
}

/// One run as a case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    suite: String,
    name: String,
    took: Duration,
    end: End,
    /// The reasons' codes, and the first reason.
    kind: String,
    message: String,
    details: String,
    again: String,
}

impl Case {
    /// A run that was judged.
    pub(crate) fn judged(history: &History, judgement: &Judgement, took: Duration) -> Self {
        let (end, reasons): (_, &[Reason]) = match &judgement.outcome {
            Outcome::AsExpected => (End::Passed, &[]),
            Outcome::NotAsExpected(reasons) => (End::Failed, reasons),
            Outcome::Unknown(reasons) => (End::Error, reasons),
        };
        let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
        Self {
            suite: history.manifest.path.clone(),
            name: name_of(&history.manifest),
            took,
            end,
            kind: codes.join(" "),
            message: reasons
                .first()
                .map_or_else(String::new, |reason| reason.text.clone()),
            details: details(reasons, judgement),
            again: repeat_command(&history.manifest),
        }
    }

    /// A run that ended in a panic, which is a bug in ktrial.
    pub(crate) fn panicked(plan: &Plan, again: &str) -> Self {
        Self {
            suite: plan.path.clone(),
            name: plan.variant.as_ref().unwrap_or(&plan.name).clone(),
            took: Duration::ZERO,
            end: End::Error,
            kind: "PANIC".to_owned(),
            message: "this is a bug in ktrial".to_owned(),
            details: String::new(),
            again: again.to_owned(),
        }
    }
}

fn name_of(manifest: &Manifest) -> String {
    manifest
        .variant
        .clone()
        .unwrap_or_else(|| manifest.scenario.clone())
}

/// Every reason, then the first finding of each guarantee that a reason names.
fn details(reasons: &[Reason], judgement: &Judgement) -> String {
    let mut text = String::new();
    for reason in reasons {
        let _ = writeln!(text, "{}: {}", reason.code, reason.text);
    }
    for verdict in reasons
        .iter()
        .filter_map(|reason| judgement.verdict(&reason.code))
    {
        if let Some(finding) = verdict.findings.first() {
            story(&mut text, &verdict.guarantee, finding);
        }
    }
    text
}

fn story(text: &mut String, guarantee: &str, finding: &Finding) {
    let _ = writeln!(
        text,
        "\n{guarantee}/{}: {}",
        finding.anomaly, finding.summary
    );
    let _ = writeln!(text, "expected  {}", finding.expected);
    let _ = writeln!(text, "seen      {}", finding.seen);
    for moment in &finding.story {
        let _ = writeln!(
            text,
            "{:>10}  {:<7} {}",
            seconds(moment.at),
            moment.node,
            moment.text
        );
    }
}

/// The file.
///
/// # Errors
/// Those of writing, which memory does not have.
pub(crate) fn file(cases: &[Case]) -> std::io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = cases.chunk_by(|one, next| one.suite == next.suite);
    let root = writer
        .create_element("testsuites")
        .with_attribute(("name", "ktrial"));
    let root = root.with_attributes(
        counts(cases)
            .iter()
            .map(|(key, value)| (*key, value.as_str())),
    );
    root.write_inner_content(|writer| {
        for suite in suites {
            write_suite(writer, suite)?;
        }
        Ok(())
    })?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(std::io::Error::other)?;
    text.push('\n');
    Ok(text)
}

fn counts(cases: &[Case]) -> [(&'static str, String); 4] {
    let ended = |end| {
        cases
            .iter()
            .filter(|case| case.end == end)
            .count()
            .to_string()
    };
    let took: Duration = cases.iter().map(|case| case.took).sum();
    [
        ("tests", cases.len().to_string()),
        ("failures", ended(End::Failed)),
        ("errors", ended(End::Error)),
        ("time", in_seconds(took)),
    ]
}

fn in_seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

fn write_suite(writer: &mut Writer<Vec<u8>>, cases: &[Case]) -> std::io::Result<()> {
    let name = cases.first().map_or("", |case| case.suite.as_str());
    let suite = writer
        .create_element("testsuite")
        .with_attribute(("name", name));
    let suite = suite.with_attributes(
        counts(cases)
            .iter()
            .map(|(key, value)| (*key, value.as_str())),
    );
    suite.write_inner_content(|writer| {
        for case in cases {
            write_case(writer, case)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case) -> std::io::Result<()> {
    let took = in_seconds(case.took);
    let attributes = [
        ("classname", case.suite.as_str()),
        ("name", &case.name),
        ("time", &took),
    ];
    let element = writer
        .create_element("testcase")
        .with_attributes(attributes);
    element.write_inner_content(|writer| {
        if let Some(end) = case.end.element() {
            let attributes = [("type", case.kind.as_str()), ("message", &case.message)];
            let element = writer.create_element(end).with_attributes(attributes);
            element.write_text_content(BytesText::new(&case.details))?;
        }
        let again = BytesText::new(&case.again);
        writer
            .create_element("system-out")
            .write_text_content(again)?;
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(suite: &str, end: End, message: &str) -> Case {
        Case {
            suite: suite.to_owned(),
            name: "fix off".to_owned(),
            took: Duration::from_millis(1500),
            end,
            kind: "PA".to_owned(),
            message: message.to_owned(),
            details: "PA: lost".to_owned(),
            again: "ktrial run a.toml --seed 1".to_owned(),
        }
    }

    #[test]
    fn each_file_is_a_suite_and_each_run_a_case_with_its_findings() {
        let cases = [
            case("a.toml", End::Passed, ""),
            case("a.toml", End::Failed, "0 < 1 & \"lost\""),
            case("b.toml", End::Error, "nobody knows"),
        ];
        insta::assert_snapshot!(file(&cases).unwrap());
    }
}
