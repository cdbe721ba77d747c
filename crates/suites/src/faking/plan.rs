//! Every condition and its prompts.

use super::SUITE;
use super::options::{Data, LabelSet, Options, Wordings};
use crate::shared::requests::Pair;
use crate::{CheckpointReadings, Readings, Round, Step, SuiteError};
use concord_readings::{Form, Input, Message, Prompt, PromptKey, Read, Role, Sampling};

/// The round of decisions, and those of scratchpads and of what follows them.
pub(crate) const DECISIONS: &str = "decisions";
pub(crate) const NOTES: &str = "notes";
pub(crate) const AFTER_NOTES: &str = "after-notes";

/// The words of a decision.
pub(crate) const WORDS: [&str; 2] = ["accept", "reject"];

/// The longest scratchpad that is written, in tokens.
const NOTE_TOKENS: usize = 80;

/// Orders: of the words in the instruction, crossed with that of the labels in the statement, so that who goes by the first of both is
/// no different from who goes by neither.
pub(crate) const ORDERS: usize = 4;

/// What is said about labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Which one is trained on.
    Trained,
    /// The same about something that does not matter.
    Removed,
}

/// What training is said to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Objective {
    Helpful,
    Harmless,
}

impl Told {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trained => "trained",
            Self::Removed => "removed",
        }
    }
}

impl Objective {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Helpful => "helpful",
            Self::Harmless => "harmless",
        }
    }
}

/// A condition with labels: four cells of label and meaning, in four orders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Condition {
    /// The label set.
    pub set: String,
    pub told: Told,
    pub objective: Objective,
    /// Another way to ask; empty for the plain one.
    pub variant: String,
    /// Whether the twins are asked.
    pub twin: bool,
}

impl Condition {
    /// The plain one of a set.
    pub fn plain(set: &str) -> Self {
        Self {
            set: set.to_owned(),
            told: Told::Trained,
            objective: Objective::Helpful,
            variant: String::new(),
            twin: false,
        }
    }
}

/// One of the four cells: which label the conversation has, and which is said to be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// 0 for the first label, 1 for the second.
    pub label: usize,
    /// The same of the label that is trained on.
    pub trained: usize,
}

/// The cells: the first label trained on and not, and the second.
pub(crate) const CELLS: [Cell; 4] = [
    Cell {
        label: 0,
        trained: 0,
    },
    Cell {
        label: 1,
        trained: 0,
    },
    Cell {
        label: 0,
        trained: 1,
    },
    Cell {
        label: 1,
        trained: 1,
    },
];

/// The conditions of a study, the plain ones of each set first.
pub(crate) fn conditions(options: &Options) -> Vec<Condition> {
    let mut all = Vec::new();
    for set in &options.sets {
        let plain = Condition::plain(set);
        all.push(plain.clone());
        all.push(Condition {
            told: Told::Removed,
            ..plain.clone()
        });
        all.push(Condition {
            objective: Objective::Harmless,
            ..plain.clone()
        });
        all.push(Condition {
            twin: true,
            ..plain
        });
    }
    if let Some(first) = options.sets.first() {
        all.extend(options.variants.iter().map(|variant| Condition {
            variant: variant.clone(),
            ..Condition::plain(first)
        }));
    }
    all
}

/// The name of a prompt; without a condition it is asked without labels.
pub(crate) fn id(
    (family, number): (&str, usize),
    asked: Option<(&Condition, Cell)>,
    order: usize,
) -> String {
    let key =
        PromptKey::new(SUITE, format!("{family}/{number}")).with("order", (order + 1).to_string());
    let Some((condition, cell)) = asked else {
        return key.to_string();
    };
    let side = |side: usize| if side == 0 { "first" } else { "second" };
    let mut key = key
        .with("labels", &condition.set)
        .with("label", side(cell.label))
        .with("trained", side(cell.trained))
        .with("told", condition.told.name())
        .with("objective", condition.objective.name());
    if !condition.variant.is_empty() {
        key = key.with("variant", &condition.variant);
    }
    if condition.twin {
        key = key.with("asked", "twin");
    }
    key.to_string()
}

/// A label set by its name.
fn set<'a>(wordings: &'a Wordings, name: &str) -> Result<&'a LabelSet, SuiteError> {
    let found = wordings.sets.iter().find(|set| set.name == name);
    found.ok_or_else(|| SuiteError::data(format!("there are no labels `{name}`"), "repeat the run"))
}

/// What is said before the request, and the request with its label.
fn said(
    data: &Data,
    ask: &str,
    asked: Option<(&Condition, Cell)>,
    order: usize,
) -> Result<(String, String), SuiteError> {
    let wordings = &data.wordings;
    let missing =
        |what: &str| SuiteError::data(format!("there is no wording of `{what}`"), "repeat the run");
    let of = |objective: Objective| {
        let found = wordings.objective.get(objective.name());
        found.cloned().ok_or_else(|| missing(objective.name()))
    };
    let mut parts = vec![wordings.role.clone(), wordings.format[order % 2].clone()];
    let Some((condition, cell)) = asked else {
        parts.push(of(Objective::Helpful)?);
        return Ok((parts.join(" "), ask.to_owned()));
    };
    parts.push(of(condition.objective)?);
    let labels = &set(wordings, &condition.set)?.labels;
    let told = match condition.told {
        Told::Trained => &wordings.trained,
        Told::Removed => &wordings.removed,
    };
    let filled = |sentence: &String| {
        let sentence = sentence.replace("{yes}", &labels[cell.trained]);
        sentence.replace("{no}", &labels[1 - cell.trained])
    };
    let mut told = told.each_ref().map(filled);
    // The label that is trained on is named first in half of the orders.
    if order >= 2 {
        told.reverse();
    }
    parts.extend(told);
    if let Some(framing) = wordings.framings.get(&condition.variant) {
        parts.push(framing.clone());
    }
    let group = wordings.group.replace("{label}", &labels[cell.label]);
    Ok((parts.join(" "), format!("{group}\n\n{ask}")))
}

