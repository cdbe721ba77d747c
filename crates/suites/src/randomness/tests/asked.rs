//! What is asked, refused and shown.

use super::*;

#[test]
fn a_stopped_run_goes_on_with_the_same_prompts() {
    let typed = &[SMALL, &[("rounds", &["5"][..]), ("poems", &["2"])]].concat();
    let (data, options) = load(typed, 11);
    let made_up = MadeUp {
        weight: &not_again,
        mass: &whole,
    };
    let (asked, read) = run(&data, &options, Form::Completion, &made_up);
    let names: Vec<&str> = asked.iter().map(|round| round.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "numbers", "placebo", "uniform", "games", "own-1", "game-4", "own-2", "game-5",
            "own-3", "own-4", "own-5", "own-6", "own-7", "own-8", "own-9", "own-10", "poems",
        ]
    );
    let find = |name: &str| asked.iter().find(|round| round.name == name).unwrap();
    let mut so_far = Readings::default();
    let stages = [&names[..5], &names[5..7], &names[7..9], &names[9..10]];
    for stage in stages {
        let expected: Vec<Round> = stage.iter().map(|name| find(name).clone()).collect();
        let expected = Step::Ask(expected);
        assert_eq!(
            next(&data, &options, Form::Completion, &so_far).unwrap(),
            expected
        );
        for (number, name) in stage.iter().enumerate() {
            // Half of a round was read when it stopped.
            let mut all = read.rounds[*name].clone();
            if number + 1 == stage.len() {
                let half: Vec<String> = all.keys().skip(all.len() / 2).cloned().collect();
                all.retain(|id, _| !half.contains(id));
            }
            so_far.rounds.insert((*name).to_owned(), all);
            assert_eq!(
                next(&data, &options, Form::Completion, &so_far).unwrap(),
                expected
            );
        }
        for name in stage {
            so_far
                .rounds
                .insert((*name).to_owned(), read.rounds[*name].clone());
        }
    }
    assert_eq!(
        next(&data, &options, Form::Completion, &read).unwrap(),
        Step::Done
    );
}

#[test]
fn prompts_follow_from_the_seed() {
    let asked = |seed: u64| {
        let (data, options) = load(SMALL, seed);
        let made_up = MadeUp {
            weight: &seven,
            mass: &whole,
        };
        run(&data, &options, Form::Chat, &made_up).0
    };
    assert_eq!(asked(1), asked(1));
    let (one, two) = (asked(1), asked(2));
    let of = |rounds: &[Round], name: &str| {
        rounds
            .iter()
            .find(|round| round.name == name)
            .unwrap()
            .clone()
    };
    for same in ["numbers", "games", "own-1"] {
        assert_eq!(of(&one, same), of(&two, same));
    }
    for different in ["placebo", "uniform", "own-2"] {
        assert_ne!(of(&one, different), of(&two, different));
    }
}

#[test]
fn every_prompt_is_whole_and_has_a_name_of_its_own() {
    for language in LANGUAGES {
        let typed = [
            ALL,
            &[
                ("languages", &[language][..]),
                ("depth", &["2"]),
                ("poems", &["1"]),
            ],
        ];
        let (data, options) = load(&typed.concat(), 5);
        for form in [Form::Chat, Form::Completion] {
            let made_up = MadeUp {
                weight: &one,
                mass: &whole,
            };
            let (asked, read) = run(&data, &options, form, &made_up);
            let prompts = asked.iter().flat_map(|round| &round.prompts);
            let ids: BTreeSet<&str> = prompts.clone().map(|prompt| prompt.id.as_str()).collect();
            assert_eq!(ids.len(), prompts.clone().count());
            for prompt in prompts {
                let texts = match &prompt.input {
                    Input::Text(text) => vec![text],
                    Input::Conversation(messages) => contents(messages),
                    Input::Prefilled { messages, prefill } => {
                        [contents(messages), vec![prefill]].concat()
                    }
                };
                for text in texts {
                    assert!(!text.contains(['{', '}']), "{text}");
                    assert_eq!(text.trim(), text);
                }
                if let Read::Strings(strings) = &prompt.reads[0] {
                    let different: BTreeSet<&String> = strings.texts.iter().collect();
                    assert_eq!(different.len(), strings.texts.len());
                }
            }
            measure(&data, &options, &[("a", &read)]);
        }
    }
}

fn contents(messages: &[Message]) -> Vec<&String> {
    messages.iter().map(|message| &message.content).collect()
}

