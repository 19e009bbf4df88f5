//! Problems as they are published: files, folders and hub data sets, in the formats that [`super::formats`] knows.
//!
//! [`ProblemSet::open`] reads every row once, leaves out what is wrong and counts it, and keeps the rows as they stand in
//! the file. A row becomes a [`Problem`] when it is asked for, so that a large set costs little more than its text.

mod file;
mod hub;
mod parquet;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use thiserror::Error;

use self::file::{Body, RawRow, read_rows};
use super::formats::{Context, FieldMap, Format, Unknown};
use super::schema::{Flaw, Problem, SCHEMA_VERSION};

pub use self::hub::HubFile;

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format, where the fields of the first row shall not decide.
    pub format: Option<Format>,
    /// Which fields hold what, for rows of no known format.
    pub fields: FieldMap,
    /// Whether one wrong row is an error.
    pub strict: bool,
    /// Rows to read at most, of all files together.
    pub limit: Option<usize>,
}

/// Why a set could not be read at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds nothing that could be problems.
    #[error("{}: holds no problem file; one ends in .jsonl, .json or .parquet, or in these and .gz or .zst", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The rows have no known format.
    #[error("{file}: {unknown}")]
    Unknown {
        /// The file.
        file: Arc<str>,
        /// The fields found and the formats known.
        unknown: Unknown,
    },
    /// The hub gave no file.
    #[error("hub:{id}@{revision}{}: {message} (cache: {})", file.as_ref().map_or(String::new(), |f| format!(":{f}")), cache.display())]
    Hub {
        /// Owner and name of the data set.
        id: String,
        /// Branch, tag or commit.
        revision: String,
        /// The file asked for.
        file: Option<String>,
        /// The cache looked into first.
        cache: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// A row is wrong, and reading is strict.
    #[error("{0}")]
    Strict(LeftOut),
    /// Nothing is left to use.
    #[error("{spec}: none of its {rows} rows is a problem; the first: {first}")]
    Nothing {
        /// What was read.
        spec: String,
        /// How many rows it has.
        rows: usize,
        /// Why the first is none.
        first: LeftOut,
    },
}

/// A row that is no problem, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub file: Arc<str>,
    /// The line or row, from 1; 0 for the file as a whole.
    pub row: usize,
    /// The problem's id where it could be read.
    pub id: Option<String>,
    /// What is wrong, with its field.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.row > 0 {
            write!(f, ":{}", self.row)?;
        }
        match &self.id {
            Some(id) => write!(f, ": problem {id:?}: {}", self.why),
            None => write!(f, ": {}", self.why),
        }
    }
}

impl std::error::Error for LeftOut {}

/// Problems of one or more files, read and not yet made.
#[derive(Debug)]
pub struct ProblemSet {
    rows: Vec<Row>,
    files: Vec<Source>,
    fields: FieldMap,
    left_out: Vec<LeftOut>,
}

#[derive(Debug)]
struct Row {
    id: Box<str>,
    file: u32,
    number: u32,
    body: Body,
}

/// A file and what its rows are.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    path: PathBuf,
    format: Format,
}

/// Problems, and the rows that are none.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The problems, in the files' order.
    pub problems: Vec<Problem>,
    /// The rows left out.
    pub left_out: Vec<LeftOut>,
}

