//! The replicas' chart, one block for each partition: who leads, who is in sync, where each log ends and how far it knows
//! records to be committed, and how far it is behind.

use super::{
    Area, Axes, BLUE, FAINT, Failure, FaultStrip, GREEN, GRID, INK, LEFT, ORANGE, PAPER, PURPLE,
    RIGHT, SKY, Sign, VERMILLION, WIDTH, column, legend, mesh, micros, sheet, steps, text,
    text_middle, text_right, time_range, width_of,
};
use crate::ReportError;
use crate::model::Window;
use crate::model::fault::Band;
use crate::model::lag;
use crate::model::replica::{Log, Partition, Replicas};
use crate::number::grouped;
use plotters::prelude::{
    ChartBuilder, DashedLineSeries, IntoLogRange, LineSeries, Rectangle, Text, TriangleMarker,
};
use plotters::style::{Color, RGBColor};
use protocol::ids::BrokerId;
use std::collections::BTreeSet;

/// At most so many partitions are drawn; those with a story first.
const DRAWN: usize = 8;
const LEGEND: i32 = 34;
const TITLE: i32 = 34;
const LEADER: i32 = 26;
const MEMBER: i32 = 17;
const LOGS: i32 = 220;
const BETWEEN: i32 = 14;
const BEHIND: i32 = 150;
const AFTER: i32 = 20;
/// Steps are thinned to about one column of pixels.
const COLUMNS: u64 = 1000;

const BROKERS: [RGBColor; 7] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, FAINT];

fn color(broker: BrokerId, all: &[BrokerId]) -> RGBColor {
    let place = all.iter().position(|other| *other == broker).unwrap_or(0);
    BROKERS[place % BROKERS.len()]
}

/// Draws the chart.
pub(crate) fn draw(replicas: &Replicas, faults: &[Band]) -> Result<String, ReportError> {
    let strip = FaultStrip::new(replicas.window, faults);
    let partitions = chosen(&replicas.partitions);
    let brokers: BTreeSet<BrokerId> = replicas
        .partitions
        .iter()
        .flat_map(|partition| partition.logs.keys().copied())
        .collect();
    let brokers: Vec<BrokerId> = brokers.into_iter().collect();
    let first = LEGEND + strip.height();
    let blocks: i32 = partitions
        .iter()
        .map(|partition| height_of(partition))
        .sum();
    let left_out = replicas.partitions.len() - partitions.len();
    let tail = if left_out > 0 || partitions.is_empty() {
        40
    } else {
        0
    };
    let label = "Log end, high watermark, leader and in-sync replicas of each partition over time";
    sheet("replicas", label, first + blocks + tail, |area| {
        legend(area, LEGEND / 2, &legend_of(&brokers))?;
        strip.draw(area, LEGEND)?;
        let mut top = first;
        for partition in &partitions {
            let block = Block {
                area,
                window: replicas.window,
                strip: &strip,
                brokers: &brokers,
                partition,
            };
            block.draw(top)?;
            top += height_of(partition);
        }
        let words = if partitions.is_empty() {
            "the history says nothing about replicas".to_owned()
        } else if left_out > 0 {
            format!("and {left_out} more partitions that are not drawn")
        } else {
            return Ok(());
        };
        area.draw(&Text::new(
            words,
            (i32::midpoint(LEFT, RIGHT), top + tail / 2),
            text_middle(15, FAINT),
        ))
    })
}

/// The partitions to draw, in their order: where there are too many, those where something changed go first.
fn chosen(all: &[Partition]) -> Vec<&Partition> {
    let mut ranked: Vec<&Partition> = all.iter().collect();
    let changes = |partition: &Partition| {
        partition.cuts.len() + partition.leaders.len() + partition.isr.len()
    };
    ranked.sort_by_key(|partition| std::cmp::Reverse(changes(partition)));
    ranked.truncate(DRAWN);
    ranked.sort_by(|one, other| one.name.cmp(&other.name));
    ranked
}

fn legend_of(brokers: &[BrokerId]) -> Vec<(Sign, String)> {
    let mut entries: Vec<(Sign, String)> = brokers
        .iter()
        .map(|broker| {
            (
                Sign::Block(color(*broker, brokers)),
                format!("broker {broker}"),
            )
        })
        .collect();
    entries.push((Sign::Line(INK), "log end".to_owned()));
    entries.push((Sign::Dashed(INK), "high watermark".to_owned()));
    entries.push((Sign::Cut, "log cut".to_owned()));
    entries
}

fn members(partition: &Partition) -> i32 {
    i32::try_from(partition.logs.len()).unwrap_or(0) * MEMBER
}

