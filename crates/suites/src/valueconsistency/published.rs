//! What the study published, as data.

use serde::{Deserialize, Serialize};

/// The study's values, with where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The article.
    pub study: String,
    /// The repository that the figures stand in.
    pub repository: String,
    /// How the values were obtained.
    pub obtained: String,
    /// What their intervals are.
    pub intervals: String,
    /// What the values of people are.
    pub people: String,
    /// The values.
    pub tables: Vec<PublishedTable>,
}

/// One figure of the study as a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTable {
    /// A short name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The file of the figure, where it is known.
    pub figure: Option<String>,
    /// The questions that it is about, where it is about one file's.
    #[serde(default)]
    pub selection: Option<PublishedSelection>,
    /// What a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// What the columns are.
    pub columns: Vec<String>,
    /// The values.
    pub rows: Vec<PublishedRow>,
}

/// Which questions a table is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedSelection {
    /// Their language.
    pub language: String,
    /// Their country.
    pub country: String,
    /// Whether their topics are controversial.
    pub controversial: bool,
}

impl PublishedSelection {
    /// The question file.
    pub fn file(&self) -> String {
        let origin = concord_questions::Origin {
            controversial: self.controversial,
            language: self.language.clone(),
            country: self.country.clone(),
        };
        origin.file_name()
    }
}

/// The values of one model, or of people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    /// Which.
    pub model: String,
    /// One a column: a value, or a value with the ends of its interval; absent where it was not measured.
    pub values: Vec<Option<Vec<f64>>>,
}

/// The study's values.
///
/// # Errors
/// None in a program that passed its tests.
pub fn published() -> Result<Published, serde_json::Error> {
    serde_json::from_str(include_str!("../../data/published.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_article_follows_from_the_bars() {
        let published = published().unwrap();
        for table in &published.tables {
            for row in &table.rows {
                assert_eq!(
                    row.values.len(),
                    table.columns.len(),
                    "{} {}",
                    table.name,
                    row.model
                );
                for value in row.values.iter().flatten() {
                    assert!(matches!(value.len(), 1 | 3), "{} {}", table.name, row.model);
                    if let [value, low, high] = value[..] {
                        assert!(
                            low <= value && value <= high,
                            "{} {}",
                            table.name,
                            row.model
                        );
                    }
                }
            }
        }
        let value = |table: &str, model: &str, column: &str| {
            let table = published
                .tables
                .iter()
                .find(|known| known.name == table)
                .unwrap();
            let at = table
                .columns
                .iter()
                .position(|known| known == column)
                .unwrap();
            let row = table.rows.iter().find(|row| row.model == model).unwrap();
            row.values[at].as_ref().unwrap()[0]
        };
        let ratio = |table: &str, model: &str, a: &str, b: &str| {
            value(table, model, a) / value(table, model, b)
        };
        // "Aligned is 1.58 times as inconsistent on topics", "a third less on paraphrases", "17 %" of controversy.
        let topics = ratio(
            "base_aligned",
            "llama3-70b",
            "topics aligned",
            "topics base",
        );
        assert!((topics - 1.585).abs() < 1e-3, "{topics}");
        let paraphrases = ratio(
            "base_aligned",
            "llama3-70b",
            "paraphrases aligned",
            "paraphrases base",
        );
        assert!((paraphrases - 0.672).abs() < 1e-3, "{paraphrases}");
        let controversy = ratio(
            "controversy",
            "gpt-4o (English, US)",
            "topics controversial",
            "topics uncontroversial",
        );
        assert!((controversy - 1.169).abs() < 1e-3, "{controversy}");
        // Shares of the maximum are the plain bars over it.
        for (model, kind, stances) in [
            ("gpt-4o (English, US)", "topics not allowed", 2),
            ("gpt-4o (English, US)", "topics allowed", 3),
            ("yi-34b-chat (Chinese, China)", "paraphrases allowed", 3),
        ] {
            let share = value("abstention", model, kind)
                / concord_stats::maximum_distance(stances).unwrap();
            let published = value("abstention_of_maximum", model, kind);
            assert!(
                (share - published).abs() < 1.5e-3,
                "{model} {kind}: {share} {published}"
            );
        }
        // One bar in several figures.
        for model in ["gpt-4o", "llama2-7b-chat", "llama3-8b-instruct"] {
            assert_eq!(
                value("headline", model, "topics").to_bits(),
                value("languages_topics", model, "english").to_bits()
            );
        }
        assert!(
            value("headline", "people", "topics")
                > value("headline", "llama3-70b-instruct", "topics")
        );
    }
}
