//! Files of questions with what people answered.

mod lines;
mod tables;

use super::data::Question;
use crate::SuiteError;
use crate::shared::draw::fnv;
use crate::shared::rows::Rows;
use lines::Shares;
pub(crate) use lines::of_lines;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tables::{COLUMNS, of_rows};

/// How far shares may be from 1 together: what is published is rounded.
const ROUNDED: f64 = 0.02;
/// Options at most, which have a letter each.
const MOST_OPTIONS: usize = 26;

/// Shares in the order of options; an option that is not named was chosen by nobody.
fn in_order(options: &[String], shares: Shares) -> Result<Vec<f64>, String> {
    match shares {
        Shares::List(shares) => Ok(shares),
        Shares::Named(named) => {
            if let Some(other) = named.keys().find(|name| !options.contains(name)) {
                return Err(format!("`{other}` is none of the options"));
            }
            let share = |option: &String| named.get(option).copied().unwrap_or(0.0);
            Ok(options.iter().map(share).collect())
        }
    }
}

/// A name for a question that has none, which does not depend on its place.
fn name_of(question: &str, topic: &str, options: &[String]) -> String {
    let texts = [question, topic].into_iter();
    let texts = texts.chain(options.iter().map(String::as_str));
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    format!("q{:012x}", fnv(bytes) >> 16)
}

/// Everything that must hold of a question, and shares that sum to 1.
fn checked(mut question: Question, renormalize: bool) -> Result<Question, String> {
    let id = &question.id;
    let count = question.options.len();
    if question.question.trim().is_empty() {
        return Err(format!("`{id}`: the question is empty"));
    }
    if !(2..=MOST_OPTIONS).contains(&count) {
        return Err(format!(
            "`{id}`: {count} options, where there must be 2 to {MOST_OPTIONS}"
        ));
    }
    let distinct: BTreeSet<&String> = question.options.iter().collect();
    if distinct.len() < count {
        return Err(format!("`{id}`: an option is there twice"));
    }
    if question
        .options
        .iter()
        .any(|option| option.trim().is_empty())
    {
        return Err(format!("`{id}`: an option is empty"));
    }
    let distinct: BTreeSet<&String> = question.declines.iter().collect();
    if distinct.len() < question.declines.len() {
        return Err(format!("`{id}`: an option that declines is there twice"));
    }
    if let Some(other) = question
        .declines
        .iter()
        .find(|name| !question.options.contains(name))
    {
        return Err(format!(
            "`{id}`: `{other}` declines, and is none of the options"
        ));
    }
    if count - question.declines.len() < 2 {
        return Err(format!("`{id}`: fewer than two options answer"));
    }
    if question.human.is_empty() {
        return Err(format!("`{id}`: there are no people"));
    }
    for (population, people) in &mut question.human {
        let shares = &mut people.shares;
        if shares.len() != count {
            let found = shares.len();
            return Err(format!(
                "`{id}`, {population}: {found} shares of {count} options"
            ));
        }
        if let Some(wrong) = shares.iter().find(|p| !p.is_finite() || **p < 0.0) {
            return Err(format!("`{id}`, {population}: {wrong} is no share"));
        }
        let sum: f64 = shares.iter().sum();
        if sum <= 0.0 || ((sum - 1.0).abs() > ROUNDED && !renormalize) {
            return Err(format!(
                "`{id}`, {population}: shares sum to {sum:.3}, not to 1"
            ));
        }
        for share in shares {
            *share /= sum;
        }
    }
    Ok(question)
}

/// The files of a path: itself, or those of a folder, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let wrong =
        |error: std::io::Error| SuiteError::data(format!("{}: {error}", path.display()), "");
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?.path();
        let ending = entry.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ["jsonl", "csv", "parquet"].contains(&ending)) {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(SuiteError::data(
            format!("{}: no .jsonl, .csv or .parquet file in it", path.display()),
            "",
        ));
    }
    Ok(found)
}

