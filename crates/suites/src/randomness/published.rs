//! What the study published, as data.

use serde::{Deserialize, Serialize};

/// The study's values, with where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The article.
    pub study: String,
    /// How the values were obtained.
    pub obtained: String,
    /// What is not known of how they were measured.
    pub protocol: String,
    /// The values.
    pub tables: Vec<PublishedTable>,
}

/// Values of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTable {
    /// A short name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Whether [`Published::protocol`] is about it.
    #[serde(default)]
    pub is_protocol_unknown: bool,
    /// What a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// What the columns are.
    pub columns: Vec<String>,
    /// A name and a value for each column; absent where it was not published.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// The study's values.
///
/// # Errors
/// None in a program that passed its tests.
pub fn published() -> Result<Published, serde_json::Error> {
    serde_json::from_str(include_str!("../../data/randomness/published.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_value_for_each_column() {
        let published = published().unwrap();
        for table in &published.tables {
            for (name, values) in &table.rows {
                assert_eq!(values.len(), table.columns.len(), "{} {name}", table.name);
            }
        }
        let chi = published
            .tables
            .iter()
            .find(|table| table.name == "chi_squared");
        let rows = &chi.unwrap().rows;
        assert_eq!(rows.len(), 10);
        let of = |model: &str| rows.iter().find(|(name, _)| name == model).unwrap().1[0];
        assert_eq!(of("Llama 3.1 8B, Tulu 3"), Some(129.1));
        // At 8B every aligned model is further from uniform than base; at 70B base is not the closest.
        assert!(of("Llama 3.1 8B, base") < of("Llama 3.1 8B, Tulu 3 SFT"));
        assert!(of("Llama 3.1 70B, base") > of("Llama 3.1 70B, Tulu 3"));
    }
}
