//! Axes.

use crate::markup::Markup;

/// An axis from one value to another, with round numbers along it.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    step: f64,
    /// A value that is a landmark: 0 of differences, one half of probabilities, the end of what is possible.
    landmarks: Vec<f64>,
    signed: bool,
    hidden: bool,
}

/// The lines of a grid as SVG.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grid {
    /// Its name.
    pub(crate) name: String,
    /// Its lines; none where there is no axis.
    pub(crate) lines: String,
}

impl Scale {
    /// From 0 to what is possible at most, which is named itself.
    pub(crate) fn up_to(largest: f64) -> Self {
        let largest = if largest > 0.0 && largest.is_finite() {
            largest
        } else {
            1.0
        };
        let step = step(largest);
        let ticks = (0..=20)
            .map(|number| f64::from(number) * step)
            .filter(|tick| *tick < 0.85 * largest)
            .chain(std::iter::once(largest));
        Self {
            low: 0.0,
            high: largest,
            ticks: ticks.collect(),
            step,
            landmarks: vec![largest],
            signed: false,
            hidden: false,
        }
    }

    /// Around 0, as far to the left as to the right.
    pub(crate) fn around_zero(farthest: f64) -> Self {
        let farthest = if farthest > 0.0 && farthest.is_finite() {
            farthest
        } else {
            1.0
        };
        // Two steps to each side are as many as have room for their numbers.
        let step = step(farthest * 2.5);
        let last = (farthest / step).ceil().clamp(1.0, 10.0);
        Self {
            signed: true,
            landmarks: vec![0.0],
            ..Self::between(-last * step, last * step, step)
        }
    }

