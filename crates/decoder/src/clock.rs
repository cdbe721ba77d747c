//! Where the time of passes goes.

use concord_kernels::{Engine, Gpu, Mark};
use std::sync::Arc;
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
    /// Activations, where they are no part of a product: on GPUs.
    Activation,
}

/// Seconds spent on each kind of work. A GPU works while the host goes on: there they are taken between points of its work, and
/// only where that is asked for ([`Gpu::set_timed`]), since points cost time.
#[derive(Default)]
pub struct Times {
    spent: [Duration; 6],
    gpu: Option<Arc<Gpu>>,
    /// What is not added up yet.
    marks: Vec<(Work, Mark, Mark)>,
}

/// Points that wait to be added up.
const MOST_MARKS: usize = 1 << 12;

impl Times {
    /// Of work on a device.
    pub fn on(engine: &Engine) -> Self {
        Self {
            gpu: engine.gpu().cloned(),
            ..Self::default()
        }
    }

    /// Runs something and adds its time.
    pub fn of<R>(&mut self, work: Work, run: impl FnOnce() -> R) -> R {
        let Some(gpu) = &self.gpu else {
            let begun = Instant::now();
            let result = run();
            self.spent[work as usize] += begun.elapsed();
            return result;
        };
        if !gpu.is_timed() {
            return run();
        }
        let begun = gpu.mark();
        let result = run();
        // A time that cannot be taken is no reason to stop.
        if let (Ok(begun), Ok(ended)) = (begun, gpu.mark()) {
            self.marks.push((work, begun, ended));
        }
        if self.marks.len() >= MOST_MARKS {
            self.settle();
        }
        result
    }

    /// Waits for the device and adds up what is left.
    pub fn settle(&mut self) {
        for (work, begun, ended) in self.marks.drain(..) {
            let seconds = ended.seconds_since(&begun).unwrap_or(0.0);
            self.spent[work as usize] += Duration::from_secs_f64(seconds.max(0.0));
        }
        // They lie within what was taken for products.
        let activations = self.gpu.as_ref().map(|gpu| gpu.activation_marks());
        for (begun, ended) in activations.into_iter().flatten() {
            let seconds = ended.seconds_since(&begun).unwrap_or(0.0);
            let spent = Duration::from_secs_f64(seconds.max(0.0));
            let products = &mut self.spent[Work::Products as usize];
            *products = products.saturating_sub(spent);
            self.spent[Work::Activation as usize] += spent;
        }
    }

    /// Whether times were taken at all.
    pub fn are_known(&self) -> bool {
        self.spent.iter().any(|spent| !spent.is_zero())
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
