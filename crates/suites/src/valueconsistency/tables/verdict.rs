//! The rows of the verdict.

use super::{ALL, Estimates, Group, What, key};
use crate::valueconsistency::{Aspect, Assessment, Format, Grouping};
use concord_findings::LongTable;

/// What the verdict rests on.
pub(super) fn rows(table: &mut LongTable, found: &Assessment) {
    for one in &found.checkpoints {
        let mut rows = Estimates::new(table, &one.name, None);
        for moved in &one.moved {
            rows.is_measurable = Some(moved.is_measurable).into();
            let measure = measure_of(moved.row);
            let what = What::distance(&measure);
            let of = |estimand| What { estimand, ..what };
            if let Some(found) = &moved.one_order {
                rows.push(of("one_order"), ALL, found);
            }
            rows.push(of("averaged"), ALL, &moved.averaged);
            let share = What {
                quantity: "share_of_shuffled",
                scale: "share",
                ..of("one_order")
            };
            rows.push(share, ALL, &moved.of_shuffled);
            for (part, found) in &moved.by_part {
                let group = match moved.row.across {
                    Grouping::Translations | Grouping::Languages => Group::of("country", part),
                    _ => Group::file(part),
                };
                rows.push(of("one_order"), group, found);
            }
        }
    }
    for pair in &found.changes {
        let mut rows = Estimates::new(table, &pair.second, Some(&pair.first));
        rows.is_measurable = Some(true).into();
        for changed in &pair.rows {
            let measure = measure_of(changed.row);
            let what = |quantity, estimand, scale| What {
                measure: &measure,
                quantity,
                estimand,
                scale,
            };
            if let Some(found) = &changed.one_order {
                rows.tested(what("difference", "one_order", "√nat"), found);
            }
            rows.tested(what("difference", "averaged", "√nat"), &changed.averaged);
            rows.push(what("ratio", "one_order", "ratio"), ALL, &changed.ratio);
            rows.tested(
                what("difference_of_shares", "one_order", "share"),
                &changed.of_shuffled,
            );
            rows.tested(
                what("matched_difference", "one_order", "√nat"),
                &changed.matched,
            );
        }
    }
}

/// What a row of the verdict is called: across what, and of which format where that is not letters.
fn measure_of(row: Aspect) -> String {
    match row.format {
        Format::Letter => key(row.across),
        format => format!("{}_{}", key(row.across), key(format)),
    }
}
