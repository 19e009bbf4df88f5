//! Rows of parquet files, as JSON objects.

use std::fs::File;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value as Json, json};

use super::file::{Batch, Broken, RawRow};

/// Hands the rows on in batches, until `take` wants no more.
pub(super) fn read(path: &Path, mut take: impl FnMut(Vec<RawRow>) -> bool) -> Result<(), Broken> {
    let mut batch = Batch::new(&mut take);
    let done = rows(path, &mut batch);
    batch.flush();
    let rows = batch.count();
    done.map_err(|source| Broken { rows, source })
}

fn rows(path: &Path, batch: &mut Batch<'_>) -> io::Result<()> {
    let wrong = |error: parquet::errors::ParquetError| {
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    };
    let reader = SerializedFileReader::new(File::open(path)?).map_err(wrong)?;
    let rows = reader.get_row_iter(None).map_err(wrong)?;
    for (index, row) in rows.enumerate() {
        let row = row.map_err(wrong)?;
        let map: Map<String, Json> = row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), json_of(field)))
            .collect();
        if !batch.push_held(index + 1, Json::Object(map).to_string().into_bytes()) {
            break;
        }
    }
    Ok(())
}

fn json_of(field: &Field) -> Json {
    match field {
        Field::Null => Json::Null,
        Field::Bool(b) => json!(b),
        Field::Byte(i) => json!(i),
        Field::Short(i) => json!(i),
        Field::Int(i) => json!(i),
        Field::Long(i) => json!(i),
        Field::UByte(i) => json!(i),
        Field::UShort(i) => json!(i),
        Field::UInt(i) => json!(i),
        Field::ULong(i) => json!(i),
        Field::Float16(f) => json!(f.to_f64()),
        Field::Float(f) => json!(f),
        Field::Double(f) => json!(f),
        Field::Str(text) => json!(text),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => json!(text),
            Err(_) => json!(STANDARD.encode(bytes.data())),
        },
        Field::Group(row) => row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), json_of(field)))
            .collect::<Map<String, Json>>()
            .into(),
        Field::ListInternal(list) => list.elements().iter().map(json_of).collect(),
        Field::MapInternal(map) => map
            .entries()
            .iter()
            .map(|(key, value)| {
                let key = match json_of(key) {
                    Json::String(key) => key,
                    other => other.to_string(),
                };
                (key, json_of(value))
            })
            .collect::<Map<String, Json>>()
            .into(),
        // Dates and decimals: nothing that a problem is made of.
        other => json!(other.to_string()),
    }
}
