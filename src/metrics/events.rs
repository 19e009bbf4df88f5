//! Scalars for TensorBoard: a file of length-prefixed, checksummed records, each a protobuf `Event`.
//!
//! Source: `tensorflow/core/lib/io/record_writer.h` for the records, `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto` for the fields. Written by hand: of both messages six fields are needed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::checkpoint::EVENTS_PREFIX;

use super::LogError;

/// A file of events that grows by a record at a time.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Begins a file in a run's directory, named after the present second.
    pub fn create(dir: &Path) -> Result<EventLog, LogError> {
        let path = dir.join(format!("{EVENTS_PREFIX}{}.gauntlet", now() as u64));
        let file = File::create(&path).map_err(|source| LogError {
            path: path.clone(),
            doing: "creating",
            source,
        })?;
        let mut log = EventLog { path, file };
        let mut event = Vec::new();
        double(&mut event, 1, now());
        bytes(&mut event, 3, b"brain.Event:2");
        log.write(&event)?;
        Ok(log)
    }

    /// Adds the values of a step, as [`super::scalars`] gives them.
    pub fn append(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), LogError> {
        if scalars.is_empty() {
            return Ok(());
        }
        let mut summary = Vec::new();
        for (tag, number) in scalars {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            key(&mut value, 2, 5);
            value.extend((*number as f32).to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        double(&mut event, 1, now());
        key(&mut event, 2, 0);
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<(), LogError> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked_crc(event).to_le_bytes());
        // One write a record: a reader never meets half of one unless the disk is full.
        self.file
            .write_all(&record)
            .map_err(|source: io::Error| LogError {
                path: self.path.clone(),
                doing: "writing",
                source,
            })
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field's number with the type of its encoding: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, 1);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// CRC-32C (Castagnoli), rotated and offset so that a checksum of checksums stays sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc: u32, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        // Appendix B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_event_has_the_bytes_that_the_schema_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(folder.path()).unwrap();
        log.append(300, &[("a/b".to_owned(), 0.5)]).unwrap();
        log.append(301, &[]).unwrap();
        let file = std::fs::read(&log.path).unwrap();
        // Length, its checksum, time, `file_version`, checksum of the record.
        let first = 8 + 4 + 9 + 2 + 13 + 4;
        assert_eq!(&file[23..first - 4], b"brain.Event:2");
        let second = &file[first..];
        assert_eq!(second[..8], 26_u64.to_le_bytes());
        // Past the time: step 300, a summary of 12 bytes, a value of 10, the tag, 0.5.
        let event = b"\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03a/b\x15\x00\x00\x00\x3f";
        assert_eq!(second[21..second.len() - 4], event[..]);
    }
}
