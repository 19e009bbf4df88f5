//! Mutated responses: whatever the guest sends, the reader gives a value or refuses, in time and memory that its bytes
//! pay for.

use std::time::{Duration, Instant};

use super::*;
use crate::response::Response;
use crate::test::Limits;

/// For how many seconds to go on, in place of a number of rounds.
const SECONDS: &str = "GAUNTLET_FUZZ_SECONDS";

const SEEDS: [&str; 10] = [
    "('value', b'printed', [1, 'a', (None, True)])",
    "('value', b'', {1: {'a': {2, 3}}, (1, 2): frozenset({4})})",
    "('value', b'', [123456789012345678901234567890, -70000, 1.5, complex(0, 1)])",
    "('raised', b'', (b'ValueError', b'message', b'line 1, in f'))",
    "('opaque', b'', b'Foo')",
    "('loaded', b'', None)",
    "('forbidden', b'', b'open')",
    "('value', b'', [[[[[[[[[[]]]]]]]]]])",
    "('value', b'', {'k': 1, 'l': 1.0, 3: b'\\x00', None: ()})",
    "('value', b'', 'é\\x00ab')",
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    /// Changes a byte, a length, or a stretch; or puts in a tag, or a piece of another response.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        match self.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"NTFilgyus[(<>{0rc\0\xff"[self.below(19)]),
            3 if bytes.len() >= at + 4 => {
                let length = [0, 1, 2, 255, 65_536, i32::MAX, -1, i32::MIN][self.below(8)];
                bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
            4 => {
                let end = at + self.below(bytes.len() - at + 1);
                drop(bytes.drain(at..end));
            }
            5 => {
                let start = self.below(other.len());
                let end = start + self.below(other.len() - start + 1);
                drop(bytes.splice(at..at, other[start..end].iter().copied()));
            }
            _ => {
                let end = (at + self.below(40)).min(bytes.len());
                let piece = bytes[at..end].repeat(1 + self.below(20));
                drop(bytes.splice(at..end, piece));
            }
        }
    }
}

fn try_one(bytes: &[u8]) {
    let started = Instant::now();
    if let Ok(value) = read(bytes) {
        // What was read is what the bytes say, and nothing that could not be written.
        let mut again = Vec::new();
        assert!(write(&value, &mut again), "{bytes:?}");
        let mut twice = Vec::new();
        let value = read(&again).unwrap_or_else(|error| panic!("{error:?}: {bytes:?}"));
        assert!(write(&value, &mut twice) && again == twice, "{bytes:?}");
    }
    if let Ok(response) = Response::read(bytes) {
        let _ = response.stdout();
        let _ = response.outcome(&Limits::default());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{bytes:?}");
}

#[test]
fn mutated_responses_are_values_or_refused() {
    let seeds = SEEDS.map(|text| {
        let mut bytes = Vec::new();
        assert!(write(&Value::parse_literal(text).unwrap(), &mut bytes));
        bytes
    });
    let seconds: Option<u64> = std::env::var(SECONDS).ok().map(|s| s.parse().unwrap());
    let mut dice = Dice(seconds.map_or(1, |_| std::process::id().into()));
    let (started, mut rounds, mut read_well) = (Instant::now(), 0_u64, 0_u64);
    // The corpus grows by what the reader takes, so that mutations add up.
    let mut corpus = seeds.to_vec();
    while seconds.map_or(rounds < 200_000, |s| started.elapsed().as_secs() < s) {
        let mut bytes = corpus[dice.below(corpus.len())].clone();
        for _ in 0..=dice.below(4) {
            let other = corpus[dice.below(corpus.len())].clone();
            dice.mutate(&mut bytes, &other);
        }
        try_one(&bytes);
        if bytes.len() < 4000 && read(&bytes).is_ok() {
            read_well += 1;
            if corpus.len() < 2000 {
                corpus.push(bytes);
            } else {
                let at = seeds.len() + dice.below(corpus.len() - seeds.len());
                corpus[at] = bytes;
            }
        }
        rounds += 1;
    }
    println!("{rounds} responses, {read_well} of them well-formed values");
    // Refusals alone would say little.
    assert!(read_well > rounds / 100);
}
