//! The study as a suite.

use super::answers::{AnswersError, from_readings};
use super::comparing;
use super::data::{Data, RunFindings};
use super::exhibits::exhibits;
use super::options::{OPTIONS, options, without_effect};
use super::plan::{Format, Options, plan, plan_stances, plan_texts};
use super::rows::rows;
use super::{MeasureError, name, tables};
use crate::shared::rating::by_text;
use crate::{
    About, Asked, CheckpointReadings, Comparing, Given, Loaded, Needs, OptionSpec, Part, QUESTIONS,
    Rating, Readings, Round, Settings, Show, Step, StoredFiles, Subject, Suite, SuiteError,
};
use concord_findings::{Exhibit, LongTable, TableSpec};
use concord_questions::{Chosen, QuestionSet, Stimuli};
use concord_readings::{PromptKey, PromptStyle};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::path::Path;

/// How far answers move across paraphrases, topics, answer formats and languages.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValueConsistency;

const ABOUT: About = About {
    name: name::SUITE,
    summary: "how far answers to value-laden questions move across paraphrases, topics, formats and languages",
    rounds: "what is read from logits at once; texts that checkpoints write (a sample, and passages where they are asked for); \
             what raters make of passages",
    needs: Needs::ONE.and("two for a comparison; raters for passages"),
    limits: "consistency is not correctness: a checkpoint that always says the same is consistent",
};

/// The file of a run that has the wording.
const STIMULI: &str = "stimuli.json";

