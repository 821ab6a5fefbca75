//! The guarantees with their answers, and what convicts or excuses: the witness and its story.

use super::markup::escape;
use super::push;
use crate::number::{grouped, seconds};
use history::verdict::{Answer, Finding, Verdict};

/// Every guarantee that the configuration claims; the others in one sentence.
pub(crate) fn table(out: &mut String, verdicts: &[Verdict]) {
    push(out, format_args!("<section>\n<h2>Guarantees</h2>\n<table>"));
    push(
        out,
        format_args!(
            "<tr><th>Code</th><th>Guarantee</th><th>Answer</th><th class=\"number\">Judged</th><th>Remark</th></tr>"
        ),
    );
    for verdict in verdicts {
        let (class, word, why) = match &verdict.answer {
            Answer::Holds => ("good", "holds", ""),
            Answer::Violated => ("bad", "violated", ""),
            Answer::Unknown(why) => ("unknown", "unknown", why.as_str()),
            Answer::NotClaimed(_) => continue,
        };
        let mut remarks = Vec::new();
        if verdict.violations > 0 {
            remarks.push(format!("{} violations", grouped(verdict.violations)));
        }
        if verdict.excused_total > 0 {
            remarks.push(format!("{} excused", grouped(verdict.excused_total)));
        }
        if !why.is_empty() {
            remarks.push(escape(why));
        }
        push(
            out,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td><span class=\"answer {class}\">{word}</span></td><td class=\"number\">{}</td><td>{}</td></tr>",
                escape(&verdict.guarantee),
                escape(title(&verdict.guarantee)),
                grouped(verdict.judged),
                remarks.join(", ")
            ),
        );
    }
    push(out, format_args!("</table>"));
    not_claimed(out, verdicts);
    push(out, format_args!("</section>"));
}

/// The guarantee in words; a code of another version of ktrial has none.
fn title(code: &str) -> &'static str {
    history::checker::guarantees()
        .into_iter()
        .find(|guarantee| guarantee.code == code)
        .map_or("", |guarantee| guarantee.title)
}

fn not_claimed(out: &mut String, verdicts: &[Verdict]) {
    let unclaimed = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.answer, Answer::NotClaimed(_)));
    let codes: Vec<String> = unclaimed
        .map(|verdict| format!("<code>{}</code>", escape(&verdict.guarantee)))
        .collect();
    if !codes.is_empty() {
        push(
            out,
            format_args!(
                "<p class=\"meta\">Not promised by this configuration: {}.</p>",
                codes.join(", ")
            ),
        );
    }
}

/// The first witness of everything that was violated, then of everything that was excused.
pub(crate) fn findings(out: &mut String, verdicts: &[Verdict]) {
    let violated = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict, verdict.findings.first()?, false)));
    let excused = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict, verdict.excused.first()?, true)));
    let all: Vec<_> = violated.chain(excused).collect();
    if all.is_empty() {
        return;
    }
    push(out, format_args!("<section>\n<h2>The witness</h2>"));
    for (verdict, finding, excused) in all {
        witness(out, verdict, finding, excused);
    }
    push(out, format_args!("</section>"));
}

fn witness(out: &mut String, verdict: &Verdict, finding: &Finding, excused: bool) {
    let (class, word, total) = if excused {
        ("unknown", "excused", verdict.excused_total)
    } else {
        ("bad", "violation", verdict.violations)
    };
    let more = if total > 1 {
        format!(" · the first of {}", grouped(total))
    } else {
        String::new()
    };
    push(out, format_args!("<article class=\"finding {class}\">"));
    push(
        out,
        format_args!(
            "<h3><span class=\"answer {class}\">{word}</span> {} <small>{}{more}</small></h3>",
            escape(title(&verdict.guarantee)),
            escape(&format!("{}/{}", verdict.guarantee, finding.anomaly)),
        ),
    );
    push(
        out,
        format_args!("<p>{}</p>\n<dl>", escape(&finding.summary)),
    );
    push(
        out,
        format_args!("<dt>Expected</dt><dd>{}</dd>", escape(&finding.expected)),
    );
    push(
        out,
        format_args!("<dt>Seen</dt><dd>{}</dd>", escape(&finding.seen)),
    );
    if let Some(cause) = &finding.cause {
        push(
            out,
            format_args!("<dt>Because</dt><dd>{}</dd>", escape(cause)),
        );
    }
    push(out, format_args!("</dl>"));
    if !finding.story.is_empty() {
        push(out, format_args!("<table class=\"timeline\">"));
        for moment in &finding.story {
            let (time, node, text) = (
                seconds(moment.at),
                escape(&moment.node),
                escape(&moment.text),
            );
            push(
                out,
                format_args!(
                    "<tr><td class=\"number\">{time} s</td><td class=\"node\">{node}</td><td>{text}</td></tr>"
                ),
            );
        }
        push(out, format_args!("</table>"));
    }
    push(out, format_args!("</article>"));
}
