//! Tensors read from files.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::sync::mpsc::channel;

use rustix::io::{Errno, pread};
use tch::{Device, Kind, Tensor};

/// Bytes read at once: a large page, so that readers do not wait for each other's, and few enough for a processor's cache
/// to hold them still when the caller looks at them.
const CHUNK: usize = 2 << 20;

/// Threads that read: while the system copies for one, the disk works for another.
const READERS: usize = 2;

/// Less is read without a thread.
const LEAST: usize = 2 * CHUNK;

/// A tensor of `numel` elements of `kind` on the CPU, filled with the file's bytes from `at` on. `seen` is shown all of
/// them, in order and in pieces, while a thread reads on: a hash costs no pass of its own.
///
/// # Errors
///
/// What the system says when the bytes cannot be read, and `UnexpectedEof` where the file ends before them; libtorch's
/// message when there is no memory.
#[expect(unsafe_code, reason = "a file is read into a tensor's own memory")]
pub fn read_tensor(
    file: &File,
    at: u64,
    numel: i64,
    kind: Kind,
    mut seen: impl FnMut(&[u8]),
) -> io::Result<Tensor> {
    let tensor = Tensor::f_empty([numel], (kind, Device::Cpu)).map_err(io::Error::other)?;
    let length = tensor.numel() * kind.elt_size_in_bytes();
    if length == 0 {
        return Ok(tensor);
    }
    // SAFETY: the tensor is new and contiguous, so this is all of its memory, and nobody else knows of it before it is
    // returned; any bytes are valid as MaybeUninit.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<MaybeUninit<u8>>(), length)
    };
    if length < LEAST {
        seen(fill(bytes, file, at)?);
        return Ok(tensor);
    }
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        want_huge_pages(&tensor);
    }
    std::thread::scope(|scope| {
        let (first, rest) = bytes.split_at_mut(bytes.as_ptr().align_offset(CHUNK).min(length));
        let whole = std::iter::once(first).chain(rest.chunks_mut(CHUNK));
        let mut chunks: [Vec<_>; READERS] = Default::default();
        let mut at = at;
        for (i, chunk) in whole.enumerate() {
            let length = chunk.len() as u64;
            chunks[i % READERS].push((at, chunk));
            at += length;
        }
        let readers = chunks.map(|chunks| {
            let (send, filled) = channel();
            scope.spawn(move || {
                for (at, chunk) in chunks {
                    let filled = fill(chunk, file, at);
                    let failed = filled.is_err();
                    if send.send(filled).is_err() || failed {
                        return;
                    }
                }
            });
            filled
        });
        // In turn; the first reader with nothing more to give has had the last chunk before its turn.
        let mut in_turn = (0..).map_while(|i: usize| readers[i % READERS].recv().ok());
        in_turn.try_for_each(|chunk| chunk.map(&mut seen))
    })
    .map(|()| tensor)
}

/// Fills memory from the file.
#[expect(unsafe_code, reason = "the memory is new")]
fn fill<'a>(memory: &'a mut [MaybeUninit<u8>], file: &File, at: u64) -> io::Result<&'a [u8]> {
    let mut done = 0;
    while done < memory.len() {
        match pread(file, &mut memory[done..], at + done as u64) {
            Ok(([], _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((read, _)) => done += read.len(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // SAFETY: the loop ends when all of it has been read.
    Ok(unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), memory.len()) })
}

/// Asks for pages of megabytes for a tensor that is about to be filled: the system then maps it in hundreds of faults in
/// place of hundreds of thousands. Nothing depends on it, and small tensors are left alone.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "advice on memory")]
pub(crate) fn want_huge_pages(tensor: &Tensor) {
    /// A multiple of any page size in use; madvise takes whole pages only.
    const ALIGNMENT: usize = 64 << 10;
    let start = tensor.data_ptr().cast::<u8>();
    let before = start.align_offset(ALIGNMENT);
    let length = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if length < LEAST {
        return;
    }
    let rest = length - before;
    let advice = rustix::mm::Advice::LinuxHugepage;
    // SAFETY: the range lies within the memory of a contiguous tensor that is borrowed here, and the advice changes no
    // byte of it.
    let _ =
        unsafe { rustix::mm::madvise(start.add(before).cast(), rest - rest % ALIGNMENT, advice) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn numbered(length: usize) -> (File, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("filled-{}-{length}", std::process::id()));
        let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (file, bytes)
    }

    #[test]
    fn a_tensor_holds_the_bytes_of_the_file_and_all_of_them_are_seen_in_order() {
        for numel in [
            0,
            1,
            CHUNK / 2,
            LEAST / 4 - 1,
            LEAST / 4,
            LEAST / 4 + 3 * CHUNK + 1,
        ] {
            let (file, bytes) = numbered(8 + 4 * numel);
            let mut seen = Vec::new();
            let tensor = read_tensor(&file, 8, numel as i64, Kind::Float, |piece| {
                seen.extend_from_slice(piece);
            })
            .unwrap();
            assert!(seen == bytes[8..], "{numel}");
            let mut held = vec![0; 4 * numel];
            if numel > 0 {
                tensor.copy_data_u8(&mut held, numel);
            }
            assert!(held == seen, "{numel}");
            assert_eq!(tensor.size(), [numel as i64]);
        }
    }

    #[test]
    fn a_file_that_ends_too_soon_is_an_error() {
        for length in [100, LEAST + 100] {
            let (file, _) = numbered(length);
            let read = read_tensor(&file, 1, length as i64, Kind::Uint8, |_| {});
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
