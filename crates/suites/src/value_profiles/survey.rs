//! Profiles of people who answered a survey.

use crate::shared::rows::Rows;
use serde::{Deserialize, Serialize};

/// Profiles by name, each with a score for every value in the order of the wordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respondents {
    /// The profiles.
    pub profiles: Vec<(String, Vec<f64>)>,
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
    Ok(Respondents { profiles })
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
}
