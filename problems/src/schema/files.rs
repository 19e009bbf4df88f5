//! Problem files: one JSON object a line, after a first line that names the version.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use thiserror::Error;

use super::{Flaw, Problem};

/// The version of the problem files that this build reads and writes.
pub const SCHEMA_VERSION: u64 = 1;

/// Why a problem file could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// The file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no problem file.
    #[error("{}: holds no problem file; a problem set is a folder of .jsonl files", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// A line is not UTF-8.
    #[error("{}:{line}: not UTF-8 at byte {byte} of the line; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first wrong byte of the line, from 1.
        byte: usize,
    },
    /// A line is not JSON.
    #[error("{}:{line}: not JSON at column {column}: {message}; each line holds one JSON object", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// The first line does not say that the file has the version this build reads.
    #[error("{}:1: {found}; the first line must be {{\"schema_version\": {SCHEMA_VERSION}}}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What the line says.
        found: String,
    },
    /// A field of a problem is wrong.
    #[error("{}:{line}: {}{flaw}", path.display(), id.as_ref().map_or(String::new(), |id| format!("problem {id:?}: ")))]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The problem's id where it could be read.
        id: Option<String>,
        /// The field and what is wrong with it.
        flaw: Flaw,
    },
    /// Two problems have one id.
    #[error("{}:{line}: id: {id:?} is already the id of {first}; ids are unique in a set", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The id.
        id: String,
        /// File and line of the problem that had it first.
        first: String,
    },
}

/// Reads one file of problems.
///
/// # Errors
/// See [`ProblemError`]: each names the file, the line and the field.
pub fn load_jsonl(path: impl AsRef<Path>) -> Result<Vec<Problem>, ProblemError> {
    let mut set = Set::default();
    set.read(path.as_ref())?;
    Ok(set.problems)
}

/// Reads every `.jsonl` file of a folder, in the order of their names; ids are unique over all.
///
/// # Errors
/// As [`load_jsonl`], and where the folder holds no such file.
pub fn load_dir(dir: impl AsRef<Path>) -> Result<Vec<Problem>, ProblemError> {
    let dir = dir.as_ref();
    let io_error = |source| ProblemError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(ProblemError::NoFiles {
            path: dir.to_owned(),
        });
    }
    files.sort();
    let mut set = Set::default();
    for file in &files {
        set.read(file)?;
    }
    Ok(set.problems)
}

/// Writes problems in the form that [`load_jsonl`] reads. The file is replaced whole or not at all.
///
/// # Errors
/// Where the file could not be written; it names the path.
pub fn write_jsonl(path: impl AsRef<Path>, problems: &[Problem]) -> Result<(), ProblemError> {
    let mut text = format!("{{\"schema_version\": {SCHEMA_VERSION}}}\n");
    for problem in problems {
        text += &serde_json::to_string(problem).expect("a problem holds only what JSON can say");
        text.push('\n');
    }
    write_file(path.as_ref(), text.as_bytes())
}

/// Replaces a file whole or not at all.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ProblemError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // The error that counts is the one above; a partial file that cannot go is only litter.
        let _ = fs::remove_file(&partial);
        ProblemError::Io {
            path: path.to_owned(),
            source,
        }
    })
}

/// Problems read so far, with the place of each id.
#[derive(Default)]
struct Set {
    problems: Vec<Problem>,
    places: HashMap<String, String>,
}

