//! Files of servers and what they must not say, and commands that need weights.

use crate::concord;
use crate::model_server::{GOOD, Manners, words};
use crate::served::{RUN, of, run};
use std::process::Command;

#[test]
fn keys_stay_in_the_environment() {
    let wants = || Manners {
        key: Some("s3cret-of-a-test"),
        ..GOOD.clone()
    };
    let (folder, server) = of(wants(), "key = \"MADE_UP_KEY\"\n");
    let with = |key: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command
            .args(RUN)
            .args(["--formats", "letter"])
            .current_dir(folder.path())
            .env("CONCORD_NO_CACHE", "1")
            .env("CONCORD_DEVICE", "cpu")
            .env_remove("MADE_UP_KEY");
        command.envs(key.map(|key| ("MADE_UP_KEY", key)));
        command.output().unwrap()
    };
    let without = with(None);
    assert_eq!(without.status.code(), Some(4));
    let said = String::from_utf8(without.stderr).unwrap();
    assert!(
        said.contains("the variable MADE_UP_KEY is not set"),
        "{said}"
    );
    let wrong = with(Some("another"));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        said.contains("answers 401: wrong key: Bearer (key)") && !said.contains("another"),
        "{said}"
    );
    let right = with(Some("s3cret-of-a-test"));
    assert!(
        right.status.success(),
        "{}",
        String::from_utf8_lossy(&right.stderr)
    );
    assert!(
        server
            .asked()
            .iter()
            .any(|asked| asked.key.as_deref() == Some("Bearer s3cret-of-a-test"))
    );
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains("s3cret"), "{}", path.display());
            }
        }
    }
}

#[test]
fn wrong_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    words(&folder.path().join("words"), false);
    let good = "url = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\ntokenizer = \"words\"\n";
    for (text, said) in [
        ("modle = \"m\"\n".to_owned() + good, "unknown field `modle`"),
        (good.replace("model", "#"), "missing field `model`"),
        (
            good.replace("http:", "ftp:"),
            "must begin with http:// or https://",
        ),
        (good.replace("127", "me:pw@127"), "holds a name or password"),
        (good.to_owned() + "key = \"sk-12345\"\n", "not be the key"),
        (
            good.replace("127.0.0.1", "example.org") + "key = \"K\"\n",
            "a key is sent over https",
        ),
        (
            good.to_owned() + "at_once = 0\n",
            "`at_once` is 0, and must be 1 to 512",
        ),
        (
            good.replace("words", "./nowhere"),
            "`tokenizer` is `./nowhere`, which is not there",
        ),
        (good.to_owned() + "attempts = 1\n", "asked 1 times"),
    ] {
        std::fs::write(folder.path().join("served.toml"), &text).unwrap();
        let refused = run(folder.path(), &[]);
        assert!([4, 6].contains(&refused.code), "{text} {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{text} {}", refused.stderr);
        assert!(!refused.stderr.contains("sk-12345") && !refused.stderr.contains("pw@"));
    }
    let address = concord(folder.path(), &["run", "--model", "http://127.0.0.1:1/v1"]);
    assert_eq!(address.code, 2);
    assert!(
        address.stderr.contains("docs/servers.md"),
        "{}",
        address.stderr
    );
}

#[test]
fn other_commands_say_that_weights_are_elsewhere() {
    let (folder, _server) = of(GOOD.clone(), "");
    let path = folder.path();
    std::fs::write(path.join("p.jsonl"), "{\"prompt\":\"a\"}\n").unwrap();
    let scored = concord(
        path,
        &["score", "--model", "served.toml", "--prompts", "p.jsonl"],
    );
    assert_eq!(scored.code, 2, "{}", scored.stderr);
    assert!(
        scored.stderr.contains("`concord score` needs them here"),
        "{}",
        scored.stderr
    );
    let shown = concord(path, &["models", "show", "served.toml"]).ok();
    assert!(
        shown
            .stdout
            .contains("shows the 20 most probable tokens, and those that are asked for"),
        "{}",
        shown.stdout
    );
}
