//! Complaints about a scenario file: what is wrong, where, and what would be right.

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use std::fmt;
use std::ops::Range;

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Stable code (`scenario::unknown-key`).
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the file.
    pub span: Range<usize>,
    /// What to do.
    pub help: Option<String>,
    /// A warning does not stop the run.
    pub warning: bool,
}

impl Complaint {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span,
            help: None,
            warning: false,
        }
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::error(code, span, message)
        }
    }

    /// With a hint.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A complaint together with the file it is about, as `miette` prints it.
#[derive(Debug)]
pub struct Placed {
    complaint: Complaint,
    source: NamedSource<String>,
}

impl Placed {
    /// Places a complaint in its file.
    pub fn new(complaint: Complaint, path: &str, text: &str) -> Self {
        let source = NamedSource::new(path, text.to_owned()).with_language("TOML");
        Self { complaint, source }
    }

    /// The complaint.
    pub fn complaint(&self) -> &Complaint {
        &self.complaint
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.complaint.message)
    }
}

impl std::error::Error for Placed {}

impl Diagnostic for Placed {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.complaint.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.complaint.warning {
            Severity::Warning
        } else {
            Severity::Error
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.complaint
            .help
            .as_ref()
            .map(|help| -> Box<dyn fmt::Display + 'a> { Box::new(help) })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.complaint.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

/// The best of `candidates` for a mistyped word, if any is near.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, best) = scored.min()?;
    // Two slips, or a third of a long word: more is another word.
    (distance <= (word.chars().count() / 3).max(2)).then_some(best)
}

/// `Did you mean …?`, or the whole choice when nothing is near.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(best) = did_you_mean(word, candidates.clone()) {
        return format!("did you mean `{best}`?");
    }
    let known = list(candidates);
    if known.is_empty() {
        "the scenario names none".to_owned()
    } else {
        format!("expected one of {known}")
    }
}

/// The words in backquotes with commas.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
