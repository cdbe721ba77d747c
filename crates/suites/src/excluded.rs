//! Checkpoints that could not be asked, beside what was found of the others.

use crate::{Found, Show};
use concord_findings::{Column, Exhibit, LongTable, Mark, TableSpec};
use serde::Serialize;
use serde_json::{Value, json};

/// A checkpoint that could not be asked, and why. It has no place among the findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Its name.
    pub checkpoint: String,
    /// What keeps it from being measured.
    pub reason: String,
}

impl Excluded {
    /// What is said of it.
    pub fn sentence(&self) -> String {
        format!("{}: not measurable: {}", self.checkpoint, self.reason)
    }
}

/// Findings, with the checkpoints that they are not of. `base` is the first one that was named.
pub fn with_excluded(
    found: Box<dyn Found>,
    excluded: Vec<Excluded>,
    base: Option<&str>,
) -> Box<dyn Found> {
    if excluded.is_empty() {
        return found;
    }
    let without_base = excluded
        .iter()
        .any(|one| Some(one.checkpoint.as_str()) == base);
    Box::new(Beside {
        found,
        excluded,
        without_base,
    })
}

struct Beside {
    found: Box<dyn Found>,
    excluded: Vec<Excluded>,
    /// Whether the others are compared with another base than the one that was named.
    without_base: bool,
}

/// The key of findings under which checkpoints stand that could not be asked.
const KEY: &str = "not_measurable";

/// The table of them, which a run of any suite may have.
pub const TABLE: TableSpec = TableSpec {
    name: KEY,
    about: "a row a checkpoint that could not be asked",
    columns: &[
        Column::string("checkpoint", "the checkpoint"),
        Column::string("reason", "what keeps it from being measured"),
    ],
};

impl Beside {
    fn sentences(&self) -> Vec<String> {
        let mut all: Vec<String> = self.excluded.iter().map(Excluded::sentence).collect();
        if self.without_base {
            all.push("the first checkpoint that was measured is the base in its place".to_owned());
        }
        all
    }
}

impl Found for Beside {
    fn json(&self) -> Value {
        let mut found = match self.found.json() {
            Value::Object(found) => found,
            // A list has no room for a key.
            other => [("findings".to_owned(), other)].into_iter().collect(),
        };
        found.insert(KEY.to_owned(), json!(self.excluded));
        Value::Object(found)
    }

    fn tables(&self) -> Vec<LongTable> {
        let mut table = TABLE.table();
        for one in &self.excluded {
            table.push([one.checkpoint.as_str().into(), one.reason.as_str().into()]);
        }
        let mut all = self.found.tables();
        all.push(table);
        all
    }

    fn exhibits(&self, show: Show) -> Vec<Exhibit> {
        let mut all = self.found.exhibits(show);
        if let Some(Exhibit::Summary(summary)) = all.first_mut() {
            let said = self.sentences().into_iter().map(|line| (Mark::Bad, line));
            summary.warnings.splice(0..0, said);
            return all;
        }
        // A summary stands first.
        let at = usize::from(matches!(all.first(), Some(Exhibit::Summary(_))));
        let leads = self.sentences().into_iter();
        all.splice(at..at, leads.map(|line| Exhibit::Lead(format!("{line}\n"))));
        all
    }

    fn warnings(&self) -> Vec<String> {
        self.found.warnings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(Value);

    impl Found for Two {
        fn json(&self) -> Value {
            self.0.clone()
        }

        fn tables(&self) -> Vec<LongTable> {
            Vec::new()
        }

        fn exhibits(&self, _: Show) -> Vec<Exhibit> {
            vec![Exhibit::Note("found\n".to_owned())]
        }

        fn warnings(&self) -> Vec<String> {
            vec!["take care".to_owned()]
        }
    }

    fn beside(found: Value, base: &str) -> Box<dyn Found> {
        let excluded = Excluded {
            checkpoint: "m".to_owned(),
            reason: "no tokens spell it".to_owned(),
        };
        with_excluded(Box::new(Two(found)), vec![excluded], Some(base))
    }

    #[test]
    fn who_could_not_be_asked_stands_beside_what_was_found() {
        let listed = json!([{ "checkpoint": "m", "reason": "no tokens spell it" }]);
        let found = beside(json!({ "value": 1 }), "other");
        assert_eq!(
            found.json(),
            json!({ "value": 1, "not_measurable": listed })
        );
        assert_eq!(
            beside(json!([1]), "other").json(),
            json!({ "findings": [1], "not_measurable": listed })
        );
        let lead = "m: not measurable: no tokens spell it\n";
        let shown = found.exhibits(Show::default());
        assert_eq!(shown[0], Exhibit::Lead(lead.to_owned()));
        assert_eq!((shown.len(), found.warnings().len()), (2, 1));
        let table = found.tables()[0].csv();
        assert_eq!(table, "checkpoint,reason\nm,no tokens spell it\n");
        let Exhibit::Lead(lead) = &beside(json!([1]), "m").exhibits(Show::default())[1] else {
            panic!("nothing is said");
        };
        assert!(lead.ends_with("is the base in its place\n"), "{lead}");
        let nobody = with_excluded(Box::new(Two(json!([1]))), Vec::new(), None);
        assert_eq!(nobody.json(), json!([1]));
    }
}
