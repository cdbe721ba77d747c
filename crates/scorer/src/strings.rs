//! Texts over all of their spellings: what is read for them, and what it comes to.

use crate::labels::LabelTable;
use crate::plan::Number;
use crate::spelling::Alphabet;
use concord_checkpoint::Vocabulary;
use concord_readings::{
    End, EndedSpelling, LogProb, Probability, Prompt, Read, StringReading, Strings, StringsReading,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The most spellings of a text with what stands before it.
const MOST: usize = 64;

/// The spellings of texts and a slot for each number that is read of them. Prompts that ask for the same share them.
pub(crate) struct StringsPlan {
    pub end: End,
    texts: Vec<(String, Vec<Ended>)>,
    /// Texts that no tokens spell.
    pub not_spelled: Vec<String>,
    left_out: usize,
    /// Numbers that are read.
    pub slots: u32,
    /// Tokens of all spellings.
    pub tokens: u64,
    /// Bytes of the reading in memory, about.
    pub bytes: u64,
}

/// A spelling and the slots of its numbers: the log-probabilities of its tokens, then the probability that it ends there.
pub(crate) struct Ended {
    text: String,
    pub tokens: Vec<u32>,
    slots: Vec<u32>,
    /// So many of the first slots are those of earlier spellings.
    shared: usize,
}

/// The slots of tokens, by the length of the spelling, the slot of the token before it and the token.
type Known = HashMap<(usize, Option<u32>, u32), u32>;

/// Plans of what prompts ask, each once.
pub(crate) type StringsPlans<'a> = HashMap<&'a Strings, Arc<StringsPlan>>;

/// Spells every text of the prompts that can be asked for.
pub(crate) fn strings_plans<'a>(
    vocabulary: &Vocabulary,
    table: &LabelTable,
    prompts: &'a [Prompt],
) -> StringsPlans<'a> {
    let mut plans = StringsPlans::new();
    for read in prompts.iter().flat_map(|prompt| &prompt.reads) {
        let Read::Strings(strings) = read else {
            continue;
        };
        if let Entry::Vacant(entry) = plans.entry(strings)
            && strings.check().is_ok()
        {
            let alphabet = table.alphabet(vocabulary);
            entry.insert(Arc::new(StringsPlan::new(&alphabet, strings)));
        }
    }
    plans
}

impl StringsPlan {
    pub fn new(alphabet: &Alphabet, strings: &Strings) -> Self {
        let mut plan = Self {
            end: strings.end,
            texts: Vec::new(),
            not_spelled: Vec::new(),
            left_out: 0,
            slots: 0,
            tokens: 0,
            bytes: 200,
        };
        // Spellings of as many tokens read what they begin with in common once: sequences of one length are of one length class.
        let mut known = Known::new();
        for text in &strings.texts {
            let mut of_text = Vec::new();
            for whole in strings.whole(text) {
                let found = alphabet.spellings(&whole, MOST);
                plan.left_out = plan.left_out.saturating_add(found.left_out);
                for tokens in found.kept {
                    of_text.push(plan.ended(&mut known, whole.clone(), tokens));
                }
            }
            if of_text.is_empty() {
                plan.not_spelled.push(text.clone());
            } else {
                plan.bytes += 120 + text.len() as u64;
                plan.texts.push((text.clone(), of_text));
            }
        }
        plan
    }

    /// A spelling with slots of its own and those of earlier ones.
    fn ended(&mut self, known: &mut Known, text: String, tokens: Vec<u32>) -> Ended {
        let before = self.slots;
        let mut slots: Vec<u32> = Vec::with_capacity(tokens.len() + 1);
        for token in &tokens {
            let path = (tokens.len(), slots.last().copied(), *token);
            slots.push(*known.entry(path).or_insert_with(|| {
                self.slots += 1;
                self.slots - 1
            }));
        }
        let shared = slots.iter().filter(|slot| **slot < before).count();
        if self.end != End::Any {
            slots.push(self.slots);
            self.slots += 1;
        }
        self.tokens += tokens.len() as u64;
        self.bytes += 160 + text.len() as u64 + 4 * tokens.len() as u64;
        Ended {
            text,
            tokens,
            slots,
            shared,
        }
    }

    /// Every spelling.
    pub fn spellings(&self) -> impl Iterator<Item = &Ended> {
        self.texts.iter().flat_map(|(_, spellings)| spellings)
    }

    /// Rows of the longest spelling: its last token is read, and computed where it matters what follows.
    pub fn rows(&self) -> usize {
        let rows = self
            .spellings()
            .map(|spelling| self.rows_of(spelling).len());
        rows.max().unwrap_or(0)
    }

