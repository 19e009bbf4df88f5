//! Work on many problems at once, with progress, that can be taken up again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};

/// Calls `work` for every item, some at a time, and tells `progress` how many are done. The results keep the items' order.
///
/// One more item is under way than there are cores: while one waits for its last run, the next keeps a worker busy.
pub fn each<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
    progress: impl Fn(usize) + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<T>>> = Mutex::new(items.iter().map(|_| None).collect());
    let threads = 1 + std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results
                        .lock()
                        .expect("no thread panics while it holds this")[index] = Some(result);
                    progress(1 + done.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    let results = results.into_inner().expect("all threads have ended");
    results
        .into_iter()
        .map(|result| result.expect("every item was worked on"))
        .collect()
}

/// Results that are kept as they come, one JSON object a line, so that work that was interrupted goes on where it was.
#[derive(Debug)]
pub struct Journal {
    known: HashMap<String, Json>,
    file: Option<Mutex<File>>,
}

impl Journal {
    /// A journal that keeps nothing.
    pub fn none() -> Journal {
        Journal {
            known: HashMap::new(),
            file: None,
        }
    }

    /// Opens or begins a journal. A line that was cut short is worked on again.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn open(path: &Path) -> io::Result<Journal> {
        let mut known = HashMap::new();
        match File::open(path) {
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    let Ok(Json::Object(mut entry)) = serde_json::from_slice(&line?) else {
                        continue;
                    };
                    if let (Some(Json::String(key)), Some(result)) =
                        (entry.remove("key"), entry.remove("result"))
                    {
                        known.insert(key, result);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // What follows a line that was cut short begins a line of its own.
        file.write_all(b"\n")?;
        Ok(Journal {
            known,
            file: Some(Mutex::new(file)),
        })
    }

    /// How many results there are already.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The result kept under `key`.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.known.get(key)
    }

    /// Keeps a result.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn keep(&self, key: &str, result: &impl serde::Serialize) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let line = format!("{}\n", json!({"key": key, "result": result}));
        let mut file = file.lock().expect("no thread panics while it holds this");
        file.write_all(line.as_bytes())
    }
}

/// A key for a result: what it is about and all that it depends on. FNV-1a, the same in every version.
pub fn key(name: &str, parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{name}#{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_progress_counts_all() {
        let items: Vec<usize> = (0..100).collect();
        let most = AtomicUsize::new(0);
        let doubled = each(
            &items,
            |item| item * 2,
            |done| {
                most.fetch_max(done, Ordering::Relaxed);
            },
        );
        assert_eq!(doubled, (0..100).map(|i| i * 2).collect::<Vec<_>>());
        assert_eq!(most.into_inner(), 100);
    }

    #[test]
    fn a_journal_goes_on_after_a_line_that_was_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        journal.keep("a", &1).unwrap();
        drop(journal);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text += "{\"key\": \"b\", \"res";
        std::fs::write(&path, text).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(
            (journal.get("a"), journal.get("b")),
            (Some(&json!(1)), None)
        );
        journal.keep("b", &2).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().get("b"), Some(&json!(2)));
    }
}
