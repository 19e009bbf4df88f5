//! Both players of a checkpoint on known problems: pass@k, what the tests are worth, what choosing among samples is worth,
//! and the players of several checkpoints against each other.

use std::path::Path;

use anyhow::{Result, bail};
use gauntlet::checkpoint::table::aligned_table;
use gauntlet::cli::UsageError;
use gauntlet::evaluation::attacks::{AttackQuality, attack_quality, meet};
use gauntlet::evaluation::probes::best_of;
use gauntlet::evaluation::{Attempt, SolveOptions, solve};
use gauntlet::metrics::{Interval, bootstrap, pass_at_k};
use gauntlet::problems::{Problem, load_jsonl};
use gauntlet::rng::DrawKey;
use gauntlet::run::pool;
use gauntlet::source::ProblemSource;
use serde::Serialize;

use crate::loaded::Loaded;
use crate::progress::Progress;

/// What is measured.
pub struct Options<'a> {
    /// A problem file, or the name of a pool that the checkpoint's run was measured on.
    pub problems: &'a str,
    /// Problems of a pool; as many as in training otherwise.
    pub limit: Option<usize>,
    /// Values of k.
    pub ks: &'a [usize],
    /// Temperature of the attempts; 0 for one, 0.8 for several otherwise.
    pub temperature: Option<f64>,
    /// Seed of the draws.
    pub seed: u64,
}

/// What a benchmark found.
#[derive(Serialize)]
pub struct Report {
    /// The problem file or pool.
    pub benchmark: String,
    /// Problems in it.
    pub problems: usize,
    /// Attempts at each.
    pub samples: usize,
    /// Their temperature.
    pub temperature: f64,
    /// pass@k with a 95 % interval over problems, by k.
    pub pass_at_k: Vec<PassAtK>,
    /// Share of attempts cut short by a token limit.
    pub truncated: f64,
    /// Attempts that the host failed to judge; they count nowhere.
    pub masked: usize,
    /// Right attempts of each problem, by id.
    pub right: Vec<(String, usize)>,
    /// What the discriminator's blind tests are worth.
    pub attacks: AttackQuality,
    /// What choosing among the samples is worth, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choosing: Option<Choosing>,
    /// Generators against discriminators, where there are several checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_play: Option<CrossPlay>,
}

/// One k.
#[derive(Serialize)]
pub struct PassAtK {
    /// k.
    pub k: usize,
    /// Mean over problems, with its interval.
    #[serde(flatten)]
    pub interval: Interval,
}

/// Shares of problems solved by one of several samples, with 95 % intervals over problems.
#[derive(Serialize)]
pub struct Choosing {
    /// Taken at random.
    pub mean: Interval,
    /// With the highest verdict; none for a model without a verdict head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_verdict: Option<Interval>,
    /// With the highest dual agreement on blind tests.
    pub by_tests: Interval,
    /// With the answers that most others give to the inputs of those tests, as `--samples` chooses.
    pub by_answers: Interval,
    /// Any of them.
    pub any: Interval,
}

/// Each generator against each discriminator; rows are generators, in the order of `players`.
#[derive(Serialize)]
pub struct CrossPlay {
    /// The checkpoints.
    pub players: Vec<String>,
    /// Share of attempts that stand the gold tests and the attacks, mean over problems.
    pub stood: Vec<Vec<Interval>>,
    /// Of the attempts that gold tests find wrong, the share that the attacks find wrong too, mean over problems; none
    /// where no attempt is wrong.
    pub caught: Vec<Vec<Option<Interval>>>,
    /// Attempts that the gold tests find right and the attacks do not.
    pub broken: Vec<Vec<usize>>,
}

