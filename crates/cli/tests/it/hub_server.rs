//! A server on this machine that speaks the hub's protocol, well or badly.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Manners {
    /// Who may see the repository.
    pub token: Option<&'static str>,
    /// `X-Error-Code` and status of every answer.
    pub refuse: Option<(u16, &'static str)>,
    /// Weights are cut off after so many bytes, this often.
    pub cuts: Vec<usize>,
    /// A byte of the weights arrives wrong.
    pub wrong: bool,
    /// The server does not know ranges.
    pub whole_only: bool,
    /// The weights are shorter than listed, by so many bytes.
    pub shorter: usize,
    /// The weights come byte by byte, with a pause after each.
    pub drips: bool,
    /// Large files are at another port of the same name.
    pub cdn_port: Option<u16>,
}

/// What the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
    pub host: String,
}

pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves the files of one repository until a hundred connections came or a minute passed without one.
    pub fn start(prefix: &'static str, files: BTreeMap<String, Vec<u8>>, manners: Manners) -> Self {
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

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn request(stream: &TcpStream) -> std::io::Result<Asked> {
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
    Ok(Asked {
        path,
        range: headers.get("range").cloned(),
        token: headers.get("authorization").cloned(),
        host: headers.get("host").cloned().unwrap_or_default(),
    })
}

fn answer(
    stream: TcpStream,
    prefix: &str,
    files: &BTreeMap<String, Vec<u8>>,
    manners: &mut Manners,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let asked = request(&stream)?;
    let path = asked.path.clone();
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
        let host = match manners.cdn_port {
            Some(port) => format!("127.0.0.1:{port}"),
            None => asked.host.replace("127.0.0.1", "localhost"),
        };
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
    if is_weights {
        content.truncate(content.len() - manners.shorter);
    }
    let start = asked.range.as_deref().filter(|_| !manners.whole_only);
    let start = start.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    if start.is_some_and(|start| start >= content.len()) {
        return reply("416 x", "", b"", 0);
    }
    if manners.drips && is_weights {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            content.len()
        )?;
        for byte in content {
            stream.write_all(&[byte])?;
            std::thread::sleep(Duration::from_millis(5));
        }
        return stream.flush();
    }
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

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
