//! Requests that may be turned down, by family, each with a benign twin.

use super::rows::Rows;
use crate::{OptionSpec, SuiteError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Requests of one kind: what intervals take as drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its requests.
    pub requests: Vec<Pair>,
}

/// A request that may be turned down, and one like it that need not be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The request.
    pub ask: String,
    /// Its benign twin, where it has one.
    #[serde(default)]
    pub twin: Option<String>,
}

/// The option for requests of the user's own.
pub(crate) const SPEC: OptionSpec = OptionSpec::new(
    "requests",
    "FILE",
    "Requests of your own: a CSV or Parquet file with the column `goal` or `request`, and maybe `family` and `twin`; or JSON of the form that a run stores",
);

/// The option for less of them.
pub(crate) const LIMIT: OptionSpec = OptionSpec {
    short: Some('L'),
    check: positive,
    ..OptionSpec::new("limit", "N", "Only the first N requests of each family")
};

pub(crate) fn positive(text: &str) -> Result<(), String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(()),
        _ => Err(format!("`{text}` must be a whole number from 1")),
    }
}

pub(crate) fn probability(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
        _ => Err(format!("`{text}` must be a number from 0 to 1")),
    }
}

/// What was named, each once, in the order in which it was.
pub(crate) fn each_once(named: &[String]) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for name in named {
        if !once.contains(name) {
            once.push(name.clone());
        }
    }
    once
}

/// The first requests of each family, and the limit where it leaves any out.
pub(crate) fn limited(
    mut families: Vec<Family>,
    limit: Option<usize>,
) -> (Vec<Family>, Option<usize>) {
    let is_more = |most: &usize| families.iter().any(|family| family.requests.len() > *most);
    let limit = limit.filter(is_more);
    for family in &mut families {
        family.requests.truncate(limit.unwrap_or(usize::MAX));
    }
    (families, limit)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    #[serde(alias = "categories")]
    families: Vec<Family>,
}

/// The project's own.
pub(crate) fn own() -> Result<Vec<Family>, serde_json::Error> {
    let own: Requests = serde_json::from_str(include_str!("../../data/requests.json"))?;
    Ok(own.families)
}

/// Requests of a file: a CSV, or the JSON that a run stores.
pub(crate) fn read(path: &Path) -> Result<Vec<Family>, SuiteError> {
    let shown = path.display();
    let wrong = |problem: String| {
        SuiteError::data(
            format!("{shown}: {problem}"),
            "a CSV with a column `goal` or `request`, and maybe `family` and `twin`",
        )
    };
    let is_json = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let families = if is_json {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let read: Requests =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        read.families
    } else {
        let rows = Rows::of_file(path, &["goal", "request", "family", "twin"]);
        rows.and_then(|rows| of_rows(&rows)).map_err(wrong)?
    };
    let families: Vec<Family> = families
        .into_iter()
        .filter(|family| !family.requests.is_empty())
        .collect();
    if families.is_empty() {
        return Err(wrong("it has no request".to_owned()));
    }
    let mut seen = BTreeSet::new();
    for pair in families.iter().flat_map(|family| &family.requests) {
        if !seen.insert(&pair.ask) {
            return Err(wrong(format!("the request `{}` is there twice", pair.ask)));
        }
        if pair
            .twin
            .as_ref()
            .is_some_and(|twin| twin.trim().is_empty())
        {
            return Err(wrong(format!("the twin of `{}` is empty", pair.ask)));
        }
        if pair.twin.as_ref() == Some(&pair.ask) {
            return Err(wrong(format!("`{}` is its own twin", pair.ask)));
        }
    }
    for (at, family) in families.iter().enumerate() {
        if family.name.trim().is_empty() {
            return Err(wrong("a family has no name".to_owned()));
        }
        if families[..at].iter().any(|other| other.name == family.name) {
            return Err(wrong(format!(
                "the family `{}` is there twice",
                family.name
            )));
        }
        if family
            .requests
            .iter()
            .any(|pair| pair.ask.trim().is_empty())
        {
            return Err(wrong(format!("a request of `{}` is empty", family.name)));
        }
    }
    Ok(families)
}

/// Families by their names, in the order in which they come; requests without one are a family each.
fn of_rows(rows: &Rows) -> Result<Vec<Family>, String> {
    let ask = rows.column("goal").or_else(|| rows.column("request"));
    if ask.is_none() {
        return Err(rows.missing("`goal` or `request`"));
    }
    let (family, twin) = (rows.column("family"), rows.column("twin"));
    let mut families: Vec<Family> = Vec::new();
    for row in 0..rows.len() {
        let cell = |at: Option<usize>| rows.cell(row, at).map(str::to_owned);
        let ask = cell(ask).ok_or_else(|| format!("row {}: the request is empty", row + 1))?;
        let name = cell(family).unwrap_or_else(|| format!("request {}", row + 1));
        let pair = Pair {
            ask,
            twin: cell(twin),
        };
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.requests.push(pair),
            None => families.push(Family {
                name,
                requests: vec![pair],
            }),
        }
    }
    Ok(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Result<Vec<Family>, String> {
        of_rows(&Rows::of_csv(text)?)
    }

    #[test]
    fn own_requests_are_many_and_no_two_are_the_same() {
        let families = own().unwrap();
        assert!(families.len() >= 12 && families.iter().all(|family| family.requests.len() >= 8));
        let pairs: Vec<&Pair> = families
            .iter()
            .flat_map(|family| &family.requests)
            .collect();
        assert!(pairs.len() >= 80);
        let texts = pairs
            .iter()
            .flat_map(|pair| [Some(&pair.ask), pair.twin.as_ref()]);
        let texts: Vec<&String> = texts.map(Option::unwrap).collect();
        let distinct: std::collections::BTreeSet<&&String> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len());
    }

    #[test]
    fn requests_of_a_csv_are_by_family() {
        let read =
            of_text("goal,target,family\nAsk one,x,a\n\"Ask, two\",y,b\nAsk three,z,a\n").unwrap();
        let names: Vec<(&str, usize)> = read
            .iter()
            .map(|family| (family.name.as_str(), family.requests.len()))
            .collect();
        assert_eq!(names, [("a", 2), ("b", 1)]);
        assert_eq!(read[1].requests[0].ask, "Ask, two");
        // Without families each request is drawn by itself.
        assert_eq!(of_text("request\nOne\nTwo\n").unwrap().len(), 2);
        let error = of_text("prompt,target\na,b\n").unwrap_err();
        assert!(
            error.contains("`goal`") && error.contains("prompt, target"),
            "{error}"
        );
        assert!(of_text("goal\n\" \"\n").unwrap_err().contains("row 1"));
    }
}
