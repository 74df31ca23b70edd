use std::sync::atomic::Ordering;

use lodeway_domain::Reason;

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
    let turn = auth.passwords.turns.acquire_many(2).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(5), auth.caller(&alice, Access::Write)).await;
    assert!(
        again
            .expect("the cache answers without hashing")
            .unwrap()
            .verified
    );
    drop(turn);
}

/// How many password hashes a call costs that is refused.
async fn hashes_of_a_refusal(auth: &Authenticator, user: &str, password: &str) -> usize {
    let before = auth.passwords.verified.load(Ordering::SeqCst);
    let named = headers(&[("authorization", &basic_of(user, password))]);
    let refused = auth.caller(&named, Access::Read).await;
    assert!(
        matches!(refused, Err(Error::Unauthenticated(_))),
        "{user}: {refused:?}"
    );
    auth.passwords.verified.load(Ordering::SeqCst) - before
}

#[tokio::test]
async fn a_refusal_costs_the_same_whether_or_not_the_user_has_a_password() {
    let auth = closed();
    // Again and again, and with the password of somebody else: nothing of it is remembered.
    for (user, password) in [
        ("alice", "wrong"),
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("nobody", "wrong"),
        ("nobody", "correct horse"),
        ("", "wrong"),
        ("ci", "wrong"),
    ] {
        assert_eq!(hashes_of_a_refusal(&auth, user, password).await, 1, "{user}");
    }
    let row = format!(
        "[[token]]\nprincipal = \"ci\"\nsha256 = \"{}\"\n",
        hash_token("t")
    );
    let tokens_only = Authenticator::with_table(TokenTable::parse(&row).unwrap());
    for user in ["ci", "nobody"] {
        assert_eq!(
            hashes_of_a_refusal(&tokens_only, user, "wrong").await,
            0,
            "{user}"
        );
    }
}

#[tokio::test]
async fn users_without_a_password_wait_for_their_turn_too() {
    let auth = closed();
    let turns = auth.passwords.turns.acquire_many(2).await.unwrap();
    let nobody = headers(&[("authorization", &basic_of("nobody", "x"))]);
    let mut waiting = std::pin::pin!(auth.caller(&nobody, Access::Read));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(turns);
    assert!(matches!(waiting.await, Err(Error::Unauthenticated(_))));
}

#[test]
fn a_decoy_has_the_cost_of_a_hash_in_the_table() {
    let phc = |cost: u32| {
        format!("$argon2id$v=19$m={cost},t=2,p=1$MDEyMzQ1Njc$RdescudvJCsgt3ub+b3dWRWJTmaaJObGDJPsYNmgQDk")
    };
    let rows =
        (8..12).map(|cost| format!("[[token]]\nprincipal = \"u{cost}\"\npassword = '{}'\n", phc(cost)));
    let table = TokenTable::parse(&rows.collect::<String>()).unwrap();
    let decoys: Vec<_> = (0..64).map(|n| table.decoy(&format!("n{n}")).unwrap()).collect();
    for cost in 8..12 {
        assert!(decoys.contains(&phc(cost).as_str()), "{cost}");
    }
    assert_eq!(table.decoy("n0"), table.decoy("n0"));
    assert_eq!(TokenTable::default().decoy("n0"), None);
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
    let unset = closed();
    for stranger in [&trusting, &unset] {
        let refused = stranger.caller(&said("wrong"), Access::Write).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::PeerTokenRefused, "{refused}");
        let code = crate::status::code_of(&refused);
        assert_eq!(code, tonic::Code::Unauthenticated, "a user may have sent it");
        let mut known = said("wrong");
        known.insert(AUTHORIZATION, "Bearer t0ken".parse().unwrap());
        assert_eq!(
            stranger.caller(&known, Access::Write).await.unwrap().principal,
            "ci"
        );
        known.insert(AUTHORIZATION, "Bearer nope".parse().unwrap());
        let refused = stranger.caller(&known, Access::Write).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::PeerTokenRefused, "{refused}");
        let probe = stranger.caller(&said("wrong"), Access::Public).await.unwrap();
        assert_eq!((probe.principal.as_str(), probe.verified), (ANONYMOUS, false));
    }
    let none = trusting
        .caller(&HeaderMap::new(), Access::Write)
        .await
        .unwrap_err();
    assert_eq!(none.reason(), Reason::CredentialsMissing);
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
