//! Models that misbehave take with them one call at most.

use std::time::{Duration, Instant};

use lodeway_domain::Error;
use lodeway_inference::Payload;
use lodeway_worker::{ModelFault, Pool};

use crate::support::{house, none, run, soon, texts, told, until};

async fn tell(pool: &Pool, what: &str) -> Result<Payload, Error> {
    pool.predict(told(&[what]), &none(), soon()).await
}

/// Whether a healthy answer comes, from the old process or the next one.
async fn works(pool: &Pool) {
    assert_eq!(
        texts(tell(pool, "echo still here").await.unwrap()),
        ["still here"]
    );
}

#[test]
fn an_exception_is_the_models_answer_and_costs_nothing() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let pid = pool.status().workers[0].pid;
        let failed = tell(&pool, "raise what a pity").await.unwrap_err();
        assert!(matches!(failed, Error::Precondition { .. }), "{failed:?}");
        assert_eq!(failed.reason().as_str(), "MODEL_RAISED");
        assert_eq!(
            ModelFault::of(&failed).unwrap().message,
            "ValueError: what a pity"
        );
        assert_eq!(failed.to_string(), "the model raised ValueError: what a pity");
        // where the model lies is not told
        let path = house().models.join("misbehaving").join("x");
        let failed = tell(&pool, &format!("raise {}", path.display()))
            .await
            .unwrap_err();
        assert_eq!(failed.to_string(), "the model raised ValueError: <model>/x");
        works(&pool).await;
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn a_crash_fails_its_call_and_the_process_comes_back() {
    run(async {
        let pool = house().pool("misbehaving").await;
        for (what, why) in [
            ("crash", "killed by signal 11"),
            ("exit 7", "ended with code 7"),
            ("leave", "ended with code 3"),
        ] {
            let failed = tell(&pool, what).await.unwrap_err();
            assert!(matches!(failed, Error::Unavailable { .. }), "{failed:?}");
            assert!(failed.to_string().contains(why), "{failed}");
            works(&pool).await;
        }
        let status = pool.status();
        assert_eq!(status.workers[0].restarts, 3);
        assert!(status.workers[0].last_end.as_ref().unwrap().contains("code 3"));
    });
}

#[test]
fn a_call_does_not_wait_for_what_a_dead_process_left_behind() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let started = Instant::now();
        let failed = tell(&pool, "leave-socket").await.unwrap_err();
        assert!(failed.to_string().contains("ended with code 4"), "{failed}");
        assert!(started.elapsed() < Duration::from_secs(10));
        works(&pool).await;
    });
}

#[test]
fn a_model_that_hangs_is_killed() {
    run(async {
        let house = house();
        let pool = house
            .pool_with("misbehaving", |spec| {
                spec.call_timeout = Duration::from_millis(500)
            })
            .await;
        let started = Instant::now();
        let failed = tell(&pool, "hang").await.unwrap_err();
        assert!(matches!(failed, Error::DeadlineExceeded), "{failed:?}");
        assert!(started.elapsed() < Duration::from_secs(20));
        works(&pool).await;
        let end = pool.status().workers[0].last_end.clone().unwrap();
        assert!(end.contains("longer than 500ms"), "{end}");
    });
}

#[test]
fn an_impatient_caller_costs_nobody_a_process() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let pid = pool.status().workers[0].pid;
        let failed = pool
            .predict(
                told(&["sleep 0.5"]),
                &none(),
                Instant::now() + Duration::from_millis(50),
            )
            .await
            .unwrap_err();
        assert!(matches!(failed, Error::DeadlineExceeded), "{failed:?}");
        // the same for one who goes away altogether
        let gone = tokio::time::timeout(Duration::from_millis(700), tell(&pool, "sleep 0.5")).await;
        assert!(gone.is_err());
        works(&pool).await;
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn a_call_that_hangs_after_its_deadline_gives_way_to_those_that_wait() {
    run(async {
        let pool = house().pool("misbehaving").await;
        works(&pool).await;
        let (pid, started) = (pool.status().workers[0].pid, Instant::now());
        let hurried = Instant::now() + Duration::from_millis(300);
        let failed = pool.predict(told(&["hang"]), &none(), hurried).await.unwrap_err();
        assert!(matches!(failed, Error::DeadlineExceeded), "{failed:?}");
        works(&pool).await;
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );
        let worker = pool.status().workers[0].clone();
        assert_ne!(worker.pid, pid);
        assert!(
            worker.last_end.as_ref().unwrap().contains("others wait"),
            "{worker:?}"
        );
    });
}

