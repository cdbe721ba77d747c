//! What a server can do, found out by asking it, and compared with what else it says.

use super::client::{Client, unstopped};
use super::wire::{Look, choice, counted};
use super::{Next, Server, ServerError, ServerFile, by_text};
use crate::Vocabulary;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is asked to find out.
const PROBE: &str = "The answer is";
/// What two tokenizers rarely cut alike.
const TELLING: &str = "Straße 12345  naïve\n\tは\u{3044}、是否? don't WE'LL {\"x\": [0.5]}";
/// The largest vocabulary of which all log-probabilities are asked for unless the file says otherwise.
const SMALL: usize = 4096;
/// How many log-probabilities are asked for, best first, of a larger one.
const USUAL: [usize; 3] = [20, 5, 1];
/// How far two log-probabilities of one token may be apart, in nats: servers compute prompts and texts in different ways.
const APART: f64 = 0.1;
/// How often something is tried out.
const TRIES: u32 = 3;
/// How many tokens are compared as next ones and as part of a prompt.
const COMPARED: usize = 3;

/// How the tokens of a prompt are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scores {
    /// The prompt is repeated before what is written.
    Echo,
    /// The prompt's tokens are scored by themselves.
    PromptLogprobs,
}

/// What a server can do.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that a server does or does not"
)]
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Abilities {
    /// Whether prompts are sent as token ids.
    pub as_tokens: bool,
    /// Whether the server puts a token before a prompt that is sent as text.
    pub adds_start: bool,
    /// Whether it is asked to name tokens by their ids.
    pub by_ids: bool,
    /// Whether tokens are named by their ids.
    pub has_ids: bool,
    /// Whether tokens that are named by their text keep a space before it.
    pub keeps_spaces: bool,
    /// How many log-probabilities are asked for.
    pub most: usize,
    /// Whether that is all there are.
    pub shows_all: bool,
    /// Whether log-probabilities of tokens by their ids can be asked for.
    pub by_asked_ids: bool,
    /// What `top_k` is where it is none, where the server knows that and penalties.
    pub no_limit: Option<i64>,
    /// How the tokens of a prompt are scored, where they can be.
    pub scores: Option<Scores>,
    /// Tokens that may follow a prompt, so that what stood before them is shown.
    pub another: Vec<u32>,
}

/// Whether a server refuses something for good, or fails at it, as some do where they should refuse.
fn is_refused(error: &ServerError) -> bool {
    matches!(
        error,
        ServerError::Refuses {
            status: 400 | 404 | 405 | 415 | 422 | 501,
            ..
        } | ServerError::Away {
            status: Some(500),
            ..
        } | ServerError::Wrong { .. }
    )
}

impl Server {
    /// Connects to a server, and finds out what it can do.
    ///
    /// # Errors
    /// [`ServerError`]: nobody is there, it holds another checkpoint, its tokenizer is another, or it shows no log-probabilities.
    pub fn open(file: ServerFile, vocabulary: &Arc<Vocabulary>) -> Result<Self, ServerError> {
        let client = Client::new(&file)?;
        let texts = vocabulary.texts().into_iter().zip(0u32..);
        let texts = texts.map(|(text, token)| match vocabulary.token_bytes(token) {
            // As a server writes it: a byte by itself is its character.
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => text,
        });
        let mut server = Self {
            by_text: by_text(texts.collect()),
            client,
            abilities: Abilities {
                as_tokens: true,
                adds_start: false,
                by_ids: true,
                has_ids: false,
                keeps_spaces: false,
                most: 1,
                shows_all: false,
                by_asked_ids: false,
                no_limit: None,
                scores: None,
                another: Vec::new(),
            },
            file,
            vocabulary: Arc::clone(vocabulary),
        };
        server.holds_the_model()?;
        let tokens = server.vocabulary.text(PROBE);
        let tokens = tokens.map_err(|error| server.wrong(error.to_string()))?;
        server.find_form(&tokens)?;
        server.find_no_limit(&tokens)?;
        server.find_most(&tokens)?;
        server.find_asked(&tokens)?;
        server.has_the_tokenizer()?;
        server.find_scores(&tokens)?;
        Ok(server)
    }

