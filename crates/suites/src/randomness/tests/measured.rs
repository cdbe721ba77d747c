//! What is measured.

use super::*;

#[test]
fn a_uniform_table_is_no_distance_from_uniform() {
    let findings = found(ALL, &one, &whole);
    let checkpoint = &findings.checkpoints[0];
    assert_eq!(checkpoint.sets.len(), 14);
    for set in checkpoint.sets.iter().chain(&checkpoint.hiding) {
        let n = set.members.len() as f64;
        near(value(set, Quantity::Mass), 0.9);
        near(value(set, Quantity::Entropy), n.log2());
        for zero in [
            Quantity::ChiSquared,
            Quantity::TotalVariation,
            Quantity::Divergence,
            Quantity::Excess,
        ] {
            near(value(set, zero), 0.0);
        }
        near(value(set, Quantity::SampledChiSquared), n - 1.0);
        let wordings = if set.set == "suit" { 12 } else { 10 };
        assert_eq!(of(set, Quantity::Entropy).estimate.n, wordings);
        assert_eq!(of(set, Quantity::Entropy).estimate.unit, "wording");
        near(of(set, Quantity::Entropy).deviation, 0.0);
    }
    for sequences in &checkpoint.sequences {
        let found = sequences.found.as_ref().unwrap();
        near(found.avoided.value, 0.0);
        near(found.dependence, 0.0);
        near(found.adjacent.value, 9.0 / 11.0);
        assert_eq!(found.repeats.n, 16);
    }
    let game = checkpoint.games.as_ref().unwrap().found.as_ref().unwrap();
    near(game.exploitability.value, 0.0);
    near(game.net.value, 0.0);
    for placebo in &checkpoint.placebo {
        let found = placebo.found.as_ref().unwrap();
        near(found.by_value.value, 0.0);
        near(found.by_place.value, 0.0);
    }
    assert!(findings.chain.is_empty());
}

#[test]
fn a_table_that_prefers_seven_has_its_closed_form() {
    let findings = found(SMALL, &seven, &whole);
    let checkpoint = &findings.checkpoints[0];
    let (p, q, u) = (5.0 / 15.0, 1.0 / 15.0, 1.0 / 11.0f64);
    let chi = ((p - u).powi(2) + 10.0 * (q - u).powi(2)) / u;
    let entropy = -(p * p.log2() + 10.0 * q * q.log2());
    for set in &checkpoint.sets {
        near(value(set, Quantity::Seven), p);
        near(value(set, Quantity::Largest), p);
        near(value(set, Quantity::Excess), p - u);
        near(value(set, Quantity::ChiSquared), chi);
        near(value(set, Quantity::EffectSize), chi.sqrt());
        near(value(set, Quantity::TotalVariation), p - u);
        near(value(set, Quantity::Entropy), entropy);
        near(value(set, Quantity::Divergence), 11f64.log2() - entropy);
        let chance = 11.0 * (1.0 - p * p - 10.0 * q * q);
        near(
            value(set, Quantity::SampledChiSquared),
            100.0 * chi + chance,
        );
        near(of(set, Quantity::ChiSquared).of_mean, chi);
        let summary = set.summary.as_ref().unwrap();
        assert_eq!(set.members[summary.most], "7");
    }
    // The next number is the same whatever came before.
    for sequences in &checkpoint.sequences {
        let found = sequences.found.as_ref().unwrap();
        near(found.dependence, 0.0);
        near(found.held_back.value, 0.0);
    }
}

#[test]
fn a_table_that_always_says_one_number_repeats_it() {
    let always = |_: &Asked<'_>, text: &str| if text == "4" { 1.0 } else { 0.0 };
    let findings = found(SMALL, &always, &whole);
    let own = findings.checkpoints[0].sequences[0].found.as_ref().unwrap();
    near(own.repeats.value, 9.0);
    near(own.adjacent.value, 9.0);
    near(own.distinct.as_ref().unwrap().value, 1.0);
    near(own.distribution.as_ref().unwrap()[9], 1.0);
    // After the same history a uniform draw would repeat one number of eleven.
    near(own.avoided.value, 9.0 / 11.0 - 9.0);
}

