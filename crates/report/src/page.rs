//! A run as one page of HTML: figures and tables, with nothing to be loaded from anywhere.

use crate::figures::{Estimate, Forest, escaped, radar};
use crate::run::{MEASURES, RunReport};
use concord_suites::valueconsistency::{
    Comparison, Consistency, Findings, PublishedSelection, PublishedTable, published,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// Topics that a figure of topics shows at most.
const TOPICS: usize = 40;

impl RunReport<'_> {
    /// The page. `about` is what is said of the run: label and text.
    pub fn html(&self, about: &[(&str, String)]) -> String {
        let title = self
            .models
            .iter()
            .map(|model| model.name)
            .collect::<Vec<_>>()
            .join(", ");
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>Concord: {0}</title><style>{STYLE}</style></head><body>\n\
             <h1>{0}</h1>\n",
            escaped(&title)
        );
        out.push_str(&self.about(about));
        out.push_str("<h2>How far answers move</h2>\n<p>Mean distance of answers to the Jensen–Shannon centroid of their group, \
            0 where all are alike; lines are 95 % BCa intervals. Two opposite answers are 0.4645 from theirs.</p>\n");
        out.push_str(&self.headline());
        out.push_str(&self.by_key("Across topics, by file", |f| {
            f.files
                .iter()
                .map(|(name, file)| (name.clone(), (file.topic, file.topic_ci95)))
                .collect()
        }));
        out.push_str(&self.by_key("Across paraphrases, by file", |f| {
            f.files
                .iter()
                .map(|(name, file)| (name.clone(), (file.paraphrase, file.paraphrase_ci95)))
                .collect()
        }));
        out.push_str(
            &self.by_key("Controversial and uncontroversial topics", |f| {
                let pairs = f.controversy.iter().flat_map(|found| {
                    let label =
                        |kind: &str| format!("{}, {}: {kind}", found.language, found.country);
                    [
                        (label("controversial"), estimate(found.controversial.topic)),
                        (
                            label("uncontroversial"),
                            estimate(found.uncontroversial.topic),
                        ),
                    ]
                });
                pairs.collect()
            }),
        );
        out.push_str(
            &self.by_key("With and without an option that declines", |f| {
                let found = f.abstention.iter().flat_map(|found| {
                    [
                        ("topics, allowed", found.allowed.topic),
                        ("topics, not allowed", found.not_allowed.topic),
                        ("paraphrases, allowed", found.allowed.paraphrase),
                        ("paraphrases, not allowed", found.not_allowed.paraphrase),
                    ]
                });
                found
                    .map(|(label, found)| (label.to_owned(), estimate(found)))
                    .collect()
            }),
        );
        out.push_str(&self.differences());
        out.push_str(&self.profiles());
        out.push_str(&self.supports());
        out.push_str("<h2>All tables</h2>\n");
        let _ = write!(
            out,
            "<pre>{}</pre>\n</body></html>\n",
            escaped(&self.human())
        );
        out
    }

    fn about(&self, about: &[(&str, String)]) -> String {
        let mut lines = about.to_vec();
        if let Some(limit) = self.limit {
            lines.push((
                "partial",
                format!("only the first {limit} originals of each country"),
            ));
        }
        let rows = lines
            .iter()
            .map(|(key, value)| format!("<tr><th>{key}</th><td>{}</td></tr>", escaped(value)));
        format!("<table>{}</table>\n", rows.collect::<String>())
    }

    fn names(&self) -> Vec<&str> {
        self.models.iter().map(|model| model.name).collect()
    }

    /// The measures, with the study's own models beside where that is asked for and the run has their questions.
    fn headline(&self) -> String {
        let measures = MEASURES.iter().filter(|(key, _)| *key != "support");
        let rows = measures.map(|(key, words)| {
            let cells = self.models.iter().map(|model| {
                model
                    .findings
                    .overall
                    .get(key)
                    .map(|found| estimate(*found))
            });
            ((*words).to_owned(), cells.collect::<Vec<_>>())
        });
        let rows: Vec<_> = rows
            .filter(|(_, cells)| cells.iter().any(Option::is_some))
            .collect();
        let figure = Forest {
            title: "All answers",
            unit: "distance",
            series: &self.names(),
            rows,
        };
        let mut out = figure.svg();
        let published = self.with_published.then(published).and_then(Result::ok);
        let tables = published.iter().flat_map(|published| &published.tables);
        for table in tables.filter(|table| table.name == "headline") {
            for column in 0..table.columns.len() {
                out.push_str(&self.beside(table, column));
            }
        }
        out
    }

    /// A column of a published table, the run's own values first.
    fn beside(&self, table: &PublishedTable, column: usize) -> String {
        let name = &table.columns[column];
        let file = table
            .selection
            .as_ref()
            .map(PublishedSelection::file)
            .unwrap_or_default();
        let own = self.models.iter().filter_map(|model| {
            let (file, findings) = (model.findings.files.get(&file)?, model.findings);
            let found = match name.as_str() {
                "topics" => (file.topic, file.topic_ci95),
                "paraphrases" => (file.paraphrase, file.paraphrase_ci95),
                "languages" => {
                    let found = findings.multilingual.get("us")?;
                    (found.mean, found.ci95)
                }
                _ => return None,
            };
            Some((model.name.to_owned(), vec![Some(found), None]))
        });
        let theirs = table
            .rows
            .iter()
            .filter_map(|row| match row.values[column].as_deref()? {
                [value, low, high] => {
                    Some((row.model.clone(), vec![None, Some((*value, [*low, *high]))]))
                }
                _ => None,
            });
        let figure = Forest {
            title: &format!("{}: {name}", table.title),
            unit: "distance",
            series: &["this run", "published, arXiv 2407.02996"],
            rows: own.chain(theirs).collect(),
        };
        figure.svg()
    }

    /// A figure of what findings have by key.
    fn by_key(&self, title: &str, read: impl Fn(&Findings) -> Vec<(String, Estimate)>) -> String {
        let found: Vec<Vec<(String, Estimate)>> = self
            .models
            .iter()
            .map(|model| read(model.findings))
            .collect();
        let mut keys: Vec<&String> = Vec::new();
        for (key, _) in found.iter().flatten() {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let rows = keys.iter().map(|key| {
            let cells = found.iter().map(|of_model| {
                of_model
                    .iter()
                    .find(|(known, _)| known == *key)
                    .map(|(_, estimate)| *estimate)
            });
            ((*key).clone(), cells.collect())
        });
        let figure = Forest {
            title,
            unit: "distance",
            series: &self.names(),
            rows: rows.collect(),
        };
        figure.svg()
    }

    /// What changed from the first checkpoint to the others.
    fn differences(&self) -> String {
        if self.comparisons.is_empty() {
            return String::new();
        }
        let first = self.models[0].name;
        let others: Vec<&str> = self.models.iter().skip(1).map(|model| model.name).collect();
        let of = |comparisons: &[Comparison], key: &str| {
            comparisons
                .iter()
                .find(|found| found.measure == key)
                .map(|found| (found.difference, found.ci95))
        };
        let rows = MEASURES.iter().map(|(key, words)| {
            let cells = self.comparisons.iter().map(|found| of(found, key));
            ((*words).to_owned(), cells.collect::<Vec<_>>())
        });
        let all = Forest {
            title: &format!("Differences from {first}, paired by answer"),
            unit: "difference",
            series: &others,
            rows: rows
                .filter(|(_, cells)| cells.iter().any(Option::is_some))
                .collect(),
        };
        let mut out = format!("<h2>Against {}</h2>\n{}", escaped(first), all.svg());
        for (name, comparisons) in others.iter().zip(self.comparisons) {
            for measure in ["support", "topic"] {
                let Some(found) = comparisons.iter().find(|found| found.measure == measure) else {
                    continue;
                };
                let mut topics: Vec<_> = found.topics.iter().collect();
                topics.sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
                let rows = topics.iter().take(TOPICS).map(|topic| {
                    let sure = topic.adjusted_p_value.is_some_and(|q| q < 0.05);
                    let label = format!(
                        "{}{} ({})",
                        if sure { "* " } else { "" },
                        topic.topic,
                        topic.file
                    );
                    (label, vec![Some((topic.difference, topic.ci95))])
                });
                let words = MEASURES
                    .iter()
                    .find(|(key, _)| *key == measure)
                    .map_or("", |(_, words)| *words);
                let figure = Forest {
                    title: &format!("{name}: {words}, topics that differ most (* q < 0.05)"),
                    unit: "difference",
                    series: &[name],
                    rows: rows.collect(),
                };
                out.push_str(&figure.svg());
            }
        }
        out
    }

    /// The values that portraits show, around a circle.
    fn profiles(&self) -> String {
        let languages: BTreeSet<&String> = self
            .models
            .iter()
            .flat_map(|model| model.findings.steering.keys())
            .collect();
        let mut out = String::new();
        for language in languages {
            let steering = self
                .models
                .iter()
                .filter_map(|model| Some((model.name, model.findings.steering.get(language)?)));
            let steering: Vec<_> = steering.collect();
            let Some((_, first)) = steering.first() else {
                continue;
            };
            let spokes: Vec<String> = first.values.keys().cloned().collect();
            let series: Vec<(&str, Vec<f64>)> = steering
                .iter()
                .map(|(name, found)| {
                    (
                        *name,
                        found.values.values().map(|value| value.profile).collect(),
                    )
                })
                .collect();
            out.push_str(&radar(
                &format!("Values, {language}: probability of \"like me\""),
                &spokes,
                &series,
            ));
        }
        if out.is_empty() {
            return out;
        }
        format!("<h2>Values</h2>\n<div class=\"side\">{out}</div>\n")
    }

    /// Support by topic, file by file.
    fn supports(&self) -> String {
        let files: BTreeSet<&String> = self
            .models
            .iter()
            .flat_map(|model| {
                model
                    .findings
                    .support
                    .topics
                    .iter()
                    .map(|topic| &topic.file)
            })
            .collect();
        let mut out = String::new();
        for file in files {
            let figure = self.by_key(&format!("Support by topic: {file}"), |f| {
                let topics = f.support.topics.iter().filter(|topic| topic.file == *file);
                topics
                    .map(|topic| (topic.topic.clone(), (topic.mean, topic.ci95)))
                    .collect()
            });
            out.push_str(&figure.replace(">distance</text>", ">probability of support</text>"));
        }
        if out.is_empty() {
            return out;
        }
        format!("<h2>What is supported</h2>\n{out}")
    }
}

fn estimate(found: Consistency) -> Estimate {
    (found.mean, found.ci95)
}
