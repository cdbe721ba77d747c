//! Lines of text in colour.

use crate::visible::width_of;
use concord_findings::Mark;

/// How a piece of a line looks where colour is allowed. Nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Strong,
    Faint,
    Good,
    Doubtful,
    Bad,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Doubtful => "33",
            Self::Bad => "31",
        }
    }
}

/// A mark's ink.
pub(super) fn ink_of(mark: Mark) -> Ink {
    match mark {
        Mark::Good => Ink::Good,
        Mark::Doubtful => Ink::Doubtful,
        Mark::Bad => Ink::Bad,
    }
}

/// A mark's sign.
pub(super) fn sign_of(mark: Mark) -> char {
    match mark {
        Mark::Good => '✓',
        Mark::Doubtful => '!',
        Mark::Bad => '✕',
    }
}

/// A line in pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Inked(Vec<(Ink, String)>);

impl Inked {
    /// A line of one piece.
    pub(super) fn of(ink: Ink, text: impl Into<String>) -> Self {
        Self(vec![(ink, text.into())])
    }

    /// One piece more.
    pub(super) fn push(&mut self, ink: Ink, text: impl Into<String>) {
        self.0.push((ink, text.into()));
    }

    /// The columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width_of(text)).sum()
    }

    /// Blanks up to a column, where it does not reach so far.
    pub(super) fn pad_to(&mut self, column: usize) {
        let missing = column.saturating_sub(self.width());
        self.push(Ink::Plain, " ".repeat(missing));
    }

    /// The line as text, without blanks at its end.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut pieces = self.0.clone();
        while let Some((_, last)) = pieces.last_mut() {
            let length = last.trim_end().len();
            last.truncate(length);
            if last.is_empty() {
                pieces.pop();
            } else {
                break;
            }
        }
        let pieces = pieces.iter().map(|(ink, text)| {
            if colour && *ink != Ink::Plain && !text.trim().is_empty() {
                format!("\u{1b}[{}m{text}\u{1b}[0m", ink.code())
            } else {
                text.clone()
            }
        });
        pieces.collect()
    }
}
