//! A run as tables: a column a checkpoint, then the difference.

use super::{Run, difference, interval};
use crate::valueconsistency::axis::Axis;
use crate::valueconsistency::{Consistency, Findings};
use concord_findings::{Exhibit, Table};
use std::collections::BTreeSet;

impl Run<'_> {
    fn header(&self, first: &str, differences: bool) -> Vec<String> {
        let mut header = vec![first.to_owned()];
        header.extend(self.models.iter().map(|model| model.name.to_owned()));
        if differences && self.comparisons.len() == 1 {
            header.push("difference".to_owned());
        } else if differences {
            header.extend(
                self.models
                    .iter()
                    .skip(1)
                    .map(|model| format!("{} - {}", model.name, self.models[0].name)),
            );
        }
        header
    }

    pub fn overall(&self) -> Exhibit {
        let mut rows = Vec::new();
        for axis in Axis::ALL {
            let found: Vec<Option<&Consistency>> = self
                .models
                .iter()
                .map(|model| model.findings.overall.get(&axis))
                .collect();
            if found.iter().all(Option::is_none) {
                continue;
            }
            let mut row = vec![axis.label().to_owned()];
            row.extend(
                found
                    .iter()
                    .map(|found| found.map_or_else(String::new, |c| interval(c.mean, c.ci95))),
            );
            for comparison in self.comparisons {
                let hit = comparison
                    .iter()
                    .find(|comparison| comparison.measure == axis);
                row.push(hit.map_or_else(String::new, |c| difference(c.difference, c.ci95)));
            }
            rows.push(row);
        }
        Exhibit::Table(Table {
            title: None,
            header: self.header("across", true),
            rows,
        })
    }

    pub fn by_file(&self) -> Vec<Exhibit> {
        let mut out = Vec::new();
        for (title, number) in [
            (
                "paraphrases",
                (|findings: &Findings, file: &str| {
                    findings
                        .files
                        .get(file)
                        .map(|f| (f.paraphrase, f.paraphrase_ci95))
                }) as fn(&Findings, &str) -> Option<(f64, [f64; 2])>,
            ),
            ("topics", |findings, file| {
                findings.files.get(file).map(|f| (f.topic, f.topic_ci95))
            }),
            ("languages", |findings, file| {
                findings.multilingual.get(file).map(|m| (m.mean, m.ci95))
            }),
            ("letter vs cloze", |findings, file| {
                findings.task_format.get(file).map(|t| (t.mean, t.ci95))
            }),
        ] {
            let names: BTreeSet<&String> = self
                .models
                .iter()
                .flat_map(|model| {
                    model
                        .findings
                        .files
                        .keys()
                        .chain(model.findings.multilingual.keys())
                })
                .collect();
            let rows: Vec<Vec<String>> = names
                .iter()
                .map(|name| {
                    let cells = self.models.iter().map(|model| {
                        number(model.findings, name)
                            .map_or_else(String::new, |(mean, ci95)| interval(mean, ci95))
                    });
                    std::iter::once((*name).clone())
                        .chain(cells)
                        .collect::<Vec<String>>()
                })
                .filter(|row| row[1..].iter().any(|cell| !cell.is_empty()))
                .collect();
            // One file alone is the overall row again.
            if rows.len() < 2 {
                continue;
            }
            out.push(Exhibit::Table(Table {
                title: None,
                header: self.header(title, false),
                rows,
            }));
        }
        out
    }
}
