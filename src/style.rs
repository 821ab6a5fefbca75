//! Colour, used sparingly; `anstream` takes it away where nobody would see it.

use anstyle::{AnsiColor, Color, Style};

const fn of(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// Headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// What is as it should be.
pub(crate) const GOOD: Style = of(AnsiColor::Green).bold();
/// What is not.
pub(crate) const BAD: Style = of(AnsiColor::Red).bold();
/// What nobody knows.
pub(crate) const UNKNOWN: Style = of(AnsiColor::Yellow).bold();
/// What broke.
pub(crate) const FAULT: Style = of(AnsiColor::Red);
/// What is less important.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// A name to be found again.
pub(crate) const NAME: Style = of(AnsiColor::Cyan);

/// `text` in `style`.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` in `style`, padded to `width` before it is painted.
pub(crate) fn pad(style: Style, text: &str, width: usize) -> String {
    paint(style, format_args!("{text:<width$}"))
}
