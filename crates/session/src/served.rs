//! Rounds of a checkpoint that a server holds: many requests at once, and readings as they become complete.

use crate::SessionError;
use crate::rounds::{Meter, Size};
use concord_checkpoint::{Next, ServedText, Server, ServerCounts, ServerError, Snapshot};
use concord_readings::{Answer, Generation, LogProb, Prompt, Read, Reading, Sampling};
use concord_runs::Journal;
use concord_scorer::{LabelTable, Observed, Plan, RemoteReader, RowAsk, RowObserved};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows that are asked for between two looks at the journal, for each request that is on its way at once.
const ROWS_EACH: usize = 2;

/// Reads a plan's rows from a server into a journal.
pub(crate) fn read(
    (server, name): (&Server, &str),
    (plan, table): (&Plan, &LabelTable),
    journal: &mut Journal,
    meter: &dyn Meter,
) -> Result<ServerCounts, SessionError> {
    let before = server.counts();
    can_tell(server, name, plan)?;
    let mut reader = RemoteReader::new(plan, table);
    let stop = || meter.stops();
    let ending = |error: ServerError| ending(name, error);
    let mut rows = plan.asks().peekable();
    let mut done = 0;
    loop {
        let mut asks: Vec<RowAsk<'_>> = Vec::new();
        // Where the rows begin that the last ones go on from.
        let mut root = 0;
        while let Some(next) = rows.peek() {
            let goes_on = asks
                .get(root)
                .is_some_and(|root| next.tokens.starts_with(&root.tokens));
            // A text is scored whole, with all that shares its beginning: a part of it may end within a character.
            if !goes_on && asks.len() >= ROWS_EACH * server.file.at_once {
                break;
            }
            if !goes_on {
                root = asks.len();
            }
            asks.extend(rows.next());
        }
        if asks.is_empty() {
            return Ok(server.counts().since(before));
        }
        // A row's distribution first: it may say all that is asked for.
        let is_shown = |ask: &RowAsk<'_>| ask.summarised || ask.asked.len() > 1 || !server.scores();
        let shown = each(server.file.at_once, &asks, &|ask: &RowAsk<'_>| {
            let next = || server.next(&ask.tokens, &ask.asked, &stop);
            // What ends within a character is scored with what goes on.
            let is_sent = ask.summarised || !server.scores() || server.takes(&ask.tokens);
            (is_shown(ask) && is_sent).then(next).transpose()
        });
        let shown = all(shown).map_err(ending)?;
        let scored = scored(server, &asks, &shown, &stop).map_err(ending)?;
        let mut new = Vec::new();
        for (ask, shown) in asks.iter().zip(&shown) {
            let observed = observed(ask, shown.as_ref(), &scored).ok_or_else(|| {
                ending(server.cannot(
                    "a token",
                    "it tells nothing of the second token of a prompt",
                ))
            })?;
            let complete = reader.take(ask, &observed);
            let complete = complete.map_err(|source| SessionError::Ask {
                name: name.to_owned(),
                source,
            })?;
            new.extend(complete.into_iter().map(|(_, reading)| reading));
        }
        new.retain(|reading| !journal.readings.contains_key(&reading.id));
        journal.append(new)?;
        done += asks.len() as u64;
        meter.asked(done);
        if meter.stops() {
            return Err(SessionError::Stopped);
        }
    }
}

/// How many rows of a plan are asked for.
pub(crate) fn size(plan: &Plan) -> Size {
    Size::Asked(plan.asked_rows() as u64)
}

/// Refuses what a server cannot tell, before anything is asked.
fn can_tell(server: &Server, name: &str, plan: &Plan) -> Result<(), SessionError> {
    let Some(certain) = server.certain_at_once() else {
        return Ok(());
    };
    let describes = server.describes();
    for ask in plan.asks().filter(|ask| !ask.may_be_bounds) {
        let (what, why) = match (ask.asked.len(), certain) {
            (_, 0) => ("the probability of whole texts", format!("it {describes}")),
            (asked, certain) if asked > certain => (
                "what may follow a text",
                format!("{asked} tokens are asked for after a prompt, and it {describes}"),
            ),
            _ => continue,
        };
        return Err(ending(name, server.cannot(what, why)));
    }
    Ok(())
}

