//! Offline runs of Weights & Biases: a log of records in the form of `LevelDB`'s, each a protocol buffer.
//!
//! # Source
//! `wandb_internal.proto` and `datastore.py` of wandb 0.19.

use serde_json::Value;

/// What a run of Weights & Biases holds.
pub(super) struct Offline<'a> {
    /// Eight letters and digits that no other run has.
    pub id: &'a str,
    pub project: &'a str,
    pub name: &'a str,
    /// Seconds since 1970.
    pub started: i64,
    pub config: Vec<(String, Value)>,
    pub summary: Vec<(String, Value)>,
}

impl Offline<'_> {
    /// The bytes of its file.
    pub fn file(&self) -> Vec<u8> {
        let items = |all: &[(String, Value)]| {
            let mut message = Message::default();
            for (key, value) in all {
                let mut item = Message::default();
                item.text(1, key).text(16, &value.to_string());
                message.message(1, &item);
            }
            message
        };
        let (mut header, mut version) = (Message::default(), Message::default());
        version
            .text(1, concat!("concord ", env!("CARGO_PKG_VERSION")))
            .text(2, "0.1.0");
        header.message(1, &version);
        let (mut run, mut started) = (Message::default(), Message::default());
        started.number(1, self.started);
        run.text(1, self.id)
            .text(3, self.project)
            .message(4, &items(&self.config))
            .text(8, self.name)
            .message(17, &started);
        let mut history = items(&self.summary);
        let mut step = Message::default();
        step.number(1, 0);
        history.message(2, &step);
        let records = [
            (21, header),
            (17, run),
            (2, history),
            (3, items(&self.summary)),
            // Ended, with code 0, which is not written.
            (18, Message::default()),
        ];
        let mut log = Log::new();
        for (number, (field, message)) in (0i64..).zip(records) {
            let mut record = Message::default();
            record.number(1, number).message(field, &message);
            log.append(&record.0);
        }
        log.0
    }
}

/// The seven lowest bits.
fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7F
}

/// A protocol buffer that is written field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.0.push(low_bits(value));
    }

    /// A number; 0 is what is not written.
    fn number(&mut self, field: u64, value: i64) -> &mut Self {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value.cast_unsigned());
        }
        self
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u64, message: &Self) -> &mut Self {
        self.bytes(field, &message.0)
    }
}

/// Records in blocks; one that does not fit into what is left of a block goes on in the next.
struct Log(Vec<u8>);

/// The length of a block, and of what stands before each part of a record.
const BLOCK: usize = 32_768;
const HEAD: usize = 7;

impl Log {
    fn new() -> Self {
        let mut log = b":W&B".to_vec();
        log.extend(0xBEE1_u16.to_le_bytes());
        log.push(0);
        Self(log)
    }

    fn append(&mut self, record: &[u8]) {
        let mut rest = record;
        let mut is_first = true;
        loop {
            let left = BLOCK - self.0.len() % BLOCK;
            if left < HEAD {
                self.0.resize(self.0.len() + left, 0);
                continue;
            }
            let (part, after) = rest.split_at(rest.len().min(left - HEAD));
            let kind: u8 = match (is_first, after.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let mut sum = crc32fast::Hasher::new();
            sum.update(&[kind]);
            sum.update(part);
            self.0.extend(sum.finalize().to_le_bytes());
            // A part is shorter than a block.
            self.0.extend(&part.len().to_le_bytes()[..2]);
            self.0.push(kind);
            self.0.extend(part);
            if after.is_empty() {
                return;
            }
            (rest, is_first) = (after, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a log, put together again.
    fn records(log: &[u8]) -> Vec<Vec<u8>> {
        let (mut at, mut found, mut open) = (7, Vec::new(), Vec::new());
        while at < log.len() {
            if BLOCK - at % BLOCK < HEAD {
                at += BLOCK - at % BLOCK;
                continue;
            }
            let length = usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
            let kind = log[at + 6];
            let part = &log[at + HEAD..at + HEAD + length];
            let sum = crc32fast::hash(&[&[kind], part].concat());
            assert_eq!(sum.to_le_bytes(), log[at..at + 4]);
            open.extend(part);
            if kind == 1 || kind == 4 {
                found.push(std::mem::take(&mut open));
            }
            at += HEAD + length;
        }
        found
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let sizes = [0, 1, 32_747, 5, 100_000, 32_754, 32_755, 32_748, 7];
        let given: Vec<Vec<u8>> = sizes
            .iter()
            .map(|size| vec![u8::try_from(size % 251).unwrap(); *size])
            .collect();
        let mut log = Log::new();
        for record in &given {
            log.append(record);
        }
        assert_eq!(records(&log.0), given);
    }

    #[test]
    fn fields_are_those_of_protocol_buffers() {
        let mut message = Message::default();
        message.number(1, 300).text(2, "ab").number(3, 0);
        assert_eq!(message.0, [0x08, 0xAC, 0x02, 0x12, 2, b'a', b'b']);
    }
}
