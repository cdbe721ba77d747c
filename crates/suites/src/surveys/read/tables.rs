//! Questions as tables: the published form, and a row for each option and population.

use super::lines::{Shares, count};
use super::{checked, in_order, name_of};
use crate::shared::rows::Rows;
use crate::surveys::data::{People, Question, english};
use crate::surveys::literal::Literal;
use std::collections::BTreeMap;

/// What options of published files say that decline, in lower case.
const DECLINING: [&str; 12] = [
    "don't know",
    "dont know",
    "do not know",
    "dk",
    "refused",
    "refuse",
    "refuse to answer",
    "no answer",
    "na",
    "no opinion",
    "not sure",
    "decline to answer",
];

/// Whether an option of a published file declines: everything that it says does.
fn declines(option: &str) -> bool {
    let plain = option.to_lowercase().replace('’', "'");
    let mut said = plain.split(['/', ';', ',']).map(str::trim);
    said.all(|said| DECLINING.contains(&said))
}

/// The columns that are read: those of `GlobalOpinionQA`, or a row for each option and population.
pub(super) const COLUMNS: [&str; 13] = [
    "question",
    "selections",
    "options",
    "source",
    "id",
    "topic",
    "language",
    "option",
    "population",
    "share",
    "n",
    "ordinal",
    "declines",
];

pub(super) fn of_rows(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    if rows.column("selections").is_some() {
        of_selections(rows, renormalize)
    } else {
        of_long(rows, renormalize)
    }
}

/// A row a question, as Durmus et al. (arXiv 2306.16388) publish them: options and shares by country as Python prints them.
fn of_selections(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    let question = rows.needed("question", "`question`")?;
    let options = rows.needed("options", "`options`")?;
    let selections = rows.needed("selections", "`selections`")?;
    let source = rows.column("source").or_else(|| rows.column("topic"));
    let id = rows.column("id");
    let (mut all, mut again) = (Vec::new(), BTreeMap::<String, usize>::new());
    for row in 0..rows.len() {
        let wrong = |problem: String| format!("row {}: {problem}", row + 1);
        let cell = |column: usize| rows.cell(row, Some(column)).unwrap_or_default();
        let of = |name: &str, problem: String| wrong(format!("`{name}` {problem}"));
        let listed = Literal::parse(cell(options)).and_then(Literal::texts);
        let listed = listed.map_err(|problem| of("options", problem))?;
        let Literal::Map(by_country) =
            Literal::parse(cell(selections)).map_err(|problem| of("selections", problem))?
        else {
            return Err(of("selections", "is no dictionary".to_owned()));
        };
        let mut human = BTreeMap::new();
        for (country, shares) in by_country {
            let (Literal::Text(country), Literal::List(shares)) = (country, shares) else {
                return Err(of("selections", "has no list of each country".to_owned()));
            };
            let shares = shares.into_iter().map(|share| match share {
                Literal::Number(share) => Ok(share),
                _ => Err(of(
                    "selections",
                    "has something that is no number".to_owned(),
                )),
            });
            let shares = shares.collect::<Result<Vec<f64>, String>>()?;
            if human
                .insert(country.clone(), People { shares, n: None })
                .is_some()
            {
                return Err(wrong(format!("`{country}` is there twice")));
            }
        }
        let declining = listed.iter().filter(|option| declines(option));
        let topic = rows.cell(row, source).unwrap_or_default();
        // The same may be asked in several waves.
        let made = name_of(cell(question), topic, &listed);
        let count = again.entry(made.clone()).or_default();
        *count += 1;
        let made = if *count == 1 {
            made
        } else {
            format!("{made}-{count}")
        };
        let question = Question {
            id: rows.cell(row, id).map_or(made, str::to_owned),
            question: cell(question).to_owned(),
            topic: topic.to_owned(),
            language: english(),
            declines: declining.cloned().collect(),
            options: listed,
            ordinal: false,
            human,
        };
        all.push(checked(question, renormalize).map_err(wrong)?);
    }
    Ok(all)
}

/// The columns of the other form.
struct Long {
    question: usize,
    option: usize,
    population: usize,
    share: usize,
    id: Option<usize>,
    topic: Option<usize>,
    language: Option<usize>,
    n: Option<usize>,
    ordinal: Option<usize>,
    declines: Option<usize>,
}

/// Whether something holds, as a cell has it; nothing is no.
fn truth(text: Option<&str>, column: &str) -> Result<bool, String> {
    match text.map(str::to_lowercase).as_deref() {
        Some("true" | "yes" | "1") => Ok(true),
        None | Some("false" | "no" | "0") => Ok(false),
        Some(other) => Err(format!("`{column}` is `{other}`, neither true nor false")),
    }
}

