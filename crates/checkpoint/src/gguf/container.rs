//! The container: metadata, and where tensors stand.
//!
//! # Source
//! `docs/gguf.md` of ggml, versions 2 and 3, little-endian.

use crate::CheckpointError;
use crate::quantised::Quantised;
use crate::stored::{Bytes, File, Place, Stored};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

/// Values of all metadata arrays together; the largest vocabularies stay below a tenth of it.
const MOST_VALUES: usize = 1 << 23;
/// Bytes of one text; chat templates are the longest.
const LONGEST_TEXT: u64 = 1 << 24;
const MOST_TENSORS: u64 = 1 << 16;
const MOST_KEYS: u64 = 1 << 12;

/// A metadata value. Numbers of all widths are kept as one kind each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Whole(i128),
    Float(f64),
    Flag(bool),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn whole(&self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(*number),
            _ => None,
        }
    }

    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    pub fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(on) => Some(*on),
            _ => None,
        }
    }
}

/// Metadata by key, and where tensors stand by the file's own names.
pub(crate) type Header = (BTreeMap<String, Value>, HashMap<String, Place>);

/// A parsed file, or the parts of one.
pub(crate) struct Container {
    pub metadata: BTreeMap<String, Value>,
    /// By the file's own names.
    pub places: HashMap<String, Place>,
    pub files: Vec<File>,
}

/// Reads a header, and those of the other parts where a file is the first of several.
///
/// # Errors
/// [`CheckpointError::Gguf`] for anything that does not hold together; [`CheckpointError::Unreadable`].
///
/// # Source
/// `llama-model-loader.cpp` of llama.cpp: names of parts, and what each says.
pub(crate) fn open(path: &Path) -> Result<Container, CheckpointError> {
    let mut whole = one(path)?;
    let bad = |path: &Path, problem: String| {
        Err(CheckpointError::Gguf {
            path: path.to_owned(),
            problem,
        })
    };
    let number = |container: &Container, key: &str| {
        let value = container.metadata.get(key).and_then(Value::whole);
        value.and_then(|number| usize::try_from(number).ok())
    };
    let count = number(&whole, "split.count").unwrap_or(1);
    if count <= 1 {
        return Ok(whole);
    }
    if count > 1 << 12 {
        return bad(path, format!("it claims {count} parts"));
    }
    let this = number(&whole, "split.no").unwrap_or(0);
    if this >= count {
        return bad(
            path,
            format!("it claims to be part {this}, from 0, of {count}"),
        );
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(start) = name.strip_suffix(&format!("-{:05}-of-{count:05}.gguf", this + 1)) else {
        return bad(
            path,
            format!("it is part {} of {count}, and is not named so", this + 1),
        );
    };
    let part =
        |index: usize| path.with_file_name(format!("{start}-{:05}-of-{count:05}.gguf", index + 1));
    if this != 0 {
        let first = part(0);
        return bad(
            path,
            format!(
                "it is part {} of {count}; name the first, {}",
                this + 1,
                first.display()
            ),
        );
    }
    for index in 1..count {
        let path = part(index);
        let other = one(&path)?;
        if number(&other, "split.no") != Some(index) {
            return bad(&path, format!("it is not part {} of {count}", index + 1));
        }
        for (name, mut place) in other.places {
            place.file = index;
            if whole.places.insert(name.clone(), place).is_some() {
                return bad(&path, format!("tensor `{name}` stands in another part too"));
            }
        }
        whole.files.extend(other.files);
    }
    match number(&whole, "split.tensors.count") {
        Some(tensors) if tensors != whole.places.len() => {
            let found = whole.places.len();
            bad(
                path,
                format!("its parts hold {found} tensors, and it says {tensors}"),
            )
        }
        _ => Ok(whole),
    }
}

/// Reads the header of one file.
fn one(path: &Path) -> Result<Container, CheckpointError> {
    let unreadable = |source| CheckpointError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(unreadable(std::io::Error::other("it is not a plain file")));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let (metadata, places) = header(path, std::io::BufReader::new(&file), length)?;
    Ok(Container {
        metadata,
        places,
        files: vec![File {
            path: path.to_owned(),
            bytes: Bytes::File(file),
            length,
        }],
    })
}

/// The metadata, and where tensors stand in a file of `length` bytes.
///
/// # Errors
/// As [`open`].
pub(crate) fn header(
    path: &Path,
    source: impl Read,
    length: u64,
) -> Result<Header, CheckpointError> {
    let mut reader = Reader {
        path,
        source,
        at: 0,
        length,
        values: 0,
    };
    reader.header()
}

struct Reader<'a, R> {
    path: &'a Path,
    source: R,
    at: u64,
    length: u64,
    values: usize,
}

