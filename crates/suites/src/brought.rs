//! What files of users hold, for the studies that read them.

/// A kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Brought {
    /// What it is called in `concord schema`.
    pub kind: &'static str,
    /// The JSON Schema of a row.
    pub schema: &'static str,
    /// A CSV to begin one's own with.
    pub example: &'static str,
}

/// All kinds.
pub static BROUGHT: [Brought; 4] = [
    Brought {
        kind: "requests",
        schema: include_str!("../schema/files/requests.json"),
        example: include_str!("../data/examples/requests.csv"),
    },
    Brought {
        kind: "scenarios",
        schema: include_str!("../schema/files/scenarios.json"),
        example: include_str!("../data/examples/scenarios.csv"),
    },
    Brought {
        kind: "populations",
        schema: include_str!("../schema/files/populations.json"),
        example: include_str!("../data/examples/populations.csv"),
    },
    Brought {
        kind: "survey",
        schema: include_str!("../schema/files/survey.json"),
        example: include_str!("../data/examples/survey.csv"),
    },
];

#[cfg(test)]
mod tests {
    use super::BROUGHT;
    use crate::{Given, suite};
    use serde_json::Value;

    /// Every example is read by the suites that take it, and has the columns that its schema asks for; without one of them it is refused.
    #[test]
    fn examples_are_read_and_schemas_say_what_is_needed() {
        let takers = [
            ("requests", "faking", "requests"),
            ("requests", "profiles", "requests"),
            ("scenarios", "stress", "scenarios"),
            ("survey", "profiles", "profiles"),
            ("populations", "surveys", "questions"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.csv");
        for (kind, name, option) in takers {
            let brought = BROUGHT.iter().find(|of| of.kind == kind).unwrap();
            let schema: Value = serde_json::from_str(brought.schema).unwrap();
            let mut reader = csv::Reader::from_reader(brought.example.as_bytes());
            let columns: Vec<String> = reader
                .headers()
                .unwrap()
                .iter()
                .map(str::to_owned)
                .collect();
            for column in &columns {
                assert!(schema["properties"][column].is_object(), "{kind}: {column}");
            }
            let begins = |text: &str| {
                std::fs::write(&path, text).unwrap();
                let suite = suite(name).unwrap();
                let typed = [(option.to_owned(), vec![path.to_str().unwrap().to_owned()])];
                suite
                    .begin(&Given::new(suite.options(), &typed.into(), 7))
                    .map(drop)
            };
            assert!(
                begins(brought.example).is_ok(),
                "{kind}: {:?}",
                begins(brought.example)
            );
            let any = schema["anyOf"][1]["required"].as_array();
            let needed = schema["required"].as_array().or(any).unwrap();
            for column in needed.iter().filter_map(Value::as_str) {
                let renamed = brought.example.replacen(column, "another", 1);
                let error = begins(&renamed).unwrap_err().to_string();
                assert!(error.contains("no column"), "{kind}: {column}: {error}");
            }
        }
    }
}
