//! What checkpoints are asked first, laid out before any is asked anything.

use super::{Engine, style, writes};
use crate::failure::Failure;
use concord_checkpoint::Snapshot;
use concord_readings::{Form, Prompt, PromptDigest, Readings};
use concord_runs::Shard;
use concord_scorer::{LabelTable, Plan, ScorerError, digest_of_all, lengths, prompt_digests};
use concord_suites::{Round, Step, Subject};
use std::rc::Rc;
use std::sync::Arc;

/// A round, laid out.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) prompts: Vec<Prompt>,
    pub(super) what: Laid,
}

/// What a round does, and what is known of it beforehand.
pub(super) enum Laid {
    Reads(Plan),
    Writes {
        lengths: Vec<usize>,
        digests: Vec<PromptDigest>,
    },
}

/// What checkpoints that read text alike are asked first.
pub(in crate::commands) struct FirstStep {
    pub(super) table: Arc<LabelTable>,
    pub(super) rounds: Vec<Planned>,
    /// Why it cannot be asked, where its vocabulary does not spell what is asked for; nothing is laid out then.
    pub(super) not_spelled: Option<String>,
    /// Of all that is asked, in tokens, and of what is read: a program that asks something else does not go on with a run.
    pub digest: String,
}

/// How much is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct AskedSize {
    pub prompts: usize,
    pub texts: usize,
    pub tokens: u64,
    pub rows: u64,
    /// Rows after which something is read.
    pub asked_rows: usize,
}

impl FirstStep {
    /// How much it asks.
    pub fn size(&self) -> AskedSize {
        let mut size = AskedSize::default();
        for round in &self.rounds {
            match &round.what {
                Laid::Reads(plan) => {
                    size.prompts += round.prompts.len();
                    size.tokens += plan.tokens_asked;
                    size.rows += plan.trie.len() as u64;
                    size.asked_rows += plan.asked_rows();
                }
                // What a text is written after is read for it alone.
                Laid::Writes { .. } => size.texts += round.prompts.len(),
            }
        }
        size
    }

    /// Why nothing can be asked, if so.
    pub fn reason(&self) -> Option<&str> {
        self.not_spelled.as_deref()
    }
}

/// One digest of all rounds, made from that of each prompt.
fn digest(rounds: &[Planned]) -> String {
    let rounds = rounds.iter().map(|round| {
        let of_round = match &round.what {
            Laid::Reads(plan) => digest_of_all(plan.digests()),
            Laid::Writes { digests, .. } => {
                let ids = round.prompts.iter().map(|prompt| prompt.id.as_str());
                digest_of_all(ids.zip(digests.iter().copied()))
            }
        };
        (round.name.as_str(), of_round)
    });
    digest_of_all(rounds).to_string()
}

