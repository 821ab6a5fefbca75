//! Reads a scenario file: bytes to text to tables, each failure placed.

use super::diagnostic::{Complaint, suggestion};
use super::format::ScenarioFile;

/// Turns the bytes of a file into text.
///
/// # Errors
/// When the file is empty or no UTF-8 text.
pub fn text(bytes: Vec<u8>) -> Result<String, Complaint> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Complaint::error(
            "scenario::not-text",
            0..0,
            format!("this is no text file: byte {at} is not UTF-8"),
        )
        .help("a scenario is a TOML file; `ktrial list` shows examples")
    })?;
    if text.trim().is_empty() {
        return Err(Complaint::error("scenario::empty", 0..0, "this file is empty")
            .help("a scenario needs at least `title`, `question` and `duration`; `ktrial schema` tells the rest"));
    }
    Ok(text)
}

/// Reads the tables.
///
/// # Errors
/// When the text is no TOML, or not a scenario: the first thing that is wrong.
pub fn parse(text: &str) -> Result<ScenarioFile, Complaint> {
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        if text.parse::<toml::Table>().is_err() {
            let message = format!("this is no TOML: {}", error.message());
            return Complaint::error("scenario::syntax", span, message);
        }
        explain(error.message(), span)
    })
}

/// Adds a hint to serde's words about an unknown key or a wrong word.
fn explain(message: &str, span: std::ops::Range<usize>) -> Complaint {
    for (start, code, what) in [
        ("unknown field `", "scenario::unknown-key", "key"),
        ("unknown variant `", "scenario::unknown-word", "word"),
    ] {
        if let Some(rest) = message.strip_prefix(start) {
            let word = rest.split('`').next().unwrap_or_default();
            let choice: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
            let complaint = Complaint::error(code, span, format!("unknown {what} `{word}`"));
            return complaint.help(suggestion(word, choice));
        }
    }
    if let Some((keys, choice)) = message
        .strip_prefix("unexpected keys in table: ")
        .and_then(|rest| rest.split_once(", available keys: "))
    {
        let word = keys.split(", ").next().unwrap_or_default();
        let complaint = Complaint::error(
            "scenario::unknown-key",
            span,
            format!("unknown key `{word}`"),
        );
        return complaint.help(suggestion(word, choice.split(", ").collect::<Vec<_>>()));
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let word = rest.split('`').next().unwrap_or_default();
        return Complaint::error(
            "scenario::missing-key",
            span,
            format!("the key `{word}` is missing here"),
        );
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let message = format!("{} stands here", found_in_words(found));
        return Complaint::error("scenario::wrong-value", span, message)
            .help(format!("expected {}", expected_in_words(expected)));
    }
    Complaint::error("scenario::wrong-value", span, message.to_owned())
}

/// What serde found, in TOML's words.
fn found_in_words(found: &str) -> String {
    for (serde, words) in [
        ("string ", "the text "),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
    ] {
        if let Some(value) = found.strip_prefix(serde) {
            return format!("{words}{value}");
        }
    }
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

/// What serde expected, in TOML's words.
fn expected_in_words(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        "a boolean" => "`true` or `false`",
        "a string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table of keys",
        other => other,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "title = 't'\nquestion = 'q'\nduration = '10s'\n";

    #[test]
    fn a_small_file_has_kafkas_usual_cluster() {
        let file = parse(SMALL).unwrap();
        assert_eq!(
            (
                *file.cluster.brokers.get_ref(),
                *file.cluster.keepers.get_ref()
            ),
            (3, 3)
        );
    }

    #[test]
    fn an_unknown_key_is_placed_and_gets_a_hint() {
        let text = format!("{SMALL}durration = '10s'\n");
        let complaint = parse(&text).unwrap_err();
        assert_eq!(complaint.code, "scenario::unknown-key");
        assert_eq!(&text[complaint.span], "durration");
        assert_eq!(complaint.help.as_deref(), Some("did you mean `duration`?"));
    }

    #[test]
    fn a_wrong_type_is_placed() {
        let text = "title = 't'\nquestion = 'q'\nduration = 10\n";
        let complaint = parse(text).unwrap_err();
        assert_eq!(&text[complaint.span], "10");
        assert!(complaint.help.unwrap().contains("250ms"));
    }

    #[test]
    fn a_wrong_type_is_told_in_the_words_of_the_file() {
        for (line, message, help) in [
            (
                "seed = 'one'",
                "the text \"one\" stands here",
                "expected a whole number, 0 or more",
            ),
            (
                "[cluster]\nbrokers = 70000",
                "the number `70000` stands here",
                "expected a whole number from 0 to 65535",
            ),
            (
                "unfaithful = 1",
                "the number `1` stands here",
                "expected `true` or `false`",
            ),
            (
                "reaches = 'all'",
                "the text \"all\" stands here",
                "expected a table",
            ),
        ] {
            let complaint = parse(&format!("{SMALL}{line}\n")).unwrap_err();
            assert_eq!(complaint.message, message);
            assert_eq!(complaint.help.as_deref(), Some(help));
        }
    }

    #[test]
    fn what_is_no_toml_is_not_taken_for_a_wrong_value() {
        let complaint = parse(&format!("{SMALL}seed = = 2\n")).unwrap_err();
        assert_eq!(complaint.code, "scenario::syntax");
    }

    #[test]
    fn a_missing_key_is_named() {
        let complaint = parse("title = 't'\nduration = '1s'\n").unwrap_err();
        assert!(
            complaint.message.contains("`question`"),
            "{}",
            complaint.message
        );
    }

    #[test]
    fn a_wrong_key_in_a_condition_gets_a_hint() {
        let text = format!(
            "{SMALL}[[fault]]\nkind = 'kill'\ntarget = 'broker 1'\nwhen = {{ acked = {{ producer = 'p1', cuont = 3 }} }}\n"
        );
        let complaint = parse(&text).unwrap_err();
        assert_eq!(
            complaint.code, "scenario::unknown-key",
            "{}",
            complaint.message
        );
        assert!(complaint.help.unwrap().contains("`count`"));
    }

    #[test]
    fn empty_and_binary_files_are_told_apart() {
        assert_eq!(text(Vec::new()).unwrap_err().code, "scenario::empty");
        assert_eq!(
            text(vec![0x80, 0xff]).unwrap_err().code,
            "scenario::not-text"
        );
    }

    #[test]
    fn conditions_and_targets_are_read_inside_faults() {
        let text = format!(
            "{SMALL}[[fault]]\nkind = 'kill'\ntarget = 'leader of orders-0'\nwhen = {{ acked = {{ producer = 'p1', count = 3 }} }}\n"
        );
        let file = parse(&text).unwrap();
        let fault = file.faults[0].get_ref();
        assert_eq!(
            fault.target.as_ref().unwrap().get_ref().to_string(),
            "leader of orders-0"
        );
        assert_eq!(fault.when.as_ref().unwrap().get_ref().client(), Some("p1"));
    }
}
