//! What a hostile model tries and does not get.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use lodeway_worker::{PoolSpec, Unfenced};

use crate::support::{House, house, none, run, soon, texts, told};

#[test]
fn a_hostile_model_gets_nothing() {
    run(async {
        let house = house();
        let pool = house.pool("hostile").await;
        let fence = pool.status().fence;
        assert!(fence.holds() && fence.signals && fence.no_network, "{fence:?}");
        let secrets = tempfile::tempdir().unwrap();
        let secret = secrets.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let path = secrets.path().join("socket");
        let _unix = UnixListener::bind(&path).unwrap();
        let host = std::process::id();
        let own = house.models.join("hostile/MLmodel");
        let other = house.models.join("iris/model.pkl");
        let usr = "/usr/lib/os-release";
        let attempts = [
            (format!("read {}", secret.display()), "EACCES"),
            (format!("list {}", secrets.path().display()), "EACCES"),
            (format!("write {}", secret.display()), "EACCES"),
            (format!("write {}/new", secrets.path().display()), "EACCES"),
            (format!("chmod {}", secret.display()), "no effect"),
            ("read /etc/shadow".to_owned(), "EACCES"),
            ("list /root".to_owned(), "EACCES"),
            // another model's files, which its interpreter may read
            (format!("read {}", other.display()), "EACCES"),
            (format!("list {}", house.models.display()), "EACCES"),
            (format!("read {}", own.display()), "done"),
            (format!("write {}", own.display()), "EACCES"),
            (format!("read {usr}"), "done"),
            (format!("write {usr}"), "EACCES"),
            ("write /dev/shm/lodeway".to_owned(), "EACCES"),
            (format!("read /proc/{host}/environ"), "EACCES"),
            (format!("read /proc/{host}/cmdline"), "EACCES"),
            ("read /proc/self/environ".to_owned(), "EACCES"),
            // TensorFlow ends its process without it
            ("read /proc/self/cmdline".to_owned(), "done"),
            (format!("connect {port}"), "EPERM"),
            (format!("unix {}", path.display()), "EPERM"),
            ("netlink".to_owned(), "EPERM"),
            // outside of its process namespace, or refused by Landlock
            (
                format!("signal {host}"),
                if fence.processes { "ESRCH" } else { "EPERM" },
            ),
            // the zygote, or the first process
            ("signal 1".to_owned(), "EPERM"),
            (format!("ptrace {host}"), "EPERM"),
            ("unshare".to_owned(), "EPERM"),
            ("mount".to_owned(), "EPERM"),
            ("syscall 425".to_owned(), "EPERM"),
            ("syscall 321".to_owned(), "EPERM"),
            ("survive".to_owned(), "EPERM"),
            ("setuid".to_owned(), "EPERM"),
            ("tmp".to_owned(), "done"),
        ];
        let told_all: Vec<_> = attempts.iter().map(|(what, _)| what.as_str()).collect();
        let outcomes = texts(pool.predict(told(&told_all), &none(), soon()).await.unwrap());
        for ((what, expected), outcome) in attempts.iter().zip(&outcomes) {
            assert_eq!(outcome, expected, "{what}");
        }
        tcp.set_nonblocking(true).unwrap();
        assert!(tcp.accept().is_err(), "nobody connected");
    });
}

#[test]
fn the_platforms_environment_stays_outside() {
    run(async {
        // the tests' own, set by cargo
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let pool = house().pool("misbehaving").await;
        let names = texts(pool.predict(told(&["env"]), &none(), soon()).await.unwrap());
        for name in names[0].split(' ') {
            assert!(
                !name.starts_with("CARGO") && !name.starts_with("LODEWAY"),
                "{name}"
            );
        }
        assert!(names[0].contains("TMPDIR"), "{names:?}");
    });
}

#[test]
fn a_hostile_pickle_runs_inside_the_fence() {
    run(async {
        let spec = PoolSpec::new(house().models.join("pickle"));
        let refused = house().zygotes.pool(spec).await.err().unwrap();
        let text = refused.to_string();
        assert!(text.contains("stolen: EACCES EPERM"), "{text}");
    });
}

#[test]
fn the_network_is_there_for_those_who_may_use_it() {
    run(async {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let pool = house()
            .pool_with("hostile", |spec| spec.allow_network = true)
            .await;
        let what = [
            format!("connect {port}"),
            "netlink".to_owned(),
            "unix /run/x".to_owned(),
        ];
        let what: Vec<_> = what.iter().map(String::as_str).collect();
        let outcomes = texts(pool.predict(told(&what), &none(), soon()).await.unwrap());
        assert_eq!(outcomes, ["done", "EPERM", "EPERM"]);
        assert!(!pool.status().fence.no_network);
    });
}

#[test]
fn where_the_kernel_cannot_fence_models_are_refused() {
    run(async {
        for (kernel, lacks) in [("without-landlock", "Landlock"), ("without-seccomp", "seccomp")] {
            let plays =
                |config: &mut lodeway_worker::WorkerConfig| config.program_args = vec![kernel.to_owned()];
            let house = House::with(plays);
            let refused = house
                .zygotes
                .pool(house.spec("iris", |_| {}))
                .await
                .err()
                .unwrap();
            assert_eq!(refused.reason().as_str(), "NOT_IMPLEMENTED", "{refused:?}");
            let text = refused.to_string();
            assert!(text.contains(lacks) && text.contains("unfenced"), "{text}");
            // unless the administrator says that it may be
            let house = House::with(|config| {
                plays(config);
                config.unfenced = Unfenced::Allow;
            });
            let pool = house.pool("misbehaving").await;
            let fence = pool.status().fence;
            assert!(!fence.holds(), "{fence:?}");
            assert_eq!(
                (fence.files, fence.calls),
                (lacks != "Landlock", lacks != "seccomp")
            );
            assert!(pool.predict(told(&["echo x"]), &none(), soon()).await.is_ok());
        }
    });
}

#[test]
fn a_program_that_is_no_python_with_mlflow_is_told_so() {
    run(async {
        for python in ["/bin/true", "/does/not/exist"] {
            let house = House::with(|config| config.python = Some(python.into()));
            let refused = house.zygotes.warm().await.unwrap_err();
            assert_eq!(refused.reason().as_str(), "NOT_IMPLEMENTED", "{refused:?}");
            assert!(refused.to_string().contains(python), "{refused}");
        }
        let bare = std::fs::canonicalize(crate::support::python()).unwrap();
        let house = House::with(|config| config.python = Some(bare.clone()));
        match house.zygotes.warm().await {
            // a machine whose bare interpreter has MLflow
            Ok(()) => {}
            Err(refused) => assert!(refused.to_string().contains("MLflow"), "{refused}"),
        }
    });
}
