//! Reads the directory of a zip archive of stored entries, trusting none of its numbers.

use std::collections::BTreeMap;
use std::ops::Range;

/// Most entries an archive may have.
const MAX_ENTRIES: u64 = 1 << 20;

/// Why an archive was refused: the part of it, and the reason.
pub(super) type Refused = (String, String);

fn refuse<T>(part: &str, reason: impl Into<String>) -> Result<T, Refused> {
    Err((part.into(), reason.into()))
}

/// Reads little-endian numbers at checked places.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(at).ok()?;
        let end = usize::try_from(at.checked_add(length)?).ok()?;
        self.0.get(start..end)
    }

    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let bytes = self.slice(at, width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }
}

/// Every entry's name and the range of its bytes.
///
/// Refuses compression, encryption, several disks, duplicate names, entries that overlap, lie
/// outside the file, or whose two headers disagree.
pub(super) fn entries(file: &[u8]) -> Result<BTreeMap<String, Range<usize>>, Refused> {
    const TAIL: &str = "zip directory";
    let bytes = Bytes(file);
    let tail = find_tail(bytes)?;
    let cut = || (TAIL.to_string(), "is cut short".to_string());
    let get = |at, width| bytes.number(at, width).ok_or_else(cut);

    let (mut count, mut length, mut start) =
        (get(tail + 10, 2)?, get(tail + 12, 4)?, get(tail + 16, 4)?);
    let mut directory_end = tail;
    if get(tail + 4, 2)? != get(tail + 6, 2)? || get(tail + 8, 2)? != count {
        return refuse(TAIL, "spans several disks");
    }
    let locator = tail
        .checked_sub(20)
        .filter(|at| bytes.number(*at, 4) == Some(0x0706_4b50));
    if let Some(locator) = locator {
        let record = get(locator + 8, 8)?;
        if bytes.number(record, 4) != Some(0x0606_4b50) {
            return refuse(TAIL, "its zip64 locator points nowhere");
        }
        let field = |offset: u64| get(record.saturating_add(offset), 8);
        (count, length, start) = (field(32)?, field(40)?, field(48)?);
        directory_end = record;
    }
    if start.checked_add(length) != Some(directory_end) {
        return refuse(TAIL, "does not lie where its end says");
    }
    if count > MAX_ENTRIES {
        return refuse(
            TAIL,
            format!("lists {count} entries, more than {MAX_ENTRIES}"),
        );
    }

    let mut found = BTreeMap::new();
    let mut at = start;
    for _ in 0..count {
        let (name, range, next) = entry(bytes, at, directory_end, start)?;
        if found.contains_key(&name) {
            return refuse(&name, "is listed twice");
        }
        found.insert(name, range);
        at = next;
    }
    if at != directory_end {
        return refuse(
            TAIL,
            format!("lists {count} entries but is longer than they are"),
        );
    }
    refuse_overlap(&found)?;
    Ok(found)
}

/// The end-of-directory record: 22 bytes and a comment that reaches the end of the file.
fn find_tail(bytes: Bytes<'_>) -> Result<u64, Refused> {
    let size = bytes.0.len() as u64;
    let farthest = size.saturating_sub(22 + u64::from(u16::MAX));
    let mut at = size.checked_sub(22);
    while let Some(tail) = at {
        let signed = bytes.number(tail, 4) == Some(0x0605_4b50);
        if signed && bytes.number(tail + 20, 2) == Some(size - tail - 22) {
            return Ok(tail);
        }
        at = tail.checked_sub(1).filter(|at| *at >= farthest);
    }
    let reason = match (size, bytes.0.first()) {
        (0, _) => "is empty",
        (_, Some(0x80)) => "is a bare pickle, not the zip archive that torch.save writes",
        _ => "is not a zip archive, or its end is cut off",
    };
    refuse("zip directory", reason)
}

/// One entry of the directory, checked against its local header: name, range, next entry.
fn entry(
    bytes: Bytes<'_>,
    at: u64,
    end: u64,
    data_end: u64,
) -> Result<(String, Range<usize>, u64), Refused> {
    const PART: &str = "zip directory";
    let cut = || {
        (
            PART.to_string(),
            format!("the entry at byte {at} is cut short"),
        )
    };
    let get = |at, width| bytes.number(at, width).ok_or_else(cut);
    if get(at, 4)? != 0x0201_4b50 {
        return refuse(PART, format!("no entry at byte {at}"));
    }
    let (flags, method) = (get(at + 8, 2)?, get(at + 10, 2)?);
    let (mut stored, mut size) = (get(at + 20, 4)?, get(at + 24, 4)?);
    let (name_length, extra_length, comment) =
        (get(at + 28, 2)?, get(at + 30, 2)?, get(at + 32, 2)?);
    let mut header = get(at + 42, 4)?;
    let next = at + 46 + name_length + extra_length + comment;
    if next > end {
        return Err(cut());
    }
    let name = bytes.slice(at + 46, name_length).ok_or_else(cut)?;
    let Ok(name) = std::str::from_utf8(name) else {
        return refuse(
            PART,
            format!("the entry at byte {at} has a name that is not UTF-8"),
        );
    };
    if flags & 0b10_0000_0100_0001 != 0 {
        return refuse(name, "is encrypted or patched");
    }
    if method != 0 {
        return refuse(name, "is compressed; torch.save stores entries as they are");
    }

    // The zip64 field holds those of the three numbers that did not fit, in this order.
    let extra_end = at + 46 + name_length + extra_length;
    let mut extra = at + 46 + name_length;
    while extra + 4 <= extra_end {
        let (id, length) = (get(extra, 2)?, get(extra + 2, 2)?);
        if id == 1 {
            let mut field = extra + 4;
            for number in [&mut size, &mut stored, &mut header] {
                if *number == u64::from(u32::MAX) && field + 8 <= extra + 4 + length {
                    *number = get(field, 8)?;
                    field += 8;
                }
            }
        }
        extra += 4 + length;
    }
    if stored != size {
        return refuse(name, format!("has two sizes, {stored} and {size}"));
    }

    let outside = || (name.to_string(), "lies outside the file".to_string());
    let local = |offset: u64, width| {
        header
            .checked_add(offset)
            .and_then(|at| bytes.number(at, width))
            .ok_or_else(outside)
    };
    if local(0, 4)? != 0x0403_4b50 {
        return refuse(name, format!("has no header at byte {header}"));
    }
    let (local_name, local_extra) = (local(26, 2)?, local(28, 2)?);
    if bytes.slice(header + 30, local_name) != Some(name.as_bytes()) {
        return refuse(name, "has another name in its own header");
    }
    let data = header + 30 + local_name + local_extra;
    let data_stop = data
        .checked_add(size)
        .filter(|stop| *stop <= data_end)
        .ok_or_else(outside)?;
    Ok((name.to_string(), data as usize..data_stop as usize, next))
}

/// Two entries that share bytes could say different things to different readers.
fn refuse_overlap(entries: &BTreeMap<String, Range<usize>>) -> Result<(), Refused> {
    let mut ranges: Vec<_> = entries
        .iter()
        .filter(|(_, range)| !range.is_empty())
        .collect();
    ranges.sort_by_key(|(_, range)| range.start);
    for pair in ranges.windows(2) {
        let ((first, a), (second, b)) = (pair[0], pair[1]);
        if a.end > b.start {
            return refuse(second, format!("overlaps {first}"));
        }
    }
    Ok(())
}
