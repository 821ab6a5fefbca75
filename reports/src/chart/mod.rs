//! What both charts share: one axis of time, one palette, fault bands, strips and legends.
//!
//! The palette is Okabe and Ito's, which people with any kind of colour vision tell apart; whatever a colour says, a label or
//! a dash says too.

pub(crate) mod replicas;
mod steps;
pub(crate) mod throughput;

use crate::ReportError;
use crate::model::Window;
use crate::model::fault::Band;
use crate::number::SECOND;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordu64;
use plotters::prelude::{
    Cartesian2d, Circle, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, PathElement, Ranged,
    Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};
use std::io;

/// Width of a chart in pixels.
const WIDTH: u32 = 1120;
/// Where the time axis begins: left of it is room for labels.
const LEFT: i32 = 118;
/// Where it ends.
const RIGHT: i32 = 1100;
/// Height of one line of the fault strip.
const LANE: i32 = 20;

const INK: RGBColor = RGBColor(28, 39, 51);
const FAINT: RGBColor = RGBColor(91, 104, 117);
const GRID: RGBColor = RGBColor(228, 232, 236);
const PAPER: RGBColor = RGBColor(255, 255, 255);
const FAULT: RGBColor = RGBColor(214, 199, 168);
const FAULT_EDGE: RGBColor = RGBColor(150, 128, 82);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = DrawingAreaErrorKind<io::Error>;
type Panel<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordu64, Y>>;

/// Runs a drawing on a fresh sheet.
fn sheet(
    chart: &'static str,
    label: &str,
    height: i32,
    drawing: impl FnOnce(&Area<'_>) -> Result<(), Failure>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    let height = u32::try_from(height).unwrap_or(1);
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let drawn = area
        .fill(&PAPER)
        .and_then(|()| drawing(&area))
        .and_then(|()| area.present());
    drawn.map_err(|failure| ReportError::Drawing {
        chart,
        message: failure.to_string(),
    })?;
    drop(area);
    // Screen readers announce a picture by its label.
    Ok(svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{label}\" "),
        1,
    ))
}

/// Where a moment lies on the axis of time.
fn column(window: Window, at: u64) -> i32 {
    let width = u128::from((RIGHT - LEFT).unsigned_abs());
    let since = u128::from(at.clamp(window.start, window.end) - window.start);
    LEFT + i32::try_from(since * width / u128::from(window.length())).unwrap_or(0)
}

/// Nanoseconds as the axis counts them.
const fn micros(nanos: u64) -> u64 {
    nanos / 1_000
}

/// The axis of time, in microseconds.
fn time_range(window: Window) -> std::ops::Range<u64> {
    micros(window.start)..micros(window.end).max(micros(window.start) + 1)
}

/// Seconds for a tick: `10`, `10.5`.
fn tick(micros: u64) -> String {
    let second = SECOND / 1_000;
    let (whole, rest) = (micros / second, micros % second);
    if rest == 0 {
        return whole.to_string();
    }
    let fraction = format!("{rest:06}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

fn text(size: i32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&color)
        .pos(Pos::new(HPos::Left, VPos::Center))
}

fn text_right(size: i32, color: RGBColor) -> TextStyle<'static> {
    text(size, color).pos(Pos::new(HPos::Right, VPos::Center))
}

fn text_middle(size: i32, color: RGBColor) -> TextStyle<'static> {
    text(size, color).pos(Pos::new(HPos::Center, VPos::Center))
}

/// About how wide a text of the usual size is; no font is asked, so that every machine lays out alike.
fn width_of(words: &str) -> i32 {
    i32::try_from(words.chars().count()).unwrap_or(0) * 7
}

/// A legend's sign.
#[derive(Clone, Copy)]
enum Sign {
    Line(RGBColor),
    Dashed(RGBColor),
    Block(RGBColor),
    Cut,
}

/// A row of signs and words, from the left.
fn legend(area: &Area<'_>, y: i32, entries: &[(Sign, String)]) -> Result<(), Failure> {
    let mut x = LEFT;
    for (sign, words) in entries {
        match sign {
            Sign::Line(color) => area.draw(&PathElement::new(
                vec![(x, y), (x + 26, y)],
                color.stroke_width(3),
            ))?,
            Sign::Dashed(color) => {
                for dash in [x, x + 10, x + 20] {
                    area.draw(&PathElement::new(
                        vec![(dash, y), (dash + 6, y)],
                        color.stroke_width(2),
                    ))?;
                }
            }
            Sign::Block(color) => area.draw(&Rectangle::new(
                [(x, y - 6), (x + 26, y + 6)],
                color.filled(),
            ))?,
            Sign::Cut => area.draw(&plotters::prelude::TriangleMarker::new(
                (x + 13, y + 2),
                6,
                INK.filled(),
            ))?,
        }
        area.draw(&Text::new(words.clone(), (x + 34, y), text(14, INK)))?;
        x += 34 + width_of(words) + 24;
    }
    Ok(())
}

/// A fault's place in the strip.
struct Placed<'a> {
    band: &'a Band,
    lane: i32,
    label: String,
    label_at: i32,
}

/// The strip that names the faults: as many lanes as its labels need not to run into each other.
struct FaultStrip<'a> {
    window: Window,
    placed: Vec<Placed<'a>>,
    lanes: i32,
}

