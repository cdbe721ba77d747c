//! How different texts are from each other. Texts are lists of words; what a word is, the caller says.
//!
//! None of these says whether a text is original or pleasant.

use std::collections::{BTreeMap, BTreeSet};

/// The share of different ones among all runs of `n` words, over all texts together; absent where there is none.
///
/// It falls with the number of words, so that only texts of like length and number can be compared.
///
/// # Source
/// Li et al. 2016 (distinct-n).
pub fn distinct_share(texts: &[Vec<&str>], n: usize) -> Option<f64> {
    let runs = texts.iter().flat_map(|text| text.windows(n.max(1)));
    let (all, different): (usize, BTreeSet<&[&str]>) =
        runs.fold((0, BTreeSet::new()), |(all, mut different), run| {
            different.insert(run);
            (all + 1, different)
        });
    (all > 0).then(|| different.len() as f64 / all as f64)
}

/// The mean BLEU of each text against all others: 1 for copies, near 0 for texts without a common run of words. Absent below two
/// texts with words.
///
/// # Numerics
/// Runs of one to four words with equal weights, the brevity penalty against the nearest length; from two words on, one is
/// added to both counts, so that a short text without a common run is not 0 at once.
///
/// # Source
/// Zhu et al. 2018 (self-BLEU); Papineni et al. 2002; smoothing of Lin and Och 2004.
pub fn self_bleu(texts: &[Vec<&str>]) -> Option<f64> {
    let texts: Vec<&Vec<&str>> = texts.iter().filter(|text| !text.is_empty()).collect();
    if texts.len() < 2 {
        return None;
    }
    let scores = (0..texts.len()).map(|at| {
        let others: Vec<&[&str]> = (0..texts.len())
            .filter(|other| *other != at)
            .map(|other| texts[other].as_slice())
            .collect();
        bleu(texts[at], &others)
    });
    Some(scores.sum::<f64>() / texts.len() as f64)
}

const LONGEST_RUN: usize = 4;

fn runs<'a>(text: &'a [&'a str], n: usize) -> BTreeMap<&'a [&'a str], usize> {
    let mut counts = BTreeMap::new();
    for run in text.windows(n) {
        *counts.entry(run).or_insert(0) += 1;
    }
    counts
}

fn bleu(text: &[&str], others: &[&[&str]]) -> f64 {
    let mut log_score = 0.0;
    for n in 1..=LONGEST_RUN {
        let of_others: Vec<_> = others.iter().map(|other| runs(other, n)).collect();
        let (mut found, mut all) = (0, 0);
        for (run, count) in runs(text, n) {
            let most = of_others.iter().filter_map(|of| of.get(run)).max();
            found += count.min(most.copied().unwrap_or(0));
            all += count;
        }
        let added = usize::from(n > 1);
        if found + added == 0 {
            return 0.0;
        }
        log_score += ((found + added) as f64 / (all + added) as f64).ln() / LONGEST_RUN as f64;
    }
    let length = text.len();
    let nearest = others
        .iter()
        .map(|other| other.len())
        .min_by_key(|other| (other.abs_diff(length), *other));
    let nearest = nearest.unwrap_or(length) as f64;
    let brevity = (1.0 - nearest / length as f64).min(0.0).exp();
    brevity * log_score.exp()
}

/// How many times shorter a text becomes when its repeats are coded: its bits over those of its LZ78 phrases, each the number of
/// a phrase before and a byte. Near 1 for short or varied texts, larger for repetitive ones; absent for an empty text.
///
/// Not comparable with the ratio of any archiver; comparable between texts of like length.
///
/// # Source
/// Ziv and Lempel 1978: `Σ (log₂ k + 8)` bits over phrases `k`.
pub fn compression_ratio(text: &str) -> Option<f64> {
    let mut phrases: BTreeMap<(usize, u8), usize> = BTreeMap::new();
    let (mut at, mut bits) = (0usize, 0.0);
    let mut open = false;
    for byte in text.bytes() {
        if let Some(phrase) = phrases.get(&(at, byte)) {
            at = *phrase;
            open = true;
            continue;
        }
        let number = phrases.len() + 1;
        phrases.insert((at, byte), number);
        bits += (number as f64).log2() + 8.0;
        at = 0;
        open = false;
    }
    if open {
        bits += (phrases.len() as f64 + 1.0).log2();
    }
    (bits > 0.0).then(|| text.len() as f64 * 8.0 / bits)
}

/// How many equally frequent kinds would have the entropy of these counts: `2^H`. Absent where nothing was counted.
///
/// # Source
/// Hill 1973, the diversity number of order 1.
pub fn effective_number(counts: &[usize]) -> Option<f64> {
    let all: usize = counts.iter().sum();
    let shares: Vec<f64> = counts
        .iter()
        .map(|count| *count as f64 / all as f64)
        .collect();
    (all > 0).then(|| crate::entropy_bits(&shares).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&'static str]) -> Vec<Vec<&'static str>> {
        let texts = texts.iter();
        texts.map(|text| text.split(' ').collect()).collect()
    }

    #[test]
    fn different_runs_are_counted() {
        let texts = words(&["a b a", "a b c"]);
        assert_eq!(distinct_share(&texts, 1), Some(0.5));
        // ab, ba, ab, bc
        assert_eq!(distinct_share(&texts, 2), Some(0.75));
        assert_eq!(distinct_share(&texts, 4), None);
    }

    #[test]
    fn copies_are_alike_and_strangers_are_not() {
        let copies = words(&["the sea is wide and blue"; 3]);
        assert!((self_bleu(&copies).unwrap() - 1.0).abs() < 1e-12);
        let strangers = words(&["the sea is wide", "a stone lies here"]);
        assert!(self_bleu(&strangers).unwrap().abs() < 1e-12);
        let between = self_bleu(&words(&["the sea is wide", "the sea is blue"])).unwrap();
        // Precisions 3/4, 3/4, 2/3 and 1/2.
        let expected = (0.75f64 * 0.75 * (2.0 / 3.0) * 0.5).powf(0.25);
        assert!((between - expected).abs() < 1e-12, "{between}");
        assert_eq!(self_bleu(&words(&["alone"])), None);
    }

    #[test]
    fn repetition_is_compressed() {
        let varied = "the quick brown fox jumps over a lazy dog";
        let again = "la ".repeat(200);
        assert!(compression_ratio(varied).unwrap() < 1.1);
        assert!(compression_ratio(&again).unwrap() > 3.0);
        // Phrases a, aa: 8 + 0 and 8 + 1 bits for 24.
        assert!((compression_ratio("aaa").unwrap() - 24.0 / 17.0).abs() < 1e-12);
        assert_eq!(compression_ratio(""), None);
    }

    #[test]
    fn even_counts_count_each() {
        assert!((effective_number(&[3, 3, 3]).unwrap() - 3.0).abs() < 1e-12);
        assert!((effective_number(&[5, 0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(effective_number(&[]), None);
    }
}
