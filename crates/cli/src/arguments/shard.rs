//! Which part of a run is read here: as it is typed, or as the job scheduler says.

use crate::failure::Failure;
use concord_runs::Shard;
use std::str::FromStr;

/// The most parts of a run.
const MOST: u32 = 65_536;

/// Which part is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardChoice {
    /// This one.
    Given(Shard),
    /// What the scheduler says, of so many where it does not say of how many.
    Auto(Option<u32>),
}

impl FromStr for ShardChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |text: &str| match text.parse::<u32>() {
            Ok(count) if (1..=MOST).contains(&count) => Ok(count),
            _ => Err(format!("`{text}` is no number of shards from 1 to {MOST}")),
        };
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Auto(None)),
            Some(("auto", of)) => Ok(Self::Auto(Some(count(of)?))),
            Some((index, of)) => {
                let (index, of) = (count(index)?, count(of)?);
                if index > of {
                    return Err(format!("there is no shard {index} of {of}"));
                }
                Ok(Self::Given(Shard { index, of }))
            }
            None => Err("a shard is I/N, `auto` or `auto/N`".to_owned()),
        }
    }
}

impl ShardChoice {
    /// The part that this process reads.
    pub fn here(self) -> Result<Shard, Failure> {
        let shard = self.resolve(|name| std::env::var(name).ok());
        shard.map_err(|problem| {
            Failure::usage(format!("--shard: {problem}"), "name the shard: --shard I/N")
        })
    }

    /// The part, by variables of the environment where it is `auto`.
    fn resolve(self, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
        let of = match self {
            Self::Given(shard) => return Ok(shard),
            Self::Auto(of) => of,
        };
        let number = |name: &str| -> Result<Option<u32>, String> {
            let Some(text) = variable(name) else {
                return Ok(None);
            };
            let wrong = |_| format!("{name} is `{text}`, which is no whole number");
            text.trim().parse().map(Some).map_err(wrong)
        };
        // Index from 0 and how many there are, as each scheduler says it.
        let slurm = || -> Result<Option<(u32, Option<u32>)>, String> {
            let Some(task) = number("SLURM_ARRAY_TASK_ID")? else {
                return Ok(None);
            };
            // A part of an array that is submitted again has the numbers of the whole, which it does not know.
            if of.is_some() {
                return Ok(Some((task, None)));
            }
            let (first, last) = (
                number("SLURM_ARRAY_TASK_MIN")?,
                number("SLURM_ARRAY_TASK_MAX")?,
            );
            let (Some(first), Some(last), Some(count)) =
                (first, last, number("SLURM_ARRAY_TASK_COUNT")?)
            else {
                return Ok(Some((task, None)));
            };
            if first > 1 || last - first + 1 != count {
                return Err(format!(
                    "the array's tasks are {count} from {first} to {last}, and not all from 0 or 1 on; give --shard auto/N, tasks counted from 0"
                ));
            }
            Ok(Some((task.saturating_sub(first), Some(count))))
        };
        let pair = |index: &str, of: &str| -> Result<Option<(u32, Option<u32>)>, String> {
            let Some(at) = number(index)? else {
                return Ok(None);
            };
            Ok(Some((at, number(of)?)))
        };
        let mut found = slurm()?;
        for (index, of) in [
            ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
            ("NEL_SHARD_IDX", "NEL_TOTAL_SHARDS"),
            ("RANK", "WORLD_SIZE"),
        ] {
            if found.is_none() {
                found = pair(index, of)?;
            }
        }
        let (index, said) = found.ok_or(
            "no job scheduler says which shard this is (SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, NEL_SHARD_IDX or RANK)",
        )?;
        let of = of
            .or(said)
            .ok_or("the job scheduler does not say of how many shards; give --shard auto/N")?;
        if index >= of || of > MOST {
            return Err(format!(
                "the job scheduler says shard {} of {of}",
                u64::from(index) + 1
            ));
        }
        Ok(Shard {
            index: index + 1,
            of,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, set: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let shard = text.parse::<ShardChoice>()?.resolve(variable)?;
        Ok(shard.to_string())
    }

    #[test]
    fn schedulers_say_which_shard_it_is() {
        let is = |text: &str, set: &[(&str, &str)], shard: &str| {
            assert_eq!(resolved(text, set).as_deref(), Ok(shard), "{text} {set:?}");
        };
        is("3/8", &[("RANK", "0")], "3/8");
        let array = |task, first, last, count| {
            [
                ("SLURM_ARRAY_TASK_ID", task),
                ("SLURM_ARRAY_TASK_MIN", first),
                ("SLURM_ARRAY_TASK_MAX", last),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ]
        };
        is("auto", &array("7", "0", "7", "8"), "8/8");
        is("auto", &array("8", "1", "8", "8"), "8/8");
        // One task that is submitted again.
        is("auto/8", &array("3", "3", "3", "1"), "4/8");
        assert!(resolved("auto", &array("3", "3", "3", "1")).is_err());
        assert!(resolved("auto", &array("2", "0", "4", "3")).is_err());
        is(
            "auto",
            &[("NEL_SHARD_IDX", "0"), ("NEL_TOTAL_SHARDS", "2")],
            "1/2",
        );
        is("auto", &[("RANK", "1"), ("WORLD_SIZE", "2")], "2/2");
        is("auto/5", &[("JOB_COMPLETION_INDEX", "4")], "5/5");
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for (text, set) in [
            ("0/4", &[][..]),
            ("5/4", &[]),
            ("1/0", &[]),
            ("1", &[]),
            ("a/b", &[]),
            ("1/70000", &[]),
            ("auto", &[]),
            ("auto", &[("JOB_COMPLETION_INDEX", "1")]),
            ("auto/2", &[("JOB_COMPLETION_INDEX", "2")]),
            ("auto", &[("RANK", "x"), ("WORLD_SIZE", "2")]),
        ] {
            assert!(resolved(text, set).is_err(), "{text} {set:?}");
        }
    }
}