#[test]
fn a_table_that_avoids_the_last_number_is_seen_to() {
    let (data, options) = load(&[SMALL, &[("sequences", &["1"][..])]].concat(), 3);
    let made_up = MadeUp {
        weight: &not_again,
        mass: &whole,
    };
    let (_, read) = run(&data, &options, Form::Chat, &made_up);
    let findings = measure(&data, &options, &[("a", &read)]);
    let [own, uniform] = &findings.checkpoints[0].sequences[..] else {
        panic!("two kinds of history");
    };
    let (own, uniform) = (own.found.as_ref().unwrap(), uniform.found.as_ref().unwrap());
    near(own.adjacent.value, 0.0);
    near(uniform.adjacent.value, 0.0);
    // One history a wording: the longest key has it.
    let mut expected = Vec::new();
    for wording in ["1", "2"] {
        let keys = read.rounds["uniform"].keys().map(|id| id.parse().unwrap());
        let histories = keys
            .filter(|key: &concord_readings::PromptKey| key.condition("wording") == Some(wording))
            .map(|key| key.condition("history").unwrap().to_owned());
        let longest = histories.max_by_key(String::len).unwrap();
        let history: Vec<&str> = longest.split(',').collect();
        assert_eq!(history.len(), 9);
        let avoided = (1..10).map(|length| {
            let different: BTreeSet<&str> = history[..length].iter().copied().collect();
            let different = different.len() as f64;
            different / 11.0 - (different - 1.0) / 10.0
        });
        expected.push(avoided.sum::<f64>());
    }
    near(uniform.avoided.value, mean(&expected));
    // Over many histories the next number depends on the last one; one history cannot show it.
    near(own.dependence, 0.0);
    let many = found(SMALL, &not_again, &whole);
    let many = many.checkpoints[0].sequences[0].found.clone().unwrap();
    assert!(many.dependence > 0.05 && many.dependence < 11f64.log2() - 10f64.log2());
    near(many.adjacent.value, 0.0);
    assert!(
        many.held_back.value > 0.5 && many.held_back.value < 9.0 / 11.0,
        "{many:?}"
    );
}

#[test]
fn own_sequences_are_drawn_from_what_was_read() {
    let typed: &[(&str, &[&str])] = &[
        ("sets", &["0-10"]),
        ("rounds", &["0"]),
        ("sequences", &["200"]),
    ];
    let findings = found(typed, &one, &whole);
    let reference = findings.reference.as_ref().unwrap();
    near(reference.repeats + reference.distinct, 10.0);
    let own = findings.checkpoints[0].sequences[0].found.as_ref().unwrap();
    // 400 sequences, whose expected repeats have a deviation of about one.
    assert!((own.repeats.value - reference.repeats).abs() < 0.2);
    for (found, expected) in own
        .distribution
        .as_ref()
        .unwrap()
        .iter()
        .zip(&reference.distribution)
    {
        assert!((found - expected).abs() < 0.08, "{found} {expected}");
    }
    assert!(findings.checkpoints[0].games.is_none());
}

#[test]
fn repeats_of_drawn_sequences_are_as_in_the_reference() {
    let expected = repeats_under_uniform(11, 10);
    let mut counts = [0.0; 11];
    for sequence in 0..20_000usize {
        let drawn: Vec<usize> = (0..10usize)
            .map(|at| {
                let names = [sequence.to_string(), at.to_string()];
                crate::shared::draw::below(
                    11,
                    crate::shared::draw::unit(9, &[&names[0], &names[1]]),
                )
            })
            .collect();
        counts[repeats(&drawn)] += 1.0 / 20_000.0;
    }
    for (found, expected) in counts.iter().zip(expected) {
        assert!((found - expected).abs() < 0.015, "{found} {expected}");
    }
}

/// (.5, .3, .2), and after rock always paper where `copies`.
fn strategy(copies: bool) -> impl Fn(&Asked<'_>, &str) -> f64 {
    move |asked, text| {
        let text = text.to_lowercase();
        if copies && asked.history().last() == Some(&"rock") {
            return f64::from(u8::from(text == "paper"));
        }
        match text.as_str() {
            "rock" => 0.5,
            "paper" => 0.3,
            "scissors" => 0.2,
            _ => 1.0,
        }
    }
}

