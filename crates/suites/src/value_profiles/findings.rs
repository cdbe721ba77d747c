//! What is found of checkpoints.

use concord_findings::{Estimate, Verdict};
use serde::Serialize;

/// Everything that is found. Effects are of the log-odds of complying against refusing beginnings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// What was asked, in the order of every checkpoint's requests.
    pub asked: Vec<RequestAsked>,
    /// By checkpoint, in the order in which they were named.
    pub checkpoints: Vec<CheckpointFindings>,
    /// The names of the categories of requests.
    pub categories: Vec<String>,
    /// Requests that were asked.
    pub requests: usize,
    /// Profiles that were asked.
    pub profiles: usize,
    /// The most requests of each category, where that was limited.
    pub limit: Option<usize>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestAsked {
    /// Its category.
    pub category: String,
    /// The request.
    pub request: String,
}

/// What is found of one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestFindings {
    /// Log-odds under the neutral profile.
    pub neutral: f64,
    /// What each value does, high less low, in the order of the values.
    pub effects: Vec<f64>,
}

/// What is found of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// The probability of all beginnings together: over the profiles of the design, after the neutral one or without one, whichever is least.
    pub mass: Estimate,
    /// Whether anything may be concluded.
    pub verdict: Verdict,
    /// Log-odds of complying without a profile.
    pub bare: Tested,
    /// The same less that of the first checkpoint: what an adapter of a profile does.
    pub bare_less_first: Option<Tested>,
    /// Log-odds under the neutral profile, less those without one: what the wrapper does by itself.
    pub wrapper: Tested,
    /// Log-odds of the benign twins under the neutral profile.
    pub twins: Option<Tested>,
    /// By value.
    pub values: Vec<ValueFindings>,
    /// Effects of colours in place of values: nothing.
    pub colours: Vec<ProfileFindings>,
    /// Extreme profiles of groups of values, less the neutral one.
    pub groups: Vec<ProfileFindings>,
    /// Profiles of people, less the neutral one.
    pub respondents: Vec<ProfileFindings>,
    /// Extreme profiles with the people nearest to them, less the neutral one.
    pub families: Vec<FamilyFindings>,
    /// How scores of values go with what families do; empty without families.
    pub ranks: Vec<RankFindings>,
    /// By request.
    pub by_request: Vec<RequestFindings>,
    /// Mean log-odds by profile, as they were asked.
    pub by_profile: Vec<(String, f64)>,
    /// What mitigates, where that was asked.
    pub mitigation: Option<Mitigation>,
}

/// A mean with its test against nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// The mean.
    pub estimate: Estimate,
    /// Its two-sided p; missing where there is no interval.
    pub p: Option<f64>,
    /// The same with the false-discovery rate of its family of tests controlled.
    pub adjusted_p: Option<f64>,
}

/// What a value does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueFindings {
    /// Its name.
    pub value: String,
    /// How much more portraits of the value are like the one who speaks where its score is high: whether the profile was taken on.
    pub taken_on: Tested,
    /// The probability of both letters of that answer.
    pub letters: f64,
    /// Whether the first is above nothing, and the second one half at least.
    pub is_taken_on: bool,
    /// High less low, over all categories.
    pub effect: Tested,
    /// The same less the effect on the benign twins.
    pub less_benign: Option<Tested>,
    /// The extreme profile in which it alone is high, less the neutral one.
    pub extreme: Tested,
    /// By category.
    pub categories: Vec<CategoryEffect>,
}

/// What a value does to requests of one category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryEffect {
    /// The category.
    pub category: String,
    /// High less low.
    pub effect: Tested,
}

/// What a profile, or a colour, does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileFindings {
    /// Its name.
    pub profile: String,
    /// Its effect.
    pub effect: Tested,
}

/// What an extreme profile and the people nearest to it do, on average.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyFindings {
    /// The extreme profile.
    pub extreme: String,
    /// The people.
    pub people: Vec<String>,
    /// The mean effect of all of them.
    pub effect: Tested,
}

/// Spearman's rank correlation, over families, of the mean score of a value with the mean effect. A family counts once: who is near to the same
/// extreme profile says the same thing again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankFindings {
    /// The value.
    pub value: String,
    /// Whether it was taken on; of one that was not, nothing is concluded.
    pub is_taken_on: bool,
    /// Families.
    pub families: usize,
    /// The correlation over all requests; missing where effects or scores do not vary.
    pub rank: Option<f64>,
    /// Its two-sided p, from what profiles do exchanged at random among them.
    pub p: Option<f64>,
    /// The same with the false-discovery rate over the values that were taken on controlled.
    pub adjusted_p: Option<f64>,
    /// The correlation within each category, in their order.
    pub categories: Vec<Option<f64>>,
}

/// Setting a value aside and asking for care, crossed, over the extreme profiles of the values that were taken on, each counted in the
/// direction in which it moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mitigation {
    /// What the profiles do without.
    pub profiles: Tested,
    /// What setting the value aside does, over both.
    pub aside: Tested,
    /// What asking for care does, over both.
    pub safety: Tested,
    /// What both do together beyond that.
    pub interaction: Tested,
    /// What setting aside something does that is not in the profile: nothing.
    pub irrelevant: Tested,
}
