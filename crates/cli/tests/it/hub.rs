//! Checkpoints and data sets by hub id, from a server on this machine that speaks the hub's protocol.

use crate::hub_server::{Asked, COMMIT, Manners, Server, hex};
use crate::{Outcome, golden};
use concord_checkpoint::hub::{Hub, HubError, HubName, HubSettings, RepositoryKind};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn checkpoint(name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(golden(name)).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.remove("golden.safetensors");
    files.insert("README.md".into(), b"---\nlicense: mit\n---\n".to_vec());
    files.insert("pytorch_model.bin".into(), b"not wanted".to_vec());
    files
}

struct Home {
    folder: tempfile::TempDir,
    endpoint: String,
}

impl Home {
    fn new(server: &Server) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            endpoint: server.address.clone(),
        }
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_concord"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .env("CONCORD_NO_CACHE", "1")
            .env("CONCORD_CACHE", self.folder.path().join("own"))
            .env("HF_HOME", self.folder.path())
            .env("HF_HUB_CACHE", self.cache())
            .env("HF_ENDPOINT", &self.endpoint)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    fn repository(&self) -> PathBuf {
        self.cache().join("models--tiny--model")
    }
}

const SHOW: [&str; 5] = ["models", "show", "tiny/model", "--format", "json"];

fn count(asked: &[Asked], part: &str) -> usize {
    asked
        .iter()
        .filter(|asked| asked.path.contains(part))
        .count()
}

