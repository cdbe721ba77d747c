//! Summaries, levels, checks and topics in full.

use super::grid;
use super::ink::sign_of;
use super::wrapped;
use crate::cast::{Cast, is_faded_in};
use crate::measured::found;
use crate::visible::visible;
use concord_findings::{Axis, Checks, Estimate, Levels, Summary, Table, Topic, Topics};
use std::fmt::Write as _;

/// Checkpoints that stand beside each other at most; more of them become rows.
pub(super) const BESIDE: usize = 4;

/// `0.126` and `[0.119, 0.133]`, with signs where they are differences.
pub(super) fn with_ends(estimate: &Estimate, signs: bool) -> String {
    let write = |value: f64| number(value, signs);
    match &estimate.interval {
        Some(ends) => format!(
            "{} [{}, {}]",
            write(estimate.value),
            write(ends.low),
            write(ends.high)
        ),
        None => write(estimate.value),
    }
}

/// ` [95 %]`, or whatever level the intervals have; nothing where there are none.
pub(super) fn level_of(levels: &Levels) -> String {
    let all = levels.rows.iter().flat_map(|row| &row.levels).flatten();
    let level = all
        .filter_map(|estimate| estimate.interval.as_ref())
        .map(|interval| interval.level)
        .next();
    level.map_or_else(String::new, |level| format!(" [{:.0} %]", 100.0 * level))
}

/// A number of three digits; what rounds to 0 has no sign.
pub(super) fn number(value: f64, signs: bool) -> String {
    let text = if signs {
        format!("{value:+.3}")
    } else {
        format!("{value:.3}")
    };
    if text.trim_start_matches(['+', '-']) == "0.000" {
        "0.000".to_owned()
    } else {
        text
    }
}

/// Sentences and warnings.
pub(super) fn summary(summary: &Summary, cast: &Cast, width: Option<usize>) -> String {
    let mut out = String::new();
    for line in summary.sentences.iter().chain(&summary.partial) {
        out.push_str(&wrapped(&visible(line), width));
    }
    for (mark, text) in &summary.warnings {
        out.push_str(&wrapped(
            &format!("{} {}", sign_of(*mark), visible(text)),
            width,
        ));
    }
    for (name, verdict) in &summary.checkpoints {
        if let Some(reason) = verdict.reason() {
            let name = cast.get(name).map_or(name.as_str(), |member| &member.name);
            out.push_str(&wrapped(
                &format!("{}: not measurable: {}", visible(name), visible(reason)),
                width,
            ));
        }
    }
    out
}

/// A table of levels: a row a measure and checkpoint.
pub(super) fn levels(levels: &Levels, cast: &Cast, width: Option<usize>) -> String {
    let any = |of: &dyn Fn(usize, usize) -> bool| {
        (0..levels.rows.len()).any(|row| (0..levels.checkpoints.len()).any(|at| of(row, at)))
    };
    let shuffled = any(&|row, at| found(&levels.rows[row].of_shuffled, at).is_some());
    let thin = any(&|row, at| found(&levels.rows[row].thin, at).is_some());
    let fades = |row: usize, at: usize| {
        is_faded_in(
            &levels.rows[row],
            at,
            cast.is_faded(&levels.checkpoints[at]),
        )
    };
    let is_compared = |row: usize, at: usize| !fades(row, 0) && !fades(row, at);
    let difference = |row: usize, at: usize| {
        found(&levels.rows[row].differences, at).filter(|_| at > 0 && is_compared(row, at))
    };
    let differs = any(&|row, at| difference(row, at).is_some());
    let signs = levels.axis == Axis::AroundZero;
    let mut header = vec![
        String::new(),
        "checkpoint".to_owned(),
        format!("{}{}", levels.measure.label(), level_of(levels)),
    ];
    if thin {
        header.push("other interval".to_owned());
    }
    if shuffled {
        header.push("of shuffled".to_owned());
    }
    if differs {
        header.push(format!("difference{}", level_of(levels)));
        header.push(String::new());
    } else if any(&fades) {
        header.push(String::new());
    }
    let mut rows = Vec::new();
    for (number, row) in levels.rows.iter().enumerate() {
        for (at, name) in levels.checkpoints.iter().enumerate() {
            let text = |estimate: Option<&Estimate>, signs| {
                estimate.map_or_else(String::new, |estimate| with_ends(estimate, signs))
            };
            let label = match at {
                0 => row.label.clone(),
                1 => row.groups.clone(),
                _ => String::new(),
            };
            let mut cells = vec![label, name.clone(), text(found(&row.levels, at), signs)];
            if thin {
                let ends = found(&row.thin, at).map(Estimate::ends);
                cells.push(
                    ends.map_or_else(String::new, |[low, high]| format!("[{low:.3}, {high:.3}]")),
                );
            }
            if shuffled {
                let ratio = found(&row.of_shuffled, at);
                cells.push(
                    ratio.map_or_else(String::new, |ratio| format!("{:.0} %", 100.0 * ratio.value)),
                );
            }
            if fades(number, at) {
                let faded = if cast.is_faded(name) {
                    "not measurable"
                } else {
                    levels.faded
                };
                cells.push(faded.to_owned());
            } else if differs {
                let difference = difference(number, at);
                cells.push(text(difference, true));
                let word = row.words.get(at).cloned().flatten();
                cells.push(word.filter(|_| difference.is_some()).unwrap_or_default());
            }
            rows.push(cells);
        }
        let published: Vec<String> = row
            .published
            .iter()
            .map(|(name, value)| format!("{name} {value:.3}"))
            .collect();
        if levels.checkpoints.len() == 1 {
            rows.push(vec![row.groups.clone()]);
        }
        if !published.is_empty() {
            rows.push(vec![
                String::new(),
                levels.beside.to_owned(),
                published.join(", "),
            ]);
        }
    }
    let table = Table {
        title: Some(levels.title.clone()),
        header,
        rows,
    };
    let mut out = grid::text(&table, width);
    if !out.is_empty() && !levels.legend.is_empty() {
        let _ = write!(out, "\n{}", wrapped(&visible(&levels.legend), width));
    }
    out
}

