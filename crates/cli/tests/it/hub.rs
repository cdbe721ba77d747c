//! Checkpoints and data sets by hub id, from a server on this machine that speaks the hub's protocol.

use crate::{Outcome, golden};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server behaves.
#[derive(Clone, Default)]
struct Manners {
    /// Who may see the repository.
    token: Option<&'static str>,
    /// `X-Error-Code` and status of every answer.
    refuse: Option<(u16, &'static str)>,
    /// Weights are cut off after so many bytes, this often.
    cuts: Vec<usize>,
    /// A byte of the weights arrives wrong.
    wrong: bool,
    /// The server does not know ranges.
    whole_only: bool,
}

/// What the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    range: Option<String>,
    token: Option<String>,
    host: String,
}

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves the files of one repository until a hundred connections came or a minute passed without one.
    fn start(prefix: &'static str, files: BTreeMap<String, Vec<u8>>, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut manners = manners;
            listener.set_nonblocking(true).unwrap();
            let (mut connections, mut idle) = (0, 0);
            while connections < 100 && idle < 3000 {
                let Ok((stream, _)) = listener.accept() else {
                    idle += 1;
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                (connections, idle) = (connections + 1, 0);
                stream.set_nonblocking(false).unwrap();
                // A client that goes away is its own affair.
                let _ = answer(stream, prefix, &files, &mut manners, &log);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    prefix: &str,
    files: &BTreeMap<String, Vec<u8>>,
    manners: &mut Manners,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = Asked {
        path: path.clone(),
        range: headers.get("range").cloned(),
        token: headers.get("authorization").cloned(),
        host: headers.get("host").cloned().unwrap_or_default(),
    };
    log.lock().unwrap().push(asked.clone());
    let mut stream = stream;
    let mut reply = |status: &str, extra: &str, body: &[u8], sent: usize| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n",
            body.len()
        )?;
        stream.write_all(&body[..sent.min(body.len())])?;
        stream.flush()
    };
    if let Some((status, code)) = manners.refuse {
        return reply(
            &format!("{status} x"),
            &format!("X-Error-Code: {code}\r\n"),
            b"no",
            2,
        );
    }
    let from_cdn = path.starts_with("/cdn/");
    let allowed = manners
        .token
        .is_none_or(|token| from_cdn || asked.token.as_deref() == Some(&format!("Bearer {token}")));
    if !allowed {
        return reply("401 x", "X-Error-Code: RepoNotFound\r\n", b"no", 2);
    }
    if path.starts_with("/api/") {
        return reply("200 OK", "", listing(files).as_bytes(), usize::MAX);
    }
    let resolve = format!("/{prefix}tiny/model/resolve/{COMMIT}/");
    let name = path.strip_prefix(&resolve).or(path.strip_prefix("/cdn/"));
    let Some((name, content)) = name.and_then(|name| files.get_key_value(name)) else {
        return reply("404 x", "X-Error-Code: EntryNotFound\r\n", b"no", 2);
    };
    let is_weights = name.ends_with(".safetensors");
    if is_weights && !from_cdn {
        // As the hub does for large files: elsewhere, by another name of this machine.
        let host = asked.host.replace("127.0.0.1", "localhost");
        return reply(
            "302 x",
            &format!("Location: http://{host}/cdn/{name}\r\n"),
            b"",
            0,
        );
    }
    let mut content = content.clone();
    if manners.wrong && is_weights {
        let last = content.len() - 1;
        content[last] ^= 1;
    }
    let start = asked.range.as_deref().filter(|_| !manners.whole_only);
    let start = start.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let (status, from) = match start {
        Some(start) => ("206 x", start),
        None => ("200 OK", 0usize),
    };
    let sent = if is_weights {
        manners.cuts.pop().unwrap_or(usize::MAX)
    } else {
        usize::MAX
    };
    reply(status, "", &content[from..], sent)
}

/// The API's answer. Git's digest of small files, SHA-256 of large ones.
fn listing(files: &BTreeMap<String, Vec<u8>>) -> String {
    let siblings: Vec<serde_json::Value> = files
        .iter()
        .map(|(name, content)| {
            let sha256 = hex(&Sha256::digest(content));
            let mut git = sha1::Sha1::new();
            git.update(format!("blob {}\0", content.len()));
            git.update(content);
            let git = hex(&git.finalize());
            let mut entry = serde_json::json!({ "rfilename": name, "size": content.len(), "blobId": git });
            if name.ends_with(".safetensors") {
                entry["lfs"] = serde_json::json!({ "sha256": sha256, "size": content.len(), "pointerSize": 1 });
            }
            entry
        })
        .collect();
    serde_json::json!({ "sha": COMMIT, "siblings": siblings, "id": "tiny/model" }).to_string()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

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
        list.contains("tiny/model") && list.contains("01234567 main") && list.contains("mit"),
        "{list}"
    );

    // Out of reach, the cache stands in and says so.
    let away = home
        .run(&SHOW, &[("HF_ENDPOINT", "http://127.0.0.1:9")])
        .ok();
    assert!(
        away.stderr.contains("cannot be reached; commit 0123"),
        "{}",
        away.stderr
    );
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
        assert_eq!(outcome.code, 4, "{refuse:?}: {}", outcome.stderr);
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
    assert_eq!(outcome.code, 4);
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
            .contains("HF_ENDPOINT `hub` is no http(s) address"),
        "{}",
        setting.stderr
    );
    let path = home.run(&["models", "show", "./tiny/model"], &[]);
    assert!(
        path.stderr.contains("no such checkpoint folder"),
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
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
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
