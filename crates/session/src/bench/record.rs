//! What was measured, and how it compares.

use concord_decoder::{Times, Work};
use concord_scorer::human;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A run is slower than a baseline where its rows a second are below this share of the baseline's...
const SLOWER_RATE: f64 = 0.93;
/// ...and its share of what registers do is below this share of the baseline's.
const SLOWER_SHARE: f64 = 0.96;

fn cpu() -> String {
    "cpu".to_owned()
}

/// What was measured. Rates are by wall-clock time of the passes, tokenising and loading not included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The checkpoint shape.
    pub preset: String,
    /// What products multiply; sums are `f32`.
    pub dtype: String,
    /// The device.
    #[serde(default = "cpu")]
    pub device: String,
    /// The instructions that products run on.
    pub products: String,
    /// The schedule.
    pub schedule: String,
    /// Prompts asked: chat form, both option orders.
    pub prompts: u64,
    /// Tokens of all prompts and continuations.
    pub tokens_asked: u64,
    /// `tokens_asked` over `prompts`: the preset's tokenizer is trained on the questions, so this says how it compares.
    pub tokens_per_prompt: f64,
    /// Distinct prefixes.
    pub trie_rows: u64,
    /// Rows that went through the decoder.
    pub rows_computed: u64,
    /// Rows computed over rows of the trie; exactly 1.
    pub rows_per_trie_row: f64,
    /// Rows that went through the head.
    pub rows_read: u64,
    /// Passes.
    pub passes: u64,
    /// Operations of the matrix products.
    pub product_flops: u64,
    /// Seconds of making and packing or uploading the weights.
    #[serde(default)]
    pub load_seconds: f64,
    /// Seconds of planning: tokenising and laying out the trie.
    pub plan_seconds: f64,
    /// Seconds of the passes, the best of the repeats.
    pub seconds: f64,
    /// How often it was run.
    pub repeats: usize,
    /// Prompts a second.
    pub prompts_per_s: f64,
    /// Rows a second.
    pub rows_per_s: f64,
    /// Where the seconds went; what is missing to the whole is everything else.
    pub shares: Shares,
    /// Operations of the run's products over its seconds.
    pub flops_per_s: f64,
    /// Operations a second of a layer's products alone, same shapes, best of five, measured in this run.
    pub product_flops_per_s: f64,
    /// The same for at least three seconds one after the other, on a GPU: what a run of many passes can reach. Absent on a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained_flops_per_s: Option<f64>,
    /// The clock of the device at the end of that, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained_clock_mhz: Option<u32>,
    /// What the device drew then, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained_watts: Option<f64>,
    /// Operations a second that the processor does at most with numbers that stay in registers, measured in this run.
    pub peak_flops_per_s: f64,
    /// `flops_per_s` over `sustained_flops_per_s`, or over `product_flops_per_s` where that was not measured.
    pub share_of_product_rate: f64,
    /// The process's peak resident memory in bytes; 0 where the system does not say.
    pub peak_bytes: u64,
    /// What the memory plan allowed for, in bytes.
    pub planned_bytes: u64,
    /// Layers read: as many as there are, where each is read once.
    pub layers_read: u64,
    /// Threads.
    pub threads: usize,
    /// The processor, as the system names it.
    pub processor: String,
}

/// Shares of a run's time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Shares {
    /// Products of layers, with what is done while their sums are in cache.
    pub products: f64,
    /// Attention.
    pub attention: f64,
    /// Norms and the residual stream.
    pub norms: f64,
    /// Rotation of queries and keys.
    pub rope: f64,
    /// The head and what is read of its logits.
    pub head: f64,
    /// Activations, where they are no part of a product.
    #[serde(default)]
    pub activation: f64,
    /// Everything else.
    pub other: f64,
}

impl Shares {
    pub(super) fn of(times: &Times, seconds: f64) -> Self {
        let share = |work: Work| times.seconds(work) / seconds;
        let mut shares = Self {
            products: share(Work::Products),
            attention: share(Work::Attention),
            norms: share(Work::Norms),
            rope: share(Work::Rope),
            head: share(Work::Head),
            activation: share(Work::Activation),
            other: 0.0,
        };
        let named = [
            shares.products,
            shares.attention,
            shares.norms,
            shares.rope,
            shares.head,
            shares.activation,
        ];
        shares.other = 1.0 - named.iter().sum::<f64>();
        shares
    }