impl<R: Read> Reader<'_, R> {
    fn bad<T>(&self, problem: impl Into<String>) -> Result<T, CheckpointError> {
        Err(CheckpointError::Gguf {
            path: self.path.to_owned(),
            problem: problem.into(),
        })
    }

    fn header(&mut self) -> Result<Header, CheckpointError> {
        if self.take::<4>()? != *b"GGUF" {
            return self.bad("it does not begin with GGUF");
        }
        let version = u32::from_le_bytes(self.take()?);
        if !(2..=3).contains(&version) {
            return self.bad(format!("version {version}; 2 and 3 are read"));
        }
        let tensors = u64::from_le_bytes(self.take()?);
        let keys = u64::from_le_bytes(self.take()?);
        if tensors > MOST_TENSORS || keys > MOST_KEYS {
            return self.bad(format!("it claims {tensors} tensors and {keys} keys"));
        }
        let mut metadata = BTreeMap::new();
        for _ in 0..keys {
            let key = self.text()?;
            let kind = u32::from_le_bytes(self.take()?);
            let value = self.value(kind, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return self.bad(format!("key `{key}` stands there twice"));
            }
        }
        let mut infos = Vec::new();
        for _ in 0..tensors {
            infos.push(self.info()?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(value) => match value.whole().and_then(|number| u64::try_from(number).ok()) {
                Some(number) if number.is_power_of_two() && number <= 1 << 20 => number,
                _ => return self.bad(format!("alignment {value:?}")),
            },
        };
        let data = self.at.next_multiple_of(alignment);
        let mut places = HashMap::new();
        infos.sort_by_key(|(_, _, offset, _)| *offset);
        let mut taken = 0;
        for (name, mut place, offset, bytes) in infos {
            if offset < taken || offset % alignment != 0 {
                return self.bad(format!(
                    "tensor `{name}` begins inside another, or out of line"
                ));
            }
            taken = offset.saturating_add(bytes);
            let start = data.checked_add(offset);
            let end = start.and_then(|start| start.checked_add(bytes));
            match (start, end) {
                (Some(start), Some(end)) if end <= self.length => place.start = start,
                _ => {
                    return self.bad(format!(
                        "tensor `{name}` ends beyond the file's {} bytes",
                        self.length
                    ));
                }
            }
            if places.insert(name.clone(), place).is_some() {
                return self.bad(format!("tensor `{name}` stands there twice"));
            }
        }
        Ok((metadata, places))
    }

    fn info(&mut self) -> Result<(String, Place, u64, u64), CheckpointError> {
        let name = self.text()?;
        let dimensions = u32::from_le_bytes(self.take()?);
        if !(1..=4).contains(&dimensions) {
            return self.bad(format!("tensor `{name}` has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        let mut numbers: u64 = 1;
        for _ in 0..dimensions {
            let size = u64::from_le_bytes(self.take()?);
            match (numbers.checked_mul(size), usize::try_from(size)) {
                (Some(product), Ok(size)) if size > 0 => {
                    numbers = product;
                    shape.push(size);
                }
                _ => return self.bad(format!("tensor `{name}` has a side of {size}")),
            }
        }
        let stored = stored(u32::from_le_bytes(self.take()?));
        let (block, block_bytes) = stored.block();
        if shape[0] % block != 0 {
            return self.bad(format!(
                "tensor `{name}` has rows of {}, no multiple of {block}",
                shape[0]
            ));
        }
        // The fastest dimension comes first there, and last here.
        shape.reverse();
        let offset = u64::from_le_bytes(self.take()?);
        let Some(bytes) = (numbers / block as u64).checked_mul(block_bytes as u64) else {
            return self.bad(format!("tensor `{name}` is larger than a file can be"));
        };
        let place = Place {
            file: 0,
            stored,
            shape,
            start: 0,
        };
        Ok((name, place, offset, bytes))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, CheckpointError> {
        Ok(match kind {
            0 => Value::Whole(i128::from(u8::from_le_bytes(self.take()?))),
            1 => Value::Whole(i128::from(i8::from_le_bytes(self.take()?))),
            2 => Value::Whole(i128::from(u16::from_le_bytes(self.take()?))),
            3 => Value::Whole(i128::from(i16::from_le_bytes(self.take()?))),
            4 => Value::Whole(i128::from(u32::from_le_bytes(self.take()?))),
            5 => Value::Whole(i128::from(i32::from_le_bytes(self.take()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.take()?))),
            7 => Value::Flag(self.take::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => {
                let inner = u32::from_le_bytes(self.take()?);
                let count = u64::from_le_bytes(self.take()?);
                if inner == 9 {
                    return self.bad(format!("key `{key}` is a list of lists"));
                }
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                self.values = self.values.saturating_add(count);
                if self.values > MOST_VALUES {
                    return self.bad(format!("key `{key}` claims {count} values"));
                }
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(inner, key)?);
                }
                Value::List(list)
            }
            10 => Value::Whole(i128::from(u64::from_le_bytes(self.take()?))),
            11 => Value::Whole(i128::from(i64::from_le_bytes(self.take()?))),
            12 => Value::Float(f64::from_le_bytes(self.take()?)),
            other => return self.bad(format!("key `{key}` has a value of unknown kind {other}")),
        })
    }

    fn text(&mut self) -> Result<String, CheckpointError> {
        let length = u64::from_le_bytes(self.take()?);
        if length > LONGEST_TEXT || length > self.length.saturating_sub(self.at) {
            return self.bad(format!("a text of {length} bytes at byte {}", self.at));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read(&mut bytes)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.bad(format!("a text before byte {} is not UTF-8", self.at)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        match self.source.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.bad("it ends inside its header")
            }
            Err(source) => Err(CheckpointError::Unreadable {
                path: self.path.to_owned(),
                source,
            }),
        }
    }
}

fn stored(kind: u32) -> Stored {
    match kind {
        0 => Stored::F32,
        1 => Stored::F16,
        30 => Stored::BF16,
        24..=28 => Stored::Other("integers or F64"),
        _ => Quantised::numbered(kind).map_or(
            Stored::Other("a type that this version does not know"),
            Stored::Quantised,
        ),
    }
}
