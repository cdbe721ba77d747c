//! What was found, as data: a row for each estimate.
//!
//! Each function below makes the rows of one part of the findings; what they share is a line of [`Estimates`].

mod verdict;

use super::rows::{ANSWERS, PORTRAITS, TEXTS};
use super::{
    AbstentionFindings, Axis, ByGrouping, Comparison, Consistency, FileFindings, Findings,
    OpenFindings, Robustness, RunFindings, Support, Tested,
};
use concord_findings::{Cell, Column, Estimate, LongTable, Method, TableSpec};
use serde::Serialize;
use serde_json::{Value, json};

/// What all tables are that the study exports.
pub(super) static SPECS: [TableSpec; 4] = [ANSWERS, MEASURES, TEXTS, PORTRAITS];

/// What the table is.
const MEASURES: TableSpec = TableSpec {
    name: "measures",
    about: "a row an estimate: of a checkpoint, or of its difference from the first",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string(
            "base",
            "the checkpoint that it is compared with; missing where it is not compared",
        ),
        Column::string(
            "measure",
            "what is measured, as in findings.json: `paraphrase`, `topic`, `multilingual`, `task_format`, `support`, `label_mass` and so on",
        ),
        Column::string(
            "quantity",
            "what is estimated of it: `mean`, `pooled_mean` (drawn towards the mean of all topics), `share_of_largest`, `share_of_shuffled`, `ratio`, \
             `difference`, `pooled_difference`, `difference_of_shares`, `matched_difference` (at one decisiveness) or `effect_size`",
        ),
        Column::string(
            "estimand",
            "which answers it is of: `one_order` (asked in one random order, in expectation), `averaged` (over both orders), `main` (letters, else \
             texts, else passages; the mean over the orders that the run asked in) or another reading of them",
        ),
        Column::string(
            "group_by",
            "what its answers have in common: `all`, `file`, `topic`, `language`, `country`, `language_and_country`, `controversy`, \
             `wording` or `rater`",
        ),
        Column::string("file", "the file, where they are of one"),
        Column::string("group", "which group they are; missing for all of them"),
        Column::float("value", "the estimate"),
        Column::float(
            "low",
            "the lower end of its interval; missing where it has none",
        ),
        Column::float("high", "the upper end"),
        Column::float("level", "the level of the interval"),
        Column::string(
            "method",
            "how the interval was made: `bootstrap_t` (topics resampled), `pooled` (partial pooling), `bca` or `published`",
        ),
        Column::integer(
            "n",
            "how many units it is of; missing where that is not known",
        ),
        Column::string("unit", "what `n` counts"),
        Column::string(
            "scale",
            "what the value is in: `√nat`, `probability`, `share`, `nats`, `bits`, `ratio` or `d`",
        ),
        Column::float(
            "p",
            "the p-value that there is no difference; missing where nothing was tested",
        ),
        Column::boolean(
            "p_is_bound",
            "whether p is at most that, for no resample reached it",
        ),
        Column::float(
            "p_adjusted",
            "the same adjusted over the family that it is told with: the rows of one format, or the measures of one comparison (Benjamini and \
             Hochberg)",
        ),
        Column::boolean(
            "is_measurable",
            "whether what it is of passed its gates; missing where none was asked for",
        ),
    ],
};

/// All estimates.
pub(super) fn tables(found: &RunFindings) -> Vec<LongTable> {
    let mut table = MEASURES.table();
    for (name, measured) in found.names.iter().zip(&found.measured) {
        let mut rows = Estimates::new(&mut table, name, None);
        of_checkpoint(&mut rows, &measured.findings);
    }
    let others = found.names.iter().skip(1).zip(&found.comparisons);
    for (name, comparisons) in others {
        let mut rows = Estimates::new(&mut table, name, Some(&found.names[0]));
        for comparison in comparisons {
            of_comparison(&mut rows, comparison);
        }
    }
    verdict::rows(&mut table, &found.assessment);
    vec![table]
}

