//! Effects of checkpoints that are built to have them.

use super::Profiles;
use super::findings::{CheckpointFindings, Tested};
use super::made_up::{MadeUp, Seen, load, measure};
use crate::shared::draw;
use crate::{Show, Suite};
use concord_findings::Exhibit;
use std::io::Write;

/// What differs from request to request.
fn own(seen: &Seen) -> f64 {
    4.0 * (draw::unit(11, &[&seen.item]) - 0.5)
}

/// A checkpoint takes a profile on as it is told.
fn taken(seen: &Seen, value: &str) -> f64 {
    seen.score(value) - 3.5
}

fn one(complies: &dyn Fn(&Seen) -> f64, like: &dyn Fn(&Seen, &str) -> f64) -> CheckpointFindings {
    let (data, options) = load(&[("limit", &["5"])]);
    let made = MadeUp {
        name: "built",
        complies,
        like,
        mass: 0.5,
    };
    measure(&data, &options, &[made]).checkpoints.remove(0)
}

fn near(found: &Tested, expected: f64) {
    let value = found.estimate.value;
    assert!((value - expected).abs() < 1e-9, "{value} {expected}");
}

#[test]
fn a_refusal_that_depends_on_one_digit_comes_out_as_built() {
    let power = |seen: &Seen| {
        let digit = seen.scores.get("Power").copied().unwrap_or(3.5);
        let harm = if seen.is_twin { 0.0 } else { 0.3 * digit };
        let turned = match seen.then.as_str() {
            "aside" => -0.7,
            "safety" => -0.4,
            "both" => -1.3,
            _ => 0.0,
        };
        own(seen) - 1.0 + harm + turned
    };
    let found = one(&power, &taken);
    assert!(found.verdict.is_measurable());
    for value in &found.values {
        assert!(value.is_taken_on, "{}", value.value);
        // From 1 to 6.
        let expected = if value.value == "Power" { 1.5 } else { 0.0 };
        near(&value.effect, expected);
        near(value.less_benign.as_ref().unwrap(), expected);
        for category in &value.categories {
            near(&category.effect, expected);
        }
        // The neutral profile has 3.5.
        near(
            &value.extreme,
            if value.value == "Power" { 0.75 } else { -0.75 },
        );
    }
    for colour in &found.colours {
        near(&colour.effect, 0.0);
        assert!(colour.effect.adjusted_p.is_none_or(|p| p > 0.05));
    }
    near(&found.wrapper, 0.0);
    let mitigation = found.mitigation.unwrap();
    // Nine values that do nothing move nothing here, and one moves up: all count upwards.
    near(&mitigation.aside, 0.5 * (-0.7 - 0.9));
    near(&mitigation.safety, 0.5 * (-0.4 - 0.6));
    near(&mitigation.interaction, -1.3 + 0.7 + 0.4);
    near(&mitigation.irrelevant, 0.0);
}

#[test]
fn what_two_values_do_together_is_in_no_main_effect() {
    let both = |seen: &Seen| {
        let sign = |value: &str| {
            (seen.score(value) - 3.5).signum()
                * f64::from(u8::from((seen.score(value) - 3.5).abs() > 0.1))
        };
        own(seen) + sign("Power") * sign("Hedonism")
    };
    let found = one(&both, &taken);
    for value in &found.values {
        near(&value.effect, 0.0);
    }
}

#[test]
fn a_profile_that_is_not_taken_on_says_nothing() {
    let power = |seen: &Seen| own(seen) + 0.3 * seen.score("Power");
    let blind = one(&power, &|_, _| 0.4);
    assert!(blind.values.iter().all(|value| !value.is_taken_on));
    let (data, options) = load(&[
        ("limit", &["5"]),
        ("no-mitigations", &[]),
        ("no-twins", &[]),
    ]);
    let made = |name, mass| MadeUp {
        name,
        complies: &power,
        like: &|_, _| 0.4,
        mass,
    };
    let found = measure(&data, &options, &[made("blind", 0.5), made("silent", 0.01)]);
    let shown = Profiles.exhibits(&found, Show::default());
    let Some(Exhibit::Summary(summary)) = shown.first() else {
        panic!()
    };
    assert!(
        summary.sentences[0].contains("takes on no value"),
        "{:?}",
        summary.sentences
    );
    assert!(
        summary.sentences[1].contains("not measurable: mass of beginnings"),
        "{:?}",
        summary.sentences
    );
    assert!(found.checkpoints[0].mitigation.is_none() && found.checkpoints[0].twins.is_none());
    // What is not measurable is not compared; of two of the same there is nothing between them.
    assert!(
        found
            .checkpoints
            .iter()
            .all(|of| of.bare_less_first.is_none())
    );
    let found = measure(&data, &options, &[made("one", 0.5), made("other", 0.5)]);
    near(found.checkpoints[1].bare_less_first.as_ref().unwrap(), 0.0);
}

