//! Attention: over the trie of a pass, and of one new row each over paths that are kept in pages.
//!
//! Rows stand in depth-first order. The keys that a row sees are the rows on its path from the root, itself included:
//! row `k` is visible to row `q` exactly when `k <= q < end[k]`. In depth-first order that path is known from depths alone:
//! the last row before `q` at each smaller depth. Sixteen neighbouring queries share nearly all of their keys, and are
//! computed together.
//!
//! Between two passes only one path is still visible. It comes in as `carried` ([`CpuKvPrefix`]). Where texts are
//! generated, paths stay: in pages of 64 depths, which texts that begin alike share ([`KvPages`]).

mod blocks;
mod pages;
mod path;
mod rows;
mod trie;

pub(crate) use blocks::Blocks;
pub use pages::{KvPages, PageRows, page_attention};
pub use path::CpuKvPrefix;
pub use rows::PassRows;
pub use trie::trie_attention;

/// The heads of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// KV heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of a row of queries, keys and values side by side.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of a row of keys and values side by side.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Width of a row of queries, and of the result.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// How scores are formed, and how far back a row sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Multiplies the dot product of query and key.
    pub scale: f32,
    /// Scores are `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Row `k` is visible to row `q` only where `depth[q] - depth[k] < window`.
    pub window: Option<usize>,
}

impl Scores {
    /// Scores divided by the root of a head's width.
    pub fn plain(shape: AttentionShape) -> Self {
        Self {
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
            softcap: None,
            window: None,
        }
    }

    /// The first depth that a row at `depth` sees.
    fn first(&self, depth: usize) -> usize {
        self.window
            .map_or(0, |window| (depth + 1).saturating_sub(window))
    }
}

/// [`trie_attention`] by the definition, in `f64`: every pair of rows is tested with `k <= q < end[k]`.
///
/// # Shapes
/// `qkv`: all rows of the trie, no row carried; `depths` and `ends`: the depth of each row and one past the last row of its
/// subtree.
pub fn trie_attention_reference(
    qkv: &[f32],
    depths: &[u32],
    ends: &[u32],
    shape: AttentionShape,
    scores: Scores,
) -> Vec<f64> {
    let rows = 0..ends.len();
    rows.flat_map(|row| row_reference(row, qkv, (depths, ends), shape, scores))
        .collect()
}