fn height_of(partition: &Partition) -> i32 {
    TITLE + LEADER + members(partition) + BETWEEN + LOGS + BETWEEN + BEHIND + AFTER
}

fn grouped_offset(offset: i64) -> String {
    u64::try_from(offset).map_or_else(|_| offset.to_string(), grouped)
}

/// The block of one partition.
struct Block<'a, 'b> {
    area: &'a Area<'b>,
    window: Window,
    strip: &'a FaultStrip<'a>,
    brokers: &'a [BrokerId],
    partition: &'a Partition,
}

impl Block<'_, '_> {
    fn draw(&self, top: i32) -> Result<(), Failure> {
        let leader = top + TITLE;
        let in_sync = leader + LEADER;
        let logs = in_sync + members(self.partition) + BETWEEN;
        let behind = logs + LOGS + BETWEEN;
        let name = Text::new(
            self.partition.name.to_string(),
            (LEFT, top + TITLE / 2),
            text(18, INK),
        );
        self.area.draw(&name)?;
        self.strip.shade(self.area, leader, behind + BEHIND - 44)?;
        self.leaders(leader)?;
        self.in_sync(in_sync)?;
        self.logs(logs)?;
        self.behind(behind)
    }

    fn color(&self, broker: BrokerId) -> RGBColor {
        color(broker, self.brokers)
    }

    /// The strip of leaders: one block for each leadership, with its epoch.
    fn leaders(&self, top: i32) -> Result<(), Failure> {
        self.area.draw(&Text::new(
            "leader",
            (LEFT - 10, top + LEADER / 2 - 2),
            text_right(13, INK),
        ))?;
        for span in &self.partition.leaders {
            let (x0, x1) = (
                column(self.window, span.start),
                column(self.window, span.end),
            );
            let corners = [(x0, top), (x1, top + LEADER - 5)];
            let kind = if span.value.unclean { ", unclean" } else { "" };
            let epoch = span.value.epoch;
            let (fill, ink, words) = match span.value.leader {
                Some(broker) => (
                    self.color(broker),
                    PAPER,
                    format!("broker {broker}, epoch {epoch}{kind}"),
                ),
                None => (PAPER, INK, "no leader".to_owned()),
            };
            self.area.draw(&Rectangle::new(corners, fill.filled()))?;
            self.area.draw(&Rectangle::new(
                corners,
                if span.value.leader.is_none() {
                    INK
                } else {
                    PAPER
                },
            ))?;
            if x1 - x0 > width_of(&words) + 8 {
                self.area.draw(&Text::new(
                    words,
                    (x0 + 8, top + LEADER / 2 - 2),
                    text(13, ink),
                ))?;
            }
        }
        Ok(())
    }

    /// One row for each broker: filled while it is in sync, empty while it is not.
    fn in_sync(&self, top: i32) -> Result<(), Failure> {
        for (row, (broker, log)) in (0..).zip(&self.partition.logs) {
            let y = top + row * MEMBER;
            let words = format!("broker {broker} in sync");
            self.area.draw(&Text::new(
                words,
                (LEFT - 10, y + MEMBER / 2),
                text_right(12, INK),
            ))?;
            self.area.draw(&Rectangle::new(
                [(LEFT, y + 7), (RIGHT, y + 9)],
                GRID.filled(),
            ))?;
            for span in self
                .partition
                .isr
                .iter()
                .filter(|span| span.value.contains(broker))
            {
                let (x0, x1) = (
                    column(self.window, span.start),
                    column(self.window, span.end),
                );
                let fill = self.color(*broker).mix(0.65).filled();
                self.area.draw(&Rectangle::new(
                    [(x0, y + 3), (x1.max(x0 + 1), y + MEMBER - 4)],
                    fill,
                ))?;
            }
            self.down(log, y)?;
        }
        Ok(())
    }

    /// While a broker is down its row says so, whatever the ISR still claims.
    fn down(&self, log: &Log, y: i32) -> Result<(), Failure> {
        for (index, (at, end)) in log.end.iter().enumerate() {
            if end.is_some() {
                continue;
            }
            let until = log
                .end
                .get(index + 1)
                .map_or(self.window.end, |(until, _)| *until);
            let (x0, x1) = (column(self.window, *at), column(self.window, until));
            if x1 - x0 > 44 {
                let middle = i32::midpoint(x0, x1);
                self.area.draw(&Rectangle::new(
                    [(middle - 19, y + 1), (middle + 19, y + MEMBER - 2)],
                    PAPER.filled(),
                ))?;
                self.area.draw(&Text::new(
                    "down",
                    (middle, y + MEMBER / 2),
                    text_middle(12, INK),
                ))?;
            }
        }
        Ok(())
    }

