//! CPU time of an execution. `cargo bench -p gauntlet-sandbox`.
//!
//! Each line: a program, how it is run, CPU milliseconds of this process an execution (or a batch), and executions a
//! second by the wall clock.

use std::time::Instant;

use gauntlet_sandbox::{ExecuteJob, Limits, Mode, Program, Sandbox, Value};

const CLASS: &str = "
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
def f(n):
    stack = Stack()
    for i in range(n): stack.push(i * i)
    return [stack.pop() for _ in range(n)]
";

const DIJKSTRA: &str = "
import heapq
from collections import defaultdict
def f(n):
    graph = defaultdict(list)
    for i in range(n):
        graph[i].append(((i * 7 + 1) % n, i % 5 + 1))
        graph[i].append(((i * 3 + 2) % n, i % 3 + 1))
    distance = {0: 0}
    heap = [(0, 0)]
    while heap:
        d, at = heapq.heappop(heap)
        if d > distance[at]:
            continue
        for to, cost in graph[at]:
            if d + cost < distance.get(to, 1e9):
                distance[to] = d + cost
                heapq.heappush(heap, (d + cost, to))
    return sorted(distance.items())
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let sandbox = Sandbox::open()?;
    let opened = started.elapsed();
    let line = Program {
        code: "print(sum(range(1000)))".into(),
        entry_point: String::new(),
    };
    let first = Instant::now();
    sandbox.execute(&line, &[vec![]], &Limits::default(), Mode::Pure)?;
    println!("open {opened:.1?}, first execution {:.1?}", first.elapsed());
    let called = |code: &str| Program {
        code: code.into(),
        entry_point: "f".into(),
    };
    for (name, program, inputs, mode) in [
        ("print(sum(range(1000)))", line, vec![vec![]], Mode::Pure),
        (
            "class, 1 call",
            called(CLASS),
            vec![vec![Value::from(10)]],
            Mode::Pure,
        ),
        (
            "class, batch of 8",
            called(CLASS),
            vec![vec![Value::from(10)]; 8],
            Mode::Fast,
        ),
        (
            "Dijkstra, 1 call",
            called(DIJKSTRA),
            vec![vec![Value::from(50)]],
            Mode::Pure,
        ),
        (
            "Dijkstra, batch of 8",
            called(DIJKSTRA),
            vec![vec![Value::from(50)]; 8],
            Mode::Fast,
        ),
    ] {
        let job = ExecuteJob {
            program,
            inputs,
            limits: Limits::default(),
            mode,
        };
        sandbox.execute_many(vec![job.clone(); 50]);
        let (count, cpu, started) = (500, cpu_ms()?, Instant::now());
        for result in sandbox.execute_many(vec![job; count]) {
            if let Some(outcome) = result?
                .into_iter()
                .find_map(|execution| execution.result.err())
            {
                return Err(format!("{name}: {outcome}").into());
            }
        }
        let (cpu, wall) = (cpu_ms()? - cpu, started.elapsed().as_secs_f64());
        println!(
            "{name:<24} {:>7.2} ms CPU {:>7.0} a second",
            cpu / count as f64,
            count as f64 / wall
        );
    }
    Ok(())
}

/// CPU milliseconds of this process, user and system, in ticks of 10 ms.
fn cpu_ms() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<f64, _>>()?;
    Ok(ticks * 10.0)
}
