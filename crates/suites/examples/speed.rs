use concord_stats::Distribution;
use concord_suites::Settings;
use concord_suites::valueconsistency::*;
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let set = concord_questions::load(std::path::Path::new(&path)).unwrap();
    let mut s = 12345u64;
    let mut unit = move || {
        s = s
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (s >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut table = |_| -> AnswerTable {
        set.files
            .iter()
            .map(|f| {
                (
                    f.name.clone(),
                    f.questions
                        .iter()
                        .map(|_| Distribution::binary(unit()).ok())
                        .collect(),
                )
            })
            .collect()
    };
    let answers: Vec<Answers> = (0..n)
        .map(|_| {
            let letters = [table(0), table(1)];
            let texts = [table(0), table(1)];
            Answers {
                letter: Some(letters[0].clone()),
                cloze: Some(texts[0].clone()),
                letter_by_order: Some(Box::new(letters)),
                cloze_by_order: Some(Box::new(texts)),
                ..Answers::default()
            }
        })
        .collect();
    let names: Vec<String> = (0..n).map(|k| format!("m{k}")).collect();
    let context = Context::new(&set, Settings::default());
    let t = Instant::now();
    let _ = assess(&set, &names, &answers, &context).unwrap();
    println!("assess {:?}", t.elapsed());
    let t = Instant::now();
    let m: Vec<_> = answers
        .iter()
        .map(|a| measure(&set, a, &context).unwrap())
        .collect();
    println!("measure {:?}", t.elapsed());
    let t = Instant::now();
    for k in 1..n {
        let _ = compare(
            &set,
            Side {
                answers: &answers[0],
                measured: &m[0],
            },
            Side {
                answers: &answers[k],
                measured: &m[k],
            },
            &context,
        )
        .unwrap();
    }
    println!("compare {:?}", t.elapsed());
}
