//! Made-up checkpoints: what they are to answer, and answers of that.

use crate::valueconsistency::answers::{AnswerTable, Answers};
use crate::valueconsistency::robustness::Robustness;
use concord_questions::{Origin, Question, QuestionFile, QuestionSet, Stance};
use concord_stats::Distribution;
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const TOPICS: usize = 24;
const ORIGINALS: usize = 4;
const PHRASINGS: usize = 3;
const LANGUAGES: [&str; 2] = ["english", "german"];

/// Like the real set: topics of originals of phrasings, in two languages.
pub(super) fn set() -> QuestionSet {
    let file = |language: &str| {
        let mut questions = Vec::new();
        for topic in 0..TOPICS {
            for original in 0..ORIGINALS {
                for phrasing in 0..PHRASINGS {
                    let text = |phrasing| format!("{language} {topic} {original} {phrasing}");
                    questions.push(Question {
                        topic: format!("topic {topic}"),
                        topic_english: Some(format!("topic {topic}")),
                        question: text(phrasing),
                        original: text(0),
                        original_english: Some(format!("{topic} {original}")),
                        rephrase: phrasing > 0,
                        options: vec![
                            ("yes".to_owned(), Stance::Supports),
                            ("no".to_owned(), Stance::Opposes),
                        ],
                    });
                }
            }
        }
        let origin = Origin {
            controversial: true,
            language: language.to_owned(),
            country: "world".to_owned(),
        };
        QuestionFile {
            name: origin.file_name(),
            origin,
            questions,
        }
    };
    QuestionSet {
        files: LANGUAGES.map(file).to_vec(),
        ..QuestionSet::default()
    }
}

/// How a made-up checkpoint answers: the log odds of support are a sum of effects, times how decisive it is.
#[derive(Clone, Copy)]
pub(super) struct Truth {
    pub(super) decisive: f64,
    pub(super) topic: f64,
    pub(super) original: f64,
    pub(super) phrasing: f64,
    pub(super) language: f64,
    pub(super) format: f64,
    /// What the first option gains, and how much that varies by question.
    pub(super) position: f64,
    pub(super) position_noise: f64,
    /// −1 where German says the opposite, and where texts do.
    pub(super) german: f64,
    pub(super) texts: f64,
    /// Whether each original of a topic has a sign of its own.
    pub(super) torn: bool,
    pub(super) mass: f64,
}

pub(super) const SOUND: Truth = Truth {
    decisive: 1.0,
    topic: 1.5,
    original: 0.5,
    phrasing: 0.4,
    language: 0.3,
    format: 0.3,
    position: 0.0,
    position_noise: 0.3,
    german: 1.0,
    texts: 1.0,
    torn: false,
    mass: 0.98,
};

struct Draws(ChaCha8Rng);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn unit(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// What a checkpoint of some truth answers. `world` draws what checkpoints have in common, `own` what is its own.
pub(super) fn answers(set: &QuestionSet, truth: Truth, world: u64, own: u64) -> Answers {
    let (mut world, mut own) = (Draws::new(world), Draws::new(own));
    let topics: Vec<f64> = (0..TOPICS).map(|_| truth.topic * world.normal()).collect();
    let originals: Vec<Vec<f64>> = topics
        .iter()
        .map(|topic| {
            (0..ORIGINALS)
                .map(|_| {
                    let turn = if truth.torn && world.unit() < 0.5 {
                        -1.0
                    } else {
                        1.0
                    };
                    turn * topic + truth.original * world.normal()
                })
                .collect()
        })
        .collect();
    let mut by_format: [[AnswerTable; 2]; 2] = Default::default();
    for (file, turned) in set.files.iter().zip([1.0, truth.german]) {
        let mut rows: [[Vec<Option<Distribution>>; 2]; 2] = Default::default();
        for original in originals.iter().flatten() {
            let translated = turned * original + truth.language * own.normal();
            for _ in 0..PHRASINGS {
                let phrased = translated + truth.phrasing * own.normal();
                for (format, sign) in [1.0, truth.texts].into_iter().enumerate() {
                    let said = sign * phrased + truth.format * own.normal();
                    let gained = truth.position + truth.position_noise * own.normal();
                    for (order, first) in [gained, -gained].into_iter().enumerate() {
                        let odds = truth.decisive * said + first;
                        let p = 1.0 / (1.0 + (-odds).exp());
                        rows[format][order].push(Distribution::binary(p).ok());
                    }
                }
            }
        }
        for (tables, rows) in by_format.iter_mut().zip(rows) {
            for (table, rows) in tables.iter_mut().zip(rows) {
                table.insert(file.name.clone(), rows);
            }
        }
    }
    let averaged = |orders: &[AnswerTable; 2]| -> AnswerTable {
        let files = orders[0].iter().map(|(file, rows)| {
            let both = rows.iter().zip(&orders[1][file]);
            let mean = both.map(|(a, b)| Distribution::average(&[a.clone()?, b.clone()?]).ok());
            (file.clone(), mean.collect())
        });
        files.collect()
    };
    let [letters, texts] = by_format;
    Answers {
        letter: Some(averaged(&letters)),
        letter_by_order: Some(Box::new(letters)),
        cloze: Some(averaged(&texts)),
        cloze_by_order: Some(Box::new(texts)),
        // Kept by `Answers::only`, as those of a run are.
        robustness: Some(Robustness {
            label_mass: truth.mass,
            ..Robustness::default()
        }),
        ..Answers::default()
    }
}
