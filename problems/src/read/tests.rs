//! Files in every container, whole and broken.

use std::io::Write;

use serde_json::json;

use super::*;

const ROW: &str = r#"{"prompt": "Double it.", "tests": ["assert twice(2) == 4"], "id": "ID"}"#;

fn rows(count: usize) -> String {
    (0..count)
        .map(|i| ROW.replace("ID", &format!("set/{i}")) + "\n")
        .collect()
}

/// Writes a file and reads it: how many problems, and what was left out.
fn read(name: &str, bytes: &[u8]) -> Result<(usize, Vec<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let spec = path.to_str().unwrap();
    let set = ProblemSet::open(spec, &ReadOptions::default()).map_err(|error| error.to_string())?;
    let count = set.len();
    let loaded = set.load();
    assert!(loaded.problems.len() <= count);
    let prefix = format!("{}/", folder.path().display());
    let told = loaded
        .left_out
        .iter()
        .map(|l| l.to_string().replace(&prefix, ""));
    Ok((loaded.problems.len(), told.collect()))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap()
}

#[test]
fn every_container_gives_the_same_problems() {
    let listed: Vec<serde_json::Value> = rows(3)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let pretty = serde_json::to_string_pretty(&listed).unwrap();
    let wrapped = serde_json::to_string_pretty(&json!({"version": 1, "data": listed})).unwrap();
    let own = format!(
        "{{\"schema_version\": 1}}\n{}",
        rows(3).replace("\"prompt\"", "\"statement\"")
    );
    for (name, bytes) in [
        ("a.jsonl", rows(3).into_bytes()),
        ("a.jsonl", format!("\u{feff}{}", rows(3)).into_bytes()),
        ("a.jsonl", rows(3).replace('\n', "\r\n\r\n").into_bytes()),
        ("a.jsonl", rows(3).trim_end().as_bytes().to_vec()),
        ("a.json", pretty.clone().into_bytes()),
        ("a.json", serde_json::to_vec(&listed).unwrap()),
        ("a.json", wrapped.into_bytes()),
        ("a.jsonl", own.into_bytes()),
        ("a.jsonl.gz", gzip(&rows(3))),
        ("a.json.gz", gzip(&pretty)),
        (
            "a.jsonl.zst",
            zstd::encode_all(rows(3).as_bytes(), 1).unwrap(),
        ),
        ("a.parquet", parquet(3)),
    ] {
        assert_eq!(read(name, &bytes), Ok((3, Vec::new())), "{name}");
    }
}