/// The answers that estimates are of unless something else is said.
const MAIN: &str = "main";

/// Which answers an estimate is of.
#[derive(Clone, Copy)]
struct Group<'a> {
    by: &'static str,
    file: Option<&'a str>,
    name: Option<&'a str>,
}

/// All answers.
const ALL: Group<'_> = Group {
    by: "all",
    file: None,
    name: None,
};

impl<'a> Group<'a> {
    fn of(by: &'static str, name: &'a str) -> Self {
        let (file, name) = (None, Some(name));
        Self { by, file, name }
    }

    fn file(file: &'a str) -> Self {
        let (file, name) = (Some(file), Some(file));
        Self {
            by: "file",
            file,
            name,
        }
    }

    fn topic(file: &'a str, topic: &'a str) -> Self {
        let (file, name) = (Some(file), Some(topic));
        Self {
            by: "topic",
            file,
            name,
        }
    }
}

/// What an estimate is of.
#[derive(Clone, Copy)]
struct What<'a> {
    measure: &'a str,
    quantity: &'static str,
    estimand: &'a str,
    scale: &'static str,
}

impl<'a> What<'a> {
    fn mean(measure: &'a str, scale: &'static str) -> Self {
        Self {
            measure,
            quantity: "mean",
            estimand: MAIN,
            scale,
        }
    }

    fn distance(measure: &'a str) -> Self {
        Self::mean(measure, "√nat")
    }
}

/// A test's p, whether it is a bound, and what it is in its family.
#[derive(Clone, Copy, Default)]
struct Test {
    p: Option<f64>,
    is_bound: Option<bool>,
    adjusted: Option<f64>,
}

/// The rows of a checkpoint.
struct Estimates<'a> {
    table: &'a mut LongTable,
    checkpoint: Cell,
    base: Cell,
    is_measurable: Cell,
}

impl<'a> Estimates<'a> {
    fn new(table: &'a mut LongTable, checkpoint: &str, base: Option<&str>) -> Self {
        let (checkpoint, base) = (checkpoint.into(), base.into());
        Self {
            table,
            checkpoint,
            base,
            is_measurable: Cell::Missing,
        }
    }

    fn push(&mut self, what: What<'_>, group: Group<'_>, found: &Estimate) {
        self.push_tested(what, group, found, Test::default());
    }

    /// Adds a difference of all answers with its test.
    fn tested(&mut self, what: What<'_>, found: &Tested) {
        let test = Test {
            p: found.p,
            is_bound: found.p.map(|_| found.p_is_bound),
            adjusted: found.q,
        };
        self.push_tested(what, ALL, &found.estimate, test);
    }

    /// Adds a row with a test's p, as it is and adjusted; none for what could not be measured at all.
    fn push_tested(&mut self, what: What<'_>, group: Group<'_>, found: &Estimate, test: Test) {
        if !found.is_measured() && found.n == 0 {
            return;
        }
        let interval = found.interval.as_ref();
        self.table.push([
            self.checkpoint.clone(),
            self.base.clone(),
            what.measure.into(),
            what.quantity.into(),
            what.estimand.into(),
            group.by.into(),
            group.file.into(),
            group.name.into(),
            found.value.into(),
            interval.map(|interval| interval.low).into(),
            interval.map(|interval| interval.high).into(),
            interval.map(|interval| interval.level).into(),
            interval.map(|interval| key(interval.method)).into(),
            (found.n > 0).then_some(found.n).into(),
            (!found.unit.is_empty()).then_some(found.unit).into(),
            what.scale.into(),
            test.p.into(),
            test.is_bound.into(),
            test.adjusted.into(),
            self.is_measurable.clone(),
        ]);
    }

    /// Adds a mean distance, and its share of the largest that there can be.
    fn consistency(&mut self, what: What<'_>, group: Group<'_>, found: &Consistency) {
        let estimate = by_topic(found.mean, found.ci95).of(found.clusters, "topic");
        if found.distances > 0 {
            self.push(what, group, &estimate);
        }
        if let Some(share) = found.of_maximum {
            let what = What {
                quantity: "share_of_largest",
                scale: "share",
                ..what
            };
            let share = Estimate::exact(share).of(found.distances, "answer");
            self.push(what, group, &share);
        }
    }

