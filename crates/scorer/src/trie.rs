//! All sequences of a run as rows in depth-first order.

use rayon::prelude::*;
use std::cmp::Ordering;
use std::ops::Range;

/// A trie of tokens, one row for each distinct prefix.
///
/// Row `k` is visible to row `q` exactly when `k <= q < ends[k]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trie {
    /// The token of each row.
    pub tokens: Vec<u32>,
    /// The position of each row in its sequences, from 0.
    pub depths: Vec<u32>,
    /// One past the last row of each row's subtree.
    pub ends: Vec<u32>,
    /// Where the sequences of each length class begin; rows of two sections share no path.
    pub sections: Vec<Section>,
}

/// The rows of sequences of one length class, up to the next section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The first row.
    pub start: usize,
    /// What `class` gave for the lengths of its sequences.
    pub length_class: usize,
}

impl Trie {
    /// Lays out sequences; only those of lengths of one `class` share rows. `visit` is told each sequence and its rows, by
    /// depth, in the order of the trie.
    ///
    /// # Panics
    /// Where there are 2^32 rows or more.
    pub fn new(
        sequences: &[(&[u32], &[u32])],
        class: impl Fn(usize) -> usize,
        mut visit: impl FnMut(usize, &[u32]),
    ) -> Self {
        let classes = sequences.iter();
        let classes = classes.map(|(base, appended)| class(base.len() + appended.len()));
        let classes: Vec<usize> = classes.collect();
        let tokens = |index: usize| sequences[index].0.iter().chain(sequences[index].1).copied();
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.par_sort_unstable_by(|a, b| {
            (classes[*a].cmp(&classes[*b]))
                .then_with(|| compared(sequences[*a], sequences[*b]))
                .then(a.cmp(b))
        });
        let mut trie = Self::default();
        let mut path: Vec<u32> = Vec::new();
        for index in order {
            let length_class = classes[index];
            if trie
                .sections
                .last()
                .is_none_or(|section| section.length_class != length_class)
            {
                trie.close(&path);
                path.clear();
                trie.sections.push(Section {
                    start: trie.tokens.len(),
                    length_class,
                });
            }
            // The path is the previous sequence: what is shared with it is shared with all before.
            let shared = path
                .iter()
                .zip(tokens(index))
                .take_while(|(row, token)| trie.tokens[**row as usize] == *token)
                .count();
            trie.close(&path[shared..]);
            path.truncate(shared);
            for token in tokens(index).skip(shared) {
                let row = row_number(trie.tokens.len());
                trie.tokens.push(token);
                trie.depths.push(row_number(path.len()));
                trie.ends.push(0);
                path.push(row);
            }
            visit(index, &path);
        }
        trie.close(&path);
        trie
    }

    /// Ends the subtrees of rows that are left.
    fn close(&mut self, rows: &[u32]) {
        let end = row_number(self.tokens.len());
        for row in rows {
            self.ends[*row as usize] = end;
        }
    }

    /// The rows in order, cut where a section ends and after every `most` rows.
    pub fn cuts(&self, most: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        self.cuts_of(0..self.len(), most)
    }

    /// Some of the rows, cut in the same way from their first on.
    pub fn cuts_of(
        &self,
        rows: Range<usize>,
        most: usize,
    ) -> impl Iterator<Item = (Range<usize>, usize)> {
        self.sections
            .iter()
            .enumerate()
            .flat_map(move |(number, section)| {
                let after = self.sections.get(number + 1);
                let end = after.map_or(self.len(), |next| next.start).min(rows.end);
                (section.start.max(rows.start)..end)
                    .step_by(most)
                    .map(move |start| (start..end.min(start + most), section.length_class))
            })
    }

    /// The rows on the path to a row, by depth, itself not included.
    pub fn path_to(&self, row: usize) -> Vec<u32> {
        let mut wanted = self.depths[row];
        let mut path = Vec::new();
        let mut at = row;
        while wanted > 0 && at > 0 {
            at -= 1;
            if self.depths[at] + 1 == wanted {
                path.push(row_number(at));
                wanted -= 1;
            }
        }
        path.reverse();
        path
    }

