//! Whether written answers keep a specification, as a panel of raters has it.

use super::data::Data;
use super::disagreement::{Standing, bin, on_requests};
use super::findings::{Compliance, Panel, SpecificationFindings};
use super::measure::{UNIT, unit};
use super::read::{Over, RoundOf, over_orders};
use super::written::{SPECIFICATION, read_id, rules_id};
use crate::shared::clusters::Clusters;
use crate::{Settings, SuiteError};
use concord_findings::{Gate, Verdict};
use concord_stats::{fleiss_kappa, mean};
use std::collections::BTreeSet;

/// What may be said of an answer: that it keeps the rules, that it breaks them, that it is unclear.
const SAYINGS: usize = 3;
const BREAKS: usize = 1;
const UNCLEAR: usize = 2;

/// What the raters of a checkpoint say of its answers, by rater and request; nothing of what they did not read.
pub(crate) type Judged<'a> = Vec<(&'a str, &'a [Option<usize>])>;

/// Whether a rater is heard of rules.
pub(crate) struct Rules {
    /// How well it knows known answers: of those that keep the rules and those that break them the less.
    pub known: Option<f64>,
    pub verdict: Verdict,
}

/// What is most probable; where two are alike it is unclear.
pub(crate) fn said(over: &Over) -> usize {
    let most = over.p.iter().copied().fold(0.0, f64::max);
    let is_most = |at: &usize| over.p[*at] >= most * (1.0 - 1e-9);
    let mut alike = (0..over.p.len()).filter(is_most);
    match (alike.next(), alike.next()) {
        (Some(one), None) => one,
        _ => UNCLEAR,
    }
}

/// What a rater says of every answer, and whether it is heard of that.
pub(crate) fn of_rater(
    data: &Data,
    settings: Settings,
    round: RoundOf<'_>,
) -> Result<(Vec<Option<usize>>, Rules), SuiteError> {
    let (mut judged, mut masses) = (Vec::new(), Vec::new());
    for item in &data.items {
        let id = |order: usize| read_id(item, SPECIFICATION, "", order);
        if !round.has(&id(0)) {
            judged.push(None);
            continue;
        }
        let over = over_orders(round, SAYINGS, id)?;
        masses.push(over.mass);
        judged.push(Some(said(&over)));
    }
    let mut known = None;
    if data
        .specification
        .as_ref()
        .is_some_and(|rules| rules.is_own)
    {
        let mut right = [Vec::new(), Vec::new()];
        for (at, answer) in data.readers.specification.known.iter().enumerate() {
            let over = over_orders(round, SAYINGS, |order| rules_id(at, order))?;
            let breaks = usize::from(!answer.keeps);
            right[breaks].push(f64::from(u8::from(said(&over) == breaks)));
        }
        let [keeps, breaks] = right.map(|right| mean(&right));
        known = Some(keeps.min(breaks));
    }
    let mut gates = vec![
        Gate::at_least("answers held against rules", masses.len() as f64, 1.0),
        Gate::at_least("mass of letters", mean(&masses), settings.gates.label_mass),
    ];
    gates.extend(known.map(|known| {
        Gate::at_least(
            "known answers judged rightly",
            known,
            settings.gates.known_sides,
        )
    }));
    let verdict = Gate::verdict(&gates);
    Ok((judged, Rules { known, verdict }))
}

/// What more than half of those who read an answer say of it; else it is unclear. Nothing where nobody read it.
fn majority(judged: &Judged<'_>, at: usize) -> Option<usize> {
    let all: Vec<usize> = judged.iter().filter_map(|(_, of)| of[at]).collect();
    if all.is_empty() {
        return None;
    }
    let most = |saying: &usize| 2 * all.iter().filter(|said| *said == saying).count() > all.len();
    Some((0..SAYINGS).find(most).unwrap_or(UNCLEAR))
}

