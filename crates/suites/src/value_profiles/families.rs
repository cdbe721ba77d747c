//! Extreme profiles with the people nearest to them.

use super::design::{Profile, extreme_name, survey_name};
use super::findings::{FamilyFindings, RankFindings, ValueFindings};
use super::measure::{ByRequest, Read, adjust, over_categories};
use super::options::Data;
use super::unexplained::Unexplained;
use crate::SuiteError;
use crate::shared::clusters::Clusters;
use crate::shared::draw;
use crate::shared::paired::adjusted;
use crate::shared::ranks::rank_correlation;
use concord_stats::mean;

/// What is found of families, and how values go with it.
#[derive(Default)]
pub(crate) struct OfFamilies {
    pub families: Vec<FamilyFindings>,
    pub ranks: Vec<RankFindings>,
}

/// A profile of some family.
struct Member {
    name: String,
    scores: Vec<f64>,
    /// What it does to each request, less the neutral profile.
    effects: ByRequest,
}

/// Measures families by what was read under each profile and under the neutral one.
pub(crate) fn families(
    data: &Data,
    all: &[Profile],
    drawn: &Clusters,
    (draws, seed): (usize, u64),
    (neutral, unexplained): (&Read, &Unexplained),
    values: &[ValueFindings],
    read: impl Fn(&str) -> Result<Read, SuiteError>,
) -> Result<OfFamilies, SuiteError> {
    let mut members: Vec<Member> = Vec::new();
    let mut families: Vec<Vec<usize>> = Vec::new();
    let mut found = OfFamilies::default();
    for family in data.respondents.iter().flat_map(|all| &all.families) {
        let people = family.people.iter().map(|name| survey_name(name));
        let mut own = Vec::new();
        for name in std::iter::once(extreme_name(&family.extreme)).chain(people) {
            let known = members.iter().position(|member| member.name == name);
            own.push(known.unwrap_or(members.len()));
            if known.is_none() {
                members.push(member(all, name, neutral, &read)?);
            }
        }
        let each = neutral.iter().enumerate();
        let effect: ByRequest = each
            .map(|(at, (category, _))| {
                let of = own.iter().map(|member| members[*member].effects[at].1);
                (*category, mean(&of.collect::<Vec<f64>>()))
            })
            .collect();
        let share = 1.0 + 1.0 / own.len() as f64;
        found.families.push(FamilyFindings {
            extreme: family.extreme.clone(),
            people: family.people.clone(),
            effect: unexplained.widened(over_categories(drawn, &effect), share),
        });
        families.push(own);
    }
    if found.families.is_empty() {
        return Ok(found);
    }
    adjust(found.families.iter_mut().map(|of| &mut of.effect));
    let of_families = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let means = families.iter().map(|own| {
            let each = own.iter().map(|member| of(*member));
            mean(&each.collect::<Vec<f64>>())
        });
        means.collect()
    };
    // The mean effect of each profile, over all requests or those of a category.
    let effects = |category: Option<usize>| -> Vec<f64> {
        let of = |member: &Member| {
            let each = member.effects.iter();
            let each = each.filter(|(found, _)| category.is_none_or(|category| *found == category));
            mean(&each.map(|(_, value)| *value).collect::<Vec<f64>>())
        };
        members.iter().map(of).collect()
    };
    let overall = effects(None);
    let by_category: Vec<Vec<f64>> = (0..data.categories.len())
        .map(|category| effects(Some(category)))
        .map(|effects| of_families(&|member| effects[member]))
        .collect();
    let scores: Vec<Vec<f64>> = (0..values.len())
        .map(|value| of_families(&|member| members[member].scores[value]))
        .collect();
    let ranks_of = |effects: &[f64]| -> Vec<Option<f64>> {
        let scores = scores.iter();
        scores
            .map(|scores| rank_correlation(scores, effects))
            .collect()
    };
    let ranks = ranks_of(&of_families(&|member| overall[member]));
    // Families share people: what is exchanged is what profiles do, not families.
    let mut as_far = vec![0usize; values.len()];
    for number in 0..draws {
        let order = draw::order(seed, &["families", &number.to_string()], overall.len());
        let exchanged = ranks_of(&of_families(&|member| overall[order[member]]));
        for ((as_far, rank), other) in as_far.iter_mut().zip(&ranks).zip(exchanged) {
            let is_as_far = |rank: f64| other.is_some_and(|other| other.abs() >= rank.abs() - 1e-9);
            *as_far += usize::from(rank.is_some_and(is_as_far));
        }
    }
    for (at, value) in values.iter().enumerate() {
        let p = (as_far[at] as f64 + 1.0) / (draws as f64 + 1.0);
        found.ranks.push(RankFindings {
            value: value.value.clone(),
            is_taken_on: value.is_taken_on,
            families: families.len(),
            rank: ranks[at],
            p: ranks[at].map(|_| p),
            adjusted_p: None,
            categories: by_category
                .iter()
                .map(|effects| rank_correlation(&scores[at], effects))
                .collect(),
        });
    }
    let p = found.ranks.iter();
    let p: Vec<Option<f64>> = p.map(|rank| rank.p.filter(|_| rank.is_taken_on)).collect();
    for (rank, p) in found.ranks.iter_mut().zip(adjusted(&p)) {
        rank.adjusted_p = p;
    }
    Ok(found)
}

fn member(
    all: &[Profile],
    name: String,
    neutral: &Read,
    read: &impl Fn(&str) -> Result<Read, SuiteError>,
) -> Result<Member, SuiteError> {
    let is = |profile: &&Profile| profile.name == name && profile.then.is_none();
    let missing = || SuiteError::readings(format!("the profile `{name}` was not asked"));
    let profile = all.iter().find(is).ok_or_else(missing)?;
    let found = read(&name)?;
    let each = found.iter().zip(neutral);
    let effects =
        each.map(|((category, read), (_, neutral))| (*category, read.score - neutral.score));
    Ok(Member {
        scores: profile.lines.iter().map(|(_, score)| *score).collect(),
        effects: effects.collect(),
        name,
    })
}
