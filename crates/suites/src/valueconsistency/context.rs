//! What every measure is taken with: settings, which topic each question belongs to, and topics resampled once.

use super::plan::Place;
use crate::Settings;
use concord_questions::QuestionSet;
use concord_stats::{ClusterResamples, Clustered, Scale, bca_mean, clustered};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Resamples of topics where no other number is asked for.
const RESAMPLES: usize = 4999;
/// The level of all intervals.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// What every measure is taken with.
#[derive(Debug)]
pub struct Context {
    /// Settings of the statistics.
    pub settings: Settings,
    /// The cluster of each question, by file and row.
    clusters: Vec<Vec<usize>>,
    /// How many clusters there are.
    count: usize,
    /// Resamples by the number of clusters.
    resamples: Mutex<HashMap<usize, Arc<ClusterResamples>>>,
}

impl Context {
    /// For the questions of a set. All translations of a topic, and all files that ask about it, are one cluster: what was drawn is
    /// topics, and neither a translation nor a phrasing is a draw of its own.
    pub fn new(set: &QuestionSet, settings: Settings) -> Self {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut clusters = Vec::with_capacity(set.files.len());
        for file in &set.files {
            let mut of_file = Vec::with_capacity(file.questions.len());
            for question in &file.questions {
                let name = question.topic_name().trim().to_lowercase();
                let next = numbers.len();
                of_file.push(*numbers.entry(name).or_insert(next));
            }
            clusters.push(of_file);
        }
        Self {
            settings,
            clusters,
            count: numbers.len(),
            resamples: Mutex::default(),
        }
    }

    /// The cluster of a question.
    pub(crate) fn cluster(&self, (file, row): Place) -> usize {
        self.clusters[file][row]
    }

    /// A statistic of sums over questions, with its interval by topic and its test against a null value.
    pub(crate) fn of_sums<const K: usize>(
        &self,
        rows: impl IntoIterator<Item = (Place, [f64; K])>,
        statistic: impl Fn(&[f64; K]) -> f64,
        null: f64,
        scale: Scale,
    ) -> Clustered {
        let mut sums = vec![[0.0; K]; self.count];
        let mut seen = vec![false; self.count];
        for (place, values) in rows {
            let cluster = self.cluster(place);
            seen[cluster] = true;
            for (sum, value) in sums[cluster].iter_mut().zip(values) {
                *sum += value;
            }
        }
        let mut present = seen.iter();
        sums.retain(|_| present.next().copied().unwrap_or(false));
        let resamples = self.resampled(sums.len());
        clustered(&sums, statistic, null, scale, CONFIDENCE, &resamples)
    }

    /// The mean of distances of questions.
    pub(crate) fn mean(&self, distances: impl IntoIterator<Item = (Place, f64)>) -> Clustered {
        self.mean_on(Scale::Log, distances)
    }

    /// The mean of differences of questions.
    pub(crate) fn mean_difference(
        &self,
        differences: impl IntoIterator<Item = (Place, f64)>,
    ) -> Clustered {
        self.mean_on(Scale::Plain, differences)
    }

    fn mean_on(&self, scale: Scale, values: impl IntoIterator<Item = (Place, f64)>) -> Clustered {
        let rows = values
            .into_iter()
            .map(|(place, value)| (place, [value, 1.0]));
        self.of_sums(rows, |[sum, count]| sum / count, 0.0, scale)
    }

    /// The interval that the study gives, where it is asked for: every value is taken for a draw of its own.
    pub(crate) fn study_interval(&self, values: &[f64]) -> Option<[f64; 2]> {
        let Settings {
            resamples, seed, ..
        } = self.settings;
        self.settings.study_intervals.then(|| {
            let interval = bca_mean(values, CONFIDENCE, resamples, seed);
            [interval.low, interval.high]
        })
    }

    /// Resamples are drawn outside of the lock: drawing takes turns with other work of the pool, which may want them too.
    fn resampled(&self, clusters: usize) -> Arc<ClusterResamples> {
        let known = || {
            self.resamples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(drawn) = known().get(&clusters) {
            return Arc::clone(drawn);
        }
        let Settings {
            resamples, seed, ..
        } = self.settings;
        let count = resamples.unwrap_or(RESAMPLES);
        let drawn = Arc::new(ClusterResamples::new(clusters, count, seed));
        Arc::clone(known().entry(clusters).or_insert(drawn))
    }
}

/// The ends of an interval, which are no numbers where it has none.
pub(crate) fn ends(found: &Clustered) -> [f64; 2] {
    found.ends.unwrap_or([f64::NAN; 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_questions::demo;

    #[test]
    fn translations_and_phrasings_of_a_topic_are_one_cluster() {
        let set = demo().unwrap();
        let context = Context::new(&set, Settings::default());
        let mut names: Vec<&str> = set
            .files
            .iter()
            .flat_map(|f| &f.questions)
            .map(concord_questions::Question::topic_name)
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(context.count, names.len());
        // Answers of one topic that are all alike are one draw: as wide as if each topic had one answer.
        let places = || {
            (0..set.files.len())
                .flat_map(|file| (0..set.files[file].questions.len()).map(move |row| (file, row)))
        };
        let value = |place: Place| f64::from(u32::try_from(context.cluster(place)).unwrap() % 3);
        let all = context.mean(places().map(|place| (place, value(place))));
        let mut seen = std::collections::BTreeSet::new();
        let once = context.mean(
            places()
                .filter(|place| seen.insert(context.cluster(*place)))
                .map(|place| (place, value(place))),
        );
        let width = |found: &Clustered| found.ends.map(|[low, high]| high - low).unwrap();
        assert_eq!(all.clusters, once.clusters);
        assert!(
            (width(&all) / width(&once) - 1.0).abs() < 0.2,
            "{all:?} {once:?}"
        );
    }
}