    fn groupings(&mut self, estimand: &str, group: Group<'_>, found: &ByGrouping) {
        for (axis, found) in [
            (Axis::Paraphrases, &found.paraphrase),
            (Axis::Topics, &found.topic),
        ] {
            let measure = key(axis);
            let what = What {
                estimand,
                ..What::distance(&measure)
            };
            self.consistency(what, group, found);
        }
    }

    /// Adds numbers without intervals, over so many of a unit.
    fn exact<'b>(
        &mut self,
        numbers: impl IntoIterator<Item = (&'b str, Option<f64>, &'static str)>,
        group: Group<'_>,
        (n, unit): (usize, &'static str),
    ) {
        for (measure, value, scale) in numbers {
            if let Some(value) = value {
                let found = Estimate::exact(value).of(n, unit);
                self.push(What::mean(measure, scale), group, &found);
            }
        }
    }
}

/// What something is called where it is stored.
fn key(of: impl Serialize) -> String {
    match json!(of) {
        Value::String(key) => key,
        other => other.to_string(),
    }
}

/// An estimate whose interval resamples topics; without one where its ends are no numbers.
fn by_topic(value: f64, ends: [f64; 2]) -> Estimate {
    if ends[0].is_nan() {
        return Estimate::exact(value);
    }
    Estimate::with_ends(value, ends, Method::BootstrapT)
}

fn of_checkpoint(rows: &mut Estimates<'_>, found: &Findings) {
    for (axis, of_axis) in &found.overall {
        rows.consistency(What::distance(&key(*axis)), ALL, of_axis);
    }
    for (file, of_file) in &found.files {
        of_one_file(rows, file, of_file);
    }
    for (by, groups) in &found.selections {
        for (name, of_group) in groups {
            rows.groupings(MAIN, Group::of(by, name), of_group);
        }
    }
    for of in &found.controversy {
        let name = format!("{}, {}", of.language, of.country);
        let ratios = [
            ("paraphrase", of.paraphrase_ratio, of.paraphrase_ratio_ci95),
            ("topic", of.topic_ratio, of.topic_ratio_ci95),
        ];
        for (measure, ratio, ends) in ratios {
            let what = What {
                quantity: "ratio",
                estimand: "controversial_over_uncontroversial",
                ..What::mean(measure, "ratio")
            };
            if let Some(ratio) = ratio {
                let group = Group::of("language_and_country", &name);
                let ends = ends.unwrap_or([f64::NAN; 2]);
                rows.push(what, group, &by_topic(ratio, ends));
            }
        }
    }
    for (country, of) in &found.multilingual {
        let estimate = by_topic(of.mean, of.ci95).of(of.distances, "answer");
        let (what, group) = (
            What::distance("multilingual"),
            Group::of("country", country),
        );
        rows.push(what, group, &estimate);
        if let Some(translations) = &of.translations {
            let estimand = "translations";
            rows.consistency(What { estimand, ..what }, group, translations);
        }
    }
    for (file, of) in &found.task_format {
        let estimate = by_topic(of.mean, of.ci95).of(of.distances, "answer");
        rows.push(What::distance("task_format"), Group::file(file), &estimate);
    }
    for (variant, of) in &found.task_format_variants {
        let estimand = *variant;
        let what = What {
            estimand,
            ..What::distance("task_format")
        };
        rows.consistency(what, ALL, of);
    }
    for (reading, of) in &found.other_readings {
        rows.groupings(reading, ALL, of);
    }
    supports(rows, &found.support);
    if let Some(robustness) = &found.robustness {
        trust(rows, robustness);
    }
    if let Some(abstention) = &found.abstention {
        declining(rows, abstention);
    }
    if let Some(open) = &found.open {
        raters(rows, open);
    }
    for (language, of) in &found.steering {
        let numbers = [
            ("portraits_label_mass", Some(of.label_mass), "probability"),
            ("own_value_effect", of.own_effect, "probability"),
            ("other_value_effect", of.other_effect, "probability"),
        ];
        let group = Group::of("language", language);
        rows.exact(numbers, group, (of.portraits, "portrait"));
    }
}

