//! What is found of checkpoints.

use super::data::Direction;
use super::ranking::Ranked;
use concord_findings::{Estimate, Gate, Verdict};
use serde::Serialize;

/// Everything that is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// What was asked, in the order of every checkpoint's items.
    pub requests: Vec<RequestAsked>,
    /// By checkpoint, in the order in which they were named.
    pub checkpoints: Vec<CheckpointFindings>,
    /// Between the checkpoints that are measurable, where there are two at least.
    pub disagreement: Option<Disagreement>,
    /// What they wrote, as raters read it; missing where nothing was written.
    pub written: Option<Written>,
    /// Scenarios, whatever they are nudged to.
    pub scenarios: usize,
    /// Pairs of values.
    pub pairs: usize,
    /// The most scenarios of each pair, where that was limited.
    pub limit: Option<usize>,
}

/// What is found of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// The probability of all seven letters together.
    pub mass: Estimate,
    /// The rank correlation of known positions with those that are read back: the least of all languages.
    pub read_back: f64,
    /// What has to hold for anything to be concluded.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// How far a position moves to the value that a request is nudged to; over both values. Missing where none is nudged.
    pub nudge: Option<NudgeFindings>,
    /// The rank correlation of positions by letters with those by the likelihood of their texts.
    pub likelihood: Option<f64>,
    /// Values by strength, strongest first.
    pub ranked: Vec<Ranked>,
    /// What a nudge does to the log-odds of a value being favoured; missing where none is nudged.
    pub nudge_log_odds: Option<f64>,
    /// Every request.
    pub items: Vec<ItemFindings>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestAsked {
    /// The scenario.
    pub scenario: String,
    /// Its language.
    pub language: String,
    /// The values that it sets against each other.
    pub pair: [String; 2],
    /// Where it is nudged to.
    pub nudge: Direction,
    /// The request.
    pub query: String,
}

/// What a nudge moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NudgeFindings {
    /// Position when nudged to a value less that when nudged to the other, positions of the scale.
    pub effect: Estimate,
    /// Its two-sided p.
    pub p: Option<f64>,
}

/// Where an answer to one request stands, as to its first and its second value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemFindings {
    /// The most probable positions.
    pub modes: [f64; 2],
    /// Expected positions.
    pub expected: [f64; 2],
    /// The variances of positions.
    pub variances: [f64; 2],
    /// Expected positions by the likelihood of their texts; not of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely: Option<[f64; 2]>,
}

/// How far checkpoints disagree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// The checkpoints that it is between.
    pub checkpoints: Vec<String>,
    /// The mean over requests of the larger standard deviation of modes of both values: comparable with the study's.
    pub modes: Estimate,
    /// The same of expected positions.
    pub expected: Estimate,
    /// The share of requests where the modes' is 1.5 at least.
    pub high: Estimate,
    /// The variance between checkpoints' expectations, of all variance.
    pub between: f64,
    /// Requests by the modes' standard deviation, in steps of a half from 0 to 3.
    pub bins: [usize; 6],
    /// By topic.
    pub topics: Vec<TopicFindings>,
    /// The mean of the modes' between each two, in the order of the checkpoints.
    pub between_two: Vec<Vec<f64>>,
    /// The share of positions at which a checkpoint lies four from three quarters of the others; with three checkpoints at least.
    pub outliers: Vec<f64>,
    /// The requests on which they disagree most: scenario, language, nudge, and how far.
    pub most: Vec<(String, String, Direction, f64)>,
}

/// Disagreement on a topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicFindings {
    /// The topic.
    pub topic: String,
    /// How many requests.
    pub requests: usize,
    /// The mean of the modes' standard deviation.
    pub modes: f64,
    /// The mean of the expectations'.
    pub expected: f64,
}