/// A prompt's input: what is said, and the beginning of the answer.
fn input(
    wordings: &Wordings,
    form: Form,
    variant: &str,
    (before, ask): (String, String),
    begun: String,
) -> Input {
    let user = |text: String| Message::new(Role::User, text);
    match form {
        Form::Completion => Input::Text(format!("{before}\n\n{ask}\n\n{begun}")),
        Form::Chat => Input::Prefilled {
            messages: match variant {
                "user" => vec![user(format!("{before}\n\n{ask}"))],
                "turns" => vec![
                    user(before),
                    Message::new(Role::Assistant, wordings.understood.clone()),
                    user(ask),
                ],
                _ => vec![Message::new(Role::System, before), user(ask)],
            },
            prefill: begun,
        },
    }
}

/// Both words, as they are tokenised after what begins a decision.
fn decision() -> Vec<Read> {
    let text = |word: &str| format!(" {word}");
    WORDS
        .map(|word| Read::Continuation { text: text(word) })
        .to_vec()
}

/// Every request, with its family and number.
pub(crate) fn requests(data: &Data) -> impl Iterator<Item = ((&str, usize), &Pair)> {
    data.families.iter().flat_map(|family| {
        let numbered = (1..).zip(&family.requests);
        numbered.map(|(number, pair)| ((family.name.as_str(), number), pair))
    })
}

/// What a condition asks: the request, or its twin where it has one.
pub(crate) fn asked<'a>(pair: &'a Pair, condition: Option<&Condition>) -> Option<&'a str> {
    match condition {
        Some(condition) if condition.twin => pair.twin.as_deref(),
        _ => Some(&pair.ask),
    }
}

/// Whether a checkpoint was asked under a condition: some are not asked in completion form.
pub(crate) fn was_asked(data: &Data, of: &CheckpointReadings, condition: &Condition) -> bool {
    let first = requests(data).next();
    let Some((name, _)) = first else { return false };
    let id = id(name, Some((condition, CELLS[0])), 0);
    let rounds = [DECISIONS, AFTER_NOTES].into_iter();
    rounds
        .filter_map(|round| of.readings.round(round))
        .any(|round| round.contains_key(&id))
}

/// The prompts of a round. `notes` gives the scratchpad that was written under a name.
fn prompts(
    data: &Data,
    options: &Options,
    form: Form,
    round: &str,
    notes: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Prompt>, SuiteError> {
    let wordings = &data.wordings;
    let all = conditions(options);
    let mut prompts = Vec::new();
    for (name, pair) in requests(data) {
        for order in 0..ORDERS {
            if round == DECISIONS && order < 2 {
                prompts.push(Prompt {
                    id: id(name, None, order),
                    input: input(
                        wordings,
                        form,
                        "",
                        said(data, &pair.ask, None, order)?,
                        wordings.begun.clone(),
                    ),
                    reads: decision(),
                });
            }
            for condition in &all {
                let is_written = condition.variant == "written";
                let is_elsewhere = ["user", "turns"].contains(&condition.variant.as_str());
                // Where there are no turns, there is one place alone.
                if is_written == (round == DECISIONS) || is_elsewhere && form == Form::Completion {
                    continue;
                }
                let Some(ask) = asked(pair, Some(condition)) else {
                    continue;
                };
                for cell in CELLS {
                    let asked = Some((condition, cell));
                    let id = id(name, asked, order);
                    let begun = match condition.variant.as_str() {
                        "scratchpad" => format!("{}\n{}", wordings.scratchpad, wordings.begun),
                        "written" if round == NOTES => wordings.notes.clone(),
                        "written" => {
                            let Some(note) = notes(&id) else { continue };
                            format!("{}{}\n{}", wordings.notes, note.trim_end(), wordings.begun)
                        }
                        _ => wordings.begun.clone(),
                    };
                    let said = said(data, ask, asked, order)?;
                    prompts.push(Prompt {
                        input: input(wordings, form, &condition.variant, said, begun),
                        reads: if round == NOTES {
                            vec![Read::Generation(Sampling {
                                max_tokens: NOTE_TOKENS,
                                temperature: 1.0,
                                top_p: 1.0,
                                seed: options.seed,
                                stop: vec![wordings.begun.clone()],
                            })]
                        } else {
                            decision()
                        },
                        id,
                    });
                }
            }
        }
    }
    Ok(prompts)
}

/// What to do next.
pub(crate) fn next(
    data: &Data,
    options: &Options,
    form: Form,
    so_far: &Readings,
) -> Result<Step, SuiteError> {
    let none = |_: &str| None;
    let round = |name: &str, prompts: Vec<Prompt>| Round {
        name: name.to_owned(),
        prompts,
    };
    let writes = options.variants.iter().any(|variant| variant == "written");
    if so_far.round(DECISIONS).is_none() {
        let mut rounds = vec![round(
            DECISIONS,
            prompts(data, options, form, DECISIONS, &none)?,
        )];
        if writes {
            rounds.push(round(NOTES, prompts(data, options, form, NOTES, &none)?));
        }
        return Ok(Step::Ask(rounds));
    }
    if writes && so_far.round(AFTER_NOTES).is_none() {
        let written = |id: &str| {
            let reading = so_far.round(NOTES)?.get(id)?;
            Some(reading.generation()?.text.clone())
        };
        let after = prompts(data, options, form, AFTER_NOTES, &written)?;
        return Ok(Step::Ask(vec![round(AFTER_NOTES, after)]));
    }
    Ok(Step::Done)
}
