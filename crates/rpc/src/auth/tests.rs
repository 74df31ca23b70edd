use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(k, v): &(&str, &str)| (http::HeaderName::try_from(*k).unwrap(), v.parse().unwrap());
    pairs.iter().map(pair).collect()
}

fn basic_of(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn closed() -> Authenticator {
    let table = format!(
        "[[token]]\nprincipal = \"ci\"\nsha256 = \"{}\"\nworkspaces = [\"default\"]\n\
         [[token]]\nprincipal = \"alice\"\npassword = '{}'\n",
        hash_token("t0ken"),
        hash_password("correct horse").unwrap()
    );
    Authenticator::with_table(TokenTable::parse(&table).unwrap())
}

#[tokio::test]
async fn without_a_table_the_basic_user_is_believed_but_not_verified() {
    let open = Authenticator::open();
    let nobody = open.caller(&HeaderMap::new(), Access::Write).await.unwrap();
    assert_eq!(nobody, Caller::anonymous());
    let bob = headers(&[
        ("authorization", &basic_of("bob", "")),
        ("x-mlflow-workspace", "team-a"),
    ]);
    let bob = open.caller(&bob, Access::Write).await.unwrap();
    assert_eq!(
        (bob.principal.as_str(), bob.verified, bob.workspace.as_str()),
        ("bob", false, "team-a")
    );
    let bad = open
        .caller(&headers(&[("x-mlflow-workspace", "No/Such")]), Access::Read)
        .await;
    assert!(matches!(bad, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn with_a_table_only_known_credentials_pass() {
    let auth = closed();
    for good in [
        "Bearer t0ken".to_owned(),
        "bearer t0ken".to_owned(),
        basic_of("ci", "t0ken"),
    ] {
        let caller = auth
            .caller(&headers(&[("authorization", &good)]), Access::Write)
            .await
            .unwrap();
        assert_eq!((caller.principal.as_str(), caller.verified), ("ci", true));
    }
    let bad = [
        "Bearer nope".to_owned(),
        basic_of("eve", "t0ken"),
        basic_of("alice", "x"),
        "Basic %%".to_owned(),
    ];
    for bad in bad {
        let bad = headers(&[("authorization", &bad)]);
        let refused = auth.caller(&bad, Access::Read).await;
        assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{bad:?}");
        let probe = auth.caller(&bad, Access::Public).await.unwrap();
        assert_eq!((probe.principal.as_str(), probe.verified), (ANONYMOUS, false));
    }
    assert!(matches!(
        auth.caller(&HeaderMap::new(), Access::Read).await,
        Err(Error::Unauthenticated(_))
    ));
    assert!(
        !auth
            .caller(&HeaderMap::new(), Access::Public)
            .await
            .unwrap()
            .verified
    );
    // Who cannot name a workspace is in the only one of the credential.
    let table = format!(
        "[[token]]\nprincipal = \"ta\"\nsha256 = \"{}\"\nworkspaces = [\"team-a\"]\n\
         [[token]]\nprincipal = \"two\"\nsha256 = \"{}\"\nworkspaces = [\"team-a\", \"team-b\"]\n",
        hash_token("a"),
        hash_token("two")
    );
    let teams = Authenticator::with_table(TokenTable::parse(&table).unwrap());
    let one = headers(&[("authorization", "Bearer a")]);
    let one = teams.caller(&one, Access::Write).await.unwrap();
    assert_eq!(one.workspace.as_str(), "team-a");
    let two = headers(&[("authorization", "Bearer two")]);
    assert!(matches!(
        teams.caller(&two, Access::Read).await,
        Err(Error::Denied(_))
    ));
    let elsewhere = headers(&[
        ("authorization", "Bearer t0ken"),
        ("x-mlflow-workspace", "team-b"),
    ]);
    assert!(matches!(
        auth.caller(&elsewhere, Access::Read).await,
        Err(Error::Denied(_))
    ));
}

#[tokio::test]
async fn a_role_opens_what_it_includes_and_nothing_more() {
    let row = |who: &str, role: &str| {
        let hash = hash_token(who);
        format!("[[token]]\nprincipal = '{who}'\nsha256 = '{hash}'\n{role}\n")
    };
    let table = row("looks", "role = 'reader'") + &row("works", "") + &row("rules", "role = 'admin'");
    let auth = Authenticator::with_table(TokenTable::parse(&table).unwrap());
    let all = [Access::Public, Access::Read, Access::Write, Access::Admin];
    for (who, opens) in [("looks", 2), ("works", 3), ("rules", 4)] {
        let token = headers(&[("authorization", &format!("Bearer {who}"))]);
        for (at, access) in all.into_iter().enumerate() {
            let answer = auth.caller(&token, access).await;
            assert_eq!(answer.is_ok(), at < opens, "{who}, {access:?}: {answer:?}");
            assert!(matches!(answer, Ok(_) | Err(Error::Denied(_))), "{answer:?}");
        }
    }
    let token = headers(&[("authorization", "Bearer works")]);
    let refused = auth.caller(&token, Access::Admin).await.unwrap_err().to_string();
    assert!(
        refused.contains("`works` has the role `writer`, and this call takes `admin`"),
        "{refused}"
    );
    assert!(TokenTable::parse(&row("x", "role = 'boss'")).is_err());
    let anybody = Authenticator::open()
        .caller(&HeaderMap::new(), Access::Admin)
        .await;
    assert_eq!(anybody.unwrap(), Caller::anonymous());
}

#[tokio::test]
async fn a_verified_password_is_not_hashed_again() {
    let auth = closed();
    let alice = headers(&[("authorization", &basic_of("alice", "correct horse"))]);
    assert!(auth.caller(&alice, Access::Write).await.unwrap().verified);
    let turn = auth.hashing.acquire_many(2).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(5), auth.caller(&alice, Access::Write)).await;
    assert!(
        again
            .expect("the cache answers without hashing")
            .unwrap()
            .verified
    );
    drop(turn);
}

#[tokio::test]
async fn only_a_peer_with_the_token_may_name_the_caller() {
    let said = |token: &str| {
        let proof = peer_proof(&Secret::new(token.to_owned()));
        headers(&[
            ("x-lodeway-peer-token", &proof),
            ("x-lodeway-principal", "al%20ice"),
            ("x-lodeway-verified", "1"),
        ])
    };
    let trusting = closed().trusting_peers(Some(&Secret::new("s3cret".to_owned())));
    let caller = trusting.caller(&said("s3cret"), Access::Write).await.unwrap();
    assert_eq!((caller.principal.as_str(), caller.verified), ("al ice", true));
    assert!(trusting.caller(&said("wrong"), Access::Write).await.is_err());
    let deaf = Authenticator::open()
        .caller(&said("s3cret"), Access::Write)
        .await
        .unwrap();
    assert_eq!((deaf.principal.as_str(), deaf.verified), ("anonymous", false));
}

#[test]
fn a_bad_table_says_which_principal() {
    let token = hash_token("one");
    let row = |who: &str, hash: &str| format!("[[token]]\nprincipal = \"{who}\"\nsha256 = \"{hash}\"\n");
    let twice = TokenTable::parse(&(row("ada", &token) + &row("rob", &token))).unwrap_err();
    assert!(twice.to_string().contains("`rob`"), "{twice}");
    let empty = TokenTable::parse(&row("ada", &hash_token(""))).unwrap_err();
    assert!(empty.to_string().contains("empty token"), "{empty}");
    let text = TokenTable::parse("[[token]]\nprincipal = \"x\"\nsha256 = \"abc\"")
        .unwrap_err()
        .to_string();
    assert_eq!(text, "token table: principal `x`: `sha256` is not 64 hex digits");
    assert!(TokenTable::parse("[[token]]\nprincipal = \"x\"\nsha = \"abc\"").is_err());
}

/// Waits until the answer to a credential is this.
async fn until_known(auth: &Authenticator, credential: &str, is_known: bool) {
    let headers = headers(&[("authorization", credential)]);
    tokio::time::timeout(Duration::from_secs(30), async {
        while auth.caller(&headers, Access::Write).await.is_ok() != is_known {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_that_is_taken_away_is_refused_soon() {
    let row = |name: &str, token: &str| {
        let hash = hash_token(token);
        format!("[[token]]\nprincipal = \"{name}\"\nsha256 = \"{hash}\"\n")
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    std::fs::write(&path, row("ci", "one")).unwrap();
    let auth = Authenticator::with_table(TokenTable::load(&path).unwrap());
    let tasks = crate::Tasks::new();
    tasks.spawn_until_stop(auth.clone().follow_table(path.clone()));
    until_known(&auth, "Bearer one", true).await;

    // As a mounted secret is replaced: by another file in its place.
    let next = folder.path().join("next");
    std::fs::write(&next, row("ci", "two") + &row("eve", "three")).unwrap();
    std::fs::rename(&next, &path).unwrap();
    until_known(&auth, "Bearer two", true).await;
    until_known(&auth, "Bearer one", false).await;

    // What is no table changes nothing, nor does a pipe, which would keep its reader waiting; what comes after them does.
    std::fs::write(&path, "[[token").unwrap();
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    until_known(&auth, "Bearer three", true).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, row("ci", "four")).unwrap();
    until_known(&auth, "Bearer four", true).await;
    until_known(&auth, "Bearer three", false).await;
    assert!(tasks.shutdown(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_table_that_a_pipe_gave_stays_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let auth = closed();
    // It finds no file and ends; were it to read the pipe, it would wait for a writer or take nothing for a table.
    tokio::time::timeout(Duration::from_secs(20), auth.clone().follow_table(path))
        .await
        .unwrap();
    until_known(&auth, "Bearer t0ken", true).await;
}

#[test]
fn a_table_without_end_is_refused() {
    let error = TokenTable::load(std::path::Path::new("/dev/zero")).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[tokio::test]
async fn a_verified_password_says_nothing_of_another_table() {
    let auth = closed();
    let alice = headers(&[("authorization", &basic_of("alice", "correct horse"))]);
    assert!(auth.caller(&alice, Access::Write).await.unwrap().verified);
    let other = format!(
        "[[token]]\nprincipal = \"bob\"\nsha256 = \"{}\"\n[[token]]\nprincipal = \"alice\"\npassword = '{}'\n",
        hash_token("b"),
        hash_password("battery staple").unwrap()
    );
    auth.replace_table(TokenTable::parse(&other).unwrap());
    assert!(matches!(
        auth.caller(&alice, Access::Write).await,
        Err(Error::Unauthenticated(_))
    ));
}