impl ProblemSet {
    /// Reads a file, a folder, or `hub:OWNER/NAME[@REVISION][:FILE]`.
    ///
    /// # Errors
    /// Where nothing can be read: see [`ReadError`]. A wrong row is left out, unless reading is strict.
    pub fn open(spec: &str, options: &ReadOptions) -> Result<ProblemSet, ReadError> {
        let paths = match HubFile::parse(spec) {
            Some(hub) => hub?.fetch()?,
            None => files_of(Path::new(spec))?,
        };
        let mut set = ProblemSet {
            rows: Vec::new(),
            files: Vec::new(),
            fields: options.fields.clone(),
            left_out: Vec::new(),
        };
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        for path in &paths {
            set.read_file(path, options, &mut places)?;
        }
        match set.left_out.first() {
            Some(first) if options.strict => Err(ReadError::Strict(first.clone())),
            Some(first) if set.rows.is_empty() => Err(ReadError::Nothing {
                spec: spec.to_owned(),
                rows: set.left_out.len(),
                first: first.clone(),
            }),
            _ => Ok(set),
        }
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| &*row.id)
    }

    /// The rows that are no problems.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The formats of the files, each once.
    pub fn formats(&self) -> Vec<Format> {
        let mut formats: Vec<Format> = self.files.iter().map(|file| file.format).collect();
        formats.sort_unstable();
        formats.dedup();
        formats
    }

    /// Makes the problem at `index`, with every check that needs no execution.
    ///
    /// # Errors
    /// Where its Python does not parse, or its fields do not fit one another.
    pub fn problem(&self, index: usize) -> Result<Problem, LeftOut> {
        let row = &self.rows[index];
        let source = &self.files[row.file as usize];
        let wrong = |why: String| LeftOut {
            file: Arc::clone(&source.name),
            row: row.number as usize,
            id: Some(row.id.to_string()),
            why,
        };
        let bytes = row
            .body
            .bytes(&source.path)
            .map_err(|e| wrong(e.to_string()))?;
        let map = file::object(&bytes).map_err(&wrong)?;
        let context = Context {
            file: &source.name,
            row: row.number as usize,
            fields: &self.fields,
        };
        let problem = source.format.problem(&context, map);
        let checked = problem.and_then(|problem| {
            problem.check()?;
            Ok(problem)
        });
        checked.map_err(|flaw| wrong(flaw.to_string()))
    }

    /// Makes all problems, on all cores.
    pub fn load(self) -> Loaded {
        let (problems, left_out) = self.map(|problem| problem);
        Loaded { problems, left_out }
    }

    /// Makes one problem after another, on all cores, and keeps what `work` makes of each: a set is looked through
    /// without holding it. The rows left out come with it.
    pub fn map<T: Send>(&self, work: impl Fn(Problem) -> T + Sync) -> (Vec<T>, Vec<LeftOut>) {
        let made = parallel(self.rows.len(), |index| self.problem(index).map(&work));
        let mut results = Vec::with_capacity(made.len());
        let mut left_out = self.left_out.clone();
        for result in made {
            match result {
                Ok(result) => results.push(result),
                Err(row) => left_out.push(row),
            }
        }
        (results, left_out)
    }

    fn read_file(
        &mut self,
        path: &Path,
        options: &ReadOptions,
        places: &mut HashMap<Box<str>, usize>,
    ) -> Result<(), ReadError> {
        let name: Arc<str> = path.display().to_string().into();
        let file = self.files.len() as u32;
        let mut format = options.format;
        let mut unknown = None;
        let outcome = read_rows(path, |batch| {
            let limit = options
                .limit
                .map_or(usize::MAX, |l| l.saturating_sub(self.rows.len()));
            if limit == 0 {
                return false;
            }
            if format.is_none() {
                let first = batch.iter().find_map(object_of);
                match first.map(|map| Format::of(&map, &self.fields)) {
                    Some(Ok(found)) => format = Some(found),
                    Some(Err(why)) => {
                        unknown = Some(why);
                        return false;
                    }
                    // Nothing in this batch can be read; the next may tell.
                    None => {}
                }
            }
            let read = parallel(batch.len(), |index| {
                let row = &batch[index];
                let map = row.object()?;
                if let Some(version) = version_line(row, &map) {
                    return version.map(|()| None);
                }
                let context = Context {
                    file: &name,
                    row: row.number,
                    fields: &self.fields,
                };
                let given = map.get("id").and_then(Json::as_str).map(str::to_owned);
                let format = format.unwrap_or(Format::Own);
                match format.problem(&context, map) {
                    Ok(problem) => Ok(Some(problem.id.into_boxed_str())),
                    Err(flaw) => Err((given, flaw.to_string())),
                }
            });
            for (row, read) in batch.into_iter().zip(read) {
                let number = row.number;
                let mut leave = |id: Option<String>, why: String| {
                    self.left_out.push(LeftOut {
                        file: Arc::clone(&name),
                        row: number,
                        id,
                        why,
                    });
                };
                match read {
                    Ok(None) => {}
                    Err((id, why)) => leave(id, why),
                    Ok(Some(id)) => match places.get(&id) {
                        Some(&first) => {
                            let first = &self.rows[first];
                            let known = self.files.get(first.file as usize);
                            let known = known.map_or(&name, |file| &file.name);
                            let why = format!("its id is already that of {known}:{}", first.number);
                            leave(Some(id.into_string()), why);
                        }
                        None if self.rows.len() >= options.limit.unwrap_or(usize::MAX) => {}
                        None => {
                            places.insert(id.clone(), self.rows.len());
                            self.rows.push(Row {
                                id,
                                file,
                                number: number as u32,
                                body: row.body,
                            });
                        }
                    },
                }
            }
            true
        });
        if let Some(unknown) = unknown {
            return Err(ReadError::Unknown {
                file: name,
                unknown,
            });
        }
        match outcome {
            Ok(()) => {}
            // The rows before a break are as good as ever.
            Err(broken) if broken.rows > 0 => self.left_out.push(LeftOut {
                file: Arc::clone(&name),
                row: 0,
                id: None,
                why: format!(
                    "{} after row {}; what follows is lost",
                    broken.source, broken.rows
                ),
            }),
            Err(broken) => {
                return Err(ReadError::Io {
                    path: path.to_owned(),
                    source: broken.source,
                });
            }
        }
        self.files.push(Source {
            name,
            path: path.to_owned(),
            format: format.unwrap_or(Format::Own),
        });
        Ok(())
    }
}

