//! How far answers are from those of people.
//!
//! Questions of surveys with the distribution of what each population answered: a checkpoint's exact distribution over the same options is
//! held against all of them.
//!
//! # Source
//! Durmus et al. 2023 (arXiv 2306.16388) for the measure and the form of their file. Differences from the study: distributions are read from
//! the logits in both orders of the options, and not in one; what declines is compared apart; intervals, the uniform answer and shuffled options
//! as placebos; which population is nearest has a test.

mod data;
mod exhibits;
mod findings;
mod literal;
mod measure;
mod nearest;
mod plan;
mod read;
mod tables;
#[cfg(test)]
mod tests;

use crate::suite::digest;
use crate::{
    About, Asked, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Readings, Settings, Show,
    Step, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::PromptKey;
pub use data::{Data, Options, People, Question, Wording};
pub use findings::{
    Best, CheckpointFindings, Findings, PopulationAsked, PopulationFindings, QuestionAsked, Tested,
    TopicAsked,
};
use serde_json::{Map, json};

/// The name of the suite.
pub(crate) const SUITE: &str = "surveys";

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surveys;

static ABOUT: About = About {
    name: SUITE,
    summary: "how far answers to survey questions are from those of populations, and which of them is nearest",
    rounds: "`answers` (every question, by letters in both orders), `steered` (as somebody of a population would answer)",
    needs: Needs::ONE,
    limits: "a distribution over options is not an opinion, and who is near to a population in it need not share its reasons. Shares of people are taken as \
             they are published, without their own sampling error. Questions and people are the user's: those that ship are made up",
};

impl Suite for Surveys {
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
        Ok(plan::next(data, options, subject.style, so_far))
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
        include_str!("../../schema/surveys-findings.json")
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
        format!("only the first {limit} questions of each topic were asked")
    }
}
