//! What is exported.

use super::measure::{CheckpointFindings, Findings, Quantity, SetFindings};
use concord_findings::{Cell, Column, Estimate, LongTable, TableSpec, Verdict};

/// What the tables are.
pub(crate) static SPECS: [TableSpec; 8] = [
    DISTRIBUTIONS,
    MEASURES,
    SEQUENCES,
    REPEATS,
    GAMES,
    PLACEBO,
    DIVERSITY,
    CHAIN,
];

/// What `randomness_distributions` is.
const DISTRIBUTIONS: TableSpec = TableSpec {
    name: "randomness_distributions",
    about: "a row a member of a set in a wording",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("set", "the set that is chosen from"),
        Column::string(
            "form",
            "`free` where the answer is the checkpoint's from its first token on, `prefilled` where it is begun",
        ),
        Column::string("language", "the language asked in"),
        Column::integer(
            "wording",
            "the number of the wording in its language, from 1",
        ),
        Column::string("member", "the member of the set"),
        Column::float("probability", "its probability, renormalised over the set"),
        Column::float("mass", "the probability of all members together"),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_measures` is.
const MEASURES: TableSpec = TableSpec {
    name: "randomness_measures",
    about: "a row a measure of a set, over all languages and in each",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("set", "the set that is chosen from"),
        Column::string(
            "form",
            "`free` where the answer is the checkpoint's from its first token on, `prefilled` where it is begun",
        ),
        Column::string("language", "the language asked in"),
        Column::string("measure", "what is measured"),
        Column::float("value", "its mean over wordings"),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float("least", "the least value of a wording"),
        Column::float("most", "the largest value of a wording"),
        Column::float("deviation", "the standard deviation over wordings"),
        Column::float(
            "of_mean_distribution",
            "what the mean distribution over wordings has",
        ),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_sequences` is.
const SEQUENCES: TableSpec = TableSpec {
    name: "randomness_sequences",
    about: "a row a sequence of ten numbers",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string(
            "histories",
            "where the numbers before come from: `own` or `uniform`",
        ),
        Column::string("language", "the language asked in"),
        Column::integer(
            "wording",
            "the number of the wording in its language, from 1",
        ),
        Column::integer("sequence", "the number of the sequence, from 1"),
        Column::float(
            "repeats",
            "how many of ten numbers are expected to repeat one before",
        ),
        Column::float(
            "adjacent_repeats",
            "how many are expected to equal the one just before",
        ),
        Column::float(
            "repeats_avoided",
            "how many repeats fewer than uniform draws would have after the same histories",
        ),
        Column::float(
            "repeats_held_back",
            "how many repeats fewer than the checkpoint's own mean distribution would have",
        ),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_repeats` is.
const REPEATS: TableSpec = TableSpec {
    name: "randomness_repeats",
    about: "a row a number of repeats",
    columns: &[
        Column::string("checkpoint", "the checkpoint, or `uniform reference`"),
        Column::integer("repeats", "repeats in a sequence of ten"),
        Column::float("probability", "how probable so many are"),
    ],
};

/// What `randomness_games` is.
const GAMES: TableSpec = TableSpec {
    name: "randomness_games",
    about: "a row a round of rock-paper-scissors in a wording",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("language", "the language asked in"),
        Column::integer(
            "wording",
            "the number of the wording in its language, from 1",
        ),
        Column::integer("round", "the round, from 1"),
        Column::float(
            "exploitability",
            "what the best opponent wins in it, points",
        ),
        Column::float("net_score", "the checkpoint's score after it, points"),
        Column::boolean(
            "exact",
            "whether it is an expectation over all histories, not over sampled ones",
        ),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_placebo` is.
const PLACEBO: TableSpec = TableSpec {
    name: "randomness_placebo",
    about: "a row a number, or a place, where numbers stand behind labels",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("set", "the set that is chosen from"),
        Column::string(
            "form",
            "`free` where the answer is the checkpoint's from its first token on, `prefilled` where it is begun",
        ),
        Column::string("language", "the language asked in"),
        Column::integer(
            "wording",
            "the number of the wording in its language, from 1",
        ),
        Column::string("by", "`number` or `place`"),
        Column::string("which", "the number, or the place from 1"),
        Column::float(
            "probability",
            "the probability of the label of that number, or of that place",
        ),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_diversity` is.
const DIVERSITY: TableSpec = TableSpec {
    name: "randomness_diversity",
    about: "a row a language that poems were written in",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("language", "the language asked in"),
        Column::integer("poems_per_subject", "poems of each subject"),
        Column::float(
            "usable",
            "the share of texts with five words or more that did not end in a loop",
        ),
        Column::float(
            "entropy_rate (bits a token)",
            "bits a token, at temperature 1 over the whole vocabulary",
        ),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float(
            "words",
            "words of a poem on average; in scripts without spaces, characters",
        ),
        Column::float("distinct_1", "the share of different words"),
        Column::float("distinct_2", "the share of different pairs of words"),
        Column::float("self_bleu", "how much a poem has of the others"),
        Column::float(
            "compression_ratio",
            "how far the poems of a subject can be compressed together",
        ),
        Column::float(
            "effective_first_lines",
            "how many first lines there are, counted as if all were equally frequent",
        ),
        Column::string(
            "not_measurable",
            "why nothing is shown; missing where something is",
        ),
    ],
};

/// What `randomness_chain` is.
const CHAIN: TableSpec = TableSpec {
    name: "randomness_chain",
    about: "a row a difference between the first checkpoint and a later one",
    columns: &[
        Column::string(
            "base",
            "the first checkpoint, which later ones are compared with",
        ),
        Column::string("checkpoint", "the later checkpoint"),
        Column::string("set", "the set that is chosen from"),
        Column::string(
            "form",
            "`free` where the answer is the checkpoint's from its first token on, `prefilled` where it is begun",
        ),
        Column::string("measure", "what is measured"),
        Column::float(
            "difference",
            "the later checkpoint less the first, mean over wordings",
        ),
        Column::float("low", "the lower end of its 95 % interval"),
        Column::float("high", "the upper end"),
        Column::integer("n", "how many units it is of"),
        Column::string("unit", "the unit that was drawn"),
        Column::float("p", "of the sign-flip test"),
        Column::float(
            "p_adjusted",
            "the same adjusted over all differences of the checkpoint (Benjamini and Hochberg)",
        ),
        Column::float("effect_size (d)", "Cohen's d of the paired differences"),
    ],
};

/// All tables.
pub(crate) fn tables(findings: &Findings) -> Vec<LongTable> {
    vec![
        distributions(findings),
        measures(findings),
        sequences(findings),
        repeats(findings),
        games(findings),
        placebo(findings),
        diversity(findings),
        chain(findings),
    ]
}

fn reason(verdict: &Verdict) -> Cell {
    match verdict {
        Verdict::Measurable => Cell::Missing,
        Verdict::NotMeasurable(reason) => reason.as_str().into(),
    }
}

/// Adds a row of what may not be shown: how it begins, nothing, and why.
fn push_reason(table: &mut LongTable, mut row: Vec<Cell>, verdict: &Verdict) {
    row.resize(table.columns.len() - 1, Cell::Missing);
    row.push(reason(verdict));
    table.push(row);
}

fn with_ends(estimate: &Estimate) -> [Cell; 5] {
    let end = |of: fn(&concord_findings::Interval) -> f64| -> Cell {
        estimate.interval.as_ref().map(of).into()
    };
    [
        estimate.value.into(),
        end(|interval| interval.low),
        end(|interval| interval.high),
        estimate.n.into(),
        estimate.unit.into(),
    ]
}

fn sets(of: &CheckpointFindings) -> impl Iterator<Item = &SetFindings> {
    of.sets.iter().chain(&of.hiding)
}

fn distributions(findings: &Findings) -> LongTable {
    let mut table = DISTRIBUTIONS.table();
    for checkpoint in &findings.checkpoints {
        for set in sets(checkpoint) {
            for wording in &set.wordings {
                let language = set
                    .languages
                    .iter()
                    .find(|of| of.language == wording.language);
                let why = match (&set.verdict, language) {
                    (Verdict::Measurable, Some(language)) => reason(&language.verdict),
                    (verdict, _) => reason(verdict),
                };
                for (at, member) in set.members.iter().enumerate() {
                    let p = wording
                        .distribution
                        .as_ref()
                        .and_then(|p| p.get(at))
                        .copied();
                    table.push([
                        checkpoint.name.as_str().into(),
                        set.set.as_str().into(),
                        set.carrier.name().into(),
                        wording.language.as_str().into(),
                        wording.wording.into(),
                        member.as_str().into(),
                        p.into(),
                        wording.mass.into(),
                        why.clone(),
                    ]);
                }
            }
        }
    }
    table
}

fn measures(findings: &Findings) -> LongTable {
    let mut table = MEASURES.table();
    for checkpoint in &findings.checkpoints {
        for set in sets(checkpoint) {
            let all = std::iter::once(("all", &set.mass, &set.verdict, set.summary.as_ref()));
            let languages = set.languages.iter().map(|of| {
                let verdict = if set.verdict.is_measurable() {
                    &of.verdict
                } else {
                    &set.verdict
                };
                (of.language.as_str(), &of.mass, verdict, of.summary.as_ref())
            });
            for (language, mass, verdict, summary) in all.chain(languages) {
                let start = || -> Vec<Cell> {
                    vec![
                        checkpoint.name.as_str().into(),
                        set.set.as_str().into(),
                        set.carrier.name().into(),
                        language.into(),
                    ]
                };
                let Some(summary) = summary else {
                    let mut row = start();
                    row.push(Quantity::Mass.label().into());
                    row.extend(with_ends(mass));
                    push_reason(&mut table, row, verdict);
                    continue;
                };
                for (quantity, found) in &summary.quantities {
                    let mut row = start();
                    row.push(quantity.label().into());
                    row.extend(with_ends(&found.estimate));
                    let more = [
                        found.range[0],
                        found.range[1],
                        found.deviation,
                        found.of_mean,
                    ];
                    row.extend(more.map(Cell::from));
                    table.push(row);
                }
            }
        }
    }
    table
}

fn sequences(findings: &Findings) -> LongTable {
    let mut table = SEQUENCES.table();
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.sequences {
            let start = || [checkpoint.name.as_str().into(), of.histories.name().into()];
            let Some(found) = &of.found else {
                push_reason(&mut table, start().into(), &of.verdict);
                continue;
            };
            for (number, (language, wording, values)) in found.each.iter().enumerate() {
                let mut row: Vec<Cell> = start().into();
                row.extend([
                    language.as_str().into(),
                    (*wording).into(),
                    (number + 1).into(),
                ]);
                row.extend(values.map(Cell::from));
                table.push(row);
            }
        }
    }
    table
}

fn repeats(findings: &Findings) -> LongTable {
    let mut table = REPEATS.table();
    let reference = findings.reference.iter();
    let reference = reference.map(|of| ("uniform reference", &of.distribution));
    let found = findings.checkpoints.iter().flat_map(|checkpoint| {
        let of = checkpoint
            .sequences
            .iter()
            .filter_map(|of| of.found.as_ref());
        let of = of.filter_map(|found| found.distribution.as_ref());
        of.map(move |distribution| (checkpoint.name.as_str(), distribution))
    });
    for (name, distribution) in reference.chain(found) {
        for (repeats, p) in distribution.iter().enumerate() {
            table.push([name.into(), repeats.into(), (*p).into()]);
        }
    }
    table
}

fn games(findings: &Findings) -> LongTable {
    let mut table = GAMES.table();
    for checkpoint in &findings.checkpoints {
        let Some(game) = &checkpoint.games else {
            continue;
        };
        let Some(found) = &game.found else {
            let row = vec![checkpoint.name.as_str().into()];
            push_reason(&mut table, row, &game.verdict);
            continue;
        };
        for (language, wording, lost) in &found.each {
            let mut net = 0.0;
            for (round, lost) in found.rounds.iter().zip(lost) {
                net -= lost;
                table.push([
                    checkpoint.name.as_str().into(),
                    language.as_str().into(),
                    (*wording).into(),
                    round.round.into(),
                    (*lost).into(),
                    net.into(),
                    round.is_exact.into(),
                ]);
            }
        }
    }
    table
}

fn placebo(findings: &Findings) -> LongTable {
    let mut table = PLACEBO.table();
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.placebo {
            let start = || -> Vec<Cell> {
                vec![
                    checkpoint.name.as_str().into(),
                    of.set.as_str().into(),
                    of.carrier.name().into(),
                ]
            };
            let Some(found) = &of.found else {
                push_reason(&mut table, start(), &of.verdict);
                continue;
            };
            let numbers = checkpoint.sets.iter().find(|set| set.set == of.set);
            for of in &found.each {
                let mut push = |by: &str, which: Cell, p: f64| {
                    let mut row = start();
                    row.extend([
                        of.language.as_str().into(),
                        of.wording.into(),
                        by.into(),
                        which,
                    ]);
                    row.push(p.into());
                    table.push(row);
                };
                for (at, p) in of.values.iter().enumerate() {
                    let name = numbers.and_then(|set| set.members.get(at)).cloned();
                    push("number", name.into(), *p);
                }
                for (at, p) in of.places.iter().enumerate() {
                    push("place", (at + 1).to_string().into(), *p);
                }
            }
        }
    }
    table
}

fn diversity(findings: &Findings) -> LongTable {
    let mut table = DIVERSITY.table();
    for checkpoint in &findings.checkpoints {
        for of in &checkpoint.diversity {
            let mut row: Vec<Cell> =
                vec![checkpoint.name.as_str().into(), of.language.as_str().into()];
            if let Some(found) = &of.found {
                row.extend([found.poems.into(), of.usable.value.into()]);
                row.extend(with_ends(&found.entropy_rate));
                let more = [
                    found.words,
                    found.distinct_1,
                    found.distinct_2,
                    found.self_bleu,
                    found.compression_ratio,
                    found.first_lines,
                ];
                row.extend(more.map(Cell::from));
            }
            push_reason(&mut table, row, &of.verdict);
        }
    }
    table
}

fn chain(findings: &Findings) -> LongTable {
    let mut table = CHAIN.table();
    for link in &findings.chain {
        for of in &link.differences {
            let mut row: Vec<Cell> = vec![
                link.base.as_str().into(),
                link.later.as_str().into(),
                of.set.as_str().into(),
                of.carrier.name().into(),
                of.quantity.label().into(),
            ];
            row.extend(with_ends(&of.estimate));
            row.extend([of.p.into(), of.adjusted.into(), of.effect.into()]);
            table.push(row);
        }
    }
    table
}
