//! Scenarios that a checkpoint drafts for pairs of values, and that raters let through: more of what the suite `stress` asks.
//!
//! # Source
//! Zhang et al. 2025 (arXiv 2510.07686) let large models draft scenarios for pairs of values. Differences: any checkpoint drafts, and what it drafts
//! is kept only where it is well formed, is unlike what was kept before, and both values are seen in it by raters, more than a third one that
//! was drawn.

mod data;
mod exhibits;
mod measure;
mod plan;
mod tables;
#[cfg(test)]
mod tests;

use crate::suite::digest;
use crate::{
    About, Asked, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Rating, Readings, Settings,
    Show, Step, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::{PromptKey, PromptStyle};
pub use data::{Data, Draft, Options, Wordings};
pub use measure::{CheckpointFindings, Findings, Kept, RaterFindings};
use serde_json::{Map, json};

/// The name of the suite.
pub(crate) const SUITE: &str = "scenarios";

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scenarios;

static ABOUT: About = About {
    name: SUITE,
    summary: "drafts scenarios that set two values against each other, for the suite `stress`, and keeps those in which raters see both",
    rounds: "`drafts` (a request for each pair of values that was drawn), and which values raters see in each",
    needs: Needs::ONE.and("raters; without them each checkpoint reads its own drafts"),
    limits: "it measures nothing. What is kept is as good as the checkpoint that drafts and the raters that read: look at it before it is used",
};

impl Suite for Scenarios {
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

    fn is_rated(&self, _: &Options) -> Result<(), &'static str> {
        Ok(())
    }

    fn rate(
        &self,
        data: &Data,
        _: &Options,
        rater: PromptStyle,
        so_far: &Readings,
    ) -> Result<Vec<Rating>, SuiteError> {
        Ok(plan::ratings(data, rater, so_far))
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
        include_str!("../../schema/scenarios-findings.json")
    }

    fn table_specs(&self) -> &'static [TableSpec] {
        &tables::SPECS
    }

    fn tables(&self, findings: &Findings) -> Vec<LongTable> {
        tables::tables(findings)
    }

    fn exhibits(&self, findings: &Findings, _: Show) -> Vec<Exhibit> {
        exhibits::exhibits(findings)
    }

    fn warnings(&self, findings: &Findings) -> Vec<String> {
        exhibits::warnings(findings)
    }

    fn asked(&self, data: &Data, _: &Options) -> Asked {
        Asked {
            limit: None,
            digests: Map::from_iter([("data".to_owned(), json!(digest(&json!(data))))]),
        }
    }
}
