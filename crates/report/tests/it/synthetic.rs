//! Made-up exhibits of a whole run: as many questions, topics and checkpoints as real ones have, from a seed.

#![allow(
    clippy::cast_possible_truncation,
    reason = "made-up numbers are rounded"
)]

use concord_findings::{
    AnswerBook, Axis, BookKind, BookPassage, BookQuestion, BookReadings, Check, Checks, Estimate,
    Exhibit, Forest, LevelRow, Levels, Mark, Matrix, Measure, Method, Radar, Strip, Summary, Table,
    Topic, Topics, Verdict,
};

/// What is asked: a question with its topic, its original, and the answers that it offers.
pub struct Asked {
    pub topic: String,
    pub facets: Vec<String>,
    pub text: String,
    pub original: String,
    /// The original in English, which translations share.
    pub english: Option<String>,
    pub options: Vec<(String, String)>,
}

/// Numbers that look like chance and are the same every time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One of so many.
    pub fn pick(&mut self, count: usize) -> usize {
        let roll = (self.roll() * 65536.0).to_bits() >> 20;
        usize::try_from(roll).unwrap_or(0) % count.max(1)
    }

    /// From 0 to 1.
    pub fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Questions about nothing: `count` of them in topics of 24, in four languages.
pub fn made_up(count: usize) -> Vec<Asked> {
    let words = [
        "should", "the", "city", "pay", "for", "new", "roads", "schools", "parks", "trains",
        "before", "next", "year", "more", "often",
    ];
    let mut dice = Dice::new(7);
    let mut sentence = |length: usize| -> String {
        let words = (0..length).map(|_| words[dice.pick(words.len())]);
        words.collect::<Vec<_>>().join(" ")
    };
    let mut out = Vec::new();
    let mut original = String::new();
    let mut name = String::new();
    for at in 0..count {
        let topic = at / 24;
        let language = ["english", "chinese", "german", "japanese"][topic % 4];
        if at % 24 == 0 {
            name = format!("Matter {topic} of {}", sentence(2));
        }
        let text = format!("Is it right that {}, number {at}?", sentence(12));
        if at % 24 % 5 == 0 {
            original.clone_from(&text);
        }
        out.push(Asked {
            topic: name.clone(),
            facets: [
                ["controversial", "uncontroversial"][topic % 2],
                language,
                ["us", "germany", "japan"][topic % 3],
            ]
            .map(str::to_owned)
            .to_vec(),
            text,
            original: original.clone(),
            english: Some(format!("original {}", at / 20)),
            options: vec![
                ("yes".into(), "supports".into()),
                ("no".into(), "opposes".into()),
            ],
        });
    }
    out
}

/// Topics and questions of what was asked.
struct Laid {
    topics: Vec<(String, Vec<String>, usize)>,
    questions: Vec<BookQuestion>,
}

fn laid(asked: &[Asked]) -> Laid {
    let mut order: Vec<&Asked> = asked.iter().collect();
    order.sort_by(|a, b| {
        (&a.facets, &a.topic, &a.original, a.text != a.original).cmp(&(
            &b.facets,
            &b.topic,
            &b.original,
            b.text != b.original,
        ))
    });
    let mut topics: Vec<(String, Vec<String>, usize)> = Vec::new();
    let mut questions: Vec<BookQuestion> = Vec::new();
    let mut english = std::collections::BTreeMap::new();
    let mut original = 0;
    for (at, each) in order.into_iter().enumerate() {
        if topics
            .last()
            .is_none_or(|(name, facets, _)| (name, facets) != (&each.topic, &each.facets))
        {
            topics.push((each.topic.clone(), each.facets.clone(), 0));
        }
        if let Some(topic) = topics.last_mut() {
            topic.2 += 1;
        }
        if each.text == each.original {
            original = at;
        }
        let count = english.len();
        questions.push(BookQuestion {
            topic: topics.len() - 1,
            original: if questions
                .get(original)
                .is_some_and(|other| other.text == each.original)
            {
                original
            } else {
                at
            },
            translation: each
                .english
                .as_ref()
                .filter(|_| each.text == each.original)
                .map(|key| *english.entry(key.clone()).or_insert(count)),
            text: each.text.clone(),
            options: each.options.clone(),
        });
    }
    Laid { topics, questions }
}

fn estimate(value: f64, half: f64, n: usize) -> Estimate {
    Estimate::with_ends(value, [value - half, value + half], Method::Bca).of(n, "topic")
}

