//! From letters and texts, in the order in which options were shown, to stances.

use concord_questions::{SpokenOption, Stance};
use concord_readings::NextToken;
use concord_stats::Distribution;

/// Options in file order, how they were shown, and the stances that a distribution is laid out over.
pub(crate) struct PresentedOptions<'a> {
    pub options: &'a [SpokenOption],
    pub reversed: bool,
    pub layout: &'a [Stance],
}

impl PresentedOptions<'_> {
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

    /// A distribution over options as shown, in file order.
    pub fn in_file_order(&self, shown: &Distribution) -> Distribution {
        let mut options = shown.probabilities().to_vec();
        if self.reversed {
            options.reverse();
        }
        // The same numbers in another order are a distribution like before.
        Distribution::from_weights(options).unwrap_or_else(|_| shown.clone())
    }

    /// A distribution over options as shown, as one over the layout's stances; `None` where all of it is on stances that the
    /// layout does not have.
    pub fn stances(&self, shown: &Distribution) -> Option<Distribution> {
        let mut weights = vec![0.0; self.layout.len()];
        for (place, p) in shown.probabilities().iter().enumerate() {
            let stance = self.stance(place);
            if let Some(at) = self.layout.iter().position(|known| *known == stance) {
                weights[at] += p;
            }
        }
        Distribution::from_weights(weights).ok()
    }
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

/// The option that a text states, as a place of the order shown: the one whose text it begins with, with or without a letter
/// before it; else the letter that it begins with, alone or before a mark; else the first letter in brackets.
pub(crate) fn stated(text: &str, shown: &[&str]) -> Option<usize> {
    let letter = |c: char| {
        let at = (c as usize).checked_sub('A' as usize)?;
        (at < shown.len()).then_some(at)
    };
    let opens = |c: char| c.is_whitespace() || "(（[【*\"'“「„".contains(c);
    let closes = |c: char| opens(c) || ")）]】:：.．,，-–—".contains(c);
    let bare = text.trim_start_matches(opens);
    let mut chars = bare.chars();
    let first = chars.next().and_then(letter);
    let after = chars.as_str();
    // A letter that goes on as a word is no letter: "Both", "A good question".
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    let first = first.filter(|_| !goes_on(after));
    if let Some(first) = first {
        let words = option_at(after.trim_start_matches(closes), shown);
        let alone = !goes_on(after.trim_start_matches(' '));
        return words.or(alone.then_some(first));
    }
    let mut in_brackets = text.match_indices(['(', '（']).filter_map(|(at, bracket)| {
        let mut after = text[at + bracket.len()..].chars();
        let at = after.next().and_then(letter)?;
        after.next().filter(|c| ")）".contains(*c)).map(|_| at)
    });
    option_at(bare, shown).or_else(|| in_brackets.next())
}

/// The option whose text a text begins with, whatever the case.
fn option_at(text: &str, shown: &[&str]) -> Option<usize> {
    let lower = text.to_lowercase();
    shown.iter().position(|option| {
        let rest = lower.strip_prefix(&option.to_lowercase());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
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
            ("A good question", None),
            ("A\n\nBecause", Some(0)),
            ("A: no, that is wrong", Some(1)),
            ("B yes", Some(0)),
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
            not_shown: None,
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
        let shown = PresentedOptions {
            options: &options,
            reversed: true,
            layout: &layout,
        };
        let found = shown.stances(&Distribution::from_weights(vec![0.5, 0.3, 0.2]).unwrap());
        let found = found.unwrap();
        for (a, b) in found.probabilities().iter().zip([0.2, 0.3, 0.5]) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}
