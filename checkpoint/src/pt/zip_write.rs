//! Writes a zip archive of stored entries, front to back, hashing as it goes.
//!
//! torch wants entries uncompressed and aligned to 64 bytes, so that they can be mapped. As each
//! entry's bytes are at hand, its checksum and size go into its header at once and nothing is
//! patched later: the archive can go to a disk, a socket or a hash.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::ARCHIVE;

/// Alignment of the first byte of each entry.
const ALIGNMENT: u64 = 64;

/// Value that says "the number is in the zip64 extra field".
const IN_ZIP64: u64 = u32::MAX as u64;

/// Bytes hashed and written at a time: they stay in the cache between the two.
pub(crate) const CHUNK: usize = 256 << 10;

/// Where one entry of an archive lies and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryDigest {
    /// Name without the archive's folder, as in `data/0`.
    pub name: String,
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub blake3: String,
}

/// Enough to verify any one entry of a `.pt` file without reading the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtDigest {
    /// BLAKE3 of everything that is not an entry's content: headers, padding, the directory.
    pub layout: String,
    /// The entries, in the order of the file.
    pub entries: Vec<EntryDigest>,
}

/// An archive in the making.
pub(super) struct ZipWriter<'a> {
    out: &'a mut dyn Write,
    at: u64,
    layout: blake3::Hasher,
    entries: Vec<EntryDigest>,
    checksums: Vec<u32>,
}

/// Appends little-endian numbers.
fn le<const N: usize>(to: &mut Vec<u8>, bytes: [u8; N]) {
    to.extend_from_slice(&bytes);
}

/// More is summed by two threads.
const LARGE: usize = 4 << 20;

/// CRC-32 and BLAKE3.
fn sums(data: &[u8]) -> (u32, blake3::Hash) {
    if data.len() >= LARGE {
        return std::thread::scope(|scope| {
            let hash = scope.spawn(|| blake3::hash(data));
            let crc = crc32fast::hash(data);
            // Neither can panic.
            (crc, hash.join().unwrap_or_else(|_| blake3::hash(data)))
        });
    }
    let mut crc = crc32fast::Hasher::new();
    let mut hash = blake3::Hasher::new();
    for chunk in data.chunks(CHUNK) {
        crc.update(chunk);
        hash.update(chunk);
    }
    (crc.finalize(), hash.finalize())
}

