//! A server on this machine that holds a made-up checkpoint and speaks `OpenAI`'s completions, well or badly.

use concord_checkpoint::{Snapshot, Vocabulary};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server can do.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that a server does or does not"
)]
#[derive(Clone, Debug)]
pub struct Manners {
    /// Takes token ids as a prompt.
    pub takes_ids: bool,
    /// Puts the first token before a prompt that is a text.
    pub adds_start: bool,
    /// The most log-probabilities that are shown; more are refused.
    pub most: usize,
    /// Names tokens by their ids when it is asked to.
    pub names_ids: bool,
    /// Shows the log-probabilities of tokens that are asked for.
    pub shows_asked: bool,
    /// Repeats prompts with log-probabilities.
    pub echoes: bool,
    /// Scores the tokens of prompts by their ids.
    pub scores: bool,
    /// Knows penalties and limits of what is drawn.
    pub knows_penalties: bool,
    /// The key that it wants.
    pub key: Option<&'static str>,
    /// What goes wrong with requests after those that find out what it can do, last first.
    pub faults: Vec<Fault>,
    /// What is always wrong.
    pub lie: Option<Lie>,
}

/// Everything that a good server does.
pub const GOOD: Manners = Manners {
    takes_ids: true,
    adds_start: false,
    most: 20,
    names_ids: true,
    shows_asked: true,
    echoes: true,
    scores: true,
    knows_penalties: true,
    key: None,
    faults: Vec::new(),
    lie: None,
};

/// What may go wrong once.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Status(u16),
    Cut,
    NoJson,
    Slow(u64),
    NoLogprobs,
}

/// What may be wrong always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    AnotherModel,
    TooProbable,
    AnotherTokenizer,
    PermutedTokens,
    AnotherVocabulary,
    Echo,
    Away,
}

/// A request with its body, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub key: Option<String>,
    pub body: Value,
}