#[test]
fn what_was_not_read_is_named() {
    let (data, options) = load(SMALL, 3);
    let made_up = MadeUp {
        weight: &one,
        mass: &whole,
    };
    let (asked, read) = run(&data, &options, Form::Chat, &made_up);
    for round in &asked {
        let mut damaged = read.clone();
        let id = &round.prompts[0].id;
        damaged.rounds.get_mut(&round.name).unwrap().remove(id);
        let checkpoint = crate::CheckpointReadings {
            name: "a".to_owned(),
            readings: damaged,
        };
        let error = Randomness
            .measure(&data, &options, Settings::default(), &[checkpoint])
            .unwrap_err();
        assert!(matches!(&error, SuiteError::Readings { message, .. } if message.contains(id)));
    }
}

#[test]
fn poems_are_counted() {
    let typed = &[SMALL, &[("poems", &["4"][..])]].concat();
    let findings = found(typed, &one, &whole);
    let diversity = &findings.checkpoints[0].diversity[0];
    near(diversity.usable.value, 1.0);
    let found = diversity.found.as_ref().unwrap();
    // Half a bit and an eighth: one and three bits.
    near(found.entropy_rate.value, 2.0);
    assert_eq!(
        (found.entropy_rate.n, found.entropy_rate.unit),
        (12, "poem")
    );
    near(found.first_lines, 1.0);
    near(found.words, 11.0);
    near(found.self_bleu, 1.0);
    // Ten different words of 44.
    near(found.distinct_1, 10.0 / 44.0);
}

fn refused(typed: &[(&str, &[&str])]) -> SuiteError {
    Randomness.load(&given(typed, 0)).unwrap_err()
}

#[test]
fn what_is_given_is_checked() {
    let usage = |typed: &[(&str, &[&str])], part: &str| {
        let error = refused(typed);
        assert!(matches!(&error, SuiteError::Usage { message, .. } if message.contains(part)));
    };
    usage(&[("sets", &["0-11"])], "there is no set `0-11`");
    usage(&[("sets", &["hide and seek"])], "there is no set");
    usage(&[("sets", &["none"])], "no set to choose from");
    usage(&[("set", &["mine=a"])], "has 1 member:");
    usage(&[("set", &["mine=a,a"])], "more than once");
    usage(&[("set", &["mine=red,red wine"])], "cannot be told");
    usage(&[("set", &["coin=a,b"])], "two sets `coin`");
    usage(&[("languages", &["klingon"])], "klingon");
    let missing = refused(&[("set", &["/nowhere/mine.json"])]);
    assert!(matches!(missing, SuiteError::Data { .. }));
    for spec in Randomness.options() {
        for default in spec.default.into_iter().flat_map(|text| text.split(',')) {
            assert_eq!((spec.check)(default), Ok(()), "{}", spec.name);
        }
        let text = spec.help;
        assert!(text.len() < 110 && !text.ends_with('.'), "{}", spec.name);
    }
    let check = |name: &str, text: &str| {
        let spec = Randomness.options().iter().find(|spec| spec.name == name);
        (spec.unwrap().check)(text)
    };
    for (name, wrong) in [
        ("set", "mine"),
        ("set", "=a,b"),
        ("wordings", "0"),
        ("wordings", "13"),
        ("depth", "9"),
        ("samples", "-1"),
        ("least-mass", "1.5"),
        ("languages", "English"),
    ] {
        assert!(check(name, wrong).is_err(), "{name} {wrong}");
    }
    assert_eq!(check("set", "mine=a,b"), Ok(()));
    assert_eq!(check("set", "folder/mine.json"), Ok(()));
}

