//! What is shown: the same list in a terminal and on a page.

use crate::{Estimate, Measure, Verdict};

/// Something to look at. A terminal shows tables, strips, matrices and notes; a page draws figures and puts the tables beneath.
#[derive(Clone, Debug, PartialEq)]
pub enum Exhibit {
    /// What a run comes to. Stands first, and once.
    Summary(Summary),
    /// What was measured of each checkpoint, and how those after the first differ from it.
    Levels(Levels),
    /// What can be trusted.
    Checks(Checks),
    /// Topics, or whatever answers are grouped by, to be sorted and searched.
    Topics(Topics),
    /// Every answer, to be looked up. A page alone shows it.
    Answers(Box<AnswerBook>),
    /// Begins a part of a page.
    Heading(String),
    /// A sentence on what is measured, before it is shown.
    Lead(String),
    /// Fine print, which stands with the tables. Lines as they should stand, with line ends.
    Note(String),
    /// Cells of text.
    Table(Table),
    /// Estimates with intervals.
    Forest(Forest),
    /// Numbers by row and column.
    Matrix(Matrix),
    /// Distributions, a row of bars each.
    Strip(Strip),
    /// Profiles around a circle.
    Radar(Radar),
}

/// Cells of text under a header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows; absent where the header says so.
    pub title: Option<String>,
    /// Names of columns.
    pub header: Vec<String>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

/// A row of a forest: a label, and an estimate for each series.
pub type Row = (String, Vec<Option<Estimate>>);

/// A forest plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// What it shows.
    pub title: String,
    /// What its axis counts.
    pub measure: Measure,
    /// Whether its numbers are differences of the measure.
    pub of_differences: bool,
    /// Names of the series.
    pub series: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A matrix of numbers, drawn as a heat map.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// What it shows.
    pub title: String,
    /// What its numbers count.
    pub measure: Measure,
    /// Names of columns.
    pub columns: Vec<String>,
    /// Rows: a name, and a number for each column.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Distributions over the same categories, each a row of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    /// What it shows.
    pub title: String,
    /// What the bars count.
    pub measure: Measure,
    /// What a bar is of.
    pub categories: Vec<String>,
    /// Rows: a name, and a bar for each category.
    pub rows: Vec<(String, Vec<f64>)>,
    /// A line to hold bars against, such as the uniform probability.
    pub reference: Option<f64>,
}

/// Profiles around a circle.
#[derive(Clone, Debug, PartialEq)]
pub struct Radar {
    /// What it shows.
    pub title: String,
    /// Names of the spokes.
    pub spokes: Vec<String>,
    /// A name and a value for each spoke, between 0 and 1.
    pub series: Vec<(String, Vec<f64>)>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// As it should be.
    Good,
    /// To be kept in mind.
    Doubtful,
    /// So that nothing can be concluded.
    Bad,
}

/// What a run comes to, in sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The checkpoints in order, and whether they could be measured. Those that could not are faded wherever they stand.
    pub checkpoints: Vec<(String, Verdict)>,
    /// How much was asked: `8,005 questions`, `335 topics`, `4 languages`.
    pub scope: Vec<String>,
    /// What a limit left out; nothing where all was asked.
    pub partial: Option<String>,
    /// The verdict, most important sentence first.
    pub sentences: Vec<String>,
    /// What speaks against it, worst first.
    pub warnings: Vec<(Mark, String)>,
}

/// Levels by measure and checkpoint on one axis, with paired differences from the first checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// What it shows.
    pub title: String,
    /// What its axis counts.
    pub measure: Measure,
    /// What the ends of the axis mean, in a line.
    pub legend: String,
    /// How far it reaches.
    pub axis: Axis,
    /// What stands beside levels is called: `published`, `placebo`.
    pub beside: &'static str,
    /// What a row says of a checkpoint that is measurable and yet not in that row, such as `not taken on`.
    pub faded: &'static str,
    /// The checkpoints.
    pub checkpoints: Vec<String>,
    /// A row a measure.
    pub rows: Vec<LevelRow>,
}

/// How far the axis of [`Levels`] reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// From 0 to what is possible at most.
    UpTo(f64),
    /// Around 0, as far as levels and their intervals reach: they are effects, which have a sign.
    AroundZero,
}

