//! What reading checkpoints cost.

use concord_findings::Exhibit;
use serde_json::Value;
use std::fmt::Write as _;

/// A line for each checkpoint, from what its rounds stored; nothing where nothing was computed.
pub fn costs<'a>(progress: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Option<Exhibit> {
    let mut out = String::new();
    for (name, cost) in progress {
        out.push_str(&line(name, cost).unwrap_or_default());
    }
    (!out.is_empty()).then_some(Exhibit::Note(out))
}

fn line(name: &str, cost: &Value) -> Option<String> {
    let count = |key: &str| cost.get(key).and_then(Value::as_u64);
    let Some(rows) = count("rows_computed") else {
        // All of the first round was read before; later ones may have been read now.
        let later = later(cost);
        return (!later.is_empty())
            .then(|| format!("{name}: {}\n", later.trim_start_matches("; ")));
    };
    let (asked, trie) = (
        count("tokens_asked").unwrap_or(0),
        count("trie_rows").unwrap_or(0),
    );
    let rate = |key: &str| cost.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let mut out = format!(
        "{name}: {} prompts, {asked} tokens asked, {trie} trie rows, {rows} rows computed ({:.2} of the trie, {:.2} \
         of the tokens), {:.1} s, {:.0} prompts/s, {:.0} rows/s",
        count("prompts").unwrap_or(0),
        rows as f64 / trie.max(1) as f64,
        rows as f64 / asked.max(1) as f64,
        rate("seconds"),
        rate("prompts_per_s"),
        rate("rows_per_s"),
    );
    out.push_str(&later(cost));
    if let Some(texts) = cost.get("texts") {
        let of = |key: &str| texts.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let _ = write!(
            out,
            "; {} texts of {} tokens written in {:.1} s, {:.0} tokens/s",
            of("texts"),
            of("tokens"),
            of("seconds"),
            of("tokens_per_s")
        );
    }
    if let Some(resumed) = count("resumed").filter(|resumed| *resumed > 0) {
        let _ = write!(out, "; {resumed} prompts were read before");
    }
    out.push('\n');
    Some(out)
}

/// What rounds after the first read, all together.
fn later(cost: &Value) -> String {
    let rounds = cost.as_object().into_iter().flat_map(|cost| cost.values());
    let rounds: Vec<&Value> = rounds
        .filter(|r| r.get("rows_computed").is_some())
        .collect();
    if rounds.is_empty() {
        return String::new();
    }
    let sum = |key: &str| {
        let values = rounds.iter().filter_map(|round| round.get(key)?.as_f64());
        values.sum::<f64>()
    };
    let plural = if rounds.len() == 1 { "round" } else { "rounds" };
    format!(
        "; {} {plural} more: {:.0} prompts, {:.0} rows computed ({:.2} of the trie), {:.1} s",
        rounds.len(),
        sum("prompts"),
        sum("rows_computed"),
        sum("rows_computed") / sum("trie_rows").max(1.0),
        sum("seconds"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn later_rounds_are_added_up() {
        let round = |rows: u64| json!({ "prompts": 2, "rows_computed": rows, "trie_rows": rows, "seconds": 0.5 });
        let mut cost = round(10);
        cost["own-1"] = round(20);
        cost["own-2"] = round(30);
        // Of raters, one by one.
        cost["stances"] = json!({ "itself": round(100) });
        let Some(Exhibit::Note(text)) = costs([("m", &cost)]) else {
            panic!("nothing is said");
        };
        assert!(
            text.ends_with(
                "; 2 rounds more: 4 prompts, 50 rows computed (1.00 of the trie), 1.0 s\n"
            ),
            "{text}"
        );
        assert_eq!(costs([("m", &json!({ "prompts": 1, "resumed": 1 }))]), None);
    }
}
