//! Questions as JSON lines.

use super::{checked, in_order, name_of};
use crate::surveys::data::{People, Question, english};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// A question as a line of a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    question: String,
    #[serde(default)]
    topic: String,
    #[serde(default = "english")]
    language: String,
    options: Vec<String>,
    #[serde(default)]
    ordinal: bool,
    #[serde(default)]
    declines: Vec<String>,
    human: Unique,
}

/// What a population answered: shares by option, or in the order of options, and maybe of how many people.
#[derive(Debug, PartialEq)]
struct Answers {
    shares: Shares,
    n: Option<u64>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Shares {
    List(Vec<f64>),
    Named(BTreeMap<String, f64>),
}

impl Answers {
    /// As it stands in a line.
    fn of(value: Unique) -> Result<Self, String> {
        match value {
            Unique::Map(mut fields) if fields.contains_key("shares") => {
                let shares = Shares::of(fields.remove("shares").unwrap_or(Unique::Null))?;
                let n = match fields.remove("n") {
                    None | Some(Unique::Null) => None,
                    Some(Unique::Number(n)) => {
                        Some(count(n).ok_or(format!("`n` is {n}, not a count"))?)
                    }
                    Some(_) => return Err("`n` is not a count".to_owned()),
                };
                match fields.keys().next() {
                    Some(other) => Err(format!(
                        "unknown field `{other}`; there may be n and shares"
                    )),
                    None => Ok(Self { shares, n }),
                }
            }
            other => Ok(Self {
                shares: Shares::of(other)?,
                n: None,
            }),
        }
    }
}

impl Shares {
    fn of(value: Unique) -> Result<Self, String> {
        let number = |value: Unique| match value {
            Unique::Number(share) => Ok(share),
            _ => Err("a share is no number".to_owned()),
        };
        match value {
            Unique::List(all) => {
                let all = all.into_iter().map(number).collect::<Result<_, _>>();
                Ok(Self::List(all?))
            }
            Unique::Map(all) => {
                let all = all
                    .into_iter()
                    .map(|(name, share)| Ok((name, number(share)?)));
                Ok(Self::Named(all.collect::<Result<_, String>>()?))
            }
            _ => Err("shares are a list, or by option".to_owned()),
        }
    }
}

/// A number of people, which some programs write with a point.
pub(super) fn count(n: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number that is not negative, below 2^53"
    )]
    (n >= 0.0 && n.fract() <= 0.0 && n < 9e15).then_some(n as u64)
}

/// JSON in which no name stands twice.
#[derive(Debug)]
enum Unique {
    Null,
    Number(f64),
    Other,
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Unique;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("shares")
            }

            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                Ok(Unique::Other)
            }

            fn visit_f64<E>(self, number: f64) -> Result<Unique, E> {
                Ok(Unique::Number(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Unique, E> {
                Ok(Unique::Number(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Unique, E> {
                Ok(Unique::Number(number as f64))
            }

            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Unique, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = from.next_element()? {
                    all.push(one);
                }
                Ok(Unique::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Unique, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, one)) = from.next_entry::<String, Unique>()? {
                    if all.insert(name.clone(), one).is_some() {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(Unique::Map(all))
            }
        }

        from.deserialize_any(Any)
    }
}

/// The questions of a text of JSON lines.
pub(crate) fn of_lines(text: &str, renormalize: bool) -> Result<Vec<Question>, String> {
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: String| format!("line {number}: {problem}");
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let options = line.options;
        let Unique::Map(populations) = line.human else {
            return Err(wrong("`human` has no populations".to_owned()));
        };
        let mut human = BTreeMap::new();
        for (population, answers) in populations {
            let read = Answers::of(answers).and_then(|Answers { shares, n }| {
                let shares = in_order(&options, shares)?;
                Ok(People { shares, n })
            });
            let people = read.map_err(|problem| wrong(format!("{population}: {problem}")))?;
            human.insert(population, people);
        }
        let id = line
            .id
            .unwrap_or_else(|| name_of(&line.question, &line.topic, &options));
        let question = Question {
            id,
            question: line.question,
            topic: line.topic,
            language: line.language,
            options,
            ordinal: line.ordinal,
            declines: line.declines,
            human,
        };
        all.push(checked(question, renormalize).map_err(wrong)?);
    }
    Ok(all)
}