    /// The rows in `count` parts of about the same work, each beginning where a path is short, within a twentieth of a part. A row's
    /// work is that of its products, and of attention by its depth.
    pub fn parts(&self, count: usize) -> Vec<Range<usize>> {
        // Products of a layer are about as much work as attention over so many keys.
        const PRODUCTS: u64 = 4096;
        let rows = self.len();
        let mut done = 0u64;
        let until: Vec<u64> = self
            .depths
            .iter()
            .map(|depth| {
                done += PRODUCTS + u64::from(*depth);
                done
            })
            .collect();
        let mut starts = vec![0];
        for part in 1..count {
            let share = done * part as u64 / count as u64;
            let about = until.partition_point(|work| *work < share);
            let slack = rows / count / 20;
            let near = about.saturating_sub(slack)..(about + slack + 1).min(rows);
            let start = near.min_by_key(|row| (self.depths[*row], row.abs_diff(about)));
            starts.push(start.unwrap_or(rows));
        }
        starts.push(rows);
        starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of positions of the longest sequence.
    pub fn positions(&self) -> usize {
        self.depths
            .iter()
            .max()
            .map_or(0, |depth| *depth as usize + 1)
    }
}

/// The order of two sequences, each in two parts.
fn compared(a: (&[u32], &[u32]), b: (&[u32], &[u32])) -> Ordering {
    let shared = a.0.len().min(b.0.len());
    let first = a.0[..shared].cmp(&b.0[..shared]);
    first.then_with(|| {
        let [a, b] = [a, b].map(|(base, appended)| base[shared..].iter().chain(appended));
        a.cmp(b)
    })
}

fn row_number(count: usize) -> u32 {
    assert!(
        u32::try_from(count).is_ok(),
        "a trie holds fewer than 2^32 rows"
    );
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_prefix_is_one_row() {
        let mut rows = vec![Vec::new(); 3];
        let trie = Trie::new(
            &[(&[5, 6], &[7]), (&[5], &[]), (&[5, 6], &[2])],
            |_| 0,
            |i, path| rows[i] = path.to_vec(),
        );
        assert_eq!(trie.tokens, [5, 6, 2, 7]);
        assert_eq!(trie.depths, [0, 1, 2, 2]);
        assert_eq!(trie.ends, [4, 4, 3, 4]);
        assert_eq!(rows, [vec![0, 1, 3], vec![0], vec![0, 1, 2]]);
    }

    #[test]
    fn classes_share_nothing() {
        let class = |length: usize| if length > 2 { 3 } else { 0 };
        let trie = Trie::new(
            &[(&[5, 6, 7], &[]), (&[5, 6], &[]), (&[5, 9], &[])],
            class,
            |_, _| (),
        );
        assert_eq!(trie.tokens, [5, 6, 9, 5, 6, 7]);
        assert_eq!(trie.depths, [0, 1, 1, 0, 1, 2]);
        assert_eq!(trie.ends, [3, 2, 3, 6, 6, 6]);
        let cuts: Vec<_> = trie.cuts(2).collect();
        assert_eq!(cuts, [(0..2, 0), (2..3, 0), (3..5, 3), (5..6, 3)]);
    }

    proptest! {
        #[test]
        fn rows_are_the_distinct_prefixes(
            sequences in prop::collection::vec(prop::collection::vec(0u32..4, 0..12), 0..40), split in 0usize..12,
        ) {
            let halves: Vec<(&[u32], &[u32])> =
                sequences.iter().map(|s| s.split_at(split.min(s.len()))).collect();
            let mut spelt = vec![Vec::new(); sequences.len()];
            let mut paths = vec![Vec::new(); sequences.len()];
            let trie = Trie::new(&halves, |_| 0, |index, path| paths[index] = path.to_vec());
            for (path, spelt) in paths.iter().zip(&mut spelt) {
                *spelt = path.iter().map(|row| trie.tokens[*row as usize]).collect();
            }
            prop_assert_eq!(&spelt, &sequences);
            let prefixes: BTreeSet<&[u32]> =
                sequences.iter().flat_map(|s| (1..=s.len()).map(move |n| &s[..n])).collect();
            prop_assert_eq!(trie.len(), prefixes.len());
            // The mask shows a row its path and nothing else.
            for path in &paths {
                if let Some(&q) = path.last() {
                    let visible: Vec<u32> = (0..=q).filter(|k| q < trie.ends[*k as usize]).collect();
                    prop_assert_eq!(&visible, path);
                    prop_assert_eq!(&trie.path_to(q as usize), &path[..path.len() - 1]);
                }
            }
            // Parts are all rows, in order.
            for count in 1..5 {
                let parts = trie.parts(count);
                prop_assert_eq!(parts.len(), count);
                let cut: Vec<_> = parts.iter().flat_map(|part| trie.cuts_of(part.clone(), 3)).collect();
                let rows: Vec<usize> = cut.iter().flat_map(|(range, _)| range.clone()).collect();
                prop_assert_eq!(rows, (0..trie.len()).collect::<Vec<_>>());
            }
        }
    }
}
