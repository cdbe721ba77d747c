//! The study on checkpoints whose answers are known in closed form.

mod asked;
mod measured;

use super::Effect;
use super::made_up::{Asked, MadeUp, found, given, load, measure, next, run};
use super::measure::{Found, Quantity, SetFindings};
use super::name::{CARRIERS, Carrier};
use super::{Findings, LANGUAGES, Randomness};
use crate::{Readings, Round, Settings, Show, Step, Suite, SuiteError};
use concord_findings::{Cell, Exhibit};
use concord_readings::{Form, Input, Message, Prompt, PromptKey, Read};
use concord_stats::{bca_mean, entropy_bits, mean, repeats, repeats_under_uniform};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const ALL: &[(&str, &[&str])] = &[(
    "sets",
    &["0-10", "0-9", "die", "coin", "suit", "letter", "words"],
)];
pub(super) const SMALL: &[(&str, &[&str])] =
    &[("sets", &["0-10"]), ("depth", &["2"]), ("rounds", &["3"])];

pub(super) fn one(_: &Asked<'_>, _: &str) -> f64 {
    1.0
}

pub(super) fn whole(_: &Asked<'_>) -> f64 {
    0.9
}

pub(super) fn seven(_: &Asked<'_>, text: &str) -> f64 {
    if text == "7" { 5.0 } else { 1.0 }
}

pub(super) fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
}

pub(super) fn of(set: &SetFindings, quantity: Quantity) -> &Found {
    &set.summary.as_ref().unwrap().quantities[&quantity]
}

pub(super) fn value(set: &SetFindings, quantity: Quantity) -> f64 {
    of(set, quantity).estimate.value
}

/// Never the number just before; all others alike.
pub(super) fn not_again(asked: &Asked<'_>, text: &str) -> f64 {
    if asked.history().last() == Some(&text) {
        0.0
    } else {
        1.0
    }
}

/// A table with too little mass on numbers.
pub(super) fn little(asked: &Asked<'_>) -> f64 {
    if asked.key.item.ends_with("0-10") {
        0.4
    } else {
        0.9
    }
}