    /// The tokens of a spelling that are computed.
    pub fn rows_of<'a>(&self, spelling: &'a Ended) -> &'a [u32] {
        match self.end {
            End::Any => &spelling.tokens[..spelling.tokens.len() - 1],
            End::Digit | End::Letter => &spelling.tokens,
        }
    }

    /// The numbers of a spelling that no earlier one reads, by their slots, and after how many rows they are read.
    pub fn own_numbers<'a>(
        &self,
        spelling: &'a Ended,
    ) -> impl Iterator<Item = (usize, Number)> + use<'a> {
        let tokens = spelling.tokens.iter().map(|token| Number::Token(*token));
        let ended = (self.end != End::Any).then_some(Number::Ended(self.end));
        let numbers = tokens.chain(ended).enumerate();
        numbers.skip(spelling.shared)
    }

    /// What the numbers in the slots come to; `None` where one is out of its domain.
    pub fn reading(&self, values: &[f64]) -> Option<StringsReading> {
        let mut mass = 0.0;
        let mut texts = Vec::with_capacity(self.texts.len());
        for (text, planned) in &self.texts {
            let spellings = planned.iter().map(|spelling| spelling.read(values));
            let spellings = spellings.collect::<Option<Vec<_>>>()?;
            // Spellings that go on with each other are no separate events, and numbers are rounded.
            let log_prob = log_sum(spellings.iter().map(joint)).min(0.0);
            mass += log_prob.exp();
            texts.push(StringReading {
                text: text.clone(),
                log_prob: LogProb::new(log_prob).ok()?,
                spellings,
            });
        }
        Some(StringsReading {
            texts,
            mass: Probability::new(mass.min(1.0)).ok()?,
            left_out: self.left_out,
        })
    }
}

impl Ended {
    fn read(&self, values: &[f64]) -> Option<EndedSpelling> {
        let value = |slot: &u32| values.get(*slot as usize).copied();
        let (tokens, ended) = self.slots.split_at_checked(self.tokens.len())?;
        let log_probs = tokens.iter().map(value).collect::<Option<Vec<_>>>()?;
        let ended = ended.first().map_or(Some(1.0), value)?;
        Some(EndedSpelling {
            text: self.text.clone(),
            tokens: self.tokens.clone(),
            log_prob: LogProb::new(log_probs.iter().sum()).ok()?,
            ended: Probability::new(ended).ok()?,
        })
    }
}

/// The log-probability that a spelling comes and ends. An end that rounds to nothing is next to nothing.
fn joint(spelling: &EndedSpelling) -> f64 {
    spelling.log_prob.get() + spelling.ended.get().max(f64::MIN_POSITIVE).ln()
}

/// `ln Σ e^x`, without underflow of the largest.
pub(crate) fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest
        + values
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(end: End) -> StringsPlan {
        let tokens = ["1", "0", "10", "a"];
        let alphabet = Alphabet::of(tokens.iter().map(|text| Some(text.as_bytes().to_vec())));
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let strings = Strings {
            texts: owned(&["1", "10", "b", "100"]),
            leads: owned(&["", "a"]),
            end,
        };
        StringsPlan::new(&alphabet, &strings)
    }

    #[test]
    fn spellings_of_one_length_read_what_they_share_once() {
        let plan = plan(End::Digit);
        assert_eq!(plan.not_spelled, ["b"]);
        let tokens: Vec<&[u32]> = plan.spellings().map(|way| &way.tokens[..]).collect();
        let expected: [&[u32]; 10] = [
            &[0],
            &[3, 0],
            &[2],
            &[0, 1],
            &[3, 2],
            &[3, 0, 1],
            &[2, 1],
            &[0, 1, 1],
            &[3, 2, 1],
            &[3, 0, 1, 1],
        ];
        assert_eq!(tokens, expected);
        let shared: Vec<usize> = plan.spellings().map(|way| way.shared).collect();
        assert_eq!(shared, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0]);
        let own = |way: &Ended| way.slots.len() - way.shared;
        assert_eq!(
            plan.spellings().map(own).sum::<usize>(),
            plan.slots as usize
        );
        assert_eq!(plan.rows(), 4);
        assert_eq!(self::plan(End::Any).rows(), 3);
        assert_eq!(plan.tokens, 23);
    }

    #[test]
    fn what_underflows_is_still_a_number() {
        let plan = plan(End::Digit);
        let values = vec![-1e4; plan.slots as usize];
        // An end is a probability.
        assert!(plan.reading(&values).is_none());
        let mut values = vec![-1e4; plan.slots as usize];
        for spelling in plan.spellings() {
            values[spelling.slots[spelling.tokens.len()] as usize] = 0.0;
        }
        let reading = plan.reading(&values).unwrap();
        assert!(reading.texts.iter().all(|text| text.log_prob.get() < -1e4));
        assert!(reading.mass.get() < 1e-300);
        let certain = vec![0.0; plan.slots as usize];
        // Ways that go on with each other are together no more than certain.
        let reading = self::plan(End::Any).reading(&certain).unwrap();
        assert!(reading.texts.iter().all(|text| text.log_prob.get() <= 0.0));
        assert!((reading.mass.get() - 1.0).abs() < 1e-12);
    }
}
