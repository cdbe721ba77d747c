//! The keys of a pass in blocks of neighbouring depths, as a GPU attends over them.
//!
//! A block holds the keys of one path at the depths of one span. Each row sees exactly one block of each span on its path; the
//! rows that see a block are neighbours. Where a key stands in its block depends on its depth alone, and blocks are gone through by
//! rising depth: a row's sums are formed in the same order whatever else is in the pass.

/// No key.
pub(crate) const NONE: u32 = u32::MAX;

/// The blocks of a pass, and which of them each tile of queries sees.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// `[blocks, size]`: carried entries or, counted on from there, rows.
    pub keys: Vec<u32>,
    /// The first row that sees a block, and one past the last.
    pub firsts: Vec<u32>,
    pub ends: Vec<u32>,
    /// The depth of a block's first place.
    pub starts: Vec<u32>,
    /// The blocks of each tile, by rising depth, one tile after another.
    pub lists: Vec<u32>,
    /// Where the list of a tile begins, and where the last one ends.
    pub tiles: Vec<u32>,
    /// The least depth of a tile's queries.
    pub shallow: Vec<u32>,
    /// The row and the depth of each query.
    pub rows: Vec<u32>,
    pub depths: Vec<u32>,
}

impl Blocks {
    /// Lays out a pass whose first row's depth is the number of carried entries.
    ///
    /// # Shapes
    /// `depths`: one a row, depth-first; `queries`: rising row numbers; `tile`: queries of a tile; `size`: depths of a block.
    pub fn new(depths: &[u32], queries: &[u32], tile: usize, size: usize) -> Self {
        let entries = depths.first().copied().unwrap_or(0);
        let mut blocks = Self {
            rows: queries.to_vec(),
            depths: queries
                .iter()
                .map(|query| depths[*query as usize])
                .collect(),
            ..Self::default()
        };
        // The path to the row that the walk has come to, and the block that is open at each span.
        let mut path: Vec<u32> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for entry in 0..entries {
            blocks.add(&mut path, &mut open, size, entry as usize, entry, 0);
        }
        for (row, depth) in (0..).zip(depths) {
            blocks.add(
                &mut path,
                &mut open,
                size,
                *depth as usize,
                entries + row,
                row,
            );
        }
        blocks.list(queries, tile);
        blocks
    }

    /// Puts a key on the path, at a depth; rows from `row` on see it.
    fn add(
        &mut self,
        path: &mut Vec<u32>,
        open: &mut Vec<usize>,
        size: usize,
        depth: usize,
        key: u32,
        row: u32,
    ) {
        let (span, place) = (depth / size, depth % size);
        path.truncate(depth);
        // Deeper blocks are left for good.
        for block in open.drain((span + 1).min(open.len())..) {
            self.ends[block] = row;
        }
        let goes_on = open
            .get(span)
            .is_some_and(|block| self.keys[block * size + place] == NONE);
        if !goes_on {
            for block in open.drain(span..) {
                self.ends[block] = row;
            }
            open.push(self.starts.len());
            let above = &path[span * size..];
            self.keys.extend_from_slice(above);
            self.keys.resize((self.starts.len() + 1) * size, NONE);
            self.firsts.push(row);
            self.ends.push(u32::MAX);
            self.starts.push(number(span * size));
        }
        self.keys[open[span] * size + place] = key;
        path.push(key);
    }

    /// Lists the blocks of each tile. Queries that see a block are neighbours, and so are their tiles.
    fn list(&mut self, queries: &[u32], tile: usize) {
        let mut order: Vec<usize> = (0..self.starts.len()).collect();
        order.sort_by_key(|block| (self.starts[*block], *block));
        let tiles_of = |block: &usize| {
            let before = |row: u32| queries.partition_point(|query| *query < row);
            let (from, to) = (before(self.firsts[*block]), before(self.ends[*block]));
            from / tile..if from < to { to.div_ceil(tile) } else { 0 }
        };
        let seen: Vec<_> = order.iter().map(tiles_of).collect();
        let mut tiles = vec![0; queries.len().div_ceil(tile) + 1];
        for tile in seen.iter().cloned().flatten() {
            tiles[tile + 1] += 1;
        }
        for tile in 1..tiles.len() {
            tiles[tile] += tiles[tile - 1];
        }
        let mut next = tiles.clone();
        self.lists = vec![0; tiles[tiles.len() - 1] as usize];
        for (block, tiles) in order.iter().zip(seen) {
            for tile in tiles {
                self.lists[next[tile] as usize] = number(*block);
                next[tile] += 1;
            }
        }
        self.tiles = tiles;
        let tiles = self.depths.chunks(tile);
        self.shallow = tiles
            .map(|depths| depths.iter().copied().min().unwrap_or(0))
            .collect();
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a query sees, by the definition: the last row before it, or the carried entry, at each smaller depth.
    fn path_of(depths: &[u32], query: usize) -> Vec<u32> {
        let entries = depths[0];
        let mut path: Vec<u32> = (0..entries).collect();
        for (row, depth) in (0..).zip(&depths[..=query]) {
            path.truncate(*depth as usize);
            path.push(entries + row);
        }
        path
    }

    proptest! {
        #[test]
        fn each_query_sees_its_path_by_rising_depth(
            jumps in prop::collection::vec(0u32..100, 1..200), entries in 0u32..70,
            every in 1usize..9, tile in 1usize..6, size in prop::sample::select(vec![1usize, 4, 16, 32]),
        ) {
            let mut depths = vec![entries];
            for jump in &jumps {
                let deepest = depths[depths.len() - 1] + 1;
                depths.push(if *jump < 75 { deepest } else { jump % (deepest + 1) });
            }
            let queries: Vec<u32> = (0..number(depths.len())).step_by(every).collect();
            let blocks = Blocks::new(&depths, &queries, tile * 16, size);
            for (place, query) in queries.iter().enumerate() {
                let (at, depth) = (place / (tile * 16), depths[*query as usize]);
                let list = &blocks.lists[blocks.tiles[at] as usize..blocks.tiles[at + 1] as usize];
                let mut seen = Vec::new();
                for block in list.iter().map(|block| *block as usize) {
                    if !(blocks.firsts[block]..blocks.ends[block]).contains(query) {
                        continue;
                    }
                    for (of_key, key) in (blocks.starts[block]..).zip(&blocks.keys[block * size..][..size]) {
                        if of_key <= depth {
                            prop_assert_ne!(*key, NONE);
                            prop_assert_eq!(of_key as usize, seen.len());
                            seen.push(*key);
                        }
                    }
                }
                prop_assert_eq!(seen, path_of(&depths, *query as usize));
                prop_assert!(blocks.shallow[at] <= depth);
            }
        }
    }

    #[test]
    fn a_shared_beginning_is_one_block() {
        // Two texts of forty tokens that share the first thirty-two.
        let depths: Vec<u32> = (0..40).chain(32..40).collect();
        let queries: Vec<u32> = (0..48).collect();
        let blocks = Blocks::new(&depths, &queries, 64, 32);
        assert_eq!(blocks.starts, [0, 32, 32]);
        assert_eq!(
            (blocks.firsts, blocks.ends),
            (vec![0, 32, 40], vec![u32::MAX, 40, u32::MAX])
        );
    }
}