#[test]
fn a_call_that_takes_as_long_as_others_did_is_left_to_end() {
    run(async {
        let pool = house().pool("misbehaving").await;
        assert!(tell(&pool, "sleep 1.8").await.is_ok());
        let pid = pool.status().workers[0].pid;
        let hurried = Instant::now() + Duration::from_millis(50);
        let late = pool.predict(told(&["sleep 3.2"]), &none(), hurried).await;
        assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
        works(&pool).await;
        // and one for which nobody waits is left alone
        let hurried = Instant::now() + Duration::from_millis(50);
        assert!(pool.predict(told(&["sleep 8"]), &none(), hurried).await.is_err());
        tokio::time::sleep(Duration::from_secs(9)).await;
        works(&pool).await;
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn garbage_ends_the_process_and_not_the_platform() {
    run(async {
        let pool = house().pool("misbehaving").await;
        let failed = tell(&pool, "garbage").await.unwrap_err();
        assert!(failed.to_string().contains("what is no answer"), "{failed}");
        works(&pool).await;
    });
}

#[test]
fn a_model_that_grows_is_replaced_after_its_call() {
    run(async {
        let pool = house()
            .pool_with("misbehaving", |spec| spec.memory_limit_bytes = Some(600 << 20))
            .await;
        let before = pool.status().workers[0].clone();
        assert!(
            (50 << 20..600 << 20).contains(&before.resident_bytes),
            "{before:?}"
        );
        let mut leaks = 0;
        while pool.status().workers[0].restarts == 0 {
            assert_eq!(texts(tell(&pool, "leak 50").await.unwrap()), ["leak"]);
            leaks += 1;
            assert!(leaks < 20, "never replaced");
        }
        works(&pool).await;
        let after = pool.status().workers[0].clone();
        assert!(
            after.last_end.as_ref().unwrap().contains("bytes of memory"),
            "{after:?}"
        );
        assert!(after.resident_bytes < 600 << 20, "{after:?}");
    });
}

#[test]
fn a_model_that_grows_too_fast_is_killed_in_its_call() {
    run(async {
        let pool = house()
            .pool_with("misbehaving", |spec| spec.memory_limit_bytes = Some(400 << 20))
            .await;
        let failed = tell(&pool, "leak 4000").await.unwrap_err();
        assert!(matches!(failed, Error::Unavailable { .. }), "{failed:?}");
        assert!(failed.to_string().contains("bytes of memory"), "{failed}");
        works(&pool).await;
    });
}

#[test]
fn much_output_is_no_burden() {
    run(async {
        let pool = house().pool("misbehaving").await;
        assert_eq!(texts(tell(&pool, "print 20000").await.unwrap()), ["print"]);
        works(&pool).await;
    });
}

#[test]
fn two_processes_work_at_once_and_one_that_ends_leaves_the_other() {
    run(async {
        let pool = house().pool_with("misbehaving", |spec| spec.workers = 2).await;
        let started = Instant::now();
        let (a, b, queued) = tokio::join!(tell(&pool, "sleep 1"), tell(&pool, "sleep 1"), tell(&pool, "pid"));
        assert!(a.is_ok() && b.is_ok() && queued.is_ok());
        assert!(
            started.elapsed() < Duration::from_millis(1900),
            "{:?}",
            started.elapsed()
        );
        let (crashed, slept) = tokio::join!(tell(&pool, "crash"), tell(&pool, "sleep 0.3"));
        assert!(crashed.is_err() && slept.is_ok());
        works(&pool).await;
        until("both ready", || {
            pool.status().workers.iter().all(|worker| worker.is_ready)
        })
        .await;
    });
}

#[test]
fn the_queue_is_bounded() {
    run(async {
        let pool = house()
            .pool_with("misbehaving", |spec| spec.max_waiting = 2)
            .await;
        let calls = (0..4).map(|_| tell(&pool, "sleep 0.2"));
        let outcomes = futures::future::join_all(calls).await;
        let refused: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .collect();
        assert!(
            matches!(refused.as_slice(), [Error::Exhausted { .. }]),
            "{refused:?}"
        );
        assert_eq!(pool.status().waiting, 0);
    });
}

#[test]
fn a_model_that_does_not_load_says_why() {
    run(async {
        let folder = house().models.join(format!("broken-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let source = house().models.join("iris");
        std::fs::copy(source.join("MLmodel"), folder.join("MLmodel")).unwrap();
        let failed = house().zygotes.pool(lodeway_worker::PoolSpec::new(&folder)).await;
        std::fs::remove_dir_all(&folder).unwrap();
        let failed = failed.err().unwrap();
        assert_eq!(failed.reason().as_str(), "INVALID_FIELD");
        let text = failed.to_string();
        assert!(
            text.contains("does not load") && text.contains("model.pkl"),
            "{text}"
        );
        assert!(text.contains("Traceback"), "{text}");
        let outside = house().zygotes.pool(lodeway_worker::PoolSpec::new("/etc")).await;
        assert_eq!(outside.err().unwrap().reason().as_str(), "INVALID_FIELD");
    });
}