impl Set {
    fn read(&mut self, path: &Path) -> Result<(), ProblemError> {
        let bytes = fs::read(path).map_err(|source| ProblemError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut lines = bytes.split(|&byte| byte == b'\n').zip(1..);
        let first = lines.next().map_or(Ok(Json::Null), |(bytes, line)| {
            parse_line(path, line, bytes)
        })?;
        check_version(path, &first)?;
        for (bytes, line) in lines {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let json = parse_line(path, line, bytes)?;
            let id = json.get("id").and_then(Json::as_str).map(str::to_owned);
            let parsed = match json {
                Json::Object(map) => Problem::from_json(map).and_then(|problem| {
                    problem.check()?;
                    Ok(problem)
                }),
                other => Err(Flaw::new(
                    "line",
                    format!("holds {}, not an object", kind_of(&other)),
                )),
            };
            let problem = parsed.map_err(|flaw| ProblemError::Field {
                path: path.to_owned(),
                line,
                id,
                flaw,
            })?;
            let here = format!("{}:{line}", path.display());
            if let Some(first) = self.places.insert(problem.id.clone(), here) {
                return Err(ProblemError::Duplicate {
                    path: path.to_owned(),
                    line,
                    id: problem.id,
                    first,
                });
            }
            self.problems.push(problem);
        }
        Ok(())
    }
}

fn parse_line(path: &Path, line: usize, bytes: &[u8]) -> Result<Json, ProblemError> {
    parse_json(bytes).map_err(|error| match error {
        LineError::NotUtf8 { byte } => ProblemError::NotUtf8 {
            path: path.to_owned(),
            line,
            byte,
        },
        LineError::NotJson { column, message } => ProblemError::NotJson {
            path: path.to_owned(),
            line,
            column,
            message,
        },
    })
}

/// Why a line of text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LineError {
    #[error("not UTF-8 at byte {byte} of the line; save the file as UTF-8")]
    NotUtf8 { byte: usize },
    #[error("not JSON at column {column}: {message}; each line holds one JSON object")]
    NotJson { column: usize, message: String },
}

/// Reads one line, and refuses integers that would be rounded.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Json, LineError> {
    let text = std::str::from_utf8(bytes).map_err(|error| LineError::NotUtf8 {
        byte: error.valid_up_to() + 1,
    })?;
    let wrong = |column, message| LineError::NotJson { column, message };
    let json = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        wrong(error.column(), message.to_owned())
    })?;
    match huge_integer(text) {
        Some((column, digits)) => {
            let message = format!(
                "{digits} needs more than 64 bits and would be rounded; write {{\"$py\": \"{digits}\"}}"
            );
            Err(wrong(column, message))
        }
        None => Ok(json),
    }
}

/// Reads JSON that others wrote: integers that would be rounded become `{"$py": ".."}`.
pub(crate) fn parse_foreign(bytes: &[u8]) -> Result<Json, LineError> {
    match parse_json(bytes) {
        Err(LineError::NotJson { .. }) => {}
        other => return other,
    }
    // Only now is the text worth a copy: it holds such an integer, or is no JSON at all.
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let mut whole = String::new();
    while let Some((column, digits)) = huge_integer(&text) {
        let start = text
            .char_indices()
            .nth(column - 1)
            .map_or(text.len(), |(at, _)| at);
        let end = start + digits.len();
        whole += &text[..start];
        whole += &format!("{{\"$py\": \"{digits}\"}}");
        text = text.split_off(end);
    }
    whole += &text;
    parse_json(whole.as_bytes())
}

/// The first integer that JSON readers round, with its column; strings do not count.
fn huge_integer(json: &str) -> Option<(usize, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    let mut start = 0;
    // Between strings, a number stands between characters that no number has.
    for (at, c) in json.char_indices().chain([(json.len(), ' ')]) {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            start = at + 1;
        } else if !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')) {
            let token = &json[start..at];
            let whole = token
                .trim_start_matches('-')
                .bytes()
                .all(|b| b.is_ascii_digit());
            let fits = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
            if whole && !token.is_empty() && !fits {
                return Some((json[..start].chars().count() + 1, token));
            }
            quoted = c == '"';
            start = at + c.len_utf8();
        }
    }
    None
}

