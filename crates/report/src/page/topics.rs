//! The topics that stand on paper: those that changed most, and the least consistent.

use crate::cast::{Cast, Member};
use crate::chart::{Grid, Pen, Plot, Scale, fixed, signed};
use crate::measured::found;
use concord_findings::{Topic, Topics};
use serde::Serialize;

/// Rows of a table on paper.
const ROWS: usize = 12;
/// Checkpoints whose differences have room beside their levels.
const BESIDE: usize = 4;

/// Topics as the template takes them.
#[derive(Serialize)]
pub(super) struct TopicsPart {
    title: String,
    noun: &'static str,
    counted: &'static str,
    /// What the strips show; nothing where there are none.
    support: Option<&'static str>,
    axis: String,
    /// The grid of strips, which the script draws too.
    #[serde(skip)]
    grid: Grid,
    /// Whether there is something to sort and search.
    live: bool,
    tables: Vec<TopicTable>,
}

#[derive(Serialize)]
struct TopicTable {
    title: String,
    heads: Vec<Member>,
    differences: Vec<Member>,
    rows: Vec<TopicRow>,
}

#[derive(Serialize)]
struct TopicRow {
    name: String,
    facets: String,
    questions: usize,
    levels: Vec<LevelCell>,
    differences: Vec<DifferenceCell>,
    support: Plot,
}

#[derive(Serialize)]
struct LevelCell {
    text: String,
    strength: f64,
    faded: bool,
}

#[derive(Serialize)]
struct DifferenceCell {
    words: String,
    fine: String,
}

impl TopicsPart {
    /// The grid of strips.
    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }
}

/// The topics; nothing where there are none.
pub(super) fn topics_part(topics: &Topics, cast: &Cast) -> Option<TopicsPart> {
    let members = cast.all(&topics.checkpoints);
    if topics.rows.is_empty() || members.len() != topics.checkpoints.len() {
        return None;
    }
    let measurable: Vec<usize> = (0..members.len())
        .filter(|at| members[*at].reason.is_none())
        .collect();
    let differing: Vec<usize> = if measurable.first() == Some(&0) {
        measurable.iter().copied().filter(|at| *at > 0).collect()
    } else {
        Vec::new()
    };
    let compared = if members.len() > BESIDE {
        Vec::new()
    } else {
        differing.clone()
    };
    let most = topics
        .rows
        .iter()
        .flat_map(|topic| measurable.iter().filter_map(|at| found(&topic.levels, *at)));
    let most = most.map(|estimate| estimate.value).fold(0.0, f64::max);
    let table = |title: String, key: &dyn Fn(&Topic) -> Option<f64>| {
        let mut rows: Vec<(f64, &Topic)> = topics
            .rows
            .iter()
            .filter_map(|topic| Some((key(topic)?, topic)))
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        TopicTable {
            title,
            heads: members.iter().map(|member| (*member).clone()).collect(),
            differences: compared.iter().map(|at| members[*at].clone()).collect(),
            rows: rows
                .iter()
                .take(if members.len() > 2 * BESIDE {
                    ROWS / 2
                } else {
                    ROWS
                })
                .map(|(_, topic)| {
                    row(
                        topic,
                        (topics.nouns[2], topics.signed),
                        &members,
                        &compared,
                        most,
                    )
                })
                .collect(),
        }
    };
    let [noun, counted, support_noun] = topics.nouns;
    let known = |topic: &Topic| topic.support.iter().any(Option::is_some);
    let any = topics.rows.iter().any(known);
    let mut tables = Vec::new();
    if !differing.is_empty() {
        let key = |topic: &Topic| {
            let values = differing
                .iter()
                .filter_map(|at| found(&topic.differences, *at));
            values.map(|estimate| estimate.value.abs()).reduce(f64::max)
        };
        tables.push(table("Largest differences".to_owned(), &key));
    }
    if let Some(last) = measurable.last() {
        let key = |topic: &Topic| found(&topic.levels, *last).map(|estimate| estimate.value);
        tables.push(table(
            format!(
                "Largest {} of {}",
                topics.measure.label(),
                members[*last].short
            ),
            &key,
        ));
    }
    tables.retain(|table| !table.rows.is_empty());
    Some(TopicsPart {
        title: topics.title.clone(),
        noun,
        counted,
        support: any.then_some(support_noun),
        axis: Scale::halves().axis(),
        grid: Scale::halves().grid(),
        live: true,
        tables,
    })
}

fn row(
    topic: &Topic,
    (noun, is_signed): (&str, bool),
    members: &[&Member],
    compared: &[usize],
    most: f64,
) -> TopicRow {
    let write = |value: f64| {
        if is_signed {
            signed(value, 3)
        } else {
            fixed(value, 3)
        }
    };
    let levels = members.iter().enumerate().map(|(at, member)| {
        let level = found(&topic.levels, at);
        let faded = member.reason.is_some();
        LevelCell {
            text: level.map_or_else(|| "–".to_owned(), |level| write(level.value)),
            strength: level
                .filter(|_| most > 0.0 && !faded)
                .map_or(0.0, |level| (level.value / most).clamp(0.0, 1.0)),
            faded,
        }
    });
    let differences = compared
        .iter()
        .map(|at| match found(&topic.differences, *at) {
            Some(difference) => {
                let ends = difference.interval.map_or_else(String::new, |ends| {
                    format!("[{}, {}]", signed(ends.low, 3), signed(ends.high, 3))
                });
                DifferenceCell {
                    words: signed(difference.value, 3),
                    fine: ends,
                }
            }
            None => DifferenceCell {
                words: "–".to_owned(),
                fine: String::new(),
            },
        });
    let facets = topic.facets_shown();
    TopicRow {
        name: topic.name.clone(),
        facets: facets.join(" · "),
        questions: topic.questions,
        levels: levels.collect(),
        differences: differences.collect(),
        support: support(topic, noun, members),
    }
}

fn support(topic: &Topic, noun: &str, members: &[&Member]) -> Plot {
    let scale = Scale::halves();
    let mut pen = Pen::new(&scale, 20.0);
    let mut spoken = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let value = topic
            .support
            .get(at)
            .copied()
            .flatten()
            .filter(|value| value.is_finite());
        if let Some(value) = value {
            pen.dot(member, value);
            spoken.push(format!("{} {}", member.short, fixed(value, 2)));
        }
    }
    pen.finish(format!("{noun}: {}", spoken.join(", ")))
}
