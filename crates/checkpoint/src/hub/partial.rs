//! A file that is fetched, until it is whole.

use super::cache::{cache_error, make_parent};
use super::client::stopped;
use super::selection::Sibling;
use super::{HubError, HubName};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::Response;

/// Bytes a second below which a transfer brings next to nothing.
pub(super) const SLOWEST: u64 = 1024;

/// How a connection ended.
pub(super) enum Ended {
    /// By itself, or by an error; empty where everything came.
    Cut(String),
    /// Next to nothing came.
    Slow,
}

/// A file that is being put together.
pub(super) struct Partial<'a> {
    name: &'a HubName,
    file: &'a Sibling,
    path: &'a Path,
    out: File,
    /// Bytes that are there.
    pub at: u64,
    pub size: u64,
}

impl<'a> Partial<'a> {
    /// Goes on with what an earlier attempt left.
    pub fn open(name: &'a HubName, file: &'a Sibling, path: &'a Path) -> Result<Self, HubError> {
        make_parent(path)?;
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let out = options.open(path).map_err(cache_error(path))?;
        let size = file.length();
        let there = out.metadata().map_err(cache_error(path))?.len();
        Ok(Self {
            name,
            file,
            path,
            out,
            at: if there > size { 0 } else { there },
            size,
        })
    }

    /// Writes what comes, from the beginning where the hub starts there. A connection that breaks is no error: what came is
    /// kept, and the problem returned.
    pub fn receive(
        &mut self,
        response: Response<Body>,
        patience: Duration,
        done: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Ended, HubError> {
        match response.status().as_u16() {
            206 => {}
            416 => {
                self.at = 0;
                return Ok(Ended::Cut(
                    "the hub has less than is there already".to_owned(),
                ));
            }
            _ => self.at = 0,
        }
        let failed = cache_error(self.path);
        self.out.seek(SeekFrom::Start(self.at)).map_err(&failed)?;
        let mut body = response.into_body();
        let mut reader = body.as_reader();
        let mut buffer = vec![0u8; 1 << 18];
        let (mut since, mut before) = (Instant::now(), self.at);
        loop {
            if since.elapsed() >= patience {
                if self.at - before < SLOWEST * since.elapsed().as_secs() {
                    return Ok(Ended::Slow);
                }
                (since, before) = (Instant::now(), self.at);
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Ended::Cut("the connection ended".to_owned())),
                Ok(length) if self.at + length as u64 > self.size => {
                    std::fs::remove_file(self.path).map_err(&failed)?;
                    return Err(self.wrong());
                }
                Ok(length) => {
                    self.out.write_all(&buffer[..length]).map_err(&failed)?;
                    self.at += length as u64;
                    if done(self.at).is_break() {
                        return Err(stopped(self.name));
                    }
                    if self.at == self.size {
                        return Ok(Ended::Cut(String::new()));
                    }
                }
                Err(error) => return Ok(Ended::Cut(error.to_string())),
            }
        }
    }

    /// Checks what arrived and gives it its name; what is wrong is thrown away.
    pub fn finish(mut self, blob: &Path) -> Result<(), HubError> {
        let failed = cache_error(self.path);
        self.out.set_len(self.size).map_err(&failed)?;
        self.out.sync_all().map_err(&failed)?;
        if !matches(&mut self.out, self.size, self.file.digest()).map_err(&failed)? {
            std::fs::remove_file(self.path).map_err(&failed)?;
            return Err(self.wrong());
        }
        std::fs::rename(self.path, blob).map_err(cache_error(blob))
    }

    fn wrong(&self) -> HubError {
        HubError::Checksum {
            name: self.name.to_string(),
            file: self.file.rfilename.clone(),
        }
    }

    /// An error of the cache that is a full disk, as that.
    pub fn for_lack_of_room(&self, error: HubError) -> HubError {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error {
            HubError::Cache { source, path }
                if matches!(source.kind(), StorageFull | QuotaExceeded) =>
            {
                let missing = self.size - self.at;
                HubError::DiskFull { path, missing }
            }
            other => other,
        }
    }
}

/// Whether a file's content has the digest: SHA-256, or SHA-1 as git names a blob.
fn matches(file: &mut File, size: u64, digest: &str) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let found = if digest.len() == 64 {
        digest_of(Sha256::new(), file)?
    } else {
        let header = format!("blob {size}\0");
        digest_of(Sha1::new().chain_update(header), file)?
    };
    Ok(found.eq_ignore_ascii_case(digest))
}

/// The digest of the rest of a file, in hexadecimal.
fn digest_of(mut hasher: impl Digest, file: &mut File) -> std::io::Result<String> {
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_of_large_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        let mut file = File::open(&path).unwrap();
        // `git hash-object` and `sha256sum` of the same bytes.
        assert!(matches(&mut file, 6, "ce013625030ba8dba906f756967f9e9ca394464a").unwrap());
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert!(matches(&mut file, 6, sha256).unwrap());
        assert!(!matches(&mut file, 6, &sha256.replace('5', "6")).unwrap());
    }
}
