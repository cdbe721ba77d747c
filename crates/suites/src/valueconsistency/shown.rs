//! From letters and texts, in the order in which options were shown, to stances.

use super::answers::AnswersError;
use concord_questions::{SpokenOption, Stance};
use concord_readings::{NextToken, Reading};
use concord_stats::Distribution;

/// Options in file order, how they were shown, and the stances that a distribution is laid out over.
pub(crate) struct Shown<'a> {
    pub options: &'a [SpokenOption],
    pub reversed: bool,
    pub layout: &'a [Stance],
}

impl Shown<'_> {
    /// The option, in file order, that stands at a place of the order shown; `None` for the one that declines, which stands
    /// last in every order.
    pub fn option(&self, shown: usize) -> Option<usize> {
        let last = self.options.len().checked_sub(1)?;
        (shown <= last).then(|| if self.reversed { last - shown } else { shown })
    }

    /// The stance of what stands at a place of the order shown.
    pub fn stance(&self, shown: usize) -> Stance {
        let option = self.option(shown);
        option.map_or(Stance::Neutral, |option| self.options[option].1)
    }

    /// A distribution over options as shown, as one over the layout's stances.
    pub fn stances(&self, shown: &Distribution) -> Distribution {
        let mut weights = vec![0.0; self.layout.len()];
        for (place, p) in shown.probabilities().iter().enumerate() {
            let stance = self.stance(place);
            if let Some(at) = self.layout.iter().position(|known| *known == stance) {
                weights[at] += p;
            }
        }
        Distribution::from_weights(weights).unwrap_or_else(|_| shown.clone())
    }
}

/// The next-token answer of a reading.
pub(crate) fn next_token<'a>(
    reading: &'a Reading,
    id: &str,
) -> Result<&'a NextToken, AnswersError> {
    reading
        .next_token()
        .ok_or_else(|| AnswersError::Incomplete {
            id: id.to_owned(),
            what: "letters",
        })
}

/// The distribution over letters, renormalised over all spellings.
pub(crate) fn letters(next: &NextToken, id: &str) -> Result<Distribution, AnswersError> {
    let scores: Vec<f64> = next
        .labels
        .iter()
        .map(|label| label.log_prob.get())
        .collect();
    Distribution::from_log_weights(&scores).map_err(|_| AnswersError::Incomplete {
        id: id.to_owned(),
        what: "letters",
    })
}

/// The distribution over letters as the study's code reads it: from the five most probable tokens alone, each stripped of
/// white space and of `▁():.` and cut at its first space; a letter that none of them is has no probability, and without any
/// letter all are alike.
///
/// # Source
/// `get_highest_option_mass_distribution` and `filter_distribution_for_answers` of the study, at the first position.
pub(crate) fn truncated_letters(next: &NextToken) -> Option<Distribution> {
    let mut weights = vec![0.0; next.labels.len()];
    for token in next.top.iter().take(5) {
        let kept: String = token
            .text
            .trim()
            .chars()
            .filter(|c| !"▁():.".contains(*c))
            .collect();
        let option = kept.split(' ').next().unwrap_or_default();
        if let Some(at) = next.labels.iter().position(|label| label.label == option) {
            weights[at] += token.log_prob.get().exp();
        }
    }
    if weights.iter().all(|weight| *weight <= 0.0) {
        weights.fill(1.0);
    }
    Distribution::from_weights(weights).ok()
}

/// The letter that a text states: its first word where that is a letter, or the first letter in brackets, or the letter of
/// the option that it begins with. As a place of the order shown.
pub(crate) fn stated(text: &str, shown: &[&str]) -> Option<usize> {
    let letter = |c: char| {
        let at = (c as usize).checked_sub('A' as usize)?;
        (at < shown.len()).then_some(at)
    };
    let bare = text.trim_start_matches(|c: char| c.is_whitespace() || "(（[【*\"'“「„".contains(c));
    let mut chars = bare.chars();
    if let Some(at) = chars.next().and_then(letter)
        && chars
            .next()
            .is_none_or(|next| !next.is_ascii_alphanumeric())
    {
        return Some(at);
    }
    let lower = bare.to_lowercase();
    let begins = shown.iter().position(|option| {
        let rest = lower.strip_prefix(&option.to_lowercase());
        rest.is_some_and(|rest| rest.chars().next().is_none_or(|c| !c.is_alphanumeric()))
    });
    let mut in_brackets = text.match_indices(['(', '（']).filter_map(|(at, bracket)| {
        let mut after = text[at + bracket.len()..].chars();
        let at = after.next().and_then(letter)?;
        after.next().filter(|c| ")）".contains(*c)).map(|_| at)
    });
    begins.or_else(|| in_brackets.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_readings::{LabelReading, LogProb, Nats, Probability, TokenReading};

    #[test]
    fn texts_state_letters() {
        let shown = ["yes", "no", "No answer"];
        for (text, expected) in [
            ("A", Some(0)),
            (" (B) no, because", Some(1)),
            ("**A**: yes", Some(0)),
            ("B是的", Some(1)),
            ("Yes, I think so", Some(0)),
            ("Nobody knows", None),
            ("My answer is (B).", Some(1)),
            ("A good question", Some(0)),
            ("Both have merits", None),
            ("D", None),
            ("", None),
        ] {
            assert_eq!(stated(text, &shown), expected, "{text}");
        }
    }

    fn next(top: &[(&str, f64)]) -> NextToken {
        let label = |name: &str| LabelReading {
            label: name.into(),
            log_prob: LogProb::new(-1.0).unwrap(),
            spellings: vec![],
        };
        NextToken {
            labels: vec![label("A"), label("B")],
            label_mass: Probability::new(0.5).unwrap(),
            entropy: Nats::new(1.0).unwrap(),
            top: top
                .iter()
                .map(|(text, p)| TokenReading {
                    token: 0,
                    text: (*text).into(),
                    log_prob: LogProb::new(p.ln()).unwrap(),
                })
                .collect(),
            top_is_label: true,
        }
    }

    #[test]
    fn the_studys_reading_sees_five_tokens() {
        let of = |top: &[(&str, f64)]| {
            truncated_letters(&next(top))
                .unwrap()
                .probabilities()
                .to_vec()
        };
        let close = |found: Vec<f64>, expected: f64| {
            assert!((found[0] - expected).abs() < 1e-12, "{found:?}");
        };
        close(
            of(&[("A", 0.5), (" A", 0.1), ("(B", 0.2), ("b", 0.1)]),
            0.75,
        );
        // The sixth token is not seen, nor is a lower-case letter.
        close(
            of(&[
                ("A", 0.3),
                ("x", 0.2),
                ("y", 0.1),
                ("z", 0.1),
                ("a", 0.1),
                ("B", 0.05),
            ]),
            1.0,
        );
        close(of(&[("x", 0.9)]), 0.5);
        close(of(&[("A yes", 0.6), ("B.", 0.2)]), 0.75);
    }

    #[test]
    fn the_option_that_declines_stands_last() {
        let options = [
            ("yes".to_owned(), Stance::Opposes),
            ("no".to_owned(), Stance::Supports),
        ];
        let layout = [Stance::Neutral, Stance::Opposes, Stance::Supports];
        let shown = Shown {
            options: &options,
            reversed: true,
            layout: &layout,
        };
        let found = shown.stances(&Distribution::from_weights(vec![0.5, 0.3, 0.2]).unwrap());
        for (a, b) in found.probabilities().iter().zip([0.2, 0.3, 0.5]) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}