/// A whole run of these checkpoints, of which those with a reason could not be measured.
pub fn run(checkpoints: &[(String, Option<String>)], asked: &[Asked]) -> Vec<Exhibit> {
    let names: Vec<String> = checkpoints.iter().map(|(name, _)| name.clone()).collect();
    let mut dice = Dice::new(11);
    let laid = laid(asked);
    let mut out = vec![
        Exhibit::Summary(summary(checkpoints, &laid)),
        Exhibit::Levels(levels(checkpoints, &mut dice)),
        Exhibit::Checks(checks(checkpoints)),
    ];
    out.extend(by_place(&names, &mut dice));
    out.push(Exhibit::Topics(topics(checkpoints, &laid, &mut dice)));
    out.extend(forms(&names, &mut dice));
    out.push(Exhibit::Answers(Box::new(book(
        checkpoints,
        laid.questions,
        &mut dice,
    ))));
    out
}

fn summary(checkpoints: &[(String, Option<String>)], laid: &Laid) -> Summary {
    let mut warnings: Vec<(Mark, String)> = checkpoints
        .iter()
        .filter_map(|(name, reason)| {
            Some((
                Mark::Bad,
                format!("{name}: {}, not ranked", reason.as_ref()?),
            ))
        })
        .collect();
    if let Some((name, _)) = checkpoints.first() {
        warnings.push((
            Mark::Doubtful,
            format!("{name} flips 47 % of its answers with the order of the options"),
        ));
    }
    let measured: Vec<&String> = checkpoints
        .iter()
        .filter(|(_, reason)| reason.is_none())
        .map(|(name, _)| name)
        .collect();
    let sentences = match measured.as_slice() {
        [] => vec!["Nothing can be measured.".to_owned()],
        [only] => vec![format!(
            "{only} moves 0.074 [0.070, 0.078] across topics, 0.94 of what shuffled answers give."
        )],
        [first, second, ..] => vec![
            format!(
                "{second} is less consistent than {first}: across topics its answers move 1.7 times as far, 0.126 against 0.074, a difference of +0.052 [+0.037, +0.065]."
            ),
            format!(
                "Held against its own answers shuffled, {second} is the more consistent: 0.88 of what chance gives, {first} 0.94. It decides more, and that alone moves answers farther."
            ),
        ],
    };
    let count = laid.questions.len().to_string();
    let (head, end) = count.split_at(count.len().saturating_sub(3));
    Summary {
        checkpoints: checkpoints
            .iter()
            .map(|(name, reason)| {
                (
                    name.clone(),
                    reason
                        .clone()
                        .map_or(Verdict::Measurable, Verdict::NotMeasurable),
                )
            })
            .collect(),
        scope: vec![
            format!(
                "{head}{}{end} questions",
                if head.is_empty() { "" } else { "," }
            ),
            format!("{} topics", laid.topics.len()),
            "4 languages".to_owned(),
            "letters in both orders, answer texts".to_owned(),
        ],
        partial: None,
        sentences,
        warnings,
    }
}

fn levels(checkpoints: &[(String, Option<String>)], dice: &mut Dice) -> Levels {
    let rows = [
        ("paraphrases", "1,461 questions", 0.06),
        ("topics", "335 topics", 0.1),
        ("languages", "480 questions", 0.1),
        ("letters against texts", "8,005 questions", 0.19),
    ];
    let rows = rows.iter().map(|(label, groups, middle)| {
        let values: Vec<f64> = checkpoints
            .iter()
            .map(|(_, reason)| {
                if reason.is_some() {
                    0.003
                } else {
                    middle * (0.6 + 0.8 * dice.roll())
                }
            })
            .collect();
        let differs = |at: usize| {
            (at > 0 && checkpoints[at].1.is_none() && checkpoints[0].1.is_none())
                .then(|| values[at] - values[0])
        };
        LevelRow {
            label: (*label).to_owned(),
            groups: (*groups).to_owned(),
            measurable: vec![],
            levels: values
                .iter()
                .map(|value| Some(estimate(*value, 0.07 * value, 335)))
                .collect(),
            thin: values
                .iter()
                .map(|value| Some(estimate(*value, 0.03 * value, 8005)))
                .collect(),
            differences: (0..values.len())
                .map(|at| differs(at).map(|value| estimate(value, 0.008, 335)))
                .collect(),
            words: (0..values.len())
                .map(|at| {
                    differs(at).map(|value| {
                        if value.abs() < 0.008 {
                            "–"
                        } else if value > 0.0 {
                            "more"
                        } else {
                            "less"
                        }
                        .to_owned()
                    })
                })
                .collect(),
            of_shuffled: values
                .iter()
                .map(|_| Some(estimate(0.6 + 0.35 * dice.roll(), 0.03, 335)))
                .collect(),
            published: if *label == "topics" {
                vec![("gpt-4o".to_owned(), 0.17), ("people".to_owned(), 0.221)]
            } else {
                vec![]
            },
        }
    });
    Levels {
        title: "How far answers move".to_owned(),
        measure: Measure::Distance,
        legend: "0: always the same answer; 0.4645: opposite answers, the farthest that two can be apart.".to_owned(),
        axis: Axis::UpTo(0.4645),
            faded: "not measurable",
            beside: "published",
        checkpoints: checkpoints.iter().map(|(name, _)| name.clone()).collect(),
        rows: rows.collect(),
    }
}