/// Measures the first of `players` on known problems, and all of them against each other.
pub fn run(players: &[(String, Loaded)], options: &Options, progress: &Progress) -> Result<Report> {
    let loaded = &players[0].1;
    let ks = options.ks;
    let problems = problems(loaded, options)?;
    let samples = ks.iter().copied().max().unwrap_or(1);
    if ks.contains(&0) || problems.is_empty() {
        bail!(UsageError::new(
            "--benchmark needs at least one problem and every k at least 1"
        ));
    }
    let temperature = options
        .temperature
        .unwrap_or(if samples > 1 { 0.8 } else { 0.0 });
    let key = DrawKey::new(options.seed).with_name("benchmark");
    let attempts: Vec<Vec<Vec<Attempt>>> = players
        .iter()
        .map(|(name, player)| {
            progress.begin(format!("{name}: {} problems, stages", problems.len()));
            let solving = SolveOptions {
                sampling: &player.sampling(temperature),
                samples,
                stages: player.config.written_stages(),
                key,
            };
            Ok(solve(
                &player.generator,
                &player.executor,
                &problems,
                &solving,
            )?)
        })
        .collect::<Result<_>>()?;
    let own = &attempts[0];
    let counts: Vec<(usize, usize)> = own
        .iter()
        .map(|tries| {
            let counted = tries.iter().filter(|a| !a.run.is_masked()).count();
            (counted, tries.iter().filter(|a| a.run.passed()).count())
        })
        .collect();
    let pass = |k: usize| {
        let values: Vec<f64> = counts
            .iter()
            .filter(|(n, _)| *n >= k)
            .map(|(n, right)| pass_at_k(*n, *right, k))
            .collect();
        PassAtK {
            k,
            interval: bootstrap(&values),
        }
    };
    let all = own.iter().flatten();
    progress.begin("blind tests");
    Ok(Report {
        benchmark: options.problems.to_owned(),
        problems: problems.len(),
        samples,
        temperature,
        pass_at_k: ks.iter().map(|k| pass(*k)).collect(),
        truncated: all.clone().filter(|a| a.chain.truncated()).count() as f64
            / (problems.len() * samples) as f64,
        masked: all.filter(|a| a.run.is_masked()).count(),
        right: problems
            .iter()
            .zip(&counts)
            .map(|(problem, (_, right))| (problem.id.clone(), *right))
            .collect(),
        attacks: attack_quality(
            &loaded.discriminator,
            &loaded.executor,
            &problems,
            loaded.config.game.bank_mutants,
            &loaded.attacks(loaded.config.sampling.temperature),
            key,
        )?,
        choosing: match samples {
            1 => None,
            _ => {
                progress.begin("choosing, blind tests");
                Some(choose(loaded, own, &problems, key)?)
            }
        },
        cross_play: match players {
            [_] => None,
            _ => Some(cross_play(players, &attempts, &problems, key, progress)?),
        },
    })
}

/// The pool of that name, else the problems of the file.
fn problems(loaded: &Loaded, options: &Options) -> Result<Vec<Problem>> {
    let name = options.problems;
    if ProblemSource::POOLS.contains(&name) {
        let config = &loaded.config;
        let usual = match name.starts_with("validation") {
            true => config.problems.validation_problems,
            false => config.problems.report_problems,
        };
        let count = options.limit.unwrap_or(usual);
        return Ok(pool(config, &loaded.executor, name, count)?.problems);
    }
    let file = Path::new(name);
    let pools = || ProblemSource::POOLS.join(", ");
    if !file.exists() {
        bail!(UsageError::new(format!(
            "--benchmark {name}: there is no such file, and the pools are {}",
            pools()
        )));
    }
    let mut problems = load_jsonl(file).map_err(UsageError::new)?;
    problems.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(problems)
}

fn choose(
    loaded: &Loaded,
    attempts: &[Vec<Attempt>],
    problems: &[Problem],
    key: DrawKey,
) -> Result<Choosing> {
    let best = best_of(
        attempts,
        &loaded.discriminator,
        &loaded.executor,
        problems,
        &loaded.attacks(0.0),
        key,
    )?;
    Ok(Choosing {
        mean: bootstrap(&best.mean),
        by_verdict: loaded.gives_verdicts.then(|| bootstrap(&best.by_verdict)),
        by_tests: bootstrap(&best.by_tests),
        by_answers: bootstrap(&best.by_answers),
        any: bootstrap(&best.any),
    })
}

