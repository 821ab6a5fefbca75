//! History files against arbitrary damage: a whole history or an error that names the line, never a panic.

use crate::builder::Builder;
use history::jsonl::{self, ReadError};
use proptest::prelude::*;

fn written() -> Vec<u8> {
    let mut b = Builder::new("damaged");
    let p = b.producer("all", 5, true);
    b.born();
    for (number, offset) in (0..5).zip(0..) {
        b.written(p, number, offset);
    }
    let history = b.finish(&[(0, Builder::value(0, 0))]);
    let mut bytes = Vec::new();
    jsonl::write(&history, &mut bytes).unwrap();
    bytes
}

/// The line an error names, where it is about one.
fn line(error: &ReadError) -> Option<usize> {
    match error {
        ReadError::Line { line, .. }
        | ReadError::Node { line, .. }
        | ReadError::Count { line, .. }
        | ReadError::Order { line, .. }
        | ReadError::Cut { line } => Some(*line),
        ReadError::Empty | ReadError::Foreign(_) | ReadError::Version { .. } | ReadError::Io(_) => {
            None
        }
    }
}

#[test]
fn what_a_line_lacks_is_told_with_its_place() {
    let told = |damage: &dyn Fn(&mut Vec<String>)| {
        let text = String::from_utf8(written()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        damage(&mut lines);
        jsonl::read(lines.join("\n").as_bytes())
            .unwrap_err()
            .to_string()
    };
    let swapped = told(&|lines| lines.swap(2, 3));
    assert!(swapped.starts_with("line 4: this happens at"), "{swapped}");
    let mistyped =
        told(&|lines| lines[2] = lines[2].replace("\"step\":", "\"step\":\"x\",\"of\":"));
    assert!(
        mistyped.contains("line 3, column") && mistyped.contains("expected u64"),
        "{mistyped}"
    );
    let unknown = told(&|lines| lines[2] = lines[2].replace("\"what\":{\"", "\"what\":{\"un"));
    assert!(unknown.contains("unknown variant `un"), "{unknown}");
}

proptest! {
    #[test]
    fn a_history_that_was_cut_anywhere_is_refused(cut in 0_usize..1000) {
        let whole = written();
        let end = (whole.len() - 1) * cut / 1000;
        let error = jsonl::read(&whole[..end]).err();
        // Only the newline at the very end may be missing.
        prop_assert!(error.is_some(), "{end} of {} bytes were taken for a whole history", whole.len());
    }

    #[test]
    fn a_damaged_byte_is_read_or_refused_in_its_line_or_later(place in 0_usize..1000, byte in any::<u8>()) {
        let mut bytes = written();
        let at = bytes.len() * place / 1000;
        let damaged_line = bytes[..at].split(|byte| *byte == b'\n').count();
        bytes[at] = byte;
        if let Err(error) = jsonl::read(&*bytes) {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(line(&error).is_none_or(|line| line >= damaged_line), "{error}");
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_history(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(jsonl::read(&*bytes).is_err());
    }
}
