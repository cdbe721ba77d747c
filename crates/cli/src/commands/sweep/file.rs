//! What is swept over: a file of checkpoints, flags that all cells have, and flags with several values.

use crate::arguments::{Flag, checkpoint_name, flags, read_file, scalar, takes, unknown, words};
use crate::failure::Failure;
use concord_suites::{DEFAULT, nearest, suite};
use glob::{MatchOptions, Pattern};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Keys of the file, of a checkpoint and of what is left out.
const KEYS: [&str; 5] = ["out", "run", "checkpoints", "matrix", "exclude"];
const OF_CHECKPOINTS: [&str; 5] = ["name", "model", "models", "adapters", "pair"];
/// The longest name of a cell, in bytes: file systems take 255, of which endings need some.
const LONGEST: usize = 200;
/// Flags that a sweep sets itself.
const OWN: [&str; 9] = [
    "model", "adapter", "pair", "name", "out", "force", "shard", "dry-run", "format",
];

/// One checkpoint of a sweep, or several that are asked together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    /// One, or a chain whose first is the base.
    pub models: Vec<String>,
    pub pair: Option<String>,
    /// An adapter of the one model.
    pub adapter: Option<String>,
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// The name of its folder, and of the cell.
    pub name: String,
    pub entry: Entry,
    /// Its flags, but for who is asked and where it goes.
    pub words: Vec<String>,
}

/// A sweep.
#[derive(Debug)]
pub(super) struct Sweep {
    pub out: PathBuf,
    pub cells: Vec<Cell>,
    /// What of the file leaves nothing out.
    pub useless: Vec<String>,
}

/// Reads a sweep.
pub(super) fn read(path: &Path, out: Option<&Path>) -> Result<Sweep, Failure> {
    let shown = path.display();
    let help = "see docs/sweeps.md";
    let parsed = read_file(path).and_then(|table| {
        let sweep = cells(&table).map_err(|problem| format!("{shown}: {problem}"))?;
        Ok((table, sweep))
    });
    let (table, (cells, useless)) = parsed.map_err(|problem| Failure::usage(problem, help))?;
    let named = table.get("out").and_then(Value::as_str).map(PathBuf::from);
    let stem = path.file_stem().unwrap_or_default();
    let out = out.map(Path::to_owned).or(named);
    Ok(Sweep {
        out: out.unwrap_or_else(|| Path::new("sweeps").join(stem)),
        cells,
        useless,
    })
}

/// Every combination, less what is excluded, and what excludes nothing.
fn cells(table: &Table) -> Result<(Vec<Cell>, Vec<String>), String> {
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(unknown(key, &KEYS));
    }
    let is_name = |out: &Value| out.as_str().is_some_and(|out| !out.trim().is_empty());
    if table.get("out").is_some_and(|out| !is_name(out)) {
        return Err("`out` is the name of a folder".to_owned());
    }
    let mut flags = flags();
    flags.retain(|flag| !OWN.contains(&flag.name.as_str()));
    let (run, matrix) = (part(table, "run")?, part(table, "matrix")?);
    let entries = entries(table)?;
    let mut common: Vec<(String, Vec<String>)> = Vec::new();
    for key in run.keys().chain(matrix.keys()) {
        let name = key.replace('_', "-");
        if OWN.contains(&name.as_str()) {
            return Err(format!(
                "`{key}` is what the sweep itself says of each cell"
            ));
        }
    }
    for (key, value) in &run {
        if matrix.contains_key(key) {
            return Err(format!("`{key}` stands in [run] and in [matrix]"));
        }
        common.push((key.replace('_', "-"), words(&flags, key, value)?));
    }
    let axes = axes(&flags, &matrix)?;
    let excluded = excluded(table, &axes)?;
    let mut rules_used = vec![false; excluded.len()];
    let mut cells: Vec<Cell> = Vec::new();
    let mut places: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    let mut used: BTreeMap<&str, bool> = BTreeMap::new();
    for entry in &entries {
        for chosen in combinations(&axes) {
            let fits: Vec<bool> = excluded
                .iter()
                .map(|rule| fits(rule, &entry.name, &chosen))
                .collect();
            for (is_used, fits) in rules_used.iter_mut().zip(&fits) {
                *is_used |= fits;
            }
            if fits.contains(&true) {
                continue;
            }
            let typed = common.iter().map(|(key, words)| (key.as_str(), words));
            let swept = chosen.iter().map(|(key, value)| (*key, &value.words));
            let all: Vec<(&str, &Vec<String>)> = typed.chain(swept).collect();
            let of_suite = suite_of(&all)?;
            // What another suite of the sweep takes is left out where a suite has no such option.
            let has = |key: &str| takes(of_suite, key);
            for (key, _) in &all {
                *used.entry(key).or_default() |= has(key);
            }
            let mut name = vec![entry.name.clone()];
            for (key, value) in chosen.iter().filter(|(key, _)| has(key)) {
                // Also of one value: another that is added renames nothing.
                name.push(match *key {
                    "suite" => value.label.clone(),
                    key => format!("{key}={}", value.label),
                });
            }
            let kept = all.iter().filter(|(key, _)| has(key));
            let name = plain(&name.join("--"));
            if name.len() > LONGEST {
                let start: String = name.chars().take(40).collect();
                return Err(format!(
                    "the cell `{start}…` has a name of {} bytes, and {LONGEST} are the most; give its checkpoint a shorter `name`",
                    name.len()
                ));
            }
            let cell = Cell {
                name,
                entry: entry.clone(),
                words: kept.flat_map(|(_, words)| (*words).clone()).collect(),
            };
            if cells.contains(&cell) {
                continue;
            }
            let own = (entry.name.clone(), cell.words.clone());
            if let Some(other) = places.insert(cell.name.to_lowercase(), own.clone())
                && other != own
            {
                return Err(format!("two cells would be called `{}`", cell.name));
            }
            cells.push(cell);
        }
    }
    if let Some((key, _)) = used.iter().find(|(_, used)| !**used) {
        return Err(format!("no suite of the sweep has an option `{key}`"));
    }
    if cells.is_empty() {
        return Err("there is no cell: everything is excluded".to_owned());
    }
    let useless = excluded.iter().zip(rules_used);
    let useless = useless.filter(|(_, is_used)| !is_used);
    Ok((cells, useless.map(|(rule, _)| useless_rule(rule)).collect()))
}

