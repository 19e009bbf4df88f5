//! Reading a file before its map is touched.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A smaller file is there before a thread has begun.
const LEAST: usize = 32 << 20;

/// Bytes read behind what was asked for: enough that the disk never waits, little where nothing else of the file is wanted.
const WINDOW: usize = 64 << 20;

/// Bytes read at once.
const BLOCK: usize = 1 << 20;

/// A thread that brings a file into the system's cache a little ahead of who reads a map of it. Faults of the map alone
/// fetch small pieces, and nothing at all while what was fetched is hashed and copied.
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
    stop: bool,
}

impl ReadAhead {
    /// Begins to wait for work on a file of `len` bytes; none for a small file, or where no thread is to be had.
    pub fn of(file: File, len: usize) -> Option<Self> {
        if len < LEAST {
            return None;
        }
        let shared = Arc::new(Shared {
            wanted: Mutex::new(Wanted {
                range: 0..0,
                stop: false,
            }),
            changed: Condvar::new(),
        });
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("read-ahead".into())
            .spawn(move || read(&file, len, &work))
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
        self.shared.changed.notify_one();
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and nothing depends on it.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next block begins; none when there is no more to do.
    fn next(&self, len: usize) -> Option<usize> {
        let mut wanted = self.lock();
        while !wanted.stop && wanted.range.start >= wanted.range.end {
            wanted = self
                .changed
                .wait(wanted)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let at = wanted.range.start;
        wanted.range.start = at + BLOCK;
        (!wanted.stop && at < len).then_some(at)
    }
}

fn read(file: &File, len: usize, shared: &Shared) {
    let mut block = vec![0; BLOCK];
    while let Some(at) = shared.next(len) {
        // An error of the disk is told by who needs the bytes.
        if !matches!(file.read_at(&mut block, at as u64), Ok(1..)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_block_by_block_up_to_the_window_and_ends_with_the_file_or_a_stop() {
        let shared = |range, stop| Shared {
            wanted: Mutex::new(Wanted { range, stop }),
            changed: Condvar::new(),
        };
        let len = 10 * BLOCK;
        let work = shared(BLOCK..3 * BLOCK, false);
        assert_eq!(work.next(len), Some(BLOCK));
        assert_eq!(work.next(len), Some(2 * BLOCK));
        assert_eq!(work.lock().range, 3 * BLOCK..3 * BLOCK);
        assert_eq!(shared(len..len + WINDOW, false).next(len), None);
        assert_eq!(shared(0..len, true).next(len), None);
    }

    #[test]
    fn a_large_file_is_read_ahead_and_the_thread_ends_with_its_owner() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEAST as u64).unwrap();
        let small = file.try_clone().unwrap();
        assert!(ReadAhead::of(small, LEAST - 1).is_none());
        let ahead = ReadAhead::of(file, LEAST).unwrap();
        let shared = Arc::clone(&ahead.shared);
        ahead.expect(&(LEAST - 2..LEAST));
        assert_eq!(shared.lock().range, 0..0);
        ahead.expect(&(4 * BLOCK..5 * BLOCK));
        assert_eq!(shared.lock().range.end, 5 * BLOCK + WINDOW);
        drop(ahead);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
