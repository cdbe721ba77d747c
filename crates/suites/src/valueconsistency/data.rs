//! What is asked about, and what is found about several checkpoints.

use super::{
    Answers, Assessment, Comparison, Context, MeasureError, Measured, Side, assess, compare,
    measure,
};
use crate::{Settings, SuiteError};
use concord_questions::{Chosen, Condition, QuestionSet, Stimuli};
use rayon::prelude::*;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// Questions, and the wordings that they are asked in. Stored as the questions, with the wording in a file of its own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data {
    /// The questions.
    pub set: QuestionSet,
    /// The wording; absent in runs that did not store it.
    #[serde(skip)]
    pub stimuli: Option<Stimuli>,
    /// Other wordings that a sample is asked in.
    #[serde(skip)]
    pub wordings: Vec<Stimuli>,
    /// How many originals of each country were kept, where that was limited.
    #[serde(skip)]
    pub limit: Option<u64>,
    /// The questions that are measured, where they are not all.
    #[serde(skip)]
    pub chosen: Option<Chosen>,
}

impl Data {
    /// Of a set, in no wording.
    pub fn of(set: QuestionSet) -> Self {
        Self {
            set,
            stimuli: None,
            wordings: Vec::new(),
            limit: None,
            chosen: None,
        }
    }

    /// The wording.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] where a run does not have it.
    pub(super) fn stimuli(&self) -> Result<&Stimuli, SuiteError> {
        let missing = || SuiteError::usage("the run does not have its wording", "run it again");
        self.stimuli.as_ref().ok_or_else(missing)
    }

    /// The questions that every condition chooses.
    ///
    /// # Errors
    /// [`SuiteError::Usage`] for a condition that is none, or where nothing is chosen.
    pub fn choose(&self, conditions: &[String]) -> Result<Chosen, SuiteError> {
        let conditions = conditions.iter().map(|text| {
            let help = "see `concord measure --help`";
            Condition::parse(text).map_err(|problem| SuiteError::usage(problem, help))
        });
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        if conditions.is_empty() {
            return Ok(Chosen::all());
        }
        let chosen = self
            .set
            .choose(|file, question| conditions.iter().all(|one| one.chooses(file, question)));
        if chosen.is_empty() {
            let help = "see `concord questions check` for languages, countries and topics";
            return Err(SuiteError::usage("no question is selected", help));
        }
        Ok(chosen)
    }
}

/// What was found about the checkpoints of a run, or of several, and what it was found from.
#[derive(Clone, Debug)]
pub struct RunFindings {
    /// The questions that were measured.
    pub set: QuestionSet,
    /// What each checkpoint answered.
    pub answers: Vec<Answers>,
    /// Who can be measured, what differs, and what follows.
    pub assessment: Assessment,
    /// The checkpoints, the first of which is the base of comparisons.
    pub names: Vec<String>,
    /// What was found about each.
    pub measured: Vec<Measured>,
    /// How each after the first differs from it.
    pub comparisons: Vec<Vec<Comparison>>,
    /// What was compared, where the checkpoints are of several runs.
    pub compared: Option<Compared>,
}

/// What of several runs was compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Questions that all runs asked.
    pub questions: usize,
    /// Questions of each checkpoint's run that are left out.
    pub left_out: Vec<(String, usize)>,
    /// In what the runs differ.
    pub differences: Vec<String>,
}

impl RunFindings {
    /// Measures answers of several checkpoints to one set of questions.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn of_answers(
        set: QuestionSet,
        names: Vec<String>,
        answers: Vec<Answers>,
        settings: Settings,
    ) -> Result<Self, MeasureError> {
        let context = Context::new(&set, settings);
        let assessment = assess(&set, &names, &answers, &context)?;
        let measured = answers
            .par_iter()
            .map(|answers| measure(&set, answers, &context))
            .collect::<Result<Vec<_>, _>>()?;
        let sides: Vec<Side<'_>> = answers
            .iter()
            .zip(&measured)
            .map(|(answers, measured)| Side { answers, measured })
            .collect();
        let others = sides.get(1..).unwrap_or_default();
        // What cannot be measured is compared with nothing.
        let is_measurable = |at: usize| assessment.checkpoints[at].is_measurable();
        let comparisons = others
            .par_iter()
            .enumerate()
            .map(|(at, second)| {
                if is_measurable(0) && is_measurable(at + 1) {
                    compare(&set, sides[0], *second, &context)
                } else {
                    Ok(Vec::new())
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            set,
            answers,
            assessment,
            names,
            measured,
            comparisons,
            compared: None,
        })
    }
}

/// How a checkpoint differs from the first.
#[derive(Serialize)]
struct Against<'a> {
    first: &'a str,
    second: &'a str,
    measures: &'a [Comparison],
}

/// How many questions were compared.
#[derive(Serialize)]
struct Counts<'a> {
    compared: usize,
    #[serde(serialize_with = "as_map")]
    left_out: &'a [(String, usize)],
}

fn as_map<S: Serializer>(pairs: &[(String, usize)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, count)| (name, count)))
}

impl Serialize for RunFindings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Models<'a>(&'a RunFindings);
        impl Serialize for Models<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let models = self.0.names.iter().zip(&self.0.measured);
                serializer.collect_map(models.map(|(name, found)| (name, &found.findings)))
            }
        }
        let second = self.comparisons.iter().zip(self.names.iter().skip(1));
        let comparisons: Vec<Against<'_>> = second
            .map(|(measures, second)| Against {
                first: &self.names[0],
                second,
                measures,
            })
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verdict", &self.assessment)?;
        map.serialize_entry("models", &Models(self))?;
        map.serialize_entry("comparisons", &comparisons)?;
        if let Some(compared) = &self.compared {
            let counts = Counts {
                compared: compared.questions,
                left_out: &compared.left_out,
            };
            map.serialize_entry("questions", &counts)?;
            map.serialize_entry("differences", &compared.differences)?;
        }
        map.end()
    }
}
