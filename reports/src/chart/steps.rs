//! Step lines, thinned to what a screen can show.

use super::micros;

/// A drawn line: microseconds and values.
pub(super) type Line = Vec<(u64, u64)>;

/// Steps as lines of a step chart up to `end`, one line for each stretch without a gap. Of the steps in one of `columns`
/// columns the first, the last and both extremes stay, so that no peak is lost.
pub(super) fn lines(steps: &[(u64, Option<i64>)], start: u64, end: u64, columns: u64) -> Vec<Line> {
    let width = ((end - start) / columns).max(1);
    let mut lines: Vec<Line> = Vec::new();
    let mut current: Line = Line::new();
    for group in steps.chunk_by(|one, other| {
        one.1.is_some() == other.1.is_some() && one.0 / width == other.0 / width
    }) {
        for (at, value) in thinned(group) {
            if let Some((_, before)) = current.last().copied() {
                current.push((micros(at), before));
            }
            match value {
                Some(value) => current.push((micros(at), u64::try_from(value).unwrap_or(0))),
                None if current.is_empty() => {}
                None => lines.push(std::mem::take(&mut current)),
            }
        }
    }
    if let Some((_, last)) = current.last().copied() {
        current.push((micros(end), last));
        lines.push(current);
    }
    lines
}

fn thinned(group: &[(u64, Option<i64>)]) -> Vec<(u64, Option<i64>)> {
    if group.len() <= 4 {
        return group.to_vec();
    }
    let last = group.len() - 1;
    let by_value = |index: &usize| group[*index].1;
    let lowest = (0..=last).min_by_key(by_value).unwrap_or(0);
    let highest = (0..=last).max_by_key(by_value).unwrap_or(last);
    let mut kept = vec![0, lowest, highest, last];
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|index| group[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_corner_and_lasts_to_the_end() {
        let lines = lines(&[(0, Some(1)), (2_000, Some(5))], 0, 10_000, 10);
        assert_eq!(lines, [vec![(0, 1), (2, 1), (2, 5), (10, 5)]]);
    }

    #[test]
    fn a_gap_ends_a_line() {
        let lines = lines(
            &[(0, Some(1)), (2_000, None), (6_000, Some(4))],
            0,
            10_000,
            10,
        );
        assert_eq!(lines, [vec![(0, 1), (2, 1)], vec![(6, 4), (10, 4)]]);
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let many: Vec<(u64, Option<i64>)> = (0..100)
            .map(|at| (at, Some(if at == 42 { 99 } else { 3 })))
            .collect();
        let lines = lines(&many, 0, 10_000, 10);
        assert!(lines[0].len() < 12, "{:?}", lines[0]);
        assert_eq!(lines[0].iter().map(|(_, value)| *value).max(), Some(99));
    }
}
