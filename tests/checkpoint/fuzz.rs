//! Damaged and random `.pt` files: whatever is read, nothing panics, and nothing but a value or a refusal comes out.
//!
//! Each test tries a fixed number of cases. With `GAUNTLET_FUZZ_SECONDS` it goes on for so long with others and says
//! how many there were (`--nocapture`).

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use gauntlet::checkpoint::pt::{HostTensor, PtValue, write_pt};
use tch::{Device, Kind, Tensor};

use super::hostile::{read, read_pickle, tensor, zip};
use super::player;

const SECONDS: &str = "GAUNTLET_FUZZ_SECONDS";

/// Numbers that are the same in every run.
struct Draws(Cell<u64>);

impl Draws {
    fn new() -> Self {
        Self(Cell::new(1))
    }

    fn next(&self) -> u64 {
        let state = self.0.get();
        let state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.set(state);
        state >> 33
    }

    fn below(&self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }

    fn of<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Tries `least` cases, and goes on as long as the environment says.
fn for_cases(what: &str, least: u64, mut case: impl FnMut()) {
    let seconds = std::env::var(SECONDS).map_or(0, |seconds| seconds.parse().unwrap());
    let (started, mut tried) = (Instant::now(), 0_u64);
    while tried < least || started.elapsed() < Duration::from_secs(seconds) {
        case();
        tried += 1;
    }
    println!(
        "{what}: {tried} cases in {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// Files of every kind that we write.
fn good_files() -> Vec<Vec<u8>> {
    let kinds = [
        Kind::Float,
        Kind::Double,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Int16,
        Kind::Int8,
        Kind::Uint8,
        Kind::Bool,
    ];
    let of_kind = |kind| {
        let tensor = Tensor::arange(6, (Kind::Int64, Device::Cpu)).reshape([2, 3]);
        PtValue::Tensor(HostTensor::copy_of("x", &tensor.to_kind(kind)).unwrap())
    };
    let all: Vec<PtValue<HostTensor>> = kinds.into_iter().map(of_kind).collect();
    let empty = Tensor::zeros([0, 4], (Kind::Float, Device::Cpu));
    let mixed = PtValue::dict([
        (
            "shared",
            PtValue::Tuple(vec![all[0].clone(), all[0].clone()]),
        ),
        ("kinds", PtValue::List(all)),
        (
            "empty",
            PtValue::Tensor(HostTensor::copy_of("empty", &empty).unwrap()),
        ),
        (
            "numbers",
            PtValue::List(vec![
                PtValue::Int(-1 << 90),
                PtValue::Float(0.5),
                PtValue::None,
            ]),
        ),
    ]);
    [player(1).snapshot().unwrap(), mixed]
        .iter()
        .map(|value| {
            let mut bytes = Vec::new();
            write_pt(value, &mut bytes).unwrap();
            bytes
        })
        .collect()
}

#[test]
fn no_damage_to_a_lone_file_takes_the_program_down() {
    let mut bytes = Vec::new();
    write_pt(&player(1).snapshot().unwrap(), &mut bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path), Ok(()));
    let file = File::options().write(true).open(&path).unwrap();
    let draw = Draws::new();
    for at in 0..bytes.len() {
        file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64)
            .unwrap();
        let _ = read(&path);
        // Several wrong bytes at once, and then all is right again.
        for _ in 0..draw.below(8) {
            file.write_all_at(&[draw.next() as u8], draw.below(bytes.len()) as u64)
                .unwrap();
        }
        let _ = read(&path);
        file.write_all_at(&bytes, 0).unwrap();
    }
    for length in (0..bytes.len()).rev() {
        file.set_len(length as u64).unwrap();
        read(&path).expect_err("a cut file was read");
    }
}

#[test]
fn no_mutated_file_takes_the_program_down() {
    let files = good_files();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let draw = Draws::new();
    let mut still_good = 0_u64;
    for_cases("mutated files", 1000, || {
        let mut bytes = draw.of(&files).clone();
        for _ in 0..1 + draw.below(6) {
            mutate(&mut bytes, &draw);
        }
        std::fs::write(&path, &bytes).unwrap();
        still_good += u64::from(read(&path).is_ok());
    });
    assert!(still_good > 0, "the weights themselves may be anything");
}

/// Values that sizes, counts and offsets go wrong at.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn mutate(bytes: &mut Vec<u8>, draw: &Draws) {
    let at = draw.below(bytes.len());
    let end = at + draw.below(64.min(bytes.len() - at + 1));
    match draw.below(7) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draw.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = draw.next() as u8;
            }
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            // A part of the file again, somewhere else.
            let part = bytes[at..end].to_vec();
            let to = draw.below(bytes.len());
            drop(bytes.splice(to..to, part));
        }
        _ => {
            let edge = draw.of(&EDGES).to_le_bytes();
            let width = *draw.of(&[1, 2, 4, 8]);
            for (byte, value) in bytes.iter_mut().skip(at).zip(&edge[..width]) {
                *byte = *value;
            }
        }
    }
}

