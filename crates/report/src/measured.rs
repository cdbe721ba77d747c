//! Lists of what was found, in which nothing stands where there was nothing to measure.

use concord_findings::Estimate;

/// An estimate of a list, where there was something to measure.
pub(crate) fn found(list: &[Option<Estimate>], at: usize) -> Option<&Estimate> {
    list.get(at)?
        .as_ref()
        .filter(|estimate| estimate.is_measured())
}
