//! Checks what the compiler cannot: which room may use which, file sizes, names, and that pages say what is there.

use crate::schema::{page_of_tables, schemas};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each room may use of the others (docs/architecture.md).
const ROOMS: [(&str, &[&str]); 13] = [
    ("readings", &[]),
    ("findings", &[]),
    ("stats", &[]),
    ("questions", &["readings"]),
    ("suites", &["readings", "findings", "stats", "questions"]),
    ("checkpoint", &["readings"]),
    ("kernels", &[]),
    ("decoder", &["checkpoint", "kernels"]),
    ("scorer", &["readings", "checkpoint", "kernels", "decoder"]),
    ("runs", &["readings"]),
    ("report", &["findings"]),
    (
        "session",
        &[
            "readings",
            "checkpoint",
            "kernels",
            "decoder",
            "scorer",
            "runs",
        ],
    ),
    (
        "cli",
        &[
            "readings",
            "findings",
            "stats",
            "questions",
            "suites",
            "checkpoint",
            "kernels",
            "decoder",
            "scorer",
            "runs",
            "report",
            "session",
        ],
    ),
];

/// Rooms that must not name a study, tests apart.
const NAME_NO_STUDY: [&str; 4] = ["findings", "report", "runs", "session"];

/// Rooms that know neither flags nor tensors.
const WITHOUT: [(&str, &[&str]); 5] = [
    ("findings", &["clap", "candle-core", "tokenizers"]),
    ("questions", &["clap", "candle-core", "tokenizers"]),
    (
        "suites",
        &["clap", "candle-core", "tokenizers", "safetensors"],
    ),
    ("report", &["clap", "candle-core", "tokenizers"]),
    ("session", &["clap", "indicatif"]),
];

/// Lines of a file without its tests.
const LONGEST_FILE: usize = 600;

const VAGUE: [&str; 6] = ["util", "utils", "helpers", "common", "misc", "manager"];

/// Runs every check and reports all that is wrong.
pub fn tidy(root: &Path) -> Result<()> {
    let mut wrong = found(root)?;
    for (path, text) in schemas(root)?.into_iter().chain([page_of_tables(root)?]) {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            let name = path.strip_prefix(root).unwrap_or(&path).display();
            wrong.push(format!(
                "{name}: the code says something else: `cargo xtask schema`"
            ));
        }
    }
    if wrong.is_empty() {
        println!("tidy: nothing to say");
        return Ok(());
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    bail!("tidy: {} things to put right", wrong.len())
}

/// What is wrong with rooms and files.
fn found(root: &Path) -> Result<Vec<String>> {
    let mut wrong: Vec<String> = Vec::new();
    rooms(root, &mut wrong)?;
    for path in files(root)? {
        let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else {
            continue;
        };
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        if !["rs", "md", "toml", "py", "jinja"].contains(&ending) {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                wrong.push(format!(
                    "{name}:{}: white space at the end of the line",
                    number + 1
                ));
            }
        }
        if ending == "rs" {
            source(&name, &text, &mut wrong);
        }
    }
    Ok(wrong)
}

fn source(name: &str, text: &str, wrong: &mut Vec<String>) {
    let stem = Path::new(name)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("");
    if VAGUE.contains(&stem) {
        wrong.push(format!(
            "{name}: a file is named for the noun that it defines"
        ));
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: does not open with what it is for"));
    }
    let code = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or("")
        .lines()
        .count();
    if code > LONGEST_FILE {
        wrong.push(format!(
            "{name}: {code} lines without tests, over {LONGEST_FILE}"
        ));
    }
    if name.starts_with("xtask/") {
        return;
    }
    for banned in ["todo!(", "unimplemented!(", "#[ignore"] {
        if text.contains(banned) {
            wrong.push(format!("{name}: `{banned}`"));
        }
    }
    let devices = ["crates/kernels/", "crates/decoder/", "crates/checkpoint/"];
    if text.contains("cfg(feature") && !devices.iter().any(|room| name.starts_with(room)) {
        wrong.push(format!(
            "{name}: `cfg(feature` belongs in kernels, decoder and checkpoint"
        ));
    }
}

/// Every room is in the table, uses what the table says, and is described in `crates/README.md`.
fn rooms(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let map = std::fs::read_to_string(root.join("crates/README.md"))?;
    for entry in std::fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let Some(room) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| path.is_dir())
        else {
            continue;
        };
        if !map.contains(&format!("`{room}`")) {
            wrong.push(format!("crates/README.md: says nothing about `{room}`"));
        }
        let Some(allowed) = allowed.get(room) else {
            wrong.push(format!(
                "crates/{room}: is not in the table of rooms (xtask/src/tidy.rs)"
            ));
            continue;
        };
        let manifest = std::fs::read_to_string(path.join("Cargo.toml"))?;
        let runtime = manifest.split("[dev-dependencies]").next().unwrap_or("");
        for line in runtime.lines() {
            let Some(used) = line
                .strip_prefix("concord-")
                .and_then(|line| line.split('.').next())
            else {
                continue;
            };
            if !allowed.contains(&used) {
                wrong.push(format!(
                    "crates/{room}: uses `{used}`, which the plan does not allow"
                ));
            }
        }
        let without = WITHOUT.iter().find(|(name, _)| *name == room);
        for banned in without.map_or(&[][..], |(_, banned)| banned) {
            let mut names = runtime
                .lines()
                .filter_map(|line| line.split(['.', ' ', '=']).next());
            if names.any(|name| name == *banned) {
                wrong.push(format!(
                    "crates/{room}: uses `{banned}`, which it must not know"
                ));
            }
        }
        if NAME_NO_STUDY.contains(&room) {
            names_of_studies(root, room, &path, wrong)?;
        }
        if runtime.contains("git =") || runtime.contains("anyhow") {
            wrong.push(format!(
                "crates/{room}: git dependencies and anyhow stay out of the rooms"
            ));
        }
    }
    Ok(())
}