fn of_one_file(rows: &mut Estimates<'_>, file: &str, found: &FileFindings) {
    let group = Group::file(file);
    for (measure, mean, ends, topics) in [
        (
            "paraphrase",
            found.paraphrase,
            found.paraphrase_ci95,
            &found.paraphrase_by_topic,
        ),
        (
            "topic",
            found.topic,
            found.topic_ci95,
            &found.topic_by_topic,
        ),
    ] {
        rows.push(What::distance(measure), group, &by_topic(mean, ends));
        for (topic, mean) in topics {
            let name = found.topic_names.get(topic).unwrap_or(topic);
            let group = Group::topic(file, name);
            rows.push(What::distance(measure), group, &Estimate::exact(*mean));
        }
    }
    let numbers = [
        (
            "paraphrase_entropy",
            Some(found.rephrase_entropy_bits),
            "bits",
        ),
        ("topic_entropy", Some(found.topic_entropy_bits), "bits"),
    ];
    rows.exact(numbers, group, (found.answered, "answer"));
    if let Some(validated) = &found.validated {
        let found = ByGrouping {
            paraphrase: validated.paraphrase,
            topic: validated.topic,
        };
        rows.groupings("validated", group, &found);
    }
}

fn supports(rows: &mut Estimates<'_>, found: &Support) {
    for topic in &found.topics {
        let group = Group::topic(&topic.file, &topic.topic);
        let what = What::mean("support", "probability");
        let unit = (topic.questions, "question");
        rows.push(what, group, &Estimate::exact(topic.mean).of(unit.0, unit.1));
        let quantity = "pooled_mean";
        let pooled = Estimate::with_ends(topic.pooled, topic.ci95, Method::Pooled);
        rows.push(What { quantity, ..what }, group, &pooled.of(unit.0, unit.1));
    }
    for topic in &found.ranked {
        let quantity = "pooled_mean";
        let pooled = Estimate::with_ends(topic.pooled, topic.ci95, Method::Pooled);
        let group = Group::topic(&topic.file, &topic.topic);
        let what = What::distance("topic");
        rows.push(
            What { quantity, ..what },
            group,
            &pooled.of(topic.questions, "question"),
        );
    }
    for (language, share) in &found.yes {
        let group = Group::of("language", language);
        rows.exact([("yes", Some(*share), "share")], group, (0, ""));
    }
    if let Some(first) = &found.first_option {
        let numbers = [
            (
                "first_option_where_it_supports",
                first.where_it_supports,
                "probability",
            ),
            (
                "first_option_where_it_opposes",
                first.where_it_opposes,
                "probability",
            ),
            ("yes_bias", first.bias, "probability"),
        ];
        rows.exact(numbers, ALL, (first.questions, "question"));
    }
}

/// How far letters can be trusted.
fn trust(rows: &mut Estimates<'_>, found: &Robustness) {
    let numbers = [
        ("label_mass", Some(found.label_mass), "probability"),
        ("low_label_mass", Some(found.low_label_mass), "share"),
        ("letters_not_shown", found.not_shown, "share"),
        ("top_is_letter", Some(found.first_token_valid), "share"),
        ("letter_prior", found.letter_prior, "probability"),
        ("flip_rate", found.flip_rate, "share"),
        ("entropy", Some(found.entropy), "nats"),
        ("joint_tokens_differ", found.joint_tokens_differ, "share"),
    ];
    rows.exact(numbers, ALL, (found.prompts, "prompt"));
    for (wording, of) in &found.wordings {
        let numbers = [
            ("wording", Some(of.distance), "√nat"),
            ("other_stance", Some(of.other_stance), "share"),
            ("support_change", Some(of.support_change), "probability"),
        ];
        let group = Group::of("wording", wording);
        rows.exact(numbers, group, (of.questions, "question"));
    }
}

