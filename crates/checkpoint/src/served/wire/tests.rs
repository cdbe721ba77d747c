//! Answers in the shapes of real servers, with values of our own.

use super::*;
use crate::served::abilities::Abilities;
use crate::served::client::Client;
use crate::served::{ServerFile, by_text};

/// A server of the demo's vocabulary that can do what is said.
fn server(has_ids: bool) -> Server {
    let [base, _] = crate::demo_pair().unwrap();
    let file =
        ServerFile::parse("url = \"http://127.0.0.1:1\"\nmodel = \"m\"\ntokenizer = \"t\"\n")
            .unwrap();
    Server {
        client: Client::new(&file).unwrap(),
        file,
        abilities: Abilities {
            as_tokens: true,
            adds_start: false,
            by_ids: has_ids,
            has_ids,
            keeps_spaces: true,
            most: 2,
            shows_all: false,
            by_asked_ids: false,
            no_limit: None,
            scores: Some(Scores::Echo),
            another: Vec::new(),
        },
        by_text: by_text(base.vocabulary.texts()),
        vocabulary: base.vocabulary,
    }
}

fn ids(server: &Server, text: &str) -> Vec<u32> {
    server.vocabulary.rendered(text).unwrap()
}

#[test]
fn the_next_token_is_read_from_every_shape() {
    let server = server(true);
    let (yes, no) = (ids(&server, " yes")[0], ids(&server, " no")[0]);
    let by_ids = json!({ "choices": [{ "logprobs": { "top_logprobs": [
        { format!("token_id:{yes}"): -0.5, format!("token_id:{no}"): -1.5 }] } }] });
    // llama.cpp's own server.
    let content = json!({ "choices": [{ "logprobs": { "content": [{ "id": yes, "token": " yes", "logprob": -0.5,
        "top_logprobs": [{ "id": yes, "token": " yes", "bytes": [], "logprob": -0.5 },
            { "id": no, "token": " no", "bytes": [], "logprob": -1.5 }] }] } }] });
    let by_text =
        json!({ "choices": [{ "logprobs": { "top_logprobs": [{ " yes": -0.5, " no": -1.5 }] } }] });
    for answer in [&by_ids, &content, &by_text] {
        let next = server.of_answer(answer).ok().unwrap();
        assert_eq!(next.top, [(yes, -0.5), (no, -1.5)]);
        assert_eq!((next.known[&yes], next.known[&no]), (-0.5, -1.5));
        let hidden = 1.0 - (-0.5f64).exp() - (-1.5f64).exp();
        assert!((next.hidden - hidden).abs() < 1e-12);
        // By ids no hidden token is likelier than the last; by text it may be all that is hidden.
        let at_most = if std::ptr::eq(answer, &raw const by_text) {
            hidden.ln()
        } else {
            (-1.5f64).min(hidden.ln())
        };
        assert!((next.at_most - at_most).abs() < 1e-12, "{answer}");
        let one = (-1.5f64).min(hidden.ln());
        let most = 0.5 * (-0.5f64).exp() + 1.5 * (-1.5f64).exp() - hidden * one;
        assert!(next.entropy <= most + 1e-12 && next.entropy > 0.0);
    }
    let is_incomplete =
        |answer: Value| matches!(server.of_answer(&answer), Err(Unusable::Incomplete(_)));
    for missing in [
        json!({}),
        json!({ "choices": [] }),
        json!({ "choices": [{ "logprobs": null }] }),
        json!({ "choices": [{ "logprobs": { "top_logprobs": [] } }] }),
        json!({ "choices": [{ "logprobs": { "top_logprobs": [{}] } }] }),
        json!({ "choices": [{ "logprobs": { "top_logprobs": [null] } }] }),
        json!({ "choices": [{ "logprobs": { "content": [{ "top_logprobs": [] }] } }] }),
        json!({ "error": "busy" }),
        // Of two choices nobody knows which is meant.
        json!({ "choices": [{}, {}] }),
    ] {
        assert!(is_incomplete(missing.clone()), "{missing}");
    }
}