/// Noise in every prompt and no effect: how often is a value said to have one?
#[test]
fn values_are_told_wrongly_in_five_of_a_hundred_at_most() {
    let (data, options) = load(&[("limit", &["3"]), ("no-twins", &[])]);
    let trials = 60;
    let mut wrong = [0; 4];
    for trial in 0..trials {
        let noise = |seen: &Seen| {
            let of = |names: &[&str]| 2.0 * (draw::unit(trial, names) - 0.5);
            let category = seen.item.split('/').next().unwrap_or_default();
            let profile = [seen.profile.as_str(), &seen.then];
            of(&[&seen.item])
                + of(&[&seen.item, profile[0], profile[1]])
                + 0.5 * of(&[category, profile[0], profile[1]])
                + 0.5 * of(&profile)
        };
        let made = MadeUp {
            name: "null",
            complies: &noise,
            like: &taken,
            mass: 0.5,
        };
        let found = measure(&data, &options, &[made]).checkpoints.remove(0);
        let mitigation = found.mitigation.as_ref().unwrap();
        let values: Vec<&Tested> = found.values.iter().map(|value| &value.effect).collect();
        let colours = found.colours.iter().map(|colour| &colour.effect);
        let groups = found.groups.iter().map(|group| &group.effect);
        let families = [
            values,
            colours.collect(),
            groups.collect(),
            vec![
                &mitigation.aside,
                &mitigation.safety,
                &mitigation.irrelevant,
            ],
        ];
        // Families of tests whose false discoveries are controlled: any at all is wrong.
        for (wrong, family) in wrong.iter_mut().zip(families) {
            let is_told = |tested: &&Tested| tested.adjusted_p.is_some_and(|p| p < 0.05);
            *wrong += u32::from(family.iter().any(is_told));
        }
    }
    // 5 %, and what sixty trials leave open.
    assert!(
        wrong.iter().all(|wrong| *wrong <= 7),
        "{wrong:?} of {trials}"
    );
}

#[test]
fn profiles_of_people_are_asked_beside() {
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    let (data, _) = load(&[]);
    let names: Vec<&str> = data
        .wordings
        .values
        .iter()
        .map(|value| value.name.as_str())
        .collect();
    writeln!(file, "profile,{}", names.join(",")).unwrap();
    writeln!(file, "ruler,1,1,1,1,6,1,1,1,1,1").unwrap();
    file.flush().unwrap();
    let path = file.path().to_str().unwrap();
    let (data, options) = load(&[
        ("limit", &["5"]),
        ("profiles", &[path]),
        ("no-mitigations", &[]),
    ]);
    let power = |seen: &Seen| own(seen) + 0.2 * seen.scores.get("Power").copied().unwrap_or(3.5);
    let made = MadeUp {
        name: "built",
        complies: &power,
        like: &taken,
        mass: 0.5,
    };
    let found = measure(&data, &options, &[made]).checkpoints.remove(0);
    assert_eq!(found.respondents[0].profile, "survey ruler");
    near(&found.respondents[0].effect, 0.2 * 2.5);
}

/// People whose scores are at random, as whole numbers, so that many are alike.
fn survey(names: &[&str], people: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "profile,{}", names.join(",")).unwrap();
    for person in 0..people {
        let name = person.to_string();
        let scores = names
            .iter()
            .map(|value| (1 + draw::below(6, draw::unit(5, &[&name, value]))).to_string());
        let scores: Vec<String> = scores.collect();
        writeln!(file, "p{name},{}", scores.join(",")).unwrap();
    }
    file.flush().unwrap();
    file
}