impl<'a> FaultStrip<'a> {
    fn new(window: Window, bands: &'a [Band]) -> Self {
        // Where there are many, the number stands for the name; the page lists them.
        let named = bands.len() <= 8;
        let mut ends: Vec<i32> = Vec::new();
        let mut placed = Vec::new();
        for band in bands {
            let label = if named { band.label() } else { String::new() };
            let (x0, x1) = (column(window, band.start), column(window, band.end));
            let width = 22 + width_of(&label);
            let label_at = x0.min(RIGHT - width);
            let (from, to) = (x0.min(label_at), x1.max(label_at + width));
            let free = ends.iter().position(|end| *end < from);
            let lane = free.unwrap_or(ends.len());
            if lane == ends.len() {
                ends.push(to);
            } else {
                ends[lane] = to;
            }
            placed.push(Placed {
                band,
                lane: i32::try_from(lane).unwrap_or(0),
                label,
                label_at,
            });
        }
        Self {
            window,
            placed,
            lanes: i32::try_from(ends.len()).unwrap_or(0),
        }
    }

    fn height(&self) -> i32 {
        if self.lanes == 0 {
            0
        } else {
            self.lanes * LANE + 8
        }
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Result<(), Failure> {
        if self.lanes == 0 {
            return Ok(());
        }
        area.draw(&Text::new(
            "faults",
            (LEFT - 10, top + LANE / 2),
            text_right(13, FAINT),
        ))?;
        for placed in &self.placed {
            let y = top + placed.lane * LANE;
            let (x0, x1) = (
                column(self.window, placed.band.start),
                column(self.window, placed.band.end),
            );
            area.draw(&Rectangle::new(
                [(x0, y + 1), (x1.max(x0 + 2), y + LANE - 2)],
                FAULT.filled(),
            ))?;
            area.draw(&Rectangle::new(
                [(x0, y + 1), (x0 + 2, y + LANE - 2)],
                FAULT_EDGE.filled(),
            ))?;
            let centre = (placed.label_at + 12, y + LANE / 2);
            area.draw(&Circle::new(centre, 8, PAPER.filled()))?;
            area.draw(&Circle::new(centre, 8, FAULT_EDGE.stroke_width(1)))?;
            area.draw(&Text::new(
                placed.band.number.to_string(),
                centre,
                text_middle(11, INK),
            ))?;
            area.draw(&Text::new(
                placed.label.clone(),
                (placed.label_at + 24, y + LANE / 2),
                text(13, INK),
            ))?;
        }
        Ok(())
    }

    /// Shades the time of every fault behind what is drawn next, with a line where it began.
    fn shade(&self, area: &Area<'_>, top: i32, bottom: i32) -> Result<(), Failure> {
        for placed in &self.placed {
            let (x0, x1) = (
                column(self.window, placed.band.start),
                column(self.window, placed.band.end),
            );
            area.draw(&Rectangle::new(
                [(x0, top), (x1.max(x0 + 1), bottom)],
                FAULT.mix(0.28).filled(),
            ))?;
            area.draw(&PathElement::new(
                vec![(x0, top), (x0, bottom)],
                FAULT_EDGE.mix(0.7).stroke_width(1),
            ))?;
        }
        Ok(())
    }
}

/// What the axes of a panel say.
struct Axes<'a> {
    /// Words beside the panel.
    y: &'a str,
    /// The axis of time is labelled below this panel.
    time: bool,
    /// How to write a value.
    value: &'a dyn Fn(&u64) -> String,
}

/// The grid and the labels of a panel.
fn mesh<Y: Ranged<ValueType = u64> + plotters::coord::ranged1d::ValueFormatter<u64>>(
    panel: &mut Panel<'_, '_, Y>,
    axes: &Axes<'_>,
) -> Result<(), Failure> {
    let time = |at: &u64| if axes.time { tick(*at) } else { String::new() };
    let mut mesh = panel.configure_mesh();
    mesh.disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(PAPER.mix(0.0))
        .axis_style(FAINT)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 14).into_font().color(&INK))
        .x_labels(12)
        .y_labels(6)
        .x_label_formatter(&time)
        .y_label_formatter(&axes.value)
        .y_desc(axes.y);
    if axes.time {
        mesh.x_desc("simulated time (s)");
    }
    mesh.draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        start: 0,
        end: 100 * SECOND,
    };

    fn band(number: u32, start: u64, end: u64) -> Band {
        let (kind, target) = ("kill".to_owned(), "b1".to_owned());
        Band {
            words: "kill b1".to_owned(),
            number,
            kind,
            target,
            start: start * SECOND,
            end: end * SECOND,
            open: false,
            effect: None,
        }
    }

    #[test]
    fn the_window_spans_the_axis() {
        assert_eq!(
            (column(WINDOW, 0), column(WINDOW, 100 * SECOND)),
            (LEFT, RIGHT)
        );
        assert_eq!(column(WINDOW, 200 * SECOND), RIGHT);
    }

    #[test]
    fn faults_at_the_same_time_take_lanes_of_their_own() {
        let bands = [band(1, 10, 30), band(2, 20, 40), band(3, 60, 70)];
        let strip = FaultStrip::new(WINDOW, &bands);
        let lanes: Vec<i32> = strip.placed.iter().map(|placed| placed.lane).collect();
        assert_eq!(lanes, [0, 1, 0]);
    }

    #[test]
    fn a_label_near_the_end_moves_into_the_picture() {
        let bands = [band(1, 99, 100)];
        let strip = FaultStrip::new(WINDOW, &bands);
        assert!(strip.placed[0].label_at + width_of("kill b1") < RIGHT);
    }

    #[test]
    fn ticks_are_seconds_without_needless_zeros() {
        assert_eq!(
            (tick(10_000_000), tick(10_500_000)),
            ("10".to_owned(), "10.5".to_owned())
        );
    }
}