fn check_version(path: &Path, first: &Json) -> Result<(), ProblemError> {
    let found = match first
        .as_object()
        .filter(|map| map.len() == 1)
        .and_then(|map| map.get("schema_version"))
    {
        Some(version) if version.as_u64() == Some(SCHEMA_VERSION) => return Ok(()),
        Some(version) => format!("schema_version {version} is not one that this build reads"),
        None => "holds no schema_version".to_owned(),
    };
    Err(ProblemError::Version {
        path: path.to_owned(),
        found,
    })
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::example;
    use super::*;

    /// The error of a file of these bytes, without the folder's name.
    fn error(name: &str, bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = load_jsonl(&path)
            .expect_err("the file was accepted")
            .to_string();
        message.replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let version = "{\"schema_version\": 1}\n";
        let good = example::json(json!({})).to_string();
        let wrong = example::json(json!({"difficulty": 9})).to_string();
        for (bytes, expected) in [
            (
                format!("{version}{good}\n{}", &good[..40]),
                "a.jsonl:3: not JSON at column 40: EOF while parsing",
            ),
            (
                format!("{version}{good}\n\n{wrong}\n"),
                "a.jsonl:4: problem \"numbers/double\": difficulty: is 9",
            ),
            (
                format!("{version}[1]\n"),
                "a.jsonl:2: line: holds an array, not an object",
            ),
            (
                format!("{version}{good}\n{good}\n"),
                "a.jsonl:3: id: \"numbers/double\" is already the id of a.jsonl:2",
            ),
            (
                format!("{good}\n"),
                "a.jsonl:1: holds no schema_version; the first line must be {\"schema_version\": 1}",
            ),
            (
                "{\"schema_version\": 2}\n".to_owned(),
                "a.jsonl:1: schema_version 2 is not one that this build reads",
            ),
            (String::new(), "a.jsonl:1: not JSON at column 0: EOF"),
            (
                version.replace("1}", "1, \"a\": 2}"),
                "a.jsonl:1: holds no schema_version",
            ),
            (
                format!(
                    "{version}{}\n",
                    good.replace("[2]", "[-123456789012345678901]")
                ),
                "a.jsonl:2: not JSON at column 184: -123456789012345678901 needs more than 64 bits",
            ),
            (
                format!("{version}{}", "[".repeat(10_000)),
                "a.jsonl:2: not JSON at column",
            ),
        ] {
            let message = error("a.jsonl", bytes.as_bytes());
            assert!(message.starts_with(expected), "{message}");
        }
        let latin = [version.as_bytes(), b"{\"id\": \"caf\xe9\"}\n"].concat();
        let message = error("b.jsonl", &latin);
        assert_eq!(
            message,
            "b.jsonl:2: not UTF-8 at byte 12 of the line; save the file as UTF-8"
        );
    }

    #[test]
    fn only_integers_that_would_be_rounded_are_huge() {
        for json in [
            "[18446744073709551615, -9223372036854775808, 1e300, 123456789012345678901.5, -0]",
            r#"{"$py": "123456789012345678901", "\\": "\"123456789012345678901"}"#,
            "[true, null]",
        ] {
            assert_eq!(huge_integer(json), None, "{json}");
        }
        for json in [
            "123456789012345678901",
            "[-123456789012345678901]",
            r#"{"ü\"": 18446744073709551616}"#,
        ] {
            let (column, token) = huge_integer(json).unwrap_or_else(|| panic!("{json}"));
            assert_eq!(
                json.chars()
                    .skip(column - 1)
                    .take(token.len())
                    .collect::<String>(),
                token
            );
        }
    }

    #[test]
    fn a_folder_is_one_set() {
        let dir = tempfile::tempdir().unwrap();
        let none = load_dir(dir.path()).unwrap_err().to_string();
        assert!(
            none.ends_with("holds no problem file; a problem set is a folder of .jsonl files"),
            "{none}"
        );
        let problem = |id: &str| {
            serde_json::from_value::<Problem>(example::json(json!({ "id": id }))).unwrap()
        };
        write_jsonl(dir.path().join("b.jsonl"), &[problem("b/1")]).unwrap();
        write_jsonl(
            dir.path().join("a.jsonl"),
            &[problem("a/1"), problem("a/2")],
        )
        .unwrap();
        fs::write(dir.path().join("notes.txt"), "not a problem").unwrap();
        let ids: Vec<String> = load_dir(dir.path())
            .unwrap()
            .into_iter()
            .map(|p| p.id)
            .collect();
        assert_eq!(ids, ["a/1", "a/2", "b/1"]);
        write_jsonl(dir.path().join("c.jsonl"), &[problem("a/2")]).unwrap();
        let twice = load_dir(dir.path()).unwrap_err().to_string();
        assert!(
            twice.contains("c.jsonl:2: id: \"a/2\" is already the id of"),
            "{twice}"
        );
        assert!(
            load_dir(dir.path().join("gone"))
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_jsonl(dir.path().join("no/such/folder.jsonl"), &[]).unwrap_err();
        assert!(error.to_string().contains("folder.jsonl"));
        write_jsonl(dir.path().join("a.jsonl"), &[]).unwrap();
        assert!(load_jsonl(dir.path().join("a.jsonl")).unwrap().is_empty());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a partial file was left behind"
        );
    }
}
