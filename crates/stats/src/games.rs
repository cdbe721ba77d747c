//! What an opponent who knows a mixed strategy wins against it.

/// What the best answer to a strategy at rock-paper-scissors wins a round on average, for 1 point a win and −1 a loss: 0 at
/// uniform, 1 at most.
///
/// # Shapes
/// Probabilities of rock, paper and scissors.
///
/// # Source
/// `max_a Σ_b p_b u(a, b)`: rock wins `p_S − p_P`, paper `p_R − p_S`, scissors `p_P − p_R`. The value of the game is 0, so
/// this is the strategy's exploitability.
pub fn exploitability([rock, paper, scissors]: [f64; 3]) -> f64 {
    let answers = [scissors - paper, rock - scissors, paper - rock];
    answers.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// What a seeker who knows where a hider likes to hide gains over one who looks anywhere: `max p − 1/n`.
pub fn excess_of_largest(p: &[f64]) -> f64 {
    let largest = p.iter().copied().fold(0.0, f64::max);
    largest - 1.0 / p.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_answer_wins_what_it_wins() {
        assert!((exploitability([0.5, 0.3, 0.2]) - 0.3).abs() < 1e-15);
        assert!(exploitability([1.0 / 3.0; 3]).abs() < 1e-15);
        assert!((exploitability([0.0, 1.0, 0.0]) - 1.0).abs() < 1e-15);
        assert!((excess_of_largest(&[0.7, 0.1, 0.1, 0.1]) - 0.45).abs() < 1e-15);
    }
}