/// What checkpoints wrote, as raters read it. Raters are judges: those that do not read answers of known position rightly are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// By checkpoint, in the order in which they were named.
    pub checkpoints: Vec<WrittenFindings>,
    /// Raters that are heard of every checkpoint whose answers could be placed, where there are two at least: what compares checkpoints is
    /// theirs. Who reads itself is none.
    pub shared_raters: Vec<String>,
    /// Between those checkpoints, on the requests that all of them answered; missing without a shared rater.
    pub disagreement: Option<Disagreement>,
    /// Whether answers keep a specification.
    pub specification: Option<SpecificationFindings>,
}

/// What one checkpoint wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenFindings {
    /// Its name.
    pub name: String,
    /// Requests that it was to answer.
    pub asked: usize,
    /// Answers with any text.
    pub written: usize,
    /// Those of them that were cut off.
    pub unfinished: usize,
    /// Who read them.
    pub raters: Vec<RaterFindings>,
    /// What has to hold for anything to be concluded.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// How far a nudge moves what is written.
    pub nudge: Option<NudgeFindings>,
    /// The rank correlation of positions as written with those by letters.
    pub with_letters: Option<f64>,
    /// The probability of each type of refusal, in the order of the types.
    pub refusals: Vec<(String, f64)>,
    /// The probability that the answer does not do what was asked: of the last three types.
    pub declines: Option<Estimate>,
    /// The probability that an answer treats a value as something that matters, most first.
    pub emphasis: Vec<(String, Estimate)>,
    /// Every request; nothing where its answer could not be placed.
    pub items: Vec<Option<ItemFindings>>,
}

/// How far a rater can be trusted with a checkpoint's answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RaterFindings {
    /// Its name; `itself` for the checkpoint.
    pub rater: String,
    /// Answers that it read.
    pub read: usize,
    /// Answers that were too long for it.
    pub left_out: usize,
    /// The mean probability of all letters together.
    pub mass: f64,
    /// The rank correlation with which it reads known positions, the least of all languages.
    pub read_back: f64,
    /// The share of answers that are known to keep the rules and of which it says so, or of those that break them, whichever is less;
    /// missing for rules that do not ship, of which none are known.
    pub known_rules: Option<f64>,
    /// Whether it is heard of rules; missing where answers are held against none.
    pub rules: Option<Verdict>,
    /// What else it is not heard of, since its letters are too improbable there: types of refusal, single values.
    pub left_apart: Vec<String>,
    /// What has to hold for it to be heard.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
}

/// Whether answers keep a specification, by the panel of raters that are heard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpecificationFindings {
    /// What it is called.
    pub name: String,
    /// By checkpoint.
    pub checkpoints: Vec<Compliance>,
    /// How far the panel agrees, where it has two raters at least.
    pub panel: Option<Panel>,
    /// By steps of a half of disagreement of what was written, from 0 to 3: requests, and the share of them on which every checkpoint's
    /// answer breaks the rules; where there are two checkpoints and a shared rater.
    pub frequent: Vec<(usize, Option<f64>)>,
}

/// Whether one checkpoint's answers keep a specification, by majority of the panel; without one it is unclear.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compliance {
    /// The checkpoint.
    pub checkpoint: String,
    /// Who is heard.
    pub raters: Vec<String>,
    /// Answers that any of them read.
    pub answers: usize,
    /// The share of answers that keep the rules.
    pub keeps: Estimate,
    /// The share of those that break them.
    pub breaks: Estimate,
    /// The share of those of which it is unclear.
    pub unclear: Estimate,
}

/// How far raters agree on whether rules are kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// The raters.
    pub raters: Vec<String>,
    /// Answers that all of them read.
    pub answers: usize,
    /// The share of answers that each says to break the rules.
    pub breaks: Vec<f64>,
    /// Two raters by their numbers, and the share of answers of which they say the same.
    pub pairs: Vec<(usize, usize, f64)>,
    /// Fleiss' κ over keeping, breaking and unclear; missing where all say the same throughout.
    pub kappa: Option<f64>,
}
