//! The guarantees with their answers, and for each finding its witness and its story.

use super::{line, seconds, wrap};
use crate::style::{BAD, FAINT, GOOD, HEADING, NAME, UNKNOWN, pad, paint};
use history::judge::Judgement;
use history::verdict::{Answer, Finding, Verdict};
use std::fmt::Write;

/// Where the words of a story begin: behind the time and the node.
const STORY: usize = 22;

/// One line for each guarantee that the configuration claims.
pub(super) fn print(out: &mut String, judgement: &Judgement) {
    let claimed = |verdict: &&Verdict| !matches!(verdict.answer, Answer::NotClaimed(_));
    let codes = judgement.verdicts.iter().filter(claimed);
    let width = codes.map(|verdict| verdict.guarantee.len()).max();
    let width = width.unwrap_or(0);
    let mut not_claimed = Vec::new();
    for verdict in &judgement.verdicts {
        if matches!(verdict.answer, Answer::NotClaimed(_)) {
            not_claimed.push(verdict.guarantee.as_str());
        } else {
            verdict_line(out, verdict, width);
        }
    }
    if !not_claimed.is_empty() {
        let text = format!(
            "not promised by this configuration: {}",
            not_claimed.join(", ")
        );
        for (place, part) in wrap(&text, super::WIDTH - 4).into_iter().enumerate() {
            let indent = if place == 0 { "  " } else { "    " };
            line(out, &paint(FAINT, format_args!("{indent}{part}")));
        }
    }
}

fn verdict_line(out: &mut String, verdict: &Verdict, width: usize) {
    let known = history::checker::guarantees()
        .into_iter()
        .find(|known| known.code == verdict.guarantee);
    let title = known.map_or("", |known| known.title);
    let (style, word) = match &verdict.answer {
        Answer::Holds => (GOOD, "holds"),
        Answer::Violated => (BAD, "VIOLATED"),
        Answer::Unknown(_) => (UNKNOWN, "unknown"),
        Answer::NotClaimed(_) => (FAINT, "not claimed"),
    };
    let mut text = format!(
        "  {} {} {title}",
        pad(NAME, &verdict.guarantee, width),
        pad(style, word, 9)
    );
    match &verdict.answer {
        Answer::Violated => text.push_str(&paint(
            BAD,
            format_args!(" ({} of {})", verdict.violations, verdict.judged),
        )),
        Answer::Unknown(why) => text.push_str(&paint(UNKNOWN, format_args!(" ({why})"))),
        Answer::Holds if verdict.judged == 0 => {
            text.push_str(&paint(FAINT, " (there was nothing to judge)"));
        }
        Answer::Holds | Answer::NotClaimed(_) => {
            text.push_str(&paint(FAINT, format_args!(" ({} judged)", verdict.judged)));
        }
    }
    if verdict.excused_total > 0 {
        let _ = write!(text, ", {} excused", verdict.excused_total);
    }
    line(out, &text);
}

/// The first witness of everything that was violated or excused.
pub(super) fn findings(out: &mut String, judgement: &Judgement) {
    let violated = judgement.verdicts.iter().filter_map(|verdict| {
        verdict
            .findings
            .first()
            .map(|finding| (verdict, finding, false))
    });
    // What nobody promises needs no excuse.
    let claimed = judgement
        .verdicts
        .iter()
        .filter(|verdict| !matches!(verdict.answer, Answer::NotClaimed(_)));
    let excused = claimed.filter_map(|verdict| {
        verdict
            .excused
            .first()
            .map(|finding| (verdict, finding, true))
    });
    for (verdict, finding, excused) in violated.chain(excused) {
        print_finding(out, verdict, finding, excused);
    }
}

fn print_finding(out: &mut String, verdict: &Verdict, finding: &Finding, excused: bool) {
    let total = if excused {
        verdict.excused_total
    } else {
        verdict.violations
    };
    let more = if total > 1 {
        format!(" (the first of {total})")
    } else {
        String::new()
    };
    let word = if excused {
        paint(UNKNOWN, "excused")
    } else {
        paint(BAD, "violation")
    };
    out.push('\n');
    line(
        out,
        &format!(
            "{} {}/{}: {word}{more}",
            paint(HEADING, "Finding"),
            verdict.guarantee,
            finding.anomaly
        ),
    );
    for text in wrap(&finding.summary, super::WIDTH - 2) {
        line(out, &format!("  {text}"));
    }
    line(out, &format!("  expected  {}", finding.expected));
    line(out, &format!("  seen      {}", finding.seen));
    if let Some(cause) = &finding.cause {
        line(out, &format!("  because   {cause}"));
    }
    for moment in &finding.story {
        let mut parts = wrap(&moment.text, super::WIDTH - STORY).into_iter();
        line(
            out,
            &format!(
                "  {:>10}  {} {}",
                seconds(moment.at),
                pad(NAME, &moment.node, 7),
                parts.next().unwrap_or_default()
            ),
        );
        for part in parts {
            line(out, &format!("{:STORY$}{part}", ""));
        }
    }
}
