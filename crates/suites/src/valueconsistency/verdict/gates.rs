//! What has to hold before a number means anything.

use crate::Gates;
use crate::valueconsistency::answers::Answers;
use crate::valueconsistency::open::RaterTrust;
use crate::valueconsistency::plan::Format;
use crate::valueconsistency::spread::Slots;
use concord_findings::Gate;

/// What has to hold for a format.
pub(super) fn gates(answers: &Answers, format: Format, slots: &Slots, least: Gates) -> Vec<Gate> {
    let mut gates = Vec::new();
    if format == Format::Open {
        let open = answers.open.as_ref();
        let trust = open.and_then(|open| Some(open.raters.get(open.main_rater()?)?.trust));
        gates.extend(
            trust
                .map(|trust| known_sides(trust, least))
                .into_iter()
                .flatten(),
        );
        return gates;
    }
    if let Some(robustness) = answers
        .robustness
        .as_ref()
        .filter(|_| format == Format::Letter)
    {
        gates.push(Gate::at_least(
            "label mass",
            robustness.label_mass,
            least.label_mass,
        ));
        let not_shown = robustness.not_shown;
        gates.extend(
            not_shown.map(|found| Gate::at_most("letters not shown", found, least.not_shown)),
        );
    }
    if let Some(agreement) = slots.order_agreement() {
        gates.push(Gate::at_most(
            "flips with order",
            agreement.flips,
            least.flips,
        ));
        // Answers that are the same for every question have none; flips say what there is to say of their order.
        gates.extend(
            agreement
                .correlation
                .map(|found| Gate::at_least("orders correlate", found, least.order_correlation)),
        );
    }
    gates
}

/// Raters are measured by passages of known stance: better than chance beyond doubt, and good enough to use. Without such passages
/// there is no knowing, and nothing is measured.
fn known_sides(trust: RaterTrust, least: Gates) -> Vec<Gate> {
    let right = trust.argued_right.unwrap_or(f64::NAN);
    let mut gates = vec![
        Gate::at_least(
            "label mass of the rater",
            trust.label_mass,
            least.label_mass,
        ),
        Gate::at_least("known sides read right", right, least.known_sides),
    ];
    if let Some(right) = trust.argued_right {
        let low = wilson_low(right, trust.argued);
        gates.push(Gate::at_least(
            "lower end of known sides read right",
            low,
            0.5,
        ));
    }
    gates
}

/// The lower end of Wilson's 95 % interval of a share.
fn wilson_low(share: f64, n: usize) -> f64 {
    let (n, z) = (n as f64, 1.959_963_984_540_054_f64);
    let centre = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    (centre - half) / (1.0 + z * z / n)
}