fn declining(rows: &mut Estimates<'_>, found: &AbstentionFindings) {
    let unit = (found.questions, "question");
    let numbers = [
        ("declined", Some(found.declined), "probability"),
        ("mostly_declined", Some(found.mostly_declined), "share"),
        (
            "declining_label_mass",
            Some(found.label_mass),
            "probability",
        ),
    ];
    rows.exact(numbers, ALL, unit);
    for (file, declined) in &found.declined_by_file {
        let numbers = [("declined", Some(*declined), "probability")];
        rows.exact(numbers, Group::file(file), (0, ""));
    }
    rows.groupings("declining_allowed", ALL, &found.allowed);
    rows.groupings("declining_not_allowed", ALL, &found.not_allowed);
    rows.groupings("declining", ALL, &found.declining);
    rows.groupings("not_declined", ALL, &found.among_the_rest);
}

fn raters(rows: &mut Estimates<'_>, found: &OpenFindings) {
    for (rater, of) in &found.raters {
        let group = Group::of("rater", rater);
        rows.groupings("passages", group, &of.consistency);
        let trust = &of.trust;
        let numbers = [
            ("rater_label_mass", Some(trust.label_mass), "probability"),
            ("rater_flip_rate", trust.flip_rate, "share"),
            ("rater_declined", of.declined, "probability"),
        ];
        rows.exact(numbers, group, (trust.passages, "passage"));
        let numbers = [("rater_right", trust.argued_right, "share")];
        rows.exact(numbers, group, (trust.argued, "passage"));
        let numbers = [("rater_bias", trust.bias, "probability")];
        rows.exact(numbers, group, (trust.bias_questions, "question"));
    }
    if let Some(agreement) = &found.agreement {
        let numbers = [
            ("kappa", agreement.kappa, "ratio"),
            (
                "kappa_median_of_files",
                agreement.median_kappa_of_files,
                "ratio",
            ),
            (
                "kappa_median_of_topics",
                agreement.median_kappa_of_topics,
                "ratio",
            ),
        ];
        rows.exact(numbers, ALL, (agreement.passages, "passage"));
        rows.consistency(What::distance("raters"), ALL, &agreement.distance);
    }
}

fn of_comparison(rows: &mut Estimates<'_>, found: &Comparison) {
    let measure = key(found.measure);
    let scale = match found.measure {
        Axis::Support => "probability",
        _ => "√nat",
    };
    let what = What {
        quantity: "difference",
        ..What::mean(&measure, scale)
    };
    let estimate = by_topic(found.difference, found.ci95).of(found.clusters, "topic");
    let test = Test {
        p: found.p_value,
        is_bound: found.p_value.map(|_| found.p_is_bound),
        adjusted: found.adjusted_p_value,
    };
    rows.push_tested(what, ALL, &estimate, test);
    let others = [
        ("ratio", "ratio", found.ratio, (found.pairs, "answer")),
        (
            "effect_size",
            "d",
            found.effect_size,
            (found.groups, "group"),
        ),
    ];
    for (quantity, scale, value, (n, unit)) in others {
        let what = What {
            quantity,
            scale,
            ..what
        };
        if let Some(value) = value {
            rows.push(what, ALL, &Estimate::exact(value).of(n, unit));
        }
    }
    for topic in &found.topics {
        let group = Group::topic(&topic.file, &topic.topic);
        let plain = Estimate::exact(topic.difference).of(topic.pairs, "answer");
        rows.push(what, group, &plain);
        let quantity = "pooled_difference";
        let pooled = Estimate::with_ends(topic.pooled, topic.ci95, Method::Pooled);
        let pooled = pooled.of(topic.originals, "original");
        rows.push(What { quantity, ..what }, group, &pooled);
    }
}
