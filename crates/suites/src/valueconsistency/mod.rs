//! VALUECONSISTENCY: how far answers move across paraphrases, topics, answer formats and languages.
//!
//! # Source
//! Moore, Deshpande, Yang: "Are Large Language Models Consistent over Value-laden Questions?" (arXiv 2407.02996), code at
//! jlcmoore/ValueConsistency e088776. Differences from the study: whole distributions instead of the top five tokens, and both
//! option orders instead of one drawn at random.

mod answers;
mod compare;
mod findings;
mod groups;
mod plan;

pub use answers::{AnswerTable, Answers, AnswersError, Robustness, from_given, from_readings};
pub use compare::{Comparison, compare};
pub use findings::{
    Consistency, FileFindings, Findings, MeasureError, Measured, Multilingual, Settings,
    TaskFormat, measure,
};
pub use plan::{Form, Format, Options, Orders, plan, prompt_id};
