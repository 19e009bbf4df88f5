//! What a person, or a program that reads JSON, wants to know about checkpoints.

mod chart;
mod comparison;
mod deeds;
mod disk;
mod inspection;
mod listing;
mod progress;

pub use chart::ChartFormat;
pub use comparison::{Compared, Comparison, MetricRow, Sample, SampleRow, SettingRow};
pub use deeds::Copied;
pub use disk::{DiskUsage, RunUsage};
pub use inspection::{Inspection, Part, PlayerReport, Verification};
pub use listing::{Listing, ListingRow, Listings, Summary};
pub use progress::{Panel, Progress, RunProgress, Series};

/// 1234567 as `1.2 MB`.
fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KB", "MB", "GB", "TB"] {
        if size < 999.5 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Seconds as the largest unit that fits.
fn human_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number and its noun: `1 fault`, `2 faults`.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// 1234567 as `1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(human_size),
            ["0 B", "999 B", "1.0 KB", "1.2 MB"]
        );
        assert_eq!(human_size(u64::MAX), "18446744.1 TB");
        assert_eq!(
            [59, 60, 3600, 90_000].map(human_age),
            ["59 s", "1 min", "1 h", "1 d"]
        );
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
