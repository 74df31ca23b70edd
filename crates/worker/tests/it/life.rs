//! Processes end when they should, and leave nothing behind.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{House, house, none, run, runtime, soon, texts, told, until};

/// A process by its number and the time of its start, so that a reused number is another one.
type Process = (u32, String);

/// All that descend from `pid`, zombies included.
fn descendants(pid: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((parent, start)) = stat(pid) {
            children.entry(parent).or_default().push((pid, start));
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            next.push(child.0);
            found.push(child);
        }
    }
    found
}

/// Parent and start of a process.
fn stat(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some((fields[1].parse().ok()?, fields[19].to_owned()))
}

fn is_there((pid, start): &Process) -> bool {
    stat(*pid).is_some_and(|(_, now)| now == *start)
}

#[test]
fn a_stop_lets_calls_end_and_takes_no_more() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let pid = pool.status().workers[0].pid.unwrap();
        let working = pool.clone();
        let call =
            runtime().spawn(async move { working.predict(told(&["sleep 0.5"]), &none(), soon()).await });
        until("the call is at work", || pool.status().workers[0].is_busy).await;
        let started = Instant::now();
        pool.stop(Duration::from_secs(10)).await;
        assert!(started.elapsed() < Duration::from_secs(9));
        assert!(stat(pid).is_none(), "the process is gone, no zombie is left");
        assert_eq!(texts(call.await.unwrap().unwrap()), ["sleep"]);
        let refused = pool.predict(told(&["echo"]), &none(), soon()).await.unwrap_err();
        assert!(refused.to_string().contains("unloaded"), "{refused}");
    });
}

#[test]
fn a_stop_does_not_wait_beyond_its_grace() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let pid = pool.status().workers[0].pid.unwrap();
        let working = pool.clone();
        let call = runtime().spawn(async move { working.predict(told(&["hang"]), &none(), soon()).await });
        until("the model hangs", || pool.status().workers[0].is_busy).await;
        pool.stop(Duration::from_millis(100)).await;
        assert!(stat(pid).is_none());
        let failed = call.await.unwrap().unwrap_err();
        assert!(failed.to_string().contains("stopped"), "{failed}");
    });
}

#[test]
fn a_pool_that_is_dropped_ends() {
    run(async {
        let pool = house().pool("iris").await;
        let pid = pool.status().workers[0].pid.unwrap();
        drop(pool);
        until("the process ends", || stat(pid).is_none()).await;
    });
}

/// The names of the sub-command under which the kernel has process namespaces, and under which it has none.
const KERNELS: [&str; 2] = ["worker-exec", "without-namespaces"];

fn house_on(kernel: &str) -> House {
    House::with(|config| config.program_args = vec![kernel.to_owned()])
}

#[test]
fn children_of_a_model_end_with_it() {
    KERNELS.into_iter().for_each(children_end_on);
}

fn children_end_on(kernel: &str) {
    run(async {
        let house = house_on(kernel);
        let pool = house.pool("misbehaving").await;
        let worker = pool.status().workers[0].pid.unwrap();
        assert_eq!(descendants(worker).len(), 0);
        pool.predict(told(&["child"]), &none(), soon()).await.unwrap();
        pool.predict(told(&["stray"]), &none(), soon()).await.unwrap();
        let children = descendants(worker);
        assert_eq!(children.len(), 2, "{children:?}");
        assert!(pool.predict(told(&["crash"]), &none(), soon()).await.is_err());
        until("both end, the one in the model's group and the stray", || {
            !children.iter().any(is_there)
        })
        .await;
        house.zygotes.stop(Duration::from_secs(5)).await;
        assert_eq!(
            descendants(std::process::id())
                .iter()
                .filter(|child| children.contains(child))
                .count(),
            0
        );
    });
}

#[test]
fn an_interpreter_that_dies_is_started_again() {
    run(async {
        let house = House::with(|_| {});
        let pool = house.pool("misbehaving").await;
        let worker = pool.status().workers[0].pid.unwrap();
        let (zygote, _) = stat(worker).unwrap();
        let killed = Command::new("kill")
            .args(["-9", &zygote.to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        until("the worker dies with it", || stat(worker).is_none()).await;
        let answer = pool.predict(told(&["echo again"]), &none(), soon()).await;
        assert_eq!(texts(answer.unwrap()), ["again"]);
    });
}

#[test]
fn nothing_outlives_a_host_that_is_killed() {
    // The test starts itself again as the host that is killed.
    match std::env::var_os(HOST) {
        Some(kernel) => be_a_host(kernel.to_str().unwrap()),
        None => KERNELS.into_iter().for_each(nothing_outlives_on),
    }
}

fn nothing_outlives_on(kernel: &str) {
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "life::nothing_outlives_a_host_that_is_killed",
        ])
        .env(HOST, kernel)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("the host is ready")),
        "the host did not come up"
    );
    let family = descendants(host.id());
    // an interpreter and what guards it, two workers, what they started
    assert!(family.len() >= 6, "{family:?}");
    host.kill().unwrap();
    host.wait().unwrap();
    run(until("all have ended", || !family.iter().any(is_there)));
}

/// Says to the test that it is the host to be killed, on which kernel.
const HOST: &str = "LODEWAY_TEST_HOST";

fn be_a_host(kernel: &str) {
    run(async {
        let house = house_on(kernel);
        let pool = house.pool_with("misbehaving", |spec| spec.workers = 2).await;
        assert_eq!(pool.status().fence.processes, kernel == KERNELS[0]);
        pool.predict(told(&["child"]), &none(), soon()).await.unwrap();
        pool.predict(told(&["stray"]), &none(), soon()).await.unwrap();
        let busy = pool.clone();
        runtime().spawn(async move { busy.predict(told(&["hang"]), &none(), soon()).await });
        std::io::stdout().write_all(b"the host is ready\n").unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
}
