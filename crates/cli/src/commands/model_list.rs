//! What can be run, as lists: names stay whole in any width, so that they can be copied.

use std::fmt::Write as _;

/// What can be run.
pub(super) struct ModelList {
    /// Where the hub's cache is.
    pub cache_place: Option<String>,
    /// Repositories, and lines about each.
    pub in_cache: Vec<(String, Vec<String>)>,
    /// Names and sizes of the embedded checkpoints.
    pub demo: Vec<(String, String)>,
    /// Names of pairs, their ids, and what is to know of each.
    pub pairs: Vec<(String, Vec<String>, String)>,
    /// Families and their architectures.
    pub families: Vec<(String, Vec<String>)>,
    /// Shapes that can be benched.
    pub presets: Vec<String>,
}

/// The cache, the demo, pairs, families and presets; what is the user's own comes first.
pub(super) fn text(list: &ModelList) -> String {
    let mut out = String::new();
    let place = list.cache_place.as_deref().unwrap_or("nowhere");
    if list.in_cache.is_empty() {
        let _ = writeln!(out, "Nothing of the hub is in the cache ({place}).");
    } else {
        let _ = writeln!(out, "In the hub's cache ({place}):\n");
        for (name, lines) in &list.in_cache {
            item(&mut out, name, lines);
        }
    }
    out.push_str("\nEmbedded demo pair (`concord run` without --model):\n\n");
    for (name, size) in &list.demo {
        let _ = writeln!(out, "  {name}  {size}");
    }
    out.push_str("\nPairs for `concord run --pair NAME`, fetched when they are first named:\n\n");
    for (name, ids, note) in &list.pairs {
        item(&mut out, &format!("{name}  {note}"), ids);
    }
    out.push_str("\nFamilies and the architectures of config.json that they read:\n\n");
    for (name, architectures) in &list.families {
        item(&mut out, name, architectures);
    }
    out.push_str("\nShapes for `concord bench --preset`:\n\n");
    for preset in &list.presets {
        let _ = writeln!(out, "  {preset}");
    }
    out
}

fn item(out: &mut String, name: &str, lines: &[String]) {
    let _ = writeln!(out, "  {name}");
    for line in lines {
        let _ = writeln!(out, "    {line}");
    }
}
