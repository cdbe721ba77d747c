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

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn orders_follow_from_seed_and_question_and_are_even() {
        let order = |seed, question: usize| draw(seed, "file", &question.to_string());
        assert_eq!(order(1, 7), order(1, 7));
        let reversed = (0..1000).filter(|question| order(1, *question)).count();
        assert!((430..570).contains(&reversed), "{reversed}");
        assert!((0..100).any(|question| order(1, question) != order(2, question)));
    }
}
