//! Whether a profile of values makes a checkpoint comply with what it would else turn down.
//!
//! A profile gives each of Schwartz's ten values a score from 1 to 6 and stands before the request. What is read is how probable answers are
//! that begin by complying against such that begin by refusing. Profiles follow a Plackett–Burman design with foldover, so that the
//! effect of every value is free of those of the others and of what two of them do together.
//!
//! # Source
//! Choi et al. 2025 (arXiv 2506.06404); Plackett and Burman 1946. Differences from the study: beginnings are read from the logits and not
//! judged in texts; a balanced design in place of profiles of survey respondents; profiles are given in the prompt, or by adapters that
//! the user brings; a check that the profile was taken on, benign twins and profiles of colours.

mod design;
mod exhibits;
mod families;
mod findings;
#[cfg(test)]
mod made_up;
mod measure;
mod options;
mod plan;
mod survey;
mod tables;
#[cfg(test)]
mod tests;
mod unexplained;

use crate::suite::digest;
use crate::{
    About, Asked, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Readings, Settings, Show,
    Step, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::PromptKey;
pub use findings::{
    CategoryEffect, CheckpointFindings, Findings, Mitigation, ProfileFindings, RequestAsked,
    RequestFindings, Tested, ValueFindings,
};
pub use options::{Data, Group, Options, Value, Wordings};
use serde_json::{Map, json};
pub use survey::{Family as SurveyFamily, Respondents};

/// The name of the suite.
pub(crate) const SUITE: &str = "profiles";

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profiles;

static ABOUT: About = About {
    name: SUITE,
    summary: "whether a profile of values makes a checkpoint comply with what it would else turn down, by value and kind of request",
    rounds: "`requests` (every request after every profile), `portraits` (whether the profile was taken on)",
    needs: Needs::ONE
        .and("checkpoints with adapters of profiles are compared without a profile in the prompt"),
    limits: "how an answer begins is not what it goes on to say, and not how harmful it is. Requests are mild and the project's own. Toxicity, \
             regard and graded harm need judges, and are not measured",
};

impl Suite for Profiles {
    type Data = Data;
    type Options = Options;
    type Findings = Findings;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn options(&self) -> &'static [OptionSpec] {
        &options::SPECS
    }

    fn load(&self, given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
        options::load(given)
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
        include_str!("../../schema/profiles-findings.json")
    }

    fn table_specs(&self) -> &'static [TableSpec] {
        &tables::SPECS
    }

    fn answers(
        &self,
        data: &Data,
        options: &Options,
        read: &[CheckpointReadings],
    ) -> Result<Vec<LongTable>, SuiteError> {
        tables::answers(data, options, read)
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
        format!("only the first {limit} requests of each category were asked")
    }
}