#[test]
fn a_set_is_read_from_a_file() {
    let folder = std::env::temp_dir().join(format!("randomness-sets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let fruit =
        r#"{"name": "fruit", "members": ["plum", {"name": "pear", "words": {"german": "Birne"}}]}"#;
    let right = file("right.json", fruit);
    let alike = file("alike.json", r#"{"name": "x", "members": ["a", "a b"]}"#);
    let other = file("other.json", r#"{"name": "x", "choices": []}"#);
    let typed: &[(&str, &[&str])] = &[("sets", &["none"]), ("set", &[&right])];
    let (data, _) = load(typed, 0);
    assert_eq!(data.sets[0].words("german"), ["plum", "Birne"]);
    for wrong in [&alike, &other] {
        let error = refused(&[("set", &[wrong])]);
        assert!(matches!(error, SuiteError::Data { .. }), "{error:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn only_what_may_be_shown_of_both_is_compared() {
    let (data, options) = load(&[("sets", &["0-10", "coin"]), ("rounds", &["0"])], 3);
    let made_up = |mass| MadeUp { weight: &one, mass };
    let (_, base) = run(&data, &options, Form::Chat, &made_up(&little));
    let (_, later) = run(&data, &options, Form::Chat, &made_up(&whole));
    let findings = measure(&data, &options, &[("base", &base), ("later", &later)]);
    let compared = findings.chain[0]
        .differences
        .iter()
        .filter(|of| of.quantity != Quantity::Mass)
        .map(|of| of.set.as_str());
    assert_eq!(compared.collect::<BTreeSet<_>>(), BTreeSet::from(["coin"]));
    // How much more valid mass there is can be said of all.
    let mut masses = findings.chain[0].differences.iter();
    assert!(masses.any(|of| of.set == "0-10" && of.quantity == Quantity::Mass));
    // The later one is shown by itself.
    assert!(
        findings.checkpoints[1]
            .sets
            .iter()
            .all(|set| set.summary.is_some())
    );
}

#[test]
fn own_sets_stand_beside_the_others() {
    let typed: &[(&str, &[&str])] = &[
        ("sets", &["coin"]),
        ("set", &["colours=red, green,blue", "few=1,2,3"]),
        ("rounds", &["0"]),
        ("wordings", &["3"]),
    ];
    let (data, options) = load(typed, 0);
    let names: Vec<&str> = data.sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["coin", "colours", "few"]);
    assert_eq!(data.numbers().unwrap().name, "few");
    assert_eq!(data.sets[1].words("english"), ["red", "green", "blue"]);
    let text = serde_json::to_string(&(&data, &options)).unwrap();
    let again: (super::super::Data, super::super::Options) = serde_json::from_str(&text).unwrap();
    assert_eq!(again, (data, options));
    let findings = found(typed, &one, &whole);
    assert_eq!(
        of(&findings.checkpoints[0].sets[2], Quantity::Entropy)
            .estimate
            .n,
        3
    );
    assert_eq!(
        of(&findings.checkpoints[0].sets[2], Quantity::Entropy)
            .estimate
            .interval,
        None
    );
}

fn everything(languages: &[&str]) -> Findings {
    let typed = [
        ALL,
        &[
            ("languages", languages),
            ("depth", &["2"]),
            ("poems", &["3"]),
        ],
    ]
    .concat();
    let (data, options) = load(&typed, 3);
    let made_up = |weight| MadeUp {
        weight,
        mass: &whole,
    };
    let (_, base) = run(&data, &options, Form::Completion, &made_up(&one));
    let (_, later) = run(&data, &options, Form::Chat, &made_up(&seven));
    measure(&data, &options, &[("base", &base), ("later", &later)])
}

#[test]
fn everything_is_shown_and_exported() {
    let findings = everything(&["english", "japanese"]);
    let shown = Randomness.exhibits(
        &findings,
        Show {
            published: true,
            ..Show::default()
        },
    );
    let mut titles = BTreeSet::new();
    for exhibit in &shown {
        match exhibit {
            Exhibit::Table(table) => {
                assert!(!table.rows.is_empty(), "{:?}", table.title);
                for row in &table.rows {
                    assert_eq!(row.len(), table.header.len(), "{:?}", table.title);
                }
            }
            Exhibit::Strip(strip) => {
                assert!(titles.insert(strip.title.clone()), "{}", strip.title);
                for (_, bars) in &strip.rows {
                    assert_eq!(bars.len(), strip.categories.len(), "{}", strip.title);
                    near(bars.iter().sum(), 1.0);
                }
            }
            Exhibit::Forest(forest) => {
                assert!(titles.insert(forest.title.clone()), "{}", forest.title);
                for (_, estimates) in &forest.rows {
                    assert_eq!(estimates.len(), forest.series.len(), "{}", forest.title);
                }
            }
            _ => (),
        }
    }
    let has = |part: &str| {
        let notes = shown.iter().filter_map(|exhibit| match exhibit {
            Exhibit::Note(text) | Exhibit::Lead(text) => Some(text),
            _ => None,
        });
        notes.into_iter().any(|text| text.contains(part))
    };
    assert!(has("P(7) would be 0.172 for 1,500 draws and 0.405 for 100"));
    assert!(has("protocol unknown") && has("only people can say"));
    let without = Randomness.exhibits(&findings, Show::default());
    assert!(without.len() < shown.len());
    assert_eq!(without[..], shown[..without.len()]);
    let tables = Randomness.tables(&findings);
    for table in &tables {
        assert!(!table.rows.is_empty(), "{}", table.name);
        let columns: BTreeSet<&str> = table.columns.iter().map(|column| &*column.name).collect();
        assert_eq!(columns.len(), table.columns.len());
        assert!(
            table
                .rows
                .iter()
                .all(|row| row.len() == table.columns.len())
        );
    }
    // A row for each checkpoint, form, language, wording and member of eight sets; suits have twelve wordings.
    let rows = 2 * 2 * 2 * (10 * (11 + 10 + 6 + 2 + 26 + 5 + 5) + 12 * 4);
    assert_eq!(tables[0].rows.len(), rows);
    assert!(Randomness.warnings(&findings).is_empty());
    assert!(serde_json::to_string(&findings).is_ok());
}

#[test]
fn base_and_chat_forms_are_matched_by_wording() {
    let findings = everything(&["english"]);
    let seven = |carrier: Carrier| {
        let mut all = findings.chain[0].differences.iter();
        let found = all.find(|of| {
            of.set == "0-10" && of.carrier == carrier && of.quantity == Quantity::Entropy
        });
        found.unwrap().estimate.value
    };
    let p: Vec<f64> = (0..11)
        .map(|at| if at == 7 { 5.0 / 15.0 } else { 1.0 / 15.0 })
        .collect();
    for carrier in CARRIERS {
        near(seven(carrier), entropy_bits(&p) - 11f64.log2());
    }
}

/// Ten wordings of normal values: the interval holds their mean about as often as it says.
#[test]
fn intervals_over_ten_wordings_hold_the_truth() {
    let normal = |run: usize, at: usize| -> f64 {
        let draws = (0..12).map(|k: usize| {
            let names = [run, at, k].map(|number| number.to_string());
            crate::shared::draw::unit(17, &[&names[0], &names[1], &names[2]])
        });
        draws.sum::<f64>() - 6.0
    };
    let held = (0..500).filter(|run| {
        let values: Vec<f64> = (0..10).map(|at| normal(*run, at)).collect();
        let interval = bca_mean(&values, 0.95, Some(999), 1);
        interval.low <= 0.0 && 0.0 <= interval.high
    });
    let share = held.count() as f64 / 500.0;
    // A bootstrap of ten is a little too narrow.
    assert!((0.86..0.97).contains(&share), "{share}");
}

#[test]
fn every_option_stands_equally_often_in_each_place_over_wordings() {
    for language in LANGUAGES {
        let typed: &[(&str, &[&str])] = &[
            ("sets", &["coin", "suit"]),
            ("set", &["fruit=apple,pear,plum,fig,lime"]),
            ("languages", &[language]),
            ("relabellings", &["0"]),
            ("rounds", &["0"]),
        ];
        let (data, options) = load(typed, 1);
        let Step::Ask(rounds) = next(&data, &options, Form::Chat, &Readings::default()).unwrap()
        else {
            panic!("nothing is asked");
        };
        let mut counts: BTreeMap<(&str, &str, usize), usize> = BTreeMap::new();
        for prompt in &rounds[0].prompts {
            let Input::Conversation(messages) = &prompt.input else {
                continue;
            };
            let key: PromptKey = prompt.id.parse().unwrap();
            let text = &messages[0].content;
            let set = data
                .sets
                .iter()
                .find(|set| key.item == format!("numbers/{}", set.name));
            let set = set.unwrap();
            let words = set.words(language);
            let listed = listed(text, &words, &data.wordings[language].comma);
            for (place, member) in listed.into_iter().enumerate() {
                *counts.entry((&set.name, words[member], place)).or_default() += 1;
            }
        }
        for set in &data.sets {
            let words = set.words(language);
            let wordings = data.wordings[language].of(set.kind).len();
            for word in &words {
                for place in 0..words.len() {
                    let count = counts.get(&(set.name.as_str(), *word, place));
                    let expected = wordings / words.len();
                    assert_eq!(
                        count,
                        Some(&expected),
                        "{language} {} {word} {place}",
                        set.name
                    );
                }
            }
        }
        assert_eq!(data.sets.len(), 3);
    }
}

/// Which members a text lists, in the order in which it does.
fn listed(text: &str, words: &[&str], comma: &str) -> Vec<usize> {
    let rotated = |turn: usize| {
        let mut order: Vec<usize> = (0..words.len()).collect();
        order.rotate_left(turn);
        order
    };
    let orders = (0..words.len()).map(rotated);
    let mut shown = orders.filter(|order| {
        let listed: Vec<&str> = order.iter().map(|at| words[*at]).collect();
        let first = text.find(listed[0]);
        text.contains(&listed.join(comma))
            || words.len() == 2 && first.is_some() && first < text.find(listed[1])
    });
    let found = shown.next().unwrap();
    assert!(shown.next().is_none(), "{text}");
    found
}