/// The questions of files and folders.
pub(crate) fn paths(paths: &[String], renormalize: bool) -> Result<Vec<Question>, SuiteError> {
    let mut all: Vec<Question> = Vec::new();
    for path in paths {
        for file in files(Path::new(path))? {
            let wrong = |problem: String| {
                let help = if problem.contains("shares sum to") {
                    "--renormalize makes shares sum to 1"
                } else {
                    "`concord schema populations` has the columns, docs/studies/surveys.md every form"
                };
                SuiteError::data(format!("{}: {problem}", file.display()), help)
            };
            let ending = file.extension().and_then(|ending| ending.to_str());
            let ending = ending.map(str::to_lowercase);
            let ending = ending.as_deref();
            if ending.is_some_and(|ending| ["pkl", "pickle"].contains(&ending)) {
                return Err(SuiteError::data(
                    format!(
                        "{}: a pickle can run code, and is not opened",
                        file.display()
                    ),
                    "convert it to CSV or Parquet",
                ));
            }
            let found = if ending == Some("jsonl") {
                let text = std::fs::read_to_string(&file).map_err(|e| wrong(e.to_string()))?;
                of_lines(text.trim_start_matches('\u{feff}'), renormalize)
            } else {
                let rows = Rows::of_file(&file, &COLUMNS);
                rows.and_then(|rows| of_rows(&rows, renormalize))
            };
            let found = found.map_err(wrong)?;
            if found.is_empty() {
                return Err(wrong("it has no question".to_owned()));
            }
            all.extend(found);
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = all.iter().find(|question| !seen.insert(&question.id)) {
        return Err(SuiteError::data(
            format!(
                "the question `{}` is there twice: {}",
                twice.id, twice.question
            ),
            "name each file once, and give every question an id of its own",
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<Question>, String> {
        of_rows(&Rows::of_csv(text)?, false)
    }

    #[test]
    fn lines_are_read_whichever_way_shares_are_written() {
        let text = concat!(
            r#"{"id":"a","question":"Q?","options":["x","y"],"human":{"P":{"x":0.25,"y":0.75},"R":[0.5,0.5]}}"#,
            "\n\n",
            r#"{"question":"S?","options":["x","y","no"],"ordinal":true,"declines":["no"],"human":{"P":{"n":12,"shares":{"y":1}}}}"#,
        );
        let found = of_lines(text, false).unwrap();
        assert_eq!(found[0].human["P"].shares, [0.25, 0.75]);
        assert_eq!(found[1].human["P"].shares, [0.0, 1.0, 0.0]);
        assert_eq!(found[1].human["P"].n, Some(12));
        assert!(found[1].ordinal && found[1].declines(2) && found[1].id.starts_with('q'));
        assert_eq!(found[1].answering(&[0.2, 0.2, 0.6]), Some(vec![0.5, 0.5]));
        for (line, said) in [
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[0.5,0.6]}}"#,
                "sum to 1.100",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1]}}"#,
                "1 shares of 2",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[2,-1]}}"#,
                "-1 is no share",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":{"z":1}}}"#,
                "none of the options",
            ),
            (
                r#"{"question":"Q?","options":["x","x"],"human":{"P":[1,0]}}"#,
                "twice",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0],"P":[0,1]}}"#,
                "`P` is there twice",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{}}"#,
                "no people",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":{"x":0.5,"x":0.5,"y":0.5}}}"#,
                "`x` is there twice",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":{"n":3,"shares":[1,0],"year":2000}}}"#,
                "unknown field `year`",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":{"n":-3,"shares":[1,0]}}}"#,
                "not a count",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":["1",0]}}"#,
                "no number",
            ),
            (
                r#"{"question":"Q?","options":["x","y","z"],"declines":["z","z"],"human":{"P":[1,0,0]}}"#,
                "twice",
            ),
            (
                r#"{"question":"Q?","options":["x",""],"human":{"P":[1,0]}}"#,
                "an option is empty",
            ),
            (
                r#"{"question":"Q?","options":["x"],"human":{"P":[1]}}"#,
                "1 options",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0]},"stance":1}"#,
                "unknown field",
            ),
            (
                r#"{"question":"Q?","options":["x","y"],"declines":["y"],"human":{"P":[1,0]}}"#,
                "fewer than two",
            ),
        ] {
            let error = of_lines(line, false).unwrap_err();
            assert!(
                error.contains(said) && error.starts_with("line 1"),
                "{error}"
            );
        }
        let rounded = r#"{"question":"Q?","options":["x","y"],"human":{"P":[0.5,0.6]}}"#;
        let made = of_lines(rounded, true).unwrap();
        assert!((made[0].human["P"].shares[0] - 0.5 / 1.1).abs() < 1e-12);
    }

    #[test]
    fn the_published_form_is_read() {
        let text = "question,selections,options,source\nQ?,\"defaultdict(<class 'list'>, {'Here': [0.25, 0.5, 0.25], 'There': [0, 1, 0]})\",\"['x', \"\"y's\"\", 'DK/Refused']\",GAS\n";
        let found = csv(text).unwrap();
        assert_eq!(found[0].options, ["x", "y's", "DK/Refused"]);
        assert_eq!(found[0].declines, ["DK/Refused"]);
        assert_eq!((found[0].topic.as_str(), found[0].human.len()), ("GAS", 2));
        // The same in another wave is another question; what declines may say so in two ways.
        let twice = text.replace("DK/Refused", "Don’t know / No answer");
        let row = twice.lines().nth(1).unwrap().to_owned();
        let found = csv(&format!("{twice}{row}\n")).unwrap();
        assert_eq!(found[1].id, format!("{}-2", found[0].id));
        assert_eq!(found[0].declines.len(), 1);
        let wrong = text.replace("'There'", "'Here'");
        assert!(csv(&wrong).unwrap_err().contains("twice"));
        let wrong = text.replace("[0, 1, 0]", "[0, 1]");
        assert!(csv(&wrong).unwrap_err().contains("2 shares of 3"));
    }

    #[test]
    fn rows_of_options_are_put_together() {
        let text = "question,option,population,share,n\nQ?,x,P,.5,10\nQ?,y,P,.5,10\nQ?,y,R,1,\n";
        let found = csv(text).unwrap();
        assert_eq!(found[0].human["R"].shares, [0.0, 1.0]);
        assert_eq!(found[0].human["P"].n, Some(10));
        assert!(
            csv(&format!("{text}Q?,y,R,1,\n"))
                .unwrap_err()
                .contains("twice")
        );
        let more = "question,option,population,share,ordinal,declines,n\nQ?,x,P,.5,yes,,1200.0\nQ?,y,P,.3,yes,,1200\nQ?,rather not,P,.2,1,true,1200\n";
        let found = csv(more).unwrap();
        assert!(found[0].ordinal && found[0].declines == ["rather not"]);
        assert_eq!(found[0].human["P"].n, Some(1200));
        for (from, to, said) in [
            ("declines", "decline", "unknown column `decline`"),
            ("Q?,y,P,.3,yes", "Q?,y,P,.3,maybe", "neither true nor false"),
            (
                "Q?,y,P,.3,yes",
                "Q?,y,P,.3,no",
                "differs from its first row",
            ),
            ("1200\n", "many\n", "not a count"),
        ] {
            let error = csv(&more.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(
            csv("question,option,share\n")
                .unwrap_err()
                .contains("`population`")
        );
        assert!(
            csv("question,option,population,share\nQ?,x,P,many\n")
                .unwrap_err()
                .contains("`many`")
        );
    }

    #[test]
    fn a_pickle_is_never_opened_and_nothing_is_asked_twice() {
        let folder = tempfile::tempdir().unwrap();
        let pickle = folder.path().join("a.PKL");
        std::fs::write(&pickle, "x").unwrap();
        let of = |path: &Path| paths(&[path.to_str().unwrap().to_owned()], false);
        assert!(of(&pickle).unwrap_err().to_string().contains("not opened"));
        assert!(
            of(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no .jsonl")
        );
        let line = r#"{"question":"Q?","options":["x","y"],"human":{"P":[1,0]}}"#;
        let file = folder.path().join("a.jsonl");
        std::fs::write(&file, line).unwrap();
        assert_eq!(of(&file).unwrap().len(), 1);
        assert_eq!(of(folder.path()).unwrap().len(), 1);
        let again = file.to_str().unwrap().to_owned();
        let twice = paths(&[again.clone(), again], false).unwrap_err();
        assert!(twice.to_string().contains("there twice"));
    }
}
