//! Sizes tuned by device: `kernels-config/cuda-sm*.toml`.

use super::GpuError;
use crate::KernelConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Widths of heads up to which a block of attention holds its queries in registers; those of wider ones are in shared memory.
pub(super) const QUERIES_HELD: usize = 64;

/// Tiles of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Rows of a block, sixteen a warp: queries, times the heads that share their keys.
    pub rows: usize,
    /// Keys that pass through shared memory at once: neighbouring depths.
    pub keys: usize,
}

impl Tiles {
    /// How many of the query heads that share keys a block takes: as many as fit with sixteen queries, the same number in each block.
    pub(super) fn together(self, group: usize) -> usize {
        let most = (self.rows / 16).max(1);
        let divides = |count: &usize| group.is_multiple_of(*count);
        (1..=most).rev().find(divides).unwrap_or(1)
    }

    /// Queries of a block that takes so many heads.
    pub(super) fn queries(self, together: usize) -> usize {
        (self.rows / 16 / together).max(1) * 16
    }

    /// Shared memory of a block, in bytes: keys and values twice, and queries where registers do not hold them.
    pub(super) fn bytes(self, head_dim: usize) -> usize {
        let queries = if head_dim > QUERIES_HELD {
            self.rows
        } else {
            0
        };
        (queries + 4 * self.keys) * (head_dim + 8) * 2
    }
}

/// Sizes of one kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuConfig {
    /// Rows of one pass, and of its products, always: what is left of the last pass is filled up.
    pub rows_per_pass: usize,
    /// Rows of products where few rows go on: those that are read, and those of an expert.
    pub few_rows: usize,
    /// Rows that go through the head at once.
    pub head_rows: usize,
    /// Texts that are written at once.
    pub texts: usize,
    /// The most memory that keys and values of texts may take, in MiB.
    pub kv_mib: usize,
    /// Memory that products may work in, in MiB.
    pub workspace_mib: usize,
    /// Tiles of attention.
    pub attention: Tiles,
}

/// The fewest rows of products of texts: one tile of an algorithm.
const FIRST_CLASS: usize = 128;

const TABLES: [(i32, &str, &str); 4] = [
    (
        80,
        "cuda-sm80.toml",
        include_str!("../../../../kernels-config/cuda-sm80.toml"),
    ),
    (
        90,
        "cuda-sm90.toml",
        include_str!("../../../../kernels-config/cuda-sm90.toml"),
    ),
    (
        100,
        "cuda-sm100.toml",
        include_str!("../../../../kernels-config/cuda-sm100.toml"),
    ),
    (
        120,
        "cuda-sm120.toml",
        include_str!("../../../../kernels-config/cuda-sm120.toml"),
    ),
];

