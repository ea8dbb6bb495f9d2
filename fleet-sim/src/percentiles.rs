//! Percentiles of values that are all there, by the nearest rank.

/// Sorts, and gives for each percent the smallest value that at least so many of a hundred
/// do not exceed; 0 where there is none.
pub(crate) fn nearest_ranks<const N: usize>(
    mut values: Vec<u64>,
    percents: [usize; N],
) -> [u64; N] {
    values.sort_unstable();
    percents.map(|percent| {
        let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(index).copied().unwrap_or(0)
    })
}
