//! The rows of one pass.

use concord_kernels::{List, PassRows};
use std::sync::Arc;

/// A cut of a trie's rows.
pub struct Pass {
    pub(crate) tokens: Vec<u32>,
    pub(crate) rows: PassRows,
    pub(crate) depths: List,
    /// The same rows, of which only those that are read attend; `None` where none is read.
    pub(crate) readers: Option<PassRows>,
    /// How many carried entries stay on the path to the row after this pass.
    pub(crate) kept: usize,
    /// The rows of this pass on that path, by depth.
    pub(crate) next_path: List,
}

impl Pass {
    /// Lays out a pass.
    ///
    /// # Shapes
    /// `tokens`, `depths`: one a row, depth-first, the first row's depth being the number of carried entries;
    /// `next_depth`: the depth of the row after the pass, 0 where there is none; `read`: rising row numbers.
    pub fn new(tokens: &[u32], depths: &[u32], next_depth: u32, read: &[u32]) -> Self {
        let (kept, next_path) = path_to_next(depths, next_depth);
        let depths: Arc<[u32]> = depths.into();
        let readers =
            (!read.is_empty()).then(|| PassRows::new(Arc::clone(&depths), Some(read.to_vec())));
        Self {
            depths: List::new(Arc::clone(&depths)),
            tokens: tokens.to_vec(),
            rows: PassRows::new(depths, None),
            readers,
            kept,
            next_path: List::new(next_path.into()),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// The path to the row after a pass: how many carried entries it begins with, and then which rows of the pass.
fn path_to_next(depths: &[u32], next_depth: u32) -> (usize, Vec<u32>) {
    // Seen from the end, the last row at each depth below the next row's is on its path.
    let mut wanted = next_depth;
    let mut path = Vec::new();
    for (row, depth) in depths.iter().enumerate().rev() {
        if wanted > 0 && *depth == wanted - 1 {
            path.extend(u32::try_from(row));
            wanted -= 1;
        }
    }
    path.reverse();
    (wanted as usize, path)
}

#[cfg(test)]
mod tests {
    use super::path_to_next;

    #[test]
    fn the_path_is_carried_entries_and_then_rows() {
        // Rows of depths 2 3 3 4 after two carried entries.
        assert_eq!(path_to_next(&[2, 3, 3, 4], 5), (2, vec![0, 2, 3]));
        assert_eq!(path_to_next(&[2, 3, 3, 4], 3), (2, vec![0]));
        assert_eq!(path_to_next(&[2, 3, 3, 4], 1), (1, vec![]));
        assert_eq!(path_to_next(&[2, 1, 2], 3), (1, vec![1, 2]));
        assert_eq!(path_to_next(&[0, 1], 0), (0, vec![]));
    }
}