/// A table of checks with what each of them is.
pub(super) fn checks(checks: &Checks, cast: &Cast, width: Option<usize>) -> String {
    let cell = |row: usize, at: usize| {
        let cell = checks.rows[row].cells.get(at).and_then(Option::as_ref);
        cell.map_or_else(String::new, |(mark, text)| {
            format!("{} {text}", sign_of(*mark))
        })
    };
    let name = |name: &String| {
        if cast.is_faded(name) {
            format!("({name})")
        } else {
            name.clone()
        }
    };
    let (rows, columns) = (checks.rows.len(), checks.checkpoints.len());
    let table = if columns > BESIDE {
        let header = checks.rows.iter().map(|check| check.name.clone());
        Table {
            title: Some(checks.title.clone()),
            header: std::iter::once(String::new()).chain(header).collect(),
            rows: (0..columns)
                .map(|at| {
                    let cells = (0..rows).map(|row| cell(row, at));
                    std::iter::once(name(&checks.checkpoints[at]))
                        .chain(cells)
                        .collect()
                })
                .collect(),
        }
    } else {
        let header = checks.checkpoints.iter().map(name);
        Table {
            title: Some(checks.title.clone()),
            header: std::iter::once(String::new()).chain(header).collect(),
            rows: (0..rows)
                .map(|row| {
                    let cells = (0..columns).map(|at| cell(row, at));
                    std::iter::once(checks.rows[row].name.clone())
                        .chain(cells)
                        .collect()
                })
                .collect(),
        }
    };
    let mut out = grid::text(&table, width);
    let help: Vec<&concord_findings::Check> = checks
        .rows
        .iter()
        .filter(|check| !check.help.is_empty())
        .collect();
    if !out.is_empty() && !help.is_empty() {
        out.push('\n');
        for check in help {
            out.push_str(&wrapped(
                &visible(&format!("{}: {}", check.name, check.help)),
                width,
            ));
        }
    }
    out
}

/// A table of topics as they come.
pub(super) fn topics(topics: &Topics, cast: &Cast, width: Option<usize>) -> String {
    let names = &topics.checkpoints;
    let compared: Vec<usize> = if names.first().is_some_and(|first| !cast.is_faded(first)) {
        (1..names.len())
            .filter(|at| !cast.is_faded(&names[*at]))
            .collect()
    } else {
        Vec::new()
    };
    let short = |at: usize| {
        cast.get(&names[at])
            .map_or_else(|| names[at].clone(), |member| member.short.clone())
    };
    let [noun, counted, support_noun] = topics.nouns;
    let known = |topic: &Topic| topic.support.iter().any(Option::is_some);
    let supports = topics.rows.iter().any(known);
    let mut header = vec![noun.to_owned()];
    header.extend(topics.facets.iter().map(|facet| (*facet).to_owned()));
    header.push(counted.to_owned());
    header.extend((0..names.len()).map(short));
    header.extend(compared.iter().map(|at| format!("{} differs", short(*at))));
    if supports {
        header.extend((0..names.len()).map(|at| format!("{}, {support_noun}", short(at))));
    }
    let rows = topics.rows.iter().map(|topic| {
        let mut cells = vec![topic.name.clone()];
        cells.extend(topic.facets.iter().cloned());
        cells.push(topic.questions.to_string());
        let level = |at| {
            found(&topic.levels, at)
                .map_or_else(String::new, |level| number(level.value, topics.signed))
        };
        cells.extend((0..names.len()).map(level));
        let difference = |at: &usize| {
            found(&topic.differences, *at).map_or_else(String::new, |found| with_ends(found, true))
        };
        cells.extend(compared.iter().map(difference));
        let support = |at: usize| {
            let value = topic.support.get(at).copied().flatten();
            value.map_or_else(String::new, |value| number(value, false))
        };
        if supports {
            cells.extend((0..names.len()).map(support));
        }
        cells
    });
    let table = Table {
        title: Some(format!("{} ({})", topics.title, topics.measure.label())),
        header,
        rows: rows.collect(),
    };
    grid::text(&table, width)
}