/// One measure of all checkpoints. Every list is as long as the checkpoints, with nothing where there is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelRow {
    /// The measure.
    pub label: String,
    /// How many groups stand behind it, and what they are: `278 questions`.
    pub groups: String,
    /// The levels. Those of checkpoints that are not measurable stand here too, and are faded.
    pub levels: Vec<Option<Estimate>>,
    /// Whether each checkpoint is measurable in this row: a format may be, where another is not. Empty where the summary decides.
    pub measurable: Vec<bool>,
    /// The same with another interval, drawn thin where it is asked for.
    pub thin: Vec<Option<Estimate>>,
    /// Less the first checkpoint's; nothing for the first itself, and where one of the two is not measurable.
    pub differences: Vec<Option<Estimate>>,
    /// What the differences say in a word: `more`, `less`, `–`.
    pub words: Vec<Option<String>>,
    /// The level as a share of what the same answers give when they are shuffled.
    pub of_shuffled: Vec<Option<Estimate>>,
    /// What stands beside: what others found of the same, or what there would be without any meaning; a name and a value.
    pub published: Vec<(String, f64)>,
}

/// Checks by checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    /// What it shows.
    pub title: String,
    /// The checkpoints.
    pub checkpoints: Vec<String>,
    /// The checks, what decides most first.
    pub rows: Vec<Check>,
}

/// A check of every checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// What it is and what passes, in a sentence.
    pub help: String,
    /// A mark and a value for each checkpoint; nothing where nothing was asked.
    pub cells: Vec<Option<(Mark, String)>>,
}

/// Groups of answers with what was found of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// What it shows.
    pub title: String,
    /// What a row is of, of what it has so many, and what `support` is: `topic`, `questions`, `support`.
    pub nouns: [&'static str; 3],
    /// What its levels count.
    pub measure: Measure,
    /// Whether levels are effects, which have a sign.
    pub signed: bool,
    /// The checkpoints.
    pub checkpoints: Vec<String>,
    /// The names of facets: `language`, `country`, `controversy`.
    pub facets: Vec<&'static str>,
    /// The groups.
    pub rows: Vec<Topic>,
}

/// A group of answers. Its lists are as long as the checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its name, in English where that is known.
    pub name: String,
    /// Its facets, as they are named.
    pub facets: Vec<String>,
    /// How many questions it has.
    pub questions: usize,
    /// How far its answers lie apart, pooled with the other topics.
    pub levels: Vec<Option<Estimate>>,
    /// Less the first checkpoint's; nothing for the first.
    pub differences: Vec<Option<Estimate>>,
    /// Mean probability of support.
    pub support: Vec<Option<f64>>,
}

impl Topic {
    /// The facets that it has.
    pub fn facets_shown(&self) -> Vec<&str> {
        let facets = self.facets.iter().map(String::as_str);
        facets.filter(|facet| !facet.is_empty()).collect()
    }
}

/// Every answer of every checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerBook {
    /// The checkpoints.
    pub checkpoints: Vec<String>,
    /// The questions, in the order of the topics that they belong to.
    pub questions: Vec<BookQuestion>,
    /// What was read, by checkpoint and reading.
    pub readings: Vec<BookReadings>,
    /// What was written, where it was.
    pub passages: Vec<BookPassage>,
}

/// A question in an [`AnswerBook`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BookQuestion {
    /// Its topic: an index into the rows of [`Topics`].
    pub topic: usize,
    /// The question that it rephrases: an index into the book; its own where it is the original.
    pub original: usize,
    /// What its translations have in common; `None` where none is known.
    pub translation: Option<usize>,
    /// The text.
    pub text: String,
    /// The answers that it offers, each with its stance.
    pub options: Vec<(String, String)>,
}

/// Probabilities of support of all questions, from one reading of one checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BookReadings {
    /// An index into the checkpoints.
    pub checkpoint: usize,
    /// Which reading.
    pub kind: BookKind,
    /// One a question; not a number where there is none.
    pub values: Vec<f32>,
}

/// What a value of an [`AnswerBook`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BookKind {
    /// Support by letters, options as they stand.
    #[default]
    Letters,
    /// Support by letters, options the other way round.
    LettersReversed,
    /// Support by the likelihood of answer texts.
    Texts,
    /// Support in what was written, as raters read it.
    Passages,
    /// Probability of all letters together.
    LabelMass,
}

/// What a checkpoint wrote on a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BookPassage {
    /// An index into the questions.
    pub question: usize,
    /// An index into the checkpoints.
    pub checkpoint: usize,
    /// The text.
    pub text: String,
    /// Each rater's name and the probability that it read support.
    pub raters: Vec<(String, f32)>,
}
