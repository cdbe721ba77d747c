//! Raters, and what they are asked about what was written.

use super::{Engine, Places, Told, style};
use crate::arguments::ChatTemplateUse;
use crate::commands::inputs;
use crate::failure::Failure;
use crate::output;
use crate::progress::Terminal;
use concord_checkpoint::Snapshot;
use concord_readings::{Prompt, PromptStyle, Readings};
use concord_runs::{Journal, What};
use concord_scorer::{ScorerError, lengths};
use concord_session::{Base, OnDemand, rounds};
use concord_suites::Rating;

impl Engine<'_> {
    /// Refuses raters that cannot read what they are asked whatever is written.
    pub(super) fn raters_can_read(&self) -> Result<(), Failure> {
        let own = self.raters.iter().any(Option::is_none);
        let own = self.snapshots.iter().zip(self.forms).filter(|_| own);
        let others = self.raters.iter().flatten();
        let others = others.map(|rater| Ok((rater, inputs::form(rater, ChatTemplateUse::Auto)?)));
        let all = own.map(|(snapshot, form)| Ok::<_, Failure>((snapshot, *form)));
        for rater in all.chain(others) {
            let (rater, form) = rater?;
            if rater.server.is_some() {
                continue;
            }
            let ratings = self.study.rate(style(rater, form), &Readings::default())?;
            let prompts: Vec<Prompt> = ratings.into_iter().flat_map(|of| of.prompts).collect();
            let lengths = lengths(rater, &prompts);
            let lengths = lengths.map_err(|error| Failure::from(error).of(&rater.name))?;
            let (longest, limit) = (lengths.into_iter().max(), rater.spec.context_length());
            if let Some(longest) = longest.filter(|longest| *longest > limit) {
                let message = format!(
                    "{}: what a rater is asked whatever is written takes {longest} tokens, and its context is {limit}",
                    rater.name
                );
                let help = "hold answers against a shorter text, or name another --rater";
                return Err(Failure::usage(message, help));
            }
        }
        Ok(())
    }

    /// Lets a rater read what every checkpoint that waits for it wrote.
    pub(super) fn let_rate(
        &self,
        places: &Places<'_>,
        rater: &Snapshot,
        told: &mut [Told],
    ) -> Result<(), Failure> {
        let style = style(rater, inputs::form(rater, ChatTemplateUse::Auto)?);
        let mut base = Base::new(rater, false);
        let mut decoder = self.on_demand(&mut base, rater);
        for (index, (snapshot, told)) in self.snapshots.iter().zip(told).enumerate() {
            let Some(round) = told.waits_for else {
                continue;
            };
            let what = What::rated(round, &rater.name);
            let Some(journal) = places.journal(index, what, &snapshot.name)? else {
                continue;
            };
            let read = self.rate(rater, style, &told.readings, journal, &mut decoder)?;
            told.add_rated(round, &rater.name, read);
        }
        Ok(())
    }

    /// Lets a rater read every text that the journal does not have yet. Texts that are too long for it are left out, and that is said.
    pub fn rate(
        &self,
        rater: &Snapshot,
        style: PromptStyle,
        so_far: &Readings,
        journal: Journal,
        decoder: &mut OnDemand<'_, '_>,
    ) -> Result<rounds::Round, Failure> {
        let ratings = self.study.rate(style, so_far)?;
        let count = ratings.len();
        let limit = rater.spec.context_length();
        let fits = |rating: &Rating| {
            let lengths = lengths(rater, &rating.prompts)?;
            Ok(lengths.iter().all(|length| *length <= limit))
        };
        let mut prompts = Vec::new();
        let mut left_out = 0;
        for rating in ratings {
            if fits(&rating).map_err(|e: ScorerError| Failure::from(e).of(&rater.name))? {
                prompts.extend(rating.prompts);
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            output::message(&format!(
                "{}: {left_out} of {count} passages are longer than its context of {limit} tokens and are left out",
                rater.name,
            ));
        }
        let name = format!("{} rates", rater.name);
        let meter = &Terminal::default();
        Ok(rounds::read(
            &name, &prompts, None, journal, decoder, meter,
        )?)
    }
}
