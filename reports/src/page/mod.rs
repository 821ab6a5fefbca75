//! The page: the question first, then the answer, the pictures, the witnesses, the whole story, the lesson, and how to see
//! it again. One file; styles and charts are in it, scripts there are none.

mod ledger;
mod markup;
mod verdicts;

use crate::Judged;
use crate::model::fault::Band;
use crate::number::{count, seconds};
use crate::timeline::{self, Line, Tone};
use history::History;
use history::manifest::{ClientKind, CommitPolicy, Manifest, NodeRole, Topic};
use markup::{escape, markdown};
use std::fmt::Write;

const STYLE: &str = include_str!("../../assets/report.css");

/// The charts, as SVG.
#[derive(Clone, Copy)]
pub(crate) struct Charts<'a> {
    /// Throughput and acknowledgement latency.
    pub(crate) throughput: &'a str,
    /// Log ends, high watermarks, leaders and ISR.
    pub(crate) replicas: &'a str,
    /// The same for the time around the first fault.
    pub(crate) close_up: Option<&'a str>,
}

/// The whole page.
pub(crate) fn page(
    history: &History,
    judged: &Judged<'_>,
    faults: &[Band],
    charts: Charts<'_>,
) -> String {
    let manifest = &history.manifest;
    let title = escape(&manifest.title);
    let mut body = String::new();
    head(&mut body, manifest, judged);
    ledger::tiles(&mut body, judged.ledger);
    cast(&mut body, manifest);
    fault_list(&mut body, faults);
    pictures(&mut body, charts);
    verdicts::findings(&mut body, judged.verdicts);
    story(&mut body, &timeline::lines(history));
    ledger::table(&mut body, judged.ledger);
    verdicts::table(&mut body, judged.verdicts);
    lesson(&mut body, manifest);
    again(&mut body, manifest);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · ktrial</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Writing into a `String` does not fail.
pub(crate) fn push(out: &mut String, html: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(html);
    out.push('\n');
}

fn head(out: &mut String, manifest: &Manifest, judged: &Judged<'_>) {
    let (class, word) = match judged.outcome {
        "as expected" => ("good", "As expected"),
        "not as expected" => ("bad", "Not as expected"),
        _ => ("unknown", "Unknown"),
    };
    let variant = manifest.variant.as_ref();
    let variant = variant.map_or_else(String::new, |name| {
        format!(" <span class=\"variant\">{}</span>", escape(name))
    });
    push(
        out,
        format_args!(
            "<header>\n<p class=\"brand\">ktrial · Kafka’s delivery guarantees, on trial</p>"
        ),
    );
    push(
        out,
        format_args!("<h1>{}{variant}</h1>", escape(&manifest.title)),
    );
    if !manifest.question.trim().is_empty() {
        push(
            out,
            format_args!(
                "<p class=\"question\">{}</p>",
                escape(manifest.question.trim())
            ),
        );
    }
    push(
        out,
        format_args!(
            "<p class=\"verdict {class}\"><strong>{word}</strong> {}</p>",
            expectation(manifest)
        ),
    );
    if !judged.reasons.is_empty() {
        push(out, format_args!("<ul class=\"reasons {class}\">"));
        for reason in judged.reasons {
            push(out, format_args!("<li>{}</li>", escape(reason)));
        }
        push(out, format_args!("</ul>"));
    }
    let fixes: Vec<String> = manifest
        .fixes
        .iter()
        .map(|(name, on)| format!("{name} {}", if *on { "on" } else { "off" }))
        .collect();
    let fixes = if fixes.is_empty() {
        String::new()
    } else {
        format!(" · {}", escape(&fixes.join(", ")))
    };
    let (path, era) = (escape(&manifest.path), escape(&manifest.era));
    push(
        out,
        format_args!(
            "<p class=\"meta\">{path} · seed {} · era {era}{fixes}</p>\n</header>",
            manifest.seed
        ),
    );
}

/// What the scenario expects, so that "as expected" says what of.
fn expectation(manifest: &Manifest) -> String {
    let expect = &manifest.expect;
    let violated = expect
        .violated
        .iter()
        .map(|(code, how_often)| format!("{} is violated: {how_often}", escape(code)));
    let harm = expect.harm.iter().map(|(name, how_often)| {
        format!(
            "{} above zero: {how_often}",
            escape(&name.replace('_', " "))
        )
    });
    let all: Vec<String> = violated.chain(harm).collect();
    if all.is_empty() {
        "<span>The scenario expects every claimed guarantee to hold.</span>".to_owned()
    } else {
        format!("<span>The scenario expects: {}.</span>", all.join(" · "))
    }
}

fn cast(out: &mut String, manifest: &Manifest) {
    push(
        out,
        format_args!("<section>\n<h2>Who was there</h2>\n<ul class=\"cast\">"),
    );
    let how_many = |wanted: fn(&NodeRole) -> bool| {
        let found = manifest
            .nodes
            .iter()
            .filter(|node| wanted(&node.role))
            .count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    let brokers = how_many(|role| matches!(role, NodeRole::Broker(_)));
    let keepers = how_many(|role| matches!(role, NodeRole::Keeper(_)));
    push(
        out,
        format_args!(
            "<li>{}, {}</li>",
            count(brokers, "broker"),
            count(keepers, "keeper server")
        ),
    );
    for topic in &manifest.topics {
        push(out, format_args!("<li>{}</li>", topic_in_words(topic)));
    }
    for client in &manifest.clients {
        let Some(what) = client_in_words(&client.kind) else {
            continue;
        };
        push(
            out,
            format_args!("<li><b>{}</b>: {what}</li>", escape(&client.name)),
        );
    }
    push(out, format_args!("</ul>\n</section>"));
}

fn topic_in_words(topic: &Topic) -> String {
    let partitions = u64::try_from(topic.partitions).unwrap_or(0);
    let unclean = if topic.unclean_leader_election {
        ", unclean elections allowed"
    } else {
        ""
    };
    format!(
        "topic <b>{}</b>: {} × {} replicas, <code>min.insync.replicas={}</code>{unclean}",
        escape(topic.name.as_str()),
        count(partitions, "partition"),
        topic.replication_factor,
        topic.min_insync_replicas
    )
}

fn client_in_words(kind: &ClientKind) -> Option<String> {
    match kind {
        ClientKind::Producer {
            acks,
            in_flight,
            idempotence,
            transactional_id,
            ..
        } => {
            let idempotent = if *idempotence { ", idempotent" } else { "" };
            let transactional = if transactional_id.is_some() {
                ", transactional"
            } else {
                ""
            };
            Some(format!(
                "producer, <code>acks={}</code>, {in_flight} in flight{idempotent}{transactional}",
                escape(acks)
            ))
        }
        ClientKind::Consumer {
            group,
            commit,
            read_committed,
            old,
            ..
        } => {
            let group = group.as_ref().map_or_else(
                || "no group".to_owned(),
                |group| format!("group {}", escape(group.as_str())),
            );
            let committed = if *read_committed {
                ", reads committed records only"
            } else {
                ""
            };
            let old = if old.is_some() { "ZooKeeper " } else { "" };
            Some(format!(
                "{old}consumer, {group}, {}{committed}",
                commit_in_words(*commit)
            ))
        }
        ClientKind::Admin | ClientKind::FinalReader | ClientKind::CommittedReader => None,
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

fn fault_list(out: &mut String, faults: &[Band]) {
    if faults.is_empty() {
        return;
    }
    push(out, format_args!("<section>\n<h2>What broke</h2>\n<table>"));
    push(
        out,
        format_args!(
            "<tr><th>No.</th><th>Fault</th><th class=\"number\">From</th><th class=\"number\">To</th><th>Seen to</th></tr>"
        ),
    );
    for band in faults {
        let until = if band.open {
            "the end".to_owned()
        } else {
            format!("{} s", seconds(band.end))
        };
        let effect = band.effect.as_deref().unwrap_or("—");
        push(
            out,
            format_args!(
                "<tr><td><span class=\"fault-number\">{}</span></td><td>{}</td><td class=\"number\">{} s</td><td class=\"number\">{until}</td><td>{}</td></tr>",
                band.number,
                escape(&band.words),
                seconds(band.start),
                escape(effect)
            ),
        );
    }
    push(out, format_args!("</table>\n</section>"));
}

fn pictures(out: &mut String, charts: Charts<'_>) {
    push(
        out,
        format_args!(
            "<section>\n<h2>What the clients saw</h2>\n<figure>\n{}",
            charts.throughput
        ),
    );
    push(
        out,
        format_args!(
            "<figcaption>Above: how many records a second were sent, acknowledged and read. Below: how long a record waited for \
             its acknowledgement, drawn where it was <em>sent</em>; mind the logarithmic scale. Shaded and numbered: the faults \
             listed above.</figcaption>\n</figure>\n</section>"
        ),
    );
    push(
        out,
        format_args!(
            "<section>\n<h2>What the replicas did</h2>\n<figure>\n{}",
            charts.replicas
        ),
    );
    push(
        out,
        format_args!(
            "<figcaption>For each partition, from above: who leads, in which epoch; who is in sync; where each broker’s log ends \
             (line) and how far it knows records to be committed (its high watermark, dashed); how many records each log is behind \
             the longest one, mind the logarithmic scale. A triangle marks a log that was cut.</figcaption>\n</figure>"
        ),
    );
    if let Some(close_up) = charts.close_up {
        push(
            out,
            format_args!(
                "<h3>A closer look at the decisive moment</h3>\n<figure>\n{close_up}</figure>"
            ),
        );
    }
    push(out, format_args!("</section>"));
}

fn story(out: &mut String, lines: &[Line]) {
    push(
        out,
        format_args!(
            "<section>\n<h2>What happened</h2>\n<div class=\"scroll\">\n<table class=\"timeline\">"
        ),
    );
    push(
        out,
        format_args!("<tr><th class=\"number\">Time</th><th>Node</th><th>Event</th></tr>"),
    );
    for line in lines {
        let class = match line.tone {
            Tone::Phase => "phase",
            Tone::Fault => "fault",
            Tone::Change => "change",
            Tone::Mark => "mark",
        };
        let (time, node, text) = (seconds(line.at), escape(&line.node), escape(&line.text));
        push(
            out,
            format_args!(
                "<tr class=\"{class}\"><td class=\"number\">{time} s</td><td class=\"node\">{node}</td><td>{text}</td></tr>"
            ),
        );
    }
    push(out, format_args!("</table>\n</div>\n</section>"));
}

fn lesson(out: &mut String, manifest: &Manifest) {
    if !manifest.lesson.trim().is_empty() {
        push(
            out,
            format_args!(
                "<section class=\"lesson\">\n<h2>The lesson</h2>\n{}</section>",
                markdown(&manifest.lesson)
            ),
        );
    }
}

fn again(out: &mut String, manifest: &Manifest) {
    let command = escape(&repeat_command(manifest));
    push(
        out,
        format_args!("<section>\n<h2>See it again</h2>\n<pre><code>{command}</code></pre>"),
    );
    push(
        out,
        format_args!(
            "<p class=\"meta\">The same commit, scenario and seed give the same history, byte for byte.</p>\n</section>"
        ),
    );
}

/// The command that repeats a run.
fn repeat_command(manifest: &Manifest) -> String {
    let variant = manifest
        .variant
        .as_ref()
        .map_or_else(String::new, |name| format!(" --variant '{name}'"));
    format!(
        "ktrial run {} --seed {}{variant}",
        manifest.path, manifest.seed
    )
}
