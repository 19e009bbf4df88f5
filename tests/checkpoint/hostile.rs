//! Files made to harm: nothing of them runs, and none of them takes the program down.

use std::path::Path;

use gauntlet::checkpoint::pt::PtFile;
use tch::Kind;

/// A zip archive of stored entries, made without our own writer.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let offset = file.len() as u32;
        let size = (data.len() as u32).to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0];
        common.extend(size);
        common.extend(size);
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend((entries.len() as u16).to_le_bytes());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// Opens a file and reads every tensor in it; gives the refusal.
pub(super) fn read(path: &Path) -> Result<(), String> {
    let file = PtFile::open(path).map_err(|e| e.to_string())?;
    let mut loader = file.loader();
    let mut left = vec![file.root()];
    while let Some(at) = left.pop() {
        if let Ok(tensor) = at.as_tensor() {
            let _ = loader.tensor(tensor).map_err(|e| e.to_string())?;
        }
        left.extend(at.elements().unwrap_or_default());
        left.extend(
            at.items()
                .unwrap_or_default()
                .into_iter()
                .map(|(_, item)| item),
        );
    }
    Ok(())
}

fn read_bytes(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.pt");
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

/// Reads a file with a pickle and eight floats under the key 0; gives the refusal.
pub(super) fn read_pickle(pickle: &[u8]) -> Result<(), String> {
    let program = [b"\x80\x02", pickle, b"."].concat();
    read_bytes(&zip(&[
        ("archive/data.pkl", &program),
        ("archive/data/0", &[0; 32]),
    ]))
}

#[track_caller]
fn assert_refused(pickle: &[u8], reason: &str) {
    let refusal = read_pickle(pickle).expect_err("was read");
    assert!(
        refusal.contains(reason),
        "{refusal:?} does not say {reason:?}"
    );
    assert!(
        refusal.contains("hostile.pt: "),
        "{refusal:?} names no file"
    );
}

#[test]
fn every_other_global_is_refused_by_name() {
    for name in [
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.Popen",
        "builtins.eval",
        "__builtin__.exec",
        "builtins.getattr",
        "builtins.__import__",
        "importlib.import_module",
        "runpy._run_code",
        "webbrowser.open",
        "pickle.loads",
        "operator.attrgetter",
        "functools.partial",
        "types.CodeType",
        "copyreg._reconstructor",
        "numpy.core.multiarray._reconstruct",
        "torch.load",
        "torch.storage._load_from_bytes",
        "torch.hub.load",
        "torch._utils._rebuild_wrapper_subclass",
        "torch._tensor._rebuild_from_type_v2",
        "torch.nn.modules.linear.Linear",
        "torch.UntypedStorage",
        "collections.OrderedDict ",
    ] {
        let (module, attribute) = name.rsplit_once('.').unwrap();
        let said = format!("the global {name} is refused");
        let global = format!("c{module}\n{attribute}\n(X\x02\0\0\0idtR");
        assert_refused(global.as_bytes(), &said);
        let inst = format!("(X\x02\0\0\0idi{module}\n{attribute}\n");
        assert_refused(inst.as_bytes(), &said);
        let mut stack = Vec::new();
        for part in [module, attribute] {
            stack.push(b'X');
            stack.extend((part.len() as u32).to_le_bytes());
            stack.extend(part.as_bytes());
        }
        stack.extend(b"\x93(X\x02\0\0\0idtR");
        assert_refused(&stack, &said);
    }
}

#[test]
fn allowed_globals_do_nothing_else_than_they_should() {
    assert_refused(
        b"ctorch\nFloatStorage\n(K\x08tR",
        "a storage that is not in the archive",
    );
    assert_refused(
        b"ccollections\nOrderedDict\n(]tR",
        "an OrderedDict made of arguments",
    );
    assert_refused(
        b"ctorch._utils\n_rebuild_parameter\n(NtR",
        "a parameter that is not a tensor",
    );
    assert_refused(
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        "not a plain tensor's",
    );
    assert_refused(b"ccollections\nOrderedDict\n", "as a value");
    assert_refused(b"X\x01\0\0\0x)R", "applies something that is not a global");
}

#[test]
fn other_opcodes_are_refused() {
    for opcode in [
        0x81, 0x82, 0x83, 0x84, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x94, 0x95, 0x96,
        0x97, 0x98, b'o', b'P', b'S', b'T', b'U', b'V', b'I', b'L', b'F', b'd', b'l', b'0', b'1',
        b'2', b'g', b'p', 0, 0xff,
    ] {
        assert_refused(
            &[b'(', opcode],
            &format!("the opcode {opcode:#04x} is refused"),
        );
    }
    let protocol = |version: u8| {
        let program = [0x80, version, b'N', b'.'];
        read_bytes(&zip(&[("a/data.pkl", &program)]))
    };
    assert_eq!(protocol(2), Ok(()));
    assert!(
        protocol(4)
            .unwrap_err()
            .contains("pickle protocol 4, expected 2")
    );
}

#[test]
fn broken_programs_are_refused() {
    assert_refused(b"", "empty stack");
    assert_refused(b"(", "empty stack");
    assert_refused(b"N(\x85", "empty stack");
    assert_refused(b"NN", "values left over");
    assert_refused(b"N(", "empty stack");
    assert_refused(b"t", "a mark that is not there");
    assert_refused(b"h\x07", "fetches 7, never stored");
    assert_refused(b"Na", "the stack is empty");
    assert_refused(b"NNa", "not a list");
    assert_refused(b"]NNs", "not a dict");
    assert_refused(b"}(Nu", "a key without a value");
    assert_refused(b"]Nb", "not a dict");
    assert_refused(b"X\xff\xff\xff\xffabc", "cut short");
    assert_refused(b"X\x01\0\0\0\xff", "not UTF-8");
    assert_refused(b"\x8a\xff", "cut short");
    assert_refused(
        &[&[0x8a, 17][..], &[1; 17]].concat(),
        "an integer of 17 bytes",
    );
    assert_refused(b"ctorch", "cut short");
    assert_refused(b"N.N", "bytes follow");
    assert_refused(b"NQ", "not a tuple");
    assert_refused(b")Q", "does not name a storage");
}

#[test]
fn values_that_contain_themselves_or_explode_are_refused() {
    assert_refused(b"]q\x00h\x00a", "contains itself");
    assert_refused(
        &[&[b']'; 100][..], &[b'a'; 99]].concat(),
        "nested deeper than 64",
    );
    // Each list holds the one before ten times: 10^40 values out of 600 bytes.
    let mut laughs = b"]q\x00".to_vec();
    for _ in 0..40 {
        laughs.extend(b"](h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00eq\x00\x85");
        laughs.pop();
    }
    // Only the last list may be left on the stack.
    let mut program = b"(".to_vec();
    program.extend(laughs);
    program.extend(b"t");
    assert_refused(&program, "unfolds to too many values");
    let text = [&b"X\0\0\x10\0"[..], &vec![b'x'; 1 << 20], b"q\x00"].concat();
    let many = [&b"("[..], &text, &b"h\x00".repeat(100), b"t"].concat();
    assert_refused(&many, "unfolds to too much text");
}

/// A tensor over the eight floats under key 0, with integers in place of offset, shape, stride.
pub(super) fn tensor(key: &str, numel: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    let int = |i: i64| [&[0x8a, 8][..], &i.to_le_bytes()].concat();
    let ints = |list: &[i64]| {
        [
            b"(".to_vec(),
            list.iter().flat_map(|i| int(*i)).collect(),
            b"t".to_vec(),
        ]
        .concat()
    };
    let str = |s: &str| [&[b'X', s.len() as u8, 0, 0, 0], s.as_bytes()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        str("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        str(key),
        str("cpu"),
        int(numel),
        b"tQ".to_vec(),
        int(offset),
        ints(shape),
        ints(stride),
        b"\x89NtR".to_vec(),
    ]
    .concat()
}

#[test]
fn tensors_outside_their_storage_are_refused() {
    assert_eq!(read_pickle(&tensor("0", 8, 0, &[2, 4], &[4, 1])), Ok(()));
    assert_eq!(read_pickle(&tensor("0", 8, 7, &[1], &[9])), Ok(()));
    for (offset, shape, stride) in [
        (1, &[8][..], &[1][..]),
        (0, &[9], &[1]),
        (0, &[2], &[8]),
        (8, &[1], &[1]),
        (9, &[0], &[1]),
        (-1, &[1], &[1]),
        (i64::MAX, &[1], &[1]),
        (i64::MIN, &[1], &[1]),
        (0, &[i64::MAX, i64::MAX], &[i64::MAX, i64::MAX]),
        (i64::MAX, &[i64::MAX; 16], &[i64::MAX; 16]),
    ] {
        assert_refused(
            &tensor("0", 8, offset, shape, stride),
            "reaches outside data/0",
        );
    }
    assert_refused(
        &tensor("0", 8, 0, &[1 << 40], &[0]),
        "elements over 8 stored ones",
    );
    assert_refused(&tensor("0", 8, 0, &[-1], &[1]), "a size that is none");
    assert_refused(&tensor("0", 8, 0, &[1], &[-1]), "a size that is none");
    assert_refused(&tensor("0", 8, 0, &[1; 17], &[1; 17]), "17 dimensions");
    assert_refused(&tensor("0", 8, 0, &[1, 1], &[1]), "dimensions");
    for numel in [7, 9, -1, i64::MAX, i64::MIN] {
        assert_refused(&tensor("0", numel, 0, &[1], &[1]), "has 32 bytes, not");
    }
    assert_refused(&tensor("1", 8, 0, &[1], &[1]), "no entry data/1");
    assert_refused(
        &tensor("../data.pkl", 8, 0, &[1], &[1]),
        "no entry data/../data.pkl",
    );
}

fn replaced(program: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = program
        .windows(old.len())
        .position(|window| window == old)
        .unwrap();
    [&program[..at], new, &program[at + old.len()..]].concat()
}

#[test]
fn one_storage_has_one_element_type_and_bools_are_bools() {
    let floats = tensor("0", 8, 0, &[1], &[1]);
    let ints = replaced(&floats, b"FloatStorage", b"IntStorage");
    let both = [&b"("[..], &floats, &ints, b"t"].concat();
    assert_refused(&both, "is both Float and Int");

    let bools = replaced(
        &tensor("0", 2, 0, &[2], &[1]),
        b"FloatStorage",
        b"BoolStorage",
    );
    let program = [&b"\x80\x02"[..], &bools, b"."].concat();
    let refusal = read_bytes(&zip(&[("a/data.pkl", &program), ("a/data/0", &[1, 2])]));
    assert!(refusal.unwrap_err().contains("neither 0 nor 1"));
}

#[test]
fn archives_that_are_not_plain_are_refused() {
    let refused = |bytes: &[u8], reason: &str| {
        let refusal = read_bytes(bytes).expect_err("was read");
        assert!(
            refusal.contains(reason),
            "{refusal:?} does not say {reason:?}"
        );
    };
    let pickle: &[u8] = b"\x80\x02N.";
    refused(b"", "is empty");
    refused(b"hello", "is not a zip archive");
    refused(pickle, "is a bare pickle");
    refused(&zip(&[]), "data.pkl: is missing");
    refused(&zip(&[("data.pkl", pickle)]), "data.pkl: is missing");
    refused(
        &zip(&[("a/data.pkl", pickle), ("b/data.pkl", pickle)]),
        "several",
    );
    refused(
        &zip(&[("a/data.pkl", pickle), ("a/data.pkl", pickle)]),
        "is listed twice",
    );
    refused(
        &zip(&[("a/data.pkl", pickle), ("b/x", b"")]),
        "outside the archive's folder",
    );
    refused(
        &zip(&[("a/data.pkl", pickle), ("a/constants.pkl", b"")]),
        "TorchScript",
    );
    refused(
        &zip(&[("a/data.pkl", pickle), ("a/byteorder", b"big")]),
        "is not \"little\"",
    );

    let good = zip(&[("a/data.pkl", pickle), ("a/data/0", b"1234")]);
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let second = directory + 46 + "a/data.pkl".len();
    let change = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    refused(&change(directory + 10, &[8]), "is compressed");
    refused(&change(directory + 8, &[1]), "is encrypted");
    refused(&change(directory + 20, &[9]), "has two sizes");
    refused(&change(directory + 42, &[1]), "has no header at byte 1");
    refused(
        &change(second + 42, &[0]),
        "has another name in its own header",
    );
    refused(
        &change(directory + 46, b"b"),
        "has another name in its own header",
    );
    refused(
        &change(second + 20, &[200, 0, 0, 0, 200, 0, 0, 0]),
        "lies outside the file",
    );
    let end = good.len() - 22;
    refused(&change(end + 8, &[9, 0, 9, 0]), "no entry at byte");
    refused(&change(end + 8, &[1, 0, 1, 0]), "longer than they are");
    refused(&change(end + 16, &[0]), "does not lie where its end says");
    refused(&change(end + 10, &[9]), "several disks");
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.pt"), dir.path().join("link.pt"));
    std::fs::write(&real, zip(&[("a/data.pkl", b"\x80\x02N.")])).unwrap();
    read(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert!(read(&link).unwrap_err().contains("not a regular file"));
    assert!(read(dir.path()).unwrap_err().contains("not a regular file"));
    assert_eq!(
        gauntlet::checkpoint::pt::dtype_name(Kind::BFloat16),
        "bfloat16"
    );
}
