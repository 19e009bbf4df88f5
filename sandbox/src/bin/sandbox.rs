//! The `sandbox` command.
use gauntlet_sandbox::*;
fn main() -> anyhow::Result<()> {
    #[cfg(feature = "compile")]
    gauntlet_sandbox::build_runtime(&mut |line| println!("{line}"))?;
    let t = std::time::Instant::now();
    let sandbox = Sandbox::open()?;
    println!("open {:?}", t.elapsed());
    for path in std::env::args().skip(1) {
        let p = Program { code: std::fs::read_to_string(&path)?, entry_point: String::new() };
        let t = std::time::Instant::now();
        let r = sandbox.execute(&p, &[vec![]], &Limits::default(), Mode::Pure)?;
        println!("{path} {:?} {r:?}", t.elapsed());
    }
    Ok(())
}