impl Suite for ValueConsistency {
    type Data = Data;
    type Options = Options;
    type Findings = RunFindings;

    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn options(&self) -> &'static [OptionSpec] {
        &OPTIONS
    }

    fn load(&self, given: &Given) -> Result<Loaded<Data, Options>, SuiteError> {
        let set = selected(given)?;
        let stimuli = match given.path("stimuli") {
            Some(path) => Stimuli::load(&path)?,
            None => Stimuli::own()?,
        };
        let wordings = wordings(given, &stimuli)?;
        let options = options(given, &set);
        let notes = notes(given, &set, &wordings, &options);
        let data = Data {
            set,
            stimuli: Some(stimuli),
            wordings,
            limit: given.text("limit").map(|_| given.number("limit")),
            chosen: None,
        };
        Ok(Loaded {
            data,
            options,
            notes,
        })
    }

    fn next(
        &self,
        data: &Data,
        options: &Options,
        subject: Subject,
        so_far: &Readings,
    ) -> Result<Step, SuiteError> {
        if so_far.round(name::READINGS).is_none() {
            let (set, stimuli, style) = (&data.set, data.stimuli()?, subject.style);
            let round = |name: &str, prompts| Round {
                name: name.to_owned(),
                prompts,
            };
            let prompts = plan(set, stimuli, &data.wordings, style, options)?;
            let texts = plan_texts(set, stimuli, style, options)?;
            let mut rounds = vec![round(name::READINGS, prompts)];
            if !texts.is_empty() {
                rounds.push(round(name::TEXTS, texts));
            }
            return Ok(Step::Ask(rounds));
        }
        let is_rated = so_far.ratings(name::STANCES).is_some();
        Ok(if options.has(Format::Open) && !is_rated {
            Step::Rate(name::STANCES)
        } else {
            Step::Done
        })
    }

    fn is_rated(&self, options: &Options) -> Result<(), &'static str> {
        let open = options.has(Format::Open);
        open.then_some(()).ok_or("add --formats letter,cloze,open")
    }

    fn rate(
        &self,
        data: &Data,
        options: &Options,
        rater: PromptStyle,
        so_far: &Readings,
    ) -> Result<Vec<Rating>, SuiteError> {
        let Some(texts) = so_far
            .round(name::TEXTS)
            .filter(|_| options.has(Format::Open))
        else {
            return Ok(Vec::new());
        };
        let prompts = plan_stances(&data.set, data.stimuli()?, rater, options, texts)?;
        Ok(by_text(prompts, name::text_of))
    }

    /// The original in English, so that phrasings, orders and translations stay together.
    fn unit(&self, data: &Data, id: &str) -> Option<String> {
        let key: PromptKey = id.parse().ok()?;
        let (file, row) = key.item.rsplit_once('/')?;
        let row: usize = row.parse().ok()?;
        let found = data.set.files.iter().find(|known| known.name == file);
        let question = found.and_then(|file| file.questions.get(row));
        Some(match question {
            Some(question) => {
                let original = question.original_english.as_ref();
                original.unwrap_or(&question.original).clone()
            }
            // A portrait.
            None => key.item,
        })
    }

    fn measure(
        &self,
        data: &Data,
        options: &Options,
        settings: Settings,
        read: &[CheckpointReadings],
    ) -> Result<RunFindings, SuiteError> {
        let all = Chosen::all();
        let chosen = data.chosen.as_ref().unwrap_or(&all);
        let answers = read
            .par_iter()
            .map(|read| from_readings(&data.set, options, &read.readings, chosen));
        let mut answers = answers.collect::<Result<Vec<_>, _>>()?;
        let names = read.iter().map(|read| read.name.clone()).collect();
        if data.chosen.is_none() {
            let set = data.set.clone();
            return Ok(RunFindings::of_answers(set, names, answers, settings)?);
        }
        let mut set = data.set.clone();
        set.keep(chosen);
        for answers in &mut answers {
            answers.keep(&set, chosen);
        }
        Ok(RunFindings::of_answers(set, names, answers, settings)?)
    }

    fn findings_schema(&self) -> &'static str {
        include_str!("../../schema/valueconsistency-findings.json")
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
        Ok(rows(data, options, read)?)
    }

    fn tables(&self, findings: &RunFindings) -> Vec<LongTable> {
        tables::tables(findings)
    }

    fn exhibits(&self, findings: &RunFindings, show: Show) -> Vec<Exhibit> {
        exhibits(findings, show)
    }

    fn warnings(&self, findings: &RunFindings) -> Vec<String> {
        let compared = findings.compared.iter().flat_map(|all| &all.differences);
        let mut warnings: Vec<String> = compared.map(|found| format!("note: {found}")).collect();
        for (name, measured) in findings.names.iter().zip(&findings.measured) {
            let raters = measured.findings.open.iter().flat_map(|open| &open.raters);
            for (rater, found) in raters.filter(|(_, found)| found.doubtful) {
                warnings.push(format!(
                    "{name}: rater {rater}: label mass {:.2} < 0.5: its ratings are unreliable",
                    found.trust.label_mass
                ));
            }
        }
        warnings
    }

    fn asked(&self, data: &Data, _: &Options) -> Asked {
        let wordings = data.wordings.iter();
        let wordings = wordings
            .map(|wording| json!({ "name": wording.wording(), "digest": wording.digest() }));
        let stimuli = data
            .stimuli
            .as_ref()
            .map(|stimuli| json!({ "name": stimuli.wording(), "digest": stimuli.digest() }));
        let digests = [
            (
                "questions",
                json!({ "count": data.set.len(), "digest": data.set.digest() }),
            ),
            ("stimuli", json!(stimuli)),
            ("wordings", wordings.collect()),
        ];
        let digests = digests.map(|(key, value)| (key.to_owned(), value));
        Asked {
            limit: data.limit,
            digests: digests.into_iter().collect(),
        }
    }

    fn partial(&self, limit: u64) -> String {
        format!("only the first {limit} of the originals of each country were asked")
    }

    fn files(&self, data: &Data) -> Vec<(&'static str, Value)> {
        let stimuli = data.stimuli.as_ref().map(Stimuli::table);
        vec![(QUESTIONS, json!(data.set)), (STIMULI, json!(stimuli))]
    }

    fn reopen(&self, files: &StoredFiles) -> Result<Data, SuiteError> {
        let set: QuestionSet = files.parse(QUESTIONS)?;
        if let Some(problem) = set.problem() {
            return Err(StoredFiles::damaged(QUESTIONS, &problem));
        }
        let table: Option<Map<String, Value>> = if files.0.contains_key(STIMULI) {
            files.parse(STIMULI)?
        } else {
            None
        };
        Ok(Data {
            stimuli: table.map(|table| Stimuli::stored("the run's wording", table)),
            ..Data::of(set)
        })
    }

    fn renamed(&self, id: &str) -> Option<String> {
        name::of_before(id)
    }

    fn advice(&self, id: &str) -> Option<&'static str> {
        let is_worded = name::wording_of(id).is_some();
        is_worded.then_some("--robustness-sample 0 leaves the questions in other words out")
    }

    fn select(
        &self,
        data: &mut Data,
        _: &Options,
        conditions: &[String],
    ) -> Result<Option<String>, SuiteError> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let chosen = data.choose(conditions)?;
        let mut kept = data.set.clone();
        kept.keep(&chosen);
        data.chosen = Some(chosen);
        Ok(Some(format!(
            "{} of {} questions, where {}",
            kept.len(),
            data.set.len(),
            conditions.join(" and ")
        )))
    }

    fn compare(
        &self,
        parts: &[Part<'_, Data, Options>],
        how: &Comparing<'_>,
        settings: Settings,
    ) -> Result<RunFindings, SuiteError> {
        comparing::compare(parts, how, settings)
    }
}