#[test]
fn no_mutated_pickle_takes_the_program_down() {
    let archives: Vec<Vec<(String, Vec<u8>)>> = good_files().iter().map(|f| entries(f)).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let reads = |entries: &[(String, Vec<u8>)]| {
        let parts: Vec<(&str, &[u8])> = entries.iter().map(|(n, d)| (&**n, &**d)).collect();
        std::fs::write(&path, zip(&parts)).unwrap();
        read(&path)
    };
    for archive in &archives {
        reads(archive).expect("nothing is changed yet");
    }
    let draw = Draws::new();
    let mut still_good = 0_u64;
    for_cases("mutated pickles", 1000, || {
        // All else is as it should be, so that the pickle is what is read.
        let mut archive = draw.of(&archives).clone();
        let (_, pickle) = archive
            .iter_mut()
            .find(|(name, _)| name.ends_with("/data.pkl"))
            .unwrap();
        for _ in 0..1 + draw.below(4) {
            mutate(pickle, &draw);
        }
        still_good += u64::from(reads(&archive).is_ok());
    });
    println!("{still_good} of them were good still");
    assert!(
        still_good > 0,
        "no mutation was harmless: more than the pickle is wrong"
    );
}

/// The entries of a small archive with their bytes, in its directory's order.
fn entries(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number = |at: usize, width: usize| {
        let bytes = file[at..at + width].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let listed = file.windows(4).enumerate();
    listed
        .filter(|(_, mark)| **mark == *b"PK\x01\x02")
        .map(|(at, _)| {
            let (size, name, local) = (number(at + 24, 4), number(at + 28, 2), number(at + 42, 4));
            let start = local + 30 + number(local + 26, 2) + number(local + 28, 2);
            let name = String::from_utf8(file[at + 46..at + 46 + name].to_vec()).unwrap();
            (name, file[start..start + size].to_vec())
        })
        .collect()
}

#[test]
fn no_random_program_takes_the_program_down() {
    let pieces: Vec<Vec<u8>> = [
        &b"("[..],
        b"N",
        b"\x88",
        b"K\x08",
        b"K\x00",
        b"]",
        b"}",
        b")",
        b"t",
        b"\x85",
        b"\x86",
        b"a",
        b"e",
        b"s",
        b"u",
        b"q\x00",
        b"h\x00",
        b"q\x01",
        b"h\x01",
        b"Q",
        b"R",
        b"b",
        b"X\x01\0\0\x000",
        b"X\x07\0\0\0storage",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
    ]
    .iter()
    .map(|piece| piece.to_vec())
    .chain([tensor("0", 8, 0, &[2], &[3])])
    .collect();
    let draw = Draws::new();
    let mut read = 0_u64;
    for_cases("random programs", 2000, || {
        let program: Vec<u8> = (0..1 + draw.below(30))
            .flat_map(|_| draw.of(&pieces).clone())
            .collect();
        read += u64::from(read_pickle(&program).is_ok());
    });
    assert!(read > 0, "no program was ever good: the pieces are wrong");
}