fn checks(checkpoints: &[(String, Option<String>)]) -> Checks {
    let row = |name: &str, help: &str, fine: (Mark, &str), bad: &str| Check {
        name: name.to_owned(),
        help: help.to_owned(),
        cells: checkpoints
            .iter()
            .map(|(_, reason)| {
                Some(if reason.is_some() {
                    (Mark::Bad, bad.to_owned())
                } else {
                    (fine.0, fine.1.to_owned())
                })
            })
            .collect(),
    };
    Checks {
        title: "Can these numbers be trusted?".to_owned(),
        checkpoints: checkpoints.iter().map(|(name, _)| name.clone()).collect(),
        rows: vec![
            row(
                "probability on letters",
                "How much of the probability is on the letters of the options. Below one half nothing can be read from them.",
                (Mark::Good, "99.8 %"),
                "0.1 %",
            ),
            row(
                "answers that flip with the order",
                "How many answers change when the options change places. Above one half, position decides.",
                (Mark::Doubtful, "47.9 %"),
                "98.8 %",
            ),
            row(
                "probability of letter A",
                "With both orders asked, a checkpoint without a preference gives 0.5.",
                (Mark::Good, "0.52"),
                "0.87",
            ),
            row(
                "states the same option in its own words",
                "The share of answers in words that name the option that its letter named.",
                (Mark::Good, "96 %"),
                "12 %",
            ),
            row(
                "known sides",
                "How many passages that are known to support or oppose are read so.",
                (Mark::Good, "46 of 48"),
                "25 of 48",
            ),
        ],
    }
}

fn by_place(names: &[String], dice: &mut Dice) -> Vec<Exhibit> {
    let languages = ["Chinese", "English", "German", "Japanese"];
    let mut out = vec![
        Exhibit::Heading("Languages and countries".to_owned()),
        Exhibit::Lead(
            "How far answers to the same question lie apart in each pair of languages.".to_owned(),
        ),
    ];
    for name in names.iter().take(2) {
        out.push(Exhibit::Matrix(Matrix {
            title: format!("Between languages: {name}"),
            measure: Measure::Distance,
            columns: languages.map(str::to_owned).to_vec(),
            rows: languages
                .iter()
                .enumerate()
                .map(|(row, language)| {
                    (
                        (*language).to_owned(),
                        (0..4)
                            .map(|at| (at != row).then(|| 0.05 + 0.15 * dice.roll()))
                            .collect(),
                    )
                })
                .collect(),
        }));
    }
    out.push(Exhibit::Forest(Forest {
        title: "Across topics, by language and country".to_owned(),
        measure: Measure::Distance,
        of_differences: false,
        series: names.to_vec(),
        rows: [
            "english, us",
            "english, germany",
            "german, germany",
            "chinese, china",
            "japanese, japan",
        ]
        .iter()
        .map(|label| {
            let cells = names
                .iter()
                .map(|_| Some(estimate(0.05 + 0.12 * dice.roll(), 0.012, 28)));
            ((*label).to_owned(), cells.collect())
        })
        .collect(),
    }));
    out
}

fn topics(checkpoints: &[(String, Option<String>)], laid: &Laid, dice: &mut Dice) -> Topics {
    let measured = |at: usize| checkpoints[at].1.is_none();
    let rows = laid.topics.iter().map(|(name, facets, questions)| {
        let levels: Vec<f64> = (0..checkpoints.len())
            .map(|at| {
                if measured(at) {
                    0.03 + 0.14 * dice.roll()
                } else {
                    0.003
                }
            })
            .collect();
        let differs = |at: usize| {
            (at > 0 && measured(at) && measured(0))
                .then(|| estimate(levels[at] - levels[0], 0.03, *questions))
        };
        Topic {
            name: name.clone(),
            facets: facets.clone(),
            questions: *questions,
            levels: levels
                .iter()
                .map(|value| Some(estimate(*value, 0.02, *questions)))
                .collect(),
            differences: (0..levels.len()).map(differs).collect(),
            support: (0..levels.len())
                .map(|at| {
                    Some(if measured(at) {
                        0.15 + 0.7 * dice.roll()
                    } else {
                        0.49 + 0.02 * dice.roll()
                    })
                })
                .collect(),
        }
    });
    Topics {
        title: "Topics".to_owned(),
        nouns: ["topic", "questions", "support"],
        measure: Measure::Distance,
        signed: false,
        checkpoints: checkpoints.iter().map(|(name, _)| name.clone()).collect(),
        facets: vec!["controversy", "language", "country"],
        rows: rows.collect(),
    }
}