/// The log-probabilities of tokens after rows, by row and token.
type Scored<'a> = HashMap<(&'a [u32], u32), f64>;

/// Scores one by one what is asked for and not shown, each sequence with all that lies on its way.
fn scored<'a>(
    server: &Server,
    asks: &'a [RowAsk<'_>],
    shown: &[Option<Next>],
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Scored<'a>, ServerError> {
    let mut wanted: Vec<(Vec<u32>, &'a [u32])> = Vec::new();
    for (ask, shown) in asks.iter().zip(shown) {
        if !server.scores() || (ask.may_be_bounds && shown.is_some() && !server.file.exact) {
            continue;
        }
        for token in &ask.asked {
            if shown
                .as_ref()
                .is_none_or(|shown| !shown.known.contains_key(token))
            {
                let sequence = [&ask.tokens[..], &[*token]].concat();
                // A spelling that cannot be sent stays a bound.
                if !ask.may_be_bounds || server.takes(&sequence) {
                    wanted.push((sequence, &ask.tokens));
                }
            }
        }
    }
    wanted.sort();
    wanted.dedup();
    // What another begins with is scored with it.
    let is_whole = |at: usize| {
        let next = wanted.get(at + 1);
        next.is_none_or(|(next, _)| !next.starts_with(&wanted[at].0))
    };
    let whole: Vec<usize> = (0..wanted.len()).filter(|at| is_whole(*at)).collect();
    let found = all(each(server.file.at_once, &whole, &|at: &usize| {
        server.score(&wanted[*at].0, stop)
    }))?;
    let mut scored = Scored::new();
    let mut first = 0;
    for (end, values) in whole.iter().zip(found) {
        for (sequence, row) in &wanted[first..=*end] {
            let (Some(token), Some(value)) = (sequence.last(), values.get(row.len() - 1)) else {
                continue;
            };
            if !value.is_nan() {
                scored.insert((row, *token), *value);
            }
        }
        first = end + 1;
    }
    Ok(scored)
}

/// What is known of a row: what is shown, else what was scored, else what it is at most; `None` where nothing is.
fn observed(ask: &RowAsk<'_>, shown: Option<&Next>, scored: &Scored<'_>) -> Option<RowObserved> {
    let of = |token: &u32| {
        let known = shown.and_then(|shown| shown.known.get(token));
        let known = known.or_else(|| scored.get(&(ask.tokens.as_slice(), *token)));
        // Where nothing of a row can be asked, nothing is known of it.
        let at_most = || {
            ask.may_be_bounds
                .then(|| shown.map_or(0.0, |shown| shown.at_most))
        };
        Some(match known {
            Some(known) => Observed {
                // A server that says that something cannot be has rounded it.
                log_prob: known.max(LEAST),
                at_most: false,
            },
            None => Observed {
                log_prob: at_most()?.max(LEAST),
                at_most: true,
            },
        })
    };
    Some(RowObserved {
        entropy: shown.map_or(0.0, |shown| shown.entropy),
        top: shown.map_or_else(Vec::new, |shown| shown.top.clone()),
        asked: ask.asked.iter().map(of).collect::<Option<_>>()?,
        not_shown: shown
            .filter(|shown| shown.hidden > NOTHING)
            .map(|shown| shown.hidden),
    })
}

/// The least log-probability: half of the smallest 64-bit float's logarithm, so that sums of two stay finite when they are raised.
const LEAST: f64 = -350.0;
/// Probabilities below it are the rounding of a sum of 32-bit floats.
const NOTHING: f64 = 1e-5;

