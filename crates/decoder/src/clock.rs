//! Where the time of passes goes.

use std::time::{Duration, Instant};

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The matrix products of layers, with what is done while their sums are in cache.
    Products,
    /// Attention.
    Attention,
    /// Norms, and additions to the residual stream that are no product's.
    Norms,
    /// Rotation of queries and keys.
    Rope,
    /// The head: its product, and what is read of its logits.
    Head,
}

/// Seconds spent on each kind of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    spent: [Duration; 5],
}

impl Times {
    /// Runs something and adds its time.
    pub fn of<R>(&mut self, work: Work, run: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = run();
        self.spent[work as usize] += begun.elapsed();
        result
    }

    /// Adds other times.
    pub fn add(&mut self, other: &Self) {
        for (spent, more) in self.spent.iter_mut().zip(other.spent) {
            *spent += more;
        }
    }

    /// Seconds spent on a kind of work.
    pub fn seconds(&self, work: Work) -> f64 {
        self.spent[work as usize].as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_sum() {
        let mut times = Times::default();
        let answer = times.of(Work::Norms, || {
            std::thread::sleep(Duration::from_millis(2));
            7
        });
        assert_eq!(answer, 7);
        assert!(times.seconds(Work::Norms) >= 0.002);
        assert!(times.seconds(Work::Products) == 0.0);
    }
}