/// The questions that are asked.
fn selected(given: &Given) -> Result<QuestionSet, SuiteError> {
    let mut set = match given.all("questions") {
        [] => concord_questions::demo()?,
        paths => concord_questions::load_all(paths)?,
    };
    let languages = given.all("languages");
    if !languages.is_empty() {
        let languages: Vec<String> = languages.iter().map(|l| l.trim().to_owned()).collect();
        let known = set.languages();
        if let Some(unknown) = languages.iter().find(|language| !known.contains(language)) {
            let help = format!("there are {}", known.join(", "));
            let message = format!("no questions in the language `{unknown}`");
            return Err(SuiteError::usage(message, help));
        }
        set.keep_languages(&languages);
    }
    let conditions = given.all("where");
    if !conditions.is_empty() {
        let data = Data::of(set);
        let chosen = data.choose(conditions)?;
        set = data.set;
        set.keep(&chosen);
    }
    if given.text("limit").is_some() {
        set.keep_first_originals(given.number("limit"));
    }
    if set.is_empty() {
        let message = "there is no question to ask (PVQ items alone are not a study yet)";
        return Err(SuiteError::data(message, "add question files"));
    }
    Ok(set)
}

/// Other wordings that a sample is asked in: the project's own, the same in other words, and those that are named.
fn wordings(given: &Given, main: &Stimuli) -> Result<Vec<Stimuli>, SuiteError> {
    let mut wordings = vec![Stimuli::own()?, Stimuli::paraphrased()?];
    for path in given.all("extra-wording") {
        wordings.push(Stimuli::load(Path::new(path))?);
    }
    wordings.retain(|wording| wording.digest() != main.digest());
    for (index, wording) in wordings.iter().enumerate() {
        let name = wording.wording();
        let mut before = wordings[..index].iter();
        if before.any(|other| other.wording() == name) {
            let message = format!("two wordings are called `{name}`");
            return Err(SuiteError::usage(message, "rename one of the files"));
        }
    }
    Ok(wordings)
}

/// What the user should know before anything is asked.
fn notes(given: &Given, set: &QuestionSet, wordings: &[Stimuli], options: &Options) -> Vec<String> {
    let mut notes = without_effect(given, options);
    let own = given.text("questions").is_some();
    if !own {
        notes.push("No --questions given: asking the embedded demo questions.".to_owned());
    }
    let letters = options.has(Format::Letter);
    if set.pvq.is_empty() && letters && !given.is_typed("no-steering") && own {
        notes.push(
            "No portraits (pvq_LANGUAGE.jsonl) among the questions: steering is not measured."
                .to_owned(),
        );
    }
    for wording in wordings.iter().filter(|_| options.sampled > 0) {
        let mut silent = set.languages();
        silent.retain(|language| !wording.asks_letters_in(language));
        if !silent.is_empty() {
            let languages = silent.join(", ");
            notes.push(format!(
                "wording `{}` has no stimuli in {languages}: questions in that language are skipped",
                wording.wording()
            ));
        }
    }
    if !set.unread.is_empty() {
        let unread = set.unread.join(", ");
        notes.push(format!("Not read of the questions' folder: {unread}."));
    }
    notes
}

impl From<AnswersError> for SuiteError {
    fn from(error: AnswersError) -> Self {
        if let AnswersError::Reading(error) = error {
            return error.into();
        }
        let help = "answers are p(supports) for every row of a question file, in file order";
        Self::data(error.to_string(), help)
    }
}

impl From<MeasureError> for SuiteError {
    fn from(error: MeasureError) -> Self {
        let help = match error {
            MeasureError::Centroid { .. } => {
                "questions that are compared need the same stances among their answers"
            }
            MeasureError::TooManyGroups { .. } => {
                "see that each phrasing of a question stands there once in each language"
            }
        };
        Self::data(error.to_string(), help)
    }
}
