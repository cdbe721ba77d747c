//! A run as figures.

use super::{Run, beside};
use crate::Show;
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::verdict::Grouping;
use crate::valueconsistency::{
    Comparison, Consistency, Findings, PublishedSelection, PublishedTable, published,
};
use concord_findings::{Estimate, Exhibit, Forest, Measure, Method, Radar};
use std::collections::BTreeSet;

/// Topics that a figure of topics shows at most.
const TOPICS: usize = 40;

/// An estimate and the ends of its interval.
type Pair = (f64, [f64; 2]);

impl Run<'_> {
    /// All figures.
    pub fn figures(&self, show: Show) -> Vec<Exhibit> {
        let mut out = vec![Exhibit::Heading(
            "How far answers move, both orders averaged".to_owned(),
        )];
        self.headline(show, &mut out);
        out.push(
            self.by_key("Across topics, by file", Measure::Distance, |f| {
                f.files
                    .iter()
                    .map(|(name, file)| (name.clone(), (file.topic, file.topic_ci95)))
                    .collect()
            }),
        );
        out.push(
            self.by_key("Across paraphrases, by file", Measure::Distance, |f| {
                f.files
                    .iter()
                    .map(|(name, file)| (name.clone(), (file.paraphrase, file.paraphrase_ci95)))
                    .collect()
            }),
        );
        let title = "Controversial and uncontroversial topics";
        out.push(self.by_key(title, Measure::Distance, |f| {
            let pairs = f.controversy.iter().flat_map(|found| {
                let label = |kind: &str| format!("{}, {}: {kind}", found.language, found.country);
                [
                    (label("controversial"), pair(found.controversial.topic)),
                    (label("uncontroversial"), pair(found.uncontroversial.topic)),
                ]
            });
            pairs.collect()
        }));
        let title = "With and without an option that declines";
        out.push(self.by_key(title, Measure::Distance, |f| {
            let found = f.abstention.iter().flat_map(|found| {
                [
                    ("topics, allowed", found.allowed.topic),
                    ("topics, not allowed", found.not_allowed.topic),
                    ("paraphrases, allowed", found.allowed.paraphrase),
                    ("paraphrases, not allowed", found.not_allowed.paraphrase),
                ]
            });
            found
                .map(|(label, found)| (label.to_owned(), pair(found)))
                .collect()
        }));
        self.differences(&mut out);
        self.profiles(&mut out);
        self.supports(&mut out);
        out
    }

    fn names(&self) -> Vec<String> {
        let names = self.models.iter().map(|model| model.name.to_owned());
        names.collect()
    }

    /// The measures, with the study's own models beside where that is asked for and the run has their questions.
    fn headline(&self, show: Show, out: &mut Vec<Exhibit>) {
        let axes = Axis::ALL.into_iter().filter(|axis| *axis != Axis::Support);
        let rows = axes.map(|axis| {
            let cells = self.models.iter().map(|model| {
                let found = model.findings.overall.get(&axis)?;
                Some(pair(*found))
            });
            (axis.label().to_owned(), cells.collect())
        });
        out.push(forest(
            "All answers".to_owned(),
            Measure::Distance,
            self.names(),
            rows.collect(),
        ));
        let published = show.published.then(published).and_then(Result::ok);
        let tables = published.iter().flat_map(|published| &published.tables);
        for table in tables.filter(|table| table.name == "headline") {
            for column in 0..table.columns.len() {
                out.push(self.beside(table, column));
            }
        }
    }

    /// A column of a published table, the run's own values first.
    fn beside(&self, table: &PublishedTable, column: usize) -> Exhibit {
        let name = &table.columns[column];
        let file = table
            .selection
            .as_ref()
            .map(PublishedSelection::file)
            .unwrap_or_default();
        let own = self.models.iter().filter_map(|model| {
            let (across, part) = match name.as_str() {
                "topics" => (Grouping::Topics, file.as_str()),
                "paraphrases" => (Grouping::Paraphrases, file.as_str()),
                "languages" => (Grouping::Languages, "us"),
                _ => return None,
            };
            let found = beside::one_order(model, across, part)?;
            Some((
                model.name.to_owned(),
                vec![Some((found.value, ends(found))), None],
            ))
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
        forest(
            format!("{}: {name}", table.title),
            Measure::Distance,
            ["this run", "published, arXiv 2407.02996"]
                .map(str::to_owned)
                .to_vec(),
            own.chain(theirs).collect(),
        )
    }

    /// A figure of what findings have by key.
    fn by_key(
        &self,
        title: &str,
        measure: Measure,
        read: impl Fn(&Findings) -> Vec<(String, Pair)>,
    ) -> Exhibit {
        let found: Vec<Vec<(String, Pair)>> = self
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
        forest(title.to_owned(), measure, self.names(), rows.collect())
    }

    /// What changed from the first checkpoint to the others.
    fn differences(&self, out: &mut Vec<Exhibit>) {
        if self.comparisons.is_empty() {
            return;
        }
        let first = self.models[0].name;
        let others = self.models.iter().skip(1).map(|model| model.name);
        let others: Vec<String> = others.map(str::to_owned).collect();
        let rows = Axis::ALL.into_iter().map(|axis| {
            let cells = self.comparisons.iter().map(|comparisons| {
                let found = comparisons.iter().find(|found| found.measure == axis)?;
                Some((found.difference, found.ci95))
            });
            (axis.label().to_owned(), cells.collect())
        });
        out.push(Exhibit::Heading(format!(
            "Against {first}, both orders averaged"
        )));
        let title = format!("Differences from {first}, paired by answer");
        let all = forest(title, Measure::Distance, others.clone(), rows.collect());
        out.push(of_differences(all));
        for (name, comparisons) in others.iter().zip(self.comparisons) {
            for axis in [Axis::Support, Axis::Topics] {
                if let Some(found) = comparisons.iter().find(|found| found.measure == axis) {
                    out.push(topics_that_differ(name, found));
                }
            }
        }
    }

    /// The values that portraits show, around a circle.
    fn profiles(&self, out: &mut Vec<Exhibit>) {
        let languages: BTreeSet<&String> = self
            .models
            .iter()
            .flat_map(|model| model.findings.steering.keys())
            .collect();
        let mut begun = false;
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
            let series = steering.iter().map(|(name, found)| {
                let values = found.values.values().map(|value| value.profile);
                ((*name).to_owned(), values.collect())
            });
            if !begun {
                out.push(Exhibit::Heading("Values".to_owned()));
                begun = true;
            }
            out.push(Exhibit::Radar(Radar {
                title: format!("Values, {language}: {}", Measure::LikeMe.label()),
                spokes,
                series: series.collect(),
            }));
        }
    }

    /// Support by topic, file by file.
    fn supports(&self, out: &mut Vec<Exhibit>) {
        let files: BTreeSet<&String> = self
            .models
            .iter()
            .flat_map(|model| &model.findings.support.topics)
            .map(|topic| &topic.file)
            .collect();
        if !files.is_empty() {
            out.push(Exhibit::Heading("What is supported".to_owned()));
        }
        for file in files {
            let title = format!("Support by topic: {file}");
            out.push(self.by_key(&title, Measure::Support, |f| {
                let topics = f.support.topics.iter().filter(|topic| topic.file == *file);
                topics
                    .map(|topic| (topic.topic.clone(), (topic.pooled, topic.ci95)))
                    .collect()
            }));
        }
    }
}