fn cross_play(
    players: &[(String, Loaded)],
    attempts: &[Vec<Vec<Attempt>>],
    problems: &[Problem],
    key: DrawKey,
    progress: &Progress,
) -> Result<CrossPlay> {
    let mut table = CrossPlay {
        players: players.iter().map(|(name, _)| name.clone()).collect(),
        stood: Vec::new(),
        caught: Vec::new(),
        broken: Vec::new(),
    };
    for ((ours, _), attempts) in players.iter().zip(attempts) {
        let mut meetings = Vec::new();
        for (name, theirs) in players {
            progress.begin(format!("{name} attacks {ours}"));
            let attacks = theirs.attacks(theirs.config.sampling.temperature);
            let (discriminator, executor) = (&theirs.discriminator, &theirs.executor);
            meetings.push(meet(
                attempts,
                discriminator,
                executor,
                problems,
                &attacks,
                key,
            )?);
        }
        let rows = meetings.iter();
        let caught = rows.clone().map(|m| match m.caught.is_empty() {
            true => None,
            false => Some(bootstrap(&m.caught)),
        });
        table.caught.push(caught.collect());
        table
            .stood
            .push(rows.clone().map(|m| bootstrap(&m.stood)).collect());
        table.broken.push(rows.map(|m| m.broken).collect());
    }
    Ok(table)
}

fn percent(interval: &Interval) -> String {
    let [mean, low, high] = [interval.mean, interval.low, interval.high].map(|x| 100.0 * x);
    format!("{mean:.1} % [{low:.1}, {high:.1}]")
}

impl Report {
    /// The figures for a person.
    pub fn table(&self) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut line = |what: String, value: String| lines.push(vec![what, value]);
        for PassAtK { k, interval } in &self.pass_at_k {
            line(format!("pass@{k}"), percent(interval));
        }
        line(
            "truncated".into(),
            format!("{:.1} %", 100.0 * self.truncated),
        );
        line("masked".into(), self.masked.to_string());
        if let Some(choosing) = &self.choosing {
            let n = self.samples;
            line(format!("one of {n} at random"), percent(&choosing.mean));
            if let Some(by_verdict) = &choosing.by_verdict {
                line(format!("best of {n} by verdict"), percent(by_verdict));
            }
            line(
                format!("best of {n} by blind tests"),
                percent(&choosing.by_tests),
            );
            line(
                format!("best of {n} by agreement of answers"),
                percent(&choosing.by_answers),
            );
            line(format!("any of {n}"), percent(&choosing.any));
        }
        let attacks = &self.attacks;
        line("blind tests written".into(), attacks.lines.to_string());
        for (what, share) in [
            ("valid as written", Some(attacks.valid)),
            (
                "valid once the expected output is repaired",
                Some(attacks.playable),
            ),
            ("repeated", Some(attacks.duplicate)),
            ("mutants of the reference killed", attacks.bank_kills),
        ] {
            let share = share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
            line(format!("  {what}"), share);
        }
        let mut text = format!(
            "{}: {} problems, {} attempts each at temperature {}\n{}",
            self.benchmark,
            self.problems,
            self.samples,
            self.temperature,
            aligned_table(&lines)
        );
        if let Some(table) = &self.cross_play {
            text += &table.text();
        }
        text
    }
}

impl CrossPlay {
    fn text(&self) -> String {
        let grid = |title: &str, cell: &dyn Fn(usize, usize) -> String| {
            let mut lines = vec![vec!["generator".to_owned()]];
            lines[0].extend(self.players.iter().map(|name| format!("D {name}")));
            for (row, name) in self.players.iter().enumerate() {
                let mut cells = vec![format!("G {name}")];
                cells.extend((0..self.players.len()).map(|column| cell(row, column)));
                lines.push(cells);
            }
            format!("\n{title}\n{}", aligned_table(&lines))
        };
        let stood = grid(
            "attempts that stand the gold tests and the discriminator's attacks",
            &|row, column| percent(&self.stood[row][column]),
        );
        let caught = grid(
            "of those that gold tests find wrong, the attacks find wrong too",
            &|row, column| {
                let caught = self.caught[row][column].as_ref();
                caught.map_or("-".into(), percent)
            },
        );
        let broken = grid(
            "attempts that gold tests find right and the attacks do not",
            &|row, column| self.broken[row][column].to_string(),
        );
        stood + &caught + &broken
    }
}
