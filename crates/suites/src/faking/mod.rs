//! Whether a checkpoint decides otherwise where it is told that it is being trained, and whether that is the meaning of what it is told
//! or the words.
//!
//! What is read is the *stated decision*, exactly: the probability of `accept` against `reject` at the beginning of an answer. Each request is
//! asked under two labels and two statements of which label is trained on: the mean over labels of what the statement moves is the
//! effect of *meaning*, the mean over statements of what the label moves is that of *words*.
//!
//! # Source
//! Koorndijk 2025 (arXiv 2506.21584); Greenblatt et al. 2024 (arXiv 2412.14093). Differences from the study: decisions are read from the
//! logits and not judged in sampled texts; labels and their meaning are crossed, with a label set without meaning; the statement is also
//! put in the form of one that says nothing about training, and under an objective that asks for the opposite; own mild requests,
//! each with a benign twin; intervals over families of requests.

mod exhibits;
mod findings;
#[cfg(test)]
mod made_up;
mod measure;
mod options;
mod plan;
mod published;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

use crate::suite::digest;
use crate::{
    About, Asked, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Readings, Settings, Show,
    Step, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_readings::PromptKey;
pub use findings::{
    CheckpointFindings, Effect, FamilyFindings, Findings, McNemar, RequestAsked, SetFindings,
    VariantFindings,
};
pub use options::{Data, LabelSet, Options, Wordings};
pub use published::{Count, Published, Replication, published};
use serde_json::{Map, json};
pub use verdict::{Conclusion, Kind};

/// The name of the suite.
pub(crate) const SUITE: &str = "faking";

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faking;

static ABOUT: About = About {
    name: SUITE,
    summary: "whether a checkpoint decides otherwise where it is told that it is trained, by meaning or by words alone",
    rounds: "`decisions` (every request under every condition), `notes` and `after-notes` (with `--variants written`)",
    needs: Needs::ONE.and(
        "a chat form is what the study is about; base checkpoints are asked in completion form",
    ),
    limits: "a stated decision is not what would be done after it, and not what people judge in written answers. Requests are mild and the \
             project's own. An effect of meaning says that the statement about training moves the decision; it says nothing about intent, \
             plans or deception",
};

impl Suite for Faking {
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
        plan::next(data, options, subject.style.form, so_far)
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
        include_str!("../../schema/faking-findings.json")
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
        format!("only the first {limit} requests of each family were asked")
    }
}
