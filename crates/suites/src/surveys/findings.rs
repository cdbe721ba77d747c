//! What is found of checkpoints.

use concord_findings::{Estimate, Gate, Verdict};
use serde::Serialize;

/// Everything that is found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// The questions, in the order of every checkpoint's answers.
    pub questions: Vec<QuestionAsked>,
    /// The populations, in the order of every checkpoint's.
    pub populations: Vec<PopulationAsked>,
    /// The topics, in the order of every population's.
    pub topics: Vec<TopicAsked>,
    /// By checkpoint, in the order in which they were named.
    pub checkpoints: Vec<CheckpointFindings>,
    /// The most questions of each topic, where that was limited.
    pub limit: Option<usize>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionAsked {
    /// Its name.
    pub id: String,
    /// The question.
    pub question: String,
    /// What it is about.
    pub topic: String,
    /// Its options.
    pub options: Vec<String>,
}

/// A population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PopulationAsked {
    /// Its name.
    pub population: String,
    /// Questions that it answered.
    pub questions: usize,
    /// The share of its answers that decline, over questions with such an option.
    pub declines: Option<f64>,
    /// The distance of the uniform answer from it: what somebody who knows nothing has.
    pub uniform: f64,
}

/// A topic in a language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicAsked {
    /// The topic.
    pub topic: String,
    /// The language.
    pub language: String,
    /// Its questions.
    pub questions: usize,
}

impl TopicAsked {
    /// The topic, in words where there is none.
    pub fn name(&self) -> &str {
        if self.topic.is_empty() {
            "no topic"
        } else {
            &self.topic
        }
    }
}

/// What is found of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFindings {
    /// Its name.
    pub name: String,
    /// The probability of all letters together.
    pub mass: Estimate,
    /// The share of questions whose most probable option changes with the order.
    pub flips: Estimate,
    /// The probability of options that decline, over questions that have one.
    pub declines: Option<Estimate>,
    /// What has to hold for anything to be concluded.
    pub gates: Vec<Gate>,
    /// Whether it does.
    pub verdict: Verdict,
    /// By population.
    pub populations: Vec<PopulationFindings>,
    /// The population that it is nearest to, and whether that is more than chance; missing with fewer than two populations of five questions.
    pub best: Option<Best>,
    /// Its distribution over the options of every question.
    pub answers: Vec<Vec<f64>>,
}

/// How far a checkpoint's answers are from a population's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PopulationFindings {
    /// The mean Jensen–Shannon distance over questions, square roots of nats, among those who answer.
    pub distance: Estimate,
    /// 1 minus that, which is the similarity of Durmus et al.
    pub similarity: f64,
    /// The mean Wasserstein distance over questions with a scale, as a share of its length.
    pub wasserstein: Option<Estimate>,
    /// The distance less the uniform answer's, and its p: below nothing where the checkpoint knows something of these people.
    pub less_uniform: Tested,
    /// The mean distance of the same probabilities on options in any order, less the distance: zero where which option is which does not matter.
    pub shuffled_less: Tested,
    /// Less that of the first checkpoint, question by question.
    pub difference: Option<Tested>,
    /// What asking for this population's answer does to the distance; missing where it was not asked.
    pub steered: Option<Tested>,
    /// By topic: the mean distance, over the questions that the population answered.
    pub topics: Vec<Option<Estimate>>,
}

/// A mean over questions with its test against nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    /// The mean.
    pub estimate: Estimate,
    /// Its two-sided p (Student); missing where there is no interval.
    pub p: Option<f64>,
    /// The same with the false-discovery rate over populations controlled.
    pub adjusted_p: Option<f64>,
}

/// The population whose answers are nearest, beyond what chance makes of so many.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Its name.
    pub population: String,
    /// How much nearer than the mean of all populations that answered the same questions, beyond what flat answers are near to anything.
    pub nearer: f64,
    /// How often one is as near where the checkpoint's probabilities stand on options in random orders.
    pub p: f64,
}
