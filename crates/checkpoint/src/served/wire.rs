//! What is sent and what comes back: completions as `OpenAI`'s interface has them, with what vLLM, `SGLang` and llama.cpp add.
//!
//! # Source
//! `vllm/entrypoints/openai/completion/protocol.py` of vLLM, `tools/server/README.md` of llama.cpp, `llama_cpp/llama.py` of llama-cpp-python
//! 0.3.36.

use super::abilities::Scores;
use super::client::{Stop, Unusable};
use super::{Server, ServerError};
use concord_readings::{Finish, Sampling};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Rounding may carry the sum of the probabilities that are shown this far above 1.
const SLACK: f64 = 5e-3;
/// Rounding may carry a log-probability this far above 0.
const ABOVE: f64 = 1e-3;
/// The most tokens by id that are asked for at once.
///
/// # Source
/// `MAX_LOGPROB_TOKEN_IDS` of vLLM.
const MOST_IDS: usize = 128;
/// How many of the most probable tokens are kept.
const TOP: usize = 5;

const NO_CHOICE: Unusable = Unusable::Incomplete("the answer has no `choices`");
const NO_LOGPROBS: Unusable = Unusable::Incomplete("the answer has no log-probabilities");

/// What a server shows of the token after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The most probable tokens and their log-probabilities (nats), best first, at most five. Of tokens that the server writes alike the
    /// first.
    pub top: Vec<(u32, f64)>,
    /// The log-probabilities of tokens that are known for certain.
    pub known: HashMap<u32, f64>,
    /// The probability of all tokens that are not shown.
    pub hidden: f64,
    /// No token that is not known has a higher log-probability.
    pub at_most: f64,
    /// At least so many nats of entropy, with what is hidden on as few tokens as it can be.
    pub entropy: f64,
}

/// A text that a server wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedText {
    /// The text, without what ended it.
    pub text: String,
    /// Its tokens as the server names them, or, where it does not, those of the text.
    pub tokens: Vec<u32>,
    /// The log-probability of each token that the server wrote, as it says.
    pub log_probs: Vec<f64>,
    /// Why it ends.
    pub finish: Finish,
}

/// A token as a server names it.
#[derive(Clone, Debug, PartialEq)]
enum TokenName {
    Id(u32),
    Text(String),
}

