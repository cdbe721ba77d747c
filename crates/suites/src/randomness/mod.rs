//! How uniform the choices of a checkpoint are when it is asked for random ones.
//!
//! Probabilities are read exactly, so that no number here has a sampling error but where histories or texts are sampled; what
//! varies is the wording, and intervals run over wordings.
//!
//! # Source
//! West and Potts: "Base Models Beat Aligned Models at Randomness and Creativity" (arXiv 2505.00047). Differences from the
//! study: whole distributions instead of samples, own wordings in four languages, an opponent who knows the checkpoint's
//! distribution, a placebo, and diversity in place of creativity, which needs people.

mod chain;
mod diversity;
mod exhibits;
mod games;
mod languages;
#[cfg(test)]
mod made_up;
mod measure;
mod name;
mod options;
mod outcome;
mod placebo;
mod plan;
mod published;
mod sequences;
mod sets;
mod tables;
#[cfg(test)]
mod tests;
mod wordings;

use crate::{
    About, CheckpointReadings, Given, Loaded, Needs, OptionSpec, Readings, Settings, Show, Step,
    Subject, Suite, SuiteError,
};
pub use chain::{COMPARED, ChainFindings, Difference};
use concord_findings::{Exhibit, LongTable, TableSpec};
pub use diversity::{DiversityFindings, DiversityNumbers};
pub use games::{GameFindings, GameNumbers, RoundFindings};
pub use measure::{
    CheckpointFindings, Findings, Found, LanguageFindings, Quantities, Quantity, SetFindings,
    Summary, WordingFindings,
};
pub use name::{CARRIERS, Carrier, Histories, SUITE};
pub use options::{Data, Options};
pub use placebo::{Effect, LabelledWording, PlaceboFindings, PlaceboNumbers};
pub use published::{Published, PublishedTable, published};
pub use sequences::{Reference, SequenceFindings, SequenceNumbers};
pub use sets::{KINDS, Kind, Member, OwnData, Set};
pub use wordings::{Frame, Game, LANGUAGES, SequenceWording, Wording, Wordings};

/// The suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Randomness;

static ABOUT: About = About {
    name: SUITE,
    summary: "how uniform choices are when random ones are asked for: numbers, dice, coins, words, sequences, games",
    rounds: "`numbers` (choices from sets), `placebo` (numbers under labels), `uniform` (sequences after uniform histories), \
             `games` (the tree of rock-paper-scissors, and hide and seek), `own-1` to `own-10` (sequences after own numbers), \
             `game-N` (rounds after the tree), `poems` (written texts, only with --poems)",
    needs: Needs::ONE
        .and("several in order of training give a chain. Members must be in the vocabulary"),
    limits: "it says how probable each answer is as the next words, not what a sampler with a temperature or a filter gives. Wordings \
             are the project's own, not the study's. A free answer that reasons first has little valid mass and is not measured. \
             A text counts by how it begins: `A` before a space is read as the letter, also where it is an article. Diversity is \
             neither originality nor pleasantness, which need people. The opponent knows the checkpoint's distribution; people do not",
};

impl Suite for Randomness {
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
        include_str!("../../schema/randomness-findings.json")
    }

    fn table_specs(&self) -> &'static [TableSpec] {
        &tables::SPECS
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

    fn advice(&self, id: &str) -> Option<&'static str> {
        id.contains("games/rock")
            .then_some("ask for fewer rounds (--rounds) or a shallower tree (--depth)")
    }
}