    fn logs(&self, top: i32) -> Result<(), Failure> {
        let ends = self
            .partition
            .logs
            .values()
            .flat_map(|log| log.end.iter().chain(&log.high_watermark));
        let values: Vec<u64> = ends
            .filter_map(|(_, end)| u64::try_from((*end)?).ok())
            .collect();
        let (lowest, highest) = (
            values.iter().min().copied().unwrap_or(0),
            values.iter().max().copied().unwrap_or(0),
        );
        let room = ((highest - lowest) / 12).max(1);
        let area = self
            .area
            .clone()
            .shrink((0, top), (WIDTH, LOGS.unsigned_abs()));
        let mut panel = ChartBuilder::on(&area)
            .margin_right(WIDTH.abs_diff(RIGHT.unsigned_abs()))
            .y_label_area_size(LEFT.unsigned_abs())
            .build_cartesian_2d(time_range(self.window), lowest..highest + room)?;
        mesh(
            &mut panel,
            &Axes {
                y: "offset",
                time: false,
                value: &|offset| grouped(*offset),
            },
        )?;
        for (broker, log) in &self.partition.logs {
            for line in self.lines(&log.end) {
                panel.draw_series(LineSeries::new(line, self.color(*broker).stroke_width(2)))?;
            }
        }
        for (broker, log) in &self.partition.logs {
            for line in self.lines(&log.high_watermark) {
                panel.draw_series(DashedLineSeries::new(
                    line,
                    4,
                    6,
                    self.color(*broker).stroke_width(1),
                ))?;
            }
        }
        let marks =
            self.partition.cuts.iter().map(|cut| {
                panel.backend_coord(&(micros(cut.at), u64::try_from(cut.to).unwrap_or(0)))
            });
        let marks: Vec<(i32, i32)> = marks.collect();
        self.cuts(&marks)
    }

    /// A triangle and words for each log that was cut; words that would lie on others move up.
    fn cuts(&self, marks: &[(i32, i32)]) -> Result<(), Failure> {
        let mut taken: Vec<(i32, i32)> = Vec::new();
        for (cut, (x, y)) in self.partition.cuts.iter().zip(marks) {
            self.area.draw(&TriangleMarker::new(
                (*x, *y),
                7,
                self.color(cut.broker).filled(),
            ))?;
            let words = format!(
                "broker {} cut: {} → {}",
                cut.broker,
                grouped_offset(cut.from),
                grouped_offset(cut.to)
            );
            let mut line = y - 4;
            while taken
                .iter()
                .any(|(at, used)| (at - x).abs() < 240 && (used - line).abs() < 16)
            {
                line -= 16;
            }
            taken.push((*x, line));
            let near_the_end = x + width_of(&words) + 12 > RIGHT;
            let (from, style) = if near_the_end {
                (x - 12, text_right(13, INK))
            } else {
                (x + 12, text(13, INK))
            };
            self.area.draw(&Text::new(words, (from, line), style))?;
        }
        Ok(())
    }

    /// On a logarithmic scale: one record and a thousand matter alike. What is not behind lies on the floor.
    fn behind(&self, top: i32) -> Result<(), Failure> {
        let lags = lag::behind(self.partition);
        let all = lags
            .values()
            .flatten()
            .filter_map(|(_, lag)| u64::try_from((*lag)?).ok());
        let highest = all.max().unwrap_or(0).max(10);
        let area = self
            .area
            .clone()
            .shrink((0, top), (WIDTH, BEHIND.unsigned_abs()));
        let mut panel = ChartBuilder::on(&area)
            .margin_right(WIDTH.abs_diff(RIGHT.unsigned_abs()))
            .x_label_area_size(44)
            .y_label_area_size(LEFT.unsigned_abs())
            .build_cartesian_2d(
                time_range(self.window),
                (1..highest + highest / 4).log_scale(),
            )?;
        let value = |records: &u64| {
            if *records <= 1 {
                "≤ 1".to_owned()
            } else {
                grouped(*records)
            }
        };
        mesh(
            &mut panel,
            &Axes {
                y: "behind (log)",
                time: true,
                value: &value,
            },
        )?;
        for (broker, lag) in &lags {
            for line in self.lines(lag) {
                let line = line.into_iter().map(|(at, lag)| (at, lag.max(1)));
                panel.draw_series(LineSeries::new(line, self.color(*broker).stroke_width(2)))?;
            }
        }
        Ok(())
    }

    fn lines(&self, of: &[(u64, Option<i64>)]) -> Vec<steps::Line> {
        steps::lines(of, self.window.start, self.window.end, COLUMNS)
    }
}