    /// Refuses a server that lists its models, and this is none of them.
    fn holds_the_model(&self) -> Result<(), ServerError> {
        let url = format!("{}/models", self.file.url);
        let attempts = self.file.attempts;
        let listed = self.client.ask(
            &url,
            None,
            attempts,
            &unstopped,
            |listed| Ok(listed.clone()),
        );
        let listed = match listed {
            Ok(listed) => listed,
            // Not every server has a list.
            Err(ServerError::Refuses {
                status: 404 | 405 | 501,
                ..
            }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let listed = listed["data"].as_array().into_iter().flatten();
        let names: Vec<&str> = listed.filter_map(|one| one["id"].as_str()).collect();
        if names.is_empty() || names.contains(&self.file.model.as_str()) {
            return Ok(());
        }
        let some: Vec<&str> = names.iter().take(5).copied().collect();
        Err(ServerError::NoModel {
            url: self.file.url.clone(),
            model: self.file.model.clone(),
            known: some.join(", "),
        })
    }

    /// What comes of something that a server may not know; `None` where it does not. It is not asked for it again and again.
    fn try_out(&self, body: &Map<String, Value>) -> Result<Option<Value>, ServerError> {
        let attempts = self.file.attempts.min(TRIES);
        match self.completion_within(attempts, body, &unstopped, |answer| Ok(answer.clone())) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How a prompt is sent so that it is the same tokens there.
    fn find_form(&mut self, tokens: &[u32]) -> Result<(), ServerError> {
        let attempts = self.file.attempts.min(TRIES);
        // What a server says of a prompt that it took says more than that it takes none.
        let (mut last, mut why) = (None, None);
        for by_ids in [true, false] {
            for (as_tokens, adds_start) in [(true, false), (false, false), (false, true)] {
                self.abilities = Abilities {
                    as_tokens,
                    adds_start,
                    by_ids,
                    ..self.abilities.clone()
                };
                if adds_start && self.without_start(tokens).len() == tokens.len() {
                    continue;
                }
                let Ok(prompt) = self.prompt(tokens) else {
                    continue;
                };
                let body = self.abilities.next_body(&self.file.model, &prompt);
                let answer = self
                    .completion_within(attempts, &body, &unstopped, |answer| Ok(answer.clone()));
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) if is_refused(&error) => {
                        last.get_or_insert(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                match counted(&answer) {
                    Some(counted) if counted != tokens.len() as u64 => {
                        why = Some(self.another_tokenizer(PROBE, counted, tokens.len()));
                    }
                    _ if Look::at(&answer).is_none() => {
                        why = Some(self.cannot("letters", "it shows no log-probabilities (some servers have to be told: vLLM --max-logprobs, llama-cpp-python --logits_all true)"));
                    }
                    // Without a count nothing says that a text was the same tokens.
                    None if !as_tokens => {
                        why = Some(self.cannot(
                            "a prompt",
                            "it takes no token ids, and does not count the tokens of a text",
                        ));
                    }
                    _ => return Ok(()),
                }
            }
        }
        Err(why
            .or(last)
            .unwrap_or_else(|| self.cannot("a prompt", "no text is the same tokens again")))
    }

    fn another_tokenizer(&self, text: &str, counted: u64, tokens: usize) -> ServerError {
        self.wrong(format!(
            "{text:?} is {counted} tokens to the server and {tokens} to the tokenizer: they are not of one checkpoint"
        ))
    }

    /// Switches off what the server would add to what the model says, where it knows that.
    fn find_no_limit(&mut self, tokens: &[u32]) -> Result<(), ServerError> {
        let prompt = self.prompt(tokens)?;
        for no_limit in [0, -1] {
            let mut tried = self.abilities.clone();
            tried.no_limit = Some(no_limit);
            let answer = self.try_out(&tried.next_body(&self.file.model, &prompt))?;
            if answer.as_ref().and_then(Look::at).is_some() {
                self.abilities = tried;
                return Ok(());
            }
        }
        Ok(())
    }

    /// How many log-probabilities are shown, and how.
    fn find_most(&mut self, tokens: &[u32]) -> Result<(), ServerError> {
        let size = self.vocabulary.size();
        let tried: Vec<usize> = match self.file.logprobs {
            Some(wanted) => vec![wanted.min(size)],
            None if size <= SMALL => [size].into_iter().chain(USUAL).collect(),
            None => USUAL.into(),
        };
        let prompt = self.prompt(tokens)?;
        for most in tried {
            let asked = Abilities {
                most,
                ..self.abilities.clone()
            };
            let answer = self.try_out(&asked.next_body(&self.file.model, &prompt))?;
            let Some(look) = answer.as_ref().and_then(Look::at) else {
                continue;
            };
            // Of tokens that are written alike one is shown, and what was drawn may stand beside the most probable ones.
            let is_all = if look.has_ids {
                look.count >= size
            } else {
                2 * look.count > size
            };
            self.abilities = Abilities {
                most: if most >= size && is_all {
                    size
                } else {
                    most.min(look.count)
                },
                shows_all: most >= size && is_all && look.mass > 0.99,
                has_ids: look.has_ids,
                keeps_spaces: look.has_spaces,
                ..asked
            };
            return Ok(());
        }
        let why = match self.file.logprobs {
            Some(wanted) => format!("it refuses `logprobs` of {wanted}"),
            None => "it shows no log-probabilities".to_owned(),
        };
        Err(self.cannot("letters", why))
    }

    /// Whether log-probabilities of tokens can be asked for by id.
    fn find_asked(&mut self, tokens: &[u32]) -> Result<(), ServerError> {
        if !self.abilities.has_ids || self.abilities.shows_all {
            return Ok(());
        }
        let last = u32::try_from(self.vocabulary.size()).unwrap_or(u32::MAX);
        let asked = [0, last.saturating_sub(1)];
        let prompt = self.prompt(tokens)?;
        let mut body = self.abilities.next_body(&self.file.model, &prompt);
        body.insert("logprob_token_ids".into(), json!(asked));
        let answer = self.try_out(&body)?;
        let look = answer.as_ref().and_then(Look::at);
        self.abilities.by_asked_ids =
            look.is_some_and(|look| asked.iter().all(|token| look.has(*token)));
        Ok(())
    }

    /// Refuses a server whose tokenizer is another. Of ids it counts what it is sent, so a text that few tokenizers cut alike is sent as
    /// well, and what comes next must be the same.
    fn has_the_tokenizer(&self) -> Result<(), ServerError> {
        if !self.abilities.as_tokens {
            // Every prompt is a text, and counted.
            return Ok(());
        }
        let tokens = self.vocabulary.text(TELLING);
        let tokens = tokens.map_err(|error| self.wrong(error.to_string()))?;
        let as_ids = self.next(&tokens, &[], &unstopped)?;
        for adds_start in [false, true] {
            let bare = if adds_start {
                self.without_a_start(&tokens)
            } else {
                &tokens
            };
            let Some(text) = self.vocabulary.text_of(bare) else {
                continue;
            };
            let body = self.abilities.next_body(&self.file.model, &json!(text));
            let Some(answer) = self.try_out(&body)? else {
                return Ok(());
            };
            let (Some(counted), Some(_)) = (counted(&answer), choice(&answer)) else {
                return Ok(());
            };
            if counted == tokens.len() as u64 {
                let as_text =
                    self.completion(&body, &unstopped, |answer| self.of_answer(answer))?;
                // Tokens that are as likely as each other may change places.
                let is_same = |((_, a), (_, b)): (&(u32, f64), &(u32, f64))| (a - b).abs() <= APART;
                let names = |next: &Next| {
                    next.top
                        .iter()
                        .map(|(token, _)| *token)
                        .collect::<BTreeSet<u32>>()
                };
                let is_best =
                    names(&as_text).contains(&as_ids.top.first().map_or(0, |(token, _)| *token));
                if is_best && as_ids.top.iter().zip(&as_text.top).all(is_same) {
                    return Ok(());
                }
                return Err(self.wrong(
                    "a text and its token ids are not followed by the same tokens: its tokenizer is another",
                ));
            }
            if adds_start || self.without_a_start(&tokens).len() == tokens.len() {
                return Err(self.another_tokenizer(TELLING, counted, tokens.len()));
            }
        }
        Ok(())
    }

    /// How prompts are scored, if they are: where the next tokens' log-probabilities are the same as part of a prompt.
    fn find_scores(&mut self, tokens: &[u32]) -> Result<(), ServerError> {
        let (mut longer, mut values) = (tokens.to_vec(), Vec::new());
        while values.len() < COMPARED {
            match self.next(&longer, &[], &unstopped) {
                Ok(next) => {
                    let Some((token, value)) = next.top.first().copied() else {
                        break;
                    };
                    longer.push(token);
                    values.push(value);
                }
                // A text that ends at once shows nothing more.
                Err(ServerError::Away { status: None, .. }) if !values.is_empty() => break,
                Err(error @ (ServerError::Stopped | ServerError::Away { .. })) => {
                    return Err(error);
                }
                // These tokens are no text.
                Err(_) => {
                    longer.pop();
                    values.pop();
                    break;
                }
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        self.abilities.another = longer[tokens.len()..].to_vec();
        let attempts = self.file.attempts.min(TRIES);
        for scores in [Scores::Echo, Scores::PromptLogprobs] {
            self.abilities.scores = Some(scores);
            match self.score_within(attempts, &longer, &unstopped) {
                Ok(found) => {
                    let found = found.get(tokens.len() - 1..).unwrap_or_default();
                    let is_same = |(a, b): (&f64, &f64)| (a - b).abs() <= APART;
                    if found.len() == values.len() && found.iter().zip(&values).all(is_same) {
                        return Ok(());
                    }
                }
                Err(error) if is_refused(&error) => {}
                // It answers, and not with scores.
                Err(ServerError::Away { status: None, .. } | ServerError::Cannot { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.abilities.scores = None;
        Ok(())
    }
}
