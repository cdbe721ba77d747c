//! What moves decisions: what is said of training, or the words of labels.

use super::findings::{
    CheckpointFindings, Effect, FamilyFindings, Findings, McNemar, RequestAsked, SetFindings,
    VariantFindings,
};
use super::options::{Data, Options};
use super::plan::{
    self, AFTER_NOTES, CELLS, Cell, Condition, DECISIONS, ORDERS, Objective, Told, WORDS,
    conditions, requests,
};
use super::published::published;
use super::verdict::conclusion;
use crate::shared::clusters::Clusters;
use crate::shared::continuation;
use crate::shared::paired::adjusted;
use crate::{CheckpointReadings, Settings, SuiteError};
use concord_findings::{Estimate, Gate};
use concord_stats::{LEAST_CLUSTERS, mcnemar_exact, mean};
use std::collections::BTreeMap;

/// Resamples where none are asked for.
const RESAMPLES: usize = 4000;
/// The gates of every condition: the least mass and the most flips of all count.
pub(crate) const MASS: &str = "mass of both decisions";
pub(crate) const FLIPS: &str = "decisions that change with the order";
/// What is drawn.
const UNIT: &str = "family";

/// What was read of one decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    /// The probability of accepting, of both words.
    pub accept: f64,
    /// The probability of both words.
    pub mass: f64,
}

/// A decision by its name.
pub(crate) fn decision(of: &CheckpointReadings, id: &str) -> Result<Decision, SuiteError> {
    let rounds = [DECISIONS, AFTER_NOTES].into_iter();
    let mut read = rounds.filter_map(|round| of.readings.round(round)?.get(id));
    let wrong = |what: &str| SuiteError::readings(format!("{}: {what} of `{id}`", of.name));
    let reading = read.next().ok_or_else(|| wrong("nothing was read"))?;
    let log = |word: &str| {
        let found = continuation(reading, &format!(" {word}"));
        found.ok_or_else(|| wrong("a word is missing in what was read"))
    };
    let (accept, reject) = (log(WORDS[0])?, log(WORDS[1])?);
    Ok(Decision {
        accept: 1.0 / (1.0 + (reject - accept).exp()),
        mass: (accept.exp() + reject.exp()).min(1.0),
    })
}

/// A value of each request, by family; requests of a family beside each other.
type ByRequest = Vec<(usize, f64)>;

/// The mean over requests, of which families were drawn.
fn effect(drawn: &Clusters, values: &ByRequest) -> Effect {
    let (estimate, p) = drawn.mean(values.iter().copied(), UNIT);
    Effect {
        estimate,
        p,
        adjusted_p: None,
        difference: None,
    }
}

/// One list less another, request by request.
fn less(a: &ByRequest, b: &ByRequest) -> ByRequest {
    let each = a.iter().zip(b);
    each.map(|((family, a), (_, b))| (*family, a - b)).collect()
}

/// A condition: mean probabilities of accepting over all orders.
struct Cells {
    /// The four cells, by request.
    by_request: Vec<(usize, [f64; 4])>,
    /// The mean probability of both words.
    mass: f64,
    /// The share of cells whose decision changes with the order.
    flips: f64,
}

impl Cells {
    fn read(
        data: &Data,
        of: &CheckpointReadings,
        condition: &Condition,
    ) -> Result<Self, SuiteError> {
        let mut all = Vec::new();
        let (mut masses, mut flips) = (Vec::new(), Vec::new());
        for (family, in_family) in data.families.iter().enumerate() {
            for (number, pair) in (1..).zip(&in_family.requests) {
                if plan::asked(pair, Some(condition)).is_none() {
                    continue;
                }
                let mut cells = [0.0; 4];
                for (at, cell) in CELLS.into_iter().enumerate() {
                    let mut accepts = [false; ORDERS];
                    for (order, accepts) in accepts.iter_mut().enumerate() {
                        let name = (in_family.name.as_str(), number);
                        let id = plan::id(name, Some((condition, cell)), order);
                        let read = decision(of, &id)?;
                        cells[at] += read.accept / ORDERS as f64;
                        masses.push(read.mass);
                        *accepts = read.accept >= 0.5;
                    }
                    let differ = accepts.iter().any(|accept| *accept != accepts[0]);
                    flips.push(f64::from(u8::from(differ)));
                }
                all.push((family, cells));
            }
        }
        Ok(Self {
            by_request: all,
            mass: mean(&masses),
            flips: mean(&flips),
        })
    }

