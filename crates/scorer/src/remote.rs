//! The rows of a plan for who reads them elsewhere: what is asked at each, and from what was seen there to readings.

use crate::ScorerError;
use crate::labels::LabelTable;
use crate::plan::{AnswerPlan, Number, Plan};
use crate::reader::{Cursor, Group, Slots};
use concord_readings::Reading;

/// What is read at a row.
pub struct RowAsk<'p> {
    group: Group<'p>,
    /// The tokens up to the row, and with it.
    pub tokens: Vec<u32>,
    /// The tokens whose log-probabilities are asked for after it.
    pub asked: Vec<u32>,
    /// Whether the whole distribution is summarised.
    pub summarised: bool,
    /// Whether a bound will do where a log-probability cannot be had: of the spellings of labels.
    pub may_be_bounds: bool,
}

/// A log-probability, or what it is at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// In nats.
    pub log_prob: f64,
    /// Whether it is a bound from above.
    pub at_most: bool,
}

/// What was seen at a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowObserved {
    /// The entropy of the distribution in nats, or what it is at least.
    pub entropy: f64,
    /// The most probable tokens and their log-probabilities (nats), best first.
    pub top: Vec<(u32, f64)>,
    /// What was asked for, in the order asked.
    pub asked: Vec<Observed>,
    /// The probability of all tokens that were not shown; none where all were.
    pub not_shown: Option<f64>,
}

impl Plan {
    /// How many rows are read.
    pub fn asked_rows(&self) -> usize {
        Cursor::default().advance(self, self.trie.len()).len()
    }

    /// What is read at every row that is read, by row.
    pub fn asks(&self) -> impl Iterator<Item = RowAsk<'_>> {
        let groups = Cursor::default().advance(self, self.trie.len());
        // Rows come depth first: the path to one is what is left of the path to the one before.
        let (mut path, mut at) = (Vec::new(), 0);
        groups.into_iter().map(move |group| {
            for row in at..=group.row as usize {
                path.truncate(self.trie.depths[row] as usize);
                path.push(self.trie.tokens[row]);
            }
            at = group.row as usize + 1;
            RowAsk {
                tokens: path.clone(),
                asked: group.asked(&self.alphabet),
                summarised: group.is_summarised(),
                may_be_bounds: group.probes().iter().all(|probe| {
                    matches!(probe.number, Number::Token(_))
                        && self.prompts[probe.prompt as usize].is_label(probe.slot)
                }),
                group,
            }
        })
    }
}

impl crate::plan::PromptPlan {
    /// Whether a slot is of a label's spelling.
    fn is_label(&self, slot: u32) -> bool {
        let mut next = 0;
        for answer in &self.answers {
            let (slots, is_label) = match answer {
                AnswerPlan::NextToken { labels } => {
                    let ways = labels.iter().flat_map(|(_, ways)| ways);
                    let slots = ways.map(|way| 1 + usize::from(way.opening.is_some()));
                    (slots.sum(), true)
                }
                AnswerPlan::Continuation { tokens, .. } => (tokens.len(), false),
                AnswerPlan::Strings(strings) => (strings.slots as usize, false),
            };
            next += slots;
            if (slot as usize) < next {
                return is_label;
            }
        }
        false
    }
}

/// Readings that are put together from rows that were seen elsewhere.
pub struct RemoteReader<'p> {
    plan: &'p Plan,
    table: &'p LabelTable,
    slots: Slots,
}

impl<'p> RemoteReader<'p> {
    /// Of a plan, with the spellings that it was made with.
    pub fn new(plan: &'p Plan, table: &'p LabelTable) -> Self {
        Self {
            plan,
            table,
            slots: Slots::new(plan),
        }
    }

    /// Takes what was seen at a row, and gives the readings that are complete now, with the numbers of their prompts.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`] where a number is none.
    pub fn take(
        &mut self,
        ask: &RowAsk<'_>,
        seen: &RowObserved,
    ) -> Result<Vec<(usize, Reading)>, ScorerError> {
        self.slots
            .fill_observed(&ask.group, seen, &self.plan.alphabet);
        self.slots.take_complete(self.plan, self.table)
    }
}