/// A parquet file with rows of a prompt and asserts, compressed with snappy.
fn parquet(count: usize) -> Vec<u8> {
    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    let schema = "message rows { required binary prompt (UTF8); required group tests (LIST) { repeated group list { \
                  required binary element (UTF8); } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |text: &str| vec![ByteArray::from(text); count];
    let mut column = group.next_column().unwrap().unwrap();
    let prompts = texts("Double it.");
    column
        .typed::<ByteArrayType>()
        .write_batch(&prompts, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let levels = vec![1_i16; count];
    let tests = texts("assert twice(2) == 4");
    let starts = vec![0_i16; count];
    column
        .typed::<ByteArrayType>()
        .write_batch(&tests, Some(&levels), Some(&starts))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn one_bad_row_never_stops_a_load() {
    let good = rows(2);
    let cut = gzip(&rows(4000));
    let (first, second) = good.split_once('\n').unwrap();
    for (name, bytes, problems, told) in [
        (
            "a.jsonl",
            format!("{first}\n{{\"prompt\": \n{second}").into_bytes(),
            2,
            "a.jsonl:2: not JSON at column",
        ),
        (
            "a.jsonl",
            format!("{first}\n[1]\n{second}").into_bytes(),
            2,
            "a.jsonl:2: holds a list, not an object",
        ),
        (
            "a.jsonl",
            format!("{first}\n{{\"prompt\": \"p\"}}\n{second}").into_bytes(),
            2,
            "a.jsonl:2: tests: is missing",
        ),
        (
            "a.jsonl",
            format!("{first}\n{first}\n{second}").into_bytes(),
            2,
            "a.jsonl:2: problem \"set/0\": its id is already that of",
        ),
        (
            "a.jsonl",
            [first.as_bytes(), b"\n\"\xff\"\n", second.as_bytes()].concat(),
            2,
            "a.jsonl:2: not UTF-8 at byte 2",
        ),
        (
            "a.jsonl",
            format!("{good}{}", ROW.replace("twice(2)", "twice(2")).into_bytes(),
            2,
            "a.jsonl:3: problem \"ID\": tests[0].code: does not parse",
        ),
        (
            "a.jsonl",
            format!("{{\"schema_version\": 9}}\n{good}").into_bytes(),
            2,
            "a.jsonl:1: schema_version 9 is not one",
        ),
    ] {
        let (count, left_out) = read(name, &bytes).unwrap();
        assert_eq!(
            (count, left_out.len()),
            (problems, 1),
            "{told}: {left_out:?}"
        );
        assert!(left_out[0].starts_with(told), "{left_out:?}");
    }
    let (count, left_out) = read("a.jsonl.gz", &cut[..cut.len() / 2]).unwrap();
    assert!(count > 100 && count < 4000, "{count}");
    let end = left_out.last().unwrap();
    assert!(
        end.contains("after row") && end.contains("what follows is lost"),
        "{end}"
    );
}

#[test]
fn what_cannot_be_read_at_all_is_an_error_that_says_what_would_be_right() {
    for (name, bytes, expected) in [
        (
            "a.jsonl",
            b"{\"x\": 1}\n".to_vec(),
            "the format is not known: the fields are `x`",
        ),
        (
            "a.jsonl",
            b"garbage\n".to_vec(),
            "none of its 1 rows is a problem",
        ),
        ("a.parquet", b"PAR1 and no more".to_vec(), "a.parquet: "),
        ("a.jsonl.gz", gzip(&rows(3))[..12].to_vec(), "a.jsonl.gz: "),
    ] {
        let error = read(name, &bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let missing = ProblemSet::open("no/such/file", &ReadOptions::default()).unwrap_err();
    assert!(
        missing.to_string().starts_with("no/such/file: "),
        "{missing}"
    );
    let empty = tempfile::tempdir().unwrap();
    let error =
        ProblemSet::open(empty.path().to_str().unwrap(), &ReadOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("holds no problem file"),
        "{error}"
    );
}

#[test]
fn a_line_beyond_any_problem_is_left_out_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl.gz");
    let mut gz = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    gz.write_all(rows(1).as_bytes()).unwrap();
    gz.write_all(b"{\"prompt\": \"").unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..300 {
        gz.write_all(&block).unwrap();
    }
    gz.write_all(b"\"}\n").unwrap();
    gz.write_all(rows(2).lines().nth(1).unwrap().as_bytes())
        .unwrap();
    gz.finish().unwrap();
    let set = ProblemSet::open(path.to_str().unwrap(), &ReadOptions::default()).unwrap();
    assert_eq!(set.ids().collect::<Vec<_>>(), ["set/0", "set/1"]);
    assert!(
        set.left_out()[0].why.contains("more than 256 MiB"),
        "{:?}",
        set.left_out()
    );
}

#[test]
fn strictness_a_limit_and_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().to_str().unwrap();
    std::fs::write(folder.path().join("a.jsonl"), rows(2) + "[]\n").unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    let other = rows(3).replace("set/", "other/");
    std::fs::write(folder.path().join("more/b.jsonl"), other).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no problems").unwrap();
    let open = |options: ReadOptions| ProblemSet::open(spec, &options);
    assert_eq!(open(ReadOptions::default()).unwrap().len(), 5);
    let limited = ReadOptions {
        limit: Some(3),
        ..ReadOptions::default()
    };
    assert_eq!(open(limited).unwrap().len(), 3);
    let strict = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let error = open(strict).unwrap_err().to_string();
    assert!(
        error.ends_with("a.jsonl:3: holds a list, not an object"),
        "{error}"
    );
}
