//! The study's published values, beside a run's own.

use super::{Model, interval};
use crate::valueconsistency::verdict::Grouping;
use crate::valueconsistency::{
    ByGrouping, Consistency, PublishedSelection, PublishedTable, published,
};
use concord_findings::{Estimate, Exhibit, Table};

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
                    cells.map(|column| own(table, column, model)).collect(),
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
        let cells = [
            in_one_order(base, Grouping::Topics, &name)?,
            in_one_order(other, Grouping::Topics, &name)?,
            in_one_order(base, Grouping::Paraphrases, &name)?,
            in_one_order(other, Grouping::Paraphrases, &name)?,
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

/// The study's English files.
const ENGLISH: [&str; 5] = [
    "controversial_english_china",
    "controversial_english_germany",
    "controversial_english_japan",
    "controversial_english_us",
    "uncontroversial_english_us",
];

/// The file that the study's headline is about.
const ENGLISH_US: &str = "controversial_english_us";

/// What is measured in one order, as the study measures, of a file or of a country.
pub(super) fn one_order<'a>(
    model: &Model<'a>,
    across: Grouping,
    part: &str,
) -> Option<&'a Estimate> {
    let (format, _) = model.assessed.main()?;
    let mut moved = model.assessed.moved.iter();
    let moved = moved.find(|moved| moved.row.format == format && moved.row.across == across)?;
    moved.by_part.get(part).filter(|_| moved.is_measurable)
}

/// The same as a cell.
fn in_one_order(model: &Model<'_>, across: Grouping, part: &str) -> Option<String> {
    let found = one_order(model, across, part)?;
    Some(interval(
        found.value,
        found.interval.map_or([f64::NAN; 2], |i| [i.low, i.high]),
    ))
}

/// What is measured over both orders is not what the study measures, and says so.
fn over_orders(model: &Model<'_>, cell: String) -> String {
    let mut moved = model.assessed.moved.iter();
    if moved.any(|moved| moved.one_order.is_some()) {
        format!("{cell}, orders averaged")
    } else {
        cell
    }
}

/// What a run says in the place of a column of a published table.
fn own(table: &PublishedTable, column: &str, model: &Model<'_>) -> Option<String> {
    let findings = model.findings;
    if let Some(language) = table.name.strip_prefix("steering_") {
        let rank = findings.steering.get(language)?.study_rank?;
        return Some(format!(
            "{} [{}, {}]",
            rank.median, rank.least, rank.largest
        ));
    }
    let across = if column.starts_with("topics") {
        Grouping::Topics
    } else {
        Grouping::Paraphrases
    };
    match table.name.as_str() {
        "languages_topics" => in_one_order(
            model,
            Grouping::Topics,
            &format!("controversial_{column}_us"),
        ),
        "languages_paraphrases" => in_one_order(
            model,
            Grouping::Paraphrases,
            &format!("controversial_{column}_us"),
        ),
        "controversy" => {
            let file = if column.ends_with("uncontroversial") {
                "uncontroversial_english_us"
            } else {
                ENGLISH_US
            };
            in_one_order(model, across, file)
        }
        "yes_bias" => {
            // Over all English files of the study, and no other.
            let has = |file: &&str| findings.files.contains_key(*file);
            let share = findings.support.yes.get("english")?;
            ENGLISH
                .iter()
                .all(has)
                .then(|| over_orders(model, format!("{share:.4}")))
        }
        "abstention" | "abstention_of_maximum" | "formats" => {
            // The study's are of one file; what a run has over all its files is comparable where it has that file alone.
            let alone = findings.files.len() == 1 && findings.files.contains_key(ENGLISH_US);
            alone
                .then(|| of_the_one_file(table, column, model))
                .flatten()
        }
        "judges_agree" => {
            let agreement = findings.open.as_ref()?.agreement.as_ref()?;
            Some(format!("{:.3}", agreement.median_kappa_of_files?))
        }
        "base_aligned" | "judges" | "yes_supports" => None,
        _ => of_selected_file(table, column, model),
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
fn of_the_one_file(table: &PublishedTable, column: &str, model: &Model<'_>) -> Option<String> {
    let findings = model.findings;
    match table.name.as_str() {
        "formats" if column.ends_with("open") => {
            let open = findings.open.as_ref()?;
            let rater = open.raters.get(open.main_rater.as_ref()?)?;
            Some(cell(kind(column, &rater.consistency)))
        }
        "formats" => {
            let across = if column.starts_with("topics") {
                Grouping::Topics
            } else {
                Grouping::Paraphrases
            };
            in_one_order(model, across, ENGLISH_US)
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
fn of_selected_file(table: &PublishedTable, column: &str, model: &Model<'_>) -> Option<String> {
    let (findings, name) = (model.findings, table.selection.as_ref()?.file());
    let file = findings.files.get(&name)?;
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
        return Some(over_orders(model, format!("{found:.4}")));
    }
    match column {
        "topics" => in_one_order(model, Grouping::Topics, &name),
        "paraphrases" => in_one_order(model, Grouping::Paraphrases, &name),
        "letters vs open" => in_one_order(model, Grouping::LettersAndPassages, &name),
        "languages" => in_one_order(model, Grouping::Languages, "us"),
        "entropy topics" => Some(over_orders(
            model,
            format!("{:.4}", file.topic_entropy_bits),
        )),
        "entropy paraphrases" => Some(over_orders(
            model,
            format!("{:.4}", file.rephrase_entropy_bits),
        )),
        _ => {
            let (distance, kind) = column.split_once(' ')?;
            let kind = if kind == "topics" {
                "topic"
            } else {
                "paraphrase"
            };
            let found = file.other_distances.get(distance)?.get(kind)?;
            Some(over_orders(model, format!("{found:.4}")))
        }
    }
}
