//! Profiles of people who answered a survey.

use crate::shared::rows::Rows;
use concord_stats::jensen_shannon_distance;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Profiles by name, each with a score for every value in the order of the wordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respondents {
    /// The profiles.
    pub profiles: Vec<(String, Vec<f64>)>,
    /// Those that are nearest to each extreme profile; empty where all are asked for themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<Family>,
}

/// An extreme profile and the people who are nearest to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The extreme profile: a value, or a group of them.
    pub extreme: String,
    /// The people, nearest first.
    pub people: Vec<String>,
}

impl Respondents {
    /// Of all profiles the `count` nearest to each extreme one, by the Jensen–Shannon distance of scores as shares of their sum; of such that are
    /// as near the one that comes first. Somebody may be near to several.
    ///
    /// # Errors
    /// The file has fewer.
    pub fn nearest(self, extremes: &[(String, Vec<f64>)], count: usize) -> Result<Self, String> {
        let has = self.profiles.len();
        let plural = if has == 1 { "" } else { "s" };
        if has < count {
            return Err(format!(
                "it has {has} profile{plural}, and --nearest asks for {count}: use --nearest {has} or less"
            ));
        }
        let family = |(extreme, scores): &(String, Vec<f64>)| {
            let each = self.profiles.iter();
            let mut apart: Vec<(f64, &String)> = each
                .map(|(name, own)| (jensen_shannon_distance(own, scores), name))
                .collect();
            apart.sort_by(|a, b| a.0.total_cmp(&b.0));
            let people = apart.into_iter().take(count);
            Family {
                extreme: extreme.clone(),
                people: people.map(|(_, name)| name.clone()).collect(),
            }
        };
        let families: Vec<Family> = extremes.iter().map(family).collect();
        let chosen: BTreeSet<&String> = families.iter().flat_map(|of| &of.people).collect();
        let profiles = self.profiles.iter();
        let profiles = profiles.filter(|(name, _)| chosen.contains(name));
        Ok(Self {
            profiles: profiles.cloned().collect(),
            families,
        })
    }
}

/// Reads a CSV: a column of names (`profile` or `id`) and one for each value.
///
/// # Errors
/// What is wrong with it: a value without a column, a score that is no number from 1 to 6.
pub(crate) fn read(rows: &Rows, values: &[&str]) -> Result<Respondents, String> {
    let is_missing = |name: &&&str| rows.column(name).is_none();
    let missing: Vec<&str> = values.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        return Err(rows.missing(&format!("for {}", missing.join(", "))));
    }
    let name = rows.column("profile").or_else(|| rows.column("id"));
    let mut profiles = Vec::new();
    for number in 0..rows.len() {
        let score = |value: &&str| {
            let text = rows.cell(number, rows.column(value)).unwrap_or_default();
            match text.parse::<f64>() {
                Ok(score) if (1.0..=6.0).contains(&score) => Ok(score),
                _ => Err(format!(
                    "row {}: {value} is `{text}`, not a number from 1 to 6",
                    number + 1
                )),
            }
        };
        let scores = values
            .iter()
            .map(score)
            .collect::<Result<Vec<f64>, String>>()?;
        let name = rows.cell(number, name);
        let name = name.map_or_else(|| (number + 1).to_string(), str::to_owned);
        if profiles.iter().any(|(known, _)| *known == name) {
            return Err(format!(
                "row {}: profile `{name}` stands there twice",
                number + 1
            ));
        }
        profiles.push((name, scores));
    }
    if profiles.is_empty() {
        return Err("it has no profile".to_owned());
    }
    Ok(Respondents {
        profiles,
        families: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::Respondents;
    use crate::shared::rows::Rows;

    fn read(text: &str, values: &[&str]) -> Result<Respondents, String> {
        super::read(&Rows::of_csv(text)?, values)
    }

    #[test]
    fn scores_are_read_by_their_columns() {
        let found = read("profile,B,a\nx,2,5\ny,1,6\n", &["A", "B"]).unwrap();
        assert_eq!(
            found.profiles,
            [
                ("x".to_owned(), vec![5.0, 2.0]),
                ("y".to_owned(), vec![6.0, 1.0])
            ]
        );
        for (text, said) in [
            ("profile,A\nx,2\n", "no column for B"),
            ("A,B\n2,7\n", "row 1: B is `7`"),
            ("A,B\n2,\n", "row 1: B is ``"),
            ("id,A,B\nx,1,1\nx,2,2\n", "twice"),
            ("A,B\n", "no profile"),
        ] {
            let error = read(text, &["A", "B"]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_nearest_are_those_whose_shares_are() {
        let text = "profile,A,B\nmiddle,3,3\nhigh,6,1\nhalf,4,2\ndouble,2,2\n";
        let all = || read(text, &["A", "B"]).unwrap();
        let extremes = [
            ("A".to_owned(), vec![6.0, 1.0]),
            ("B".to_owned(), vec![1.0, 6.0]),
        ];
        let found = all().nearest(&extremes, 2).unwrap();
        // Of those whose shares are the same, the first.
        assert_eq!(found.families[0].people, ["high", "half"]);
        assert_eq!(found.families[1].people, ["middle", "double"]);
        assert_eq!(found.profiles.len(), 4);
        let one = all().nearest(&extremes[..1], 1).unwrap();
        assert_eq!(one.profiles, [("high".to_owned(), vec![6.0, 1.0])]);
        let error = all().nearest(&extremes, 5).unwrap_err();
        assert!(error.contains("it has 4 profiles"), "{error}");
    }
}