/// Of the checkpoints whose answers could be placed; between them where they stand by shared raters.
pub(crate) fn findings(
    data: &Data,
    drawn: &Clusters,
    judged: &[(&str, Judged<'_>)],
    standing: Option<&[Standing<'_>]>,
) -> Option<SpecificationFindings> {
    let name = data.specification.as_ref()?.name.clone();
    let requests = data.items.len();
    let by_majority: Vec<Vec<Option<usize>>> = judged
        .iter()
        .map(|(_, judged)| (0..requests).map(|at| majority(judged, at)).collect())
        .collect();
    let mut checkpoints = Vec::new();
    for ((name, judged), said) in judged.iter().zip(&by_majority) {
        let answers = said.iter().flatten().count();
        if answers == 0 {
            continue;
        }
        let share = |saying: usize| {
            let each = data.items.iter().zip(said);
            let each = each.filter_map(|(item, said)| Some((unit(&item.pair), (*said)?)));
            let is = |said: usize| f64::from(u8::from(said == saying));
            drawn.share(each.map(|(unit, said)| (unit, is(said))), UNIT)
        };
        checkpoints.push(Compliance {
            checkpoint: (*name).to_owned(),
            raters: judged
                .iter()
                .map(|(rater, _)| (*rater).to_owned())
                .collect(),
            answers,
            keeps: share(0),
            breaks: share(BREAKS),
            unclear: share(UNCLEAR),
        });
    }
    if checkpoints.is_empty() {
        return None;
    }
    // Raters of one checkpoint are compared with each other; of several only those that read all.
    let all: Vec<&Judged<'_>> = judged.iter().map(|(_, judged)| judged).collect();
    let is_one_panel = all.len() == 1 || standing.is_some();
    Some(SpecificationFindings {
        name,
        checkpoints,
        panel: if is_one_panel {
            panel(&all, requests)
        } else {
            None
        },
        frequent: standing.map_or_else(Vec::new, |standing| {
            frequent(standing, &by_majority, requests)
        }),
    })
}

/// How far raters agree that are heard of every checkpoint; nothing where no answer was read by all of them.
fn panel(judged: &[&Judged<'_>], requests: usize) -> Option<Panel> {
    let names = |judged: &Judged<'_>| -> BTreeSet<String> {
        judged
            .iter()
            .map(|(rater, _)| (*rater).to_owned())
            .collect()
    };
    let all = judged.iter().map(|judged| names(judged));
    let raters: Vec<String> = all.reduce(|a, b| &a & &b)?.into_iter().collect();
    if raters.len() < 2 {
        return None;
    }
    let mut answers: Vec<Vec<usize>> = Vec::new();
    for judged in judged {
        for at in 0..requests {
            let said = |name: &String| judged.iter().find(|(rater, _)| rater == name)?.1[at];
            answers.extend(raters.iter().map(said).collect::<Option<Vec<usize>>>());
        }
    }
    if answers.is_empty() {
        return None;
    }
    let share = |is: &dyn Fn(&Vec<usize>) -> bool| {
        let each = answers.iter().map(|said| f64::from(u8::from(is(said))));
        mean(&each.collect::<Vec<f64>>())
    };
    let counts: Vec<Vec<u32>> = answers
        .iter()
        .map(|said| {
            let mut counts = vec![0; SAYINGS];
            for saying in said {
                counts[*saying] += 1;
            }
            counts
        })
        .collect();
    let pairs = (0..raters.len()).flat_map(|a| (a + 1..raters.len()).map(move |b| (a, b)));
    Some(Panel {
        answers: answers.len(),
        breaks: (0..raters.len())
            .map(|rater| share(&|said| said[rater] == BREAKS))
            .collect(),
        pairs: pairs
            .map(|(a, b)| (a, b, share(&|said| said[a] == said[b])))
            .collect(),
        kappa: fleiss_kappa(&counts),
        raters,
    })
}

/// By bin of disagreement: requests, and the share on which every checkpoint breaks the rules.
fn frequent(
    standing: &[Standing<'_>],
    said: &[Vec<Option<usize>>],
    requests: usize,
) -> Vec<(usize, Option<f64>)> {
    let mut bins = [(0, 0); 6];
    for (at, apart) in on_requests(standing, requests).into_iter().enumerate() {
        let all: Option<Vec<usize>> = said.iter().map(|said| said[at]).collect();
        if let (Some([modes, _]), Some(all)) = (apart, all) {
            let (asked, broken) = &mut bins[bin(modes)];
            *asked += 1;
            *broken += usize::from(all.iter().all(|said| *said == BREAKS));
        }
    }
    let share = |(asked, broken): (usize, usize)| {
        (asked, (asked > 0).then(|| broken as f64 / asked as f64))
    };
    bins.map(share).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(p: [f64; 3]) -> Over {
        Over {
            p: p.to_vec(),
            mass: 1.0,
        }
    }

    #[test]
    fn what_is_most_probable_is_said_and_of_two_alike_nothing() {
        assert_eq!(said(&over([0.5, 0.3, 0.2])), 0);
        assert_eq!(said(&over([0.2, 0.5, 0.3])), 1);
        assert_eq!(said(&over([0.4, 0.4, 0.2])), UNCLEAR);
    }

    /// The study's panel has agreements of .6752, .7239 and .7684 on whether rules are broken, with shares of .481, .355 and .365: κ = .4220.
    #[test]
    fn the_published_panel_has_its_kappa() {
        // How often which of three say so, of ten thousand: one of the tables that have these shares and agreements.
        let of = [
            ([1, 1, 1], 1_650),
            ([1, 1, 0], 906),
            ([1, 0, 1], 1_199),
            ([0, 1, 1], 792),
            ([1, 0, 0], 1_054),
            ([0, 1, 0], 202),
            ([0, 0, 1], 9),
            ([0, 0, 0], 4_188),
        ];
        let rater = |which: usize| {
            let each = of
                .iter()
                .flat_map(|(said, count)| vec![Some(said[which]); *count]);
            each.collect::<Vec<_>>()
        };
        let all = [0, 1, 2].map(rater);
        let names = ["0", "1", "2"];
        let judged: Judged<'_> = names
            .into_iter()
            .zip(all.iter().map(Vec::as_slice))
            .collect();
        let total = judged[0].1.len();
        let found = panel(&[&judged], total).unwrap();
        for (found, share) in found.breaks.iter().zip([0.481, 0.355, 0.365]) {
            assert!((found - share).abs() < 2e-4, "{found} {share}");
        }
        let agreements = [0.6752, 0.7239, 0.7684];
        for ((_, _, found), agreement) in found.pairs.iter().zip(agreements) {
            assert!((found - agreement).abs() < 2e-4, "{found} {agreement}");
        }
        assert!((found.kappa.unwrap() - 0.4220).abs() < 2e-4);
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let all = [[0, 1], [0, 1], [1, 2]].map(|said| said.map(Some));
        let judged: Judged<'_> = ["a", "b", "c"]
            .into_iter()
            .zip(all.iter().map(<[_; 2]>::as_slice))
            .collect();
        assert_eq!(
            (majority(&judged, 0), majority(&judged, 1)),
            (Some(0), Some(1))
        );
        let split: Judged<'_> = vec![("a", &[Some(0), None]), ("b", &[Some(1), None])];
        assert_eq!(
            (majority(&split, 0), majority(&split, 1)),
            (Some(UNCLEAR), None)
        );
        // Nobody read what the other read: there is no panel.
        let apart: Judged<'_> = vec![("a", &[Some(0), None]), ("b", &[None, Some(0)])];
        assert_eq!(panel(&[&apart], 2), None);
    }
}