pub struct ModelServer {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Held {
    vocabulary: Arc<Vocabulary>,
    texts: Vec<String>,
    letters: Vec<usize>,
    /// The sum of the weights of all tokens, were there no letters among them.
    sum: f64,
    manners: Mutex<Manners>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ModelServer {
    /// Serves until some thousand connections came or half a minute passed without one.
    pub fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let [base, _] = concord_checkpoint::demo_pair().unwrap();
        let texts = base.vocabulary.texts();
        let is_letter =
            |text: &String| ["A", "B"].contains(&text.trim_matches([' ', '(', ')', '.']));
        let weights = (0..texts.len())
            .map(|place| ((mixed(place as u64) >> 40) as f64 / f64::from(1 << 22)).exp());
        let held = Arc::new(Held {
            sum: weights.sum(),
            letters: (0..texts.len())
                .filter(|token| is_letter(&texts[*token]))
                .collect(),
            texts,
            vocabulary: base.vocabulary,
            manners: Mutex::new(manners),
            asked: Arc::clone(&asked),
        });
        std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            let (mut connections, mut idle) = (0, 0);
            while connections < 20_000 && idle < 6000 {
                let Ok((stream, _)) = listener.accept() else {
                    idle += 1;
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                (connections, idle) = (connections + 1, 0);
                stream.set_nonblocking(false).unwrap();
                let held = Arc::clone(&held);
                // A client that goes away is its own affair.
                std::thread::spawn(move || held.answer(stream).ok());
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Held {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let asked = request(&stream)?;
        let asks = asked.body["logprobs"].as_u64().unwrap_or(0);
        let manners = self.manners.lock().unwrap().clone();
        let mut all = self.asked.lock().unwrap();
        all.push(asked.clone());
        let count = all.len();
        drop(all);
        let mut reply = |status: u16, body: &str, sent: usize| {
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nRetry-After: 0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body.as_bytes()[..sent.min(body.len())])?;
            stream.flush()
        };
        let refuse = |text: &str| json!({ "error": { "message": text } }).to_string();
        if manners.lie == Some(Lie::Away) {
            return reply(503, &refuse("no room"), usize::MAX);
        }
        if let Some(key) = manners.key
            && asked.key.as_deref() != Some(&format!("Bearer {key}"))
        {
            // Some gateways repeat what they were sent.
            let said = format!("wrong key: {}", asked.key.unwrap_or_default());
            return reply(401, &refuse(&said), usize::MAX);
        }
        if asked.path == "/v1/models" {
            let name = if manners.lie == Some(Lie::AnotherModel) {
                "other"
            } else {
                "made-up"
            };
            let body = json!({ "data": [{ "id": name }] }).to_string();
            return reply(200, &body, usize::MAX);
        }
        // The first requests find out what the server can do.
        let fault = if count > 30 {
            self.manners.lock().unwrap().faults.pop()
        } else {
            None
        };
        match fault {
            Some(Fault::Status(status)) => return reply(status, &refuse("later"), usize::MAX),
            Some(Fault::NoJson) => return reply(200, "{\"choices\": [", usize::MAX),
            Some(Fault::Slow(milliseconds)) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
            _ => {}
        }
        if !manners.knows_penalties && asked.body["min_p"].is_number() {
            return reply(400, &refuse("unknown field"), usize::MAX);
        }
        if asked.body["logprob_token_ids"]
            .as_array()
            .is_some_and(|ids| ids.len() > 128)
        {
            return reply(400, &refuse("too many ids"), usize::MAX);
        }
        if asks > manners.most as u64 {
            return reply(400, &refuse("too many logprobs"), usize::MAX);
        }
        let Some(tokens) = self.tokens(&asked.body["prompt"], &manners) else {
            return reply(422, &refuse("prompt must be a text"), usize::MAX);
        };
        let mut answer = self.completion(&tokens, &asked.body, &manners);
        if matches!(fault, Some(Fault::NoLogprobs)) {
            answer["choices"][0]["logprobs"] = Value::Null;
        }
        let body = answer.to_string();
        let sent = if matches!(fault, Some(Fault::Cut)) {
            body.len() / 2
        } else {
            usize::MAX
        };
        reply(200, &body, sent)
    }

    fn tokens(&self, prompt: &Value, manners: &Manners) -> Option<Vec<u32>> {
        if let Some(text) = prompt.as_str() {
            let tokens = self.vocabulary.rendered(text).unwrap();
            let tokens = if manners.adds_start {
                [&[0], &tokens[..]].concat()
            } else {
                tokens
            };
            return Some(match manners.lie {
                // Another tokenizer, which cuts some texts elsewhere, or has them in another order.
                Some(Lie::AnotherTokenizer) if tokens.len() > 8 => [&tokens[..], &[7]].concat(),
                Some(Lie::PermutedTokens) => {
                    tokens.iter().map(|token| (token * 7 + 3) % 2048).collect()
                }
                _ => tokens,
            });
        }
        let ids = prompt.as_array().filter(|_| manners.takes_ids)?;
        let ids = ids.iter().map(|id| {
            let id = u32::try_from(id.as_u64()?).ok()?;
            ((id as usize) < self.texts.len()).then_some(id)
        });
        ids.collect()
    }

    fn name(&self, token: usize, body: &Value, manners: &Manners) -> String {
        if manners.names_ids && body["return_tokens_as_token_ids"] == true {
            return format!("token_id:{token}");
        }
        if manners.lie == Some(Lie::AnotherVocabulary) {
            return format!("no token {token}");
        }
        self.texts[token].clone()
    }

    fn completion(&self, tokens: &[u32], body: &Value, manners: &Manners) -> Value {
        let next = self.distribution(tokens);
        let best = (0..next.len())
            .max_by(|a, b| next[*a].total_cmp(&next[*b]))
            .unwrap();
        let shown = |values: &[f64], most: usize| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
            let mut shown = Map::new();
            let asked = body["logprob_token_ids"]
                .as_array()
                .filter(|_| manners.shows_asked);
            let asked = asked
                .into_iter()
                .flatten()
                .map(|id| usize::try_from(id.as_u64().unwrap()).unwrap());
            // As vLLM: what is asked for by id is shown beside what was drawn, and nothing else is.
            let asked: Vec<usize> = asked.collect();
            let natural = if asked.is_empty() { most } else { 1 };
            for token in order.into_iter().take(natural).chain(asked) {
                let more = if manners.lie == Some(Lie::TooProbable) {
                    1.5
                } else {
                    0.0
                };
                shown.insert(
                    self.name(token, body, manners),
                    json!((values[token] + more).min(0.0)),
                );
            }
            Value::Object(shown)
        };
        let most = usize::try_from(body["logprobs"].as_u64().unwrap_or(0)).unwrap();
        let mut named = vec![self.name(best, body, manners)];
        let mut values = vec![json!(next[best])];
        let mut tops = vec![shown(&next, most)];
        let mut choice = json!({ "index": 0, "text": self.texts[best], "finish_reason": "length" });
        if body["echo"] == true && manners.echoes {
            let wrong = if manners.lie == Some(Lie::Echo) {
                1.0
            } else {
                0.0
            };
            let (mut all, mut of_all) = (Vec::new(), Vec::new());
            for (at, token) in tokens.iter().enumerate() {
                all.push(self.name(*token as usize, body, manners));
                of_all.push(match at {
                    0 => Value::Null,
                    _ => json!(self.one(self.start(&tokens[..at]), *token as usize) - wrong),
                });
            }
            named.splice(0..0, all);
            values.splice(0..0, of_all);
            // Of the last place alone: that is what is looked at.
            let last = tokens.len() - 1;
            let of_place = |at: usize| match at {
                at if at == last => shown(&self.distribution(&tokens[..at]), most),
                _ => Value::Null,
            };
            tops.splice(0..0, (0..tokens.len()).map(of_place));
        }
        if body["prompt_logprobs"].is_u64() && manners.scores {
            let of = tokens.iter().enumerate().map(|(at, token)| match at {
                0 => Value::Null,
                _ => json!({ token.to_string(): { "logprob": self.one(self.start(&tokens[..at]), *token as usize) } }),
            });
            choice["prompt_logprobs"] = of.collect();
        }
        choice["logprobs"] =
            json!({ "tokens": named, "token_logprobs": values, "top_logprobs": tops });
        json!({
            "choices": [choice],
            "usage": { "prompt_tokens": tokens.len(), "completion_tokens": 1 },
        })
    }

    /// The log-probability of a token after some: made up of their numbers, with most on letters.
    fn one(&self, start: usize, token: usize) -> f64 {
        let spread = |token: usize| {
            let place = (token + start) % self.texts.len();
            (mixed(place as u64) >> 40) as f64 / f64::from(1 << 22)
        };
        let shift = |token: usize| spread(token) + LETTER;
        let (with, without): (f64, f64) = (
            self.letters.iter().map(|token| shift(*token).exp()).sum(),
            self.letters.iter().map(|token| spread(*token).exp()).sum(),
        );
        let is_letter = self.letters.contains(&token);
        let logit = if is_letter {
            shift(token)
        } else {
            spread(token)
        };
        logit - (self.sum + with - without).ln()
    }

    fn start(&self, tokens: &[u32]) -> usize {
        let hash = tokens
            .iter()
            .fold(17u64, |hash, token| mixed(hash ^ u64::from(*token)));
        usize::try_from(hash % self.texts.len() as u64).unwrap()
    }

    /// The log-probabilities of all tokens after some.
    fn distribution(&self, tokens: &[u32]) -> Vec<f64> {
        let start = self.start(tokens);
        (0..self.texts.len())
            .map(|token| self.one(start, token))
            .collect()
    }
}

/// What letters have more than other tokens.
const LETTER: f64 = 9.0;

fn mixed(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value ^ (value >> 32)
}

fn request(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    let (mut length, mut key) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(Asked { path, key, body })
}

/// A folder with the tokenizer, config and template of the demo's checkpoints, and no weights.
pub fn words(folder: &std::path::Path, aligned: bool) {
    let name = if aligned { "aligned" } else { "base" };
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models/demo")
        .join(name);
    std::fs::create_dir_all(folder).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|ending| ending != "safetensors")
        {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    // That a folder without weights is none of a checkpoint that is here.
    assert!(Snapshot::open(folder).is_err());
}