/// Refuses the name of a study outside of tests.
fn names_of_studies(root: &Path, room: &str, path: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let studies = std::fs::read_dir(root.join("crates/suites/src"))?;
    let studies: Vec<String> = studies
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "shared")
        .collect();
    let mut folders = vec![path.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.path();
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code.to_lowercase();
            for study in studies.iter().filter(|study| code.contains(study.as_str())) {
                wrong.push(format!(
                    "crates/{room}/{}: names the study `{study}`",
                    file.strip_prefix(path).unwrap_or(&file).display()
                ));
            }
        }
    }
    Ok(())
}

/// The files that git tracks or would track.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("git is needed to list the files")?;
    let names = String::from_utf8(listed.stdout)?;
    let paths = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root.join(name));
    Ok(paths.filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A house with every room, as the table has it, and one study.
    fn house() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mut map = String::new();
        for (room, uses) in ROOMS {
            map.extend(["| `", room, "` | a room |\n"]);
            let uses = uses
                .iter()
                .map(|used| format!("concord-{used}.workspace = true\n"));
            let manifest = format!("[dependencies]\n{}", uses.collect::<String>());
            put(root.path(), &format!("crates/{room}/Cargo.toml"), &manifest);
            let code =
                "//! A room.\n\n#[cfg(test)]\nmod tests { const NAME: &str = \"randomness\"; }\n";
            put(root.path(), &format!("crates/{room}/src/lib.rs"), code);
        }
        put(
            root.path(),
            "crates/suites/src/randomness/mod.rs",
            "//! A study.\n",
        );
        put(
            root.path(),
            "crates/suites/src/shared/mod.rs",
            "//! What studies share.\n",
        );
        put(root.path(), "crates/README.md", &map);
        root
    }

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn add(root: &Path, name: &str, text: &str) {
        let before = fs::read_to_string(root.join(name)).unwrap_or_default();
        put(root, name, &format!("{before}{text}"));
    }

    #[test]
    fn a_house_with_whole_borders_is_tidy() {
        let root = house();
        let mut wrong = Vec::new();
        rooms(root.path(), &mut wrong).unwrap();
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(found(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_broken_border_is_found() {
        let report = "crates/report/src/lib.rs";
        for (name, text, expected) in [
            (
                "crates/report/src/text/page.rs",
                "//! Randomness.\n",
                "names the study `randomness`",
            ),
            (
                "crates/session/src/rounds.rs",
                "fn randomness() {}\n",
                "names the study `randomness`",
            ),
            (
                "crates/report/Cargo.toml",
                "concord-suites.workspace = true\n",
                "uses `suites`",
            ),
            (
                "crates/stats/Cargo.toml",
                "concord-readings.workspace = true\n",
                "uses `readings`",
            ),
            (
                "crates/suites/Cargo.toml",
                "clap.workspace = true\n",
                "uses `clap`",
            ),
            (
                "crates/suites/Cargo.toml",
                "candle-core = \"1\"\n",
                "uses `candle-core`",
            ),
            (
                "crates/session/Cargo.toml",
                "clap = { version = \"4\" }\n",
                "uses `clap`",
            ),
            (
                "crates/findings/Cargo.toml",
                "x = { git = \"https://x\" }\n",
                "git dependencies",
            ),
            ("crates/kitchen/Cargo.toml", "[dependencies]\n", "`kitchen`"),
        ] {
            let root = house();
            add(root.path(), name, text);
            let mut wrong = Vec::new();
            rooms(root.path(), &mut wrong).unwrap();
            assert!(
                wrong.iter().any(|line| line.contains(expected)),
                "{name}: {wrong:?}"
            );
            assert!(!found(root.path()).unwrap().is_empty(), "{name}");
        }
        // What tests use and name is theirs.
        let root = house();
        let tests = "[dev-dependencies]\nclap.workspace = true\nconcord-cli.workspace = true\n";
        add(root.path(), "crates/suites/Cargo.toml", tests);
        add(root.path(), report, "// randomness\n");
        assert_eq!(found(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn long_files_and_vague_names_are_found() {
        let of = |name: &str, text: &str| {
            let mut wrong = Vec::new();
            source(name, text, &mut wrong);
            wrong
        };
        assert!(of("crates/runs/src/lock.rs", "//! A lock.\n").is_empty());
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST_FILE));
        assert!(of("crates/runs/src/lock.rs", &long)[0].contains("601 lines"));
        let tested = format!("//! Long.\n#[cfg(test)]\n{}", "\n".repeat(LONGEST_FILE));
        assert!(of("crates/runs/src/lock.rs", &tested).is_empty());
        assert!(of("crates/runs/src/utils.rs", "//! Things.\n")[0].contains("named for the noun"));
        assert!(of("crates/runs/src/lock.rs", "fn lock() {}\n")[0].contains("does not open"));
        assert!(
            of("crates/runs/src/lock.rs", "//! A.\n// cfg(feature\n")[0].contains("belongs in")
        );
    }
}