impl GpuConfig {
    /// The sizes for a device of this compute capability: its own table, or that of the next older kind. `CONCORD_CUDA_CONFIG`
    /// names another table.
    ///
    /// # Errors
    /// [`GpuError::Config`] naming the table and what makes no sense.
    pub fn of(capability: (i32, i32)) -> Result<Self, GpuError> {
        if let Some(path) = std::env::var_os("CONCORD_CUDA_CONFIG") {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path).map_err(|error| GpuError::Config {
                path: path.clone(),
                problem: error.to_string(),
            })?;
            return Self::parsed(&path, &text);
        }
        Self::built_in(capability)
    }

    fn built_in(capability: (i32, i32)) -> Result<Self, GpuError> {
        let number = capability.0 * 10 + capability.1;
        let known = TABLES.iter().rev().find(|(from, ..)| *from <= number);
        let (_, name, text) = known.unwrap_or(&TABLES[0]);
        Self::parsed(Path::new(name), text)
    }

    /// Parses a table.
    ///
    /// # Errors
    /// [`GpuError::Config`] naming the table and what makes no sense.
    pub fn parsed(path: &Path, text: &str) -> Result<Self, GpuError> {
        let wrong = |problem: String| GpuError::Config {
            path: path.to_owned(),
            problem,
        };
        let config: Self =
            toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let Tiles { rows, keys } = config.attention;
        if !(16..=256).contains(&rows) || rows % 16 != 0 {
            return Err(wrong(format!(
                "attention.rows is {rows}: sixteens from 16 to 256"
            )));
        }
        if ![16, 32, 64].contains(&keys) {
            return Err(wrong(format!("attention.keys is {keys}: 16, 32 or 64")));
        }
        let sizes = [
            ("rows_per_pass", config.rows_per_pass),
            ("few_rows", config.few_rows),
            ("head_rows", config.head_rows),
            ("texts", config.texts),
        ];
        for (name, size) in sizes {
            // More rows no grid has.
            if size == 0 || size > 65_535 {
                return Err(wrong(format!("{name} is {size}: from 1 to 65535")));
            }
        }
        if config.few_rows > config.rows_per_pass {
            let few = config.few_rows;
            return Err(wrong(format!("few_rows is {few}: more than rows_per_pass")));
        }
        for (name, mib) in [
            ("kv_mib", config.kv_mib),
            ("workspace_mib", config.workspace_mib),
        ] {
            if mib == 0 || mib > 1 << 20 {
                return Err(wrong(format!("{name} is {mib}: from 1 to 1048576")));
            }
        }
        Ok(config)
    }

    /// Refuses tiles that do not fit a device.
    ///
    /// # Errors
    /// [`GpuError::Config`] naming what does not fit.
    pub(super) fn check_fits(&self, shared_bytes: usize) -> Result<(), GpuError> {
        // Heads of 128 are what nearly all checkpoints have.
        let bytes = self.attention.bytes(128);
        if bytes <= shared_bytes {
            return Ok(());
        }
        let Tiles { rows, keys } = self.attention;
        Err(GpuError::Config {
            path: PathBuf::from("attention"),
            problem: format!(
                "{rows} rows and {keys} keys take {bytes} bytes of shared memory, and the device has {shared_bytes}"
            ),
        })
    }

    /// The numbers of rows that products of texts have, by size. Each is a multiple of the first, whose algorithm they all take, so that
    /// a text's bits do not depend on how many are written with it.
    pub(super) fn text_classes(&self) -> impl Iterator<Item = usize> {
        let (first, last) = (self.first_text_class(), self.texts);
        let classes = std::iter::successors(Some(first), |class| Some(4 * class));
        let last = last.next_multiple_of(first);
        classes
            .take_while(move |class| *class < last)
            .chain(std::iter::once(last))
    }

    /// The number of rows that products of so many texts have.
    pub(crate) fn text_class(&self, texts: usize) -> usize {
        let fits = self.text_classes().find(|class| *class >= texts);
        fits.or_else(|| self.text_classes().last()).unwrap_or(1)
    }

    /// The fewest rows of products of texts, whose algorithm all of them take.
    pub(crate) fn first_text_class(&self) -> usize {
        self.texts.min(FIRST_CLASS)
    }

    /// The sizes that the scorer cuts by.
    pub fn kernel_config(&self) -> KernelConfig {
        KernelConfig {
            rows_per_pass: self.rows_per_pass,
            head_rows: self.head_rows,
            waiting_rows: self.head_rows,
            texts: self.texts,
            kv_mib: self.kv_mib,
            ..KernelConfig::cpu()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_parses_and_devices_find_theirs() {
        for (_, name, text) in TABLES {
            GpuConfig::parsed(Path::new(name), text).unwrap();
        }
        let of = |major, minor| GpuConfig::built_in((major, minor)).unwrap();
        assert_eq!(
            of(8, 6),
            GpuConfig::parsed(Path::new(""), TABLES[0].2).unwrap()
        );
        assert_eq!(
            of(9, 0),
            GpuConfig::parsed(Path::new(""), TABLES[1].2).unwrap()
        );
        assert_eq!(
            of(13, 0),
            GpuConfig::parsed(Path::new(""), TABLES[3].2).unwrap()
        );
    }

    #[test]
    fn texts_have_few_classes_that_are_multiples_of_the_first() {
        let of = |texts| GpuConfig {
            texts,
            ..GpuConfig::built_in((9, 0)).unwrap()
        };
        let classes = |texts| of(texts).text_classes().collect::<Vec<_>>();
        assert_eq!(classes(2048), [128, 512, 2048]);
        assert_eq!(classes(128), [128]);
        assert_eq!(classes(300), [128, 384]);
        assert_eq!(classes(5), [5]);
        for (texts, class) in [(1, 128), (128, 128), (129, 512), (2048, 2048), (2049, 2048)] {
            assert_eq!(of(2048).text_class(texts), class);
        }
    }

    #[test]
    fn a_block_takes_the_heads_that_share_keys() {
        let tiles = Tiles {
            rows: 128,
            keys: 32,
        };
        for (group, together, queries) in [
            (1, 1, 128),
            (2, 2, 64),
            (4, 4, 32),
            (7, 7, 16),
            (8, 8, 16),
            (16, 8, 16),
            (11, 1, 128),
        ] {
            assert_eq!(tiles.together(group), together);
            assert_eq!(tiles.queries(together), queries);
        }
    }

    #[test]
    fn tiles_that_cannot_be_are_named() {
        let table = TABLES[1].2;
        for (from, to, said) in [
            ("\nrows = ", "\nrows = 40 #", "attention.rows is 40"),
            ("keys = 32", "keys = 24", "attention.keys is 24"),
            ("head_rows = ", "head_rows = 0 #", "head_rows is 0"),
            ("[attention]", "[tension]", "tension"),
        ] {
            let changed = table.replacen(from, to, 1);
            assert_ne!(changed, table, "{from}");
            let error = GpuConfig::parsed(Path::new("mine.toml"), &changed).unwrap_err();
            let said_so = error.to_string();
            assert!(
                said_so.contains(said) && said_so.contains("mine.toml"),
                "{said_so}"
            );
        }
    }
}
