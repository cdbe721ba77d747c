//! Which profiles are asked.

use super::options::{Data, Options, Wordings};

/// The first run of Plackett and Burman's design for twelve runs.
const FIRST: [bool; 11] = [
    true, true, false, true, true, true, false, false, false, true, false,
];

/// Runs by factors: eleven turns of the first run and one of lows alone; then the same with everything turned round, so that no main
/// effect is mixed with what two factors do together.
pub(crate) fn plackett_burman() -> Vec<[bool; 11]> {
    let mut runs: Vec<[bool; 11]> = (0..11)
        .map(|turn| std::array::from_fn(|factor| FIRST[(factor + 11 - turn) % 11]))
        .collect();
    runs.push([false; 11]);
    let turned = runs.iter().map(|run| run.map(|high| !high));
    runs.extend(turned.collect::<Vec<_>>());
    runs
}

/// What a profile is of, and its scores.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    /// A short name, which is that of its condition.
    pub name: String,
    /// Names with their scores; empty for none at all.
    pub lines: Vec<(String, f64)>,
    /// What is said after it, and what that is called.
    pub then: Option<(String, String)>,
}

/// The scores of low and high, and that of no matter.
pub(crate) const LOW: f64 = 1.0;
pub(crate) const HIGH: f64 = 6.0;
const MIDDLE: f64 = 3.5;

/// The name of the profile in which everything is in the middle, and of none at all.
pub(crate) const NEUTRAL: &str = "neutral";
pub(crate) const BARE: &str = "bare";

/// What is set aside that is no value of the profile.
pub(crate) const IRRELEVANT: &str = "irrelevant";

/// What is said after a profile to mitigate it.
pub(crate) const MITIGATIONS: [&str; 4] = ["aside", "safety", "both", IRRELEVANT];

/// The name of a run of the design.
pub(crate) fn run_name(run: usize) -> String {
    format!("design {}", run + 1)
}

/// The name of a run of the design over colours.
pub(crate) fn placebo_name(run: usize) -> String {
    format!("colours {}", run + 1)
}

/// The name of an extreme profile.
pub(crate) fn extreme_name(of: &str) -> String {
    format!("extreme {of}")
}

/// A profile of names that are high where that is said, and low elsewhere.
fn of_run<'a>(names: impl Iterator<Item = &'a str>, run: &[bool; 11]) -> Vec<(String, f64)> {
    let scores = run.map(|high| if high { HIGH } else { LOW });
    names.map(str::to_owned).zip(scores).collect()
}

/// The extreme profiles by their names, with scores in the order of the values: each value alone, then groups of them.
pub(crate) fn extremes(wordings: &Wordings) -> Vec<(String, Vec<f64>)> {
    let of = |name: &String, is_high: &dyn Fn(&String) -> bool| {
        let values = wordings.values.iter();
        let scores = values.map(|value| if is_high(&value.name) { HIGH } else { LOW });
        (name.clone(), scores.collect())
    };
    let alone = wordings
        .values
        .iter()
        .map(|value| of(&value.name, &|other| *other == value.name));
    let groups = wordings.groups.iter();
    let groups = groups.map(|group| of(&group.name, &|other| group.values.contains(other)));
    alone.chain(groups).collect()
}

/// The name of somebody's profile.
pub(crate) fn survey_name(of: &str) -> String {
    format!("survey {of}")
}

/// All profiles of a study.
pub(crate) fn profiles(data: &Data, options: &Options) -> Vec<Profile> {
    let wordings = &data.wordings;
    let names: Vec<&str> = wordings
        .values
        .iter()
        .map(|value| value.name.as_str())
        .collect();
    let plain = |name: String, lines: Vec<(String, f64)>| Profile {
        name,
        lines,
        then: None,
    };
    let all = |score: f64| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), score))
            .collect()
    };
    let mut profiles = vec![
        plain(BARE.to_owned(), Vec::new()),
        plain(NEUTRAL.to_owned(), all(MIDDLE)),
    ];
    for (at, run) in plackett_burman().iter().enumerate() {
        profiles.push(plain(run_name(at), of_run(names.iter().copied(), run)));
    }
    let colours = || wordings.colours.iter().map(String::as_str);
    for (at, run) in plackett_burman().iter().enumerate() {
        profiles.push(plain(placebo_name(at), of_run(colours(), run)));
    }
    let lines = |scores: &[f64]| -> Vec<(String, f64)> {
        let names = names.iter().map(|name| (*name).to_owned());
        names.zip(scores.iter().copied()).collect()
    };
    let extremes = extremes(wordings);
    for (name, scores) in &extremes {
        profiles.push(plain(extreme_name(name), lines(scores)));
    }
    if options.mitigations {
        for (name, scores) in &extremes[..names.len()] {
            let aside = wordings.aside.replace("{name}", name);
            let other = wordings.colours.first().map_or("", String::as_str);
            let irrelevant = wordings.aside.replace("{name}", other);
            for mitigation in MITIGATIONS {
                let said = match mitigation {
                    "aside" => aside.clone(),
                    "safety" => wordings.safety.clone(),
                    IRRELEVANT => irrelevant.clone(),
                    _ => format!("{aside} {}", wordings.safety),
                };
                profiles.push(Profile {
                    name: extreme_name(name),
                    lines: lines(scores),
                    then: Some((mitigation.to_owned(), said)),
                });
            }
        }
    }
    for (name, scores) in data.respondents.iter().flat_map(|all| &all.profiles) {
        profiles.push(plain(survey_name(name), lines(scores)));
    }
    profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_design_is_balanced_and_its_effects_are_apart() {
        let runs = plackett_burman();
        assert_eq!(runs.len(), 24);
        let sign = |high: bool| if high { 1 } else { -1 };
        for a in 0..11 {
            assert_eq!(runs.iter().map(|run| sign(run[a])).sum::<i32>(), 0);
            for b in a + 1..11 {
                let of_two = |run: &[bool; 11]| sign(run[a]) * sign(run[b]);
                assert_eq!(runs.iter().map(of_two).sum::<i32>(), 0);
                // No main effect is mixed with what two factors do together.
                for c in 0..11 {
                    let of_three = |run: &[bool; 11]| of_two(run) * sign(run[c]);
                    assert_eq!(runs.iter().map(of_three).sum::<i32>(), 0);
                }
            }
        }
        let half = &runs[..12];
        for a in 0..11 {
            assert_eq!(half.iter().map(|run| sign(run[a])).sum::<i32>(), 0);
            for b in a + 1..11 {
                assert_eq!(
                    half.iter()
                        .map(|run| sign(run[a]) * sign(run[b]))
                        .sum::<i32>(),
                    0
                );
            }
        }
        assert_eq!(
            half[0],
            [
                true, true, false, true, true, true, false, false, false, true, false
            ]
        );
        assert_eq!(half[11], [false; 11]);
    }
}
