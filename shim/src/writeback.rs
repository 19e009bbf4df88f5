//! Files on their way to the disk.

use std::fs::File;
use std::ops::Range;

/// Has the disk begin to write what is dirty of these bytes of the file, and waits for nothing: a sync at the end finds
/// little left to do. The bytes stay in memory. Says nothing of when they are safe, and where the system cannot do it,
/// nothing happens.
pub fn begin_writeback(file: &File, range: Range<u64>) {
    #[cfg(target_os = "linux")]
    start(file, &range);
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a call of the system that rustix does not have")]
fn start(file: &File, range: &Range<u64>) {
    use std::os::fd::AsRawFd;
    let length = range.end.saturating_sub(range.start);
    let (Ok(at), Ok(length)) = (range.start.try_into(), length.try_into()) else {
        return;
    };
    // SAFETY: the descriptor is open, and the call touches no memory of this process.
    unsafe { libc::sync_file_range(file.as_raw_fd(), at, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_stays_what_it_is() {
        let path = std::env::temp_dir().join(format!("writeback-{}", std::process::id()));
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&[5; 100_000]).unwrap();
        begin_writeback(&file, 0..50_000);
        begin_writeback(&file, 50_000..u64::MAX);
        file.write_all(&[6; 10]).unwrap();
        file.sync_all().unwrap();
        let read = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(read[..100_000].iter().all(|byte| *byte == 5) && read[100_000..] == [6; 10]);
    }
}
