//! When a step comes and how far it goes.

/// Learning rate at `step` of `steps`: a linear rise over `rise` steps, then a cosine down to `floor` of the peak.
pub fn learning_rate(peak: f64, floor: f64, rise: u64, step: u64, steps: u64) -> f64 {
    if step < rise {
        return peak * (step + 1) as f64 / rise as f64;
    }
    let progress = (step - rise) as f64 / (steps.saturating_sub(rise)).max(1) as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
    peak * (floor + (1.0 - floor) * cosine)
}

/// Whose turn a step is where players of a role take turns, and which of its own steps it is.
pub fn turn(step: u64, players: u64) -> (usize, u64) {
    ((step % players) as usize, step / players)
}

/// The number by which a player's own draws are keyed: those of the first are those of the only one of a role, and
/// nobody's depend on how many others there are.
pub fn own_step(player: usize, step: u64) -> u64 {
    // More steps than a warm-up may have; of the largest batches, examples of eight players stay below the game's.
    const APART: u64 = 1 << 24;
    player as u64 * APART + step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_then_falls_to_its_floor() {
        let at = |step| learning_rate(1.0, 0.1, 10, step, 110);
        assert!(
            (at(0) - 0.1).abs() < 1e-12
                && (at(9) - 1.0).abs() < 1e-12
                && (at(10) - 1.0).abs() < 1e-12
        );
        assert!((at(60) - 0.55).abs() < 1e-12 && (at(110) - 0.1).abs() < 1e-12);
        assert!((10..110).all(|s| at(s + 1) < at(s)));
    }
}