impl Long {
    fn of(rows: &Rows) -> Result<Self, String> {
        let found = Self {
            question: rows.needed("question", "`question`, or `selections`")?,
            option: rows.needed("option", "`option`, or `selections`")?,
            population: rows.needed("population", "`population`")?,
            share: rows.needed("share", "`share`")?,
            id: rows.column("id"),
            topic: rows.column("topic"),
            language: rows.column("language"),
            n: rows.column("n"),
            ordinal: rows.column("ordinal"),
            declines: rows.column("declines"),
        };
        if let Some(other) = rows.unknown(&COLUMNS) {
            let known = COLUMNS.iter().filter(|name| **name != "selections");
            let known: Vec<&str> = known.copied().collect();
            return Err(format!(
                "unknown column `{other}`; there may be {}",
                known.join(", ")
            ));
        }
        Ok(found)
    }

    /// The question of a row, without options and people.
    fn question(&self, rows: &Rows, row: usize) -> Result<Question, String> {
        let cell = |column: Option<usize>| rows.cell(row, column).map(str::to_owned);
        let text = cell(Some(self.question)).ok_or("`question` is empty")?;
        let topic = cell(self.topic).unwrap_or_default();
        Ok(Question {
            id: cell(self.id).unwrap_or_else(|| name_of(&text, &topic, &[])),
            question: text,
            topic,
            language: cell(self.language).unwrap_or_else(english),
            ordinal: truth(rows.cell(row, self.ordinal), "ordinal")?,
            ..Question::default()
        })
    }

    /// What a row adds: an option, a population, its share, and of how many people.
    fn answer(&self, rows: &Rows, row: usize) -> Result<Answer, String> {
        let needed = |column: usize, name: &str| {
            let cell = rows.cell(row, Some(column)).map(str::to_owned);
            cell.ok_or_else(|| format!("`{name}` is empty"))
        };
        let option = needed(self.option, "option")?;
        let text = needed(self.share, "share")?;
        let share = text
            .parse()
            .map_err(|_| format!("`share` is `{text}`, not a number"))?;
        let n = match rows.cell(row, self.n) {
            None => None,
            Some(text) => {
                let found = text.parse::<f64>().ok().and_then(count);
                Some(found.ok_or_else(|| format!("`n` is `{text}`, not a count"))?)
            }
        };
        Ok(Answer {
            declines: declines(&option) || truth(rows.cell(row, self.declines), "declines")?,
            population: needed(self.population, "population")?,
            option,
            share,
            n,
        })
    }
}

struct Answer {
    option: String,
    declines: bool,
    population: String,
    share: f64,
    n: Option<u64>,
}

/// Shares by option, and of how many people.
type Named = (BTreeMap<String, f64>, Option<u64>);

/// A row an option and population; options in the order in which they come first.
fn of_long(rows: &Rows, renormalize: bool) -> Result<Vec<Question>, String> {
    let columns = Long::of(rows)?;
    let mut all: Vec<(Question, BTreeMap<String, Named>)> = Vec::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for row in 0..rows.len() {
        let wrong = |problem: String| format!("row {}: {problem}", row + 1);
        let asked = columns.question(rows, row).map_err(wrong)?;
        let answer = columns.answer(rows, row).map_err(wrong)?;
        let number = *numbers.entry(asked.id.clone()).or_insert_with(|| {
            all.push((asked.clone(), BTreeMap::new()));
            all.len() - 1
        });
        let (question, people) = &mut all[number];
        let is_same = (&question.question, &question.topic, &question.language)
            == (&asked.question, &asked.topic, &asked.language);
        if !is_same || question.ordinal != asked.ordinal {
            return Err(wrong(format!(
                "`{}` differs from its first row in question, topic, language or ordinal",
                asked.id
            )));
        }
        if !question.options.contains(&answer.option) {
            if answer.declines {
                question.declines.push(answer.option.clone());
            }
            question.options.push(answer.option.clone());
        }
        let (shares, n) = people.entry(answer.population.clone()).or_default();
        if n.is_some() && answer.n.is_some() && *n != answer.n {
            return Err(wrong(format!("`n` of {} differs", answer.population)));
        }
        *n = answer.n.or(*n);
        if shares.insert(answer.option.clone(), answer.share).is_some() {
            return Err(wrong(format!(
                "`{}` of {} is there twice",
                answer.option, answer.population
            )));
        }
    }
    let each = all.into_iter().map(|(mut question, people)| {
        for (population, (shares, n)) in people {
            let shares = in_order(&question.options, Shares::Named(shares))?;
            question.human.insert(population, People { shares, n });
        }
        checked(question, renormalize)
    });
    each.collect()
}