    fn human(&self) -> String {
        let all = [
            ("products", self.products),
            ("activation", self.activation),
            ("attention", self.attention),
            ("norms", self.norms),
            ("rope", self.rope),
            ("head", self.head),
            ("other", self.other),
        ];
        // Activations are a part of products on a processor.
        let is_apart = |(name, share): &(&str, f64)| *name != "activation" || *share > 0.0;
        let named = all.iter().filter(|one| is_apart(one));
        let named = named.map(|(name, share)| format!("{name} {:.1} %", 100.0 * share));
        named.collect::<Vec<_>>().join(", ")
    }
}

impl Record {
    /// Why times and counts of another record say nothing about this one.
    fn differs(&self, before: &Self, counts_only: bool) -> Option<String> {
        let asked = |record: &Self| {
            let Self {
                preset,
                schedule,
                prompts,
                tokens_asked,
                ..
            } = record;
            format!("{preset}, {schedule}, {prompts} prompts of {tokens_asked} tokens")
        };
        let how = |record: &Self| {
            let Self {
                dtype,
                device,
                products,
                processor,
                threads,
                ..
            } = record;
            if device == "cpu" {
                return format!("{dtype} by {products} on {threads} threads");
            }
            format!("{dtype} by {products} on {device}, {processor}")
        };
        let differ = |what: &dyn Fn(&Self) -> String| {
            let (now, then) = (what(self), what(before));
            (now != then).then(|| format!("the baseline is of {then}, this is {now}"))
        };
        differ(&asked).or_else(|| differ(&how).filter(|_| !counts_only))
    }

    /// What is worse than in a record of before: counts that differ at all, and, unless `counts_only`, a rate that is lower
    /// beyond noise. Machines are noisy and shared, so a rate counts as lower where rows a second are, and the share of what
    /// the processor's registers do in the same run is too.
    ///
    /// # Errors
    /// Why the two cannot be compared.
    pub fn regressions(&self, before: &Self, counts_only: bool) -> Result<Vec<String>, String> {
        if let Some(problem) = self.differs(before, counts_only) {
            return Err(problem);
        }
        let mut worse = Vec::new();
        for (name, now, then) in [
            ("rows of the trie", self.trie_rows, before.trie_rows),
            ("rows computed", self.rows_computed, before.rows_computed),
            ("rows read", self.rows_read, before.rows_read),
            ("passes", self.passes, before.passes),
            (
                "product operations",
                self.product_flops,
                before.product_flops,
            ),
            ("layers read", self.layers_read, before.layers_read),
        ] {
            if now != then {
                worse.push(format!("{name}: {now}, was {then}"));
            }
        }
        let slower = self.rows_per_s < SLOWER_RATE * before.rows_per_s
            && self.share_of_peak() < SLOWER_SHARE * before.share_of_peak();
        if slower && !counts_only {
            worse.push(format!(
                "rows/s: {:.0}, was {:.0}; share of what registers do: {:.0} %, was {:.0} %",
                self.rows_per_s,
                before.rows_per_s,
                100.0 * self.share_of_peak(),
                100.0 * before.share_of_peak()
            ));
        }
        Ok(worse)
    }

    /// Operations a second over what the processor does at most.
    fn share_of_peak(&self) -> f64 {
        self.flops_per_s / self.peak_flops_per_s
    }

    /// A table for people.
    pub fn human(&self) -> String {
        let lines = [
            ("preset", self.preset.clone()),
            (
                "processor",
                format!(
                    "{}, {} threads, {} products by {}, {}",
                    self.processor, self.threads, self.dtype, self.products, self.schedule
                ),
            ),
            ("prompts", self.prompts.to_string()),
            (
                "tokens asked",
                format!(
                    "{}, {:.1} a prompt",
                    self.tokens_asked, self.tokens_per_prompt
                ),
            ),
            ("trie rows", self.trie_rows.to_string()),
            (
                "rows computed",
                format!("{} in {} passes", self.rows_computed, self.passes),
            ),
            ("rows / trie", format!("{:.2}", self.rows_per_trie_row)),
            ("planning", format!("{:.2} s", self.plan_seconds)),
            (
                "passes",
                format!("{:.2} s, best of {}", self.seconds, self.repeats),
            ),
            ("prompts/s", format!("{:.1}", self.prompts_per_s)),
            ("rows/s", format!("{:.0}", self.rows_per_s)),
            ("GFLOP/s", format!("{:.1}", self.flops_per_s / 1e9)),
            (
                "product GFLOP/s",
                format!(
                    "{:.1}, {}",
                    self.product_flops_per_s / 1e9,
                    share(
                        self.product_flops_per_s / self.peak_flops_per_s,
                        " of what registers do"
                    )
                ),
            ),
            ("sustained", self.sustained()),
            ("share", share(self.share_of_product_rate, "")),
            ("time", self.shares.human()),
            (
                "peak memory",
                format!(
                    "{}, planned {}",
                    human(self.peak_bytes),
                    human(self.planned_bytes)
                ),
            ),
        ];
        let mut text = String::new();
        // Of what was only counted no time is known.
        let is_timed = self.seconds > 0.0;
        let counted = [
            "preset",
            "processor",
            "prompts",
            "tokens asked",
            "trie rows",
            "rows computed",
            "rows / trie",
            "planning",
        ];
        let is_known = |(name, value): &&(&str, String)| {
            !value.is_empty() && (is_timed || counted.contains(name))
        };
        for (name, value) in lines.iter().filter(is_known) {
            let _ = writeln!(text, "{name:<16} {value}");
        }
        text
    }