#[test]
fn a_checkpoint_is_fetched_once_into_the_shared_cache() {
    let server = Server::start("", checkpoint("biased-tied-sharded"), Manners::default());
    let home = Home::new(&server);
    let shown = home.run(&SHOW, &[]).ok().json();
    assert_eq!(shown["name"], "model");
    assert_eq!(shown["origin"]["commit"], COMMIT);
    let asked = server.asked();
    assert_eq!(count(&asked, "/api/"), 1);
    assert_eq!(count(&asked, "pytorch_model.bin"), 0);
    assert_eq!(count(&asked, "/resolve/"), 8, "{asked:#?}");
    // The layout of the Python client: blobs by digest, links to them, refs.
    let snapshot = home.repository().join("snapshots").join(COMMIT);
    let link = std::fs::read_link(snapshot.join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs/"), "{}", link.display());
    let main = std::fs::read_to_string(home.repository().join("refs/main")).unwrap();
    assert_eq!(main, COMMIT);

    // A second time only the listing is asked for; by commit or offline, nothing.
    home.run(&SHOW, &[]).ok();
    assert_eq!(server.asked().len(), asked.len() + 1);
    let by_commit = format!("tiny/model@{COMMIT}");
    home.run(&["models", "show", &by_commit], &[]).ok();
    home.run(&SHOW, &[("HF_HUB_OFFLINE", "1")]).ok();
    assert_eq!(server.asked().len(), asked.len() + 1);
    let list = home.run(&["models"], &[]).ok().stdout;
    assert!(
        list.contains("tiny/model")
            && list.contains("01234567 main\n")
            && list.contains("licence mit"),
        "{list}"
    );

    // Out of reach, the cache stands in and says so.
    let away = home
        .run(&SHOW, &[("HF_ENDPOINT", "http://127.0.0.1:9")])
        .ok();
    assert!(
        away.stderr.contains("cannot be reached") && away.stderr.contains("; commit 0123"),
        "{}",
        away.stderr
    );
    // So it does where something else answers than the hub.
    let refuse = Some((503, ""));
    let ill = Manners {
        refuse,
        ..Manners::default()
    };
    let ill = Server::start("", BTreeMap::new(), ill);
    let away = home.run(&SHOW, &[("HF_ENDPOINT", &ill.address)]).ok();
    assert!(
        away.stderr.contains("answered 503") && away.stderr.contains("; commit 0123"),
        "{}",
        away.stderr
    );
    assert_eq!(ill.asked().len(), 1);
}

#[test]
fn a_transfer_that_is_stopped_goes_on_later() {
    let server = Server::start("", checkpoint("biased-tied-sharded"), Manners::default());
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::new(HubSettings {
        endpoint: server.address.clone(),
        cache: folder.path().to_owned(),
        token: None,
        offline: false,
        patience: std::time::Duration::from_secs(30),
    });
    let name = HubName::parse(RepositoryKind::Model, "tiny/model").unwrap();
    let mut done = 0;
    let stopped = hub.fetch(&name, &mut |transfer| {
        done = transfer.done;
        match done {
            0..20_000 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    assert!(
        matches!(stopped, Err(HubError::Stopped { .. })),
        "{stopped:?}"
    );
    let before = server.asked().len();
    let mut first = None;
    let whole = hub.fetch(&name, &mut |transfer| {
        first.get_or_insert(transfer.done);
        ControlFlow::Continue(())
    });
    assert!(whole.unwrap().stands_in.is_none());
    assert!(first.is_some_and(|first| first > 0));
    let again = server.asked().split_off(before);
    assert!(count(&again, "/resolve/") < 8, "{again:#?}");
}

#[test]
fn a_run_records_the_commit() {
    let server = Server::start("", checkpoint("multi-query-wide-heads"), Manners::default());
    let home = Home::new(&server);
    let arguments = [
        "run",
        "-M",
        "tiny/model",
        "-L",
        "1",
        "--languages",
        "english",
        "--no-steering",
        "-o",
        "r",
    ];
    home.run(&arguments, &[]).ok();
    let manifest = std::fs::read_to_string(home.folder.path().join("r/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["checkpoints"][0]["origin"]["commit"], COMMIT);
    assert_eq!(
        manifest["checkpoints"][0]["origin"]["repository"],
        "tiny/model"
    );
}

#[test]
fn cut_connections_go_on_where_they_stopped() {
    let cuts = Manners {
        cuts: vec![20_000, 0, 50_000, 1000],
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("multi-query-wide-heads"), cuts);
    let home = Home::new(&server);
    home.run(&SHOW, &[]).ok();
    let ranges: Vec<Option<String>> = server
        .asked()
        .into_iter()
        .filter(|asked| asked.path.starts_with("/cdn/"))
        .map(|asked| asked.range)
        .collect();
    let from = |at: &str| Some(format!("bytes={at}-"));
    assert_eq!(
        ranges,
        [
            None,
            from("1000"),
            from("51000"),
            from("51000"),
            from("71000")
        ]
    );
}

#[test]
fn what_was_cut_off_for_good_is_kept_for_the_next_call() {
    let cuts = Manners {
        cuts: vec![0, 0, 0, 0, 0, 4096],
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("multi-query-wide-heads"), cuts);
    let home = Home::new(&server);
    let outcome = home.run(&SHOW, &[]);
    assert_eq!(outcome.code, 6, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("was cut off at 4096 of"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome
            .stderr
            .contains("help: the same command goes on from there")
    );
    home.run(&SHOW, &[]).ok();
    let last = server
        .asked()
        .into_iter()
        .rfind(|asked| asked.path.starts_with("/cdn/"));
    assert_eq!(last.unwrap().range.as_deref(), Some("bytes=4096-"));
}

#[test]
fn a_server_without_ranges_is_read_from_the_beginning() {
    let manners = Manners {
        cuts: vec![5000],
        whole_only: true,
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("multi-query-wide-heads"), manners);
    Home::new(&server).run(&SHOW, &[]).ok();
}

#[test]
fn what_arrives_wrong_is_thrown_away() {
    let wrong = Manners {
        wrong: true,
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("multi-query-wide-heads"), wrong);
    let home = Home::new(&server);
    let outcome = home.run(&SHOW, &[]);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("another checksum than the hub names"),
        "{}",
        outcome.stderr
    );
    let blobs = std::fs::read_dir(home.repository().join("blobs")).unwrap();
    for blob in blobs {
        let name = blob.unwrap().file_name().into_string().unwrap();
        assert!(name.len() == 40, "{name}");
    }
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let manners = Manners {
        token: Some("secret"),
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("multi-query-wide-heads"), manners);
    let home = Home::new(&server);
    let without = home.run(&SHOW, &[]);
    assert_eq!(without.code, 4);
    assert!(
        without.stderr.contains("no such repository on") && without.stderr.contains("set HF_TOKEN"),
        "{}",
        without.stderr
    );
    std::fs::write(home.folder.path().join("token"), "secret\n").unwrap();
    home.run(&SHOW, &[]).ok();
    let (elsewhere, hub): (Vec<Asked>, Vec<Asked>) = server
        .asked()
        .into_iter()
        .partition(|asked| asked.path.starts_with("/cdn/"));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|asked| asked.token.is_none()));
    assert!(hub.last().unwrap().token.as_deref() == Some("Bearer secret"));
}

#[test]
fn every_refusal_says_what_to_do() {
    for (refuse, token, part, help) in [
        (
            (403, "GatedRepo"),
            None,
            "tiny/model is gated",
            "accept the terms",
        ),
        (
            (403, "GatedRepo"),
            Some("t"),
            "the token's account has no access yet",
            "wait until access is given",
        ),
        (
            (404, "RepoNotFound"),
            None,
            "no such repository",
            "check the name",
        ),
        (
            (404, "RevisionNotFound"),
            None,
            "the repository has no revision `main`",
            "branches, tags and commits",
        ),
        (
            (401, ""),
            Some("t"),
            "does not accept the token (401)",
            "make a new one",
        ),
        (
            (429, ""),
            None,
            "refuses further requests for now",
            "wait some minutes",
        ),
        ((503, ""), None, "the hub answered 503", "try again later"),
    ] {
        let manners = Manners {
            refuse: Some(refuse),
            ..Manners::default()
        };
        let server = Server::start("", BTreeMap::new(), manners);
        let home = Home::new(&server);
        let variables: Vec<(&str, &str)> = token.iter().map(|token| ("HF_TOKEN", *token)).collect();
        let outcome = home.run(&SHOW, &variables);
        // What may pass is worth another try.
        let code = if refuse.0 == 429 || refuse.0 >= 500 {
            6
        } else {
            4
        };
        assert_eq!(outcome.code, code, "{refuse:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(part),
            "{refuse:?}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains(help),
            "{refuse:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn no_network_and_wrong_settings_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home {
        folder,
        endpoint: "http://127.0.0.1:9".into(),
    };
    let outcome = home.run(&SHOW, &[]);
    assert_eq!(outcome.code, 6);
    assert!(
        outcome
            .stderr
            .contains("http://127.0.0.1:9 cannot be reached"),
        "{}",
        outcome.stderr
    );
    let offline = home.run(&SHOW, &[("HF_HUB_OFFLINE", "1")]);
    assert!(
        offline.stderr.contains("is not complete in the cache"),
        "{}",
        offline.stderr
    );
    let setting = home.run(&SHOW, &[("HF_ENDPOINT", "hub")]);
    assert!(
        setting
            .stderr
            .contains("HF_ENDPOINT `hub` is not an http(s) address"),
        "{}",
        setting.stderr
    );
    let path = home.run(&["models", "show", "./tiny/model"], &[]);
    assert!(
        path.stderr.contains("no such folder or file"),
        "{}",
        path.stderr
    );
}

#[test]
fn a_data_set_is_asked_by_id() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions/demo");
    let entries = std::fs::read_dir(demo).unwrap();
    let files = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (format!("data/{name}"), std::fs::read(path).unwrap())
        });
    let server = Server::start("datasets/", files.collect(), Manners::default());
    let home = Home::new(&server);
    let check = ["questions", "check", "hf:tiny/model", "--format", "json"];
    assert_eq!(home.run(&check, &[]).ok().json()["questions"], 480);
    assert!(
        home.cache()
            .join("datasets--tiny--model/snapshots")
            .join(COMMIT)
            .join("data")
            .is_dir()
    );
    let wrong = home.run(&["questions", "check", "hf:tiny"], &[]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}

/// `/dev/full` is a file on a disk without room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let files = checkpoint("multi-query-wide-heads");
    let digest = hex(&Sha256::digest(&files["model.safetensors"]));
    let server = Server::start("", files, Manners::default());
    let home = Home::new(&server);
    let blobs = home.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::os::unix::fs::symlink("/dev/full", blobs.join(format!("{digest}.incomplete"))).unwrap();
    let outcome = home.run(&SHOW, &[]);
    assert_eq!(outcome.code, 6, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("the disk is full; 149976 more bytes are needed"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("HF_HUB_CACHE"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_file_shorter_than_listed_is_not_fetched_without_end() {
    for whole_only in [false, true] {
        let manners = Manners {
            shorter: 100,
            whole_only,
            ..Manners::default()
        };
        let server = Server::start("", checkpoint("biased-tied-sharded"), manners);
        let home = Home::new(&server);
        let outcome = home.run(&SHOW, &[]);
        assert_eq!(outcome.code, 6, "{}", outcome.stderr);
        assert!(
            count(&server.asked(), "/cdn/") <= 16,
            "{}",
            server.asked().len()
        );
    }
}

#[test]
fn a_file_that_drips_is_given_up() {
    let manners = Manners {
        drips: true,
        ..Manners::default()
    };
    let server = Server::start("", checkpoint("biased-tied-sharded"), manners);
    let home = Home::new(&server);
    let begun = std::time::Instant::now();
    let outcome = home.run(&SHOW, &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]);
    assert_eq!(outcome.code, 6, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("bytes a second"),
        "{}",
        outcome.stderr
    );
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn a_token_does_not_follow_to_another_port() {
    let files = checkpoint("biased-tied-sharded");
    let elsewhere = Server::start("", files.clone(), Manners::default());
    let port = elsewhere
        .address
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let manners = Manners {
        token: Some("secret"),
        cdn_port: Some(port),
        ..Manners::default()
    };
    let server = Server::start("", files, manners);
    let home = Home::new(&server);
    let outcome = home.run(&SHOW, &[("HF_TOKEN", "secret")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let asked = elsewhere.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| asked.token.is_none()),
        "{asked:?}"
    );
    assert!(server.asked().iter().all(|asked| asked.token.is_some()));
}
