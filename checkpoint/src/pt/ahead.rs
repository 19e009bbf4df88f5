//! Reading a file before its map is touched.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use gauntlet_shim::MappedFile;

/// A smaller file is there before a thread has begun.
const LEAST: usize = 32 << 20;

/// Bytes read behind what was asked for: enough that the disk never waits, little where nothing else of the file is wanted.
const WINDOW: usize = 64 << 20;

/// Bytes read at once.
pub(super) const BLOCK: usize = 2 << 20;

/// Bytes that the disk is asked for before they are waited for. The system's own guess at them begins anew behind every
/// page that is there already.
const QUEUE: usize = 4 * BLOCK;

/// A thread that brings a file into memory a little ahead of who reads a map of it. Faults of the map alone fetch small
/// pieces, and nothing at all while what was fetched is hashed and copied.
#[derive(Debug)]
pub struct ReadAhead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

/// What the thread still has to read; `stop` ends it.
#[derive(Clone, Debug)]
struct Wanted {
    range: Range<usize>,
    /// The start of the block that is being read.
    reading: Option<usize>,
    stop: bool,
}

impl ReadAhead {
    /// Begins to wait for work on a file and its map; none for a small file, or where no thread is to be had.
    pub fn of(file: File, map: Arc<MappedFile>) -> Option<Self> {
        if map.bytes().len() < LEAST {
            return None;
        }
        let shared = Arc::new(Shared {
            wanted: Mutex::new(Wanted {
                range: 0..0,
                reading: None,
                stop: false,
            }),
            changed: Condvar::new(),
        });
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("read-ahead".into())
            .spawn(move || {
                read(&file, &map, &work);
                work.end();
            })
            .ok()?;
        Some(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Says that the bytes of `range` are read next. A piece smaller than a block says nothing of what comes next: the
    /// version of a `.pt` file, which is read first, may stand at its end.
    pub fn expect(&self, range: &Range<usize>) {
        if range.len() < BLOCK {
            return;
        }
        let mut wanted = self.shared.lock();
        // What lies before the thread's place has been read, or was passed over and is left to the map.
        wanted.range.start = wanted.range.start.max(range.start);
        wanted.range.end = wanted.range.end.max(range.end.saturating_add(WINDOW));
        self.shared.changed.notify_all();
    }

    /// Waits until the thread has passed byte `end`, if it is to read up to there: who touches a page that is on its way
    /// asks for it a second time.
    pub fn wait(&self, end: usize) {
        let mut wanted = self.shared.lock();
        while !wanted.stop && wanted.next() < end.min(wanted.range.end) {
            wanted = self.shared.wait(wanted);
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and nothing depends on it.
            thread.join().ok();
        }
    }
}

impl Wanted {
    /// The first byte that has not been read.
    fn next(&self) -> usize {
        self.reading.unwrap_or(self.range.start)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, wanted: MutexGuard<'a, Wanted>) -> MutexGuard<'a, Wanted> {
        self.changed
            .wait(wanted)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Where the next block begins, once the one before it has been read; none when there is no more to do.
    fn next(&self, len: usize) -> Option<usize> {
        let mut wanted = self.lock();
        wanted.reading = None;
        self.changed.notify_all();
        while !wanted.stop && wanted.range.start >= wanted.range.end {
            wanted = self.wait(wanted);
        }
        let at = wanted.range.start;
        wanted.range.start = at + BLOCK;
        wanted.reading = Some(at);
        (!wanted.stop && at < len).then_some(at)
    }
}

fn read(file: &File, map: &MappedFile, shared: &Shared) {
    let mut block = Vec::new();
    let mut asked = 0;
    while let Some(at) = shared.next(map.bytes().len()) {
        if asked < at + QUEUE / 2 {
            let from = asked.max(at);
            ask(file, from..at + QUEUE);
            asked = at + QUEUE;
        }
        if map.populate(at..at + BLOCK).is_ok() {
            continue;
        }
        // Without the map's help the system's cache at least is filled.
        block.resize(BLOCK, 0);
        // An error of the disk is told by who needs the bytes.
        if !matches!(file.read_at(&mut block, at as u64), Ok(1..)) {
            return;
        }
    }
}

/// Has the disk begin to read. Nothing depends on it.
fn ask(file: &File, range: Range<usize>) {
    #[cfg(target_os = "linux")]
    {
        let length = std::num::NonZeroU64::new(range.len() as u64);
        let advice = rustix::fs::Advice::WillNeed;
        let _ = rustix::fs::fadvise(file, range.start as u64, length, advice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_block_by_block_up_to_the_window_and_ends_with_the_file_or_a_stop() {
        let shared = |range, stop| Shared {
            wanted: Mutex::new(Wanted {
                range,
                reading: None,
                stop,
            }),
            changed: Condvar::new(),
        };
        let len = 10 * BLOCK;
        let work = shared(BLOCK..3 * BLOCK, false);
        assert_eq!(work.next(len), Some(BLOCK));
        assert_eq!(work.next(len), Some(2 * BLOCK));
        assert_eq!(work.lock().range, 3 * BLOCK..3 * BLOCK);
        assert_eq!(work.lock().next(), 2 * BLOCK);
        assert_eq!(shared(len..len + WINDOW, false).next(len), None);
        assert_eq!(shared(0..len, true).next(len), None);
    }

    #[test]
    fn a_large_file_is_read_ahead_and_the_thread_ends_with_its_owner() {
        let named = tempfile::NamedTempFile::new().unwrap();
        named.as_file().set_len(LEAST as u64).unwrap();
        let open = || {
            let map = Arc::new(MappedFile::open(named.path()).unwrap());
            ReadAhead::of(named.reopen().unwrap(), map)
        };
        let ahead = open().unwrap();
        let shared = Arc::clone(&ahead.shared);
        ahead.expect(&(LEAST - 2..LEAST));
        assert_eq!(shared.lock().range, 0..0);
        ahead.expect(&(4 * BLOCK..5 * BLOCK));
        assert_eq!(shared.lock().range.end, 5 * BLOCK + WINDOW);
        ahead.wait(5 * BLOCK);
        assert!(shared.lock().next() >= 5 * BLOCK);
        // The end of the window lies behind the end of the file, where nobody reads.
        ahead.wait(usize::MAX);
        drop(ahead);
        assert_eq!(Arc::strong_count(&shared), 1);
        named.as_file().set_len(LEAST as u64 - 1).unwrap();
        assert!(open().is_none());
    }
}
