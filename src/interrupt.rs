//! How work that takes long is stopped in the middle, where nothing of it is kept.
//!
//! A training step runs to its end, because the state has to be that after a step. A measurement changes nothing until it
//! is done: it may stop at any token. Whoever measures names the flag that signals set ([`watching`]); loops that may
//! take long ask ([`requested`]) and give up.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is watched on this thread.
struct Watch {
    flag: Arc<AtomicBool>,
    /// Whether a loop was told to give up.
    told: bool,
}

thread_local! {
    static WATCHES: RefCell<Vec<Watch>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work`, whose loops give up once `flag` is set; gives its result, and whether one of them was told to.
pub fn watching<R>(flag: &Arc<AtomicBool>, work: impl FnOnce() -> R) -> (R, bool) {
    /// Ends the watch, after a panic too.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            WATCHES.with_borrow_mut(|watches| watches.pop());
        }
    }
    let flag = Arc::clone(flag);
    WATCHES.with_borrow_mut(|watches| watches.push(Watch { flag, told: false }));
    let guard = Guard;
    let result = work();
    let told = WATCHES.with_borrow(|watches| watches.last().is_some_and(|watch| watch.told));
    drop(guard);
    (result, told)
}

/// Whether work on this thread should give up. Always false where nobody watches.
pub fn requested() -> bool {
    WATCHES.with_borrow_mut(|watches| {
        let Some(watch) = watches.last_mut() else {
            return false;
        };
        watch.told |= watch.flag.load(Ordering::Relaxed);
        watch.told
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_only_while_somebody_watches() {
        let flag = Arc::new(AtomicBool::new(true));
        assert!(!requested());
        assert_eq!(watching(&flag, requested), (true, true));
        assert!(!requested());
        // Work that never asks ends as it would have.
        assert_eq!(watching(&flag, || 7), (7, false));
        let unset = Arc::new(AtomicBool::new(false));
        assert_eq!(watching(&unset, requested), (false, false));
        let inner = watching(&flag, || watching(&unset, requested));
        assert_eq!(inner, ((false, false), false));
        let panicked = std::panic::catch_unwind(|| watching(&flag, || panic!("the test's own")));
        assert!(panicked.is_err() && !requested());
    }
}
