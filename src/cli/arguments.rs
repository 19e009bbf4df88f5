//! Words of the command line: paths as a person writes them, and words as a shell reads them back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::config::expand_home;

/// Takes a path, `~` in front of it standing for the home folder, which a shell leaves as it is in `--flag=~/x`.
pub fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| expand_home(&path))
}

/// A word as a POSIX shell reads it back, whatever its bytes are.
pub fn quoted(word: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+:,@%".contains(c);
    match word.to_str() {
        Some(word) if !word.is_empty() && word.chars().all(plain) => word.into(),
        Some(word) if !word.chars().any(char::is_control) => {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
        // What no terminal shows as it is.
        _ => {
            let escaped = word.as_bytes().iter().map(|&byte| match byte {
                b' '..=b'~' if !b"%\\'\"$`".contains(&byte) => char::from(byte).to_string(),
                byte => format!("\\{byte:03o}"),
            });
            format!("\"$(printf '{}')\"", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_every_word() {
        let words: [&[u8]; 11] = [
            b"plain/path-1.yaml",
            b"",
            b"two words",
            b"it's",
            b"a\"b$c`d\\e!f",
            b"run.name=#x",
            "größe".as_bytes(),
            b"caf\xe9.yaml",
            b"a\nb",
            b"50%\xff'$x",
            b"~/runs",
        ];
        for word in words {
            let word = OsStr::from_bytes(word);
            let line = format!("printf %s {}", quoted(word));
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(OsStr::from_bytes(&output.stdout), word, "{line}");
            assert!(!quoted(word).contains('\n'), "{line}");
        }
    }
}