#[test]
fn the_best_opponent_wins_three_tenths_a_round() {
    let findings = found(&[("sets", &["coin"])], &strategy(false), &whole);
    let game = findings.checkpoints[0]
        .games
        .clone()
        .unwrap()
        .found
        .unwrap();
    assert_eq!(game.rounds.len(), 7);
    for (at, round) in game.rounds.iter().enumerate() {
        near(round.exploitability.value, 0.3);
        near(round.net, -0.3 * (at + 1) as f64);
        assert!(round.is_exact);
    }
    near(game.net.value, -2.1);
    for (found, expected) in game.moves.iter().zip([0.5, 0.3, 0.2]) {
        near(*found, expected);
    }
    let findings = found(&[("sets", &["coin"])], &strategy(true), &whole);
    let game = findings.checkpoints[0]
        .games
        .clone()
        .unwrap()
        .found
        .unwrap();
    // After rock, half the time, all is lost.
    near(game.rounds[1].exploitability.value, 0.5 + 0.5 * 0.3);
    // Rock comes third after paper or scissors (.5 + .5), each of which may follow.
    let rock = 0.5 * 0.5;
    near(
        game.rounds[2].exploitability.value,
        rock + (1.0 - rock) * 0.3,
    );
}

#[test]
fn rounds_after_the_tree_are_sampled() {
    let typed: &[(&str, &[&str])] = &[
        ("sets", &["coin"]),
        ("depth", &["2"]),
        ("rounds", &["14"]),
        ("sequences", &["5"]),
    ];
    let (data, options) = load(typed, 1);
    let strategy = strategy(false);
    let made_up = MadeUp {
        weight: &strategy,
        mass: &whole,
    };
    let (asked, read) = run(&data, &options, Form::Chat, &made_up);
    let names: Vec<&str> = asked.iter().map(|round| round.name.as_str()).collect();
    let sampled: Vec<String> = (4..=14).map(|round| format!("game-{round}")).collect();
    let expected = ["numbers", "games"]
        .into_iter()
        .chain(sampled.iter().map(String::as_str));
    assert_eq!(names, expected.collect::<Vec<_>>());
    let findings = measure(&data, &options, &[("a", &read)]);
    let game = findings.checkpoints[0]
        .games
        .clone()
        .unwrap()
        .found
        .unwrap();
    assert_eq!(game.rounds.len(), 14);
    assert!(game.rounds[2].is_exact && !game.rounds[3].is_exact);
    near(game.net.value, -14.0 * 0.3);
}