#[test]
fn people_are_families_of_those_they_are_near_to() {
    let (data, _) = load(&[]);
    let values = data.wordings.values.iter();
    let names: Vec<&str> = values.map(|value| value.name.as_str()).collect();
    let file = survey(&names, 300);
    let path = file.path().to_str().unwrap();
    let (data, options) = load(&[
        ("limit", &["5"]),
        ("profiles", &[path]),
        ("nearest", &["10"]),
        ("no-mitigations", &[]),
        ("no-twins", &[]),
    ]);
    let families = &data.respondents.as_ref().unwrap().families;
    assert!(families.len() == 14 && families.iter().all(|family| family.people.len() == 10));
    let power = |seen: &Seen| own(seen) + 0.2 * seen.scores.get("Power").copied().unwrap_or(3.5);
    let made = |complies| MadeUp {
        name: "built",
        complies,
        like: &taken,
        mass: 0.5,
    };
    let nothing = |seen: &Seen| own(seen);
    let all = measure(&data, &options, &[made(&power), made(&nothing)]);
    let found = &all.checkpoints[0];
    // What a family does is what its mean score of Power does.
    for (family, named) in found.families.iter().zip(families) {
        let extreme = data
            .wordings
            .groups
            .iter()
            .find(|group| group.name == named.extreme);
        let is_high = match extreme {
            Some(group) => group.values.iter().any(|value| value == "Power"),
            None => named.extreme == "Power",
        };
        let at = names.iter().position(|name| *name == "Power").unwrap();
        let people = &data.respondents.as_ref().unwrap().profiles;
        let scores = named.people.iter().map(|name| {
            let person = people.iter().find(|(known, _)| known == name);
            person.unwrap().1[at]
        });
        let score = (scores.sum::<f64>() + if is_high { 6.0 } else { 1.0 }) / 11.0;
        near(&family.effect, 0.2 * (score - 3.5));
    }
    for rank in &found.ranks {
        if rank.value == "Power" {
            assert!(
                (rank.rank.unwrap() - 1.0).abs() < 1e-9 && rank.adjusted_p.unwrap() < 0.05,
                "{rank:?}"
            );
            assert!(
                rank.categories
                    .iter()
                    .all(|rank| rank.unwrap() > 1.0 - 1e-9)
            );
        } else {
            assert!(rank.rank.unwrap().abs() < 0.9, "{rank:?}");
        }
    }
    // Where no profile does anything there is nothing to rank.
    for rank in &all.checkpoints[1].ranks {
        assert!(rank.rank.is_none() && rank.p.is_none(), "{rank:?}");
    }
    let shown = Profiles.exhibits(&all, Show::default());
    assert!(
        shown.iter().any(
            |exhibit| matches!(exhibit, Exhibit::Heading(text) if text == "People of a survey")
        )
    );
    let [table] = Profiles.tables(&all).try_into().unwrap();
    let of = |measure: &str| {
        let is = |row: &&Vec<concord_findings::Cell>| {
            row[3] == concord_findings::Cell::Text(measure.to_owned().into())
        };
        table.rows.iter().filter(is).count()
    };
    assert_eq!((of("family"), of("rank")), (2 * 14, 2 * 10 * 13));
}

/// Families share people, and people are alike: what is told from nothing where profiles do something at random must stay rare.
#[test]
fn ranks_are_told_wrongly_in_five_of_a_hundred_at_most() {
    let (data, _) = load(&[]);
    let values = data.wordings.values.iter();
    let names: Vec<&str> = values.map(|value| value.name.as_str()).collect();
    let file = survey(&names, 60);
    let path = file.path().to_str().unwrap();
    let (data, options) = load(&[
        ("limit", &["1"]),
        ("profiles", &[path]),
        ("nearest", &["10"]),
        ("no-mitigations", &[]),
        ("no-twins", &[]),
    ]);
    let trials = 40;
    let mut wrong = 0;
    for trial in 0..trials {
        let noise = |seen: &Seen| own(seen) + draw::unit(100 + trial, &[&seen.profile]);
        let made = MadeUp {
            name: "null",
            complies: &noise,
            like: &taken,
            mass: 0.5,
        };
        let found = measure(&data, &options, &[made]).checkpoints.remove(0);
        let is_told = |p: Option<f64>| p.is_some_and(|p| p < 0.05);
        wrong += u32::from(found.ranks.iter().any(|rank| is_told(rank.adjusted_p)));
    }
    // 5 %, and what forty trials leave open.
    assert!(wrong <= 5, "{wrong} of {trials}");
}

#[test]
fn every_profile_and_request_can_be_looked_up() {
    let (data, options) = load(&[
        ("limit", &["2"]),
        ("no-mitigations", &[]),
        ("no-twins", &[]),
    ]);
    let power = |seen: &Seen| 0.2 * seen.scores.get("Power").copied().unwrap_or(3.5);
    let made = MadeUp {
        name: "built",
        complies: &power,
        like: &taken,
        mass: 0.5,
    };
    let found = measure(&data, &options, &[made]);
    let every = Show {
        answers: true,
        ..Show::default()
    };
    let shown = Profiles.exhibits(&found, every);
    let [.., Exhibit::Table(profiles), Exhibit::Table(requests)] = shown.as_slice() else {
        panic!()
    };
    // None, the neutral one, two designs, and fourteen extremes.
    assert_eq!(profiles.rows.len(), 2 + 24 + 24 + 14);
    let of = |name: &str| profiles.rows.iter().find(|row| row[0] == name).unwrap()[1].clone();
    assert_eq!(
        (of("neutral"), of("extreme Power")),
        ("+0.70".to_owned(), "+1.20".to_owned())
    );
    assert_eq!(requests.rows.len(), 24);
    let at = requests
        .header
        .iter()
        .position(|name| name == "Power")
        .unwrap();
    assert!(
        requests
            .rows
            .iter()
            .all(|row| row[at] == "+1.00" && row[at + 1] == "0.00")
    );
}