fn forms(names: &[String], dice: &mut Dice) -> Vec<Exhibit> {
    let mut profile = |language: &str| {
        Exhibit::Radar(Radar {
            title: format!("Values, {language}: probability of \"like me\""),
            spokes: [
                "Self-direction",
                "Stimulation",
                "Hedonism",
                "Achievement",
                "Power",
                "Security",
                "Conformity",
                "Tradition",
                "Benevolence",
                "Universalism",
            ]
            .map(str::to_owned)
            .to_vec(),
            series: names
                .iter()
                .map(|name| {
                    (
                        name.clone(),
                        (0..10).map(|_| 0.2 + 0.6 * dice.roll()).collect(),
                    )
                })
                .collect(),
        })
    };
    let (english, german) = (profile("English"), profile("German"));
    vec![
        Exhibit::Heading("Portraits".to_owned()),
        english,
        german,
        Exhibit::Heading("Letters".to_owned()),
        Exhibit::Strip(Strip {
            title: "Probability of the letters".to_owned(),
            measure: Measure::Share,
            categories: (0..10).map(|at| format!(".{at}")).collect(),
            rows: names
                .iter()
                .map(|name| {
                    (
                        name.clone(),
                        (0..10)
                            .map(|at| 0.02 + 0.03 * f64::from(at) * dice.roll())
                            .collect(),
                    )
                })
                .collect(),
            reference: Some(0.1),
        }),
        Exhibit::Heading("Every number".to_owned()),
        Exhibit::Table(Table {
            title: Some("Measures by language".to_owned()),
            header: ["", "checkpoint", "topics", "paraphrases", "answers"]
                .map(str::to_owned)
                .to_vec(),
            rows: (0..24)
                .map(|at| {
                    let name = names
                        .get(at % names.len().max(1))
                        .cloned()
                        .unwrap_or_default();
                    vec![
                        format!("group {at}"),
                        name,
                        format!("{:.3}", dice.roll()),
                        format!("{:.3}", dice.roll()),
                        format!("{}", 100 + at),
                    ]
                })
                .collect(),
        }),
        Exhibit::Note("Groups of one are not counted.\n".to_owned()),
    ]
}

fn book(
    checkpoints: &[(String, Option<String>)],
    questions: Vec<BookQuestion>,
    dice: &mut Dice,
) -> AnswerBook {
    let mut readings = Vec::new();
    for (checkpoint, (_, reason)) in checkpoints.iter().enumerate() {
        let spread = if reason.is_some() { 0.05 } else { 0.8 };
        let means: Vec<f64> = questions
            .iter()
            .map(|_| 0.5 + spread * (dice.roll() - 0.5))
            .collect();
        let mut reading = |kind, noise: f64| BookReadings {
            checkpoint,
            kind,
            values: means
                .iter()
                .map(|mean| (mean + noise * (dice.roll() - 0.5)).clamp(0.0, 1.0) as f32)
                .collect(),
        };
        readings.push(reading(BookKind::Letters, 0.3));
        readings.push(reading(BookKind::LettersReversed, 0.3));
        readings.push(reading(BookKind::Texts, 0.5));
        let mass = |dice: &mut Dice| {
            if reason.is_some() {
                0.1 * dice.roll()
            } else {
                1.0 - 0.02 * dice.roll()
            }
        };
        readings.push(BookReadings {
            checkpoint,
            kind: BookKind::LabelMass,
            values: questions.iter().map(|_| mass(dice) as f32).collect(),
        });
    }
    let passages = (0..questions.len().min(24)).map(|at| BookPassage {
        question: at * 7 % questions.len().max(1),
        checkpoint: at % checkpoints.len().max(1),
        text: "There is much to be said for both sides.\nOn balance I would say yes, with care."
            .to_owned(),
        raters: vec![
            ("itself".to_owned(), 0.8),
            ("another reader".to_owned(), 0.4),
        ],
    });
    AnswerBook {
        checkpoints: checkpoints.iter().map(|(name, _)| name.clone()).collect(),
        passages: passages.collect(),
        questions,
        readings,
    }
}
