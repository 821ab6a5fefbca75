//! What was sent, acknowledged, read and lost: the few numbers everybody asks for large, and all of them as a table.

use super::markup::escape;
use super::push;
use crate::number::grouped;
use history::ledger::LEDGER_KEYS;

/// Shown large, even when they are zero: their absence is the message.
const TILES: [(&str, &str); 7] = [
    ("sent", "sent"),
    ("acknowledged", "acknowledged"),
    ("unknown", "fate unknown"),
    ("in_log", "in the log at the end"),
    ("polled", "read by consumers"),
    ("lost", "acknowledged and lost"),
    ("duplicated", "duplicated"),
];
/// Harm: coloured when above zero.
const HARM: [&str; 6] = [
    "lost",
    "lost_unacknowledged",
    "duplicated",
    "reordered",
    "processed_twice",
    "never_processed",
];

/// The large numbers.
pub(crate) fn tiles(out: &mut String, ledger: &[(String, u64)]) {
    push(out, format_args!("<ul class=\"tiles\">"));
    for (name, words) in TILES {
        let Some((_, number)) = ledger.iter().find(|(entry, _)| entry == name) else {
            continue;
        };
        let class = if *number > 0 && HARM.contains(&name) {
            " class=\"harm\""
        } else {
            ""
        };
        push(
            out,
            format_args!(
                "<li{class}><b>{}</b><span>{words}</span></li>",
                grouped(*number)
            ),
        );
    }
    push(out, format_args!("</ul>"));
}

/// Everything that was counted.
pub(crate) fn table(out: &mut String, ledger: &[(String, u64)]) {
    push(
        out,
        format_args!("<section>\n<h2>What became of the records</h2>\n<table>"),
    );
    push(
        out,
        format_args!(
            "<tr><th class=\"number\">How many</th><th>Entry</th><th>What it counts</th></tr>"
        ),
    );
    for (name, number) in ledger {
        let class = if *number == 0 {
            " class=\"zero\""
        } else if HARM.contains(&name.as_str()) {
            " class=\"harm\""
        } else {
            ""
        };
        let (entry, meaning) = (escape(name), escape(meaning(name)));
        push(
            out,
            format_args!(
                "<tr{class}><td class=\"number\">{}</td><td>{entry}</td><td>{meaning}</td></tr>",
                grouped(*number)
            ),
        );
    }
    push(out, format_args!("</table>\n</section>"));
}

/// What an entry counts; an entry that ends in a dot admits any ending.
fn meaning(name: &str) -> &'static str {
    let fits = |key: &str| key == name || (key.ends_with('.') && name.starts_with(key));
    LEDGER_KEYS
        .iter()
        .find(|(key, _)| fits(key))
        .map_or("", |(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_is_marked_only_when_there_is_some() {
        let mut none = String::new();
        tiles(&mut none, &[("lost".to_owned(), 0)]);
        let mut some = String::new();
        tiles(&mut some, &[("lost".to_owned(), 37)]);
        assert!(!none.contains("harm") && some.contains("harm"));
    }

    #[test]
    fn an_entry_with_an_open_ending_has_the_meaning_of_its_family() {
        assert!(!meaning("refused.NOT_ENOUGH_REPLICAS").is_empty());
        assert_eq!(meaning("no such entry"), "");
    }
}
