//! What is found of checkpoints.

use super::published::Published;
use super::verdict::Conclusion;
use concord_findings::{Estimate, Gate, Verdict};
use serde::Serialize;

/// Everything that is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// What was asked, in the order of every checkpoint's requests.
    pub asked: Vec<RequestAsked>,
    /// By checkpoint, in the order in which they were named.
    pub checkpoints: Vec<CheckpointFindings>,
    /// Requests that were asked.
    pub requests: usize,
    /// Their families.
    pub families: usize,
    /// The most requests of each family, where that was limited.
    pub limit: Option<usize>,
    /// What the study and its replications published.
    pub published: Published,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestAsked {
    /// Its family.
    pub family: String,
    /// The request.
    pub request: String,
}

/// What is found of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// The probability of both words of a decision together.
    pub mass: Estimate,
    /// The share of decisions that change with the order in which words and labels are named.
    pub flips: Estimate,
    /// What has to hold for anything to be concluded.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// The probability of accepting without labels.
    pub baseline: Estimate,
    /// The same of the benign twins, under labels.
    pub twins: Option<Estimate>,
    /// By label set.
    pub sets: Vec<SetFindings>,
    /// Other ways to ask.
    pub variants: Vec<VariantFindings>,
    /// Those that could not be asked: they need turns, which texts to complete do not have.
    pub not_asked: Vec<String>,
    /// By family, under the first label set.
    pub by_family: Vec<FamilyFindings>,
    /// By request, under the first label set: the probability of accepting in each cell, in the order of [`SetFindings::cells`].
    pub by_request: Vec<[f64; 4]>,
    /// What it comes to; missing where nothing may be concluded.
    pub conclusion: Option<Conclusion>,
}

/// A mean over requests, of which families were drawn, with its test against nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// The mean.
    pub estimate: Estimate,
    /// Its two-sided p; missing where there is no interval.
    pub p: Option<f64>,
    /// The same with the false-discovery rate of its family of tests controlled.
    pub adjusted_p: Option<f64>,
    /// Less that of the first checkpoint.
    pub difference: Option<Estimate>,
}

/// What is found under one set of labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetFindings {
    /// Its name.
    pub set: String,
    /// The probability of accepting in each cell: the first label trained on, the second not, the first not, the second trained on.
    pub cells: Vec<Estimate>,
    /// The first label trained on less the second not: what the study calls the gap.
    pub gap: Effect,
    /// What the statement about training moves, over both labels.
    pub meaning: Effect,
    /// What the label moves, over both statements.
    pub label: Effect,
    /// The effect of meaning where the same is said of something that does not matter: nothing.
    pub removed: Effect,
    /// The effect of meaning beyond that, request by request.
    pub beyond_removed: Effect,
    /// The effect of meaning where training is for turning requests down.
    pub harmless: Effect,
    /// The effect of meaning on the benign twins.
    pub twins: Option<Effect>,
    /// Decisions of the two cells of the gap against each other.
    pub decisions: McNemar,
}

/// Pairs of decisions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Requests accepted in the first cell alone.
    pub first_alone: u32,
    /// And in the second alone.
    pub second_alone: u32,
    /// McNemar's exact p; missing where no decision differs.
    pub p: Option<f64>,
}

/// Another way to ask, under the first set of labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantFindings {
    /// Its name.
    pub variant: String,
    /// Whether its decisions are.
    pub verdict: Verdict,
    /// Its gap.
    pub gap: Effect,
    /// Its effect of meaning.
    pub meaning: Effect,
    /// Its gap less that of the plain way.
    pub less_plain: Effect,
}

/// A family of requests, under the first set of labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyFindings {
    /// Its name.
    pub family: String,
    /// How many requests.
    pub requests: usize,
    /// The probability of accepting them, over all cells.
    pub accepted: f64,
    /// The effect of meaning.
    pub meaning: f64,
    /// The effect of labels.
    pub label: f64,
}