/// The topics of one comparison that differ most.
fn topics_that_differ(name: &str, found: &Comparison) -> Exhibit {
    let mut topics: Vec<_> = found.topics.iter().collect();
    topics.sort_by(|a, b| b.pooled.abs().total_cmp(&a.pooled.abs()));
    let rows = topics.iter().take(TOPICS).map(|topic| {
        let label = format!("{} ({})", topic.topic, topic.file);
        (label, vec![Some((topic.pooled, topic.ci95))])
    });
    of_differences(forest(
        format!(
            "{name}: {}, topics that change most (partially pooled)",
            found.measure.label()
        ),
        found.measure.measure(),
        vec![name.to_owned()],
        rows.collect(),
    ))
}

fn forest(
    title: String,
    measure: Measure,
    series: Vec<String>,
    rows: Vec<(String, Vec<Option<Pair>>)>,
) -> Exhibit {
    let estimate = |(value, ends)| Estimate::with_ends(value, ends, Method::BootstrapT);
    let rows = rows.into_iter().map(|(label, cells)| {
        let cells = cells.into_iter().map(|cell| cell.map(estimate));
        (label, cells.collect::<Vec<_>>())
    });
    Exhibit::Forest(Forest {
        title,
        measure,
        of_differences: false,
        series,
        // A row of which no series has anything is none.
        rows: rows
            .filter(|(_, cells)| cells.iter().any(Option::is_some))
            .collect(),
    })
}

fn of_differences(forest: Exhibit) -> Exhibit {
    match forest {
        Exhibit::Forest(forest) => Exhibit::Forest(Forest {
            of_differences: true,
            ..forest
        }),
        other => other,
    }
}

fn pair(found: Consistency) -> Pair {
    (found.mean, found.ci95)
}

/// The ends of an interval, which are no numbers where it has none.
fn ends(found: &Estimate) -> [f64; 2] {
    found
        .interval
        .map_or([f64::NAN; 2], |found| [found.low, found.high])
}
