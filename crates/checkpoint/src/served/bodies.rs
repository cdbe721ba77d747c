//! What is sent.

use super::abilities::{Abilities, Scores};
use serde_json::{Map, Value, json};

impl Abilities {
    /// What every request says: whose model, after what, and that nothing but the model decides what is likely.
    pub fn body(&self, model: &str, prompt: &Value) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".into(), json!(model));
        body.insert("prompt".into(), prompt.clone());
        if self.by_ids {
            body.insert("return_tokens_as_token_ids".into(), json!(true));
        }
        if let Some(no_limit) = self.no_limit {
            body.insert("top_k".into(), json!(no_limit));
            for (key, value) in NEUTRAL {
                body.insert(key.into(), json!(value));
            }
        }
        body
    }

    /// Asks for the most probable token and no more.
    fn one_token(&self, model: &str, prompt: &Value) -> Map<String, Value> {
        let mut body = self.body(model, prompt);
        body.insert("max_tokens".into(), json!(1));
        body.insert("temperature".into(), json!(0.0));
        body
    }

    /// Asks for the next token's distribution.
    pub fn next_body(&self, model: &str, prompt: &Value) -> Map<String, Value> {
        let mut body = self.one_token(model, prompt);
        body.insert("logprobs".into(), json!(self.most));
        body
    }

    /// Asks for the log-probabilities of the prompt's own tokens.
    pub fn score_body(&self, model: &str, prompt: &Value, scores: Scores) -> Map<String, Value> {
        let mut body = self.one_token(model, prompt);
        match scores {
            Scores::Echo => {
                body.insert("echo".into(), json!(true));
                body.insert("logprobs".into(), json!(1));
            }
            Scores::PromptLogprobs => {
                body.insert("prompt_logprobs".into(), json!(1));
            }
        }
        body
    }
}

/// What servers would add by themselves, or by a checkpoint's generation config, switched off.
const NEUTRAL: [(&str, f64); 5] = [
    ("min_p", 0.0),
    ("repetition_penalty", 1.0),
    ("repeat_penalty", 1.0),
    ("presence_penalty", 0.0),
    ("frequency_penalty", 0.0),
];
