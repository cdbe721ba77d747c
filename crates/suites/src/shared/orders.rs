//! The order in which the options of a question are shown.

use super::draw::fnv;

/// A fair coin for one question, the same in every set that has it: FNV-1a over seed, file and text, finished by a 64-bit mixer.
pub(crate) fn draw(seed: u64, file: &str, question: &str) -> bool {
    let seed = seed.to_le_bytes().into_iter();
    let mut hash = fnv(seed.chain(file.bytes()).chain([0]).chain(question.bytes()));
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) & 1 == 1
}

/// In how many orders so many options are shown so that each stands in each place equally often: all turns, forwards and backwards. Of
/// two, both are turns already.
pub(crate) const fn turns(options: usize) -> usize {
    if options > 2 { 2 * options } else { options }
}

/// The option that stands at a place in such an order.
pub(crate) fn turned(options: usize, order: usize, place: usize) -> usize {
    let at = (place + order / 2) % options;
    if order.is_multiple_of(2) {
        at
    } else {
        options - 1 - at
    }
}

#[cfg(test)]
mod tests {
    use super::{draw, turned, turns};

    #[test]
    fn each_option_stands_in_each_place_equally_often() {
        for options in 2..8 {
            let orders: std::collections::BTreeSet<Vec<usize>> = (0..turns(options))
                .map(|order| {
                    (0..options)
                        .map(|place| turned(options, order, place))
                        .collect()
                })
                .collect();
            assert_eq!(orders.len(), turns(options));
            for place in 0..options {
                for option in 0..options {
                    let stands = orders.iter().filter(|order| order[place] == option);
                    assert_eq!(stands.count(), turns(options) / options);
                }
            }
        }
    }

    #[test]
    fn orders_follow_from_seed_and_question_and_are_even() {
        let order = |seed, question: usize| draw(seed, "file", &question.to_string());
        assert_eq!(order(1, 7), order(1, 7));
        let reversed = (0..1000).filter(|question| order(1, *question)).count();
        assert!((430..570).contains(&reversed), "{reversed}");
        assert!((0..100).any(|question| order(1, question) != order(2, question)));
    }
}