/// The suite of a cell.
fn suite_of<'a>(all: &[(&'a str, &'a Vec<String>)]) -> Result<&'a str, String> {
    let named = all.iter().find(|(key, _)| *key == "suite");
    let word = named.and_then(|(_, words)| words.first());
    let name = word
        .and_then(|word| word.split_once('='))
        .map_or(DEFAULT, |(_, name)| name);
    suite(name).map_err(|error| {
        let all = concord_suites::suites().iter();
        let near = nearest(name, all.map(|suite| suite.about().name));
        match near {
            Some(near) => format!("{error}; did you mean `{near}`?"),
            None => format!("{error}; `concord suites` lists them"),
        }
    })?;
    Ok(name)
}

fn part(table: &Table, name: &str) -> Result<Table, String> {
    match table.get(name) {
        None => Ok(Table::new()),
        Some(Value::Table(part)) => Ok(part.clone()),
        Some(_) => Err(format!("`{name}` is a table: [{name}]")),
    }
}

/// A value of a flag that is swept over.
struct Swept {
    label: String,
    words: Vec<String>,
}

type Axes = Vec<(String, Vec<Swept>)>;

fn axes(flags: &[Flag], matrix: &Table) -> Result<Axes, String> {
    let mut axes = Vec::new();
    for (key, values) in matrix {
        let Value::Array(values) = values else {
            return Err(format!("`{key}` in [matrix] has its values in brackets"));
        };
        if values.is_empty() {
            return Err(format!("`{key}` in [matrix] has no value"));
        }
        let mut swept: Vec<Swept> = Vec::new();
        for value in values {
            let found = Swept {
                label: label(value, false),
                words: words(flags, key, value)?,
            };
            if swept.iter().any(|known| known.words == found.words) {
                return Err(format!("`{key}` in [matrix] has `{}` twice", found.label));
            }
            swept.push(found);
        }
        // Where the last parts do not tell them apart, values are called in full.
        let is_twice = |at: usize| {
            let mut before = swept[..at].iter();
            before.any(|known| known.label == swept[at].label)
        };
        if (1..swept.len()).any(is_twice) {
            for (value, found) in values.iter().zip(&mut swept) {
                found.label = label(value, true);
            }
        }
        axes.push((key.replace('_', "-"), swept));
    }
    Ok(axes)
}

/// A value in short: the last part of a path, several with a plus between.
fn label(value: &Value, whole: bool) -> String {
    match value {
        Value::Array(values) => {
            let labels = values.iter().map(|value| label(value, whole));
            labels.collect::<Vec<_>>().join("+")
        }
        value => {
            let text = scalar(value).unwrap_or_default();
            // A condition is no path.
            if whole || text.contains('=') {
                return text;
            }
            let last = text.trim_end_matches('/').rsplit('/').next();
            last.unwrap_or(&text).to_owned()
        }
    }
}

