//! A checkpoint whose weights are written by hand, so that its answers are known.

use crate::bigram::write_tensors;
use crate::study::{demo, read, run};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// A checkpoint built by hand: whatever is asked, every token is as likely as any other but `A`, which is nine times as likely.
#[test]
fn a_checkpoint_that_leans_to_a_letter_comes_out_as_built() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("leaning");
    std::fs::create_dir(&model).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo("aligned").join(file), model.join(file)).unwrap();
    }
    let mut config = read(&demo("aligned").join("config.json"));
    config["tie_word_embeddings"] = json!(false);
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    let hidden = 128usize;
    let tokenizer = read(&model.join("tokenizer.json"));
    let id = usize::try_from(tokenizer["model"]["vocab"]["A"].as_u64().unwrap()).unwrap();
    let bytes = std::fs::read(demo("aligned").join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = stored
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let count: usize = view.shape().iter().product();
            // Nothing is added to the embedding, which is the same for every token.
            let values = if name.contains("norm") {
                vec![1.0; count]
            } else if name.contains("embed_tokens") {
                (0..count)
                    .map(|at| if at % hidden == 0 { 1.0 } else { 0.0 })
                    .collect()
            } else {
                vec![0.0; count]
            };
            (name, view.shape().to_vec(), values)
        })
        .collect();
    let mut head = vec![0.0f32; 2048 * hidden];
    // The norm makes the one number that is not zero 1 / √(1 / hidden + ε).
    head[id * hidden] = 9f32.ln() * (1.0 / hidden as f32 + 1e-5).sqrt();
    tensors.push(("lm_head.weight".into(), vec![2048, hidden], head));
    write_tensors(&model, tensors);

    let arguments = [
        "-M",
        model.to_str().unwrap(),
        "--no-steering",
        "--format",
        "json",
        "-o",
        "r",
    ];
    let found = run(folder.path(), &arguments).json();
    let found = &found["findings"]["models"]["leaning"];
    // Two spellings of each letter, nine and one against one and one, and after an opening bracket one more each.
    let z = 2056.0;
    let (a, b) = (10.0 + 9.0 / z, 2.0 + 1.0 / z);
    let number = |value: &Value| value.as_f64().unwrap();
    let trust = &found["robustness"];
    assert!(
        (number(&trust["letter_prior"]) - a / (a + b)).abs() < 1e-6,
        "{trust}"
    );
    assert!(
        (number(&trust["label_mass"]) - (a + b) / z).abs() < 1e-6,
        "{trust}"
    );
    assert!((number(&trust["flip_rate"]) - 1.0).abs() < 1e-12);
    assert!((number(&trust["low_label_mass"]) - 1.0).abs() < 1e-12);
    assert!((number(&trust["first_token_valid"]) - 1.0).abs() < 1e-12);
    assert!(
        (number(&trust["spellings"][0]["share"]) - 10.0 / (a + b)).abs() < 1e-6,
        "{trust}"
    );
    // It has no opinion: both orders together are even, and so is every wording.
    assert!(number(&found["overall"]["topic"]["mean"]).abs() < 1e-12);
    assert!(number(&trust["wordings"]["paraphrased"]["distance"]).abs() < 1e-12);
    let first = &found["support"]["first_option"];
    assert!(number(&first["bias"]).abs() < 1e-6, "{first}");
    // The five most probable tokens hold `A` and four others, so that the study's reading is sure of it.
    assert!(
        number(&trust["top_five"]["largest_difference"]) > 0.1,
        "{trust}"
    );
    // The vocabulary has one spelling of `C`.
    let c = 1.0 + 1.0 / z;
    let abstention = &found["abstention"];
    assert!(
        (number(&abstention["declined"]) - c / (a + b + c)).abs() < 1e-6,
        "{abstention}"
    );
}
