//! Values over time: changes become spans, or steps, cut to the window.

use super::Window;

/// A value and how long it was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span<T> {
    /// From, in nanoseconds.
    pub start: u64,
    /// To.
    pub end: u64,
    /// What.
    pub value: T,
}

/// The steps in the window, beginning with the state in which it opens.
pub(super) fn steps(all: &[(u64, Option<i64>)], window: Window) -> Vec<(u64, Option<i64>)> {
    let before = all.iter().rev().find(|(at, _)| *at <= window.start);
    let opening = before.map(|(_, value)| (window.start, *value));
    opening
        .into_iter()
        .chain(all.iter().copied().filter(|(at, _)| *at > window.start))
        .collect()
}

pub(super) fn spans<T: PartialEq>(changes: Vec<(u64, T)>, window: Window) -> Vec<Span<T>> {
    let mut spans: Vec<Span<T>> = Vec::new();
    for (at, value) in changes {
        if let Some(last) = spans.last_mut() {
            if last.value == value {
                continue;
            }
            last.end = at;
        }
        spans.push(Span {
            start: at,
            end: window.end,
            value,
        });
    }
    let drawn = spans.into_iter().filter_map(|span| {
        let (start, end) = window.clip(span.start, span.end)?;
        (start < end).then_some(Span {
            start,
            end,
            value: span.value,
        })
    });
    drawn.collect()
}