/// Every choice of a value for each flag, the last changing first.
fn combinations(axes: &Axes) -> Vec<Vec<(&str, &Swept)>> {
    let mut all = vec![Vec::new()];
    for (key, values) in axes {
        let longer = all.iter().flat_map(|chosen: &Vec<(&str, &Swept)>| {
            values.iter().map(move |value| {
                let mut chosen = chosen.clone();
                chosen.push((key.as_str(), value));
                chosen
            })
        });
        all = longer.collect();
    }
    all
}

/// Whether a rule is of a checkpoint with these values.
fn fits(rule: &Rule, checkpoint: &str, chosen: &[(&str, &Swept)]) -> bool {
    rule.iter().all(|(key, patterns)| {
        let value = match key.as_str() {
            "checkpoint" => Some(checkpoint),
            key => chosen
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.label.as_str()),
        };
        let options = MatchOptions::new();
        let last = value.map(|value| value.rsplit('/').next().unwrap_or(value));
        let mut all = value.into_iter().chain(last);
        all.any(|value| patterns.iter().any(|p| p.matches_with(value, options)))
    })
}

/// That a rule leaves nothing out.
fn useless_rule(rule: &Rule) -> String {
    let parts = rule.iter().map(|(key, patterns)| {
        let patterns: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
        format!("{key} = {}", patterns.join(" or "))
    });
    format!(
        "[[exclude]] {} leaves nothing out",
        parts.collect::<Vec<_>>().join(", ")
    )
}

/// Values of flags, each of which may be a pattern.
type Rule = Vec<(String, Vec<Pattern>)>;

/// What is left out: combinations that have all values of a rule, each of which may be a pattern.
fn excluded(table: &Table, axes: &Axes) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for rule in tables(table, "exclude")? {
        let mut known = vec!["checkpoint"];
        known.extend(axes.iter().map(|(key, _)| key.as_str()));
        let mut parsed = Vec::new();
        for (key, value) in rule {
            let name = key.replace('_', "-");
            if !known.contains(&name.as_str()) {
                return Err(format!("[[exclude]]: {}", unknown(key, &known)));
            }
            let values = match value {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            let patterns = values.iter().map(|value| {
                Pattern::new(&label(value, false))
                    .map_err(|error| format!("[[exclude]]: {key}: {error}"))
            });
            parsed.push((name, patterns.collect::<Result<Vec<_>, _>>()?));
        }
        rules.push(parsed);
    }
    Ok(rules)
}

fn tables<'a>(table: &'a Table, name: &str) -> Result<Vec<&'a Table>, String> {
    let wrong = || format!("`{name}` is a list of tables: [[{name}]]");
    match table.get(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_table().ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// The checkpoints, each with a name that no other has. A name does not depend on what else is swept over: a cell that is there stays what
/// it is.
fn entries(table: &Table) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for given in tables(table, "checkpoints")? {
        let new = of_checkpoint(given).map_err(|problem| format!("[[checkpoints]]: {problem}"))?;
        entries.extend(new);
    }
    if entries.is_empty() {
        return Err(
            "there are no checkpoints: [[checkpoints]] with `model`, `models` or `pair`".to_owned(),
        );
    }
    for (at, entry) in entries.iter().enumerate() {
        if entries[..at].iter().any(|known| known.name == entry.name) {
            return Err(format!(
                "two checkpoints are called `{}`; give each a [[checkpoints]] with a `name`",
                entry.name
            ));
        }
    }
    Ok(entries)
}