/// Lets a server write texts into a journal.
pub(crate) fn write(
    server: &Server,
    snapshot: &Snapshot,
    texts: &[Prompt],
    journal: &mut Journal,
    meter: &dyn Meter,
) -> Result<ServerCounts, SessionError> {
    let name = &snapshot.name;
    let before = server.counts();
    let stop = || meter.stops();
    let mut done = 0;
    for texts in texts.chunks(2 * server.file.at_once) {
        let written = each(server.file.at_once, texts, &|prompt: &Prompt| {
            let (_, tokens) = snapshot
                .tokens(&prompt.input)
                .map_err(|error| server.cannot("a text", error.to_string()))?;
            let sampling = sampling(prompt)
                .ok_or_else(|| server.cannot("a text", "nothing is to be written"))?;
            let seed = seed(sampling, &prompt.id);
            Ok((tokens.len(), server.write(&tokens, sampling, seed, &stop)?))
        });
        done += texts.len() as u64;
        // What was written is kept, whatever happened to the others.
        let mut failed = None;
        let readings = texts
            .iter()
            .zip(written)
            .filter_map(|(prompt, written)| match written? {
                Ok((tokens, written)) => Some(reading(prompt, tokens, written)),
                Err(error) => {
                    failed.get_or_insert(error);
                    None
                }
            });
        let readings: Vec<Reading> = readings.collect();
        journal.append(readings)?;
        if let Some(error) = failed {
            return Err(ending(name, error));
        }
        meter.asked(done);
        if meter.stops() {
            return Err(SessionError::Stopped);
        }
    }
    Ok(server.counts().since(before))
}

fn sampling(prompt: &Prompt) -> Option<&Sampling> {
    prompt.reads.iter().find_map(|read| match read {
        Read::Generation(sampling) => Some(sampling),
        _ => None,
    })
}

/// What a server draws a text by: another for each prompt, the same each time.
fn seed(sampling: &Sampling, id: &str) -> u64 {
    let hash = blake3::hash(format!("{} {id}", sampling.seed).as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default())
}

fn reading(prompt: &Prompt, tokens: usize, written: ServedText) -> Reading {
    let log_probs = written.log_probs.iter();
    let log_probs = log_probs.filter_map(|value| LogProb::new(value.clamp(LEAST, 0.0)).ok());
    Reading {
        id: prompt.id.clone(),
        tokens,
        answers: vec![Answer::Generation(Generation {
            log_probs: log_probs.collect(),
            text: written.text,
            tokens: written.tokens,
            finish: written.finish,
        })],
    }
}

/// What a round cost.
pub(crate) fn cost(server: &Server, counts: ServerCounts, seconds: f64) -> Value {
    json!({
        "server": server.describes(),
        "requests": counts.requests,
        "requests_again": counts.again,
        "prompt_tokens": counts.prompt_tokens,
        "written_tokens": counts.written_tokens,
        "seconds": seconds,
        "requests_per_s": counts.requests as f64 / seconds,
    })
}

fn ending(name: &str, error: ServerError) -> SessionError {
    match error {
        ServerError::Stopped => SessionError::Stopped,
        error => SessionError::Served {
            name: name.to_owned(),
            source: error,
        },
    }
}

/// Does something with each of some things, so many at once; in their order. After the first error no other is begun: those are `None`.
fn each<T: Sync, R: Send>(
    at_once: usize,
    things: &[T],
    with: &(dyn Fn(&T) -> Result<R, ServerError> + Sync),
) -> Vec<Option<Result<R, ServerError>>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let mut done: Vec<Option<Result<R, ServerError>>> = Vec::new();
    done.resize_with(things.len(), || None);
    let places = Mutex::new(&mut done);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(things.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(at) else { return };
                    let found = with(thing);
                    if found.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    places.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(found);
                }
            });
        }
    });
    done
}

/// All of them, or the first error.
fn all<R>(done: Vec<Option<Result<R, ServerError>>>) -> Result<Vec<R>, ServerError> {
    let mut found = Vec::with_capacity(done.len());
    let mut left_out = false;
    for one in done {
        match one {
            Some(one) => found.push(one?),
            None => left_out = true,
        }
    }
    // What was not begun comes after an error.
    if left_out {
        Err(ServerError::Stopped)
    } else {
        Ok(found)
    }
}
