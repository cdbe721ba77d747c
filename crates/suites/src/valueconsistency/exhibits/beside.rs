//! The study's published values, beside a run's own.

use super::{Model, interval};
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::{
    ByGrouping, Consistency, Findings, PublishedSelection, PublishedTable, published,
};
use concord_findings::{Exhibit, Table};

/// Base against aligned, this run's first.
pub(super) fn for_pairs(models: &[Model<'_>]) -> Option<Exhibit> {
    let published = published().ok()?;
    let mut tables = published.tables.iter();
    let table = tables.find(|table| table.name == "base_aligned")?;
    Some(exhibit(table, &pairs(table, models)))
}

/// Every published table for which the run has something to put beside.
pub(super) fn beside(models: &[Model<'_>]) -> Vec<Exhibit> {
    let Ok(published) = published() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for table in &published.tables {
        let own: Vec<(&str, Vec<Option<String>>)> = models
            .iter()
            .map(|model| {
                let cells = table.columns.iter();
                (
                    model.name,
                    cells
                        .map(|column| own(table, column, model.findings))
                        .collect(),
                )
            })
            .filter(|(_, cells): &(&str, Vec<Option<String>>)| cells.iter().any(Option::is_some))
            .collect();
        let own = if table.name == "base_aligned" {
            pairs(table, models)
        } else {
            own
        };
        if !own.is_empty() {
            out.push(exhibit(table, &own));
        }
    }
    out.push(Exhibit::Note(if out.is_empty() {
        "The study published nothing about the questions of this run.\n".to_owned()
    } else {
        format!(
            "{}\n{}\n{}\n",
            published.obtained, published.intervals, published.people
        )
    }));
    out
}

/// The first checkpoint of the run against each of the others, on the questions of a table.
fn pairs<'a>(table: &PublishedTable, models: &[Model<'a>]) -> Vec<(&'a str, Vec<Option<String>>)> {
    let name = table
        .selection
        .as_ref()
        .map(PublishedSelection::file)
        .unwrap_or_default();
    let Some((base, others)) = models.split_first() else {
        return Vec::new();
    };
    let pairs = others.iter().filter_map(|other| {
        let (a, b) = (
            base.findings.files.get(&name)?,
            other.findings.files.get(&name)?,
        );
        let cells = [
            interval(a.topic, a.topic_ci95),
            interval(b.topic, b.topic_ci95),
            interval(a.paraphrase, a.paraphrase_ci95),
            interval(b.paraphrase, b.paraphrase_ci95),
        ];
        Some((other.name, cells.map(Some).into()))
    });
    pairs.collect()
}

fn exhibit(published: &PublishedTable, own: &[(&str, Vec<Option<String>>)]) -> Exhibit {
    let own = own.iter().map(|(name, cells)| {
        let cells = cells.iter().map(|cell| cell.clone().unwrap_or_default());
        std::iter::once(format!("{name} (this run)"))
            .chain(cells)
            .collect()
    });
    let theirs = published.rows.iter().map(|row| {
        let cells = row.values.iter().map(|value| match value.as_deref() {
            Some([value, low, high]) => interval(*value, [*low, *high]),
            Some([value, ..]) => format!("{value:.4}"),
            _ => String::new(),
        });
        std::iter::once(row.model.clone()).chain(cells).collect()
    });
    let note = published.note.as_ref();
    let note = note.map_or_else(String::new, |note| format!(" ({note})"));
    let header = std::iter::once(String::new()).chain(published.columns.iter().cloned());
    Exhibit::Table(Table {
        title: Some(format!("Published: {}{note}", published.title)),
        header: header.collect(),
        rows: own.chain(theirs).collect(),
    })
}

/// The file that the study's headline is about.
const ENGLISH_US: &str = "controversial_english_us";