#[test]
fn a_drawn_token_beside_the_most_probable_ones_bounds_nothing() {
    let server = server(true);
    let shown = json!({ "choices": [{ "logprobs": { "top_logprobs": [
        { "token_id:3": -1.0, "token_id:4": -1.2, "token_id:5": -9.0 }] } }] });
    let next = server.of_answer(&shown).ok().unwrap();
    assert!((next.at_most - -1.2).abs() < 1e-12);
}

#[test]
fn what_cannot_be_is_refused() {
    let server = server(true);
    for (shown, said) in [
        (json!({ "token_id:3": 0.5 }), "0.5 as a log-probability"),
        (json!({ "token_id:3": -0.1, "token_id:4": -0.2 }), "sum to"),
        (json!({ "token_id:99999": -0.1 }), "token 99999"),
        (
            json!({ "neither": -1.0, "nor": -2.0 }),
            "not in the tokenizer's vocabulary",
        ),
    ] {
        let answer = json!({ "choices": [{ "logprobs": { "top_logprobs": [shown] } }] });
        match server.of_answer(&answer) {
            Err(Unusable::Wrong(problem)) => assert!(problem.contains(said), "{problem}"),
            _ => panic!("{answer}"),
        }
    }
}

#[test]
fn echoes_are_read_by_their_names() {
    let server = server(false);
    let tokens = [&[0], &ids(&server, "The answer is yes")[..]].concat();
    let names: Vec<String> = tokens
        .iter()
        .map(|token| server.vocabulary.token_text(*token))
        .collect();
    let values: Vec<Value> = (0..tokens.len()).map(|at| json!(-(at as f64))).collect();
    let answer = |first: usize, written: &[&str], counted: u64| {
        let mut values = values[first..].to_vec();
        values[0] = Value::Null;
        values.extend(written.iter().map(|_| json!(-0.5)));
        let names: Vec<Value> = names[first..]
            .iter()
            .map(|name| json!(name))
            .chain(written.iter().map(|name| json!(name)))
            .collect();
        json!({ "choices": [{ "logprobs": { "tokens": names, "token_logprobs": values } }],
            "usage": { "completion_tokens": counted } })
    };
    let whole: Vec<f64> = (1..tokens.len()).map(|at| -(at as f64)).collect();
    // With the first token and what was written; without what was written; with an end that is counted and not listed.
    for written in [(&[" no"][..], 1), (&[][..], 0), (&[][..], 1)] {
        assert_eq!(
            server
                .echoed(&answer(0, written.0, written.1), &tokens)
                .unwrap(),
            whole
        );
        // Without the first token, which some leave out.
        let without = server
            .echoed(&answer(1, written.0, written.1), &tokens)
            .unwrap();
        assert!(without[0].is_nan());
        assert_eq!(without[1..], whole[1..]);
    }
    // Other tokens, or too few.
    assert!(server.echoed(&answer(2, &[], 0), &tokens).is_none());
    let mut other = answer(0, &[], 0);
    other["choices"][0]["logprobs"]["tokens"][2] = json!(" yes");
    assert!(server.echoed(&other, &tokens).is_none());
    let of_prompt = super::of_prompt(
        &json!({ "prompt_logprobs": [null, { "7": { "logprob": -1.0 }, "9": { "logprob": -0.1 } }, { "8": { "logprob": -2.0 } }] }),
        &[5, 7, 8],
    );
    assert_eq!(of_prompt.unwrap(), [-1.0, -2.0]);
}

#[test]
fn texts_come_with_a_number_for_each_token() {
    let server = server(false);
    let good = json!({ "logprobs": { "tokens": [" yes", " no"], "token_logprobs": [-0.5, -1.0] } });
    let (tokens, values) = server.written(&good, " yes no").ok().unwrap();
    assert_eq!(
        (tokens, values),
        (
            [ids(&server, " yes"), ids(&server, " no")].concat(),
            vec![-0.5, -1.0]
        )
    );
    for bad in [
        json!({ "logprobs": null }),
        json!({ "logprobs": { "tokens": [], "token_logprobs": [] } }),
        json!({ "logprobs": { "tokens": [" yes"], "token_logprobs": [null] } }),
    ] {
        assert!(server.written(&bad, " yes").is_err(), "{bad}");
    }
}
