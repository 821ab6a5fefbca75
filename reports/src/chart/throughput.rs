//! The clients' chart: records per second above, acknowledgement latency below.

use super::{
    Area, Axes, BLUE, FAINT, Failure, FaultStrip, GREEN, INK, LEFT, RIGHT, SKY, Sign, VERMILLION,
    WIDTH, legend, mesh, micros, sheet, text_middle, time_range,
};
use crate::ReportError;
use crate::model::fault::Band;
use crate::model::traffic::{Bucket, Latency, Traffic};
use crate::number::{duration_of_micros, grouped};
use plotters::prelude::{
    ChartBuilder, DashedLineSeries, IntoLogRange, LineSeries, PathElement, Polygon, Text,
};
use plotters::style::{Color, RGBColor};

const LEGEND: i32 = 34;
const RATES: i32 = 240;
const LATENCY: i32 = 250;
const BETWEEN: i32 = 12;

/// Draws the chart.
pub(crate) fn draw(traffic: &Traffic, faults: &[Band]) -> Result<String, ReportError> {
    let strip = FaultStrip::new(traffic.window, faults);
    let rates = LEGEND + strip.height();
    let latency = rates + RATES + BETWEEN + LEGEND;
    let label = "Records per second and acknowledgement latency over time, with fault bands";
    sheet("throughput", label, latency + LATENCY, |area| {
        legend(area, LEGEND / 2, &rate_legend(traffic))?;
        strip.draw(area, LEGEND)?;
        strip.shade(area, rates, rates + RATES)?;
        rate_panel(area, traffic, rates)?;
        let entries = [
            (
                Sign::Line(BLUE),
                "half waited no longer (median)".to_owned(),
            ),
            (Sign::Dashed(VERMILLION), "the slowest".to_owned()),
        ];
        legend(area, rates + RATES + BETWEEN + LEGEND / 2, &entries)?;
        strip.shade(area, latency, latency + LATENCY - 44)?;
        latency_panel(area, traffic, latency)
    })
}

fn any(traffic: &Traffic, count: fn(&Bucket) -> u64) -> bool {
    traffic.buckets.iter().any(|bucket| count(bucket) > 0)
}

fn rate_legend(traffic: &Traffic) -> Vec<(Sign, String)> {
    let mut entries = vec![
        (Sign::Block(SKY), "sent".to_owned()),
        (Sign::Line(GREEN), "acknowledged".to_owned()),
    ];
    if any(traffic, |bucket| bucket.polled) {
        entries.push((Sign::Dashed(INK), "read by consumers".to_owned()));
    }
    if any(traffic, |bucket| bucket.unacknowledged) {
        entries.push((
            Sign::Line(VERMILLION),
            "given up or fate unknown".to_owned(),
        ));
    }
    entries
}

/// The outline of a count: level over each bucket.
fn outline(traffic: &Traffic, count: fn(&Bucket) -> u64) -> Vec<(u64, u64)> {
    let mut points = Vec::new();
    for bucket in &traffic.buckets {
        let rate = bucket.per_second(count(bucket));
        points.extend([(micros(bucket.start), rate), (micros(bucket.end), rate)]);
    }
    points
}

