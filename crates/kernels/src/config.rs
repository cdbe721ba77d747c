//! Sizes tuned by device class: `kernels-config/*.toml`.

use serde::Deserialize;

/// Sizes of one device class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelConfig {
    /// Rows of one pass.
    pub rows_per_pass: usize,
    /// A pass and a slice of the head are filled up to this many rows.
    pub minimum_rows: usize,
    /// Rows that one attention task walks through.
    pub attention_rows: usize,
    /// Rows that go through the head at once.
    pub head_rows: usize,
    /// Texts that are written at once.
    pub texts: usize,
    /// The most memory that keys and values of texts may take, in MiB.
    pub kv_mib: usize,
}

impl KernelConfig {
    /// The CPU's sizes.
    pub fn cpu() -> Self {
        let fallback = Self {
            rows_per_pass: 1024,
            minimum_rows: 65,
            attention_rows: 64,
            head_rows: 256,
            texts: 128,
            kv_mib: 2048,
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
        assert!(parsed.minimum_rows > 64 && parsed.rows_per_pass >= parsed.minimum_rows);
        assert_eq!(parsed, KernelConfig::cpu());
    }
}