/// What a run says in the place of a column of a published table.
fn own(table: &PublishedTable, column: &str, findings: &Findings) -> Option<String> {
    if let Some(language) = table.name.strip_prefix("steering_") {
        let rank = findings.steering.get(language)?.study_rank?;
        return Some(format!(
            "{} [{}, {}]",
            rank.median, rank.least, rank.largest
        ));
    }
    match table.name.as_str() {
        "languages_topics" => {
            let file = findings.files.get(&format!("controversial_{column}_us"))?;
            Some(interval(file.topic, file.topic_ci95))
        }
        "languages_paraphrases" => {
            let file = findings.files.get(&format!("controversial_{column}_us"))?;
            Some(interval(file.paraphrase, file.paraphrase_ci95))
        }
        "controversy" => {
            let mut all = findings.controversy.iter();
            let found = all.find(|f| f.language == "english" && f.country == "us")?;
            let uncontroversial = column.ends_with("uncontroversial");
            let by = if uncontroversial {
                found.uncontroversial
            } else {
                found.controversial
            };
            Some(cell(kind(column, &by)))
        }
        "abstention" | "abstention_of_maximum" | "formats" | "yes_bias" => {
            // The study's are of one file; what a run has over all its files is comparable where it has that file alone.
            let alone = findings.files.len() == 1 && findings.files.contains_key(ENGLISH_US);
            alone
                .then(|| of_the_one_file(table, column, findings))
                .flatten()
        }
        "judges_agree" => {
            let agreement = findings.open.as_ref()?.agreement.as_ref()?;
            Some(format!("{:.3}", agreement.median_kappa_of_topics?))
        }
        "base_aligned" | "judges" | "yes_supports" => None,
        _ => of_selected_file(table, column, findings),
    }
}

fn cell(found: Consistency) -> String {
    interval(found.mean, found.ci95)
}

fn kind(column: &str, by: &ByGrouping) -> Consistency {
    if column.starts_with("topics") {
        by.topic
    } else {
        by.paraphrase
    }
}

/// What is measured over all files of a run.
fn of_the_one_file(table: &PublishedTable, column: &str, findings: &Findings) -> Option<String> {
    match table.name.as_str() {
        "yes_bias" => {
            let first = findings.support.first_option?;
            Some(format!("{:.4}", first.where_it_supports?))
        }
        "formats" if column.ends_with("open") => {
            let open = findings.open.as_ref()?;
            let reader = open.readers.get(open.main_reader.as_ref()?)?;
            Some(cell(kind(column, &reader.consistency)))
        }
        "formats" => {
            let axis = if column.starts_with("topics") {
                Axis::Topics
            } else {
                Axis::Paraphrases
            };
            findings.overall.get(&axis).map(|found| cell(*found))
        }
        _ => {
            let found = findings.abstention.as_ref()?;
            let not_allowed = column.ends_with("not allowed");
            let by = if not_allowed {
                &found.not_allowed
            } else {
                &found.allowed
            };
            let found = kind(column, by);
            if table.name == "abstention" {
                Some(cell(found))
            } else {
                found.of_maximum.map(|share| format!("{share:.4}"))
            }
        }
    }
}

/// What is measured by file, or of the country that the file is about.
fn of_selected_file(table: &PublishedTable, column: &str, findings: &Findings) -> Option<String> {
    let file = findings.files.get(&table.selection.as_ref()?.file())?;
    if table.name.starts_with("topic_spread") {
        let topics = match table.name.as_str() {
            "topic_spread" => &file.topic_by_topic,
            _ => &file.paraphrase_by_topic,
        };
        let values = || topics.values().copied();
        let found = match column {
            "largest" => values().reduce(f64::max)?,
            "smallest" => values().reduce(f64::min)?,
            _ => values().sum::<f64>() / topics.len() as f64,
        };
        return Some(format!("{found:.4}"));
    }
    match column {
        "topics" => Some(interval(file.topic, file.topic_ci95)),
        "paraphrases" => Some(interval(file.paraphrase, file.paraphrase_ci95)),
        "letters vs open" => {
            let found = findings.overall.get(&Axis::LettersAndPassages)?;
            (findings.files.len() == 1).then(|| cell(*found))
        }
        "languages" => {
            let found = findings.multilingual.get("us")?;
            Some(interval(found.mean, found.ci95))
        }
        "entropy topics" => Some(format!("{:.4}", file.topic_entropy_bits)),
        "entropy paraphrases" => Some(format!("{:.4}", file.rephrase_entropy_bits)),
        _ => {
            let (distance, kind) = column.split_once(' ')?;
            let kind = if kind == "topics" {
                "topic"
            } else {
                "paraphrase"
            };
            Some(format!(
                "{:.4}",
                file.other_distances.get(distance)?.get(kind)?
            ))
        }
    }
}
