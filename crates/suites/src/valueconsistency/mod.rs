//! VALUECONSISTENCY: how far answers move across paraphrases, topics, answer formats and languages.
//!
//! # Source
//! Moore, Deshpande, Yang: "Are Large Language Models Consistent over Value-laden Questions?" (arXiv 2407.02996), code at
//! jlcmoore/ValueConsistency e088776. Differences from the study: whole distributions instead of the top five tokens, and both
//! option orders instead of one drawn at random.

mod abstention;
mod answers;
mod axis;
mod benched;
#[cfg(test)]
mod by_construction;
mod compare;
mod comparing;
mod consistency;
mod context;
mod data;
mod exhibits;
mod findings;
mod groups;
#[cfg(test)]
mod known_truth;
mod language;
mod languages;
pub mod name;
mod open;
mod options;
mod people;
mod plan;
mod portraits;
mod published;
mod raters;
mod robustness;
mod rows;
mod shown;
mod spread;
mod suite;
mod support;
#[cfg(test)]
mod synthetic;
mod tables;
mod topics;
mod verdict;

pub use crate::Settings;
pub use abstention::AbstentionFindings;
pub use answers::{
    Abstaining, AnswerTable, Answers, AnswersError, from_given, from_readings, layout,
};
pub use axis::Axis;
pub use benched::benched;
pub use compare::{
    Artefacts, Comparison, QuestionComparison, Side, Stratum, TopicComparison, compare,
};
pub use consistency::{ByGrouping, Cell, Cells, Consistency, MeasureError};
pub use context::Context;
pub use data::{Compared, Data, RunFindings};
pub use findings::{
    Controversy, FileFindings, Findings, Measured, QuestionCounts, TaskFormat, Validated, measure,
};
pub use languages::Multilingual;
pub use open::{Mark, OpenAnswers, PassageCounts, RaterAnswers, RaterTrust};
pub use people::{PersonAnswer, PersonAnswerError, people, respondents};
pub use plan::{Abstention, Format, Options, Orders, Passages, plan, plan_stances, plan_texts};
pub use portraits::{
    PortraitAnswer, PortraitAnswers, RankSummary, Steering, ValueSteering, steering,
};
pub use published::{Published, PublishedRow, PublishedSelection, PublishedTable, published};
pub use raters::{Agreement, OpenFindings, PairAgreement, RaterFindings};
pub use robustness::{Followed, Robustness, RowTrust, SpellingShare, TopFive, WordingEffect};
pub use suite::ValueConsistency;
pub use support::{FirstOption, Support, TopicRank, TopicSupport};
pub use verdict::{
    Aspect, Assessment, Change, Changed, CheckpointAssessment, Conclusion, FormatAssessment,
    Grouping, Moved, PairAssessment, Tested, assess,
};