    /// What products did for long, with the clock and the power that they did it at; empty where that was not measured.
    fn sustained(&self) -> String {
        let Some(rate) = self.sustained_flops_per_s else {
            return String::new();
        };
        let mut text = format!("{:.1} GFLOP/s", rate / 1e9);
        if let Some(clock) = self.sustained_clock_mhz {
            let _ = write!(text, ", {clock} MHz");
        }
        if let Some(watts) = self.sustained_watts {
            let _ = write!(text, ", {watts:.0} W");
        }
        text
    }
}

/// A share of a ceiling that was measured in the same run. More than all of it means that others used the machine meanwhile.
fn share(share: f64, of: &str) -> String {
    if share > 1.05 {
        format!("more than the ceiling{of}: the machine was busy while that was measured")
    } else {
        format!("{:.0} %{of}", 100.0 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            preset: "p".into(),
            dtype: "bf16".into(),
            device: cpu(),
            load_seconds: 0.5,
            products: "amx".into(),
            schedule: "pass-major".into(),
            prompts: 10,
            tokens_asked: 100,
            tokens_per_prompt: 10.0,
            trie_rows: 40,
            rows_computed: 40,
            rows_per_trie_row: 1.0,
            rows_read: 12,
            passes: 1,
            product_flops: 1000,
            plan_seconds: 0.1,
            seconds: 2.0,
            repeats: 1,
            prompts_per_s: 5.0,
            rows_per_s: 20.0,
            shares: Shares {
                products: 0.8,
                attention: 0.1,
                norms: 0.02,
                rope: 0.02,
                head: 0.03,
                activation: 0.0,
                other: 0.03,
            },
            flops_per_s: 500.0,
            product_flops_per_s: 600.0,
            sustained_flops_per_s: None,
            sustained_clock_mhz: None,
            sustained_watts: None,
            peak_flops_per_s: 700.0,
            share_of_product_rate: 0.83,
            peak_bytes: 1,
            planned_bytes: 1,
            layers_read: 3,
            threads: 2,
            processor: "x".into(),
        }
    }

    #[test]
    fn counts_are_compared_exactly_and_times_beyond_noise() {
        let before = record();
        assert_eq!(record().regressions(&before, false), Ok(vec![]));
        let more = Record {
            rows_computed: 41,
            ..record()
        };
        assert_eq!(
            more.regressions(&before, true).unwrap(),
            ["rows computed: 41, was 40"]
        );
        // A busy machine slows the products alone as well.
        let busy = Record {
            rows_per_s: 10.0,
            ..record()
        };
        assert_eq!(busy.regressions(&before, false), Ok(vec![]));
        let slower = Record {
            flops_per_s: 400.0,
            ..busy
        };
        assert_eq!(slower.regressions(&before, false).unwrap().len(), 1);
        assert_eq!(slower.regressions(&before, true), Ok(vec![]));
        let elsewhere = Record {
            threads: 8,
            ..record()
        };
        assert!(elsewhere.regressions(&before, false).is_err());
        assert_eq!(elsewhere.regressions(&before, true), Ok(vec![]));
        let other = Record {
            preset: "q".into(),
            ..record()
        };
        assert!(other.regressions(&before, true).is_err());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = serde_json::to_string(&record()).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(read.regressions(&record(), false), Ok(vec![]));
        assert!(read.human().contains("best of 1"));
    }
}
