//! A process may die between any two steps of a write; the bytes and the digest must agree for whoever comes after.

use std::{collections::HashMap, fs, sync::Arc};

use async_trait::async_trait;
use lodeway_domain::{Error, Result, time::Timestamp};
use lodeway_store::artifacts::{
    DigestIndex, Hasher, Trust,
    index::{DigestRow, Recorded, Summary},
};

use crate::support::{House, bytes, is_loss, put};

/// Dies at one step.
struct Dying {
    inner: Arc<dyn DigestIndex>,
    at: Step,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// Before the pending digest is recorded.
    Begin,
    /// After the file has its name, before its digest becomes the current one.
    Promote,
}

impl Dying {
    fn die(&self, step: Step) -> Result<()> {
        if self.at == step {
            Err(Error::unavailable("killed", "killed"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl DigestIndex for Dying {
    async fn load(&self, key: &str) -> Result<DigestRow> {
        self.inner.load(key).await
    }
    async fn settled(&self, keys: &[String]) -> Result<HashMap<String, Summary>> {
        self.inner.settled(keys).await
    }
    async fn begin(&self, key: &str, write: &Recorded) -> Result<()> {
        self.die(Step::Begin)?;
        self.inner.begin(key, write).await
    }
    async fn promote(&self, key: &str, write: &Recorded, expected: Option<&str>) -> Result<bool> {
        self.die(Step::Promote)?;
        self.inner.promote(key, write, expected).await
    }
    async fn discard(&self, key: &str, write_ids: &[String]) -> Result<()> {
        self.inner.discard(key, write_ids).await
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.inner.remove(key).await
    }
    async fn remove_below(&self, prefix: &str) -> Result<()> {
        self.inner.remove_below(prefix).await
    }
}

const KEY: &str = "mlflow-artifacts:/0/run/artifacts/f";

fn recorded(id: &str, content: &[u8]) -> Recorded {
    let mut hasher = Hasher::new();
    hasher.update(content);
    Recorded {
        write_id: id.into(),
        begun: Timestamp::from_millis(1),
        digest: Arc::new(hasher.finish()),
    }
}

async fn after_death(step: Step, house: &House, start_empty: bool) {
    let (old, new) = (bytes(5_000_000), bytes(6_000_000));
    if !start_empty {
        house.put("f", &old).await.unwrap();
    }
    let dying = house
        .with_index(Arc::new(Dying {
            inner: house.index.clone(),
            at: step,
        }))
        .await;
    assert!(put(&dying, &house.at, "f", &new).await.is_err());
    let read = house.get("f").await;
    match (step, start_empty) {
        (Step::Begin, true) => assert!(matches!(read, Err(Error::NotFound(_)))),
        (Step::Begin, false) => assert!(read.unwrap().1 == old),
        (Step::Promote, _) => {
            let manifest = house.store.manifest(&house.at, Trust::Recorded).await.unwrap();
            assert_eq!(manifest.size_bytes(), 6_000_000);
            let (meta, got) = read.unwrap();
            assert!(meta.verified && got == new);
            let row = house.index.load(KEY).await.unwrap();
            assert!(
                row.pending.is_empty() && row.current.is_some(),
                "the read has healed the record"
            );
        }
    }
    house.put("f", &old).await.unwrap();
    assert!(house.get("f").await.unwrap().1 == old);
}

#[tokio::test]
async fn death_at_each_step_loses_no_old_and_condemns_no_new_bytes() {
    for step in [Step::Begin, Step::Promote] {
        for start_empty in [true, false] {
            after_death(step, &House::local().await, start_empty).await;
        }
    }
}

#[tokio::test]
async fn a_record_of_a_write_that_never_happened_does_no_harm() {
    let house = House::local().await;
    house.index.begin(KEY, &recorded("1", b"never")).await.unwrap();
    assert!(matches!(house.get("f").await, Err(Error::NotFound(_))));
    let content = bytes(1000);
    house.put("f", &content).await.unwrap();
    let (meta, got) = house.get("f").await.unwrap();
    assert!(meta.verified && got == content);
    assert!(
        house.index.load(KEY).await.unwrap().pending.is_empty(),
        "it is old, so it was cleared away"
    );
    // damage is still found while a record is pending
    house.index.begin(KEY, &recorded("2", b"never")).await.unwrap();
    fs::write(house.on_disk("f"), bytes(999)).unwrap();
    assert!(is_loss(&house.get("f").await));
    // and a foreign file stays a foreign file
    house.index.remove(KEY).await.unwrap();
    house.index.begin(KEY, &recorded("3", b"never")).await.unwrap();
    assert!(!house.get("f").await.unwrap().0.verified);
}

#[tokio::test]
async fn the_current_digest_moves_only_from_where_it_was_seen() {
    let house = House::local().await;
    let (a, b) = (recorded("a", b"a"), recorded("b", b"b"));
    for write in [&a, &b] {
        house.index.begin(KEY, write).await.unwrap();
    }
    assert!(house.index.promote(KEY, &b, None).await.unwrap());
    assert!(!house.index.promote(KEY, &a, None).await.unwrap());
    assert!(!house.index.promote(KEY, &a, Some("x")).await.unwrap());
    let row = house.index.load(KEY).await.unwrap();
    assert_eq!(
        (row.current.as_ref(), row.pending.as_slice()),
        (Some(&b), std::slice::from_ref(&a))
    );
    assert!(house.index.promote(KEY, &a, Some("b")).await.unwrap());
    assert_eq!(
        house.index.load(KEY).await.unwrap(),
        DigestRow {
            current: Some(a),
            pending: Vec::new()
        }
    );
}
