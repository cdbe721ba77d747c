//! Tells the program which commit it is built from, where that is known.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=CONCORD_COMMIT");
    let git = |arguments: &[&str]| {
        let found = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(found.stdout).ok()?;
        found.status.success().then(|| text.trim().to_owned())
    };
    if std::env::var_os("CONCORD_COMMIT").is_some() {
        return;
    }
    // What is not committed is no commit's.
    let Some(folder) = git(&["rev-parse", "--absolute-git-dir"]) else {
        return;
    };
    println!("cargo:rerun-if-changed={folder}/HEAD");
    println!("cargo:rerun-if-changed={folder}/logs/HEAD");
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=CONCORD_COMMIT={commit}");
    }
}
