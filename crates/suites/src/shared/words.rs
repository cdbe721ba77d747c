//! Numbers and counts as they are written.

use concord_findings::{Cell, Estimate, Forest, Table};

/// A count with what is counted, in the singular or plural, and commas between thousands.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let (head, rest) = noun.split_at(noun.find(' ').unwrap_or(noun.len()));
    let plural = match head.strip_suffix('y') {
        _ if count == 1 => head.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{head}s"),
    };
    format!("{} {plural}{rest}", grouped(count))
}

/// A count with commas between thousands.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its sign; what rounds to 0 has none.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    let text = format!("{value:+.digits$}");
    let is_zero = text.chars().all(|digit| "+-0.".contains(digit));
    if is_zero { text[1..].to_owned() } else { text }
}

/// A number with its sign, and its interval.
pub(crate) fn with_ends(estimate: &Estimate, digits: usize) -> String {
    let value = signed(estimate.value, digits);
    match &estimate.interval {
        Some(ends) => format!(
            "{value} [{}, {}]",
            signed(ends.low, digits),
            signed(ends.high, digits)
        ),
        None => value,
    }
}

/// A p as it is written; nothing where there is none.
pub(crate) fn p_value(p: Option<f64>) -> String {
    match p {
        None => String::new(),
        Some(p) if p < 0.001 => "< .001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

/// A text as a cell of an exported table; missing where it is empty.
pub(crate) fn text_cell(text: &str) -> Cell {
    if text.is_empty() {
        Cell::Missing
    } else {
        Cell::Text(text.into())
    }
}

/// The numbers of a forest: a page draws them, and a terminal has them so.
pub(crate) fn numbers(forest: &Forest, digits: usize) -> Table {
    let header = std::iter::once(String::new()).chain(forest.series.iter().cloned());
    let rows = forest.rows.iter().map(|(label, each)| {
        let cells = each.iter().map(|estimate| {
            let text = estimate
                .as_ref()
                .map(|estimate| with_ends(estimate, digits));
            text.unwrap_or_else(|| "–".to_owned())
        });
        std::iter::once(label.clone()).chain(cells).collect()
    });
    Table {
        title: Some(forest.title.clone()),
        header: header.collect(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_agree_with_their_numbers() {
        assert_eq!(counted(1, "family"), "1 family");
        assert_eq!(counted(12_345, "category"), "12,345 categories");
        assert_eq!(counted(0, "pair of values"), "0 pairs of values");
        assert_eq!(signed(-0.004, 2), "0.00");
        assert_eq!(signed(-0.006, 2), "-0.01");
        assert_eq!(signed(0.5, 1), "+0.5");
        assert_eq!(p_value(Some(0.0004)), "< .001");
    }
}
