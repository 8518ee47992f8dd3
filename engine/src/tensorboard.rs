//! TensorBoard event files with scalars, written without protobuf or TensorFlow.
//!
//! A file is a sequence of TFRecords (tensorflow `core/lib/io/record_writer.h`): length, masked
//! CRC-32C of the length, data, masked CRC-32C of the data; the data is an `Event` message
//! (tensorflow `core/util/event.proto`), encoded by hand: it has seven fields that matter here.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::EngineError;

/// Field numbers of event.proto and summary.proto.
mod field {
    pub const EVENT_WALL_TIME: u32 = 1;
    pub const EVENT_STEP: u32 = 2;
    pub const EVENT_FILE_VERSION: u32 = 3;
    pub const EVENT_SUMMARY: u32 = 5;
    pub const EVENT_SESSION_LOG: u32 = 7;
    pub const SESSION_STATUS: u32 = 1;
    pub const SUMMARY_VALUE: u32 = 1;
    pub const VALUE_TAG: u32 = 1;
    pub const VALUE_SIMPLE: u32 = 2;
}
/// `SessionLog.START`: TensorBoard drops what earlier files say about this step and later ones.
const SESSION_START: u64 = 1;

const WIRE_VARINT: u32 = 0;
const WIRE_64_BIT: u32 = 1;
const WIRE_BYTES: u32 = 2;
const WIRE_32_BIT: u32 = 5;

/// One event file; a run has one per start.
#[derive(Debug)]
pub(crate) struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a new file in `folder`. A run restarted at a step voids the events of earlier files
    /// after that step.
    pub fn create(folder: &Path, restarted_at: Option<u64>) -> Result<Self, EngineError> {
        let now = seconds_now();
        // TensorBoard reads the files of a folder in the order of their names.
        let mut attempt = 0;
        let (path, file) = loop {
            let name = format!(
                "events.out.tfevents.{:010}.{attempt:03}.deepmim",
                now as u64
            );
            let path = folder.join(name);
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(EngineError::io("cannot write", &path)(error)),
            }
        };
        let mut writer = Self { path, file };
        let mut version = Message::event(now, 0);
        version.bytes(field::EVENT_FILE_VERSION, b"brain.Event:2");
        writer.record(&version.0)?;
        if let Some(step) = restarted_at {
            let mut session = Message::default();
            session.varint(field::SESSION_STATUS, SESSION_START);
            let mut start = Message::event(now, step + 1);
            start.bytes(field::EVENT_SESSION_LOG, &session.0);
            writer.record(&start.0)?;
        }
        Ok(writer)
    }

    /// Writes all values of one step as one event.
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<(), EngineError> {
        let mut summary = Message::default();
        for (name, value) in values {
            let mut entry = Message::default();
            entry.bytes(field::VALUE_TAG, name.as_bytes());
            entry.float(field::VALUE_SIMPLE, *value as f32);
            summary.bytes(field::SUMMARY_VALUE, &entry.0);
        }
        let mut event = Message::event(seconds_now(), step);
        event.bytes(field::EVENT_SUMMARY, &summary.0);
        self.record(&event.0)
    }

    fn record(&mut self, data: &[u8]) -> Result<(), EngineError> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked_crc(data).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(EngineError::io("cannot write", &self.path))
    }
}

fn seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// A protobuf message being encoded.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn event(wall_time: f64, step: u64) -> Self {
        let mut event = Self::default();
        event.key(field::EVENT_WALL_TIME, WIRE_64_BIT);
        event.0.extend_from_slice(&wall_time.to_le_bytes());
        event.varint(field::EVENT_STEP, step);
        event
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.raw_varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, field: u32, value: u64) {
        self.key(field, WIRE_VARINT);
        self.raw_varint(value);
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, WIRE_BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u32, value: f32) {
        self.key(field, WIRE_32_BIT);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32C (Castagnoli), rotated and offset as TFRecord wants it.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

static TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    // The Castagnoli polynomial, bit-reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn checksums_match_the_published_vectors() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    /// The bytes that Google's protobuf makes of the same message: an Event with wall_time 1.5,
    /// step 300 and one value `loss` = 0.25.
    #[test]
    fn an_event_is_encoded_as_protobuf_does() {
        let mut entry = Message::default();
        entry.bytes(field::VALUE_TAG, b"loss");
        entry.float(field::VALUE_SIMPLE, 0.25);
        let mut summary = Message::default();
        summary.bytes(field::SUMMARY_VALUE, &entry.0);
        let mut event = Message::event(1.5, 300);
        event.bytes(field::EVENT_SUMMARY, &summary.0);
        let wanted = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // 1: double 1.5
            0x10, 0xac, 0x02, // 2: varint 300
            0x2a, 0x0d, // 5: 13 bytes
            0x0a, 0x0b, // 1: 11 bytes
            0x0a, 0x04, b'l', b'o', b's', b's', // 1: "loss"
            0x15, 0, 0, 0x80, 0x3e, // 2: float 0.25
        ];
        assert_eq!(event.0, wanted);
    }

    /// Splits a file into its records, checking both checksums of each.
    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked_crc(&rest[..8]));
            let data = &rest[12..12 + length];
            assert_eq!(crc(12 + length), masked_crc(data));
            records.push(data.to_vec());
            rest = &rest[16 + length..];
        }
        records
    }

    #[test]
    fn a_file_reads_back_and_a_restart_voids_later_steps() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(folder.path(), None).unwrap();
        first.scalars(7, &[("loss".into(), 0.25)]).unwrap();
        let second = EventWriter::create(folder.path(), Some(6)).unwrap();
        assert!(second.path > first.path);

        let of_first = records(&std::fs::read(&first.path).unwrap());
        assert_eq!(of_first.len(), 2);
        assert!(of_first[0].ends_with(b"brain.Event:2"));
        assert_eq!(of_first[1][9..11], [0x10, 7]);
        assert!(of_first[1].ends_with(&0.25f32.to_le_bytes()));
        let of_second = records(&std::fs::read(&second.path).unwrap());
        assert_eq!(of_second.len(), 2);
        // step 7, then field 7 with status START.
        assert_eq!(of_second[1][9..], [0x10, 7, 0x3a, 2, 0x08, 1]);
    }
}
