//! Files over 4 GB, where a zip archive's numbers no longer fit into 32 bits: ours and torch's, read by both.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use gauntlet::checkpoint::pt::{HostTensor, PtFile, PtValue, write_pt};
use tch::{Device, Kind, Tensor};

use super::assert_same;
use super::python::python_with_torch;

/// More than 32 bits count.
const LARGE: i64 = (1 << 32) + 4096;

/// A file in which runs of zeros take no space.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(1 << 20)];
        if bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 0) {
            self.0.seek(SeekFrom::Current(bytes.len() as i64))?;
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn ramp() -> Tensor {
    Tensor::arange(7, (Kind::Float, Device::Cpu)) * 0.5
}

const READ_OURS: &str = r#"
import sys, torch
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
assert state["large"].shape == ((1 << 32) + 4096,) and state["large"][-1] == 0, state["large"].shape
assert torch.equal(state["after"], torch.arange(7) * 0.5), state["after"]
"#;

const WRITE_THEIRS: &str = r#"
import sys, torch
large = torch.empty((1 << 32) + 4096, dtype=torch.uint8)
large[-1] = 7
torch.save({"before": torch.arange(3), "large": large, "after": torch.arange(7) * 0.5}, sys.argv[1])
"#;

#[test]
#[ignore = "takes 4.3 GB of memory and of disk: cargo test --release --test gauntlet -- --ignored over_4_gb"]
fn files_over_4_gb_are_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.pt");
    {
        let host = |tensor: &Tensor| PtValue::Tensor(HostTensor::copy_of("x", tensor).unwrap());
        let large = Tensor::zeros([LARGE], (Kind::Uint8, Device::Cpu));
        let value = PtValue::dict([("large", host(&large)), ("after", host(&ramp()))]);
        drop(large);
        write_pt(&value, &mut Sparse(File::create(&path).unwrap())).unwrap();
    }
    assert_read(&path, 0);
    let python = python_with_torch();
    if let Some(python) = &python {
        python.run(READ_OURS, &[&path]);
    }
    std::fs::remove_file(&path).unwrap();
    if let Some(python) = &python {
        let path = dir.path().join("theirs.pt");
        python.run(WRITE_THEIRS, &[&path]);
        assert_read(&path, 7);
    }
}

/// Reads what lies behind the large tensor, and that one's last element.
fn assert_read(path: &std::path::Path, last: i64) {
    let file = PtFile::open(path).unwrap();
    assert!(file.size() > LARGE as u64);
    let root = file.root();
    let mut loader = file.loader();
    let mut tensor = |name: &str| {
        let at = root.key(name).unwrap();
        loader.tensor(at.as_tensor().unwrap()).unwrap()
    };
    assert_same("after", &tensor("after"), &ramp());
    let large = tensor("large");
    assert_eq!(large.size(), [LARGE]);
    // Not by `get`, which loses the upper half of its index.
    let end = large.narrow(0, LARGE - 1, 1);
    assert_eq!(end.int64_value(&[0]), last);
}
