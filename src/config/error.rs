//! What can be wrong with a configuration, and how each mistake is told.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value as Json;
use thiserror::Error;

use super::key::Key;
use super::nearest::nearest;
use super::sections::Config;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not YAML of sections and keys.
    #[error("{}: not a configuration: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        message: String,
    },
    /// Keys or values are wrong.
    #[error("the configuration is wrong:{}", listed(.0))]
    Invalid(Vec<Finding>),
}

fn listed(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("\n  {finding}"))
        .collect()
}

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Where it stands.
    pub origin: Origin,
    /// What it is.
    pub reason: Reason,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason)
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// An override on the command line, as it was given.
    Set(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Set(argument) => write!(f, "--set {argument}"),
        }
    }
}

/// What is wrong with a key or its value.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Reason {
    /// No such key or section.
    #[error("there is no {given}{}", suggestion(nearest, among))]
    Unknown {
        /// What was written.
        given: String,
        /// The nearest thing there is.
        nearest: Option<String>,
        /// What there is, for when nothing is near.
        among: String,
    },
    /// The value is of another kind.
    #[error("{key} is {value}, expected {expected}")]
    WrongKind {
        /// The key.
        key: String,
        /// Its value.
        value: Json,
        /// What it takes.
        expected: String,
    },
    /// The number is too low or too high.
    #[error("{key} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The offending number.
        value: f64,
        /// The range in words.
        allowed: String,
    },
    /// The value does not go with another key's.
    #[error("{0}")]
    Conflict(String),
    /// An override is not `section.key=value`.
    #[error("expected section.key=value")]
    NotAnOverride,
}

fn suggestion(nearest: &Option<String>, among: &str) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => format!("; there are {among}"),
    }
}

impl Reason {
    /// The section `given` does not exist.
    pub(super) fn unknown_section(given: &str) -> Reason {
        let keys = Config::keys();
        let mut sections: Vec<&str> = keys.iter().map(|key| key.section).collect();
        sections.dedup();
        // A key written without its section is the likeliest mistake of all.
        let misplaced = keys.iter().find(|key| key.name == given).map(Key::path);
        let nearest = misplaced
            .or_else(|| nearest(given, sections.iter().copied()).map(|(_, name)| name.to_owned()));
        Reason::Unknown {
            given: format!("section {given}"),
            nearest,
            among: sections.join(", "),
        }
    }

    /// The section exists, its key `given` does not.
    pub(super) fn unknown_key(section: &str, given: &str) -> Reason {
        let keys = Config::keys();
        let siblings: Vec<&str> = keys
            .iter()
            .filter(|key| key.section == section)
            .map(|key| key.name)
            .collect();
        if siblings.is_empty() {
            return Reason::unknown_section(section);
        }
        let elsewhere = keys.iter().find(|key| key.name == given);
        let nearest = match (nearest(given, siblings.iter().copied()), elsewhere) {
            (Some((1, name)), _) | (Some((_, name)), None) => Some(format!("{section}.{name}")),
            (_, elsewhere) => elsewhere.map(Key::path),
        };
        Reason::Unknown {
            given: format!("key {section}.{given}"),
            nearest,
            among: siblings.join(", "),
        }
    }
}