/// The same of one row.
pub(crate) fn row_reference(
    q: usize,
    qkv: &[f32],
    (depths, ends): (&[u32], &[u32]),
    shape: AttentionShape,
    scores: Scores,
) -> Vec<f64> {
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = shape;
    let row = |index: usize| &qkv[index * shape.qkv_width()..(index + 1) * shape.qkv_width()];
    let mut out = Vec::new();
    let visible: Vec<usize> = (0..=q)
        .filter(|k| {
            let near = |window| ((depths[q] - depths[*k]) as usize) < window;
            q < ends[*k] as usize && scores.window.is_none_or(near)
        })
        .collect();
    for head in 0..heads {
        let kv = head / (heads / kv_heads);
        let dot = |k: usize| -> f64 {
            let query = &row(q)[head * head_dim..(head + 1) * head_dim];
            let key = &row(k)[(heads + kv) * head_dim..];
            let product = query
                .iter()
                .zip(key)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>();
            let score = product * f64::from(scores.scale);
            scores.softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        };
        let found: Vec<f64> = visible.iter().map(|k| dot(*k)).collect();
        let largest = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mass: f64 = found.iter().map(|s| (s - largest).exp()).sum();
        for d in 0..head_dim {
            let value = |k: usize| f64::from(row(k)[(heads + kv_heads + kv) * head_dim + d]);
            let mixed = visible
                .iter()
                .zip(&found)
                .map(|(k, s)| (s - largest).exp() * value(*k))
                .sum::<f64>();
            out.push(mixed / mass);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use proptest::prelude::*;

    /// A random trie by its depths, and the ends that go with them.
    fn trie() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
        prop::collection::vec(0u32..100, 1..220).prop_map(|jumps| {
            let mut depths = vec![0u32];
            for jump in &jumps {
                let deepest = depths[depths.len() - 1] + 1;
                // Mostly one deeper; sometimes back up. Several roots are allowed.
                depths.push(if *jump < 75 {
                    deepest
                } else {
                    jump % (deepest + 1)
                });
            }
            let rows = depths.len();
            let ends = (0..rows).map(|row| {
                let after = depths[row + 1..]
                    .iter()
                    .position(|depth| *depth <= depths[row]);
                u32::try_from(after.map_or(rows, |offset| row + 1 + offset)).unwrap()
            });
            let ends = ends.collect();
            (depths, ends)
        })
    }

    /// Shapes, with and without a cap and a window.
    fn kinds() -> impl Strategy<Value = (AttentionShape, Scores)> {
        let cap = prop::option::of(1u16..50);
        let window = prop::option::of(1usize..150);
        (shapes(), cap, window).prop_map(|(shape, cap, window)| {
            let scores = Scores {
                softcap: cap.map(f32::from),
                window,
                ..Scores::plain(shape)
            };
            (shape, scores)
        })
    }

    fn shapes() -> impl Strategy<Value = AttentionShape> {
        (
            1usize..3,
            1usize..7,
            prop::sample::select(vec![2usize, 6, 16, 32, 64, 80]),
        )
            .prop_map(|(kv_heads, group, head_dim)| AttentionShape {
                heads: kv_heads * group,
                kv_heads,
                head_dim,
            })
    }

    fn noise(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (i * 7919 % 997) as f32 / 300.0 - 1.6)
            .collect()
    }

    /// Attention over carried rows (each of queries, keys and values) and the rows of a pass.
    fn attend(
        qkv: &[f32],
        carried: &[f32],
        depths: &[u32],
        queries: Option<Vec<u32>>,
        (shape, scores): (AttentionShape, Scores),
    ) -> Vec<Vec<f32>> {
        let tensor = |values: &[f32]| {
            let width = shape.qkv_width();
            Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu).unwrap()
        };
        let mut path = CpuKvPrefix::new(shape);
        if !carried.is_empty() {
            let entries = u32::try_from(carried.len() / shape.qkv_width()).unwrap();
            let all: Vec<u32> = (0..entries).collect();
            path.advance(&tensor(carried), 0, &all).unwrap();
        }
        let rows = PassRows::new(depths.into(), queries);
        trie_attention(&tensor(qkv), &path, &rows, shape, scores, DType::F32)
            .unwrap()
            .to_vec2()
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_agrees_with_the_mask((depths, ends) in trie(), kind in kinds()) {
            let (shape, scores) = kind;
            let qkv = noise(depths.len() * shape.qkv_width());
            let found = attend(&qkv, &[], &depths, None, kind);
            let expected = trie_attention_reference(&qkv, &depths, &ends, shape, scores);
            for (a, b) in found.iter().flatten().zip(&expected) {
                prop_assert!((f64::from(*a) - b).abs() < 2e-5, "{a} {b}");
            }
        }

        #[test]
        fn cuts_and_queries_change_no_bit(
            (depths, _) in trie(), kind in kinds(), cut in 1usize..200, every in 1usize..20,
        ) {
            let (shape, _) = kind;
            let width = shape.qkv_width();
            let qkv = noise(depths.len() * width);
            let whole = attend(&qkv, &[], &depths, None, kind);
            let cut = cut.min(depths.len());
            // What the second pass sees of the first: the path to its first row.
            let mut path: Vec<usize> = Vec::new();
            for row in 0..cut {
                path.truncate(depths[row] as usize);
                path.push(row);
            }
            let first = attend(&qkv[..cut * width], &[], &depths[..cut], None, kind);
            prop_assert_eq!(&first[..], &whole[..cut]);
            if cut < depths.len() {
                path.truncate(depths[cut] as usize);
                let carried: Vec<f32> = path
                    .iter()
                    .flat_map(|row| &qkv[row * width..(row + 1) * width])
                    .copied()
                    .collect();
                let some: Vec<u32> = (0..u32::try_from(depths.len() - cut).unwrap()).step_by(every).collect();
                let second = attend(&qkv[cut * width..], &carried, &depths[cut..], Some(some.clone()), kind);
                for (row, found) in some.iter().zip(&second) {
                    prop_assert_eq!(found, &whole[cut + *row as usize]);
                }
            }
        }

        #[test]
        fn pages_give_the_bits_of_the_trie(
            kind in kinds(), prompt in 1usize..150, texts in prop::collection::vec(1usize..90, 1..4),
        ) {
            let (shape, scores) = kind;
            let width = shape.qkv_width();
            let rows = prompt + texts.iter().sum::<usize>();
            let mut depths: Vec<u32> = (0..u32::try_from(prompt).unwrap()).collect();
            for text in &texts {
                depths.extend((prompt..prompt + text).map(|depth| u32::try_from(depth).unwrap()));
            }
            let qkv = noise(rows * width);
            let whole = attend(&qkv, &[], &depths, None, kind);
            // The prompt in pages of its own; each text shares the full ones and copies the last.
            let block = KvPages::DEPTHS;
            let mut pages = KvPages::new(shape, 64);
            let mut next = prompt.div_ceil(block);
            for depth in 0..prompt {
                let page = u32::try_from(depth / block).unwrap();
                pages.put(page, depth % block, &qkv[depth * width..(depth + 1) * width]);
            }
            let mut tables: Vec<Vec<u32>> = Vec::new();
            for text in &texts {
                let mut table: Vec<u32> = (0..u32::try_from(prompt / block).unwrap()).collect();
                for _ in prompt / block..(prompt + text).div_ceil(block) {
                    table.push(u32::try_from(next).unwrap());
                    next += 1;
                }
                if prompt % block > 0 {
                    pages.copy(u32::try_from(prompt / block).unwrap(), table[prompt / block], prompt % block);
                }
                tables.push(table);
            }
            let starts: Vec<usize> = texts.iter().scan(prompt, |at, text| {
                let start = *at;
                *at += text;
                Some(start)
            }).collect();
            for step in 0..*texts.iter().max().unwrap() {
                let active: Vec<usize> = (0..texts.len()).filter(|text| step < texts[*text]).collect();
                let of = |text: &usize| starts[*text] + step;
                let new: Vec<f32> =
                    active.iter().flat_map(|text| &qkv[of(text) * width..(of(text) + 1) * width]).copied().collect();
                let new = Tensor::from_slice(&new, (active.len(), width), &Device::Cpu).unwrap();
                let rows = PageRows::new(
                    active.iter().map(|text| tables[*text].clone()).collect(),
                    vec![u32::try_from(prompt + step).unwrap(); active.len()],
                );
                let found: Vec<Vec<f32>> = page_attention(&new, &mut pages, &rows, scores, DType::F32).unwrap().to_vec2().unwrap();
                for (text, found) in active.iter().zip(&found) {
                    prop_assert_eq!(found, &whole[of(text)]);
                }
            }
        }
    }
}
