//! Sequences, games, the placebo and diversity.

use super::super::diversity::DiversityNumbers;
use super::super::games::{GameNumbers, MOVES};
use super::super::measure::{CheckpointFindings, Findings, Quantity};
use super::super::name::Histories;
use super::super::placebo::{Effect, PlaceboNumbers};
use super::super::sequences::SequenceNumbers;
use super::{ByCheckpoint, chosen, number, or_dash, or_reason, quantity, same, shown};
use concord_findings::{Exhibit, Measure, Strip};

/// A name, and what is shown of what was found.
type Column<T> = (&'static str, fn(&T) -> String);

fn heading(heading: &str, lead: &str) -> [Exhibit; 2] {
    [
        Exhibit::Heading(heading.to_owned()),
        Exhibit::Lead(lead.to_owned()),
    ]
}

/// A strip, unless nothing has a row in it.
fn strip(
    title: String,
    categories: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
    reference: Option<f64>,
) -> Option<Exhibit> {
    let strip = Strip {
        title,
        measure: Measure::Probability,
        categories,
        rows,
        reference,
    };
    (!strip.rows.is_empty()).then_some(Exhibit::Strip(strip))
}

pub(super) fn sequences(findings: &Findings) -> Vec<Exhibit> {
    let Some(reference) = &findings.reference else {
        return Vec::new();
    };
    let mut all = findings.checkpoints.iter().flat_map(|of| &of.sequences);
    if all.all(|of| of.found.is_none()) {
        return Vec::new();
    }
    let mut all: Vec<Exhibit> = heading(
        "Sequences of ten",
        "How often a number comes again when ten are asked for one by one, and how far the next one depends on those before. \
         Histories are sampled by the seed, the next number is exact; the unit is the sequence, within the wordings asked.",
    )
    .into();
    let title = format!("Sequences from {}", reference.set);
    let mut table = ByCheckpoint::new(Some(title), "histories, measure (uniform draws)", findings);
    let columns: [Column<SequenceNumbers>; 6] = [
        ("repeats", |of| shown(&of.repeats)),
        ("adjacent repeats", |of| shown(&of.adjacent)),
        ("distinct", |of| {
            of.distinct.as_ref().map_or_else(String::new, shown)
        }),
        ("fewer repeats than uniform", |of| shown(&of.avoided)),
        ("repeats held back", |of| shown(&of.held_back)),
        ("dependence on history (bits)", |of| number(of.dependence)),
    ];
    let uniform = [
        reference.repeats,
        reference.adjacent,
        reference.distinct,
        0.0,
        0.0,
        0.0,
    ];
    for (at, histories) in [Histories::Own, Histories::Uniform].into_iter().enumerate() {
        let of = |checkpoint: &CheckpointFindings, cell: &dyn Fn(&SequenceNumbers) -> String| {
            checkpoint.sequences.get(at).map_or_else(String::new, |of| {
                or_dash(&of.verdict, of.found.as_ref().map(cell))
            })
        };
        for ((name, cell), uniform) in columns.into_iter().zip(uniform) {
            let label = format!("{}: {name} ({})", histories.name(), number(uniform));
            table.row(label, |checkpoint| of(checkpoint, &cell));
        }
    }
    all.push(Exhibit::Table(table.table()));
    let mut rows = vec![("uniform draws".to_owned(), reference.distribution.clone())];
    for checkpoint in &findings.checkpoints {
        let found = checkpoint
            .sequences
            .iter()
            .filter_map(|of| of.found.as_ref());
        let own = found.filter_map(|found| found.distribution.clone());
        rows.extend(own.map(|own| (checkpoint.name.clone(), own)));
    }
    let categories = (0..reference.distribution.len()).map(|repeats| repeats.to_string());
    let title = "Number of repeats in ten, after own numbers".to_owned();
    all.extend(strip(title, categories.collect(), rows, None));
    all.push(Exhibit::Note(
        "own: numbers before the next one are drawn from the checkpoint; uniform: from independent uniform draws. Fewer than uniform: \
         what uniform draws would repeat after the same histories, less what the checkpoint does. Held back: what its own mean \
         distribution would repeat after them, less the same, so that a preference for a number does not count. Dependence on \
         history: entropy of the mean next-number distribution over histories less its mean entropy; few histories make it too small."
            .to_owned(),
    ));
    all
}

pub(super) fn games(findings: &Findings) -> Vec<Exhibit> {
    let numbers = |checkpoint: &CheckpointFindings| -> Option<GameNumbers> {
        checkpoint.games.as_ref()?.found.clone()
    };
    let is_played = findings.checkpoints.iter().any(|of| of.games.is_some());
    if !is_played {
        return Vec::new();
    }
    let mut all: Vec<Exhibit> = heading(
        "Games",
        "What the best opponent who knows the checkpoint's distribution wins against it: 0 where it plays uniformly. The unit is the \
         wording.",
    )
    .into();
    let title = "Rock-paper-scissors".to_owned();
    let mut table = ByCheckpoint::new(Some(title), "measure", findings);
    let of = |checkpoint: &CheckpointFindings, cell: &dyn Fn(&GameNumbers) -> String| {
        checkpoint.games.as_ref().map_or_else(String::new, |game| {
            or_dash(&game.verdict, game.found.as_ref().map(cell))
        })
    };
    table.row("valid mass", |checkpoint| {
        let game = checkpoint.games.as_ref();
        game.map_or_else(String::new, |game| {
            or_reason(&game.verdict, Some(shown(&game.mass)))
        })
    });
    table.row("exploitability per round", |checkpoint| {
        of(checkpoint, &|found| shown(&found.exploitability))
    });
    table.row("net score after all rounds", |checkpoint| {
        of(checkpoint, &|found| shown(&found.net))
    });
    let rounds = findings.checkpoints.iter().filter_map(numbers);
    let rounds = rounds.map(|found| found.rounds.len()).max().unwrap_or(0);
    for at in 0..rounds {
        let label = format!("round {}: exploitability, net score", at + 1);
        table.row(label, |checkpoint| {
            let found = numbers(checkpoint);
            let round = found.as_ref().and_then(|found| found.rounds.get(at));
            round.map_or_else(String::new, |round| {
                let sampled = if round.is_exact { "" } else { " (sampled)" };
                let lost = shown(&round.exploitability);
                format!("{lost}, {}{sampled}", number(round.net))
            })
        });
    }
    all.push(Exhibit::Table(table.table()));
    let rows = findings
        .checkpoints
        .iter()
        .filter_map(|checkpoint| Some((checkpoint.name.clone(), numbers(checkpoint)?.moves)));
    let title = "Rock-paper-scissors: moves of all rounds".to_owned();
    let moves = MOVES.map(str::to_owned).into();
    all.extend(strip(title, moves, rows.collect(), Some(1.0 / 3.0)));
    let hiding = findings
        .checkpoints
        .first()
        .map(|first| first.hiding.as_slice());
    let hiding = hiding.unwrap_or_default();
    let mut table = ByCheckpoint::new(Some("Hide and seek".to_owned()), "form, measure", findings);
    for set in hiding {
        for wanted in [Quantity::Mass, Quantity::Excess, Quantity::Entropy] {
            let label = format!("{}: {}", set.carrier.name(), wanted.label());
            table.row(label, |checkpoint| {
                let set = same(checkpoint, &set.set, set.carrier);
                set.map_or_else(String::new, |set| quantity(set, wanted))
            });
        }
    }
    all.push(Exhibit::Table(table.table()));
    if let Some(set) = hiding.first() {
        all.extend(chosen::strips(&set.set, findings));
    }
    all.push(Exhibit::Note(
        "Rock-paper-scissors has fewer wordings than the five that an interval needs. Exploitability of (rock, paper, scissors) = p is max(p_S − p_P, p_R − p_S, p_P − p_R), 1 point per win. It is weighed by how \
         probable each history of the checkpoint's own moves is; the opponent's moves are not told. Hide and seek: what a seeker gains \
         who looks in the likeliest place, over one who looks anywhere."
            .to_owned(),
    ));
    all
}

pub(super) fn placebo(findings: &Findings) -> Vec<Exhibit> {
    let Some(first) = findings
        .checkpoints
        .first()
        .filter(|of| !of.placebo.is_empty())
    else {
        return Vec::new();
    };
    let mut all = findings.checkpoints.iter().flat_map(|of| &of.placebo);
    if all.all(|of| of.found.is_none()) {
        return Vec::new();
    }
    let mut all: Vec<Exhibit> = heading(
        "Placebo",
        "The same numbers behind letters, each number behind each letter equally often: a preference for a number must vanish, or be one \
         for a place. Its letter less 1/n is the preference for the number itself, its place less 1/n that for where it stands in the set; the \
         verdict is by their intervals over wordings. The unit is the wording.",
    )
    .into();
    let title = format!("{} behind letters", first.placebo[0].set);
    let mut table = ByCheckpoint::new(Some(title), "form, measure", findings);
    for (at, of) in first.placebo.iter().enumerate() {
        let (form, set, carrier) = (of.carrier.name(), of.set.clone(), of.carrier);
        let cell = |checkpoint: &CheckpointFindings, cell: &dyn Fn(&PlaceboNumbers) -> String| {
            checkpoint.placebo.get(at).map_or_else(String::new, |of| {
                or_dash(&of.verdict, of.found.as_ref().map(cell))
            })
        };
        let member = |checkpoint: &CheckpointFindings, at: usize| {
            let set = same(checkpoint, &set, carrier);
            set.and_then(|set| set.members.get(at).cloned())
                .unwrap_or_default()
        };
        table.row(
            format!("{form}: P(number looked at) when asked directly"),
            |checkpoint| {
                cell(checkpoint, &|found| {
                    let summary =
                        same(checkpoint, &set, carrier).and_then(|set| set.summary.as_ref());
                    let p = found
                        .target
                        .and_then(|at| Some((at, summary?.distribution.get(at)?)));
                    p.map_or_else(
                        || "not measurable directly".to_owned(),
                        |(at, p)| format!("{}: {}", member(checkpoint, at), number(*p)),
                    )
                })
            },
        );
        table.row(format!("{form}: its letter"), |checkpoint| {
            cell(checkpoint, &|found| {
                found.of_target.as_ref().map_or_else(String::new, shown)
            })
        });

        table.row(format!("{form}: its letter, less 1/n"), |checkpoint| {
            cell(checkpoint, &|found| {
                found.by_target.as_ref().map_or_else(String::new, shown)
            })
        });
        table.row(format!("{form}: its place, less 1/n"), |checkpoint| {
            cell(checkpoint, &|found| {
                found.by_its_place.as_ref().map_or_else(String::new, shown)
            })
        });
        table.row(format!("{form}: verdict"), |checkpoint| {
            cell(checkpoint, &|found| {
                let effect = found.effect.map(Effect::label);
                effect.unwrap_or_default().to_owned()
            })
        });
        table.row(format!("{form}: total variation by number"), |checkpoint| {
            cell(checkpoint, &|found| shown(&found.by_value))
        });
        table.row(format!("{form}: total variation by place"), |checkpoint| {
            cell(checkpoint, &|found| shown(&found.by_place))
        });
    }
    all.push(Exhibit::Table(table.table()));
    all.extend(placebo_strips(findings, first));
    all
}

/// Letters by what stands behind them and by their place.
fn placebo_strips(findings: &Findings, first: &CheckpointFindings) -> Vec<Exhibit> {
    let mut all = Vec::new();
    for (at, of) in first.placebo.iter().enumerate() {
        let Some(set) = same(first, &of.set, of.carrier) else {
            continue;
        };
        let rows = |values: &dyn Fn(&PlaceboNumbers) -> &Vec<f64>| {
            let rows = findings.checkpoints.iter().filter_map(|checkpoint| {
                let found = checkpoint.placebo.get(at)?.found.as_ref()?;
                Some((checkpoint.name.clone(), values(found).clone()))
            });
            rows.collect::<Vec<_>>()
        };
        let form = of.carrier.name();
        let uniform = Some(1.0 / set.members.len() as f64);
        let places = (1..=set.members.len()).map(|place| place.to_string());
        let title = format!("{form}: letters by the number behind them");
        all.extend(strip(
            title,
            set.members.clone(),
            rows(&|of| &of.values),
            uniform,
        ));
        let title = format!("{form}: letters by their place");
        all.extend(strip(
            title,
            places.collect(),
            rows(&|of| &of.places),
            uniform,
        ));
    }
    all
}

pub(super) fn diversity(findings: &Findings) -> Vec<Exhibit> {
    let Some(first) = findings
        .checkpoints
        .first()
        .filter(|of| !of.diversity.is_empty())
    else {
        return Vec::new();
    };
    let mut all: Vec<Exhibit> = heading(
        "Diversity of poems",
        "How different short poems on one subject are from each other, drawn at temperature 1. The unit of the interval is the poem.",
    )
    .into();
    let mut table = ByCheckpoint::new(None, "language, measure", findings);
    let columns: [Column<DiversityNumbers>; 7] = [
        ("entropy rate (bits per token)", |of| {
            shown(&of.entropy_rate)
        }),
        ("words of a poem", |of| number(of.words)),
        ("distinct-1", |of| number(of.distinct_1)),
        ("distinct-2", |of| number(of.distinct_2)),
        ("self-BLEU", |of| number(of.self_bleu)),
        ("compression ratio", |of| number(of.compression_ratio)),
        ("effective number of first lines", |of| {
            format!("{} of {}", number(of.first_lines), of.poems)
        }),
    ];
    for (at, of) in first.diversity.iter().enumerate() {
        for (name, cell) in columns {
            table.row(format!("{}: {name}", of.language), |checkpoint| {
                checkpoint.diversity.get(at).map_or_else(String::new, |of| {
                    or_dash(&of.verdict, of.found.as_ref().map(cell))
                })
            });
        }
    }
    all.push(Exhibit::Table(table.table()));
    all.push(Exhibit::Note(
        "This is diversity, not creativity: whether a poem is original or pleasant, only people can say. In the published study what \
         people preferred went with originality at Spearman −.08 and with pleasantness at +.34. Distinct-n and compression depend on \
         length, so compare checkpoints whose poems are about as long. Compression ratio: bits of the text over those of its LZ78 phrases."
            .to_owned(),
    ));
    all
}