impl<'a> ZipWriter<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        let layout = blake3::Hasher::new();
        Self {
            out,
            at: 0,
            layout,
            entries: Vec::new(),
            checksums: Vec::new(),
        }
    }

    /// Bytes that are not an entry's content.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.layout.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes one entry.
    pub(super) fn entry(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let full_name = format!("{ARCHIVE}/{name}");
        let size = data.len() as u64;
        let (crc, hash) = sums(data);

        let mut header = Vec::with_capacity(256);
        le(&mut header, 0x0403_4b50_u32.to_le_bytes());
        common_header(&mut header, crc, size, size >= IN_ZIP64);
        le(&mut header, (full_name.len() as u16).to_le_bytes());
        let extra_at = header.len();
        le(&mut header, [0; 2]);
        header.extend_from_slice(full_name.as_bytes());
        let extra_start = header.len();
        if size >= IN_ZIP64 {
            le(&mut header, 1_u16.to_le_bytes());
            le(&mut header, 16_u16.to_le_bytes());
            le(&mut header, size.to_le_bytes());
            le(&mut header, size.to_le_bytes());
        }
        // The padding is itself an extra field, marked "FB" as torch marks it.
        let end = self.at + header.len() as u64 + 4;
        let padding = (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT;
        header.extend_from_slice(b"FB");
        le(&mut header, (padding as u16).to_le_bytes());
        header.resize(header.len() + padding as usize, 0);
        let extra = (header.len() - extra_start) as u16;
        header[extra_at..extra_at + 2].copy_from_slice(&extra.to_le_bytes());
        self.put(&header)?;

        let offset = self.at;
        self.out.write_all(data)?;
        self.at += size;
        let blake3 = hash.to_hex().to_string();
        self.entries.push(EntryDigest {
            name: name.into(),
            offset,
            size,
            blake3,
        });
        self.checksums.push(crc);
        Ok(())
    }

    /// Writes the directory. `headers` of the entries are found again from their names' lengths.
    pub(super) fn finish(mut self) -> io::Result<PtDigest> {
        let start = self.at;
        let mut header_at = 0;
        let mut directory = Vec::new();
        for (entry, crc) in self.entries.iter().zip(&self.checksums) {
            let full_name = format!("{ARCHIVE}/{}", entry.name);
            let far = header_at >= IN_ZIP64;
            let big = entry.size >= IN_ZIP64;
            le(&mut directory, 0x0201_4b50_u32.to_le_bytes());
            le(&mut directory, 45_u16.to_le_bytes());
            common_header(&mut directory, *crc, entry.size, big);
            le(&mut directory, (full_name.len() as u16).to_le_bytes());
            let extra = 16 * u16::from(big) + 8 * u16::from(far);
            let extra = if extra > 0 { extra + 4 } else { 0 };
            le(&mut directory, extra.to_le_bytes());
            // Comment, disk, internal and external attributes: none.
            le(&mut directory, [0; 10]);
            le(
                &mut directory,
                (header_at.min(IN_ZIP64) as u32).to_le_bytes(),
            );
            directory.extend_from_slice(full_name.as_bytes());
            if extra > 0 {
                le(&mut directory, 1_u16.to_le_bytes());
                le(&mut directory, (extra - 4).to_le_bytes());
                if big {
                    le(&mut directory, entry.size.to_le_bytes());
                    le(&mut directory, entry.size.to_le_bytes());
                }
                if far {
                    le(&mut directory, header_at.to_le_bytes());
                }
            }
            header_at = entry.offset + entry.size;
        }
        let length = directory.len() as u64;
        let count = self.entries.len() as u64;
        let far = start >= IN_ZIP64 || length >= IN_ZIP64 || count >= u64::from(u16::MAX);
        if far {
            let record_at = start + length;
            le(&mut directory, 0x0606_4b50_u32.to_le_bytes());
            le(&mut directory, 44_u64.to_le_bytes());
            le(&mut directory, 45_u16.to_le_bytes());
            le(&mut directory, 45_u16.to_le_bytes());
            le(&mut directory, [0; 8]);
            for number in [count, count, length, start] {
                le(&mut directory, number.to_le_bytes());
            }
            le(&mut directory, 0x0706_4b50_u32.to_le_bytes());
            le(&mut directory, [0; 4]);
            le(&mut directory, record_at.to_le_bytes());
            le(&mut directory, 1_u32.to_le_bytes());
        }
        le(&mut directory, 0x0605_4b50_u32.to_le_bytes());
        le(&mut directory, [0; 4]);
        let short = if far { u16::MAX } else { count as u16 };
        le(&mut directory, short.to_le_bytes());
        le(&mut directory, short.to_le_bytes());
        for number in [length, start] {
            let number = if far { IN_ZIP64 } else { number };
            le(&mut directory, (number as u32).to_le_bytes());
        }
        le(&mut directory, [0; 2]);
        self.put(&directory)?;
        let layout = self.layout.finalize().to_hex().to_string();
        Ok(PtDigest {
            layout,
            entries: self.entries,
        })
    }
}

/// The fields that a local header and a directory entry share, from version to sizes.
///
/// The time is always 1980-01-01: equal content gives equal bytes.
fn common_header(to: &mut Vec<u8>, crc: u32, size: u64, zip64: bool) {
    le(to, if zip64 { 45_u16 } else { 20_u16 }.to_le_bytes());
    le(to, [0; 2]); // flags
    le(to, [0; 2]); // stored
    le(to, [0, 0]); // time
    le(to, 0x21_u16.to_le_bytes()); // date
    le(to, crc.to_le_bytes());
    for _ in 0..2 {
        le(to, (size.min(IN_ZIP64) as u32).to_le_bytes());
    }
}
