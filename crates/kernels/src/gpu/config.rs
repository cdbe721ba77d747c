//! Sizes tuned by device: `kernels-config/cuda-sm*.toml`.

use super::GpuError;
use crate::KernelConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Tiles of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Queries of a block, sixteen a warp.
    pub queries: usize,
    /// Keys that pass through shared memory at once: neighbouring depths.
    pub keys: usize,
}

impl Tiles {
    /// Shared memory of a block of attention, in bytes.
    pub(super) fn bytes(self, head_dim: usize) -> usize {
        (self.queries + 2 * self.keys) * (head_dim + 8) * 2
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
        let Tiles { queries, keys } = config.attention;
        if !(16..=256).contains(&queries) || queries % 16 != 0 {
            return Err(wrong(format!(
                "attention.queries is {queries}: sixteens from 16 to 256"
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
        let Tiles { queries, keys } = self.attention;
        Err(GpuError::Config {
            path: PathBuf::from("attention"),
            problem: format!(
                "{queries} queries and {keys} keys take {bytes} bytes of shared memory, and the device has {shared_bytes}"
            ),
        })
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
    fn tiles_that_cannot_be_are_named() {
        let table = TABLES[1].2;
        for (from, to, said) in [
            ("queries = 64", "queries = 40", "attention.queries is 40"),
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