#[test]
fn the_tree_has_every_history_once() {
    let (data, options) = load(&[("sets", &["coin"])], 0);
    let Step::Ask(rounds) = next(&data, &options, Form::Chat, &Readings::default()).unwrap() else {
        panic!("nothing is asked");
    };
    let games = rounds.iter().find(|round| round.name == "games").unwrap();
    let of = |wording: &str| {
        let ids = games.prompts.iter().map(|prompt| prompt.id.as_str());
        let of = ids.filter(|id| id.contains("rock paper") && id.ends_with(wording));
        of.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(of("wording=1"), 1093);
    assert_eq!(of("wording=2"), 1093);
    // A node's prompt begins with its parent's.
    let prefill = |history: &str| {
        let id = format!("&history={history}&");
        let id = id.trim_start_matches('&');
        let is_it = |prompt: &&Prompt| prompt.id.contains(id) && prompt.id.ends_with("wording=1");
        match &games.prompts.iter().find(is_it).unwrap().input {
            Input::Prefilled { prefill, .. } => prefill.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        prefill("rock,paper"),
        "My moves, round by round: rock, paper,"
    );
    assert!(prefill("rock,paper").starts_with(&prefill("rock")));
}

/// The letter that stands for a number in a prompt.
fn letter_of(asked: &Asked<'_>, number: &str) -> String {
    let text = asked.text();
    let at = (0..text.len()).find(|at| {
        let rest = text.get(*at..).and_then(|rest| rest.strip_prefix(" = "));
        rest.and_then(|rest| rest.strip_prefix(number))
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    text[..at.unwrap()].chars().next_back().unwrap().to_string()
}

#[test]
fn the_placebo_tells_numbers_from_places() {
    let of = |weight: &dyn Fn(&Asked<'_>, &str) -> f64| {
        let findings = found(SMALL, weight, &whole);
        let placebo = findings.checkpoints[0].placebo.clone();
        let found = placebo.into_iter().map(|of| of.found.unwrap());
        found.collect::<Vec<_>>()
    };
    let (p, u) = (5.0 / 15.0, 1.0 / 11.0);
    // Prefers the figure 7, and knows nothing of what stands behind a letter.
    for found in of(&seven) {
        near(found.by_value.value, 0.0);
        near(found.by_place.value, 0.0);
        near(found.of_target.unwrap().value, u);
        near(found.by_target.unwrap().value, 0.0);
        assert_eq!(found.effect, Some(Effect::NotTold));
    }
    // Prefers the first letter.
    for found in of(&|_, text| if text == "A" { 5.0 } else { 1.0 }) {
        near(found.by_value.value, 0.0);
        near(found.by_place.value, p - u);
        near(found.places[0], p);
        near(found.by_target.unwrap().value, 0.0);
        near(found.by_its_place.unwrap().value, 1.0 / 15.0 - u);
        assert_eq!(found.effect, Some(Effect::Place));
    }
    // Prefers the letter that stands for 7.
    let knowing = |asked: &Asked<'_>, text: &str| {
        if asked.key.item.starts_with("placebo") && letter_of(asked, "7") == text {
            5.0
        } else {
            1.0
        }
    };
    for found in of(&knowing) {
        assert_eq!(found.target, Some(7));
        near(found.of_target.unwrap().value, p);
        near(found.by_value.value, p - u);
        near(found.by_place.value, 0.0);
        let difference = found.by_target.unwrap();
        near(difference.value, p - u);
        assert_eq!((difference.unit, difference.n), ("wording", 6));
        near(found.by_its_place.unwrap().value, 0.0);
        assert_eq!(found.effect, Some(Effect::Number));
    }
    // Prefers 7 with some wordings, and shuns it with as many: nothing is told.
    let torn = |asked: &Asked<'_>, text: &str| {
        let wording: usize = asked.key.condition("wording").unwrap().parse().unwrap();
        match (knowing(asked, text) > 1.0, wording % 2) {
            (false, _) => 2.0,
            (true, 0) => 1.0,
            (true, _) => 3.0,
        }
    };
    for found in of(&torn) {
        let [low, high] = found.by_target.as_ref().unwrap().ends();
        assert!(low < 0.0 && high > 0.0, "{low} {high}");
        assert_eq!(found.effect, Some(Effect::NotTold));
    }
    // Of one wording there is no interval, and so no verdict.
    let one_wording = [SMALL, &[("wordings", &["1"][..])]].concat();
    let findings = self::found(&one_wording, &knowing, &whole);
    let found = findings.checkpoints[0].placebo[0].found.clone().unwrap();
    near(found.by_target.unwrap().value, p - u);
    assert_eq!(found.effect, Some(Effect::NotTold));
}

#[test]
fn the_placebo_looks_at_the_most_probable_number_where_there_is_no_seven() {
    let typed: &[(&str, &[&str])] = &[
        ("sets", &["none"]),
        ("set", &["few=1,2,3"]),
        ("rounds", &["0"]),
    ];
    let two = |_: &Asked<'_>, text: &str| if text == "2" { 3.0 } else { 1.0 };
    let findings = found(typed, &two, &whole);
    let found = findings.checkpoints[0].placebo[0].found.as_ref().unwrap();
    assert_eq!(found.target, Some(1));
    near(found.of_target.as_ref().unwrap().value, 1.0 / 3.0);
}

#[test]
fn with_too_little_mass_nothing_is_shown_and_the_rest_goes_on() {
    let typed: &[(&str, &[&str])] = &[("sets", &["0-10", "coin"]), ("depth", &["1"])];
    let findings = found(typed, &seven, &little);
    let checkpoint = &findings.checkpoints[0];
    for set in &checkpoint.sets {
        let is_coin = set.set == "coin";
        assert_eq!(set.verdict.is_measurable(), is_coin);
        assert_eq!(set.summary.is_some(), is_coin);
        let shown = set.wordings.iter().filter(|of| of.distribution.is_some());
        assert_eq!(shown.count(), if is_coin { 10 } else { 0 });
        assert!(is_coin || set.wordings.iter().all(|of| of.quantities.is_empty()));
        near(set.mass.value, if is_coin { 0.9 } else { 0.4 });
    }
    assert!(checkpoint.sequences.iter().all(|of| of.found.is_none()));
    assert!(checkpoint.placebo.iter().all(|of| of.found.is_none()));
    assert!(checkpoint.games.as_ref().unwrap().found.is_some());
    let warnings = Randomness.warnings(&findings);
    let reason = "made up: not measurable: 0-10, free (valid mass 0.40 < 0.5)";
    assert!(
        warnings.iter().any(|warning| warning.starts_with(reason)),
        "{warnings:?}"
    );
    for exhibit in Randomness.exhibits(&findings, Show::default()) {
        match exhibit {
            Exhibit::Strip(strip) => assert!(!strip.title.starts_with("0-10"), "{}", strip.title),
            Exhibit::Forest(forest) => {
                assert!(
                    forest
                        .rows
                        .iter()
                        .all(|(name, _)| !name.starts_with("0-10"))
                );
            }
            Exhibit::Table(table) => {
                let of_set = table.title.is_some_and(|title| title.starts_with("0-10"));
                for row in table
                    .rows
                    .iter()
                    .filter(|row| of_set || row[0].starts_with("0-10"))
                {
                    assert!(
                        row[1..].iter().all(|cell| cell.contains("0.40 < 0.5")),
                        "{row:?}"
                    );
                }
            }
            _ => (),
        }
    }
    for table in Randomness.tables(&findings) {
        let at = |name: &str| table.column(name);
        if let (Some(set), Some(p)) = (at("set"), at("probability")) {
            let hidden = table
                .rows
                .iter()
                .filter(|row| row[set] == Cell::from("0-10"));
            assert!(hidden.clone().count() > 0);
            assert!(
                hidden.clone().all(|row| row[p] == Cell::Missing),
                "{}",
                table.name
            );
        }
    }
}

#[test]
fn a_language_with_too_little_mass_is_left_out() {
    let typed: &[(&str, &[&str])] = &[
        ("sets", &["0-10"]),
        ("languages", &["english", "german", "chinese"]),
        ("rounds", &["0"]),
    ];
    let mass = |asked: &Asked<'_>| match asked.key.condition("language") {
        Some("chinese") => 0.1,
        _ => 0.9,
    };
    let findings = found(typed, &one, &mass);
    let set = &findings.checkpoints[0].sets[0];
    // Two languages with ten wordings each: translations are no further draws.
    assert_eq!(of(set, Quantity::Entropy).estimate.n, 10);
    let measurable = set.languages.iter().map(|of| of.summary.is_some());
    assert_eq!(measurable.collect::<Vec<_>>(), [true, true, false]);
    assert!(
        Randomness
            .warnings(&findings)
            .iter()
            .any(|of| of.contains("0-10, free, chinese"))
    );
}

#[test]
fn identical_checkpoints_do_not_differ() {
    let (data, options) = load(SMALL, 3);
    let made_up = |weight| MadeUp {
        weight,
        mass: &whole,
    };
    let (_, base) = run(&data, &options, Form::Chat, &made_up(&seven));
    let (_, uniform) = run(&data, &options, Form::Chat, &made_up(&one));
    let three = [("base", &base), ("copy", &base), ("later", &uniform)];
    let findings = measure(&data, &options, &three);
    assert_eq!(findings.chain.len(), 2);
    let [copy, later] = &findings.chain[..] else {
        panic!("two links");
    };
    // Hide and seek has no 7.
    assert_eq!(copy.differences.len(), 2 * 5 + 2 * 4);
    for difference in &copy.differences {
        assert_eq!(difference.estimate.value.to_bits(), 0f64.to_bits());
        assert!(difference.estimate.ends().iter().all(|end| *end == 0.0));
        assert_eq!((difference.p, difference.effect), (None, None));
    }
    let mut masses = later
        .differences
        .iter()
        .filter(|of| of.quantity == Quantity::Mass);
    assert!(masses.all(|of| (of.p, of.effect) == (None, None)));
    let seven = later
        .differences
        .iter()
        .find(|of| of.quantity == Quantity::Seven)
        .unwrap();
    near(seven.estimate.value, 1.0 / 11.0 - 1.0 / 3.0);
    assert_eq!(seven.estimate.n, 10);
    // Ten wordings that all fall: two of 2^10 signs are as far.
    near(seven.p.unwrap(), 2.0 / 1024.0);
    assert!(seven.adjusted >= seven.p && seven.effect.is_none());
    let shown = Randomness.exhibits(&findings, Show::default());
    let forests = shown
        .iter()
        .filter(|exhibit| matches!(exhibit, Exhibit::Forest(of) if of.of_differences));
    assert_eq!(forests.count(), 5);
}
