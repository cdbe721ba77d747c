//! From letters where an option declines, and where none does, in the same orders.

use super::source::{Row, Source, column};
use super::{Abstaining, AnswersError, reading, with_neutral};
use crate::shared::letters::{letters, next_token};
use crate::valueconsistency::name;
use crate::valueconsistency::shown::PresentedOptions;
use concord_questions::Stance;
use concord_stats::{Distribution, mean};

/// One question, asked both ways.
struct BothWays {
    allowed: Option<Distribution>,
    not_allowed: Option<Distribution>,
}

/// Reads both.
pub(super) fn read(source: Source<'_>) -> Result<Abstaining, AnswersError> {
    let wide = with_neutral(source.layout);
    let mut mass = Vec::new();
    let rows = source.each(|row| of_row(source, row, &wide, &mut mass))?;
    Ok(Abstaining {
        allowed: column(&rows, |row| row.allowed.as_ref()),
        not_allowed: column(&rows, |row| row.not_allowed.as_ref()),
        label_mass: mean(&mass),
    })
}

fn of_row(
    source: Source<'_>,
    row: Row<'_>,
    wide: &[Stance],
    mass: &mut Vec<f64>,
) -> Result<BothWays, AnswersError> {
    let (file, count) = (&row.file.name, row.question.options.len());
    let (mut allowed, mut not_allowed) = (Vec::new(), Vec::new());
    for reversed in row.orders(|file, text| source.options.abstention_orders_of(file, text)) {
        let answer = |id: String, layout: &[Stance], count: usize| {
            let next = next_token(reading(source.at_once(), &id)?, &id)?;
            let letters = letters(next, &id, count)?;
            let shown = PresentedOptions {
                options: &row.question.options,
                reversed,
                layout,
            };
            Ok::<_, AnswersError>((next.label_mass.get(), shown.stances(&letters)))
        };
        let id = name::abstaining(file, row.number, reversed);
        let (found, with) = answer(id, wide, count + 1)?;
        mass.push(found);
        allowed.extend(with);
        let id = name::question(file, row.number, reversed);
        not_allowed.extend(answer(id, source.layout, count)?.1);
    }
    Ok(BothWays {
        allowed: Distribution::average(&allowed).ok(),
        not_allowed: Distribution::average(&not_allowed).ok(),
    })
}
