//! Colour, used sparingly; `anstream` takes it away where nobody would see it.

use anstyle::{AnsiColor, Color, Style};

const fn of(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// Headings.
pub const HEADING: Style = Style::new().bold();
/// What is as it should be.
pub const GOOD: Style = of(AnsiColor::Green).bold();
/// What is not.
pub const BAD: Style = of(AnsiColor::Red).bold();
/// What nobody knows.
pub const UNKNOWN: Style = of(AnsiColor::Yellow).bold();
/// What broke.
pub const FAULT: Style = of(AnsiColor::Red);
/// What is less important.
pub const FAINT: Style = Style::new().dimmed();
/// A name to be found again.
pub const NAME: Style = of(AnsiColor::Cyan);

/// `text` in `style`.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` in `style`, padded to `width` before it is painted.
pub fn pad(style: Style, text: &str, width: usize) -> String {
    paint(style, format_args!("{text:<width$}"))
}