fn of_checkpoint(given: &Table) -> Result<Vec<Entry>, String> {
    if let Some(key) = given
        .keys()
        .find(|key| !OF_CHECKPOINTS.contains(&key.as_str()))
    {
        return Err(unknown(key, &OF_CHECKPOINTS));
    }
    let name = match given.get("name") {
        None => None,
        Some(Value::String(name)) => Some(checked(name)?),
        Some(_) => return Err("`name` is a text".to_owned()),
    };
    let texts = |key: &str| -> Result<Vec<String>, String> {
        let wrong = || format!("`{key}` is a text, or several in brackets");
        match given.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(all)) => {
                let texts = all.iter().map(|one| one.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    };
    let (model, models) = (texts("model")?, expanded(&texts("models")?)?);
    let (adapters, pair) = (expanded(&texts("adapters")?)?, texts("pair")?);
    let kinds = [!model.is_empty(), !models.is_empty(), !pair.is_empty()];
    if kinds.iter().filter(|is| **is).count() != 1 {
        return Err("it has one of `model` (one, or a chain that is asked together), `models` (each by itself) and `pair`".to_owned());
    }
    let entry = |name: String, models: Vec<String>| Entry {
        name,
        models,
        pair: None,
        adapter: None,
    };
    let mut entries = Vec::new();
    match &pair[..] {
        [] => {}
        [pair] => entries.push(Entry {
            pair: Some(pair.clone()),
            ..entry(name.clone().unwrap_or_else(|| plain(pair)), Vec::new())
        }),
        _ => return Err("`pair` is the name of one".to_owned()),
    }
    for (own, model) in &models {
        let name = name.clone().filter(|_| models.len() == 1);
        entries.push(entry(
            name.unwrap_or_else(|| own.clone()),
            vec![model.clone()],
        ));
    }
    if name.is_some() && models.len() > 1 {
        return Err("one `name` for several checkpoints".to_owned());
    }
    if let Some(pattern) = model.iter().find(|model| is_pattern(model)) {
        return Err(format!(
            "`model` names one, and `{pattern}` is a pattern: those stand in `models`"
        ));
    }
    if let [first, ..] = &model[..] {
        let last = model.last().unwrap_or(first);
        let own = if model.len() > 1 {
            format!("{}+{}", short(first), short(last))
        } else {
            short(first)
        };
        entries.push(entry(name.clone().unwrap_or(own), model.clone()));
    }
    if !adapters.is_empty() {
        let [base] = &model[..] else {
            return Err("`adapters` are put on one `model`".to_owned());
        };
        for (own, adapter) in &adapters {
            // Adapters of one name on two bases are told apart by what the bases are called.
            let name = match &name {
                Some(name) => format!("{name}+{own}"),
                None => own.clone(),
            };
            entries.push(Entry {
                adapter: Some(adapter.clone()),
                ..entry(name, vec![base.clone()])
            });
        }
    }
    Ok(entries)
}

/// A name that was given, which is taken as it is or not at all.
fn checked(name: &str) -> Result<String, String> {
    let name = checkpoint_name(name)?;
    let ends = [".partial", ".shards", ".json", ".csv", ".parquet", ".html"];
    match ends.iter().find(|end| name.ends_with(*end)) {
        Some(end) => Err(format!(
            "`{name}` ends in {end}, as other files of a sweep do"
        )),
        None => Ok(name),
    }
}

/// What names stand for: themselves, or the folders and files that fit a pattern, in the order of their names. Each with what it is called:
/// its last part, and of what fits a pattern everything from the first part on that the pattern leaves open.
fn expanded(names: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for name in names {
        if !is_pattern(name) {
            all.push((short(name), name.clone()));
            continue;
        }
        let found = glob::glob(name).map_err(|error| format!("`{name}`: {error}"))?;
        let found = found.filter_map(Result::ok);
        let mut found: Vec<String> = found
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        if found.is_empty() {
            return Err(format!("nothing fits `{name}`"));
        }
        found.sort();
        let parts = |path: &str| path.trim_end_matches('/').split('/').count();
        let mut pattern = name.trim_end_matches('/').split('/');
        let open = pattern.position(is_pattern).unwrap_or(0);
        let kept = parts(name) - open;
        for path in found {
            let path_parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
            let own = path_parts[path_parts.len().saturating_sub(kept)..].join("_");
            all.push((short(&own), path));
        }
    }
    Ok(all)
}

/// Whether a name stands for several.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The last part of a path or of a hub id.
fn short(name: &str) -> String {
    let last = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(name);
    let endings = [".gguf", ".toml"];
    let bare = endings.iter().find_map(|ending| last.strip_suffix(ending));
    plain(bare.unwrap_or(last))
}

/// A name as a folder may have it.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || "-_.@+=".contains(c);
    let name: String = name
        .chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let (cells, _) = cells(&text.parse().unwrap())?;
        Ok(cells.into_iter().map(|cell| cell.name).collect())
    }

    #[test]
    fn cells_are_all_combinations_but_those_that_are_excluded() {
        let text = r#"
            [run]
            limit = 2
            formats = ["letter", "cloze"]
            [[checkpoints]]
            model = "a/base"
            adapters = ["x/one", "x/two"]
            [[checkpoints]]
            name = "chain"
            model = ["b/base", "b/sft"]
            [matrix]
            dtype = ["f32", "bf16"]
            suite = ["valueconsistency", "randomness"]
            orders = ["both", "given"]
            [[exclude]]
            checkpoint = "t*"
            [[exclude]]
            suite = "valueconsistency"
            dtype = ["bf16"]
        "#;
        let found = names(text).unwrap();
        let of = |name: &str| -> Vec<&str> {
            let own = found.iter().filter_map(|cell| cell.strip_prefix(name));
            own.collect()
        };
        // A suite without the option has one cell for all its values.
        let expected = [
            "--dtype=f32--orders=both--valueconsistency",
            "--dtype=f32--randomness",
            "--dtype=f32--orders=given--valueconsistency",
            "--dtype=bf16--randomness",
        ];
        for name in ["base", "chain", "one"] {
            let mut own = of(name);
            own.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(own, expected, "{name}");
        }
        assert!(of("two").is_empty());
        let (cells, useless) = cells(&text.parse().unwrap()).unwrap();
        assert!(useless.is_empty(), "{useless:?}");
        let words = |suite: &str| {
            let cell = cells
                .iter()
                .find(|cell| cell.name.ends_with(suite))
                .unwrap();
            cell.words.join(" ")
        };
        assert!(
            words("valueconsistency")
                .starts_with("--formats=letter --formats=cloze --limit=2 --dtype=f32")
        );
        // What only the other suite takes is not given to it.
        assert!(!words("randomness").contains("formats"));
    }

    #[test]
    fn what_fits_a_pattern_is_called_by_what_the_pattern_leaves_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for step in ["step-1", "step-2"] {
            std::fs::create_dir_all(path(&format!("{step}/final"))).unwrap();
        }
        let sweep = |pattern: &str| {
            format!(
                "[[checkpoints]]\nmodels = [{:?}]\n[matrix]\nseed = [0]",
                path(pattern)
            )
        };
        assert_eq!(
            names(&sweep("step-*/final")).unwrap(),
            ["step-1_final--seed=0", "step-2_final--seed=0"]
        );
        assert_eq!(
            names(&sweep("*-1/final")).unwrap(),
            ["step-1_final--seed=0"]
        );
        let twice = "[[checkpoints]]\nmodels = [\"a/x\", \"b/x\"]";
        let problem = names(twice).unwrap_err();
        assert!(
            problem.contains("two checkpoints are called `x`"),
            "{problem}"
        );
        let named = "[[checkpoints]]\nname = \"p\"\nmodel = \"a/x\"\nadapters = [\"l/x\"]";
        assert_eq!(names(named).unwrap(), ["p", "p+x"]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        for (text, problem) in [
            (
                "checkpoint = 1",
                "unknown key `checkpoint`; did you mean `checkpoints`?",
            ),
            ("[[checkpoints]]\nmodle = \"a\"", "did you mean `model`?"),
            ("", "there are no checkpoints"),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nlimt = 2",
                "unknown key `limt`; did you mean `limit`?",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nout = \"x\"",
                "`out` is what the sweep itself says",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nno_steering = 1",
                "is true or false",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nlimit = [1, 2]",
                "`limit` has one value",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[matrix]\nseed = 1",
                "values in brackets",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[matrix]\nseed = [1, 1]",
                "has `1` twice",
            ),
            (
                "[[checkpoints]]\nmodels = [\"no-such-folder/*\"]",
                "nothing fits `no-such-folder/*`",
            ),
            (
                "[[checkpoints]]\nmodel = \"models/*\"",
                "`models/*` is a pattern: those stand in `models`",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\npair = \"b\"",
                "it has one of `model`",
            ),
            (
                "[[checkpoints]]\nmodel = [\"a\", \"b\"]\nadapters = [\"c\"]",
                "put on one `model`",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[[exclude]]\nsuit = \"b\"",
                "unknown key `suit`",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[[exclude]]\ncheckpoint = \"*\"",
                "everything is excluded",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\nname = \"..\"",
                "a name has letters",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\nname = \"x.partial\"",
                "ends in .partial",
            ),
            (
                "[[checkpoints]]\nmodels = [\"a\", \"b\"]\nname = \"x\"",
                "one `name` for several",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nsuite = \"none\"",
                "no suite `none`",
            ),
            (
                "[[checkpoints]]\nmodel = \"a\"\n[run]\nsuite = \"randomness\"\norders = \"both\"",
                "no suite of the sweep has an option `orders`",
            ),
        ] {
            let found = names(text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
