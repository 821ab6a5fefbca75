//! When which fault was at work: one band per occurrence, from its injection to its end.

use super::Window;
use history::History;
use history::event::{Fault, FaultStage, Process, What};
use protocol::ids::NodeId;
use std::collections::BTreeMap;

/// One occurrence of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// The number in the picture and in the list, from 1.
    pub number: u32,
    /// The scenario's word, with spaces.
    pub kind: String,
    /// Whom it hit; empty for the whole network.
    pub target: String,
    /// What it does and to whom, in words.
    pub words: String,
    /// From, in nanoseconds; within the window.
    pub start: u64,
    /// To, in nanoseconds; within the window. A momentary fault has none of it.
    pub end: u64,
    /// It was still at work when the window ended.
    pub open: bool,
    /// What it was seen to do.
    pub effect: Option<String>,
}

impl Band {
    /// `kill b1`: short enough to stand beside a band.
    pub fn label(&self) -> String {
        if self.target.is_empty() {
            self.kind.clone()
        } else {
            format!("{} {}", self.kind, self.target)
        }
    }
}

/// The bands of a history in the order of their beginning.
pub fn bands(history: &History, window: Window) -> Vec<Band> {
    let mut keeper = Bookkeeper::default();
    for event in &history.events {
        match &event.what {
            What::Fault(fault) => {
                keeper.fault(event.at, fault, || history.manifest.fault_in_words(fault));
            }
            What::Process(process) => {
                if let Some(node) = event.node {
                    keeper.process(event.at, node, process);
                }
            }
            What::Operation(_)
            | What::Replica(..)
            | What::Controller(_)
            | What::Broker(_)
            | What::Group(..)
            | What::Transaction(..)
            | What::Keeper(_)
            | What::Client(_)
            | What::Mark(_)
            | What::Phase(_) => {}
        }
    }
    let mut bands = keeper.bands;
    for band in bands.iter_mut().filter(|band| band.open) {
        band.end = window.end;
    }
    let mut drawn: Vec<Band> = bands
        .into_iter()
        .filter_map(|band| clipped(band, window))
        .collect();
    for (number, band) in (1..).zip(&mut drawn) {
        band.number = number;
    }
    drawn
}

/// The same bands, with the same numbers, as far as they lie in a part of the window.
pub fn within(bands: &[Band], part: Window) -> Vec<Band> {
    bands
        .iter()
        .filter_map(|band| clipped(band.clone(), part))
        .collect()
}

#[derive(Default)]
struct Bookkeeper {
    bands: Vec<Band>,
    /// Faults at work: the scenario's index and the band.
    open: Vec<(u32, usize)>,
    /// The last band of each fault of the scenario.
    latest: BTreeMap<u32, usize>,
    /// Nodes that a fault brought down, and its band: such a fault is over when they are back.
    down: Vec<(NodeId, usize)>,
}

impl Bookkeeper {
    fn fault(&mut self, at: u64, fault: &Fault, words: impl FnOnce() -> String) {
        match &fault.stage {
            FaultStage::Injected => {
                self.open.push((fault.index, self.bands.len()));
                self.latest.insert(fault.index, self.bands.len());
                self.bands.push(Band {
                    number: 0,
                    kind: fault.kind.replace('_', " "),
                    target: fault.target.clone(),
                    words: words(),
                    start: at,
                    end: at,
                    open: true,
                    effect: None,
                });
            }
            FaultStage::Effective(what) => {
                // What a pause has kept waiting is seen when it is over.
                if let Some(band) = self.latest.get(&fault.index) {
                    self.bands[*band].effect.get_or_insert_with(|| what.clone());
                }
            }
            FaultStage::Healed => {
                // A repeated fault ends in the order it began.
                let first = self.open.iter().find(|(index, _)| *index == fault.index);
                if let Some((_, band)) = first.copied() {
                    self.close(at, band);
                }
            }
            FaultStage::Inert(_) => {}
        }
    }

    fn process(&mut self, at: u64, node: NodeId, process: &Process) {
        match process {
            Process::Died { .. } | Process::Stopped | Process::Paused => {
                let bands = &self.bands;
                let cause = self
                    .open
                    .iter()
                    .rev()
                    .find(|(_, band)| bands[*band].start == at);
                if let Some((_, band)) = cause {
                    self.down.push((node, *band));
                }
            }
            Process::Started { .. } | Process::Resumed => {
                let back: Vec<usize> = self
                    .down
                    .iter()
                    .filter(|(down, _)| *down == node)
                    .map(|(_, band)| *band)
                    .collect();
                self.down.retain(|(down, _)| *down != node);
                for band in back {
                    if self.down.iter().all(|(_, other)| *other != band) {
                        self.close(at, band);
                    }
                }
            }
            Process::Panicked(_) => {}
        }
    }

    fn close(&mut self, at: u64, band: usize) {
        self.open.retain(|(_, other)| *other != band);
        let band = &mut self.bands[band];
        if band.open {
            band.open = false;
            band.end = at;
        }
    }
}

fn clipped(band: Band, window: Window) -> Option<Band> {
    let (start, end) = window.clip(band.start, band.end)?;
    Some(Band { start, end, ..band })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Builder, MS, lossy};
    use super::*;
    use history::event::Phase;

    #[test]
    fn a_fault_lasts_from_injection_to_healing() {
        let history = lossy();
        let bands = bands(&history, Window::of(&history));
        assert_eq!(bands.len(), 1);
        assert_eq!(
            (bands[0].start, bands[0].end, bands[0].open),
            (2_000 * MS, 4_000 * MS, false)
        );
        assert_eq!(bands[0].label(), "kill b1");
        assert_eq!(bands[0].effect.as_deref(), Some("1 process died"));
    }

    #[test]
    fn a_fault_that_never_heals_lasts_to_the_end() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.fault(30, "b2", FaultStage::Injected);
        b.phase(100, Phase::End);
        let bands = bands(&b.history, Window::of(&b.history));
        assert_eq!(
            (bands[0].start, bands[0].end, bands[0].open),
            (30 * MS, 100 * MS, true)
        );
    }

    #[test]
    fn a_kill_is_over_when_the_process_is_back() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        b.fault(30, "b2", FaultStage::Injected);
        b.die(30, 2);
        b.load(70, 2, 0, 0);
        b.phase(100, Phase::End);
        let bands = bands(&b.history, Window::of(&b.history));
        assert_eq!((bands[0].end, bands[0].open), (70 * MS, false));
    }

    #[test]
    fn a_repeated_fault_has_a_band_for_each_time() {
        let mut b = Builder::new();
        b.phase(0, Phase::Safety);
        for start in [10, 50] {
            b.fault(start, "b2", FaultStage::Injected);
            b.fault(start + 20, "b2", FaultStage::Healed);
        }
        b.phase(100, Phase::End);
        let bands = bands(&b.history, Window::of(&b.history));
        let spans: Vec<_> = bands
            .iter()
            .map(|band| (band.number, band.start / MS, band.end / MS))
            .collect();
        assert_eq!(spans, [(1, 10, 30), (2, 50, 70)]);
    }
}
