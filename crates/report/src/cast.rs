//! Who is who: one colour and one shape a name, on a whole page.

use crate::visible::told_apart;
use concord_findings::{Exhibit, LevelRow};
use serde::Serialize;

/// Colours that the style sheet names `s0`, `s1`, ….
const COLOURS: usize = 8;
/// Shapes of marks, `m0`, `m1`, ….
pub(crate) const SHAPES: usize = 6;
/// The columns that a name may take in a figure.
const SHORT: usize = 24;

/// A checkpoint, or another series of a figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Member {
    /// The whole name.
    pub(crate) name: String,
    /// The name where there is little room.
    pub(crate) short: String,
    /// Its colour; with its shape it is its own up to 24 members.
    pub(crate) colour: usize,
    /// Its shape.
    pub(crate) shape: usize,
    /// Why it could not be measured, where it could not.
    pub(crate) reason: Option<String>,
}

/// All that are named, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    members: Vec<Member>,
}

impl Cast {
    /// Those that a list of exhibits names: checkpoints first, in the order of the summary, then other series.
    pub(crate) fn of(exhibits: &[Exhibit]) -> Self {
        let mut names: Vec<(String, Option<String>)> = Vec::new();
        let mut meet = |name: &str, reason: Option<&str>| {
            if !names.iter().any(|(known, _)| known == name) {
                names.push((name.to_owned(), reason.map(str::to_owned)));
            }
        };
        for exhibit in exhibits {
            if let Exhibit::Summary(summary) = exhibit {
                for (name, verdict) in &summary.checkpoints {
                    meet(name, verdict.reason());
                }
            }
        }
        for exhibit in exhibits {
            let named = match exhibit {
                Exhibit::Levels(levels) => &levels.checkpoints,
                Exhibit::Checks(checks) => &checks.checkpoints,
                Exhibit::Topics(topics) => &topics.checkpoints,
                Exhibit::Answers(book) => &book.checkpoints,
                _ => continue,
            };
            for name in named {
                meet(name, None);
            }
        }
        for exhibit in exhibits {
            match exhibit {
                Exhibit::Forest(forest) => {
                    for name in &forest.series {
                        meet(name, None);
                    }
                }
                Exhibit::Radar(radar) => {
                    for (name, _) in &radar.series {
                        meet(name, None);
                    }
                }
                _ => {}
            }
        }
        let whole: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
        let members = names.into_iter().zip(told_apart(&whole, SHORT)).enumerate();
        let members = members.map(|(number, ((name, reason), short))| Member {
            name,
            short,
            colour: number % COLOURS,
            shape: number % SHAPES,
            reason,
        });
        Self {
            members: members.collect(),
        }
    }

    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The one that a label begins with, such as `name, another thing`.
    pub(crate) fn begins(&self, label: &str) -> Option<&Member> {
        let of = self.members.iter().filter(|member| {
            label
                .strip_prefix(&member.name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
        });
        of.max_by_key(|member| member.name.len())
    }

    /// Those of these names, in their order.
    pub(crate) fn all<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<&Member> {
        names
            .into_iter()
            .filter_map(|name| self.get(name))
            .collect()
    }

    /// Whether this name is of one that could not be measured.
    pub(crate) fn is_faded(&self, name: &str) -> bool {
        self.get(name).is_some_and(|member| member.reason.is_some())
    }
}

/// Whether a checkpoint could not be measured in a row: what the row says, else what the summary says of it.
pub(crate) fn is_faded_in(row: &LevelRow, at: usize, is_faded: bool) -> bool {
    row.measurable
        .get(at)
        .map_or(is_faded, |measurable| !measurable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::{Radar, Summary, Verdict};

    #[test]
    fn a_name_has_one_colour_wherever_it_stands() {
        let radar = |names: [&str; 2]| {
            Exhibit::Radar(Radar {
                title: String::new(),
                spokes: vec![],
                series: names.map(|name| (name.to_owned(), vec![])).to_vec(),
            })
        };
        let summary = Summary {
            checkpoints: vec![
                ("a".into(), Verdict::Measurable),
                ("a-2".into(), Verdict::NotMeasurable("no".into())),
            ],
            scope: vec![],
            partial: None,
            sentences: vec![],
            warnings: vec![],
        };
        let cast = Cast::of(&[radar(["x", "a-2"]), Exhibit::Summary(summary)]);
        let at = |name: &str| cast.get(name).map(|member| member.colour);
        assert_eq!((at("a"), at("a-2"), at("x")), (Some(0), Some(1), Some(2)));
        assert!(cast.is_faded("a-2") && !cast.is_faded("a"));
        let begins = |label| cast.begins(label).map(|member| member.name.as_str());
        assert_eq!(begins("a-2, French"), Some("a-2"));
        assert_eq!(begins("a: French"), Some("a"));
        assert_eq!(begins("ab"), None);
    }
}