/// The object of a row, if it is one and no version line.
fn object_of(row: &RawRow) -> Option<Map<String, Json>> {
    let map = row.object().ok()?;
    version_line(row, &map).is_none().then_some(map)
}

/// Whether a row is the first line of one of our own files, and the version is one that is read.
fn version_line(
    row: &RawRow,
    map: &Map<String, Json>,
) -> Option<Result<(), (Option<String>, String)>> {
    let version = map.get("schema_version").filter(|_| map.len() == 1)?;
    Some(match version.as_u64() {
        Some(SCHEMA_VERSION) if row.number == 1 => Ok(()),
        Some(SCHEMA_VERSION) => Err((None, "schema_version stands in the first line only".into())),
        _ => Err((
            None,
            format!("schema_version {version} is not one that this build reads ({SCHEMA_VERSION})"),
        )),
    })
}

/// The files that a path names: itself, or those of a folder and its folders, in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    if !std::fs::metadata(path).map_err(io_error(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(io_error(&folder))? {
            let entry = entry.map_err(io_error(&folder))?.path();
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
            } else if file::may_hold_problems(&entry) {
                found.push(entry);
            }
        }
    }
    if found.is_empty() {
        return Err(ReadError::NoFiles {
            path: path.to_owned(),
        });
    }
    found.sort();
    Ok(found)
}

/// Calls `work` with every number below `count`, on all cores; the results keep the numbers' order.
pub(crate) fn parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = count.div_ceil(threads).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let starts: Vec<usize> = (0..count).step_by(share).collect();
        let run = |start: usize| {
            scope.spawn(move || {
                let end = (start + share).min(count);
                (start..end).map(work).collect::<Vec<T>>()
            })
        };
        let threads: Vec<_> = starts.into_iter().map(run).collect();
        let joined = threads.into_iter();
        joined
            .flat_map(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

impl From<Flaw> for String {
    fn from(flaw: Flaw) -> String {
        flaw.to_string()
    }
}

#[cfg(test)]
mod tests;
