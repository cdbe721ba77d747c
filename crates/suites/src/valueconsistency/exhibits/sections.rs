//! What is in a run beside the headline: controversy, abstention, passages, portraits, support, and how far letters can be
//! trusted. Each is a table with a column a checkpoint, or nothing where nothing was asked.

use super::{Model, interval};
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::{
    ByGrouping, Consistency, Findings, RankSummary, Robustness, TopicRank,
};
use concord_findings::{Exhibit, Table};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A row: its name, and what it says of a checkpoint.
type Row<'a> = (String, Box<dyn Fn(&Findings) -> Option<String> + 'a>);

/// A table with a column a checkpoint; rows of which no checkpoint says anything are left out, and so is an empty table.
fn by_model(title: &str, models: &[Model<'_>], rows: Vec<Row<'_>>) -> Option<Exhibit> {
    let mut shown = Vec::new();
    for (name, read) in rows {
        let cells: Vec<Option<String>> = models.iter().map(|model| read(model.findings)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(Option::unwrap_or_default);
            shown.push(std::iter::once(name).chain(cells).collect());
        }
    }
    let header = std::iter::once(String::new()).chain(models.iter().map(|m| m.name.to_owned()));
    (!shown.is_empty()).then(|| {
        Exhibit::Table(Table {
            title: Some(title.to_owned()),
            header: header.collect(),
            rows: shown,
        })
    })
}

fn row<'a>(name: impl Into<String>, read: impl Fn(&Findings) -> Option<String> + 'a) -> Row<'a> {
    (name.into(), Box::new(read))
}

