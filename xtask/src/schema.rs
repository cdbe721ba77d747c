//! JSON Schemas of what is stored, made of the types that store it: names, types and first paragraphs of documentation.
//!
//! The page of exported tables is kept here too: its columns are those of the code.
//!
//! Only what the types say is in a schema; a test of the program holds stored files to it.

use anyhow::{Context, Result, bail};
use concord_suites::suites;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keys that come first in what a run stores, and are no fields of a type.
const SEALS: [(&str, &str, &str); 2] = [
    ("Manifest", "digest", "The digest of what follows."),
    (
        "Reading",
        "sum",
        "The checksum of what follows; absent in runs of before.",
    ),
];

/// The schemas and the files that they are kept in.
pub fn schemas(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let shared = ["crates/findings/src", "crates/suites/src/shared"];
    let suite = |name: &str| -> Result<Types> {
        let own = format!("crates/suites/src/{name}");
        Types::read(root, shared.into_iter().chain([own.as_str()]))
    };
    let runs = Types::read(root, ["crates/runs/src", "crates/readings/src"])?;
    let mut of_run = runs.schema(&of_run())?;
    // What the room that writes puts in front.
    for (name, key, what) in SEALS {
        of_run["$defs"][name]["properties"][key] = json!({ "type": "string", "description": what });
    }
    let all = [
        (
            "crates/suites/schema/valueconsistency-findings.json",
            suite("valueconsistency")?.schema(&of_several())?,
        ),
        (
            "crates/suites/schema/randomness-findings.json",
            suite("randomness")?.schema(&json!({
                "title": "What the suite `randomness` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        (
            "crates/suites/schema/faking-findings.json",
            suite("faking")?.schema(&json!({
                "title": "What the suite `faking` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        (
            "crates/suites/schema/surveys-findings.json",
            suite("surveys")?.schema(&json!({
                "title": "What the suite `surveys` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        (
            "crates/suites/schema/profiles-findings.json",
            suite("value_profiles")?.schema(&json!({
                "title": "What the suite `profiles` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        (
            "crates/suites/schema/stress-findings.json",
            suite("stress")?.schema(&json!({
                "title": "What the suite `stress` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        (
            "crates/suites/schema/scenarios-findings.json",
            suite("scenarios")?.schema(&json!({
                "title": "What the suite `scenarios` finds",
                "$ref": "#/$defs/Findings",
            }))?,
        ),
        ("crates/runs/schema/run.json", of_run),
    ];
    all.into_iter()
        .map(|(file, schema)| {
            Ok((
                root.join(file),
                serde_json::to_string_pretty(&schema)? + "\n",
            ))
        })
        .collect()
}

/// The page of exported tables, with the columns that the code has.
pub fn page_of_tables(root: &Path) -> Result<(PathBuf, String)> {
    let path = root.join("docs/export.md");
    let mut page = std::fs::read_to_string(&path)?;
    for spec in suites().iter().flat_map(|suite| suite.table_specs()) {
        let (start, end) = (format!("<!-- columns of {}:", spec.name), "<!-- end -->");
        let told = page
            .find(&start)
            .and_then(|at| Some(at + page[at..].find('\n')? + 1));
        let from =
            told.with_context(|| format!("docs/export.md: nothing about `{}`", spec.name))?;
        let to = page[from..]
            .find(end)
            .context("docs/export.md: an end is missing")?
            + from;
        let mut table = format!(
            "{}.\n\n| column | type | |\n|---|---|---|\n",
            capital(spec.about)
        );
        for column in spec.columns {
            let about = column.about.replace('|', "\\|");
            let _ = writeln!(
                table,
                "| `{}` | {} | {about} |",
                column.name,
                column.kind.name()
            );
        }
        page.replace_range(from..to, &table);
    }
    Ok((path, page))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

/// Writes schemas and page.
pub fn write(root: &Path) -> Result<()> {
    for (path, text) in schemas(root)?.into_iter().chain([page_of_tables(root)?]) {
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The findings of several checkpoints, which write themselves.
fn of_several() -> Value {
    json!({
        "title": "What the suite `valueconsistency` finds",
        "type": "object",
        "required": ["verdict", "models", "comparisons"],
        "properties": {
            "verdict": { "$ref": "#/$defs/Assessment" },
            "models": {
                "type": "object",
                "description": "What was found about each checkpoint, by its name.",
                "additionalProperties": { "$ref": "#/$defs/Findings" },
            },
            "comparisons": {
                "type": "array",
                "description": "How each checkpoint after the first differs from it.",
                "items": { "$ref": "#/$defs/Against" },
            },
            "questions": { "$ref": "#/$defs/Counts" },
            "differences": {
                "type": "array",
                "description": "In what compared runs differ.",
                "items": { "type": "string" },
            },
        },
        "additionalProperties": false,
    })
}

/// The directory of a run.
fn of_run() -> Value {
    let file = |name: &str, what: &str, schema: &str| {
        let schema = match schema {
            "" => Value::Null,
            schema => json!({ "$ref": format!("#/$defs/{schema}") }),
        };
        json!({ "name": name, "description": what, "schema": schema })
    };
    json!({
        "title": "The directory of a run",
        "description": "The files of a run, and below `$defs` what is in them. A folder whose name ends in .partial is a run that did not finish.",
        "files": [
            file("manifest.json", "What was run on what, by which program, and the digests of all other files. It begins with the digest of its \
                 other bytes.", "Manifest"),
            file("questions.json", "What was asked about, as its suite stores it.", ""),
            file("stimuli.json", "The wording around it, where a suite stores one apart.", ""),
            file("ROUND/CHECKPOINT.jsonl", "What was read of a checkpoint in a round: a line that says what the readings were made with, then a \
                 reading a line, each line with a checksum before its first key.", "Reading"),
            file("ROUND/CHECKPOINT/RATER.jsonl", "What a rater made of what the checkpoint wrote, in the same form.", "Reading"),
            file("findings.json", "What was made of it all; `concord schema findings` describes it.", ""),
            file("report.html", "The page, where `concord report` made one.", ""),
            file("export/TABLE.csv, export/TABLE.parquet", "Its tables, where `concord export` wrote them; `concord schema answers` and \
                 `concord schema measures` describe them.", ""),
        ],
    })
}

/// What stores itself, by name.
struct Types(BTreeMap<String, Item>);

impl Types {
    fn read<'a>(root: &Path, folders: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut folders: Vec<PathBuf> = folders.into_iter().map(|name| root.join(name)).collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.extension().is_none_or(|ending| ending != "rs") {
                    continue;
                }
                let file = syn::parse_file(&std::fs::read_to_string(&path)?)
                    .with_context(|| path.display().to_string())?;
                for item in file.items {
                    let name = match &item {
                        Item::Struct(item) if derives(&item.attrs) => item.ident.to_string(),
                        Item::Enum(item) if derives(&item.attrs) => item.ident.to_string(),
                        Item::Type(item) => item.ident.to_string(),
                        _ => continue,
                    };
                    found.insert(name, item);
                }
            }
        }
        Ok(Self(found))
    }

    /// A schema with everything that it refers to.
    fn schema(&self, root: &Value) -> Result<Value> {
        let mut definitions = Map::new();
        let mut open = references(root);
        while let Some(name) = open.pop_first() {
            let definition = self.definition(&name)?;
            open.extend(references(&definition));
            definitions.insert(name, definition);
            open.retain(|name| !definitions.contains_key(name));
        }
        definitions.sort_keys();
        let mut schema = Map::from_iter([("$schema".to_owned(), json!(DRAFT))]);
        schema.extend(root.as_object().cloned().unwrap_or_default());
        schema.insert("$defs".to_owned(), Value::Object(definitions));
        Ok(Value::Object(schema))
    }

    fn definition(&self, name: &str) -> Result<Value> {
        match self.0.get(name) {
            Some(Item::Struct(item)) => {
                let mut schema = self.fields(&item.fields)?;
                describe(&mut schema, &item.attrs);
                Ok(schema)
            }
            Some(Item::Enum(item)) => self.choices(item),
            Some(Item::Type(item)) => self.value(&item.ty),
            _ => bail!("no type `{name}` that is stored"),
        }
    }

    /// A struct: an object of its fields, or the one value that it is.
    fn fields(&self, fields: &Fields) -> Result<Value> {
        let (mut properties, mut required, mut parts) = (Map::new(), Vec::new(), Vec::new());
        for field in fields {
            let Some(name) = &field.ident else {
                return self.value(&field.ty);
            };
            let says = serde(&field.attrs);
            let has = |word: &str| says.iter().any(|(key, _)| key == word);
            if has("skip") {
                continue;
            }
            if has("flatten") {
                parts.push(self.value(&field.ty)?);
                continue;
            }
            let mut schema = if has("serialize_with") {
                json!({})
            } else {
                self.value(&field.ty)?
            };
            describe(&mut schema, &field.attrs);
            let name = renamed(&says).unwrap_or_else(|| name.to_string());
            if !has("skip_serializing_if") {
                required.push(name.clone());
            }
            properties.insert(name, schema);
        }
        let mut schema =
            json!({ "type": "object", "required": required, "properties": properties });
        if parts.is_empty() {
            schema["additionalProperties"] = json!(false);
        } else {
            schema["allOf"] = json!(parts);
        }
        Ok(schema)
    }

    /// An enum: words, or objects of one key.
    fn choices(&self, item: &syn::ItemEnum) -> Result<Value> {
        let all = serde(&item.attrs);
        let snake = all
            .iter()
            .any(|(key, value)| key == "rename_all" && value == "snake_case");
        let lower = all
            .iter()
            .any(|(key, value)| key == "rename_all" && value == "lowercase");
        let (mut words, mut others) = (Vec::new(), Vec::new());
        for variant in &item.variants {
            let own = variant.ident.to_string();
            let name = renamed(&serde(&variant.attrs)).unwrap_or_else(|| match (snake, lower) {
                (true, _) => snake_case(&own),
                (_, true) => own.to_lowercase(),
                _ => own,
            });
            if variant.fields.is_empty() {
                words
                    .push(json!({ "const": name, "description": first_paragraph(&variant.attrs) }));
                continue;
            }
            let mut inner = self.fields(&variant.fields)?;
            describe(&mut inner, &variant.attrs);
            let object = json!({ "type": "object", "required": [name], "properties": { name.clone(): inner }, "additionalProperties": false });
            others.push(object);
        }
        words.extend(others);
        let mut schema = json!({ "oneOf": words });
        describe(&mut schema, &item.attrs);
        Ok(schema)
    }

    fn value(&self, of: &Type) -> Result<Value> {
        match of {
            Type::Reference(inner) => self.value(&inner.elem),
            Type::Slice(inner) => Ok(json!({ "type": "array", "items": self.value(&inner.elem)? })),
            Type::Array(inner) => {
                let mut schema = json!({ "type": "array", "items": self.value(&inner.elem)? });
                if let Expr::Lit(count) = &inner.len
                    && let Lit::Int(count) = &count.lit
                {
                    let count: usize = count.base10_parse()?;
                    schema["minItems"] = json!(count);
                    schema["maxItems"] = json!(count);
                }
                Ok(schema)
            }
            Type::Tuple(inner) => {
                let items = inner.elems.iter().map(|part| self.value(part));
                let items = items.collect::<Result<Vec<_>>>()?;
                Ok(json!({ "type": "array", "prefixItems": items, "items": false }))
            }
            Type::Path(path) => self.named(path),
            _ => bail!("a type that no schema is known for"),
        }
    }

    fn named(&self, path: &syn::TypePath) -> Result<Value> {
        let last = path.path.segments.last().context("a type without a name")?;
        let inner: Vec<&Type> = match &last.arguments {
            PathArguments::AngleBracketed(given) => {
                let types = given.args.iter();
                types
                    .filter_map(|given| match given {
                        GenericArgument::Type(of) => Some(of),
                        _ => None,
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let name = last.ident.to_string();
        Ok(match (name.as_str(), &inner[..]) {
            // What is not finite is null.
            ("f64" | "f32", _) => json!({ "type": ["number", "null"] }),
            ("LogProb", _) => json!({ "type": "number", "maximum": 0 }),
            ("Probability" | "Nats", _) => json!({ "type": "number", "minimum": 0 }),
            ("usize" | "u64" | "u32" | "u16" | "u8", _) => {
                json!({ "type": "integer", "minimum": 0 })
            }
            ("i64" | "i32", _) => json!({ "type": "integer" }),
            ("bool", _) => json!({ "type": "boolean" }),
            ("String" | "str" | "char" | "PathBuf", _) => json!({ "type": "string" }),
            ("Value", _) => json!({}),
            ("Option", [inner]) => json!({ "anyOf": [self.value(inner)?, { "type": "null" }] }),
            ("Box" | "Arc", [inner]) => self.value(inner)?,
            ("Vec" | "BTreeSet", [inner]) => {
                json!({ "type": "array", "items": self.value(inner)? })
            }
            ("BTreeMap" | "HashMap" | "Map", [_, inner]) => {
                json!({ "type": "object", "additionalProperties": self.value(inner)? })
            }
            _ if self.0.contains_key(&name) => json!({ "$ref": format!("#/$defs/{name}") }),
            _ => bail!("`{name}` is stored, and no schema is known for it"),
        })
    }
}

/// The types that a schema refers to.
fn references(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match schema {
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str);
            found.extend(
                own.and_then(|own| own.strip_prefix("#/$defs/"))
                    .map(str::to_owned),
            );
            found.extend(object.values().flat_map(references));
        }
        Value::Array(list) => found.extend(list.iter().flat_map(references)),
        _ => {}
    }
    found
}

fn derives(attributes: &[Attribute]) -> bool {
    let mut derives = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"));
    derives.any(|attribute| match &attribute.meta {
        Meta::List(list) => list
            .tokens
            .to_string()
            .split(',')
            .any(|name| name.trim() == "Serialize"),
        _ => false,
    })
}

/// What serde is told, as words with their values.
fn serde(attributes: &[Attribute]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
    {
        let _ = attribute.parse_nested_meta(|meta| {
            let key = meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default();
            let value = match meta.value() {
                Ok(value) => value.parse::<syn::LitStr>()?.value(),
                Err(_) => String::new(),
            };
            found.push((key, value));
            Ok(())
        });
    }
    found
}

fn renamed(says: &[(String, String)]) -> Option<String> {
    let mut renames = says.iter().filter(|(key, _)| key == "rename");
    renames.next().map(|(_, name)| name.clone())
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Puts what the documentation says into a schema.
fn describe(schema: &mut Value, attributes: &[Attribute]) {
    let text = first_paragraph(attributes);
    if let (false, Some(schema)) = (text.is_empty(), schema.as_object_mut()) {
        schema.insert("description".to_owned(), text.into());
    }
}

fn first_paragraph(attributes: &[Attribute]) -> String {
    let docs = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
    let lines: Vec<String> = docs.take_while(|line| !line.is_empty()).collect();
    plain(&lines.join(" "))
}

/// Documentation without the marks of links: a reader of a schema has no code to follow them into.
fn plain(text: &str) -> String {
    text.replace("([`", "(`")
        .replace("`])", "`)")
        .replace("[`", "`")
        .replace("`]", "`")
}
