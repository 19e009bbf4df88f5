//! The events that a run leaves for TensorBoard, read back by the rules of the format alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::{Dir, peaceful, read, text};

/// Tag and step with their values.
type Scalars = BTreeMap<(String, u64), f32>;

/// CRC-32C by the table of its polynomial, as TensorFlow masks it.
fn masked(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256)
        .map(|byte: u32| {
            (0..8).fold(byte, |c, _| {
                if c & 1 == 1 {
                    c >> 1 ^ 0x82f6_3b78
                } else {
                    c >> 1
                }
            })
        })
        .collect();
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        table[usize::from(crc as u8 ^ byte)] ^ crc >> 8
    });
    (!crc).rotate_left(17).wrapping_add(0xa282_ead8)
}

/// A field of a protobuf message.
#[derive(Clone, Debug, PartialEq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(number) => panic!("{number} is no message"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    number
        .iter()
        .rev()
        .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, Field::Number(varint(&mut message))));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        found.push((key >> 3, Field::Bytes(bytes)));
        message = rest;
    }
    found
}

/// Everything in the one file of events of a run.
fn scalars(run: &Path) -> Scalars {
    let files: Vec<_> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().contains("/events.out.tfevents."))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let file = std::fs::read(&files[0]).unwrap();
    let (mut rest, mut found, mut records) = (&file[..], Scalars::new(), 0);
    while !rest.is_empty() {
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(number(8), masked(&rest[..8]));
        let event = &rest[12..12 + length];
        assert_eq!(number(12 + length), masked(event));
        rest = &rest[16 + length..];
        let event = fields(event);
        let field = |wanted| {
            event
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, field)| field)
        };
        let time = f64::from_le_bytes(field(1).unwrap().bytes().try_into().unwrap());
        assert!(time > 1.7e9, "{time}");
        if records == 0 {
            assert_eq!(field(3), Some(&Field::Bytes(b"brain.Event:2")));
        }
        if let Some(summary) = field(5) {
            let Some(Field::Number(step)) = field(2) else {
                panic!("{event:?}")
            };
            for (_, value) in fields(summary.bytes()) {
                let value = fields(value.bytes());
                assert_eq!((value[0].0, value[1].0), (1, 2));
                let tag = String::from_utf8(value[0].1.bytes().to_vec()).unwrap();
                let value = f32::from_le_bytes(value[1].1.bytes().try_into().unwrap());
                let twice = found.insert((tag.clone(), *step), value);
                assert_eq!(twice, None, "{tag} at {step}");
            }
        }
        records += 1;
    }
    found
}

#[test]
fn tensorboard_finds_the_figures_of_every_step() {
    let found = scalars(&peaceful());
    let mut numbers = 0;
    for line in read(&peaceful(), "metrics.jsonl").lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        for (tag, way) in [
            ("run/generator_loss", "/generator_loss"),
            ("run/alpha", "/alpha"),
            ("generator/reward_mean", "/generator/reward"),
            ("generator/pass_rate", "/generator/pass_rate"),
            ("discriminator/kill_rate", "/discriminator/kill_rate"),
            ("evaluation/pass_at_1", "/evaluation/pass_at_1"),
            (
                "evaluation/validation/pass_at_1",
                "/evaluation/pools/validation/pass_at_1",
            ),
        ] {
            if let Some(value) = line.pointer(way).and_then(Json::as_f64) {
                assert_eq!(
                    found[&(tag.to_owned(), step)],
                    value as f32,
                    "{tag} at {step}"
                );
                numbers += 1;
            }
        }
    }
    assert!(numbers > 150, "{numbers}");
    assert!(
        !found
            .keys()
            .any(|(tag, _)| tag == "run/step" || tag == "run/stage")
    );
}

#[test]
fn a_resumed_run_writes_its_own_steps_and_none_where_it_is_switched_off() {
    let dir = Dir::new();
    let from = peaceful().join("checkpoints/step_000185");
    let resume = [
        "--resume",
        from.to_str().unwrap(),
        "--set",
        "evaluation.closing=false",
    ];
    let output = dir.train(&resume);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = scalars(&peaceful());
    let rest: Scalars = whole
        .into_iter()
        .filter(|((_, step), _)| *step > 185)
        .collect();
    assert_eq!(scalars(&dir.runs()[0]), rest);

    let off = Dir::new();
    let output = off.train(&[&resume[..], &["--set", "monitor.tensorboard=false"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut names = std::fs::read_dir(&off.runs()[0]).unwrap().flatten();
    assert!(!names.any(|entry| entry.file_name().to_string_lossy().contains("tfevents")));
}