fn number(value: f64) -> String {
    format!("{value:.3}")
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn mean(found: Consistency) -> String {
    interval(found.mean, found.ci95)
}

fn with_share(found: Consistency) -> String {
    let share = found
        .of_maximum
        .map(|share| format!(", {:.0} % of most", 100.0 * share));
    format!("{}{}", mean(found), share.unwrap_or_default())
}

/// Controversial against uncontroversial topics.
pub(super) fn controversy(models: &[Model<'_>]) -> Option<Exhibit> {
    let keys: BTreeSet<(String, String)> = models
        .iter()
        .flat_map(|model| &model.findings.controversy)
        .map(|found| (found.language.clone(), found.country.clone()))
        .collect();
    let mut rows = Vec::new();
    for (language, country) in keys {
        let find = move |findings: &Findings| {
            let mut all = findings.controversy.iter();
            all.find(|found| found.language == language && found.country == country)
                .cloned()
        };
        let label = |kind: &str, (language, country): (&str, &str)| {
            format!("{language}, {country}: {kind}")
        };
        let names = find.clone();
        let named = models.iter().find_map(|model| names(model.findings));
        let Some(named) = named else { continue };
        let of = (named.language.as_str(), named.country.as_str());
        let cell = |a: Consistency, b: Consistency, ratio: Option<f64>, ends: Option<[f64; 2]>| {
            let ratio = ratio.map_or_else(String::new, |ratio| format!(" = {ratio:.2} times"));
            let ends =
                ends.map_or_else(String::new, |[low, high]| format!(" [{low:.2}, {high:.2}]"));
            format!("{:.4} / {:.4}{ratio}{ends}", a.mean, b.mean)
        };
        let first = find.clone();
        rows.push(row(label("topics", of), move |findings| {
            let found = first(findings)?;
            Some(cell(
                found.controversial.topic,
                found.uncontroversial.topic,
                found.topic_ratio,
                found.topic_ratio_ci95,
            ))
        }));
        rows.push(row(label("paraphrases", of), move |findings| {
            let found = find(findings)?;
            let (a, b) = (
                found.controversial.paraphrase,
                found.uncontroversial.paraphrase,
            );
            Some(cell(
                a,
                b,
                found.paraphrase_ratio,
                found.paraphrase_ratio_ci95,
            ))
        }));
    }
    by_model(
        "Controversial against uncontroversial topics:",
        models,
        rows,
    )
}

/// Where an option declines.
pub(super) fn abstention(models: &[Model<'_>]) -> Option<Exhibit> {
    type Read = fn(&ByGrouping) -> Consistency;
    let kinds: [(&str, Read); 2] = [
        ("topics", |by| by.topic),
        ("paraphrases", |by| by.paraphrase),
    ];
    let mut rows = vec![
        row("questions asked both ways", |f| {
            Some(f.abstention.as_ref()?.questions.to_string())
        }),
        row("probability of declining", |f| {
            Some(number(f.abstention.as_ref()?.declined))
        }),
        row("label mass", |f| {
            Some(number(f.abstention.as_ref()?.label_mass))
        }),
        row("answers that mostly decline", |f| {
            Some(percent(f.abstention.as_ref()?.mostly_declined))
        }),
    ];
    for (kind, read) in kinds {
        rows.push(row(format!("{kind}, declining allowed"), move |f| {
            Some(with_share(read(&f.abstention.as_ref()?.allowed)))
        }));
        rows.push(row(format!("{kind}, not allowed"), move |f| {
            Some(with_share(read(&f.abstention.as_ref()?.not_allowed)))
        }));
        rows.push(row(format!("{kind}, whether it declines"), move |f| {
            Some(with_share(read(&f.abstention.as_ref()?.declining)))
        }));
        rows.push(row(
            format!("{kind}, among what it does not decline"),
            move |f| Some(with_share(read(&f.abstention.as_ref()?.among_the_rest))),
        ));
    }
    let title = "With an option that declines (the same orders with and without it):";
    by_model(title, models, rows)
}

/// What was written.
pub(super) fn open(models: &[Model<'_>]) -> Option<Exhibit> {
    let mut rows = vec![
        row("passages asked / with text", |f| {
            let passages = f.open.as_ref()?.passages;
            Some(format!("{} / {}", passages.asked, passages.written))
        }),
        row("empty, unfinished, repeating, other language", |f| {
            let p = f.open.as_ref()?.passages;
            Some(format!(
                "{}, {}, {}, {}",
                p.empty, p.unfinished, p.repeating, p.other_language
            ))
        }),
    ];
    let raters: BTreeSet<&String> = models
        .iter()
        .filter_map(|model| model.findings.open.as_ref())
        .flat_map(|open| open.raters.keys())
        .collect();
    for rater in raters {
        rows.extend(of_rater(rater));
    }
    rows.push(row("one rater under two names", |f| {
        let agreement = f.open.as_ref()?.agreement.as_ref()?;
        let names = agreement.duplicates.iter().map(|pair| pair.join(" = "));
        (!agreement.duplicates.is_empty()).then(|| names.collect::<Vec<_>>().join(", "))
    }));
    rows.push(row("raters agree: Fleiss' kappa", |f| {
        let agreement = f.open.as_ref()?.agreement.as_ref()?;
        let (all, some) = (agreement.passages, agreement.left_out);
        Some(format!(
            "{:.3} over {all} passages, {some} left out",
            agreement.kappa?
        ))
    }));
    rows.push(row("raters agree: median kappa of files", |f| {
        let open = f.open.as_ref()?;
        Some(number(open.agreement.as_ref()?.median_kappa_of_files?))
    }));
    rows.push(row("raters agree: median kappa of topics", |f| {
        let agreement = f.open.as_ref()?.agreement.as_ref()?;
        let kappa = agreement
            .median_kappa_of_topics
            .map_or_else(|| "none".to_owned(), number);
        Some(format!(
            "{kappa} of {}; {} more are unanimous and have none",
            agreement.topics, agreement.unanimous_topics
        ))
    }));
    let pairs: BTreeSet<[String; 2]> = models
        .iter()
        .filter_map(|model| model.findings.open.as_ref()?.agreement.as_ref())
        .flat_map(|agreement| agreement.pairs.iter().map(|pair| pair.raters.clone()))
        .collect();
    for pair in pairs {
        rows.push(row(
            format!("{} and {} rate alike", pair[0], pair[1]),
            move |f| {
                let all = &f.open.as_ref()?.agreement.as_ref()?.pairs;
                let found = all.iter().find(|found| found.raters == pair)?;
                let same = percent(found.same_stance);
                Some(format!(
                    "{same} of {}, {:.4} apart",
                    found.passages, found.distance.mean
                ))
            },
        ));
    }
    rows.push(row("distance between raters", |f| {
        Some(mean(f.open.as_ref()?.agreement.as_ref()?.distance))
    }));
    by_model(
        "Passages that checkpoints wrote, and how they were rated:",
        models,
        rows,
    )
}

/// What one rater made of the passages.
fn of_rater(rater: &String) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let find = move |f: &Findings| f.open.as_ref()?.raters.get(rater).cloned();
    rows.push(row(format!("rated by {rater}: topics"), move |f| {
        Some(mean(find(f)?.consistency.topic))
    }));
    rows.push(row(format!("rated by {rater}: paraphrases"), move |f| {
        Some(mean(find(f)?.consistency.paraphrase))
    }));
    rows.push(row(
        format!("rated by {rater}: passages, left out"),
        move |f| {
            let trust = find(f)?.trust;
            Some(format!("{}, {}", trust.passages, trust.left_out))
        },
    ));
    rows.push(row(format!("rated by {rater}: label mass"), move |f| {
        let found = find(f)?;
        let doubt = if found.doubtful { " (unreliable)" } else { "" };
        let low = found.trust.doubtful_passages;
        Some(format!(
            "{:.3}{doubt}, below 0.5 in {low}",
            found.trust.label_mass
        ))
    }));
    rows.push(row(
        format!("rated by {rater}: flips with order"),
        move |f| find(f)?.trust.flip_rate.map(percent),
    ));
    rows.push(row(
        format!("rated by {rater}: known stances read right"),
        move |f| {
            let trust = find(f)?.trust;
            Some(format!(
                "{} of {}",
                percent(trust.argued_right?),
                trust.argued
            ))
        },
    ));
    rows.push(row(
        format!("rated by {rater}: bias to support"),
        move |f| Some(format!("{:+.3}", find(f)?.trust.bias?)),
    ));
    rows
}

/// The portraits.
pub(super) fn steering(models: &[Model<'_>]) -> Option<Exhibit> {
    let languages: BTreeSet<&String> = models
        .iter()
        .flat_map(|model| model.findings.steering.keys())
        .collect();
    let rank = |rank: Option<RankSummary>| {
        let rank = rank?;
        Some(format!(
            "{} [{}, {}]",
            rank.median, rank.least, rank.largest
        ))
    };
    let mut rows = Vec::new();
    for language in languages {
        let find = move |f: &Findings| f.steering.get(language).cloned();
        rows.push(row(
            format!("{language}: portraits, label mass"),
            move |f| {
                let found = find(f)?;
                Some(format!("{}, {:.3}", found.portraits, found.label_mass))
            },
        ));
        rows.push(row(
            format!("{language}: own value moves answers by"),
            move |f| {
                let found = find(f)?;
                Some(format!(
                    "{:+.3}, others by {:+.3}",
                    found.own_effect?, found.other_effect?
                ))
            },
        ));
        rows.push(row(
            format!("{language}: p of own value by chance"),
            move |f| {
                let found = find(f)?;
                let absolute = found
                    .absolute_p_value
                    .map_or_else(String::new, |p| format!(", absolute {p:.4}"));
                Some(format!("{:.4}{absolute}", found.p_value?))
            },
        ));
        rows.push(row(
            format!("{language}: rank of own value (0 best)"),
            move |f| rank(find(f)?.rank),
        ));
        rows.push(row(
            format!("{language}: rank as the study's code has it"),
            move |f| rank(find(f)?.study_rank),
        ));
        rows.push(row(format!("{language}: valued most"), move |f| {
            let found = find(f)?;
            let mut values: Vec<_> = found.values.iter().collect();
            values.sort_by(|a, b| b.1.centred.total_cmp(&a.1.centred));
            let names: Vec<&str> = values
                .iter()
                .take(3)
                .map(|(name, _)| name.as_str())
                .collect();
            Some(names.join(", "))
        }));
    }
    by_model(
        "Portraits, answered by a value (ranks among the prompted values, median and range):",
        models,
        rows,
    )
}

/// Topics at either end, and whether "yes" is said whatever it means.
pub(super) fn support(models: &[Model<'_>]) -> Vec<Exhibit> {
    let mut out = Vec::new();
    for model in models {
        let support = &model.findings.support;
        if support.most_consistent.is_empty() || !model.assessed.is_measurable() {
            continue;
        }
        let list = |topics: &[TopicRank]| -> String {
            let named = topics
                .iter()
                .map(|t| format!("{} ({}, {:.3})", t.topic, t.file, t.pooled));
            named.collect::<Vec<_>>().join("; ")
        };
        out.push(Exhibit::Note(format!(
            "{}: answered most alike: {}\n{}: answered least alike: {}\n",
            model.name,
            list(&support.most_consistent),
            model.name,
            list(&support.least_consistent)
        )));
    }
    let first = |f: &Findings| f.support.first_option;
    let rows = vec![
        row("probability where it supports", move |f| {
            first(f)?.where_it_supports.map(number)
        }),
        row("probability where it opposes", move |f| {
            first(f)?.where_it_opposes.map(number)
        }),
        row("bias to it", move |f| {
            first(f)?.bias.map(|bias| format!("{bias:+.3}"))
        }),
    ];
    let title = "The first option (\"yes\" in the study's questions):";
    out.extend(by_model(title, models, rows));
    out
}

/// How far letters can be trusted.
pub(super) fn trust(models: &[Model<'_>]) -> Option<Exhibit> {
    type Read = fn(&Robustness) -> Option<f64>;
    let plain: [(&str, Read); 7] = [
        ("label mass", |trust| Some(trust.label_mass)),
        ("prompts with mass < 0.5", |trust| {
            Some(trust.low_label_mass)
        }),
        ("top token is a letter", |trust| {
            Some(trust.first_token_valid)
        }),
        ("probability of letter A", |trust| trust.letter_prior),
        ("answers that flip with order", |trust| trust.flip_rate),
        ("texts with other joint tokens", |trust| {
            trust.joint_tokens_differ
        }),
        ("entropy of the next token", |trust| Some(trust.entropy)),
    ];
    let mut rows: Vec<Row<'_>> = plain
        .into_iter()
        .map(|(name, read)| row(name, move |f| read(f.robustness.as_ref()?).map(number)))
        .collect();
    rows.push(row("spelt", |f| {
        let spellings = &f.robustness.as_ref()?.spellings;
        let shown = spellings
            .iter()
            .take(3)
            .filter(|spelling| spelling.share >= 0.005);
        let shown: Vec<String> = shown
            .map(|s| format!("{:?} {}", s.spelling, percent(s.share)))
            .collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }));
    for (key, words) in [
        ("debiased", "position-debiased"),
        ("top_five", "from the top five tokens"),
    ] {
        rows.push(row(format!("topics, {words}"), move |f| {
            Some(mean(f.other_readings.get(key)?.topic))
        }));
        rows.push(row(format!("paraphrases, {words}"), move |f| {
            Some(mean(f.other_readings.get(key)?.paraphrase))
        }));
    }
    rows.push(row("five tokens: prompts that differ", |f| {
        let trust = f.robustness.as_ref()?;
        let (differ, other) = (trust.top_five.differ, trust.top_five.other_answer.len());
        Some(format!("{differ}, another answer in {other}"))
    }));
    rows.push(row("answer in own words agrees", |f| {
        let followed = f.robustness.as_ref()?.followed?;
        let agree = percent(followed.agree as f64 / followed.stated.max(1) as f64);
        Some(format!(
            "{agree} of {} that state an option, {} asked",
            followed.stated, followed.asked
        ))
    }));
    let wordings: BTreeSet<&String> = models
        .iter()
        .filter_map(|model| model.findings.robustness.as_ref())
        .flat_map(|trust| trust.wordings.keys())
        .collect();
    for wording in wordings {
        rows.push(row(format!("in the words of `{wording}`"), move |f| {
            let effect = f.robustness.as_ref()?.wordings.get(wording)?;
            let other = percent(effect.other_stance);
            Some(format!(
                "{:.4} apart, {other} another stance, {} asked",
                effect.distance, effect.questions
            ))
        }));
    }
    by_model("How far the letters can be trusted:", models, rows)
}

/// What every mean is over.
pub(super) fn sizes(models: &[Model<'_>]) -> Option<Exhibit> {
    let rows = Axis::ALL.into_iter().map(|axis| {
        row(axis.label(), move |f| {
            let found = f.overall.get(&axis)?;
            let alone = match found.alone {
                0 => String::new(),
                alone => format!("; {alone} alone and not counted"),
            };
            Some(format!(
                "{} in {} groups{alone}",
                found.distances, found.groups
            ))
        })
    });
    by_model("Sample sizes:", models, rows.collect())
}

/// Only phrasings that people found to ask the same.
pub(super) fn validated(models: &[Model<'_>]) -> Option<Exhibit> {
    let files: BTreeSet<&String> = models
        .iter()
        .flat_map(|model| model.findings.files.keys())
        .collect();
    let mut rows = Vec::new();
    for file in files {
        let find = move |f: &Findings| f.files.get(file)?.validated;
        rows.push(row(format!("{file}: paraphrases"), move |f| {
            Some(mean(find(f)?.paraphrase))
        }));
        rows.push(row(format!("{file}: topics"), move |f| {
            Some(mean(find(f)?.topic))
        }));
        rows.push(row(format!("{file}: questions left"), move |f| {
            let (asked, found) = (f.files.get(file)?.questions, find(f)?);
            Some(format!(
                "{} of {asked}, {} originals",
                found.questions, found.originals
            ))
        }));
    }
    by_model(
        "Only originals whose paraphrases people found to ask the same:",
        models,
        rows,
    )
}

/// How many questions there were, where something is to be said about it.
pub(super) fn counts(models: &[Model<'_>]) -> Exhibit {
    let mut out = String::new();
    for model in models {
        let counts = &model.findings.questions;
        let _ = write!(
            out,
            "{}: {} questions asked, {} answered, {} left out; {} topics",
            model.name, counts.asked, counts.answered, counts.left_out, counts.topics
        );
        if counts.topics_of_one > 0 {
            let _ = write!(
                out,
                ", {} of them with one question, which is not counted",
                counts.topics_of_one
            );
        }
        if let Some(alone) = counts
            .alone
            .get(&Axis::Paraphrases)
            .filter(|alone| **alone > 0)
        {
            let _ = write!(
                out,
                "; {alone} questions have one phrasing, which is not counted among paraphrases"
            );
        }
        for (country, languages) in &model.findings.multilingual {
            if languages.left_out > 0 {
                let left_out = languages.left_out;
                let _ = write!(
                    out,
                    "; {country}: {left_out} answers without an English original are in no language group"
                );
            }
            for [a, b] in &languages.apart {
                let _ = write!(
                    out,
                    "; {country}: {a} and {b} share no original and are not compared"
                );
            }
        }
        out.push('\n');
    }
    Exhibit::Note(out)
}