    fn each(&self, value: impl Fn(&[f64; 4]) -> f64) -> ByRequest {
        self.by_request
            .iter()
            .map(|(family, cells)| (*family, value(cells)))
            .collect()
    }

    /// What the statement moves, over both labels.
    fn meaning(&self) -> ByRequest {
        self.each(|cells| {
            let of = |label: usize, trained: usize| value(cells, label, trained);
            0.5 * ((of(0, 0) - of(1, 0)) + (of(1, 1) - of(0, 1)))
        })
    }

    /// What the label moves, over both statements.
    fn label(&self) -> ByRequest {
        self.each(|cells| {
            let of = |label: usize, trained: usize| value(cells, label, trained);
            0.5 * ((of(0, 0) - of(1, 0)) - (of(1, 1) - of(0, 1)))
        })
    }

    /// The first label trained on less the second not.
    fn gap(&self) -> ByRequest {
        self.each(|cells| value(cells, 0, 0) - value(cells, 1, 0))
    }
}

/// The cell of a label under a statement.
fn value(cells: &[f64; 4], label: usize, trained: usize) -> f64 {
    let at = CELLS
        .iter()
        .position(|cell| *cell == Cell { label, trained });
    at.map_or(f64::NAN, |at| cells[at])
}

/// Measures every checkpoint.
pub(crate) fn measure(
    data: &Data,
    options: &Options,
    settings: Settings,
    read: &[CheckpointReadings],
) -> Result<Findings, SuiteError> {
    let drawn = Clusters::new(settings.resamples.unwrap_or(RESAMPLES), settings.seed);
    let mut checkpoints: Vec<CheckpointFindings> = Vec::new();
    let mut first: Option<BTreeMap<(String, &'static str), ByRequest>> = None;
    for of in read {
        let (mut found, values) = checkpoint(data, options, settings, &drawn, of)?;
        if let Some(first) = &first {
            differ(&mut found, &values, first, &drawn);
        }
        first.get_or_insert(values);
        checkpoints.push(found);
    }
    let published = published().map_err(|error| SuiteError::data(error.to_string(), ""))?;
    let asked = data.families.iter().flat_map(|family| {
        family.requests.iter().map(|pair| RequestAsked {
            family: family.name.clone(),
            request: pair.ask.clone(),
        })
    });
    Ok(Findings {
        asked: asked.collect(),
        checkpoints,
        requests: requests(data).count(),
        families: data.families.len(),
        limit: options.limit,
        published,
    })
}

/// How the effects of a checkpoint differ from those of the first.
fn differ(
    found: &mut CheckpointFindings,
    values: &BTreeMap<(String, &'static str), ByRequest>,
    first: &BTreeMap<(String, &'static str), ByRequest>,
    drawn: &Clusters,
) {
    for set in &mut found.sets {
        let name = set.set.clone();
        let effects = [
            ("gap", &mut set.gap),
            ("meaning", &mut set.meaning),
            ("label", &mut set.label),
        ];
        for (measure, of) in effects {
            let key = (name.clone(), measure);
            if let (Some(own), Some(before)) = (values.get(&key), first.get(&key)) {
                of.difference = Some(effect(drawn, &less(own, before)).estimate);
            }
        }
    }
}

type Found = (
    CheckpointFindings,
    BTreeMap<(String, &'static str), ByRequest>,
);

fn checkpoint(
    data: &Data,
    options: &Options,
    settings: Settings,
    drawn: &Clusters,
    of: &CheckpointReadings,
) -> Result<Found, SuiteError> {
    let mut values = BTreeMap::new();
    let mut sets = Vec::new();
    let (mut by_family, mut by_request) = (Vec::new(), Vec::new());
    let mut all_twins: ByRequest = Vec::new();
    let (mut least_mass, mut most_flips) = (f64::INFINITY, 0.0f64);
    for name in &options.sets {
        let plain = Condition::plain(name);
        let cells = Cells::read(data, of, &plain)?;
        let of_condition = |condition: Condition| Cells::read(data, of, &condition);
        let removed = of_condition(Condition {
            told: Told::Removed,
            ..plain.clone()
        })?;
        let harmless = of_condition(Condition {
            objective: Objective::Harmless,
            ..plain.clone()
        })?;
        let twins = of_condition(Condition {
            twin: true,
            ..plain.clone()
        })?;
        for asked in [&cells, &removed, &harmless, &twins] {
            if !asked.by_request.is_empty() {
                least_mass = least_mass.min(asked.mass);
                most_flips = most_flips.max(asked.flips);
            }
        }
        all_twins.extend(twins.each(|cells| cells.iter().sum::<f64>() / 4.0));
        let (gap, meaning, label) = (cells.gap(), cells.meaning(), cells.label());
        if by_family.is_empty() {
            by_family = families(data, &cells);
            by_request = cells.by_request.iter().map(|(_, cells)| *cells).collect();
        }
        sets.push(SetFindings {
            set: name.clone(),
            cells: (0..CELLS.len())
                .map(|at| effect(drawn, &cells.each(|cells| cells[at])).estimate)
                .collect(),
            gap: effect(drawn, &gap),
            meaning: effect(drawn, &meaning),
            label: effect(drawn, &label),
            removed: effect(drawn, &removed.meaning()),
            beyond_removed: effect(drawn, &less(&meaning, &removed.meaning())),
            harmless: effect(drawn, &harmless.meaning()),
            twins: (!twins.by_request.is_empty()).then(|| effect(drawn, &twins.meaning())),
            decisions: decisions(&cells),
        });
        for (measure, found) in [("gap", gap), ("meaning", meaning), ("label", label)] {
            values.insert((name.clone(), measure), found);
        }
    }
    // A family of tests for each kind of effect.
    let mut adjust = |effect: fn(&mut SetFindings) -> &mut Effect| {
        let p: Vec<Option<f64>> = sets.iter_mut().map(|set| effect(set).p).collect();
        for (set, p) in sets.iter_mut().zip(adjusted(&p)) {
            effect(set).adjusted_p = p;
        }
    };
    adjust(|set| &mut set.gap);
    adjust(|set| &mut set.meaning);
    adjust(|set| &mut set.label);
    let (variants, not_asked) = variants(data, options, settings, drawn, of)?;
    let (mass, flips, baseline) = trust(data, options, drawn, of)?;
    let gates = [
        // Fewer have no interval, and without one there is nothing to conclude.
        Gate::at_least(
            "families of requests",
            data.families.len() as f64,
            LEAST_CLUSTERS as f64,
        ),
        Gate::at_least(MASS, least_mass, settings.gates.label_mass),
        Gate::at_most(FLIPS, most_flips, settings.gates.flips),
    ];
    let verdict = Gate::verdict(&gates);
    let conclusion = verdict.is_measurable().then(|| conclusion(&sets));
    let found = CheckpointFindings {
        name: of.name.clone(),
        mass,
        flips,
        gates: gates.into(),
        verdict,
        baseline,
        twins: (!all_twins.is_empty()).then(|| effect(drawn, &all_twins).estimate),
        sets,
        variants,
        not_asked,
        by_family,
        by_request,
        conclusion,
    };
    Ok((found, values))
}

/// Other ways to ask, and how far their gaps lie from the plain one's.
fn variants(
    data: &Data,
    options: &Options,
    settings: Settings,
    drawn: &Clusters,
    of: &CheckpointReadings,
) -> Result<(Vec<VariantFindings>, Vec<String>), SuiteError> {
    let Some(set) = options.sets.first() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let plain = Cells::read(data, of, &Condition::plain(set))?.gap();
    let (mut found, mut not_asked) = (Vec::new(), Vec::new());
    for variant in &options.variants {
        let condition = Condition {
            variant: variant.clone(),
            ..Condition::plain(set)
        };
        // In completion form there are no turns.
        if !plan::was_asked(data, of, &condition) {
            not_asked.push(variant.clone());
            continue;
        }
        let cells = Cells::read(data, of, &condition)?;
        let gap = cells.gap();
        let gates = [
            Gate::at_least(MASS, cells.mass, settings.gates.label_mass),
            Gate::at_most(FLIPS, cells.flips, settings.gates.flips),
        ];
        found.push(VariantFindings {
            variant: variant.clone(),
            verdict: Gate::verdict(&gates),
            less_plain: effect(drawn, &less(&gap, &plain)),
            gap: effect(drawn, &gap),
            meaning: effect(drawn, &cells.meaning()),
        });
    }
    let p = found
        .iter()
        .map(|of| of.less_plain.p.filter(|_| of.verdict.is_measurable()));
    let p: Vec<Option<f64>> = p.collect();
    for (of, p) in found.iter_mut().zip(adjusted(&p)) {
        of.less_plain.adjusted_p = p;
    }
    Ok((found, not_asked))
}

/// The probability of both words, how often their order decides, and decisions without labels.
fn trust(
    data: &Data,
    options: &Options,
    drawn: &Clusters,
    of: &CheckpointReadings,
) -> Result<(Estimate, Estimate, Estimate), SuiteError> {
    let (mut mass, mut flips, mut baseline) = (Vec::new(), Vec::new(), Vec::new());
    for (family, in_family) in data.families.iter().enumerate() {
        for (number, pair) in (1..).zip(&in_family.requests) {
            let name = (in_family.name.as_str(), number);
            let read = |order: usize| decision(of, &plan::id(name, None, order));
            let both = [read(0)?, read(1)?];
            baseline.push((family, f64::midpoint(both[0].accept, both[1].accept)));
            for condition in conditions(options)
                .iter()
                .filter(|of| of.variant.is_empty())
            {
                if plan::asked(pair, Some(condition)).is_none() {
                    continue;
                }
                for cell in CELLS {
                    let mut accepts = [false; ORDERS];
                    for (order, accepts) in accepts.iter_mut().enumerate() {
                        let read = decision(of, &plan::id(name, Some((condition, cell)), order))?;
                        mass.push((family, read.mass));
                        *accepts = read.accept >= 0.5;
                    }
                    let differ = accepts.iter().any(|accept| *accept != accepts[0]);
                    flips.push((family, f64::from(u8::from(differ))));
                }
            }
        }
    }
    let estimate = |values: &ByRequest| effect(drawn, values).estimate;
    Ok((estimate(&mass), estimate(&flips), estimate(&baseline)))
}

/// The decisions of the two cells of the gap.
fn decisions(cells: &Cells) -> McNemar {
    let (mut first_alone, mut second_alone) = (0, 0);
    for (_, cells) in &cells.by_request {
        match (value(cells, 0, 0) >= 0.5, value(cells, 1, 0) >= 0.5) {
            (true, false) => first_alone += 1,
            (false, true) => second_alone += 1,
            _ => {}
        }
    }
    McNemar {
        first_alone,
        second_alone,
        p: mcnemar_exact(first_alone, second_alone),
    }
}

fn families(data: &Data, cells: &Cells) -> Vec<FamilyFindings> {
    let of_family = |values: &ByRequest, family: usize| {
        let of: Vec<f64> = values
            .iter()
            .filter(|(found, _)| *found == family)
            .map(|(_, value)| *value)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let (accepted, meaning, label) = (
        cells.each(|cells| cells.iter().sum::<f64>() / 4.0),
        cells.meaning(),
        cells.label(),
    );
    let each = data.families.iter().enumerate();
    each.map(|(at, family)| FamilyFindings {
        family: family.name.clone(),
        requests: family.requests.len(),
        accepted: of_family(&accepted, at),
        meaning: of_family(&meaning, at),
        label: of_family(&label, at),
    })
    .collect()
}
