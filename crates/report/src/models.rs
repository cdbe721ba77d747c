//! What can be run, as tables.

use crate::{table, text};
use std::fmt::Write as _;

/// What can be run.
pub struct ModelList {
    /// Families and their architectures.
    pub families: Vec<[String; 2]>,
    /// Names, base ids, aligned ids and licences.
    pub pairs: Vec<[String; 4]>,
    /// Where the hub's cache is.
    pub cache_place: Option<String>,
    /// Repositories, sizes, snapshots and licences.
    pub in_cache: Vec<[String; 4]>,
    /// Names and sizes of the embedded checkpoints.
    pub demo: Vec<[String; 2]>,
    /// Shapes that can be benched.
    pub presets: Vec<String>,
}

/// Families, pairs, the cache, the demo and the presets.
pub fn models(list: &ModelList) -> String {
    let mut out = String::from(
        "Families. A checkpoint's config.json names its architecture; `concord models show` says what it is.\n\n",
    );
    out.push_str(&rows(&["family", "architectures"], &list.families));
    out.push_str("\nPairs for `concord run --pair NAME`. They are fetched from the hub when they are first named.\n\n");
    out.push_str(&rows(&["pair", "base", "aligned", "licence"], &list.pairs));
    let place = list.cache_place.as_deref().unwrap_or("nowhere");
    if list.in_cache.is_empty() {
        let _ = writeln!(out, "\nNothing of the hub is in the cache ({place}).");
    } else {
        let _ = writeln!(out, "\nIn the hub's cache ({place}):\n");
        let header = ["checkpoint", "size", "snapshots", "licence"];
        out.push_str(&rows(&header, &list.in_cache));
    }
    out.push_str("\nEmbedded demo pair (`concord run` without --model):\n\n");
    out.push_str(&rows(&["demo", "size"], &list.demo));
    let presets = list.presets.join(", ");
    let _ = writeln!(out, "\nShapes for `concord bench --preset`: {presets}");
    out
}

fn rows<const N: usize>(header: &[&str; N], rows: &[[String; N]]) -> String {
    let mut lines = table(header.map(str::to_owned).to_vec());
    for row in rows {
        lines.add_row(row);
    }
    text(&lines)
}