fn rate_panel(area: &Area<'_>, traffic: &Traffic, top: i32) -> Result<(), Failure> {
    let rates = traffic.buckets.iter().map(|bucket| {
        bucket.per_second(
            bucket
                .sent
                .max(bucket.acknowledged)
                .max(bucket.unacknowledged)
                .max(bucket.polled),
        )
    });
    let highest = rates.max().unwrap_or(0).max(10);
    let area = area.clone().shrink((0, top), (WIDTH, RATES.unsigned_abs()));
    let mut panel = ChartBuilder::on(&area)
        .margin_right(WIDTH.abs_diff(RIGHT.unsigned_abs()))
        .y_label_area_size(LEFT.unsigned_abs())
        .build_cartesian_2d(time_range(traffic.window), 0..highest + highest / 12)?;
    mesh(
        &mut panel,
        &Axes {
            y: "records/s",
            time: false,
            value: &|rate| grouped(*rate),
        },
    )?;
    let sent = outline(traffic, |bucket| bucket.sent);
    let foot = [sent.last(), sent.first()]
        .into_iter()
        .flatten()
        .map(|(at, _)| (*at, 0));
    let block: Vec<(u64, u64)> = sent.iter().copied().chain(foot).collect();
    panel.draw_series([Polygon::new(block, SKY.mix(0.55))])?;
    if any(traffic, |bucket| bucket.polled) {
        let polled = outline(traffic, |bucket| bucket.polled);
        panel.draw_series(DashedLineSeries::new(polled, 6, 5, INK.stroke_width(2)))?;
    }
    panel.draw_series(LineSeries::new(
        outline(traffic, |bucket| bucket.acknowledged),
        GREEN.stroke_width(2),
    ))?;
    if any(traffic, |bucket| bucket.unacknowledged) {
        let given_up = outline(traffic, |bucket| bucket.unacknowledged);
        panel.draw_series(LineSeries::new(given_up, VERMILLION.stroke_width(2)))?;
    }
    Ok(())
}

fn latency_panel(area: &Area<'_>, traffic: &Traffic, top: i32) -> Result<(), Failure> {
    let known: Vec<Latency> = traffic
        .buckets
        .iter()
        .filter_map(|bucket| bucket.latency)
        .collect();
    let Some(slowest) = known.iter().map(|latency| latency.slowest).max() else {
        let middle = (i32::midpoint(LEFT, RIGHT), top + LATENCY / 2);
        return area.draw(&Text::new(
            "no record of this time was acknowledged",
            middle,
            text_middle(15, FAINT),
        ));
    };
    let fastest = known
        .iter()
        .map(|latency| latency.median)
        .min()
        .unwrap_or(1)
        .max(1);
    let area = area
        .clone()
        .shrink((0, top), (WIDTH, LATENCY.unsigned_abs()));
    let mut panel = ChartBuilder::on(&area)
        .margin_right(WIDTH.abs_diff(RIGHT.unsigned_abs()))
        .x_label_area_size(44)
        .y_label_area_size(LEFT.unsigned_abs())
        .build_cartesian_2d(
            time_range(traffic.window),
            (decade_below(fastest)..decade_above(slowest)).log_scale(),
        )?;
    mesh(
        &mut panel,
        &Axes {
            y: "latency (log)",
            time: true,
            value: &|micros| duration_of_micros(*micros),
        },
    )?;
    for stretch in stretches(traffic, |latency| latency.slowest) {
        panel.draw_series(DashedLineSeries::new(
            stretch,
            5,
            3,
            VERMILLION.stroke_width(2),
        ))?;
    }
    for stretch in stretches(traffic, |latency| latency.median) {
        panel.draw_series([PathElement::new(stretch, line(BLUE))])?;
    }
    Ok(())
}

fn line(color: RGBColor) -> plotters::style::ShapeStyle {
    color.stroke_width(2)
}

/// The latencies as lines, level over each bucket, broken where nothing was sent.
fn stretches(traffic: &Traffic, of: fn(Latency) -> u64) -> Vec<Vec<(u64, u64)>> {
    let groups = traffic
        .buckets
        .chunk_by(|one, other| one.latency.is_some() == other.latency.is_some());
    let level = |bucket: &Bucket| {
        let value = of(bucket.latency?).max(1);
        Some([(micros(bucket.start), value), (micros(bucket.end), value)])
    };
    let lines = groups.map(|group| group.iter().filter_map(level).flatten().collect::<Vec<_>>());
    lines.filter(|line| !line.is_empty()).collect()
}

fn decade_below(micros: u64) -> u64 {
    10_u64.pow(micros.max(1).ilog10())
}

fn decade_above(micros: u64) -> u64 {
    10_u64.pow(micros.max(1).ilog10() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_enclose_a_latency() {
        assert_eq!((decade_below(2_500), decade_above(2_500)), (1_000, 10_000));
        assert_eq!((decade_below(0), decade_above(0)), (1, 10));
    }
}
