//! Files seen as memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use tch::{Kind, Tensor};

/// A file mapped read-only. The bytes are read from disk when they are touched.
///
/// Whoever changes or shortens the file meanwhile changes what is read; model files are written once.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// What the system says when the file cannot be opened or mapped; an empty file cannot.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(kind, "the file is empty"));
        }
        map(&file).map(Self)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Says whether the bytes will be touched in order, and in large pieces; else the system reads no more than is
    /// touched. Before the first word it guesses. Nothing depends on it.
    pub fn expect_order(&self, order: bool) {
        #[cfg(unix)]
        let _ = self.0.advise(match order {
            true => memmap2::Advice::Sequential,
            false => memmap2::Advice::Random,
        });
    }

    /// Reads the bytes of `range`, as far as the file has them, so that touching them afterwards waits for nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the system cannot do this (Linux before 5.14), and what it says when the bytes cannot be
    /// read: touching them would end the process then.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return populate(&self.0, range);
        #[cfg(not(target_os = "linux"))]
        return Err(io::ErrorKind::InvalidInput.into());
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "advice on memory")]
fn populate(map: &memmap2::Mmap, range: Range<usize>) -> io::Result<()> {
    /// A multiple of any page size in use: madvise begins with whole pages.
    const ALIGNMENT: usize = 64 << 10;
    let start = range.start - range.start % ALIGNMENT;
    let Some(part) = map.get(start..range.end.min(map.len())) else {
        return Ok(());
    };
    let (address, advice) = (part.as_ptr(), rustix::mm::Advice::LinuxPopulateRead);
    // SAFETY: the range lies within the map, which is borrowed here, and the advice changes no byte of it.
    unsafe { rustix::mm::madvise(address.cast_mut().cast(), part.len(), advice) }?;
    Ok(())
}

#[expect(unsafe_code, reason = "mapping a file is a promise about the file")]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map is private and read-only. Nothing of this workspace writes a file that it has mapped, and plain bytes
    // are all that is made of the map: parsers of model files check every length they take from it.
    unsafe { memmap2::Mmap::map(file) }
}

/// A tensor `[numel]` of `kind` whose memory is the file's bytes from `at` on: nothing is copied, and what is not touched
/// is not read. Writing to the tensor leaves the file as it is.
///
/// Whoever changes the file meanwhile changes the tensor, and touching what a shortened file has lost ends the process:
/// for files that are written once.
///
/// # Errors
///
/// `InvalidInput` where `at` is no multiple of an element's size, `UnexpectedEof` where the file ends before the tensor,
/// and what the system says when it cannot be mapped.
pub fn map_tensor(file: &File, at: u64, numel: i64, kind: Kind) -> io::Result<Tensor> {
    let width = kind.elt_size_in_bytes();
    if !at.is_multiple_of(width as u64) {
        let what = format!("byte {at} is no place for elements of {width} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let length = numel as usize * width;
    if at + length as u64 > file.metadata()?.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if length == 0 {
        return Ok(Tensor::empty([0], (kind, tch::Device::Cpu)));
    }
    let map = map_private(file, at, length)?;
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::WillNeed);
    let bytes = crate::ffi::tensor_over(map).map_err(io::Error::other)?;
    bytes.f_view_dtype(kind).map_err(io::Error::other)
}

#[expect(unsafe_code, reason = "mapping a file is a promise about the file")]
fn map_private(file: &File, at: u64, length: usize) -> io::Result<memmap2::MmapMut> {
    let mut options = memmap2::MmapOptions::new();
    // SAFETY: the map is private, so that writing to it is writing to memory; nothing of this workspace writes a file that
    // it has mapped, and plain numbers are all that is made of the map.
    unsafe { options.offset(at).len(length).map_copy(file) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn any_part_of_a_map_can_be_read_before_it_is_touched() {
        let path = std::env::temp_dir().join(format!("populated-{}", std::process::id()));
        std::fs::write(&path, vec![7; 300_000]).unwrap();
        let map = MappedFile::open(&path).unwrap();
        for range in [0..1, 70_000..299_999, 299_999..900_000, 400_000..500_000] {
            match map.populate(range.clone()) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{range:?}"),
            }
        }
        assert!(map.bytes().iter().all(|byte| *byte == 7));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_mapped_tensor_is_the_bytes_of_the_file_and_writing_to_it_leaves_them() {
        let path = std::env::temp_dir().join(format!("mapped-{}", std::process::id()));
        let values: Vec<i64> = (0..5000).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut tensor = map_tensor(&file, 8 * 700, 4300, Kind::Int64).unwrap();
        let view = tensor.view([43, 100]).get(42);
        assert_eq!(Vec::<i64>::try_from(&tensor).unwrap(), values[700..]);
        let _ = tensor.fill_(-1);
        drop(tensor);
        assert_eq!(Vec::<i64>::try_from(view).unwrap(), [-1; 100]);
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert_eq!(
            map_tensor(&file, 40_000, 0, Kind::Float).unwrap().size(),
            [0]
        );
        let kind = |at, numel| {
            map_tensor(&file, at, numel, Kind::Float)
                .unwrap_err()
                .kind()
        };
        assert_eq!(kind(2, 1), io::ErrorKind::InvalidInput);
        assert_eq!(kind(39_996, 2), io::ErrorKind::UnexpectedEof);
        std::fs::remove_file(&path).unwrap();
    }
}
