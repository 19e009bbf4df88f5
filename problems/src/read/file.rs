//! Rows out of files: lines of JSON, one JSON document, or parquet, each plain or compressed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::super::schema::parse_foreign;

/// The longest line that is read. A longer one is left out without being held.
const MAX_LINE: usize = 256 << 20;

/// How much text is handed on at a time.
const BATCH_BYTES: usize = 8 << 20;

/// Where a row's text is.
#[derive(Debug)]
pub(super) enum Body {
    /// In memory.
    Held(Box<[u8]>),
    /// In its file.
    At { offset: u64, length: u32 },
}

impl Body {
    /// The row's text; `path` is its file.
    pub(super) fn bytes(&self, path: &Path) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Body::Held(bytes) => Ok(Cow::Borrowed(bytes)),
            Body::At { offset, length } => {
                let mut bytes = vec![0; *length as usize];
                File::open(path)?.read_exact_at(&mut bytes, *offset)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// A row as it stands in its file.
pub(super) struct RawRow {
    /// The line or row, from 1.
    pub(super) number: usize,
    /// Its text while it is read, or why there is none.
    text: Result<Vec<u8>, String>,
    /// Where it is found again.
    pub(super) body: Body,
}

impl RawRow {
    /// The row's object, or its id (of which there is none) and what is wrong.
    pub(super) fn object(&self) -> Result<Map<String, Json>, (Option<String>, String)> {
        let bytes = match (&self.text, &self.body) {
            (Err(why), _) => return Err((None, why.clone())),
            (Ok(_), Body::Held(bytes)) => bytes,
            (Ok(text), Body::At { .. }) => text.as_slice(),
        };
        object(bytes).map_err(|why| (None, why))
    }
}

/// Reads a row's object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Json>, String> {
    // Some editors mark a file's first line.
    match parse_foreign(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(other) => Err(format!("holds {}, not an object", kind_of(&other))),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// A file that could not be read to its end.
pub(super) struct Broken {
    /// Rows read before.
    pub(super) rows: usize,
    /// What the system, or the decompressor, said.
    pub(super) source: io::Error,
}

/// Whether a file's name says that it may hold problems.
pub(super) fn may_hold_problems(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let plain = name
        .strip_suffix(".gz")
        .or(name.strip_suffix(".zst"))
        .unwrap_or(&name);
    [".jsonl", ".ndjson", ".json", ".parquet"]
        .iter()
        .any(|ending| plain.ends_with(ending))
}

/// Hands the rows of a file on in batches, until `take` wants no more. What the file is, its first bytes say.
pub(super) fn read_rows(
    path: &Path,
    mut take: impl FnMut(Vec<RawRow>) -> bool,
) -> Result<(), Broken> {
    let at_once = |source| Broken { rows: 0, source };
    let mut file = File::open(path).map_err(at_once)?;
    let mut magic = Vec::new();
    file.by_ref()
        .take(4)
        .read_to_end(&mut magic)
        .map_err(at_once)?;
    if magic == b"PAR1" {
        return super::parquet::read(path, take);
    }
    let file = File::open(path).map_err(at_once)?;
    let mut batch = Batch {
        take: &mut take,
        rows: Vec::new(),
        bytes: 0,
        count: 0,
    };
    let done = match magic.as_slice() {
        [0x1f, 0x8b, ..] => text_rows(flate2::read::MultiGzDecoder::new(file), false, &mut batch),
        [0x28, 0xb5, 0x2f, 0xfd] => zstd::stream::read::Decoder::new(file)
            .and_then(|decoder| text_rows(decoder, false, &mut batch)),
        _ => text_rows(file, true, &mut batch),
    };
    batch.flush();
    let rows = batch.count;
    done.map(drop).map_err(|source| Broken { rows, source })
}

/// Rows on their way.
pub(super) struct Batch<'a> {
    take: &'a mut dyn FnMut(Vec<RawRow>) -> bool,
    rows: Vec<RawRow>,
    bytes: usize,
    count: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(take: &'a mut dyn FnMut(Vec<RawRow>) -> bool) -> Batch<'a> {
        Batch {
            take,
            rows: Vec::new(),
            bytes: 0,
            count: 0,
        }
    }

    /// Rows handed on and waiting.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether more rows are wanted.
    pub(super) fn push(&mut self, row: RawRow) -> bool {
        self.count += 1;
        self.bytes += match (&row.text, &row.body) {
            (_, Body::Held(bytes)) => bytes.len(),
            (Ok(text), _) => text.len(),
            (Err(_), _) => 0,
        };
        self.rows.push(row);
        self.bytes < BATCH_BYTES || self.flush()
    }

    /// A row whose text is held in memory.
    pub(super) fn push_held(&mut self, number: usize, bytes: Vec<u8>) -> bool {
        self.push(RawRow {
            number,
            text: Ok(Vec::new()),
            body: Body::Held(bytes.into_boxed_slice()),
        })
    }

    pub(super) fn flush(&mut self) -> bool {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        rows.is_empty() || (self.take)(rows)
    }
}

/// Lines of JSON, or one document: an opening bracket, or an object that does not end with its line, says which.
fn text_rows(source: impl Read, seekable: bool, batch: &mut Batch<'_>) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 20, source);
    let mut number = 0;
    let mut offset = 0_u64;
    loop {
        let (mut line, length, too_long) = read_line(&mut reader)?;
        if length == 0 {
            return Ok(true);
        }
        number += 1;
        let start = offset;
        offset += length;
        if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
            // Offsets count the mark, so that the first row keeps its text.
            line.insert(0, b' ');
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if batch.count == 0 && batch.rows.is_empty() && begins_document(text) {
            let mut whole = line;
            reader.read_to_end(&mut whole)?;
            return Ok(document(&whole, batch));
        }
        let text = match too_long {
            true => Err(format!("the line has more than {} MiB", MAX_LINE >> 20)),
            false => Ok(text.to_vec()),
        };
        let more = match (text, seekable) {
            (Ok(text), true) if length <= u64::from(u32::MAX) => batch.push(RawRow {
                number,
                text: Ok(text),
                body: Body::At {
                    offset: start,
                    length: length as u32,
                },
            }),
            (Ok(text), _) => batch.push_held(number, text),
            (Err(why), _) => batch.push(RawRow {
                number,
                text: Err(why),
                body: Body::Held(Box::default()),
            }),
        };
        if !more {
            return Ok(false);
        }
    }
}

/// One line with its end, its length, and whether it is longer than is read.
fn read_line(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, u64, bool)> {
    let mut line = Vec::new();
    let mut length = reader
        .by_ref()
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line)? as u64;
    if length < MAX_LINE as u64 || line.ends_with(b"\n") {
        return Ok((line, length, false));
    }
    line.clear();
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((b"-".to_vec(), length, true));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        length += used as u64;
        if end.is_some() {
            return Ok((b"-".to_vec(), length, true));
        }
    }
}

/// A list of rows, or an object over many lines.
fn begins_document(line: &[u8]) -> bool {
    match line.first() {
        Some(b'[') => true,
        // A longer first line that is cut short is a broken row, not the start of a document.
        Some(b'{') => {
            line.len() <= 200
                && serde_json::from_slice::<serde::de::IgnoredAny>(line)
                    .is_err_and(|error| error.is_eof())
        }
        _ => false,
    }
}

/// The rows of one JSON document: a list of objects, an object that holds such a list, or one row an id.
fn document(bytes: &[u8], batch: &mut Batch<'_>) -> bool {
    let json = match parse_foreign(bytes) {
        Ok(json) => json,
        Err(error) => {
            return batch.push(RawRow {
                number: 1,
                text: Err(error.to_string()),
                body: Body::Held(Box::default()),
            });
        }
    };
    let rows: Vec<Json> = match json {
        Json::Array(rows) => rows,
        Json::Object(map) => {
            let lists = map.values().filter(|value| is_rows(value)).count();
            let objects = map.values().all(Json::is_object);
            if lists == 1 && map.len() <= 4 {
                let list = map.into_iter().find(|(_, value)| is_rows(value));
                match list {
                    Some((_, Json::Array(rows))) => rows,
                    _ => Vec::new(),
                }
            } else if objects && map.len() > 1 {
                map.into_iter()
                    .map(|(key, mut row)| {
                        let named = ["id", "task_id", "name"]
                            .iter()
                            .any(|f| row.get(f).is_some());
                        if !named {
                            row["id"] = Json::String(key);
                        }
                        row
                    })
                    .collect()
            } else {
                vec![Json::Object(map)]
            }
        }
        other => vec![other],
    };
    for (index, row) in rows.into_iter().enumerate() {
        if !batch.push_held(index + 1, row.to_string().into_bytes()) {
            return false;
        }
    }
    true
}

fn is_rows(value: &Json) -> bool {
    matches!(value, Json::Array(items) if items.iter().all(Json::is_object) && !items.is_empty())
}
