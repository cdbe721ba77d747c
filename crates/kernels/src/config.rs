//! Sizes tuned by device class: `kernels-config/*.toml`.

use crate::Isa;
use serde::Deserialize;

/// Sizes of one device class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelConfig {
    /// Rows of one pass.
    pub rows_per_pass: usize,
    /// Rows that go through the head at once.
    pub head_rows: usize,
    /// Rows that wait for each other before they go through the head.
    pub waiting_rows: usize,
    /// Texts that are written at once.
    pub texts: usize,
    /// The most memory that keys and values of texts may take, in MiB.
    pub kv_mib: usize,
    /// The instructions that products run on.
    #[serde(skip, default = "Isa::best")]
    pub path: Isa,
}

impl KernelConfig {
    /// The CPU's sizes.
    pub fn cpu() -> Self {
        let fallback = Self {
            rows_per_pass: 1024,
            head_rows: 64,
            waiting_rows: 256,
            texts: 128,
            kv_mib: 2048,
            path: Isa::best(),
        };
        // The embedded table parses, or this module's test fails.
        toml::from_str(include_str!("../../../kernels-config/cpu.toml")).unwrap_or(fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_parses() {
        let parsed: KernelConfig =
            toml::from_str(include_str!("../../../kernels-config/cpu.toml")).unwrap();
        assert!(parsed.rows_per_pass > 0 && parsed.head_rows > 0);
        assert_eq!(parsed, KernelConfig::cpu());
    }
}
