//! Every way in which a vocabulary spells a text, byte for byte.

use concord_checkpoint::Vocabulary;
use concord_readings::End;

/// The tokens of a vocabulary that are text, by their bytes, and those that decide whether a text ends.
#[derive(Debug, Default)]
pub(crate) struct Alphabet {
    /// The bytes of all tokens.
    bytes: Vec<u8>,
    /// In the order of their bytes, then of their ids.
    pieces: Vec<Piece>,
    /// Tokens that begin with an ASCII digit, by id.
    digits: Vec<u32>,
    /// All others than those that begin with a letter, by id.
    no_letters: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
    token: u32,
}

/// The spellings of a text that are kept, and how many there are beside them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spellings {
    pub kept: Vec<Vec<u32>>,
    pub left_out: usize,
}

/// A spelling of what follows a place: a token, and the spelling of what follows it by rank.
#[derive(Clone, Copy)]
struct Step {
    /// Tokens to the end.
    tokens: usize,
    token: u32,
    next: usize,
    rank: usize,
}

impl Alphabet {
    /// Reads the whole vocabulary once.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let ids = (0..).take(vocabulary.size());
        Self::of(ids.map(|token| vocabulary.token_bytes(token)))
    }

    /// Of the bytes of each token, by id; none of marks.
    pub fn of(tokens: impl Iterator<Item = Option<Vec<u8>>>) -> Self {
        let mut alphabet = Self::default();
        for (token, text) in (0..).zip(tokens) {
            let text = text.unwrap_or_default();
            if text.first().is_some_and(u8::is_ascii_digit) {
                alphabet.digits.push(token);
            }
            let first = text.utf8_chunks().next();
            let first = first.and_then(|chunk| chunk.valid().chars().next());
            if !first.is_some_and(char::is_alphabetic) {
                alphabet.no_letters.push(token);
            }
            if text.is_empty() {
                continue;
            }
            let start = alphabet.bytes.len();
            alphabet.bytes.extend(text);
            let end = alphabet.bytes.len();
            alphabet.pieces.push(Piece { start, end, token });
        }
        let bytes = &alphabet.bytes;
        let key = |piece: &Piece| (&bytes[piece.start..piece.end], piece.token);
        alphabet.pieces.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        alphabet
    }

    /// The tokens whose probability decides whether a text ends: those that would go on with it where these are few, else those that
    /// end it, since what is left of nearly 1 is known badly.
    pub fn deciding(&self, end: End) -> &[u32] {
        match end {
            End::Any => &[],
            End::Digit => &self.digits,
            End::Letter => &self.no_letters,
        }
    }

    /// The probability that a text ends, by the log-probabilities of the tokens that decide it; summed in their order.
    pub fn ended(end: End, deciding: &[f64]) -> f64 {
        let mass: f64 = deciding.iter().map(|log_prob| log_prob.exp()).sum();
        let ended = match end {
            End::Any => 1.0,
            End::Digit => 1.0 - mass,
            End::Letter => mass,
        };
        ended.clamp(0.0, 1.0)
    }

    /// The tokens that a text begins with, as lengths and ids: the longest first, of one length by id.
    fn beginning(&self, text: &[u8]) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        let mut pieces = &self.pieces[..];
        for (place, byte) in text.iter().enumerate() {
            // All pieces agree with the text before this place. What has no byte here comes first.
            let at = |piece: &Piece| self.bytes[piece.start..piece.end].get(place).copied();
            let first = pieces.partition_point(|piece| at(piece) < Some(*byte));
            let end = pieces.partition_point(|piece| at(piece) <= Some(*byte));
            pieces = &pieces[first..end];
            let whole = pieces
                .iter()
                .take_while(|piece| piece.end - piece.start == place + 1);
            found.extend(whole.map(|piece| (place + 1, piece.token)));
            if pieces.is_empty() {
                break;
            }
        }
        found.sort_by_key(|(length, token)| (std::cmp::Reverse(*length), *token));
        found
    }

    /// The spellings of a text, at most so many: the fewest tokens first, of as many those whose first token is longer, then those whose
    /// first token has the lower id, and so on.
    pub fn spellings(&self, text: &str, most: usize) -> Spellings {
        let text = text.as_bytes();
        let mut best: Vec<Vec<Step>> = vec![Vec::new(); text.len() + 1];
        let mut count = vec![0usize; text.len() + 1];
        count[text.len()] = 1;
        best[text.len()] = vec![Step {
            tokens: 0,
            token: 0,
            next: 0,
            rank: 0,
        }];
        // The best from a place on go on with the best from a later place on.
        for place in (0..text.len()).rev() {
            let mut steps = Vec::new();
            for (length, token) in self.beginning(&text[place..]) {
                let next = place + length;
                count[place] = count[place].saturating_add(count[next]);
                let ranked = best[next].iter().enumerate();
                steps.extend(ranked.map(|(rank, rest)| Step {
                    tokens: 1 + rest.tokens,
                    token,
                    next,
                    rank,
                }));
            }
            steps.sort_by_key(|step| step.tokens);
            steps.truncate(most);
            best[place] = steps;
        }
        let kept: Vec<Vec<u32>> = best[0]
            .iter()
            .map(|first| {
                let mut step = *first;
                let mut tokens = Vec::with_capacity(step.tokens);
                while step.tokens > 0 {
                    tokens.push(step.token);
                    step = best[step.next][step.rank];
                }
                tokens
            })
            .collect();
        let left_out = count[0].saturating_sub(kept.len());
        Spellings { kept, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alphabet(tokens: &[&[u8]]) -> Alphabet {
        Alphabet::of(tokens.iter().map(|text| Some(text.to_vec())))
    }

    #[test]
    fn the_fewest_tokens_come_first() {
        let alphabet = alphabet(&[b"1", b"0", b"10", b" 1", b" ", b"a", b"1"]);
        let kept = |text: &str| alphabet.spellings(text, 64).kept;
        assert_eq!(kept("10"), [vec![2], vec![0, 1], vec![6, 1]]);
        assert_eq!(
            kept(" 10"),
            [vec![3, 1], vec![4, 2], vec![4, 0, 1], vec![4, 6, 1],]
        );
        assert!(kept("2").is_empty() && kept("12").is_empty());
    }

    #[test]
    fn bytes_of_a_character_may_be_tokens_of_their_own() {
        let alphabet = alphabet(&["é".as_bytes(), &[0xC3], &[0xA9], &[0xC3, 0x80], b"9th"]);
        assert_eq!(alphabet.spellings("é", 64).kept, [vec![0], vec![1, 2]]);
        // A part of a character is no letter.
        assert_eq!(alphabet.deciding(End::Letter), [1, 2, 4]);
        assert_eq!(alphabet.deciding(End::Digit), [4]);
        assert!(alphabet.deciding(End::Any).is_empty());
    }

    #[test]
    fn what_goes_on_does_not_end() {
        let about = |end: End, deciding: &[f64], expected: f64| {
            let deciding: Vec<f64> = deciding.iter().map(|p| p.ln()).collect();
            let found = Alphabet::ended(end, &deciding);
            assert!((found - expected).abs() < 1e-15, "{found}");
        };
        about(End::Digit, &[0.25, 0.5], 0.25);
        about(End::Letter, &[0.25, 0.5], 0.75);
        about(End::Letter, &[1e-30], 1e-30);
        about(End::Digit, &[1.0, 1e-9], 0.0);
        about(End::Letter, &[1.0, 1e-9], 1.0);
        about(End::Letter, &[], 0.0);
        about(End::Any, &[], 1.0);
        assert!(Alphabet::ended(End::Digit, &[f64::NAN]).is_nan());
    }

    #[test]
    fn what_is_beyond_the_most_is_counted() {
        let alphabet = alphabet(&[b"a", b"aa"]);
        // Fibonacci numbers of ways.
        let found = alphabet.spellings(&"a".repeat(10), 64);
        assert_eq!((found.kept.len(), found.left_out), (64, 89 - 64));
        assert_eq!(found.kept[0], [1; 5]);
        assert!(found.kept.is_sorted_by_key(Vec::len));
        let found = alphabet.spellings(&"a".repeat(1024), 64);
        assert_eq!((found.kept.len(), found.left_out), (64, usize::MAX - 64));
    }

    /// Every sequence of tokens that spells a text, found one by one.
    fn all(tokens: &[Vec<u8>], text: &[u8]) -> Vec<Vec<u32>> {
        if text.is_empty() {
            return vec![vec![]];
        }
        let numbered = (0u32..).zip(tokens);
        let begun = numbered.filter(|(_, token)| !token.is_empty() && text.starts_with(token));
        begun
            .flat_map(|(id, token)| {
                let rest = all(tokens, &text[token.len()..]);
                rest.into_iter()
                    .map(move |rest| [&[id][..], &rest].concat())
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_spelling_is_found_once(
            tokens in prop::collection::vec("[ab]{0,3}", 0..8), text in "[ab]{1,8}", most in 1usize..70,
        ) {
            let tokens: Vec<Vec<u8>> = tokens.into_iter().map(String::into_bytes).collect();
            let alphabet = Alphabet::of(tokens.iter().cloned().map(Some));
            let mut expected = all(&tokens, text.as_bytes());
            let found = alphabet.spellings(&text, most);
            prop_assert_eq!(found.kept.len() + found.left_out, expected.len());
            prop_assert_eq!(found.kept.len(), expected.len().min(most));
            let length = |id: &u32| std::cmp::Reverse(tokens[*id as usize].len());
            expected.sort_by_cached_key(|ids| {
                (ids.len(), ids.iter().map(|id| (length(id), *id)).collect::<Vec<_>>())
            });
            expected.truncate(most);
            prop_assert_eq!(found.kept, expected);
        }
    }
}
