//! What ran when: from the first question that is read to the last measure.

use concord_runs::Span;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What ran when, in seconds since it was begun. Copies write into one.
#[derive(Clone, Debug)]
pub struct Timeline {
    begun: Instant,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Timeline {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            spans: Arc::default(),
        }
    }

    /// Does something and notes when; `of` is the checkpoint that it is of, or nothing.
    pub fn time<R>(&self, what: &str, of: &str, work: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let done = work();
        self.note(what, of, begun..Instant::now());
        done
    }

    /// Notes something that ran.
    pub fn note(&self, what: &str, of: &str, ran: Range<Instant>) {
        let since = |moment: Instant| moment.saturating_duration_since(self.begun).as_secs_f64();
        let span = Span {
            what: what.to_owned(),
            of: (!of.is_empty()).then(|| of.to_owned()),
            from: since(ran.start),
            to: since(ran.end),
        };
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.push(span);
    }

    /// What ran so far, by when it began.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = spans.clone();
        spans.sort_by(|a, b| a.from.total_cmp(&b.from).then(b.to.total_cmp(&a.to)));
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn spans_stand_by_when_they_began() {
        let timeline = Timeline::begin();
        let copy = timeline.clone();
        let begun = timeline.begun;
        let at = |seconds| begun + Duration::from_secs(seconds);
        copy.note("late", "m", at(5)..at(6));
        timeline.note("long", "", at(1)..at(9));
        timeline.note("within", "m", at(1)..at(2));
        // What began before all of it began with it.
        timeline.note(
            "early",
            "",
            begun.checked_sub(Duration::from_secs(1)).unwrap_or(begun)..at(1),
        );
        assert_eq!(timeline.time("now", "", || 7), 7);
        let spans = timeline.spans();
        let named: Vec<&str> = spans.iter().map(|span| span.what.as_str()).collect();
        assert_eq!(named[0], "early");
        assert_eq!(named[named.len() - 3..], ["long", "within", "late"]);
        let late = spans
            .last()
            .map(|span| (span.from, span.to, span.of.as_deref()));
        assert_eq!(late, Some((5.0, 6.0, Some("m"))));
    }
}