    /// Over all of some values and 0, out to round numbers.
    pub(crate) fn over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((0.0, 0.0), |(low, high): (f64, f64), value| {
                (low.min(value), high.max(value))
            });
        let range = if high > low { high - low } else { 1.0 };
        let step = step(range);
        let (first, last) = ((low / step).floor(), (high.max(low + 1e-9) / step).ceil());
        Self {
            landmarks: vec![0.0],
            ..Self::between(first * step, last * step, step)
        }
    }

    /// From 0 to 1, with one half.
    pub(crate) fn probability() -> Self {
        Self {
            ticks: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            step: 0.25,
            landmarks: vec![0.5],
            ..Self::between(0.0, 1.0, 0.25)
        }
    }

    /// The same with one half alone, where there is little room.
    pub(crate) fn halves() -> Self {
        Self {
            landmarks: vec![0.5],
            ..Self::between(0.0, 1.0, 0.5)
        }
    }

    /// Of categories, whose places are shares and which has no line.
    pub(crate) fn plain() -> Self {
        Self {
            ticks: Vec::new(),
            landmarks: Vec::new(),
            hidden: true,
            ..Self::between(0.0, 1.0, 1.0)
        }
    }

    fn between(low: f64, high: f64, step: f64) -> Self {
        let mut ticks = Vec::new();
        let mut tick = (low / step).round();
        while tick * step <= high + step / 1e6 && ticks.len() < 40 {
            ticks.push(tick * step);
            tick += 1.0;
        }
        Self {
            low,
            high,
            ticks,
            step,
            landmarks: Vec::new(),
            signed: false,
            hidden: false,
        }
    }

    /// Where a value stands: a share of the width.
    pub(crate) fn at(&self, value: f64) -> String {
        let share = (value - self.low) / (self.high - self.low);
        format!("{:.2}%", 100.0 * share.clamp(0.0, 1.0))
    }

    /// The lines of its grid, under a name that grids of the same lines share.
    pub(crate) fn grid(&self) -> Grid {
        let mut out = Markup::default();
        for (value, class) in self.lines() {
            let x = self.at(value);
            out.element(
                "line",
                &[("class", &class), ("x1", &x), ("x2", &x), ("y2", &"100%")],
            );
        }
        let lines = out.finish();
        let digest = lines
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
                (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Grid {
            name: format!("g{:x}", digest >> 40),
            lines,
        }
    }

    /// The lines of the grid with their classes.
    fn lines(&self) -> impl Iterator<Item = (f64, &'static str)> {
        let ticks = self.ticks.iter().map(|tick| {
            let near = |landmark: &f64| (landmark - tick).abs() < self.step / 1e6;
            (
                *tick,
                if self.landmarks.iter().any(near) {
                    "landmark"
                } else {
                    "grid"
                },
            )
        });
        ticks.filter(|_| !self.hidden)
    }

    /// The numbers along the axis, as SVG of 16 pixels' height.
    pub(crate) fn axis(&self) -> String {
        let mut out = Markup::default();
        let digits = digits_of(self.step);
        let last = self.ticks.len().saturating_sub(1);
        for (number, tick) in self.ticks.iter().enumerate() {
            // Around 0, numbers with signs have room at the ends and in the middle.
            if self.signed && number > 0 && number < last && tick.abs() > self.step / 2.0 {
                continue;
            }
            let text = if self.signed {
                signed(*tick, digits)
            } else {
                fixed(*tick, digits)
            };
            let text = if tick.abs() < self.step / 2.0 {
                "0".to_owned()
            } else if self.landmarks.contains(tick) && number == last {
                // The end of what is possible has digits of its own.
                let text = fixed(*tick, 4);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            };
            let anchor = match number {
                0 => "start",
                n if n == last => "end",
                _ => "middle",
            };
            let x = self.at(*tick);
            out.around(
                "text",
                &[
                    ("class", &"tick"),
                    ("x", &x),
                    ("y", &12),
                    ("text-anchor", &anchor),
                ],
                &text,
            );
        }
        out.finish()
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which about five fill a range.
fn step(range: f64) -> f64 {
    let rough = range / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let digit = rough / power;
    power
        * if digit < 1.5 {
            1.0
        } else if digit < 3.5 {
            2.0
        } else if digit < 7.5 {
            5.0
        } else {
            10.0
        }
}

/// How many digits a step has after the point.
fn digits_of(step: f64) -> usize {
    (0..6)
        .find(|digits| {
            let scaled = step * 10f64.powi(*digits);
            (scaled - scaled.round()).abs() < 1e-6
        })
        .and_then(|digits| usize::try_from(digits).ok())
        .unwrap_or(6)
}

/// A number with a minus that is as wide as a plus.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        // Nothing is less than nothing.
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// The same with its sign, where it is not 0.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    let text = fixed(value, digits);
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
    if is_zero || text.starts_with('−') {
        text
    } else {
        format!("+{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (range, expected) in [(0.3, 0.05), (1.0, 0.2), (0.011, 0.002), (40.0, 10.0)] {
            assert!(
                (step(range) - expected).abs() < 1e-12,
                "{range} {}",
                step(range)
            );
        }
        assert_eq!([0.25, 0.1, 5.0, 0.002].map(digits_of), [2, 1, 0, 3]);
    }

    #[test]
    fn an_axis_names_its_end_and_its_landmark() {
        let axis = Scale::up_to(0.4645).axis();
        assert!(
            axis.contains(">0.4645<") && axis.contains(">0.3<") && !axis.contains(">0.5<"),
            "{axis}"
        );
        let around = Scale::around_zero(0.107);
        assert_eq!(around.at(0.0), "50.00%");
        assert!(
            around
                .lines()
                .any(|(value, class)| value.abs() < 1e-9 && class == "landmark")
        );
        assert!(around.axis().contains("−0.1") && around.axis().contains("+0.1"));
    }

    #[test]
    fn signs_are_those_of_what_is_shown() {
        assert_eq!(fixed(-0.0001, 3), "0.000");
        assert_eq!(
            (signed(0.02, 3), signed(-0.02, 3)),
            ("+0.020".into(), "−0.020".into())
        );
        assert_eq!(signed(0.0, 2), "0.00");
    }
}
