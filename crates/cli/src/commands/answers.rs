//! Answers that come in any order, written in the order of their lines.

use super::lines::Line;
use crate::failure::Failure;
use crate::output::JsonLines;
use concord_readings::Reading;
use concord_scorer::ScorerError;
use serde::Serialize;
use serde_json::{Map, Value};
use std::ops::ControlFlow;

/// A line of output of a prompt that could not be asked.
#[derive(Serialize)]
pub(super) struct NotAnswered<'a> {
    id: &'a Value,
    #[serde(flatten)]
    own: &'a Map<String, Value>,
    error: String,
}

impl<'a> NotAnswered<'a> {
    pub fn of<T>(line: &'a Line<T>, problem: &ScorerError) -> Self {
        Self {
            id: &line.id,
            own: &line.own,
            error: problem.to_string(),
        }
    }
}

/// The answers to a window of lines.
pub(super) struct Answers<'a, W> {
    out: &'a mut JsonLines,
    /// Writes the answer to a line.
    write: W,
    waiting: Vec<Option<Reading>>,
    next: usize,
    written: u64,
    lost: Option<Failure>,
}

impl<'a, W: FnMut(&mut JsonLines, usize, &Reading) -> Result<(), Failure>> Answers<'a, W> {
    /// For `count` lines.
    pub fn new(count: usize, out: &'a mut JsonLines, write: W) -> Self {
        Self {
            out,
            write,
            waiting: vec![None; count],
            next: 0,
            written: 0,
            lost: None,
        }
    }

    /// Takes readings by the numbers of their lines, and writes those whose turn it is. Breaks where they cannot be written, which
    /// [`Self::finish`] tells.
    pub fn take(
        &mut self,
        readings: impl IntoIterator<Item = (usize, Reading)>,
    ) -> ControlFlow<()> {
        for (index, reading) in readings {
            self.waiting[index] = Some(reading);
        }
        let mut outcome = Ok(());
        while let Some(reading) = self.waiting.get_mut(self.next).and_then(Option::take) {
            outcome = (self.write)(self.out, self.next, &reading);
            if outcome.is_err() {
                break;
            }
            self.next += 1;
            self.written += 1;
        }
        match outcome.and_then(|()| self.out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.lost = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Writes what came before a stop, after an answer that did not come, all the same. How many were written.
    pub fn finish(mut self) -> Result<u64, Failure> {
        if let Some(lost) = self.lost {
            return Err(lost);
        }
        for (index, reading) in self.waiting.iter().enumerate() {
            if let Some(reading) = reading {
                (self.write)(self.out, index, reading)?;
                self.written += 1;
            }
        }
        self.out.flush()?;
        Ok(self.written)
    }
}
