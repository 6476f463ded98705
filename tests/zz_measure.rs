mod rootfs;
use rootfs::*;
use std::time::Instant;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    let program = std::env::var("SHIM_BIN").unwrap_or(env!("CARGO_BIN_EXE_coracle").into());
    let n: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let mut host =
        open_program(coracle::runtime::LogDefaults::default(), std::path::Path::new(&program))
            .unwrap();
    let mut times = vec![];
    let mut second = vec![];
    let mut total = vec![];
    let mut rel = vec![];
    for i in 0..n {
        let task = format!("t{i}");
        let run = run_of(&task, "main", &format!("{task}-1"));
        let mut l = host.launch(&run, shell(""));
        l.start.definition.entry_point = Some(vec!["/bin/true".into()]);
        l.start.definition.command = None;
        l.start.definition.memory = Some(64);
        if std::env::var("HOSTNET").is_ok() {
            l.start.network_mode = "host".into();
        }
        let mut l2 = l.clone();
        let t = Instant::now();
        host.runtime.start(l).await.unwrap();
        times.push(t.elapsed().as_micros());
        host.exit(&run).await;
        total.push(t.elapsed().as_micros());
        l2.start.run = run_of(&task, "main", &format!("{task}-2"));
        let r2 = l2.start.run.clone();
        let t = Instant::now();
        host.runtime.start(l2).await.unwrap();
        second.push(t.elapsed().as_micros());
        host.exit(&r2).await;
        let t = Instant::now();
        host.runtime.release(&run.task).await.unwrap();
        rel.push(t.elapsed().as_micros());
    }
    for (n, mut v) in [
        ("first start", times),
        ("to exit event", total),
        ("second start", second),
        ("release", rel),
    ] {
        v.sort();
        println!("{n}: min {} p50 {} p90 {} us", v[0], v[v.len() / 2], v[v.len() * 9 / 10]);
    }
    // PSS
    let mut tasks = vec![];
    for i in 0..10 {
        let task = format!("p{i}");
        let run = run_of(&task, "main", &format!("{task}-1"));
        host.runtime.start(host.launch(&run, shell("sleep 1000"))).await.unwrap();
        tasks.push(task);
    }
    let mut pss = vec![];
    for e in std::fs::read_dir("/proc").unwrap().flatten() {
        let c = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
        let c = String::from_utf8_lossy(&c).replace('\0', " ");
        if c.starts_with("coracle shim p") && c.contains(host.dir.path().to_str().unwrap()) {
            let s = std::fs::read_to_string(e.path().join("smaps_rollup")).unwrap();
            let g = |k: &str| {
                s.lines()
                    .find(|l| l.starts_with(k))
                    .unwrap()
                    .split_whitespace()
                    .nth(1)
                    .unwrap()
                    .to_owned()
            };
            pss.push((g("Pss:"), g("Private_Dirty:"), g("Rss:")));
        }
    }
    println!("shim (pss, private dirty, rss) kB: {pss:?}");
    for t in tasks {
        host.runtime.release(&coracle::model::TaskId::new(t).unwrap()).await.unwrap();
    }
    host.close(&[]).await;
}
