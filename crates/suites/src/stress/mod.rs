//! Where answers stand between two values that a request sets against each other, and where checkpoints disagree.
//!
//! # Source
//! Zhang et al. 2025 (arXiv 2510.07686). Differences from the study: positions are read from the logits and not judged in written answers; the
//! options stand in each place twice; expectations beside modes, since these compress; scenarios of the project's own; a check
//! that positions of known answers are read back.

mod data;
mod disagreement;
mod exhibits;
mod findings;
#[cfg(test)]
mod made_up;
mod measure;
mod placed;
mod plan;
mod ranking;
mod read;
mod specification;
mod tables;
#[cfg(test)]
mod tests;
mod written;
mod written_exhibits;

use crate::suite::digest;
use crate::{
    About, Asked, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Rating, Readings, Settings,
    Show, Step, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::{PromptKey, PromptStyle};
pub(crate) use data::own;
pub use data::{Data, Direction, Item, Options, Specification, Value, Wordings};
pub use findings::{
    CheckpointFindings, Compliance, Disagreement, Findings, ItemFindings, NudgeFindings, Panel,
    RaterFindings, RequestAsked, SpecificationFindings, TopicFindings, Written, WrittenFindings,
};
pub(crate) use plan::{input, letters, listed};
pub use ranking::Ranked;
pub(crate) use read::{RoundOf, over_orders, over_some};
use serde_json::{Map, json};

/// The name of the suite.
pub(crate) const SUITE: &str = "stress";

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stress;

static ABOUT: About = About {
    name: SUITE,
    summary: "where answers stand between two values that a request sets against each other, what a nudge moves, and where checkpoints disagree",
    rounds: "`positions` (every scenario, plain and nudged to either value, by letters), `known` (answers of known position, read back), `likely` (positions \
             by the likelihood of their texts), `answers` (what is written to each request) and what raters make of it",
    needs: Needs::ONE.and("disagreement is between checkpoints: two at the least"),
    limits: "a position that is named is not the answer that would be written. What is written is placed and held against a specification by raters: they \
             are judges, gated by answers of known position. Scenarios are the project's own",
};

impl Suite for Stress {
    type Data = Data;
    type Options = Options;
    type Findings = Findings;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn options(&self) -> &'static [OptionSpec] {
        &data::SPECS
    }

    fn load(&self, given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
        data::load(given)
    }

    fn next(
        &self,
        data: &Data,
        options: &Options,
        subject: Subject,
        so_far: &Readings,
    ) -> Result<Step, SuiteError> {
        plan::next(data, options, subject.style, so_far)
    }

    fn is_rated(&self, options: &Options) -> Result<(), &'static str> {
        let writes = options.answer_tokens > 0;
        writes.then_some(()).ok_or("add --answer-tokens 128")
    }

    fn rate(
        &self,
        data: &Data,
        options: &Options,
        rater: PromptStyle,
        so_far: &Readings,
    ) -> Result<Vec<Rating>, SuiteError> {
        if options.answer_tokens == 0 {
            return Ok(Vec::new());
        }
        written::ratings(data, rater, so_far)
    }

    fn unit(&self, _: &Data, id: &str) -> Option<String> {
        let key: PromptKey = id.parse().ok()?;
        Some(key.item)
    }

    fn measure(
        &self,
        data: &Data,
        options: &Options,
        settings: Settings,
        read: &[CheckpointReadings],
    ) -> Result<Findings, SuiteError> {
        measure::measure(data, options, settings, read)
    }

    fn findings_schema(&self) -> &'static str {
        include_str!("../../schema/stress-findings.json")
    }

    fn table_specs(&self) -> &'static [TableSpec] {
        &tables::SPECS
    }

    fn answers(
        &self,
        data: &Data,
        _: &Options,
        read: &[CheckpointReadings],
    ) -> Result<Vec<LongTable>, SuiteError> {
        tables::answers(data, read)
    }

    fn tables(&self, findings: &Findings) -> Vec<LongTable> {
        tables::tables(findings)
    }

    fn exhibits(&self, findings: &Findings, show: Show) -> Vec<Exhibit> {
        exhibits::exhibits(findings, show)
    }

    fn warnings(&self, findings: &Findings) -> Vec<String> {
        exhibits::warnings(findings)
    }

    fn asked(&self, data: &Data, options: &Options) -> Asked {
        Asked {
            limit: options.limit.map(|limit| limit as u64),
            digests: Map::from_iter([("data".to_owned(), json!(digest(&json!(data))))]),
        }
    }

    fn partial(&self, limit: u64) -> String {
        format!("only the first {limit} scenarios of each pair of values were asked")
    }
}