impl Server {
    /// What is shown of the token after a prompt. Tokens of `asked` that are not shown are asked for by their ids, where that can be done.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn next(&self, tokens: &[u32], asked: &[u32], stop: Stop<'_>) -> Result<Next, ServerError> {
        let prompt = self.prompt(tokens)?;
        let body = self.abilities.next_body(&self.file.model, &prompt);
        let echoes = self.abilities.scores == Some(Scores::Echo);
        let read = |answer: &Value| {
            Self::has_count(answer, tokens.len())?;
            match self.of_answer(answer) {
                // Where a text ends at once some have nothing to show: a token that follows shows what stood before it.
                Err(Unusable::Incomplete(_)) if echoes && choice(answer).is_some() => Ok(None),
                shown => shown.map(Some),
            }
        };
        let mut next = match self.completion(&body, stop, read)? {
            Some(next) => next,
            None => self.before_another(tokens, stop)?,
        };
        if self.abilities.by_asked_ids {
            let mut missing: Vec<u32> = asked
                .iter()
                .filter(|token| !next.known.contains_key(token))
                .copied()
                .collect();
            missing.sort_unstable();
            missing.dedup();
            for ids in missing.chunks(MOST_IDS) {
                let mut body = self.abilities.next_body(&self.file.model, &prompt);
                body.insert("logprob_token_ids".into(), json!(ids));
                let found = self.completion(&body, stop, |answer| {
                    Self::has_count(answer, tokens.len())?;
                    let shown = top(choice(answer).ok_or(NO_CHOICE)?).ok_or(NO_LOGPROBS)?;
                    let of_id = |(name, value): (TokenName, f64)| match name {
                        TokenName::Id(id) if ids.contains(&id) => {
                            Some(checked(value).map(|value| (id, value)))
                        }
                        _ => None,
                    };
                    shown
                        .into_iter()
                        .filter_map(of_id)
                        .collect::<Result<Vec<_>, _>>()
                })?;
                next.known.extend(found);
            }
        }
        next.known.retain(|token, _| asked.contains(token));
        Ok(next)
    }

    /// What an answer shows of the next token.
    pub(super) fn of_answer(&self, answer: &Value) -> Result<Next, Unusable> {
        self.shown(top(choice(answer).ok_or(NO_CHOICE)?).ok_or(NO_LOGPROBS)?)
    }

    /// What is shown of the token after a prompt, where another stands there already.
    fn before_another(&self, tokens: &[u32], stop: Stop<'_>) -> Result<Next, ServerError> {
        let longer = self
            .abilities
            .another
            .iter()
            .map(|another| [tokens, &[*another]].concat());
        let mut sent = longer.filter_map(|longer| Some((self.prompt(&longer).ok()?, longer)));
        let Some((prompt, longer)) = sent.next() else {
            return Err(self.cannot(
                "a prompt",
                "what follows it is shown neither by itself nor before another token",
            ));
        };
        let mut body = self
            .abilities
            .score_body(&self.file.model, &prompt, Scores::Echo);
        body.insert("logprobs".into(), json!(self.abilities.most));
        self.completion(&body, stop, |answer| {
            Self::has_count(answer, longer.len())?;
            let left_out = self.left_out(answer, &longer).ok_or(NO_LOGPROBS)?;
            let tops = choice(answer).ok_or(NO_CHOICE)?["logprobs"]["top_logprobs"].as_array();
            let last = tops.and_then(|tops| tops.get(tokens.len() - left_out));
            self.shown(by_name(last.ok_or(NO_LOGPROBS)?).ok_or(NO_LOGPROBS)?)
        })
    }

    /// The log-probabilities of a sequence's tokens from the second on, each given those before it. The first of them is not a number where
    /// the server does not tell it.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn score(&self, tokens: &[u32], stop: Stop<'_>) -> Result<Vec<f64>, ServerError> {
        self.score_within(self.file.attempts, tokens, stop)
    }

    /// [`Server::score`], asked for so often at the most.
    pub(super) fn score_within(
        &self,
        attempts: u32,
        tokens: &[u32],
        stop: Stop<'_>,
    ) -> Result<Vec<f64>, ServerError> {
        let Some(scores) = self.abilities.scores else {
            return Err(self.cannot("scores", "it shows no log-probabilities of prompts"));
        };
        let prompt = self.prompt(tokens)?;
        let body = self.abilities.score_body(&self.file.model, &prompt, scores);
        self.completion_within(attempts, &body, stop, |answer| {
            Self::has_count(answer, tokens.len())?;
            let found = match scores {
                Scores::Echo => self.echoed(answer, tokens),
                Scores::PromptLogprobs => of_prompt(choice(answer).ok_or(NO_CHOICE)?, tokens),
            };
            let found = found.ok_or(Unusable::Incomplete(
                "the answer has no log-probabilities of the prompt's tokens",
            ))?;
            let checked = found.into_iter().map(|value| {
                if value.is_nan() {
                    Ok(value)
                } else {
                    checked(value)
                }
            });
            checked.collect()
        })
    }

    /// Lets the server write a text after a prompt; draws follow from `seed`, as the server draws.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn write(
        &self,
        tokens: &[u32],
        sampling: &Sampling,
        seed: u64,
        stop: Stop<'_>,
    ) -> Result<ServedText, ServerError> {
        let prompt = self.prompt(tokens)?;
        let mut body = self.abilities.body(&self.file.model, &prompt);
        body.insert("max_tokens".into(), json!(sampling.max_tokens));
        body.insert("temperature".into(), json!(sampling.temperature));
        body.insert("top_p".into(), json!(sampling.top_p));
        body.insert("seed".into(), json!(seed >> 33));
        body.insert("logprobs".into(), json!(1));
        if !sampling.stop.is_empty() {
            body.insert("stop".into(), json!(sampling.stop));
        }
        self.completion(&body, stop, |answer| {
            Self::has_count(answer, tokens.len())?;
            let choice = choice(answer).ok_or(NO_CHOICE)?;
            let text = choice["text"]
                .as_str()
                .ok_or(Unusable::Incomplete("the answer has no `text`"))?;
            let finish = match (choice["finish_reason"].as_str(), &choice["stop_reason"]) {
                (Some("length"), _) => Finish::Length,
                (Some("stop"), Value::String(_)) => Finish::StopText,
                (Some("stop" | "eos"), _) => Finish::EndOfText,
                (other, _) => {
                    let problem = format!(
                        "a text ends by `{}`, which is no end",
                        other.unwrap_or("null")
                    );
                    return Err(Unusable::Wrong(problem));
                }
            };
            let (tokens, log_probs) = self.written(choice, text)?;
            Ok(ServedText {
                text: text.to_owned(),
                tokens,
                log_probs,
                finish,
            })
        })
    }

    /// The tokens of a text and their log-probabilities.
    fn written(&self, choice: &Value, text: &str) -> Result<(Vec<u32>, Vec<f64>), Unusable> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        if let Some(content) = choice["logprobs"]["content"].as_array() {
            for one in content {
                names.push(named_in(one).ok_or(NO_LOGPROBS)?);
                values.push(one["logprob"].as_f64().ok_or(NO_LOGPROBS)?);
            }
        } else {
            let tokens = choice["logprobs"]["tokens"].as_array().ok_or(NO_LOGPROBS)?;
            let all = choice["logprobs"]["token_logprobs"]
                .as_array()
                .ok_or(NO_LOGPROBS)?;
            for (token, value) in tokens.iter().zip(all) {
                names.push(named_by(token.as_str().ok_or(NO_LOGPROBS)?));
                values.push(value.as_f64().ok_or(NO_LOGPROBS)?);
            }
        }
        if values.is_empty() && !text.is_empty() {
            return Err(NO_LOGPROBS);
        }
        let values = values
            .into_iter()
            .map(checked)
            .collect::<Result<Vec<f64>, _>>()?;
        let ids = names.iter().map(|name| match name {
            TokenName::Id(id) => Some(*id),
            TokenName::Text(text) => self.certain(text),
        });
        let ids: Option<Vec<u32>> = ids.collect();
        let ids = ids.or_else(|| self.vocabulary.continuation(text).ok());
        Ok((ids.unwrap_or_default(), values))
    }

    pub(super) fn completion<T>(
        &self,
        body: &Map<String, Value>,
        stop: Stop<'_>,
        read: impl Fn(&Value) -> Result<T, Unusable>,
    ) -> Result<T, ServerError> {
        self.completion_within(self.file.attempts, body, stop, read)
    }

    /// What comes of a request that is made so often at the most.
    pub(super) fn completion_within<T>(
        &self,
        attempts: u32,
        body: &Map<String, Value>,
        stop: Stop<'_>,
        read: impl Fn(&Value) -> Result<T, Unusable>,
    ) -> Result<T, ServerError> {
        let url = format!("{}/completions", self.file.url);
        let body = Value::Object(body.clone());
        self.client.ask(&url, Some(&body), attempts, stop, read)
    }

    /// Refuses an answer to a prompt that the server counts otherwise: its tokenizer is another.
    fn has_count(answer: &Value, tokens: usize) -> Result<(), Unusable> {
        match counted(answer) {
            Some(counted) if counted != tokens as u64 => Err(Unusable::Wrong(format!(
                "a prompt of {tokens} tokens is {counted} tokens to the server, whose tokenizer is another, or which shortens prompts"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn wrong(&self, problem: impl Into<String>) -> ServerError {
        ServerError::Wrong {
            url: self.file.url.clone(),
            problem: problem.into(),
        }
    }

    /// The one token that is written like this, where the server keeps what tells tokens apart.
    fn certain(&self, text: &str) -> Option<u32> {
        let shared = self.by_text.get(text).filter(|shared| shared.is_one);
        shared
            .filter(|_| self.abilities.keeps_spaces)
            .map(|shared| shared.first)
    }

    /// Whether a name may be that of a token.
    fn may_be(&self, name: &TokenName, token: u32) -> bool {
        match name {
            TokenName::Id(id) => *id == token,
            // Marks are written in many ways.
            TokenName::Text(text) => self
                .by_text
                .get(text)
                .is_none_or(|shared| shared.first == token || !shared.is_one),
        }
    }

    /// Tokens that a server shows, as ids where it is certain which they are.
    fn shown(&self, mut shown: Vec<(TokenName, f64)>) -> Result<Next, Unusable> {
        let size = self.vocabulary.size();
        // A token that cannot be: nothing to be read.
        shown.retain(|(_, value)| *value != f64::NEG_INFINITY);
        shown.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut top, mut known, mut unknown) = (Vec::new(), HashMap::new(), Vec::new());
        let mut sum = 0.0;
        for (name, value) in &shown {
            let value = checked(*value)?;
            sum += value.exp();
            match name {
                TokenName::Id(id) if (*id as usize) < size => {
                    known.insert(*id, value);
                    top.push((*id, value));
                }
                TokenName::Id(id) => {
                    return Err(Unusable::Wrong(format!(
                        "it shows token {id}, of a vocabulary of {size}"
                    )));
                }
                TokenName::Text(text) => match self.by_text.get(text) {
                    Some(shared) => {
                        known.extend(self.certain(text).map(|token| (token, value)));
                        top.push((shared.first, value));
                    }
                    None => unknown.push(text),
                },
            }
        }
        if sum > 1.0 + SLACK {
            return Err(Unusable::Wrong(format!(
                "it shows probabilities that sum to {sum:.3}"
            )));
        }
        if let Some(text) = unknown.first().filter(|_| 2 * top.len() < shown.len()) {
            return Err(Unusable::Wrong(format!(
                "most tokens that it shows are not in the tokenizer's vocabulary, `{}` among them",
                text.escape_debug()
            )));
        }
        // One that was drawn may stand beside the most probable ones, and says nothing of those between.
        let natural = shown.len().min(self.abilities.most);
        let least = shown[..natural].last().map_or(0.0, |(_, value)| *value);
        let has_ids = shown
            .iter()
            .all(|(name, _)| matches!(name, TokenName::Id(_)));
        let hidden = if known.len() >= size {
            0.0
        } else {
            (1.0 - sum).max(0.0)
        };
        let logarithm = |mass: f64| mass.max(f64::MIN_POSITIVE).ln().min(0.0);
        // By their ids the most probable are shown; of tokens that are written alike one may hide the other, whatever it has.
        let one_hidden = if has_ids {
            least.min(logarithm(hidden))
        } else {
            logarithm(hidden)
        };
        let unknown_mass = sum - known.values().map(|value| value.exp()).sum::<f64>();
        let at_most = if has_ids {
            one_hidden
        } else {
            logarithm(hidden + unknown_mass.max(0.0))
        };
        let entropy: f64 = shown
            .iter()
            .map(|(_, value)| -value.min(0.0) * value.exp())
            .sum();
        top.truncate(TOP);
        Ok(Next {
            top,
            known,
            hidden,
            at_most,
            entropy: entropy - hidden * one_hidden,
        })
    }

    /// How many tokens at a prompt's start are left out of its echo: none, or the one that a text begins with. By names where they tell it,
    /// else by how many there are.
    fn left_out(&self, answer: &Value, tokens: &[u32]) -> Option<usize> {
        let logprobs = &choice(answer)?["logprobs"];
        let names = logprobs["tokens"].as_array()?;
        let names: Option<Vec<TokenName>> = names
            .iter()
            .map(|name| name.as_str().map(named_by))
            .collect();
        let names = names?;
        let fits = |left_out: &usize| {
            let tokens = tokens.get(*left_out..).unwrap_or_default();
            names.len() >= tokens.len()
                && tokens
                    .iter()
                    .zip(&names)
                    .all(|(token, name)| self.may_be(name, *token))
        };
        let fitting: Vec<usize> = [0, 1].into_iter().filter(fits).collect();
        match fitting[..] {
            [one] => Some(one),
            [] => None,
            _ => {
                let written =
                    usize::try_from(answer["usage"]["completion_tokens"].as_u64()?).ok()?;
                let by_count = (tokens.len() + written).checked_sub(names.len())?;
                (by_count <= 1).then_some(by_count)
            }
        }
    }

    /// The log-probabilities of a prompt that is repeated before what is written, from its second token on.
    fn echoed(&self, answer: &Value, tokens: &[u32]) -> Option<Vec<f64>> {
        let left_out = self.left_out(answer, tokens)?;
        let values = choice(answer)?["logprobs"]["token_logprobs"].as_array()?;
        let found = values.get(1..tokens.len() - left_out)?.iter();
        let rest = found.map(Value::as_f64).collect::<Option<Vec<f64>>>()?;
        let nothing = (left_out == 1).then_some(f64::NAN);
        Some(nothing.into_iter().chain(rest).collect())
    }
}

/// A log-probability, at most 0.
fn checked(value: f64) -> Result<f64, Unusable> {
    if value <= ABOVE {
        return Ok(value.min(0.0));
    }
    Err(Unusable::Wrong(format!(
        "it shows {value} as a log-probability"
    )))
}

/// The one choice of an answer.
pub(super) fn choice(answer: &Value) -> Option<&Value> {
    match answer["choices"].as_array()?.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The prompt's tokens, as the server counts them.
pub(super) fn counted(answer: &Value) -> Option<u64> {
    answer["usage"]["prompt_tokens"].as_u64()
}

/// A token of a list of objects.
fn named_in(one: &Value) -> Option<TokenName> {
    if let Some(id) = one["id"].as_u64() {
        return u32::try_from(id).ok().map(TokenName::Id);
    }
    one["token"].as_str().map(named_by)
}

/// A token by its text; some servers write its id there when they are asked to.
fn named_by(text: &str) -> TokenName {
    let id = text
        .strip_prefix("token_id:")
        .and_then(|id| id.parse().ok());
    id.map_or_else(|| TokenName::Text(text.to_owned()), TokenName::Id)
}

/// The tokens of an object of log-probabilities by name.
fn by_name(shown: &Value) -> Option<Vec<(TokenName, f64)>> {
    let shown = shown.as_object().filter(|shown| !shown.is_empty())?.iter();
    shown
        .map(|(text, value)| Some((named_by(text), value.as_f64()?)))
        .collect()
}

/// The tokens that are shown at the first place of what was written.
fn top(choice: &Value) -> Option<Vec<(TokenName, f64)>> {
    let logprobs = &choice["logprobs"];
    if let Some(first) = logprobs["content"]
        .as_array()
        .and_then(|content| content.first())
    {
        let shown = first["top_logprobs"]
            .as_array()
            .filter(|shown| !shown.is_empty())?
            .iter();
        return shown
            .map(|one| Some((named_in(one)?, one["logprob"].as_f64()?)))
            .collect();
    }
    by_name(logprobs["top_logprobs"].as_array()?.first()?)
}

/// What is shown, for who wants to know how a server shows it.
pub(super) struct Look {
    /// Whether tokens are named by their ids.
    pub has_ids: bool,
    /// How many are shown.
    pub count: usize,
    /// The sum of their probabilities.
    pub mass: f64,
    /// Whether one is a word with a space before it.
    pub has_spaces: bool,
    ids: Vec<u32>,
}

impl Look {
    pub fn at(answer: &Value) -> Option<Self> {
        let shown = top(choice(answer)?)?;
        let ids = shown.iter().filter_map(|(name, _)| match name {
            TokenName::Id(id) => Some(*id),
            TokenName::Text(_) => None,
        });
        let ids: Vec<u32> = ids.collect();
        let is_word = |text: &String| {
            let word = text.strip_prefix(' ');
            word.is_some_and(|word| word.starts_with(char::is_alphanumeric))
        };
        let mut texts = shown.iter().filter_map(|(name, _)| match name {
            TokenName::Text(text) => Some(text),
            TokenName::Id(_) => None,
        });
        Some(Self {
            has_ids: ids.len() == shown.len(),
            count: shown.len(),
            mass: shown.iter().map(|(_, value)| value.exp()).sum(),
            has_spaces: ids.len() == shown.len() || texts.any(is_word),
            ids,
        })
    }

    /// Whether a token is shown by its id.
    pub fn has(&self, token: u32) -> bool {
        self.ids.contains(&token)
    }
}

/// The log-probabilities of a prompt's tokens by their ids, from the second on.
fn of_prompt(choice: &Value, tokens: &[u32]) -> Option<Vec<f64>> {
    let values = choice["prompt_logprobs"].as_array()?;
    if values.len() != tokens.len() {
        return None;
    }
    let found = values.iter().zip(tokens).skip(1);
    found
        .map(|(at, token)| at.get(token.to_string())?["logprob"].as_f64())
        .collect()
}

#[cfg(test)]
mod tests;