impl Engine<'_> {
    /// Begins to load the checkpoint that is asked first, where a device has room for it, while prompts are laid out. One that adapters are
    /// put on stays with them, and one that is not `needed` is not loaded.
    pub fn load_early(&self, needed: bool) {
        if let Some(first) = self.snapshots.first().filter(|_| needed && !self.adapted) {
            self.machine.load_early(first, &self.allowed);
        }
    }

    /// What each checkpoint is asked first. Adapters that leave tokenizer and template alone share it with their base.
    pub fn first_steps(&self) -> Result<Vec<Rc<FirstStep>>, Failure> {
        let mut all: Vec<Rc<FirstStep>> = Vec::new();
        for (index, (snapshot, form)) in self.snapshots.iter().zip(self.forms).enumerate() {
            let alike = |(other, other_form): (&Snapshot, &Form)| {
                form == other_form && snapshot.reads_text_as(other)
            };
            let mut before = self.snapshots[..index].iter().zip(self.forms);
            if let Some(before) = before.position(alike) {
                all.push(Rc::clone(&all[before]));
                continue;
            }
            let style = style(snapshot, *form);
            let timeline = &self.machine.timeline;
            let step = timeline.time("prompts", &snapshot.name, || {
                self.study.next(Subject { style }, &Readings::default())
            })?;
            let Step::Ask(asked) = step else {
                return Err(self.asks_nothing_new());
            };
            if asked.iter().all(|round| round.prompts.is_empty()) {
                let message = format!("the suite `{}` has nothing to ask", self.study.about().name);
                return Err(Failure::usage(message, "give it something to ask"));
            }
            let step = || self.first_step(snapshot, asked);
            all.push(Rc::new(timeline.time("plan", &snapshot.name, step)?));
        }
        self.are_enough(&all)?;
        Ok(all)
    }

    /// Lays out what a checkpoint is asked first, or says what its vocabulary cannot spell.
    fn first_step(&self, snapshot: &Snapshot, asked: Vec<Round>) -> Result<FirstStep, Failure> {
        let table = Arc::new(LabelTable::new(&snapshot.vocabulary));
        let asked = asked.into_iter().map(|round| {
            let (name, prompts) = (round.name, round.prompts);
            let what = if writes(&prompts) {
                let digests = prompt_digests(snapshot, &table, &prompts);
                Laid::Writes {
                    lengths: checked_lengths(snapshot, &prompts)?,
                    digests: digests.map_err(|error| Failure::from(error).of(&snapshot.name))?,
                }
            } else {
                Laid::Reads(self.lay_out(snapshot, &table, &prompts)?)
            };
            Ok(Planned {
                name,
                prompts,
                what,
            })
        });
        let (rounds, not_spelled) = match asked.collect::<Result<Vec<_>, Failure>>() {
            Ok(rounds) => (rounds, None),
            Err(failure) => match failure.not_spelled {
                Some(not_spelled) => (Vec::new(), Some(not_spelled)),
                None => return Err(failure),
            },
        };
        Ok(FirstStep {
            // Of everything that is asked, whatever part of it is asked here.
            digest: match &not_spelled {
                None => digest(&rounds),
                Some(reason) => format!("not measurable: {reason}"),
            },
            rounds: self.of_shard(snapshot, &table, rounds)?,
            table,
            not_spelled,
        })
    }

    /// Rounds with the prompts of this shard alone.
    fn of_shard(
        &self,
        snapshot: &Snapshot,
        table: &LabelTable,
        rounds: Vec<Planned>,
    ) -> Result<Vec<Planned>, Failure> {
        if self.shard.is_none() {
            return Ok(rounds);
        }
        let rounds = rounds.into_iter().map(|round| {
            let what = match round.what {
                Laid::Reads(_) => {
                    let prompts = self.kept(&round.prompts)?;
                    Laid::Reads(self.lay_out(snapshot, table, &prompts)?)
                }
                Laid::Writes { lengths, digests } => {
                    let is_kept = self.which(&round.prompts)?;
                    let mut kept = is_kept.iter().copied();
                    let mut lengths = lengths;
                    lengths.retain(|_| kept.next().unwrap_or(true));
                    Laid::Writes { lengths, digests }
                }
            };
            Ok(Planned {
                prompts: self.kept(&round.prompts)?,
                what,
                ..round
            })
        });
        rounds.collect()
    }

    /// Which prompts are asked here.
    fn which(&self, prompts: &[Prompt]) -> Result<Vec<bool>, Failure> {
        let Some(Shard { index, of }) = self.shard else {
            return Ok(vec![true; prompts.len()]);
        };
        let is_here = |prompt: &Prompt| {
            let shard = self.study.shard(&prompt.id, of).ok_or_else(|| {
                let name = self.study.about().name;
                let message = format!("the suite `{name}` cannot be asked in shards");
                Failure::usage(message, "leave --shard out: its rounds build on each other")
            });
            Ok(shard? == index)
        };
        prompts.iter().map(is_here).collect()
    }

    pub(super) fn kept(&self, prompts: &[Prompt]) -> Result<Vec<Prompt>, Failure> {
        let kept = prompts.iter().zip(self.which(prompts)?);
        let kept = kept.filter(|(_, is_kept)| *is_kept);
        Ok(kept.map(|(prompt, _)| prompt.clone()).collect())
    }

    /// Tokenises prompts and lays out their trie.
    fn lay_out(
        &self,
        snapshot: &Snapshot,
        table: &LabelTable,
        prompts: &[Prompt],
    ) -> Result<Plan, Failure> {
        Plan::new(snapshot, table, prompts).map_err(|error| {
            let advice = match &error {
                ScorerError::TooLong { id, .. } => self.study.advice(id),
                _ => None,
            };
            let failure = Failure::from(error).of(&snapshot.name);
            match advice {
                Some(advice) => failure.and_help(advice),
                None => failure,
            }
        })
    }
}

/// Refuses texts whose prompt leaves no room to write.
fn checked_lengths(snapshot: &Snapshot, texts: &[Prompt]) -> Result<Vec<usize>, Failure> {
    let failed = |error: ScorerError| Failure::from(error).of(&snapshot.name);
    let limit = snapshot.spec.context_length();
    let lengths = lengths(snapshot, texts).map_err(failed)?;
    let mut known = texts.iter().zip(&lengths);
    match known.find(|(_, length)| **length > limit) {
        Some((prompt, tokens)) => Err(failed(ScorerError::TooLong {
            id: prompt.id.clone(),
            tokens: *tokens,
            limit,
        })),
        None => Ok(lengths),
    }
}
