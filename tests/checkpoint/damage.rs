//! Any flipped bit or cut is named before anything is built from the file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gauntlet::checkpoint::{Checkpoint, CheckpointError, MANIFEST, Store};
use tch::{Device, Kind, Tensor};

use super::request;

/// A small committed checkpoint.
fn saved(run: &Path) -> PathBuf {
    Store::create(run)
        .unwrap()
        .save(request("stage_3", 120, Some(0.5)))
        .unwrap()
        .path
}

/// Uses a file of a checkpoint as training and inference do.
fn use_file(checkpoint: &Path, file: &str) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(checkpoint)?;
    match file.strip_suffix(".pt") {
        Some(player) => checkpoint.player(player)?.state().map(|_| ()),
        None if file == MANIFEST => Ok(()),
        None => checkpoint.file(file).map(|_| ()),
    }
}

/// All files of a checkpoint with their bytes.
fn files(checkpoint: &Path) -> Vec<(String, Vec<u8>)> {
    let opened = Checkpoint::open(checkpoint).unwrap();
    let listed = opened
        .manifest()
        .files
        .iter()
        .map(|record| record.path.clone());
    let all = listed.chain([MANIFEST.into()]);
    all.map(|file| (file.clone(), std::fs::read(checkpoint.join(file)).unwrap()))
        .collect()
}

/// Asserts that using a file says that this very file is damaged, and what was expected and found.
#[track_caller]
fn assert_names(checkpoint: &Path, file: &str, what: &str) {
    let error = use_file(checkpoint, file).expect_err(what);
    let CheckpointError::Damaged {
        file: named,
        expected,
        found,
        ..
    } = &error
    else {
        panic!("{file}: {what}: {error}");
    };
    assert_eq!(
        named,
        &checkpoint.canonicalize().unwrap().join(file),
        "{what}: {error}"
    );
    assert!(!expected.is_empty() && !found.is_empty(), "{what}: {error}");
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

#[test]
fn a_flip_of_any_byte_of_any_file_is_named_when_the_file_is_used() {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = saved(run.path());
    for (file, bytes) in files(&checkpoint) {
        let open = writable(&checkpoint.join(&file));
        for (at, byte) in bytes.iter().enumerate() {
            open.write_all_at(&[byte ^ 1 << (at % 8)], at as u64)
                .unwrap();
            assert_names(&checkpoint, &file, &format!("byte {at}"));
            open.write_all_at(&[*byte], at as u64).unwrap();
        }
        use_file(&checkpoint, &file).unwrap();
    }
}

#[test]
fn a_cut_at_any_length_of_any_file_is_named() {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = saved(run.path());
    for (file, bytes) in files(&checkpoint) {
        let open = writable(&checkpoint.join(&file));
        for length in (0..bytes.len()).rev() {
            open.set_len(length as u64).unwrap();
            assert_names(&checkpoint, &file, &format!("cut to {length}"));
        }
        open.write_all_at(&[&bytes[..], b"x"].concat(), 0).unwrap();
        assert_names(&checkpoint, &file, "longer");
        open.set_len(bytes.len() as u64).unwrap();
        use_file(&checkpoint, &file).unwrap();
    }
}

#[test]
fn verify_names_every_fault_and_its_entry() {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = saved(run.path());
    let opened = Checkpoint::open(&checkpoint).unwrap();
    let generator = checkpoint.join("generator.pt");
    let mut bytes = std::fs::read(&generator).unwrap();
    let record = opened.manifest().file("generator.pt").unwrap();
    let entry = record
        .entries
        .iter()
        .find(|entry| entry.name == "data/1")
        .unwrap();
    bytes[entry.offset as usize] ^= 1;
    std::fs::write(&generator, bytes).unwrap();
    std::fs::remove_file(checkpoint.join("tokenizer.json")).unwrap();
    std::fs::write(checkpoint.join("prompts/extra.j2"), "x").unwrap();
    std::fs::write(checkpoint.join("metrics.json"), "{}").unwrap();

    let faults: Vec<String> = opened.verify().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 4, "{faults:#?}");
    let named = |needle: &[&str]| {
        let found = faults
            .iter()
            .any(|fault| needle.iter().all(|part| fault.contains(part)));
        assert!(found, "{needle:?} not in {faults:#?}");
    };
    named(&[
        "generator.pt: data/1: damaged: expected BLAKE3 ",
        ", found ",
    ]);
    named(&["cannot open", "tokenizer.json"]);
    named(&["metrics.json: damaged: expected ", " bytes, found 2 bytes"]);
    named(&["prompts/extra.j2: is not in the manifest"]);

    // What is not damaged can still be used, and of the generator what is whole.
    opened.discriminator().unwrap().state().unwrap();
    let generator = opened.generator().unwrap();
    assert_eq!(generator.stage_id().unwrap(), 3);
    let error = generator.model_state_dict().unwrap_err().to_string();
    assert!(error.contains("data/1: damaged"), "{error}");
}

#[test]
fn damage_anywhere_in_a_mapped_weight_is_noticed_before_it_is_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    // Larger than what is read ahead at once, and than what is copied rather than mapped.
    let weight = Tensor::rand([40, 1 << 18], (Kind::Float, Device::Cpu));
    let mut state = request("stage_3", 120, Some(0.5));
    state.players[0].1.model_state_dict = vec![("large".into(), weight)];
    state.players[0].1.optimizer = None;
    let checkpoint = Store::create(dir.path()).unwrap().save(state).unwrap().path;
    let path = checkpoint.join("generator.pt");
    let read = || {
        let generator = Checkpoint::open(&checkpoint).unwrap().generator()?;
        generator.mapped_state_dict()
    };
    assert_eq!(read().unwrap()[0].1.size(), [40, 1 << 18]);
    let bytes = std::fs::read(&path).unwrap();
    for at in [1 << 20, bytes.len() / 2, bytes.len() - (1 << 20)] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        let Err(CheckpointError::Damaged { file, entry, .. }) = read() else {
            panic!("a flip at byte {at} went unnoticed");
        };
        assert_eq!(file.file_name(), path.file_name());
        assert_eq!(entry.as_deref(), Some("data/0"));
    }
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(read().is_err());
}

#[test]
fn half_a_directory_is_not_a_checkpoint() {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = saved(run.path());
    std::fs::remove_file(checkpoint.join(MANIFEST)).unwrap();
    let error = Checkpoint::open(&checkpoint).unwrap_err().to_string();
    assert!(
        error.contains("stage_3: is not a committed checkpoint: it has no manifest.json"),
        "{error}"
    );
    let store = Store::open(run.path()).unwrap();
    assert!(store.list().unwrap()[0].manifest.is_err());
    assert!(store.load("latest").is_err());
}

#[test]
fn files_that_were_exchanged_are_noticed() {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = saved(run.path());
    let (a, b) = (
        checkpoint.join("generator.pt"),
        checkpoint.join("discriminator.pt"),
    );
    std::fs::copy(&b, &a).unwrap();
    assert_names(&checkpoint, "generator.pt", "exchanged");
}
